"""reduce: the sum or the maximum of a scalar function over whole arrays, the same to the bit in every run and on every GPU."""

import numpy as np

from .block import COMBINERS
from .compile import THREADS, cuda, flat, kernel, to_host, workspace
from .elements import load, write

BLOCK = 16 * THREADS  # elements whose terms are added in the arrays' own type; blocks are added in float64, in order


def build(spec):
    """The kernel of a `Reduce`: call it with the inputs and the scalars; it returns a float."""
    fn, first_scalar = spec.function, len(spec.inputs)
    start, join, combine = COMBINERS[spec.combine]

    @kernel(spec)
    def reduce_blocks(n, inputs, scalars, partial):
        buffer = cuda.shared.array(0, partial.dtype)
        thread, block = cuda.threadIdx.x, np.int64(cuda.blockIdx.x)
        while block < partial.size:
            total = partial.dtype.type(start)
            i, last = block * BLOCK + thread, min((block + 1) * BLOCK, n)
            while i < last:
                total = join(total, fn(*(load(inputs, i) + scalars)))
                i += THREADS
            total = combine(buffer, total, thread, THREADS, 1)
            if thread == 0:
                write(partial, block, total)
            block += cuda.gridDim.x

    def run(*arguments):
        inputs = flat(arguments[:first_scalar])
        n, dtype = inputs[0].size, inputs[0].dtype
        if n == 0:
            return start
        partial = workspace((n + BLOCK - 1) // BLOCK, dtype)
        reduce_blocks.launch(
            partial.size, (n, inputs, tuple(arguments[first_scalar:]), partial), THREADS * dtype.itemsize
        )
        found = to_host(partial)
        if spec.combine == "max":
            return float(found.max())
        return float(np.cumsum(found, dtype=np.float64)[-1])  # np.sum would add in an order of its own

    return run
