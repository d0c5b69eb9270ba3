"""softmax and log_softmax: values along every axis, gradients, rows that IEEE arithmetic decides, layouts, errors."""

import itertools

import numpy as np
import pytest
import references as ref

import numbadl as nd
from tests.layouts import views

ROW_FUNCTIONS = {"softmax": (nd.softmax, ref.softmax), "log_softmax": (nd.log_softmax, ref.log_softmax)}
SHAPES = [(7,), (1,), (5, 3), (3, 1), (1, 6), (4, 3, 5), (2, 3, 4, 5)]
AXES = [(shape, axis) for shape in SHAPES for axis in range(-len(shape), len(shape))]
AXES.append(((2, 1100, 290), 1))  # more than L2 holds: by blocks of rows of columns
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


@pytest.fixture(params=ROW_FUNCTIONS)
def pair(request):
    """The function under test and its reference."""
    return ROW_FUNCTIONS[request.param]


def check(function, reference, x, actual, axis):
    """Rounding x - max, of size |x - max| eps / 2, is a relative error of e^(x - max); lanes of a long sum drift."""
    expected = reference(x, axis)
    eps, tiny = np.finfo(x.dtype).eps, np.finfo(x.dtype).tiny
    distance = np.abs(x - x.max(axis=axis, keepdims=True).astype(np.longdouble))
    bound = eps * (4 + distance + x.shape[axis] / 8192) * (expected if function is nd.softmax else 1) + tiny
    assert actual.dtype == x.dtype and actual.shape == x.shape
    worst = np.max((np.abs(actual - expected) / bound), initial=0)
    assert worst <= 1, f"{worst:.3g} times the bound"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_values(pair, shape, axis, dtype, rng):
    function, reference = pair
    x = rng.normal(0, 4, shape).astype(dtype)
    kept = x.copy()
    check(function, reference, x, function(x, axis=axis), axis)
    assert np.array_equal(x, kept)
    assert np.array_equal(function(x), function(x, axis=-1))


@pytest.mark.parametrize(
    "n",
    [
        1,
        2,
        15,
        16,
        17,
        63,
        64,
        65,
        1000,
        8191,
        8192,
        8193,
        32767,
        32769,
        pytest.param(2**20 + 3, marks=pytest.mark.slow),
    ],
)
def test_row_lengths(pair, n, rng):
    function, reference = pair
    x = rng.normal(0, 3, (3, n)).astype(np.float32)
    actual = function(x)
    check(function, reference, x, actual, 1)
    if function is nd.softmax:
        np.testing.assert_allclose(actual.sum(axis=1, dtype=np.float64), 1, rtol=4e-7 + n * 1e-11)


def test_no_overflow(pair):
    function, reference = pair
    x = np.array(
        [[1e30, 1e30, 0], [-1e38, 2e38, 0], [-1e30, -1e30, -1e30], [89, 88, 0], [-104, -200, -104]], np.float32
    )
    check(function, reference, x, function(x), 1)


