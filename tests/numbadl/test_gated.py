"""Gated units, maxout, softmin and sparsemax against their definitions in float64: values, gradients, layouts, errors."""

import numpy as np
import pytest
from scipy.special import ndtr

import numbadl as nd


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATION = {"swiglu": lambda g: g * _sigmoid(g), "geglu": lambda g: g * ndtr(g), "reglu": lambda g: np.maximum(g, 0)}
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


def slopes(fn, arrays, grad, step=1e-6):
    """Central differences of sum(grad * fn(*arrays)) by every element of every array, in float64."""
    for k, array in enumerate(arrays):
        found = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            moved = [[a.copy() for a in arrays] for _ in range(2)]
            moved[0][k][index] += step
            moved[1][k][index] -= step
            found[index] = (grad * (fn(*moved[0]) - fn(*moved[1]))).sum() / (2 * step)
        yield found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATION)
def test_gated_units(name, dtype, rng):
    f = getattr(nd, name)
    x, gate, grad = (rng.normal(size=(3, 4, 5)) * 2).astype(dtype)
    wide = [a.astype(np.float64) for a in (x, gate)]
    fn = lambda x, g: x * ACTIVATION[name](g)  # noqa: E731
    np.testing.assert_allclose(f(x, gate), fn(*wide), rtol=1e-6, atol=1e-6)
    for got, want in zip(f.backward(grad, x, gate), slopes(fn, wide, grad), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    fortran = np.asfortranarray(x)
    np.testing.assert_array_equal(f(fortran, gate[:, :]), f(x, gate))
    out = np.empty_like(x)
    assert f(x, gate, out=out) is out
    pair = np.empty_like(x), np.empty_like(x)
    dx, dgate = f.backward(grad, x, gate, out=pair)
    assert dx is pair[0] and dgate is pair[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_glu(axis, dtype, rng):
    x = rng.normal(size=(4, 6, 2)).astype(dtype)
    fn = lambda x: (lambda a, b: a * _sigmoid(b))(*np.split(x, 2, axis))  # noqa: E731
    y = nd.glu(x, axis=axis)
    np.testing.assert_allclose(y, fn(x.astype(np.float64)), rtol=1e-6, atol=1e-6)
    grad = rng.normal(size=y.shape).astype(dtype)
    (want,) = slopes(fn, [x.astype(np.float64)], grad)
    dx = nd.glu.backward(grad, x, axis=axis)
    np.testing.assert_allclose(dx, want, rtol=2e-5, atol=2e-5)
    out = np.empty_like(x)
    assert nd.glu.backward(grad, x, axis=axis, out=out) is out and np.array_equal(out, dx)
    inplace = grad.copy()
    halves = np.concatenate([inplace, inplace], axis)
    assert np.array_equal(nd.glu.backward(np.split(halves, 2, axis)[0].copy(), x, axis=axis, out=halves), dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [1, -1])
def test_maxout(axis, dtype, rng):
    x = rng.normal(size=(3, 6, 6)).astype(dtype)
    for pieces in (1, 2, 3, 6):
        moved = np.moveaxis(x, axis, -1)
        want = np.moveaxis(moved.reshape(*moved.shape[:-1], -1, pieces).max(-1), -1, axis)
        y = nd.maxout(x, pieces, axis=axis)
        np.testing.assert_array_equal(y, want)
        out = np.empty_like(want)
        assert nd.maxout(x, pieces, axis=axis, out=out) is out and np.array_equal(out, y)
        grad = rng.normal(size=y.shape).astype(dtype)
        dx = nd.maxout.backward(grad, x, pieces, axis=axis)
        repeated = np.repeat(want, pieces, axis), np.repeat(grad, pieces, axis)
        np.testing.assert_array_equal(dx, np.where(x == repeated[0], repeated[1], 0))
    ties = np.array([[1.0, 1.0, 0.0, 2.0, 2.0, 2.0]], dtype)
    assert nd.maxout.backward(np.array([[5.0, 7.0]], dtype), ties, 3).tolist() == [[5, 0, 0, 7, 0, 0]]


def simplex(row):
    """The projection onto the simplex by sorting: Martins and Astudillo 2016, algorithm 1."""
    z = np.sort(row)[::-1]
    sums, k = np.cumsum(z), np.arange(1, z.size + 1)
    support = k[1 + k * z > sums][-1]
    return np.maximum(row - (sums[support - 1] - 1) / support, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparsemax(dtype, rng):
    for shape, axis, scale in [
        ((7, 5), -1, 1),
        ((3, 40, 2), 1, 3),
        ((2, 3000), -1, 0.01),
        ((1, 1), 0, 1),
        ((9, 4), 0, 20),
    ]:
        x = (rng.normal(size=shape) * scale).astype(dtype)
        want = np.apply_along_axis(simplex, axis, x.astype(np.float64))
        y = nd.sparsemax(x, axis=axis)
        np.testing.assert_allclose(y, want, rtol=0, atol=8 * np.finfo(dtype).eps)
        grad = rng.normal(size=shape).astype(dtype)
        inside = want > 0
        mean = np.where(inside, grad, 0).sum(axis, keepdims=True) / inside.sum(axis, keepdims=True)
        same = np.all((y > 0) == inside, axis=axis, keepdims=True)
        got = nd.sparsemax.backward(grad, y, axis=axis)
        np.testing.assert_allclose(np.where(same, got, 0), np.where(same & inside, grad - mean, 0), rtol=0, atol=1e-5)
        assert same.mean() > 0.9
    assert nd.sparsemax(np.array([[0.0, 0.0, 0.0, 0.0]], dtype)).tolist() == [[0.25] * 4]
    assert nd.sparsemax(np.array([[-np.inf, 3.0]], dtype)).tolist() == [[0, 1]]
    assert np.isnan(nd.sparsemax(np.array([[np.nan, 3.0], [np.inf, 1.0]], dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmin(dtype, rng):
    x, grad = rng.normal(size=(2, 4, 6)).astype(dtype)
    for axis in (0, 1):
        y = nd.softmin(x, axis=axis)
        np.testing.assert_allclose(y, nd.softmax(-x, axis=axis), rtol=1e-6)
        want = -nd.softmax.backward(grad, nd.softmax(-x, axis=axis), axis=axis)
        np.testing.assert_allclose(nd.softmin.backward(grad, y, axis=axis), want, rtol=1e-5, atol=1e-6)


def test_errors():
    x = np.zeros((2, 6), np.float32)
    for call, error, message in [
        (lambda: nd.glu(x[:, :5]), ValueError, "x: got 5 elements along axis 1, accepted are even numbers"),
        (lambda: nd.glu(x, axis=2), ValueError, "axis: got 2"),
        (lambda: nd.swiglu(x, x[:1]), ValueError, "gate: got shape"),
        (lambda: nd.swiglu(x, x.astype(float)), TypeError, "gate: got dtype float64"),
        (lambda: nd.swiglu.backward(x, x, x, out=x), TypeError, "out: got .*pairs"),
        (lambda: nd.maxout(x, 4), ValueError, "pieces: got 4, accepted are divisors of the 6 channels"),
        (lambda: nd.maxout(x, 0), ValueError, "pieces: got 0"),
        (lambda: nd.maxout.backward(x, x, 2), ValueError, r"grad: got shape \(2, 6\)"),
        (lambda: nd.maxout(x, 2, out=x), ValueError, "out: got shape"),
    ]:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_empty(shape):
    x = np.zeros(shape, np.float32)
    assert nd.sparsemax(x).shape == nd.softmin(x).shape == nd.swiglu(x, x).shape == shape
    assert nd.glu(x).shape == (shape[0], shape[1] // 2)
    assert (
        nd.maxout(x, 2).shape == (shape[0], shape[1] // 2) and nd.maxout.backward(nd.maxout(x, 2), x, 2).shape == shape
    )
