"""Losses: one declaration each. Kernels for values, gradients and both in one pass are derived from the records.

A gradient is that of one term, an element's or a row's; what it is multiplied by, such as 1 / (number of terms) of a mean,
comes from the caller. A term whose weight is 0 is left out: its loss and its gradient are 0, whatever its numbers are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np

from ..shapes import Row, Stage
from .coefficients import LOG1P_TO_1_TAIL
from .intrinsics import fma
from .language import scalar
from .math.exponential import exp, exp_to_1
from .math.logarithm import log
from .records import Parameter, finite_above_0, finite_from_0


def is_bool(value):
    return isinstance(value, (bool, np.bool_))


def as_they_are(*values):
    return values


@dataclass(frozen=True)
class ElementLoss:
    """A loss of elements: predictions and targets of one shape.

    Attributes
    ----------
    value, gradient : scalar functions of (prediction, target, *scalars)
    formula : LaTeX, of one term, with prediction p and target t
    source : where it comes from, or what its form is good for
    parameters : options that are numbers, with defaults
    scalars : function of the parameters' values that gives the scalars
    kernel : name of its kernels, of which losses that differ in their scalars only share one set
    targets : which targets are accepted: "numbers", or a key of `DOMAINS`, of which `value` is NaN for any other target
    weighted_mean : whether the mean of terms times `weight` divides by the sum of the weights, or by their number
    reductions : what there is beside "mean", "sum" and "none"
    variants : pairs of an option's name and the record to take in place of this one where that option is True
    by_target : scalar function of the same, the derivative by the target; None where targets are no numbers to be changed
    """

    name: str
    value: Callable
    gradient: Callable
    formula: str
    source: str = ""
    parameters: tuple = ()
    scalars: Callable = as_they_are
    kernel: str = ""
    targets: str = "numbers"
    weighted_mean: bool = True
    reductions: tuple = ()
    variants: tuple = ()
    by_target: Callable | None = None

    @property
    def kernels(self):
        """The name that its kernels begin with."""
        return self.kernel or self.name

    def variant(self, options):
        """The record whose kernels are meant with *options*, name -> value."""
        return next((record for name, record in self.variants if options[name]), self)


@dataclass(frozen=True)
class LabelLoss:
    """A loss of rows of classes: logits, or log-probabilities, and an integer label for each row.

    Attributes
    ----------
    input : what the rows are called
    plain : (Row of the values, Row of values and gradient), for rows of weight 1
    weighted : Row of values and gradient with, for each row, a factor of its value and one of its gradient
    soft : `weighted`, for probabilities in place of labels; or None
    formula, source : as in `ElementLoss`

    If `weighted` has operands for columns, these are what a class's probability is multiplied by, and what is then
    added: class weights and label smoothing. If not, class weights are a part of the rows' factors.
    """

    name: str
    input: str
    plain: tuple
    weighted: Row
    soft: Row | None
    formula: str
    source: str = ""

    @property
    def rows(self):
        """All kernels' declarations."""
        return [row for row in (*self.plain, self.weighted, self.soft) if row is not None]


def opposite(gradient):
    """The derivative by the target of a loss of differences, whose derivative by the prediction is *gradient*."""

    @scalar
    def by_target(prediction, target, *scalars):
        return -gradient(prediction, target, *scalars)

    return by_target


# -- regression ------------------------------------------------------------------------------------------------------
@scalar
def squared_error(prediction, target):
    return (prediction - target) * (prediction - target)


@scalar
def squared_error_gradient(prediction, target):
    return 2 * (prediction - target)


@scalar
def bent_error(prediction, target, bend, curvature, slope):
    """A parabola up to an error of *bend*, and a line from there on."""
    error = abs(prediction - target)
    return 0.5 * curvature * error * error if error < bend else slope * (error - 0.5 * bend)


@scalar
def bent_error_gradient(prediction, target, bend, curvature, slope):
    error = prediction - target
    straight = slope if error > 0 else (-slope if error < 0 else error)  # 0, or NaN
    return curvature * error if abs(error) < bend else straight


# -- targets that not every number is ------------------------------------------------------------------------------------
@scalar
def probability(target):
    """*target*, or NaN: a sum tells then that there is a wrong one, so that targets need not be read twice."""
    from_0 = target if target >= 0 else nan
    return from_0 if from_0 <= 1 else nan


@scalar
def sign(target):
    """*target* if it is -1 or 1, otherwise NaN."""
    return target if abs(target) == 1 else nan


DOMAINS = {"probabilities": probability, "signs": sign}


# -- classification of elements --------------------------------------------------------------------------------------
@scalar
def binary_cross_entropy(logit, target, pos_weight):
    """p t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)), of terms that are not negative, so that nothing cancels."""
    target = probability(target)
    positive, negative = pos_weight * target, 1 - target
    share = negative if logit > 0 else positive
    linear = 0 if share == 0 else share * abs(logit)
    e = exp_to_1(-abs(logit))
    return fma(positive + negative, fma(e * e, LOG1P_TO_1_TAIL(e), e), linear)


