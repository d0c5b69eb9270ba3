"""segments: a map over many tensors in one launch, and sums of terms over each of them."""

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .vector import at, elements, located, pick, pointers, spread, vector_map_sum
from .vector import vector_map as map_elements


def build(spec):
    """The kernel of a `Segments`. It runs in parallel if there is more than one task; nothing is checked."""
    loop, count, values, scalars = _loop(spec), spec.operand_count, spec.values, spec.scalars
    terms = spec.terms

    @parallel
    def tasks(segments, operands, index):
        addresses, pieces, bounds, of_segment, of_all, partial, _ = operands
        like, fixed = (of_all,), elements(spread((of_all,), scalars, 1))
        for piece in range(bounds[index], bounds[index + 1]):
            segment, start, size = pieces[3 * piece], pieces[3 * piece + 1], pieces[3 * piece + 2]
            arrays = at(located(at((addresses,), segment)[0], count, segments, like), start)
            mine = elements(spread(at((of_segment,), segment * values), values, 1))
            loop(size, arrays, mine + fixed, at((partial,), piece * terms))

    @kernel(spec)
    def run(*arguments):
        segments, operands = arguments[0].shape[1], pointers(arguments)
        tasks(arguments[2].size - 1, (segments, operands))
        if terms > 0:
            combine(arguments[1], arguments[5], arguments[6])

    return run


def _loop(spec):
    """A compiled function (count, arrays, numbers, partial): the vector loop, whose sums go to what *partial* points to."""
    fn, written, terms = spec.function, pick(spec.writes), spec.terms

    @function
    def plain(count, arrays, numbers, partial):
        map_elements(fn, count, arrays, written(arrays), numbers)

    @function
    def with_terms(count, arrays, numbers, partial):
        found = vector_map_sum(fn, count, arrays, written(arrays), numbers)
        for k in range(terms):
            partial[0][k] = found[k]

    return with_terms if terms else plain


@function
def combine(pieces, partial, totals):
    """Add the terms of pieces to those of their segments, in order."""
    totals[:, :] = np.float64(0)
    for piece in range(pieces.shape[0]):
        for k in range(totals.shape[1]):
            totals[pieces[piece, 0], k] += partial[piece, k]
