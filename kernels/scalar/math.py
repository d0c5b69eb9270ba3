"""Elementary functions for one float32 or float64 number, that LLVM vectorises: no branch, no table, no call.

Every function is a range reduction, a polynomial in fused multiply-adds and a reconstruction; the ends of the range
(0, -0, inf, -inf, NaN, overflow, underflow) come out by selects. Results below the normal range become 0 or lose
digits: they are off by less than the smallest normal number. In plain Python NumPy computes, on CUDA libdevice.
"""

import math

import numpy as np

from .intrinsics import bits_float, float_bits, fma
from .language import ByType, Polynomial, elementary, scalar

INF = math.inf
MANTISSA_BITS = ByType(23, 52)
MAGIC = ByType(1.5 * 2**23, 1.5 * 2**52)  # adding it rounds to an integer, which the low bits of the sum then hold
SIGN_BIT = ByType(-(2**31), -(2**63))
SMALLEST_NORMAL = ByType(2.0**-126, 2.0**-1022)

LOG2_E = 1 / math.log(2)
LN2_HIGH = ByType(0.6931471824645996, 0.6931471805599453)  # ln 2 rounded to float32, float64
LN2_LOW = ByType(-1.904654299957768e-09, 2.3190468138462996e-17)  # the rest of ln 2


@scalar
def _copysign(size, sign):
    return bits_float(float_bits(size) ^ (float_bits(sign) & SIGN_BIT), sign)


# -- exponentials --------------------------------------------------------------------------------------------

EXP_TAIL = Polynomial(  # (e^r - 1 - r) / r^2 for |r| <= ln(2)/2
    float32=(0.5, 0.1666666567325592, 0.04166649281978607, 0.008333544246852398, 0.0013932340079918504,
             0.00019763433374464512),
    float64=(0.5, 0.16666666666666677, 0.041666666666666685, 0.00833333333332179, 0.0013888888888893701,
             0.00019841269885373052, 2.480158727898559e-05, 2.7557245103896884e-06, 2.755732946091205e-07,
             2.5108709591758747e-08, 2.089396798461134e-09),
)  # fmt: skip
EXP_HIGH = ByType(88.72283935546875, 709.782712893384)  # the largest x with finite e^x
EXP_LOW = ByType(-87.33654022216797, -708.3964185322641)  # the smallest x with normal e^x
EXPM1_LOW = ByType(-18.0, -38.0)  # below, e^x - 1 rounds to -1


@elementary(python=np.exp, cuda=math.exp)
def exp(x):
    z = fma(x, LOG2_E, MAGIC)
    n = z - MAGIC
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    y = 1 + fma(r * r, EXP_TAIL(r), r)
    y = bits_float(float_bits(y) + (float_bits(z) << MANTISSA_BITS), x)
    y = 0 if x < EXP_LOW else y
    return y if x <= EXP_HIGH else x * INF


@elementary(python=np.expm1, cuda=math.expm1)
def expm1(x):
    c = EXPM1_LOW if x < EXPM1_LOW else x
    z = fma(c, LOG2_E, MAGIC)
    n = z - MAGIC
    r1 = fma(n, -LN2_HIGH, c)
    r = fma(n, -LN2_LOW, r1)
    r_low = fma(n, -LN2_LOW, r1 - r)
    half = bits_float(HALF_BITS + (float_bits(z) << MANTISSA_BITS), x)  # 2^(n-1)
    high = fma(half, r, half - 0.5)
    low = fma(half, r, (half - 0.5) - high)
    y = 2 * (high + fma(half, fma(r * r, EXP_TAIL(r), r_low), low))
    y = x if abs(x) < SMALLEST_NORMAL else y
    return y if x <= EXP_HIGH else x * INF


def _sigmoid_python(x):
    e = np.exp(-np.abs(np.float64(x)))
    return np.where(x >= 0, 1, e) / (1 + e) if x == x else x


@scalar
def _sigmoid(x):
    e = exp(-abs(x))
    numerator = e if x < 0 else 1
    return numerator / (1 + e)


@elementary(python=_sigmoid_python, cuda=_sigmoid)
def sigmoid(x):
    e = exp(-abs(x))
    numerator = e if x < 0 else 1
    return numerator / (1 + e)


