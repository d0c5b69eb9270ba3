"""Measurements beside peers and beside the hardware's limit, in one process: the same arrays, ``out=`` where both sides have it.

Ours, the peers', a copy and a burst of arithmetic take turns, and each turn gives ratios; machines are shared and noisy, so
median ratios count, and their spread (the distance between quartiles) is shown. Turns end when the medians are settled. A
side whose predecessor used other threads waits until those have stopped spinning (a BLAS's do for some milliseconds), and
wakes its own with calls that are not timed (`numbadl.bench.timing`).
"""

import functools
from dataclasses import dataclass, field

import numba
import numpy as np

from . import floors
from .cases import CASES, GROUPS, select
from .parts import Parts
from .timing import spread, turns
from .work import Case, Work, peer

__all__ = ["CASES", "GROUPS", "Case", "Row", "Work", "measure", "peer", "rows", "select", "threads", "turns"]


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
    turns : how many there were
    parts : where the time goes, as "call", "loop" and "memory" -> seconds (`numbadl.bench.parts`), where that was measured
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
    turns: int = 0
    parts: dict = field(default_factory=dict)


def threads():
    """The number of threads that kernels use."""
    return numba.get_num_threads()


@functools.cache
def _rates(count):
    return floors.Rates(count)


def measure(case, work, theirs, repeat):
    """The row of a case's work, with *theirs*, name of a peer -> function; results were compared before."""
    operations = work.operations()
    sides = {"": work.run, **({"copy": floors.copy_of(work.moved)} if work.moved else {}), **theirs}
    rates = _rates(threads()) if operations else dict
    parts = Parts(case, work, threads()) if case.few else None
    times, beside = turns(sides, repeat, lambda: (rates(), parts and parts()), work.process)
    ours = times.pop("")
    limits = {}
    if work.moved:
        limits["memory"] = times.pop("copy") * (work.moved / sides["copy"].moved)
    if operations:
        best = min(floors.least_seconds(operations, each) for each, _ in beside)  # what slows a burst is no limit
        limits["arithmetic"] = np.full(len(ours), best)
    found = {name: _ratio(other, ours) for name, other in times.items()}
    size = {"moved": work.moved, "operations": int(operations.get("any", 0)), "peers": found, "turns": len(ours)}
    if parts:
        copied = float(np.median(limits["memory"])) if "memory" in limits else None
        size["parts"] = parts.seconds([each for _, each in beside], copied)
    row = case.name, case.group, work.elements, float(np.median(ours)), spread(ours)
    if not limits:
        return Row(*row, **size)
    bound = max(limits, key=lambda name: np.median(limits[name]))
    floor, share = limits[bound], np.median(np.maximum.reduce(list(limits.values())) / ours)
    return Row(*row, float(np.median(floor)), bound, float(share), **size)


def _ratio(theirs, ours):
    ratios = theirs / ours
    return {"seconds": float(np.median(theirs)), "ratio": float(np.median(ratios)), "spread": spread(ratios)}


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
