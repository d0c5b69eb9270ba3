"""Measurements beside a peer, NumPy or PyTorch, in one process: the same arrays, ``out=`` on both sides where both have it.

Ours, theirs and a copy take turns, and each turn gives ratios; machines are shared and noisy, so the median ratio
counts, and its spread (the distance between quartiles) is shown. Before its turn a side waits until the threads of the other
have stopped spinning (those of PyTorch do for some milliseconds), and wakes its own with a call that is not timed.
"""

import time
from dataclasses import dataclass

import numba
import numpy as np

from .cases import CASES, GROUPS, Comparison, select

__all__ = ["CASES", "GROUPS", "Comparison", "Row", "compare", "rows", "select", "threads"]


PAUSE = 0.006  # seconds


@dataclass(frozen=True)
class Row:
    """One comparison: medians over the turns.

    Attributes
    ----------
    ours, theirs : seconds
    ratio, spread : theirs / ours, and the distance between its quartiles as a fraction of it
    bandwidth : bytes per second that ours reads and writes, as a fraction of what our copy does in the same turns
    """

    name: str
    elements: int
    ours: float
    theirs: float
    ratio: float
    spread: float
    bandwidth: float


def threads():
    """The number of threads that kernels use."""
    return numba.get_num_threads()


def compare(name, elements, comparison, repeat):
    """Time ours, theirs and our copy in turn; they were run, and their results compared, before."""
    sides = comparison.ours, comparison.theirs, comparison.copy
    times = []
    for _ in range(repeat + 2):
        turn = []
        for side in sides:
            time.sleep(PAUSE)
            side()
            start = time.perf_counter()
            side()
            turn.append(time.perf_counter() - start)
        times.append(turn)
    ours, theirs, copy = np.array(times[2:]).T
    low, ratio, high = np.quantile(theirs / ours, [0.25, 0.5, 0.75])
    bandwidth = float(np.median(copy / ours)) * comparison.moved / (2 * 4 * elements)
    medians = float(np.median(ours)), float(np.median(theirs))
    return Row(name, elements, *medians, float(ratio), (high - low) / ratio, bandwidth)


def rows(case, sizes, peer, repeat):
    """The rows of one case, one for each size; none where the peer has no such function."""
    for n in sizes if case.sizes is None else case.sizes:
        comparison = case.prepare(n, peer)
        if comparison is not None:
            yield compare(case.name, comparison.elements or n, comparison, repeat)
