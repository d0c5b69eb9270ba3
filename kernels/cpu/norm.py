"""norm: layer norm and its kin; a row is passed several times while it is in L1 or L2, and leaves its terms behind.

Two layouts of affine operands. *columns*: one value for each column, one more source of the vector loops. *segments*:
one value for each run of at least `SHORT` elements, a scalar of a vector loop; shorter runs become columns.

Sums over rows are added in blocks of rows, in the arrays' type; blocks are added in float64, in order.
"""

import itertools

import numpy as np
from numba import float64

from ..scalar.language import scalar
from ..shapes import some_of
from .compile import building, function, kernel
from .map_by_channel import store_sums
from .pool import parallel
from .stores import LONG, past_cache_pays, storing
from .vector import at, elements, pick, pointers, scratch, spread, vector_map, vector_map_accumulate, vector_map_sum

TASK = 1 << 13  # elements, in whole rows
ROWS = 64  # rows that are added to each other, at most, times those that take turns
PIECE = 1 << 13  # elements of a vector loop, at most; the pieces of a row are added in float64
SHORT = 64  # elements of a segment: with fewer, a vector loop for each costs more than reading written-out operands


def build(spec):
    """The kernel of a `Norm`: inputs, output, affine operands, row inputs and outputs, [sums], scalars, segment."""
    first = len(spec.inputs) + 1
    by_column, by_segment = _build(spec, "columns"), _build(spec, "segments")

    def run(*arguments):
        if arguments[0].size == 0:
            for sums in arguments[-2 - len(spec.scalars) : -1 - len(spec.scalars)] * (spec.affine_sums > 0):
                sums.fill(0)
        elif layout_of(arguments[-1]) == "segments":
            by_segment(*arguments)
        else:
            if arguments[-1] > 1:
                written = [np.repeat(a, arguments[-1]) for a in arguments[first : first + spec.affine]]
                arguments = (*arguments[:first], *written, *arguments[first + spec.affine :])
            by_column(*arguments)

    run.dispatchers, run.parts = (by_column, by_segment), {"columns": by_column, "segments": by_segment}
    return run


def layout_of(segment):
    """The layout that suits affine operands with a value for *segment* elements each."""
    return "segments" if segment >= SHORT else "columns"


@scalar
def mean_of(total, count):
    return total / count


def with_terms(spec):
    """The scalar function that gives an element's output and its terms."""
    output, terms = spec.output, spec.terms
    end = len(spec.inputs) - 1 + spec.affine + spec.row_inputs

    @scalar
    def one_term(x, *rest):
        return output(x, *rest), terms(x, *rest[:end])

    @scalar
    def several_terms(x, *rest):
        return (output(x, *rest),) + terms(x, *rest[:end])

    return output if terms is None else one_term if spec.affine_sums == 1 else several_terms


def _parts(spec):
    """Functions that pick inputs, output, affine operands, row inputs, row outputs, scalars; the position of the sums."""
    counts = (len(spec.inputs), 1, spec.affine, spec.row_inputs, spec.row_outputs, spec.affine_sums > 0)
    ends = np.cumsum([0, *counts, len(spec.scalars)]).tolist()
    *parts, _, scalars = (pick(range(*pair)) for pair in itertools.pairwise(ends))
    return *parts, scalars, ends[5]


def _layout(spec, layout):
    """Compiled functions: the index of a piece's affine operands, these as sources and as values; the map of a piece."""
    fn, sums = with_terms(spec), spec.affine_sums

    @function
    def of_column(segment, offset):
        return offset

    @function
    def of_segment(segment, offset):
        return segment

    @function
    def written(affine, q):
        return at(affine, q)

    @function
    def values(affine, q):
        return elements(at(affine, q))

    @function
    def nothing(affine, q):
        return ()

    store = storing(fn)

    @function
    def plain(past, count, sources, targets, totals, given):
        store(past, count, sources, targets, given)

    @function
    def with_column_sums(past, count, sources, targets, totals, given):
        vector_map_accumulate(fn, count, sources, targets, totals, given)

    @function
    def with_single_sums(past, count, sources, targets, totals, given):
        found = vector_map_sum(fn, count, sources, targets, given)
        for k in range(sums):
            totals[k][0] += found[k]

    if layout == "columns":
        return of_column, written, nothing, with_column_sums if sums else plain
    return of_segment, nothing, values, with_single_sums if sums else plain


