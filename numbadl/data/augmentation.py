"""Augmentation: rows that are changed a little, at random, each time they are trained on.

Each is a function ``(x, y=None, seed=0) -> (x, y)`` of a batch, which stays as it is: the same seed gives the same rows.
`fit(augmentation=...)` calls it with a seed that follows from its own, the epoch and the step.

Images are (N, C, height, width) or (N, height, width).

Examples
--------
>>> import numpy as np
>>> from numbadl.data.augmentation import Compose, Flip, Noise
>>> x = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
>>> changed, _ = Compose(Flip(p=1.0), Noise(0.0))(x)
>>> changed[0].tolist()
[[1.0, 0.0], [3.0, 2.0]]
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import _arguments as arguments


class Augmentation:
    """Base class: define ``change(x, y, rng)``, which gives new arrays."""

    def __call__(self, x, y=None, seed=0):
        """(x, y), changed at random by *seed*, an integer or a list of them; x keeps its dtype."""
        return self.change(np.asarray(x), y, np.random.default_rng(seed))

    def change(self, x, y, rng):
        raise NotImplementedError


@dataclass
class Noise(Augmentation):
    """Add normal numbers of mean 0 and this standard deviation to every element.

    >>> x, _ = Noise(0.5)(np.zeros((1000, 10), np.float32), seed=1)
    >>> bool(abs(x.std() - 0.5) < 0.02), x.dtype.name
    (True, 'float32')
    """

    std: float

    def __post_init__(self):
        arguments.number("std", self.std)

    def change(self, x, y, rng):
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x: got dtype {x.dtype}, accepted by Noise are float32 and float64")
        return x + x.dtype.type(self.std) * rng.standard_normal(x.shape, x.dtype), y


@dataclass
class Shift(Augmentation):
    """Move each image, or the last axis of (N, length), by up to so many elements each way; what comes in is *fill*.

    >>> x, _ = Shift(1)(np.ones((50, 4, 4), np.float32), seed=3)
    >>> sorted({int(n) for n in x.sum(axis=(1, 2))})
    [9, 12, 16]
    """

    by: int
    fill: float = 0.0

    def __post_init__(self):
        arguments.integer("by", self.by, low=0)
        arguments.number("fill", self.fill, low=-np.inf)

    def change(self, x, y, rng):
        axes = _places(x)
        distances = rng.integers(-self.by, self.by + 1, (len(x), len(axes)))
        return _windows(x, axes, self.by, self.by + distances, [x.shape[a] for a in axes], self.fill), y


@dataclass
class Flip(Augmentation):
    """Mirror each image with probability *p*, along its last axis, or along another: -2 is upside down.

    >>> Flip(p=1.0)(np.array([[[1, 2], [3, 4]]]))[0].tolist()
    [[[2, 1], [4, 3]]]
    """

    p: float = 0.5
    axis: int = -1

    def __post_init__(self):
        arguments.number("p", self.p, high=1)
        arguments.one_of("axis", self.axis, (-1, -2))

    def change(self, x, y, rng):
        _check_images(self, x)
        chosen = rng.random(len(x)) < self.p
        out = x.copy()
        out[chosen] = np.flip(x[chosen], self.axis)
        return out, y


@dataclass
class Crop(Augmentation):
    """A piece of each image at a random place: of *size* (height, width), or of the image's own with *padding* around it.

    >>> Crop((2, 3))(np.zeros((5, 1, 8, 8), np.float32))[0].shape
    (5, 1, 2, 3)
    """

    size: tuple | None = None
    padding: int = 0
    fill: float = 0.0

    def __post_init__(self):
        arguments.integer("padding", self.padding, low=0)
        arguments.number("fill", self.fill, low=-np.inf)
        if self.size is not None:
            given = self.size
            self.size = (given, given) if isinstance(given, (int, np.integer)) else given
            if not isinstance(self.size, (tuple, list)) or len(self.size) != 2:
                raise ValueError(f"size: got {arguments.shown(given)}, accepted are a number, (height, width) and None")
            self.size = tuple(arguments.integer("size", n) for n in self.size)

    def change(self, x, y, rng):
        _check_images(self, x)
        axes = _places(x)
        whole = [x.shape[a] + 2 * self.padding for a in axes]
        size = self.size or tuple(x.shape[a] for a in axes)
        if any(n > m for n, m in zip(size, whole, strict=True)):
            raise ValueError(f"size: got {size}, accepted for these images are sizes up to {tuple(whole)}")
        starts = np.stack([rng.integers(0, m - n + 1, len(x)) for n, m in zip(size, whole, strict=True)], axis=1)
        return _windows(x, axes, self.padding, starts, size, self.fill), y


@dataclass
class Mixup(Augmentation):
    """Mix each row with another of the batch: l x_i + (1 - l) x_j, targets alike; l is Beta(alpha, alpha), one for each row.

    Labels become probabilities of *classes*, which "cross_entropy" takes. l is at least 1/2, so that a row's own target
    counts most.

    Source: H. Zhang et al., mixup: Beyond empirical risk minimization, ICLR 2018.

    >>> x, y = Mixup(0.4, classes=2)(np.eye(2, dtype=np.float32), np.array([0, 1]), seed=1)
    >>> bool(np.allclose(x, y)), y.sum(axis=1).tolist()
    (True, [1.0, 1.0])
    """

    alpha: float = 0.2
    classes: int | None = None

    def __post_init__(self):
        arguments.number("alpha", self.alpha, above=True)
        if self.classes is not None:
            arguments.integer("classes", self.classes, low=2)

    def change(self, x, y, rng):
        if x.dtype.kind != "f":
            raise TypeError(f"x: got dtype {x.dtype}, accepted by Mixup are floating point numbers")
        if y is not None:
            y = self._targets(np.asarray(y), x.dtype)
        share = rng.beta(self.alpha, self.alpha, len(x))
        share, other = np.maximum(share, 1 - share).astype(x.dtype), rng.permutation(len(x))
        return _mixed(x, share, other), y if y is None else _mixed(y, share, other)

    def _targets(self, y, dtype):
        if y.dtype.kind not in "iu":
            return y
        if self.classes is None:
            raise ValueError(
                "classes: got None, accepted by Mixup of labels is their number, such as Mixup(0.2, classes=10)"
            )
        arguments.within("y", y, 0, self.classes - 1, "labels")
        return np.eye(self.classes, dtype=dtype)[y]


class Compose(Augmentation):
    """One augmentation after the other."""

    def __init__(self, *augmentations):
        for position, given in enumerate(augmentations):
            if not isinstance(given, Augmentation):
                raise TypeError(
                    f"augmentations[{position}]: got {arguments.shown(given)}, accepted are those of this module"
                )
        self.augmentations = augmentations

    def change(self, x, y, rng):
        for augmentation in self.augmentations:
            x, y = augmentation.change(x, y, rng)
        return x, y

    def __repr__(self):
        return f"Compose({', '.join(map(repr, self.augmentations))})"


class Reshaped(Augmentation):
    """Another augmentation, of rows that are images (or anything of that *shape*) laid flat, which they are again after it.

    >>> Reshaped(Flip(p=1.0), (1, 2, 2))(np.array([[1, 2, 3, 4]]))[0].tolist()
    [[2, 1, 4, 3]]
    """

    def __init__(self, augmentation, shape):
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation: got {arguments.shown(augmentation)}, accepted are those of this module")
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"shape: got {arguments.shown(shape)}, accepted are tuples, such as (1, 28, 28)")
        self.augmentation, self.shape = augmentation, arguments.integers("shape", shape, len(shape))

    def change(self, x, y, rng):
        size = math.prod(self.shape)
        if x.ndim != 2 or x.shape[1] != size:
            raise ValueError(f"x: got shape {x.shape}, accepted by {self!r} are (N, {size})")
        x, y = self.augmentation.change(x.reshape(len(x), *self.shape), y, rng)
        return x.reshape(len(x), -1), y

    def __repr__(self):
        return f"Reshaped({self.augmentation!r}, {self.shape})"


def _mixed(a, share, other):
    share = share.reshape(-1, *[1] * (a.ndim - 1))
    return share * a + (1 - share) * a[other]


def _places(x):
    """The axes of an image's height and width, or of the length of (N, length)."""
    return (x.ndim - 2, x.ndim - 1) if x.ndim > 2 else (1,)


def _check_images(augmentation, x):
    if x.ndim not in (3, 4):
        name = type(augmentation).__name__
        raise ValueError(f"x: got shape {x.shape}, accepted by {name} are (N, C, height, width) and (N, height, width)")


def _windows(x, axes, padding, starts, sizes, fill):
    """Of each sample, padded with *fill* at both ends of the axes, the part of these sizes that begins at its starts."""
    width = [(padding, padding) if axis in axes else (0, 0) for axis in range(x.ndim)]
    padded = np.pad(x, width, constant_values=fill)
    out = np.empty([sizes[axes.index(a)] if a in axes else n for a, n in enumerate(x.shape)], x.dtype)
    for k in range(len(x)):
        where = [slice(None)] * (x.ndim - 1)
        for axis, start, size in zip(axes, starts[k], sizes, strict=True):
            where[axis - 1] = slice(start, start + size)
        out[k] = padded[k][tuple(where)]
    return out
