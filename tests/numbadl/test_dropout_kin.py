"""Normal fills, alpha, Gaussian and feature dropout: against the formulas, from the same bits in float64."""

import math

import numpy as np
import pytest
import references as ref
from mpmath import mp, mpf

import numbadl as nd

DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
TOLERANCE = {np.float32: 2.0**-20, np.float64: 2.0**-30}  # of a standard normal number
STREAM = {"seed": 11, "offset": 5}
LOWEST = float(-mpf("1.0507009873554804934193349852946") * mpf("1.6732632423543772848170429916717"))


def standard_normal(element, seed, offset):
    """From the generator's bits, by mpmath: the quantile of the 31 low ones, with the sign of the highest."""
    bits = ref.random_bits(element, seed, offset)
    u = (mpf(bits % 2**31) + 0.5) / 2**32
    size = mp.sqrt(2) * mp.erfinv(1 - 2 * u)
    return float(-size if bits >> 31 else size)


# -- normal ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_is_the_quantile_of_the_bits(dtype):
    elements = [0, 1, 255, 256, 1023, 1024, 5000, 40_000, *range(2000, 2300)]
    values = nd.normal(40_001, 1.5, 2.0, **STREAM, dtype=dtype)
    expected = [1.5 + 2 * standard_normal(e, **STREAM) for e in elements]
    assert values.dtype == dtype
    np.testing.assert_allclose(values[elements], expected, rtol=4 * np.finfo(dtype).eps, atol=2 * TOLERANCE[dtype])


def test_normal_to_the_ends():
    """The polynomial covers all bits: the smallest and the largest fraction, with both signs, in a scalar call."""
    from numbadl.kernels.scalar.fills import standard_normal as scalar

    for bits in (0, 1, 1000, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1):
        u = (mpf(bits % 2**31) + 0.5) / 2**32
        expected = float(mp.sqrt(2) * mp.erfinv(1 - 2 * u)) * (-1 if bits >> 31 else 1)
        assert abs(float(scalar(np.uint32(bits), np.float64(0))) - expected) < 2**-29


def test_normal_moments():
    x = nd.normal(1 << 21, **STREAM, dtype=np.float64)
    n = x.size
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / n)
    for limit, share in [(1, 0.3173105), (2, 0.0455003), (3, 0.0026998), (4, 6.3342e-5)]:
        assert abs(np.count_nonzero(np.abs(x) > limit) - n * share) < 4 * math.sqrt(n * share)


@pytest.mark.parametrize("fill", [nd.uniform, nd.normal])
def test_fills(fill, on_threads):
    whole = fill((300, 1001), 2.0, 3.0, **STREAM)
    assert np.array_equal(whole.reshape(-1)[5000:9000], fill(4000, 2.0, 3.0, **STREAM, start=5000))
    out = np.empty((300, 1001), np.float32)
    assert fill(out.shape, 2.0, 3.0, **STREAM, out=out) is out and np.array_equal(out, whole)
    assert fill((3, 0)).shape == (3, 0) and fill(()).shape == ()
    results = on_threads(lambda: fill(300_001, **STREAM))
    assert all(r.tobytes() == results[0].tobytes() for r in results)
    with pytest.raises(ValueError, match="out: got shape"):
        fill((3,), out=np.empty(4, np.float32))
    with pytest.raises(ValueError, match="out: has to be a writeable"):
        fill((3,), out=np.empty(6, np.float32)[::2])
    with pytest.raises(TypeError, match="dtype"):
        fill((3,), dtype=np.int32)
    with pytest.raises(ValueError, match=": got nan"):
        fill((3,), np.nan)


def test_uniform_float64_has_32_bits():
    values = nd.uniform(2000, **STREAM, dtype=np.float64)
    bits = np.array([ref.random_bits(k, 11, 5) for k in range(2000)], np.float64)
    np.testing.assert_array_equal(values, (bits + 0.5) / 2**32)


# -- alpha dropout ---------------------------------------------------------------------------------------------------
def alpha_scalars(p):
    """From the conditions themselves: mean 0 and variance 1 stay, given that a dropped value is LOWEST before both."""
    q = 1 - p
    scale = 1 / math.sqrt(q + LOWEST**2 * p * q)
    return scale, -scale * p * LOWEST


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout(p, dtype, rng):
    x, grad = rng.normal(size=(2, 5003)).astype(dtype)
    mask, (scale, shift) = nd.dropout.mask(x.shape, p, **STREAM), alpha_scalars(p)
    expected = np.where(mask, x.astype(np.float64), LOWEST) * scale + shift
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(nd.alpha_dropout(x, p, **STREAM), expected, rtol=2 * eps, atol=4 * eps)
    dx = nd.alpha_dropout.backward(grad, p, **STREAM)
    np.testing.assert_allclose(dx, np.where(mask, grad * scale, 0), rtol=2 * eps)


