"""The one place that speaks LLVM: loops whose iterations are declared independent, reductions, streaming stores.

A loop written in Python vectorises only while its output cannot alias an input, so ``relu(x, out=x)`` would run
3 to 11 times slower than ``relu(x, out=y)`` (float32, in cache). The loops here are built with every load and
store marked as independent of other iterations (``llvm.loop.parallel_accesses``), which holds for an elementwise
operation in place, too. They also ask for 512-bit vectors, in the function that contains them and nowhere else.

Operands are tuples of pointers, which are cheap to pass around and to compile (a tuple of arrays costs Numba 0.1 s for
each function that touches it). `pointers` takes them from a kernel's arguments, which outlive the call; `at` moves
them; `scratch` points to memory on the stack. An int32 in place of a pointer counts: its element i is the integer
plus i.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)
LINE = 64  # bytes
INTERLEAVED = 4  # vectors of a map whose steps alternate, so that none waits for the one before it
LANES = BLOCK = (
    64  # sums that are added to side by side; elements of a block that is stored past the cache: whole lines
)
SUM_BLOCK = 1 << 12  # elements whose terms are added to each other before they are added to the rest


def prefer_512_bit(builder):
    set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's add() refuses string attributes


class _DistinctNode(ir.MDValue):
    """A metadata node that is equal to itself only, as loops and access groups have to be."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, module, operands=(), itself=False):
        super().__init__(module, operands, name=str(len(module.metadata)))
        if itself:
            self.operands = (self, *operands)

    def descr(self, buf):
        buf += ("distinct !{ " + ", ".join(o.get_reference() for o in self.operands) + " }", "\n")


def _independent_loop(builder, count, body, initial=(), interleaved=0):
    """for i in range(count): carried = body(i, mark, carried), each load and store passed to mark(); -> carried.

    So many vectors are *interleaved*; as many as LLVM thinks best if 0.
    """
    module = builder.module
    group = _DistinctNode(module)
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, _I64(0)), loop, after)
    builder.position_at_end(loop)
    i = builder.phi(_I64)
    i.add_incoming(_I64(0), before)
    carried = [builder.phi(value.type) for value in initial]
    for phi, value in zip(carried, initial, strict=True):
        phi.add_incoming(value, before)
    computed = body(i, lambda access: access.set_metadata("llvm.access.group", group), carried) or ()
    following = builder.add(i, _I64(1), flags=["nsw"])
    last = builder.block
    i.add_incoming(following, last)
    for phi, value in zip(carried, computed, strict=True):
        phi.add_incoming(value, last)
    latch = builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    parallel = module.add_metadata([ir.MetaDataString(module, "llvm.loop.parallel_accesses"), group])
    hints = [parallel]
    if interleaved:
        name = ir.MetaDataString(module, "llvm.loop.interleave.count")
        hints.append(module.add_metadata([name, ir.IntType(32)(interleaved)]))
    if interleaved == 1:  # a loop of 16 elements would be unrolled before it could become a vector
        hints.append(module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")]))
    latch.set_metadata("llvm.loop", _DistinctNode(module, hints, itself=True))
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in initial]
    for phi, value, start in zip(results, computed, initial, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, last)
    return results


# -- pointers --------------------------------------------------------------------------------------
@intrinsic
def pointers(context, arguments):
    """A kernel's arguments with a pointer to its first element for each array; the arrays are C-contiguous."""

    def is_array(t):
        return isinstance(t, types.Array)

    result = types.Tuple([types.CPointer(t.dtype) if is_array(t) else t for t in arguments.types])

    def codegen(cx, builder, sig, values):
        given = cgutils.unpack_tuple(builder, values[0])
        found = [
            cx.make_array(t)(cx, builder, v).data if is_array(t) else v
            for t, v in zip(arguments.types, given, strict=True)
        ]
        return cx.make_tuple(builder, result, found)

    return result(arguments), codegen


def pick(positions):
    """A compiled function: operands -> those at *positions* (a sequence of integers), as a tuple."""
    positions = tuple(positions)

    @intrinsic
    def picked(context, operands):
        result = types.Tuple([operands.types[k] for k in positions])

        def codegen(cx, builder, sig, values):
            return cx.make_tuple(builder, result, [builder.extract_value(values[0], k) for k in positions])

        return result(operands), codegen

    return picked


def _moved(builder, pointer, by):
    if isinstance(pointer.type, ir.IntType):
        return builder.add(pointer, builder.trunc(by, pointer.type))
    return builder.gep(pointer, [by], inbounds=True)


@intrinsic
def at(context, pointers, start):
    """Each pointer of a tuple, moved to element *start*."""

    def codegen(cx, builder, sig, values):
        moved = [_moved(builder, p, values[1]) for p in cgutils.unpack_tuple(builder, values[0])]
        return cx.make_tuple(builder, pointers, moved)

    return pointers(pointers, types.intp), codegen


