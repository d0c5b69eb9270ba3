"""Callbacks: what `fit` calls on its way. Subclass `Callback` and override what is needed.

Examples
--------
>>> import numpy as np
>>> import numbadl as nd
>>> x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(-1, 1)
>>> stopping = nd.train.EarlyStopping(patience=2, min_delta=1e-3)
>>> history = nd.nn.Sequential(nd.nn.Linear(1, 1)).fit(
...     x, 2 * x, loss="mse", optimizer=nd.optim.SGD(lr=0.5), epochs=100, validation_split=0.2, callbacks=[stopping],
...     progress=False,
... )
>>> len(history.epochs) < 100, stopping.best_epoch < len(history.epochs)
(True, True)
"""

import csv
import math
from dataclasses import dataclass, field

from .. import _arguments as arguments
from ..kernels.atomic import atomic_path
from ..optim.averages import WeightAverage
from ..optim.schedules import ReduceOnPlateau as _ReduceOnPlateau
from ..optim.schedules import reference, set_rate
from ..repeated import Repeats
from .history import History
from .state import copies, put_back

_PACKAGE = __name__.partition(".")[0] + "."
_MORE_IS_BETTER = ("accuracy", "r2", "f1", "auc", "precision", "recall")


@dataclass
class Training:
    """What a callback may look at, as its ``training``.

    Attributes
    ----------
    epoch, step : where training is, both counted from 1
    steps : number of steps of an epoch; None for an iterable that does not say
    loss_of_step : the loss of the last batch, before its update
    validates : whether there are measures of validation data after each epoch; None if that is not known
    """

    model: object
    optimizer: object
    loss: object
    callbacks: list
    history: History
    seed: int
    steps: int | None
    epoch: int = 0
    step: int = 0
    loss_of_step: float = field(default=math.nan)
    validates: bool | None = None
    repeats: Repeats = field(default_factory=Repeats, repr=False)  # of the loss, its gradient included

    def tell(self, event):
        """Call that method of all callbacks, in their order."""
        for callback in self.callbacks:
            callback.training = self
            getattr(callback, event)(self.model, self.history)


class Callback:
    """Every method may set ``model.stop_training = True``.

    Attributes
    ----------
    training : `Training`: the optimiser, the epoch and the step, and so on; None before the first
    """

    training = None

    def on_train_begin(self, model, history):
        """Before the first epoch."""

    def on_epoch_begin(self, model, history):
        """Before each epoch."""

    def on_backward_end(self, model, history):
        """In each step when the gradients are there, before the update."""

    def on_batch_end(self, model, history):
        """After the update of each step."""

    def on_epoch_end(self, model, history):
        """After each epoch; ``history.last()`` has its metrics."""

    def on_checkpoint(self, model, history):
        """After `on_epoch_end` of all callbacks: the time to save."""

    def on_train_end(self, model, history):
        """After the last epoch."""

    def state_dict(self):
        """What a resumed training continues from: names to JSON-able values and arrays."""
        return {}

    def load_state_dict(self, saved):
        """Continue from what `state_dict` gave; called after `on_train_begin`."""


class _Monitor(Callback):
    """What looks at one measure, and knows which of its values was the best."""

    def __init__(self, monitor, mode, min_delta=0.0):
        if not isinstance(monitor, str):
            raise TypeError(
                f'monitor: got {arguments.shown(monitor)}, accepted are names in the history, such as "val_loss"'
            )
        arguments.one_of("mode", mode, ("auto", "min", "max"))
        self.monitor, self.min_delta = monitor, arguments.number("min_delta", min_delta)
        if mode == "auto":
            mode = "max" if any(word in monitor for word in _MORE_IS_BETTER) else "min"
        self.mode = mode
        self.reset()

    def reset(self):
        self.best, self.best_epoch = None, None

    def on_train_begin(self, model, history):
        self._check_measured()
        self.reset()

    def _check_measured(self):
        check_measured(self.training, self.monitor)

    def improved(self, history):
        """Whether the last epoch was the best so far, by min_delta."""
        value = measure(history, self.monitor)
        if math.isnan(value):
            return False
        gain = math.inf if self.best is None else (self.best - value) * (1 if self.mode == "min" else -1)
        if gain <= self.min_delta:
            return False
        self.best, self.best_epoch = value, history.epochs[-1]
        return True


