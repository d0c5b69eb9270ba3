"""map by channel: maps with an operand for each channel (biases, slopes), and with sums over each channel (their gradients).

Element e of the flat arrays belongs to channel ``(e // inner) % C``. Two layouts:

- *runs*: at least `SHORT` consecutive elements of one channel, or one channel only. A piece of a run is one vector loop,
  in which the channel's values are scalars.
- *elements*: a channel's elements are few, or single. Channel values are written out, once for each call, for a *row* of
  some thousand elements, that is a whole number of periods; then rows are vector loops with one more source.

Sums: a piece of a run gives one number; rows are added to each other element by element, in fixed groups, and then the
periods of a group in float64. Both are combined in float64 in the order of the array, so the result does not depend on threads.
"""

import itertools

import numpy as np
from numba import uint32

from ..scalar.random import BLOCK as RANDOM_BLOCK
from .compile import building, function, kernel
from .map import DONE, PARALLEL_FROM, REFUSED, fill_random
from .pool import cache_size, parallel
from .vector import (
    at,
    elements,
    overlap,
    pick,
    pointers,
    scratch,
    spread,
    stream_map,
    stream_map_sum,
    vector_map,
    vector_map_accumulate,
    vector_map_sum,
)

PIECE = 1 << 13  # elements of a vector loop, at most
SHORT = 64  # elements of one channel in a row: with fewer, a vector loop for each costs more than writing values out
GROUP = 64  # rows that are added to each other, at most


def build(spec):
    """The kernel of a `Map` with channels or sums; it returns DONE, or REFUSED with nothing written as other maps do."""
    first_out, first_channel = len(spec.inputs), len(spec.inputs) + len(spec.outputs)
    parts = {}
    for layout, build_layout in (("runs", _build_runs), ("elements", _build_elements)):
        for streamed in (False, True)[: 1 + _can_stream(spec, layout)]:
            part = f".{layout}" + ".streamed" * streamed
            with building(spec, part):
                parts[layout, streamed] = build_layout(spec, part, streamed)

    def part_of(n, itemsize, channels, inner, in_place=False):
        """The compiled kernel for n elements, of which so many neighbours belong to each of the channels."""
        layout = layout_of(channels, inner)
        streamed = not in_place and _can_stream(spec, layout) and 4 * n * itemsize * first_channel > 3 * cache_size()
        return parts[layout, streamed]

    def run(*arguments):
        arrays, channels, inner = arguments[:first_channel], arguments[first_channel].shape[-1], int(arguments[-1])
        n = arrays[0].size
        if any(a.size != n for a in arrays) or inner < 1 or n % (channels * inner if channels > 1 else 1):
            return REFUSED
        if n == 0:
            if spec.sums:
                arguments[first_channel + spec.channels].fill(0)
            return DONE
        if channels == 1:
            inner = n
        in_place = any(a is arrays[first_out] for a in arrays[:first_out])
        return part_of(n, arrays[0].itemsize, channels, inner, in_place)(*arguments[:-1], inner)

    run.dispatchers, run.parts, run.part_of = tuple(parts.values()), parts, part_of
    return run


def layout_of(channels, inner):
    """The layout that suits so many channels, of *inner* neighbouring elements each."""
    return "runs" if inner >= SHORT or channels == 1 else "elements"


@function
def store_sums(sums, total, folded):
    """Store the sums of *folded* neighbours in each row of *total*.

    Element by element, without the code for shapes that do not fit: Numba takes 4 s to compile ``sums[:] = total``.
    """
    for k in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            found = 0.0
            for j in range(c * folded, (c + 1) * folded):
                found += total[k, j]
            sums[k, c] = found


def _can_stream(spec, layout):
    return len(spec.outputs) == 1 and (layout == "runs" or not spec.sums)


def _parts(spec):
    """Functions that pick inputs, outputs, channel operands and scalars from the operands; the position of the sums."""
    ends = np.cumsum([0, len(spec.inputs), len(spec.outputs), spec.channels, spec.sums > 0, len(spec.scalars)]).tolist()
    inputs, outputs, channels, _, scalars = (pick(range(*pair)) for pair in itertools.pairwise(ends))
    return inputs, outputs, channels, scalars, ends[3]


def _loop(spec, layout, streamed):
    """A compiled function: the vector loop over *count* elements; sums are added to what *totals* points to."""
    fn, sums = spec.function, spec.sums

    @function
    def plain(count, sources, targets, totals, scalars):
        vector_map(fn, count, sources, targets, scalars)

    @function
    def past_cache(count, sources, targets, totals, scalars):
        stream_map(fn, count, sources, targets, scalars)

    @function
    def with_single_sums(count, sources, targets, totals, scalars):
        found = vector_map_sum(fn, count, sources, targets, scalars)
        for k in range(sums):
            totals[k][0] += found[k]

    @function
    def past_cache_with_single_sums(count, sources, targets, totals, scalars):
        found = stream_map_sum(fn, count, sources, targets, scalars)
        for k in range(sums):
            totals[k][0] += found[k]

    @function
    def with_row_sums(count, sources, targets, totals, scalars):
        vector_map_accumulate(fn, count, sources, targets, totals, scalars)

    if sums and layout == "elements":
        return with_row_sums
    if sums:
        return past_cache_with_single_sums if streamed else with_single_sums
    return past_cache if streamed else plain


