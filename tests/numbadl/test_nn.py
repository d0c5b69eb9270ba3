"""Layers and models: gradients of every layer, buffers, first weights, what training and evaluation keep apart."""

import copy
import functools
import pickle
import re
import warnings

import numpy as np
import pytest
import references as ref

import numbadl as nd
from numbadl.nn import LAYERS, Sequential, initializers
from numbadl.nn.activations import ACTIVATION_LAYERS, ActivationLayer
from numbadl.nn.recurrent import Recurrent
from numbadl.nn.spatial import Pool, Spatial

nn = nd.nn


@nd.activation(learnable=("alpha",))
def bent(x, alpha=0.5, slope=2.0):
    return slope * x if x > 0 else alpha * x * x


CASES = {
    "Linear": (lambda: nn.Linear(5, 4), (6, 5)),
    "Linear of sequences": (lambda: nn.Linear(5, 4), (2, 3, 5)),
    "Linear without bias": (lambda: nn.Linear(5, 1, bias=False), (3, 5)),
    "BatchNorm of columns": (lambda: nn.BatchNorm(5), (6, 5)),
    "BatchNorm of images": (lambda: nn.BatchNorm(2, eps=1e-3), (3, 2, 2, 3)),
    "BatchNorm without affine": (lambda: nn.BatchNorm(3, affine=False), (5, 3)),
    "BatchNorm with cumulative mean": (lambda: nn.BatchNorm(3, momentum=None), (5, 3)),
    "LayerNorm": (lambda: nn.LayerNorm(5), (6, 5)),
    "LayerNorm of two axes": (lambda: nn.LayerNorm((2, 3), eps=1e-3, bias=False), (3, 2, 2, 3)),
    "LayerNorm without affine": (lambda: nn.LayerNorm(5, elementwise_affine=False), (6, 5)),
    "RMSNorm": (lambda: nn.RMSNorm(5), (6, 5)),
    "RMSNorm without affine": (lambda: nn.RMSNorm([2, 3], eps=1e-3, elementwise_affine=False), (3, 2, 2, 3)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5)),
    "GroupNorm without affine": (lambda: nn.GroupNorm(1, 4, affine=False), (3, 4)),
    "InstanceNorm": (lambda: nn.InstanceNorm(3), (2, 3, 5)),
    "InstanceNorm with affine": (lambda: nn.InstanceNorm(3, affine=True), (2, 3, 2, 2)),
    "Dropout": (lambda: nn.Dropout(0.4), (6, 5)),
    "AlphaDropout": (lambda: nn.AlphaDropout(0.4), (6, 5)),
    "GaussianDropout": (lambda: nn.GaussianDropout(0.4), (6, 5)),
    "FeatureDropout": (lambda: nn.FeatureDropout(0.4), (6, 5, 3)),
    "Flatten": (lambda: nn.Flatten(), (3, 2, 4)),
    "Reshape": (lambda: nn.Reshape((2, -1)), (3, 4, 2)),
    "Conv1d": (lambda: nn.Conv1d(3, 2, 3), (2, 3, 5)),
    "Conv1d of every option": (lambda: nn.Conv1d(4, 2, 2, 2, 1, 3, groups=2, bias=False), (2, 4, 6)),
    "Conv1d of one element": (lambda: nn.Conv1d(2, 3, 1), (3, 2, 4)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 4, 5)),
    "Conv2d of every option": (lambda: nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 2), (1, 2), groups=2), (2, 2, 4, 5)),
    "Conv2d as large as its input": (lambda: nn.Conv2d(2, 2, (3, 5), padding="same", bias=False), (1, 2, 3, 4)),
    "Conv2d of each channel": (lambda: nn.Conv2d(3, 3, 2, groups=3), (2, 3, 3, 3)),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 1, 1, 2), (2, 2, 7)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (2, 3, 5, 4)),
    "MaxPool2d of every option": (lambda: nn.MaxPool2d((3, 2), (2, 1), (1, 1), (1, 2), ceil_mode=True), (2, 2, 6, 5)),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 2, 7)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (2, 3, 4, 5)),
    "AvgPool2d of every option": (lambda: nn.AvgPool2d((3, 2), (2, 1), 1, True, count_include_pad=False), (2, 2, 6, 5)),
    "AvgPool2d beyond the padding": (lambda: nn.AvgPool2d(3, 3, 1, ceil_mode=True), (2, 1, 6, 6)),
    "GlobalMaxPool": (lambda: nn.GlobalMaxPool(), (2, 3, 3, 4)),
    "GlobalAvgPool": (lambda: nn.GlobalAvgPool(), (2, 3, 3, 4)),
    "GlobalAvgPool of one axis": (lambda: nn.GlobalAvgPool(), (2, 3, 5)),
    "Residual": (lambda: nn.Residual([nn.Linear(5, 3), nn.BatchNorm(3), nn.Tanh(), nn.Linear(3, 5)]), (6, 5)),
    "Residual with dropout in Residual": (
        lambda: nn.Residual([nn.Residual([nn.Dropout(0.4)]), nn.Dropout(0.2)]),
        (6, 5),
    ),
    "Residual with a projection": (
        lambda: nn.Residual([nn.Conv2d(2, 3, 3, 2, 1), nn.BatchNorm(3)], nn.Conv2d(2, 3, 1, 2, bias=False)),
        (2, 2, 4, 3),
    ),
    "RNN": (lambda: nn.RNN(3, 4), (2, 5, 3)),
    "RNN of every option": (
        lambda: nn.RNN(
            2,
            3,
            2,
            nonlinearity="relu",
            bias=False,
            dropout=0.4,
            bidirectional=True,
            return_sequences=False,
            initialization="orthogonal",
        ),
        (2, 4, 2),
    ),
    "GRU": (lambda: nn.GRU(3, 4), (2, 5, 3)),
    "GRU of every option": (
        lambda: nn.GRU(2, 3, 3, dropout=0.4, bidirectional=True, initialization="orthogonal"),
        (2, 3, 2),
    ),
    "LSTM": (lambda: nn.LSTM(3, 4), (2, 5, 3)),
    "LSTM of every option": (
        lambda: nn.LSTM(2, 3, 2, bias=False, dropout=0.4, bidirectional=True, initialization="orthogonal"),
        (2, 4, 2),
    ),
    "LSTM of one state": (lambda: nn.LSTM(2, 3, return_sequences=False), (2, 4, 2)),
    "Softmax": (lambda: nn.Softmax(), (4, 5)),
    "DeclaredActivation": (lambda: bent.layer(num_parameters=5), (6, 5)),
    "Softmax of channels": (lambda: nn.Softmax(axis=1), (3, 4, 2)),
    "Maxout": (lambda: nn.Maxout(2), (4, 6)),
    "APL": (lambda: nn.APL(2), (6, 5)),
    "APL of channels": (lambda: nn.APL(2, num_parameters=3), (4, 3, 2)),
    "PReLU of channels": (lambda: nn.PReLU(num_parameters=3), (4, 3, 2)),
    **{name: (cls, (4, 6)) for name, cls in nn.FAMILIES.items() if name not in ("Softmax", "Maxout", "APL")},
    **{cls.__name__: (cls, (6, 5)) for cls in ACTIVATION_LAYERS.values()},
}
ABSTRACT = {ActivationLayer, Sequential, Spatial, Pool, Recurrent}
OF_NUMBERS = {nn.Embedding}  # test_embedding.py
VARIANT = re.compile("option|without|beyond|as large|of each|of one|in Residual|APL of|cumulative")
# Layers of activations are made alike: in float64, and but for one of each kind, they are tested in the slow part.
ONE_OF_EACH_KIND = {"Tanh", "LeakyReLU", "PReLU", "RReLU", "BReLU", "GELU", "DeclaredActivation"}


