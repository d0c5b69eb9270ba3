"""The derivative of each elementary function, in one table; `differentiate.py` chains them.

A rule has one expression for each argument a, b, c, in terms of the arguments and of the result y. Where a function has
no derivative (a kink, a tie of two arguments), the rule gives that of the branch which the function takes.
"""

import functools
import math

from . import equivalents, intrinsics, second
from . import math as elementary
from .activations import ACTIVATIONS
from .equivalents import square
from .math import (
    cos,
    cosh,
    exp,
    gaussian,
    log,
    log2,
    normal_pdf,
    pow,
    sech2,
    sigmoid,
    sin,
    sinh,
    tanh,
    x_gaussian,
    x_normal_cdf_derivative,
)

LN_2, LN_10 = math.log(2), math.log(10)
TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

RULES = {
    exp: ("y",),
    elementary.exp2: ("LN_2 * y",),
    elementary.expm1: ("exp(a)",),
    elementary.short_expm1: ("exp(a)",),
    log: ("1 / a",),
    log2: ("1 / (LN_2 * a)",),
    equivalents.log10: ("1 / (LN_10 * a)",),
    equivalents.log_to_base: ("1 / (a * log(b))", "-y / (b * log(b))"),
    elementary.log1p: ("1 / (1 + a)",),
    elementary.sqrt: ("0.5 / y",),
    elementary.rsqrt: ("-0.5 * y / a",),
    pow: ("b * pow(a, b - 1) if b != 0 else 0", "y * log(a) if y != 0 else 0"),
    sin: ("cos(a)",),
    cos: ("-sin(a)",),
    equivalents.tan: ("1 + y * y",),
    elementary.atan: ("1 / (1 + a * a)",),
    sinh: ("cosh(a)",),
    cosh: ("sinh(a)",),
    tanh: ("sech2(a)",),
    elementary.short_tanh: ("sech2(a)",),
    sech2: ("-2 * y * tanh(a)",),
    elementary.tanh_slope: ("-2 * y * tanh(a)",),
    sigmoid: ("y * sigmoid(-a)",),
    elementary.short_sigmoid: ("y * sigmoid(-a)",),
    elementary.sigmoid_slope: ("-y * tanh(0.5 * a)",),
    elementary.tanh_squared: ("2 * tanh(a) * sech2(a)",),
    elementary.softplus: ("sigmoid(a)",),
    elementary.log_sigmoid: ("sigmoid(-a)",),
    elementary.log_cosh: ("tanh(a)",),
    equivalents.logaddexp: ("sigmoid(a - b)", "sigmoid(b - a)"),
    elementary.erf: ("TWO_OVER_ROOT_PI * gaussian(a)",),
    elementary.erfc: ("-TWO_OVER_ROOT_PI * gaussian(a)",),
    elementary.normal_cdf: ("normal_pdf(a)",),
    normal_pdf: ("-a * y",),
    elementary.x_normal_cdf: ("x_normal_cdf_derivative(a)",),
    x_normal_cdf_derivative: ("(2 - a * a) * normal_pdf(a)",),
    gaussian: ("-2 * x_gaussian(a)",),
    x_gaussian: ("(1 - 2 * square(a)) * gaussian(a)",),
    intrinsics.fma: ("b", "a", "1"),
    abs: ("1 if a > 0 else (-1 if a < 0 else 0)",),
    equivalents.absolute: ("1 if a > 0 else (-1 if a < 0 else 0)",),
    equivalents.sign: ("0",),
    square: ("2 * a",),
    equivalents.reciprocal: ("-y * y",),
    equivalents.larger: ("0 if b > a else 1", "1 if b > a else 0"),
    equivalents.smaller: ("0 if b < a else 1", "1 if b < a else 0"),
    equivalents.maximum: ("1 if a >= b else 0", "0 if a >= b else 1"),
    equivalents.minimum: ("1 if a <= b else 0", "0 if a <= b else 1"),
}  # fmt: skip
# Of first derivatives of activations, whose text is no formula: by x, and by the parameter.
RULES |= {
    ACTIVATIONS[name].derivative: rules
    for name, rules in {
        "silu": ("silu_second(a)",),
        "quick_gelu": ("quick_gelu_second(a)",),
        "gelu_tanh": ("gelu_tanh_second(a)",),
        "mish": ("mish_second(a)",),
        "elish": ("elish_second(a)",),
        "hard_elish": ("hard_elish_second(a)",),
        "sinc": ("sinc_second(a)",),
        "elu": ("0 if a > 0 else y", "0 if a > 0 else exp(a)"),
        "selu": ("0 if a > 0 else y",),
        "celu": ("0 if a > 0 else y / b", "0 if a > 0 else -a / (b * b) * y"),
        "snake": ("2 * b * cos(2 * a * b)", "2 * a * cos(2 * a * b)"),
        "soft_exponential": ("b * y * y if b < 0 else b * y", "(a + 2 * b) * y * y if b < 0 else a * y"),
        "soft_clipping": (
            "b * (sigmoid_slope(a * b) - sigmoid_slope((a - 1) * b))",
            "a * sigmoid_slope(a * b) - (a - 1) * sigmoid_slope((a - 1) * b)",
        ),
    }.items()
}
NAMES = {**vars(second), **globals()}  # what the expressions refer to


@functools.cache
def _of_records():
    """Forward function -> its partial derivatives, None where a record has none."""
    return {record.forward: partials_of(record) for record in ACTIVATIONS.values()}


def partials_of(record):
    """The derivatives of a record's function by x and by each parameter, None for those that it does not have."""
    return (record.derivative, *(p.gradient for p in record.parameters))


def known_partials(function):
    """Scalar functions, the partial derivatives of a function that has a record; None if it has none."""
    return getattr(function, "partials", None) or _of_records().get(function)
