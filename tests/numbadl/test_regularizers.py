"""Penalties: values, gradients, soft-thresholding, against their definitions; models, threads, errors."""

import math

import numpy as np
import pytest

import numbadl as nd
from numbadl.regularizers import L1, L1L2, L2

DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
PENALTIES = [L1(0.3), L2(0.7), L1L2(0.2, 0.05), L1L2(0, 0), L1(0)]


def weights(rng, dtype, shape=(7, 9)):
    w = rng.normal(size=shape).astype(dtype)
    w.reshape(-1)[::5] = 0
    return w


def penalty(w, l1, l2):
    w = w.astype(np.longdouble)
    return float(l1 * np.abs(w).sum() + l2 * (w * w).sum())


def slope(w, l1, l2):
    w = w.astype(np.longdouble)
    return (l1 * np.sign(w) + 2 * l2 * w).astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regularizer", PENALTIES, ids=repr)
def test_value_and_gradient(regularizer, dtype, rng):
    l1, l2, eps = regularizer.l1, regularizer.l2, np.finfo(dtype).eps
    for shape in [(), (1,), (7, 9), (3, 100, 111)]:
        w = np.asarray(weights(rng, dtype, shape))
        value = regularizer(w)
        assert type(value) is float
        np.testing.assert_allclose(value, penalty(w, l1, l2), rtol=8 * eps)
        gradient = regularizer.gradient(w)
        assert gradient.dtype == dtype and gradient.shape == shape
        np.testing.assert_allclose(gradient, slope(w, l1, l2), rtol=4 * eps)
        out = np.full(shape, 5, dtype)
        assert regularizer.gradient(w, out=out) is out and np.array_equal(out, gradient)
        grad = rng.normal(size=shape).astype(dtype)
        grad = np.asarray(grad)
        before = grad.astype(np.float64)
        np.testing.assert_allclose(regularizer.add_gradient(w, grad), value, rtol=4 * eps)
        np.testing.assert_allclose(grad, before + slope(w, l1, l2), rtol=4 * eps, atol=4 * eps)


def test_the_gradient_is_the_slope(rng):
    w, step = rng.normal(size=6), 1e-6
    regularizer = L1L2(0.4, 0.3)
    for k in range(6):
        up, down = w.copy(), w.copy()
        up[k] += step
        down[k] -= step
        assert math.isclose(
            regularizer.gradient(w)[k], (penalty(up, 0.4, 0.3) - penalty(down, 0.4, 0.3)) / (2 * step), rel_tol=1e-7
        )


def test_the_subgradient_at_0_is_0_and_nan_stays():
    found = L1(2).gradient(np.float32([0, -0.0, 1e-40, -1e-40, np.nan]))
    assert found[:4].tolist() == [0, 0, 2, -2] and np.isnan(found[4])
    assert math.isnan(L1(1)(np.float32([1, np.nan])))


def test_ridge_is_not_the_square_of_the_sum():
    assert L2(0.5)(np.array([1.0, -1.0])) == 1


def test_lists_and_dicts_and_layouts(rng):
    arrays = [weights(rng, np.float32, shape) for shape in [(5,), (0,), (3, 4)]]
    regularizer, expected = L1L2(0.5, 0.25), sum(penalty(a, 0.5, 0.25) for a in arrays)
    assert math.isclose(regularizer(arrays), expected, rel_tol=1e-6)
    assert math.isclose(regularizer(dict(enumerate(arrays))), expected, rel_tol=1e-6)
    assert regularizer([]) == 0
    grads = [np.zeros_like(a) for a in arrays]
    assert math.isclose(regularizer.add_gradient(arrays, grads), expected, rel_tol=1e-6)
    for a, grad in zip(arrays, grads, strict=True):
        np.testing.assert_allclose(grad, slope(a, 0.5, 0.25), rtol=1e-6)
    matrix, wide = arrays[2], np.zeros((3, 8), np.float32)
    for grad in (np.zeros((3, 4), np.float32, order="F"), wide[:, ::2]):
        for view in (matrix, np.asfortranarray(matrix), matrix[::-1].copy()[::-1]):
            grad[...] = 0
            regularizer.add_gradient(view, grad)
            assert np.array_equal(grad, grads[2])
    assert not wide[:, 1::2].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_thresholding(dtype, rng):
    w = weights(rng, dtype)
    before = w.astype(np.float64)
    L1(0.5, proximal=True).shrink(w, lr=0.8)
    expected = np.sign(before) * np.maximum(np.abs(before) - 0.4, 0)
    np.testing.assert_allclose(w, expected, atol=2 * np.finfo(dtype).eps)
    assert (w[np.abs(before) < 0.39] == 0).all() and 0 < np.count_nonzero(w) < w.size
    kept = w.copy()
    for idle in (L1(0.5), L2(3), L1L2(1, 1), L1(0, proximal=True)):
        idle.shrink(w, lr=1)
        assert np.array_equal(w, kept)


