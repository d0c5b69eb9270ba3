"""Layers forward and backward, a product of matrices, a step of training, on sizes that they have in networks."""

import functools
import itertools

import numpy as np

from .. import functional, losses, nn, optim
from ..linear import matmul
from .network import IMAGES, MATRIX, Part, of, standard

CONVOLVED, PIXELS = (16, 16, 32, 32), 16 * 32 * 32  # images, and their pixels
SEQUENCES = (64, 50, 64)
WIDTHS, CLASSES = (64, 256), 10  # of the network whose training step is timed
NETWORK, DROPPED = (784, 512, 512, 10), 0.2  # another one, with batch norm, ReLU and dropout
EPSILON = 1e-5  # of AdamW: with less, the first step is the sign of gradients that are rounding errors
EXAMPLES = {  # name of a layer -> (arguments, shape of the input); activations and what are functions elsewhere are not here
    "Linear": ({"in_features": 512, "out_features": 512}, (256, 512)),
    "Conv1d": ({"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1}, (32, 32, 256)),
    "Conv2d": ({"in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1}, CONVOLVED),
    "MaxPool1d": ({"kernel_size": 2}, (64, 64, 1024)),
    "MaxPool2d": ({"kernel_size": 2}, IMAGES),
    "AvgPool1d": ({"kernel_size": 2}, (64, 64, 1024)),
    "AvgPool2d": ({"kernel_size": 2}, IMAGES),
    "GlobalMaxPool": ({}, IMAGES),
    "GlobalAvgPool": ({}, IMAGES),
    "Embedding": ({"num_embeddings": 10000, "embedding_dim": 128}, (64, 128)),
    "RNN": ({"input_size": 64, "hidden_size": 128}, SEQUENCES),
    "GRU": ({"input_size": 64, "hidden_size": 128}, SEQUENCES),
    "LSTM": ({"input_size": 64, "hidden_size": 128}, SEQUENCES),
    "Maxout": ({"pieces": 2}, MATRIX),
    "APL": ({"pieces": 2}, MATRIX),
    "Residual": ({"layers": [{"type": "Linear", "in_features": 512, "out_features": 512}]}, (256, 512)),
}
MULTIPLICATIONS = {  # of forward; backward does twice as many
    "Linear": 256 * 512 * 512,
    "Conv1d": 32 * 256 * 32 * 32 * 3,
    "Conv2d": PIXELS * 16 * 32 * 9,
    "Residual": 256 * 512 * 512,
    **{name: gates * 64 * 50 * 128 * (64 + 128) for name, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))},
}


def _inputs(name, rng, shape):
    """x, the gradient of the layer's output, and the layer's parameters."""
    config, _ = EXAMPLES[name]
    x = rng.integers(0, config["num_embeddings"], shape) if name == "Embedding" else standard(rng, shape)
    layer = nn.LAYERS[name](**_config(name))
    parameters = [np.array(value) for value in layer.parameters().values()]
    return [x, standard(rng, layer.forward(x).shape), *parameters]


def _config(name):
    config = dict(EXAMPLES[name][0])
    if "layers" in config:
        config["layers"] = [
            nn.LAYERS[d["type"]](**{k: v for k, v in d.items() if k != "type"}) for d in config["layers"]
        ]
    return config


def _layer(name, backward):
    def prepare(x, grad, *parameters):
        model = nn.Sequential(nn.LAYERS[name](**_config(name)), dtype=grad.dtype)
        for mine, value in zip(model.parameters().values(), parameters, strict=True):
            mine[...] = value

        def run():
            y = model.forward(x, training=True)
            if not backward:
                return y
            dx = model.backward(grad, input_gradient=True)
            return next(iter(model.gradients().values())) if dx is None else dx

        return run

    return prepare


def _multiplied(a, b):
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    return lambda: matmul(a, b, out)


def _relu(a, b):
    out = np.empty_like(a)
    return lambda: functional.FUNCTIONS["relu"](a, out=out)


def _multiplied_then_relu(a, b):
    """Two thread pools would make the pair cost more than its parts."""
    product, out = np.empty((a.shape[0], b.shape[1]), a.dtype), np.empty_like(a)

    def run():
        matmul(a, b, product)
        return functional.FUNCTIONS["relu"](product, out=out)

    return run


def _network(rng, shape):
    """Rows, labels, and the weights of two layers."""
    wide, hidden = WIDTHS
    weights = [standard(rng, (hidden, wide)) / 8, standard(rng, (CLASSES, hidden)) / 16]
    return [standard(rng, shape), rng.integers(0, CLASSES, shape[0]), *weights]


def _training_step(x, labels, first, second):
    wide, hidden = WIDTHS
    model = nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES), dtype=x.dtype)
    for value, given in zip(model.parameters().values(), (first, 0, second, 0), strict=True):
        value[...] = given
    bound, loss = optim.Adam(model), losses.LOSSES["cross_entropy"]
    weights = next(iter(model.parameters().values()))

    def run():
        _, grad = loss.value_and_grad(model.forward(x, training=True), labels)
        model.backward(grad)
        bound.step()
        return weights

    return run


