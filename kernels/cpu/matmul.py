"""matmul: BLAS on tiles of the result, inside our own threads, with the bias added to the tile while it is in cache."""

from ..scalar.activations import identity
from . import blas
from .compile import function, kernel
from .pool import parallel
from .vector import at, vector_map

TILE_WORK = 1 << 21  # multiply-adds of a tile: some 40 us, against 2 us for starting the threads
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

    @parallel
    def tiles(height, width, k, a, b, bias, out, index):
        m, n = out.shape
        across = (n + width - 1) // width
        i, j = (index // across) * height, (index % across) * width
        rows, columns = min(height, m - i), min(width, n - j)
        one = out.dtype.type(1)
        beta = one - one
        if has_bias:
            for r in range(rows):
                vector_map(identity, columns, at(bias, j), at((out,), (i + r) * n + j), ())
            beta = one
        start_a = at((a,), i if ta else i * k)[0]
        start_b = at((b,), j * k if tb else j)[0]
        lda, ldb = m if ta else k, k if tb else n
        target = at((out,), i * n + j)[0]
        gemm(tb, ta, columns, rows, k, start_b, ldb, start_a, lda, beta, target, n)

    @kernel(spec.name)
    def run(*arguments):
        a, b, bias, out = arguments[0], arguments[1], arguments[2:-1], arguments[-1]
        m, n = out.shape
        if m * n > 0:
            k = a.shape[0] if ta else a.shape[1]
            height, width = shape(m, n, k)
            tiles(((m + height - 1) // height) * ((n + width - 1) // width), height, width, k, a, b, bias, out)

    return run
