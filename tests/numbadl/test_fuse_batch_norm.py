"""Batch norm with stages behind it: values, gradients and running statistics of the chain, in higher precision; errors."""

import numpy as np
import pytest
import references as ref

import numbadl as nd

SLOW = pytest.mark.slow
C = 4


@nd.activation(learnable=("alpha",))
def bump(x, alpha=0.5, width=1.5):
    return x * np.exp(-((x / width) ** 2)) + alpha * x


def along(values, ndim):
    return values.reshape(-1, *[1] * (ndim - 2))


def total(terms):
    """The sum over each channel."""
    return terms.sum(axis=(0, *range(2, terms.ndim)))


def bump_by_hand(z, alpha):
    alpha, e = along(alpha, z.ndim), np.exp(-((z / 1.5) ** 2))
    return z * e + alpha * z, lambda g: (g * (e * (1 - 2 * (z / 1.5) ** 2) + alpha), total(g * z))


def all_kinds(z, s, r, a, b, q):
    s, a, b = (along(v, z.ndim) for v in (s, a, b))
    u = z * s + r
    slope = np.where(u > 0, 1, a)

    def gradients(g):
        du = 0.5 * g * slope
        return du * s, total(du * z), du, total(0.5 * g * np.where(u > 0, 0, u)), total(g), g

    return 0.5 * u * slope + b + q, gradients


# Stages; kinds of the operands; (z, *operands) -> y, and grad -> gradients of z and of the operands.
CHAINS = {
    "relu": ([nd.relu], "", lambda z: (np.maximum(z, 0), lambda g: (g * (z > 0),))),
    "residual, leaky relu": (
        [nd.stage.residual, nd.stage.activation(nd.leaky_relu, negative_slope=0.3)],
        "a",
        lambda z, r: (np.where(z + r > 0, z + r, 0.3 * (z + r)), lambda g: (g * np.where(z + r > 0, 1, 0.3),) * 2),
    ),
    "relu, residual": (
        [nd.relu, nd.stage.residual],
        "a",
        lambda z, r: (np.maximum(z, 0) + r, lambda g: (g * (z > 0), g)),
    ),
    "declared": ([bump], "c", bump_by_hand),
    "all kinds": (
        [nd.stage.scale, nd.stage.residual, nd.prelu, nd.stage.scale(0.5), nd.stage.bias, nd.stage.residual],
        "cacca",
        all_kinds,
    ),
}
SHAPES = {"columns": (70, C), "runs": (3, C, 11, 7)}
FAST = {("residual, leaky relu", layout, training) for layout in SHAPES for training in (True, False)}
FAST |= {("declared", "columns", True), ("relu, residual", "runs", True)}
EVERY = [
    pytest.param(
        chain, layout, training, dtype,
        marks=[] if (chain, layout, training) in FAST and dtype is np.float32 else [SLOW],
    )
    for chain in CHAINS for layout in SHAPES for training in (True, False) for dtype in (np.float32, np.float64)
]  # fmt: skip


def make(chain, shape, dtype, rng):
    """The operation, its formula, x, grad, (weight, bias), (running mean, running variance), operands."""
    stages, kinds, formula = CHAINS[chain]
    x, grad = rng.normal(1, 2, (2, *shape)).astype(dtype)
    affine, mean = rng.normal(size=(2, C)).astype(dtype), rng.normal(size=C).astype(dtype)
    operands = [rng.normal(size=shape if kind == "a" else C).astype(dtype) for kind in kinds]
    return nd.fuse_batch_norm(*stages), formula, x, grad, affine, (mean, rng.uniform(0.5, 2, C).astype(dtype)), operands