def each(fast):
    slow = {*(cls.__name__ for cls in ACTIVATION_LAYERS.values()), "DeclaredActivation"}
    alike = ("Layer", "RMS", "Group", "Instance", "RNN", "GRU")
    slow |= {name for name in CASES if name.startswith(alike) or VARIANT.search(name)}
    slow -= fast
    return pytest.mark.parametrize(
        "case", [pytest.param(c, marks=[pytest.mark.slow] if c in slow else []) for c in CASES]
    )


NORMS = {"LayerNorm", "LayerNorm of two axes", "RMSNorm", "GroupNorm", "InstanceNorm with affine"}
EACH, EVERY = each({"Tanh", "PReLU", "RReLU", "LayerNorm"}), each(ONE_OF_EACH_KIND | NORMS | {"GRU", "RNN"})


def away_from_zero(rng, shape):
    x = rng.normal(size=shape)
    return x + np.sign(x) * 0.01  # where activations have kinks


def check_gradients(model, x, rng):
    """Backward against central differences of forward, for the input and every parameter."""
    positive = any(isinstance(layer, nn.SoftExponential) for layer in model.layers)  # otherwise it has a domain
    for value in model.parameters().values():
        start = away_from_zero(rng, value.shape)
        value[...] = np.abs(start) if positive else start
    model.reseed(7)
    grad = rng.normal(size=model.forward(x, training=True).shape)

    def loss():
        model.reseed(7)  # the same dropout masks each time
        return float(np.sum(grad * model.forward(x, training=True)))

    loss()
    dx = model.backward(grad, input_gradient=True).copy()
    found = {key: value.copy() for key, value in model.gradients().items()}
    np.testing.assert_allclose(dx, ref.numeric_gradient(loss, x), rtol=1e-6, atol=1e-7)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(found[key], ref.numeric_gradient(loss, value), rtol=1e-6, atol=1e-7, err_msg=key)


