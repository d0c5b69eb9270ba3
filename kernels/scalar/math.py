"""Elementary functions of one float32 or float64 number, that LLVM vectorises: selects, but no branch or call.

Each is a range reduction, a polynomial in fused multiply-adds (`coefficients.py`, computed by
``python -m tests.oracle.coefficients``) and a reconstruction. Three ideas come back everywhere:

- *Rounding by addition.* x + 1.5 * 2^23 has no bits left below 1: its low bits are round(x), and subtracting the
  constant again gives round(x) as a float. Shifted to the exponent's place, those low bits multiply by 2^round(x).
- *The exact error.* The rounding error of a sum or a product is itself a float: s = a + b leaves b - (s - a) if
  |a| >= |b|, p = a * b leaves fma(a, b, -p). A result of full accuracy is a large part (*high*) plus a small one
  (*low*) that collects those errors, added last.
- *Residuals.* w = 1/d is corrected by w * fma(-w, d, 1); d itself may be high + low there.

The figures in the doc strings are the largest errors in units in the last place: for float32 over all 2^32 inputs, for
float64 over 10^6 random ones (docs/accuracy.md: the full table, and how to repeat it). A few functions of activations
have a float32 form whose coefficients are looked up in registers (`pieces.py`). Inputs and results at the ends
(0, -0, inf, NaN, denormals) are as C99 has them, except that results below the normal range may be off by less than the
smallest normal number where "flushed" is said. In plain Python NumPy and `math` compute instead (sine and cosine
included), on CUDA libdevice where it has the function.
"""

import math
from fractions import Fraction

import numpy as np

from .coefficients import (
    ATAN_TAIL,
    ATANH_TAIL,
    CDF_RATIO_FIRST,
    CDF_RATIO_FIRST_LOW,
    CDF_RATIO_REST,
    CDF_RATIO_SECOND,
    CDF_SLOPE,
    COS_TAIL,
    COSH_TAIL,
    ERF_RATIO,
    ERFC_FROM_1,
    ERFC_FROM_2,
    ERFC_RATIO_FIRST,
    ERFC_RATIO_FIRST_LOW,
    ERFC_RATIO_REST,
    ERFC_RATIO_SECOND,
    ERFC_SLOPE,
    EXP2_TAIL,
    EXP_TAIL,
    EXPM1_TAIL,
    GELU_CUBE_HIGH,
    GELU_CUBE_LOW,
    GELU_LINE_HIGH,
    GELU_LINE_LOW,
    GELU_SLOPE_PIECES,
    GELU_TANH_PIECES,
    GELU_TANH_SLOPE_PIECES,
    HALF_PI_HIGH,
    HALF_PI_LOW,
    LN2_HIGH,
    LN2_LOW,
    LOG1P_TAIL,
    LOG2_E_HIGH,
    LOG2_E_LOW,
    LOG_COSH_TAIL,
    MILLS_PIECES,
    POW_TAIL_FIRST,
    POW_TAIL_FIRST_LOW,
    POW_TAIL_REST,
    POW_TAIL_SECOND,
    ROOT_2_PI_HIGH,
    ROOT_2_PI_LOW,
    SILU_SLOPE_PIECES,
    SIN_TAIL,
    SINH_TAIL,
    SOFTPLUS_EVEN,
    SOFTPLUS_PIECES,
)
from .intrinsics import bits_float, float_bits, fma, int_like
from .language import ByType, Polynomial, elementary, scalar, specialised
from .quadrant import NEAR, far_quadrant, near_quadrant, two_sum

INF = math.inf
MANTISSA_BITS = ByType(23, 52)
SIGN = ByType(-(2**31), -(2**63))
EXPONENT = ByType(-(2**23), -(2**52))  # the bits of sign and exponent
ONE = ByType(0x3F800000, 0x3FF0000000000000)  # the bits of 1.0
FOUR = ByType(0x40800000, 0x4010000000000000)
HALF = ByType(0x3F000000, 0x3FE0000000000000)
QUARTER = ByType(0x3E800000, 0x3FD0000000000000)
THREE_QUARTERS = ByType(0x3F400000, 0x3FE8000000000000)
TWO_THIRDS = ByType(0x3F2AAAAB, 0x3FE5555555555555)
MAGIC = ByType(1.5 * 2**23, 1.5 * 2**52)
SMALLEST_NORMAL = ByType(2.0**-126, 2.0**-1022)


@scalar
def _with_sign(size, x):
    """*size*, which is not negative unless x is, with the sign of x (that of a zero, too)."""
    return bits_float(float_bits(size) | (float_bits(x) & SIGN), x)


@scalar
def _power_of_two(z):
    """2^n for z = MAGIC + n."""
    return bits_float(ONE + (float_bits(z) << MANTISSA_BITS), z)


@scalar
def _lifted_power_of_two(z):
    """2^(n + 64) for z = MAGIC + n: a normal number, or 0 if its exponent field is, where 2^n itself no longer is one."""
    return bits_float(ONE + SCALE_64 + (float_bits(z) << MANTISSA_BITS), z)


@scalar
def _raised_power_of_two(z):
    """2^(n + 8) for z = MAGIC + n, or 0 if its exponent field is."""
    return bits_float(ONE + SCALE_8 + (float_bits(z) << MANTISSA_BITS), z)


# -- exponentials ------------------------------------------------------------------------------------------------
EXP_LOWEST = ByType(-104.0, -746.0)  # e^x rounds to 0
EXP_LOWERED_HIGHEST = ByType(128.0, 750.0)
EXP_TO_1_LOWEST = ByType(-88.03, -709.09)  # n = -127 (float32), -1023: the exponent field of 2^n is 0, and it is 0
EXP_HIGHEST = ByType(88.72283172607422, 709.782712893384)  # the largest x with finite e^x
EXP_SCALED_LOWEST = ByType(
    -132.4, -753.45
)  # n = -191 (float32), -1087: the exponent field of 2^(n + 64) is 0, and it is 0
SCALE_8 = ByType(8 << 23, 8 << 52)
SCALE_64 = ByType(64 << 23, 64 << 52)  # 64 in the exponent's place
EXP2_LOWEST = ByType(-151.0, -1076.0)
EXP2_HIGHEST = ByType(128.0, 1024.0)
LIFT = ByType(64 << 23, 128 << 52)  # 64 or 128 in the exponent's place
DROP = ByType(2.0**-64, 2.0**-128)
EXPM1_OF_MINUS_TAIL = Polynomial(
    *(tuple(c * (-1) ** k for k, c in enumerate(tail)) for tail in (EXPM1_TAIL.float32, EXPM1_TAIL.float64))
)
EXPM1_LOWEST = ByType(-18.0, -38.0)  # e^x - 1 rounds to -1
TINY = ByType(2.0**-26, 2.0**-55)  # x + x^2 rounds to x


