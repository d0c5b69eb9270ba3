"""Layer norm, RMS norm, group norm and instance norm over arrays: the normalised output and the backward pass."""

import math
from typing import NamedTuple

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_out, check_shape, device_of
from .interop.arrays import takes_any_array
from .normalization import constant, dense, target_of


class RowNormSaved(NamedTuple):
    """What backward needs: values of each row (the mean in two parts, 1 / std), and how rows lie in x."""

    values: tuple
    rows: "Rows"
    has_bias: bool


class Rows(NamedTuple):
    """x of *shape* as *count* rows of *n* elements; weight and bias have a value for *segment* elements each."""

    shape: tuple
    count: int
    n: int
    segment: int
    parameter: tuple


@takes_any_array
class _RowNorm:
    """What the norms of rows share; a subclass names its kernels, and how many values each row saves."""

    def forward(self, x, rows, weight, bias, eps, out, kept=None):
        """(y, saved) of *rows* of x; *kept*, a `Repeated`, keeps the call."""
        given = {name: v for name, v in (("weight", weight), ("bias", bias)) if v is not None}
        _check_parameters(x, rows, **given)
        number = float(np.finfo(x.dtype).eps) if eps is None and self._saved == 1 else arguments.number("eps", eps)
        device, columns = device_of(x), math.prod(rows.parameter)
        if out is None:
            out = device.empty(x.shape, x.dtype)
        else:
            check_out(out, x, x=x, **given)
        values = tuple(device.empty((rows.count,), x.dtype) for _ in range(self._saved))
        saved = RowNormSaved(values, rows, bias is not None)
        if x.size == 0:
            return out, saved
        affine = [constant(weight, 1, columns, x)] + [constant(bias, 0, columns, x)] * (self._kernel == "layer_norm")
        matrix = rows.count, rows.n
        target, write_back = target_of(out, matrix)
        device.prepare(x.size)
        kernel, operands = device.kernel(self._kernel), (*affine, *values, x.dtype.type(number), rows.segment)
        kernel(dense(x, matrix), target, *operands)
        write_back()
        if kept is not None:
            kept.keep(eps, x.shape, lambda *arrays: kernel(*(a.reshape(matrix) for a in arrays), *operands), saved)
        return out, saved

    def backward(self, grad, x, weight, saved, out=None):
        """The gradients with respect to x, weight and bias (for RMS norm, which has no bias: x and weight).

        Parameters
        ----------
        grad : array like x, the gradient with respect to y
        x, weight, saved : what forward was given, and what it gave
        out : array like x, optional: for dx; *grad* or *x* itself to work in place

        Returns
        -------
        dx : array like x
        dweight, dbias : arrays like weight and bias; None for what forward had as None
        """
        return self.gradients(grad, x, weight, saved, out)

    def gradients(self, grad, x, weight, saved, out, kept=None):
        """What `backward` gives; *kept*, a `Repeated`, keeps the call."""
        if not isinstance(saved, RowNormSaved) or len(saved.values) != self._saved:
            raise TypeError(f"saved: got {arguments.shown(saved)}, accepted is what {self.__name__} gave")
        rows = saved.rows
        check(x=x, grad=grad)
        check_shape("x", x, rows.shape, "that of forward's x")
        check_shape("grad", grad, x.shape, "that of x")
        check(x=x, saved=saved.values[0])
        _check_parameters(x, rows, **({} if weight is None else {"weight": weight}))
        device, columns = device_of(x), math.prod(rows.parameter)
        if out is None:
            out = device.empty(x.shape, x.dtype)
        else:
            check_out(out, x, x=x, grad=grad, **({} if weight is None else {"weight": weight}))
        has_bias = self._kernel == "layer_norm"
        sums = device.zeros((1 + has_bias, columns), x.dtype)
        wanted = (weight is not None, saved.has_bias)[: 1 + has_bias]
        found = [sums[k].reshape(rows.parameter) if want else None for k, want in enumerate(wanted)]
        if x.size:
            matrix = rows.count, rows.n
            target, write_back = target_of(out, matrix)
            device.prepare(x.size)
            operands = constant(weight, 1, columns, x), *saved.values, sums, rows.segment
            kernel = device.kernel(f"{self._kernel}.backward")
            kernel(*(dense(a, matrix) for a in (grad, x)), target, *operands)
            write_back()
            if kept is not None:
                kept.keep((), x.shape, lambda *arrays: kernel(*(a.reshape(matrix) for a in arrays), *operands), found)
        return out, *found


