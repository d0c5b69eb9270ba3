"""What rows count: the weights that a user gives for them, and for their classes."""

import math

import numpy as np

from .. import _arguments as arguments
from ..losses import LogitsLoss


def checked_weights(name, given, count):
    """Weights of *count* rows in float64: finite, from 0 on, and not all 0."""
    arguments.no_subclass(name, given)
    weights = arguments.weights(name, np.asarray(given), (count,), exact=True)
    if count and not weights.any():
        raise ValueError(f"{name}: got zeros only, accepted are weights of which one is above 0")
    return weights


class ClassWeights:
    """The weight of each row's class.

    Parameters
    ----------
    given : a dict of classes to weights (classes that it leaves out have 1), an array of a weight for each class, or
        "balanced": rows / (classes * rows of the class), so that all classes count alike
    loss : that of classes, or of one yes or no; the classes of the latter are 0 and 1, of hinge -1 and 1
    outputs : shape of the model's output for one row
    data : what "balanced" counts; None where that is not known beforehand

    Examples
    --------
    >>> import numbadl as nd
    >>> ClassWeights({2: 5.0}, nd.losses.cross_entropy, (3,)).of(np.array([0, 2]))
    array([1., 5.])
    """

    def __init__(self, given, loss, outputs, data=None):
        self.labels = isinstance(loss, LogitsLoss)
        yes_or_no = loss.__name__ in ("binary_cross_entropy", "hinge") and outputs == (1,)
        if not (self.labels or yes_or_no):
            raise ValueError(
                f"class_weight: {loss.__name__} of outputs (N, {', '.join(map(str, outputs))}) has no classes; accepted with "
                "it is sample_weight"
            )
        self.low = -1 if loss.__name__ == "hinge" else 0
        count = outputs[0] if self.labels else 2
        self.ignored = loss.options.get("ignore_index")
        if isinstance(given, str):
            arguments.one_of("class_weight", given, ("balanced",))
            if data is None:
                raise ValueError("class_weight: got 'balanced', accepted for an iterable are a dict and an array")
            self.weights = self._balanced(data, count)
        elif isinstance(given, dict):
            names = range(count) if self.labels else (self.low, 1)
            if unknown := [key for key in given if key not in names]:
                raise ValueError(f"class_weight: got class {unknown[0]!r}, accepted are {', '.join(map(str, names))}")
            values = np.array([given.get(name, 1) for name in names])
            self.weights = arguments.weights("class_weight", values, (count,), exact=True)
        else:
            self.weights = arguments.weights("class_weight", np.asarray(given), (count,), exact=True)
        if not self.weights.any():
            raise ValueError("class_weight: got zeros only, accepted are weights of which one is above 0")

    def of(self, y):
        """The weight of each row, for its target."""
        if self.labels and y.ndim > 1:
            return y.astype(np.float64) @ self.weights
        return self.weights[self._classes(y)]

    def _classes(self, y):
        """Numbers of classes; 0 for labels that are ignored."""
        if self.labels:
            return np.where(y == self.ignored, 0, y)
        return (y.reshape(len(y)) > 0.5).astype(np.int64)

    def _balanced(self, data, count):
        counts = np.zeros(count)
        for start in range(0, len(data), 1 << 16):
            y = data.take(slice(start, start + (1 << 16))).y
            if self.labels and y.ndim > 1:
                counts += y.sum(axis=0, dtype=np.float64)
            else:
                kept = y[y != self.ignored] if self.labels else y
                counts += np.bincount(self._classes(kept), minlength=count)
        seen = counts > 0
        return np.divide(math.fsum(counts), np.count_nonzero(seen) * counts, out=np.zeros(count), where=seen)


def together(first, second):
    """The product of two weights for the same rows, each of which may be None."""
    if first is None or second is None:
        return second if first is None else first
    return first * second
