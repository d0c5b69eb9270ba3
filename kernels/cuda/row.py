"""row: softmax and its kin; every row is reduced in stages by its threads, and then mapped by them.

Rows may also lie across memory: an array (outer, n, inner) has outer * inner rows, whose elements are *inner* apart. As
neighbouring elements then belong to neighbouring rows, so do neighbouring threads.
"""

import numpy as np

from .block import COMBINERS, combine_total
from .compile import THREADS, cuda, flat, function, kernel
from .elements import load, read, store
from .tiles import WIDTH


def build(spec):
    """The kernel of a `Row`: its operands, whose 2-D arrays are (rows, n) or (outer, n, inner)."""
    grid, counts = _grid(spec), spec.counts()
    ends = np.cumsum(counts).tolist()

    def run(*arguments):
        outer, n, *rest = arguments[0].shape
        inner = rest[0] if rest else 1
        rows = outer * inner
        if rows * n == 0:
            return
        # Threads of a row: as many as there are columns, if they fit into a block beside those of neighbouring rows.
        lanes = _power_of_two(n, THREADS // _power_of_two(inner, WIDTH))
        arrays, per_block = flat(arguments[: ends[-1]]), THREADS // lanes
        groups = [arrays[end - count : end] for count, end in zip(counts, ends, strict=True)]
        operands = (rows, n, inner, lanes, *groups, tuple(arguments[ends[-1] :]))
        grid.launch((rows + per_block - 1) // per_block, operands, THREADS * arrays[0].dtype.itemsize)

    return run


def _power_of_two(wanted, most):
    """The first power of two that is *wanted* or more, or else *most*."""
    found = 1
    while found < min(wanted, most):
        found *= 2
    return found


def _grid(spec):
    """A block takes as many rows as it has groups of *lanes* threads; a thread takes every lanes-th column."""
    output, value = spec.output, spec.value
    has_output, has_value = output is not None, value is not None
    stages, distance, threshold = _chain(spec), _distance(spec.labelled), _threshold(spec.threshold)
    settled = _settled(spec.settled)

    @kernel(spec)
    def run(rows, n, inner, lanes, inputs, columns, labels, outputs, values, row_values, scalars):
        buffer = cuda.shared.array(0, inputs[0].dtype)
        thread, groups = cuda.threadIdx.x, THREADS // lanes
        apart = 1 if inner == 1 else groups
        lane, group = (thread % lanes, thread // lanes) if apart == 1 else (thread // groups, thread % groups)
        first = np.int64(cuda.blockIdx.x) * groups
        while first < rows:  # as many turns for one thread of the block as for another: they meet in the stages
            r = first + group
            start, end = r // inner * n * inner + r % inner, n if r < rows else 0
            row = (r, start, inner, end)
            results, sources = stages(buffer, (lane, lanes, apart), row, inputs, columns, labels, outputs)
            results = settled(results) + threshold(buffer, (lane, lanes, apart), row, sources, results)
            results = results + load(row_values, min(r, rows - 1))
            if has_output:
                column = lane
                while column < end:
                    index = start + column * inner
                    beside = load(columns, column) + distance(labels, r, column)
                    element = load(sources, index) + beside + results + scalars
                    store(outputs, index, output(*element))
                    column += lanes
            if has_value and lane == 0 and r < rows:
                store(values, r, value(*results))
            first += groups * cuda.gridDim.x

    return run


def _distance(labelled):
    """A compiled function that gives the column's distance from the row's label, or nothing, as a tuple."""
    if labelled:
        return function(lambda labels, r, column: (np.int32(column - read(labels[0], r)),))
    return function(lambda labels, r, column: ())


def _chain(spec):
    """A compiled function that runs the stages in order -> (results, sources)."""

    @function
    def nothing(buffer, threads, row, inputs, columns, labels, outputs):
        return (), inputs

    before = nothing
    for stage in spec.stages:
        before = _after(before, stage, _distance(spec.labelled))
    return before


def _after(before, stage, distance):
    fn, keep = stage.function, stage.keep

    @function
    def at_label(buffer, threads, row, inputs, columns, labels, outputs):
        results, sources = before(buffer, threads, row, inputs, columns, labels, outputs)
        r, start, inner, end = row
        found, label = buffer.dtype.type(0), read(labels[0], r) if end > 0 else -1
        if 0 <= label < end:
            here = load(sources, start + label * inner) + load(columns, label)
            found = fn(*(here + (np.int32(0),) + results))
        return results + (found,), sources

    if stage.combine == "label":
        return at_label
    neutral, join, combine = COMBINERS[stage.combine]

    @function
    def with_stage(buffer, threads, row, inputs, columns, labels, outputs):
        results, sources = before(buffer, threads, row, inputs, columns, labels, outputs)
        lane, lanes, apart = threads
        r, start, inner, end = row
        found = buffer.dtype.type(neutral)
        column = lane
        while column < end:
            index = start + column * inner
            value = fn(*(load(sources, index) + load(columns, column) + distance(labels, r, column) + results))
            if keep:  # read again by the same thread only
                store(outputs, index, value)
            found = join(found, value)
            column += lanes
        result = (combine(buffer, found, lane, lanes, apart),)
        return results + result, outputs + sources[1:] if keep else sources

    return with_stage


def _settled(fn):
    """A compiled function: results of stages -> those that the map takes."""

    @function
    def run(results):
        return results[:-1] + (fn(results[-1]),)

    return run if fn is not None else function(lambda results: results)


def _threshold(spec):
    """A compiled function that gives the threshold of a row, or nothing, as a tuple.

    All threads of a block meet in every sum, so each row takes as many turns as the one that needs most of them.
    """
    if spec is None:
        return function(lambda buffer, threads, row, sources, results: ())
    start, terms, update = spec.start, spec.terms, spec.update

    @function
    def repeat(buffer, threads, row, sources, results):
        lane, lanes, apart = threads
        _, first, inner, end = row
        value, before, changed = start(*results), buffer.dtype.type(-1), np.int32(1)
        while cuda.syncthreads_or(changed):
            found = members = buffer.dtype.type(0)
            column = lane
            while column < end:
                term, member = terms(*(load(sources, first + column * inner) + results + (value,)))
                found, members = found + term, members + member
                column += lanes
            found = combine_total(buffer, found, lane, lanes, apart)
            members = combine_total(buffer, members, lane, lanes, apart)
            changed = np.int32(members != before)
            if members != before:
                value, before = update(found, members), members
        return (value,)

    return repeat
