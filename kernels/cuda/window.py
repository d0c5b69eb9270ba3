"""window: padding of images, and pooling; a thread for each element.

Backward gathers: the thread of an element of x adds up what the windows that contain it have for it, in order, so that
no two threads write to the same place.
"""

import numpy as np

from ..scalar.windows import replaces, share
from .compile import THREADS, cuda, flat, function, kernel
from .elements import read, write


def build(spec):
    """The kernel of a `Window`: 4-D arrays, then the sizes of windows."""
    element, written = _ELEMENTS[spec.name]
    image, windows = spec.places()
    arrays = sum(ndim > 0 for _, ndim in spec.operands())

    @kernel(spec)
    def run(count, extents, sizes, operands):
        e, threads = np.int64(cuda.grid(1)), cuda.gridsize(1)
        while e < count:
            element(e, extents, sizes, operands)
            e += threads

    def launch(*arguments):
        count, x, y = arguments[written].size, arguments[image], arguments[windows]
        if count:
            extents = (*(int(v) for v in x.shape), int(y.shape[2]), int(y.shape[3]))
            sizes = tuple(int(v) for v in arguments[arrays:])
            run.launch((count + THREADS - 1) // THREADS, (count, extents, sizes, flat(arguments[:arrays])))

    return launch


@function
def _windows_of(place, outputs, extent, stride, padding, dilation):
    """The first window along an axis that reaches as far as element *place*, and one past the last."""
    behind = place + padding - (extent - 1) * dilation
    return max(-(-behind // stride), 0), min((place + padding) // stride + 1, outputs)


@function
def _clipped(o, size, extent, stride, padding, counted):
    """The first element of window o along an axis, one past its last, and how many it is the mean of."""
    start = o * stride - padding
    end = min(start + extent, size + padding)
    first, last = max(start, 0), min(end, size)
    return first, last, end - start if counted else last - first


@function
def _pad(e, extents, sizes, operands):
    _, _, height, width, p, q = extents
    _, _, sh, sw, ph, pw, _, _ = sizes
    x, y = operands
    h, w = e // q % p * sh - ph, e % q * sw - pw
    if 0 <= h < height and 0 <= w < width:
        write(y, e, read(x, (e // (q * p) * height + h) * width + w))
    else:
        write(y, e, y.dtype.type(0))


@function
def _max_pool(e, extents, sizes, operands):
    _, _, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, dh, dw = sizes
    x, y, index = operands
    plane = e // (q * p) * height * width
    top, left = e // q % p * sh - ph, e % q * sw - pw
    first = max(-(left // dw), 0)
    i = max(-(top // dh), 0)
    best = (top + i * dh) * width + left + first * dw
    largest = read(x, plane + best)
    while i < kh and top + i * dh < height:
        j = first
        while j < kw and left + j * dw < width:
            place = (top + i * dh) * width + left + j * dw
            value = read(x, plane + place)
            if replaces(value, largest):
                largest, best = value, place
            j += 1
        i += 1
    write(y, e, largest)
    write(index, e, best)


@function
def _max_pool_backward(e, extents, sizes, operands):
    _, _, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, dh, dw = sizes
    grad, index, dx = operands
    place, plane = e % (width * height), e // (width * height) * p * q
    o, below = _windows_of(place // width, p, kh, sh, ph, dh)
    first, behind = _windows_of(place % width, q, kw, sw, pw, dw)
    total = dx.dtype.type(0)
    while o < below:
        r = first
        while r < behind:
            if read(index, plane + o * q + r) == place:
                total += read(grad, plane + o * q + r)
            r += 1
        o += 1
    write(dx, e, total)


@function
def _avg_pool(e, extents, sizes, operands):
    _, _, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, _, _, counted = sizes
    x, y = operands
    plane = e // (q * p) * height * width
    h, below, rows = _clipped(e // q % p, height, kh, sh, ph, counted)
    left, right, columns = _clipped(e % q, width, kw, sw, pw, counted)
    total = y.dtype.type(0)
    while h < below:
        row, w = y.dtype.type(0), left
        while w < right:
            row += read(x, plane + h * width + w)
            w += 1
        total += row
        h += 1
    write(y, e, share(total, rows * columns))


@function
def _avg_pool_backward(e, extents, sizes, operands):
    _, _, height, width, p, q = extents
    kh, kw, sh, sw, ph, pw, _, _, counted = sizes
    grad, dx = operands
    place, plane = e % (width * height), e // (width * height) * p * q
    o, below = _windows_of(place // width, p, kh, sh, ph, 1)
    first, behind = _windows_of(place % width, q, kw, sw, pw, 1)
    total = dx.dtype.type(0)
    while o < below:
        rows, r = _clipped(o, height, kh, sh, ph, counted)[2], first
        while r < behind:
            columns = _clipped(r, width, kw, sw, pw, counted)[2]
            total += share(read(grad, plane + o * q + r), rows * columns)
            r += 1
        o += 1
    write(dx, e, total)


_ELEMENTS = {  # the function of an element, and which operand's elements those are
    "pad": (_pad, 1),
    "max_pool": (_max_pool, 1),
    "max_pool.backward": (_max_pool_backward, 2),
    "avg_pool": (_avg_pool, 1),
    "avg_pool.backward": (_avg_pool_backward, 1),
}
