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
from .compile import building, function, inlined, kernel
from .map_by_channel import store_sums
from .pool import parallel
from .stores import fetched_ahead, past_cache_pays, storing_pieces
from .vector import (
    BLOCK,
    at,
    elements,
    end_stream,
    pick,
    pointers,
    scratch,
    spread,
    vector_map,
    vector_map_sum,
)

TASK = 1 << 13  # elements, in whole rows
ROWS = 64  # rows that are added to each other, at most, times those that take turns
PIECE = 1 << 13  # elements of a vector loop, at most; the pieces of a row are added in float64
LONG = 1 << 8  # elements of rows that are stored past the cache where that pays; rows of 64 took 1.4 times as long
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
    return total * (1 / count)


def _first_pass(spec, layout):
    """The scalar function of the pass for sums: an element's terms, those of affine operands added to totals of its column.

    These totals are operands behind the affine ones, and results before the others. A segment's terms are results behind them.
    """
    reduce, terms, first = _as_tuple(spec.reduce, spec.sums), spec.terms, len(spec.inputs) - 1 + spec.affine
    second, behind = first + 1, first + spec.affine_sums

    @scalar
    def with_terms(x, *given):
        return reduce(x, *given) + terms(x, *given)

    @scalar
    def with_total(x, *rest):
        given = rest[:first] + rest[behind:]
        (a,) = terms(x, *given)
        return (rest[first] + a,) + reduce(x, *given)

    @scalar
    def with_two_totals(x, *rest):
        given = rest[:first] + rest[behind:]
        a, b = terms(x, *given)
        return (rest[first] + a, rest[second] + b) + reduce(x, *given)

    if terms is None:
        return reduce
    terms = _as_tuple(terms, spec.affine_sums)
    return with_terms if layout == "segments" else with_total if spec.affine_sums == 1 else with_two_totals


def _as_tuple(fn, results):
    """*fn*, whose results are a tuple even if there is a single one."""

    @scalar
    def single(x, *rest):
        return (fn(x, *rest),)

    return single if results == 1 else fn


def _parts(spec):
    """Functions that pick inputs, output, affine operands, row inputs, row outputs, scalars; the position of the sums."""
    counts = (len(spec.inputs), 1, spec.affine, spec.row_inputs, spec.row_outputs, spec.affine_sums > 0)
    ends = np.cumsum([0, *counts, len(spec.scalars)]).tolist()
    *parts, _, scalars = (pick(range(*pair)) for pair in itertools.pairwise(ends))
    return *parts, scalars, ends[5]


def _layout(spec, layout):
    """Compiled functions: the index of a piece's affine operands, these as sources and as values; the sums of a piece."""
    fn, sums, terms = _first_pass(spec, layout), spec.sums, spec.affine_sums

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

    @function
    def add_columns(count, sources, totals, given):
        return vector_map_sum(fn, count, sources + totals, totals, given)

    @function
    def add_segment(count, sources, totals, given):
        found = vector_map_sum(fn, count, sources, (), given)
        for k in range(terms):
            totals[k][0] += found[sums + k]
        return found

    if layout == "columns":
        return of_column, written, nothing, add_columns
    return of_segment, nothing, values, add_segment if terms else add_columns


