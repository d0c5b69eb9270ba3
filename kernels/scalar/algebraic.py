"""Activations made of roots and quotients, and the shrinking one of tanh, beyond the course's."""

from math import inf

from .coefficients import TANH_DEFICIT_FIRST, TANH_DEFICIT_FIRST_LOW, TANH_DEFICIT_REST, TANH_DEFICIT_SECOND
from .intrinsics import fma
from .language import scalar
from .math.hyperbolic import tanh, tanh_squared
from .math.power import sqrt
from .math.trigonometric import atan
from .parts import HUGE, inverse_root_cubed, limited, quotient, root_of_sum
from .records import Activation, Parameter, finite_above_0


@scalar
def tanhshrink(x):
    """x - tanh x; for |x| <= 5/4 an odd polynomial, which does not cancel, with its first coefficient in two parts."""
    square = x * x
    line = fma(square, TANH_DEFICIT_REST(square), TANH_DEFICIT_SECOND(x))
    first = TANH_DEFICIT_FIRST(x)
    p = fma(square, line, first)
    p_low = fma(square, line, first - p) + TANH_DEFICIT_FIRST_LOW(x)
    t = square * p
    t_low = fma(square, p, -t) + fma(square, p_low, fma(x, x, -square) * p)
    return fma(x, t, x * t_low) if abs(x) <= 1.25 else x - tanh(x)


@scalar
def arctan_derivative(x):
    return 1 / fma(x, x, 1)


@scalar
def squareplus(x, b):
    """(x + s)/2, s = sqrt(x^2 + b); b/(2 (s - x)) for x < 0."""
    a = 0.5 * abs(x)
    s = 0.5 * root_of_sum(x, b)
    half = a + s
    larger = s if s > a else a
    smaller = a if s > a else s
    n = 0.25 * b
    y = quotient(n, 0, half, (larger - half) + smaller)
    y = 0 if half == inf else y
    return y if x < 0 else half


@scalar
def squareplus_derivative(x, b):
    """1 - y for x >= 0, y for x < 0: y = b/(2 (d + s |x|)), s = sqrt(d), d = x^2 + b, all times powers of 2^-40."""
    a = 2.0**-40 * abs(x)
    n = 2.0**-80 * b
    d = fma(a, a, n)
    s = sqrt(d)
    divisor = fma(s, a, d)
    reciprocal = 1 / divisor
    n = 0.5 * n
    y = n * reciprocal
    s_low = fma(-s, s, d) * (0.5 * (s + a) * reciprocal)  # 1/s is (s + a)/divisor
    y = fma(reciprocal, fma(-y, divisor, n) - y * fma(a, s_low, fma(s, a, d - divisor)), y)
    y = 0 if divisor == inf else y
    return y if x < 0 else 1 - y


@scalar
def isru(x, alpha):
    c = limited(x, HUGE)
    t = alpha * c
    return c / sqrt(fma(t, c, fma(fma(alpha, c, -t), c, 1)))


@scalar
def isrlu(x, alpha):
    return isru(x, alpha) if x < 0 else x


@scalar
def isrlu_derivative(x, alpha):
    return 1 if x >= 0 else inverse_root_cubed(x, alpha)


def _positive(name, default):
    return (Parameter(name, default, valid=finite_above_0, accepted="finite numbers above 0"),)


RECORDS = [
    Activation(
        "tanhshrink", "Tanhshrink", tanhshrink, tanh_squared, r"x - \tanh x", r"\tanh^2 x", (-inf, inf), "C^inf",
        source="Kavukcuoglu, Ranzato, LeCun 2008, Fast inference in sparse coding algorithms, as a smooth shrinkage",
    ),
    Activation(
        "squareplus", "Squareplus", squareplus, squareplus_derivative, r"\frac{x + \sqrt{x^2 + b}}{2}",
        r"\frac{1}{2} \left(1 + \frac{x}{\sqrt{x^2 + b}}\right)", (0.0, inf), "C^inf", initialization="he",
        source="Barron 2021, Squareplus: a softplus-like algebraic rectifier", parameters=_positive("b", 4.0),
    ),
    Activation(
        "arctan", "Arctan", atan, arctan_derivative, r"\arctan x", r"\frac{1}{1+x^2}",
        (-1.5707963267948966, 1.5707963267948966), "C^inf",
        source="Kamruzzaman, Aziz 2002, A note on activation function in multilayer feedforward learning",
    ),
    Activation(
        "isru", "ISRU", isru, inverse_root_cubed, r"\frac{x}{\sqrt{1 + \alpha x^2}}", r"\left(1 + \alpha x^2\right)^{-3/2}",
        lambda alpha: (-(alpha**-0.5), alpha**-0.5), "C^inf",
        source="Carlile, Delamarter, Kinney, Marti, Whitney 2017, Improving deep learning by inverse square root linear units",
        parameters=_positive("alpha", 1.0),
    ),
    Activation(
        "isrlu", "ISRLU", isrlu, isrlu_derivative, r"x \text{ if } x \ge 0, \text{ else } \frac{x}{\sqrt{1 + \alpha x^2}}",
        r"1 \text{ if } x \ge 0, \text{ else } \left(1 + \alpha x^2\right)^{-3/2}",
        lambda alpha: (-(alpha**-0.5), inf), "C^2", initialization="he",
        source="Carlile, Delamarter, Kinney, Marti, Whitney 2017, Improving deep learning by inverse square root linear units",
        parameters=_positive("alpha", 1.0),
    ),
]  # fmt: skip
