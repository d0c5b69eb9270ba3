"""How CUDA kernels are compiled and launched: the one module that imports numba-cuda, and jit options in one place.

With ``NUMBA_ENABLE_CUDASIM=1`` in the environment the same kernels run in numba's simulator, in plain Python: every
CUDA thread is a Python thread, so that blocks and grids are tiny there (`THREADS`, `MOST_BLOCKS`), which also makes
small arrays go through every loop.
"""

import contextlib
import contextvars
import functools
import importlib.util
import threading
import warnings

import numpy as np
from numba import config
from numba.core.errors import NumbaPerformanceWarning

if importlib.util.find_spec("numba_cuda") is None:  # the numba.cuda inside older versions of numba is deprecated
    raise ImportError("CUDA kernels need the package numba-cuda: pip install 'numbadl[cuda]'")

from numba import cuda

SIMULATOR = bool(config.ENABLE_CUDASIM)
THREADS = 8 if SIMULATOR else 256  # of a block; a power of two. Results depend on it, so it is the same for all GPUs
MOST_BLOCKS = 2 if SIMULATOR else 1 << 16  # of a grid: enough for any GPU; larger arrays take more turns of a loop

_FUNCTION_OPTIONS = {} if SIMULATOR else {"forceinline": True}
_KERNEL_OPTIONS = {} if SIMULATOR else {"launch_bounds": THREADS}  # no fastmath: it flushes denormals and folds isnan
_stream = contextvars.ContextVar("numbadl CUDA stream", default=0)
_buffers = threading.local()


def function(fn):
    """Compile *fn* as a part of kernels, always inlined."""
    return cuda.jit(device=True, **_FUNCTION_OPTIONS)(fn)


def kernel(declaration, part="", float64=False):
    """Decorate a function that runs on the GPU's threads; *float64* says that it computes in float64 for any dtype."""
    return functools.partial(Kernel, declaration.name + part, float64)


class Kernel:
    """One compiled grid function; a declaration's kernel launches one or several of them, in order, on one stream."""

    def __init__(self, name, float64, fn):
        fn.__name__ = fn.__qualname__ = name.replace(".", "_")  # what profilers show
        self.name, self.float64, self.function = name, float64, fn
        self.dispatcher = cuda.jit(**_KERNEL_OPTIONS)(fn)

    def launch(self, blocks, arguments, shared=0):
        """Run *blocks* blocks of `THREADS` threads with *shared* bytes of shared memory; returns at once."""
        _configured(self.dispatcher, min(blocks, MOST_BLOCKS), _stream.get(), shared)(*arguments)


@functools.lru_cache(4096)
def _configuration(dispatcher, blocks, stream, shared):
    with warnings.catch_warnings():  # small arrays take small grids: nothing to warn of at every new size
        warnings.simplefilter("ignore", NumbaPerformanceWarning)
        return dispatcher[blocks, THREADS, stream, shared]


# The simulator keeps the last configuration in the dispatcher itself, so that there is nothing to remember.
_configured = _configuration.__wrapped__ if SIMULATOR else _configuration


def is_available():
    """Whether kernels can run here, on a GPU or in the simulator; never raises."""
    try:
        return bool(cuda.is_available())
    except Exception:  # a broken driver or toolkit has many ways to fail
        return False


@contextlib.contextmanager
def use_stream(stream):
    """Launch and copy on *stream* (as from ``numba.cuda.stream()``) inside the ``with`` block, in this thread."""
    token = _stream.set(stream)
    try:
        yield stream
    finally:
        _stream.reset(token)


def synchronize():
    """Wait until everything that was launched on the device has finished."""
    cuda.synchronize()


def to_device(array):
    """A copy of a NumPy array on the device."""
    return cuda.to_device(array, stream=_stream.get())


def to_host(array):
    """A copy of a device array as a NumPy array, after everything launched before it on the same stream."""
    stream = _stream.get()
    result = as_device_array(array).copy_to_host(stream=stream)
    if stream:
        stream.synchronize()
    return result


def empty(shape, dtype):
    """A new device array, not initialised."""
    return cuda.device_array(shape, dtype, stream=_stream.get())


def workspace(count, dtype, slot=0):
    """A device array of *count* elements for partial results, kept for the next call of this thread on this stream.

    A training step allocates nothing after the first one this way. The elements are those of the last call with the
    same *slot*, and live until the next one.
    """
    device = 0 if SIMULATOR else cuda.get_current_device().id
    key = (slot, np.dtype(dtype), _stream.get(), device)
    kept = _buffers.__dict__.get(key)
    if kept is None or kept.size < count:
        kept = _buffers.__dict__[key] = empty(1 << (count - 1).bit_length(), dtype)
    return kept[:count]


def copy(target, source):
    """Copy *source*, on the host or the device, to the device array *target*."""
    target.copy_to_device(source, stream=_stream.get())


def as_device_array(array, wait=True):
    """*array* as numba's kind of device array, without a copy; anything with ``__cuda_array_interface__`` will do.

    *wait* for the stream on which the array was made, if it names one: not needed on that stream itself.
    """
    return array if hasattr(array, "copy_to_host") else cuda.as_cuda_array(array, wait)


@functools.lru_cache(64)
def external_stream(pointer):
    """The stream of another library, given as a pointer, for `use_stream`."""
    return cuda.external_stream(pointer)


def flat(arrays):
    """C-contiguous arrays of any kind and shape as a tuple of 1-D device arrays: one compilation for all shapes."""
    found = (as_device_array(a) for a in arrays)
    return tuple(a if a.ndim == 1 or a.size == 0 else a.reshape(-1) for a in found)
