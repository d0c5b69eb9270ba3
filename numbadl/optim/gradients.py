"""Gradients that come to a step: whether they fit the parameters, and by how much they are clipped."""

from bisect import bisect_right

import numpy as np

from ..arrays import check, check_shape, memory_of
from .tensors import address


class Apart:
    """Where parameters, or gradients to be written, lie in memory. Raises ValueError if two of them overlap."""

    def __init__(self, arrays, name="params"):
        ends = sorted((address(a), address(a) + a.size * a.dtype.itemsize) for a in arrays if a.size)
        self.starts, self.ends = [start for start, _ in ends], [end for _, end in ends]
        if any(end > start for end, start in zip(self.ends, self.starts[1:], strict=False)):
            raise ValueError(f"{name}: the same array stands in two places, or two of them overlap")

    def overlap(self, start, count):
        """Whether *count* bytes from *start* on overlap a parameter."""
        after = bisect_right(self.starts, start)
        return (after > 0 and self.ends[after - 1] > start) or (
            after < len(self.starts) and self.starts[after] < start + count
        )


def matched(given, params, apart, writes, frozen=()):
    """(gradients, addresses): *given*, or copies of those that are not C-contiguous. Raises for what does not fit."""
    if len(given) != len(params):
        raise ValueError(f"grads: got {len(given)} arrays for {len(params)} parameters")
    taken, addresses = [], []
    for k, (param, grad) in enumerate(zip(params, given, strict=True)):
        if k in frozen and grad is None:
            taken.append(None)
            addresses.append(0)
            continue
        if type(grad) is np.ndarray and type(param) is np.ndarray and grad.dtype is param.dtype:
            fits = grad.shape == param.shape and grad.flags.carray
        else:
            fits = False
        if not fits:
            grad = _looked_at(k, param, grad, writes)
        start = address(grad)
        if apart.overlap(start, grad.size * grad.dtype.itemsize):
            raise ValueError(f"grads[{k}]: shares memory with a parameter")
        taken.append(grad)
        addresses.append(start)
    if writes:
        Apart([grad for grad in taken if grad is not None], "grads")
    return taken, addresses


def _looked_at(k, param, grad, writes):
    name = f"grads[{k}]"
    check(**{f"params[{k}]": param, name: grad})
    check_shape(name, grad, param.shape, "that of the parameter")
    if not isinstance(grad, np.ndarray):
        if not memory_of(grad).flags.c_contiguous:
            raise ValueError(f"{name}: has to be a C-contiguous array on the device")
        return grad
    if writes and not grad.flags.carray:
        raise ValueError(f"{name}: has to be a writeable, C-contiguous array, because it is set to 0")
    return np.require(grad, requirements="CA")


def factor(norm, largest):
    """What gradients of that norm are multiplied with, so that it is at most *largest*; norms may be an array.

    >>> factor(5.0, 10.0), round(factor(5.0, 1.0), 6)
    (1.0, 0.2)
    """
    found = largest / (np.asarray(norm, np.float64) + 1e-6)
    found = np.where(found >= 1, 1.0, found)  # NaN stays NaN
    return found if found.ndim else float(found)
