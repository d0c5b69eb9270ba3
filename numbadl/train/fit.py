"""fit, evaluate, predict: batches of rows through a model."""

import contextlib
import itertools
import math

import numpy as np
from tqdm import tqdm

from .. import _arguments as arguments
from ..arrays import to_host
from ..kernels.cpu import blas
from ..losses import LogitsLoss
from ..losses import loss as find_loss
from ..nn.layers import BatchNorm
from ..optim import Optimizer
from .callbacks import Callback
from .history import History
from .metrics import metrics_for

_FIRST_STEP = "compiling or loading kernels"  # what the bar says until the first step is done


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`. The model keeps what it has learnt: use it, save it, or train it on.

    Attributes
    ----------
    history : History of the epochs that were completed
    steps : number of updates of the parameters
    """

    def __init__(self, history, steps):
        super().__init__(
            f"training was interrupted after {steps} steps ({len(history.epochs)} whole epochs); "
            "the model keeps what it has learnt in them"
        )
        self.history, self.steps = history, steps


def fit(
    model, x, y, *, loss, optimizer, epochs=1, batch_size=64, validation_data=None, callbacks=(), seed=0,
    shuffle=True, progress=True,
):  # fmt: skip
    """Train on rows of x with targets y.

    Parameters
    ----------
    x : array (N, ...) of the model's dtype; y : labels (N,) for "cross_entropy" and "nll" (or, for the first, probabilities
        of classes), else an array like the model's output
    loss : the name of one of `numbadl.losses`, such as "cross_entropy" or "mse", or one with options, such as
        ``numbadl.losses.huber.with_options(delta=2.0)``
    optimizer : an optimiser of `numbadl.optim`; bound to the model if it is not bound yet
    epochs : passes over the data
    batch_size : rows for each step: None for all (full batch), 1 (stochastic), or any other number (mini-batch)
    validation_data : (x, y), evaluated after each epoch
    callbacks : `numbadl.train.Callback` objects
    seed : shuffling and dropout follow from it
    progress : show a progress bar with loss and metrics

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError : before anything is trained, naming the argument; NaN in the data is a ValueError
    FloatingPointError : the loss became NaN or infinite; names the epoch and the step
    TrainingInterrupted : Ctrl-C, a KeyboardInterrupt with the history so far; the model keeps what it has learnt
    """
    loss = _mean_loss(loss)
    _check_helpers(optimizer, callbacks)
    x, y = _checked(model, x, y, loss, finite=True)
    if validation_data is not None:
        validation_data = _checked(model, *_pair(validation_data), loss, prefix="validation ", finite=True)
    n = len(x)
    size = n if batch_size is None else arguments.integer("batch_size", batch_size)
    epochs = arguments.integer("epochs", epochs)
    if n == 0:
        raise ValueError("x: got no rows, accepted are one or more")
    _check_outputs(model, x, y, loss, "y")
    if validation_data is not None and len(validation_data[0]):
        _check_outputs(model, *validation_data, loss, "validation y")
    if not optimizer.is_bound:
        optimizer.bind(model)
    optimizer.check_bound_to(model)
    model.reseed(seed)
    model.loss, model.stop_training = loss if loss.given else loss.__name__, False
    history, steps, before = History(), math.ceil(n / min(size, n)), optimizer.steps
    bar = tqdm(total=epochs * steps, disable=not progress, unit="step", dynamic_ncols=True, desc=_FIRST_STEP)
    try:
        with bar:
            _tell(callbacks, "on_train_begin", model, history)
            for epoch in range(1, epochs + 1):
                optimizer.train()
                order = np.random.default_rng([seed, epoch]).permutation(n) if shuffle and size < n else None
                with blas.single_threaded if model.device.name == "cpu" else contextlib.nullcontext():
                    values = _epoch(model, x, y, loss, optimizer, order, min(size, n), bar, epoch)
                optimizer.eval()
                if validation_data is not None:
                    values |= {f"val_{k}": v for k, v in evaluate(model, *validation_data, loss).items()}
                history.record(epoch, values)
                bar.set_postfix({k: f"{v:.4f}" for k, v in values.items()}, refresh=False)
                _tell(callbacks, "on_epoch_end", model, history)
                if model.stop_training:
                    break
            _tell(callbacks, "on_train_end", model, history)
    except KeyboardInterrupt:
        optimizer.eval()
        raise TrainingInterrupted(history, optimizer.steps - before) from None
    return history


def _epoch(model, x, y, loss, optimizer, order, size, bar, epoch):
    """One pass over the data; the metrics of its batches, each before its update."""
    total, metrics = 0.0, metrics_for(loss)
    batches = _Batches(model, x, y, size, order)
    for step, (xb, yb, host_y) in enumerate(batches, 1):
        outputs = model.forward(xb, training=True)
        value, grad = loss.value_and_grad(outputs, yb, out=batches.gradient_for(outputs))
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} in epoch {epoch}, step {step} of {batches.count}; lower the learning rate or clip"
            )
        model.backward(grad)
        optimizer.step()
        total += value * len(host_y)
        for metric in metrics:
            metric.add(to_host(outputs), host_y)
        if not bar.disable and bar.desc:
            # The clock starts again, or the time that is left would be reckoned from a step that compiled.
            bar.set_description_str("", refresh=False)
            bar.reset()
        bar.update()
    return {"loss": total / len(x), **{m.name: m.value() for m in metrics}}


class _Batches:
    """Consecutive batches of rows in a given order, gathered into buffers that are used again."""

    def __init__(self, model, x, y, size, order):
        self.model, self.x, self.y, self.size, self.order = model, x, y, size, order
        self.bounds = [*range(0, len(x), size), len(x)]
        if len(self.bounds) > 2 and self.bounds[-1] - self.bounds[-2] == 1 and size > 1 and _has_batch_norm(model):
            del self.bounds[-2]  # one row has no variance: it joins the batch before it
        self.count = len(self.bounds) - 1
        self._held = {}

    def __iter__(self):
        for start, stop in itertools.pairwise(self.bounds):
            if self.order is None:
                xb, yb = self.x[start:stop], self.y[start:stop]
            else:
                rows = self.order[start:stop]
                xb = np.take(self.x, rows, axis=0, out=self._buffer("x", self.x, len(rows)), mode="clip")
                yb = np.take(self.y, rows, axis=0, out=self._buffer("y", self.y, len(rows)), mode="clip")
            device = self.model.device
            yield device.from_host(xb), yb if yb.dtype.kind in "iu" else device.from_host(yb), yb

    def _buffer(self, name, like, rows):
        if name not in self._held:
            self._held[name] = np.empty((self.size + 1, *like.shape[1:]), like.dtype)
        return self._held[name][:rows]

    def gradient_for(self, outputs):
        return self.model._work("loss gradient", outputs.shape)


def _has_batch_norm(model):
    return any(isinstance(layer, BatchNorm) for layer in model.layers)


def evaluate(model, x, y, loss=None, batch_size=4096):
    """The loss and its metrics over rows of x with targets y, as a dict.

    The loss is the one that the model was trained with, unless another is named.
    """
    loss = _mean_loss(loss or model.loss or _no_loss())
    batch_size = arguments.integer("batch_size", batch_size)
    x, y = _checked(model, x, y, loss)
    total, count, metrics = 0.0, 0.0, metrics_for(loss)
    for start in range(0, len(x), batch_size):
        xb, yb = x[start : start + batch_size], y[start : start + batch_size]
        outputs = model.forward(model.device.from_host(np.ascontiguousarray(xb)))
        on_device = yb if yb.dtype.kind in "iu" else model.device.from_host(yb)
        some, among = loss.sum_and_count(outputs, on_device)
        total, count = total + some, count + among
        for metric in metrics:
            metric.add(to_host(outputs), yb)
    values = {"loss": total / (count or 1), **{m.name: m.value() for m in metrics}} if len(x) else {}
    if loss.__name__ == "mse" and not loss.given and len(x) and np.var(y) > 0:
        values["r2"] = 1 - values["loss"] / float(np.var(y, dtype=np.float64))
    return values


def _mean_loss(loss):
    loss = find_loss(loss)
    if loss.options["reduction"] in ("sum", "none"):
        raise ValueError(f"loss: got one with reduction {loss.options['reduction']!r}, accepted are means")
    return loss


def _no_loss():
    raise ValueError("loss: the model was not trained yet; name one")


def predict(model, x, batch_size=4096):
    """The model's outputs for rows of x, as a NumPy array (logits where the loss takes logits)."""
    x, batch_size = _rows(model, x, "x"), arguments.integer("batch_size", batch_size)
    parts = [
        to_host(model.forward(model.device.from_host(np.ascontiguousarray(x[start : start + batch_size]))))
        for start in range(0, max(len(x), 1), batch_size)
    ]
    return np.array(parts[0]) if len(parts) == 1 else np.concatenate(parts)


# -- checks -----------------------------------------------------------------------------------------------------
def _array(name, value):
    arguments.no_subclass(name, value)
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name}: {error}") from None


def _numbers(name, given, dtype, finite):
    """*given* in the model's dtype; NaN and infinity are an error where training would spread them."""
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name}: got dtype {given.dtype}, accepted are numbers")
    with np.errstate(over="ignore"):
        array = given.astype(dtype, copy=False)
    if finite:
        arguments.finite(name, array, given)
    return array


def _rows(model, x, name, finite=False):
    x = _array(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name}: got shape {x.shape}, expected (N, features) or more dimensions")
    return _numbers(name, x, model.dtype, finite)


def _checked(model, x, y, loss, prefix="", finite=False):
    """x and y in the types that the model and the loss take, with as many rows."""
    x, y = _rows(model, x, f"{prefix}x", finite), _array(f"{prefix}y", y)
    if y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"{prefix}y: got shape {y.shape}, expected one row for each of the {len(x)} rows of x")
    if isinstance(loss, LogitsLoss) and not loss.takes_probabilities(y, 2):
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise _no_labels(f"{prefix}y", y, loss)
        return x, np.ascontiguousarray(y, np.int64)
    y = np.ascontiguousarray(_numbers(f"{prefix}y", y, model.dtype, finite))
    if not isinstance(loss, LogitsLoss):
        loss.check_target(y, f"{prefix}y")
    return x, y


def _no_labels(name, y, loss):
    probabilities = ", or probabilities of its classes" * (loss.record.soft is not None)
    return TypeError(
        f"{name}: got {y.dtype}{y.shape}, {loss.__name__} takes integer labels of shape (N,){probabilities}"
    )


def _check_helpers(optimizer, callbacks):
    if not isinstance(optimizer, Optimizer):
        got = arguments.shown(optimizer)
        raise TypeError(f"optimizer: got {got}, accepted are optimisers of numbadl.optim, such as AdamW(lr=1e-3)")
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks: got {arguments.shown(callbacks)}, accepted are lists of numbadl.train.Callback")
    for position, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            got = arguments.shown(callback)
            raise TypeError(f"callbacks[{position}]: got {got}, accepted are objects of numbadl.train.Callback")


def _pair(validation_data):
    if not isinstance(validation_data, (tuple, list)):
        raise TypeError(f"validation_data: got {arguments.shown(validation_data)}, accepted are pairs (x, y)")
    if len(validation_data) != 2:
        raise TypeError(f"validation_data: got {len(validation_data)} values, accepted are pairs (x, y)")
    return validation_data


def _check_outputs(model, x, y, loss, name):
    """The targets fit what the model makes of one row of x; so that nothing is found out in the middle of training."""
    shape = model.forward(model.device.from_host(np.ascontiguousarray(x[:1]))).shape[1:]
    if not isinstance(loss, LogitsLoss):
        if y.shape[1:] != shape:
            raise ValueError(f"{name}: got shape {y.shape}, expected {(len(y), *shape)}, that of the model's outputs")
    elif len(shape) != 1:
        raise ValueError(f"{loss.__name__} takes logits of shape (N, classes), the model's outputs are (N, *{shape})")
    elif y.ndim == 1:
        loss.check_labels(y, shape[0], name)
    elif y.shape[1:] != shape:
        raise _no_labels(name, y, loss)
    else:
        arguments.within(name, y, 0, 1)


def _tell(callbacks, event, model, history):
    for callback in callbacks:
        getattr(callback, event)(model, history)
