"""column: the operation of a `Row` along the middle axis of (outer, n, inner) arrays: columns side by side, in vector lanes.

Every stage passes rows of columns with one total for each column, and so does the map. Where some columns stay in L2
between the passes, a task has all rows of these. Otherwise memory is passed twice in its order: all stages of a block of rows
while L2 holds it, and, once the blocks' totals are reckoned from those of all and combined in order, the map.
"""

import dataclasses
import itertools

import numpy as np

from ..scalar.language import scalar
from .compile import building, function, kernel
from .pool import parallel
from .stores import past_cache_pays, storing_pieces
from .vector import (
    BLOCK,
    at,
    end_stream,
    pick,
    pointers,
    scratch,
    spread,
    vector_map,
    vector_map_accumulate,
    vector_map_largest,
    vector_rows_accumulate,
    vector_rows_largest,
    vector_rows_map,
)

MOST = 1 << 10  # columns of a task that has all rows, at most
FEWEST = 1 << 8  # at least: shorter stretches of memory are slow to read
TASK = 1 << 16  # elements of a task, if there are more columns than FEWEST
CACHED = 1 << 18  # elements that stay in L2 between passes, mostly
WIDE = 1 << 11  # columns that are passed together, at most: their totals stay in L1
LONG = 1 << 8  # columns of rows that are stored past the cache
AT_ONCE = 4  # rows whose totals are loaded and stored once, and what follows from totals alone is computed once
TOGETHER = 32  # rows that are added to each other before they are added to the others: long sums lose digits


def build(spec):
    """The kernel of a `Columns`: inputs and output (outer, n, inner), scalars."""
    found = []
    for part, build_part in ((".columns", _build_columns), (".rows", _build_rows)):
        with building(spec, part):
            found.append(build_part(spec, part))
    by_column, by_row = found

    def run(*arguments):
        _, n, inner = arguments[0].shape
        (by_column if n * _width(n, inner) <= CACHED else by_row)(*arguments)

    run.dispatchers = (by_column, by_row)
    return run


@scalar
def itself(x):
    return x


