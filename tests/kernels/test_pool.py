"""Threads: concurrent callers, forked children, every threading layer; results never depend on them."""

import ctypes
import importlib.util
import os
import subprocess
import sys

import pytest
from numba import njit, types
from numba.extending import intrinsic
from numbadl.kernels.cpu import pool

COMMON = """
import os, threading
import numpy as np
import numba
import numbadl as nd
from numbadl.kernels.cpu import pool

x = np.linspace(-4, 4, 1 << 20, dtype=np.float32)
w = np.linspace(-1, 1, 512 * 512, dtype=np.float32).reshape(512, 512)

def work():
    y = nd.silu(x)
    total = nd.losses.mse(y, x)
    return y.tobytes(), total, nd.matmul(w, w).tobytes(), nd.dropout(x, seed=3).tobytes()

def layer():
    return numba.threading_layer()
"""

TWO_THREADS = """
expected = work()
assert pool.started(), "the pool should have been started by large arrays"
results = {}
def caller(k):
    for _ in range(10):
        results[k] = work()
        assert results[k] == expected
threads = [threading.Thread(target=caller, args=(k,)) for k in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(results) == 3 and all(r == expected for r in results.values())
print("ok", layer())
"""

FORK_AFTER = """
expected = work()
child = os.fork()
if child == 0:
    ok = work() == expected and not pool.started()
    os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert work() == expected and pool.started()
print("ok", layer())
"""

FORK_BEFORE = """
assert not pool.started()
child = os.fork()
if child == 0:
    work()
    os._exit(0 if pool.started() else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
work()
assert pool.started()
print("ok", layer())
"""

FORK_WHILE_ANOTHER_THREAD_COMPUTES = """
expected = work()
stop = threading.Event()
def busy():
    while not stop.is_set():
        work()
thread = threading.Thread(target=busy)
thread.start()
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() == expected else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
stop.set()
thread.join()
print("ok", layer())
"""

IMPORT_STARTS_NOTHING = """
import sys
from numba.np.ufunc import parallel
assert not parallel._is_initialized
nd.relu(x[:100])
assert not parallel._is_initialized and not pool.started()
numba.get_num_threads()
print("ok", layer())
"""


def _available(layer):
    module = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}[layer]
    if importlib.util.find_spec(f"numba.np.ufunc.{module}") is None:
        return False
    code = f"import numba.np.ufunc.{module}"  # fails where the library behind it is missing
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


LAYERS = [layer for layer in ("omp", "workqueue", "tbb") if _available(layer)]


def run(script, layer, threads=None, arguments=()):
    env = {**os.environ, "NUMBA_THREADING_LAYER": layer}
    if threads:
        env["NUMBA_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:.*fork.*:DeprecationWarning", "-c", COMMON + script, *arguments],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["ok", layer]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_that_call_kernels_at_once(layer, threads):
    run(TWO_THREADS, layer, threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "script", [FORK_AFTER, FORK_BEFORE, FORK_WHILE_ANOTHER_THREAD_COMPUTES], ids=["after", "before", "busy"]
)
def test_a_forked_child_calls_kernels(layer, script):
    run(script, layer)


FORK_AFTER_ANOTHER_LIBRARY_RAN_OPENMP = """
import ctypes, faulthandler, sys
if "shared" in sys.argv:
    assert pool.share_openmp("libgomp.so.1")
region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)
ctypes.CDLL("libgomp.so.1").GOMP_parallel(region, None, 2, 0)
assert not pool.started()
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(60, exit=True)  # what it would wait for is not there
    work()
    os._exit(0 if not pool.started() else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
"""


@pytest.mark.skipif(sys.platform != "linux" or "omp" not in LAYERS, reason="needs fork and GNU OpenMP")
@pytest.mark.parametrize("shared", [(), ("shared",)], ids=["apart", "shared"])
def test_a_child_that_was_forked_after_another_library_ran_openmp(shared):
    """It computes serially; the parent goes on in threads, also of that library."""
    script = FORK_AFTER_ANOTHER_LIBRARY_RAN_OPENMP + TWO_THREADS
    run("layer = lambda: 'omp'  # Numba has not started any\n" * bool(shared) + script, "omp", arguments=shared)


