"""channel: batch norm and its kin; statistics over each channel of (N, C, S) arrays and a map that uses them.

Both passes take examples in the order of memory, in blocks that depend on the shape alone; the map begins with the last ones,
which are still in the cache. (A task for each channel, whose elements L2 should have kept for the map, took a fifth to a third
longer. Channels are often a power of two apart, and then share few sets of a cache, which may be why.)

Two layouts. With S > 1 a channel is a run of elements in each example. With S == 1 channels are columns, which are added into
accumulators as wide as a row.
"""

import itertools

import numpy as np

from .compile import building, function, kernel
from .pool import parallel, worth_threads
from .stores import past_cache_pays, storing, storing_pieces
from .vector import (
    BLOCK,
    at,
    elements,
    end_stream,
    pick,
    pointers,
    scratch,
    spread,
    vector_map,
    vector_map_accumulate,
    vector_map_sum,
    vector_rows_accumulate,
    vector_rows_map,
)

TOGETHER = 4  # rows that pass at once: what belongs to columns is loaded, and totals stored, for every fourth only
ROWS = 256  # rows added in the arrays' type; blocks are added in float64, in order
TASK = 1 << 14  # elements of a map task, and of a block of rows, at least
WIDE = 1 << 8  # channels of rows that are stored past the cache: a row may begin and end with a part of a line
SOME_BLOCKS = 16  # of rows, where there are as many
MOST_BLOCKS = 256  # of images


def build(spec):
    """The kernel of a `Channel`: inputs and outputs (N, C, S), channel inputs, channel outputs (C,), scalars, constants."""
    parts, found = _parts(spec), []
    for part, build_part in ((".rows", _build_rows), (".runs", _build_runs)):
        with building(spec, part):
            found.append(build_part(spec, *parts))
    by_row, by_run = found

    def part_of(shape):
        """The compiled kernel for arrays of that shape."""
        return by_row if shape[2] == 1 else by_run

    def run(*arguments):
        part_of(arguments[0].shape)(*arguments)

    run.dispatchers, run.part_of = (by_row, by_run), part_of
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
    return inputs, outputs, with_reduce, with_map, constants, finish


def _finisher(spec, channel_inputs, channel_outputs, scalars):
    """finish() for *count* channels from channel *c*; the sums come first, and so the arithmetic is in float64."""
    finish, sums = spec.finish, spec.sums

    @function
    def run(total, operands, terms, c, count):
        sources = spread(at(pointers((total,)), c), sums, total.shape[1]) + at(channel_inputs(operands), c)
        vector_map(finish, count, sources, at(channel_outputs(operands), c), (float(terms),) + scalars(operands))

    return run


def _build(spec, part, add_block, map_block, finish, operands_of, group_of):
    """The kernel of one layout: blocks of examples are added up, the blocks combined in order, and blocks of examples mapped."""
    sums, has_sums, has_output = spec.sums, spec.sums > 0, len(spec.outputs) > 0
    arrays, (inputs, targets) = len(spec.inputs) + len(spec.outputs), operands_of

    @kernel(spec, part)
    def run(*arguments):
        n, c, s = arguments[0].shape
        if n * c * s == 0:
            return
        operands, total = pointers(arguments), np.zeros((sums, c), np.float64)
        if has_sums:
            group = group_of(n, c, s)
            blocks = (n + group - 1) // group
            partial = np.zeros((blocks, sums, c), arguments[0].dtype)
            add_block(worth_threads(blocks, n * c * s), (partial, operands, n, s, group))
            for b in range(blocks):
                for k in range(sums):
                    for j in range(c):
                        total[k, j] += partial[b, k, j]
        finish(total, operands, n * s, 0, c)
        if has_output:
            group = max(1, TASK // (c * s))
            blocks = (n + group - 1) // group
            past = past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), targets(operands))
            map_block(worth_threads(blocks, n * c * s), (operands, n, c, s, group, past, blocks))

    return run


def _build_runs(spec, inputs, targets, reduce_with, map_with, constants, finish):
    reduce, sums, map_run = spec.reduce, spec.sums, storing(spec.output) if spec.outputs else None

    @function
    def images(n, c, s):
        """To be added to each other: some thousand elements, and more for many of them, for there is a sum for each block."""
        return max(1, TASK // (c * s), n // MOST_BLOCKS)

    @parallel
    def add_block(partial, operands, n, s, group, block):
        channels = partial.shape[2]
        for i in range(block * group, min((block + 1) * group, n)):
            for c in range(channels):
                given = elements(at(reduce_with(operands), c)) + constants(operands)
                found = vector_map_sum(reduce, s, at(inputs(operands), (i * channels + c) * s), (), given)
                for k in range(sums):
                    partial[block, k, c] += found[k]

    @parallel
    def map_block(operands, n, channels, s, group, past, blocks, index):
        block = blocks - 1 - index  # from the end: what was read last is still in the cache
        for i in range(block * group, min((block + 1) * group, n)):
            for c in range(channels):
                start, given = (i * channels + c) * s, elements(at(map_with(operands), c)) + constants(operands)
                map_run(past, s, at(inputs(operands), start), at(targets(operands), start), given)

    return _build(spec, ".runs", add_block, map_block, finish, (inputs, targets), images)


def _build_rows(spec, inputs, targets, reduce_with, map_with, constants, finish):
    reduce, output, sums = spec.reduce, spec.output, spec.sums
    streamable = len(spec.outputs) == 1
    store = storing_pieces(output) if streamable else None

    @function
    def rows(n, c, s):
        """To be added to each other: at most ROWS, and fewer for few rows, so that there is work for all cores."""
        wanted = min(ROWS, max(TASK // c, n // SOME_BLOCKS))
        return (wanted + TOGETHER - 1) // TOGETHER * TOGETHER

    @parallel
    def add_block(partial, operands, n, s, group, block):
        c = partial.shape[2]
        accumulators = spread(pointers((partial[block],)), sums, c)
        first, last = block * group, min((block + 1) * group, n)
        whole = last - (last - first) % TOGETHER
        for i in range(first, whole, TOGETHER):
            shared, given = reduce_with(operands), constants(operands)
            sources = at(inputs(operands), i * c)
            vector_rows_accumulate(reduce, TOGETHER, c, c, sources, shared, (), accumulators, given)
        for i in range(whole, last):
            sources = at(inputs(operands), i * c) + reduce_with(operands)
            vector_map_accumulate(reduce, c, sources, (), accumulators, constants(operands))

    @parallel
    def map_block(operands, n, c, s, group, past, blocks, index):
        block = blocks - 1 - index
        first, last = block * group, min((block + 1) * group, n)
        past = past and streamable and c >= WIDE  # row by row
        whole = first if past else last - (last - first) % TOGETHER
        for i in range(first, whole, TOGETHER):
            shared, given = map_with(operands), constants(operands)
            vector_rows_map(
                output, TOGETHER, c, c, at(inputs(operands), i * c), shared, at(targets(operands), i * c), given
            )
        line, begun = scratch(BLOCK, inputs(operands)[0]), False
        for i in range(whole, last):
            sources, targeted = at(inputs(operands), i * c) + map_with(operands), at(targets(operands), i * c)
            if streamable:
                begun = store(past, c, sources, targeted, constants(operands), (), line, begun)
            else:
                vector_map(output, c, sources, targeted, constants(operands))
        if streamable:
            end_stream(at(targets(operands), last * c), line, begun)

    return _build(spec, ".rows", add_block, map_block, finish, (inputs, targets), rows)