@scalar
def binary_cross_entropy_gradient(logit, target, pos_weight):
    """(1 - t) s(x) - p t s(-x): for e = e^-|x|, one of the sigmoids is 1 / (1 + e) and the other e times that."""
    positive, negative = pos_weight * target, 1 - target
    larger = negative if logit > 0 else -positive
    smaller = -positive if logit > 0 else negative
    e = exp_to_1(-abs(logit))
    return fma(smaller, e, larger) / (1 + e)


@scalar
def binary_cross_entropy_by_target(logit, target, pos_weight):
    """p log(1 + exp(-x)) - log(1 + exp(x)): the loss is linear in its target, and in p."""
    e = exp_to_1(-abs(logit))
    rest = fma(e * e, LOG1P_TO_1_TAIL(e), e)
    return (pos_weight - 1) * rest - (logit if logit > 0 else pos_weight * logit)


@scalar
def hinge(prediction, target, squared):
    short = 1 - sign(target) * prediction
    short = 0 if short <= 0 else short  # NaN stays
    return short * short if squared != 0 else short


@scalar
def hinge_gradient(prediction, target, squared):
    short = 1 - target * prediction
    slope = 2 * short if squared != 0 else (1 if short == short else short)  # NaN stays
    return 0 if short <= 0 else -target * slope


@scalar
def kl_div(log_prediction, target):
    share = probability(target)
    return 0 if share == 0 else share * (log(share) - log_prediction)


@scalar
def kl_div_gradient(log_prediction, target):
    return -target


@scalar
def kl_div_by_target(log_prediction, target):
    return log(target) - log_prediction + 1


@scalar
def kl_div_of_log(log_prediction, log_target):
    share = exp(log_target)
    return 0 if share == 0 else share * (log_target - log_prediction)


@scalar
def kl_div_of_log_gradient(log_prediction, log_target):
    return -exp(log_target)


@scalar
def kl_div_of_log_by_target(log_prediction, log_target):
    return exp(log_target) * (log_target - log_prediction + 1)


# -- classification of rows ------------------------------------------------------------------------------------------
@scalar
def largest_logit(logit, distance: np.int32):
    return logit


@scalar
def shifted_logit(logit, distance: np.int32, largest):
    return logit - largest


@scalar
def shifted_exp(logit, distance: np.int32, largest, at_label):
    return exp_to_1(logit - largest)


@scalar
def cross_entropy(largest, at_label, total):
    return log(total) - at_label


@scalar
def cross_entropy_gradient(shifted, distance: np.int32, largest, at_label, total, scale):
    probability = shifted * (1 / total)
    return scale * (probability - 1 if distance == 0 else probability)


@scalar
def share_of_label(keep, spread, distance):
    return keep + spread if distance == 0 else spread


@scalar
def share_of_target(target, keep, spread):
    return keep * target + spread


def weighted_cross_entropy(name, share, **operands):
    """The `Row` of -sum_c q_c log softmax(x)_c, where q_c = share(a, b, c) of what stands beside a logit."""

    @scalar
    def logit_itself(logit, a, b, c):
        return logit

    @scalar
    def share_itself(logit, a, b, c, largest):
        return share(a, b, c)

    @scalar
    def share_of_logit(logit, a, b, c, largest, whole):
        q = share(a, b, c)
        return 0 if q == 0 else q * (logit - largest)

    @scalar
    def shifted(logit, a, b, c, largest, whole, mean):
        return exp_to_1(logit - largest)

    @scalar
    def value(largest, whole, mean, total, factor, gradient_factor):
        return 0 if factor * whole == 0 else factor * (whole * log(total) - mean)

    @scalar
    def gradient(shifted, a, b, c, largest, whole, mean, total, factor, gradient_factor):
        slope = whole * (shifted * (1 / total)) - share(a, b, c)
        return 0 if gradient_factor * whole == 0 else gradient_factor * slope

    stages = (
        Stage("top", logit_itself),
        Stage("sum", share_itself),
        Stage("sum", share_of_logit),
        Stage("sum", shifted, keep=True),
    )
    return Row(name, stages, gradient, value, columns=2, row_values=2, **operands)


@scalar
def itself(log_probability, distance: np.int32):
    return log_probability


@scalar
def negated(at_label):
    return -at_label


@scalar
def minus_at_label(log_probability, distance: np.int32, at_label, scale):
    return -scale if distance == 0 else 0


@scalar
def weighted_nll(at_label, factor, gradient_factor):
    return 0 if factor == 0 else -factor * at_label


@scalar
def weighted_nll_gradient(log_probability, distance: np.int32, at_label, factor, gradient_factor):
    return -gradient_factor if distance == 0 else 0


