"""Sine, cosine and arctangent, and 1 + sin x and sin^2 x that keep their digits where they touch 0."""

import math

import numpy as np

from ..coefficients import ATAN_TAIL, COS_TAIL, HALF_PI_HIGH, HALF_PI_LOW, SIN_TAIL
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, elementary, scalar, specialised
from .floats import INF, ONE, SIGN, TINY, with_sign
from .quadrant import NEAR, far_quadrant, near_quadrant

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
    return with_sign(y, x)


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
