"""What a process waits for before it computes, and whether its threads run in asv's forked workers."""

import functools
import time

import numba
import numpy as np
from numbadl.kernels.cpu import pool

import numbadl as nd
from numbadl.bench import start

ELEMENTS = 1 << 20


class Start:
    """Import, cached first call and cold compile, each in a process of its own."""

    params, param_names = [list(start.CODE)], ["what"]
    number, repeat, warmup_time, rounds = 1, 5, 0, 1

    def setup(self, what):
        self.run = start.run_of(what)

    def time_process(self, what):
        self.run()

    time_process.pretty_name = "start: time of a process"


class Threads:
    """Kernels run on all threads here as they do outside asv."""

    def setup(self):
        x = np.linspace(-4, 4, ELEMENTS, dtype=np.float32)
        self.run = functools.partial(nd.gelu, x, out=np.empty_like(x))
        self.run()

    def track_idle_threads(self):
        """How many threads kernels do not use."""
        return 0 if pool.started() else numba.get_num_threads() - 1

    def track_share_of_serial(self):
        """The time of gelu on all threads over that on one."""
        all_threads, times = numba.get_num_threads(), {}
        for threads in (1, all_threads) * 15:
            numba.set_num_threads(threads)
            self.run()
            began = time.perf_counter()
            self.run()
            times.setdefault(threads, []).append(time.perf_counter() - began)
        return round(float(np.median(times[all_threads]) / np.median(times[1])), 3)

    track_idle_threads.unit, track_share_of_serial.unit = "threads", "of one thread's time"
    track_idle_threads.pretty_name = "threads: unused"
    track_share_of_serial.pretty_name = "threads: time of gelu over that on one"
