"""Models as ONNX, run by onnxruntime, beside their own predictions; activations beside our float64 oracles."""

import formulas
import numpy as np
import pytest

import numbadl as nd
from tests.pages import run_example

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from numbadl.interop import onnx as interop
from numbadl.interop.onnx import to_model
from numbadl.nn import ACTIVATION_LAYERS, FAMILIES, LAYERS


def run(model, x, input_shape=None):
    """What onnxruntime makes of the model."""
    session = onnxruntime.InferenceSession(
        to_model(model, input_shape).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.shape[0], result.shape[0]) == ("N", "N")
    (y,) = session.run(None, {"input": x})
    assert list(y.shape[1:]) == result.shape[1:]
    return y


def moved(model, rng):
    """The model with other parameters and statistics than it starts with."""
    for key, value in model.state().items():
        if not key.endswith("num_batches_tracked"):
            value[...] = rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1, 1], value.shape) ** ("var" not in key)
    return model


LAYERS_OF_WEIGHTS = {  # layers, shape of an input
    "Linear": (lambda nn: [nn.Linear(6, 4)], (6,)),
    "Linear without bias": (lambda nn: [nn.Linear(6, 4, bias=False)], (6,)),
    "Conv1d": (lambda nn: [nn.Conv1d(3, 4, 3, stride=2, padding=1)], (3, 11)),
    "Conv2d": (lambda nn: [nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)], (4, 9, 8)),
    "Conv2d without bias": (lambda nn: [nn.Conv2d(2, 3, 3, padding="same", bias=False)], (2, 5, 6)),
    "BatchNorm": (lambda nn: [nn.BatchNorm(4, eps=1e-3)], (4,)),
    "BatchNorm of images": (lambda nn: [nn.BatchNorm(4, affine=False)], (4, 3, 5)),
    "LayerNorm": (lambda nn: [nn.LayerNorm((4, 5), eps=1e-3)], (3, 4, 5)),
    "LayerNorm without bias": (lambda nn: [nn.LayerNorm(5, bias=False)], (3, 5)),
    "LayerNorm without weights": (lambda nn: [nn.LayerNorm(5, elementwise_affine=False)], (3, 5)),
    "RMSNorm": (lambda nn: [nn.RMSNorm((4, 5))], (3, 4, 5)),
    "RMSNorm without weights": (lambda nn: [nn.RMSNorm(5, elementwise_affine=False)], (3, 5)),
    "GroupNorm": (lambda nn: [nn.GroupNorm(2, 6, eps=1e-3)], (6, 4, 5)),
    "GroupNorm of rows": (lambda nn: [nn.GroupNorm(2, 6, affine=False)], (6,)),
    "InstanceNorm": (lambda nn: [nn.InstanceNorm(3)], (3, 7)),
    "InstanceNorm with weights": (lambda nn: [nn.InstanceNorm(3, affine=True)], (3, 7, 2)),
    "Flatten": (lambda nn: [nn.Flatten()], (3, 4)),
    "Reshape": (lambda nn: [nn.Reshape((2, -1))], (3, 4)),
    "MaxPool1d": (lambda nn: [nn.MaxPool1d(3, 2, 1, dilation=2)], (2, 12)),
    "MaxPool2d": (lambda nn: [nn.MaxPool2d((3, 2), ceil_mode=True)], (2, 8, 7)),
    "AvgPool1d": (lambda nn: [nn.AvgPool1d(3, padding=1)], (2, 9)),
    "AvgPool2d": (lambda nn: [nn.AvgPool2d(3, 2, 1, count_include_pad=False)], (2, 8, 7)),
    "GlobalMaxPool": (lambda nn: [nn.GlobalMaxPool()], (3, 4, 5)),
    "GlobalAvgPool": (lambda nn: [nn.GlobalAvgPool()], (3, 7)),
    "Dropout": (lambda nn: [nn.Linear(4, 4), nn.Dropout(0.5)], (4,)),
    "FeatureDropout": (lambda nn: [nn.Linear(4, 4), nn.FeatureDropout(0.5)], (4,)),
    "AlphaDropout": (lambda nn: [nn.Linear(4, 4), nn.AlphaDropout(0.5)], (4,)),
    "GaussianDropout": (lambda nn: [nn.Linear(4, 4), nn.GaussianDropout(0.5)], (4,)),
    "Residual": (lambda nn: [nn.Residual([nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)])], (4,)),
    "Residual with projection": (
        lambda nn: [nn.Residual([nn.Residual([nn.Linear(4, 4)]), nn.Linear(4, 3)], projection=nn.Linear(4, 3))], (4,)
    ),
    "RNN": (lambda nn: [nn.RNN(3, 4, nonlinearity="relu", bidirectional=True)], (6, 3)),
    "GRU": (lambda nn: [nn.GRU(3, 4, num_layers=2, bidirectional=True, return_sequences=False)], (6, 3)),
    "LSTM": (lambda nn: [nn.LSTM(3, 4, num_layers=2, bias=False)], (6, 3)),
    "LSTM and its last state": (lambda nn: [nn.LSTM(3, 4, bidirectional=True, return_sequences=False)], (6, 3)),
    "Softmax": (lambda nn: [nn.Softmax()], (3, 5)),
    "Softmax along channels": (lambda nn: [nn.Softmax(axis=1)], (3, 5)),
    "LogSoftmax": (lambda nn: [nn.LogSoftmax()], (5,)),
    "Softmin": (lambda nn: [nn.Softmin(axis=1)], (3, 5)),
    "Sparsemax": (lambda nn: [nn.Sparsemax()], (9,)),
    "Sparsemax along channels": (lambda nn: [nn.Sparsemax(axis=1)], (9, 3)),
    "GLU": (lambda nn: [nn.GLU()], (3, 6)),
    "SwiGLU": (lambda nn: [nn.SwiGLU(axis=1)], (4, 3)),
    "GEGLU": (lambda nn: [nn.GEGLU()], (6,)),
    "ReGLU": (lambda nn: [nn.ReGLU()], (6,)),
    "Maxout": (lambda nn: [nn.Maxout(3)], (6, 4)),
    "Maxout along the last axis": (lambda nn: [nn.Maxout(2, axis=-1)], (3, 4)),
    "APL": (lambda nn: [nn.APL(3)], (5, 4)),
    "APL of channels": (lambda nn: [nn.APL(2, num_parameters=5)], (5, 4)),
    "PReLU of channels": (lambda nn: [nn.PReLU(num_parameters=3)], (3, 5)),
    "PReLU along the last axis": (lambda nn: [nn.PReLU(num_parameters=5, axis=-1)], (3, 5)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS_OF_WEIGHTS.values(), ids=LAYERS_OF_WEIGHTS)