# -- every layer -----------------------------------------------------------------------------------------------
def test_every_layer_has_a_case():
    tested = {type(make()) for make, _ in CASES.values()}
    ours = {cls for name, cls in LAYERS.items() if cls.__module__.startswith("numbadl.") and name[0] != "_"}
    assert ours - ABSTRACT - OF_NUMBERS <= tested, "add a case"


@EACH
def test_gradients(case, rng):
    make, shape = CASES[case]
    check_gradients(Sequential(make(), dtype=np.float64), away_from_zero(rng, shape), rng)


@EVERY
def test_shapes_and_types(case, rng):
    make, shape = CASES[case]
    layer = make()
    x = away_from_zero(rng, shape).astype(np.float32)
    kept = x.copy()
    y = layer.forward(x, training=True)
    assert y.shape == (shape[0], *layer.output_shape(shape[1:])) and y.dtype == np.float32
    dx = layer.backward(np.ones_like(y))
    assert dx.shape == shape and dx.dtype == np.float32
    assert np.array_equal(x, kept)
    assert {k: v.shape for k, v in layer.parameters().items()} == layer.shapes()
    assert {k: v.shape for k, v in layer.gradients().items()} == layer.shapes()


@EVERY
def test_rebuilt_from_its_config(case):
    layer = CASES[case][0]()
    again = LAYERS[type(layer).__name__](**layer.config())
    assert repr(again) == repr(layer) and again.shapes() == layer.shapes() and again.config() == layer.config()


@EVERY
def test_evaluation_leaves_what_backward_needs(case, rng):
    """forward(training=False) between forward(training=True) and backward, of another batch, changes nothing."""
    make, shape = CASES[case]
    x, grad = away_from_zero(rng, shape).astype(np.float32), None
    results = []
    for interrupted in (False, True):
        model = Sequential(make())
        y = model.forward(x, training=True)
        grad = rng.normal(size=y.shape).astype(np.float32) if grad is None else grad
        if interrupted:
            model.forward(away_from_zero(rng, (shape[0] + 2, *shape[1:])).astype(np.float32))
        results.append(model.backward(grad, input_gradient=True).copy())
        results.append(model.flat_gradients.copy())
    assert np.array_equal(results[0], results[2]) and np.array_equal(results[1], results[3])


@EVERY
def test_results_of_evaluation_are_not_overwritten(case, rng):
    make, shape = CASES[case]
    model = Sequential(make())
    x = away_from_zero(rng, shape).astype(np.float32)
    first = model.forward(x)
    kept = first.copy()
    model.forward(2 * x)
    model.forward(2 * x, training=True)
    assert np.array_equal(first, kept)


def test_deep_gradients(rng):
    model = Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(4, 3), dtype=np.float64, seed=5,
    )  # fmt: skip
    check_gradients(model, away_from_zero(rng, (7, 2, 3)), rng)


@pytest.mark.parametrize("p", [0.3, 1.0, 1e-12])
def test_relu_and_dropout_are_one_pass_of_the_same_result(p, rng):
    model, other = (Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Dropout(p), nn.Linear(40, 3), seed=3) for _ in range(2))
    x = rng.normal(size=(300, 30)).astype(np.float32)
    for _ in range(2):
        y = model.forward(x, training=True)
        assert np.array_equal(y, functools.reduce(lambda h, layer: layer.forward(h, training=True), other.layers, x))
        grad = rng.normal(size=y.shape).astype(np.float32)

        def each(layers, grad=grad):
            return functools.reduce(lambda g, layer: layer.backward(g), reversed(layers), grad)

        dx = model.backward(grad, input_gradient=True).copy()
        assert np.array_equal(dx, each(other.layers))
        assert np.array_equal(model.flat_gradients, other.flat_gradients)
        assert np.array_equal(dx, each(model.layers))
        assert dx.any() or p == 1


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("owner", ["relu", "dropout", "class"])
@pytest.mark.parametrize("before", [0, 4])
def test_a_relu_or_dropout_with_a_method_of_the_user_is_asked(owner, method, before, rng, monkeypatch):
    model, plain = (Sequential(nn.ReLU(), nn.Dropout(0.3)) for _ in range(2))
    x, grad = rng.normal(size=(2, 300, 40)).astype(np.float32)
    for _ in range(before):  # steps that are repeated
        for each in (model, plain):
            each.backward(each.forward(x, training=True), input_gradient=True)
    changed = {"relu": model.layers[0], "dropout": model.layers[1], "class": nn.ReLU}[owner]
    theirs, calls = getattr(changed, method), []

    def observed(*args, **options):
        calls.append(args)
        return theirs(*args, **options)

    monkeypatch.setattr(changed, method, observed)
    assert np.array_equal(model.forward(x, training=True), plain.forward(x, training=True))
    dx = model.backward(grad, input_gradient=True)
    assert calls and np.array_equal(dx, plain.backward(grad, input_gradient=True))


