"""map by channel: maps with an operand for each channel (biases, slopes), and with sums over each channel (their gradients).

Element e of the flat arrays belongs to channel ``(e // inner) % C``. Without sums a thread takes four elements at once,
as in `map`, and finds the channel of the first by division and the others' from there. With sums a block of threads
takes chunks of a channel, see `tiles`.
"""

import itertools

import numpy as np

from ..scalar.random import random_bits
from .compile import THREADS, cuda, flat, function, kernel
from .elements import WIDTH, aligned, load, load_wide, store, store_wide
from .tiles import no_bits, sum_launcher


def build(spec):
    """The kernel of a `Map` with channels or sums; without elements it launches nothing, or what writes sums of 0."""
    counts = [len(spec.inputs), len(spec.outputs), spec.channels, spec.sums > 0, len(spec.scalars), 3 * spec.random]
    ends = np.cumsum([0, *counts]).tolist()
    launch = _build_sums(spec) if spec.sums else _build_plain(spec)

    def run(*arguments):
        inputs, outputs, values, sums, scalars, stream = (arguments[a:b] for a, b in itertools.pairwise(ends))
        n, (*_, channels) = arguments[0].size, (values + sums)[-1].shape
        launch(n, channels, int(arguments[-1]), flat(inputs), flat(values), scalars, stream, flat(outputs), *flat(sums))

    return run


def _bits(spec):
    """A compiled function: the random bits of an element as a tuple, empty for maps that take none."""

    @function
    def bits(index, stream):
        seed, offset, start = stream
        return (random_bits(np.uint64(start + index), seed, offset),)

    return bits if spec.random else no_bits


def _build_plain(spec):
    fn, bits = spec.function, _bits(spec)

    @function
    def value(i, elements, c, values, scalars, stream):
        return fn(*(elements + bits(i, stream) + load(values, c) + scalars))

    @function
    def following(c, rest, channels, inner):
        """The channel of the next element, and how many elements of the same run are before that."""
        if rest + 1 < inner:
            return c, rest + 1
        return (c + 1 if c + 1 < channels else 0), 0

    @kernel(spec)
    def grid(n, channels, inner, inputs, values, scalars, stream, outputs):
        wide = aligned(inputs) and aligned(outputs)
        i = np.int64(cuda.grid(1))
        while i * WIDTH < n:
            first, end = i * WIDTH, min((i + 1) * WIDTH, n)
            c, rest = first // inner % channels, first % inner
            if wide and end == first + WIDTH:
                x0, x1, x2, x3 = load_wide(inputs, i)
                y0 = value(first, x0, c, values, scalars, stream)
                c, rest = following(c, rest, channels, inner)
                y1 = value(first + 1, x1, c, values, scalars, stream)
                c, rest = following(c, rest, channels, inner)
                y2 = value(first + 2, x2, c, values, scalars, stream)
                c, rest = following(c, rest, channels, inner)
                y3 = value(first + 3, x3, c, values, scalars, stream)
                store_wide(outputs, i, (y0, y1, y2, y3))
            else:
                for j in range(first, end):
                    store(outputs, j, value(j, load(inputs, j), c, values, scalars, stream))
                    c, rest = following(c, rest, channels, inner)
            i += cuda.gridsize(1)

    def launch(n, *operands):
        if n > 0:
            grid.launch((n + WIDTH * THREADS - 1) // (WIDTH * THREADS), (n, *operands))

    return launch


def _build_sums(spec):
    launch_sums = sum_launcher(spec, "", spec.function, len(spec.outputs), spec.sums, _bits(spec))

    def launch(n, channels, inner, inputs, values, scalars, stream, outputs, sums):
        s = n if channels == 1 else inner
        launch_sums(n, channels, s, (inputs, values, scalars, stream, outputs), sums)

    return launch
