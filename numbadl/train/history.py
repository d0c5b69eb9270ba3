"""What training recorded: one value of each metric for each epoch."""

from .diagnosis import diagnose


class History:
    """Metrics by epoch.

    Attributes
    ----------
    epochs : list of int, from 1
    metrics : dict of lists, "loss", "accuracy", ... and, with validation data, "val_loss", "val_accuracy", ...
    """

    def __init__(self):
        self.epochs, self.metrics = [], {}

    def record(self, epoch, values):
        """Append one epoch's values."""
        self.epochs.append(epoch)
        for name, value in values.items():
            self.metrics.setdefault(name, []).append(float(value))

    def last(self):
        """The last value of each metric."""
        return {name: values[-1] for name, values in self.metrics.items() if values}

    def plot(self, path):
        """Draw the curves of each metric, mark where validation turned, and save them as PNG (`numbadl.plot.learning_curves`)."""
        from ..plot import learning_curves

        return learning_curves(self, path)

    def diagnose(self, baseline=None):
        """Underfit, good fit or overfit, since which epoch, and why: a `numbadl.train.diagnosis.Diagnosis`.

        *baseline* is the loss of a prediction that looks at no input, such as the mean; without it the loss of the first
        epoch stands for it.
        """
        return diagnose(self, baseline)

    def to_dict(self):
        """For JSON; `from_dict` makes a History of it."""
        return {"epochs": list(self.epochs), "metrics": {name: list(values) for name, values in self.metrics.items()}}

    @classmethod
    def from_dict(cls, given):
        """What `to_dict` was made from.

        >>> History.from_dict({"epochs": [1], "metrics": {"loss": [0.5]}}).last()
        {'loss': 0.5}
        """
        history = cls()
        history.epochs = [int(epoch) for epoch in given["epochs"]]
        history.metrics = {str(name): [float(v) for v in values] for name, values in given["metrics"].items()}
        return history

    def __getitem__(self, name):
        return self.metrics[name]

    def __repr__(self):
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        return f"<History of {len(self.epochs)} epochs: {last}>"