_STAGES = (
    Stage("top", largest_logit), Stage("label", shifted_logit), Stage("sum", shifted_exp, keep=True)
)  # fmt: skip
_CROSS_ENTROPY = (
    Row("cross_entropy.value", tuple(s.without_keep() for s in _STAGES), value=cross_entropy, labelled=True),
    Row("cross_entropy.gradient", _STAGES, cross_entropy_gradient, cross_entropy, scalars="x", labelled=True),
)

_AT_LABEL = (Stage("label", itself),)
_NLL = (
    Row("nll.value", _AT_LABEL, value=negated, labelled=True),
    Row("nll.gradient", _AT_LABEL, minus_at_label, negated, scalars="x", labelled=True),
)


def _huber(delta):
    return delta, 1.0, delta


def _smooth_l1(beta):
    return beta, 1 / beta if beta else 0.0, 1.0


def _mae():
    return 0.0, 0.0, 1.0


def _none(*values):
    return ()


_ABOVE_0, _FROM_0 = (finite_above_0, "finite numbers above 0"), (finite_from_0, "finite numbers from 0 on")
_BOOL = is_bool, "True and False"

_KL_DIV_OF_LOG = ElementLoss(
    "kl_div.log_target", kl_div_of_log, kl_div_of_log_gradient, r"e^t (t - p)", scalars=_none,
    by_target=kl_div_of_log_by_target,
)  # fmt: skip

_BENT_BY_TARGET = opposite(bent_error_gradient)

LOSSES = {
    record.name: record
    for record in [
        ElementLoss(
            "mse", squared_error, squared_error_gradient, r"(p - t)^2", "mean squared error",
            by_target=opposite(squared_error_gradient),
        ),
        ElementLoss(
            "mae", bent_error, bent_error_gradient, r"|p - t|", "mean absolute error; its gradient at 0 is 0",
            scalars=_mae, kernel="huber", by_target=_BENT_BY_TARGET,
        ),
        ElementLoss(
            "huber", bent_error, bent_error_gradient,
            r"\tfrac{1}{2} d^2\ \text{if}\ d < \delta,\ \delta (d - \tfrac{1}{2}\delta)\ \text{if not},\ d = |p - t|",
            "P. J. Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35, 1964",
            (Parameter("delta", 1.0, None, *_ABOVE_0),), _huber, weighted_mean=False,
            by_target=_BENT_BY_TARGET,
        ),
        ElementLoss(
            "smooth_l1", bent_error, bent_error_gradient,
            r"d^2 / (2\beta)\ \text{if}\ d < \beta,\ d - \tfrac{1}{2}\beta\ \text{if not},\ d = |p - t|",
            "R. Girshick, Fast R-CNN, ICCV 2015: huber divided by beta",
            (Parameter("beta", 1.0, None, *_FROM_0),), _smooth_l1, kernel="huber",
            by_target=_BENT_BY_TARGET,
        ),
        ElementLoss(
            "binary_cross_entropy", binary_cross_entropy, binary_cross_entropy_gradient,
            r"w\,t \log(1 + e^{-x}) + (1 - t) \log(1 + e^x)",
            "on logits x, in a form that neither overflows nor cancels; w is pos_weight",
            (Parameter("pos_weight", 1.0, None, *_FROM_0),), targets="probabilities", weighted_mean=False,
            by_target=binary_cross_entropy_by_target,
        ),
        ElementLoss(
            "hinge", hinge, hinge_gradient, r"\max(0, 1 - t p)",
            "or its square if squared is True; C. Cortes, V. Vapnik, Support-vector networks, Machine Learning 20, 1995",
            (Parameter("squared", False, None, *_BOOL),), targets="signs",
        ),
        ElementLoss(
            "kl_div", kl_div, kl_div_gradient, r"t (\log t - p)",
            "Kullback-Leibler divergence; p are log-probabilities, t probabilities, or their logarithms if log_target is True",
            (Parameter("log_target", False, None, *_BOOL),), _none, targets="probabilities", reductions=("batchmean",),
            variants=(("log_target", _KL_DIV_OF_LOG),), by_target=kl_div_by_target,
        ),
        LabelLoss(
            "cross_entropy", "logits", _CROSS_ENTROPY,
            weighted_cross_entropy("cross_entropy.weighted", share_of_label, labelled=True),
            weighted_cross_entropy("cross_entropy.soft", share_of_target, inputs="xx"),
            r"\log\sum_j e^{x_j} - x_y",
            "negative log-likelihood of the softmax; on logits. label_smoothing: C. Szegedy et al., Rethinking the "
            "Inception architecture for computer vision, CVPR 2016",
        ),
        LabelLoss(
            "nll", "log_probabilities", _NLL,
            Row("nll.weighted", _AT_LABEL, weighted_nll_gradient, weighted_nll, labelled=True, row_values=2),
            None, r"-x_y", "negative log-likelihood, of log-probabilities",
        ),
    ]
}  # fmt: skip