def stack(builder, element, count):
    """Pointer to *count* elements of the stack, whose values are whatever was there (Numba's alloca_once writes zeros first)."""
    with builder.goto_entry_block():
        space = builder.alloca(ir.ArrayType(element, count))
    space.align = LINE
    return builder.bitcast(space, element.as_pointer())


def at_blocks(counts):
    """A compiled function (pointers, row, width) -> pointers to the blocks of *width* elements in that row of each.

    Operand k is a matrix with counts[k] blocks in a row.
    """
    counts = tuple(counts)

    @intrinsic
    def found(context, pointers, row, width):
        result = types.Tuple([p for p, count in zip(pointers.types, counts, strict=True) for _ in range(count)])

        def codegen(cx, builder, sig, values):
            blocks = []
            for pointer, count in zip(cgutils.unpack_tuple(builder, values[0]), counts, strict=True):
                first = builder.mul(values[1], _I64(count))
                places = [builder.mul(builder.add(first, _I64(b)), values[2]) for b in range(count)]
                blocks += [builder.gep(pointer, [place], inbounds=True) for place in places]
            return cx.make_tuple(builder, result, blocks)

        return result(pointers, types.intp, types.intp), codegen

    return found


def at_places(letters, places, counts):
    """A compiled function (pointers, rows, width) -> each pointer, moved to the row that its letter in *places* has in *rows*.

    *rows* are numbers, those of *letters*; operand k is a matrix with counts[k] blocks of *width* elements in a row.
    """

    @intrinsic
    def found(context, pointers, rows, width):
        def codegen(cx, builder, sig, values):
            given, numbers = (cgutils.unpack_tuple(builder, value) for value in values[:2])
            moved = []
            for pointer, letter, count in zip(given, places, counts, strict=True):
                row = builder.mul(numbers[letters.index(letter)], _I64(count))
                moved.append(builder.gep(pointer, [builder.mul(row, values[2])], inbounds=True))
            return cx.make_tuple(builder, pointers, moved)

        return pointers(pointers, rows, types.intp), codegen

    return found


@intrinsic(prefer_literal=True)
def scratch(context, count, like):
    """A tuple of one pointer to *count* (a constant) elements of the stack, of the type *like*, or of what *like* points to."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    dtype = like.dtype if isinstance(like, types.CPointer) else like.instance_type
    result = types.Tuple([types.CPointer(dtype)])

    def codegen(cx, builder, sig, values):
        space = stack(builder, cx.get_data_type(dtype), count.literal_value)
        return cx.make_tuple(builder, result, [space])

    return result(count, like), codegen


@intrinsic(prefer_literal=True)
def spread(context, pointer, count, stride):
    """(p,) -> (p, p + stride, ...), *count* (a constant) pointers to the rows of a matrix."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.Tuple([*pointer.types] * count.literal_value)

    def codegen(cx, builder, sig, values):
        start = builder.extract_value(values[0], 0)
        rows = [builder.gep(start, [builder.mul(values[2], _I64(k))]) for k in range(count.literal_value)]
        return cx.make_tuple(builder, result, rows)

    return result(pointer, count, types.intp), codegen


@intrinsic(prefer_literal=True)
def located(context, table, count, stride, like):
    """Pointers to elements of the type that (like,) points to, whose addresses are table[0], table[stride], ...

    *count* of them (a constant); *table* points to int64.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.Tuple([*like.types] * count.literal_value)

    def codegen(cx, builder, sig, values):
        pointer = cx.get_data_type(like.types[0].dtype).as_pointer()
        places = [builder.gep(values[0], [builder.mul(values[2], _I64(k))]) for k in range(count.literal_value)]
        return cx.make_tuple(builder, result, [builder.inttoptr(builder.load(place), pointer) for place in places])

    return result(table, count, types.intp, like), codegen


@intrinsic
def elements(context, pointers):
    """The values that a tuple of pointers points to."""
    result = types.Tuple([p.dtype for p in pointers.types])

    def codegen(cx, builder, sig, values):
        loaded = [builder.load(p) for p in cgutils.unpack_tuple(builder, values[0])]
        return cx.make_tuple(builder, result, loaded)

    return result(pointers), codegen


@intrinsic(prefer_literal=True)
def prefetch(context, pointers, start, count):
    """Ask for *count* (a constant) elements from element *start* of each pointer, which may lie behind the end of its array."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def codegen(cx, builder, sig, values):
        for pointer in cgutils.unpack_tuple(builder, values[0]):
            step = LINE // cx.get_abi_sizeof(pointer.type.pointee)
            for k in range(0, count.literal_value, step):
                _fetch(builder, builder.gep(pointer, [builder.add(values[1], _I64(k))]), 3)
        return cx.get_dummy_value()

    return types.void(pointers, types.intp, count), codegen


