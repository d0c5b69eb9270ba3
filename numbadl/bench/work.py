"""What a benchmark is: a case makes, for a size and a dtype, the work that is timed; peers do the same work."""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


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
    process: bool = False  # a run starts a process: it is timed as it is, a few times

    def compare(self, found):
        """Raise AssertionError if a peer's result is not ours."""
        if self.check is not None:
            self.check(np.asarray(found))
        elif self.result is not None:
            np.testing.assert_allclose(self.result, found, rtol=self.rtol, atol=self.atol)


@dataclass(frozen=True)
class Case:
    """A benchmark.

    Attributes
    ----------
    prepare : function (number of elements, dtype) -> `Work`
    theirs : function (a peer's module, the work) -> a function without arguments that does the same and returns its result;
        or None
    sizes : numbers of elements; None for those that are asked for
    """

    name: str
    group: str
    prepare: Callable
    theirs: Callable = field(default=lambda peer, work: None)
    sizes: tuple | None = None


@functools.cache
def peer(name):
    """The module of a peer: tables by name, NAME, VERSION, array, to_numpy."""
    return importlib.import_module(f".{name}_peer", __package__)


def normal(n, count, dtype=np.float32, scale=1.0, seed=0):
    """*count* arrays of normal numbers, of *n* elements or of a shape."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(n) * scale).astype(dtype) for _ in range(count)]
