"""channel: batch norm and its kin; statistics over each channel of (N, C, S) arrays and a map that uses them.

Two layouts. With S > 1 a channel is a set of contiguous runs: one task for each channel, whose data are still in L2 for
the map. With S == 1 channels are columns: fixed blocks of rows add into accumulators as wide as a row (blocks of
columns would thrash the cache sets when rows are a power of two apart, 3 to 5 times slower).
"""

import itertools

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .stores import past_cache_pays, storing
from .vector import (
    at,
    elements,
    pick,
    pointers,
    spread,
    vector_map,
    vector_map_accumulate,
    vector_map_sum,
    vector_rows_accumulate,
)

TOGETHER = 4  # rows whose terms are added to each other first: then totals are loaded and stored for every fourth only
ROWS = 256  # rows added in the arrays' type; blocks are added in float64, in order
TASK = 1 << 14  # elements of a map task


def build(spec):
    """The kernel of a `Channel`: inputs and outputs (N, C, S), channel inputs, channel outputs (C,), scalars, constants."""
    parts = _parts(spec)
    by_row, by_run = _build_rows(spec, spec.sums > 0, *parts), _build_runs(spec, spec.sums > 0, *parts)

    def run(*arguments):
        (by_row if arguments[0].shape[2] == 1 else by_run)(*arguments)

    run.dispatchers = (by_row, by_run)
    return run


def build_sample(spec):
    """The kernel of a `Sample`: an array (N, C, S), out (C,)."""
    fn = spec.function

    @kernel(spec)
    def run(*arguments):
        x, out = arguments
        n, channels, s = x.shape
        for c in range(channels * (n * s > 0)):
            middle, last = n * s // 2, n * s - 1
            out[c] = fn(x[0, c, 0], x[middle // s, c, middle % s], x[last // s, c, last % s])

    return run


def _parts(spec):
    """Functions that pick inputs, outputs, channel arrays of both passes and constants from the operands; `finish`."""
    counts = (
        len(spec.inputs), len(spec.outputs), spec.channel_inputs, spec.channel_outputs, len(spec.scalars),
        len(spec.constants),
    )  # fmt: skip
    ends = np.cumsum([0, *counts]).tolist()
    inputs, outputs, channel_inputs, channel_outputs, scalars, constants = (
        pick(range(*pair)) for pair in itertools.pairwise(ends)
    )
    with_reduce, with_map = (pick(ends[2] + k for k in which) for which in (spec.reduce_with, spec.map_with))
    finish = _finisher(spec, channel_inputs, channel_outputs, scalars)
    return len(spec.outputs) > 0, inputs, outputs, with_reduce, with_map, constants, finish


def _finisher(spec, channel_inputs, channel_outputs, scalars):
    """finish() for *count* channels from channel *c*; the sums come first, and so the arithmetic is in float64."""
    finish, sums = spec.finish, spec.sums

    @function
    def run(total, operands, terms, c, count):
        sources = spread(at(pointers((total,)), c), sums, total.shape[1]) + at(channel_inputs(operands), c)
        vector_map(finish, count, sources, at(channel_outputs(operands), c), (float(terms),) + scalars(operands))

    return run


def _build_runs(spec, has_sums, has_output, inputs, targets, reduce_with, map_with, constants, finish):
    reduce, output, sums, arrays = spec.reduce, spec.output, spec.sums, len(spec.inputs) + len(spec.outputs)
    map_run = storing(output, len(spec.outputs)) if has_output else None

    @parallel
    def run_channel(total, operands, n, channels, s, past, c):
        if has_sums:
            given = elements(at(reduce_with(operands), c)) + constants(operands)
            for i in range(n):
                sources = at(inputs(operands), (i * channels + c) * s)
                found = vector_map_sum(reduce, s, sources, (), given)
                for k in range(sums):
                    total[k, c] += found[k]
        finish(total, operands, n * s, c, 1)
        if has_output:
            given = elements(at(map_with(operands), c)) + constants(operands)
            for i in range(n):
                start = (i * channels + c) * s
                map_run(past, s, at(inputs(operands), start), at(targets(operands), start), given)

    @kernel(spec, ".runs")
    def run(*arguments):
        n, c, s = arguments[0].shape
        total = np.zeros((sums, c), np.float64)
        if n * s > 0:
            operands = pointers(arguments)
            past = past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), targets(operands))
            run_channel(c, (total, operands, n, c, s, past))

    return run


def _build_rows(spec, has_sums, has_output, inputs, targets, reduce_with, map_with, constants, finish):
    reduce, output, sums, arrays = spec.reduce, spec.output, spec.sums, len(spec.inputs) + len(spec.outputs)
    map_row = storing(output, len(spec.outputs)) if has_output else None

    @parallel
    def add_block(partial, operands, n, block):
        c = partial.shape[2]
        accumulators = spread(pointers((partial[block],)), sums, c)
        first, last = block * ROWS, min((block + 1) * ROWS, n)
        whole = last - (last - first) % TOGETHER
        for i in range(first, whole, TOGETHER):
            shared, given = reduce_with(operands), constants(operands)
            vector_rows_accumulate(reduce, TOGETHER, c, c, at(inputs(operands), i * c), shared, accumulators, given)
        for i in range(whole, last):
            sources = at(inputs(operands), i * c) + reduce_with(operands)
            vector_map_accumulate(reduce, c, sources, (), accumulators, constants(operands))

    @parallel
    def map_block(rows, operands, n, c, past, blocks, index):
        block = blocks - 1 - index  # from the end: the rows that were read last are still in the cache
        for i in range(block * rows, min((block + 1) * rows, n)):
            sources = at(inputs(operands), i * c) + map_with(operands)
            map_row(past, c, sources, at(targets(operands), i * c), constants(operands))

    @kernel(spec, ".rows")
    def run(*arguments):
        n, c, _ = arguments[0].shape
        operands, total = pointers(arguments), np.zeros((sums, c), np.float64)
        if n * c == 0:
            return
        if has_sums:
            blocks = (n + ROWS - 1) // ROWS
            partial = np.zeros((blocks, sums, c), arguments[0].dtype)
            add_block(blocks, (partial, operands, n))
            for b in range(blocks):
                for k in range(sums):
                    for j in range(c):
                        total[k, j] += partial[b, k, j]
        finish(total, operands, n, 0, c)
        if has_output:
            rows = max(1, TASK // c)
            past = past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), targets(operands))
            blocks = (n + rows - 1) // rows
            map_block(blocks, (rows, operands, n, c, past, blocks))

    return run
