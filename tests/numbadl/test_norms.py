"""Norms: values in the widest floats, numbers whose squares overflow or vanish, NaN, layouts, threads, errors."""

import math

import numpy as np
import pytest
from mpmath import mp, mpf

import numbadl as nd

ORDERS = [1, 2, math.inf]
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


def expected(x, ord):
    """Exact, but for 30 digits."""
    with mp.workdps(30):
        sizes = [abs(mpf(v)) for v in x.reshape(-1).tolist()]
        if ord == math.inf:
            return float(max(sizes))
        return float(mp.fsum(sizes) if ord == 1 else mp.sqrt(mp.fsum(s * s for s in sizes)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ord", ORDERS)
@pytest.mark.parametrize("shape", [(), (1,), (17,), (30, 41), (3, 4100)])
def test_norm(shape, ord, dtype, rng):
    x = np.asarray(rng.normal(size=shape).astype(dtype))
    value = nd.norm(x, ord)
    assert type(value) is float
    np.testing.assert_allclose(value, expected(x, ord), rtol=4 * np.finfo(dtype).eps if ord != math.inf else 0)
    assert nd.norm(x) == nd.norm(x, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ord", ORDERS)
@pytest.mark.parametrize("exponent", [-1, -0.99, -0.6, -0.5, -0.4, 0.49, 0.51, 0.9, 0.999])
def test_huge_and_tiny_numbers(exponent, ord, dtype, rng):
    """2 to *exponent* times the largest exponent of the type: squares from a half on overflow, or vanish."""
    info = np.finfo(dtype)
    x = (rng.uniform(0.5, 1, 5000) * 2.0 ** int(exponent * info.maxexp)).astype(dtype)
    x[::7] = 0
    wanted = expected(x, ord)
    if wanted == math.inf:
        pytest.skip("more than float64 holds")
    np.testing.assert_allclose(nd.norm(x, ord), wanted, rtol=4 * info.eps)
    np.testing.assert_allclose(nd.norm([x[:3000], x[3000:]], ord), wanted, rtol=4 * info.eps)


@pytest.mark.parametrize("ord", ORDERS)
def test_the_smallest_and_the_largest_number(ord):
    for value in (np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max):
        np.testing.assert_allclose(nd.norm(np.array([value, 0], np.float32), ord), float(value), rtol=1e-7)
        four = {1: 4, 2: 2, math.inf: 1}[ord] * float(value)
        np.testing.assert_allclose(nd.norm(np.full(4, value, np.float32), ord), four, rtol=1e-7)


@pytest.mark.parametrize("ord", ORDERS)
@pytest.mark.parametrize("place", [0, 4095, 4096, 9999])
def test_nan_and_infinity(place, ord):
    x = np.ones(10_000, np.float32)
    x[5000] = -np.inf
    assert nd.norm(x, ord) == math.inf
    x[place] = np.nan
    assert math.isnan(nd.norm(x, ord)) and math.isnan(nd.norm([np.float32([np.inf]), x], ord))


@pytest.mark.parametrize("ord", ORDERS)
def test_many_arrays_and_layouts(ord, rng):
    x = rng.normal(size=(6, 8)).astype(np.float32)
    whole = nd.norm(x, ord)
    frozen = x.copy()
    frozen.flags.writeable = False
    for view in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], frozen, x[::-1].copy()[::-1]):
        assert nd.norm(view, ord) == whole
    for parts in ([x[:2], x[2:]], {"a": x[:, :3], "b": x[:, 3:]}, [x, x[:0]]):
        np.testing.assert_allclose(nd.norm(parts, ord), whole, rtol=4e-7)
    assert nd.norm([], ord) == nd.norm(x[:0], ord) == 0


@pytest.mark.parametrize("ord", ORDERS)
def test_threads(ord, on_threads, rng):
    x = rng.normal(size=300_001).astype(np.float32)
    assert len(set(on_threads(lambda: nd.norm(x, ord)))) == 1


@pytest.mark.parametrize("ord", [0, 3, -1, "fro", None, True, np.nan, [2]])
def test_other_orders(ord):
    with pytest.raises(ValueError, match="ord: got .*, accepted are 1, 2 and math.inf"):
        nd.norm(np.ones(3), ord)


def test_wrong_arrays():
    with pytest.raises(
        TypeError, match=r"x: got dtype int64, accepted are float32 and float64; x.astype\(np.float32\) converts it"
    ):
        nd.norm(np.ones(3, int))
    with pytest.raises(TypeError, match=r"x\[1\]: got float"):
        nd.norm([np.ones(3), 1.0])
    with pytest.raises(TypeError, match="x: got 3.0, accepted are arrays"):
        nd.norm(3.0)
