"""Fused chains against the same chain in float64 NumPy: values, gradients, layouts, streams, errors."""

from pathlib import Path

import numpy as np
import pytest

import numbadl as nd

SHAPES = [(5, 3), (4, 3, 7), (2, 3, 8, 9), (3, 70), (0, 3), (1, 3, 1)]
P = 0.3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def along(values, ndim):
    """One value for each channel, ready to be broadcast along axis 1."""
    return np.asarray(values, np.float64).reshape(-1, *[1] * (ndim - 2))


# Each case: stages, names of the operands, and forward in float64 NumPy, of x, operands (as float64) and the mask.
CASES = {
    "bias": ([nd.stage.bias], "c", lambda x, m, b: x + along(b, x.ndim)),
    "tanh alone": ([nd.tanh], "", lambda x, m: np.tanh(x)),
    "residual, then relu": ([nd.stage.residual, nd.relu], "a", lambda x, m, r: np.maximum(x + r, 0)),
    "the chain of a transformer": (
        [nd.stage.bias, nd.silu, nd.stage.dropout(P), nd.stage.residual],
        "ca",
        lambda x, m, b, r: (x + along(b, x.ndim)) * sigmoid(x + along(b, x.ndim)) * m + r,
    ),
    "all kinds": (
        [nd.stage.scale, nd.stage.residual, nd.tanh, nd.stage.bias, nd.prelu, nd.stage.scale(0.5), nd.stage.residual],
        "cacca",
        lambda x, m, s, r, b, a, q: (lambda y: 0.5 * np.where(y > 0, y, along(a, x.ndim) * y))(
            np.tanh(x * along(s, x.ndim) + r) + along(b, x.ndim)
        ) + q,
    ),
    "other parameters": (
        [nd.stage.activation(nd.leaky_relu, negative_slope=0.3), nd.stage.dropout(P)],
        "",
        lambda x, m: np.where(x > 0, x, 0.3 * x) * m,
    ),
}  # fmt: skip


def operands_of(kinds, shape, dtype, rng):
    return [rng.normal(size=shape if kind == "a" else shape[1:2]).astype(dtype) for kind in kinds]


def mask_of(op, shape, seed, offset):
    dropped = any("dropout" in repr(s) for s in op.stages)
    return nd.dropout.mask(shape, P, seed, offset) / (1 - P) if dropped else np.ones(shape)


def differences(fn, arrays, grad, k, step=1e-6):
    """Central differences of sum(grad * fn(*arrays)) by each element of array k."""
    found = np.zeros(arrays[k].shape)
    for index in np.ndindex(arrays[k].shape):
        values = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[k][index] += sign * step
            values.append((grad * fn(*moved)).sum())
        found[index] = (values[0] - values[1]) / (2 * step)
    return found


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "all kinds")) for n in CASES])
def test_values_and_gradients(name, dtype, rng):
    stages, kinds, formula = CASES[name]
    op = nd.fuse(*stages)
    limit = 50 * np.finfo(dtype).eps
    for shape in SHAPES:
        x, grad = rng.normal(size=(2, *shape)).astype(dtype)
        operands = operands_of(kinds, shape, dtype, rng)
        before = [a.copy() for a in (x, grad, *operands)]
        mask, stream = mask_of(op, shape, 7, 9), {"seed": 7, "offset": 9}
        wide = [a.astype(np.float64) for a in (x, *operands)]

        def fn(x, *rest, mask=mask):
            return formula(x, mask, *rest)

        y = op(x, *operands, **stream)
        assert y.dtype == dtype and y.shape == shape
        np.testing.assert_allclose(y, fn(*wide), rtol=limit, atol=limit)
        gradients = op.backward(grad, x, *operands, **stream)
        assert isinstance(gradients, tuple) and len(gradients) == 1 + len(operands)
        for k, (got, array) in enumerate(zip(gradients, wide, strict=True)):
            assert got.dtype == dtype and got.shape == array.shape
            if array.size <= 60:
                np.testing.assert_allclose(got, differences(fn, wide, grad, k), rtol=1e-5, atol=1e-5)
        for now, then in zip((x, grad, *operands), before, strict=True):
            np.testing.assert_array_equal(now, then)


