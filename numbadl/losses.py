"""Losses: ``loss(prediction, target)`` is a float, ``loss.backward`` the gradient, ``loss.value_and_grad`` both.

Values and gradients are those of the mean: over all elements for `mse` and `binary_cross_entropy`, over the rows of the
batch for `cross_entropy`.

Examples
--------
>>> import numpy as np
>>> import numbadl as nd
>>> value, gradient = nd.losses.cross_entropy.value_and_grad(np.zeros((2, 4)), np.array([0, 3]))
>>> round(value, 6), gradient.shape
(1.386294, (2, 4))
"""

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_out, check_shape, device_of, is_cuda, rows_of, to_host
from .elementwise import elementwise
from .kernels.scalar.losses import LOSSES as RECORDS
from .kernels.scalar.losses import ElementLoss

TARGETS = {"binary_cross_entropy": (0, 1)}  # smallest and largest accepted target, of losses that do not take all


class ElementwiseLoss:
    """A mean over elements of a function of (prediction, target), arrays of one shape."""

    def __init__(self, record):
        self.record, self.__name__ = record, record.name
        self.targets = TARGETS.get(record.name)
        self.__doc__ = f"{record.name}(prediction, target): {record.formula}\n\n    {record.source}"

    def __call__(self, prediction, target):
        """The value, as a float."""
        self._check(prediction, target)
        return self._value(prediction, target)

    def _value(self, prediction, target):
        if prediction.size == 0:
            return 0.0
        device = device_of(prediction)
        device.prepare(prediction.size)
        flat = [rows_of(a.reshape(-1), -1).reshape(-1) for a in (prediction, target)]
        return float(device.kernel(f"{self.__name__}.value")(*flat)) / prediction.size

    def backward(self, prediction, target, out=None):
        """The gradient with respect to the prediction."""
        self._check(prediction, target)
        return self._gradient(prediction, target, out)

    def _gradient(self, prediction, target, out):
        scale = 1 / max(prediction.size, 1)
        return elementwise(f"{self.__name__}.gradient", out, (scale,), prediction=prediction, target=target)

    def value_and_grad(self, prediction, target, out=None):
        """(value, gradient)."""
        self._check(prediction, target)
        return self._value(prediction, target), self._gradient(prediction, target, out)

    def _check(self, prediction, target):
        check(prediction=prediction, target=target)
        check_shape("target", target, prediction.shape, "that of the prediction")
        if isinstance(target, np.ndarray):  # one on a GPU would have to be copied to be looked at
            self.check_target(target)

    def check_target(self, target, name="target"):
        """Raise ValueError for a value of a NumPy array that this loss does not take."""
        if self.targets:
            arguments.within(name, target, *self.targets)

    def __repr__(self):
        return _repr(self)


class LogitsLoss:
    """A mean over the rows of logits (N, classes), with integer labels (N,)."""

    def __init__(self, record):
        self.record, self.__name__ = record, record.name
        self.__doc__ = f"{record.name}(logits, labels): {record.formula}\n\n    {record.source}"

    def __call__(self, logits, labels):
        """The value, as a float."""
        return self._run(logits, labels, "value", None)[0]

    def backward(self, logits, labels, out=None):
        """The gradient with respect to the logits."""
        return self._run(logits, labels, "gradient", out)[1]

    def value_and_grad(self, logits, labels, out=None):
        """(value, gradient), in one pass over the logits."""
        return self._run(logits, labels, "gradient", out)

    def __repr__(self):
        return _repr(self)

    def _run(self, logits, labels, what, out):
        check(logits=logits)
        if logits.ndim != 2:
            raise ValueError(f"logits: got shape {logits.shape}, expected (N, classes)")
        device, (n, classes) = device_of(logits), logits.shape
        labels = check_labels(labels, n, classes, device)
        if what == "gradient":
            if out is None:
                out = device.empty(logits.shape, logits.dtype)
            else:
                check_out(out, logits, logits=logits)
        if logits.size == 0:
            return 0.0, out
        device.prepare(logits.size)
        values = device.empty((n,), logits.dtype)
        operands = [rows_of(logits, -1), labels]
        direct = out is None or device.name == "cuda" or out.flags.carray
        if what == "gradient":
            target = out if direct else np.empty(out.shape, out.dtype)
            device.kernel(f"{self.__name__}.gradient")(*operands, target, values, logits.dtype.type(1 / n))
            if not direct:
                np.copyto(out, target)
        else:
            device.kernel(f"{self.__name__}.value")(*operands, values)
        return float(device.kernel("sum")(values)) / n, out


def _repr(loss):
    return f"<numbadl loss {loss.__name__}: {loss.record.formula}>"


def check_labels(labels, n, classes, device):
    """Labels as int64 on *device*; integers from 0 to classes - 1, one for each row."""
    host = to_host(labels) if is_cuda(labels) else np.asarray(labels)
    if host.dtype.kind not in "iu":
        raise TypeError(f"labels: got dtype {host.dtype}, accepted are integers")
    check_shape("labels", host, (n,), "one label for each row of the logits")
    arguments.within("labels", host, 0, classes - 1, "labels")
    labels = np.require(host, np.int64, "CAW")
    return device.from_host(labels)


LOSSES = {
    name: (ElementwiseLoss if isinstance(record, ElementLoss) else LogitsLoss)(record)
    for name, record in RECORDS.items()
}
globals().update(LOSSES)


def loss(name):
    """The loss of that name, or *name* itself if it is one already."""
    if isinstance(name, (ElementwiseLoss, LogitsLoss)):
        return name
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss: got {arguments.shown(name)}, accepted are {', '.join(LOSSES)}")
    return LOSSES[name]
