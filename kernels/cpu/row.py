"""row: softmax and its kin; every row is reduced in stages and then mapped, while it is in L1 or L2.

Labels are looked at before anything is written: they are few, and NumPy would take longer for it than the kernel.

Large outputs are stored past the cache. What a stage keeps for the map lies in scratch then, not in the output, and while a
row is stored, what comes next is fetched, so that memory is busy while the stages compute.
"""

import itertools

import numpy as np

from .compile import function, kernel
from .map import DONE, REFUSED
from .pool import parallel
from .stores import fetched_ahead, past_cache_pays, storing_pieces
from .vector import BLOCK, at, elements, end_stream, pick, pointers, reduce_stages, scratch, vector_map_sum

TASK = 1 << 13  # elements, in whole rows
LABEL_TASK = 1 << 8  # rows, of each of which one element is read
PAST_TASK = 1 << 16  # elements of a task whose output goes past the cache: its first row has not been fetched
LONG = 1 << 9  # elements of rows that are stored past the cache: those of 256 took 0.8 to 1.3 times as long
KEPT = 1 << 12  # elements of rows that a stage keeps in scratch, at most


def build(spec):
    """The kernel of a `Row`: its operands are 2-D arrays, one row after the other, and what is shared by rows or columns.

    It returns DONE, or REFUSED with nothing written: a label that is no column.
    """
    labelled, has_output, has_value = spec.labelled, spec.output is not None, spec.value is not None
    output, value, stages = spec.output, spec.value, reduce_stages(spec.stages)
    first = np.cumsum([0, *spec.counts(), len(spec.scalars)])
    inputs, columns, labels, outputs, values, row_values, scalars = (
        pick(range(*ends)) for ends in itertools.pairwise(first)
    )
    threshold, settled = _threshold(spec.threshold), _settled(spec.settled)
    store = storing_pieces(output) if has_output else None
    keeps, arrays = any(stage.keep for stage in spec.stages), len(spec.inputs) + 1
    longest = KEPT if keeps else np.iinfo(np.int64).max
    reads_rows = has_output or any(stage.combine != "label" for stage in spec.stages)

    @function
    def kept(past, room, targets):
        if keeps:
            return room if past else targets
        return targets

    @parallel
    def some_rows(rows, n, per_task, past, ahead, operands, index):
        room, line = scratch(KEPT, inputs(operands)[0]), scratch(BLOCK, inputs(operands)[0])
        begun, end = False, min((index + 1) * per_task, rows)
        for r in range(index * per_task, end):
            sources, targets = at(inputs(operands), r * n) + columns(operands), at(outputs(operands), r * n)
            if labelled:
                distance = np.int32(-labels(operands)[0][r])  # of a column from the row's label: a counting operand
                results, sources = stages(n, sources + (distance,), kept(past, room, targets))
            else:
                results, sources = stages(n, sources, kept(past, room, targets))
            results = settled(results) + threshold(n, sources, results) + elements(at(row_values(operands), r))
            if has_output:
                following = at(inputs(operands), r * n + ahead)
                begun = store(past, n, sources, targets, results + scalars(operands), following, line, begun)
            if has_value:
                values(operands)[0][r] = value(*results)
        if has_output:
            end_stream(at(outputs(operands), end * n), line, begun)

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[0].shape
        if n > 0:
            operands, past, ahead = pointers(arguments), False, fetched_ahead(n)
            if labelled and not are_columns(labels(operands)[0], rows, n):
                return REFUSED
            if has_output and LONG <= n <= longest:
                past = past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), outputs(operands))
            per_task = max(1, (PAST_TASK if past else TASK) // n) if reads_rows else LABEL_TASK
            some_rows((rows + per_task - 1) // per_task, (rows, n, per_task, past, ahead, operands))
        return DONE

    return run


@function
def are_columns(labels, rows, n):
    """Whether all labels are from 0 to n - 1."""
    largest = np.uint64(0)  # as unsigned numbers, negative ones are larger than any number of columns
    for r in range(rows):
        largest = max(largest, np.uint64(labels[r]))
    return largest < np.uint64(n)


def _settled(fn):
    """A compiled function: results of stages -> those that the map takes."""

    @function
    def run(results):
        return results[:-1] + (fn(results[-1]),)

    return run if fn is not None else function(lambda results: results)


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