def test_alpha_dropout_at_the_ends():
    x = np.array([1, -2, np.inf, np.nan], np.float32)
    assert nd.alpha_dropout(x, 0.0).tobytes() == x.tobytes()
    for p in (1, 1.0):
        assert np.array_equal(nd.alpha_dropout(x, p), np.zeros(4)) and np.array_equal(
            nd.alpha_dropout.backward(x, p), np.zeros(4)
        )


# -- Gaussian dropout ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_dropout(dtype, rng):
    x, p = rng.normal(size=500).astype(dtype), 0.3
    noise = np.array([standard_normal(e, **STREAM) for e in range(x.size)])
    factors = 1 + math.sqrt(p / (1 - p)) * noise
    for found in (nd.gaussian_dropout(x, p, **STREAM), nd.gaussian_dropout.backward(x, p, **STREAM)):
        np.testing.assert_allclose(found, x * factors, rtol=8 * np.finfo(dtype).eps, atol=TOLERANCE[dtype] * 4)
    np.testing.assert_array_equal(nd.gaussian_dropout(x, 0.0), x)
    with pytest.raises(ValueError, match="p: got 1"):
        nd.gaussian_dropout(x, 1)


# -- feature dropout -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (3, 4, 9, 11), (2, 3, 4, 5, 6), (1, 1, 5), (0, 3, 4), (3, 0, 2)])
def test_feature_dropout(shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    for p in (0.0, 0.4, 1.0):
        mask = nd.dropout.mask(shape[:2], p, **STREAM).reshape(shape[:2] + (1,) * (len(shape) - 2))
        expected = np.where(mask, x * np.float32(1 / (1 - p) if p < 1 else 0), 0)
        for given in (x, np.asfortranarray(x), x[::-1].copy()[::-1]):
            np.testing.assert_array_equal(nd.feature_dropout(given, p, **STREAM), expected)
            np.testing.assert_array_equal(nd.feature_dropout.backward(given, p, **STREAM), expected)
    work = x.copy()
    assert nd.feature_dropout(work, 1.0, out=work) is work and np.array_equal(work, expected)


def test_feature_dropout_drops_infinities_and_needs_channels():
    x = np.full((4, 50, 70), np.inf, np.float32)
    y = nd.feature_dropout(x, 0.5)
    mask = nd.dropout.mask((4, 50), 0.5)
    assert np.all(y[mask] == np.inf) and np.all(y[~mask] == 0)
    with pytest.raises(ValueError, match=r"x: got shape \(4,\)"):
        nd.feature_dropout(np.ones(4))


# -- all of them -----------------------------------------------------------------------------------------------------
KIN = [nd.dropout, nd.alpha_dropout, nd.gaussian_dropout, nd.feature_dropout]


@pytest.mark.parametrize("function", KIN, ids=lambda f: f.__name__)
def test_threads_layouts_and_errors(function, on_threads, rng):
    x = rng.normal(size=(200, 30, 40)).astype(np.float32)
    results = on_threads(lambda: function(x, 0.3, **STREAM))
    expected = results[0]
    assert all(r.tobytes() == expected.tobytes() for r in results)
    frozen = x.copy()
    frozen.flags.writeable = False
    for given in (frozen, np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2]):
        np.testing.assert_array_equal(function(given, 0.3, **STREAM), expected)
    out = np.empty((200, 30, 80), np.float32)[..., ::2]
    assert function(x, 0.3, out=out, **STREAM) is out and np.array_equal(out, expected)
    with pytest.raises(ValueError, match="p: got 2"):
        function(x, 2)
    with pytest.raises(ValueError, match="seed: got -1"):
        function.backward(x, seed=-1)
    with pytest.raises(TypeError, match="^grad: got "):
        function.backward([1.0])
    with pytest.raises(ValueError, match="out: overlaps x in part"):
        function(x[:2], 0.3, out=x[1:3])


def test_mask_into_an_array():
    out = np.empty(3000, np.bool_)
    assert nd.dropout.mask((3000,), 0.3, out=out, **STREAM) is out
    assert np.array_equal(out, nd.dropout.mask((3000,), 0.3, **STREAM))
    with pytest.raises(ValueError, match="out: got shape"):
        nd.dropout.mask((2,), out=out)
    for wrong in (np.empty(3000, np.float32), out[::2]):
        with pytest.raises(TypeError, match="out: accepted are"):
            nd.dropout.mask(wrong.shape, out=wrong)


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_rate_of_many_draws(p):
    n, kept, part = 10**8, 0, np.empty(10**7, np.bool_)
    for start in range(0, n, part.size):
        kept += np.count_nonzero(nd.dropout.mask(part.shape, p, seed=77, out=part, start=start))
    assert abs((n - kept) - n * p) < 4 * math.sqrt(n * p * (1 - p))
