"""Penalties of weights, l1 sum |w| + l2 sum w^2, and the sums that norms are made of.

Sources: A. E. Hoerl, R. W. Kennard, Ridge regression, Technometrics 12, 1970; R. Tibshirani, Regression shrinkage and
selection via the lasso, JRSS B 58, 1996; H. Zou, T. Hastie, the elastic net, JRSS B 67, 2005.
"""

from ..shapes import Map, Reduce
from .language import scalar


@scalar
def penalty(w, l1, l2):
    return (l1 + l2 * abs(w)) * abs(w)


@scalar
def penalty_gradient(w, l1, l2):
    """l1 sign(w) + 2 l2 w, where the sign of 0 is 0, and that of NaN is NaN."""
    slope = l1 if w > 0 else (-l1 if w < 0 else w)
    return slope + 2 * l2 * w


@scalar
def add_penalty(w, grad, l1, l2):
    return grad + penalty_gradient(w, l1, l2), penalty(w, l1, l2)


@scalar
def square(x):
    return x * x


@scalar
def scaled_square(x, factor):
    return (x * factor) * (x * factor)


@scalar
def scaled_size(x, factor):
    return abs(x) * factor


@scalar
def size(x):
    return abs(x)


PENALTY = Reduce("penalty", penalty, scalars="xx")
ADD_PENALTY = Map("penalty.add", add_penalty, "xx", "x", "xx", sums=1)
SUM_OF_SQUARES = Reduce("sum_of_squares", square)
SUM_OF_SCALED_SQUARES = Reduce("sum_of_scaled_squares", scaled_square, scalars="x")
SUM_OF_SCALED_SIZES = Reduce("sum_of_scaled_sizes", scaled_size, scalars="x")
LARGEST_SIZE = Reduce("largest_size", size, combine="max")
