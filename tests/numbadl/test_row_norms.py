"""Layer, RMS, group and instance norm: values, gradients, numbers that lose digits, layouts, threads and errors."""

import math

import numpy as np
import pytest
import references as ref

import numbadl as nd
from tests.layouts import views

EPS = 1e-3
SLOW = pytest.mark.slow
DTYPES = [np.float32, pytest.param(np.float64, marks=SLOW)]
CASES = [  # function, shape of x, what follows x
    ("layer_norm", (7,), (7,)),
    ("layer_norm", (5, 1), (1,)),
    ("layer_norm", (4, 3, 33), (33,)),
    ("layer_norm", (4, 3, 2, 5), ((2, 5),)),
    ("layer_norm", (2, 2, 3, 1, 4), ((3, 1, 4),)),
    ("layer_norm", (3000, 70), (70,)),
    ("layer_norm", (3, 20_001), (20_001,)),
    ("rms_norm", (7,), (7,)),
    ("rms_norm", (4, 3, 2, 5), ((2, 5),)),
    ("rms_norm", (3000, 70), (70,)),
    ("rms_norm", (3, 20_001), (20_001,)),
    ("group_norm", (6, 4), (2,)),
    ("group_norm", (5, 6, 5), (3,)),
    ("group_norm", (2, 4, 9, 9), (2,)),
    ("group_norm", (3, 4, 3, 2, 4), (1,)),
    ("group_norm", (100, 6, 70), (2,)),
    ("group_norm", (2, 4, 10_001), (4,)),
    ("instance_norm", (3, 4, 7), ()),
    ("instance_norm", (2, 3, 9, 9), ()),
    ("instance_norm", (2, 2, 3, 4, 5), ()),
]
SMALL = [case for case in CASES if math.prod(case[1]) < 1000]
ONE_OF_EACH = [CASES[3], CASES[8], CASES[12], CASES[13], CASES[17]]


def parameter_shape(name, shape, arguments):
    if name in ("group_norm", "instance_norm"):
        return shape[1:2]
    return arguments[0] if isinstance(arguments[0], tuple) else arguments[:1]


class Matrix:
    """A case as the reference takes it: rows of a matrix, with the weight of each element."""

    def __init__(self, name, shape, arguments):
        self.name, self.shape, self.parameter = name, shape, parameter_shape(name, shape, arguments)
        groups = shape[1] if name == "instance_norm" else arguments[0]
        by_channel = self.parameter == shape[1:2] and name in ("group_norm", "instance_norm")
        self.matrix = (shape[0] * groups, -1) if by_channel else (-1, math.prod(self.parameter))
        size = math.prod(self.parameter)
        numbers = np.arange(size).reshape(-1, *[1] * (len(shape) - 2)) if by_channel else np.arange(size)
        self.numbers = np.broadcast_to(numbers if by_channel else numbers.reshape(self.parameter), shape)
        self.centred = name != "rms_norm"

    def rows(self, x):
        return x.reshape(self.matrix)

    def each(self, parameter, default):
        """The parameter's value for each element."""
        return default if parameter is None else self.rows(parameter.reshape(-1)[self.numbers])

    def forward(self, x, weight, bias, eps=EPS):
        weight, bias = self.each(weight, 1), self.each(bias, 0)
        y, mean, rstd = ref.row_norm(self.rows(x), weight, bias, eps, self.centred)
        return y.reshape(self.shape), mean, rstd

    def backward(self, grad, x, weight, eps=EPS):
        weight = self.each(weight, 1)
        dx, *terms = ref.row_norm_gradient(self.rows(grad), self.rows(x), weight, eps, self.centred)
        totals = [np.zeros(math.prod(self.parameter), np.longdouble) for _ in terms]
        for total, term in zip(totals, terms, strict=True):
            np.add.at(total, self.numbers.reshape(-1), term.reshape(-1))
        return dx.reshape(self.shape), *[total.reshape(self.parameter) for total in totals][: 1 + self.centred]


def make(case, dtype, rng, affine=(True, True), mean=2.0):
    name, shape, _ = case
    x = (rng.normal(size=shape) * 2 + mean).astype(dtype)
    names = ("weight", "bias")[: 1 + (name != "rms_norm")]
    given = dict.fromkeys(names)
    for parameter, wanted in zip(names, affine, strict=False):
        if wanted:
            given[parameter] = rng.normal(size=parameter_shape(*case)).astype(dtype)
    return Matrix(*case), x, given


def forward(case, x, given, out=None, eps=EPS):
    name, _, arguments = case
    return getattr(nd, name)(x, *arguments, **given, eps=eps, out=out)