@intrinsic
def equal_sizes(context, arguments):
    """Whether all arrays among a kernel's arguments have the same number of elements."""

    def codegen(cx, builder, sig, values):
        given = zip(arguments.types, cgutils.unpack_tuple(builder, values[0]), strict=True)
        sizes = [cx.make_array(t)(cx, builder, v).nitems for t, v in given if isinstance(t, types.Array)]
        found = cgutils.true_bit
        for size in sizes[1:]:
            found = builder.and_(found, builder.icmp_signed("==", sizes[0], size))
        return found

    return types.boolean(arguments), codegen


@intrinsic
def overlap(context, sources, targets, count):
    """Whether *count* elements from a target overlap those of a source in part."""

    def codegen(cx, builder, sig, values):
        def ranges(pointers, tuple_type):
            for p, t in zip(cgutils.unpack_tuple(builder, pointers), tuple_type.types, strict=True):
                start = builder.ptrtoint(p, _I64)
                size = cx.get_abi_sizeof(cx.get_data_type(t.dtype))
                yield start, builder.add(start, builder.mul(values[2], _I64(size)))

        found, written = cgutils.false_bit, list(ranges(values[1], targets))
        for first, end in written:
            for other, other_end in ranges(values[0], sources):
                apart = builder.icmp_unsigned("!=", first, other)
                crossing = builder.and_(
                    builder.icmp_unsigned("<", first, other_end), builder.icmp_unsigned("<", other, end)
                )
                found = builder.or_(found, builder.and_(apart, crossing))
        return found

    return types.boolean(sources, targets, types.intp), codegen


@intrinsic
def any_equal(context, pointers, others):
    """Whether a pointer of one tuple equals one of the other: an operation in place."""

    def codegen(cx, builder, sig, values):
        first, second = ([builder.ptrtoint(p, _I64) for p in cgutils.unpack_tuple(builder, v)] for v in values)
        found = cgutils.false_bit
        for p in first:
            for q in second:
                found = builder.or_(found, builder.icmp_unsigned("==", p, q))
        return found

    return types.boolean(pointers, others), codegen


# -- loops -----------------------------------------------------------------------------------------
class _Element:
    """The code of one call of *fn* on element i of the *sources*, followed by *scalars*."""

    def __init__(self, context, fn, sources, scalars):
        fn = fn if isinstance(fn, types.Type) else context.resolve_value_type(fn)
        self.fn, self.pointee = fn, [getattr(p, "dtype", p) for p in sources.types]
        self.scalars = scalars.types
        self.signature = fn.get_call_type(context, (*self.pointee, *self.scalars), {})
        result = self.signature.return_type
        self.results = list(result.types) if isinstance(result, types.BaseTuple) else [result]
        self.single = not isinstance(result, types.BaseTuple)

    def load(self, cx, builder, sources, i, mark):
        loaded = []
        for pointer, dtype in zip(sources, self.pointee, strict=True):
            if isinstance(pointer.type, ir.IntType):
                loaded.append(_moved(builder, pointer, i))
                continue
            access = builder.load(builder.gep(pointer, [i], inbounds=True))
            mark(access)
            loaded.append(cx.data_model_manager[dtype].from_data(builder, access))
        return loaded

    def call(self, cx, builder, operands):
        *fixed, last = self.signature.args
        if isinstance(last, (types.StarArgTuple, types.StarArgUniTuple)):  # of a function of (x, *parameters)
            operands = [*operands[: len(fixed)], cx.make_tuple(builder, last, operands[len(fixed) :])]
        # Numba keeps this code for the next kernel of the same types, and the function's entry point with its type, which CUDA
        # shares: what was compiled last, for a GPU perhaps, would be called. So it is looked up again.
        self.fn.get_call_type(cx.typing_context, (*self.pointee, *self.scalars), {})
        value = cx.get_function(self.fn, self.signature)(builder, operands)
        return [value] if self.single else cgutils.unpack_tuple(builder, value)

    def store(self, cx, builder, values, targets, dtypes, i, mark, first=0):
        """Store *values*, which have the types of the results from *first* on."""
        results = self.results[first : first + len(values)]
        for value, of, pointer, dtype in zip(values, results, targets, dtypes, strict=True):
            cast = cx.data_model_manager[dtype].as_data(builder, cx.cast(builder, value, of, dtype))
            mark(builder.store(cast, builder.gep(pointer, [i], inbounds=True)))

    def loop(self, cx, builder, sources, scalars, targets, dtypes, count, interleaved=INTERLEAVED):
        def body(i, mark, carried):
            operands = self.load(cx, builder, sources, i, mark) + scalars
            self.store(cx, builder, self.call(cx, builder, operands), targets, dtypes, i, mark)

        _independent_loop(builder, count, body, interleaved=interleaved)


