"""e^x, 2^x, e^x - 1, and e^x in the forms that other functions are made of: scaled, or in two parts."""

import math

import numpy as np

from ..coefficients import EXP2_TAIL, EXP_TAIL, EXPM1_TAIL, LN2_HIGH, LN2_LOW, LOG2_E_HIGH
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, elementary, scalar
from .floats import HALF, INF, MAGIC, MANTISSA_BITS, ONE, SCALE_64, TINY, lifted_power_of_two, power_of_two

EXP_LOWEST = ByType(-104.0, -746.0)  # e^x rounds to 0
EXP_LOWERED_HIGHEST = ByType(128.0, 750.0)
EXP_TO_1_LOWEST = ByType(-88.03, -709.09)  # n = -127 (float32), -1023: the exponent field of 2^n is 0, and it is 0
EXP_HIGHEST = ByType(88.72283172607422, 709.782712893384)  # the largest x with finite e^x
EXP_SCALED_LOWEST = ByType(-132.4, -753.45)  # n = -191, -1087: the exponent field of 2^(n + 64) is 0, and it is 0
EXP2_LOWEST = ByType(-151.0, -1076.0)
EXP2_HIGHEST = ByType(128.0, 1024.0)
LIFT = ByType(64 << 23, 128 << 52)  # 64 or 128 in the exponent's place
DROP = ByType(2.0**-64, 2.0**-128)
EXPM1_LOWEST = ByType(-18.0, -38.0)  # e^x - 1 rounds to -1


@scalar
def reduced(x):
    """z, high, low: x = n ln 2 + high - low, |high - low| <= ln(2)/2, with z = MAGIC + n; high is exact."""
    z = fma(x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    return z, fma(n, -LN2_HIGH, x), n * LN2_LOW


@scalar
def times_power_of_two(y, z, x):
    """y * 2^n for z = MAGIC + n and y in [1/2, 2], by an addition to the exponent; x has the sign of n.

    For x < 0 the exponent is kept in range by a detour, so that results round to denormals as they should.
    """
    exponent = float_bits(z) << MANTISSA_BITS
    exponent = exponent + LIFT if x < 0 else exponent
    y = bits_float(float_bits(y) + exponent, x)
    return y * DROP if x < 0 else y


@elementary(python=np.exp, cuda=math.exp)
def exp(x):
    """e^x = 2^n e^r, r = x - n ln 2: polynomial of degree 6 (float32), 12 (float64)."""
    z, high, low = reduced(EXP_LOWEST if x < EXP_LOWEST else x)
    r = high - low
    y = 1 + (high + fma(r * r, EXP_TAIL(r), -low))
    y = times_power_of_two(y, z, x)
    return y if x <= EXP_HIGHEST else x * INF


@elementary(python=np.exp, cuda=math.exp)
def exp_to_1(x):
    """e^x for x <= 0, in the fewest steps, for sums of many: as `exp`, but r is one number. Flushed.

    Within 1.1 ULP (`exp`: 0.6).
    """
    z = fma(EXP_TO_1_LOWEST if x < EXP_TO_1_LOWEST else x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, EXP_TO_1_LOWEST if x < EXP_TO_1_LOWEST else x))
    return (1 + fma(r * r, EXP_TAIL(r), r)) * power_of_two(z)