def test_a_proximal_penalty_has_the_gradient_of_its_second_part(rng):
    w, grad = weights(rng, np.float32), np.zeros((7, 9), np.float32)
    both = L1L2(0.5, 0.25, proximal=True)
    assert both.gradient_scalars == (0, 0.25) and L1L2(0.5, 0.25).gradient_scalars == (0.5, 0.25)
    assert math.isclose(both.add_gradient(w, grad), penalty(w, 0.5, 0.25), rel_tol=1e-6), "its value has both"
    np.testing.assert_allclose(grad, slope(w, 0, 0.25), rtol=1e-6)


def test_the_lasso_selects_features(rng):
    """By proximal steps weights of features that say nothing become exactly 0."""
    x = rng.normal(size=(200, 10)).astype(np.float32)
    y = x[:, :1] * 2 - x[:, 3:4]
    w, lasso = np.zeros((10, 1), np.float32), L1(0.1, proximal=True)
    for _ in range(200):
        _, grad = nd.losses.mse.value_and_grad(x @ w, y)
        w -= 0.1 * (x.T @ grad)
        lasso.shrink(w, lr=0.1)
    assert np.flatnonzero(w).tolist() == [0, 3]


def test_of_a_model_the_weights_are_meant(rng):
    model = nd.nn.Sequential(nd.nn.Linear(4, 3), nd.nn.BatchNorm(3), nd.nn.PReLU(3), nd.nn.Linear(3, 2))
    regularizer, found = L1L2(0.5, 0.25), model.parameters()
    meant = [key for key in found if found[key].ndim == 2]
    assert meant == ["0.weight", "3.weight"]
    expected = sum(penalty(found[key], 0.5, 0.25) for key in meant)
    assert math.isclose(regularizer(model), expected, rel_tol=1e-6)
    model.flat_gradients[...] = 0
    assert math.isclose(regularizer.add_gradient(model), expected, rel_tol=1e-6)
    for key, grad in model.gradients().items():
        wanted = slope(found[key], 0.5, 0.25) if key in meant else np.zeros(grad.shape)
        np.testing.assert_allclose(grad, wanted, rtol=1e-6)
    kept = {key: value.copy() for key, value in found.items()}
    L1(10, proximal=True).shrink(model, lr=1)
    for key, value in model.parameters().items():
        assert not value.any() if key in meant else np.array_equal(value, kept[key])


def test_threads(on_threads, rng):
    w, before = weights(rng, np.float32, (300_000,)), rng.normal(size=300_000).astype(np.float32)

    def run():
        grad = before.copy()
        return L1L2(0.3, 0.1)(w), L1L2(0.3, 0.1).add_gradient(w, grad), grad.tobytes()

    first, *others = on_threads(run)
    assert all(other == first for other in others)


W = np.ones((2, 3), np.float32)
READ_ONLY = np.ones((2, 3), np.float32)
READ_ONLY.flags.writeable = False
WRONG = [
    (lambda: L1(-1), ValueError, "lam: got -1, accepted are numbers from 0 on"),
    (lambda: L2("1"), ValueError, "lam: got '1'"),
    (lambda: L1L2(1, math.nan), ValueError, "l2: got nan"),
    (lambda: L1(1, proximal=1), TypeError, "proximal: got 1, accepted are True and False"),
    (lambda: L1(1)([[1.0]]), TypeError, r"params\[0\]: got list, accepted are numpy.ndarray"),
    (lambda: L1(1)(np.ones(3, int)), TypeError, r"params\[0\]: got dtype int64"),
    (lambda: L1(1).add_gradient(W), TypeError, "grads: needed, because params is no model"),
    (lambda: L1(1).add_gradient(W, [W, W]), ValueError, "grads: got 2 arrays for 1 parameters"),
    (lambda: L1(1).add_gradient(W, np.ones((2, 3))), TypeError, r"grads\[0\]: got dtype float64"),
    (lambda: L1(1).add_gradient(W, W[:1].copy()), ValueError, r"grads\[0\]: got shape \(1, 3\), expected \(2, 3\)"),
    (lambda: L1(1).add_gradient(W, W), ValueError, r"grads\[0\]: shares memory with the parameter"),
    (lambda: L1(1).add_gradient(W, READ_ONLY), ValueError, r"grads\[0\]: is read-only"),
    (lambda: L1(1).gradient(W, out=W), ValueError, "out: may not share memory with w"),
    (lambda: L1(1, proximal=True).shrink(READ_ONLY, lr=1), ValueError, r"params\[0\]: is read-only"),
    (lambda: L1(1, proximal=True).shrink(W, lr=-1), ValueError, "lr: got -1"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert (W == 1).all() and (READ_ONLY == 1).all()


def test_reprs():
    assert [repr(r) for r in (L1(0.5), L1(0.5, proximal=True), L2(1), L1L2(1, 2))] == [
        "L1(0.5)", "L1(0.5, proximal=True)", "L2(1)", "L1L2(1, 2)"
    ]  # fmt: skip
