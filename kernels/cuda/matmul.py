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
    grid = _grid(spec)

    def run(*arguments):
        m, n = arguments[-1].shape
        k = arguments[0].shape[0 if spec.transpose_a else 1]
        if m * n == 0:
            return
        a, b, *bias, out = flat(arguments)
        tiles = ((m + ROWS - 1) // ROWS) * ((n + COLUMNS - 1) // COLUMNS)
        shared = DEPTH * (ROWS + COLUMNS + 2 * PITCH) * out.dtype.itemsize
        grid.launch(tiles, (m, n, k, a, b, tuple(bias), out), shared)

    return run


def _loader(transposed, extent):
    """A compiled function that copies a strip into shared memory as strip[depth, along], with zeros beyond the matrix.

    *along* counts the result's rows for a, its columns for b; *transposed* says that neighbours along it are
    neighbours in memory. Neighbouring threads read neighbouring elements.
    """

    @function
    def fill(strip, source, first, count, depth, k):
        index = cuda.threadIdx.x
        while index < extent * DEPTH:
            d = index // extent if transposed else index % DEPTH
            along = index % extent if transposed else index // DEPTH
            place = (depth + d) * count + first + along if transposed else (first + along) * k + depth + d
            inside = depth + d < k and first + along < count
            write(strip, d * (extent + PITCH) + along, read(source, place) if inside else strip.dtype.type(0))
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


def _grid(spec):
    has_bias = spec.bias
    fill_a, fill_b = _loader(spec.transpose_a, ROWS), _loader(not spec.transpose_b, COLUMNS)

    @kernel(spec)
    def run(m, n, k, a, b, bias, out):
        shared = cuda.shared.array(0, out.dtype, ALIGNMENT)
        strip_a, strip_b = shared[: DEPTH * (ROWS + PITCH)], shared[DEPTH * (ROWS + PITCH) :]
        sums = cuda.local.array(SQUARE, out.dtype)
        row, column = cuda.threadIdx.x // ACROSS, cuda.threadIdx.x % ACROSS
        across = (n + COLUMNS - 1) // COLUMNS
        tile, tiles = np.int64(cuda.blockIdx.x), across * ((m + ROWS - 1) // ROWS)
        while tile < tiles:
            i, j = (tile // across) * ROWS, (tile % across) * COLUMNS
            for p in range(SQUARE):
                sums[p] = 0
            depth = 0
            while depth < k:
                fill_a(strip_a, a, i, m, depth, k)
                fill_b(strip_b, b, j, n, depth, k)
                cuda.syncthreads()
                multiply_strips(sums, strip_a, strip_b, row, column)
                cuda.syncthreads()
                depth += DEPTH
            for p in range(WIDTH):
                for q in range(WIDTH):
                    r, c = i + row * WIDTH + p, j + column * WIDTH + q
                    if r < m and c < n:
                        value = sums[p * WIDTH + q]
                        write(out, r * n + c, value + read(bias[0], c) if has_bias else value)
            tile += cuda.gridDim.x

    return run
