"""The normal distribution: e^(-x^2), the density phi, its integral Phi, and x Phi(x), which is gelu, with its derivative."""

import math
from fractions import Fraction

import numpy as np

from ..coefficients import (
    CDF_RATIO_FIRST,
    CDF_RATIO_FIRST_LOW,
    CDF_RATIO_REST,
    CDF_RATIO_SECOND,
    CDF_SLOPE,
    EXPM1_TAIL,
    GELU_CUBE_HIGH,
    GELU_CUBE_LOW,
    GELU_LINE_HIGH,
    GELU_LINE_LOW,
    GELU_SLOPE_PIECES,
    GELU_TANH_PIECES,
    GELU_TANH_SLOPE_PIECES,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E_HIGH,
    MILLS_PIECES,
    ROOT_2_PI_HIGH,
    ROOT_2_PI_LOW,
)
from ..intrinsics import fma
from ..language import ByType, Polynomial, elementary, scalar
from .error_function import over_sum, ratio, times_exp_of_minus
from .exponential import reduced
from .floats import INF, MAGIC, lifted_power_of_two, power_of_two, raised_power_of_two, two_sum, with_sign

GAUSSIAN_HIGHEST = ByType(9.36, 26.63)
X_GAUSSIAN_HIGHEST = ByType(9.6, 26.71)
PDF_HIGHEST = ByType(13.18, 37.62)
CDF_HIGHEST = ByType(13.0, 37.6)
X_CDF_HIGHEST = ByType(13.2, 37.64)
X_CDF_PIECES_HIGHEST = 13.26  # of float32 alone: e^(-x^2/2) is 2^-126.8, n = -127, and 2^n is 0 by `power_of_two`
GELU_SLOPE_HIGHEST = 13.7  # 2^-135.4, n = -135, and 2^n is 0 by `raised_power_of_two`
GELU_TANH_HIGHEST = 10.27  # e^-2u is 2^-135.1, n = -135, and 2^n is 0 by `raised_power_of_two`
GELU_TANH_PLACE = 1.4375  # 16 pieces reach from 0 to 15/1.4375 so
X_CDF_DERIVATIVE_HIGHEST = ByType(13.35, 37.73)
EXPM1_OF_MINUS_TAIL = Polynomial(
    *(tuple(c * (-1) ** k for k, c in enumerate(tail)) for tail in (EXPM1_TAIL.float32, EXPM1_TAIL.float64))
)


@scalar
def _exp_of_minus(square, square_low):
    """e^r - 1 in two parts, and z: e^-(square + square_low) = 2^n e^r for z = MAGIC + n."""
    z, high, low = reduced(-square)
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
    y = (1 + (high + low)) * power_of_two(z)
    return 0 if a >= GAUSSIAN_HIGHEST else y


@elementary(python=lambda x: x * _gaussian_python(x) if abs(x) < INF else 0 * (1 / x))
def x_gaussian(x):
    """x e^(-x^2), right where e^(-x^2) is below the normal range. As `gaussian`; flushed."""
    a = abs(x)
    a = X_GAUSSIAN_HIGHEST if a > X_GAUSSIAN_HIGHEST else a
    square = a * a
    high, low, z = _exp_of_minus(square, fma(a, a, -square))
    y = fma(a, high + low, a) * lifted_power_of_two(z) * 2.0**-64
    return with_sign(0 if a >= X_GAUSSIAN_HIGHEST else y, x)


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
    y = (ROOT_2_PI_HIGH + fma(ROOT_2_PI_HIGH, high, fma(ROOT_2_PI_HIGH, low, ROOT_2_PI_LOW))) * power_of_two(z)
    return 0 if a >= PDF_HIGHEST else y


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
    w, residual, t, t_low = ratio(a, 4)
    return over_sum(
        CDF_RATIO_FIRST, CDF_RATIO_FIRST_LOW, CDF_RATIO_SECOND, CDF_RATIO_REST(t), CDF_SLOPE(t), w, residual, t, t_low
    )


@scalar
def _normal_tail(a):
    """y, z: Phi(-a) = 2^n y for z = MAGIC + n, 0 <= a <= CDF_HIGHEST."""
    g, g_low = _mills_ratio(a)
    half = 0.5 * a
    square = half * a
    return times_exp_of_minus(g, g_low, square, fma(half, a, -square))


@elementary(python=_normal_cdf_python)
def normal_cdf(x):
    """Phi(x) = erfc(-x / sqrt 2)/2, accurate in the negative tail; as `erfc`, with e^(-x^2/2) and its own H. Flushed.

    The degree of H is 11 (float32), 23 (float64).
    """
    a = abs(x)
    a = CDF_HIGHEST if a > CDF_HIGHEST else a
    y, z = _normal_tail(a)
    y = 0 if a >= CDF_HIGHEST else y * power_of_two(z)
    return 1 - y if x > 0 else y


@scalar
def _times_exp_of_minus_half_square(first, rest, a):
    """`_short_times_exp_of_minus` a^2/2."""
    half = 0.5 * a
    square = half * a
    return _short_times_exp_of_minus(first, rest, square, fma(half, a, -square))


@scalar
def _short_times_exp_of_minus(first, rest, v, v_low):
    """y, z: (first + rest) e^-(v + v_low) = 2^n y for z = MAGIC + n, as `times_exp`; high + low is -r: fewer steps."""
    z = fma(v, -LOG2_E_HIGH, MAGIC)
    n = z - MAGIC
    high = fma(n, LN2_HIGH, v)
    low = fma(n, LN2_LOW, v_low)
    r = high + low
    total = first + rest
    return first - fma(total, high, fma(total, fma(-(r * r), EXPM1_OF_MINUS_TAIL(r), low), -rest)), z


@scalar
def _x_normal_cdf_float32(x):
    a = abs(x)
    a = X_CDF_PIECES_HIGHEST if a > X_CDF_PIECES_HIGHEST else a
    first, rest = MILLS_PIECES(1 + a, a)
    y, z = _times_exp_of_minus_half_square(first, rest, a)
    return fma(-y, a * power_of_two(z), 0 if x < 0 else x)


@scalar
def _x_normal_cdf_float64(x):
    a = abs(x)
    a = X_CDF_HIGHEST if a > X_CDF_HIGHEST else a
    y, z = _normal_tail(a)
    y = 0 if a >= X_CDF_HIGHEST else a * y * power_of_two(z)
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
    y = y * raised_power_of_two(z)
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
    y, z = times_exp_of_minus(d, d_low + (g_low - p_low), square, fma(half, a, -square))
    y = y * lifted_power_of_two(z) * 2.0**-64
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
    return fma(-y, a * raised_power_of_two(z), 0 if x < 0 else x)


@scalar
def gelu_tanh_slope_float32(x):
    """e^-2u times 16 pieces of degree 6 for x < 0, u of |x|; 1 minus that for x > 0. Flushed."""
    a = abs(x)
    a = GELU_TANH_HIGHEST if a > GELU_TANH_HIGHEST else a
    first, rest = GELU_TANH_SLOPE_PIECES(fma(GELU_TANH_PLACE, a, 1), a)
    v, v_low = _gelu_tanh_exponent(a)
    y, z = _short_times_exp_of_minus(first, rest, v, v_low)
    y = y * raised_power_of_two(z)
    return y if x < 0 else 1 - y
