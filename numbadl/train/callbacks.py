"""Callbacks: what `fit` calls on its way. Subclass `Callback` and override what is needed."""


class Callback:
    """Every method may set ``model.stop_training = True``."""

    def on_train_begin(self, model, history):
        """Before the first epoch."""

    def on_epoch_end(self, model, history):
        """After each epoch; ``history.last()`` has its metrics."""

    def on_train_end(self, model, history):
        """After the last epoch."""
