"""One element of several arrays at once, for any number of arrays and types: what element loops are written with.

Python has no words for "element i of each of these arrays" that numba compiles for a tuple of different arrays, so
each function here has two bodies: the plain Python one, which the simulator runs, and an intrinsic that emits loads,
stores and additions one after the other, which is compiled. Generating the source of every kernel would do, too, but
not load four elements at once, and there would be nothing to read.

Arrays come as tuples of 1-D C-contiguous arrays, so that an element's index is its distance from the first.
"""

import ctypes
import inspect

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

WIDTH = 4  # elements of a wide load or store: 16 bytes in float32, twice 16 in float64
ALIGNMENT = 16


def load(arrays, i):
    """(arrays[0][i], arrays[1][i], ...)"""
    return tuple(a[i] for a in arrays)


def store(arrays, i, value):
    """arrays[0][i], arrays[1][i], ... = value, a tuple, or the value itself if there is one array."""
    for a, v in zip(arrays, _as_tuple(value), strict=True):
        a[i] = v


def read(array, i):
    """array[i], without numba's test for a negative index."""
    return array[i]


def write(array, i, value):
    """array[i] = value, without numba's test for a negative index."""
    array[i] = value


def load_wide(arrays, i):
    """A tuple of the four `load`s from element 4 i on; the arrays are `aligned`."""
    return tuple(load(arrays, WIDTH * i + k) for k in range(WIDTH))


def store_wide(arrays, i, values):
    """The four `store`s from element 4 i on; the arrays are `aligned`."""
    for k, value in enumerate(values):
        store(arrays, WIDTH * i + k, value)


def aligned(arrays):
    """Whether `load_wide` and `store_wide` may be used: every array begins at a multiple of 16 bytes."""
    return all(a.ctypes.data % ALIGNMENT == 0 for a in arrays)


def repeat(value, arrays):
    """(value, value, ...), one for each array."""
    return (value,) * len(arrays)


def add(totals, value):
    """The sums of each of *totals*, a tuple, and *value*, a tuple or a single value, in the types of *totals*."""
    return tuple(t + v for t, v in zip(totals, _as_tuple(value), strict=True))


def strided(array, first, stride, like):
    """A tuple as long as *like*: elements number first, first + stride, ... of an array of any shape."""
    flat = np.asarray(array).reshape(-1)
    return tuple(flat[first + k * stride] for k in range(len(like)))


def repeat_like(array, like):
    """A tuple as long as *like* of zeros of the array's dtype."""
    return tuple(array.dtype.type(0) for _ in like)


def load_at(addresses, i, like):
    """Element i of the arrays of like's dtype that begin at these addresses."""
    return tuple(_element_at(a, i, like.dtype)[0] for a in addresses)


def storing(positions):
    """store_at(addresses, i, value, like): element i at the addresses in these positions = the first parts of a tuple."""

    def store_at(addresses, i, value, like):
        for k, position in enumerate(positions):
            _element_at(addresses[position], i, like.dtype)[0] = value[k]

    @_compiled(store_at)
    def emit(context, addresses, i, value, like):
        def codegen(cx, builder, sig, values):
            pointers = _global_pointers(cx, builder, values[0], values[1], like.dtype)
            parts = cgutils.unpack_tuple(builder, values[2])
            for k, position in enumerate(positions):
                builder.store(_to_memory(cx, builder, parts[k], value.types[k], like.dtype), pointers[position])
            return cx.get_dummy_value()

        return types.void(addresses, types.int64, value, like), codegen

    return store_at


def loading_blocks(counts):
    """load_blocks(arrays, i, width): element i of the rows of blocks, of each block of each array, as one tuple.

    Array k has counts[k] blocks of *width* elements side by side in a row; i counts elements of one block, of all rows.
    """

    def load_blocks(arrays, i, width):
        return tuple(
            a[place] for a, count in zip(arrays, counts, strict=True) for place in _block_places(i, width, count)
        )

    @_compiled(load_blocks)
    def emit(context, arrays, i, width):
        dtypes = [a.dtype for a, count in zip(arrays.types, counts, strict=True) for _ in range(count)]
        result = types.Tuple(dtypes)

        def codegen(cx, builder, sig, values):
            memory = [builder.load(p) for p in _block_pointers(cx, builder, arrays, counts, *values)]
            found = [cx.data_model_manager[t].from_data(builder, m) for t, m in zip(dtypes, memory, strict=True)]
            return cx.make_tuple(builder, result, found)

        return result(arrays, types.int64, types.int64), codegen

    load_blocks.compiled = emit
    return load_blocks


