"""segments: a map over many tensors in one launch, and sums of terms over each of them."""

import numpy as np

from .block import combine_total
from .compile import THREADS, cuda, flat, kernel, to_host
from .elements import add, load_at, repeat_like, storing, strided, write


def build(spec):
    """The kernel of a `Segments`: a block of threads for each piece. Bounds, which are the CPU's tasks, are left alone."""
    grid = _grid(spec)

    def run(addresses, pieces, bounds, values, scalars, partial, totals):
        if pieces.shape[0]:
            shared = THREADS * values.dtype.itemsize if spec.terms else 0
            grid.launch(pieces.shape[0], (addresses, pieces, values, scalars, *flat((partial,))), shared)
        if spec.terms:  # pieces are added in order, on the host
            sums = np.zeros(totals.shape)
            np.add.at(sums, to_host(pieces)[:, 0], to_host(partial))
            totals.copy_to_device(sums)

    return run


def _grid(spec):
    fn, store_at = spec.function, storing(spec.writes)
    operands, of_tensor, of_all, terms = ((0,) * n for n in (spec.operand_count, spec.values, spec.scalars, spec.terms))
    written, count, has_terms, has_two = len(spec.writes), spec.terms, spec.terms > 0, spec.terms > 1

    @kernel(spec)
    def run(addresses, pieces, values, scalars, partial):
        piece, fixed = np.int64(cuda.blockIdx.x), strided(scalars, 0, 1, of_all)
        while piece < pieces.shape[0]:
            segment, start, size = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
            arrays = strided(addresses, segment, addresses.shape[1], operands)
            numbers = strided(values, segment * values.shape[1], 1, of_tensor) + fixed
            totals = repeat_like(scalars, terms)
            i, end = start + cuda.threadIdx.x, start + size
            while i < end:
                found = fn(*(load_at(arrays, i, scalars) + numbers))
                store_at(arrays, i, found, scalars)
                if has_terms:
                    totals = add(totals, found[written:])
                i += THREADS
            if has_terms:
                buffer = cuda.shared.array(0, scalars.dtype)
                total = combine_total(buffer, totals[0], cuda.threadIdx.x, THREADS, 1)
                if cuda.threadIdx.x == 0:
                    write(partial, piece * count, total)
            if has_two:
                total = combine_total(buffer, totals[1], cuda.threadIdx.x, THREADS, 1)
                if cuda.threadIdx.x == 0:
                    write(partial, piece * count + 1, total)
            piece += cuda.gridDim.x

    return run
