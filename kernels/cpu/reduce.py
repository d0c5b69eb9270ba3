"""reduce: the sum of a scalar function over whole arrays, the same to the bit for any number of threads."""

import numpy as np

from .compile import kernel
from .pool import parallel
from .vector import at, vector_reduce

BLOCK = 1 << 12  # elements whose terms are added in the arrays' own type; blocks are added in float64, in order
BLOCKS_PER_TASK = 4


def build(spec):
    """The kernel of a `Reduce`: call it with the inputs and the scalars; it returns a float."""
    fn, inputs = spec.function, len(spec.inputs)

    @parallel
    def some_blocks(n, partial, arguments, index):
        first = index * BLOCKS_PER_TASK
        for b in range(first, min(first + BLOCKS_PER_TASK, partial.size)):
            count = min(BLOCK, n - b * BLOCK)
            partial[b] = vector_reduce("sum", fn, count, at(arguments[:inputs], b * BLOCK), (), arguments[inputs:])[0]

    @kernel(spec.name)
    def run(*arguments):
        n = arguments[:inputs][0].size
        partial = np.empty((n + BLOCK - 1) // BLOCK, np.float64)
        some_blocks((partial.size + BLOCKS_PER_TASK - 1) // BLOCKS_PER_TASK, n, partial, arguments)
        total = 0.0
        for b in range(partial.size):
            total += partial[b]
        return total

    return run
