"""Kernels called on tensors from compiled code: what follows from dtypes, shapes and options is prepared, once for each.

A `Call` says which tensors it is given, which ones it makes, and which kernels run on their memory, one after the other. For
each call, `_launch` asks PyTorch where a tensor lies, by the table of C functions that DLPack names for it
(``torch.Tensor.__dlpack_c_exchange_api__``), compares device, type, shape and strides with what was declared, and calls the
kernels with pointers where they are declared to take arrays. That takes about half a microsecond.

`_launch` reads 64-bit words: a head; for each tensor its kind and shape; for each step the length of what follows, its
trampoline, its kernel, and where its operands lie: a base (a tensor, the scratch, or the numbers), an offset in bytes, a shape.
"""

import ctypes
import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from ...kernels.cpu.compile import KernelCache
from ...kernels.cpu.map import DONE, REFUSED

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WORDS = _I64.as_pointer()
_FROM_OBJECT, _NONE, _NUMBERS, _SCRATCH, _TENSORS, _STEPS, _HEAD = range(7)  # words of the head
_DATA, _DEVICE, _KIND, _SHAPE, _STRIDES, _OFFSET, _DLTENSOR = range(7)  # words of DLPack's DLTensor
_CPU = 1  # DLPack's number of that type of device; above it 0, the device's own
_ABSENT = 0  # in place of a tensor's kind
_CODES = {"i": 0, "f": 2}  # of types
_empty, _from_numpy = np.empty, torch.from_numpy