class EarlyStopping(_Monitor):
    """Stop where a measure has stopped improving, with the weights of its best epoch.

    Parameters
    ----------
    monitor : a name in the history
    patience : stop after so many epochs without an improvement
    min_delta : an improvement is one by more than this
    mode : "min", "max", or "auto": "max" for accuracy and its kin
    restore_best_weights : put back parameters and running statistics of the best epoch at the end, also where training was
        not stopped by this; after an error or Ctrl-C the model keeps those it has

    Attributes
    ----------
    best, best_epoch : the best value, and its epoch
    stopped_epoch : the last epoch, if training was stopped by this
    """

    def __init__(self, monitor="val_loss", patience=10, min_delta=0.0, mode="auto", restore_best_weights=True):
        self.patience = arguments.integer("patience", patience)
        self.restore_best_weights = arguments.one_of("restore_best_weights", restore_best_weights, (True, False))
        super().__init__(monitor, mode, min_delta)

    def reset(self):
        super().reset()
        self.waited, self.stopped_epoch, self._kept = 0, None, None

    def on_epoch_end(self, model, history):
        if self.improved(history):
            self.waited = 0
            if self.restore_best_weights:
                self._kept = copies(model)
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.stopped_epoch, model.stop_training = history.epochs[-1], True

    def on_train_end(self, model, history):
        if self._kept is not None:
            put_back(model, self._kept)

    def state_dict(self):
        plain = {name: getattr(self, name) for name in ("best", "best_epoch", "waited", "stopped_epoch")}
        return plain | {f"kept.{key}": value for key, value in (self._kept or {}).items()}

    def load_state_dict(self, saved):
        for name in ("best", "best_epoch", "waited", "stopped_epoch"):
            setattr(self, name, saved[name])
        kept = {key.removeprefix("kept."): value for key, value in saved.items() if key.startswith("kept.")}
        self._kept = kept or None


class ModelCheckpoint(_Monitor):
    """Save the model with its optimiser, history and callbacks after each epoch; ``fit(resume=path)`` continues from there.

    The file is written under another name and renamed: a process that is killed leaves the one of the epoch before.

    Parameters
    ----------
    path : file; "{epoch}" in its name, and the names of measures such as "{val_loss:.3f}", are filled in
    save_best_only : save only after epochs in which the measure improved
    every : save after each so-manieth epoch
    monitor, mode : as `EarlyStopping` has them, for save_best_only
    """

    def __init__(self, path, monitor="val_loss", save_best_only=False, every=1, mode="auto"):
        self.path = arguments.path("path", path)
        arguments.check_can_write(self.path)
        self.save_best_only = arguments.one_of("save_best_only", save_best_only, (True, False))
        self.every = arguments.integer("every", every)
        super().__init__(monitor, mode)

    def _check_measured(self):
        if self.save_best_only:
            super()._check_measured()

    def on_epoch_end(self, model, history):
        self._due = history.epochs[-1] % self.every == 0
        if self.save_best_only:
            self._due = self.improved(history) and self._due

    def on_checkpoint(self, model, history):
        if self._due:
            known = {"epoch": history.epochs[-1], **history.last()}
            try:
                path = str(self.path).format(**known)
            except (KeyError, IndexError, ValueError) as error:
                names = ", ".join(known)
                raise ValueError(f"path: got {self.path}, accepted in braces are {names} ({error!r})") from None
            model.save(path, optimizer=self.training.optimizer, history=history, callbacks=self.training.callbacks)

    def state_dict(self):
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, saved):
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]