def _row(spec, layout):
    """Compiled functions: what is known of row r, a tuple; and its output, given that.

    A row has *segments* of *length* elements, or one where affine operands are written out; those of the row begin at *first*.
    """
    prior, finish, sums, stored = spec.prior, spec.finish, spec.sums, spec.row_outputs
    has_prior, has_stored = prior is not None, stored > 0
    size, all_sums = spec.results + has_prior, sums + 1
    the_mean, computed, sums_of_terms, sum_of_prior = (
        pick(range(*ends)) for ends in ((0, has_prior), (has_prior, size), (0, sums), (sums, all_sums))
    )
    some, store = function(some_of), storing_pieces(spec.output)
    index_of, as_sources, as_values, add = _layout(spec, layout)
    inputs, outputs, affine, row_inputs, row_outputs, scalars, _ = _parts(spec)

    @inlined
    def statistics(r, n, segments, length, first, operands, totals):
        found_sums = spread(scratch(all_sums, float64), all_sums, 1)
        results = spread(scratch(size, inputs(operands)[0]), size, 1)
        known, start, own = elements(at(row_inputs(operands), r)), r * n, at(affine(operands), first)
        for k in range(all_sums):
            found_sums[k][0] = 0
        if has_prior:
            found_sums[sums][0] = vector_map_sum(prior, some(n), at(inputs(operands), start), (), ())[0]
            vector_map(mean_of, 1, sum_of_prior(found_sums), the_mean(results), (float(some(n)),))
        known = known + elements(the_mean(results))
        for segment in range(segments):
            for offset in range(0, length, PIECE):
                place, q = start + segment * length + offset, index_of(segment, offset)
                sources = at(inputs(operands), place) + as_sources(own, q)
                found = add(min(PIECE, length - offset), sources, at(totals, q), as_values(own, q) + known)
                for k in range(sums):
                    found_sums[k][0] += found[k]
        vector_map(finish, 1, sums_of_terms(found_sums), computed(results), known + (float(n),) + scalars(operands))
        if has_stored:
            for k in range(stored):
                row_outputs(operands)[k][r] = results[k][0]
        return known + elements(computed(results))

    @inlined
    def write(r, n, segments, length, first, past, ahead, operands, known, line, begun):
        start, own = r * n, at(affine(operands), first)
        for segment in range(segments):
            for offset in range(0, length, PIECE):
                place, q = start + segment * length + offset, index_of(segment, offset)
                sources, targets = at(inputs(operands), place) + as_sources(own, q), at(outputs(operands), place)
                given, following = as_values(own, q) + known, at(inputs(operands), place + ahead)
                begun = store(past, min(PIECE, length - offset), sources, targets, given, following, line, begun)
        return begun

    return statistics, write


def _build(spec, layout):
    with building(spec, "." + layout):
        return _build_layout(spec, layout)


def _build_layout(spec, layout):
    (statistics, write), by_column, sums = _row(spec, layout), layout == "columns", spec.affine_sums
    has_sums, at_affine, at_sums = sums > 0, len(spec.inputs) + 1, _parts(spec)[-1]
    (inputs, outputs, *_), arrays = _parts(spec), len(spec.inputs) + 1

    @parallel
    def some_rows(rows, n, segments, length, columns, per_row, per_task, partial, past, ahead, operands, index):
        line, begun, end = scratch(BLOCK, inputs(operands)[0]), False, min((index + 1) * per_task, rows)
        begin = index * per_task
        first = begin * per_row % columns
        for r in range(begin, end):
            totals = at(spread(pointers((partial,)), sums, columns), index * sums * columns + first)
            known = statistics(r, n, segments, length, first, operands, totals)
            begun = write(r, n, segments, length, first, past, ahead, operands, known, line, begun)
            first = first + per_row if first + per_row < columns else 0
        end_stream(at(outputs(operands), end * n), line, begun)

    @kernel(spec, "." + layout)
    def run(*arguments):
        rows, n = arguments[0].shape
        segment, columns = arguments[-1], arguments[at_affine].size
        length, per_row = (n, n) if by_column else (segment, n // segment)
        segments = n // length
        turns, per_task = columns // per_row, max(1, TASK // n)
        if has_sums:  # enough tasks for many threads, and at most an eighth of the arrays' size for partial sums
            per_task = turns * min(ROWS, max(rows // turns // 32, 8 * per_row // n, 1))
        tasks = (rows + per_task - 1) // per_task
        partial = np.zeros((tasks * has_sums, sums, columns), arguments[0].dtype)
        operands = pointers(arguments)
        past = n >= LONG and past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), outputs(operands))
        ahead = fetched_ahead(n)
        some_rows(tasks, (rows, n, segments, length, columns, per_row, per_task, partial, past, ahead, operands))
        if has_sums:
            total = np.zeros((sums, columns))
            for task in range(tasks):
                for k in range(sums):
                    for j in range(columns):
                        total[k, j] += partial[task, k, j]
            store_sums(arguments[at_sums], total, segment if by_column else 1)

    return run
