"""Measurements beside peers and beside the hardware's limit, in one process: the same arrays, ``out=`` where both sides have it.

Ours, the peers', a copy and a burst of arithmetic take turns, and each turn gives ratios; machines are shared and noisy, so
median ratios count, and their spread (the distance between quartiles) is shown. Before its turn a side waits until
the threads of the other have stopped spinning (those of PyTorch do for some milliseconds), and wakes its own with a
call that is not timed.
"""

import functools
import time
from dataclasses import dataclass, field

import numba
import numpy as np

from . import floors
from .cases import CASES, GROUPS, select
from .work import Case, Work, peer

__all__ = ["CASES", "GROUPS", "Case", "Row", "Work", "measure", "peer", "rows", "select", "threads", "turns"]


PAUSE = 0.006  # seconds
WAKING = (
    0.005  # seconds of calls that are not timed: Linux may leave a woken thread on its waker's core for milliseconds
)
LONGEST = 2.0  # seconds of turns, once there are FEWEST
FEWEST = 7
PROCESSES = 5  # turns of what starts processes


@dataclass(frozen=True)
class Row:
    """One operation at one size: medians over the turns.

    Attributes
    ----------
    ours, spread : seconds, and the distance between their quartiles as a fraction
    floor, bound : the least seconds that the hardware takes, and why: "memory" or "arithmetic"; None where no limit is known
    share : floor / ours
    moved, operations : bytes that have to move; vector operations, where they were counted
    peers : name -> {"seconds", "ratio" (theirs / ours), "spread" (of the ratio)}
    """

    name: str
    group: str
    elements: int
    ours: float
    spread: float
    floor: float | None = None
    bound: str | None = None
    share: float | None = None
    moved: int = 0
    operations: int = 0
    peers: dict = field(default_factory=dict)


def threads():
    """The number of threads that kernels use."""
    return numba.get_num_threads()


@functools.cache
def _rates(count):
    return floors.Rates(count)


def measure(case, work, theirs, repeat):
    """The row of a case's work, with *theirs*, name of a peer -> function; results were compared before."""
    sides = {"": work.run, **theirs}
    operations = work.operations()
    if work.moved:
        sides["copy"] = floors.copy_of(work.moved)
    times, arithmetic = turns(sides, repeat, _rates(threads()) if operations else None, work.process)
    ours = times.pop("")
    limits = {}
    if work.moved:
        limits["memory"] = times.pop("copy") * (work.moved / sides["copy"].moved)
    if operations:
        best = min(floors.least_seconds(operations, each) for each in arithmetic)  # what slows a burst is no limit
        limits["arithmetic"] = np.full(len(ours), best)
    found = {name: _ratio(other, ours) for name, other in times.items()}
    size = {"moved": work.moved, "operations": int(operations.get("any", 0)), "peers": found}
    row = case.name, case.group, work.elements, float(np.median(ours)), _spread(ours)
    if not limits:
        return Row(*row, **size)
    bound = max(limits, key=lambda name: np.median(limits[name]))
    floor, share = limits[bound], np.median(np.maximum.reduce(list(limits.values())) / ours)
    return Row(*row, float(np.median(floor)), bound, float(share), **size)


def turns(sides, repeat, rates=None, process=False):
    """(name of a side -> array of seconds, what *rates* gave in each turn); a *process* is timed without warming up."""
    times, arithmetic = {name: [] for name in sides}, []
    began, pause = time.perf_counter(), 0 if process else PAUSE
    for turn in range(PROCESSES if process else repeat + 2):
        if turn == 2 and not process:  # what came before warmed up
            times, arithmetic = {name: [] for name in sides}, []
        if turn > FEWEST and time.perf_counter() - began > LONGEST and not process:
            break
        for name, side in sides.items():
            time.sleep(pause)
            awake = time.perf_counter() + WAKING
            while not process:
                side()
                if time.perf_counter() >= awake:
                    break
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
        if rates is not None:
            time.sleep(pause)
            arithmetic.append(rates())
    return {name: np.array(found) for name, found in times.items()}, arithmetic


def _spread(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def _ratio(theirs, ours):
    ratios = theirs / ours
    return {"seconds": float(np.median(theirs)), "ratio": float(np.median(ratios)), "spread": _spread(ratios)}


def rows(case, sizes, peers, repeat, differs):
    """The rows of one case, one for each size, beside those of *peers*, names, that have the operation.

    A peer whose result is not ours is not timed: ``differs(case, name, error)`` is called.
    """
    for n in sizes if case.sizes is None else case.sizes:
        work, theirs = case.prepare(n, np.float32), {}
        for name in peers:
            try:
                side = _their_side(case, work, peer(name))
            except AssertionError as error:
                differs(case, name, error)
                continue
            if side is not None:
                theirs[name] = side
        yield measure(case, work, theirs, repeat)


def _their_side(case, work, module):
    """A peer's function, which was run once and compared; None if it has none."""
    side = case.theirs(module, work)
    found = None if side is None or work.process else side()
    if found is not None:
        work.compare(module.to_numpy(found))
    return side
