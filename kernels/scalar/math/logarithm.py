"""log, log2 and log(1 + x): the exponent's part and a polynomial of the mantissa's."""

import math

import numpy as np

from ..coefficients import ATANH_TAIL, LN2_HIGH, LN2_LOW, LOG2_E_HIGH, LOG2_E_LOW
from ..intrinsics import bits_float, float_bits, fma, int_like
from ..language import ByType, elementary, scalar
from .floats import EXPONENT, FOUR, INF, SMALLEST_NORMAL, THREE_QUARTERS, TINY, TWO_THIRDS

DENORMAL_SCALE = ByType(2.0**23, 2.0**54)  # makes a denormal number normal
DENORMAL_EXPONENT = ByType(23 << 23, 54 << 52)  # the same in the exponent's place
UNIT = ByType(2.0**-23, 2.0**-52)  # what an exponent in its place has to be multiplied by


@scalar
def split(x):
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
    f, k = split(x)
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
    f, k = split(x)
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
