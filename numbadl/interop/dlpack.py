"""DLPack capsules of arrays in a GPU's memory, read as ``__cuda_array_interface__`` describes arrays.

The layout is that of ``dlpack.h``, versions 0 and 1. A capsule that nobody marks as used frees what it holds as it goes, so
whoever reads the memory keeps the capsule, and calls nothing of it.
"""

import ctypes

_VERSION = (1, 0)
_LEGACY_STREAM = 1  # the default stream, on which numba's kernels run
_READ_ONLY = 1
_KINDS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}  # DLDataTypeCode
CUDA_DEVICES = (2, 13)  # kDLCUDA, kDLCUDAManaged


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned; without a version, the tensor comes first."""

    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


class OnDevice:
    """The memory of *array*, which has DLPack alone, with ``__cuda_array_interface__``.

    Raises BufferError for what that cannot describe; whatever the array's ``__dlpack__`` raises passes.
    """

    def __init__(self, array):
        self._capsule = _capsule(array)
        self.__cuda_array_interface__ = interface(self._capsule)


def _capsule(array):
    try:
        return array.__dlpack__(stream=_LEGACY_STREAM, max_version=_VERSION)
    except TypeError:  # of a library from before version 1
        return array.__dlpack__(stream=_LEGACY_STREAM)


def interface(capsule):
    """What a capsule holds, as a dict like ``__cuda_array_interface__``; valid while the capsule lives.

    >>> import numpy as np
    >>> found = interface(np.zeros((2, 3), np.float32).__dlpack__())
    >>> found["shape"], found["strides"], found["typestr"]
    ((2, 3), (12, 4), '<f4')
    """
    name = _api("PyCapsule_GetName", ctypes.c_char_p, ctypes.py_object)(capsule)
    pointer = _api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(capsule, name)
    read_only = False
    if name == b"dltensor_versioned":
        held = _Versioned.from_address(pointer)
        if held.major > _VERSION[0]:
            raise BufferError(f"DLPack {held.major}.{held.minor}, accepted is up to {_VERSION[0]}")
        tensor, read_only = held.tensor, bool(held.flags & _READ_ONLY)
    elif name == b"dltensor":
        tensor = _Tensor.from_address(pointer)
    else:
        raise BufferError(f"a capsule named {name}, accepted are dltensor and dltensor_versioned")
    if tensor.code not in _KINDS or tensor.lanes != 1 or tensor.bits % 8:
        raise BufferError(f"elements of type {tensor.code} with {tensor.bits} bits, accepted are numbers")
    size, shape = tensor.bits // 8, tuple(tensor.shape[: tensor.ndim])
    strides = tuple(size * s for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    typestr = f"{'|' if size == 1 else '<'}{_KINDS[tensor.code]}{size}"
    return {"shape": shape, "typestr": typestr, "data": (address, read_only), "strides": strides, "version": 3}


def _api(name, result, *arguments):
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))
