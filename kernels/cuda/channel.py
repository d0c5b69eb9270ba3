"""channel: batch norm and its kin; statistics over each channel of (N, C, S) arrays and a map that uses them.

Three grids run one after the other: sums of fixed chunks of each channel, in the arrays' own type; one thread for each
channel that adds its chunks in order and computes `finish`, both in float64; the map.

A block of threads takes a chunk of *width* neighbouring channels: one where a channel's elements lie in contiguous runs
(S > 1), and as many as fit into a line of memory where channels are columns (S == 1).
"""

import numpy as np

from .block import combine_total
from .compile import THREADS, cuda, flat, function, kernel, workspace
from .elements import add, load, repeat, store, write

WIDTH = min(32, THREADS // 2)  # channels of a block if S == 1: 128 bytes of float32, read by one warp
CHUNK = 16 * THREADS  # elements of a chunk, at least
MOST_CHUNKS = 256  # of a channel, which one thread adds up


def build(spec):
    """The kernel of a `Channel`: inputs and output (N, C, S), channel inputs, channel outputs (C,), scalars."""
    output = len(spec.inputs)
    channel = output + (spec.output is not None)
    result = channel + spec.channel_inputs
    scalar = result + spec.channel_outputs
    sums = _sum_grid(spec) if spec.sums else None
    finish = _finish_grid(spec)
    apply = _map_grid(spec) if spec.output is not None else None

    def run(*arguments):
        n, channels, s = arguments[0].shape
        count = n * s
        if count * channels == 0:
            return
        arrays = flat(arguments[:scalar])
        shape, chunks, blocks = _tiling(n, channels, s)
        partial = tuple(workspace(chunks * channels, arrays[0].dtype, slot) for slot in range(spec.sums))
        if sums:
            given = tuple(arrays[channel + k] for k in spec.reduce_with)
            sums.launch(blocks, (*shape, arrays[:output], given, partial), THREADS * arrays[0].dtype.itemsize)
        per_channel = (partial, arrays[channel:result], arrays[result:])
        scalars = tuple(arguments[scalar:])
        finish.launch((channels + THREADS - 1) // THREADS, (channels, chunks, *per_channel, np.float64(count), scalars))
        if apply:
            given = tuple(arrays[channel + k] for k in spec.map_with)
            apply.launch(blocks, (*shape, arrays[:output], given, arrays[output:channel]))

    return run


def _tiling(n, channels, s):
    """What grids need to know of the shape: (count, channels, s, width, chunk), and how many chunks and blocks."""
    count, width = n * s, WIDTH if s == 1 else 1
    chunk = max(CHUNK // width, (count + MOST_CHUNKS - 1) // MOST_CHUNKS)
    chunks = (count + chunk - 1) // chunk
    return (count, channels, s, width, chunk), chunks, chunks * ((channels + width - 1) // width)


@function
def place(channels, s, width, chunk, count, block):
    """Where this thread begins in *block*: its channel, element of the channel, and one past the chunk's last one."""
    across = (channels + width - 1) // width
    part, first = block // across, (block % across) * width
    return first + cuda.threadIdx.x % width, part * chunk + cuda.threadIdx.x // width, min((part + 1) * chunk, count)


def _sum_grid(spec):
    fn, sums = spec.reduce, spec.sums

    @kernel(spec, ".sums")
    def run(count, channels, s, width, chunk, inputs, given, partial):
        buffer = cuda.shared.array(0, inputs[0].dtype)
        member, members = cuda.threadIdx.x // width, THREADS // width
        blocks = (count + chunk - 1) // chunk * ((channels + width - 1) // width)
        block = np.int64(cuda.blockIdx.x)
        while block < blocks:
            c, j, end = place(channels, s, width, chunk, count, block)
            slot = j // chunk * channels + c
            found = repeat(buffer.dtype.type(0), partial)
            if c < channels:
                parameters = load(given, c)
                i, rest = j // s, j % s
                while j < end:
                    found = add(found, fn(*(load(inputs, (i * channels + c) * s + rest) + parameters)))
                    j, i, rest = j + members, i + members // s, rest + members % s
                    if rest >= s:
                        i, rest = i + 1, rest - s
            for k in range(sums):
                total = combine_total(buffer, found[k], member, members, width)
                if member == 0 and c < channels:
                    write(partial[k], slot, total)
            block += cuda.gridDim.x

    return run


def _finish_grid(spec):
    finish = spec.finish

    @kernel(spec, ".finish", float64=True)
    def run(channels, chunks, partial, channel_inputs, channel_outputs, count, scalars):
        c, threads = cuda.grid(1), cuda.gridsize(1)
        while c < channels:
            totals = repeat(np.float64(0), partial)
            for part in range(chunks):
                totals = add(totals, load(partial, part * channels + c))
            store(channel_outputs, c, finish(*(totals + load(channel_inputs, c) + (count,) + scalars)))
            c += threads

    return run


def _map_grid(spec):
    fn = spec.output

    @kernel(spec)
    def run(count, channels, s, width, chunk, inputs, given, outputs):
        members = THREADS // width
        blocks = (count + chunk - 1) // chunk * ((channels + width - 1) // width)
        block = np.int64(cuda.blockIdx.x)
        while block < blocks:
            c, j, end = place(channels, s, width, chunk, count, block)
            if c < channels:
                parameters = load(given, c)
                i, rest = j // s, j % s
                while j < end:
                    index = (i * channels + c) * s + rest
                    store(outputs, index, fn(*(load(inputs, index) + parameters)))
                    j, i, rest = j + members, i + members // s, rest + members % s
                    if rest >= s:
                        i, rest = i + 1, rest - s
            block += cuda.gridDim.x

    return run
