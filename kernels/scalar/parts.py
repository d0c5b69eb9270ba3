"""Steps that several activations share: quotients and slopes whose rounding errors are carried along in a second part."""

from math import inf

from .intrinsics import fma
from .language import scalar
from .math.exponential import exp_scaled
from .math.power import sqrt

FAR = 1e5  # beyond, every exponential has vanished; a limit for what would be inf * 0 there
HUGE = 1e16  # from here on x^2 + 1 is x^2; its square is finite in float32, too


@scalar
def limited(x, far):
    """*x*, but not beyond *far* on either side; NaN stays NaN."""
    return clipped(x, -far, far)


@scalar
def clipped(x, low, high):
    """*x* between *low* and *high*; NaN stays NaN. In two steps, which LLVM makes a maximum and a minimum."""
    y = low if x < low else x
    return high if y > high else y


@scalar
def nan_or(x, value):
    """*value*, or NaN if x is NaN."""
    return value if x == x else x


@scalar
def quotient(high, low, divisor, divisor_low):
    """(high + low) / (divisor + divisor_low) with little more than one rounding: what a first quotient leaves is divided."""
    reciprocal = 1 / divisor
    q = high * reciprocal
    return fma(reciprocal, fma(-q, divisor, high) + fma(-q, divisor_low, low), q)


@scalar
def swish_slope(x, v, v_low, g, g_low):
    """sigma(v) (1 + g sigma(-v)), the derivative of x sigma(v(x)) for g = x v'(x), where x has the sign of v and g.

    e (1 + e + g) / (1 + e)^2 with e = exp(v) for x < 0, (1 + e + g e) / (1 + e)^2 with e = exp(-v) otherwise; v and
    g, at most FAR, in two parts.
    """
    scaled = exp_scaled(-abs(v))
    e_error = v_low if x < 0 else 0
    e = scaled * 2.0**-64
    u = 1 + e
    lost = fma(e, e_error, e - (u - 1))
    p = g if x < 0 else g * e
    p_low = g_low if x < 0 else 0
    a = u + p
    rest = a - u
    a_low = (u - (a - rest)) + (p - rest) + (lost + p_low)
    factor = scaled if x < 0 else 1
    high = factor * a
    low = fma(factor, a, -high) + fma(high, e_error, factor * a_low)
    square = fma(u, u, 2 * u * lost)
    square_low = fma(u, u, -square) + 2 * u * lost
    y = quotient(high, low, square, square_low)
    return y * 2.0**-64 if x < 0 else y


@scalar
def root_of_sum(x, b):
    """sqrt(x^2 + b) for b > 0, without overflow."""
    a = abs(x)
    c = HUGE if a > HUGE else a
    return a if a > HUGE else sqrt(fma(c, c, b))


@scalar
def inverse_root_cubed(x, alpha):
    """(1 + alpha x^2)^(-3/2): w^3 for w = 1/sqrt(d) with the errors of d, w and w^2 corrected; 0 far out."""
    t = alpha * x
    d = fma(t, x, 1)
    e = d - 1
    d_low = fma(t, x, -e) + (1 - (d - e)) + fma(alpha, x, -t) * x
    w = 1 / sqrt(d)
    p = d * w
    error = fma(-p, w, 1) - fma(d, w, -p) * w - d_low * w * w  # twice the relative error of w
    square = w * w
    y = fma(w, square, w * fma(1.5 * error, square, fma(w, w, -square)))
    return 0 if d == inf else y