@intrinsic
def vector_map(context, fn, count, sources, targets, scalars):
    """for i in range(count): (targets[0][i], ...) = fn(sources[0][i], ..., *scalars)."""
    element = _Element(context, fn, sources, scalars)

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        from_, to, parameters = (cgutils.unpack_tuple(builder, v) for v in values[2:])
        element.loop(cx, builder, from_, parameters, to, [p.dtype for p in targets.types], values[1])
        return cx.get_dummy_value()

    return types.void(fn, types.intp, sources, targets, scalars), codegen


def _map_and_accumulate(join):
    """The intrinsic (fn, count, sources, targets, totals, scalars) that for each of *count* elements joins terms to totals:

    (targets[0][i], ..., *terms) = fn(sources[0][i], ..., *scalars); totals[k][i] = join(totals[k][i], terms[k]).
    """

    @intrinsic
    def accumulate(context, fn, count, sources, targets, totals, scalars):
        element = _Element(context, fn, sources, scalars)
        dtypes, total_dtypes = ([p.dtype for p in pointers.types] for pointers in (targets, totals))

        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            from_, to, kept, parameters = (cgutils.unpack_tuple(builder, v) for v in values[2:])

            def body(i, mark, carried):
                found = element.call(cx, builder, element.load(cx, builder, from_, i, mark) + parameters)
                before = [builder.load(builder.gep(p, [i], inbounds=True)) for p in kept]
                for access in before:
                    mark(access)
                joined = [join(builder, b, f) for b, f in zip(before, found[len(to) :], strict=True)]
                element.store(cx, builder, found[: len(to)], to, dtypes, i, mark)
                element.store(cx, builder, joined, kept, total_dtypes, i, mark, first=len(to))

            _independent_loop(builder, values[1], body)
            return cx.get_dummy_value()

        return types.void(fn, types.intp, sources, targets, totals, scalars), codegen

    return accumulate


def _maximum(builder, a, b):
    """IEEE 754-2019's: NaN wins."""
    signature = ir.FunctionType(a.type, [a.type] * 2)
    return builder.call(builder.module.declare_intrinsic("llvm.maximum", [a.type], signature), [a, b])


def _sum(builder, total, term):
    return builder.fadd(total, term)


def _greater(builder, total, term):
    """The larger one of two that are no NaN: one instruction, where `_maximum` takes five."""
    return builder.select(builder.fcmp_ordered(">", term, total), term, total)


vector_map_accumulate, vector_map_largest = map(_map_and_accumulate, (_sum, _greater))


def _rows_and_accumulate(join):
    """The intrinsic (fn, rows, count, stride, sources, shared, targets, totals, scalars) that is `_map_and_accumulate`'s of

    *rows* (a constant) rows at once, *stride* apart, which share the sources *shared*: for i in range(count): (targets[0][row *
    stride + i], ..., *terms) = fn(sources[0][row * stride + i], ..., shared[0][i], ..., *scalars). The rows' terms are joined
    to each other two by two, and then to totals[k][i]: totals are loaded and stored once for all rows.
    """

    @intrinsic(prefer_literal=True)
    def accumulate(context, fn, rows, count, stride, sources, shared, targets, totals, scalars):
        if not isinstance(rows, types.IntegerLiteral):
            return None
        element = _Element(context, fn, types.Tuple([*sources.types, *shared.types]), scalars)
        dtypes, total_dtypes = ([p.dtype for p in pointers.types] for pointers in (targets, totals))

        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            from_, beside, to, kept, parameters = (cgutils.unpack_tuple(builder, v) for v in values[4:])
            of_row = _rows_apart(builder, rows.literal_value, values[3], from_, to)

            def body(i, mark, carried):
                found = [
                    element.call(cx, builder, element.load(cx, builder, [*row, *beside], i, mark) + parameters)
                    for row, _ in of_row
                ]
                for values, (_, out) in zip(found, of_row, strict=True):
                    element.store(cx, builder, values[: len(to)], out, dtypes, i, mark)
                terms = [values[len(to) :] for values in found]
                while len(terms) > 1:
                    pairs = [
                        [join(builder, a, b) for a, b in zip(*two, strict=True)]
                        for two in zip(terms[::2], terms[1::2], strict=False)
                    ]
                    terms = pairs + terms[len(pairs) * 2 :]
                before = [builder.load(builder.gep(p, [i], inbounds=True)) for p in kept]
                for access in before:
                    mark(access)
                joined = [join(builder, b, f) for b, f in zip(before, terms[0], strict=True)]
                element.store(cx, builder, joined, kept, total_dtypes, i, mark, first=len(to))

            _independent_loop(builder, values[2], body)
            return cx.get_dummy_value()

        return types.void(fn, rows, types.intp, types.intp, sources, shared, targets, totals, scalars), codegen

    return accumulate


