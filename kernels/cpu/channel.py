"""channel: batch norm and its kin; statistics over each channel of (N, C, S) arrays and a map that uses them.

Two layouts. With S > 1 a channel is a set of contiguous runs: one task for each channel, whose data are still in L2 for
the map. With S == 1 channels are columns: fixed blocks of rows add into accumulators as wide as a row (blocks of
columns would thrash the cache sets when rows are a power of two apart, 3 to 5 times slower).
"""

import numpy as np

from .compile import function, kernel
from .pool import parallel
from .vector import at, elements, spread, vector_accumulate, vector_map, vector_reduce

ROWS = 64  # rows added in the arrays' type; blocks are added in float64, in order
TASK = 1 << 14  # elements of a map task


def build(spec):
    """The kernel of a `Channel`: inputs and output (N, C, S), channel inputs, channel outputs (C,), scalars."""
    by_run, by_row = _build_runs(spec), _build_rows(spec)
    sums = spec.sums

    @kernel(spec.name)
    def run(*arguments):
        n, c, s = arguments[0].shape
        total = np.zeros((sums, c), np.float64)
        if n * c * s == 0:
            return
        if s == 1:
            by_row(total, arguments)
        else:
            by_run(c, total, arguments)

    return run


def _operands(spec):
    """Slices of the arguments: (inputs, output, channel inputs, channel outputs, scalars) as start positions."""
    output = len(spec.inputs)
    channel_in = output + (spec.output is not None)
    channel_out = channel_in + spec.channel_inputs
    return output, channel_in, channel_out, channel_out + spec.channel_outputs


def _finisher(spec):
    """finish() for *count* channels from channel *c*; the sums come first and so the arithmetic is in float64."""
    finish, sums = spec.finish, spec.sums
    _, channel_in, channel_out, scalars = _operands(spec)

    @function
    def run(total, arguments, c, count):
        n, channels, s = arguments[0].shape
        sources = spread(at((total,), c), sums, channels) + at(arguments[channel_in:channel_out], c)
        vector_map(finish, count, sources, at(arguments[channel_out:scalars], c), (float(n * s),) + arguments[scalars:])

    return run


def _picker(first, which):
    """A function: arguments -> the arrays at first + k for each k of *which*, as a tuple."""

    @function
    def nothing(arguments):
        return ()

    picked = nothing
    for k in which:
        picked = _and_one(picked, first + k)
    return picked


def _and_one(before, position):
    following = position + 1

    @function
    def picked(arguments):
        return before(arguments) + arguments[position:following]

    return picked


def _build_runs(spec):
    reduce, output, sums = spec.reduce, spec.output, spec.sums
    has_sums, has_output = sums > 0, output is not None
    out, channel_in, _, _ = _operands(spec)
    reduce_with, map_with = _picker(channel_in, spec.reduce_with), _picker(channel_in, spec.map_with)
    finish = _finisher(spec)

    @parallel
    def channels(total, arguments, c):
        n, channels, s = arguments[0].shape
        if has_sums:
            given = elements(at(reduce_with(arguments), c))
            for i in range(n):
                sources = at(arguments[:out], (i * channels + c) * s)
                found = vector_reduce("sum", reduce, s, sources, (), given)
                for k in range(sums):
                    total[k, c] += found[k]
        finish(total, arguments, c, 1)
        if has_output:
            given = elements(at(map_with(arguments), c))
            for i in range(n):
                start = (i * channels + c) * s
                vector_map(output, s, at(arguments[:out], start), at(arguments[out:channel_in], start), given)

    return channels


def _build_rows(spec):
    reduce, output, sums = spec.reduce, spec.output, spec.sums
    has_sums, has_output = sums > 0, output is not None
    out, channel_in, _, _ = _operands(spec)
    reduce_with, map_with = _picker(channel_in, spec.reduce_with), _picker(channel_in, spec.map_with)
    finish = _finisher(spec)

    @parallel
    def add_block(partial, arguments, block):
        n, c, _ = arguments[0].shape
        accumulators = spread(at((partial,), block * sums * c), sums, c)
        given = at(reduce_with(arguments), 0)
        for i in range(block * ROWS, min((block + 1) * ROWS, n)):
            vector_accumulate(reduce, c, at(arguments[:out], i * c) + given, accumulators, ())

    @parallel
    def map_block(rows, arguments, block):
        n, c, _ = arguments[0].shape
        given = at(map_with(arguments), 0)
        for i in range(block * rows, min((block + 1) * rows, n)):
            vector_map(output, c, at(arguments[:out], i * c) + given, at(arguments[out:channel_in], i * c), ())

    @function
    def run(total, arguments):
        n, c, _ = arguments[0].shape
        if has_sums:
            blocks = (n + ROWS - 1) // ROWS
            partial = np.zeros((blocks, sums, c), arguments[0].dtype)
            add_block(blocks, partial, arguments)
            for b in range(blocks):
                for k in range(sums):
                    for j in range(c):
                        total[k, j] += partial[b, k, j]
        finish(total, arguments, 0, c)
        if has_output:
            rows = max(1, TASK // c)
            map_block((n + rows - 1) // rows, rows, arguments)

    return run
