"""matmul: tiles of the result in registers, from panels of b that are packed into the cache.

The inner index is taken DEPTH at a time: each part's sum is one chain of multiply-adds in order, and the parts are added in
order. So the bits follow from the operands alone, whatever the tiles and the threads, and however the operands lie.

Of a symmetric result the tiles on and above the diagonal are computed, by columns, and what lies below is copied from there.
"""

from .compile import function, kernel
from .pool import parallel
from .tile import (
    VECTORS,
    mirror,
    pack_columns,
    pack_rows,
    pack_strips,
    room,
    tile_columns,
    tile_product,
    tile_rows,
    vector_bytes,
)
from .vector import at, pointers

DEPTH = 256  # of the inner index at a time: some rows of a stay in L1
PANELS = 8  # of b at a time, which stay in L2
PANEL_BYTES = 1 << 18  # of the stack for these panels
ROW_BYTES = 3 << 15  # of the stack for rows of a, where they are packed, too
TASK = 1 << 21  # multiply-adds of a task, at least: some 50 us, against 2 us for starting the threads
FEW = (
    1 << 21
)  # multiply-adds that are two tasks; where half as many were, steps of small networks took as long, or up to twice
PACKING = 15  # rows that would take as long as packing b takes
TASKS = 64  # at most
WORTH_PACKING = 128  # rows of a task, where there are as many: packing takes a twentieth of it
NARROW = 32  # rows or columns of one of two tasks; fewer columns take as long
TALL = tile_rows()
BYTES = vector_bytes()
ZERO_BYTES = PANELS * VECTORS * BYTES  # a row of zeros