def _sech2_python(x):
    e = np.exp(-2 * np.abs(np.float64(x)))
    return 4 * e / (1 + e) ** 2


@scalar
def _sech2(x):
    e = exp(-abs(x))
    d = 1 + e * e
    return 4 * (e / d) * (e / d)


@elementary(python=_sech2_python, cuda=_sech2)
def sech2(x):
    e = exp(-abs(x))
    d = 1 + e * e
    return 4 * (e / d) * (e / d)


@elementary(python=np.tanh, cuda=math.tanh)
def tanh(x):
    t = expm1(-2 * abs(x))
    return _copysign(-t / (2 + t), x) if abs(x) >= SMALLEST_NORMAL else x


# -- logarithms ----------------------------------------------------------------------------------------------

LOG_TAIL = Polynomial(  # (log((1+s)/(1-s)) - 2 s) / s^3 in powers of s^2, for |s| <= (sqrt 2 - 1) / (sqrt 2 + 1)
    float32=(0.6666666269302368, 0.40000972151756287, 0.2849879264831543, 0.2427884191274643),
    float64=(0.6666666666666735, 0.3999999999940876, 0.2857142874390631, 0.22222198399526152, 0.1818357418214668,
             0.15313778834106628, 0.14798851295690132),
)  # fmt: skip
SQRT_HALF_BITS = ByType(0x3F3504F3, 0x3FE6A09E667F3BCD)
HALF_BITS = ByType(0x3F000000, 0x3FE0000000000000)
ONE_BITS = ByType(0x3F800000, 0x3FF0000000000000)


@scalar
def _log_of(k, f):
    """k ln 2 + log(1 + f), for sqrt(1/2) - 1 <= f <= sqrt(2) - 1."""
    s = f / (2 + f)
    z = s * s
    half_square = 0.5 * f * f
    tail = fma(s, fma(z, LOG_TAIL(z), half_square), k * LN2_LOW) - half_square
    high = fma(k, LN2_HIGH, f)
    low = fma(k, LN2_HIGH, -high) + f
    return high + (low + tail)


@elementary(python=np.log, cuda=math.log)
def log(x):
    tiny = x < SMALLEST_NORMAL
    scaled = x * 2**MANTISSA_BITS if tiny else x
    k = (float_bits(scaled) - SQRT_HALF_BITS) >> MANTISSA_BITS
    f = bits_float(float_bits(scaled) - (k << MANTISSA_BITS), x) - 1
    y = _log_of(k - MANTISSA_BITS if tiny else k, f)
    y = y if x < INF else x
    y = -INF if x == 0 else y
    return math.nan if x < 0 else y


@elementary(python=np.log1p, cuda=math.log1p)
def log1p(x):
    large = x > 2.0**60
    c = x * 2.0**-60 if large else x  # log(1 + x) = 60 ln 2 + log(c)
    u = c if large else 1 + c
    k = (float_bits(u) - SQRT_HALF_BITS) >> MANTISSA_BITS
    scale = bits_float(ONE_BITS - (k << MANTISSA_BITS), x)
    f = fma(c, scale, -1 if large else scale - 1)
    y = _log_of(k + 60 if large else k, f)
    y = y if x < INF else x
    y = -INF if x == -1 else y
    y = math.nan if x < -1 else y
    return x if abs(x) < SMALLEST_NORMAL else y


def _softplus_python(x):
    return np.logaddexp(0, np.float64(x))


@scalar
def _softplus(x):
    positive = 0 if x < 0 else x
    return positive + log1p(exp(-abs(x)))


@elementary(python=_softplus_python, cuda=_softplus)
def softplus(x):
    positive = 0 if x < 0 else x
    return positive + log1p(exp(-abs(x)))


# -- roots ---------------------------------------------------------------------------------------------------


@elementary(python=np.sqrt, cuda=math.sqrt)
def sqrt(x):
    return math.sqrt(x)


@scalar
def _rsqrt(x):
    return 1 / math.sqrt(x)


@elementary(python=lambda x: 1 / np.sqrt(np.float64(x)), cuda=_rsqrt)
def rsqrt(x):
    return 1 / math.sqrt(x)