@scalar
def _reduced(x):
    """z, high, low: x = n ln 2 + high - low, |high - low| <= ln(2)/2, with z = MAGIC + n; high is exact."""
    z = fma(x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    return z, fma(n, -LN2_HIGH, x), n * LN2_LOW


@scalar
def _scaled(y, z, x):
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
    z, high, low = _reduced(EXP_LOWEST if x < EXP_LOWEST else x)
    r = high - low
    y = 1 + (high + fma(r * r, EXP_TAIL(r), -low))
    y = _scaled(y, z, x)
    return y if x <= EXP_HIGHEST else x * INF


@elementary(python=np.exp, cuda=math.exp)
def exp_to_1(x):
    """e^x for x <= 0, in the fewest steps, for sums of many: as `exp`, but r is one number. Flushed.

    Within 1.1 ULP (`exp`: 0.6).
    """
    z = fma(EXP_TO_1_LOWEST if x < EXP_TO_1_LOWEST else x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, EXP_TO_1_LOWEST if x < EXP_TO_1_LOWEST else x))
    return (1 + fma(r * r, EXP_TAIL(r), r)) * _power_of_two(z)


@scalar
def _short_expm1_of_reduced(x):
    """q, z: e^x = 2^n (1 + q) for z = MAGIC + n, as `_expm1_of_reduced` with r as one number."""
    z = fma(x, LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    return fma(r * r, EXP_TAIL(r), r), z


def _exp_scaled_python(x):
    half = np.exp(0.5 * np.float64(x))
    return half * 2.0**64 * half


@scalar
def _times_exp(first, rest, high, low):
    """(first + rest) e^(high + low), |high| <= ln(2)/2, for a first part to which the rest adds little: one large rounding."""
    r = high + low
    total = first + rest
    return first + fma(total, high, fma(total, fma(r * r, EXP_TAIL(r), low), rest))


@elementary(python=_exp_scaled_python)
def exp_scaled(x):
    """2^64 e^x for x <= 0: a normal number where e^x itself no longer is one. As `exp`; flushed."""
    z, high, low = _reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    y = 1 + (high + fma(r * r, EXP_TAIL(r), -low))
    return y * _lifted_power_of_two(z)


@elementary(python=lambda x: (_exp_scaled_python(x), 0.0))
def exp_scaled_in_two_parts(x):
    """2^64 e^x for x <= 0, as `exp_scaled`."""
    z, high, low = _reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    scale = _lifted_power_of_two(z)
    return scale * y, scale * ((one - y) + tail)


def _one_plus_exp_lowered_python(x):
    return np.float64((1 + np.exp(np.minimum(np.longdouble(x), EXP_LOWERED_HIGHEST(x)))) * np.longdouble(2) ** -64)


@elementary(python=_one_plus_exp_lowered_python)
def one_plus_exp_lowered(x):
    """2^-64 (1 + e^x), finite where e^x is not (constant beyond): 2^n e^r + 1 with one large rounding, of the last sum."""
    c = -40 if x < -40 else x
    q, z = _short_expm1_of_reduced(EXP_LOWERED_HIGHEST if c > EXP_LOWERED_HIGHEST else c)
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
    y = _scaled(y, z, x)
    return y if x < EXP2_HIGHEST else x * INF


@elementary(python=np.expm1, cuda=math.expm1)
def expm1(x):
    """e^x - 1 = (2^n - 1) + 2^n (e^r - 1): as `exp`, degree 7 in float32; the first sum keeps its rounding error.

    All is computed for 2^(n-1), which does not overflow, and doubled.
    """
    z, high, low = _reduced(EXPM1_LOWEST if x < EXPM1_LOWEST else x)
    r = high - low
    scale = bits_float(HALF + (float_bits(z) << MANTISSA_BITS), x)
    start = scale - 0.5
    sum_high = fma(scale, high, start)
    sum_low = fma(scale, high, start - sum_high) + ((scale - start) - 0.5)
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    y = 2 * (sum_high + fma(scale, tail, sum_low))
    y = y if x <= EXP_HIGHEST else x * INF
    return x if abs(x) < TINY else y


@elementary(python=lambda x: (np.expm1(np.float64(x)), 0.0, _exp_scaled_python(x)))
def expm1_and_exp_scaled(x):
    """e^x - 1 in two parts, as `expm1`, and 2^64 e^x, as `exp_scaled`, for x <= 0."""
    z, high, low = _reduced(EXP_SCALED_LOWEST if x < EXP_SCALED_LOWEST else x)
    r = high - low
    scaled = _lifted_power_of_two(z)
    scale = scaled * 2.0**-64
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    start = scale - 1
    first = fma(scale, high, start)
    rest = fma(scale, tail, fma(scale, high, start - first) + ((scale - start) - 1))
    y = first + rest
    return y, (first - y) + rest, (1 + (high + tail)) * scaled


# -- hyperbolic functions ----------------------------------------------------------------------------------------
SINH_HIGHEST = ByType(89.6, 710.5)  # above overflow, yet n + 2 is still an exponent
ONE_HALF_ONLY = ByType(32.0, 64.0)  # e^-x no longer matters beside e^x
TANH_HIGHEST = ByType(18.5, 39.0)  # 2 |x| from which on tanh rounds to 1
SECH2_HIGHEST = ByType(88.75, 709.9)  # 2 |x| from which on sech^2 is below the normal range


@scalar
def _sinh_cosh_parts(x):
    """up = 2^(n-2), down = 2^(-n-2), r = high, sinh(r) - r and cosh(r) - 1, for x >= 0.

    e^x = 2^n (cosh r + sinh r) and e^-x = 2^-n (cosh r - sinh r) need the same two short polynomials.
    """
    z, high, low = _reduced(x)
    r = high - low
    square = r * r
    exponent = float_bits(z) << MANTISSA_BITS
    up = bits_float(QUARTER + exponent, x)
    down = bits_float(QUARTER - exponent, x)
    down = 0 if x > ONE_HALF_ONLY else down
    return up, down, high, fma(square * r, SINH_TAIL(square), -low), square * COSH_TAIL(square)


@elementary(python=np.sinh, cuda=math.sinh)
def sinh(x):
    """sinh x = (2^n - 2^-n)/2 cosh r + (2^n + 2^-n)/2 sinh r: no cancellation, since both terms have the sign of x."""
    a = abs(x)
    a = SINH_HIGHEST if a > SINH_HIGHEST else a
    up, down, r, sinh_tail, cosh_tail = _sinh_cosh_parts(a)
    difference = up - down
    total = up + down
    high = fma(total, r, difference)
    low = fma(total, r, difference - high) + ((up - difference) - down)
    y = 2 * (high + fma(total, sinh_tail, fma(difference, cosh_tail, low)))
    return x if a < TINY else _with_sign(y, x)


@elementary(python=np.cosh, cuda=math.cosh)
def cosh(x):
    """cosh x = (2^n + 2^-n)/2 cosh r + (2^n - 2^-n)/2 sinh r."""
    a = abs(x)
    a = SINH_HIGHEST if a > SINH_HIGHEST else a
    up, down, r, sinh_tail, cosh_tail = _sinh_cosh_parts(a)
    difference = up - down
    total = up + down
    high = fma(difference, r, total)
    low = fma(difference, r, total - high) + ((up - total) + down)
    return 2 * (high + fma(total, cosh_tail, fma(difference, sinh_tail, low)))


@scalar
def _tanh_of_size(x):
    """y, rest, w: tanh |x| = d / (2 - d) = y + rest w for d = 1 - e^(-2|x|); d, 2 - d and the quotient in two parts."""
    a = -2 * abs(x)
    z, high, low = _reduced(-TANH_HIGHEST if a < -TANH_HIGHEST else a)
    r = high - low
    tail = fma(r * r, EXP_TAIL(r), -low)
    q = high + tail  # e^r - 1
    q_low = (high - q) + tail
    scale = _power_of_two(z)
    start = 1 - scale
    d = fma(-scale, q, start)
    d_low = (fma(-scale, q, start - d) + ((1 - start) - scale)) - scale * q_low
    e = 2 - d
    e_low = ((2 - e) - d) - d_low
    w = 1 / e
    y = d * w
    return y, fma(-y, e, d) + fma(-y, e_low, d_low), w


@elementary(python=np.tanh, cuda=math.tanh)
def tanh(x):
    """tanh |x| = d / (2 - d) for d = 1 - e^(-2|x|)."""
    y, rest, w = _tanh_of_size(x)
    return _with_sign(fma(rest, w, y), x)


@elementary(python=lambda x: np.tanh(np.float64(x)) ** 2)
def tanh_squared(x):
    """tanh^2 x, with tanh x in two parts."""
    first, rest, w = _tanh_of_size(x)
    y = fma(rest, w, first)
    return fma(y, y, 2 * y * fma(rest, w, first - y))


def _sech2_python(x):
    e = np.exp(-2 * np.abs(np.float64(x)))
    return 4 * e / (1 + e) ** 2


@elementary(python=_sech2_python)
def sech2(x):
    """sech^2 x = 1 / (1/2 + cosh(2x)/2), the derivative of tanh; with the rounding errors corrected. Flushed."""
    a = 2 * abs(x)
    up, down, r, sinh_tail, cosh_tail = _sinh_cosh_parts(SECH2_HIGHEST if a > SECH2_HIGHEST else a)
    difference = up - down
    total = up + down
    high = fma(difference, r, total)
    low = fma(difference, r, total - high) + ((up - total) + down)
    low = fma(total, cosh_tail, fma(difference, sinh_tail, low))
    half_cosh = high + low
    d = half_cosh + 0.5
    d_low = ((half_cosh - d) + 0.5) + ((high - half_cosh) + low)
    w = 1 / d
    y = fma(w, fma(-w, d_low, fma(-w, d, 1)), w)
    return 0 if a > SECH2_HIGHEST else y


# -- the logistic function and its integral ----------------------------------------------------------------------
SIGMOID_LOWEST = ByType(-88.0, -709.0)
SIGMOID_HIGHEST = ByType(87.0, 708.0)  # beyond, the exponent of e^-x would leave its field
SOFTPLUS_LOWEST = ByType(-87.4, -708.4)


def _sigmoid_python(x):
    e = np.exp(-np.abs(np.float64(x)))
    return np.where(x >= 0, 1, e) / (1 + e)


@elementary(python=_sigmoid_python)
def sigmoid(x):
    """1 / (1 + e^-x), with the rounding errors of 1 + e^-x and of the division corrected. Flushed."""
    c = SIGMOID_LOWEST if x < SIGMOID_LOWEST else x
    c = SIGMOID_HIGHEST if x > SIGMOID_HIGHEST else c
    z, high, low = _reduced(-c)
    r = high - low
    q = fma(r * r, EXP_TAIL(r), r)
    scale = _power_of_two(z)
    larger = scale if x < 0 else 1
    smaller = 1 if x < 0 else scale
    d = fma(scale, q, 1 + scale)
    d_low = fma(scale, q, (larger - d) + smaller)
    w = 1 / d
    y = fma(w, fma(-w, d_low, fma(-w, d, 1)), w)
    return 0 if x < SIGMOID_LOWEST else y


# 1.37 (1 + e)^2 instead of (1 + e)^2: e is often just above a power of two where the result is just below one, and rounding
# both costs most there. Exhaustively, float32: 1.99 ULP; 2.23 without the factor.
SLOPE_FACTOR = 1.37
TANH_SLOPE_LOWEST = ByType(-89.42, -710.48)  # n = -129, -1025: the exponent field of 2^(n + 2) is 0, and it is 0
SILU_SLOPE_HIGHEST = 93.7  # e^-x is 2^-135.2, n = -135, and 2^n is 0 by `_raised_power_of_two`
SILU_SLOPE_LINE = 27.0  # in the last piece, a line that goes on
TWO_UP = ByType(2 << 23, 2 << 52)


@scalar
def _expm1_of_reduced(x):
    """q, z: e^x = 2^n (1 + q) for z = MAGIC + n."""
    z, high, low = _reduced(x)
    r = high - low
    return high + fma(r * r, EXP_TAIL(r), -low), z


@scalar
def _slope(q, scale, twice):
    """k e / (1 + e)^2 for k e = scale (1 + q) and twice = 2/k."""
    scale = SLOPE_FACTOR * scale
    e = fma(scale, q, scale)
    return e / fma(e, fma(e, 0.25 / SLOPE_FACTOR * (twice * twice), twice), SLOPE_FACTOR)


@elementary(python=lambda x: _sigmoid_python(x) * _sigmoid_python(-x))
def sigmoid_slope(x):
    """e / (1 + e)^2 for e = e^-|x|, the derivative of `sigmoid`, within 2 ULP. Flushed."""
    a = -abs(x)
    q, z = _expm1_of_reduced(EXP_TO_1_LOWEST if a < EXP_TO_1_LOWEST else a)
    return _slope(q, _power_of_two(z), 2)


@elementary(python=_sech2_python)
def tanh_slope(x):
    """4 e / (1 + e)^2 for e = e^(-2|x|): `sech2` within 2 ULP, in half the time. Flushed."""
    a = -2 * abs(x)
    q, z = _expm1_of_reduced(TANH_SLOPE_LOWEST if a < TANH_SLOPE_LOWEST else a)
    return _slope(q, bits_float(ONE + TWO_UP + (float_bits(z) << MANTISSA_BITS), x), 0.5)


@scalar
def silu_slope_float32(x):
    """e^-|x| times 16 pieces of degree 6 for x < 0, 1 minus that for x > 0. Flushed."""
    a = abs(x)
    a = SILU_SLOPE_HIGHEST if a > SILU_SLOPE_HIGHEST else a
    v = 1.75 + a
    first, rest = SILU_SLOPE_PIECES(SILU_SLOPE_LINE if v > SILU_SLOPE_LINE else v, a)
    z, high, low = _reduced(-a)
    y = _times_exp(first, rest, high, -low) * _raised_power_of_two(z)
    return y if x < 0 else 1 - y


@elementary(python=lambda x: (np.logaddexp(0, np.float64(x)), _exp_scaled_python(-abs(x))))
def softplus_and_exp_scaled(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e), flushed, and 2^64 e, for e = e^-|x|.

    |x| > 1: log(1 + e) = e + e^2 P(e), degree 7 (float32), 16 (float64). Otherwise log(1 + e^x) = log 2 + x/2 +
    log cosh(x/2), with an even polynomial of degree 8 (float32), 20 (float64) for the last term.
    """
    a = -abs(x)
    z, high, low = _reduced(EXP_SCALED_LOWEST if a < EXP_SCALED_LOWEST else a)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    lifted = _lifted_power_of_two(z)
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


LOG_COSH_HIGHEST = ByType(43.0, 354.0)  # from here on e^(-2|x|) does not count


def _log_cosh_python(x):
    x = np.float64(x)
    return np.logaddexp(x, -x) - math.log(2) if abs(x) > 0.25 else np.log1p(2 * np.sinh(x / 2) ** 2)


@elementary(python=_log_cosh_python)
def log_cosh(x):
    """log cosh x = |x| - log 2 + log(1 + e^(-2|x|)) for |x| > 1/2; an even polynomial otherwise. As `softplus`."""
    a = abs(x)
    b = -2 * (LOG_COSH_HIGHEST if a > LOG_COSH_HIGHEST else a)
    z, high, low = _reduced(b)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    scale = _power_of_two(z)
    e = scale * y
    e_low = scale * ((one - y) + tail)
    start = a - LN2_HIGH
    far, far_low = two_sum(start, e)
    far_low = far_low + fma(e * e, LOG1P_TAIL(e), fma(-e, e_low, e_low) + (((a - start) - LN2_HIGH) - LN2_LOW))
    square = x * x
    near = fma(square * square, LOG_COSH_TAIL(square), 0.5 * square)
    y = near if a <= 0.5 else far + far_low
    return y if a < INF else a


# -- logarithms --------------------------------------------------------------------------------------------------
DENORMAL_SCALE = ByType(2.0**23, 2.0**54)  # makes a denormal number normal
DENORMAL_EXPONENT = ByType(23 << 23, 54 << 52)  # the same in the exponent's place
UNIT = ByType(2.0**-23, 2.0**-52)  # what an exponent in its place has to be multiplied by


@scalar
def _split(x):
    """f and k, x = 2^k (1 + f), 2/3 <= 1 + f < 4/3, for x > 0; f is exact, k stands in the exponent's place."""
    tiny = x < SMALLEST_NORMAL
    x = x * DENORMAL_SCALE if tiny else x
    k = int_like((float_bits(x) - TWO_THIRDS) & EXPONENT, x)
    f = bits_float(float_bits(x) - k, x) - 1
    return f, int_like(k - DENORMAL_EXPONENT, x) if tiny else k


@scalar
def _log1p_parts(f):
    """s, g, half: log(1 + f) = f - half + s g, with s = f/(2 + f) and half = f^2/2, from log(1 + f) = 2 atanh s.

    The polynomial has degree 9 (float32), 17 (float64) in s.
    """
    s = f / (2 + f)
    square = s * s
    half = 0.5 * f * f
    return s, fma(square, ATANH_TAIL(square), half), half


@scalar
def _log_of_parts(f, k):
    n = UNIT * k
    high = fma(n, LN2_HIGH, f)
    low = fma(n, LN2_HIGH, -high) + f
    s, g, half = _log1p_parts(f)
    return high + (fma(s, g, -half) + fma(n, LN2_LOW, low))


@scalar
def _log_ends(y, x):
    """y, or what a logarithm is for x = inf, NaN, 0 and x < 0."""
    y = y if x < INF else x
    y = -INF if x == 0 else y
    return math.nan if x < 0 else y


@elementary(python=np.log, cuda=math.log)
def log(x):
    """log x = k ln 2 + log(1 + f), where 1 + f is between 2/3 and 4/3."""
    f, k = _split(x)
    return _log_ends(_log_of_parts(f, k), x)


@scalar
def _log2_of_parts(f, k):
    n = UNIT * k
    p = f * LOG2_E_HIGH
    p_low = fma(f, LOG2_E_HIGH, -p)
    high = n + p
    low = (n - high) + p
    s, g, half = _log1p_parts(f)
    return high + fma(s * g, LOG2_E_HIGH, fma(-half, LOG2_E_HIGH, low + fma(f, LOG2_E_LOW, p_low)))


@elementary(python=np.log2, cuda=math.log2)
def log2(x):
    """log2 x = k + log(1 + f) / ln 2, with 1/ln 2 and f/ln 2 in two parts."""
    f, k = _split(x)
    return _log_ends(_log2_of_parts(f, k), x)


@elementary(python=np.log1p, cuda=math.log1p)
def log1p(x):
    """log(1 + x) = k ln 2 + log(1 + f), 1 + f = 2^-k (1 + x) between 3/4 and 3/2.

    f comes from x by one fma, so the rounding of 1 + x plays no part; where k = 1 or -1 that fma is exact.
    """
    u = 1 + x
    k = int_like((float_bits(u) - THREE_QUARTERS) & EXPONENT, x)
    scale4 = bits_float(FOUR - k, x)  # 4 * 2^-k: 2^-k itself may be denormal
    f = 0.25 * fma(x, scale4, scale4 - 4)
    y = _log_of_parts(f, k)
    y = y if x < INF else x
    end = -INF if x == -1 else math.nan
    y = y if x > -1 else end
    return x if abs(x) < TINY else y


# -- in fewer steps, for activations: within 2 ULP ---------------------------------------------------------------
ONE_AND_A_HALF = ByType(0x3FC00000, 0x3FF8000000000000)


@elementary(python=np.expm1, cuda=math.expm1)
def short_expm1(x):
    """e^x - 1 = (2^n - 1) + 2^n (e^r - 1) for x <= 0, where it is right within 1 ULP."""
    q, z = _short_expm1_of_reduced(EXPM1_LOWEST if x < EXPM1_LOWEST else x)
    scale = _power_of_two(z)
    return fma(scale, q, scale - 1)


@elementary(python=np.tanh, cuda=math.tanh)
def short_tanh(x):
    """tanh |x| = (1 - e) / (1 + e) for e = e^(-2|x|), each with one rounding."""
    a = -2 * abs(x)
    q, z = _short_expm1_of_reduced(-TANH_HIGHEST if a < -TANH_HIGHEST else a)
    scale = _power_of_two(z)
    y = fma(-scale, q, 1 - scale) / fma(scale, q, 1 + scale)
    return _with_sign(y, x)


@elementary(python=_sigmoid_python)
def short_sigmoid(x):
    """1.5 / (1.5 + 1.5 e^-x): where 1.5 (1 + 2^n) has to be rounded, it is off by less than 1 + 2^n. Flushed."""
    c = SIGMOID_LOWEST if x < SIGMOID_LOWEST else x
    c = SIGMOID_HIGHEST if c > SIGMOID_HIGHEST else c
    q, z = _short_expm1_of_reduced(-c)
    scale = bits_float(ONE_AND_A_HALF + (float_bits(z) << MANTISSA_BITS), x)
    y = 1.5 / fma(scale, q, 1.5 + scale)
    return 0 if x < SIGMOID_LOWEST else y


SOFTPLUS_LINE = 27.0  # in the last piece, a line that goes on


@scalar
def _short_softplus_and_scaled_float32(x):
    """max(x, 0) + y and 2^64 y for y = log(1 + e^-|x|) = e^-|x| times 16 pieces of degree 5."""
    a = abs(x)
    a = -EXP_SCALED_LOWEST if a > -EXP_SCALED_LOWEST else a
    v = 1.75 + a
    first, rest = SOFTPLUS_PIECES(SOFTPLUS_LINE if v > SOFTPLUS_LINE else v, a)
    z, high, low = _reduced(-a)
    y = _times_exp(first, rest, high, -low)
    lifted = _lifted_power_of_two(z)
    return fma(y, lifted * 2.0**-64, 0 if x < 0 else x), y * lifted


_SHORT_SOFTPLUS = ByType(_short_softplus_and_scaled_float32, softplus_and_exp_scaled)


@elementary(python=softplus_and_exp_scaled, cuda=softplus_and_exp_scaled.body)
def short_softplus_and_scaled(x):
    """log(1 + e^x), flushed, and for x < -50 2^64 e^x: float32 within 2 ULP by pieces, float64 `softplus_and_exp_scaled`."""
    return _SHORT_SOFTPLUS(x)


@scalar
def short_log_sigmoid(x):
    return -short_softplus_and_scaled(-x)[0]


# -- powers and roots --------------------------------------------------------------------------------------------


@elementary(python=np.sqrt, cuda=math.sqrt)
def sqrt(x):
    """The square root: one instruction, rounded correctly."""
    return math.sqrt(x)


@elementary(python=lambda x: 1 / np.sqrt(np.float64(x)))
def rsqrt(x):
    """1 / sqrt(x), corrected by one step of Newton's method."""
    w = 1 / math.sqrt(x)
    y = fma(0.5 * w, fma(-(x * w), w, 1), w)
    return y if y == y else w  # the correction is NaN for 0 and inf


@scalar
def _log2_in_two_parts(f, k):
    """log2(2^k (1 + f)) as a sum, to 11 bits more than the type has."""
    n = UNIT * k
    d = 2 + f
    w = 1 / d
    s = f * w
    s_low = w * fma(-s, (2 - d) + f, fma(-s, d, f))
    square = s * s
    square_low = fma(s, s, -square) + 2 * s * s_low
    line = fma(square, POW_TAIL_REST(square), POW_TAIL_SECOND)
    p = fma(square, line, POW_TAIL_FIRST)  # log(1 + f) = s (2 + s^2 p)
    p_low = fma(square, line, POW_TAIL_FIRST - p) + fma(square_low, line, POW_TAIL_FIRST_LOW)
    t = square * p
    t_low = fma(square, p, -t) + fma(square, p_low, square_low * p)
    q = 2 + t
    q_low = ((2 - q) + t) + t_low
    natural = s * q
    natural_low = fma(s, q, -natural) + fma(s, q_low, s_low * q)
    g = natural * LOG2_E_HIGH
    g_low = fma(natural, LOG2_E_HIGH, -g) + fma(natural, LOG2_E_LOW, natural_low * LOG2_E_HIGH)
    high = n + g
    low = ((n - high) + g) + g_low
    y = high + low
    return y, (high - y) + low


INTEGERS_FROM = ByType(2.0**23, 2.0**52)  # every number from here on is an integer


@elementary(python=np.power)
def pow(x, y):
    """x^y = 2^(y log2 |x|) with a sum of two floats for the logarithm and its product with y; C99's special cases."""
    a = abs(x)
    f, k = _split(a)
    log_high, log_low = _log2_in_two_parts(f, k)
    log_high = -INF if a == 0 else log_high
    log_high = log_high if a < INF else a
    p = y * log_high
    p_low = fma(y, log_high, -p) + y * log_low
    p_low = p_low if abs(p) < -EXP2_LOWEST else 0
    c = EXP2_LOWEST if p < EXP2_LOWEST else p
    z = c + MAGIC
    e = c - (z - MAGIC)
    r = e + p_low
    tail = fma(r * r, EXP2_TAIL(r), fma(r, LN2_LOW, ((e - r) + p_low) * LN2_HIGH))
    power = _scaled(1 + fma(r, LN2_HIGH, tail), z, p)
    overflow = p > EXP2_HIGHEST or (p == EXP2_HIGHEST and p_low >= 0)
    power = INF if overflow else power
    power = power if p == p else p

    b = abs(y)
    half = 0.5 * b
    integer = b >= INTEGERS_FROM or (b + INTEGERS_FROM) - INTEGERS_FROM == b
    odd = integer and b < 2 * INTEGERS_FROM and (half + INTEGERS_FROM) - INTEGERS_FROM != half
    power = bits_float(float_bits(power) ^ (float_bits(x) & SIGN), x) if odd else power
    power = math.nan if x < 0 and a < INF and not integer else power
    one = x == 1 or y == 0 or (a == 1 and b == INF)
    return 1 if one else power


# -- the error function and the normal distribution --------------------------------------------------------------
ERFC_HIGHEST = ByType(9.2, 26.6)  # above, erfc is below the normal range
CDF_HIGHEST = ByType(13.0, 37.6)
X_CDF_HIGHEST = ByType(13.2, 37.64)
X_CDF_PIECES_HIGHEST = 13.26  # of float32 alone: e^(-x^2/2) is 2^-126.8, n = -127, and 2^n is 0 by `_power_of_two`
GELU_SLOPE_HIGHEST = 13.7  # 2^-135.4, n = -135, and 2^n is 0 by `_raised_power_of_two`
GELU_TANH_HIGHEST = 10.27  # e^-2u is 2^-135.1, n = -135, and 2^n is 0 by `_raised_power_of_two`
GELU_TANH_PLACE = 1.4375  # 16 pieces reach from 0 to 15/1.4375 so
X_CDF_DERIVATIVE_HIGHEST = ByType(13.35, 37.73)
GAUSSIAN_HIGHEST = ByType(9.36, 26.63)
X_GAUSSIAN_HIGHEST = ByType(9.6, 26.71)
PDF_HIGHEST = ByType(13.18, 37.62)
ERF_HIGHEST = ByType(3.93, 5.93)  # above, erf rounds to 1


@scalar
def _ratio(a, centre):
    """For a >= 0: w and residual, 1/(a + centre) = w (1 + residual), and t + t_low = (a - centre)/(a + centre)."""
    d = a + centre
    larger = a if a > centre else centre
    smaller = centre if a > centre else a
    w = 1 / d
    residual = fma(-w, (larger - d) + smaller, fma(-w, d, 1))
    t = fma(-2 * centre, w, 1)
    return w, residual, t, fma(-2 * centre, w, 1 - t) - 2 * centre * w * residual


@scalar
def _over_sum(first, first_low, second, rest, slope, w, residual, t, t_low):
    """H(t) / (a + centre) in two parts, with w, residual and t from `_ratio`.

    H(t) = first + second t + rest t^2; *slope* is H'(t), to two digits. 1/(a + centre), t, and H have two parts each.
    """
    line = fma(t, rest, second)
    line_low = fma(t, rest, second - line)
    h = fma(t, line, first)
    h_low = fma(t, line, first - h) + fma(t, line_low, first_low)
    h_low = fma(slope, t_low, fma(h, residual, h_low))
    g = w * h
    return g, fma(w, h, -g) + w * h_low


@scalar
def _times_exp_of_minus(g, g_low, square, square_low):
    """y, z: (g + g_low) e^-(square + square_low) = 2^n y for z = MAGIC + n."""
    z, high, low = _reduced(-square)
    low = low + square_low
    r = high - low
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    p = g * high
    y = g + p
    y_low = ((g - y) + p) + fma(g, high, -p)
    return y + (y_low + fma(g, tail, fma(g_low, r, g_low))), z


@scalar
def _times_exp_of_minus_half_square(first, rest, a):
    """`_short_times_exp_of_minus` a^2/2."""
    half = 0.5 * a
    square = half * a
    return _short_times_exp_of_minus(first, rest, square, fma(half, a, -square))


@scalar
def _short_times_exp_of_minus(first, rest, v, v_low):
    """y, z: (first + rest) e^-(v + v_low) = 2^n y for z = MAGIC + n, as `_times_exp`; high + low is -r: fewer steps."""
    z = fma(v, -LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    high = fma(n, LN2_HIGH, v)
    low = fma(n, LN2_LOW, v_low)
    r = high + low
    total = first + rest
    return first - fma(total, high, fma(total, fma(-(r * r), EXPM1_OF_MINUS_TAIL(r), low), -rest)), z


@elementary(python=lambda x: math.erfc(x), cuda=math.erfc)
def erfc(x):
    """erfc x = e^(-x^2) H(t) / (x + 2), t = (x - 2)/(x + 2), for x >= 0; 2 - erfc(-x) below. Flushed.

    H is a polynomial of degree 11 (float32), 26 (float64).
    """
    a = abs(x)
    a = ERFC_HIGHEST if a > ERFC_HIGHEST else a
    w, residual, t, t_low = _ratio(a, 2)
    square = a * a
    square_low = fma(a, a, -square)
    g, g_low = _over_sum(
        ERFC_RATIO_FIRST,
        ERFC_RATIO_FIRST_LOW,
        ERFC_RATIO_SECOND,
        ERFC_RATIO_REST(t),
        ERFC_SLOPE(t),
        w,
        residual,
        t,
        t_low,
    )
    y, z = _times_exp_of_minus(g, g_low, square, square_low)
    y = 0 if a >= ERFC_HIGHEST else y * _power_of_two(z)
    return 2 - y if x < 0 else y


@scalar
def _erfc_float32(a):
    return ERFC_FROM_1(a - 2.25)


@scalar
def _erfc_float64(a):
    middle = ERFC_FROM_1(a - 1.5)
    far = ERFC_FROM_2(a - 3.75)
    return middle if a < 2 else far


_ERFC_BEYOND_1 = ByType(_erfc_float32, _erfc_float64)


@elementary(python=lambda x: math.erf(x), cuda=math.erf)
def erf(x):
    """erf x = x + x P(x^2) for |x| <= 1, degree 6 (float32), 11 (float64); else 1 minus a polynomial for erfc |x|:

    of degree 14 in float32, of degree 17 for |x| <= 2 and 29 beyond in float64.
    """
    a = abs(x)
    square = x * x
    near = fma(a, ERF_RATIO(square), a)
    far = 1 - _ERFC_BEYOND_1(a)
    y = near if a < 1 else far
    y = 1 if a > ERF_HIGHEST else y
    return _with_sign(y, x)


def _normal_cdf_python(x):
    """erfc(u)/2 for u = -x/sqrt(2), corrected for the rounding of u: without it, off by x^2 ULP."""
    u = float(-x) * math.sqrt(0.5)
    y = 0.5 * math.erfc(u)
    if not 0 < y < 1:
        return y
    error = float(Fraction(float(x)) ** 2 / 2 - Fraction(u) ** 2) / (2 * u) if u else 0.0
    return y - math.exp(-u * u) / math.sqrt(math.pi) * error


@scalar
def _mills_ratio(a):
    """e^(a^2/2) Phi(-a) in two parts."""
    w, residual, t, t_low = _ratio(a, 4)
    return _over_sum(
        CDF_RATIO_FIRST, CDF_RATIO_FIRST_LOW, CDF_RATIO_SECOND, CDF_RATIO_REST(t), CDF_SLOPE(t), w, residual, t, t_low
    )


@scalar
def _normal_tail(a):
    """y, z: Phi(-a) = 2^n y for z = MAGIC + n, 0 <= a <= CDF_HIGHEST."""
    g, g_low = _mills_ratio(a)
    half = 0.5 * a
    square = half * a
    return _times_exp_of_minus(g, g_low, square, fma(half, a, -square))


@elementary(python=_normal_cdf_python)
def normal_cdf(x):
    """Phi(x) = erfc(-x / sqrt 2)/2, accurate in the negative tail; as `erfc`, with e^(-x^2/2) and its own H. Flushed.

    The degree of H is 11 (float32), 23 (float64).
    """
    a = abs(x)
    a = CDF_HIGHEST if a > CDF_HIGHEST else a
    y, z = _normal_tail(a)
    y = 0 if a >= CDF_HIGHEST else y * _power_of_two(z)
    return 1 - y if x > 0 else y


@scalar
def _x_normal_cdf_float32(x):
    a = abs(x)
    a = X_CDF_PIECES_HIGHEST if a > X_CDF_PIECES_HIGHEST else a
    first, rest = MILLS_PIECES(1 + a, a)
    y, z = _times_exp_of_minus_half_square(first, rest, a)
    return fma(-y, a * _power_of_two(z), 0 if x < 0 else x)


@scalar
def _x_normal_cdf_float64(x):
    a = abs(x)
    a = X_CDF_HIGHEST if a > X_CDF_HIGHEST else a
    y, z = _normal_tail(a)
    y = 0 if a >= X_CDF_HIGHEST else a * y * _power_of_two(z)
    return x - y if x > 0 else -y if x < 0 else x


_X_NORMAL_CDF = ByType(_x_normal_cdf_float32, _x_normal_cdf_float64)


@elementary(
    python=lambda x: x * _normal_cdf_python(x) if abs(x) < INF else np.float64(max(x, 0)), cuda=_x_normal_cdf_float64
)
def x_normal_cdf(x):
    """x Phi(x), right where Phi(x) is below the normal range. Flushed.

    float32: max(x, 0) - |x| e^(-x^2/2) g(|x|), with Mills' ratio g in 16 pieces of degree 6; within 2 ULP.
    float64, and CUDA: as `normal_cdf`, with one more rounding.
    """
    return _X_NORMAL_CDF(x)


def _x_normal_cdf_derivative_python(x):
    return _normal_cdf_python(x) + (x * _normal_pdf_python(x) if abs(x) < INF else 0.0)


@scalar
def _x_normal_cdf_derivative_float32(x):
    a = abs(x)
    a = GELU_SLOPE_HIGHEST if a > GELU_SLOPE_HIGHEST else a
    first, rest = GELU_SLOPE_PIECES(1 + a, a)
    y, z = _times_exp_of_minus_half_square(first, rest, a)
    y = y * _raised_power_of_two(z)
    return y if x < 0 else 1 - y


@scalar
def _x_normal_cdf_derivative_float64(x):
    """e^(-x^2/2) (Mills' ratio - |x|/sqrt(2 pi)) for x < 0, with that difference in two parts."""
    a = abs(x)
    a = X_CDF_DERIVATIVE_HIGHEST if a > X_CDF_DERIVATIVE_HIGHEST else a
    g, g_low = _mills_ratio(a)
    p = a * ROOT_2_PI_HIGH
    p_low = fma(a, ROOT_2_PI_HIGH, -p) + a * ROOT_2_PI_LOW
    d, d_low = two_sum(g, -p)
    half = 0.5 * a
    square = half * a
    y, z = _times_exp_of_minus(d, d_low + (g_low - p_low), square, fma(half, a, -square))
    y = y * _lifted_power_of_two(z) * 2.0**-64
    y = 0 if a >= X_CDF_DERIVATIVE_HIGHEST else y
    return 1 - y if x > 0 else y


_X_NORMAL_CDF_DERIVATIVE = ByType(_x_normal_cdf_derivative_float32, _x_normal_cdf_derivative_float64)


@elementary(python=_x_normal_cdf_derivative_python, cuda=_x_normal_cdf_derivative_float64)
def x_normal_cdf_derivative(x):
    """Phi(x) + x phi(x). Flushed. float32: e^(-x^2/2) times 16 pieces of degree 5, for x < 0; 1 minus that for x > 0."""
    return _X_NORMAL_CDF_DERIVATIVE(x)


@scalar
def _gelu_tanh_exponent(a):
    """2u = a (line + cube a^2) in two parts; the line's first part is a coarse number, so that line - q is exact."""
    s = a * a
    q = fma(GELU_CUBE_HIGH, s, GELU_LINE_HIGH)
    rest = fma(GELU_CUBE_HIGH, fma(a, a, -s), fma(GELU_CUBE_LOW, s, GELU_LINE_LOW))
    rest = fma(GELU_CUBE_HIGH, s, GELU_LINE_HIGH - q) + rest
    v = a * q
    return v, fma(a, rest, fma(a, q, -v))


@scalar
def gelu_tanh_float32(x):
    """max(x, 0) - |x| e^-2u times 1 / (1 + e^-2u) in 16 pieces of degree 6, u of |x|; within 2 ULP. Flushed."""
    a = abs(x)
    a = GELU_TANH_HIGHEST if a > GELU_TANH_HIGHEST else a
    first, rest = GELU_TANH_PIECES(fma(GELU_TANH_PLACE, a, 1), a)
    v, v_low = _gelu_tanh_exponent(a)
    y, z = _short_times_exp_of_minus(first, rest, v, v_low)
    return fma(-y, a * _raised_power_of_two(z), 0 if x < 0 else x)


@scalar
def gelu_tanh_slope_float32(x):
    """e^-2u times 16 pieces of degree 6 for x < 0, u of |x|; 1 minus that for x > 0. Flushed."""
    a = abs(x)
    a = GELU_TANH_HIGHEST if a > GELU_TANH_HIGHEST else a
    first, rest = GELU_TANH_SLOPE_PIECES(fma(GELU_TANH_PLACE, a, 1), a)
    v, v_low = _gelu_tanh_exponent(a)
    y, z = _short_times_exp_of_minus(first, rest, v, v_low)
    y = y * _raised_power_of_two(z)
    return y if x < 0 else 1 - y


@scalar
def _exp_of_minus(square, square_low):
    """e^r - 1 in two parts, and z: e^-(square + square_low) = 2^n e^r for z = MAGIC + n."""
    z, high, low = _reduced(-square)
    low = low + square_low
    r = high - low
    return high, fma(r * r, EXPM1_TAIL(r), -low), z


def _gaussian_python(x, factor=1.0):
    """e^(-factor x^2), corrected for the rounding of the exponent."""
    x = float(x)
    square = factor * x * x
    error = float(Fraction(factor) * Fraction(x) ** 2 - Fraction(square)) if square < INF else 0.0
    return np.exp(-square) * (1 - error)


@elementary(python=_gaussian_python)
def gaussian(x):
    """e^(-x^2), with x^2 in two parts. Flushed."""
    a = abs(x)
    a = GAUSSIAN_HIGHEST if a > GAUSSIAN_HIGHEST else a
    square = a * a
    high, low, z = _exp_of_minus(square, fma(a, a, -square))
    y = (1 + (high + low)) * _power_of_two(z)
    return 0 if a >= GAUSSIAN_HIGHEST else y


@elementary(python=lambda x: x * _gaussian_python(x) if abs(x) < INF else 0 * (1 / x))
def x_gaussian(x):
    """x e^(-x^2), right where e^(-x^2) is below the normal range. As `gaussian`; flushed."""
    a = abs(x)
    a = X_GAUSSIAN_HIGHEST if a > X_GAUSSIAN_HIGHEST else a
    square = a * a
    high, low, z = _exp_of_minus(square, fma(a, a, -square))
    y = fma(a, high + low, a) * _lifted_power_of_two(z) * 2.0**-64
    return _with_sign(0 if a >= X_GAUSSIAN_HIGHEST else y, x)


def _normal_pdf_python(x):
    return _gaussian_python(x, 0.5) / math.sqrt(2 * math.pi)


@elementary(python=_normal_pdf_python)
def normal_pdf(x):
    """phi(x) = e^(-x^2/2) / sqrt(2 pi), the derivative of `normal_cdf`, with x^2/2 and the factor in two parts. Flushed."""
    a = abs(x)
    a = PDF_HIGHEST if a > PDF_HIGHEST else a
    half = 0.5 * a
    square = half * a
    high, low, z = _exp_of_minus(square, fma(half, a, -square))
    y = (ROOT_2_PI_HIGH + fma(ROOT_2_PI_HIGH, high, fma(ROOT_2_PI_HIGH, low, ROOT_2_PI_LOW))) * _power_of_two(z)
    return 0 if a >= PDF_HIGHEST else y


# -- trigonometric functions -------------------------------------------------------------------------------------
HALF_TURN_TO_SIGN = ByType(30, 62)  # shifts bit 1 of n to the sign


@elementary(python=np.arctan, cuda=math.atan)
def atan(x):
    """atan x = x + x^3 P(x^2) for |x| <= 1, else pi/2 + atan(-1/x), where the error of -1/x is corrected.

    The degrees are 19 (float32) and 43 (float64).
    """
    a = abs(x)
    w = -1 / a
    outer = a > 1
    u = w if outer else a
    square = u * u
    start = HALF_PI_HIGH if outer else 0
    start_low = HALF_PI_LOW if outer else 0
    u_low = w * fma(w, a, 1) if outer and a < INF else 0
    high = start + u
    low = ((start - high) + u) + fma(u_low, fma(-0.5, square, 1), start_low)  # d/du atan u = 1/(1 + u^2)
    cube = square * u
    p = ATAN_TAIL(square)
    y = high + fma(cube, p, fma(fma(square, u, -cube), p, low))
    return _with_sign(y, x)


@scalar
def _sin_of_parts(r, r_low):
    square = r * r
    return r + fma(square * r, SIN_TAIL(square), r_low)


@scalar
def _cos_of_parts(r, r_low):
    square = r * r
    half = 0.5 * square
    high = 1 - half
    return high + (((1 - high) - half) + fma(square * square, COS_TAIL(square), -r * r_low))


@scalar
def _turned(z, r, r_low, x):
    """sin(n pi/2 + r + r_low) for z = MAGIC + n."""
    y = _cos_of_parts(r, r_low) if float_bits(z) & 1 != 0 else _sin_of_parts(r, r_low)
    return bits_float(float_bits(y) ^ ((float_bits(z) << HALF_TURN_TO_SIGN) & SIGN), x)


@scalar
def quadrant(x):
    """z, r, r_low: x = n pi/2 + r + r_low, |r| <= pi/4 and z = MAGIC + n.

    Beyond 2^17 from a table (`quadrant.py`). LLVM computes both ways for a whole vector, so kernels take a block of
    elements whose angles are all small the near way only (`numbadl.kernels.shapes.Map.angle`): five times as fast.
    """
    if abs(x) <= NEAR:
        z, r, r_low = near_quadrant(x)
    else:
        z, r, r_low = far_quadrant(x)
    return z, r, r_low


@elementary(python=np.sin)
def sin(x):
    """sin x = +-sin r or +-cos r, r = x - n pi/2 with two parts: degree 7 and 8 (float32), 13 and 14 (float64)."""
    z, r, r_low = quadrant(x)
    y = _turned(z, r, r_low, x)
    return x if abs(x) < TINY else y


@elementary(python=np.cos)
def cos(x):
    """cos x, as `sin` one quarter turn further."""
    z, r, r_low = quadrant(x)
    return _turned(z + 1, r, r_low, x)


def near(fn):
    """*fn*, for angles up to 2^17 only."""
    return specialised(fn, quadrant, near_quadrant)


@scalar
def _near_angle(x, x_low):
    """z, r, r_low of `near_quadrant` for the angle x + x_low."""
    z, r, r_low = quadrant(x)
    y = r + x_low
    return z, y, ((r - y) + x_low) + r_low


@scalar
def _sin_tail(r, r_low):
    """sin(r + r_low) - r."""
    square = r * r
    return fma(square * r, SIN_TAIL(square), r_low)


@scalar
def _versine(r, r_low):
    """1 - cos(r + r_low), in two parts."""
    square = r * r
    return 0.5 * square, 0.5 * fma(r, r, -square) + fma(-square * square, COS_TAIL(square), r * r_low)


@scalar
def _sin_in_two_parts(r, r_low):
    tail = _sin_tail(r, r_low)
    y = r + tail
    return y, (r - y) + tail


@scalar
def _cos_in_two_parts(r, r_low):
    half, half_low = _versine(r, r_low)
    first = 1 - half
    rest = ((1 - first) - half) - half_low
    y = first + rest
    return y, (first - y) + rest


@elementary(python=lambda x: (np.sin(x), 0.0, np.cos(x), 0.0))
def sin_and_cos(x):
    """sin x and cos x, in two parts each."""
    z, r, r_low = quadrant(x)
    s, s_low = _sin_in_two_parts(r, r_low)
    c, c_low = _cos_in_two_parts(r, r_low)
    quarter_on = z + 1
    odd = float_bits(z) & 1 != 0
    sign = bits_float(ONE | ((float_bits(z) << HALF_TURN_TO_SIGN) & SIGN), x)
    cos_sign = bits_float(ONE | ((float_bits(quarter_on) << HALF_TURN_TO_SIGN) & SIGN), x)
    return (
        sign * (c if odd else s), sign * (c_low if odd else s_low),
        cos_sign * (s if odd else c), cos_sign * (s_low if odd else c_low),
    )  # fmt: skip


def _sin_squared_python(x, x_low):
    y = np.sin(np.float64(x)) + x_low * np.cos(np.float64(x))
    return y * y, 0.0


@elementary(python=_sin_squared_python)
def sin_squared(x, x_low):
    """sin^2(x + x_low) in two parts, for a small x_low."""
    z, r, r_low = _near_angle(x, x_low)
    odd = float_bits(z) & 1 != 0
    s, s_low = _sin_in_two_parts(r, r_low)
    c, c_low = _cos_in_two_parts(r, r_low)
    y = c if odd else s
    square = y * y
    return square, fma(y, y, -square) + 2 * y * (c_low if odd else s_low)


@elementary(python=lambda x, x_low: 1 + np.sin(np.float64(x)) + x_low * np.cos(np.float64(x)))
def one_plus_sin(x, x_low):
    """1 + sin(x + x_low) for a small x_low, right to the last digits where it touches 0: 1 - cos r there."""
    z, r, r_low = _near_angle(x, x_low)
    odd = float_bits(z) & 1 != 0
    sign = bits_float(ONE | ((float_bits(z) << HALF_TURN_TO_SIGN) & SIGN), x)
    half, half_low = _versine(r, r_low)
    high = 1 + sign * r
    even_y = high + (((1 - high) + sign * r) + sign * _sin_tail(r, r_low))
    zero_y = half + half_low
    two_y = (2 - half) - half_low
    odd_y = two_y if sign > 0 else zero_y
    return odd_y if odd else even_y


FUNCTIONS = {
    f.__name__: f
    for f in [
        exp, exp2, expm1, sinh, cosh, tanh, sech2, sigmoid, softplus, log_sigmoid, log, log2, log1p,
        sqrt, rsqrt, pow, erf, erfc, normal_cdf, normal_pdf, gaussian, atan, sin, cos,
    ]
}  # fmt: skip