def test_layouts_and_out(rng):
    op = nd.fuse(nd.stage.bias, nd.tanh, nd.stage.residual)
    x, r, grad = rng.normal(size=(3, 4, 6, 5)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    y, gradients = op(x, bias, r), op.backward(grad, x, bias, r)
    last = lambda v: np.ascontiguousarray(np.moveaxis(v, 1, -1))  # noqa: E731
    views = [lambda v: np.moveaxis(last(v), -1, 1), np.asfortranarray, lambda v: np.repeat(v, 2, axis=2)[:, :, ::2]]
    for view in views:
        np.testing.assert_array_equal(op(view(x), bias, view(r)), y)
        for got, want in zip(op.backward(view(grad), view(x), bias, view(r)), gradients, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    moved = nd.fuse(nd.stage.bias, nd.tanh, nd.stage.residual, axis=-1)
    np.testing.assert_array_equal(moved(last(x), bias, last(r)), last(y))
    out = np.empty_like(x)
    assert op(x, bias, r, out=out) is out and np.array_equal(out, y)
    inplace = x.copy()
    assert op(inplace, bias, r, out=inplace) is inplace and np.array_equal(inplace, y)
    dx = grad.copy()
    found = op.backward(dx, x, bias, r.copy(), out=dx)
    assert found[0] is dx and np.array_equal(dx, gradients[0]) and np.array_equal(found[2], grad)


def test_any_number_of_threads(rng, on_threads):
    op = nd.fuse(nd.stage.bias, nd.silu, nd.stage.dropout(P), nd.stage.residual)
    for shape in [(300, 500), (3, 4, 20_000)]:
        x, r, grad = rng.normal(size=(3, *shape)).astype(np.float32)
        bias = rng.normal(size=shape[1]).astype(np.float32)

        def results(x=x, r=r, grad=grad, bias=bias):
            found = op(x, bias, r, seed=1), *op.backward(grad, x, bias, r, seed=1)
            return np.concatenate([v.reshape(-1) for v in found])

        first, *others = on_threads(results)
        assert all(np.array_equal(first, other) for other in others)


def test_dropout_draws_the_mask_of_dropout_and_is_the_identity_in_evaluation(rng):
    x = rng.normal(size=(30, 50)).astype(np.float32)
    op = nd.fuse(nd.relu, nd.stage.dropout(0.4))
    assert np.array_equal(op(x, seed=3, offset=5), nd.dropout(nd.relu(x), 0.4, seed=3, offset=5))
    assert np.array_equal(op(x, training=False), nd.relu(x))
    assert np.array_equal(op.backward(x, x, training=False)[0], nd.relu.backward(x, x))
    for p, expected in ((0, x), (1, 0 * x)):
        only = nd.fuse(nd.stage.dropout(p))
        assert np.array_equal(only(x), expected) and np.array_equal(only.backward(x, x)[0], expected)


def test_bias_of_an_infinite_element_has_its_gradient():
    op = nd.fuse(nd.stage.bias)
    x = np.array([[np.inf, 1]], np.float32)
    dx, dbias = op.backward(np.ones_like(x), x, np.zeros(2, np.float32))
    assert dx.tolist() == [[1, 1]] and dbias.tolist() == [1, 1]


def test_two_chains_that_differ_in_one_number_are_two_chains(rng):
    x = rng.normal(size=100).astype(np.float32)
    assert np.array_equal(nd.fuse(nd.stage.scale(2))(x), 2 * x)
    assert np.array_equal(nd.fuse(nd.stage.scale(3))(x), 3 * x)
    assert not np.array_equal(nd.fuse(nd.tanh, nd.relu)(x), nd.fuse(nd.relu, nd.tanh)(-x))


def test_errors(rng):
    x = rng.normal(size=(4, 3)).astype(np.float32)
    op = nd.fuse(nd.stage.bias, nd.relu, nd.stage.residual)
    bias = np.zeros(3, np.float32)
    for call, error, message in [
        (lambda: nd.fuse(), ValueError, "stages: got none"),
        (lambda: nd.fuse(np.tanh), TypeError, "stage: got"),
        (lambda: nd.fuse(nd.stage.dropout(0.1), nd.stage.dropout(0.2)), ValueError, "several random"),
        (lambda: nd.fuse(nd.brelu), ValueError, "brelu"),
        (lambda: nd.stage.dropout(2), ValueError, "p: got 2"),
        (lambda: nd.stage.activation(nd.leaky_relu, slope=1), TypeError, "slope"),
        (lambda: op(x, bias), TypeError, "got 1 after x, accepted are 2: bias, residual"),
        (lambda: op(x, bias[:2], x), ValueError, r"bias: got shape \(2,\), expected \(3,\)"),
        (lambda: op(x, bias, x[:2]), ValueError, "residual: got shape"),
        (lambda: op(x, bias.astype(float), x), TypeError, "bias: got dtype float64"),
        (lambda: op(x.tolist(), bias, x), TypeError, "x: got list"),
        (lambda: op(x, bias, x, seed=-1), ValueError, "seed: got -1"),
        (lambda: op(x[0], bias, x[0]), ValueError, "axis: got 1"),
        (lambda: op.backward(x[:2], x, bias, x), ValueError, "got shape"),
        (lambda: op(x, bias, x, out=x[:, :2]), ValueError, "out: got shape"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert repr(op) == "fuse(bias, relu, residual)"


@pytest.mark.slow
def test_the_examples_of_the_page():
    page = Path(__file__).parents[2] / "docs" / "fusing.md"
    names = {}
    for block in page.read_text(encoding="utf-8").split("```python\n")[1:]:
        exec(block.split("```")[0], names)
    assert names["dbias"].shape == names["dweight"].shape == (32,)
    expected = np.maximum((names["x"] - names["x"].mean(0)) / np.sqrt(names["x"].var(0) + 1e-5) + names["residual"], 0)
    np.testing.assert_allclose(names["y"], expected, rtol=1e-4, atol=1e-5)
