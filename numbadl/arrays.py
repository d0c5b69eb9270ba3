"""Which device an array is on, what is accepted, and how any layout becomes flat arrays that kernels take."""

import ctypes
import math
from types import SimpleNamespace

import numpy as np

from ._arguments import no_subclass
from .kernels import cpu

DTYPES = _FLOAT32, _FLOAT64 = (np.dtype(np.float32), np.dtype(np.float64))
LINE = 64  # bytes of a cache line
THREADS_FROM = 1 << 14  # elements: kernels with fewer run serially, so the threads need not be started for them


class _Cpu:
    """Arrays in host memory: NumPy's."""

    name = "cpu"
    kernel = staticmethod(cpu.kernel)

    @staticmethod
    def empty(shape, dtype):
        return np.empty(shape, dtype)

    @staticmethod
    def workspace(shape, dtype):
        """An array to be kept, which begins at a cache line: stores of whole vectors then touch one line each."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(size + LINE, np.uint8)
        start = -memory.ctypes.data % LINE
        return memory[start : start + size].view(dtype).reshape(shape)

    @staticmethod
    def zeros(shape, dtype):
        return np.zeros(shape, dtype)

    @staticmethod
    def from_host(array):
        return array

    @staticmethod
    def copy(target, source):
        np.copyto(target, source)

    @staticmethod
    def prepare(size):
        if size >= THREADS_FROM:
            cpu.ensure_started()


class _Cuda:
    """Arrays in the memory of a GPU, or of the CUDA simulator."""

    name = "cuda"

    @staticmethod
    def _module():
        from .kernels import cuda

        return cuda

    def kernel(self, name):
        return self._module().kernel(name)

    def empty(self, shape, dtype):
        return self._module().empty(shape, dtype)

    workspace = empty

    def zeros(self, shape, dtype):
        return self._module().to_device(np.zeros(shape, dtype))

    def from_host(self, array):
        return self._module().to_device(np.ascontiguousarray(array))

    def copy(self, target, source):
        self._module().copy(target, source)

    def prepare(self, size):
        pass


DEVICES = {"cpu": _Cpu(), "cuda": _Cuda()}


def device(name="auto"):
    """The device of that name: "cpu", "cuda", or "auto" for CUDA where it is usable and all CPU cores otherwise."""
    if name == "auto":
        name = "cuda" if cuda_is_available(simulator=False) else "cpu"
    if name not in DEVICES:
        raise ValueError(f"device: got {name!r}, accepted are 'auto', 'cpu' and 'cuda'")
    if name == "cuda" and not cuda_is_available():
        raise ValueError("device: 'cuda' was asked for, but CUDA is not usable here (`numbadl info` says why)")
    return DEVICES[name]


def cuda_is_available(simulator=True):
    """Whether numba-cuda is installed and finds a GPU (or, if that is enough, runs in the simulator)."""
    try:
        from .kernels import cuda
    except ImportError:
        return False
    return cuda.is_available() and (simulator or not cuda.SIMULATOR)


def device_of(array):
    """The device that *array* is on."""
    return DEVICES["cpu"] if isinstance(array, np.ndarray) else DEVICES["cuda"]


def to_host(array):
    """*array* as a NumPy array: itself, or a copy of what is on the GPU."""
    return array if isinstance(array, np.ndarray) else DEVICES["cuda"]._module().to_host(array)


def is_cuda(array):
    """Whether *array* is in a GPU's memory (or the simulator's, whose arrays have numba's methods only)."""
    return hasattr(array, "__cuda_array_interface__") or hasattr(array, "copy_to_host")