def _rows_apart(builder, rows, stride, sources, targets):
    """(sources, targets) of each of so many rows."""
    offsets = [builder.mul(stride, _I64(r)) for r in range(rows)]
    return [([_moved(builder, p, o) for p in sources], [_moved(builder, p, o) for p in targets]) for o in offsets]


vector_rows_accumulate, vector_rows_largest = map(_rows_and_accumulate, (_sum, _greater))


@intrinsic(prefer_literal=True)
def vector_rows_map(context, fn, rows, count, stride, sources, shared, targets, scalars):
    """`vector_map` of *rows* (a constant) rows at once, *stride* apart: what they share is loaded once for all of them."""
    if not isinstance(rows, types.IntegerLiteral):
        return None
    element = _Element(context, fn, types.Tuple([*sources.types, *shared.types]), scalars)
    dtypes = [p.dtype for p in targets.types]

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        from_, beside, to, parameters = (cgutils.unpack_tuple(builder, v) for v in values[4:])
        of_row = _rows_apart(builder, rows.literal_value, values[3], from_, to)

        def body(i, mark, carried):
            found = [
                element.call(cx, builder, element.load(cx, builder, [*row, *beside], i, mark) + parameters)
                for row, _ in of_row
            ]
            for terms, (_, out) in zip(found, of_row, strict=True):
                element.store(cx, builder, terms, out, dtypes, i, mark)

        _independent_loop(builder, values[2], body)
        return cx.get_dummy_value()

    return types.void(fn, rows, types.intp, types.intp, sources, shared, targets, scalars), codegen


class _Reduction:
    """The code that combines fn(sources[0][i], ..., *scalars) over i: the sum, "max" or "top" of each value of fn.

    The first *outputs* values are not combined, but stored. "label" takes the values of one element alone.

    Element i of a block of a sum is added to lane i % LANES, and lanes are added to each other two by two: an order that is
    written down, which no compiler changes (what it was free to re-associate had other bits in the process that compiled it
    than in those that loaded it), and which is the same for vectors of any width. "max" is IEEE 754-2019's maximum: NaN wins.
    "top" takes half its instructions, and compares floats by their bits, as integers: a NaN wins or loses, by its sign.
    """

    def __init__(self, context, combine, fn, sources, scalars, outputs=0, past=False):
        self.element, self.combine, self.outputs = _Element(context, fn, sources, scalars), combine, outputs
        self.past = past  # whether the one output of a sum is stored past the cache
        self.types = self.element.results[outputs:]

    def emit(self, cx, builder, count, sources, scalars, kept=(), kept_types=()):
        """-> totals; *kept* are pointers to where the first values of each element are stored, combined or not."""
        if self.combine == "label":
            return self._at_label(cx, builder, count, sources, scalars)
        start = 0.0 if self.combine == "sum" else float("-inf")
        initial = [self._keyed(builder, ir.Constant(cx.get_value_type(t), start)) for t in self.types]
        totals = [cgutils.alloca_once_value(builder, value) for value in initial]
        for slot, value in zip(totals, initial, strict=True):
            builder.store(value, slot)
        block = self._sums if self.combine == "sum" else self._largest
        blocks = builder.sdiv(builder.add(count, _I64(SUM_BLOCK - 1)), _I64(SUM_BLOCK))
        with cgutils.for_range(builder, blocks, intp=_I64) as loop:
            first = builder.mul(loop.index, _I64(SUM_BLOCK))
            left = builder.sub(count, first)
            size = builder.select(builder.icmp_signed("<", left, _I64(SUM_BLOCK)), left, _I64(SUM_BLOCK))
            moved = [_moved(builder, p, first) for p in sources]
            targets = [_moved(builder, p, first) for p in kept]
            found = block(cx, builder, size, moved, scalars, targets, kept_types, initial)
            for slot, value in zip(totals, found, strict=True):
                builder.store(self._join(builder, builder.load(slot), value), slot)
        found = [builder.load(slot) for slot in totals]
        if self.combine != "top":
            return found
        types_of = zip(found, self.types, strict=True)
        return [builder.bitcast(_ordered(builder, k), cx.get_value_type(t)) for k, t in types_of]

    def _at_label(self, cx, builder, count, sources, scalars):
        """The value at the column that the last source, the distance from it, tells; 0 if it is none."""
        label = builder.sext(builder.neg(sources[-1]), _I64)
        there = builder.icmp_unsigned("<", label, count)
        place = builder.select(there, label, _I64(0))
        found = self.element.call(
            cx, builder, self.element.load(cx, builder, sources, place, lambda access: None) + scalars
        )
        return [builder.select(there, value, ir.Constant(value.type, 0.0)) for value in found]

    def _largest(self, cx, builder, count, sources, scalars, kept, kept_types, initial):

        def body(i, mark, totals):
            found = self.element.call(cx, builder, self.element.load(cx, builder, sources, i, mark) + scalars)
            self.element.store(cx, builder, found[: len(kept)], kept, kept_types, i, mark)
            values = [self._keyed(builder, v) for v in found[self.outputs :]]
            return [self._join(builder, t, v) for t, v in zip(totals, values, strict=True)]

        return _independent_loop(builder, count, body, initial)

    def _sums(self, cx, builder, count, sources, scalars, kept, kept_types, initial):
        lanes, head = [stack(builder, zero.type, 2 * LANES) for zero in initial], _I64(0)

        def clear(i, mark, carried):
            for lane, zero in zip(lanes, initial, strict=True):
                mark(builder.store(zero, builder.gep(lane, [i], inbounds=True)))

        def add(first, size, targets, lane=None):
            moved, totals = (
                [_moved(builder, p, by) for p in ps] for ps, by in ((sources, first), (lanes, lane or _I64(0)))
            )

            def body(i, mark, carried):
                found = self.element.call(cx, builder, self.element.load(cx, builder, moved, i, mark) + scalars)
                self.element.store(cx, builder, found[: len(kept)], targets, kept_types, i, mark)
                for total, value in zip(totals, found[self.outputs :], strict=True):
                    place = builder.gep(total, [i], inbounds=True)
                    before = builder.load(place)
                    mark(before)
                    mark(builder.store(builder.fadd(before, value), place))

            _independent_loop(builder, size, body, interleaved=INTERLEAVED)

        _independent_loop(builder, _I64(LANES), clear)
        if (
            self.past
        ):  # element e > head is added to the place of lane e - head: so each lane has its own terms, in order
            head, space = _before_line(builder, kept[0], count), stack(builder, kept[0].type.pointee, LANES)
            add(_I64(0), head, kept, builder.sub(_I64(LANES), head))
        whole = builder.sdiv(builder.sub(count, head), _I64(LANES))
        with cgutils.for_range(builder, whole, intp=_I64) as loop:
            first = builder.add(head, builder.mul(loop.index, _I64(LANES)))
            targets = [_moved(builder, p, first) for p in kept]
            add(first, _I64(LANES), [space] if self.past else targets)
            if self.past:
                _store_past_cache(builder, space, *targets)
        done = builder.add(head, builder.mul(whole, _I64(LANES)))
        add(done, builder.sub(count, done), [_moved(builder, p, done) for p in kept])
        return [_folded(builder, lane, head if self.past else None) for lane in lanes]

    def _keyed(self, builder, value):
        """What *value* is combined as: itself, or an integer."""
        if self.combine != "top":
            return value
        return _ordered(builder, builder.bitcast(value, ir.IntType(64 if value.type == ir.DoubleType() else 32)))

    def _join(self, builder, total, value):
        if self.combine == "sum":
            return builder.fadd(total, value)
        if self.combine == "max":
            return _maximum(builder, total, value)
        return builder.select(builder.icmp_signed(">", value, total), value, total)


