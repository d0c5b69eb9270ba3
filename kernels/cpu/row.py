"""row: softmax and its kin; every row is reduced in stages and then mapped, while it is in L1 or L2."""

import itertools

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .vector import at, pick, pointers, vector_map, vector_reduce

TASK = 1 << 13  # elements, in whole rows


def build(spec):
    """The kernel of a `Row`: inputs, [labels], [output], [values], scalars; 2-D arrays, one row after the other."""
    run_row = _row_function(spec)

    @parallel
    def some_rows(rows, n, per_task, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            run_row(operands, n, r)

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[0].shape
        if n > 0:
            per_task = max(1, TASK // n)
            some_rows((rows + per_task - 1) // per_task, rows, n, per_task, pointers(arguments))

    return run


def _row_function(spec):
    """The whole program of one row; stages are chained at build time, so that each compiles to its own loop."""
    labelled, has_output, has_value = spec.labelled, spec.output is not None, spec.value is not None
    output, value, stages = spec.output, spec.value, _chain(spec.stages)
    first = np.cumsum([0, len(spec.inputs), labelled, has_output, has_value, len(spec.scalars)])
    inputs, labels, outputs, values, scalars = (pick(range(*ends)) for ends in itertools.pairwise(first))

    @function
    def run_row(operands, n, r):
        sources, targets = at(inputs(operands), r * n), at(outputs(operands), r * n)
        if labelled:
            distance = np.int32(-labels(operands)[0][r])  # of a column from the row's label: a counting operand
            results, sources = stages(n, sources + (distance,), targets)
        else:
            results, sources = stages(n, sources, targets)
        if has_output:
            vector_map(output, n, sources, targets, results + scalars(operands))
        if has_value:
            values(operands)[0][r] = value(*results)

    return run_row


def _chain(stages):
    """A function that runs *stages* in order: (n, sources, targets) -> (results, sources)."""

    @function
    def nothing(n, sources, targets):
        return (), sources

    before = nothing
    for stage in stages:
        before = _after(before, stage)
    return before


def _after(before, stage):
    combine, fn, keep = stage.combine, stage.function, stage.keep

    @function
    def with_stage(n, sources, targets):
        results, sources = before(n, sources, targets)
        kept = targets if keep else ()
        found = vector_reduce(combine, fn, n, sources, kept, results)
        return results + found, kept + sources[1:] if keep else sources

    return with_stage
