"""The public operations, derived from the records in ``numbadl.kernels.scalar``: checks, layouts, one kernel call."""

import numpy as np

from .activation import functions_of
from .apl import AdaptivePiecewiseLinear
from .arrays import check, check_axis, check_out, check_shape, device_of, rows_of
from .elementwise import elementwise, run_any
from .gated import GatedFunction, Maxout, SplitFunction
from .kernels.scalar.activations import ACTIVATIONS
from .kernels.scalar.gated import GATED as GATED_RECORDS
from .streams import stream_of, threshold_of


class RowFunction:
    """softmax or log_softmax: an operation along one axis, whose backward takes its result."""

    def __init__(self, name, formula, gradient):
        self.__name__ = name
        self.__doc__ = _row_doc(name, formula, gradient)

    def __call__(self, x, axis=-1, out=None):
        check(x=x)
        return self._run(self.__name__, axis, out, x=x)

    def backward(self, grad, y, axis=-1, out=None):
        """The gradient with respect to x, given that with respect to y = f(x), and y itself."""
        check(grad=grad, y=y)
        check_shape("grad", grad, y.shape, "that of y")
        return self._run(f"{self.__name__}.backward", axis, out, grad=grad, y=y)

    def _run(self, name, axis, out, **inputs):
        first = next(iter(inputs.values()))
        axis, device = check_axis(axis, first.ndim), device_of(first)
        if out is not None:
            check_out(out, first, **inputs)
        elif device.name == "cpu":
            out = np.empty(first.shape, first.dtype)
        else:
            out = device.empty(first.shape, first.dtype)
        if first.size == 0:
            return out
        device.prepare(first.size)
        direct = device.name == "cuda" or (axis == first.ndim - 1 and out.flags.carray)
        result = rows_of(out, axis) if direct else np.empty(rows_of(out, axis).shape, out.dtype)
        device.kernel(name)(*[rows_of(a, axis) for a in inputs.values()], result)
        if not direct:
            moved = np.moveaxis(out, axis, -1)
            moved[...] = result.reshape(moved.shape)
        return out


def _row_doc(name, formula, gradient):
    return f"""{name}(x, axis=-1, out=None): {formula}, along one axis.

    Backward takes the result y: dx = {gradient}.

    Parameters
    ----------
    x : array of float32 or float64
    axis : int
    out : array like x, optional; x itself to work in place

    Returns
    -------
    array of x's kind, shape and dtype. A row that holds NaN, inf, or nothing but -inf gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> bool(np.allclose(np.exp(nd.log_softmax(np.arange(3.0))), nd.softmax(np.arange(3.0))))
    True
    """


class Dropout:
    """dropout(x, p=0.5, seed=0, offset=0, out=None): zero a random fraction p, and scale the rest by 1 / (1 - p).

    The mask follows from (seed, offset) and the position of an element alone (Philox4x32-10), so that ``backward``
    draws it again, and nothing is stored. Another *offset* is another, independent mask.

    Parameters
    ----------
    x : array of float32 or float64, C-ordered positions
    p : fraction dropped, 0 <= p <= 1 (p = 1 gives zeros)
    seed, offset : non-negative integers below 2**64
    start : position of x's first element in the stream, for arrays that are parts of a larger one
    out : array like x, optional; x itself to work in place

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> y = nd.dropout(np.ones(1000, np.float32), p=0.25, seed=1)
    >>> bool(np.array_equal(y != 0, nd.dropout.mask((1000,), p=0.25, seed=1)))
    True
    """

    __name__ = "dropout"

    def __call__(self, x, p=0.5, seed=0, offset=0, out=None, *, start=0):
        return self._run("x", x, p, seed, offset, start, out)

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: the same mask and scale, applied to *grad*."""
        return self._run("grad", grad, p, seed, offset, start, out)

    def mask(self, shape, p=0.5, seed=0, offset=0, *, start=0):
        """The mask as a bool array: True = kept."""
        threshold, stream = threshold_of(p), stream_of(seed, offset, start)
        out = np.empty(shape, np.bool_)
        if threshold is None:
            out[...] = True
        elif out.size:
            device = device_of(out)
            device.prepare(out.size)
            device.kernel("dropout.mask")(out.reshape(-1), threshold, *stream)
        return out

    def _run(self, name, x, p, seed, offset, start, out):
        check(**{name: x})
        threshold, stream = threshold_of(p), stream_of(seed, offset, start)
        if threshold is None:
            return elementwise("identity", out, **{name: x})
        scale = 0.0 if p == 1 else 1 / (1 - float(p))
        return run_any("dropout", {name: x}, (out,), (threshold, scale, *stream), ordered=True)[0][0]


def uniform(shape, low=0.0, high=1.0, seed=0, offset=0, dtype=np.float32):
    """An array of that shape, uniform on (low, high), from the stream (seed, offset); rounding may reach the ends.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.uniform((2, 3), seed=7).shape
    (2, 3)
    """
    out, stream = np.empty(shape, dtype), stream_of(seed, offset, 0)
    check(dtype=out)
    if out.size:
        dtype = out.dtype.type
        device_of(out).kernel("uniform")(out.reshape(-1), dtype(low), dtype(high), *stream)
    return out


FUNCTIONS = functions_of(ACTIVATIONS)
apl = AdaptivePiecewiseLinear()
GATED = {name: (SplitFunction if name == "glu" else GatedFunction)(record) for name, record in GATED_RECORDS.items()}
maxout = Maxout()
softmax = RowFunction("softmax", "y_i = exp(x_i - max x) / sum_j exp(x_j - max x)", "y (g - sum(g y))")
log_softmax = RowFunction("log_softmax", "y_i = x_i - max x - log sum_j exp(x_j - max x)", "g - exp(y) sum(g)")
softmin = RowFunction("softmin", "y_i = exp(-x_i) / sum_j exp(-x_j)", "y (sum(g y) - g)")
sparsemax = RowFunction(
    "sparsemax", "y_i = max(x_i - t, 0) with t such that sum_i y_i = 1", "g - mean of g over y > 0 there, else 0"
)
dropout = Dropout()
