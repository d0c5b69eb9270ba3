"""take: rows of a table by their numbers, and the sums of what comes back to them; a thread for each element."""

import numpy as np

from .compile import THREADS, cuda, flat, kernel
from .elements import read, write


def build(spec):
    """The kernel of a `Take`: a table or a gradient, numbers, and what is written."""
    grid = (_backward_grid if spec.name.endswith("backward") else _forward_grid)(spec)

    def run(*arguments):
        out = arguments[2]
        if out.size:
            grid.launch((out.size + THREADS - 1) // THREADS, (int(out.shape[1]), *flat(arguments)))

    return run


def _forward_grid(spec):
    @kernel(spec)
    def run(n, table, index, out):
        e, threads = np.int64(cuda.grid(1)), cuda.gridsize(1)
        while e < out.size:
            write(out, e, read(table, read(index, e // n) * n + e % n))
            e += threads

    return run


def _backward_grid(spec):
    """A thread looks for its row's number from the first to the last; threads of a row read them together."""

    @kernel(spec)
    def run(n, grad, index, dtable):
        e, threads = np.int64(cuda.grid(1)), cuda.gridsize(1)
        while e < dtable.size:
            row, column, total, r = e // n, e % n, dtable.dtype.type(0), 0
            while r < index.size:
                if read(index, r) == row:
                    total += read(grad, r * n + column)
                r += 1
            write(dtable, e, total)
            e += threads

    return run