def _folded(builder, lanes, head=None):
    """The sum of *lanes*, added two by two: the first half to the second, until one is left.

    They have room for twice as many. If lane k lies at place k - head, or LANES more if that is none, they are turned.
    """
    space = ir.VectorType(lanes.type.pointee, LANES).as_pointer()
    value, width = builder.load(builder.bitcast(lanes, space), align=LINE), LANES // 2
    if head is not None:
        builder.store(value, builder.bitcast(_moved(builder, lanes, _I64(LANES)), space), align=LINE)
        first = builder.and_(builder.sub(_I64(0), head), _I64(LANES - 1))
        value = builder.load(builder.bitcast(_moved(builder, lanes, first), space), align=4)
    while width:
        halves = (
            builder.shuffle_vector(
                value, ir.Constant(value.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), width), [*range(first, first + width)]),
            )
            for first in (0, width)
        )  # fmt: skip
        value, width = builder.fadd(*halves), width // 2
    return builder.extract_element(value, ir.IntType(32)(0))


def _ordered(builder, bits):
    """The bits of a float as an integer that is larger for a larger float; its own inverse."""
    width = bits.type.width
    all_but_sign = builder.lshr(
        builder.ashr(bits, bits.type(width - 1)), bits.type(1)
    )  # of negative floats, otherwise 0
    return builder.xor(bits, all_but_sign)


def _map_and_combine(combine, past=False):
    """The intrinsic (fn, count, sources, targets, scalars) -> the sum, or the maximum, of each term."""

    @intrinsic
    def combined(context, fn, count, sources, targets, scalars):
        plan = _Reduction(context, combine, fn, sources, scalars, len(targets.types), past)
        result = types.Tuple(plan.types)

        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            from_, to, parameters = (cgutils.unpack_tuple(builder, v) for v in values[2:])
            found = plan.emit(cx, builder, values[1], from_, parameters, to, [p.dtype for p in targets.types])
            return cx.make_tuple(builder, result, found)

        return result(fn, types.intp, sources, targets, scalars), codegen

    return combined


