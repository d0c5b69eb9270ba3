"""Callbacks: what `fit` calls on its way. Subclass `Callback` and override what is needed."""

from ..optim.schedules import ReduceOnPlateau as _ReduceOnPlateau


class Callback:
    """Every method may set ``model.stop_training = True``."""

    def on_train_begin(self, model, history):
        """Before the first epoch."""

    def on_epoch_end(self, model, history):
        """After each epoch; ``history.last()`` has its metrics."""

    def on_train_end(self, model, history):
        """After the last epoch."""


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

    def on_epoch_end(self, model, history):
        last = history.last()
        if self.monitor not in last:
            raise ValueError(f"monitor: got {self.monitor!r}, accepted are {', '.join(map(repr, last))}")
        self.plateau.step(last[self.monitor])
