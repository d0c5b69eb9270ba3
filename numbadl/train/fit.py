"""fit, evaluate, predict: batches of rows through a model."""

import functools
import math

import numpy as np
from tqdm import tqdm

from .. import _arguments as arguments
from ..arrays import to_host
from ..losses import loss as find_loss
from ..optim.optimizer import check_optimizer
from ..regularizers import checked as check_regularizer
from ..repeated import MISSING
from ..streams import stream_of
from . import state
from .callbacks import Callback, Training
from .divergence import TrainingDiverged
from .history import History
from .metrics import R2, metrics_for
from .penalties import Penalties
from .sources import ArraySource, Data, StreamSource, rows_of
from .weights import ClassWeights, together

_FIRST_STEP = "compiling or loading kernels"  # what the bar says until the first step is done
_EVALUATED_ROWS = 4096


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
    model, x, y=None, *, loss, optimizer, epochs=1, batch_size=64, validation_data=None, validation_split=None,
    sample_weight=None, class_weight=None, metrics=None, callbacks=(), regularizer=None, augmentation=None,
    steps_per_epoch=None, seed=0, shuffle=True, resume=None, progress=True,
):  # fmt: skip
    """Train on rows of x with targets y.

    Parameters
    ----------
    x : array (N, ...) of numbers, converted to the model's dtype batch by batch; a memory map is never read as a whole.
        Or, without y, an iterable of batches (x, y) or (x, y, sample_weight), such as a generator
    y : labels (N,) for "cross_entropy" and "nll" (or, for the first, probabilities of classes), else an array like the
        model's output
    loss : the name of one of `numbadl.losses`, such as "cross_entropy" or "mse", or one with options, such as
        ``numbadl.losses.huber.with_options(delta=2.0)``
    optimizer : an optimiser of `numbadl.optim`; bound to the model if it is not bound yet
    epochs : passes over the data; with *resume*, those before are counted
    batch_size : rows for each step: None for all (full batch), 1 (stochastic), or any other number (mini-batch)
    validation_data : (x, y) or (x, y, sample_weight), evaluated after each epoch
    validation_split : the share of the rows, drawn from the seed, that is kept for validation instead
    sample_weight : (N,), how much each row counts in the loss, whose means divide by the sum of the weights
    class_weight : a dict of classes to weights, an array of them, or "balanced": the same, by the row's class
    metrics : names, ("top_k", k) or functions (targets, outputs) -> number; see `numbadl.train.metrics`. Without any, what
        goes with the loss
    callbacks : `numbadl.train.Callback` objects
    regularizer : one of `numbadl.regularizers`, for the weights of all layers that have none of their own: biases and
        parameters of normalisation are left out. The history has the mean "penalty" beside "loss"
    augmentation : one of `numbadl.data.augmentation`, for the rows of each step
    steps_per_epoch : batches of an iterable for each epoch; needed where it is an iterator that goes on
    seed : shuffling, augmentation and dropout follow from it
    shuffle : take the rows of arrays in another order in each epoch
    resume : a file that `ModelCheckpoint`, or ``model.save(path, optimizer=..., history=...)``, wrote: training continues
        from there, with the bits that it would have had without a break
    progress : show a progress bar with loss and metrics

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError : before anything is trained, naming the argument; NaN in the data is a ValueError. Batches of an
        iterable are checked as they come
    TrainingDiverged : the loss became NaN or infinite, a FloatingPointError; names the epoch, the step and the layer
    TrainingInterrupted : Ctrl-C, a KeyboardInterrupt with the history so far; the model keeps what it has learnt

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.linspace(-1, 1, 100, dtype=np.float32).reshape(-1, 1)
    >>> model = nd.nn.Sequential(nd.nn.Linear(1, 1))
    >>> history = model.fit(
    ...     x, 3 * x, loss="mse", optimizer=nd.optim.SGD(lr=0.5), epochs=30, validation_split=0.2, progress=False
    ... )
    >>> history.epochs[-1], bool(history["val_loss"][-1] < 1e-3), sorted(history.metrics)
    (30, True, ['loss', 'mae', 'val_loss', 'val_mae', 'val_r2'])
    """
    loss = _mean_loss(loss)
    _check_helpers(optimizer, callbacks, regularizer, augmentation)
    stream_of(seed, 0)  # refuses what is no seed
    epochs = arguments.integer("epochs", epochs)
    size = None if batch_size is None else arguments.integer("batch_size", batch_size)
    if steps_per_epoch is not None:
        arguments.integer("steps_per_epoch", steps_per_epoch)
    saved = None if resume is None else state.read(resume)
    history = History() if saved is None else saved.history
    if y is None and hasattr(x, "__iter__") and not hasattr(x, "dtype"):
        _refuse_for_iterables(validation_split=validation_split, sample_weight=sample_weight)
        source = StreamSource(model, x, loss, epochs, steps_per_epoch, len(history.epochs))
        shape, counted, validation = source.shape, None, None
    else:
        if steps_per_epoch is not None:
            raise ValueError(
                f"steps_per_epoch: got {steps_per_epoch}, accepted with arrays is None: it follows from them"
            )
        counted, validation, shape = _training_data(
            model, x, y, loss, sample_weight, validation_split, validation_data, seed
        )
        source = ArraySource(model, counted, size, seed, shuffle)
    if validation_data is not None:
        validation = _validation_data(model, validation_data, loss)
        if len(validation):
            validation.check_targets(validation.output_shape())
    weights = None if class_weight is None else ClassWeights(class_weight, loss, shape, counted)
    metrics_for(loss, metrics, shape)
    if augmentation is not None:
        _check_augmented(model, source.first(), loss, augmentation, shape)
    ours = not optimizer.is_bound
    if ours:
        optimizer.bind(model)
    optimizer.check_bound_to(model)
    training = Training(
        model, optimizer, loss, callbacks, history, seed, source.steps, validates=validation is not None
    )
    penalties = Penalties(model, regularizer, optimizer)
    if saved is not None:
        try:
            saved.check(training)
        except (TypeError, ValueError):
            if ours:
                optimizer.unbind()
            raise
    model.reseed(seed)
    model.loss, model.stop_training = loss if loss.given else loss.__name__, False
    before = optimizer.steps
    total = None if source.steps is None else (epochs - len(history.epochs)) * source.steps
    bar = tqdm(total=total, disable=not progress, unit="step", dynamic_ncols=True, desc=_FIRST_STEP)
    try:
        with bar:
            training.tell("on_train_begin")
            if saved is not None:
                saved.restore(training)
                before = optimizer.steps
            for epoch in range(len(history.epochs) + 1, epochs + 1):
                if model.stop_training:
                    break
                training.epoch, training.step = epoch, 0
                optimizer.train()
                training.tell("on_epoch_begin")
                values = _epoch(training, source, weights, metrics, penalties, augmentation, shape, bar)
                optimizer.eval()
                if validation is not None:
                    found = _evaluate(model, validation, loss, _EVALUATED_ROWS, metrics, weights)
                    values |= {f"val_{k}": v for k, v in found.items()}
                history.record(epoch, values)
                if not bar.disable:
                    bar.set_postfix({k: f"{v:.4f}" for k, v in values.items()}, refresh=False)
                training.tell("on_epoch_end")
                training.tell("on_checkpoint")
            training.tell("on_train_end")
    except KeyboardInterrupt:
        optimizer.eval()
        raise TrainingInterrupted(history, optimizer.steps - before) from None
    return history