@takes_any_array
class LayerNorm(_RowNorm):
    """y, saved = layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5, out=None).

    Normalises the last axes of x, of *normalized_shape*, for every index of the others: y = (x - mean) / sqrt(var + eps)
    * weight + bias, with the biased variance. A large mean costs no digits.

    Parameters
    ----------
    x : array (*, *normalized_shape) of float32 or float64
    normalized_shape : integer, or tuple of integers
    weight, bias : array of shape normalized_shape, or None for 1 and 0
    eps : number from 0 on
    out : array like x, optional; x itself to work in place (backward then has to be given the old x)

    Returns
    -------
    y : array like x
    saved : what ``layer_norm.backward(grad, x, weight, saved) -> dx, dweight, dbias`` needs

    Raises
    ------
    TypeError : an argument is of another kind or dtype
    ValueError : the last axes of x are not those of normalized_shape, or a parameter has another shape

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.arange(12, dtype=np.float32).reshape(4, 3)
    >>> y, saved = nd.layer_norm(x, 3)
    >>> bool(np.allclose(y.mean(axis=1), 0, atol=1e-6)), bool(np.allclose(y.std(axis=1), 1, atol=1e-4))
    (True, True)
    >>> dx, dweight, dbias = nd.layer_norm.backward(np.ones_like(x), x, None, saved)
    >>> bool(np.allclose(dx, 0, atol=1e-6))
    True
    """

    __name__, _kernel, _saved = "layer_norm", "layer_norm", 3

    def __call__(self, x, normalized_shape, weight=None, bias=None, eps=1e-5, out=None):
        return self.forward(x, last_axes(x, normalized_shape), weight, bias, eps, out)


@takes_any_array
class RMSNorm(_RowNorm):
    """y, saved = rms_norm(x, normalized_shape, weight=None, eps=None, out=None): x / sqrt(mean(x^2) + eps) * weight.

    The mean is that over the last axes of x, of *normalized_shape*.

    Parameters
    ----------
    x : array (*, *normalized_shape) of float32 or float64
    normalized_shape : integer, or tuple of integers
    weight : array of shape normalized_shape, or None for 1
    eps : number from 0 on; None for the distance from 1 to the next number of x's type
    out : array like x, optional; x itself to work in place (backward then has to be given the old x)

    Returns
    -------
    y : array like x
    saved : what ``rms_norm.backward(grad, x, weight, saved) -> dx, dweight`` needs

    Raises
    ------
    TypeError : an argument is of another kind or dtype
    ValueError : the last axes of x are not those of normalized_shape, or the weight has another shape

    Source: B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.array([[3, -4]], np.float32)
    >>> bool(np.allclose(nd.rms_norm(x, 2)[0], x / np.sqrt(12.5)))
    True
    """

    __name__, _kernel, _saved = "rms_norm", "rms_norm", 1

    def __call__(self, x, normalized_shape, weight=None, eps=None, out=None):
        return self.forward(x, last_axes(x, normalized_shape), weight, None, eps, out)


@takes_any_array
class GroupNorm(_RowNorm):
    """y, saved = group_norm(x, num_groups, weight=None, bias=None, eps=1e-5, out=None).

    Normalises each group of neighbouring channels of each sample: y = (x - mean) / sqrt(var + eps) * weight + bias, with
    mean and biased variance over the channels of the group and all of their elements.

    Parameters
    ----------
    x : array (N, C, *spatial) of float32 or float64
    num_groups : integer that divides C
    weight, bias : array (C,), or None for 1 and 0
    eps : number from 0 on
    out : array like x, optional; x itself to work in place (backward then has to be given the old x)

    Returns
    -------
    y : array like x
    saved : what ``group_norm.backward(grad, x, weight, saved) -> dx, dweight, dbias`` needs

    Raises
    ------
    TypeError : an argument is of another kind or dtype
    ValueError : fewer than 2 dimensions, num_groups does not divide C, or a parameter's shape is not (C,)

    Source: Y. Wu, K. He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    >>> y, saved = nd.group_norm(x, 2)
    >>> bool(np.allclose(y.reshape(2, 8).mean(axis=1), 0, atol=1e-6))
    True
    """

    __name__, _kernel, _saved = "group_norm", "layer_norm", 3

    def __call__(self, x, num_groups, weight=None, bias=None, eps=1e-5, out=None):
        return self.forward(x, groups_of(x, num_groups), weight, bias, eps, out)


