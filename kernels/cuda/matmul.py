"""matmul: tiles of the result, each by one block of threads, from strips of both matrices in shared memory.

Every element of the result is one sum, in the order of the inner index, in fused multiply-adds: its bits depend on
nothing but the operands.
"""

import numpy as np

from ..scalar.intrinsics import fma
from .compile import SIMULATOR, THREADS, cuda, flat, function, kernel
from .elements import WIDTH, load_wide, read, write

SQUARE = WIDTH * WIDTH  # elements of a thread's part of the tile, which it holds in registers
ACROSS = 4 if SIMULATOR else 16  # threads of a block in the direction of the columns
ROWS, COLUMNS = WIDTH * THREADS // ACROSS, WIDTH * ACROSS  # of a tile
DEPTH = 4 if SIMULATOR else 16  # of a strip
ALIGNMENT = None if SIMULATOR else 16  # of shared memory, for wide loads
PITCH = WIDTH  # elements between the rows of a strip: fewer bank conflicts, and wide loads stay aligned


def build(spec):
    """The kernel of a `Matmul`: a, b, [bias], out; 2-D C-contiguous arrays."""
    transpose_a, transpose_b, has_bias, is_symmetric = spec.transpose_a, spec.transpose_b, spec.bias, spec.symmetric

    @function
    def left(shape, operands, group, row, depth):
        m, _, k = shape
        return read(operands[0], depth * m + row if transpose_a else row * k + depth)

    @function
    def right(shape, operands, group, column, depth):
        _, n, k = shape
        return read(operands[1], column * k + depth if transpose_b else depth * n + column)

    @function
    def store(shape, operands, group, row, column, value):
        if has_bias:
            value += read(operands[2], column)
        if not is_symmetric or row <= column:
            write(operands[-1], row * shape[1] + column, value)
        if is_symmetric and row < column:
            write(operands[-1], column * shape[1] + row, value)

    grid = product(spec, left, right, store, transpose_a, not transpose_b)

    def run(*arguments):
        m, n = arguments[-1].shape
        k = arguments[0].shape[0 if transpose_a else 1]
        grid((m, n, k), 1, (m, n, k), flat(arguments))

    return run


def product(spec, left, right, store, left_along, right_along):
    """The launcher (extents, groups, shape, operands) of a product of matrices for each group, by the functions of its parts.

    *extents* are the rows, the columns and the inner index. ``left(shape, operands, group, row, depth)`` is an element of a,
    ``right(shape, operands, group, column, depth)`` one of b, ``store(shape, operands, group, row, column, value)`` stores one
    of the result. Whether neighbours along rows, or columns, are neighbours in memory, or those along the inner index are, is in
    *left_along* and *right_along*: neighbouring threads read neighbours.
    """
    grid = _grid(spec, _loader(left, ROWS, left_along), _loader(right, COLUMNS, right_along), store)

    def launch(extents, groups, shape, operands):
        m, n, _ = extents
        tiles = groups * ((m + ROWS - 1) // ROWS) * ((n + COLUMNS - 1) // COLUMNS)
        if tiles:
            shared = DEPTH * (ROWS + COLUMNS + 2 * PITCH) * operands[-1].dtype.itemsize
            grid.launch(tiles, (extents, groups, shape, operands), shared)

    return launch


def _loader(element, extent, neighbours):
    """A compiled function that copies a strip into shared memory as strip[depth, along], with zeros beyond the matrix.

    *along* counts the result's rows for a, its columns for b; whether it is fastest is in *neighbours*.
    """

    @function
    def fill(strip, shape, operands, group, first, count, depth, k):
        index = cuda.threadIdx.x
        while index < extent * DEPTH:
            d = index // extent if neighbours else index % DEPTH
            along = index % extent if neighbours else index // DEPTH
            if depth + d < k and first + along < count:
                value = element(shape, operands, group, first + along, depth + d)
            else:
                value = strip.dtype.type(0)
            write(strip, d * (extent + PITCH) + along, value)
            index += THREADS

    return fill


@function
def multiply_strips(sums, strip_a, strip_b, row, column):
    """sums[p, q] += a[row + p, d] * b[d, column + q] for each depth d, with row and column in units of WIDTH."""
    d = 0
    while d < DEPTH:  # numba's range would not be unrolled
        left = load_wide((strip_a,), d * ((ROWS + PITCH) // WIDTH) + row)
        right = load_wide((strip_b,), d * ((COLUMNS + PITCH) // WIDTH) + column)
        for p in range(WIDTH):
            for q in range(WIDTH):
                sums[p * WIDTH + q] = fma(left[p][0], right[q][0], sums[p * WIDTH + q])
        d += 1


def _grid(spec, fill_a, fill_b, store):
    @kernel(spec)
    def run(extents, groups, shape, operands):
        m, n, k = extents
        dtype = operands[-1].dtype
        shared = cuda.shared.array(0, dtype, ALIGNMENT)
        strip_a, strip_b = shared[: DEPTH * (ROWS + PITCH)], shared[DEPTH * (ROWS + PITCH) :]
        sums = cuda.local.array(SQUARE, dtype)
        row, column = cuda.threadIdx.x // ACROSS, cuda.threadIdx.x % ACROSS
        across, down = (n + COLUMNS - 1) // COLUMNS, (m + ROWS - 1) // ROWS
        tile = np.int64(cuda.blockIdx.x)
        while tile < groups * across * down:
            group, i, j = tile // (across * down), tile // across % down * ROWS, tile % across * COLUMNS
            for p in range(SQUARE):
                sums[p] = 0
            depth = 0
            while depth < k:
                fill_a(strip_a, shape, operands, group, i, m, depth, k)
                fill_b(strip_b, shape, operands, group, j, n, depth, k)
                cuda.syncthreads()
                multiply_strips(sums, strip_a, strip_b, row, column)
                cuda.syncthreads()
                depth += DEPTH
            for p in range(WIDTH):
                for q in range(WIDTH):
                    r, c = i + row * WIDTH + p, j + column * WIDTH + q
                    if r < m and c < n:
                        store(shape, operands, group, r, c, sums[p * WIDTH + q])
            tile += cuda.gridDim.x

    return run