def _from_object():
    """The address of PyTorch's C function (object, DLTensor to be filled) -> 0; None where there is no table of DLPack 1."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(capsule, b"dlpack_exchange_api")
    if ctypes.c_uint32.from_address(table).value != 1:  # the major version
        return None
    return ctypes.c_uint64.from_address(table + 5 * 8).value  # the fourth function, behind the version and a pointer


FROM_OBJECT = _from_object()


# -- declarations ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Memory:
    """Memory of a tensor or of the scratch as a kernel sees it: a C-contiguous array, or without axes a number."""

    base: int
    dtype: np.dtype
    shape: tuple
    offset: int = 0

    def shaped(self, *shape):
        return replace(self, shape=shape)

    @property
    def flat(self):
        return self.shaped(math.prod(self.shape))

    def as_type(self, dtype):
        """The same bits as numbers of another type of that size."""
        return replace(self, dtype=np.dtype(dtype))

    def __getitem__(self, row):
        """A row of the first axis; `rows` are all of them."""
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        return replace(self, shape=self.shape[1:], offset=self.offset + row * row_bytes)

    @property
    def rows(self):
        return [self[k] for k in range(self.shape[0])]


class Call:
    """Kernels to be called on tensors. Declare what is given, then what is made, and the steps; then call `prepared`.

    What only backward needs is made where *keeps* is true, and lies in the scratch otherwise.
    """

    _IN_SCRATCH = -1  # in place of a base, which is not known before the number of tensors is

    def __init__(self, keeps):
        self.keeps, self._tensors, self._made, self._steps, self._size = keeps, [], 0, [], 0

    def given(self, dtype, *shape):
        """The next tensor that a call is given."""
        self._tensors.append(Memory(len(self._tensors), np.dtype(dtype), shape))
        return self._tensors[-1]

    def absent(self):
        """The next tensor that a call is given has to be None."""
        self._tensors.append(None)

    def made(self, dtype, *shape):
        """The next new tensor that a call returns."""
        self._made += 1
        return self.given(dtype, *shape)

    def kept(self, dtype, *shape):
        """What only backward needs: the next new tensor, or scratch."""
        return (self.made if self.keeps else self.scratch)(dtype, *shape)

    def scratch(self, dtype, *shape):
        """Memory for the time of a call."""
        memory = Memory(self._IN_SCRATCH, np.dtype(dtype), shape, self._size)
        self._size += -(-math.prod(shape) * memory.dtype.itemsize // 8) * 8
        return memory

    def step(self, kernel, *operands, result=None):
        """Call a *kernel* with memory and numbers.

        A float that it returns is stored in *result*; a status other than DONE ends the call.
        """
        self._steps.append((kernel, operands, result))

    def prepared(self):
        """The call as a function, see `_run`."""
        tensors, steps, numbers = [], [], []
        for t in self._tensors:
            tensors += [_ABSENT] if t is None else [_kind(t.dtype, len(t.shape)), *t.shape]
        for kernel, operands, result in self._steps:
            words = [*_compiled(kernel, tuple([_kind_of(o) for o in operands]))]
            for operand in (*operands, *([] if result is None else [result])):
                if isinstance(operand, Memory):
                    base = len(self._tensors) if operand.base == self._IN_SCRATCH else operand.base
                    words += [base, operand.offset, *operand.shape]
                else:
                    words += [len(self._tensors) + 1, 8 * len(numbers)]
                    numbers.append(operand)
            steps += [len(words), *words]
        held = np.zeros(len(numbers), np.int64)
        for k, number in enumerate(numbers):
            value = np.asarray(number)
            held[k : k + 1].view(value.dtype)[0] = value
        head = [FROM_OBJECT, id(None), held.ctypes.data, self._size // 8, len(self._tensors), len(self._steps)]
        made = self._tensors[len(self._tensors) - self._made :]
        return _run(np.array([*head, *tensors, *steps], np.int64), held, made, self.keeps)


def _run(words, numbers, made, keeps):
    """A function of tensors -> the new tensors: as a tuple where what backward needs is kept, or else the only one.

    None where a tensor is not what was declared, or a kernel refuses. It holds *numbers*, to which *words* point.
    """
    results_of = [(m.shape, m.dtype) for m in made]
    (shape, dtype), *_ = results_of

    def run(*given, held=numbers):
        result = _from_numpy(_empty(shape, dtype))  # less than torch.empty takes
        tensors = *given, result
        return result if _launch(words, id(tensors)) == DONE else None

    def run_and_keep(*given, held=numbers):
        results = tuple([_from_numpy(_empty(*of_one)) for of_one in results_of])
        tensors = given + results
        return results if _launch(words, id(tensors)) == DONE else None

    return run_and_keep if keeps else run


def _kind(dtype, ndim):
    """That word of a DLTensor which has the number of axes, and in its upper half the type: code, bits, lanes."""
    return ndim | _CODES[dtype.kind] << 32 | 8 * dtype.itemsize << 40 | 1 << 48


def _kind_of(operand):
    """(dtype, number of axes)."""
    return (operand.dtype, len(operand.shape)) if isinstance(operand, Memory) else (np.asarray(operand).dtype, 0)


# -- kernels by address ---------------------------------------------------------------------------------------------------
@functools.cache
def _compiled(kernel, kinds):
    """(address of the trampoline, address of the kernel) for operands of such kinds."""
    examples = tuple([np.empty((1,) * ndim, dtype) if ndim else dtype.type(0) for dtype, ndim in kinds])
    key = (typeof(examples),)  # one tuple: every kernel is declared as run(*arguments)
    if key not in kernel.overloads:
        kernel._compile_for_args(examples)
    compiled = kernel.overloads[key]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    context = compiled.target_context
    return _trampoline(context, compiled.fndesc.argtypes, compiled.fndesc.restype)[0], address


@functools.cache
@global_compiler_lock
def _trampoline(context, argtypes, restype):
    """(address, owner of the code) of a C function (words of a step, addresses of the bases) -> status: it calls a kernel."""
    library = context.codegen().create_library("numbadl.trampoline")
    module = library.create_ir_module("numbadl.trampoline")
    fn = ir.Function(module, ir.FunctionType(_I32, [_I64, _I64]), "numbadl_trampoline")
    builder = ir.IRBuilder(fn.append_basic_block())
    words, bases = (builder.inttoptr(value, _WORDS) for value in fn.args)
    place = iter(range(1 << 30))

    def word():
        return builder.load(builder.gep(words, [_I64(next(place))]))

    def pointer(element):
        base = builder.load(builder.gep(bases, [word()]))
        return builder.inttoptr(builder.add(base, word()), element.as_pointer())

    def operand(kind):
        element = context.get_value_type(getattr(kind, "dtype", kind))
        data = pointer(element)
        if not isinstance(kind, types.Array):
            return builder.load(data)
        array, size = context.make_array(kind)(context, builder), context.get_abi_sizeof(element)
        shape, strides = [word() for _ in range(kind.ndim)], [_I64(size)]
        for extent in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], extent))
        populate_array(array, data=data, shape=shape, strides=strides, itemsize=_I64(size), meminfo=None)
        return array._getvalue()

    kernel = builder.inttoptr(word(), context.call_conv.get_function_type(restype, argtypes).as_pointer())
    values = context.make_tuple(builder, argtypes[0], [operand(kind) for kind in argtypes[0].types])
    status, result = context.call_conv.call_function(builder, kernel, restype, argtypes, [values])
    with cgutils.if_unlikely(builder, status.is_error):
        builder.ret(_I32(REFUSED))
    if isinstance(restype, types.Float):
        builder.store(result, pointer(result.type))
    builder.ret(builder.trunc(result, _I32) if isinstance(restype, types.Integer) else _I32(DONE))
    library.add_ir_module(module)
    library.finalize()
    return library.get_pointer_to_function(fn.name), library


@intrinsic
def _call(context, function, first, second):
    """A C function of two words at an address -> int32."""

    def codegen(cx, builder, sig, values):
        kind = ir.FunctionType(_I32, [_I64, _I64])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.int32(types.int64, types.int64, types.int64), codegen


@intrinsic
def _word_at(context, address, index):
    def codegen(cx, builder, sig, values):
        return builder.load(builder.gep(builder.inttoptr(values[0], _WORDS), [values[1]]))

    return types.int64(types.int64, types.int64), codegen


def _of_python(name, result, *arguments):
    """A function of Python's C interface, for compiled code."""

    @intrinsic
    def call(context, words):
        def codegen(cx, builder, sig, values):
            kinds = ir.FunctionType(_I64 if result else ir.VoidType(), [_I64] * len(arguments))
            function = cgutils.get_or_insert_function(builder.module, kinds, name)
            found = builder.call(function, cgutils.unpack_tuple(builder, values[0]))
            return found if result else cx.get_dummy_value()

        return (types.int64 if result else types.void)(types.UniTuple(types.int64, len(arguments))), codegen

    return call


