"""norm: layer norm and its kin; every row is passed several times by its threads, and its terms are summed by a second grid.

That grid goes first, so that the output may be an input. It takes the arrays as (N, G * k, s), see `tiles`, and finds the
values of an element's row by division.
"""

import itertools

import numpy as np

from ..shapes import some_of
from .block import combine_total
from .compile import THREADS, cuda, flat, function, kernel
from .elements import add, load, store
from .tiles import sum_launcher


def build(spec):
    """The kernel of a `Norm`: inputs, output, affine operands, row inputs and outputs, [sums], scalars, segment."""
    counts = (
        len(spec.inputs),
        1,
        spec.affine,
        spec.row_inputs,
        spec.row_outputs,
        spec.affine_sums > 0,
        len(spec.scalars),
    )
    ends = np.cumsum([0, *counts]).tolist()
    grid, sum_terms = _grid(spec), _terms_launcher(spec) if spec.affine_sums else None

    def run(*arguments):
        rows, n = arguments[0].shape
        parts = [arguments[a:b] for a, b in itertools.pairwise(ends)]
        inputs, output, affine, known, results, sums = map(flat, parts[:6])
        segment, columns, dtype = int(arguments[-1]), affine[0].size, inputs[0].dtype
        if sums:
            sum_terms(rows * n, columns, segment, (inputs, affine, (), (n, known), ()), *sums)
        if rows * n:
            lanes = 1
            while lanes < min(n, THREADS):
                lanes *= 2
            zeros, per_block = (dtype.type(0),) * spec.sums, THREADS // lanes
            operands = (inputs, output, affine, known, results, zeros, dtype.type(n), parts[6])
            blocks = (rows + per_block - 1) // per_block
            grid.launch(blocks, (rows, n, segment, columns, lanes, *operands), THREADS * dtype.itemsize)

    return run


def _terms_launcher(spec):
    terms, first, last = spec.terms, len(spec.inputs), len(spec.inputs) + spec.row_inputs

    @function
    def values_of_row(index, stream):
        n, known = stream
        return load(known, index // n)

    @function
    def of_element(*values):  # inputs, values of the row, affine operands
        return terms(*(values[:first] + values[last:] + values[first:last]))

    return sum_launcher(spec, ".terms", of_element, 0, spec.affine_sums, values_of_row)


def _grid(spec):
    """A block takes as many rows as it has groups of *lanes* threads; a thread takes every lanes-th column."""
    mean, reduce, finish, output, stored = _mean(spec.prior), spec.reduce, _finish(spec), spec.output, spec.row_outputs
    given, combine = spec.row_inputs, _combiner(spec.sums)
    end_of_stored = given + stored

    @kernel(spec)
    def run(rows, n, segment, columns, lanes, inputs, outputs, affine, known, results, zeros, count, scalars):
        buffer = cuda.shared.array(0, inputs[0].dtype)
        lane, group, groups = cuda.threadIdx.x % lanes, cuda.threadIdx.x // lanes, THREADS // lanes
        first = np.int64(cuda.blockIdx.x) * groups
        while first < rows:  # as many turns for one thread of the block as for another: they meet in the sums
            r = min(first + group, rows - 1)
            start, end = r * n, n if first + group < rows else 0
            own = r * (n // segment) % columns
            values = load(known, r)
            values = values + mean(buffer, lane, lanes, start, end, inputs, n)
            found, column = zeros, lane
            while column < end:
                element = load(inputs, start + column) + load(affine, own + column // segment)
                found = add(found, reduce(*(element + values)))
                column += lanes
            values = values + finish(*(combine(buffer, found, lane, lanes) + values + (count,) + scalars))
            column = lane
            while column < end:
                element = load(inputs, start + column) + load(affine, own + column // segment)
                store(outputs, start + column, output(*(element + values)))
                column += lanes
            if lane == 0 and end > 0:
                store(results, r, values[given:end_of_stored])
            first += groups * cuda.gridDim.x

    return run


def _mean(prior):
    """A compiled function that gives the mean of *prior* over some elements of a row, or nothing, as a tuple."""
    some = function(some_of)

    @function
    def nothing(buffer, lane, lanes, start, end, inputs, n):
        return ()

    @function
    def mean(buffer, lane, lanes, start, end, inputs, n):
        total, column, wanted = buffer.dtype.type(0), lane, some(n)
        while column < min(end, wanted):
            total += prior(*load(inputs, start + column))
            column += lanes
        return (combine_total(buffer, total, lane, lanes, 1) / buffer.dtype.type(wanted),)

    return nothing if prior is None else mean


def _finish(spec):
    """*finish*, whose result is a tuple."""
    finish = spec.finish

    @function
    def single(*values):
        return (finish(*values),)

    return single if spec.results == 1 else finish


def _combiner(count):
    """A compiled function: each of *count* sums of a thread, combined over the threads of its row."""

    @function
    def nothing(buffer, found, lane, lanes):
        return ()

    before = nothing
    for k in range(count):
        before = _and_sum(before, k)
    return before


def _and_sum(before, k):
    @function
    def run(buffer, found, lane, lanes):
        return before(buffer, found, lane, lanes) + (combine_total(buffer, found[k], lane, lanes, 1),)

    return run
