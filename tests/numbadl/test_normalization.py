"""Batch norm: values, running statistics, gradients, numbers that lose digits, layouts, threads and errors."""

import numpy as np
import pytest
import references as ref

import numbadl as nd
from tests.layouts import views

SHAPES = [(2, 3), (5, 1), (64, 3), (65, 16), (7, 3, 5), (2, 4, 17), (3, 2, 4, 5), (2, 3, 2, 3, 4)]
LARGE = [(2077, 70), (6, 5, 70, 65), (1, 2, 70_001)]
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
AFFINE = [(True, True), (True, False), (False, True), (False, False)]


def per_channel(values, x):
    return values.reshape(1, -1, *[1] * (x.ndim - 2))


def make(shape, dtype, rng, affine=(True, True)):
    """x, weight, bias, running mean, running variance."""
    c = shape[1]
    x = rng.normal(size=shape) * per_channel(rng.uniform(0.5, 3, c), np.empty(shape)) + 2
    weight, bias = (rng.normal(size=c).astype(dtype) if given else None for given in affine)
    return x.astype(dtype), weight, bias, rng.normal(size=c).astype(dtype), rng.uniform(0.5, 2, c).astype(dtype)


def close(actual, expected, ulps=16):
    """Within some units of the last place of the largest value."""
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(
        actual, expected.astype(np.float64), rtol=0, atol=ulps * scale * np.finfo(actual.dtype).eps
    )


# -- forward -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_training(shape, dtype, affine, rng):
    x, weight, bias, mean, var = make(shape, dtype, rng, affine)
    kept, old_mean, old_var = x.copy(), mean.copy(), var.copy()
    y, _ = nd.batch_norm(x, weight, bias, mean, var, training=True, momentum=0.3, eps=1e-3)
    expected, batch_mean, batch_var = ref.batch_norm(x, weight, bias, eps=1e-3)
    assert y.dtype == dtype and y.shape == shape and np.array_equal(x, kept)
    close(y, expected)
    n = x.size // shape[1]
    close(mean, 0.7 * old_mean.astype(np.float64) + 0.3 * batch_mean, 8)
    close(var, 0.7 * old_var.astype(np.float64) + 0.3 * batch_var * n / (n - 1), 32)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
def test_training_without_running_statistics(shape, rng):
    x, weight, bias, mean, var = make(shape, np.float32, rng)
    expected, _ = nd.batch_norm(x, weight, bias, mean, var)
    assert np.array_equal(nd.batch_norm(x, weight, bias, None, None)[0], expected)


def test_defaults(rng):
    x, weight, bias, mean, var = make((9, 4), np.float32, rng)
    again = mean.copy(), var.copy()
    y, _ = nd.batch_norm(x, weight, bias, mean, var)
    expected, _ = nd.batch_norm(x, weight, bias, *again, training=True, momentum=0.1, eps=1e-5)
    assert np.array_equal(y, expected) and np.array_equal(mean, again[0]) and np.array_equal(var, again[1])


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, LARGE[0], (1, 3), (1, 3, 1, 1)])
def test_evaluation(shape, dtype, affine, rng):
    x, weight, bias, mean, var = make(shape, dtype, rng, affine)
    old = mean.copy(), var.copy()
    y, _ = nd.batch_norm(x, weight, bias, mean, var, training=False, eps=1e-3)
    close(y, ref.batch_norm(x, weight, bias, mean, var, eps=1e-3)[0])
    assert np.array_equal(mean, old[0]) and np.array_equal(var, old[1])


@pytest.mark.parametrize("shape", [(4096, 3), (16, 3, 16, 16)])
@pytest.mark.parametrize("mean", [1e4, -1e6])
def test_a_large_mean_costs_no_digits(shape, mean, rng):
    x = (rng.normal(size=shape) + mean).astype(np.float32)
    y, saved = nd.batch_norm(x, None, None, None, None)
    expected, _, variance = ref.batch_norm(x, None, None)
    close(y, expected)
    np.testing.assert_allclose(saved.rstd, (1 / np.sqrt(variance + 1e-5)).astype(np.float64), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4096, 3), (16, 3, 16, 16)])
def test_a_mean_of_10000_and_a_variance_of_1(shape, rng):
    """y is off by at most 4 units of the last place of max(1, abs(y)): x - mean is as exact as float32 holds it."""
    x = (rng.normal(size=shape) + 1e4).astype(np.float32)
    y, _ = nd.batch_norm(x, None, None, None, None)
    expected = ref.batch_norm(x, None, None)[0]
    assert np.max(np.abs(y - expected) / np.maximum(1, np.abs(expected))) <= 4 * np.finfo(np.float32).eps