@scalar
def short_expm1_of_reduced(x):
    """q, z: e^x = 2^n (1 + q) for z = MAGIC + n, as `expm1_of_reduced` with r as one number."""
    z = fma(x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    return fma(r * r, EXP_TAIL(r), r), z


@scalar
def expm1_of_reduced(x):
    """q, z: e^x = 2^n (1 + q) for z = MAGIC + n."""
    z, high, low = reduced(x)
    r = high - low
    return high + fma(r * r, EXP_TAIL(r), -low), z


def exp_scaled_python(x):
    half = np.exp(0.5 * np.float64(x))
    return half * 2.0**64 * half


@scalar
def times_exp(first, rest, high, low):
    """(first + rest) e^(high + low), |high| <= ln(2)/2, for a first part to which the rest adds little: one large rounding."""
    r = high + low
    total = first + rest
    return first + fma(total, high, fma(total, fma(r * r, EXP_TAIL(r), low), rest))


@elementary(python=exp_scaled_python)
def exp_scaled(x):
    """2^64 e^x for x <= 0: a normal number where e^x itself no longer is one. As `exp`; flushed."""
    z, high, low = reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    y = 1 + (high + fma(r * r, EXP_TAIL(r), -low))
    return y * lifted_power_of_two(z)


@elementary(python=lambda x: (exp_scaled_python(x), 0.0))
def exp_scaled_in_two_parts(x):
    """2^64 e^x for x <= 0, as `exp_scaled`."""
    z, high, low = reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    scale = lifted_power_of_two(z)
    return scale * y, scale * ((one - y) + tail)


def _one_plus_exp_lowered_python(x):
    return np.float64((1 + np.exp(np.minimum(np.longdouble(x), EXP_LOWERED_HIGHEST(x)))) * np.longdouble(2) ** -64)


@elementary(python=_one_plus_exp_lowered_python)
def one_plus_exp_lowered(x):
    """2^-64 (1 + e^x), finite where e^x is not (constant beyond): 2^n e^r + 1 with one large rounding, of the last sum."""
    c = -40 if x < -40 else x
    q, z = short_expm1_of_reduced(EXP_LOWERED_HIGHEST if c > EXP_LOWERED_HIGHEST else c)
    scale = bits_float(ONE - SCALE_64 + (float_bits(z) << MANTISSA_BITS), x)
    larger = scale if scale > 2.0**-64 else 2.0**-64
    smaller = 2.0**-64 if scale > 2.0**-64 else scale
    return larger + fma(scale, q, smaller)


@elementary(python=np.exp2)
def exp2(x):
    """2^x = 2^n 2^r, r = x - n (exact): polynomial of degree 6 (float32), 12 (float64), ln 2 in two parts."""
    c = EXP2_LOWEST if x < EXP2_LOWEST else x
    z = c + MAGIC
    r = c - (z - MAGIC)
    y = 1 + fma(r, LN2_HIGH, fma(r * r, EXP2_TAIL(r), r * LN2_LOW))
    y = times_power_of_two(y, z, x)
    return y if x < EXP2_HIGHEST else x * INF


@elementary(python=np.expm1, cuda=math.expm1)
def expm1(x):
    """e^x - 1 = (2^n - 1) + 2^n (e^r - 1): as `exp`, degree 7 in float32; the first sum keeps its rounding error.

    All is computed for 2^(n-1), which does not overflow, and doubled.
    """
    z, high, low = reduced(EXPM1_LOWEST if x < EXPM1_LOWEST else x)
    r = high - low
    scale = bits_float(HALF + (float_bits(z) << MANTISSA_BITS), x)
    start = scale - 0.5
    sum_high = fma(scale, high, start)
    sum_low = fma(scale, high, start - sum_high) + ((scale - start) - 0.5)
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    y = 2 * (sum_high + fma(scale, tail, sum_low))
    y = y if x <= EXP_HIGHEST else x * INF
    return x if abs(x) < TINY else y


@elementary(python=lambda x: (np.expm1(np.float64(x)), 0.0, exp_scaled_python(x)))
def expm1_and_exp_scaled(x):
    """e^x - 1 in two parts, as `expm1`, and 2^64 e^x, as `exp_scaled`, for x <= 0."""
    z, high, low = reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    scaled = lifted_power_of_two(z)
    scale = scaled * 2.0**-64
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    start = scale - 1
    first = fma(scale, high, start)
    rest = fma(scale, tail, fma(scale, high, start - first) + ((scale - start) - 1))
    y = first + rest
    return y, (first - y) + rest, (1 + (high + tail)) * scaled


@elementary(python=np.expm1, cuda=math.expm1)
def short_expm1(x):
    """e^x - 1 = (2^n - 1) + 2^n (e^r - 1) for x <= 0, where it is right within 1 ULP."""
    q, z = short_expm1_of_reduced(EXPM1_LOWEST if x < EXPM1_LOWEST else x)
    scale = power_of_two(z)
    return fma(scale, q, scale - 1)