def _epoch(training, source, weights, metrics, penalties, augmentation, shape, bar):
    """One pass over the data; the metrics of its batches, each before its update."""
    model, optimizer, loss = training.model, training.optimizer, training.loss
    total, counted, penalty, metrics, repeats = 0.0, 0.0, 0.0, metrics_for(loss, metrics, shape), training.repeats
    for step, batch in enumerate(source.epoch(training.epoch), 1):
        training.step, host_y = step, batch.y
        weight = together(batch.weight, weights and weights.of(host_y))
        x = batch.x
        if augmentation is not None:
            x, host_y = augmentation(x, host_y, seed=[training.seed, training.epoch, step])
        x, y = model.device.from_host(x), _on_device(model, host_y)
        outputs = model.forward(x, training=True)
        found = repeats.again(outputs, y) if weight is None else MISSING
        if found is MISSING:
            room = model._work("loss gradient", outputs.shape)
            found = loss.sum_count_and_grad(outputs, y, out=room, sample_weight=weight)
            if weight is None:
                repeats.seen(functools.partial(loss.prepared, outputs, y, room), outputs, y)
        some, among, grad = found
        training.loss_of_step = some / among if among else 0.0
        if not math.isfinite(some):
            raise TrainingDiverged(training, x)
        model.backward(grad)
        penalty += penalties.add_gradients()
        training.tell("on_backward_end")
        rate = penalties.learning_rates()
        if optimizer.step():
            penalties.shrink(rate)
        total, counted = total + some, counted + among
        for metric in metrics:
            metric.add(to_host(outputs), host_y)
        training.tell("on_batch_end")
        if not bar.disable and bar.desc:
            # The clock starts again, or the time that is left would be reckoned from a step that compiled.
            bar.set_description_str("", refresh=False)
            bar.reset()
        bar.update()
    values = {"loss": total / counted if counted else 0.0}
    if penalties.parts:
        values["penalty"] = penalty / step
    return values | {m.name: m.value() for m in metrics}


