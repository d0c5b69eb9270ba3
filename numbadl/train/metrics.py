"""Metrics beside the loss, as sums over batches: counts of right answers, or absolute errors."""

import numpy as np


class Accuracy:
    """The fraction of right answers: the largest logit, or for binary questions a logit's sign."""

    name = "accuracy"

    def __init__(self):
        self.right = self.count = 0

    def add(self, outputs, targets):
        if outputs.ndim == 2 and targets.ndim == 1:
            right = np.argmax(outputs, axis=1) == targets
        else:
            right = (outputs > 0) == (targets > 0.5)
        self.right += int(np.count_nonzero(right))
        self.count += right.size

    def value(self):
        return self.right / self.count if self.count else float("nan")


class MeanAbsoluteError:
    """The mean of |prediction - target|."""

    name = "mae"

    def __init__(self):
        self.total, self.count = 0.0, 0

    def add(self, outputs, targets):
        self.total += float(np.abs(outputs - targets).sum(dtype=np.float64))
        self.count += outputs.size

    def value(self):
        return self.total / self.count if self.count else float("nan")


METRICS = {"cross_entropy": [Accuracy], "binary_cross_entropy": [Accuracy], "mse": [MeanAbsoluteError]}


def metrics_for(loss_name):
    """Fresh metrics that go with a loss."""
    return [metric() for metric in METRICS.get(loss_name, [])]
