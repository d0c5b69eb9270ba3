"""map: a scalar function over arrays of equal length; any number in and out, in place allowed."""

import numpy as np

from ..scalar.random import BLOCK, RUN, random_words
from .compile import THREADS, cuda, flat, function, kernel
from .elements import WIDTH, aligned, load, load_wide, store, store_wide


def build(spec):
    """The kernel of a `Map`: call it with the inputs, the outputs, the scalars (and seed, offset, start if random)."""
    grid = _random_grid(spec) if spec.random else _plain_grid(spec)
    first_out, first_scalar = len(spec.inputs), len(spec.inputs) + len(spec.outputs)
    last = first_scalar + len(spec.scalars)

    def run(*arguments):
        inputs, outputs = flat(arguments[:first_out]), flat(arguments[first_out:first_scalar])
        n, stream = outputs[0].size, arguments[last:]
        if n == 0:
            return
        per_block, skipped = (BLOCK, int(stream[2]) % BLOCK) if spec.random else (WIDTH * THREADS, 0)
        blocks = (skipped + n + per_block - 1) // per_block
        grid.launch(blocks, (n, inputs, outputs, tuple(arguments[first_scalar:last]), *stream))

    return run


def _plain_grid(spec):
    """Four elements a thread, in one load and one store, where the arrays allow it; the rest one by one."""
    fn = spec.function

    @kernel(spec)
    def run(n, inputs, outputs, scalars):
        thread, threads = cuda.grid(1), cuda.gridsize(1)
        fours = n // WIDTH if aligned(inputs) and aligned(outputs) else 0
        i = thread
        while i < fours:
            a, b, c, d = load_wide(inputs, i)
            store_wide(outputs, i, (fn(*(a + scalars)), fn(*(b + scalars)), fn(*(c + scalars)), fn(*(d + scalars))))
            i += threads
        i = fours * WIDTH + thread
        while i < n:
            store(outputs, i, fn(*(load(inputs, i) + scalars)))
            i += threads

    return run


def _random_grid(spec):
    """A block of threads for each block of the random stream: a thread draws four words, for four elements."""
    fn = spec.function

    @function
    def element(n, i, word, inputs, outputs, scalars):
        if 0 <= i < n:
            bits = (np.uint32(word),)
            store(outputs, i, fn(*(load(inputs, i) + bits + scalars)))

    @kernel(spec)
    def run(n, inputs, outputs, scalars, seed, offset, start):
        block, last = start // BLOCK + cuda.blockIdx.x, (start + n - 1) // BLOCK
        while block <= last:
            lane = np.int64(cuda.threadIdx.x)
            while lane < RUN:
                a, b, c, d = random_words(np.uint64(block * RUN + lane), seed, offset)
                i = block * BLOCK + lane - start
                element(n, i, a, inputs, outputs, scalars)
                element(n, i + RUN, b, inputs, outputs, scalars)
                element(n, i + 2 * RUN, c, inputs, outputs, scalars)
                element(n, i + 3 * RUN, d, inputs, outputs, scalars)
                lane += cuda.blockDim.x
            block += cuda.gridDim.x

    return run
