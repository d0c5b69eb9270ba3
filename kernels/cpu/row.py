"""row: softmax and its kin; every row is reduced in stages and then mapped, while it is in L1 or L2."""

import itertools

import numpy as np

from .compile import kernel
from .pool import parallel
from .vector import at, pick, pointers, reduce_stages, vector_map

TASK = 1 << 13  # elements, in whole rows


def build(spec):
    """The kernel of a `Row`: inputs, [labels], [output], [values], scalars; 2-D arrays, one row after the other."""
    labelled, has_output, has_value = spec.labelled, spec.output is not None, spec.value is not None
    output, value, stages = spec.output, spec.value, reduce_stages(spec.stages)
    first = np.cumsum([0, len(spec.inputs), labelled, has_output, has_value, len(spec.scalars)])
    inputs, labels, outputs, values, scalars = (pick(range(*ends)) for ends in itertools.pairwise(first))

    @parallel
    def some_rows(rows, n, per_task, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
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

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[0].shape
        if n > 0:
            per_task = max(1, TASK // n)
            some_rows((rows + per_task - 1) // per_task, (rows, n, per_task, pointers(arguments)))

    return run
