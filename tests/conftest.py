"""What all tests share: random numbers from a seed that a failure prints, numbers of threads, a simulator that does not idle."""

import os
import signal
import sys
import tracemalloc
import zlib

import numba
import numpy as np
import pytest

# A shell that starts the tests in the background has Ctrl-C ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng(request):
    """A random generator seeded by the test's name, or by NUMBADL_TEST_SEED; a failing test shows the seed."""
    seed = int(os.environ.get("NUMBADL_TEST_SEED", zlib.crc32(request.node.name.encode())))
    print(f"random numbers of this test: NUMBADL_TEST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def on_threads():
    """on_threads(fn): fn's results with 1, 2 and 4 threads, as far as Numba was started with so many."""
    before = numba.get_num_threads()

    def run(fn):
        results = []
        for count in (1, 2, 4):
            if count <= numba.config.NUMBA_NUM_THREADS:
                numba.set_num_threads(count)
                results.append(fn())
        return results

    yield run
    numba.set_num_threads(before)


@pytest.fixture
def allocated():
    """allocated(call): the bytes that Python's memory grew by, at most, in a call."""

    def run(call):
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return run


@pytest.fixture(scope="module")
def eager_threads():
    """The simulator spins while its threads work; Python lets it do so for 5 ms at a time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)