_item, _forget_error = _of_python("PyTuple_GetItem", True, "tuple", "index"), _of_python("PyErr_Clear", False)
_unlock, _lock = _of_python("PyEval_SaveThread", True), _of_python("PyEval_RestoreThread", False, "thread")


@njit(error_model="numpy")
def _fits(words, at, tensor):
    """Whether a DLTensor is what was declared: on the CPU, of that kind and shape, C-contiguous, and has memory."""
    ndim, item = words[at] & 0xFFFFFFFF, (words[at] >> 43) & 31
    if tensor[_DEVICE] != _CPU or tensor[_KIND] != words[at]:
        return False
    stride = 1
    for axis in range(ndim - 1, -1, -1):
        extent = words[at + 1 + axis]
        if _word_at(tensor[_SHAPE], axis) != extent or (extent != 1 and _word_at(tensor[_STRIDES], axis) != stride):
            return False
        stride *= extent
    return tensor[_DATA] != 0 and (tensor[_DATA] + tensor[_OFFSET]) % item == 0


@njit(error_model="numpy")
def _launch(words, tensors):
    """Make the call of these words on the tensors of a tuple, given as the address of that."""
    count, at = words[_TENSORS], _HEAD
    # The scratch lies behind the bases, so that it lives as long as these are used.
    bases, tensor = np.empty(count + 2 + words[_SCRATCH], np.int64), np.empty(_DLTENSOR, np.int64)
    for k in range(count):
        given = _item((tensors, k))
        if words[at] == _ABSENT or given == words[_NONE]:
            if words[at] != _ABSENT or given != words[_NONE]:
                return REFUSED
            at += 1
            continue
        if given == 0 or _call(words[_FROM_OBJECT], given, tensor.ctypes.data) != 0:
            _forget_error(())
            return REFUSED
        if not _fits(words, at, tensor):
            return REFUSED
        bases[k] = tensor[_DATA] + tensor[_OFFSET]
        at += 1 + (words[at] & 0xFFFFFFFF)
    bases[count], bases[count + 1] = bases.ctypes.data + 8 * (count + 2), words[_NUMBERS]
    thread, status = _unlock(()), DONE
    for _ in range(words[_STEPS]):
        if status == DONE:
            status = _call(words[at + 1], words.ctypes.data + 8 * (at + 2), bases.ctypes.data)
        at += 1 + words[at]
    _lock((thread,))
    return status


_launch._cache = KernelCache("torch.launch", _launch.py_func)
