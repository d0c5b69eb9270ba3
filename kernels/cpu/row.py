"""row: softmax and its kin; every row is reduced in stages and then mapped, while it is in L1 or L2."""

import itertools

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .stores import LONG, past_cache_pays, storing
from .vector import at, elements, pick, pointers, reduce_stages, vector_map_sum

TASK = 1 << 13  # elements, in whole rows


def build(spec):
    """The kernel of a `Row`: its operands are 2-D arrays, one row after the other, and what is shared by rows or columns."""
    labelled, has_output, has_value = spec.labelled, spec.output is not None, spec.value is not None
    output, value, stages = spec.output, spec.value, reduce_stages(spec.stages)
    first = np.cumsum([0, *spec.counts(), len(spec.scalars)])
    inputs, columns, labels, outputs, values, row_values, scalars = (
        pick(range(*ends)) for ends in itertools.pairwise(first)
    )
    threshold = _threshold(spec.threshold)
    store = storing(output) if has_output else None
    kept = any(stage.keep for stage in spec.stages)  # the output, written by a stage, is in the cache already
    streamable, arrays = has_output and not kept, len(spec.inputs) + 1

    @parallel
    def some_rows(rows, n, per_task, past, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            sources, targets = at(inputs(operands), r * n) + columns(operands), at(outputs(operands), r * n)
            if labelled:
                distance = np.int32(-labels(operands)[0][r])  # of a column from the row's label: a counting operand
                results, sources = stages(n, sources + (distance,), targets)
            else:
                results, sources = stages(n, sources, targets)
            results = results + threshold(n, sources, results) + elements(at(row_values(operands), r))
            if has_output:
                store(past, n, sources, targets, results + scalars(operands))
            if has_value:
                values(operands)[0][r] = value(*results)

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[0].shape
        if n > 0:
            per_task, operands, past = max(1, TASK // n), pointers(arguments), False
            if streamable and n >= LONG:
                past = past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), outputs(operands))
            some_rows((rows + per_task - 1) // per_task, (rows, n, per_task, past, operands))

    return run


def _threshold(spec):
    """A compiled function (count, sources, results) -> the threshold of a row, or nothing, as a tuple."""

    @function
    def nothing(count, sources, results):
        return ()

    if spec is None:
        return nothing
    start, terms, update = spec.start, spec.terms, spec.update

    @function
    def repeat(count, sources, results):
        value, before = start(*results), -1
        total, members = vector_map_sum(terms, count, sources, (), results + (value,))
        while members != before:
            value, before = update(total, members), members
            total, members = vector_map_sum(terms, count, sources, (), results + (value,))
        return (value,)

    return repeat
