"""steps: all steps of one direction of a recurrent layer for some rows of a batch, products and gates in the cache.

The matrix is packed once, for all steps. Its bits are those of `matmul` and `gates`, a step after the other.
"""

from ..shapes import Steps
from .compile import function, kernel
from .matmul import DEPTH, PANELS, TALL, strips
from .pool import parallel, worth_threads
from .tile import aligned, pack_columns, pack_rows, tile_columns
from .vector import at, at_blocks, at_places, pick, pointers, vector_map

ROWS = 2 * TALL  # of a batch, of one task
assert DEPTH == Steps.DEPTH


def build(spec):
    """The kernel of a `Steps`: weight, bias, room, state, operands of the gates, and four numbers."""
    gates, backward = spec.gates, spec.backward
    fn, ins, arrays = gates.function, len(gates.inputs), len(gates.inputs + gates.outputs)
    of_gates, scalars = pick(range(4, 4 + arrays)), pick(range(4 + arrays, 4 + arrays + len(gates.scalars)))
    inputs, outputs, counts = pick(range(ins)), pick(range(ins, arrays)), gates.inputs + gates.outputs
    first_product = 4 + spec.places.index("p")
    product, kept = pick([first_product]), pick([4 + k for k in range(ins) if spec.places[k] in "ps"])
    placed = at_places("tbasyp", spec.places, counts)
    sources, targets = at_blocks(gates.inputs), at_blocks(gates.outputs)

    @function
    def panel(operands, columns, number):
        """The packed panel of that number: one after the other for each part of the inner index."""
        return at((aligned(operands[2]),), number * DEPTH * tile_columns(operands[2]))[0]

    @parallel
    def pack(columns, inner, operands, index):
        wide = tile_columns(operands[2])
        across = (columns + wide - 1) // wide
        start, first = index // across * DEPTH, index % across * wide
        depth, some, target = min(DEPTH, inner - start), min(wide, columns - first), panel(operands, columns, index)
        if backward:
            pack_rows(at((operands[0],), start * columns + first)[0], columns, depth, some, target, DEPTH * wide)
        else:
            pack_columns(at((operands[0],), first * inner + start)[0], inner, depth, some, target, DEPTH * wide)

    @function
    def multiply(columns, inner, operands, place, top, bottom):
        """product = state @ the packed matrix + bias, for some rows."""
        wide, state = tile_columns(operands[2]), at((operands[3],), place * inner)[0]
        across, room, bias = (columns + wide - 1) // wide, operands[2], operands[1]
        shape, given = (
            (bottom, columns, inner, False, False, True, False, False),
            (state, state, bias, product(operands)[0]),
        )
        for first in range(0, columns, PANELS * wide):
            some = min(PANELS * wide, columns - first)
            for start in range(0, inner, DEPTH):
                packed = panel(operands, columns, start // DEPTH * across + first // wide)
                depth = min(DEPTH, inner - start)
                strips(shape, given, top, bottom, first, some, start, depth, packed, room, bias)

    @function
    def apply(rows, width, t, before, moves, operands, top, bottom):
        """The gates of step t, for some rows."""
        after = 1 - before
        firsts = (t * rows, (t + before) * rows, (t + after) * rows, 0, t * moves * rows, 0)
        here = placed(of_gates(operands), firsts, width)
        for r in range(top, bottom):
            given, written = sources(inputs(here), r, width), targets(outputs(here), r, width)
            vector_map(fn, width, given, written, scalars(operands))

    @function
    def clear(operands, first, end):
        found = kept(operands)
        for array in found:
            for k in range(first, end):
                array[k] = 0

    @parallel
    def some_rows(shape, operands, index):
        rows, width, columns, inner, steps, before, moves, truncate = shape
        top, bottom = index * ROWS, min((index + 1) * ROWS, rows)
        for s in range(steps):
            if backward:
                t = s if before else steps - 1 - s
                apply(rows, width, t, before, moves, operands, top, bottom)
                if truncate > 0 and s + 1 < steps and (steps - 1 - s) % truncate == 0:
                    clear(operands, top * width, bottom * width)
                else:
                    multiply(columns, inner, operands, t * rows, top, bottom)
            else:
                t = steps - 1 - s if before else s
                multiply(columns, inner, operands, (t + before) * rows, top, bottom)
                apply(rows, width, t, before, moves, operands, top, bottom)

    @kernel(spec)
    def run(*arguments):
        rows, (high, width) = arguments[first_product].shape[0], arguments[0].shape
        columns, inner = (width, high) if backward else (high, width)
        operands = pointers(arguments)
        steps, before, moves, truncate = arguments[-4:]
        parts, wide = (inner + DEPTH - 1) // DEPTH, tile_columns(operands[2])
        across, tasks = (columns + wide - 1) // wide, (rows + ROWS - 1) // ROWS
        pack(worth_threads(parts * across, columns * inner), (columns, inner, operands))
        shape = rows, width, columns, inner, steps, before, moves, truncate
        some_rows(worth_threads(tasks, rows * columns * steps), (shape, operands))

    return run
