"""Batch norm over arrays: statistics, the normalised output, running averages, and the backward pass."""

import math
from typing import NamedTuple

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_out, check_shape, device_of, writeable
from .interop.arrays import takes_any_array
from .repeated import Repeated


class BatchNormSaved(NamedTuple):
    """What backward needs: the mean is shift + delta (kept apart, for their sum would lose digits), 1 / std, weight / std."""

    shift: object
    delta: object
    rstd: object
    scale: object
    training: bool
    has_bias: bool


class Behind(NamedTuple):
    """Operands of what a kernel computes behind batch norm: arrays like x by name, arrays (C,), numbers."""

    arrays: dict
    channels: tuple
    numbers: tuple


NOTHING = Behind({}, (), ())
KERNELS = {True: "batch_norm", False: "batch_norm.evaluation"}  # by whether it is training
BACKWARD_KERNELS = {True: "batch_norm.backward", False: "batch_norm.evaluation.backward"}


class Scratch(Repeated):
    """What a layer keeps: its last call, and arrays of one value for each channel for results.

    `restart` gives the same arrays again, in order.
    """

    def __init__(self):
        super().__init__()
        self._arrays, self._given = [], 0

    def restart(self):
        self._given = 0

    def take(self, device, count, dtype):
        if self._given == len(self._arrays):
            self._arrays.append(device.empty((count,), dtype))
        self._given += 1
        return self._arrays[self._given - 1]


@takes_any_array
class BatchNorm:
    """y, saved = batch_norm(x, weight, bias, running_mean, running_var, training=True, momentum=0.1, eps=1e-5).

    Normalises each channel of x, of shape (N, C) or (N, C, *spatial): y = (x - mean) / sqrt(var + eps) * weight + bias.

    In training, mean and (biased) variance are those of the batch, and the running statistics move towards them in
    place: new = (1 - momentum) old + momentum batch, with the unbiased variance. In evaluation the running statistics
    normalise, and stay as they are.

    Parameters
    ----------
    x : array (N, C, *spatial) of float32 or float64
    weight, bias : array (C,), or None for 1 and 0
    running_mean, running_var : array (C,), updated in place in training, or None (then only training is possible)
    momentum : number from 0 to 1, the weight of this batch; None for the mean of all batches, each of weight
        1 / (num_batches_tracked + 1)
    out : array like x, optional; x itself to work in place (backward then has to be given the old x)
    num_batches_tracked : integer, how many batches the running statistics have seen before this one; only
        momentum=None needs it, in training, and the caller counts (`numbadl.nn.BatchNorm` does)

    Returns
    -------
    y : array like x
    saved : what ``batch_norm.backward`` needs

    Raises
    ------
    ValueError : fewer than 2 dimensions, a parameter's shape is not (C,), or training with one value per channel

    Source: S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.arange(12.0).reshape(4, 3)
    >>> y, saved = nd.batch_norm(x, None, None, None, None)
    >>> bool(np.allclose(y.mean(axis=0), 0)), bool(np.allclose(y.std(axis=0), 1, atol=1e-4))
    (True, True)
    """

    __name__ = "batch_norm"

    def __call__(
        self, x, weight, bias, running_mean, running_var, training=True, momentum=0.1, eps=1e-5, out=None, *,
        num_batches_tracked=None,
    ):  # fmt: skip
        momentum = momentum_of(momentum, num_batches_tracked, training)
        statistics = running_mean, running_var
        return forward(KERNELS, x, weight, bias, *statistics, training, momentum, eps, out)

    def backward(self, grad, x, weight, saved, out=None):
        """The gradients with respect to x, weight and bias.

        Returns
        -------
        dx : array like x
        dweight, dbias : array (C,); None for what forward had as None
        """
        check_saved(saved)
        operands = [saved.shift, saved.delta, saved.rstd]
        (dx,), (dweight, dbias) = backward(BACKWARD_KERNELS, grad, x, weight, saved, operands, (out,))
        return dx, None if weight is None else dweight, dbias if saved.has_bias else None