# -- any axes before the last --------------------------------------------------------------------------------------
def test_linear_takes_any_axes_before_the_features(rng):
    layer, other = nn.Linear(5, 4), nn.Linear(5, 4)
    for x in (rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(6, 5, 2)).transpose(2, 0, 1), rng.normal(size=(0, 3, 5))):
        x = x.astype(np.float32)
        grad, rows = rng.normal(size=(*x.shape[:-1], 4)).astype(np.float32), np.ascontiguousarray(x).reshape(-1, 5)
        assert np.array_equal(layer.forward(x), other.forward(rows).reshape(grad.shape))
        for _ in range(2):  # arrays that it knows again
            x *= 2
            rows *= 2
            y = layer.forward(x, training=True)
            assert np.array_equal(y, other.forward(rows, training=True).reshape(grad.shape))
            assert np.array_equal(layer.backward(grad), other.backward(grad.reshape(-1, 4)).reshape(x.shape))
            for mine, theirs in zip(layer.gradients().values(), other.gradients().values(), strict=True):
                assert np.array_equal(mine, theirs)
    layer.forward(np.ones((2, 3, 5), np.float32), training=True)
    with pytest.raises(ValueError, match=r"grad: got shape \(3, 2, 4\), expected \(2, 3, 4\)"):
        layer.backward(np.ones((3, 2, 4), np.float32))
    for wrong in ((5,), (2, 3, 4)):
        with pytest.raises(ValueError, match=r"x: got shape .*, expected \(N, ..., 5\)"):
            layer.forward(np.ones(wrong, np.float32))


