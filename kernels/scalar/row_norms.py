"""Layer norm and RMS norm: statistics of each row, the affine map that they give, and their gradients.

Group and instance norm are layer norm of rows that have channels in them, see `numbadl.kernels.shapes.Norm`.

A row is passed twice while it is in the cache: the mean of some of its elements, in the arrays' own type, is the shift, from
which the sums of d = x - shift and of d**2 are taken. These give what the shift lacks (delta), and the variance with hardly any
cancellation: the shift is at most four standard deviations off the mean (`numbadl.kernels.shapes.some_of`).

Sources: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016; B. Zhang, R. Sennrich, "Root mean square layer
normalization", NeurIPS 2019.
"""

from ..shapes import Norm
from .language import scalar
from .math.power import sqrt


@scalar
def itself(x):
    return x


@scalar
def shifted_moments(x, weight, bias, shift):
    d = x - shift
    return d, d * d


@scalar
def row_statistics(sum_d, sum_d2, shift, count, eps):
    """-> delta (mean - shift), rstd."""
    delta = sum_d / count
    variance = sum_d2 / count - delta * delta
    variance = 0 if variance < 0 else variance
    return delta, 1 / sqrt(variance + eps)


@scalar
def normalized(x, weight, bias, shift, delta, rstd):
    return ((x - shift) - delta) * rstd * weight + bias


@scalar
def gradient_moments(g, x, weight, shift, delta, rstd):
    h = g * weight
    return h, h * (((x - shift) - delta) * rstd)


@scalar
def row_gradient(sum_h, sum_hx, shift, delta, rstd, count):
    """-> b, c of dx = rstd h + b (x - mean) + c, with h = g weight."""
    return -rstd * rstd * sum_hx / count, -rstd * sum_h / count


@scalar
def norm_gradient(g, x, weight, shift, delta, rstd, b, c):
    return rstd * (g * weight) + (b * ((x - shift) - delta) + c)


@scalar
def affine_terms(g, x, weight, shift, delta, rstd):
    """-> terms of dweight, dbias."""
    return g * (((x - shift) - delta) * rstd), g


# -- RMS norm: there is no mean to subtract --------------------------------------------------------------------------
@scalar
def square(x, weight):
    return x * x


@scalar
def inverse_root(sum_x2, count, eps):
    return 1 / sqrt(sum_x2 / count + eps)


@scalar
def scaled(x, weight, rstd):
    return x * rstd * weight


@scalar
def projection(g, x, weight, rstd):
    return g * weight * (x * rstd)


@scalar
def rms_row_gradient(sum_hx, rstd, count):
    """-> b of dx = rstd h + b x, with h = g weight."""
    return -rstd * rstd * sum_hx / count


@scalar
def rms_gradient(g, x, weight, rstd, b):
    return rstd * (g * weight) + b * x


@scalar
def weight_term(g, x, weight, rstd):
    return g * (x * rstd)


# Affine operands: weight, bias. Values of a row: shift, delta, rstd.
LAYER_NORM = Norm(
    "layer_norm", itself, shifted_moments, 2, row_statistics, 2, normalized, affine=2, row_outputs=3, scalars="x"
)
LAYER_NORM_BACKWARD = Norm(
    "layer_norm.backward", None, gradient_moments, 2, row_gradient, 2, norm_gradient, affine=1, row_inputs=3,
    terms=affine_terms, affine_sums=2, inputs="xx",
)  # fmt: skip
# Affine operand: weight. Value of a row: rstd.
RMS_NORM = Norm("rms_norm", None, square, 1, inverse_root, 1, scaled, affine=1, row_outputs=1, scalars="x")
RMS_NORM_BACKWARD = Norm(
    "rms_norm.backward", None, projection, 1, rms_row_gradient, 1, rms_gradient, affine=1, row_inputs=1,
    terms=weight_term, affine_sums=1, inputs="xx",
)  # fmt: skip
