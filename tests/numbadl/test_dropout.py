"""Dropout and uniform numbers: the generator's published answers, the mask it gives, and what depends on it."""

import numpy as np
import pytest
import references as ref
from numba import njit
from numbadl.kernels.scalar import random
from numbadl.kernels.scalar.fills import uniform as uniform_of

import numbadl as nd

# counter, key, words: philox4x32-10 in kat_vectors of Random123, by the generator's authors
ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@njit
def compiled_philox(c0, c1, c2, c3, k0, k1):
    return random.philox(c0, c1, c2, c3, k0, k1)


# -- the generator -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert ref.philox(counter, key) == words
    arguments = [np.uint64(v) for v in (*counter, *key)]
    assert tuple(map(int, random.philox(*arguments))) == words
    assert tuple(map(int, compiled_philox(*arguments))) == words


@pytest.mark.parametrize("element", [0, 1, 255, 256, 511, 1023, 1024, 5000, 2**32 * 4 - 1, 2**40 + 777])
def test_bits_of_an_element(element):
    seed, offset = 2**63 + 12345, 2**40 + 6
    found = random.random_bits(np.uint64(element), np.uint64(seed), np.uint64(offset))
    assert int(found) == ref.random_bits(element, seed, offset)


# -- the mask -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("p", "seed", "offset"),
    [(0.5, 0, 0), (0.1, 1, 2), (0.9, 2**64 - 1, 2**64 - 1), (1 / 3, 2**32, 2**32 + 5), (1e-9, 3, 0)],
)
def test_mask_is_philox(p, seed, offset):
    mask = nd.dropout.mask((2100,), p, seed, offset)
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, ref.dropout_mask(range(2100), p, seed, offset))


def test_threshold_to_the_last_bit():
    """An element is kept where its bits, as a fraction of 2**32, reach p, and dropped where they fall short by one."""
    for element in (0, 1, 300, 999):
        bits = ref.random_bits(element, 7, 8)
        kept = [nd.dropout.mask((1,), (bits + k) / 2**32, 7, 8, start=element)[0] for k in (-1, 0, 1)]
        assert kept == [True, True, False]


@pytest.mark.parametrize("start", [1, 255, 1023, 1024, 100_001, 2**31, 2**34 + 3, 2**61 + 7])
def test_mask_from_a_start(start):
    expected = ref.dropout_mask(range(start, start + 1500), 0.4, 5, 6)
    assert np.array_equal(nd.dropout.mask((1500,), 0.4, 5, 6, start=start), expected)


DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
SIZES = [1, 2, 255, 256, 257, 1023, 1024, 1025, 8191, 8192, 8193, 32769, 100_003, 2**20 + 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_is_mask_times_scale(dtype, rng):
    for n in SIZES:
        for p in (0.25, 0.9):
            x = rng.normal(size=n).astype(dtype)
            mask = nd.dropout.mask((n,), p, seed=n, offset=3)
            expected = np.where(mask, x * dtype(1 / (1 - p)), 0)
            y = nd.dropout(x, p, seed=n, offset=3)
            assert y.dtype == dtype and np.array_equal(y, expected), f"n = {n}, p = {p}"
            assert np.array_equal(nd.dropout.backward(x, p, seed=n, offset=3), expected), f"n = {n}, p = {p}"


def test_a_shorter_array_is_the_beginning_of_a_longer_one():
    whole = nd.dropout.mask((SIZES[-1],), 0.3, seed=9)
    for n in SIZES:
        assert np.array_equal(nd.dropout.mask((n,), 0.3, seed=9), whole[:n])


@pytest.mark.parametrize("cuts", [(0, 1, 7), (0, 1023, 1025), (0, 256, 1024, 40_000), (0, 333, 50_000, 120_001)])
def test_start_splits_equal_the_whole(cuts, rng):
    x = rng.normal(size=130_007).astype(np.float32)
    options = {"p": 0.35, "seed": 11, "offset": 4}
    y, mask = nd.dropout(x, **options), nd.dropout.mask(x.shape, **options)
    dx = nd.dropout.backward(x, **options)
    for a, b in zip(cuts, (*cuts[1:], x.size), strict=True):
        assert np.array_equal(nd.dropout(x[a:b], start=a, **options), y[a:b])
        assert np.array_equal(nd.dropout.backward(x[a:b], start=a, **options), dx[a:b])
        assert np.array_equal(nd.dropout.mask((b - a,), start=a, **options), mask[a:b])


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.8, 0.999])
def test_rate(p):
    n = 1 << 20
    dropped = n - np.count_nonzero(nd.dropout.mask((n,), p, seed=123))
    assert abs(dropped - n * p) < 4 * np.sqrt(n * p * (1 - p))