SEQUENCES = {
    "recurrent": [nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.1), nn.LayerNorm(6), nn.GRU(6, 4), nn.Linear(4, 2)],
    "flat": [nn.Linear(5, 6), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)],
    "residual": [nn.Residual([nn.Linear(5, 5), nn.ReLU()]), nn.Linear(5, 4), nn.RNN(4, 2)],
    "two axes": [nn.Linear(5, 6), nn.LayerNorm((3, 6)), nn.Reshape(18), nn.Linear(18, 2)],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_models_of_sequences_that_begin_with_linear(name, rng):
    model = Sequential(*SEQUENCES[name])
    x = rng.normal(size=(4, 3, 5)).astype(np.float32)
    y = model.forward(x, training=True)
    assert y.shape == ((4, 2) if name in ("flat", "two axes") else (4, 3, 2))
    assert model.backward(np.ones_like(y), input_gradient=True).shape == x.shape


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: [nn.Linear(4, 8), nn.Tanh(), nn.GRU(9, 2)], r"layer 2, .*takes \(L, 9\).*, but layer 0, .*gives 8"),
        (lambda: [nn.Linear(4, 8), nn.LayerNorm((3, 9))], "layer 1, .*but layer 0, Linear.* gives 8"),
        (lambda: [nn.Residual([nn.Linear(4, 8)])], r"adds \(8,\), what its layers give, to \(4,\)"),
        (
            lambda: [nn.Linear(4, 8), nn.GRU(8, 3), nn.Linear(4, 1)],
            "layer 2, .*takes 4 features, but layer 1, .* gives 3",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_known_for_any_axes(build, message):
    with pytest.raises(ValueError, match=message):
        Sequential(*build())


# -- buffers -----------------------------------------------------------------------------------------------------
def make_model(dtype=np.float32, seed=0):
    layers = [nn.Linear(6, 5), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)]
    return Sequential(*layers, dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_buffers(dtype, rng):
    model = make_model(dtype)
    assert list(model.parameters()) == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    covered = np.zeros(model.flat_parameters.size, bool)
    for arrays, flat in ((model.parameters(), model.flat_parameters), (model.gradients(), model.flat_gradients)):
        for value in arrays.values():
            start = value.__array_interface__["data"][0] - flat.__array_interface__["data"][0]
            assert np.shares_memory(value, flat) and value.flags.c_contiguous and start % 64 == 0
            covered[start // value.itemsize : start // value.itemsize + value.size] = True
    assert np.all(model.flat_parameters[~covered] == 0)
    x = rng.normal(size=(8, 6)).astype(dtype)
    model.backward(np.ones_like(model.forward(x, training=True)))
    assert np.all(model.flat_gradients[~covered] == 0) and np.any(model.flat_gradients != 0)
    before = model.forward(x)
    model.flat_parameters[...] = 0
    assert not np.array_equal(model.forward(x), before) and not model.parameters()["0.weight"].any()


def test_a_step_allocates_nothing(rng, allocated):
    model = Sequential(nn.Linear(300, 400), nn.BatchNorm(400), nn.ReLU(), nn.Dropout(0.2), nn.Linear(400, 50))
    optimizer = nd.optim.AdamW(model)
    x, labels = rng.normal(size=(500, 300)).astype(np.float32), rng.integers(0, 50, 500)
    out = np.empty((500, 50), np.float32)

    def step():
        _, grad = nd.losses.cross_entropy.value_and_grad(model.forward(x, training=True), labels, out=out)
        model.backward(grad)
        optimizer.step()

    step()
    step()
    peak = allocated(step)
    assert peak < 100_000, f"{peak} bytes; a result of the smallest layer has {out.nbytes}"


REPEATING = {
    "BatchNorm": lambda **o: nn.BatchNorm(6, **o), "LayerNorm": lambda **o: nn.LayerNorm(6, **o),
    "RMSNorm": lambda **o: nn.RMSNorm(6, **o), "GroupNorm": lambda **o: nn.GroupNorm(2, 6, **o),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPEATING)
def test_calls_that_are_repeated_give_what_first_calls_give(kind, rng):
    """Whatever is in the arrays, in whichever layout; after a change of an argument, of the shape and of parameters."""
    make = REPEATING[kind]
    layer, options = make(), {}

    def fresh():
        other = make(**options)
        for name, value in layer.state().items():
            other.state()[name][...] = value
        return other

    def check(x, grad):
        other, before = fresh(), grad.copy()
        assert np.array_equal(layer.forward(x, training=True), other.forward(x, training=True))
        dx = layer.backward(grad)
        assert np.array_equal(dx, other.backward(before))
        for found, wanted in ((layer.gradients(), other.gradients()), (layer.state(), other.state())):
            assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
        return dx

    def arrays(n, order="C"):
        return (np.asarray(rng.normal(2, 3, (n, 6)), np.float32, order=order) for _ in range(2))

    for n in (5, 5, 5, 4, 5, 5):
        dx = check(*arrays(n))
    check(*arrays(5, order="F"))
    check(next(arrays(5)), dx)  # in place
    layer.eps = options["eps"] = 0.5
    check(*arrays(5))
    if kind == "BatchNorm":
        layer.momentum = options["momentum"] = 0.7
        check(*arrays(5))
        layer.momentum = options["momentum"] = None
        for _ in range(2):
            check(*arrays(5))
    layer.parameters()["weight"][...] = 3
    check(*arrays(5))
    layer.forward(next(arrays(5)))  # an evaluation in between
    check(*arrays(5))
    wrong = rng.normal(size=(5, 6))
    with pytest.raises(TypeError, match="x: got dtype float64"):
        layer.forward(wrong, training=True)
    layer.forward(next(arrays(5)), training=True)
    with pytest.raises(TypeError, match="dtype"):
        layer.backward(wrong)
    with pytest.raises(ValueError, match="shape"):
        layer.backward(wrong[:4].astype(np.float32))
    with pytest.raises(ValueError, match="overlaps"):
        work = np.empty((6, 6), np.float32)
        layer._workspace["dx"] = work[:5]
        layer.backward(work[1:])


def test_smaller_batches_after_larger_ones(rng):
    model = make_model()
    for n in (8, 3, 8, 9, 2):
        x = rng.normal(size=(n, 6)).astype(np.float32)
        fresh = make_model()
        outputs = []
        for m in (model, fresh):
            m.reseed(n)
            y = m.forward(x, training=True)
            outputs += [y.copy(), m.backward(np.ones_like(y), input_gradient=True).copy(), m.flat_gradients.copy()]
        assert all(np.array_equal(a, b) for a, b in zip(outputs[:3], outputs[3:], strict=True))


def test_the_first_input_needs_no_gradient(rng):
    model = make_model()
    y = model.forward(rng.normal(size=(8, 6)).astype(np.float32), training=True)
    assert model.backward(np.ones_like(y)) is None
    assert model.gradients()["0.weight"].any()


def test_moving_to_another_dtype(rng):
    model = make_model()
    optimizer = nd.optim.AdamW(model)
    x = rng.normal(size=(8, 6)).astype(np.float32)
    model.forward(x, training=True)  # running statistics move, too
    before = model.forward(x)
    assert model.to(dtype=np.float64) is model and model.dtype == np.float64
    after = model.forward(x.astype(np.float64))
    assert after.dtype == np.float64
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError, match="bind"):
        optimizer.step()
    optimizer.bind(model)
    optimizer.step()


# -- layers with a memory ---------------------------------------------------------------------------------------------
def test_batch_norm_statistics(rng):
    layer, cumulative = nn.BatchNorm(3, momentum=0.2), nn.BatchNorm(3, momentum=None)
    mean, var, means, variances = np.zeros(3), np.ones(3), [], []
    for _ in range(5):
        x = (rng.normal(size=(10, 3, 4)) * 2 + 5).astype(np.float32)
        layer.forward(x, training=True)
        cumulative.forward(x, training=True)
        means.append(x.mean(axis=(0, 2), dtype=np.float64))
        variances.append(x.var(axis=(0, 2), dtype=np.float64, ddof=1))
        mean, var = 0.8 * mean + 0.2 * means[-1], 0.8 * var + 0.2 * variances[-1]
    np.testing.assert_allclose(layer.state()["running_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(layer.state()["running_var"], var, rtol=1e-5)
    np.testing.assert_allclose(cumulative.state()["running_mean"], np.mean(means, axis=0), rtol=1e-5)
    np.testing.assert_allclose(cumulative.state()["running_var"], np.mean(variances, axis=0), rtol=1e-5)
    assert layer.state()["num_batches_tracked"] == cumulative.state()["num_batches_tracked"] == 5
    expected = (x - mean[:, None]) / np.sqrt(var + 1e-5)[:, None]
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_layers_draw_different_masks(rng):
    x = np.ones((50, 40), np.float32)
    model = Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    first, second = model.layers

    def masks(seed, steps):
        model.reseed(seed)
        found = []
        for _ in range(steps):
            found += [first.forward(x, training=True) != 0, second.forward(x, training=True) != 0]
        return found

    found = masks(0, 3) + masks(1, 3)
    for i, a in enumerate(found):
        assert abs(a.mean() - 0.5) < 0.06
        assert all(abs((a == b).mean() - 0.5) < 0.06 for b in found[:i])
    again = masks(0, 3)
    assert all(np.array_equal(a, b) for a, b in zip(again, found[:6], strict=True))
    assert model.forward(x) is x  # evaluation is the identity


# -- first weights -------------------------------------------------------------------------------------------------
def test_first_weights():
    make = lambda seed: Sequential(nn.Linear(40, 40), nn.Linear(40, 40), seed=seed)  # noqa: E731
    a, again, other = make(3), make(3), make(4)
    assert np.array_equal(a.flat_parameters, again.flat_parameters)
    assert not np.array_equal(a.flat_parameters, other.flat_parameters)
    weights = a.parameters()
    assert np.abs(np.corrcoef(weights["0.weight"].ravel(), weights["1.weight"].ravel())[0, 1]) < 0.1
    assert not weights["0.bias"].any() and not weights["1.bias"].any()


@pytest.mark.parametrize("name", nd.ACTIVATIONS)
def test_initialiser_suits_the_activation_behind(name):
    rule = nd.ACTIVATIONS[name].initialization
    variance = {"he": 2 / 300, "xavier": 2 / 500, "lecun": 1 / 300}[rule]
    for between in ([], [nn.BatchNorm(200), nn.LayerNorm(200), nn.Dropout(0.1)]):
        model = Sequential(nn.Linear(300, 200), *between, nn.activation_layer(name), nn.Linear(200, 2))
        weight = model.parameters()["0.weight"]
        assert np.isclose(weight.var(), variance, rtol=0.03) and np.abs(weight).max() <= np.sqrt(3 * variance) * (
            1 + 1e-6
        )
        assert np.isclose(model.layers[-1].parameters()["weight"].var(), 1 / 200, rtol=0.2)  # nothing behind: lecun
    assert np.isclose(initializers.limit(rule, 300, 200), np.sqrt(3 * variance))


# -- errors and the summary ----------------------------------------------------------------------------------------
def test_errors():
    for wrong in (0, -1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="in_features: got "):
            nn.Linear(wrong, 3)
        with pytest.raises(ValueError, match="num_features: got "):
            nn.BatchNorm(wrong)
    for p in (-0.1, 1.1, np.nan, "a", None, True, [0.5]):
        with pytest.raises(ValueError, match="p: got .*, accepted are numbers from 0 to 1"):
            nn.Dropout(p)
    for momentum in (-0.1, 1.1, np.nan, "a"):
        with pytest.raises(ValueError, match="momentum: got .*, accepted are numbers from 0 to 1"):
            nn.BatchNorm(3, momentum=momentum)
    for eps in (0, -1e-5, np.nan, "a", None):
        with pytest.raises(ValueError, match="eps: got .*, accepted are numbers above 0"):
            nn.BatchNorm(3, eps=eps)
        for cls, sizes in ((nn.LayerNorm, (3,)), (nn.GroupNorm, (1, 3)), (nn.InstanceNorm, (3,))):
            with pytest.raises(ValueError, match="eps: got .*, accepted are numbers above 0"):
                cls(*sizes, eps=eps)
    with pytest.raises(ValueError, match="num_groups: got 4, accepted are divisors of num_channels, 6"):
        nn.GroupNorm(4, 6)
    with pytest.raises(TypeError, match="normalized_shape: got 2.0"):
        nn.LayerNorm(2.0)
    with pytest.raises(ValueError, match="normalized_shape: got -1"):
        nn.RMSNorm((3, -1))
    with pytest.raises(ValueError, match="activation: got 'relux', accepted are identity.*did you mean 'relu'"):
        nn.activation_layer("relux")
    with pytest.raises(TypeError, match="layer 0: got list, .*; .layers gives those of a list"):
        nn.Sequential([nn.Linear(3, 2)])
    with pytest.raises(TypeError, match=r"layer 0: got the class ReLU, .*, such as ReLU\(...\)"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(TypeError, match="layer 1: got .*ActivationFunction, .*; nn.activation_layer makes one"):
        nn.Sequential(nn.Linear(3, 2), nd.relu)
    with pytest.raises(TypeError, match="layer 1: got 'relu'"):
        Sequential(nn.ReLU(), "relu")
    layer = nn.ReLU()
    with pytest.raises(ValueError, match="the same layer stands in two places"):
        Sequential(layer, layer)
    with pytest.raises(TypeError, match="dtype: got int32"):
        Sequential(nn.ReLU(), dtype=np.int32)
    with pytest.raises(ValueError, match="device: got 'tpu'"):
        make_model().to("tpu")
    with pytest.raises(TypeError, match="dtype: got int32"):
        make_model().to(dtype=np.int32)


def test_a_layer_may_not_take_the_name_of_ours(tmp_path):
    linear = LAYERS["Linear"]
    with pytest.raises(TypeError, match="class Linear: numbadl.nn has a layer of that name"):
        type("Linear", (nn.Layer,), {"__module__": __name__})
    with pytest.raises(TypeError, match="class ReLU: numbadl.nn has a layer of that name"):
        type("ReLU", (nn.ReLU,), {"__module__": __name__})
    assert LAYERS["Linear"] is linear
    again = type("Passing", (Passing,), {"__module__": __name__})  # a cell of a notebook that runs twice
    Sequential(again(), nn.Linear(2, 1)).save(tmp_path / "m.safetensors")
    assert type(nn.load(tmp_path / "m.safetensors").layers[0]) is again
    LAYERS["Passing"] = Passing


class Passing(nn.Layer):
    """A user's layer that says nothing of shapes."""

    def forward(self, x, training=False):
        return x

    def backward(self, grad, input_gradient=True):
        return grad


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(4, 8), nn.Linear(9, 2)], r"layer 1, Linear\(in_features=9.*takes 9 .*layer 0, Linear.* gives 8"),
        ([nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(9, 2)], "layer 3, .*but layer 0, Linear.*gives 8"),
        ([nn.Linear(4, 8), nn.BatchNorm(9)], "layer 1, BatchNorm.*takes 9 .*layer 0, Linear.* gives 8"),
        (
            [nn.Linear(4, 8), nn.LayerNorm(9)],
            r"layer 1, LayerNorm.*last axes are \(9,\), but layer 0, Linear.* gives 8",
        ),
        ([nn.Linear(4, 8), nn.GroupNorm(3, 9)], "layer 1, GroupNorm.*takes 9 channels, but layer 0, Linear.* gives 8"),
        ([nn.Linear(4, 8), nn.InstanceNorm(9)], "layer 1, InstanceNorm.*takes 9 features, but layer 0, .* gives 8"),
        ([nn.Linear(4, 8), nn.BatchNorm(8), nn.Flatten(), nn.Softmax(), nn.Linear(4, 2)], "layer 4, Linear.*layer 0"),
        ([Passing(), nn.Linear(4, 8), Passing(), nn.Linear(9, 2), nn.Linear(3, 1)], "layer 4, .*layer 3, Linear"),
    ],
    ids=repr,
)
def test_sizes_that_do_not_fit_are_found_as_the_model_is_built(layers, message):
    with pytest.raises(ValueError, match=message):
        Sequential(*layers)


