"""Time, peak memory, and time beside a copy's, for every case of `numbadl.bench`.

asv takes lower figures for better ones, so what is tracked is a multiple of the copy's time and not a share of its speed.
"""

import functools
import itertools
import math
from concurrent.futures import ProcessPoolExecutor, wait

import numba
import numpy as np

from numbadl import bench
from numbadl.bench import floors

from . import ALL, DTYPES, SIZES, THREADS

TURNS = 7  # of the tracked ratio
WARM = 3  # calls before the one that `asv run --quick` times: the first ones wake the threads
TITLES = {"time_run": "time", "peakmem_run": "peak memory", "track_times_copy": "time over that of a copy"}


class _Cases:
    """The cases of a group, those that come in several sizes or those that have one of their own."""

    param_names = ["name", "dtype", "threads", "elements"]

    def setup_cache(self):
        """Compile every case's kernels on all cores, once for all groups; else peak memory would be the compiler's."""
        names = [name for name, case in bench.CASES.items() if case.group in GROUPS]
        with ProcessPoolExecutor(ALL, initializer=numba.set_num_threads, initargs=(1,)) as pool:
            runs = [pool.submit(_prepare, *of) for of in itertools.product(names, DTYPES, SIZES)]
            wait(runs)  # what fails here fails again in its benchmark

    setup_cache.timeout = 1800

    def setup(self, name, dtype, threads, elements):
        numba.set_num_threads(threads)
        self.work = _prepare(name, dtype, elements)
        for _ in range(WARM):
            self.work.run()

    def time_run(self, name, dtype, threads, elements):
        self.work.run()

    def peakmem_run(self, name, dtype, threads, elements):
        self.work.run()

    def track_times_copy(self, name, dtype, threads, elements):
        """The time over that of a copy of as many bytes as have to move, in the same turns; nan where memory is not the limit."""
        if not self.work.moved:
            return math.nan
        copy = floors.copy_of(self.work.moved)
        times, _ = bench.turns({"ours": self.work.run, "copy": copy}, TURNS)
        return round(float(np.median(times["ours"] / times["copy"])) * copy.moved / self.work.moved, 3)

    track_times_copy.unit = "times a copy's"


def _prepare(name, dtype, elements):
    """The work of a case, compiled and run once."""
    case = bench.CASES[name]
    (elements,) = case.sizes or (elements,)
    return case.prepare(elements, np.dtype(dtype).type)


def _benchmark(group):
    cases = [case for case in bench.CASES.values() if case.group == group]
    sizes = SIZES if cases[0].sizes is None else ["its own"]
    content = {"params": [[case.name for case in cases], DTYPES, THREADS, sizes], "__doc__": f"The group {group}."}
    content |= {name: _titled(getattr(_Cases, name), f"{group}: {title}") for name, title in TITLES.items()}
    return type(group.capitalize(), (_Cases,), {**content, "__module__": __name__})


def _titled(method, title):
    """A method of one class, with the name that asv's pages show."""

    @functools.wraps(method)
    def titled(*arguments):
        return method(*arguments)

    titled.pretty_name = title
    return titled


GROUPS = [group for group in bench.GROUPS if group != "start"]
globals().update({group.capitalize(): _benchmark(group) for group in GROUPS})