# -- checks ----------------------------------------------------------------------------------------
def check(**arrays):
    """All given arrays: of an accepted kind, of one dtype, on one device. Raises TypeError naming the argument.

    Of NumPy's kinds of array, masked ones and matrices are refused: results would be those of other numbers. ValueError for
    a CUDA array that is not C-contiguous: kernels read those as they lie in memory.
    """
    first = None
    for name, array in arrays.items():
        if not (isinstance(array, np.ndarray) or is_cuda(array)):
            raise TypeError(
                f"{name}: got {_kind(array)}, accepted are numpy.ndarray and CUDA arrays{_hint(name, array)}"
            )
        no_subclass(name, array)
        if array.dtype not in DTYPES:
            raise TypeError(f"{name}: got dtype {array.dtype}, accepted are float32 and float64{_hint(name, array)}")
        if not isinstance(array, np.ndarray) and 0 not in array.shape and not memory_of(array).flags.c_contiguous:
            raise ValueError(f"{name}: is not C-contiguous, as arrays on a GPU have to be")
        if first is None:
            first = name, array
        elif array.dtype != first[1].dtype:
            hint = _hint(name, array, first[1].dtype)
            raise TypeError(f"{name}: got dtype {array.dtype}, but {first[0]} has {first[1].dtype}{hint}")
        elif device_of(array) is not device_of(first[1]):
            raise TypeError(f"{name}: is on {device_of(array).name}, but {first[0]} on {device_of(first[1]).name}")


def check_dtype(dtype):
    """*dtype* as one of NumPy's, if arrays of it are accepted."""
    found = np.dtype(dtype)
    if found not in DTYPES:
        raise TypeError(f"dtype: got {found}, accepted are float32 and float64")
    return found


def check_shape(name, array, shape, why):
    """Raise ValueError unless *array* has that shape."""
    if array.shape != tuple(shape):
        raise ValueError(f"{name}: got shape {array.shape}, expected {tuple(shape)} ({why})")


def check_out(out, like, name="out", **inputs):
    """*out* is writeable, matches *like*, and is an input itself or shares no memory with one."""
    check(x=like, **{name: out})
    check_shape(name, out, like.shape, "that of the input")
    target = memory_of(out)
    if not target.flags.writeable:
        raise ValueError(f"{name}: is read-only")
    for other, array in inputs.items():
        if out is array or not np.may_share_memory(
            target, memory := memory_of(array)
        ):  # by bounds: quick, and mostly enough
            continue
        if not _same_elements(target, memory) and np.shares_memory(target, memory):
            raise ValueError(f"{name}: overlaps {other} in part; give the same array or one apart from it")


def share_memory(a, b):
    """Whether two arrays, on CPU or CUDA, have an element of memory in common."""
    a, b = memory_of(a), memory_of(b)
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def memory_of(array):
    """A NumPy array at the addresses of *array*, to ask about addresses only: those of a GPU cannot be read."""
    if isinstance(array, np.ndarray):
        return array
    given = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__  # the simulator's arrays
    kept = {key: given.get(key) for key in ("shape", "typestr", "strides")}
    data = (
        given["data"][0] or 1,
        given["data"][1],
    )  # an empty array may lie at 0, which NumPy 2.0 takes for no address
    return np.asarray(SimpleNamespace(__array_interface__={**kept, "data": data, "version": 3}))


def _same_elements(a, b):
    """Whether two arrays have the same elements of memory in the same places; strides of axes of one element are idle."""
    same = a.shape == b.shape and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    return same and all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, b.strides, strict=True))


def is_plain(*arrays):
    """Whether all are NumPy arrays of one shape and accepted dtype that kernels take as they are: a quick check."""
    first = arrays[0]
    for a in arrays:
        if type(a) is not np.ndarray or not a.flags.carray or a.dtype is not first.dtype or a.shape != first.shape:
            return False
    return first.dtype is _FLOAT32 or first.dtype is _FLOAT64  # other objects for the same dtypes take the long way


def plain_out(out, *inputs):
    """*out*, or a new array, if it needs no further check for plain *inputs*; else None."""
    if out is None:
        return np.empty_like(inputs[0])
    for a in inputs:
        if out is not a and (not is_plain(a, out) or np.may_share_memory(a, out)):
            return None
    return out


def _kind(value):
    cls = type(value)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _hint(name, value, dtype=_FLOAT32):
    if getattr(value, "requires_grad", False):
        return "; a tensor that requires grad needs numbadl.interop.torch"
    if isinstance(value, (int, float, np.number)):
        return "; numbers are what an activation's .scalar takes"
    if name == "out":  # a copy of it would be written to
        return ""
    if isinstance(value, (list, tuple)):
        return f"; np.array({name}, np.{dtype}) makes one"
    if isinstance(value, np.ndarray) and value.dtype.kind in "iubf":
        if hasattr(value.base, "to"):  # the memory of a tensor of PyTorch
            return f"; {name}.to(torch.{dtype}) converts it"
        return f"; {name}.astype(np.{dtype}) converts it"
    return ""