def forward(
    kernels, x, weight, bias, running_mean, running_var, training, momentum, eps, out, behind=NOTHING, kept=None
):
    """Batch norm with what is *behind* it, by one of two *kernels*, in training and not -> out, saved.

    Results by channel go into *kept*, a `Scratch`, which keeps the call, too; or into new arrays.
    """
    given = dict(weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    channels = check_channels(x, **given)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var: give both or neither")
    _check_values_per_channel(x, training, running_mean)
    arguments.number("eps", eps)
    if training:
        channels.check_writeable(running_mean=running_mean, running_var=running_var)
    device, dtype = device_of(x), x.dtype.type
    if out is None:
        out = device.empty(x.shape, x.dtype)
    else:
        given = {name: value for name, value in given.items() if value is not None}
        check_out(out, x, x=x, **given, **behind.arrays)
    scratch, has_bias = channels.scratch_of(kept), bias is not None
    weight, bias = channels.constant(weight, 1), channels.constant(bias, 0)
    results = delta, rstd, scale = scratch(), scratch(), scratch()
    shift, three = scratch(), _three(x.shape)
    target, write_back = target_of(out, three)
    device.prepare(x.size)
    if training:
        statistics = channels.constant(running_mean, 0), channels.constant(running_var, 0)
        operands, scalars = [shift, weight, bias, *statistics], [dtype(momentum), dtype(eps)]
        results += statistics
    else:
        device.copy(shift, running_mean)
        operands, scalars = [shift, channels.constant(running_var, 1), weight, bias], [dtype(eps)]
    operands += [*behind.channels, *results, *scalars, *(dtype(v) for v in behind.numbers)]
    kernel, typical_values = device.kernel(kernels[training]), device.kernel("typical_values")

    def run(x, *arrays):
        if training:
            typical_values(x, shift)  # what the sums of each channel are shifted by
        kernel(x, *arrays, *operands)

    run(*(dense(a, three) for a in (x, *behind.arrays.values())), target)
    write_back()
    saved = BatchNormSaved(shift, delta, rstd, scale, training, has_bias)
    if kept is not None:
        kept.keep((momentum, eps), x.shape, lambda *arrays: run(*(a.reshape(three) for a in arrays)), saved)
    return out, saved


def backward(kernels, grad, x, weight, saved, operands, outs, behind=NOTHING, kept=None, totals=()):
    """The gradients of x and of arrays behind batch norm, as many as *outs*; those by channel: of weight, bias, ...

    *operands* are the first channel inputs of the kernels, before the weight, and what follows it. *totals* are arrays for
    the first gradients by channel; other results by channel go into *kept*, a `Scratch`, or into new arrays.
    """
    channels = check_channels(x, weight=weight)
    check(grad=grad, x=x)
    check_shape("grad", grad, x.shape, "that of x")
    check(x=x, saved=saved.shift)
    check_shape("saved", saved.shift, (channels.count,), "one value for each channel of x")
    device, scratch = device_of(x), channels.scratch_of(kept)
    outs, three = [device.empty(x.shape, x.dtype) if out is None else out for out in outs], _three(x.shape)
    check_out(outs[0], x, x=x, grad=grad, **behind.arrays)
    targets, write_backs = zip(*(target_of(out, three) for out in outs), strict=True)
    totals = [*totals, *(scratch() for _ in range(2 + len(behind.channels) - len(totals)))]
    coefficients = [scratch() for _ in range(3 if saved.training else 1)]
    results = [*totals[:2], *coefficients, *totals[2:]]
    before, after = operands[:3], operands[3:]
    operands = [*before, channels.constant(weight, 1), *after, *behind.channels, *results]
    operands += [x.dtype.type(v) for v in behind.numbers]
    kernel = device.kernel(kernels[saved.training])
    device.prepare(x.size)
    kernel(*(dense(a, three) for a in (grad, x, *behind.arrays.values())), *targets, *operands)
    for write_back in write_backs:
        write_back()
    if kept is not None:
        kept.keep((), x.shape, lambda *arrays: kernel(*(a.reshape(three) for a in arrays), *operands), totals)
    if x.size == 0:
        for total in totals:
            device.copy(total, device.zeros(total.shape, total.dtype))
    return outs, totals


def check_saved(saved):
    """Raise TypeError unless *saved* is what a forward gave."""
    if not isinstance(saved, BatchNormSaved):
        raise TypeError(f"saved: got {arguments.shown(saved)}, accepted is what forward gave")


def momentum_of(momentum, num_batches_tracked, training):
    """The weight of a batch in the running statistics."""
    if momentum is not None:
        return arguments.number("momentum", momentum, high=1)
    if not training:
        return 0
    if num_batches_tracked is None:
        raise ValueError("momentum: got None, for which num_batches_tracked is needed: the batches before this one")
    return 1 / (arguments.integer("num_batches_tracked", num_batches_tracked, low=0) + 1)


class check_channels:
    """Checks x and its parameters; then gives arrays of one value for each channel."""

    def __init__(self, x, **parameters):
        given = {name: value for name, value in parameters.items() if value is not None}
        check(x=x, **given)
        if x.ndim < 2:
            raise ValueError(f"x: got shape {x.shape}, expected (N, C) or (N, C, *spatial)")
        self.x, self.count, self.device = x, x.shape[1], device_of(x)
        for name, value in given.items():
            check_shape(name, value, (self.count,), "one value for each channel of x")

    def check_writeable(self, **statistics):
        for name, value in statistics.items():
            if isinstance(value, np.ndarray) and not value.flags.carray:
                raise ValueError(f"{name}: has to be a writeable, C-contiguous array, as training updates it in place")

    def scratch_of(self, kept=None):
        """What gives arrays for results: those of *kept*, a `Scratch`, or new ones."""
        kept = Scratch() if kept is None else kept
        kept.restart()
        return lambda: kept.take(self.device, self.count, self.x.dtype)

    def constant(self, value, default):
        return constant(value, default, self.count, self.x)


def _check_values_per_channel(x, training, running_mean):
    values = x.shape[0] * math.prod(x.shape[2:])
    if training and values < 2:
        raise ValueError(f"x: got shape {x.shape}; training needs at least 2 values per channel, this has {values}")
    if not training and running_mean is None:
        raise ValueError("running_mean: evaluation needs running statistics, got None")


def constant(value, default, count, like):
    """*value* as a dense array of *count* numbers; None is *default* everywhere."""
    if value is None:
        return device_of(like).from_host(np.full(count, default, like.dtype))
    return dense(value, (count,))


def dense(array, shape):
    """*array* as a C-contiguous array of *shape*: a view where that is possible."""
    if isinstance(array, np.ndarray) and not array.flags.carray:
        array = writeable(np.require(array, requirements="CA"))
    return array.reshape(shape)


def target_of(out, shape):
    """An array of *shape* to compute into, and what copies it to *out* if that has another layout."""
    if not isinstance(out, np.ndarray) or out.flags.carray:
        return dense(out, shape), lambda: None
    target = np.empty(out.shape, out.dtype)
    return target.reshape(shape), lambda: np.copyto(out, target)


def _three(shape):
    """(N, C, S) of an array of *shape*."""
    return shape[0], shape[1], math.prod(shape[2:])


batch_norm = BatchNorm()