@takes_any_array
class InstanceNorm(_RowNorm):
    """y, saved = instance_norm(x, weight=None, bias=None, eps=1e-5, out=None).

    Normalises each channel of each sample: y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and biased variance
    over its elements. There are no running statistics.

    Parameters
    ----------
    x : array (N, C, *spatial) of float32 or float64
    weight, bias : array (C,), or None for 1 and 0
    eps : number from 0 on
    out : array like x, optional; x itself to work in place (backward then has to be given the old x)

    Returns
    -------
    y : array like x
    saved : what ``instance_norm.backward(grad, x, weight, saved) -> dx, dweight, dbias`` needs

    Raises
    ------
    TypeError : an argument is of another kind or dtype
    ValueError : fewer than 2 dimensions, one value for each channel of a sample, or a parameter's shape is not (C,)

    Source: D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization: the missing ingredient for fast stylization", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> y, saved = nd.instance_norm(np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    >>> bool(np.allclose(y.mean(axis=2), 0, atol=1e-6))
    True
    """

    __name__, _kernel, _saved = "instance_norm", "layer_norm", 3

    def __call__(self, x, weight=None, bias=None, eps=1e-5, out=None):
        return self.forward(x, channels_of(x), weight, bias, eps, out)


def normalized_axes(normalized_shape):
    """*normalized_shape*, an integer or several, as a tuple."""
    given = normalized_shape
    given = (given,) if isinstance(given, (int, np.integer)) else given
    if not isinstance(given, (tuple, list)) or not given:
        raise TypeError(f"normalized_shape: got {arguments.shown(given)}, accepted are an integer, and a tuple of some")
    return tuple(arguments.integer("normalized_shape", n, low=0) for n in given)


def last_axes(x, normalized_shape):
    """The rows of layer norm and RMS norm."""
    check(x=x)
    wanted, shape = normalized_axes(normalized_shape), tuple(x.shape)
    if shape[-len(wanted) :] != wanted:
        raise ValueError(f"normalized_shape: got {wanted}, accepted are the last axes of x, which has shape {shape}")
    return Rows(shape, math.prod(shape[: -len(wanted)]), math.prod(wanted), 1, wanted)


def groups_of(x, num_groups):
    """The rows of group norm: neighbouring channels of a sample, in *num_groups* groups, or each by itself."""
    check(x=x)
    shape = tuple(x.shape)
    if len(shape) < 2:
        raise ValueError(f"x: got shape {shape}, expected (N, C) or (N, C, *spatial)")
    samples, channels, size = shape[0], shape[1], math.prod(shape[2:])
    groups = channels if num_groups is None else arguments.integer("num_groups", num_groups)
    if groups and channels % groups:
        raise ValueError(f"num_groups: got {groups}, accepted are divisors of the number of channels, {channels}")
    return Rows(shape, samples * groups, channels // max(groups, 1) * size, size, (channels,))


def channels_of(x):
    """The rows of instance norm: each channel of each sample."""
    rows = groups_of(x, None)
    if rows.n == 1:
        raise ValueError(
            f"x: got shape {x.shape}; instance norm needs more than one value for each channel of a sample"
        )
    return rows


def _check_parameters(x, rows, **parameters):
    for name, value in parameters.items():
        check(x=x, **{name: value})
        check_shape(name, value, rows.parameter, "one value for each that is normalised by itself")


layer_norm, rms_norm, group_norm, instance_norm = LayerNorm(), RMSNorm(), GroupNorm(), InstanceNorm()