def test_sizes_that_only_an_input_tells_are_no_error():
    Sequential(nn.Linear(4, 8), Passing(), nn.Linear(9, 2))
    model = Sequential(nn.BatchNorm(3), nn.Flatten(), nn.Linear(12, 2))
    assert model.forward(np.zeros((5, 3, 2, 2), np.float32)).shape == (5, 2)


@pytest.mark.parametrize("case", [*CASES, "a model"])
def test_wrong_inputs_of_forward(case):
    make, shape = CASES.get(case, (make_model, (4, 6)))
    forward, x = make().forward, np.zeros(shape, np.float32)
    with pytest.raises(
        TypeError, match=r"x: got list, accepted are numpy.ndarray and CUDA arrays; np.array\(x, np.float32\) makes one"
    ):
        forward(x.tolist())
    with pytest.raises(TypeError, match=r"x: got dtype float64, accepted is float32; x.astype\(np.float32\) converts"):
        forward(x.astype(np.float64))
    with pytest.raises(TypeError, match="x: got numpy.ma.MaskedArray, accepted are plain arrays; .filled"):
        forward(np.ma.masked_equal(x, 1))
    with warnings.catch_warnings():  # not the one of NumPy, whose matrices are deprecated
        warnings.simplefilter("ignore")
        matrix = np.matrix(np.zeros((4, 6), np.float32))
    with pytest.raises(TypeError, match="x: got numpy.matrix, accepted are plain arrays"):
        forward(matrix)


