"""Sides that take turns, so that all of them meet the same moments of a machine; as many turns as their ratios need."""

import os
import statistics
import threading
import time

import numpy as np

FEWEST, LONGEST = 9, 1.0  # turns; seconds of them, once there were that many
SETTLED = 0.02  # the distance between quartiles of a ratio's median, as a fraction, at which turns end
SAMPLE = 0.5e-3  # seconds of calls of which a turn takes the median, after as many that are not timed
WAKING = 5e-3  # seconds of calls behind a rest: Linux may leave a woken thread on its waker's core for milliseconds
REST = 0.02  # seconds, at most, until threads that wait for work sleep
PROCESSES = 5  # turns of what starts processes


def turns(sides, repeat, beside=None, process=False):
    """Time *sides*, name -> function, in turn.

    Parameters
    ----------
    repeat : turns at most; `FEWEST` are enough if the medians of the ratios to the first side vary by less than `SETTLED`
    beside : a function to call in each turn behind the first side, on whose threads it runs
    process : each side starts a process: it is timed as it is, a few times

    Returns
    -------
    tuple
        Name -> array of seconds, one for each turn; what *beside* returned in each turn.
    """
    times, found, first = {name: [] for name in sides}, [], next(iter(sides))
    rests = dict.fromkeys(sides, False) if process else _rests(sides)
    began = time.perf_counter()
    for turn in range(PROCESSES if process else repeat):
        if turn >= FEWEST and (_settled(times, first) or time.perf_counter() - began > LONGEST):
            break
        for name, side in sides.items():
            if rests[name]:
                _rest()
            if not process:
                call_for(WAKING if rests[name] else SAMPLE, side)
            times[name].append(call_for(0 if process else SAMPLE, side))
            if beside is not None and name == first:
                found.append(beside())
    return {name: np.array(seconds) for name, seconds in times.items()}, found


def spread(values):
    """The distance between quartiles, as a fraction of the median."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def _settled(times, first):
    """Whether the medians are known: of n values from a normal distribution they vary by 1.25 / sqrt(n) of what these do."""
    ours = np.array(times[first])
    series = [np.array(found) / ours for name, found in times.items() if name != first] or [ours]
    return all(1.25 * spread(values) < SETTLED * len(values) ** 0.5 for values in series)


def call_for(seconds, side):
    """Call a side for some time, once at least: the median time of a call."""
    found, began = [], time.perf_counter()
    while True:
        start = time.perf_counter()
        side()
        end = time.perf_counter()
        found.append(end - start)
        if end - began >= seconds:
            return statistics.median(found)


def _rests(sides):
    """Name -> whether the side before used other threads: those would spin beside this one's, which sleep meanwhile."""
    threads = {name: _threads_of(side) for name, side in sides.items()}
    before = dict(zip(sides, [list(sides)[-1], *sides], strict=False))
    return {name: threads[name] != threads[before[name]] for name in sides}


def _threads_of(side):
    """The threads that run in calls of a side beside the one that calls; where that cannot be known, a set that no other has."""
    _rest()
    call_for(WAKING, side)
    before = _thread_seconds()
    call_for(WAKING, side)
    used = {thread: seconds - before.get(thread, 0.0) for thread, seconds in _thread_seconds().items()}
    if not used:
        return {id(side)}
    return {thread for thread, seconds in used.items() if seconds >= sum(used.values()) / 10} - {
        threading.get_native_id()
    }


def _thread_seconds():
    """Thread -> seconds of a processor that it had, exactly: by the numbers that Linux gives its threads' clocks."""
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return {}
    found = {}
    for thread in threads:
        try:
            found[thread] = time.clock_gettime(~thread << 3 | 6)
        except OSError:  # it has ended
            continue
    return found


def _rest():
    """Sleep until no thread of this process spins."""
    until = time.perf_counter() + REST
    while time.perf_counter() < until:
        before = time.process_time()
        time.sleep(1e-3)
        if time.process_time() - before < 0.2e-3:
            break
