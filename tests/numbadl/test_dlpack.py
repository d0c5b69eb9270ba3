"""DLPack capsules of GPU arrays, for which NumPy's stand: what they describe, how long it lives, and what is refused."""

import ctypes
import functools
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import numbadl as nd
from numbadl.interop import arrays, dlpack

CUDA, MANAGED, ROCM = 2, 13, 10


class Held(np.ndarray):
    """An array that a weak reference can be made of."""


class OnGpu:
    """An array that has DLPack alone, and says that it is on a GPU."""

    def __init__(self, array, device=CUDA, versioned=True):
        self.array, self.device, self.versioned, self.asked = array, device, versioned, []

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, **given):
        self.asked.append(given)
        if not self.versioned and "max_version" in given:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        return self.array.__dlpack__(**{key: value for key, value in given.items() if key != "stream"})


def as_array(found):
    """What an interface describes, read on the CPU."""
    return np.asarray(SimpleNamespace(__array_interface__=found))


GIVEN = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "u1", "c16"])
@pytest.mark.parametrize(
    "layout", [lambda a: a, lambda a: a[1:, ::2, 1:3], lambda a: a.T, lambda a: a[:0], lambda a: a[1, 2, 3]]
)
@pytest.mark.parametrize("options", [{}, {"max_version": (1, 0)}], ids=str)
def test_a_capsule_is_read_as_numpy_wrote_it(dtype, layout, options):
    array = np.asarray(layout(GIVEN.astype(dtype)))
    capsule = array.__dlpack__(**options)
    found = dlpack.interface(capsule)
    assert found["shape"] == array.shape and np.dtype(found["typestr"]) == array.dtype
    assert array.size == 0 or found["data"] == (array.__array_interface__["data"][0], False)
    assert np.array_equal(as_array(found), array)


def test_a_read_only_array():
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    capsule = array.__dlpack__(max_version=(1, 0))
    assert dlpack.interface(capsule)["data"][1] is True


@pytest.mark.parametrize("device", [CUDA, MANAGED])
@pytest.mark.parametrize("versioned", [True, False])
def test_the_memory_lives_as_long_as_what_was_made_of_it(device, versioned, monkeypatch):
    gpu = SimpleNamespace(as_device_array=lambda holder: holder)
    monkeypatch.setattr(arrays, "_gpu", lambda: gpu)
    array = np.arange(6, dtype=np.float32).view(Held)
    gone, given = weakref.ref(array), OnGpu(array, device, versioned)
    holder = arrays.native(given, "x")
    assert given.asked[-1]["stream"] == 1 and len(given.asked) == 2 - versioned
    del array, given
    assert gone() is not None and np.array_equal(as_array(holder.__cuda_array_interface__), np.arange(6))
    del holder
    assert gone() is None


def test_without_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(arrays, "_cuda", lambda: SimpleNamespace(is_available=lambda: False))
    with pytest.raises(TypeError, match="^x: is in the memory of a GPU, which numba-cuda cannot use here"):
        nd.softmax(OnGpu(np.ones(3, np.float32)))
    with pytest.raises(TypeError, match=r"^x: is on the DLPack device \(10, 0\), accepted are"):
        nd.softmax(OnGpu(np.ones(3, np.float32), ROCM))


def test_what_cannot_be_described_is_refused(monkeypatch):
    monkeypatch.setattr(arrays, "_gpu", lambda: SimpleNamespace(as_device_array=lambda holder: holder))

    def capsule(held, name, **options):
        new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(("PyCapsule_New", ctypes.pythonapi))(ctypes.addressof(held), name, None)

    newer, bfloat, other = dlpack._Versioned(major=2), dlpack._Tensor(code=4, bits=16, lanes=1), dlpack._Tensor()
    for held, name, message in (
        (newer, b"dltensor_versioned", r"DLPack 2\.0"),
        (bfloat, b"dltensor", "type 4 with 16 bits"),
        (other, b"used_dltensor", "used_dltensor"),
    ):
        given = OnGpu(None)
        given.array = SimpleNamespace(__dlpack__=functools.partial(capsule, held, name))
        with pytest.raises(TypeError, match=f"^x: cannot be taken by DLPack: .*{message}"):
            nd.softmax(given)