def storing_blocks(counts):
    """store_blocks(arrays, i, width, value): a value, or those of a tuple, to where `loading_blocks` loads from."""

    def store_blocks(arrays, i, width, value):
        parts = iter(_as_tuple(value))
        for a, count in zip(arrays, counts, strict=True):
            for place in _block_places(i, width, count):
                a[place] = next(parts)

    @_compiled(store_blocks)
    def emit(context, arrays, i, width, value):
        dtypes = [a.dtype for a, count in zip(arrays.types, counts, strict=True) for _ in range(count)]

        def codegen(cx, builder, sig, values):
            pointers = _block_pointers(cx, builder, arrays, counts, *values[:3])
            parts = zip(_parts(builder, value, values[3]), _types(value), pointers, dtypes, strict=True)
            for part, t, pointer, dtype in parts:
                builder.store(_to_memory(cx, builder, part, t, dtype), pointer)
            return cx.get_dummy_value()

        return types.void(arrays, types.int64, types.int64, value), codegen

    store_blocks.compiled = emit
    return store_blocks


def _block_places(i, width, count):
    row = i // width
    return [i + ((count - 1) * row + b) * width for b in range(count)]


def _element_at(address, i, dtype):
    """In the simulator, whose device is the host."""
    place = (ctypes.c_char * dtype.itemsize).from_address(int(address) + int(i) * dtype.itemsize)
    return np.frombuffer(place, dtype)


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


# -- what is compiled --------------------------------------------------------------------------------
def _compiled(fn):
    """Decorate the intrinsic that is compiled for calls of *fn*."""

    def decorate(define):
        emit = intrinsic(define)
        body = {
            1: lambda a: emit(a),
            2: lambda a, b: emit(a, b),
            3: lambda a, b, c: emit(a, b, c),
            4: lambda a, b, c, d: emit(a, b, c, d),
        }[len(inspect.signature(fn).parameters)]

        def template(*args):
            return body

        template.__signature__ = inspect.signature(body)
        overload(fn, target="cuda", strict=False, jit_options={"forceinline": True})(template)
        return emit

    return decorate


def _types(t):
    return list(t.types) if isinstance(t, types.BaseTuple) else [t]


def _parts(builder, t, value):
    return cgutils.unpack_tuple(builder, value) if isinstance(t, types.BaseTuple) else [value]


def _addresses(cx, builder, arrays, value, i):
    """A pointer to element *i* of each array."""
    given = zip(arrays.types, cgutils.unpack_tuple(builder, value), strict=True)
    return [builder.gep(cx.make_array(t)(cx, builder, v).data, [i], inbounds=True) for t, v in given]


def _block_pointers(cx, builder, arrays, counts, value, i, width):
    """Pointers to element *i* of each block of each array, as `_block_places` has them."""
    found, row = [], builder.sdiv(i, width)
    for t, v, count in zip(arrays.types, cgutils.unpack_tuple(builder, value), counts, strict=True):
        data, before = cx.make_array(t)(cx, builder, v).data, builder.mul(row, ir.IntType(64)(count - 1))
        for b in range(count):
            place = builder.add(i, builder.mul(builder.add(before, ir.IntType(64)(b)), width))
            found.append(builder.gep(data, [place], inbounds=True))
    return found


def _wide(cx, builder, address):
    """*address* as that of a vector, and the alignment that it has."""
    element = address.type.pointee
    size = WIDTH * cx.get_abi_sizeof(element)
    return builder.bitcast(address, ir.VectorType(element, WIDTH).as_pointer()), min(size, ALIGNMENT)


def _to_memory(cx, builder, value, of, dtype):
    return cx.data_model_manager[dtype].as_data(builder, cx.cast(builder, value, of, dtype))


@_compiled(load)
def _load(context, arrays, i):
    dtypes = [a.dtype for a in arrays.types]
    result = types.Tuple(dtypes)

    def codegen(cx, builder, sig, values):
        memory = [builder.load(a) for a in _addresses(cx, builder, arrays, *values)]
        found = [cx.data_model_manager[t].from_data(builder, m) for t, m in zip(dtypes, memory, strict=True)]
        return cx.make_tuple(builder, result, found)

    return result(arrays, types.int64), codegen


@_compiled(store)
def _store(context, arrays, i, value):
    def codegen(cx, builder, sig, values):
        addresses = _addresses(cx, builder, arrays, *values[:2])
        parts = _parts(builder, value, values[2])
        for array, address, t, part in zip(arrays.types, addresses, _types(value), parts, strict=True):
            builder.store(_to_memory(cx, builder, part, t, array.dtype), address)
        return cx.get_dummy_value()

    return types.void(arrays, types.int64, value), codegen


@overload(read, target="cuda", jit_options={"forceinline": True})
def _read(array, i):
    return lambda array, i: _load((array,), i)[0]


@overload(write, target="cuda", jit_options={"forceinline": True})
def _write(array, i, value):
    return lambda array, i, value: _store((array,), i, value)