def evaluate(model, x, y, loss=None, batch_size=_EVALUATED_ROWS, sample_weight=None, metrics=None):
    """The loss and its metrics over rows of x with targets y, as a dict.

    The loss is the one that the model was trained with, unless another is named. The other arguments are those of `fit`.
    """
    loss = _mean_loss(loss or model.loss or _no_loss())
    batch_size = arguments.integer("batch_size", batch_size)
    return _evaluate(model, Data(model, x, y, loss, sample_weight=sample_weight), loss, batch_size, metrics)


def _evaluate(model, data, loss, batch_size, metrics, weights=None):
    total, count, found, default = 0.0, 0.0, None, metrics is None
    for start in range(0, len(data), batch_size):
        batch = data.take(slice(start, start + batch_size))
        outputs = model.forward(model.device.from_host(np.ascontiguousarray(batch.x)))
        if found is None:
            found = metrics_for(loss, metrics, outputs.shape[1:])
            if default and loss.__name__ == "mse" and not loss.given:
                found.append(R2("r2", loss, outputs.shape[1:]))
        weight = together(batch.weight, weights and weights.of(batch.y))
        some, among = loss.sum_and_count(outputs, _on_device(model, batch.y), sample_weight=weight)
        total, count = total + some, count + among
        for metric in found:
            metric.add(to_host(outputs), batch.y)
    if found is None:
        return {}
    values = {m.name: m.value() for m in found}
    if default and math.isnan(values.get("r2", 0.0)):
        del values["r2"]  # the targets do not vary
    return {"loss": total / (count or 1), **values}


def predict(model, x, batch_size=_EVALUATED_ROWS):
    """The model's outputs for rows of x, as a NumPy array (logits where the loss takes logits)."""
    x, batch_size = rows_of(model, x, "x"), arguments.integer("batch_size", batch_size)
    parts = []
    for start in range(0, max(len(x), 1), batch_size):
        rows = np.ascontiguousarray(x.take(slice(start, start + batch_size)))
        found = to_host(model.forward(model.device.from_host(rows)))
        parts.append(found.copy() if np.may_share_memory(found, rows) else found)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _on_device(model, y):
    return y if y.dtype.kind in "iu" else model.device.from_host(y)


# -- checks -----------------------------------------------------------------------------------------------------
def _mean_loss(loss):
    loss = find_loss(loss)
    if loss.options["reduction"] in ("sum", "none"):
        raise ValueError(f"loss: got one with reduction {loss.options['reduction']!r}, accepted are means")
    return loss


def _no_loss():
    raise ValueError("loss: the model was not trained yet; name one")


def _training_data(model, x, y, loss, sample_weight, validation_split, validation_data, seed):
    """(data for training, data for validation or None, shape of the output for a row)."""
    if y is None:
        raise TypeError("y: got None, needed beside an array x")
    if validation_split is not None:
        arguments.number("validation_split", validation_split, high=1, above=True, below=True)
        if validation_data is not None:
            raise ValueError(
                f"validation_split: got {validation_split} beside validation_data, accepted is one of them"
            )
    data = Data(model, x, y, loss, finite=True, sample_weight=sample_weight)
    if len(data) == 0:
        raise ValueError("x: got no rows, accepted are one or more")
    shape = data.output_shape()
    data.check_targets(shape)
    return (data, None, shape) if validation_split is None else (*data.split(validation_split, seed), shape)


def _refuse_for_iterables(**given):
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: got {arguments.shown(value)}, accepted beside an iterable of batches is None")


def _check_helpers(optimizer, callbacks, regularizer, augmentation):
    check_optimizer(optimizer)
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks: got {arguments.shown(callbacks)}, accepted are lists of numbadl.train.Callback")
    for position, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            got = arguments.shown(callback)
            raise TypeError(f"callbacks[{position}]: got {got}, accepted are objects of numbadl.train.Callback")
    check_regularizer(regularizer)
    if augmentation is not None and not callable(augmentation):
        got = arguments.shown(augmentation)
        raise TypeError(f"augmentation: got {got}, accepted are those of numbadl.data.augmentation, such as Noise(0.1)")


def _check_augmented(model, batch, loss, augmentation, shape):
    """What the augmentation makes of the first batch is what the model and the loss take."""
    x, y = augmentation(batch.x, batch.y, seed=[0, 0, 0])
    data = Data(model, x, y, loss, "augmented ", finite=True)
    data.check_targets(data.output_shape())


def _validation_data(model, given, loss):
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"validation_data: got {arguments.shown(given)}, accepted are pairs (x, y)")
    if len(given) not in (2, 3):
        raise TypeError(
            f"validation_data: got {len(given)} values, accepted are pairs (x, y), or (x, y, sample_weight)"
        )
    weight = given[2] if len(given) == 3 else None
    return Data(model, given[0], given[1], loss, "validation ", finite=True, sample_weight=weight)