def test_rows_of_special_values(pair):
    function, _ = pair
    inf, nan = np.inf, np.nan
    x = np.array([[-inf] * 3, [0, inf, 0], [0, nan, 0], [-inf, 0, 0], [-inf, nan, -inf], [0, 0, 0]], np.float32)
    for rows in (x, x.repeat(6, axis=1)):  # shorter and longer than a vector
        y = function(rows)
        assert np.isnan(y[[0, 1, 2, 4]]).all()
        each = np.full(rows.shape[1], -np.log(np.float32(rows.shape[1])), np.float32)
        half = np.where(np.isinf(rows[3]), -inf, -np.log(np.float32(2 * rows.shape[1] // 3)))
        for got, want in ((y[3], half), (y[5], each)):
            np.testing.assert_allclose(got, np.exp(want) if function is nd.softmax else want, rtol=3e-7)


def test_special_values_in_parts_of_long_columns(pair, rng):
    """Parts of a column are reckoned from largest elements of their own: -inf, where all of a part are that, or all NaN."""
    function, _ = pair
    x = rng.normal(size=(1800, 300)).astype(np.float32)
    inf, half = np.inf, np.s_[:900]
    x[half, 0], x[:, 1], x[half, 2], x[:, 3], x[half, 4], x[half, 5] = -inf, -inf, np.nan, np.nan, inf, -3.4e38
    with np.errstate(invalid="ignore", over="ignore"):
        y, short = function(x, axis=0), function(np.ascontiguousarray(x.T), axis=-1).T
    wrong = np.isin(np.arange(300), [1, 2, 3, 4])
    assert np.isnan(y[:, wrong]).all() and not np.isnan(y[:, ~wrong]).any()
    np.testing.assert_allclose(y[:, ~wrong], short[:, ~wrong], rtol=2e-6)


def test_nan_stays_in_its_row(pair, rng):
    function, _ = pair
    x = rng.normal(size=(200, 300)).astype(np.float32)
    clean = function(x)
    x[77, 299] = np.nan
    y = function(x)
    assert np.isnan(y[77]).all()
    others = np.arange(200) != 77
    assert np.array_equal(y[others], clean[others])


@pytest.mark.parametrize(("shape", "axis"), [((5,), 0), ((4, 3), 0), ((4, 3), 1), ((2, 3, 2), 1), ((2, 2, 2, 3), -3)])
@pytest.mark.parametrize("name", ["softmax", pytest.param("log_softmax", marks=pytest.mark.slow)])
def test_backward_is_the_jacobian(name, shape, axis, rng):
    function, reference = ROW_FUNCTIONS[name]
    x, grad = rng.normal(size=(2, *shape))
    expected = ref.numeric_gradient(lambda: float(np.sum(grad * reference(x, axis))), x)
    y = function(x, axis=axis)
    np.testing.assert_allclose(function.backward(grad, y, axis=axis), expected, rtol=1e-7, atol=1e-9)


def test_backward_by_the_written_jacobian(rng):
    """dy_i/dx_j = y_i (1[i = j] - y_j)."""
    x, grad = rng.normal(size=(2, 40))
    y = nd.softmax(x)
    jacobian = np.diag(y) - np.outer(y, y)
    np.testing.assert_allclose(nd.softmax.backward(grad, y), jacobian.T @ grad, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_backward_of_the_logarithm_by_its_jacobian(rng):
    """dy_i/dx_j = 1[i = j] - softmax(x)_j."""
    x, grad = rng.normal(size=(2, 40))
    y = ref.softmax(x).astype(np.float64)
    jacobian = np.eye(40) - y[None, :]
    np.testing.assert_allclose(nd.log_softmax.backward(grad, np.log(y)), jacobian.T @ grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("shape", "axis"), [((50, 33), 1), ((1100, 290), 0)])
def test_backward_float32(pair, shape, axis, rng):
    function, reference = pair
    x, grad = rng.normal(size=(2, *shape)).astype(np.float32)
    y = reference(x, axis).astype(np.float32)
    g, y64 = grad.astype(np.float64), y.astype(np.float64)
    if function is nd.softmax:
        expected = y64 * (g - (g * y64).sum(axis=axis, keepdims=True))
    else:
        expected = g - np.exp(y64) * g.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(function.backward(grad, y, axis=axis), expected, atol=4e-6)


# -- masks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((5, 33), 1), ((33, 5), 0), ((3, 4, 20), 1)])
def test_masked_values_are_those_of_what_is_kept(pair, shape, axis, dtype, rng):
    """Of each row alone, without what is masked; whatever stands there, NaN and inf too, counts for nothing."""
    function, reference = pair
    mask = rng.uniform(size=shape) < 0.6
    x, grad = rng.normal(0, 3, (2, *shape)).astype(dtype)
    x[~mask] = rng.choice([np.nan, np.inf, 1e38, -3], np.count_nonzero(~mask))
    y = function(x, axis=axis, mask=mask)
    masked = 0 if function is nd.softmax else -np.inf
    assert np.all(y[~mask] == masked)
    grad[~mask] = np.nan
    dx = function.backward(grad, y, axis=axis, mask=mask)
    assert np.all(dx[~mask] == 0)
    rows = [np.moveaxis(a, axis, -1).reshape(-1, shape[axis]) for a in (x, y, grad, dx, mask)]
    for given, found, upstream, gradient, keep in zip(*rows, strict=True):
        if keep.any():
            check(function, reference, given[keep], found[keep], 0)
            np.testing.assert_array_almost_equal(gradient[keep], function.backward(upstream[keep], found[keep]), 6)


def test_masks_that_broadcast_and_rows_without_any(pair, rng):
    function, _ = pair
    x = rng.normal(size=(4, 3, 6)).astype(np.float32)
    mask = np.array([True, True, False, True, False, True])
    y = function(x, mask=mask)
    assert np.array_equal(y, function(x, mask=np.broadcast_to(mask, x.shape).copy()))
    np.testing.assert_allclose(y[..., mask], function(x[..., mask]), rtol=1e-6)
    nothing = function(x, mask=np.zeros((3, 1), bool))
    assert np.all(nothing == (0 if function is nd.softmax else -np.inf))
    assert np.all(function.backward(x, nothing, mask=np.zeros(6, bool)) == 0)
    work = x.copy()
    assert function(work, out=work, mask=mask) is work and np.array_equal(work, y)
    for wrong, error in [(mask.astype(int), TypeError), ([True] * 6, TypeError), (mask[:5], ValueError)]:
        with pytest.raises(error, match="^mask: "):
            function(x, mask=wrong)
    with pytest.raises(TypeError, match="mask: sparsemax takes none"):
        nd.sparsemax(x, mask=mask)


# -- layouts and out ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layouts(pair, axis, rng):
    function, _ = pair
    x, grad = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    y = function(x.copy(), axis=axis)
    dx = function.backward(grad.copy(), y, axis=axis)
    for (name, view), (other, grad_view) in itertools.product(views(x).items(), views(grad).items()):
        assert np.array_equal(function(view, axis=axis), y), name
        assert np.array_equal(function.backward(grad_view, views(y)[name], axis=axis), dx), f"{name}, {other}"
    for name, out in views(np.full(x.shape, 9, np.float32)).items():
        if name == "read-only":
            with pytest.raises(ValueError, match="read-only"):
                function(x, axis=axis, out=out)
            continue
        assert function(x, axis=axis, out=out) is out and np.array_equal(out, y), name
        assert function.backward(grad, y, axis=axis, out=out) is out and np.array_equal(out, dx), name
        if name == "strided":
            assert np.all(out.base.reshape(3, 4, 5, 2)[..., 1] == 9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "unaligned", "reversed"])
def test_in_place(pair, axis, layout, rng):
    function, _ = pair
    x, grad = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    y = function(x, axis=axis)
    dx = function.backward(grad, y, axis=axis)
    view = views(x)[layout]
    assert function(view, axis=axis, out=view) is view and np.array_equal(view, y)
    for which in ("grad", "y"):
        given = {"grad": views(grad)[layout], "y": views(y)[layout]}
        out = function.backward(given["grad"], given["y"], axis=axis, out=given[which])
        assert out is given[which] and np.array_equal(out, dx)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (3, 0, 2)])
def test_empty(pair, shape):
    function, _ = pair
    for axis in range(len(shape)):
        x = np.zeros(shape, np.float32)
        assert function(x, axis=axis).shape == shape
        assert function.backward(x, x, axis=axis).shape == shape


# -- threads -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(3000, 37), (7, 20_001), (300, 10, 15)])
def test_threads(pair, shape, on_threads, rng):
    function, _ = pair
    x, grad = rng.normal(size=(2, *shape)).astype(np.float32)
    for axis in range(len(shape)):
        forward = on_threads(lambda axis=axis: function(x, axis=axis))
        backward = on_threads(lambda axis=axis, y=forward[0]: function.backward(grad, y, axis=axis))
        assert all(np.array_equal(y, forward[0]) for y in forward)
        assert all(np.array_equal(dx, backward[0]) for dx in backward)
    rows, flat = forward[0].reshape(-1, shape[-1]), x.reshape(-1, shape[-1])
    for k in range(0, len(rows), max(1, len(rows) // 50)):
        assert np.array_equal(function(flat[k].copy()), rows[k]), f"row {k} alone has other bits"


# -- errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("axis", [2, -3, 100])
def test_axis_out_of_range(pair, axis):
    function, _ = pair
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=f"axis: got {axis}, accepted are -2 to 1"):
        function(x, axis=axis)
    with pytest.raises(ValueError, match=f"axis: got {axis}"):
        function.backward(x, x, axis=axis)


@pytest.mark.parametrize("axis", [1.0, "0", None, True, (0, 1)])
def test_axis_of_a_wrong_type(pair, axis):
    with pytest.raises(TypeError, match="axis: got "):
        pair[0](np.zeros((2, 3), np.float32), axis=axis)


def test_no_axes(pair):
    with pytest.raises(ValueError, match="axis: the array has no axes"):
        pair[0](np.array(1.0, np.float32))


def test_wrong_arguments(pair):
    function, _ = pair
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    kept = x.copy()
    for wrong in ([1.0], np.arange(3), np.zeros(3, np.float16), np.zeros(3, np.dtype(np.float32).newbyteorder())):
        with pytest.raises(TypeError, match="x: got "):
            function(wrong)
    with pytest.raises(ValueError, match="grad: got shape"):
        function.backward(x[:2], x)
    with pytest.raises(TypeError, match="float64"):
        function.backward(x.astype(np.float64), x)
    with pytest.raises(ValueError, match="out: overlaps x in part"):
        function(x[:2], out=x[1:])
    with pytest.raises(ValueError, match="out: overlaps y in part"):
        function.backward(np.ones((2, 4), np.float32), x[:2], out=x[1:])
    with pytest.raises(ValueError, match="out: overlaps x in part"):
        function(x[:, :3], axis=0, out=x[:, 1:])
    with pytest.raises(ValueError, match="out: got shape"):
        function(x, out=np.empty((4, 3), np.float32))
    with pytest.raises(TypeError, match="out: got dtype"):
        function(x, out=np.empty((3, 4)))
    assert np.array_equal(x, kept)