def _width(n, inner):
    """Columns of a task that has all *n* rows."""
    return min(inner, MOST, max(FEWEST, TASK // max(n, 1)))


def _parts(row):
    """Functions that pick inputs, output and scalars from the operands."""
    ends = np.cumsum([0, len(row.inputs), 1, len(row.scalars)]).tolist()
    return [pick(range(*pair)) for pair in itertools.pairwise(ends)]


def _build_columns(spec, part):
    row, width_of = spec.row, function(_width)
    count, (inputs, outputs, scalars) = len(row.stages), _parts(row)
    stages, space, sources_of = _all_stages(row), count * MOST, _sources(row, count)
    settle, last = _settling(row.settled), pick([count - 1])

    @parallel
    def some_columns(n, inner, width, blocks, operands, index):
        begin = index % blocks * width
        columns, start = min(width, inner - begin), index // blocks * n * inner + begin
        totals, targets = spread(scratch(space, inputs(operands)[0]), count, MOST), at(outputs(operands), start)
        stages(n, inner, columns, at(inputs(operands), start), targets, totals)
        settle(columns, last(totals))
        sources = sources_of(at(inputs(operands), start), targets)
        whole = n - n % AT_ONCE
        for i in range(0, whole, AT_ONCE):
            given, stored = at(sources, i * inner), at(targets, i * inner)
            vector_rows_map(output, AT_ONCE, columns, inner, given, totals, stored, scalars(operands))
        for i in range(whole, n):
            vector_map(output, columns, at(sources, i * inner) + totals, at(targets, i * inner), scalars(operands))

    output = row.output

    @kernel(spec, part)
    def run(*arguments):
        outer, n, inner = arguments[0].shape
        if n * inner > 0:
            width = width_of(n, inner)
            blocks = (inner + width - 1) // width
            some_columns(outer * blocks, (n, inner, width, blocks, pointers(arguments)))

    return run


def _build_rows(spec, part):
    row = _without_keep(spec.row)
    count, (inputs, outputs, scalars) = len(row.stages), _parts(row)
    stages, combine, store = _all_stages(row), _all_combined(row), storing_pieces(row.output)
    settle, last = _settling(row.settled), pick([count - 1])

    @parallel
    def add_rows(n, inner, columns, start, group, partial, operands, index):
        sources = at(inputs(operands), start + index * group * inner)
        totals = spread(at(pointers((partial,)), index * count * columns), count, columns)
        stages(min(group, n - index * group), inner, columns, sources, (), totals)

    @parallel
    def map_rows(n, inner, columns, start, group, past, total, operands, index):
        totals, line, begun = spread(pointers((total,)), count, columns), scratch(BLOCK, inputs(operands)[0]), False
        first, end = start + index * group * inner, start + min((index + 1) * group, n) * inner
        for place in range(first, end, inner):
            sources, targets = at(inputs(operands), place) + totals, at(outputs(operands), place)
            begun = store(past, columns, sources, targets, scalars(operands), (), line, begun)
        end_stream(at(outputs(operands), end), line, begun)

    @kernel(spec, part)
    def run(*arguments):
        outer, n, inner = arguments[0].shape
        operands, width = pointers(arguments), min(inner, WIDE)
        past = width == inner >= LONG  # rows follow each other
        past = past and past_cache_pays(2 * arguments[0].nbytes, inputs(operands), outputs(operands))
        group = max(1, TASK // width)
        blocks = (n + group - 1) // group
        total = np.empty((count, width), arguments[0].dtype)
        partial = np.empty((blocks, count, width), arguments[0].dtype)
        for o in range(outer):
            for begin in range(0, inner, width):
                columns, start = min(width, inner - begin), o * n * inner + begin
                add_rows(blocks, (n, inner, columns, start, group, partial, operands))
                combine(blocks, columns, partial, total)
                settle(columns, last(spread(pointers((total,)), count, columns)))
                map_rows(blocks, (n, inner, columns, start, group, past, total, operands))

    return run


def _settling(fn):
    """A compiled function (columns, totals): *fn* of each total, one pointer, in its place."""

    @function
    def run(columns, totals):
        vector_map(fn, columns, totals, totals, ())

    @function
    def nothing(columns, totals):
        pass

    return nothing if fn is None else run


def _without_keep(row):
    """*row*, whose map computes again what a stage would keep: to store it takes longer."""
    output, inputs = row.output, len(row.inputs)
    for k, stage in enumerate(row.stages):
        if stage.keep:
            output = _of_kept(output, stage.function, inputs - 1 + k)
    return dataclasses.replace(row, stages=tuple(stage.without_keep() for stage in row.stages), output=output)


def _of_kept(output, kept, count):
    """*output* of what *kept* gives, which takes *count* of the operands behind the first."""

    @scalar
    def of_kept(x, *rest):
        return output(kept(x, *rest[:count]), *rest)

    return of_kept


def _sources(row, count):
    """A compiled function (inputs, targets) -> the sources behind the first *count* stages."""
    kept = any(stage.keep for stage in row.stages[:count])
    own, rest = pick([0] * kept), pick(range(int(kept), len(row.inputs)))

    @function
    def run(sources, targets):
        return own(targets) + rest(sources)

    return run


def _stage(row, k):
    """A compiled function (rows, inner, columns, sources, targets, earlier, own): stage k of some rows, its totals in *own*."""
    stage = row.stages[k]
    combine, combine_rows, start = _combination(stage)
    sources_of, kept = _sources(row, k), pick([0] * stage.keep)
    fn = _twice(stage.function) if stage.keep else stage.function

    @function
    def run(rows, inner, columns, sources, targets, earlier, own):
        sources, some = sources_of(sources, targets), scratch(WIDE, own[0])
        for j in range(columns):
            own[0][j] = start
        for first in range(0, rows, TOGETHER):
            for j in range(columns):
                some[0][j] = start
            end = min(first + TOGETHER, rows)
            whole = end - (end - first) % AT_ONCE
            for i in range(first, whole, AT_ONCE):
                given, stored = at(sources, i * inner), at(kept(targets), i * inner)
                combine_rows(fn, AT_ONCE, columns, inner, given, earlier, stored, some, ())
            for i in range(whole, end):
                combine(fn, columns, at(sources, i * inner) + earlier, at(kept(targets), i * inner), some, ())
            combine(itself, columns, some, (), own, ())

    return run


def _combination(stage):
    """The loops that combine terms of a stage, of one row and of some at once, and what they start from."""
    return {
        "sum": (vector_map_accumulate, vector_rows_accumulate, 0.0),
        "top": (vector_map_largest, vector_rows_largest, -np.inf),
    }[stage.combine]


def _all_stages(row):
    """A compiled function (n, inner, columns, sources, targets, totals): all stages of some columns, one after the other."""

    @function
    def run(n, inner, columns, sources, targets, totals):
        pass

    for k in range(len(row.stages)):
        run = _then(run, _stage(row, k), pick(range(k)), pick([k]))
    return run


def _then(before, stage, earlier, own):
    @function
    def run(n, inner, columns, sources, targets, totals):
        before(n, inner, columns, sources, targets, totals)
        stage(n, inner, columns, sources, targets, earlier(totals), own(totals))

    return run


def _all_combined(row):
    """A compiled function (blocks, columns, partial, total): the totals of all rows, from those of each block."""

    @function
    def run(blocks, columns, partial, total):
        pass

    for k in range(len(row.stages)):
        run = _then_combined(run, row, k)
    return run


def _then_combined(before, row, k):
    (combine, _, start), count, fn = _combination(row.stages[k]), len(row.stages), row.stages[k].rebased or itself
    earlier, own = pick(range(k if row.stages[k].rebased else 0)), pick([k])

    @function
    def run(blocks, columns, partial, total):
        before(blocks, columns, partial, total)
        found = spread(pointers((total,)), count, columns)
        for j in range(columns):
            own(found)[0][j] = start
        for b in range(blocks):
            part = spread(at(pointers((partial,)), b * count * columns), count, columns)
            combine(fn, columns, own(part) + earlier(part) + earlier(found), (), own(found), ())

    return run


def _twice(fn):
    """What *fn* gives, to be stored and to be combined."""

    @scalar
    def twice(x, *rest):
        value = fn(x, *rest)
        return value, value

    return twice
