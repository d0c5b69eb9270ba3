"""The public operations, derived from the records in ``numbadl.kernels.scalar``: checks, layouts, one kernel call."""

import math

import numpy as np

from ._arguments import shown
from .activation import functions_of
from .apl import AdaptivePiecewiseLinear
from .arrays import check, check_axis, check_out, check_shape, columns_of, device_of, rows_of
from .gated import GatedFunction, Maxout, SplitFunction
from .interop.arrays import takes_any_array
from .kernels.catalog import catalog
from .kernels.scalar.activations import ACTIVATIONS
from .kernels.scalar.gated import GATED as GATED_RECORDS
from .kernels.shapes import Columns

FEWEST_COLUMNS = 16  # side by side: fewer are copied into rows


@takes_any_array
class RowFunction:
    """softmax or log_softmax: an operation along one axis, whose backward takes its result."""

    def __init__(self, name, formula, gradient):
        self.__name__ = name
        self.__doc__ = _row_doc(name, formula, gradient, f"{name}.masked" in catalog())

    def __call__(self, x, axis=-1, out=None, mask=None):
        check(x=x)
        return self._run("", axis, out, mask, x=x)

    def backward(self, grad, y, axis=-1, out=None, mask=None):
        """The gradient with respect to x, given that with respect to y = f(x), and y itself; *mask* is forward's."""
        check(grad=grad, y=y)
        check_shape("grad", grad, y.shape, "that of y")
        return self._run(".backward", axis, out, mask, grad=grad, y=y)

    def _run(self, what, axis, out, mask, **inputs):
        first = next(iter(inputs.values()))
        axis, device = check_axis(axis, first.ndim), device_of(first)
        masks = () if mask is None else (_mask_like(first, mask, self.__name__),)
        if out is not None:
            check_out(out, first, **inputs)
        elif device.name == "cpu":
            out = np.empty(first.shape, first.dtype)
        else:
            out = device.empty(first.shape, first.dtype)
        if first.size == 0:
            return out
        device.prepare(first.size)
        name = self.__name__ + ".masked" * len(masks) + what
        given = (*inputs.values(), *masks)
        if device.name == "cpu" and axis < first.ndim - 1 and _beside_each_other(name, axis, first.shape):
            dense = [np.require(a, requirements="CA") for a in given]
            result = out if out.flags.carray else np.empty(out.shape, out.dtype)
            device.kernel(Columns(catalog()[name]))(*[columns_of(a, axis) for a in (*dense, result)])
            if result is not out:
                np.copyto(out, result)
            return out
        direct = device.name == "cuda" or (axis == first.ndim - 1 and out.flags.carray)
        result = rows_of(out, axis) if direct else np.empty(rows_of(out, axis).shape, out.dtype)
        device.kernel(name)(*[rows_of(a, axis) for a in given], result)
        if not direct:
            moved = np.moveaxis(out, axis, -1)
            moved[...] = result.reshape(moved.shape)
        return out


def _beside_each_other(name, axis, shape):
    """Whether enough columns along *axis* lie side by side for vectors; by the shape alone: any layout gives the same bits."""
    return math.prod(shape[axis + 1 :]) >= FEWEST_COLUMNS and Columns.take(catalog()[name])


def _mask_like(x, mask, name):
    """*mask* as an array of x's shape."""
    if f"{name}.masked" not in catalog():
        raise TypeError(f"mask: {name} takes none")
    if getattr(mask, "dtype", None) != np.bool_ or isinstance(mask, np.ndarray) != isinstance(x, np.ndarray):
        got = f"dtype {mask.dtype}" if getattr(mask, "dtype", np.bool_) != np.bool_ else shown(mask)
        raise TypeError(f"mask: got {got}, accepted are bool arrays where the input is, True for what takes part")
    if tuple(mask.shape) == tuple(x.shape):
        return mask
    try:
        return np.broadcast_to(mask, x.shape)
    except (ValueError, TypeError):
        raise ValueError(f"mask: got shape {mask.shape}, expected {x.shape} or (on the CPU) what broadcasts") from None


def _row_doc(name, formula, gradient, masked):
    mask = """
    mask : bool array of x's shape (on the CPU also one that broadcasts), optional: True for what takes part; elsewhere the
        result is that of x = -inf, and a row without any is all that"""
    return f"""{name}(x, axis=-1, out=None{", mask=None" * masked}): {formula}, along one axis.

    Backward takes the result y: dx = {gradient}.

    Parameters
    ----------
    x : array of float32 or float64
    axis : int
    out : array like x, optional; x itself to work in place{mask * masked}

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
