"""Batch norm: statistics of each channel, and the affine map that they give.

Forward: with d = x - shift, where shift is a typical value of the channel, the sums of d and d**2 give mean and variance
without the cancellation that E[x**2] - E[x]**2 suffers from when the mean is large. Sums of blocks are combined in
float64, in which `finish` functions compute, too.

Source: S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015.
"""

from ..shapes import Channel, Sample
from .language import scalar
from .math.power import sqrt


@scalar
def median_of_three(a, b, c):
    low, high = (a, b) if a < b else (b, a)
    return low if c < low else (high if c > high else c)


@scalar
def shifted_moments(x, shift):
    d = x - shift
    return d, d * d


@scalar
def batch_statistics(sum_d, sum_d2, shift, weight, bias, running_mean, running_var, count, momentum, eps):
    """-> delta (mean - shift), rstd, scale, running mean, running variance (which takes the unbiased variance)."""
    delta = sum_d / count
    variance = sum_d2 / count - delta * delta
    variance = 0 if variance < 0 else variance
    rstd = 1 / sqrt(variance + eps)
    unbiased = variance * (count / (count - 1))
    new_mean = running_mean + momentum * (shift + delta - running_mean)
    new_variance = running_var + momentum * (unbiased - running_var)
    return delta, rstd, weight * rstd, new_mean, new_variance


@scalar
def normalized(x, shift, bias, delta, scale):
    return ((x - shift) - delta) * scale + bias  # x - mean would lose what rounding the mean to x's type loses


@scalar
def running_statistics(running_mean, running_var, weight, bias, count, eps):
    """-> delta, rstd, scale: the running mean is the shift, and there is nothing to add to it."""
    rstd = 1 / sqrt(running_var + eps)
    return 0 * running_mean, rstd, weight * rstd


@scalar
def gradient_moments(g, x, shift, delta, rstd):
    return g, g * (((x - shift) - delta) * rstd)


@scalar
def batch_gradient(sum_g, sum_gx, shift, delta, rstd, weight, count):
    """-> dweight, dbias, and a, b, c of dx = a g + b (x - mean) + c."""
    a = weight * rstd
    return sum_gx, sum_g, a, -a * rstd * sum_gx / count, -a * sum_g / count


@scalar
def batch_norm_gradient(g, x, shift, delta, a, b, c):
    return a * g + (b * ((x - shift) - delta) + c)


@scalar
def running_gradient(sum_g, sum_gx, shift, delta, rstd, weight, count):
    """-> dweight, dbias, a of dx = a g: running statistics are constants."""
    return sum_gx, sum_g, weight * rstd


@scalar
def scaled_gradient(g, x, a):
    return a * g


@scalar
def itself(g):
    return g


@scalar
def squared(x):
    return x * x


@scalar
def sum_of(total, count):
    return total


TYPICAL_VALUES = Sample("typical_values", median_of_three)  # the shift: one of three values may be far from the others
# Channel arrays, counted through inputs and outputs:
# 0 shift, 1 weight, 2 bias, 3 running mean, 4 running variance -> 5 delta, 6 rstd, 7 scale, 8 and 9 running ones
BATCH_NORM = Channel(
    "batch_norm", shifted_moments, 2, (0,), batch_statistics, 5, 5, normalized, (0, 2, 5, 7), scalars="xx"
)
# 0 running mean, 1 running variance, 2 weight, 3 bias -> 4 delta, 5 rstd, 6 scale
BATCH_NORM_EVALUATION = Channel(
    "batch_norm.evaluation", None, 0, (), running_statistics, 4, 3, normalized, (0, 3, 4, 6), scalars="x"
)
# 0 shift, 1 delta, 2 rstd, 3 weight -> 4 dweight, 5 dbias, 6 a, 7 b, 8 c
BATCH_NORM_BACKWARD = Channel(
    "batch_norm.backward", gradient_moments, 2, (0, 1, 2), batch_gradient, 4, 5, batch_norm_gradient, (0, 1, 6, 7, 8),
    inputs="xx",
)  # fmt: skip
BATCH_NORM_EVALUATION_BACKWARD = Channel(
    "batch_norm.evaluation.backward", gradient_moments, 2, (0, 1, 2), running_gradient, 4, 3, scaled_gradient, (6,),
    inputs="xx",
)  # fmt: skip
CHANNEL_SQUARES = Channel("channel_squares", squared, 1, (), sum_of, 0, 1, outputs="")
CHANNEL_SUM = Channel("channel_sum", itself, 1, (), sum_of, 0, 1, outputs="")  # the gradient of a bias