def _span(spec, layout, streamed):
    """A compiled function: elements *begin* to *begin* + *count*, with random bits for them if the map takes some.

    *written* are pointers to channel values of the elements, *values* those of the one channel: one of the two is empty.
    """
    loop, single = _loop(spec, layout, streamed), layout == "runs"
    inputs, outputs, _, scalars, last = _parts(spec)
    stream_at = last + (spec.sums > 0) + len(spec.scalars)
    stream = pick(range(stream_at, stream_at + 3))

    @function
    def span(begin, count, operands, written, totals, values):
        sources, targets = at(inputs(operands), begin) + written, at(outputs(operands), begin)
        loop(count, sources, targets, totals, values + scalars(operands))

    @function
    def random_span(begin, count, operands, written, totals, values):
        bits = scratch(RANDOM_BLOCK, uint32)
        seed, offset, start = stream(operands)
        done = 0
        while done < count:
            element = start + begin + done
            block, skipped = element // RANDOM_BLOCK, element % RANDOM_BLOCK
            part = min(count - done, RANDOM_BLOCK - skipped)
            fill_random(bits[0], block, seed, offset, at(inputs(operands), begin + done + part))
            sources = at(inputs(operands), begin + done) + at(bits, skipped) + at(written, done)
            moved = totals if single else at(totals, done)
            loop(part, sources, at(outputs(operands), begin + done), moved, values + scalars(operands))
            done += part

    return random_span if spec.random else span


def _build_runs(spec, part, streamed):
    span, sums = _span(spec, "runs", streamed), spec.sums
    inputs, outputs, channels, _, at_sums = _parts(spec)
    shaped = at_sums if sums else at_sums - 1  # an operand whose last axis is the channels

    @parallel
    def some_pieces(n, inner, across, pieces, per_task, partial, operands, index):
        for item in range(index * per_task, min((index + 1) * per_task, n // inner * pieces)):
            run, first = item // pieces, item % pieces * PIECE
            values = elements(at(channels(operands), run % across))
            totals = spread(at(pointers((partial,)), item * sums), sums, 1)
            span(run * inner + first, min(PIECE, inner - first), operands, (), totals, values)

    @kernel(spec, part)
    def run(*arguments):
        n, inner, across = arguments[0].size, arguments[-1], arguments[shaped].shape[-1]
        operands = pointers(arguments)
        if overlap(inputs(operands), outputs(operands), n):
            return REFUSED
        pieces = (inner + PIECE - 1) // PIECE
        items = n // inner * pieces
        partial = np.zeros((items, sums), arguments[0].dtype)
        per_task = items if n < PARALLEL_FROM else max(1, PIECE // inner)
        some_pieces((items + per_task - 1) // per_task, (n, inner, across, pieces, per_task, partial, operands))
        if sums:
            total = np.zeros((sums, across))
            for item in range(items):
                for k in range(sums):
                    total[k, item // pieces % across] += partial[item, k]
            store_sums(arguments[at_sums], total, 1)
        return DONE

    return run


def _build_elements(spec, part, streamed):
    span, sums, count = _span(spec, "elements", streamed), spec.sums, spec.channels
    inputs, outputs, channels, _, at_sums = _parts(spec)
    shaped = at_sums if sums else at_sums - 1

    @function
    def write_values(written, operands, width, inner, across):
        """One period element by element, and then copies of all that there is."""
        for k in range(count):
            for c in range(across):
                for j in range(c * inner, (c + 1) * inner):
                    written[k, j] = channels(operands)[k][c]
            done = inner * across
            while done < width:  # twice as much each time, in vectors
                some = min(done, width - done)
                for j in range(some):
                    written[k, done + j] = written[k, j]
                done += some

    @function
    def write_nothing(written, operands, width, inner, across):
        pass

    write_out = write_values if count else write_nothing

    @function
    def fold(totals, size, found):
        """Add each of *size* totals to its place in the period, in float64."""
        for k in range(sums):
            for j in range(0, size, found.shape[1]):
                for e in range(min(found.shape[1], size - j)):
                    found[k, e] += totals[k][j + e]

    @parallel
    def some_rows(n, width, group, pieces, per_task, written, partial, folded, operands, index):
        rows = (n + width - 1) // width
        for task in range(index * per_task, min((index + 1) * per_task, (rows + group - 1) // group * pieces)):
            g, first = task // pieces, task % pieces * PIECE
            totals = at(spread(pointers((partial,)), sums, width), g * sums * width + first)
            sources = at(spread(pointers((written,)), count, width), first)
            for row in range(g * group, min((g + 1) * group, rows)):
                begin = row * width + first
                size = min(PIECE, width - first, n - begin)
                if size > 0:
                    span(begin, size, operands, sources, totals, ())
            if sums:
                fold(totals, min(PIECE, width - first), folded[g, :, first:])

    @kernel(spec, part)
    def run(*arguments):
        n, inner, across = arguments[0].size, arguments[-1], arguments[shaped].shape[-1]
        operands = pointers(arguments)
        if overlap(inputs(operands), outputs(operands), n):
            return REFUSED
        period = inner * across
        width = period * max(1, min(PIECE // period, n // period))
        rows, pieces = (n + width - 1) // width, (width + PIECE - 1) // PIECE
        group = max(1, min(GROUP, rows // 16)) if sums else 1
        groups = (rows + group - 1) // group
        written = np.empty((count, width), arguments[0].dtype)
        write_out(written, operands, width, inner, across)
        partial, folded = np.zeros((groups, sums, width), arguments[0].dtype), np.zeros((groups, sums, period))
        per_task = groups * pieces if n < PARALLEL_FROM else 1
        tasks = (groups * pieces + per_task - 1) // per_task
        some_rows(tasks, (n, width, group, pieces, per_task, written, partial, folded, operands))
        if sums:
            total = folded[0]
            for g in range(1, groups):
                for k in range(sums):
                    for e in range(period):
                        total[k, e] += folded[g, k, e]
            store_sums(arguments[at_sums], total, inner)
        return DONE

    return run
