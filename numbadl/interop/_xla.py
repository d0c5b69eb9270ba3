"""Kernels as targets of XLA's typed foreign function interface: C functions that Numba compiles, without Python in a call.

XLA calls a handler with a frame: structs whose layout is that of the header which comes with JAX. The handler checks types and
ranks, makes arrays of the buffers, and calls the CPU kernel of a declaration. Leading axes that vmap put before an operand's
own are looped over, or counted as more rows where a kernel takes each by itself.
"""

import ctypes
import functools
import math
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

from ..kernels import cpu
from ..kernels.digest import identity
from ..kernels.shapes import Map, Norm, Row, dtype_of
from ._c_header import Header

_I32, _I64, _I8P = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_CODES = {np.float32: "F32", np.float64: "F64", np.bool_: "PRED", np.int64: "S64", np.uint64: "U64"}
_FRAME, _BUFFER = "XLA_FFI_CallFrame", "XLA_FFI_Buffer"
_OPTIONS = {"nogil": True, "error_model": "numpy"}
_registered, _lock = {}, threading.Lock()


@dataclass(frozen=True)
class Operand:
    """An operand of a kernel: which argument, result or attribute of the call it is, and its kind and dimensions."""

    source: str
    place: int
    kind: str
    ndim: int


def operands_of(spec):
    """The operands of a declaration, in the kernel's order; what it writes are the results of the call."""
    kinds, results = spec.operands(), _written(spec)
    counts, found = {"args": 0, "rets": 0, "attrs": 0}, []
    for position, (kind, ndim) in enumerate(kinds):
        source = "attrs" if ndim == 0 else "rets" if position in results else "args"
        found.append(Operand(source, counts[source], kind, ndim))
        counts[source] += 1
    return found


def _written(spec):
    """The positions of the operands that a kernel writes."""
    inputs = len(spec.inputs)
    if isinstance(spec, Map):
        after = inputs + len(spec.outputs) + spec.channels
        return {*range(inputs, inputs + len(spec.outputs)), *([after] if spec.sums else [])}
    if isinstance(spec, Norm):
        after = inputs + 1 + spec.affine + spec.row_inputs
        return {inputs, *range(after, after + spec.row_outputs + (spec.affine_sums > 0))}
    if isinstance(spec, Row) and spec.output is not None and spec.value is None:
        return {inputs + spec.columns + spec.labelled}
    raise NotImplementedError(f"{spec.name}: a kernel of its kind has no handler for XLA")


def call(spec, part, inputs, outputs, scalars=()):
    """Call the kernel of a declaration, or the *part* of it that suits the layout, on JAX arrays.

    Parameters
    ----------
    inputs : its input operands in order, of the kernel's dimensions; under vmap with others before them
    outputs : shape of each output
    scalars : the numbers after the arrays
    """
    dtype = np.dtype(inputs[0].dtype).type
    given = [o for o in operands_of(spec) if o.source == "rets"]
    shapes = [jax.ShapeDtypeStruct(shape, dtype_of(o.kind, dtype)) for shape, o in zip(outputs, given, strict=True)]
    kinds = [o.kind for o in operands_of(spec) if o.source == "attrs"]
    scalars = [
        (np.float64 if kind == "x" else dtype_of(kind, dtype))(v) for kind, v in zip(kinds, scalars, strict=True)
    ]
    if header() is None:
        return _call_python(spec, part, inputs, shapes, scalars)
    target = _target(spec, part, dtype)
    attributes = {f"s{k:02}": value for k, value in enumerate(scalars)}  # XLA sorts them by name
    return jax.ffi.ffi_call(target, shapes, vmap_method="broadcast_all")(*inputs, **attributes)


def _kernel(spec, part):
    kernel = cpu.kernel(spec)
    return kernel.parts[part] if part else kernel


