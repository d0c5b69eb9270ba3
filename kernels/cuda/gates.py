"""gates: a scalar function over rows of blocks side by side; a thread for each element of a block."""

import numpy as np

from .compile import THREADS, cuda, flat, kernel
from .elements import loading_blocks, storing_blocks


def build(spec):
    """The kernel of a `Gates`: inputs and outputs, 2-D C-contiguous arrays, and scalars."""
    grid, first_out = _grid(spec), len(spec.inputs)
    first_scalar = first_out + len(spec.outputs)

    def run(*arguments):
        size = arguments[0].size // spec.inputs[0]
        if size == 0:
            return
        width = int(arguments[0].shape[1]) // spec.inputs[0]
        inputs, outputs = flat(arguments[:first_out]), flat(arguments[first_out:first_scalar])
        grid.launch((size + THREADS - 1) // THREADS, (size, width, inputs, outputs, tuple(arguments[first_scalar:])))

    return run


def _grid(spec):
    fn, load, store = spec.function, loading_blocks(spec.inputs), storing_blocks(spec.outputs)

    @kernel(spec)
    def run(size, width, inputs, outputs, scalars):
        e, threads = np.int64(cuda.grid(1)), cuda.gridsize(1)
        while e < size:
            store(outputs, e, width, fn(*(load(inputs, e, width) + scalars)))
            e += threads

    return run