def test_masks_of_other_streams_are_independent():
    n = 1 << 18
    streams = [{"seed": s, "offset": o} for s, o in [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (1, 1)]]
    masks = [nd.dropout.mask((n,), 0.5, **stream) for stream in streams]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            for shift in (0, 1, 4, 256, 1024):  # another stream is no shifted copy either
                equal = np.count_nonzero(first[shift:] == second[: n - shift])
                assert abs(equal - (n - shift) / 2) < 5 * np.sqrt(n) / 2
        assert abs(np.count_nonzero(first[1:] == first[:-1]) - n / 2) < 5 * np.sqrt(n) / 2


def test_p_zero_is_the_identity():
    x = np.array([1, -0.0, np.inf, np.nan, 1e-45], np.float32)
    y = nd.dropout(x, 0.0, seed=3)
    assert y is not x and y.tobytes() == x.tobytes()
    assert nd.dropout.backward(x, 0).tobytes() == x.tobytes()
    assert nd.dropout.mask((5, 2), 0).all() and nd.dropout.mask((5, 2), 0).shape == (5, 2)


def test_p_one_gives_zeros():
    x = np.resize(np.array([1, np.inf, -np.inf, np.nan, 3e38], np.float32), 3000)
    for p in (1, 1.0, np.nextafter(1, 0)):
        assert np.array_equal(nd.dropout(x, p), np.zeros(3000, np.float32))
        assert np.array_equal(nd.dropout.backward(x, p), np.zeros(3000, np.float32))
        assert not nd.dropout.mask((3000,), p).any()


def test_dropped_infinity_is_zero():
    y = nd.dropout(np.full(2000, np.inf, np.float32), 0.5)
    mask = nd.dropout.mask((2000,), 0.5)
    assert np.all(y[mask] == np.inf) and np.all(y[~mask] == 0)


