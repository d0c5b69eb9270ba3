"""Metrics beside the loss, as sums over batches: counts of right answers, or absolute errors."""

import numpy as np


class Accuracy:
    """The fraction of right answers among those that count."""

    name = "accuracy"

    def __init__(self, loss):
        self.loss, self.right, self.count = loss, 0, 0

    def add(self, outputs, targets):
        right = self.answers(outputs, targets)
        self.right += int(np.count_nonzero(right))
        self.count += right.size

    def value(self):
        return self.right / self.count if self.count else float("nan")


class ClassAccuracy(Accuracy):
    """Of several classes: the largest logit is that of the label, or of the largest probability."""

    def answers(self, outputs, targets):
        found = np.argmax(outputs, axis=1)
        if targets.ndim == outputs.ndim:
            return found == np.argmax(targets, axis=1)
        return (found == targets)[targets != self.loss.options["ignore_index"]]


class SignAccuracy(Accuracy):
    """Of yes or no: a logit's sign, where targets are 1, or else 0 or -1."""

    def answers(self, outputs, targets):
        return (outputs > 0) == (targets > 0.5)


class MeanAbsoluteError:
    """The mean of |prediction - target|."""

    name = "mae"

    def __init__(self, loss):
        self.total, self.count = 0.0, 0

    def add(self, outputs, targets):
        self.total += float(np.abs(outputs - targets).sum(dtype=np.float64))
        self.count += outputs.size

    def value(self):
        return self.total / self.count if self.count else float("nan")


METRICS = {
    "cross_entropy": ClassAccuracy,
    "nll": ClassAccuracy,
    "binary_cross_entropy": SignAccuracy,
    "hinge": SignAccuracy,
    "mse": MeanAbsoluteError,
    "huber": MeanAbsoluteError,
    "smooth_l1": MeanAbsoluteError,
}


def metrics_for(loss):
    """Fresh metrics that go with a loss."""
    return [METRICS[loss.__name__](loss)] if loss.__name__ in METRICS else []
