"""Arrays (N, C, S) channel by channel: maps with a channel's values, and sums over each channel.

Sums take two grids: those of fixed chunks of each channel, in the arrays' own type; then one thread for each channel,
that adds its chunks in order, in float64. The tiling follows from the shape alone, and so do the bits of the result.

A block of threads takes a chunk of *width* neighbouring channels: one where a channel's elements lie in contiguous runs
(S > 1), and as many as fit into a line of memory where channels are columns (S == 1).
"""

import numpy as np

from .block import combine_total
from .compile import THREADS, cuda, function, kernel, workspace
from .elements import add, load, repeat, store, write

WIDTH = min(32, THREADS // 2)  # channels of a block if S == 1: 128 bytes of float32, read by one warp
CHUNK = 16 * THREADS  # elements of a chunk, at least
MOST_CHUNKS = 256  # of a channel, which one thread adds up


def tiling(count, channels, s):
    """What grids need to know of channels of *count* elements: their first five arguments, and how many chunks and blocks."""
    width = WIDTH if s == 1 else 1
    chunk = max(CHUNK // width, (count + MOST_CHUNKS - 1) // MOST_CHUNKS)
    chunks = (count + chunk - 1) // chunk
    return (count, channels, s, width, chunk), chunks, chunks * ((channels + width - 1) // width)


def partial_sums(sums, chunks, channels, dtype):
    """Memory for the *sums* sums of each chunk; a grid that fills it needs `shared_bytes` of shared memory."""
    return tuple(workspace(chunks * channels, dtype, slot) for slot in range(sums))


def shared_bytes(dtype):
    return THREADS * dtype.itemsize


@function
def no_bits(index, stream):
    return ()


def tile_grid(spec, part, fn, outputs=0, sums=0, bits=no_bits):
    """A grid that computes ``fn(*inputs, *bits, *channel values, *scalars)`` -> (*outputs, *terms) of each element.

    The terms' sums over each chunk go to *partial*. *bits* is a compiled function of the element's index and *stream*.
    """
    no_sums, keep, write_sums = _summing(outputs, sums)

    @kernel(spec, part)
    def run(count, channels, s, width, chunk, inputs, values, scalars, stream, outputs, partial):
        members = THREADS // width
        blocks = (count + chunk - 1) // chunk * ((channels + width - 1) // width)
        block = np.int64(cuda.blockIdx.x)
        while block < blocks:
            c, j, end = _place(channels, width, chunk, count, block)
            slot = j // chunk * channels + c
            found = no_sums(partial)
            if c < channels:
                after = load(values, c) + scalars
                i, rest = j // s, j % s
                while j < end:
                    index = (i * channels + c) * s + rest
                    value = fn(*(load(inputs, index) + bits(index, stream) + after))
                    found = keep(value, index, outputs, found)
                    j, i, rest = j + members, i + members // s, rest + members % s
                    if rest >= s:
                        i, rest = i + 1, rest - s
            write_sums(found, partial, slot, c < channels, width)
            block += cuda.gridDim.x

    return run


@function
def _place(channels, width, chunk, count, block):
    """Where this thread begins in *block*: its channel, element of the channel, and one past the chunk's last one."""
    across = (channels + width - 1) // width
    part, first = block // across, (block % across) * width
    return first + cuda.threadIdx.x % width, part * chunk + cuda.threadIdx.x // width, min((part + 1) * chunk, count)


def _summing(outputs, sums):
    """Compiled functions: a thread's sums to begin with; store and add what an element gave; write the block's sums."""

    @function
    def zeros(partial):
        return repeat(partial[0].dtype.type(0), partial)

    @function
    def store_and_add(value, index, targets, found):
        store(targets, index, value[:outputs])
        return add(found, value[outputs:])

    @function
    def only_add(value, index, targets, found):
        return add(found, value)

    @function
    def write_sums(found, partial, slot, inside, width):
        buffer = cuda.shared.array(0, partial[0].dtype)
        member = cuda.threadIdx.x // width
        for k in range(sums):
            total = combine_total(buffer, found[k], member, THREADS // width, width)
            if member == 0 and inside:
                write(partial[k], slot, total)

    return (zeros, store_and_add if outputs else only_add, write_sums) if sums else (_nothing, _only_store, _written)


@function
def _nothing(partial):
    return ()


@function
def _only_store(value, index, targets, found):
    store(targets, index, value)
    return found


@function
def _written(found, partial, slot, inside, width):
    pass


def finish_grid(spec, finish):
    """A grid that gives each channel's outputs: ``finish(*sums, *channel inputs, count, *scalars)``, sums in float64."""

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


def sum_launcher(spec, part, fn, outputs, sums, bits=no_bits):
    """A function that launches a tile grid of *fn* and the grid that adds its chunks.

    It takes the number of elements, of channels and S, what the grid takes from *inputs* to *outputs*, and a flat array for the
    *sums* sums of each channel, one after the other; without elements they are 0.
    """
    grid, finish = tile_grid(spec, part, fn, outputs, sums, bits), finish_grid(spec, _only_sums)

    def launch(n, channels, s, operands, totals):
        if channels == 0:
            return
        count = n // channels
        shape, chunks, blocks = tiling(count, channels, s)
        partial = partial_sums(sums, chunks, channels, totals.dtype)
        if n > 0:
            grid.launch(blocks, (*shape, *operands, partial), shared_bytes(totals.dtype))
        each = tuple(totals[k * channels : (k + 1) * channels] for k in range(sums))
        operands = (channels, chunks, partial, (), each, np.float64(count), ())
        finish.launch((channels + THREADS - 1) // THREADS, operands)

    return launch


@function
def _only_sums(*values):
    return values[:-1]  # the last one is the number of elements