def backward(case, grad, x, given, saved, out=None):
    return getattr(nd, case[0]).backward(grad, x, given.get("weight"), saved, out=out)


def close(actual, expected, ulps):
    """Within some units of the last place of the largest value."""
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    atol = ulps * scale * np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected.astype(np.float64), rtol=0, atol=atol)


# -- values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, dtype, rng):
    matrix, x, given = make(case, dtype, rng)
    kept = x.copy()
    y, _ = forward(case, x, given)
    assert y.dtype == dtype and y.shape == x.shape and np.array_equal(x, kept)
    close(y, matrix.forward(x, **{"bias": None, **given})[0], 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case, dtype, rng):
    matrix, x, given = make(case, dtype, rng)
    grad = rng.normal(size=x.shape).astype(dtype)
    kept = x.copy(), grad.copy()
    found = backward(case, grad, x, given, forward(case, x, given)[1])
    expected = matrix.backward(grad, x, given["weight"])
    assert np.array_equal(x, kept[0]) and np.array_equal(grad, kept[1])
    close(found[0], expected[0], 16)
    for total, want in zip(found[1:], expected[1:], strict=True):
        assert total.dtype == dtype and total.shape == matrix.parameter
        terms = x.size / total.size
        atol = 2 * np.finfo(dtype).eps * np.sqrt(terms) * np.log2(terms + 2)  # terms of size 1 that cancel
        np.testing.assert_allclose(
            total, want.astype(np.float64), rtol=1e-6 if dtype is np.float32 else 1e-13, atol=atol
        )


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_the_references_gradient_is_the_slope(case, rng):
    matrix, x, given = make(case, np.float64, rng)
    grad, parameters = rng.normal(size=x.shape), {"bias": None, **given}

    def loss():
        return float(np.sum(grad * matrix.forward(x, **parameters)[0]))

    for found, of in zip(matrix.backward(grad, x, given["weight"]), (x, *given.values()), strict=True):
        np.testing.assert_allclose(found.astype(float), ref.numeric_gradient(loss, of), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_parameters_that_are_not_given(case, rng):
    matrix, x, given = make(case, np.float32, rng)
    grad = rng.normal(size=x.shape).astype(np.float32)
    for affine in [(True, False), (False, True), (False, False)]:
        some = {name: value if wanted else None for (name, value), wanted in zip(given.items(), affine, strict=False)}
        y, saved = forward(case, x, some)
        close(y, matrix.forward(x, **{"bias": None, **some})[0], 4)
        found = backward(case, grad, x, some, saved)
        expected = matrix.backward(grad, x, some["weight"])
        close(found[0], expected[0], 16)
        assert [v is None for v in found[1:]] == [v is None for v in some.values()]


def test_defaults(rng):
    x = rng.normal(size=(4, 6, 3)).astype(np.float32)
    for y, again in [
        (nd.layer_norm(x, 3), nd.layer_norm(x, (3,), None, None, 1e-5)),
        (nd.rms_norm(x, 3), nd.rms_norm(x, [3], None, float(np.finfo(np.float32).eps))),
        (nd.group_norm(x, 2), nd.group_norm(x, np.int64(2), None, None, 1e-5)),
        (nd.instance_norm(x), nd.group_norm(x, 6, None, None, 1e-5)),
    ]:
        assert np.array_equal(y[0], again[0])


# -- numbers that lose digits ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mean", [1e4, -1e6])
@pytest.mark.parametrize("case", [CASES[5], CASES[6], CASES[13], CASES[16]], ids=str)
def test_a_large_mean_costs_no_digits(case, mean, rng):
    """x is what it is (its numbers are far apart); y is off by 4 units of the last place of max(1, abs(y)), and 1 / std by 2."""
    shape = case[1]
    x = (rng.normal(size=shape) + mean).astype(np.float32)
    y, saved = forward(case, x, {}, eps=1e-5)
    expected, _, rstd = Matrix(*case).forward(x, None, None, eps=1e-5)
    error = np.abs(y - expected) / np.maximum(1, np.abs(expected))
    assert error.max() <= 4 * np.finfo(np.float32).eps
    np.testing.assert_allclose(saved.values[2], rstd[:, 0].astype(float), rtol=2 * np.finfo(np.float32).eps)
    grad = rng.normal(size=shape).astype(np.float32)
    close(backward(case, grad, x, {}, saved)[0], Matrix(*case).backward(grad, x, None, eps=1e-5)[0], 16)


def test_a_value_far_from_the_others(rng):
    """Squares that are added to its own lose what is below the last place of that: some parts in a million in all."""
    x = rng.normal(size=(3, 4096)).astype(np.float32)
    x[:, 7] = 1000, -1e5, 1e7
    close(nd.layer_norm(x, 4096)[0], ref.row_norm(x, 1, 0, 1e-5)[0], 32)


@pytest.mark.parametrize("n", [1024, 4096])
def test_first_values_far_from_the_others(n, rng):
    """Their mean is the shift; four standard deviations off, it costs the variance a factor of 16, four bits: the worst case."""
    x = rng.normal(size=(3, n)).astype(np.float32)
    x[:, : n // 16] += np.float32([[10], [1e4], [-1e6]])
    close(nd.layer_norm(x, n)[0], ref.row_norm(x, 1, 0, 1e-5)[0], 24)


def test_a_constant_row_gives_the_bias():
    x = np.full((4, 6, 80), 3.3, np.float32)
    weight, bias = np.full(6, 5, np.float32), np.arange(6, dtype=np.float32)
    expected = np.broadcast_to(bias[:, None], x.shape)
    assert np.array_equal(nd.group_norm(x, 2, weight, bias)[0], expected)
    assert np.array_equal(nd.layer_norm(x[..., 0], 6, weight, bias)[0], expected[..., 0])
    assert np.array_equal(nd.layer_norm(x[..., :1], 1)[0], np.zeros((4, 6, 1)))  # rows of one element


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_nan_stays_in_its_row(case, rng):
    matrix, x, given = make(case, np.float32, rng)
    grad = rng.normal(size=x.shape).astype(np.float32)
    clean, saved = forward(case, x, given)
    dx = matrix.rows(backward(case, grad, x, given, saved)[0])
    matrix.rows(x)[1, 2] = np.nan
    y, saved = forward(case, x, given)
    found = matrix.rows(backward(case, grad, x, given, saved)[0])
    assert np.isnan(matrix.rows(y)[1]).all() and np.isnan(found[1]).all()
    others = np.arange(len(found)) != 1
    assert np.array_equal(matrix.rows(y)[others], matrix.rows(clean)[others])
    assert np.array_equal(found[others], dx[others])


# -- layouts, out, threads ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_layouts_and_out(case, rng):
    _, x, given = make(case, np.float32, rng)
    grad = rng.normal(size=x.shape).astype(np.float32)
    expected, saved = forward(case, x, given)
    gradients = backward(case, grad, x, given, saved)
    parameters = {name: views(value) for name, value in given.items()}
    for layout, view in views(x).items():
        other = {name: made.get(layout, made["C"]) for name, made in parameters.items()}
        y, again = forward(case, view, other)
        assert np.array_equal(y, expected), layout
        found = backward(case, views(grad)[layout], view, other, again)
        assert all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True)), layout
        if layout != "read-only":
            assert forward(case, view, given, out=view)[0] is view and np.array_equal(view, expected), layout
    for layout, out in views(np.zeros_like(x)).items():
        if layout == "read-only":
            with pytest.raises(ValueError, match="out: is read-only"):
                forward(case, x, given, out=out)
            with pytest.raises(ValueError, match="out: is read-only"):
                backward(case, grad, x, given, saved, out=out)
            continue
        assert forward(case, x, given, out=out)[0] is out and np.array_equal(out, expected), layout
        assert backward(case, grad, x, given, saved, out=out)[0] is out and np.array_equal(out, gradients[0]), layout
    for given_grad, given_x, out in [(g := grad.copy(), x, g), (grad, (other := x.copy()), other)]:
        found = backward(case, given_grad, given_x, given, saved, out=out)
        assert found[0] is out and all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True))