@functools.cache
def header():
    """The header of XLA's interface, or None (with a warning) if it is not one that we know how to talk to."""
    try:
        path = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
        found = Header(path.read_text(encoding="utf-8"), ["_XLA_FFI_API_STRUCT_FIELD"])
        if found.values["XLA_FFI_API_MAJOR"] != 0:
            raise ValueError(f"version {found.values['XLA_FFI_API_MAJOR']} of the interface")
        for struct, field in _NEEDED:
            found.offset(struct, field)
        return found
    except (OSError, KeyError, ValueError, AttributeError) as error:
        warnings.warn(
            f"numbadl.interop.jax: XLA's foreign function interface cannot be used ({error!r}); calls go through"
            " jax.pure_callback, that is through Python, and are slower",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


_NEEDED = (
    (_FRAME, "api"), (_FRAME, "args"), (_FRAME, "rets"), (_FRAME, "attrs"), (_BUFFER, "dims"), ("XLA_FFI_Args", "args"),
    ("XLA_FFI_Rets", "rets"), ("XLA_FFI_Attrs", "attrs"), ("XLA_FFI_Scalar", "value"), ("XLA_FFI_Metadata", "api_version"),
    ("XLA_FFI_Metadata_Extension", "metadata"), ("XLA_FFI_Api", "XLA_FFI_Error_Create"),
    ("XLA_FFI_Error_Create_Args", "errc"),
)  # fmt: skip


def _call_python(spec, part, inputs, shapes, scalars):
    """The same through Python, one call after the other under vmap."""
    given, dtype = operands_of(spec), np.dtype(inputs[0].dtype).type
    values = [
        dtype_of(o.kind, dtype)(v) for o, v in zip([o for o in given if o.source == "attrs"], scalars, strict=True)
    ]

    def run(*arrays):
        made = [np.empty(s.shape, s.dtype) for s in shapes]
        by_source = {"args": [np.array(a) for a in arrays], "rets": made, "attrs": values}
        cpu.ensure_started()
        _check_status(spec, _kernel(spec, part)(*(by_source[o.source][o.place] for o in given)))
        return made

    return jax.pure_callback(run, shapes, *inputs, vmap_method="sequential")


def _check_status(spec, status):
    if status:
        raise ValueError(_refusal(spec))


def _refusal(spec):
    return f"numbadl: {spec.name}: got buffers of other types or sizes than the kernel takes"


# -- registration ------------------------------------------------------------------------------------------------------
def _target(spec, part, dtype):
    """The name of the target for a kernel; it is compiled and registered once, for the life of the process."""
    key = spec, part, dtype
    with _lock:
        if key not in _registered:
            cpu.ensure_started()  # here, in Python: a handler has to find the threads running
            name = f"numbadl.{spec.name}.{part or 'kernel'}.{np.dtype(dtype).name}.{identity(spec)}"
            handler = _handler(spec, part, dtype)
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(ctypes.c_void_p(handler.address)), platform="cpu")
            _registered[key] = name, handler  # which owns the code
        return _registered[key][0]


def _handler(spec, part, dtype):
    """The C function (call frame) -> null or an error."""
    kernel, merged = _kernel(spec, part), _takes_rows_one_by_one(spec)
    code = _Code(operands_of(spec), dtype, merged, _refusal(spec))
    handshake, fits, calls, operands, refuse = code.intrinsics()
    has_status = isinstance(spec, Map) and not (spec.random and not spec.by_channel)

    if has_status:

        @njit(**_OPTIONS)
        def run(operands):
            return kernel(*operands) == 0

    else:

        @njit(**_OPTIONS)
        def run(operands):
            kernel(*operands)
            return True

    @cfunc(types.intp(types.intp), **_OPTIONS)
    def handler(frame):
        if handshake(frame):
            return 0
        if not fits(frame):
            return refuse(frame)
        for index in range(calls(frame)):
            if not run(operands(frame, index)):
                return refuse(frame)
        return 0

    return handler


def _takes_rows_one_by_one(spec):
    """Whether axes before an operand's own may be counted as more elements, or rows."""
    return isinstance(spec, Row) or (isinstance(spec, Map) and not spec.by_channel and not spec.random)