# for i in range(count): (targets[0][i], ..., *terms) = fn(sources[0][i], ..., *scalars); -> the sum (maximum) of each term
vector_map_sum, vector_map_max, vector_map_top = map(_map_and_combine, ("sum", "max", "top"))
# `vector_map_sum` for one output that goes past the cache, as that of `stream_map`; the sums have the same bits
stream_map_sum = _map_and_combine("sum", past=True)


def reduce_stages(stages):
    """A compiled function that runs `numbadl.kernels.shapes.Stage` declarations one after the other.

    (count, sources, targets) -> (results, sources): a stage's function takes the results before it as scalars; after
    a stage with *keep*, the target stands in place of the first source.
    """

    @intrinsic
    def run(context, count, sources, targets):
        plans, results, seen = [], (), sources
        for stage in stages:
            plan = _Reduction(context, stage.combine, stage.function, seen, types.Tuple(results))
            plans.append((stage, plan))
            results += tuple(plan.types)
            if stage.keep:
                seen = types.Tuple([targets.types[0], *seen.types[1:]])
        result = types.Tuple([types.Tuple(results), seen])

        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            from_, to = (cgutils.unpack_tuple(builder, v) for v in values[1:])
            found, kept_types = [], [p.dtype for p in targets.types]
            for stage, plan in plans:
                kept = to[:1] if stage.keep else ()
                found += plan.emit(cx, builder, values[0], from_, list(found), kept, kept_types[: len(kept)])
                if stage.keep:
                    from_ = [to[0], *from_[1:]]
            parts = [cx.make_tuple(builder, result.types[0], found), cx.make_tuple(builder, seen, from_)]
            return cx.make_tuple(builder, result, parts)

        return result(types.intp, sources, targets), codegen

    return run


# -- stores past the cache ---------------------------------------------------------------------------
# An output that should not displace the cache is stored in whole lines, by non-temporal 512-bit stores; lines that two calls
# share are collected on the stack. A plain store in each row, and be it masked and of nothing, costs more than its line: the
# processor reads it, and those behind it, too. Rows of 1024 took 1.2 times as long where neighbours' lines were stored plainly
# in two parts, and twice as long with three more lines.
# Such stores are not ordered with others: the end of a task (`numbadl.kernels.cpu.pool`) waits for them.
@intrinsic
def stream_map(context, fn, count, sources, targets, scalars):
    """`vector_map` for large outputs, past the cache; an element's value depends on no other, so the bits are the same.

    Several outputs have one dtype, and begin at the same place in a line (`in_step`).
    """
    element = _Element(context, fn, sources, scalars)
    dtypes = [p.dtype for p in targets.types]

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        from_, to, parameters = (cgutils.unpack_tuple(builder, v) for v in values[2:])
        lines = [stack(builder, target.type.pointee, BLOCK) for target in to]
        begun = _stream(cx, builder, element, values[1], from_, parameters, to, dtypes, lines, cgutils.false_bit)
        for target, line in zip(to, lines, strict=True):
            _end_stream(cx, builder, builder.gep(target, [values[1]]), line, begun)
        return cx.get_dummy_value()

    return types.void(fn, types.intp, sources, targets, scalars), codegen


@intrinsic
def stream_on(context, fn, count, sources, targets, scalars, following, line, begun):
    """`stream_map` of one piece of an output after the other -> whether *line* was begun, which the next one is told.

    *line* is scratch of BLOCK elements; what lies there at last is for `end_stream`. Behind each block of elements as many are
    fetched into L2 from each pointer in *following*, to be read soon.
    """
    element = _Element(context, fn, sources, scalars)
    dtypes = [p.dtype for p in targets.types]

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        from_, to, parameters, soon, lines = (cgutils.unpack_tuple(builder, v) for v in values[2:7])
        return _stream(cx, builder, element, values[1], from_, parameters, to, dtypes, lines, values[7], soon)

    return types.boolean(fn, types.intp, sources, targets, scalars, following, line, types.boolean), codegen


@intrinsic
def end_stream(context, targets, line, begun):
    """Store what `stream_on` has left in *line*: what lies in front of *targets*, one pointer, if *begun*."""

    def codegen(cx, builder, sig, values):
        prefer_512_bit(builder)
        (target,), (space,) = (cgutils.unpack_tuple(builder, v) for v in values[:2])
        _end_stream(cx, builder, target, space, values[2])
        return cx.get_dummy_value()

    return types.void(targets, line, types.boolean), codegen


