"""The innermost loops of a product of matrices: a tile of the result in registers, in vectors as wide as the machine's.

LLVM finds the vectors of a map by itself, but not these. An element of a product is one chain of fused multiply-adds in the
order of the inner index, so that its bits depend neither on the size of tiles nor on that of vectors.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .vector import LINE, prefer_512_bit, stack

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_ALIGN = {ir.FloatType(): _I32(4), ir.DoubleType(): _I32(8)}
VECTORS = 2  # vectors across a tile


def vector_bytes():
    """The machine's widest vectors."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return 64 if "+avx512f" in features else 32 if "+avx," in features else 16


def tile_rows():
    """Rows of a tile: with 8 of them, 16 of 32 vector registers are sums, which hide the latency; of 16 registers, 12."""
    return 6 if vector_bytes() == 32 else 8


def _lanes(cx, dtype):
    return vector_bytes() // cx.get_abi_sizeof(cx.get_data_type(dtype))


def _vector(element, lanes):
    return ir.VectorType(element, lanes)


def _intrinsic(builder, name, result, operands):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, operands), name)


def _suffix(vector):
    return f"v{vector.count}f{32 if vector.element == ir.FloatType() else 64}"


def _shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(_vector(_I32, len(order)), order))


def _splat(builder, value, lanes):
    vector = _vector(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return _shuffled(builder, first, ir.Constant(vector, ir.Undefined), [0] * lanes)


def _mask(builder, count, lanes):
    """Lanes below *count*."""
    numbers = ir.Constant(_vector(_I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, count, lanes))


def _load(builder, place, vector, mask):
    """The lanes of a vector at *place* that *mask* names, and 0 for the others, whose memory is not touched."""
    pointer = vector.as_pointer()
    load = _intrinsic(
        builder, f"llvm.masked.load.{_suffix(vector)}.p0{_suffix(vector)}", vector, [pointer, _I32, mask.type, vector]
    )
    zeros = ir.Constant(vector, [0.0] * vector.count)
    return builder.call(load, [builder.bitcast(place, pointer), _ALIGN[vector.element], mask, zeros])


def _store(builder, value, place, mask):
    vector = value.type
    pointer = vector.as_pointer()
    store = _intrinsic(
        builder,
        f"llvm.masked.store.{_suffix(vector)}.p0{_suffix(vector)}",
        ir.VoidType(),
        [vector, pointer, _I32, mask.type],
    )
    builder.call(store, [value, builder.bitcast(place, pointer), _ALIGN[vector.element], mask])


@intrinsic
def tile_columns(context, like):
    """Columns of a tile of the type that *like* points to."""

    def codegen(cx, builder, sig, values):
        return _I64(VECTORS * _lanes(cx, like.dtype))

    return types.intp(like), codegen


@intrinsic(prefer_literal=True)
def room(context, size, like):
    """Pointer to *size* (a constant) bytes of the stack, for elements of the type that *like* points to."""
    if not isinstance(size, types.IntegerLiteral):
        return None

    def codegen(cx, builder, sig, values):
        element = cx.get_data_type(like.dtype)
        return stack(builder, element, size.literal_value // cx.get_abi_sizeof(element))

    return like(size, like), codegen


@intrinsic(prefer_literal=True)
def tile_product(context, rows, a, a_row, a_step, panels, stride, depth, start, start_row, c, c_row, columns):
    """c[r, j] = start[r, j] + the sum over k < depth of a[r, k] b[k, j], for *rows* (a constant) rows and j < columns.

    a[r, k] is ``a[r * a_row + k * a_step]``, and so on; b are panels of `tile_columns` columns, *stride* apart, that `pack_rows`
    or `pack_columns` wrote.
    """
    if not isinstance(rows, types.IntegerLiteral):
        return None
    height, dtype, i = range(rows.literal_value), c.dtype, types.intp

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        _, a, a_row, a_step, panels, stride, depth, start, start_row, c, c_row, columns = values
        lanes = _lanes(cx, dtype)
        vector = _vector(c.type.pointee, lanes)
        lines = [builder.gep(a, [builder.mul(a_row, _I64(r))]) for r in height]
        offsets = [[builder.mul(x, _I64(r)) for x in (start_row, c_row)] for r in height]
        across = builder.udiv(builder.add(columns, _I64(VECTORS * lanes - 1)), _I64(VECTORS * lanes))
        with cgutils.for_range(builder, across, intp=_I64) as loop:
            first = builder.mul(loop.index, _I64(VECTORS * lanes))
            panel = builder.gep(panels, [builder.mul(loop.index, stride)])

            def emit(vectors):
                totals = _sums(builder, vector, lines, lambda k: builder.mul(k, a_step), panel, depth, vectors)
                for v in range(vectors):
                    column = builder.add(first, _I64(v * lanes))
                    mask = _mask(builder, builder.sub(columns, column), lanes)
                    for (of_start, of_c), found in zip(offsets, totals, strict=True):
                        base = _load(builder, builder.gep(start, [builder.add(of_start, column)]), vector, mask)
                        place = builder.gep(c, [builder.add(of_c, column)])
                        _store(builder, builder.fadd(base, found[v]), place, mask)

            with builder.if_else(builder.icmp_signed(">", builder.sub(columns, first), _I64(lanes))) as (wide, narrow):
                with wide:
                    emit(VECTORS)
                with narrow:
                    emit(1)
        return cx.get_dummy_value()

    return types.void(rows, a, i, i, panels, i, i, start, i, c, i, i), codegen


def _sums(builder, vector, lines, moved, panel, depth, vectors=VECTORS):
    """For each of *lines* (pointers, element k of which is *moved(k)* further on) the first *vectors* vectors of the sums

    of its products with the panel.
    """
    lanes, width = vector.count, range(vectors)
    fma = _intrinsic(builder, f"llvm.fma.{_suffix(vector)}", vector, [vector] * 3)
    zero = ir.Constant(vector, [0.0] * lanes)
    before, loop, after = builder.block, builder.append_basic_block("product"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", depth, _I64(0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    sums = [[builder.phi(vector) for _ in width] for _ in lines]
    row = builder.gep(panel, [builder.mul(k, _I64(VECTORS * lanes))])
    places = [builder.gep(row, [_I64(v * lanes)]) for v in width]
    factors = [_load_whole(builder, place, vector) for place in places]
    offset, added = moved(k), []
    for line, before_it in zip(lines, sums, strict=True):
        factor = _splat(builder, builder.load(builder.gep(line, [offset], inbounds=True)), lanes)
        added.append([builder.call(fma, [factor, factors[v], before_it[v]]) for v in width])
    following = builder.add(k, _I64(1), flags=["nsw"])
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    k.add_incoming(_I64(0), before)
    k.add_incoming(following, loop)
    builder.position_at_end(after)
    totals = [[builder.phi(vector) for _ in width] for _ in lines]
    for v in width:
        for phi, total, value in zip(sums, totals, added, strict=True):
            for x in (phi[v], total[v]):
                x.add_incoming(zero, before)
                x.add_incoming(value[v], loop)
    return totals


@intrinsic(prefer_literal=True)
def tile_of_places(context, rows, source, lines, steps, depth, panel, columns, start, start_row, out):
    """out[r, j] = start[r, j] + the sum over k < depth of source[lines[r] + steps[k]] b[k, j], for *rows* (a constant) rows.

    The panel, *start* and *out* are of `tile_columns` columns, of which only *columns* are wanted; *out* has rows one after
    the other, those of *start* are *start_row* apart. All lie at multiples of a vector.
    """
    if not isinstance(rows, types.IntegerLiteral):
        return None
    height, dtype, i = range(rows.literal_value), out.dtype, types.intp

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        _, source, lines, steps, depth, panel, columns, start, start_row, out = values
        lanes = _lanes(cx, dtype)
        vector = _vector(out.type.pointee, lanes)
        places = [builder.gep(source, [builder.load(builder.gep(lines, [_I64(r)]))]) for r in height]

        def emit(vectors):
            totals = _sums(
                builder, vector, places, lambda k: builder.load(builder.gep(steps, [k])), panel, depth, vectors
            )
            for r, found in zip(height, totals, strict=True):
                base = builder.gep(start, [builder.mul(start_row, _I64(r))])
                for v, total in enumerate(found):
                    before = _load_whole(builder, builder.gep(base, [_I64(v * lanes)]), vector)
                    place = builder.gep(out, [_I64((r * VECTORS + v) * lanes)])
                    _store_whole(builder, builder.fadd(before, total), place)

        with builder.if_else(builder.icmp_signed(">", columns, _I64(lanes))) as (wide, narrow):
            with wide:
                emit(VECTORS)
            with narrow:
                emit(1)
        return cx.get_dummy_value()

    table = types.CPointer(types.int64)
    return types.void(rows, source, table, table, i, panel, i, start, i, out), codegen


@intrinsic
def turn(context, source, source_row, rows, columns, target, target_row):
    """target[c * target_row + r] = source[r * source_row + c] for r < rows and c < columns: squares are turned in registers.

    The source has room for whole squares, at multiples of a vector.
    """

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        source, source_row, rows, columns, target, target_row = values
        lanes = _lanes(cx, target_type.dtype)
        vector = _vector(target.type.pointee, lanes)
        across, down = (builder.udiv(builder.add(x, _I64(lanes - 1)), _I64(lanes)) for x in (columns, rows))
        with cgutils.for_range(builder, across, intp=_I64) as j, cgutils.for_range(builder, down, intp=_I64) as i:
            column, first = builder.mul(j.index, _I64(lanes)), builder.mul(i.index, _I64(lanes))
            places = [builder.mul(builder.add(first, _I64(n)), source_row) for n in range(lanes)]
            found = [
                _load_whole(builder, builder.gep(source, [builder.add(place, column)]), vector) for place in places
            ]
            right, below = builder.sub(rows, first), builder.sub(columns, column)
            origin = builder.gep(target, [builder.add(builder.mul(column, target_row), first)])
            places = [builder.gep(origin, [builder.mul(target_row, _I64(n))]) for n in range(lanes)]
            is_whole = builder.and_(*(builder.icmp_signed(">=", left, _I64(lanes)) for left in (right, below)))
            with builder.if_else(is_whole) as (whole, part):
                with whole:  # as nearly always: no masks and no branches, with which it takes three times as long
                    for place, value in zip(places, _turned(builder, found), strict=True):
                        to = builder.bitcast(place, vector.as_pointer())
                        builder.store(value, to, align=_ALIGN[vector.element].constant)
                with part:
                    mask = _mask(builder, right, lanes)
                    for n, value in enumerate(_turned(builder, found)):
                        with builder.if_then(builder.icmp_signed("<", _I64(n), below)):
                            _store(builder, value, places[n], mask)
        return cx.get_dummy_value()

    target_type, i = target, types.intp
    return types.void(source, i, i, i, target, i), codegen


@intrinsic
def mirror(context, c, n, left, right):
    """c[j, i] = c[i, j] for i < j, of the columns *left* (a multiple of a vector) <= j < *right* of a matrix (n, n)."""
    i64 = types.intp

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        c, n, left, right = values
        lanes = _lanes(cx, sig.args[0].dtype)
        vector = _vector(c.type.pointee, lanes)
        align = _ALIGN[vector.element].constant

        def at(row, column):
            return builder.gep(c, [builder.add(builder.mul(row, n), column)])

        squares = builder.udiv(builder.add(builder.sub(right, left), _I64(lanes - 1)), _I64(lanes))
        with cgutils.for_range(builder, squares, intp=_I64) as across:
            column = builder.add(left, builder.mul(across.index, _I64(lanes)))
            down = builder.add(builder.udiv(column, _I64(lanes)), _I64(1))
            with cgutils.for_range(builder, down, intp=_I64) as along:
                row = builder.mul(along.index, _I64(lanes))
                columns = [builder.add(column, _I64(k)) for k in range(lanes)]
                rows = [builder.add(row, _I64(k)) for k in range(lanes)]
                is_inside = builder.icmp_signed("<=", builder.add(column, _I64(lanes)), right)
                is_whole = builder.and_(is_inside, builder.icmp_signed("<", row, column))
                with builder.if_else(is_whole) as (whole, part):
                    with whole:
                        lines = [builder.bitcast(at(i, column), vector.as_pointer()) for i in rows]
                        turned = _turned(builder, [builder.load(line, align=align) for line in lines])
                        for j, value in zip(columns, turned, strict=True):
                            builder.store(value, builder.bitcast(at(j, row), vector.as_pointer()), align=align)
                    with part:  # rows behind the last one are the first one instead, and their lanes are not stored
                        given = [builder.select(builder.icmp_signed("<", i, right), i, row) for i in rows]
                        mask = _mask(builder, builder.sub(right, column), lanes)
                        turned = _turned(builder, [_load(builder, at(i, column), vector, mask) for i in given])
                        for j, value in zip(columns, turned, strict=True):
                            with builder.if_then(builder.icmp_signed("<", j, right)):
                                _store(builder, value, at(j, row), _mask(builder, builder.sub(j, row), lanes))
        return cx.get_dummy_value()

    return types.void(c, i64, i64, i64), codegen


@intrinsic
def aligned(context, pointer):
    """The first multiple of a cache line at or behind *pointer*."""

    def codegen(cx, builder, sig, values):
        number = builder.ptrtoint(values[0], _I64)
        whole = builder.and_(builder.add(number, _I64(LINE - 1)), _I64(-LINE))
        return builder.inttoptr(whole, values[0].type)

    return pointer(pointer), codegen


@intrinsic(prefer_literal=True)
def pack_strips(context, rows, a, a_row, depth, strips, stride, count):
    """strips[s * stride + k * rows + r] = a[k * a_row + s * rows + r] for k < depth, s < count and r < rows, a constant."""
    if not isinstance(rows, types.IntegerLiteral):
        return None

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        height, a, a_row, depth, strips, stride, count = rows.literal_value, *values[1:]
        vector, align = ir.VectorType(a.type.pointee, height), _ALIGN[a.type.pointee].constant
        with cgutils.for_range(builder, depth, intp=_I64) as k:
            source = builder.gep(a, [builder.mul(k.index, a_row)])
            target = builder.gep(strips, [builder.mul(k.index, _I64(height))])
            with cgutils.for_range(builder, count, intp=_I64) as s:
                from_, to = builder.mul(s.index, _I64(height)), builder.mul(s.index, stride)
                places = [
                    builder.bitcast(builder.gep(p, [o]), vector.as_pointer())
                    for p, o in ((source, from_), (target, to))
                ]
                builder.store(builder.load(places[0], align=align), places[1], align=align)
        return cx.get_dummy_value()

    i = types.intp
    return types.void(rows, a, i, i, strips, i, i), codegen


def _packing(write):
    """The intrinsic (b, row, depth, columns, panels, stride): panel j // w has b[k, j] at k * w + j % w, with w `tile_columns`.

    All of a panel's columns are written, those from *columns* on as 0.
    """

    @intrinsic
    def pack(context, b, row, depth, columns, panels, stride):
        dtype, i = b.dtype, types.intp

        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            lanes = _lanes(cx, dtype)
            write(builder, _vector(values[0].type.pointee, lanes), *values)
            return cx.get_dummy_value()

        return types.void(b, i, i, i, panels, i), codegen

    return pack


def _write_rows(builder, vector, b, row, depth, columns, panels, stride):
    wide = VECTORS * vector.count
    across = builder.udiv(builder.add(columns, _I64(wide - 1)), _I64(wide))
    with cgutils.for_range(builder, depth, intp=_I64) as k:
        source = builder.gep(b, [builder.mul(k.index, row)])
        target = builder.gep(panels, [builder.mul(k.index, _I64(wide))])
        with cgutils.for_range(builder, across, intp=_I64) as panel:
            first, place = builder.mul(panel.index, _I64(wide)), builder.mul(panel.index, stride)
            for v in range(0, wide, vector.count):
                column = builder.add(first, _I64(v))
                mask = _mask(builder, builder.sub(columns, column), vector.count)
                value = _load(builder, builder.gep(source, [column]), vector, mask)
                _store_whole(builder, value, builder.gep(target, [builder.add(place, _I64(v))]))


def _write_columns(builder, vector, b, row, depth, columns, panels, stride):
    """b[k, j] lies at j * row + k: squares are turned in registers."""
    lanes, wide = vector.count, VECTORS * vector.count
    down = builder.udiv(builder.add(depth, _I64(lanes - 1)), _I64(lanes))
    across = builder.udiv(builder.add(columns, _I64(lanes - 1)), _I64(lanes))
    whole = builder.mul(builder.udiv(builder.add(across, _I64(VECTORS - 1)), _I64(VECTORS)), _I64(VECTORS))
    with cgutils.for_range(builder, whole, intp=_I64) as j, cgutils.for_range(builder, down, intp=_I64) as i:
        column, first = builder.mul(j.index, _I64(lanes)), builder.mul(i.index, _I64(lanes))
        left = builder.sub(depth, first)
        inside, lines = _mask(builder, left, lanes), []
        nothing = ir.Constant(inside.type, [0] * lanes)
        for n in range(lanes):
            place = builder.add(column, _I64(n))
            is_given = builder.icmp_signed("<", place, columns)
            # Lanes of no line are masked, and yet not behind the array: to find that a page is missing takes 0.2 us.
            line = builder.select(is_given, place, _I64(0))
            mask = builder.select(is_given, inside, nothing)
            lines.append(_load(builder, builder.gep(b, [builder.add(builder.mul(row, line), first)]), vector, mask))
        panel = builder.mul(builder.udiv(j.index, _I64(VECTORS)), stride)
        within = builder.mul(builder.urem(j.index, _I64(VECTORS)), _I64(lanes))
        target = builder.gep(panels, [builder.add(panel, within)])
        for n, value in enumerate(_turned(builder, lines)):
            with builder.if_then(builder.icmp_signed("<", _I64(n), left)):
                place = builder.mul(builder.add(first, _I64(n)), _I64(wide))
                _store_whole(builder, value, builder.gep(target, [place]))


def _load_whole(builder, place, vector):
    """*place* is aligned to a vector."""
    return builder.load(
        builder.bitcast(place, vector.as_pointer()), align=vector.count * _ALIGN[vector.element].constant
    )


def _store_whole(builder, value, place):
    """*place* is aligned to a vector."""
    vector = value.type
    builder.store(
        value, builder.bitcast(place, vector.as_pointer()), align=vector.count * _ALIGN[vector.element].constant
    )


pack_rows, pack_columns = _packing(_write_rows), _packing(_write_columns)


def _turned(builder, lines):
    """The columns of a square whose rows are *lines*: log2 rounds, each of which interleaves lines half the square apart."""
    lanes = len(lines)
    low = [x for k in range(lanes // 2) for x in (k, lanes + k)]
    high = [x + lanes // 2 for x in low]
    for _ in range(int(math.log2(lanes))):
        pairs = list(zip(lines[: lanes // 2], lines[lanes // 2 :], strict=True))
        lines = [_shuffled(builder, a, b, order) for a, b in pairs for order in (low, high)]
    return lines
