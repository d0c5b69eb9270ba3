"""Operations on rows, declared as reductions and a map: the softmax family, forward and backward."""

from math import inf, nan

import numpy as np

from ..shapes import Row, Stage, Threshold
from .language import ByType, scalar
from .math.exponential import exp, exp_to_1
from .math.logarithm import log

LOWEST = ByType(*(float(np.finfo(dtype).min) for dtype in (np.float32, np.float64)))


@scalar
def itself(x):
    return x


@scalar
def base(largest):
    """What elements are reckoned from: where all are -inf, their exponentials are 0, and not NaN, which elements may be."""
    return LOWEST(largest) if largest < LOWEST(largest) else largest


@scalar
def exp_from(x, largest):
    return exp_to_1(x - base(largest))


@scalar
def moved_exp(total, own, largest):
    """A sum of exponentials from a part's own largest element, from that of all."""
    return total * exp_to_1(base(own) - base(largest))


@scalar
def inverse(total):
    """NaN of 0, that of a row all of -inf or none of whose elements is kept; without a division by 0."""
    return 1 / total if total > 0 else nan


@scalar
def share(part, largest, factor):
    return part * factor


@scalar
def log_share(x, largest, log_total):
    return x - largest - log_total


@scalar
def product(g, y):
    return g * y


@scalar
def softmax_gradient(g, y, projection):
    return y * (g - projection)


@scalar
def first(g, y):
    return g


@scalar
def log_softmax_gradient(g, y, total):
    return g - exp(y) * total


# -- with a mask: what is not kept takes no part, and its own result is 0 (its logarithm -inf), its gradient 0 -----------
@scalar
def where_kept(x, keep: bool):
    return x if keep else -inf


@scalar
def exp_where_kept(x, keep: bool, largest):
    return exp_from(x, largest) if keep else 0


@scalar
def kept_share(part, keep: bool, largest, factor):
    return part * factor if keep else 0


@scalar
def kept_log_share(x, keep: bool, largest, log_total):
    return x - largest - log_total if keep else -inf


@scalar
def kept_product(g, y, keep: bool):
    return g * y if keep else 0


@scalar
def kept_softmax_gradient(g, y, keep: bool, projection):
    return y * (g - projection) if keep else 0


@scalar
def kept_first(g, y, keep: bool):
    return g if keep else 0


@scalar
def kept_log_softmax_gradient(g, y, keep: bool, total):
    return g - exp(y) * total if keep else 0


# -- softmin: softmax of -x -------------------------------------------------------------------------------------------
@scalar
def negated(x):
    return -x


@scalar
def exp_below(x, largest):
    return exp_from(-x, largest)


@scalar
def softmin_gradient(g, y, projection):
    return y * (projection - g)


# -- sparsemax: the nearest point of the simplex, max(x - threshold, 0) ------------------------------------------------
@scalar
def minus_one(largest):
    return -1


@scalar
def above(x, largest, threshold):
    """The term and the membership of an element: x, from the row's largest, where it is above the threshold."""
    z = x - largest
    member = z > threshold
    return (z if member else 0), (1 if member else 0)


@scalar
def mean_less_share(total, members):
    """The threshold for which the members' distances from it sum up to 1."""
    return (total - 1) / members


@scalar
def excess(x, largest, threshold):
    z = x - largest
    y = 0 if z <= threshold else z - threshold
    return y + (largest - largest)  # NaN for a row that holds NaN or inf, as softmax has it


@scalar
def where_positive(g, y):
    return g if y > 0 else 0


@scalar
def is_positive(g, y, total):
    return 1 if y > 0 else 0


@scalar
def sparsemax_gradient(g, y, total, members):
    return g - total / members if y > 0 else (0 if y == y else y)


SOFTMAX = Row(
    "softmax", (Stage("top", itself), Stage("sum", exp_from, keep=True, rebased=moved_exp)), share, settled=inverse
)
LOG_SOFTMAX = Row(
    "log_softmax", (Stage("top", itself), Stage("sum", exp_from, rebased=moved_exp)), log_share, settled=log
)
SOFTMAX_BACKWARD = Row("softmax.backward", (Stage("sum", product),), softmax_gradient, inputs="xx")
LOG_SOFTMAX_BACKWARD = Row("log_softmax.backward", (Stage("sum", first),), log_softmax_gradient, inputs="xx")
SOFTMAX_MASKED = Row(
    "softmax.masked",
    (Stage("top", where_kept), Stage("sum", exp_where_kept, keep=True, rebased=moved_exp)),
    kept_share,
    inputs="xb",
    settled=inverse,
)
LOG_SOFTMAX_MASKED = Row(
    "log_softmax.masked",
    (Stage("top", where_kept), Stage("sum", exp_where_kept, rebased=moved_exp)),
    kept_log_share,
    inputs="xb",
    settled=log,
)
SOFTMAX_MASKED_BACKWARD = Row(
    "softmax.masked.backward", (Stage("sum", kept_product),), kept_softmax_gradient, inputs="xxb"
)
LOG_SOFTMAX_MASKED_BACKWARD = Row(
    "log_softmax.masked.backward", (Stage("sum", kept_first),), kept_log_softmax_gradient, inputs="xxb"
)
SOFTMIN = Row(
    "softmin", (Stage("top", negated), Stage("sum", exp_below, keep=True, rebased=moved_exp)), share, settled=inverse
)
SOFTMIN_BACKWARD = Row("softmin.backward", (Stage("sum", product),), softmin_gradient, inputs="xx")
SPARSEMAX = Row("sparsemax", (Stage("max", itself),), excess, threshold=Threshold(minus_one, above, mean_less_share))
SPARSEMAX_BACKWARD = Row(
    "sparsemax.backward", (Stage("sum", where_positive), Stage("sum", is_positive)), sparsemax_gradient, inputs="xx"
)
