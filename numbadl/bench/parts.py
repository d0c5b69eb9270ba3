"""Where a row's time goes, measured in the turns of the row: what a call costs, the kernel's own loop, and memory.

The same call with a few elements, and with some more, gives two of them: what an element adds is the kernel's loop on one
thread with data in L1 (or L2, for whole rows), its latencies and conflicts for units included; what is left at no elements
is the call, Python and checks, to which starting the threads is added. Memory is the copy that is the floor, without its own
call. Loop and memory may overlap, so that a row has to take a call and the larger of the two; the rest is what it took beyond.
"""

import functools

import numpy as np

from .. import functional
from ..kernels.cpu import pool, rates
from .timing import call_for

REST = 0.2  # of a row's time: what the parts may leave without a reason
BRIEF = 0.25e-3  # seconds of calls that are timed in each turn, for each of the times below


class Parts:
    """Measure, in each turn, what the parts of a row's time follow from."""

    def __init__(self, case, work, threads):
        self.few = [case.few(n, np.float32) for n in case.counts]
        self.elements, self.threads = work.elements, threads if work.elements >= pool.PARALLEL_FROM else 1
        results, x = np.zeros(rates.MOST, np.float32), np.ones(16, np.float32)
        start = functools.partial(rates.burst, "multiply", 1, results=results)
        self._alone = {
            "few": self.few[0].run,
            "more": self.few[1].run,
            "identity": functools.partial(functional.FUNCTIONS["identity"], x, out=x),
            "one": functools.partial(start, threads=1),
        }
        self._started = functools.partial(start, threads=self.threads)

    def __call__(self):
        """Name of a side -> seconds of a call."""
        with pool.serially():
            found = {name: _timed(side) for name, side in self._alone.items()}
        return {**found, "all": _timed(self._started)}

    def seconds(self, found, copy=None):
        """Name of a part -> seconds, from what each turn gave, and a copy's seconds if memory is a limit."""
        times = {name: np.array([each[name] for each in found]) for name in found[0]}
        few, more = (work.elements for work in self.few)
        of_one = (times["more"] - times["few"]) / (
            more - few
        )  # within a turn: a processor's speed changes from turn to turn
        element, launch = _median(of_one), _median(times["all"] - times["one"])
        parts = {
            "call": _median(times["few"] - few * of_one) + launch,
            "loop": element * self.elements / self.threads,
        }
        if copy is not None:
            parts["memory"] = max(copy - _median(times["identity"]) - launch, 0.0)
        return parts


def _median(values):
    return max(float(np.median(values)), 0.0)


def _timed(side):
    call_for(BRIEF, side)
    return call_for(BRIEF, side)


def shares(seconds, parts):
    """Name of a part -> its share of so many seconds; "rest" is what call and the larger of loop and memory leave.

    >>> shares(10.0, {"call": 1.0, "loop": 5.0, "memory": 6.0})
    {'call': 0.1, 'loop': 0.5, 'memory': 0.6, 'rest': 0.3}
    """
    longest = max(parts["loop"], parts.get("memory", 0.0))
    found = {name: value / seconds for name, value in parts.items()}
    return {**found, "rest": round(max(1 - (parts["call"] + longest) / seconds, 0.0), 12)}


def text(seconds, parts):
    """The shares in percent.

    >>> text(10.0, {"call": 0.01, "loop": 5.0, "memory": 6.0})
    'loop 50, memory 60, rest 40'
    """
    return ", ".join(f"{name} {share:.0%}"[:-1] for name, share in shares(seconds, parts).items() if share >= 0.005)