@pytest.mark.parametrize(
    "case",
    [
        ("layer_norm", (5000, 33), (33,)), ("layer_norm", (40, 5003), (5003,)), ("rms_norm", (2000, 65), (65,)),
        ("group_norm", (50, 8, 200), (2,)), ("group_norm", (3, 4, 20_001), (4,)), ("instance_norm", (100, 30, 6), ()),
    ],
    ids=str,
)  # fmt: skip
def test_threads(case, on_threads, rng):
    _, x, given = make(case, np.float32, rng)
    grad = rng.normal(size=x.shape).astype(np.float32)

    def run():
        y, saved = forward(case, x, given)
        return [a.tobytes() for a in (y, *saved.values, *backward(case, grad, x, given, saved))]

    first, *others = on_threads(run)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    "case",
    [
        ("layer_norm", (0, 3), (3,)), ("layer_norm", (2, 0), (0,)), ("rms_norm", (0, 3), (3,)),
        ("group_norm", (0, 4, 3), (2,)), ("group_norm", (2, 4, 0), (2,)), ("instance_norm", (2, 3, 0), ()),
        ("instance_norm", (2, 0, 3), ()),
    ],
    ids=str,
)  # fmt: skip
def test_empty(case, rng):
    _, x, given = make(case, np.float32, rng)
    y, saved = forward(case, x, given)
    dx, *gradients = backward(case, x, x, given, saved)
    assert y.shape == dx.shape == case[1]
    assert all(not g.any() and g.shape == parameter_shape(*case) for g in gradients)