# -- layouts -----------------------------------------------------------------------------------------
def flatten(inputs, outputs, ordered=False):
    """Flat, dense views of arrays of one shape; only what is not dense in a common order of axes is copied.

    Returns
    -------
    flat : list of 1-D arrays, the inputs' and then the outputs'
    order : the order of axes in which the elements lie; () is C order, and the only one if *ordered*
    pending : (output, array) pairs: what was computed in the array has to be copied to the output
    """
    if not isinstance(outputs[0], np.ndarray):
        return [_device_flat(a) for a in (*inputs, *outputs)], (), []
    order = _common_order([*inputs, *outputs])
    if order is None or (order and ordered):
        dense = [np.require(np.asarray(a), requirements="CA") for a in inputs]
        results = [out if out.flags.carray else np.empty(out.shape, out.dtype) for out in outputs]
        pending = [(out, result) for out, result in zip(outputs, results, strict=True) if result is not out]
        return [_flat(a) for a in dense] + [r.reshape(-1) for r in results], (), pending
    return [_flat(a, order) for a in (*inputs, *outputs)], order, []


def _common_order(arrays):
    """() if all are C-contiguous, the order of axes in which they are if there is one, else None."""
    if all(a.flags.c_contiguous and a.flags.aligned for a in arrays):
        return ()
    order = tuple(np.argsort([-s for s in arrays[0].strides], kind="stable"))
    dense = all(a.transpose(order).flags.c_contiguous and a.flags.aligned for a in arrays)
    return order if dense else None


def _flat(array, order=()):
    if order:
        array = array.transpose(order)
    return writeable(array.reshape(-1))


def _device_flat(array):
    array = DEVICES["cuda"]._module().as_device_array(array)
    return array.reshape(-1) if array.size else array


def writeable(array):
    """*array*, or a writeable view of a read-only one: a kernel for each combination of both would be compiled.

    No kernel writes to its inputs; ``out`` was checked by `check_out`.
    """
    if array.flags.writeable:
        return array
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    address = array.__array_interface__["data"][0]
    buffer = (ctypes.c_char * array.nbytes).from_address(address)
    buffer.owner = array  # the view keeps the buffer, and the buffer what it points into
    return np.frombuffer(buffer, array.dtype).reshape(array.shape)


def rows_of(array, axis):
    """*array* with *axis* moved to the end, as a C-contiguous (rows, n) matrix: a view where that is possible.

    A CUDA array stays as it is in memory: (rows, n) if *axis* is the last one, or else (outer, n, inner).
    """
    shape, axis = tuple(array.shape), axis % array.ndim  # a tuple: the simulator's shapes know no shape[-1]
    n, rows = shape[axis], math.prod(shape[:axis] + shape[axis + 1 :])
    if isinstance(array, np.ndarray):
        if array.flags.carray and axis == len(shape) - 1:
            return array if len(shape) == 2 else array.reshape(rows, n)
        moved = np.moveaxis(array, axis, -1)
        return writeable(np.require(moved, requirements="CA").reshape(rows, n))
    inner = math.prod(shape[axis + 1 :])
    array = DEVICES["cuda"]._module().as_device_array(array)
    return array.reshape(rows, n) if inner == 1 else array.reshape(math.prod(shape[:axis]), n, inner)


def dense(array):
    """*array* as a C-contiguous array that kernels take, copied only if it is none."""
    if isinstance(array, np.ndarray):
        return array if array.flags.carray else writeable(np.require(array, requirements="CA"))
    return DEVICES["cuda"]._module().as_device_array(array)


def columns_of(array, axis):
    """A C-contiguous array as (outer, n, inner), where n is the extent of *axis*."""
    shape = array.shape
    return writeable(array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])))


def check_axis(axis, ndim):
    """*axis* as a non-negative integer. Raises ValueError (numpy.exceptions.AxisError is one) if it is out of range."""
    if ndim == 0:
        raise ValueError("axis: the array has no axes")
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"axis: got {_kind(axis)}, accepted is an integer")
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis: got {axis}, accepted are {-ndim} to {ndim - 1} for an array of {ndim} dimensions")
    return int(axis) % ndim
