"""Maps by channel on the CPU: every layout against the declaration's meaning, sums in float64, any number of threads."""

import contextlib

import numpy as np
import pytest
from declarations import OTHERS, expected, operands, outputs
from numbadl.kernels import cpu
from numbadl.kernels.catalog import catalog
from numbadl.kernels.cpu import pool
from numbadl.kernels.cpu.map import DONE, REFUSED

EVERY = {**catalog(), **OTHERS}
MAPS = {name: declaration for name, declaration in EVERY.items() if getattr(declaration, "by_channel", False)}
SHAPES = [  # (N, C, inner): runs, elements, one channel; pieces, rows and groups that are not full
    (1, 1, 1), (7, 3, 1), (1, 1, 300), (3, 2, 64), (2, 5, 63), (5, 3, 100), (0, 3, 4), (40, 7, 9),
]  # fmt: skip
LARGE = [(3, 1, 9000), (2, 3, 8200), (700, 33, 1), (30, 20, 60), (2, 3000, 3)]


def run(declaration, given):
    assert cpu.kernel(declaration)(*given) == DONE
    return [given[k] for k in outputs(declaration)]


def check(declaration, shape, dtype, rng):
    given = operands(declaration, shape, dtype, rng)
    want = expected(declaration, [v.copy() for v in given])
    before = [v.copy() for v in given]
    for got, wanted, k in zip(run(declaration, given), want, outputs(declaration), strict=True):
        if got.ndim == 2:  # sums of terms of either sign, each of them good to 8 ULP
            size = np.abs(given[0]).sum() + np.abs(wanted).max(initial=1)
            np.testing.assert_allclose(got, wanted, rtol=128 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps * size)
        else:  # soft_exponential cancels: within 2 ULP of 1.0 there, here as in plain Python
            np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
        before[k] = got
    for now, then in zip(given, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("name", MAPS)
def test_layouts(name, rng):
    for shape in SHAPES:
        check(MAPS[name], shape, np.float32, rng)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MAPS)
def test_large(name, dtype, rng):
    for shape in SHAPES + LARGE:
        check(MAPS[name], shape, dtype, rng)


@pytest.mark.parametrize("shape", [(2, 3, 40_001), (50_000, 3, 1), (3, 400, 63)])
def test_any_number_of_threads(shape, rng, on_threads):
    declaration = MAPS["prelu.backward"]
    given = operands(declaration, shape, np.float32, rng)

    def results():
        return np.concatenate([v.reshape(-1).copy() for v in run(declaration, given)])

    first, *others = on_threads(results)
    assert all(np.array_equal(first, other) for other in others)


@contextlib.contextmanager
def small_cache():
    """Everything is stored past the cache."""
    before = pool._state[pool._CACHE_BYTES]
    pool._state[pool._CACHE_BYTES] = 1
    try:
        yield
    finally:
        pool._state[pool._CACHE_BYTES] = before


def test_streamed_results_have_the_same_bits(rng):
    for shape in [(2, 3, 40_001), (40_000, 3, 1)]:
        given = operands(MAPS["prelu"], shape, np.float32, rng)
        cached = run(MAPS["prelu"], given)[0].copy()
        given[1].fill(0)
        with small_cache():
            assert np.array_equal(run(MAPS["prelu"], given)[0], cached)


def test_streamed_sums_have_the_same_bits(rng):
    """Wherever the output begins in a line of memory, and wherever it ends."""
    loss = MAPS["mse.value_and_grad"]
    for n in [*range(1, 20), 63, 64, 65, 4095, 4096, 8209]:
        given = operands(loss, (1, 1, n), np.float32, rng)
        gradient, total = (v.copy() for v in run(loss, given))
        for start in range(16):
            room = np.full(n + 16, 7, np.float32)
            with small_cache():
                found = run(loss, [*given[:2], room[start : start + n], *given[3:]])
            assert np.array_equal(found[0], gradient) and found[1] == total, (n, start)
            assert np.all(room[:start] == 7) and np.all(room[start + n :] == 7), (n, start)


def test_refused_with_nothing_written(rng):
    given = operands(MAPS["prelu"], (4, 3, 5), np.float32, rng)
    kernel = cpu.kernel("prelu")
    assert kernel(given[0], given[1][:-1], *given[2:]) == REFUSED
    assert kernel(given[0][:-1], given[1][:-1], *given[2:]) == REFUSED  # no whole number of periods
    base = np.zeros(70, np.float32)
    assert kernel(base[:60], base[5:65], *given[2:]) == REFUSED
    assert np.isnan(given[1]).all() and not base.any()
