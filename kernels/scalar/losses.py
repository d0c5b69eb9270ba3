"""Losses: one declaration each. Value, gradient and both in one pass, for arrays, are derived from the records.

Values are means over the batch. Gradients carry the factor *scale*, which the caller sets to 1 / (number of terms).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..shapes import Stage
from .activations import relu
from .language import scalar
from .math import exp, log, log1p, sigmoid


@dataclass(frozen=True)
class ElementLoss:
    """A loss that is a mean over elements: value(prediction, target), gradient(prediction, target, scale)."""

    name: str
    value: Callable
    gradient: Callable
    formula: str
    source: str = ""


@dataclass(frozen=True)
class LabelLoss:
    """A loss of a row of logits and its label; the functions are those of a `numbadl.kernels.shapes.Row`."""

    name: str
    stages: tuple
    value: Callable
    gradient: Callable
    formula: str
    source: str = ""


@scalar
def squared_error(prediction, target):
    return (prediction - target) * (prediction - target)


@scalar
def squared_error_gradient(prediction, target, scale):
    return 2 * scale * (prediction - target)


@scalar
def binary_cross_entropy(logit, target):
    return relu(logit) - logit * target + log1p(exp(-abs(logit)))


@scalar
def binary_cross_entropy_gradient(logit, target, scale):
    return scale * (sigmoid(logit) - target)


@scalar
def largest_logit(logit, distance: np.int32):
    return logit


@scalar
def shifted_logit_at_label(logit, distance: np.int32, largest):
    return logit - largest if distance == 0 else 0


@scalar
def shifted_exp(logit, distance: np.int32, largest, at_label):
    return exp(logit - largest)


@scalar
def cross_entropy(largest, at_label, total):
    return log(total) - at_label


@scalar
def cross_entropy_gradient(shifted, distance: np.int32, largest, at_label, total, scale):
    probability = shifted / total
    return scale * (probability - 1 if distance == 0 else probability)


LOSSES = {
    record.name: record
    for record in [
        ElementLoss(
            "mse", squared_error, squared_error_gradient, r"\frac{1}{n}\sum_i (p_i - t_i)^2", "mean squared error"
        ),
        ElementLoss(
            "binary_cross_entropy",
            binary_cross_entropy,
            binary_cross_entropy_gradient,
            r"\frac{1}{n}\sum_i \max(x_i, 0) - x_i t_i + \log(1 + e^{-|x_i|})",
            "on logits, in the form that neither overflows nor cancels",
        ),
        LabelLoss(
            "cross_entropy",
            (
                Stage("max", largest_logit),
                Stage("sum", shifted_logit_at_label),
                Stage("sum", shifted_exp, keep=True),
            ),
            cross_entropy,
            cross_entropy_gradient,
            r"\frac{1}{N}\sum_n \log\sum_j e^{x_{nj}} - x_{n,y_n}",
            "negative log-likelihood of the softmax; on logits",
        ),
    ]
}