@EVERY
def test_backward_before_forward(case, rng):
    make, shape = CASES[case]
    x = away_from_zero(rng, shape).astype(np.float32)
    layer = make()
    y = layer.forward(x)
    with pytest.raises(RuntimeError, match=r"backward: .* needs a forward\(x, training=True\) before it"):
        layer.backward(np.ones_like(y))
    model = Sequential(make())
    model.forward(x, training=True)
    model.to(dtype=np.float64)  # what forward kept is of the old dtype
    with pytest.raises(RuntimeError, match=r"backward: Sequential.* needs a forward"):
        model.backward(np.ones(y.shape))


def test_wrong_gradients_of_backward():
    model = make_model()
    y = model.forward(np.zeros((4, 6), np.float32), training=True)
    with pytest.raises(TypeError, match="grad: got list"):
        model.backward(y.tolist())
    with pytest.raises(ValueError, match=r"grad: got shape \(3, 3\), expected \(4, 3\)"):
        model.backward(y[:3])


def test_errors_of_forward_name_the_layer():
    model = make_model()
    with pytest.raises(ValueError, match=r"layer 0, Linear\(in_features=6.*got shape \(4, 7\), expected \(N, ..., 6\)"):
        model.forward(np.zeros((4, 7), np.float32))
    with pytest.raises(TypeError, match="float64"):
        model.forward(np.zeros((4, 6)))
    unknown = Sequential(Passing(), nn.Flatten(), nn.BatchNorm(4))  # nobody knows sizes before there is an input
    with pytest.raises(ValueError, match="layer 2, BatchNorm"):
        unknown.forward(np.zeros((4, 6), np.float32), training=True)
    with pytest.raises(ValueError, match="layer 1, BatchNorm.*at least 2 values"):
        make_model().forward(np.zeros((1, 6), np.float32), training=True)