@pytest.mark.parametrize(("chain", "layout", "training", "dtype"), EVERY)
def test_values_and_gradients(chain, layout, training, dtype, rng):
    op, formula, x, grad, (weight, bias), statistics, operands = make(chain, SHAPES[layout], dtype, rng)
    given = () if training else statistics
    z, mean, var = ref.batch_norm(x, weight, bias, *given, eps=1e-3)
    expected, gradients = formula(z, *operands)
    dz, *wanted = gradients(grad)
    wanted = [*ref.batch_norm_gradient(dz, x, weight, mean, var, training, eps=1e-3), *wanted]
    running = [s.copy() for s in statistics]
    kept = [a.copy() for a in (x, grad, *operands)]
    y, saved = op(x, weight, bias, *running, *operands, training=training, momentum=0.3, eps=1e-3)
    found = op.backward(grad, x, weight, bias, saved, *operands)
    assert y.dtype == dtype and len(found) == len(wanted)
    for actual, want in zip((y, *found), (expected, *wanted), strict=True):
        want = np.asarray(want, np.float64)
        scale = max(1, np.abs(want).max()) * (np.sqrt(x.size / C) if want.ndim == 1 else 1)
        np.testing.assert_allclose(actual, want, rtol=0, atol=16 * np.finfo(dtype).eps * scale)
    n, share = x.size // C, 0.3 if training else 0
    for after, before, batch in zip(running, statistics, (mean, var * n / (n - 1)), strict=True):
        want = (1 - share) * before.astype(float) + share * batch.astype(float)
        np.testing.assert_allclose(after, want, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(want).max())
    assert all(np.array_equal(a, b) for a, b in zip((x, grad, *operands), kept, strict=True))


@pytest.mark.parametrize("layout", SHAPES)
def test_layouts_out_and_what_is_not_given(layout, rng):
    op, _, x, grad, (weight, bias), statistics, (residual,) = make(
        "residual, leaky relu", SHAPES[layout], np.float32, rng
    )
    y, saved = op(x, weight, bias, *statistics, residual)
    gradients = op.backward(grad, x, weight, bias, saved, residual)
    frozen = residual.copy()
    frozen.flags.writeable = False
    other = [np.array(a, order="F") for a in (x, grad)]
    again, saved_again = op(other[0], weight, bias, *statistics, frozen)
    assert np.array_equal(again, y)
    found = op.backward(other[1], other[0], weight, bias, saved_again, np.repeat(residual, 2, axis=-1)[..., ::2])
    assert all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True))
    for out in (x.copy(), np.empty(x.shape, np.float32, order="F")):
        given = out if out.flags.c_contiguous else x  # in place, and into another layout
        assert op(given, weight, bias, *statistics, residual, out=out)[0] is out and np.array_equal(out, y)
        target = grad.copy() if given is out else out
        given = target if given is out else grad
        found = op.backward(given, x, weight, bias, saved, residual, out=target)
        assert found[0] is target and all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True))
    dx, dweight, dbias, _ = op.backward(grad, x, None, None, op(x, None, None, None, None, residual)[1], residual)
    ones = np.ones(C, np.float32)
    full = op.backward(grad, x, ones, 0 * ones, op(x, ones, 0 * ones, None, None, residual)[1], residual)
    assert dweight is None and dbias is None and np.array_equal(dx, full[0])


def test_the_gradient_of_a_residual_that_nothing_changes_is_that_of_y(rng):
    op, _, x, grad, (weight, bias), statistics, (residual,) = make("relu, residual", SHAPES["runs"], np.float32, rng)
    saved = op(x, weight, bias, *statistics, residual)[1]
    dx, *_, dresidual = op.backward(grad, x, weight, bias, saved, residual)
    assert dresidual is grad
    given = grad.copy()
    again = op.backward(given, x, weight, bias, saved, residual, out=given)
    assert again[0] is given and np.array_equal(given, dx) and np.array_equal(again[-1], grad)


@pytest.mark.parametrize("shape", [(5000, C), (9, C, 5000)])
def test_threads(shape, on_threads, rng):
    op, _, x, grad, (weight, bias), statistics, operands = make("residual, leaky relu", shape, np.float32, rng)

    def run(training):
        y, saved = op(x, weight, bias, *[s.copy() for s in statistics], *operands, training=training)
        return [a.tobytes() for a in (y, *op.backward(grad, x, weight, bias, saved, *operands))]

    for training in (True, False):
        first, *others = on_threads(lambda t=training: run(t))
        assert all(other == first for other in others)