# -- errors -------------------------------------------------------------------------------------------------------------
def test_wrong_arguments(rng):
    x, ones = rng.normal(size=(4, 6, 3)).astype(np.float32), np.ones(3, np.float32)
    six, kept, frozen = np.ones(6, np.float32), x.copy(), x.copy()
    frozen.flags.writeable = False
    layer, rms, group, instance = nd.layer_norm, nd.rms_norm, nd.group_norm, nd.instance_norm
    cases = [
        (lambda: layer(x.tolist(), 3), TypeError, "x: got list"),
        (lambda: layer(x.astype(np.float16), 3), TypeError, "x: got dtype float16"),
        (lambda: layer(x, 4), ValueError, r"normalized_shape: got \(4,\), accepted are the last axes of x"),
        (lambda: rms(x, (4, 6)), ValueError, r"normalized_shape: got \(4, 6\)"),
        (lambda: layer(x, (1, 4, 6, 3)), ValueError, "normalized_shape: got"),
        (lambda: layer(x, 3.0), TypeError, "normalized_shape: got 3.0"),
        (lambda: layer(x, ()), TypeError, "normalized_shape: got tuple"),
        (lambda: layer(x, (True,)), ValueError, "normalized_shape: got True"),
        (lambda: layer(x, 3, six), ValueError, r"weight: got shape \(6,\), expected \(3,\)"),
        (lambda: layer(x, 3, ones, six), ValueError, "bias: got shape"),
        (lambda: layer(x, 3, np.ones(3)), TypeError, "weight: got dtype float64"),
        (lambda: rms(x, 3, [1, 1, 1]), TypeError, "weight: got list"),
        (lambda: layer(x, 3, eps=-1e-5), ValueError, "eps: got -1e-05, accepted are numbers from 0 on"),
        (lambda: rms(x, 3, eps=np.nan), ValueError, "eps: got nan"),
        (lambda: group(x, 2, eps="a"), ValueError, "eps: got 'a'"),
        (lambda: group(x, 4), ValueError, "num_groups: got 4, accepted are divisors of the number of channels, 6"),
        (lambda: group(x, 0), ValueError, "num_groups: got 0, accepted are positive integers"),
        (lambda: group(x[0, 0], 1), ValueError, r"x: got shape \(3,\), expected \(N, C\)"),
        (lambda: group(x, 2, ones), ValueError, "weight: got shape"),
        (lambda: instance(x[:, :, 0]), ValueError, r"x: got shape \(4, 6\); instance norm needs more than one value"),
        (lambda: instance(x[0, 0]), ValueError, "x: got shape"),
        (lambda: layer(x, 3, out=np.empty((4, 6), np.float32)), ValueError, "out: got shape"),
        (lambda: group(x, 2, out=np.empty(x.shape)), TypeError, "out: got dtype"),
        (lambda: instance(x, out=frozen), ValueError, "out: is read-only"),
        (lambda: layer(x[:2], 3, out=x[1:3]), ValueError, "out: overlaps x in part"),
        (lambda: layer(x, 3, x[1, 2], out=x), ValueError, "out: overlaps weight"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
        assert np.array_equal(x, kept), message


def test_wrong_arguments_of_backward(rng):
    x = rng.normal(size=(4, 6, 3)).astype(np.float32)
    weight, saved = np.ones(3, np.float32), nd.layer_norm(x, 3)[1]
    cases = [
        ((x[:2], x, weight, saved), ValueError, "grad: got shape"),
        ((x.astype(np.float64), x, weight, saved), TypeError, "float64"),
        ((x, x, weight[:2], saved), ValueError, "weight: got shape"),
        ((x[:2], x[:2], weight, saved), ValueError, "x: got shape .* forward's x"),
        ((x, x, weight, saved, x[:2]), ValueError, "out: got shape"),
        ((x.astype(np.float64), x.astype(np.float64), None, saved), TypeError, "saved: got dtype float32"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            nd.layer_norm.backward(*arguments)