def test_layers(case, rng):
    make, shape = case
    model = moved(nd.nn.Sequential(*make(nd.nn), seed=3), rng)
    x = rng.normal(size=(5, *shape)).astype(np.float32) * 2
    np.testing.assert_allclose(run(model, x, shape), model.predict(x), rtol=1e-5, atol=1e-5)


def test_every_layer_is_among_them():
    ours = {name for name, cls in LAYERS.items() if cls.__module__.startswith("numbadl.") and not name.startswith("_")}
    tested = {name.split()[0] for name in LAYERS_OF_WEIGHTS} | {cls.__name__ for cls in ACTIVATION_LAYERS.values()}
    abstract = {"ActivationLayer", "Spatial", "Pool", "Recurrent", "DeclaredActivation"}
    assert ours - abstract - tested == {"Embedding", "Sequential"}
    assert set(FAMILIES) <= tested


def test_a_state_that_is_kept_has_no_form():
    with pytest.raises(TypeError, match="LSTM.*it keeps its state"):
        to_model(nd.nn.Sequential(nd.nn.LSTM(3, 4, stateful=True)), (6, 3))


def test_embedding(rng):
    model = nd.nn.Sequential(nd.nn.Embedding(7, 4), nd.nn.Flatten(), nd.nn.Linear(12, 2))
    x = rng.integers(0, 7, (5, 3))
    np.testing.assert_allclose(run(model, x, (3,)), model.predict(x), rtol=1e-5, atol=1e-6)


