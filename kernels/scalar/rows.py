"""Operations on rows, declared as reductions and a map: softmax and log-softmax, forward and backward."""

from ..shapes import Row, Stage
from .language import scalar
from .math import exp, log


@scalar
def itself(x):
    return x


@scalar
def exp_from(x, largest):
    return exp(x - largest)


@scalar
def share(part, largest, total):
    return part / total


@scalar
def log_share(x, largest, total):
    return x - largest - log(total)


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


SOFTMAX = Row("softmax", (Stage("max", itself), Stage("sum", exp_from, keep=True)), share)
LOG_SOFTMAX = Row("log_softmax", (Stage("max", itself), Stage("sum", exp_from)), log_share)
SOFTMAX_BACKWARD = Row("softmax.backward", (Stage("sum", product),), softmax_gradient, inputs="xx")
LOG_SOFTMAX_BACKWARD = Row("log_softmax.backward", (Stage("sum", first),), log_softmax_gradient, inputs="xx")
