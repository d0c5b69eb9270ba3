"""Operations on two halves or on groups of channels: gated units and maxout."""

import math

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_axis, check_out, check_shape, dense, device_of
from .elementwise import run_any
from .interop.arrays import takes_any_array
from .windows import Windows, max_pool, max_pool_backward


@takes_any_array
class GatedFunction:
    """A gated unit over arrays of one shape: ``f(x, gate)``, ``f.backward(grad, x, gate)`` -> (dx, dgate)."""

    def __init__(self, record):
        self.record, self.__name__ = record, record.name
        self.__doc__ = _doc(
            record, "x, gate", "x and gate, of one shape", "(dx, dgate)", "np.ones((2, 3)), np.ones((2, 3))"
        )

    def __call__(self, x, gate, out=None):
        return run_any(self.__name__, {"x": x, "gate": gate}, (out,))[0][0]

    def backward(self, grad, x, gate, out=(None, None)):
        """The gradients of x and of the gate, as a tuple; *out* may be a pair of arrays for them."""
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(f"out: got {arguments.shown(out)}, accepted are pairs of arrays, for dx and dgate")
        return run_any(f"{self.__name__}.backward", {"grad": grad, "x": x, "gate": gate}, tuple(out))[0]

    def __repr__(self):
        return f"<numbadl gated unit {self.__name__}: {self.record.formula}>"


@takes_any_array
class SplitFunction(GatedFunction):
    """A gated unit of one array, whose second half along an axis is the gate: ``f(x, axis=-1)``, as PyTorch's glu."""

    def __init__(self, record):
        super().__init__(record)
        self.__doc__ = _doc(
            record, "x, axis=-1", "x, whose second half along *axis* is g", "dx, like x", "np.ones((2, 4))"
        )

    def __call__(self, x, axis=-1, out=None):
        check(x=x)
        return super().__call__(*_halves(x, axis), out=out)

    def backward(self, grad, x, axis=-1, out=None):
        """The gradient of x, both halves."""
        check(grad=grad, x=x)
        if out is None:
            out = np.empty(x.shape, x.dtype) if isinstance(x, np.ndarray) else device_of(x).empty(x.shape, x.dtype)
        else:
            check_out(out, x, grad=grad, x=x)
        super().backward(grad, *_halves(x, axis), out=_halves(out, axis))
        return out


def _halves(x, axis):
    axis = check_axis(axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"x: got {x.shape[axis]} elements along axis {axis}, accepted are even numbers")
    half = x.shape[axis] // 2
    if not isinstance(x, np.ndarray) and axis != 0:
        raise ValueError(f"axis: got {axis}, accepted is 0 for CUDA arrays, whose halves then lie apart")
    before = (slice(None),) * axis
    return x[(*before, slice(0, half))], x[(*before, slice(half, None))]


def _doc(record, arguments, operands, gradients, example):
    return f"""{record.name}({arguments}, out=None): {record.formula}

    Parameters
    ----------
    x : array of float32 or float64; {operands}
    out : array like the result, optional

    Returns
    -------
    array; backward gives {gradients}

    Raises
    ------
    TypeError : an array is of another kind or dtype
    ValueError : shapes or the axis do not fit

    Source: {record.source}

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.{record.name}({example}).shape[0]
    2
    """


@takes_any_array
class Maxout:
    """maxout(x, pieces, axis=1, out=None): the largest of each group of *pieces* channels that follow one another.

    The result has ``channels / pieces`` channels. Backward gives the gradient to the largest one, the first of several.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, Maxout networks.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.maxout(np.array([[1.0, 5.0, -2.0, -3.0]]), pieces=2)
    array([[ 5., -2.]])
    """

    __name__ = "maxout"

    def __call__(self, x, pieces, axis=1, out=None):
        windows, images, shape = self._as_pooling(x, pieces, axis)
        result = self._pooled(windows, images)[0].reshape(shape)
        if out is None:
            return result
        check(x=x, out=out)
        check_shape("out", out, shape, "x with one channel for each group")
        device_of(x).copy(out, result)
        return out

    def backward(self, grad, x, pieces, axis=1, out=None):
        """The gradient of x."""
        windows, images, shape = self._as_pooling(x, pieces, axis)
        check(grad=grad, x=x)
        check_shape("grad", grad, shape, "that of maxout's result")
        device = device_of(x)
        if out is not None:
            check_out(out, x, grad=grad, x=x)
        largest, places = self._pooled(windows, images)
        result = device.empty(images.shape, x.dtype)
        max_pool_backward(dense(grad).reshape(largest.shape), places, windows, result)
        result = result.reshape(x.shape)
        if out is None:
            return result
        device.copy(out, result)
        return out

    def _as_pooling(self, x, pieces, axis):
        """(windows of *pieces* channels, x as images of which they are the windows, the shape of the result)."""
        check(x=x)
        pieces, axis = arguments.integer("pieces", pieces), check_axis(axis, x.ndim)
        channels = x.shape[axis]
        if channels % pieces:
            raise ValueError(f"pieces: got {pieces}, accepted are divisors of the {channels} channels of x")
        before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
        samples, inner = math.prod(before), math.prod(after)
        extents, size = ((1, channels), (1, pieces)) if inner == 1 else ((channels, inner), (pieces, 1))
        return Windows(size, size), dense(x).reshape(samples, 1, *extents), (*before, channels // pieces, *after)

    @staticmethod
    def _pooled(windows, images):
        """(the largest of each window, where it is)."""
        device, (height, width) = device_of(images), windows.size
        shape = (*tuple(images.shape)[:2], images.shape[2] // height, images.shape[3] // width)
        largest, places = device.empty(shape, images.dtype), device.empty(shape, np.int64)
        max_pool(images, windows, largest, places)
        return largest, places
