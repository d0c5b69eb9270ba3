"""What a benchmark is: a case makes, for a size and a dtype, the work that is timed; peers do the same work."""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

FEW = 512, 2560  # elements whose loop is measured, in L1 (`numbadl.bench.parts`)


@dataclass
class Work:
    """Something to time, ready to run: compiled, and run once.

    Attributes
    ----------
    run : what is timed
    given : arrays that peers get the same of
    result : what the first run gave, as an array; None where each side draws its own random numbers
    moved : bytes that have to be read and written; 0 where memory is not the limit
    operations : kind (`numbadl.kernels.cpu.assembly.OPERATIONS`) -> lanes of vector instructions, where they were counted
    elements : what the size is in the tables
    rtol, atol : how far peers' results may be from ours
    check : function of a peer's result that raises AssertionError, in place of the comparison
    out : the array that ours writes and that a peer writes, too: where an array lies changes times by a tenth and more
    """

    run: Callable
    given: list
    result: np.ndarray | None
    moved: int
    elements: int
    operations: Callable = dict
    rtol: float = 2e-5
    atol: float = 1e-5
    check: Callable | None = None
    out: np.ndarray | None = None
    process: bool = False  # a run starts a process: it is timed as it is, a few times

    def compare(self, found):
        """Raise AssertionError if a peer's result is not ours."""
        if self.check is not None:
            self.check(np.asarray(found))
        elif self.result is not None and not _near(self.result, found, self.rtol, self.atol):
            np.testing.assert_allclose(self.result, found, rtol=self.rtol, atol=self.atol)


def _near(a, b, rtol, atol, part=1 << 16):
    """Whether finite arrays agree, looked at in parts that lie in the cache: NumPy's own comparison of 16M elements takes 0.6 s.

    False is no verdict.
    """
    if a.shape != b.shape or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return False
    a, b = a.reshape(-1), b.reshape(-1)
    parts = (slice(k, k + part) for k in range(0, a.size, part))
    with np.errstate(all="ignore"):
        return all((np.abs(a[these] - b[these]) <= atol + rtol * np.abs(b[these])).all() for these in parts)


@dataclass(frozen=True)
class Case:
    """A benchmark.

    Attributes
    ----------
    prepare : function (number of elements, dtype) -> `Work`
    theirs : function (a peer's module, the work) -> a function without arguments that does the same and returns its result;
        or None
    sizes : numbers of elements; None for those that are asked for
    few, counts : as *prepare*, for either of two small numbers of elements, *counts*, whose loop is that of a large number
        (`numbadl.bench.parts`); None where it is another one
    """

    name: str
    group: str
    prepare: Callable
    theirs: Callable = field(default=lambda peer, work: None)
    sizes: tuple | None = None
    few: Callable | None = None
    counts: tuple = FEW


@functools.cache
def peer(name):
    """The module of a peer: tables by name, NAME, VERSION, array, to_numpy."""
    return importlib.import_module(f".{name}_peer", __package__)


def normal(n, count, dtype=np.float32, scale=1.0):
    """*count* arrays of *n* normal numbers; whoever asks for them again gets the same arrays, and leaves them as they are."""
    return [_normal(n, np.dtype(dtype), scale, seed) for seed in range(count)]


@functools.lru_cache(maxsize=32)
def _normal(n, dtype, scale, seed):
    found = np.random.default_rng(seed).standard_normal(n, np.float32) * np.float32(scale)
    return found.astype(dtype, copy=False)