def test_the_cumulative_mean(rng):
    """With momentum=None the running statistics are the means over all batches, which the caller counts."""
    mean, var, batches = np.full(3, 7, np.float32), np.full(3, 7, np.float32), rng.normal(2, 3, (5, 20, 3))
    for seen, x in enumerate(batches.astype(np.float32)):
        nd.batch_norm(x, None, None, mean, var, momentum=None, num_batches_tracked=seen)
    np.testing.assert_allclose(mean, batches.mean(axis=(0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(var, batches.var(axis=1, ddof=1).mean(axis=0), rtol=1e-5)
    kept = mean.copy()
    nd.batch_norm(x, None, None, mean, var, training=False, momentum=None)
    assert np.array_equal(mean, kept)


def test_a_first_value_far_from_the_others(rng):
    """The sums are shifted by each channel's first value; if that is an outlier, the shift must not cost much."""
    x = rng.normal(size=(4096, 2)).astype(np.float32)
    x[0] = 100, -1000
    y, _ = nd.batch_norm(x, None, None, None, None)
    np.testing.assert_allclose(y, ref.batch_norm(x, None, None)[0].astype(np.float64), rtol=2e-4, atol=1e-5)


def test_a_constant_channel():
    x = np.full((50, 2, 7), 3.3, np.float32)
    mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    y, _ = nd.batch_norm(x, np.full(2, 5, np.float32), np.array([1, -2], np.float32), mean, var, momentum=1.0)
    assert np.array_equal(y, np.broadcast_to(np.array([1, -2], np.float32)[:, None], x.shape))
    assert np.array_equal(mean, np.full(2, 3.3, np.float32)) and np.array_equal(var, [0, 0])


@pytest.mark.parametrize("shape", [(300, 5), (30, 5, 20)])
def test_nan_stays_in_its_channel(shape, rng):
    x, weight, bias, _, _ = make(shape, np.float32, rng)
    clean, _ = nd.batch_norm(x, weight, bias, None, None)
    x[17, 2] = np.nan
    y, _ = nd.batch_norm(x, weight, bias, None, None)
    assert np.isnan(y[:, 2]).all()
    others = [0, 1, 3, 4]
    assert np.array_equal(y[:, others], clean[:, others])


# -- backward --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3), (3, 2, 4), (2, 2, 3, 2)])
def test_backward_is_the_slope(shape, training, rng):
    x, weight, bias, mean, var = make(shape, np.float64, rng)
    grad = rng.normal(size=shape)
    statistics = () if training else (mean, var)

    def loss():
        return float(np.sum(grad * ref.batch_norm(x, weight, bias, *statistics)[0]))

    _, saved = nd.batch_norm(x, weight, bias, mean.copy(), var.copy(), training)
    found = nd.batch_norm.backward(grad, x, weight, saved)
    for gradient, of in zip(found, (x, weight, bias), strict=True):
        np.testing.assert_allclose(gradient, ref.numeric_gradient(loss, of), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_backward(shape, dtype, training, rng):
    x, weight, bias, mean, var = make(shape, dtype, rng)
    x += dtype(100)
    grad = rng.normal(size=shape).astype(dtype)
    _, batch_mean, batch_var = ref.batch_norm(x, None, None)
    statistics = (batch_mean, batch_var) if training else (mean.astype(np.longdouble), var.astype(np.longdouble))
    _, saved = nd.batch_norm(x, weight, bias, mean, var, training)
    dx, dweight, dbias = nd.batch_norm.backward(grad, x, weight, saved)
    expected = ref.batch_norm_gradient(grad, x, weight, *statistics, training)
    assert dx.dtype == dweight.dtype == dbias.dtype == dtype
    n = x.size // shape[1]
    close(dx, expected[0], 100 if shape[0] == 2 else 32)
    size = np.abs(x - per_channel(statistics[0], x)).max() / np.sqrt(statistics[1].min()) if not training else 1
    for found, want in zip((dweight, dbias), expected[1:], strict=True):
        atol = 4 * np.finfo(dtype).eps * np.sqrt(n) * np.log2(n + 2) * max(float(size), 1)
        np.testing.assert_allclose(
            found, want.astype(np.float64), rtol=1e-6 if dtype is np.float32 else 1e-13, atol=atol
        )


def test_gradients_of_what_was_not_given(rng):
    x, weight, bias, _, _ = make((6, 3), np.float32, rng)
    grad = rng.normal(size=x.shape).astype(np.float32)
    wanted = nd.batch_norm.backward(grad, x, weight, nd.batch_norm(x, weight, bias, None, None)[1])
    for has_weight, has_bias in AFFINE:
        w, b = weight if has_weight else None, bias if has_bias else None
        dx, dweight, dbias = nd.batch_norm.backward(grad, x, w, nd.batch_norm(x, w, b, None, None)[1])
        assert (dweight is not None) == has_weight and (dbias is not None) == has_bias
        assert not has_bias or np.array_equal(dbias, wanted[2])
        if has_weight:
            assert np.array_equal(dweight, wanted[1]) and np.array_equal(dx, wanted[0])


# -- layouts, out, threads ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
def test_layouts(shape, training, rng):
    x, weight, bias, mean, var = make(shape, np.float32, rng)
    grad = rng.normal(size=shape).astype(np.float32)

    def forward(x, out=None):
        return nd.batch_norm(x, weight, bias, mean.copy(), var.copy(), training, out=out)

    expected, saved = forward(x)
    gradients = nd.batch_norm.backward(grad, x, weight, saved)
    for name, view in views(x).items():
        y, view_saved = forward(view)
        assert np.array_equal(y, expected), name
        found = nd.batch_norm.backward(views(grad)[name], view, weight, view_saved)
        assert all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True)), name
        if name != "read-only":
            assert forward(view, out=view)[0] is view and np.array_equal(view, expected), f"{name} in place"
    for name, out in views(np.zeros_like(x)).items():
        if name == "read-only":
            with pytest.raises(ValueError, match="read-only"):
                forward(x, out=out)
            continue
        assert forward(x, out=out)[0] is out and np.array_equal(out, expected), name
        assert nd.batch_norm.backward(grad, x, weight, saved, out=out)[0] is out
        assert np.array_equal(out, gradients[0]), name
        if name == "strided":
            assert np.all(out.base.reshape(*shape, 2)[..., 1] == 9)
    for given in (views(grad)["C"], views(grad)["F"]):
        assert np.array_equal(nd.batch_norm.backward(given, x, weight, saved, out=given)[0], gradients[0])


@pytest.mark.parametrize("training", [True, False])
def test_parameters_of_any_layout(training, rng):
    x, weight, bias, mean, var = make((6, 3), np.float32, rng)
    expected, saved = nd.batch_norm(x, weight, bias, mean.copy(), var.copy(), training)
    gradients = nd.batch_norm.backward(x, x, weight, saved)
    every_other = [np.repeat(p, 2)[::2] for p in (weight, bias)]
    frozen = [p.copy() for p in (weight, bias)]
    for p in frozen:
        p.flags.writeable = False
    for w, b in (every_other, frozen):
        y, saved = nd.batch_norm(x, w, b, mean.copy(), var.copy(), training)
        assert np.array_equal(y, expected)
        found = nd.batch_norm.backward(x, x, w, saved)
        assert all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True))


