"""sinh, cosh and tanh; sech^2, the derivative of tanh, and log cosh, whose derivative tanh is."""

import math

import numpy as np

from ..coefficients import COSH_TAIL, EXP_TAIL, EXPM1_TAIL, LN2_HIGH, LN2_LOW, LOG1P_TAIL, LOG_COSH_TAIL, SINH_TAIL
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, elementary, scalar
from .exponential import expm1_of_reduced, reduced, short_expm1_of_reduced
from .floats import INF, MANTISSA_BITS, ONE, QUARTER, TINY, power_of_two, two_sum, with_sign
from .logistic import slope_of_exp

SINH_HIGHEST = ByType(89.6, 710.5)  # above overflow, yet n + 2 is still an exponent
ONE_HALF_ONLY = ByType(32.0, 64.0)  # e^-x no longer matters beside e^x
TANH_HIGHEST = ByType(18.5, 39.0)  # 2 |x| from which on tanh rounds to 1
SECH2_HIGHEST = ByType(88.75, 709.9)  # 2 |x| from which on sech^2 is below the normal range
TANH_SLOPE_LOWEST = ByType(-89.42, -710.48)  # n = -129, -1025: the exponent field of 2^(n + 2) is 0, and it is 0
TWO_UP = ByType(2 << 23, 2 << 52)
LOG_COSH_HIGHEST = ByType(43.0, 354.0)  # from here on e^(-2|x|) does not count


@scalar
def _sinh_cosh_parts(x):
    """up = 2^(n-2), down = 2^(-n-2), r = high, sinh(r) - r and cosh(r) - 1, for x >= 0.

    e^x = 2^n (cosh r + sinh r) and e^-x = 2^-n (cosh r - sinh r) need the same two short polynomials.
    """
    z, high, low = reduced(x)
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
    return x if a < TINY else with_sign(y, x)


@scalar
def _half_cosh(x):
    """high, low: cosh(x)/2 = high + low, for x >= 0; (2^n + 2^-n)/4 cosh r + (2^n - 2^-n)/4 sinh r."""
    up, down, r, sinh_tail, cosh_tail = _sinh_cosh_parts(x)
    difference = up - down
    total = up + down
    high = fma(difference, r, total)
    low = fma(difference, r, total - high) + ((up - total) + down)
    return high, fma(total, cosh_tail, fma(difference, sinh_tail, low))


@elementary(python=np.cosh, cuda=math.cosh)
def cosh(x):
    """cosh x, twice its half, which does not overflow before it does."""
    a = abs(x)
    high, low = _half_cosh(SINH_HIGHEST if a > SINH_HIGHEST else a)
    return 2 * (high + low)


@scalar
def _tanh_of_size(x):
    """y, rest, w: tanh |x| = d / (2 - d) = y + rest w for d = 1 - e^(-2|x|); d, 2 - d and the quotient in two parts."""
    a = -2 * abs(x)
    z, high, low = reduced(-TANH_HIGHEST if a < -TANH_HIGHEST else a)
    r = high - low
    tail = fma(r * r, EXP_TAIL(r), -low)
    q = high + tail  # e^r - 1
    q_low = (high - q) + tail
    scale = power_of_two(z)
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
    return with_sign(fma(rest, w, y), x)


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
    high, low = _half_cosh(SECH2_HIGHEST if a > SECH2_HIGHEST else a)
    half_cosh = high + low
    d = half_cosh + 0.5
    d_low = ((half_cosh - d) + 0.5) + ((high - half_cosh) + low)
    w = 1 / d
    y = fma(w, fma(-w, d_low, fma(-w, d, 1)), w)
    return 0 if a > SECH2_HIGHEST else y


@elementary(python=np.tanh, cuda=math.tanh)
def short_tanh(x):
    """tanh |x| = (1 - e) / (1 + e) for e = e^(-2|x|), each with one rounding."""
    a = -2 * abs(x)
    q, z = short_expm1_of_reduced(-TANH_HIGHEST if a < -TANH_HIGHEST else a)
    scale = power_of_two(z)
    y = fma(-scale, q, 1 - scale) / fma(scale, q, 1 + scale)
    return with_sign(y, x)


@elementary(python=_sech2_python)
def tanh_slope(x):
    """4 e / (1 + e)^2 for e = e^(-2|x|): `sech2` within 2 ULP, in half the time. Flushed."""
    a = -2 * abs(x)
    q, z = expm1_of_reduced(TANH_SLOPE_LOWEST if a < TANH_SLOPE_LOWEST else a)
    return slope_of_exp(q, bits_float(ONE + TWO_UP + (float_bits(z) << MANTISSA_BITS), x), 0.5)


def _log_cosh_python(x):
    x = np.float64(x)
    return np.logaddexp(x, -x) - math.log(2) if abs(x) > 0.25 else np.log1p(2 * np.sinh(x / 2) ** 2)


@elementary(python=_log_cosh_python)
def log_cosh(x):
    """log cosh x = |x| - log 2 + log(1 + e^(-2|x|)) for |x| > 1/2; an even polynomial otherwise. As `softplus`."""
    a = abs(x)
    b = -2 * (LOG_COSH_HIGHEST if a > LOG_COSH_HIGHEST else a)
    z, high, low = reduced(b)
    r = high - low
    one = 1 + high
    tail = ((1 - one) + high) + fma(r * r, EXPM1_TAIL(r), -low)
    y = one + tail
    scale = power_of_two(z)
    e = scale * y
    e_low = scale * ((one - y) + tail)
    start = a - LN2_HIGH
    far, far_low = two_sum(start, e)
    far_low = far_low + fma(e * e, LOG1P_TAIL(e), fma(-e, e_low, e_low) + (((a - start) - LN2_HIGH) - LN2_LOW))
    square = x * x
    near = fma(square * square, LOG_COSH_TAIL(square), 0.5 * square)
    y = near if a <= 0.5 else far + far_low
    return y if a < INF else a
