"""channel: batch norm and its kin; statistics over each channel of (N, C, S) arrays and a map that uses them.

Three grids run one after the other: sums of chunks of each channel; one thread for each channel that adds its chunks
and computes `finish`, both in float64; the map. See `tiles`.
"""

import numpy as np

from .compile import THREADS, cuda, flat, kernel
from .elements import read, write
from .tiles import finish_grid, partial_sums, shared_bytes, tile_grid, tiling


def build(spec):
    """The kernel of a `Channel`: inputs and outputs (N, C, S), channel inputs, channel outputs (C,), scalars, constants."""
    output = len(spec.inputs)
    channel = output + len(spec.outputs)
    result = channel + spec.channel_inputs
    scalar = result + spec.channel_outputs
    constant = scalar + len(spec.scalars)
    sums = tile_grid(spec, ".sums", spec.reduce, sums=spec.sums) if spec.sums else None
    finish = finish_grid(spec, spec.finish)
    apply = tile_grid(spec, "", spec.output, outputs=len(spec.outputs)) if spec.outputs else None

    def run(*arguments):
        n, channels, s = arguments[0].shape
        count = n * s
        if count * channels == 0:
            return
        arrays, scalars, constants = flat(arguments[:scalar]), arguments[scalar:constant], arguments[constant:]
        shape, chunks, blocks = tiling(count, channels, s)
        partial = partial_sums(spec.sums, chunks, channels, arrays[0].dtype)
        if sums:
            given = tuple(arrays[channel + k] for k in spec.reduce_with)
            operands = (arrays[:output], given, constants, (), (), partial)
            sums.launch(blocks, (*shape, *operands), shared_bytes(arrays[0].dtype))
        per_channel = (partial, arrays[channel:result], arrays[result:])
        finish.launch((channels + THREADS - 1) // THREADS, (channels, chunks, *per_channel, np.float64(count), scalars))
        if apply:
            given = tuple(arrays[channel + k] for k in spec.map_with)
            apply.launch(blocks, (*shape, arrays[:output], given, constants, (), arrays[output:channel], ()))

    return run


def build_sample(spec):
    """The kernel of a `Sample`: an array (N, C, S), out (C,)."""
    fn = spec.function

    @kernel(spec)
    def grid(count, channels, s, x, out):
        c = cuda.grid(1)
        while c < channels:
            middle, last = count // 2, count - 1
            at_middle = (middle // s * channels + c) * s + middle % s
            at_last = (last // s * channels + c) * s + last % s
            write(out, c, fn(read(x, c * s), read(x, at_middle), read(x, at_last)))
            c += cuda.gridsize(1)

    def run(*arguments):
        n, channels, s = arguments[0].shape
        if n * channels * s:
            grid.launch((channels + THREADS - 1) // THREADS, (n * s, channels, s, *flat(arguments)))

    return run
