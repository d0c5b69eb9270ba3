"""What the hardware allows: a copy of as many bytes, and as many vector operations, in the same turns as what is measured."""

import functools
import time

import numpy as np

from .. import functional
from ..kernels.cpu import pool, rates

NEVER = 1 << 60  # bytes of a cache that nothing exceeds
BURST = 100e-6  # seconds that a burst of operations takes, about


class Copy:
    """A copy that reads and writes *moved* bytes in all: with plain stores or past the cache, whichever is faster here."""

    _kept = np.empty(0, np.float32), np.empty(0, np.float32)  # the longest arrays so far

    def __init__(self, moved):
        n = max(moved // 8, 16)
        self.moved = 8 * n
        if n > Copy._kept[0].size:
            Copy._kept = np.ones(n, np.float32), np.ones(n, np.float32)  # all zeros would be one page, in the cache
        self._arrays = [a[:n] for a in Copy._kept]
        ways = {"copy": NEVER, "streaming copy": 0}
        self.seconds = {way: min(self._timed(size) for _ in range(3)) for way, size in ways.items()}
        self.way = min(self.seconds, key=self.seconds.get)
        self._cache = ways[self.way]

    def __call__(self):
        source, target = self._arrays
        with pool.with_cache_size(self._cache):
            functional.FUNCTIONS["identity"](source, out=target)

    def _timed(self, cache):
        self._cache = cache
        self()
        start = time.perf_counter()
        self()
        return time.perf_counter() - start


@functools.lru_cache(maxsize=1)
def copy_of(moved):
    """The `Copy` of so many bytes; the last one is kept."""
    return Copy(moved)


class Rates:
    """Measure how long so many vector operations take at least, on all threads: kind -> seconds for one lane of one."""

    def __init__(self, threads):
        self.threads, self._results = threads, np.zeros(rates.MOST, np.float32)
        self._turns = dict.fromkeys(rates.OPERATIONS, 256)
        for kind in rates.OPERATIONS:
            self._turns[kind] = max(int(256 * BURST / min(self._timed(kind) for _ in range(20))), 64)

    def __call__(self):
        """Seconds for one lane of one operation of each kind."""
        return {  # the fastest of three: what interrupts a burst is no limit of the hardware
            kind: min(self._timed(kind) for _ in range(3))
            / (self._turns[kind] * self.threads * rates.CHAINS[kind][1] * rates.LANES)
            for kind in rates.OPERATIONS
        }

    def _timed(self, kind):
        start = time.perf_counter()
        rates.burst(kind, self._turns[kind], self.threads, self._results)
        return time.perf_counter() - start


def least_seconds(operations, each, itemsize=4):
    """The time of counted operations: of multiplications, of all, or of divisions and roots, which take turns in one unit."""
    lanes = itemsize / 4  # a vector has half as many numbers of twice the size
    kinds = {kind: operations.get(kind, 0) * each[kind] * lanes for kind in each}
    return max(kinds["multiply"], kinds["any"], kinds["divide"] + kinds["root"])
