"""reduce: the sum or the maximum of a scalar function over whole arrays, the same to the bit for any number of threads."""

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .vector import at, pick, pointers, vector_map_max, vector_map_sum

BLOCK = 1 << 12  # elements whose terms are added in the arrays' own type; blocks are added in float64, in order
BLOCKS_PER_TASK = 4


def build(spec):
    """The kernel of a `Reduce`: call it with the inputs and the scalars; it returns a float."""
    fn, inputs = spec.function, pick(range(len(spec.inputs)))
    loop, join, start = (vector_map_sum, _sum, 0.0) if spec.combine == "sum" else (vector_map_max, _maximum, -np.inf)
    scalars = pick(range(len(spec.inputs), len(spec.inputs) + len(spec.scalars)))

    @parallel
    def some_blocks(n, partial, operands, index):
        first = index * BLOCKS_PER_TASK
        for b in range(first, min(first + BLOCKS_PER_TASK, partial.size)):
            count = min(BLOCK, n - b * BLOCK)
            partial[b] = loop(fn, count, at(inputs(operands), b * BLOCK), (), scalars(operands))[0]

    @kernel(spec)
    def run(*arguments):
        n = arguments[0].size
        partial = np.empty((n + BLOCK - 1) // BLOCK, np.float64)
        some_blocks((partial.size + BLOCKS_PER_TASK - 1) // BLOCKS_PER_TASK, (n, partial, pointers(arguments)))
        total = start
        for b in range(partial.size):
            total = join(total, partial[b])
        return total

    return run


@function
def _sum(a, b):
    return a + b


@function
def _maximum(a, b):
    return a if a > b or a != a else b