class _Code:
    """The parts of a handler that read the frame."""

    def __init__(self, operands, dtype, merged, message):
        self.operands, self.dtype, self.merged, self.message = operands, dtype, merged, message
        self.buffers = [o for o in operands if o.source != "attrs"]

    # -- reading structs -------------------------------------------------------------------------------------------
    @staticmethod
    def _place(builder, base, struct, field, kind):
        address = builder.add(base, _I64(header().offset(struct, field)))
        return builder.inttoptr(address, kind.as_pointer())

    def _load(self, builder, base, struct, field, kind=_I64):
        return builder.load(self._place(builder, base, struct, field, kind))

    @staticmethod
    def _item(builder, base, index, kind=_I64):
        index = index if isinstance(index, ir.Value) else _I64(index)
        return builder.load(builder.gep(builder.inttoptr(base, kind.as_pointer()), [index]))

    def _entry(self, builder, frame, source, place):
        """The address of an argument, result or attribute."""
        struct = f"XLA_FFI_{source.capitalize()}"
        within = header().offset(_FRAME, source) + header().offset(struct, source)
        listed = builder.load(builder.inttoptr(builder.add(frame, _I64(within)), _I64.as_pointer()))
        return self._item(builder, listed, place)

    def _count(self, builder, frame, source):
        within = header().offset(_FRAME, source) + header().offset(f"XLA_FFI_{source.capitalize()}", "size")
        return builder.load(builder.inttoptr(builder.add(frame, _I64(within)), _I64.as_pointer()))

    def _leading(self, builder, buffer, ndim):
        """The product of the axes before an operand's own *ndim*."""
        dims = self._load(builder, buffer, _BUFFER, "dims")
        before = builder.sub(self._load(builder, buffer, _BUFFER, "rank"), _I64(ndim))
        total = cgutils.alloca_once_value(builder, _I64(1))
        builder.store(_I64(1), total)
        with cgutils.for_range(builder, before, intp=_I64) as loop:
            builder.store(builder.mul(builder.load(total), self._item(builder, dims, loop.index)), total)
        return builder.load(total)

    def _shape(self, builder, buffer, ndim):
        """An operand's own axes."""
        dims = self._load(builder, buffer, _BUFFER, "dims")
        before = builder.sub(self._load(builder, buffer, _BUFFER, "rank"), _I64(ndim))
        return [self._item(builder, dims, builder.add(before, _I64(k))) for k in range(ndim)]

    # -- the parts -------------------------------------------------------------------------------------------------
    def intrinsics(self):
        """(handshake, fits, calls, operands, refuse), functions of the frame for compiled code."""

        @intrinsic
        def handshake(context, frame):
            return types.boolean(types.intp), lambda cx, builder, sig, args: self._handshake(builder, args[0])

        @intrinsic
        def fits(context, frame):
            return types.boolean(types.intp), lambda cx, builder, sig, args: self._fits(builder, args[0])

        @intrinsic
        def calls(context, frame):
            return types.intp(types.intp), lambda cx, builder, sig, args: self._calls(builder, args[0])

        @intrinsic
        def operands(context, frame, index):
            result = types.Tuple([self._numba_type(o) for o in self.operands])
            return result(types.intp, types.intp), lambda cx, builder, sig, args: self._made(cx, builder, result, *args)

        @intrinsic
        def refuse(context, frame):
            return types.intp(types.intp), lambda cx, builder, sig, args: self._refuse(cx, builder, args[0])

        return handshake, fits, calls, operands, refuse

    def _handshake(self, builder, frame):
        """Registration asks, once, which version a handler was made for: that of the header. -> whether it did."""
        extension = self._load(builder, frame, _FRAME, "extension_start")
        asked = builder.icmp_unsigned("!=", extension, _I64(0))
        with builder.if_then(asked):
            metadata = self._load(builder, extension, "XLA_FFI_Metadata_Extension", "metadata")
            version = builder.add(metadata, _I64(header().offset("XLA_FFI_Metadata", "api_version")))
            for field, value in (("major_version", "XLA_FFI_API_MAJOR"), ("minor_version", "XLA_FFI_API_MINOR")):
                place = self._place(builder, version, "XLA_FFI_Api_Version", field, _I32)
                builder.store(_I32(header().values[value]), place)
            builder.store(_I32(0), self._place(builder, metadata, "XLA_FFI_Metadata", "traits", _I32))
        return asked

    def _fits(self, builder, frame):
        """Whether there are as many operands as the kernel has, of its types, with enough dimensions."""
        good = cgutils.true_bit
        for source in ("args", "rets", "attrs"):
            count = sum(o.source == source for o in self.operands)
            good = builder.and_(good, builder.icmp_signed("==", self._count(builder, frame, source), _I64(count)))
        result = cgutils.alloca_once_value(builder, cgutils.false_bit)
        builder.store(cgutils.false_bit, result)
        with builder.if_then(good):
            for o in self.buffers:
                buffer = self._entry(builder, frame, o.source, o.place)
                code = header().values[f"XLA_FFI_DataType_{_CODES[dtype_of(o.kind, self.dtype)]}"]
                found = self._load(builder, buffer, _BUFFER, "dtype", _I32)
                rank = self._load(builder, buffer, _BUFFER, "rank")
                good = builder.and_(good, builder.icmp_signed("==", found, _I32(code)))
                good = builder.and_(good, builder.icmp_signed(">=", rank, _I64(o.ndim)))
            builder.store(good, result)
        return builder.load(result)

    def _calls(self, builder, frame):
        if self.merged:
            return _I64(1)
        first = self.buffers[0]
        return self._leading(builder, self._entry(builder, frame, first.source, first.place), first.ndim)

    def _numba_type(self, operand):
        dtype = from_dtype(np.dtype(dtype_of(operand.kind, self.dtype)))
        return types.Array(dtype, operand.ndim, "C") if operand.ndim else dtype

    def _made(self, cx, builder, result, frame, index):
        """The operands of call number *index*, as a tuple."""
        made = [
            self._array(cx, builder, frame, index, o) if o.ndim else self._scalar(cx, builder, frame, o)
            for o in self.operands
        ]
        return cx.make_tuple(builder, result, made)

    def _array(self, cx, builder, frame, index, operand):
        array_type = self._numba_type(operand)
        buffer, size = (
            self._entry(builder, frame, operand.source, operand.place),
            np.dtype(dtype_of(operand.kind, self.dtype)).itemsize,
        )
        shape = self._shape(builder, buffer, operand.ndim)
        each = functools.reduce(builder.mul, shape, _I64(size))
        data = self._load(builder, buffer, _BUFFER, "data")
        if self.merged:
            shape[0] = builder.mul(shape[0], self._leading(builder, buffer, operand.ndim))
        else:
            data = builder.add(data, builder.mul(index, each))
        strides = [functools.reduce(builder.mul, shape[k + 1 :], _I64(size)) for k in range(len(shape))]
        array = cx.make_array(array_type)(cx, builder)
        pointer = builder.inttoptr(data, cx.get_data_type(array_type.dtype).as_pointer())
        populate_array(array, data=pointer, shape=shape, strides=strides, itemsize=_I64(size), meminfo=None)
        return array._getvalue()

    def _scalar(self, cx, builder, frame, operand):
        value = self._load(builder, self._entry(builder, frame, "attrs", operand.place), "XLA_FFI_Scalar", "value")
        if operand.kind != "x":
            return self._item(builder, value, 0)
        number = self._item(builder, value, 0, ir.DoubleType())
        return builder.fptrunc(number, ir.FloatType()) if self.dtype is np.float32 else number

    def _refuse(self, cx, builder, frame):
        """An error that XLA raises in Python."""
        struct = "XLA_FFI_Error_Create_Args"
        size = header().size(struct)
        space = cgutils.alloca_once(builder, ir.ArrayType(_I64, math.ceil(size / 8)))
        arguments = builder.ptrtoint(space, _I64)
        message = builder.ptrtoint(cx.insert_const_string(builder.module, self.message), _I64)
        code = header().values["XLA_FFI_Error_Code_INVALID_ARGUMENT"]
        for field, value in (
            ("struct_size", _I64(size)), ("extension_start", _I64(0)), ("message", message), ("errc", _I32(code)),
        ):  # fmt: skip
            builder.store(value, self._place(builder, arguments, struct, field, value.type))
        api = self._load(builder, frame, _FRAME, "api")
        create = self._load(builder, api, "XLA_FFI_Api", "XLA_FFI_Error_Create")
        signature = ir.FunctionType(_I64, [_I64])
        return builder.call(builder.inttoptr(create, signature.as_pointer()), [arguments])