@function
def task_shape(m, n, k, transpose_a):
    """Rows and columns of a task. To split columns packs no part of b twice, but rows of a, where those are packed.

    Small products are two tasks, too, for one core would be idle: to pack something twice costs less.
    """
    work = (m + PACKING) * max(n, NARROW) * k
    tasks = min(max(work // TASK, 2 if work >= FEW else 1), TASKS)
    rows, columns, low, narrow = 1, 1, NARROW, NARROW
    while 2 * rows * columns <= tasks:
        if rows * columns > 1:
            low, narrow = WORTH_PACKING, 2 * WORTH_PACKING if transpose_a else WORTH_PACKING // 2
        high, wide = m // rows >= 2 * low, n // columns >= 2 * narrow
        if high and (m // rows >= n // columns or not wide):
            rows *= 2
        elif wide:
            columns *= 2
        else:
            break
    height, width = (m + rows - 1) // rows, (n + columns - 1) // columns
    return (height + TALL - 1) // TALL * TALL, (width + 31) // 32 * 32


@function
def symmetric_width(n, k):
    """Columns of each of the two parts of a symmetric result that are a task: one from the left and one from the right."""
    work = n * n * k // 2
    tasks = min(max(work // TASK, 2 if work >= FEW else 1), TASKS)
    narrow = NARROW if n < 4 * WORTH_PACKING else WORTH_PACKING // 2
    return max(((n + 2 * tasks - 1) // (2 * tasks) + 31) // 32 * 32, narrow)


@function
def strips(shape, operands, top, bottom, left, columns, start, depth, panels, packed, zeros):
    """Add the panels' part to the rows from *top* to below *bottom* of the result; *packed* is room for rows of a."""
    m, n, k, transposed, _, has_bias, is_turned, is_symmetric = shape
    a, _, bias, c = operands
    wide = DEPTH * tile_columns(c)
    whole = (bottom - top) // TALL
    if transposed:
        pack_strips(TALL, at((a,), start * m + top)[0], m, depth, packed, DEPTH * TALL, whole)
    done = 0
    while top < bottom:
        rows = TALL if done < whole else 4 if bottom - top >= 4 else 2 if bottom - top >= 2 else 1
        line, row, step = at((a,), start * m + top if transposed else top * k + start)[0], k, 1
        if transposed:
            row, step = 1, m
            if rows == TALL:
                line, step = at((packed,), done * DEPTH * TALL)[0], TALL
        below = (top - left) // tile_columns(c) * tile_columns(c) if is_symmetric and top > left else 0  # the diagonal
        first, count = left + below, columns - below
        out, given = at((c,), top * n + first)[0], at((panels,), below * DEPTH)[0]
        base, base_row = zeros, 0
        if start:
            base, base_row = out, n
        elif has_bias and not is_turned:
            base = at((bias,), first)[0]
        if rows == TALL:
            tile_product(TALL, line, row, step, given, wide, depth, base, base_row, out, n, count)
        elif rows == 4:
            tile_product(4, line, row, step, given, wide, depth, base, base_row, out, n, count)
        elif rows == 2:
            tile_product(2, line, row, step, given, wide, depth, base, base_row, out, n, count)
        else:
            tile_product(1, line, row, step, given, wide, depth, base, base_row, out, n, count)
        top += rows
        done += 1


@function
def block(shape, operands, top, bottom, left, right):
    """Compute these rows and columns of the result; of a symmetric one what lies on and above the diagonal."""
    _, n, k, _, transposed, has_bias, is_turned, is_symmetric = shape
    b, c = operands[1], operands[3]
    panels, packed, zeros = room(PANEL_BYTES, c), room(ROW_BYTES, c), room(ZERO_BYTES, c)
    wide = tile_columns(c)
    rows = ROW_BYTES // DEPTH * wide // (VECTORS * BYTES)  # at a time: as many elements as the room has
    for j in range(PANELS * wide):
        zeros[j] = operands[2][0] if has_bias and is_turned else 0
    for first in range(left, right, PANELS * wide):
        columns = min(PANELS * wide, right - first)
        end = min(bottom, first + columns) if is_symmetric else bottom
        for start in range(0, max(k, 1), DEPTH):
            depth = min(DEPTH, k - start)
            if transposed:
                pack_columns(at((b,), first * k + start)[0], k, depth, columns, panels, DEPTH * wide)
            else:
                pack_rows(at((b,), start * n + first)[0], n, depth, columns, panels, DEPTH * wide)
            for i in range(top, end, rows):
                strips(shape, operands, i, min(i + rows, end), first, columns, start, depth, panels, packed, zeros)


@parallel
def tasks(height, width, shape, operands, index):
    m, n = shape[:2]
    across = (n + width - 1) // width
    top, left = (index // across) * height, (index % across) * width
    block(shape, operands, top, min(top + height, m), left, min(left + width, n))


@parallel
def symmetric_tasks(width, shape, operands, index):
    """Columns number *index* from the left, of few rows, and from the right, of many."""
    n = shape[1]
    last = (n + width - 1) // width - 1 - index
    for number in range(index, last + 1, max(last - index, 1)):
        left, right = number * width, min((number + 1) * width, n)
        block(shape, operands, 0, right, left, right)
        mirror(operands[3], n, left, right)


def build(spec):
    """The kernel of a `Matmul`: a, b, [bias], out; 2-D C-contiguous arrays. All of them share one function of the flags.

    A result of one column is computed as one row, op(b)^T op(a)^T: a tile of one column is mostly idle.
    """
    transpose_a, transpose_b, has_bias, is_symmetric = spec.transpose_a, spec.transpose_b, spec.bias, spec.symmetric
    inner = 0 if transpose_a else 1

    @kernel(spec)
    def run(*arguments):
        m, n = arguments[-1].shape
        if m * n > 0:
            k, given, is_turned = arguments[0].shape[inner], pointers(arguments), n == 1 and m > 1
            a, b, flags = given[0], given[1], (transpose_a, transpose_b)
            if is_symmetric:
                width = symmetric_width(n, k)
                count = ((n + width - 1) // width + 1) // 2
                symmetric_tasks(count, (width, (m, n, k, *flags, has_bias, False, True), (a, b, given[2], given[-1])))
                return
            if is_turned:
                m, n, a, b, flags = n, m, b, a, (not transpose_b, not transpose_a)
            height, width = task_shape(m, n, k, flags[0])
            count = ((m + height - 1) // height) * ((n + width - 1) // width)
            shape = m, n, k, *flags, has_bias, is_turned, False
            tasks(count, (height, width, shape, (a, b, given[2], given[-1])))

    return run
