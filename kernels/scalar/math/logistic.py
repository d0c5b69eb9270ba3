"""The logistic function 1 / (1 + e^-x), its derivative, and its integral, softplus."""

import numpy as np

from ..coefficients import (
    EXP_TAIL,
    EXPM1_TAIL,
    LN2_HIGH,
    LN2_LOW,
    LOG1P_TAIL,
    SILU_SLOPE_PIECES,
    SOFTPLUS_EVEN,
    SOFTPLUS_PIECES,
)
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, elementary, scalar
from .exponential import (
    EXP_SCALED_LOWEST,
    EXP_TO_1_LOWEST,
    exp_scaled_python,
    expm1_of_reduced,
    reduced,
    short_expm1_of_reduced,
    times_exp,
)
from .floats import INF, MANTISSA_BITS, lifted_power_of_two, power_of_two, raised_power_of_two

SIGMOID_LOWEST = ByType(-88.0, -709.0)
SIGMOID_HIGHEST = ByType(87.0, 708.0)  # beyond, the exponent of e^-x would leave its field
SOFTPLUS_LOWEST = ByType(-87.4, -708.4)
# 1.37 (1 + e)^2 instead of (1 + e)^2: e is often just above a power of two where the result is just below one, and rounding
# both costs most there. Exhaustively, float32: 1.99 ULP; 2.23 without the factor.
SLOPE_FACTOR = 1.37
SILU_SLOPE_HIGHEST = 93.7  # e^-x is 2^-135.2, n = -135, and 2^n is 0 by `raised_power_of_two`
SILU_SLOPE_LINE = 27.0  # in the last piece, a line that goes on
ONE_AND_A_HALF = ByType(0x3FC00000, 0x3FF8000000000000)
SOFTPLUS_LINE = 27.0  # in the last piece, a line that goes on


def _sigmoid_python(x):
    e = np.exp(-np.abs(np.float64(x)))
    return np.where(x >= 0, 1, e) / (1 + e)


@elementary(python=_sigmoid_python)
def sigmoid(x):
    """1 / (1 + e^-x), with the rounding errors of 1 + e^-x and of the division corrected. Flushed."""
    c = SIGMOID_LOWEST if x < SIGMOID_LOWEST else x
    c = SIGMOID_HIGHEST if x > SIGMOID_HIGHEST else c
    z, high, low = reduced(-c)
    r = high - low
    q = fma(r * r, EXP_TAIL(r), r)
    scale = power_of_two(z)
    larger = scale if x < 0 else 1
    smaller = 1 if x < 0 else scale
    d = fma(scale, q, 1 + scale)
    d_low = fma(scale, q, (larger - d) + smaller)
    w = 1 / d
    y = fma(w, fma(-w, d_low, fma(-w, d, 1)), w)
    return 0 if x < SIGMOID_LOWEST else y


@scalar
def slope_of_exp(q, scale, twice):
    """k e / (1 + e)^2 for k e = scale (1 + q) and twice = 2/k."""
    scale = SLOPE_FACTOR * scale
    e = fma(scale, q, scale)
    return e / fma(e, fma(e, 0.25 / SLOPE_FACTOR * (twice * twice), twice), SLOPE_FACTOR)


@elementary(python=lambda x: _sigmoid_python(x) * _sigmoid_python(-x))
def sigmoid_slope(x):
    """e / (1 + e)^2 for e = e^-|x|, the derivative of `sigmoid`, within 2 ULP. Flushed."""
    a = -abs(x)
    q, z = expm1_of_reduced(EXP_TO_1_LOWEST if a < EXP_TO_1_LOWEST else a)
    return slope_of_exp(q, power_of_two(z), 2)


@scalar
def silu_slope_float32(x):
    """e^-|x| times 16 pieces of degree 6 for x < 0, 1 minus that for x > 0. Flushed."""
    a = abs(x)
    a = SILU_SLOPE_HIGHEST if a > SILU_SLOPE_HIGHEST else a
    v = 1.75 + a
    first, rest = SILU_SLOPE_PIECES(SILU_SLOPE_LINE if v > SILU_SLOPE_LINE else v, a)
    z, high, low = reduced(-a)
    y = times_exp(first, rest, high, -low) * raised_power_of_two(z)
    return y if x < 0 else 1 - y