# -- layouts, threads, errors ----------------------------------------------------------------------------------------
def test_positions_are_those_of_c_order(rng):
    x = rng.normal(size=(20, 30, 40)).astype(np.float32)
    options = {"p": 0.4, "seed": 5, "offset": 1}
    expected = nd.dropout(x.reshape(-1), **options).reshape(x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    shifted[...] = x
    layouts = [
        x, np.array(x, order="F"), np.array(x.transpose(1, 0, 2), order="C").transpose(1, 0, 2), x[::-1].copy()[::-1], frozen,
        shifted,
    ]  # fmt: skip
    for view in layouts:
        assert np.array_equal(nd.dropout(view, **options), expected)
        assert np.array_equal(nd.dropout.backward(view, **options), expected)
        for out in (np.empty_like(x), np.empty_like(x, order="F"), np.empty((20, 30, 80), np.float32)[..., ::2]):
            assert nd.dropout(view, out=out, **options) is out and np.array_equal(out, expected)
        if view is not frozen:
            assert nd.dropout(view, out=view, **options) is view and np.array_equal(view, expected)
            view[...] = frozen
    assert np.array_equal(nd.dropout.mask(x.shape, **options), expected != 0)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_small_shapes(shape):
    x = np.ones(shape, np.float32)
    assert nd.dropout(x, 0.5).shape == nd.dropout.mask(shape, 0.5).shape == shape


def test_threads(on_threads, rng):
    x = rng.normal(size=300_001).astype(np.float32)
    for fn in (
        lambda: nd.dropout(x, 0.3, seed=2),
        lambda: nd.dropout.mask(x.shape, 0.3, seed=2),
        lambda: nd.uniform(x.shape, seed=2),
    ):
        results = on_threads(fn)
        assert all(r.tobytes() == results[0].tobytes() for r in results)


@pytest.mark.parametrize("p", [-0.1, 1.0001, np.nan, np.inf])
def test_wrong_p(p):
    x = np.ones(4, np.float32)
    for call in (lambda: nd.dropout(x, p), lambda: nd.dropout.backward(x, p), lambda: nd.dropout.mask((4,), p)):
        with pytest.raises(ValueError, match="p: got .*numbers from 0 to 1"):
            call()


@pytest.mark.parametrize("name", ["seed", "offset", "start"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0, None, True, "1"])
def test_wrong_stream(name, value):
    with pytest.raises(ValueError, match=f"{name}: got "):
        nd.dropout(np.ones(4, np.float32), **{name: value})
    with pytest.raises(ValueError, match=f"{name}: got "):
        nd.dropout.mask((4,), **{name: value})


def test_start_has_to_leave_room_for_a_signed_index():
    with pytest.raises(ValueError, match="start: got "):
        nd.dropout(np.ones(4, np.float32), start=2**63)


def test_wrong_arrays():
    x = np.ones(8, np.float32)
    for wrong in ([1.0], np.arange(3), np.ones(3, np.float16), np.ones(3, np.dtype(np.float32).newbyteorder())):
        with pytest.raises(TypeError, match="^x: got "):
            nd.dropout(wrong)
        with pytest.raises(TypeError, match="^grad: got "):
            nd.dropout.backward(wrong)
    for p in (0.0, 0.5):
        with pytest.raises(ValueError, match="out: overlaps x in part"):
            nd.dropout(x[:4], p, out=x[2:6])
        with pytest.raises(ValueError, match="out: got shape"):
            nd.dropout(x, p, out=np.empty(7, np.float32))
        wide = np.ones((4, 4), np.float32)
        with pytest.raises(ValueError, match="out: overlaps x in part"):
            nd.dropout(wide[:, :2], p, out=wide[:, 1:3])
        assert np.all(x == 1) and np.all(wide == 1)


# -- uniform ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 3.0), (10.0, 10.5)])
def test_uniform(low, high):
    n = 200_000
    values = nd.uniform((n,), low, high, seed=4, offset=9)
    assert values.dtype == np.float32 and low <= values.min() and values.max() <= high
    assert (low, high) != (0, 1) or 0 < values.min() < values.max() < 1
    assert abs(values.mean(dtype=np.float64) - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * n)
    assert abs(values.var(dtype=np.float64) / ((high - low) ** 2 / 12) - 1) < 0.02
    bits = np.array([ref.random_bits(k, 4, 9) for k in range(2000)])
    np.testing.assert_allclose(
        values[:2000], low + (high - low) * (bits + 0.5) / 2**32, atol=(high - low) * 2**-22 + 1e-6
    )


def test_uniform_streams_and_types():
    first = nd.uniform((50, 3), seed=1)
    assert np.array_equal(first, nd.uniform((50, 3), seed=1))
    assert not np.array_equal(first, nd.uniform((50, 3), seed=2))
    assert not np.array_equal(first, nd.uniform((50, 3), seed=1, offset=1))
    for dtype in (np.float64, "float64", np.dtype(np.float64)):
        assert nd.uniform((5,), seed=1, dtype=dtype).dtype == np.float64
    with pytest.raises(TypeError, match="dtype"):
        nd.uniform((5,), dtype=np.int32)
    with pytest.raises(ValueError, match="seed"):
        nd.uniform((5,), seed=-1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_reaches_neither_end(dtype):
    @njit
    def of_bits(bits, low, high):
        return uniform_of(bits, low, high)

    assert 0 < of_bits(np.uint32(0), dtype(0), dtype(1)) < of_bits(np.uint32(2**32 - 1), dtype(0), dtype(1)) < 1