@_compiled(load_wide)
def _load_wide(context, arrays, i):
    dtypes = [a.dtype for a in arrays.types]
    one = types.Tuple(dtypes)
    result = types.UniTuple(one, WIDTH)

    def codegen(cx, builder, sig, values):
        first = builder.mul(values[1], ir.IntType(64)(WIDTH))
        vectors = []
        for address in _addresses(cx, builder, arrays, values[0], first):
            pointer, alignment = _wide(cx, builder, address)
            vectors.append(builder.load(pointer, align=alignment))
        found = []
        for k in range(WIDTH):
            memory = [builder.extract_element(v, ir.IntType(32)(k)) for v in vectors]
            parts = [cx.data_model_manager[t].from_data(builder, m) for t, m in zip(dtypes, memory, strict=True)]
            found.append(cx.make_tuple(builder, one, parts))
        return cx.make_tuple(builder, result, found)

    return result(arrays, types.int64), codegen


@_compiled(store_wide)
def _store_wide(context, arrays, i, four):
    def codegen(cx, builder, sig, values):
        first = builder.mul(values[1], ir.IntType(64)(WIDTH))
        addresses = _addresses(cx, builder, arrays, values[0], first)
        tuples = zip(four.types, cgutils.unpack_tuple(builder, values[2]), strict=True)
        given = [_parts(builder, t, v) for t, v in tuples]
        for n, (array, address) in enumerate(zip(arrays.types, addresses, strict=True)):
            pointer, alignment = _wide(cx, builder, address)
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for k in range(WIDTH):
                part = _to_memory(cx, builder, given[k][n], _types(four.types[k])[n], array.dtype)
                vector = builder.insert_element(vector, part, ir.IntType(32)(k))
            builder.store(vector, pointer, align=alignment)
        return cx.get_dummy_value()

    return types.void(arrays, types.int64, four), codegen


@_compiled(aligned)
def _aligned(context, arrays):
    def codegen(cx, builder, sig, values):
        bits = ir.IntType(64)(0)
        for address in _addresses(cx, builder, arrays, values[0], ir.IntType(64)(0)):
            bits = builder.or_(bits, builder.ptrtoint(address, ir.IntType(64)))
        return builder.icmp_unsigned("==", builder.and_(bits, ir.IntType(64)(ALIGNMENT - 1)), ir.IntType(64)(0))

    return types.boolean(arrays), codegen


@_compiled(repeat)
def _repeat(context, value, arrays):
    result = types.UniTuple(value, len(arrays))

    def codegen(cx, builder, sig, values):
        return cx.make_tuple(builder, result, [values[0]] * len(arrays))

    return result(value, arrays), codegen


@_compiled(add)
def _add(context, totals, value):
    def codegen(cx, builder, sig, values):
        before = cgutils.unpack_tuple(builder, values[0])
        parts = zip(_parts(builder, value, values[1]), _types(value), totals.types, strict=True)
        found = [cx.cast(builder, part, of, to) for part, of, to in parts]
        return cx.make_tuple(builder, totals, [builder.fadd(b, f) for b, f in zip(before, found, strict=True)])

    return totals(totals, value), codegen


@_compiled(strided)
def _strided(context, array, first, stride, like):
    result = types.UniTuple(array.dtype, len(like))

    def codegen(cx, builder, sig, values):
        data = cx.make_array(array)(cx, builder, values[0]).data
        found = []
        for k in range(len(like)):
            place = builder.add(values[1], builder.mul(values[2], ir.IntType(64)(k)))
            found.append(builder.load(builder.gep(data, [place], inbounds=True)))
        return cx.make_tuple(builder, result, found)

    return result(array, types.int64, types.int64, like), codegen


@_compiled(repeat_like)
def _repeat_like(context, array, like):
    result = types.UniTuple(array.dtype, len(like))

    def codegen(cx, builder, sig, values):
        zero = ir.Constant(cx.get_value_type(array.dtype), 0.0)
        return cx.make_tuple(builder, result, [zero] * len(like))

    return result(array, like), codegen


def _global_pointers(cx, builder, addresses, i, dtype):
    """Pointers into global memory: without the address space, loads and stores would have to find it out."""
    pointer = ir.PointerType(cx.get_data_type(dtype), addrspace=1)
    starts = [builder.inttoptr(a, pointer) for a in cgutils.unpack_tuple(builder, addresses)]
    return [builder.gep(start, [i], inbounds=True) for start in starts]


@_compiled(load_at)
def _load_at(context, addresses, i, like):
    result = types.UniTuple(like.dtype, len(addresses))

    def codegen(cx, builder, sig, values):
        found = [builder.load(p) for p in _global_pointers(cx, builder, values[0], values[1], like.dtype)]
        return cx.make_tuple(builder, result, found)

    return result(addresses, types.int64, like), codegen
