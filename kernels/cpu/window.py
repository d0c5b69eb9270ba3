"""window: padding of images, and pooling; one plane at a time.

A plane is one channel of one sample. No two tasks write to the same plane, and each adds in one order, so that results
are the same to the bit for any number of threads.
"""

import numpy as np
from numba import int32

from ..scalar.rows import itself
from ..scalar.windows import replaces, share
from .compile import function, kernel
from .pool import parallel
from .vector import at, pick, pointers, scratch, vector_map_max, vector_map_sum

TASK = 1 << 14  # elements, in whole planes
LONG = 64  # elements side by side, of which the maximum is found in vectors
RUN = 128  # windows side by side whose maxima or means are computed in vectors


def build(spec):
    """The kernel of a `Window`: 4-D arrays, then the sizes of windows."""
    image, windows = spec.places()
    count = len(spec.operands())
    flags = count - 8 - sum(ndim > 0 for _, ndim in spec.operands())
    arrays, sizes = pick(range(count - 8 - flags)), pick(range(count - 8 - flags, count))
    plane = _PLANES[spec.name]

    @parallel
    def some_planes(extents, per_task, sizes, operands, index):
        planes = extents[0] * extents[1]
        for number in range(index * per_task, min((index + 1) * per_task, planes)):
            plane(number // extents[1], number % extents[1], extents, sizes, operands)

    @kernel(spec)
    def run(*arguments):
        n, c, h, w = arguments[image].shape
        p, q = arguments[windows].shape[2:]
        given = sizes(arguments)
        per_task = max(1, TASK // (h * w + p * q * given[0] * given[1] + 1))
        extents = n, c, h, w, p, q
        some_planes((n * c + per_task - 1) // per_task, (extents, per_task, given, arrays(pointers(arguments))))

    return run


@function
def _inside(outputs, size, stride, offset):
    """The first output o whose element o * stride + offset is within an axis of *size*, and one past the last."""
    first = min(max(-(offset // stride), 0), outputs)
    return first, max(first, min((size - 1 - offset) // stride + 1, outputs))


@function
def _clipped(o, size, extent, stride, padding, counted):
    """The first element of window o along an axis, one past its last, and how many it is the mean of."""
    start = o * stride - padding
    end = min(start + extent, size + padding)
    first, last = max(start, 0), min(end, size)
    return first, last, end - start if counted else last - first


@function
def _pad(n, c, extents, sizes, operands):
    _, channels, height, width, p, q = extents
    _, _, sh, sw, ph, pw, _, _ = sizes
    x, y = operands
    plane, target = (n * channels + c) * height * width, (n * channels + c) * p * q
    first, last = _inside(q, width, sw, -pw)
    for o in range(p):
        h = o * sh - ph
        start, end = (first, last) if 0 <= h < height else (q, q)
        source = plane + h * width - pw
        for k in range(start):
            y[target + k] = 0
        if sw == 1:
            for k in range(end - start):
                y[target + start + k] = x[source + start + k]
        else:
            for k in range(start, end):
                y[target + k] = x[source + k * sw]
        for k in range(end, q):
            y[target + k] = 0
        target += q


@function
def _whole(q, width, size, stride, padding, dilation):
    """The first window that lies in the image along an axis, and one past the last."""
    first = min((padding + stride - 1) // stride, q)
    return first, max(first, min((width - 1 - (size - 1) * dilation + padding) // stride + 1, q))


@function
def _max_pool(n, c, extents, sizes, operands):
    _, channels, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, dh, dw = sizes
    x, y, index = operands
    plane, target = (n * channels + c) * height * width, (n * channels + c) * p * q
    first, last = _whole(q, width, kw, sw, pw, dw)
    image, near = at((x,), plane)[0], kh * dh * width + kw * dw + RUN * sw < 1 << 31
    for o in range(p):
        i_first, i_last = _inside(kh, height, dh, o * sh - ph)
        top, rows = (o * sh + i_first * dh - ph) * width - pw, i_last - i_first
        r = 0
        while r < q:
            place, result, found = top + r * sw, at((y,), target + r)[0], at((index,), target + r)[0]
            if first <= r < last and near and not (dw == 1 and kw >= LONG):
                count = min(RUN, last - r)
                _maxima_of_run(image, place, rows, kw, dh * width, dw, sw, count, result, found)
                r += count
            else:
                j_first, j_last = _inside(kw, width, dw, r * sw - pw)
                best = _maximum(image, place + j_first * dw, rows, j_last - j_first, dh * width, dw)
                result[0], found[0] = image[best], best
                r += 1
        target += q


@function
def _maximum(x, start, rows, columns, down, right):
    """Where the maximum of a window is whose rows are *down* apart and whose columns *right*."""
    best = start
    for i in range(rows):
        line = start + i * down
        if right == 1 and columns >= LONG:
            place = line + _place_of_maximum(at((x,), line), columns)
            best = place if replaces(x[place], x[best]) else best
        else:
            for j in range(columns):
                place = line + j * right
                best = place if replaces(x[place], x[best]) else best
    return best


@function
def _maxima_of_run(x, start, rows, columns, down, right, stride, count, y, index):
    """The maxima of *count* windows, and their places, as `_maximum` finds them, in vectors; places from *start* are an int32."""
    (largest,), (places,) = scratch(RUN, x), scratch(RUN, int32)
    for k in range(count):
        largest[k], places[k] = -np.inf, k * stride
    for i in range(rows):
        if stride == 2 and columns == 2 and right == 1:  # most of all, in loads of whole vectors
            for k in range(count):
                place = i * down + 2 * k
                first, second, before = x[start + place], x[start + place + 1], largest[k]
                new = replaces(first, before)
                value, at_first = first if new else before, np.int32(place) if new else places[k]
                newer = replaces(second, value)
                largest[k], places[k] = second if newer else value, np.int32(place + 1) if newer else at_first
            continue
        for j in range(columns):
            place = i * down + j * right
            line = start + place
            if stride == 2:
                for k in range(count):
                    value, before = x[line + 2 * k], largest[k]
                    new = replaces(value, before)
                    largest[k], places[k] = value if new else before, np.int32(place + 2 * k) if new else places[k]
            else:
                for k in range(count):
                    value, before = x[line + k * stride], largest[k]
                    new = replaces(value, before)
                    largest[k], places[k] = value if new else before, np.int32(place + k * stride) if new else places[k]
    for k in range(count):
        y[k], index[k] = largest[k], start + places[k]


@function
def _place_of_maximum(elements, count):
    """Where the maximum is found first, or the last NaN: to compare vectors and then look takes a tenth of the time."""
    (x,) = elements
    largest, k = vector_map_max(itself, count, elements, (), ())[0], 0
    if largest != largest:
        k = count - 1
        while x[k] == x[k]:
            k -= 1
        return k
    while x[k] != largest:
        k += 1
    return k


@function
def _max_pool_backward(n, c, extents, sizes, operands):
    _, channels, height, width, p, q = extents
    grad, index, dx = operands
    plane, source = (n * channels + c) * height * width, (n * channels + c) * p * q
    for k in range(height * width):
        dx[plane + k] = 0
    for k in range(source, source + p * q):
        dx[plane + index[k]] += grad[k]


@function
def _avg_pool(n, c, extents, sizes, operands):
    _, channels, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, _, _, counted = sizes
    x, y = operands
    plane, target = (n * channels + c) * height * width, (n * channels + c) * p * q
    first, last = _whole(q, width, kw, sw, pw, 1)
    for o in range(p):
        top, bottom, rows = _clipped(o, height, kh, sh, ph, counted)
        line = plane + top * width
        for r in range(first):
            left, right, columns = _clipped(r, width, kw, sw, pw, counted)
            y[target + r] = share(_sum(x, line + left, width, bottom - top, right - left), rows * columns)
        if last - first >= 4:
            for r in range(first, last, RUN):
                place = line + r * sw - pw
                _means_of_run(x, place, width, bottom - top, kw, sw, min(RUN, last - r), rows * kw, y, target + r)
        else:
            for r in range(first, last):
                y[target + r] = share(_sum(x, line + r * sw - pw, width, bottom - top, kw), rows * kw)
        for r in range(last, q):
            left, right, columns = _clipped(r, width, kw, sw, pw, counted)
            y[target + r] = share(_sum(x, line + left, width, bottom - top, right - left), rows * columns)
        target += q


@function
def _sum(x, place, width, rows, columns):
    """Of a window from *place* on. Rows are added up by themselves, whole ones in lanes: fewer roundings in large windows."""
    if columns == width and rows * columns >= LONG:
        return vector_map_sum(itself, rows * columns, at((x,), place), (), ())[0]
    total = x[place]
    for h in range(rows):
        row = x[place + h * width]
        for w in range(1, columns):
            row += x[place + h * width + w]
        total = row if h == 0 else total + row
    return total


@function
def _means_of_run(x, place, width, rows, columns, stride, count, size, y, target):
    """The means of *count* windows of *rows* and *columns*, added up as in `_sum`, in vectors."""
    (totals,), (row,) = scratch(RUN, x), scratch(RUN, x)
    for h in range(rows):
        line = place + h * width
        if stride == 2 and columns == 2:  # most of all, in loads of whole vectors
            for k in range(count):
                row[k] = x[line + 2 * k] + x[line + 2 * k + 1]
        else:
            for k in range(count):
                row[k] = x[line + k * stride]
            for w in range(1, columns):
                for k in range(count):
                    row[k] += x[line + w + k * stride]
        if h == 0:
            for k in range(count):
                totals[k] = row[k]
        else:
            for k in range(count):
                totals[k] += row[k]
    for k in range(count):
        y[target + k] = share(totals[k], size)


@function
def _avg_pool_backward(n, c, extents, sizes, operands):
    _, channels, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, _, _, counted = sizes
    grad, dx = operands
    plane, source = (n * channels + c) * height * width, (n * channels + c) * p * q
    first, last = _whole(q, width, kw, sw, pw, 1)
    for k in range(height * width):
        dx[plane + k] = 0
    for o in range(p):
        top, bottom, rows = _clipped(o, height, kh, sh, ph, counted)
        line, r = plane + top * width, 0
        while r < q:
            # A run of fewer windows than one is wide goes one after the other.
            if first <= r < last and min(RUN, last - r) >= kw:
                count = min(RUN, last - r)
                place = line + r * sw - pw
                _spread_of_run(grad, source + r, count, rows * kw, dx, place, width, bottom - top, kw, sw)
            else:
                count = 1
                left, right, columns = _clipped(r, width, kw, sw, pw, counted)
                each = share(grad[source + r], rows * columns)
                for h in range(bottom - top):
                    for w in range(left, right):
                        dx[line + h * width + w] += each
            r += count
        source += q


@function
def _spread_of_run(grad, source, count, size, dx, place, width, rows, columns, stride):
    """What *count* of *grad* add to their windows of *rows* and *columns*, each element in the order of windows, in vectors."""
    (each,) = scratch(RUN, grad)
    for k in range(count):
        each[k] = share(grad[source + k], size)
    for h in range(rows):
        line = place + h * width
        if stride == 2 and columns == 2:  # most of all, in loads and stores of whole vectors
            for k in range(count):
                dx[line + 2 * k] += each[k]
                dx[line + 2 * k + 1] += each[k]
        else:
            for w in range(columns - 1, -1, -1):
                for k in range(count):
                    dx[line + w + k * stride] += each[k]


_PLANES = {
    "pad": _pad,
    "max_pool": _max_pool,
    "max_pool.backward": _max_pool_backward,
    "avg_pool": _avg_pool,
    "avg_pool.backward": _avg_pool_backward,
}
