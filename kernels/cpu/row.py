"""row: softmax and its kin; every row is reduced in stages and then mapped, while it is in L1 or L2."""

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .vector import at, vector_map, vector_reduce

TASK = 1 << 13  # elements, in whole rows


def build(spec):
    """The kernel of a `Row`: inputs, [labels], [output], [values], scalars; 2-D arrays, one row after the other."""
    inputs = len(spec.inputs)
    first_scalar = inputs + spec.labelled + (spec.output is not None) + (spec.value is not None)
    run_row = _row_function(spec, inputs, first_scalar)

    @parallel
    def some_rows(rows, per_task, arguments, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            run_row(arguments, r)

    @kernel(spec.name)
    def run(*arguments):
        rows, n = arguments[0].shape
        if n == 0:
            return
        per_task = max(1, TASK // n)
        some_rows((rows + per_task - 1) // per_task, rows, per_task, arguments)

    return run


def _row_function(spec, inputs, first_scalar):
    """The whole program of one row; stages are chained at build time, so that each compiles to its own loop."""
    labelled, has_output, has_value = spec.labelled, spec.output is not None, spec.value is not None
    output_at = inputs + labelled
    value_at = output_at + has_output
    value_end = value_at + has_value
    distance = _distance if labelled else _no_distance
    output, value = spec.output, spec.value
    stages = _chain(spec.stages)

    @function
    def run_row(arguments, r):
        n = arguments[0].shape[1]
        sources = at(arguments[:inputs], r * n) + distance(arguments[inputs:output_at], r)
        targets = at(arguments[output_at:value_at], r * n)
        results, sources = stages(n, sources, targets)
        if has_output:
            vector_map(output, n, sources, targets, results + arguments[first_scalar:])
        if has_value:
            arguments[value_at:value_end][0][r] = value(*results)

    return run_row


@function
def _distance(labels, r):
    """The column's distance from the row's label, as a counting operand of the loops."""
    return (np.int32(-labels[0][r]),)


@function
def _no_distance(labels, r):
    return ()


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