def _row(spec, layout):
    """A compiled function that does everything for row r, whose affine operands begin at *first*.

    *length* is that of a segment, or of the whole row where affine operands are written out.
    """
    prior, reduce, finish, sums, stored = spec.prior, spec.reduce, spec.finish, spec.sums, spec.row_outputs
    has_prior, has_stored = prior is not None, stored > 0
    size, all_sums = spec.results + has_prior, sums + 1
    the_mean, computed, sums_of_terms, sum_of_prior = (
        pick(range(*ends)) for ends in ((0, has_prior), (has_prior, size), (0, sums), (sums, all_sums))
    )
    some = function(some_of)
    index_of, as_sources, as_values, map_piece = _layout(spec, layout)
    inputs, outputs, affine, row_inputs, row_outputs, scalars, _ = _parts(spec)

    @function
    def row(r, n, length, first, past, operands, totals):
        found_sums = spread(scratch(all_sums, float64), all_sums, 1)
        results = spread(scratch(size, inputs(operands)[0]), size, 1)
        known, start, own = elements(at(row_inputs(operands), r)), r * n, at(affine(operands), first)
        for k in range(all_sums):
            found_sums[k][0] = 0
        if has_prior:
            found_sums[sums][0] = vector_map_sum(prior, some(n), at(inputs(operands), start), (), ())[0]
            vector_map(mean_of, 1, sum_of_prior(found_sums), the_mean(results), (float(some(n)),))
        known = known + elements(the_mean(results))
        for segment in range(n // length):
            for offset in range(0, length, PIECE):
                place, q = start + segment * length + offset, index_of(segment, offset)
                sources = at(inputs(operands), place) + as_sources(own, q)
                found = vector_map_sum(reduce, min(PIECE, length - offset), sources, (), as_values(own, q) + known)
                for k in range(sums):
                    found_sums[k][0] += found[k]
        given = known + (float(n),) + scalars(operands)
        vector_map(finish, 1, sums_of_terms(found_sums), computed(results), given)
        if has_stored:
            for k in range(stored):
                row_outputs(operands)[k][r] = results[k][0]
        known = known + elements(computed(results))
        for segment in range(n // length):
            for offset in range(0, length, PIECE):
                place, q = start + segment * length + offset, index_of(segment, offset)
                sources, targets = at(inputs(operands), place) + as_sources(own, q), at(outputs(operands), place)
                given = as_values(own, q) + known
                map_piece(past, min(PIECE, length - offset), sources, targets, at(totals, q), given)

    return row


def _build(spec, layout):
    with building(spec, "." + layout):
        return _build_layout(spec, layout)


def _build_layout(spec, layout):
    row, by_column, sums = _row(spec, layout), layout == "columns", spec.affine_sums
    has_sums, at_affine, at_sums = sums > 0, len(spec.inputs) + 1, _parts(spec)[-1]
    (inputs, outputs, *_), arrays = _parts(spec), len(spec.inputs) + 1

    @parallel
    def some_rows(rows, n, length, columns, per_row, per_task, partial, past, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            first = r * per_row % columns
            totals = at(spread(pointers((partial,)), sums, columns), index * sums * columns + first)
            row(r, n, length, first, past, operands, totals)

    @kernel(spec, "." + layout)
    def run(*arguments):
        rows, n = arguments[0].shape
        segment, columns = arguments[-1], arguments[at_affine].size
        length, per_row = (n, n) if by_column else (segment, n // segment)
        turns, per_task = columns // per_row, max(1, TASK // n)
        if has_sums:  # enough tasks for many threads, and at most an eighth of the arrays' size for partial sums
            per_task = turns * min(ROWS, max(rows // turns // 32, 8 * per_row // n, 1))
        tasks = (rows + per_task - 1) // per_task
        partial = np.zeros((tasks * has_sums, sums, columns), arguments[0].dtype)
        operands = pointers(arguments)
        past = n >= LONG and past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), outputs(operands))
        some_rows(tasks, (rows, n, length, columns, per_row, per_task, partial, past, operands))
        if has_sums:
            total = np.zeros((sums, columns))
            for task in range(tasks):
                for k in range(sums):
                    for j in range(columns):
                        total[k, j] += partial[task, k, j]
            store_sums(arguments[at_sums], total, segment if by_column else 1)

    return run