def test_summary():
    text = make_model().summary()
    lines = text.splitlines()
    assert len(lines) == 7
    assert "Linear(in_features=6, out_features=5, bias=True)" in lines[1]
    assert lines[1].split()[-1] == "35" and "(N, 5)" in lines[1]
    assert "BatchNorm" in lines[2] and lines[2].split()[-1] == "10"
    assert "(N, 3)" in lines[5] and lines[5].split()[-1] == "18"
    assert "63 parameters" in lines[-1] and "float32 on cpu" in lines[-1]
    assert "1,001,000 parameters" in Sequential(nn.Linear(1000, 1000)).summary()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LayerNorm(6),
        lambda: nn.BatchNorm(6),
        lambda: nn.Residual([nn.BatchNorm(6), nn.ReLU(), nn.Linear(6, 6)]),
    ],
)
def test_a_copy_of_a_layer_is_one_of_its_own(make, copied, rng):
    layer, x = make(), rng.normal(size=(4, 6)).astype(np.float32)
    for _ in range(2):  # norms keep their calls
        layer.forward(x, training=True)
    other, after = copied(layer), layer.forward(x).copy()
    np.testing.assert_array_equal(other.forward(x), after)
    for value in other.parameters().values():
        value *= 2
    y = other.forward(x, training=True).copy()
    np.testing.assert_array_equal(layer.forward(x), after)
    assert not np.array_equal(y, layer.forward(x, training=True))
    other.backward(np.ones_like(x))
    assert not any(gradient.any() for gradient in layer.gradients().values())
