"""What training recorded: one value of each metric for each epoch."""


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

    def __getitem__(self, name):
        return self.metrics[name]

    def __repr__(self):
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        return f"<History of {len(self.epochs)} epochs: {last}>"