def test_a_number_for_all_channels(rng):
    op, _, x, grad, (weight, bias), statistics, (alpha,) = make("declared", SHAPES["columns"], np.float32, rng)
    alpha[:] = alpha[0]
    y, saved = op(x, weight, bias, *[s.copy() for s in statistics], alpha)
    *gradients, dalpha = op.backward(grad, x, weight, bias, saved, alpha)
    again, _ = op(x, weight, bias, *[s.copy() for s in statistics], float(alpha[0]))
    *found, one = op.backward(grad, x, weight, bias, saved, alpha[:1])
    assert np.array_equal(y, again) and all(np.array_equal(a, b) for a, b in zip(found, gradients, strict=True))
    np.testing.assert_allclose(one, dalpha.sum(keepdims=True), rtol=1e-6)


def test_the_cumulative_mean_and_empty_batches(rng):
    op, _, x, _, (weight, bias), (mean, var), (residual,) = make("residual, leaky relu", (70, C), np.float32, rng)
    op(x, weight, bias, mean, var, residual, momentum=None, num_batches_tracked=0)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=float), rtol=1e-5, atol=1e-6)
    y, saved = op(x[:0], weight, bias, mean, var, residual[:0], training=False)
    found = op.backward(x[:0], x[:0], weight, bias, saved, residual[:0])
    assert y.shape == found[0].shape == (0, C) and not found[1].any() and not found[2].any()


def test_wrong_arguments(rng):
    op, _, x, grad, (weight, bias), statistics, (residual,) = make("residual, leaky relu", (70, C), np.float32, rng)
    prelu = nd.fuse_batch_norm(nd.prelu)
    saved = op(x, weight, bias, *statistics, residual)[1]
    kept = [a.copy() for a in (x, *statistics)]
    first = (x, weight, bias, *statistics)
    cases = [
        (lambda: nd.fuse_batch_norm(), ValueError, "stages: got none"),
        (lambda: nd.fuse_batch_norm(nd.stage.dropout(0)), ValueError, "stages: got none that computes"),
        (lambda: nd.fuse_batch_norm(nd.relu, nd.stage.dropout(0.5)), ValueError, "stages: got a random one"),
        (lambda: nd.fuse_batch_norm("relu"), TypeError, "stage: got 'relu'"),
        (lambda: op(*first), TypeError, "operands: got 0 after x, accepted are 1: residual"),
        (lambda: op(*first, residual[:3]), ValueError, "residual: got shape"),
        (lambda: op(*first, residual.astype(np.float64)), TypeError, "residual: got dtype float64"),
        (lambda: op(*first, residual, momentum=2), ValueError, "momentum: got 2"),
        (lambda: op(*first, residual, momentum=None), ValueError, "momentum: got None"),
        (lambda: op(*first, residual, eps=-1), ValueError, "eps: got -1"),
        (lambda: op(x[:1], *first[1:], residual[:1]), ValueError, "at least 2 values per channel"),
        (
            lambda: op(x, weight, bias, None, None, residual, training=False),
            ValueError,
            "running_mean: evaluation needs",
        ),
        (lambda: op(x[:9], *first[1:], x[:9].copy(), out=x[1:10]), ValueError, "out: overlaps x in part"),
        (lambda: op(x[:9].copy(), *first[1:], x[:9], out=x[1:10]), ValueError, "out: overlaps residual in part"),
        (lambda: prelu(*first, np.ones(3, np.float32)), ValueError, "alpha: got shape"),
        (lambda: op.backward(grad[:3], x, weight, bias, saved, residual), ValueError, "grad: got shape"),
        (lambda: op.backward(grad, x, weight, bias[:2], saved, residual), ValueError, "bias: got shape"),
        (lambda: op.backward(grad, x, weight, bias, saved), TypeError, "operands: got 0"),
        (lambda: op.backward(grad, x, weight, bias, saved, residual, out=x[:2]), ValueError, "out: got shape"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
        assert all(np.array_equal(a, b) for a, b in zip((x, *statistics), kept, strict=True)), message