@elementary(python=lambda x: (np.logaddexp(0, np.float64(x)), exp_scaled_python(-abs(x))))
def softplus_and_exp_scaled(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e), flushed, and 2^64 e, for e = e^-|x|.

    |x| > 1: log(1 + e) = e + e^2 P(e), degree 7 (float32), 16 (float64). Otherwise log(1 + e^x) = log 2 + x/2 +
    log cosh(x/2), with an even polynomial of degree 8 (float32), 20 (float64) for the last term.
    """
    a = -abs(x)
    z, high, low = reduced(EXP_SCALED_LOWEST if a < EXP_SCALED_LOWEST else a)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    lifted = lifted_power_of_two(z)
    scale = lifted * 2.0**-64
    e = scale * y
    e_low = scale * ((one - y) + tail)
    positive = 0 if x < 0 else x
    far = positive + e
    far_low = fma(e * e, LOG1P_TAIL(e), ((positive - far) + e) + fma(-e, e_low, e_low))
    near = fma(0.5, x, LN2_HIGH)
    square = x * x
    near_low = fma(square, SOFTPLUS_EVEN(square), fma(0.5, x, LN2_HIGH - near) + LN2_LOW)
    sum_high = near if a > -1 else far
    sum_low = near_low if a > -1 else far_low
    sum_high = sum_high + sum_low
    sum_high = 0 if x < SOFTPLUS_LOWEST else sum_high
    return sum_high if x < INF else x, lifted * y


@scalar
def softplus(x):
    """log(1 + e^x). Flushed."""
    return softplus_and_exp_scaled(x)[0]


@scalar
def log_sigmoid(x):
    """log(1 / (1 + e^-x)) = -softplus(-x). Flushed."""
    return -softplus(-x)


@elementary(python=_sigmoid_python)
def short_sigmoid(x):
    """1.5 / (1.5 + 1.5 e^-x): where 1.5 (1 + 2^n) has to be rounded, it is off by less than 1 + 2^n. Flushed."""
    c = SIGMOID_LOWEST if x < SIGMOID_LOWEST else x
    c = SIGMOID_HIGHEST if c > SIGMOID_HIGHEST else c
    q, z = short_expm1_of_reduced(-c)
    scale = bits_float(ONE_AND_A_HALF + (float_bits(z) << MANTISSA_BITS), x)
    y = 1.5 / fma(scale, q, 1.5 + scale)
    return 0 if x < SIGMOID_LOWEST else y


@scalar
def _short_softplus_and_scaled_float32(x):
    """max(x, 0) + y and 2^64 y for y = log(1 + e^-|x|) = e^-|x| times 16 pieces of degree 5."""
    a = abs(x)
    a = -EXP_SCALED_LOWEST if a > -EXP_SCALED_LOWEST else a
    v = 1.75 + a
    first, rest = SOFTPLUS_PIECES(SOFTPLUS_LINE if v > SOFTPLUS_LINE else v, a)
    z, high, low = reduced(-a)
    y = times_exp(first, rest, high, -low)
    lifted = lifted_power_of_two(z)
    return fma(y, lifted * 2.0**-64, 0 if x < 0 else x), y * lifted


_SHORT_SOFTPLUS = ByType(_short_softplus_and_scaled_float32, softplus_and_exp_scaled)


@elementary(python=softplus_and_exp_scaled, cuda=softplus_and_exp_scaled.body)
def short_softplus_and_scaled(x):
    """log(1 + e^x), flushed, and for x < -50 2^64 e^x: float32 within 2 ULP by pieces, float64 `softplus_and_exp_scaled`."""
    return _SHORT_SOFTPLUS(x)


@scalar
def short_log_sigmoid(x):
    return -short_softplus_and_scaled(-x)[0]
