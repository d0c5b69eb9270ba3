"""map: a scalar function over arrays of equal length; any number in and out, in place allowed."""

import numpy as np
from numba import carray, uint32

from ..scalar.language import scalar
from ..scalar.math.quadrant import NEAR
from ..scalar.math.trigonometric import near
from ..scalar.random import BLOCK as RANDOM_BLOCK
from ..scalar.random import RUN, random_words
from .compile import function, kernel
from .pool import PARALLEL_FROM, parallel, pool_is_decided
from .stores import past_cache_pays
from .vector import (
    at,
    before_line,
    equal_sizes,
    overlap,
    past_line,
    pick,
    pointers,
    prefetch,
    scratch,
    stream_map,
    vector_map,
    vector_map_top,
)

CHUNK = 1 << 13  # elements of a task; every chunk starts at a multiple of RANDOM_BLOCK
LARGE_CHUNK = 1 << 15

# Elements whose angles are looked at before their sines are taken. Reading ahead of the arithmetic, as blocks of 1024 do, takes
# time where arrays lie in memory: 0.34 to 0.38 ns an element of 16M instead of 0.29, and 0.24 if no angle is looked at.
ANGLES = 1 << 8
PART = 64  # random words of each of the four that are made at a time
AHEAD = 256  # and of all: elements that are prefetched
DONE, REFUSED = 0, 1


def build(spec):
    """The kernel of a `Map`: call it with the inputs, the outputs, the scalars (and seed, offset, start if random).

    Tasks but for the first begin with a line of the cache of the output: then no vector that is stored lies in two.

    It returns DONE, or REFUSED with nothing written: arrays of unequal sizes, an output that overlaps an input in part,
    or a size for which the pool should be started first.
    """
    return _build_random(spec) if spec.random else _build_plain(spec)


def _parts(spec):
    """Functions that pick the inputs, the outputs and the scalars from the operands."""
    first_out, first_scalar = len(spec.inputs), len(spec.inputs) + len(spec.outputs)
    last = first_scalar + len(spec.scalars)
    return pick(range(first_out)), pick(range(first_out, first_scalar)), pick(range(first_scalar, last))


def _build_plain(spec):
    first_out, arrays = len(spec.inputs), len(spec.inputs) + len(spec.outputs)
    inputs, outputs, scalars = _parts(spec)
    loop, streamed_loop = _loops(spec)

    @parallel
    def chunks(n, chunk, head, operands, index):
        start = index * chunk + head if index > 0 else 0
        count = min((index + 1) * chunk + head, n) - start
        loop(count, at(inputs(operands), start), at(outputs(operands), start), scalars(operands))

    @parallel
    def streamed_chunks(n, chunk, head, operands, index):
        start = index * chunk + head if index > 0 else 0
        count = min((index + 1) * chunk + head, n) - start
        streamed_loop(count, at(inputs(operands), start), at(outputs(operands), start), scalars(operands))

    @kernel(spec)
    def run(*arguments):
        n, operands = arguments[first_out].size, pointers(arguments)
        if not equal_sizes(arguments) or overlap(inputs(operands), outputs(operands), n):
            return REFUSED
        if n < PARALLEL_FROM:
            chunks(1, (n, n, 0, operands))
            return DONE
        if not pool_is_decided():
            return REFUSED
        head = before_line(outputs(operands))
        if past_cache_pays(arrays * arguments[0].nbytes, inputs(operands), outputs(operands)):
            streamed_chunks((n - head + LARGE_CHUNK - 1) // LARGE_CHUNK, (n, LARGE_CHUNK, head, operands))
        else:
            chunks((n - head + CHUNK - 1) // CHUNK, (n, CHUNK, head, operands))
        return DONE

    return run


def _loops(spec):
    """Two compiled functions (count, sources, targets, scalars): the vector loop, and the one that stores past the cache.

    Where sines are needed, blocks of small angles take a version of the function that is right for them only. Blocks end with
    the lines of the output: what is left of a line is not stored past the cache, and not by vectors.
    """
    loops = _loop(spec.function, vector_map), _loop(spec.function, stream_map)
    if spec.angle is None:
        return loops
    near_fn, angle = near(spec.function), size_of(spec.angle)
    return tuple(_guarded(angle, _loop(near_fn, way), loops[0]) for way in (vector_map, stream_map))


def _loop(fn, loop):
    @function
    def run(count, sources, targets, scalars):
        loop(fn, count, sources, targets, scalars)

    return run


def _guarded(angle, near_loop, loop):
    @function
    def run(count, sources, targets, scalars):
        for end in range(ANGLES - past_line(targets), count + ANGLES, ANGLES):
            start = max(end - ANGLES, 0)
            size, given = min(end, count) - start, at(sources, start)
            if vector_map_top(angle, size, given, (), scalars)[0] <= NEAR:
                near_loop(size, given, at(targets, start), scalars)
            else:
                loop(size, given, at(targets, start), scalars)

    return run


def size_of(angle):
    """The scalar function (*arguments) -> the size of their angle (NaN, the largest, of NaN)."""

    @scalar
    def size_of_angle(x, *rest):
        return abs(angle(x, *rest))

    return size_of_angle


def _build_random(spec):
    fn, first_out = spec.function, len(spec.inputs)
    inputs, outputs, scalars = _parts(spec)

    @parallel
    def blocks(n, per_task, operands, seed, offset, start, index):
        bits = scratch(RANDOM_BLOCK, uint32)
        first = start // RANDOM_BLOCK + index * per_task
        for block in range(first, first + per_task):
            begin = max(block * RANDOM_BLOCK, start)
            count = min((block + 1) * RANDOM_BLOCK, start + n) - begin
            if count > 0:
                fill_random(bits[0], block, seed, offset, at(inputs(operands), begin + RANDOM_BLOCK - start))
                sources = at(inputs(operands), begin - start) + at(bits, begin - block * RANDOM_BLOCK)
                vector_map(fn, count, sources, at(outputs(operands), begin - start), scalars(operands))

    @kernel(spec)
    def run(*arguments):
        n = arguments[first_out].size
        seed, offset, start = arguments[-3:]
        count = (start + n + RANDOM_BLOCK - 1) // RANDOM_BLOCK - start // RANDOM_BLOCK
        per_task = max(count, 1) if n < PARALLEL_FROM // 4 else CHUNK // RANDOM_BLOCK
        blocks((count + per_task - 1) // per_task, (n, per_task, pointers(arguments), seed, offset, start))

    return run


@function
def fill_random(pointer, block, seed, offset, ahead):
    """Write the 1024 random words of block number *block* of a stream to *pointer*, and prefetch what *ahead* points to.

    It is a while in which nothing is read, so that the processor does not prefetch the next elements by itself: dropout, rrelu:
    0.82 to 0.91 of the time with it. (Outputs prefetched, too: as long or a quarter longer; stores past the cache: longer.)
    """
    bits = carray(pointer, RANDOM_BLOCK)
    w0, w1, w2, w3 = bits[:RUN], bits[RUN : 2 * RUN], bits[2 * RUN : 3 * RUN], bits[3 * RUN :]
    first = np.uint64(block) * np.uint64(RUN)
    for part in range(0, RUN, PART):
        prefetch(ahead, 4 * part, AHEAD)
        for i in range(part, part + PART):
            a, b, c, d = random_words(first + np.uint64(i), seed, offset)
            w0[i], w1[i], w2[i], w3[i] = np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d)