def _stream(cx, builder, element, count, sources, scalars, targets, dtypes, lines, begun, following=()):
    """The code of `stream_on`. LLVM does not widen non-temporal stores, so blocks are computed on the stack, in L1."""
    lanes, spaces = LINE // _bytes(targets[0]), [stack(builder, p.type.pointee, BLOCK) for p in targets]
    place, head = _place_in_line(builder, targets[0]), _before_line(builder, targets[0], count)

    def run(first, count, to, interleaved=1):
        moved = [_moved(builder, p, first) for p in sources]
        element.loop(cx, builder, moved, scalars, to, dtypes, count, interleaved)

    def whole(first, block, interleaved):
        """Blocks from *first* on -> where the next one would begin."""
        blocks = builder.sdiv(builder.sub(count, first), _I64(block))
        with cgutils.for_range(builder, blocks, intp=_I64) as loop:
            start = builder.add(first, builder.mul(loop.index, _I64(block)))
            run(start, _I64(block), spaces, interleaved)
            for space, target in zip(spaces, targets, strict=True):
                _store_past_cache(builder, space, builder.gep(target, [start], inbounds=True), block)
            for pointer in following:
                for k in range(0, block, lanes):
                    _fetch(builder, builder.gep(pointer, [builder.add(start, _I64(k))]))
        return builder.add(first, builder.mul(blocks, _I64(block)))

    run(_I64(0), head, [builder.gep(line, [place]) for line in lines])
    with builder.if_then(builder.icmp_signed(">", head, _I64(0))), builder.if_else(begun) as (then, otherwise):
        with then, builder.if_then(builder.icmp_signed("==", builder.add(place, head), _I64(lanes))):
            for line, target in zip(lines, targets, strict=True):
                _store_past_cache(builder, line, builder.gep(target, [builder.sub(_I64(0), place)]), lanes)
        with otherwise:
            for line, target in zip(lines, targets, strict=True):
                cgutils.raw_memcpy(builder, target, builder.gep(line, [place]), head, _bytes(target))
    done = whole(whole(head, BLOCK, INTERLEAVED), lanes, 1)
    tail = builder.and_(builder.sub(count, done), _I64(lanes - 1))
    run(done, tail, lines)
    return builder.or_(builder.icmp_signed(">", tail, _I64(0)), begun)


def _end_stream(cx, builder, target, line, begun):
    with builder.if_then(begun):
        place = _place_in_line(builder, target)
        cgutils.raw_memcpy(builder, builder.gep(target, [builder.neg(place)]), line, place, _bytes(target))


@intrinsic
def past_line(context, pointers):
    """How many elements lie between the last line of the cache that begins and the first of *pointers*."""
    return types.intp(pointers), lambda cx, builder, sig, args: _place_in_line(
        builder, builder.extract_value(args[0], 0)
    )


@intrinsic
def before_line(context, pointers):
    """How many elements lie before the next line of the cache that begins, from the first of *pointers* on."""
    return types.intp(pointers), lambda cx, builder, sig, args: _left_of_line(
        builder, builder.extract_value(args[0], 0)
    )


@intrinsic
def in_step(context, pointers):
    """Whether all *pointers* have the same place in a line, so that lines of one output are those of the others."""

    def codegen(cx, builder, sig, values):
        first, *others = (_place_in_line(builder, p) for p in cgutils.unpack_tuple(builder, values[0]))
        found = cgutils.true_bit
        for place in others:
            found = builder.and_(found, builder.icmp_unsigned("==", first, place))
        return found

    return types.boolean(pointers), codegen


def _place_in_line(builder, pointer):
    """How many elements of a line lie in front of the one that *pointer* points to."""
    address = builder.and_(builder.ptrtoint(pointer, _I64), _I64(LINE - 1))
    return builder.udiv(address, _I64(_bytes(pointer)))


def _left_of_line(builder, target):
    return builder.and_(builder.neg(_place_in_line(builder, target)), _I64(LINE // _bytes(target) - 1))


def _before_line(builder, target, count):
    """How many of *count* elements lie before the first that begins a line."""
    head = _left_of_line(builder, target)
    return builder.select(builder.icmp_signed("<", head, count), head, count)


def _bytes(pointer):
    return 8 if pointer.type.pointee == ir.DoubleType() else 4


def _fetch(builder, pointer, locality=2):
    """Have a line read into L2, or into L1 with a *locality* of 3."""
    address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    signature = ir.FunctionType(ir.VoidType(), [address, number, number, number])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [address], signature)
    builder.call(fetch, [builder.bitcast(pointer, address), number(0), number(locality), number(1)])


def _store_past_cache(builder, source, target, count=BLOCK):
    """Copy *count* elements with non-temporal stores; *target* is aligned to a line, and they fill whole ones."""
    lanes = LINE // _bytes(target)
    vector = ir.VectorType(source.type.pointee, lanes).as_pointer()
    hint = builder.module.add_metadata([ir.IntType(32)(1)])
    for k in range(0, count, lanes):
        value = builder.load(builder.bitcast(builder.gep(source, [_I64(k)]), vector), align=LINE)
        store = builder.store(value, builder.bitcast(builder.gep(target, [_I64(k)]), vector), align=LINE)
        store.set_metadata("nontemporal", hint)