FAST = ("relu", "silu", "gelu", "snake")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in ACTIVATION_LAYERS]
)
def test_activations(name, rng):
    """Values around 1 and far out, against the layer itself; and in float64 against the formula, to what the operators give."""
    record = ACTIVATION_LAYERS[name].function.record
    x = np.concatenate([rng.normal(size=(40, 4)) * 3, [[-60.0, -20.0, 20.0, 60.0]]])
    model = nd.nn.Sequential(ACTIVATION_LAYERS[name]())
    few = x.astype(np.float32)
    np.testing.assert_allclose(run(model, few, (4,)), model.predict(few), rtol=3e-5, atol=3e-6)
    if record.random or record.alternating:
        return
    parameters = [np.longdouble(p.default) for p in record.parameters]
    with np.errstate(all="ignore"):
        wanted = formulas.ACTIVATIONS[record.name][0](formulas.WIDE, x.astype(np.longdouble), *parameters)
    found = run(nd.nn.Sequential(ACTIVATION_LAYERS[name](), dtype=np.float64), x, (4,))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted.astype(float), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LeakyReLU", {"negative_slope": 0.3}), ("ELU", {"alpha": 0.3}), ("Hardtanh", {"min_val": -0.3, "max_val": 2.0}),
        ("Softplus", {"beta": 0.5, "threshold": 5.0}), ("GELU", {"approximate": "tanh"}), ("RReLU", {"lower": 0.1, "upper": 0.5}),
    ],
)  # fmt: skip
def test_parameters_of_activations(name, options, rng):
    model = nd.nn.Sequential(getattr(nd.nn, name)(**options))
    x = rng.normal(size=(20, 4)).astype(np.float32) * 4
    np.testing.assert_allclose(run(model, x, (4,)), model.predict(x), rtol=1e-5, atol=1e-6)


def test_somebodys_own_activation(rng):
    @nd.activation
    def ripple(x, rate=2.0):
        if x < -1:
            return -np.log1p(abs(x)) * 0.5
        total = x
        for k in range(1, 4):
            total = total + np.sin(rate * k * x) / k
        return max(total, x) if x > 0 else total

    model = nd.nn.Sequential(ripple.layer(rate=1.5))
    x = rng.normal(size=(20, 4)).astype(np.float32) * 2
    np.testing.assert_allclose(run(model, x, (4,)), model.predict(x), rtol=1e-5, atol=1e-6)


def test_files(tmp_path, rng):
    """A net that was trained, from the file; the input's shape is known."""
    x, y = rng.normal(size=(60, 6)).astype(np.float32), rng.integers(0, 3, 60)
    model = nd.nn.Sequential(
        nd.nn.Linear(6, 8), nd.nn.BatchNorm(8), nd.nn.SiLU(), nd.nn.Dropout(0.3), nd.nn.Linear(8, 3)
    )
    model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(lr=1e-2), epochs=3, progress=False)
    model.to_onnx(tmp_path / "net.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"input": x})
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


class Halved(nd.nn.ReLU):
    def forward(self, x, training=False):
        return super().forward(x, training) / 2


class Doubled(nd.nn.Layer):
    def forward(self, x, training=False):
        return 2 * x


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(TypeError, match=r"layer 1, Doubled\(\): has no form in ONNX; accepted are .*Linear"):
        nd.nn.Sequential(nd.nn.ReLU(), Doubled()).to_onnx(path, (4,))
    with pytest.raises(TypeError, match=r"layer 1, Halved\(\): has a forward of its own, which cannot be written"):
        nd.nn.Sequential(nd.nn.ReLU(), Halved()).to_onnx(path, (4,))
    with pytest.raises(
        ValueError, match="input_shape: got None, needed for a model whose first layer takes inputs of several"
    ):
        nd.nn.Sequential(nd.nn.ReLU()).to_onnx(path)
    with pytest.raises(ValueError, match=r"input_shape: layer 0, Linear.*: x: got shape \(1, 5\)"):
        nd.nn.Sequential(nd.nn.Linear(4, 2)).to_onnx(path, (5,))
    with pytest.raises(ValueError, match="input_shape: got 0, accepted are positive integers"):
        nd.nn.Sequential(nd.nn.ReLU()).to_onnx(path, (0,))
    with pytest.raises(TypeError, match="path: got 3, accepted are strings and paths"):
        nd.nn.Sequential(nd.nn.Linear(4, 2)).to_onnx(3)
    assert not path.exists()


def test_a_function_of_bits_has_no_graph():
    from numbadl.kernels.scalar.random import random_bits

    from numbadl.interop._onnx_formulas import Graph, NoGraph, Tensor, graph_of

    graph = Graph(np.float32)
    with pytest.raises(NoGraph, match="random_bits: .*//.* has no ONNX operator"):
        graph_of(graph, random_bits, Tensor(graph, "x"), 1, 2)
    assert interop.OPSET >= 18


@pytest.mark.parametrize("page", ["README.md", "docs/interop-onnx.md"])
def test_the_examples_of_the_pages(page, tmp_path, monkeypatch):
    run_example(page, "model.to_onnx", tmp_path, monkeypatch)