def test_evaluation_reads_running_statistics_of_any_layout(rng):
    x, weight, bias, mean, var = make((6, 3), np.float32, rng)
    expected, _ = nd.batch_norm(x, weight, bias, mean, var, False)
    every_other = [np.repeat(p, 2)[::2] for p in (mean, var)]
    for p in (mean, var):
        p.flags.writeable = False
    assert np.array_equal(nd.batch_norm(x, weight, bias, mean, var, False)[0], expected)
    assert np.array_equal(nd.batch_norm(x, weight, bias, *every_other, False)[0], expected)


@pytest.mark.parametrize("shape", [(5000, 33), (8, 7, 1000), (2, 3, 20_001)])
def test_threads(shape, on_threads, rng):
    x, weight, bias, mean, var = make(shape, np.float32, rng)
    grad = rng.normal(size=shape).astype(np.float32)

    def run(training):
        m, v = mean.copy(), var.copy()
        y, saved = nd.batch_norm(x, weight, bias, m, v, training)
        return y, m, v, *nd.batch_norm.backward(grad, x, weight, saved)

    for training in (True, False):
        first, *others = [[a.tobytes() for a in result] for result in on_threads(lambda t=training: run(t))]
        assert all(other == first for other in others)
        assert [a.tobytes() for a in run(training)] == first


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (4, 0)])
def test_empty(shape, rng):
    x, c = np.zeros(shape, np.float32), shape[1]
    weight, mean, var = np.ones(c, np.float32), np.zeros(c, np.float32), np.ones(c, np.float32)
    for _ in range(20):
        np.full(c, np.nan, np.float32)  # memory that was never written would show
    y, saved = nd.batch_norm(x, weight, weight, mean, var, training=False)
    dx, dweight, dbias = nd.batch_norm.backward(x, x, weight, saved)
    assert y.shape == dx.shape == shape
    assert np.array_equal(dweight, np.zeros(c)) and np.array_equal(dbias, np.zeros(c))