SHARED_OPENMP = """
import sys
assert pool.share_openmp("libgomp.so.1")
nd.silu(x[:9])
before = len(os.listdir("/proc/self/task"))  # this thread, and others such as a BLAS's
nd.silu(x)
found = len(os.listdir("/proc/self/task")) - before + 1
assert found == int(sys.argv[1]), found
print("ok", "omp")
"""


@pytest.mark.skipif(sys.platform != "linux" or "omp" not in LAYERS, reason="counts threads in /proc, of GNU OpenMP")
def test_threads_of_another_library_are_as_many_as_it_takes_or_numba_is_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for limit, threads in ((None, 3), (2, 2), (1, 1), (4, 3)):
        run(SHARED_OPENMP, "omp", limit, arguments=[str(threads)])


@pytest.mark.parametrize("layer", LAYERS)
def test_import_and_small_arrays_start_no_threads(layer):
    run(IMPORT_STARTS_NOTHING, layer)


SAME_BITS = """
import hashlib, sys
digest = hashlib.sha256()
for part in work():
    digest.update(part if isinstance(part, bytes) else repr(part).encode())
print(digest.hexdigest())
"""


# Sums by row, by column and by channel, over everything, and of gradients and their norms: all that adds up.
SUMS = """
import hashlib
rng = np.random.default_rng(0)
x, g = rng.standard_normal((2, 1031, 257)).astype(np.float32)
images, upstream = rng.standard_normal((2, 37, 5, 30, 31)).astype(np.float32)
labels = rng.integers(0, 257, 1031)
found = [nd.softmax(x), nd.softmax(x, axis=0), nd.losses.cross_entropy(x, labels), nd.losses.huber(x, g)]
found += [nd.norm(x, 1), nd.norm([x, g])]
found += nd.losses.cross_entropy.value_and_grad(x, labels, label_smoothing=0.1)
found += [nd.regularizers.L1L2(1e-3, 1e-3)(x), nd.prelu.backward(g, x, np.full(257, 0.25, np.float32))[1]]
for a, b in ((x, g), (images, upstream)):
    channels = a.shape[1]
    w = np.linspace(0.5, 2, channels, dtype=np.float32)
    y, saved = nd.batch_norm(a, w, w, np.zeros_like(w), np.ones_like(w))
    found += [y, *nd.batch_norm.backward(b, a, w, saved)]
w = np.linspace(0.5, 2, 257, dtype=np.float32)
y, saved = nd.layer_norm(x, (257,), w, w)
found += [y, *nd.layer_norm.backward(g, x, w, saved)]
y, saved = nd.group_norm(images, 5, None, None)
found += [y, nd.group_norm.backward(upstream, images, None, saved)[0]]
for kind, options in (("AdamW", {"clip_norm": 1.0}), ("LAMB", {"lr": 0.1})):
    params = [x.copy(), images.copy()]
    getattr(nd.optim, kind)(params, **options).step([g, upstream])
    found += params
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in found)).hexdigest())
"""


@pytest.mark.parametrize("code", ["same bits", "sums"])
def test_results_are_the_same_for_any_number_of_threads(code):
    digests, code = set(), SUMS if code == "sums" else SAME_BITS
    for threads in (1, 2, 4):
        env = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
        done = subprocess.run([sys.executable, "-c", COMMON + code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1, digests


@pytest.mark.skipif(not pool._CAN_MOVE or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two CPUs")
def test_a_thread_leaves_the_cpu_of_the_one_that_woke_it():
    """And may run on all of its CPUs again afterwards; the waking thread itself stays."""

    @intrinsic
    def leave(context, cpu, thread):
        def codegen(cx, builder, sig, values):
            pool._leave(builder, *values)
            return cx.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    run, libc = njit(lambda cpu, thread: leave(cpu, thread)), ctypes.CDLL(None)
    libc.pthread_self.restype = ctypes.c_int64
    run(0, 0)
    allowed = os.sched_getaffinity(0)

    def moves(thread):
        """In how many of twenty tries this thread was on another CPU afterwards; the system may move it, too."""
        found = 0
        for _ in range(20):
            before = libc.sched_getcpu()
            run(before, thread)
            found += libc.sched_getcpu() != before
        return found

    assert moves(0) >= 15
    assert moves(libc.pthread_self()) <= 5
    assert os.sched_getaffinity(0) == allowed