class ReduceOnPlateau(Callback):
    """Lower the learning rate where a measure has stopped improving: `numbadl.optim.ReduceOnPlateau` after each epoch.

    Parameters
    ----------
    optimizer : the one that ``fit`` trains with
    monitor : a name in the history, such as "val_loss" or "loss"
    options : those of `numbadl.optim.ReduceOnPlateau`
    """

    def __init__(self, optimizer, monitor="val_loss", **options):
        self.monitor, self.plateau = monitor, _ReduceOnPlateau(optimizer, **options)

    def on_train_begin(self, model, history):
        check_measured(self.training, self.monitor)

    def on_epoch_end(self, model, history):
        self.plateau.step(measure(history, self.monitor))

    def state_dict(self):
        found = self.plateau.state_dict()
        return {**found, "best": found["best"] if math.isfinite(found["best"]) else None}

    def load_state_dict(self, saved):
        best = self.plateau.best if saved["best"] is None else saved["best"]
        self.plateau.load_state_dict({**saved, "best": best})


class LearningRateSchedule(Callback):
    """A learning rate for each epoch. For one that changes with each update, give the schedule to the optimiser as ``lr``.

    Parameters
    ----------
    schedule : one of `numbadl.optim.schedules`, or any function of the number of epochs before that gives a rate
    """

    def __init__(self, schedule):
        if not callable(schedule):
            got = arguments.shown(schedule)
            raise TypeError(f"schedule: got {got}, accepted are those of numbadl.optim.schedules, and functions")
        self.schedule = schedule

    def on_epoch_begin(self, model, history):
        rate = arguments.number("lr", self.schedule(self.training.epoch - 1))
        for group in self.training.optimizer.param_groups:
            set_rate(group, rate, reference(self.schedule))


class CSVLogger(Callback):
    """Write the history to a CSV file after each epoch, one row for each; the file is whole at any time.

    Parameters
    ----------
    path : file
    """

    def __init__(self, path):
        self.path = arguments.path("path", path)
        arguments.check_can_write(self.path)

    def on_epoch_end(self, model, history):
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *history.metrics])
            writer.writerows(zip(history.epochs, *history.metrics.values(), strict=True))


class AverageWeights(Callback):
    """Train on, but end with a mean of the weights: `numbadl.optim.WeightAverage` after each update.

    The mean of the last epochs goes into the model at the end of training; the measures before are those of the weights
    themselves. Batch norm's running statistics are those of the last weights.

    Parameters
    ----------
    decay : mean = decay * mean + (1 - decay) * weights, or None for the mean of all updates with equal weights
    start_epoch : the first epoch whose updates count
    """

    def __init__(self, decay=0.999, start_epoch=1):
        if decay is not None:
            arguments.number("decay", decay, high=1, below=True)
        self.decay, self.start_epoch = decay, arguments.integer("start_epoch", start_epoch)
        self.average = None

    def on_train_begin(self, model, history):
        self.average = WeightAverage(model, self.decay)

    def on_batch_end(self, model, history):
        if self.training.epoch >= self.start_epoch:
            self.average.update()

    def on_train_end(self, model, history):
        if self.average.updates:
            self.average.swap()

    def state_dict(self):
        return self.average.state_dict()

    def load_state_dict(self, saved):
        self.average.load_state_dict(saved)


def check_measured(training, monitor):
    """Raise ValueError, before the first epoch, for a measure of validation data that there are none of.

    A callback of the user's own may put more into the history: then the first epoch shows it.
    """
    ours = training and all(type(callback).__module__.startswith(_PACKAGE) for callback in training.callbacks)
    if ours and training.validates is False and monitor.startswith("val_"):
        raise ValueError(
            f"monitor: got {monitor!r}, accepted without validation data are measures of training, such as 'loss'"
        )


def measure(history, monitor):
    """The last value of a name in the history."""
    last = history.last()
    if monitor not in last:
        raise ValueError(f"monitor: got {monitor!r}, accepted are {', '.join(map(repr, last))}")
    return last[monitor]
