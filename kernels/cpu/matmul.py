"""matmul: BLAS on tiles of the result, inside our own threads, with the bias added to the tile while it is in cache."""

from ..scalar.activations import identity
from . import blas
from .compile import function, kernel
from .pool import parallel
from .vector import at, pointers, vector_map

TILE_WORK = 1 << 19  # multiply-adds of a tile: some 10 us, against 2 us for starting the threads
GRAIN = 16  # tiles are multiples of this, for the sake of BLAS's own inner tiles


@function
def tile_shape(m, n, k):
    """Rows and columns of a tile. From the shape of the product alone: other tiles would give other bits."""
    tiles = min(max(m * n * k // TILE_WORK, 1), blas.MOST_CALLS_AT_ONCE)
    rows, columns = 1, 1
    while 2 * rows * columns <= tiles:
        if m // rows > n // columns:
            rows *= 2
        else:
            columns *= 2
    height, width = (m + rows - 1) // rows, (n + columns - 1) // columns
    return (height + GRAIN - 1) // GRAIN * GRAIN, (width + GRAIN - 1) // GRAIN * GRAIN


def build(spec):
    """The kernel of a `Matmul`: a, b, [bias], out; 2-D C-contiguous arrays. Call it under `blas.single_threaded`."""
    blas.load()
    ta, tb, has_bias, gemm, shape = spec.transpose_a, spec.transpose_b, spec.bias, blas.gemm, tile_shape

    copy = identity

    @parallel
    def tiles(height, width, m, n, k, one, operands, index):
        across = (n + width - 1) // width
        i, j = (index // across) * height, (index % across) * width
        rows, columns = min(height, m - i), min(width, n - j)
        if has_bias:
            for r in range(rows):
                vector_map(copy, columns, at(operands[2:3], j), at(operands[3:], (i + r) * n + j), ())
        start_a = at(operands[:1], i if ta else i * k)[0]
        start_b = at(operands[1:2], j * k if tb else j)[0]
        lda, ldb = m if ta else k, k if tb else n
        beta = one if has_bias else one - one
        gemm(tb, ta, columns, rows, k, start_b, ldb, start_a, lda, beta, at(operands[-1:], i * n + j)[0], n)

    @kernel(spec)
    def run(*arguments):
        m, n = arguments[-1].shape
        k = arguments[0].shape[0] if ta else arguments[0].shape[1]
        one = arguments[-1].dtype.type(1)
        if m * n > 0:
            height, width = shape(m, n, k)
            count = ((m + height - 1) // height) * ((n + width - 1) // width)
            tiles(count, (height, width, m, n, k, one, pointers(arguments)))

    return run
