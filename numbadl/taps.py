"""Convolution by places: which elements of padded images are multiplied with which weights, and where the sums belong.

The tables are made once for each extent of images, on the CPU, and kept on the layer's device.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from .arrays import dense, device_of
from .kernels.shapes import Taps
from .windows import pad, run_kernel

PARTS, PART_ELEMENTS = 16, 1 << 20  # of the gradient of weights: at most; and elements of all, if there are more than 4
FEWEST_PARTS = 4


@dataclass(frozen=True)
class Part:
    """Positions that have the same taps: places of these in a group's images and weights, and of the positions' results."""

    taps: object
    places: object
    starts: object
    targets: object


@dataclass(frozen=True)
class Places:
    """The padded images, *extents* with *front* rows and columns before (H, W) ones, and what is read from them."""

    shape: tuple
    front: tuple
    extents: tuple
    parts: tuple
    pitch: int

    def padded(self, images, work):
        """*images*, (N, C, H, W), with their padding, in an array from *work(shape)*."""
        if self.extents == self.shape:
            return dense(images)
        return pad(images, self.front, work((*images.shape[:2], *self.extents)))

    def convolve(self, source, weight, bias, room, out):
        """The sums of products of the padded *source* (N, C, *extents) and *weight* (groups, M); *out* (N, groups, R, L)."""
        groups = weight.shape[0]
        source = source.reshape(source.shape[0], groups, int(np.prod(source.shape[1:])) // groups)
        for part in self.parts:
            operands = source, weight, bias, part.taps, part.places, part.starts, part.targets, room, out
            run_kernel("convolve", operands, out, (self.pitch,), out.size * part.places.size // 64)
        return out


def weight_gradient(places, source, grad, room, out):
    """The gradient of a convolution's weights: *grad* (N, groups, R, T), *out* (groups, R, K)."""
    if grad.shape[0] == 0:
        device_of(out).copy(out, device_of(out).zeros(out.shape, out.dtype))
        return out
    source, (part,) = source.reshape(grad.shape[0], grad.shape[1], -1), places.parts
    parts = parts_of(grad.shape[0], out.size)
    operands = source, grad, part.taps, part.starts, room, out
    return run_kernel("convolve.weight", operands, out, (parts,), grad.size * out.shape[2] // 64)


def parts_of(samples, weights):
    """In how many parts the samples' terms of a gradient are added up: enough for all threads, from the sizes alone."""
    return max(min(samples, max(FEWEST_PARTS, min(PARTS, PART_ELEMENTS // max(weights, 1)))), 1)


def forward_places(windows, shape, channels, device):
    """The `Places` of a convolution of images (H, W) with *channels* channels in a group."""
    extents = tuple(size + 2 * padding for size, padding in zip(shape, windows.padding, strict=True))
    outputs = windows.outputs(shape)
    across = [np.arange(count) * step for count, step in zip(outputs, windows.stride, strict=True)]
    along = [np.arange(size) * step for size, step in zip(windows.size, windows.dilation, strict=True)]
    taps = _in_each(channels, extents[0] * extents[1], _flat(*along, extents[1]))
    targets = np.arange(outputs[0] * outputs[1])
    part = _part(device, taps, np.arange(taps.size), _flat(*across, extents[1]), targets)
    return Places(shape, windows.padding, extents, (part,), taps.size)


def backward_places(windows, shape, channels, rows, device):
    """The `Places` of the gradient of images (H, W) with *rows* channels in a group, from a gradient with *channels*.

    Row h of the image is in window p, as its element i, if p * stride = h + padding - i * dilation. So rows with the same
    rest of h + padding have the elements with this rest of i * dilation in common: a convolution of stride 1.
    """
    axes = zip(
        shape, windows.outputs(shape), windows.size, windows.stride, windows.padding, windows.dilation, strict=True
    )
    front, extents, parts = zip(*(_backwards_along(*axis) for axis in axes), strict=True)
    area, found = windows.size[0] * windows.size[1], []
    for (i, down, p, h), (j, right, q, w) in itertools.product(*parts):
        taps = _in_each(channels, extents[0] * extents[1], _flat(down, right, extents[1]))
        places = _in_each(channels, rows * area, _flat(i, j, windows.size[1]))
        found.append(_part(device, taps, places, _flat(p, q, extents[1]), _flat(h, w, shape[1])))
    return Places(windows.outputs(shape), front, extents, tuple(found), area)


def _backwards_along(size, outputs, extent, stride, padding, dilation):
    """Zeros before, the extent with all zeros, and for each rest: elements of windows, their taps, starts, and targets."""
    steps, places = np.arange(extent) * dilation, np.arange(size) + padding
    front = max(0, -(-(steps[-1] - padding) // stride))
    back = max(0, places[-1] // stride - (outputs - 1))
    found = []
    for rest in np.unique(places % stride):  # as many as there are rows: a stride may be larger than any image
        i, h = np.flatnonzero(steps % stride == rest), np.flatnonzero(places % stride == rest)
        found.append((i, -(steps[i] // stride), places[h] // stride + front, h))
    return int(front), int(front + outputs + back), found


def _flat(rows, columns, width):
    """Places of all pairs in an array of that width."""
    return (rows[:, None] * width + columns).reshape(-1)


def _in_each(channels, size, places):
    """*places* in each of so many channels of *size* elements."""
    return _flat(np.arange(channels), places, size)


def _part(device, taps, places, starts, targets):
    return Part(*(device.from_host(table) for table in (_filled(taps), places, starts, targets)))


def _filled(table):
    """*table* up to the next multiple of a tile's rows."""
    return np.pad(table, (0, -table.size % Taps.MULTIPLE), mode="edge" if table.size else "constant")
