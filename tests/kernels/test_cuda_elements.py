"""What CUDA kernels load, store and add with, compiled for the CPU, against the plain Python of the simulator."""

import numpy as np
import pytest
from numba import njit
from numbadl.kernels.cuda import elements

DTYPES = (np.float32, np.float64, np.bool_, np.uint32, np.int64)
load, store, load_wide, store_wide = elements._load, elements._store, elements._load_wide, elements._store_wide
aligned, repeat, add = elements._aligned, elements._repeat, elements._add


@njit
def copy(sources, targets, i):
    store(targets, i, load(sources, i))


@njit
def copy_wide_reversed(sources, targets, i):
    a, b, c, d = load_wide(sources, i)
    store_wide(targets, i, (d, c, b, a))


@njit
def store_one(target, i, value):
    store((target,), i, value)


@njit
def is_aligned(arrays):
    return aligned(arrays)


@njit
def repeated(value, arrays):
    return repeat(value, arrays)


@njit
def added(totals, value):
    return add(totals, value)


load_blocks, store_blocks = elements.loading_blocks((1, 3)), elements.storing_blocks((3, 1))
load_compiled, store_compiled = load_blocks.compiled, store_blocks.compiled


@njit
def copy_blocks(sources, targets, i, width):
    a, b, c, d = load_compiled(sources, i, width)
    store_compiled(targets, i, width, (d, a, b, c))


def arrays_of_all_types(count):
    given = np.array([0, 1, 0, 2, 3, 1, 0, 4, 5, 6, 0, 7])[:count]
    return tuple(given.astype(t) for t in DTYPES)


@pytest.mark.parametrize(("compiled", "wide"), [(copy, False), (copy_wide_reversed, True)])
def test_elements_of_all_types_arrive_where_they_belong(compiled, wide):
    sources = arrays_of_all_types(12)
    targets, wanted = (tuple(np.zeros_like(a) for a in sources) for _ in range(2))
    for i in (1, 2):
        compiled(sources, targets, i)
        if wide:
            elements.store_wide(wanted, i, elements.load_wide(sources, i)[::-1])
        else:
            elements.store(wanted, i, elements.load(sources, i))
    for target, want in zip(targets, wanted, strict=True):
        np.testing.assert_array_equal(target, want)
        assert want.any()


def test_values_are_stored_in_the_type_of_the_array():
    target = np.zeros(3, np.float32)
    store_one(target, 1, 0.1)
    assert target.tolist() == [0, np.float32(0.1), 0]


@pytest.mark.parametrize("arrays_are_aligned", [is_aligned, elements.aligned])
def test_wide_access_needs_arrays_that_begin_at_16_bytes(arrays_are_aligned):
    x, y = np.zeros(8, np.float32), np.zeros(8, np.float64)
    assert arrays_are_aligned((x, y))
    assert arrays_are_aligned((x[4:], y[2:]))
    assert not arrays_are_aligned((x[1:],))
    assert not arrays_are_aligned((x, y[1:]))
    assert arrays_are_aligned(())


def test_sums_keep_the_types_of_the_totals():
    totals, terms = (1.0, np.float32(2)), (np.float32(0.5), np.float32(0.25))
    assert added(totals, terms) == elements.add(totals, terms) == (1.5, 2.25)
    assert added((1.0,), np.float32(3)) == elements.add((1.0,), np.float32(3)) == (4.0,)


def test_a_value_is_repeated_once_for_each_array():
    arrays = arrays_of_all_types(1)
    assert repeated(2.5, arrays) == elements.repeat(2.5, arrays) == (2.5,) * len(DTYPES)


def test_blocks_of_rows_arrive_where_they_belong():
    """Two rows of one block, and of three, of four elements; the last of three comes first, the single one second."""
    single, triple = np.arange(8.0), np.arange(100.0, 124)
    found, wanted = [(np.zeros(24), np.zeros(8)) for _ in range(2)]
    for i in range(8):
        copy_blocks((single, triple), found, i, 4)
        a, b, c, d = load_blocks((single, triple), i, 4)
        store_blocks(wanted, i, 4, (d, a, b, c))
    first, second, third = triple.reshape(2, 3, 4).transpose(1, 0, 2)
    for target in (found, wanted):
        np.testing.assert_array_equal(target[0], np.concatenate([third, single.reshape(2, 4), first], axis=1).ravel())
        np.testing.assert_array_equal(target[1], second.ravel())