def _digits_network(rng, shape):
    """Rows, labels, and the weights of the network whose steps are timed beside PyTorch's ways to update."""
    weights = [standard(rng, (b, a)) / np.sqrt(np.float32(a)) for a, b in itertools.pairwise(NETWORK)]
    return [standard(rng, shape), rng.integers(0, NETWORK[-1], shape[0]), *weights]


def _network_step(x, labels, *weights):
    """A step of batch norm, ReLU and dropout behind each hidden layer, with AdamW; the first has no dropout, to be compared."""
    parts = []
    for weight in weights:
        behind = [nn.BatchNorm(len(weight)), nn.ReLU(), nn.Dropout(0.0)] if weight is not weights[-1] else []
        parts += [nn.Linear(*weight.shape[::-1]), *behind]
    model = nn.Sequential(*parts, dtype=x.dtype)
    linear = [layer for layer in parts if isinstance(layer, nn.Linear)]
    for layer, weight in zip(linear, weights, strict=True):
        layer.parameters()["weight"][...] = weight
        layer.parameters()["bias"][...] = 0
    bound, loss = optim.AdamW(model, eps=EPSILON), losses.LOSSES["cross_entropy"]
    out = np.empty((len(x), len(weights[-1])), x.dtype)

    def run():
        _, grad = loss.value_and_grad(model.forward(x, training=True), labels, out=out)
        model.backward(grad)
        bound.step()
        for layer in parts:
            if isinstance(layer, nn.Dropout):
                layer.p = DROPPED
        return linear[0].parameters()["weight"]

    return run


def _parts():
    for name, (_, shape) in EXAMPLES.items():
        count = MULTIPLICATIONS.get(name, 0)
        inputs = functools.partial(_inputs, name)
        moves = 0 if count or name in ("Embedding", "Maxout", "APL") or "Pool" in name else 2
        title = f"nn.{name}"
        yield Part(title, "layers", _layer(name, False), inputs, shape, moves, rtol=1e-3, multiplications=count)
        yield Part(
            f"{title}.both",
            "layers",
            _layer(name, True),
            inputs,
            shape,
            2 * moves,
            rtol=1e-3,
            multiplications=3 * count,
        )
    product = functools.partial(Part, group="products", inputs=of(2), shape=(512, 512), rtol=1e-3)
    yield product("matmul", ours=_multiplied, moves=0, multiplications=512**3)
    yield product("matmul.relu", ours=_relu, moves=2)
    yield product("matmul.then_relu", ours=_multiplied_then_relu, moves=0, multiplications=512**3)
    wide, hidden = WIDTHS
    for batch in (64, 1024):
        count = batch * hidden * (2 * wide + 3 * CLASSES)  # the first layer computes no gradient of its input
        yield Part(
            f"step.{batch}", "training", _training_step, _network, (batch, wide), 0, "training_step", rtol=1e-3,
            multiplications=count,
        )  # fmt: skip

    for batch in (64, 256, 1024):
        inner = [a * b for a, b in itertools.pairwise(NETWORK)]
        count = batch * (3 * sum(inner) - inner[0])
        for way in ("default", "fused"):
            yield Part(
                f"network.{batch}.{way}", "training", _network_step, _digits_network, (batch, NETWORK[0]), 0, "network_step",
                (way,), rtol=1e-3, multiplications=count,
            )  # fmt: skip


def cases():
    """The layers of `EXAMPLES`, products, and training steps."""
    for part in _parts():
        yield part.case()
