"""Roots, and x^y."""

import math

import numpy as np

from ..coefficients import (
    EXP2_TAIL,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E_HIGH,
    LOG2_E_LOW,
    POW_TAIL_FIRST,
    POW_TAIL_FIRST_LOW,
    POW_TAIL_REST,
    POW_TAIL_SECOND,
)
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, elementary, scalar
from .exponential import EXP2_HIGHEST, EXP2_LOWEST, times_power_of_two
from .floats import INF, MAGIC, SIGN
from .logarithm import UNIT, split

INTEGERS_FROM = ByType(2.0**23, 2.0**52)  # every number from here on is an integer


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


@elementary(python=np.power)
def pow(x, y):
    """x^y = 2^(y log2 |x|) with a sum of two floats for the logarithm and its product with y; C99's special cases."""
    a = abs(x)
    f, k = split(a)
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
    power = times_power_of_two(1 + fma(r, LN2_HIGH, tail), z, p)
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