# -- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (0, 3), (4, 3, 0)])
def test_training_needs_two_values_per_channel(shape):
    statistics = np.zeros(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="x: got shape .* at least 2 values per channel"):
        nd.batch_norm(np.zeros(shape, np.float32), None, None, *statistics)
    assert np.array_equal(statistics[0], np.zeros(3)) and np.array_equal(statistics[1], np.ones(3))


def test_wrong_arguments(rng):
    x, weight, bias, mean, var = make((6, 3), np.float32, rng)
    kept = [a.copy() for a in (x, weight, bias, mean, var)]
    names = ("x", "weight", "bias", "running_mean", "running_var")
    right = dict(zip(names, (x, weight, bias, mean, var), strict=True))
    frozen = mean.copy()
    frozen.flags.writeable = False
    cases = [
        ({"x": x[0]}, ValueError, r"x: got shape \(3,\)"),
        ({"x": x.tolist()}, TypeError, "x: got list"),
        ({"x": x.astype(np.float16)}, TypeError, "x: got dtype float16"),
        *[({name: weight[:2]}, ValueError, f"{name}: got shape") for name in names[1:]],
        *[({name: weight[:, None]}, ValueError, f"{name}: got shape") for name in names[1:]],
        *[({name: np.ones(3)}, TypeError, f"{name}: got dtype float64") for name in names[1:]],
        *[({name: [1, 1, 1]}, TypeError, f"{name}: got list") for name in names[1:]],
        ({"running_mean": None}, ValueError, "running_mean and running_var"),
        ({"running_var": None}, ValueError, "running_mean and running_var"),
        ({"running_mean": frozen}, ValueError, "running_mean: "),
        ({"running_var": np.ones(6, np.float32)[::2]}, ValueError, "running_var: "),
        ({"running_mean": None, "running_var": None, "training": False}, ValueError, "running_mean: "),
        ({"out": np.empty((3, 6), np.float32)}, ValueError, "out: got shape"),
        ({"out": np.empty((6, 3))}, TypeError, "out: got dtype"),
        ({"x": x[:4], "out": x[2:]}, ValueError, "out: overlaps x in part"),
        ({"momentum": None}, ValueError, "momentum: got None, for which num_batches_tracked is needed"),
        (
            {"momentum": None, "num_batches_tracked": -1},
            ValueError,
            "num_batches_tracked: got -1, accepted are integers",
        ),
        ({"momentum": np.nan}, ValueError, "momentum: "),
        ({"momentum": 1.5}, ValueError, "momentum: got 1.5, accepted are numbers from 0 to 1"),
        ({"momentum": True}, ValueError, "momentum: got True"),
        ({"eps": -1.0}, ValueError, "eps: got -1.0, accepted are numbers from 0 on"),
        ({"eps": "a"}, ValueError, "eps: got 'a'"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            nd.batch_norm(**{**right, **change})
        assert all(np.array_equal(a, b) for a, b in zip(right.values(), kept, strict=True)), f"{change} wrote"


def test_out_may_not_hold_a_parameter(rng):
    x = rng.normal(size=(6, 3)).astype(np.float32)
    ones = np.ones(3, np.float32)
    for name, arguments in {
        "weight": (x[2], ones, ones.copy(), ones.copy()),
        "bias": (ones, x[2], ones.copy(), ones.copy()),
        "running_mean": (ones, ones, x[2], ones.copy()),
    }.items():
        with pytest.raises(ValueError, match=f"out: overlaps {name}"):
            nd.batch_norm(x, *arguments, out=x)


def test_wrong_arguments_of_backward(rng):
    x, weight, bias, _, _ = make((6, 3), np.float32, rng)
    _, saved = nd.batch_norm(x, weight, bias, None, None)
    cases = [
        ((x[:5], x, weight, saved), ValueError, "grad: got shape"),
        ((x.astype(np.float64), x, weight, saved), TypeError, "float64"),
        ((x, x, weight[:2], saved), ValueError, "weight: got shape"),
        ((x[:, :2], x[:, :2], weight[:2], saved), ValueError, "saved"),
        ((x, x, weight, saved, x[:5]), ValueError, "out: got shape"),
        ((x[:4].copy(), x[:4], weight, saved, x[1:5]), ValueError, "out: overlaps x in part"),
        ((x[:4], x[:4].copy(), weight, saved, x[1:5]), ValueError, "out: overlaps grad in part"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            nd.batch_norm.backward(*arguments)
