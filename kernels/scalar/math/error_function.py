"""erf and erfc, and the quotients that `normal` shares with them."""

import math

from ..coefficients import (
    ERF_RATIO,
    ERFC_FROM_1,
    ERFC_FROM_2,
    ERFC_RATIO_FIRST,
    ERFC_RATIO_FIRST_LOW,
    ERFC_RATIO_REST,
    ERFC_RATIO_SECOND,
    ERFC_SLOPE,
    EXPM1_TAIL,
)
from ..intrinsics import fma
from ..language import ByType, elementary, scalar
from .exponential import reduced
from .floats import power_of_two, with_sign

ERFC_HIGHEST = ByType(9.2, 26.6)  # above, erfc is below the normal range
ERF_HIGHEST = ByType(3.93, 5.93)  # above, erf rounds to 1


@scalar
def ratio(a, centre):
    """For a >= 0: w and residual, 1/(a + centre) = w (1 + residual), and t + t_low = (a - centre)/(a + centre)."""
    d = a + centre
    larger = a if a > centre else centre
    smaller = centre if a > centre else a
    w = 1 / d
    residual = fma(-w, (larger - d) + smaller, fma(-w, d, 1))
    t = fma(-2 * centre, w, 1)
    return w, residual, t, fma(-2 * centre, w, 1 - t) - 2 * centre * w * residual


@scalar
def over_sum(first, first_low, second, rest, slope, w, residual, t, t_low):
    """H(t) / (a + centre) in two parts, with w, residual and t from `ratio`.

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
def times_exp_of_minus(g, g_low, square, square_low):
    """y, z: (g + g_low) e^-(square + square_low) = 2^n y for z = MAGIC + n."""
    z, high, low = reduced(-square)
    low = low + square_low
    r = high - low
    tail = fma(r * r, EXPM1_TAIL(r), fma(r, (high - r) - low, -low))
    p = g * high
    y = g + p
    y_low = ((g - y) + p) + fma(g, high, -p)
    return y + (y_low + fma(g, tail, fma(g_low, r, g_low))), z


@elementary(python=lambda x: math.erfc(x), cuda=math.erfc)
def erfc(x):
    """erfc x = e^(-x^2) H(t) / (x + 2), t = (x - 2)/(x + 2), for x >= 0; 2 - erfc(-x) below. Flushed.

    H is a polynomial of degree 11 (float32), 26 (float64).
    """
    a = abs(x)
    a = ERFC_HIGHEST if a > ERFC_HIGHEST else a
    w, residual, t, t_low = ratio(a, 2)
    square = a * a
    square_low = fma(a, a, -square)
    g, g_low = over_sum(
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
    y, z = times_exp_of_minus(g, g_low, square, square_low)
    y = 0 if a >= ERFC_HIGHEST else y * power_of_two(z)
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
    return with_sign(y, x)
