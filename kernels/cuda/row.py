"""row: softmax and its kin; every row is reduced in stages by its threads, and then mapped by them."""

import numpy as np

from .block import combine_maximum, combine_total, maximum, total
from .compile import THREADS, cuda, flat, function, kernel
from .elements import load, read, store

_COMBINERS = {"sum": (0.0, total, combine_total), "max": (-np.inf, maximum, combine_maximum)}


def build(spec):
    """The kernel of a `Row`: inputs, [labels], [output], [values], scalars; 2-D arrays, one row after the other."""
    grid = _grid(spec)
    counts = (len(spec.inputs), int(spec.labelled), int(spec.output is not None), int(spec.value is not None))
    ends = np.cumsum(counts).tolist()

    def run(*arguments):
        rows, n = arguments[0].shape
        if rows * n == 0:
            return
        lanes = 1  # threads of a row: as many as there are columns, if they fit into a block
        while lanes < min(n, THREADS):
            lanes *= 2
        arrays, per_block = flat(arguments[: ends[-1]]), THREADS // lanes
        groups = [arrays[end - count : end] for count, end in zip(counts, ends, strict=True)]
        operands = (rows, n, lanes, *groups, tuple(arguments[ends[-1] :]))
        grid.launch((rows + per_block - 1) // per_block, operands, THREADS * arrays[0].dtype.itemsize)

    return run


def _grid(spec):
    """A block takes as many rows as it has groups of *lanes* threads; a thread takes every lanes-th column."""
    output, value = spec.output, spec.value
    has_output, has_value = output is not None, value is not None
    stages, distance = _chain(spec), _distance(spec.labelled)

    @kernel(spec)
    def run(rows, n, lanes, inputs, labels, outputs, values, scalars):
        buffer = cuda.shared.array(0, inputs[0].dtype)
        lane, group, groups = cuda.threadIdx.x % lanes, cuda.threadIdx.x // lanes, THREADS // lanes
        first = np.int64(cuda.blockIdx.x) * groups
        while first < rows:  # as many turns for one thread of the block as for another: they meet in the stages
            r = first + group
            start, end = r * n, n if r < rows else 0
            results, sources = stages(buffer, lane, lanes, r, start, end, inputs, labels, outputs)
            if has_output:
                column = lane
                while column < end:
                    element = load(sources, start + column) + distance(labels, r, column) + results + scalars
                    store(outputs, start + column, output(*element))
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
    def nothing(buffer, lane, lanes, r, start, end, inputs, labels, outputs):
        return (), inputs

    before = nothing
    for stage in spec.stages:
        before = _after(before, stage, _distance(spec.labelled))
    return before


def _after(before, stage, distance):
    fn, keep = stage.function, stage.keep
    neutral, join, combine = _COMBINERS[stage.combine]

    @function
    def with_stage(buffer, lane, lanes, r, start, end, inputs, labels, outputs):
        results, sources = before(buffer, lane, lanes, r, start, end, inputs, labels, outputs)
        found = buffer.dtype.type(neutral)
        column = lane
        while column < end:
            value = fn(*(load(sources, start + column) + distance(labels, r, column) + results))
            if keep:  # read again by the same thread only
                store(outputs, start + column, value)
            found = join(found, value)
            column += lanes
        result = (combine(buffer, found, lane, lanes, 1),)
        return results + result, outputs + sources[1:] if keep else sources

    return with_stage
