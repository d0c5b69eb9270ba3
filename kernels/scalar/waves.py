"""The exponential, the Gaussian, and activations made of sines."""

from math import inf

from .coefficients import SINC_SLOPE
from .intrinsics import fma
from .language import scalar
from .math.exponential import exp
from .math.floats import two_sum
from .math.normal import gaussian, x_gaussian
from .math.trigonometric import cos, one_plus_sin, sin, sin_and_cos, sin_squared
from .records import Activation, Parameter, finite_above_0

LARGEST_REST = 2.0**-4  # a rounding error of alpha x beyond may be whole turns: the angle is the rounded product then
NO_SINE = 1e17  # beyond, x + sin^2(alpha x)/alpha is x


@scalar
def itself(x):
    return x


@scalar
def twice_alpha_x(x, alpha):
    return 2 * alpha * x


@scalar
def gaussian_derivative(x):
    return -2 * x_gaussian(x)


@scalar
def sinc(x):
    y = sin(x) / (1 if x == 0 else x)
    y = 1 if x == 0 else y
    return 0 if abs(x) == inf else y


@scalar
def sinc_derivative(x):
    """(cos x - sin(x)/x) / x, all in two parts; for |x| <= 2 an odd polynomial, which does not cancel."""
    d = 1 if x == 0 else x
    s, s_low, c, c_low = sin_and_cos(d)
    w = 1 / d
    r = s * w
    r_low = w * (fma(-r, d, s) + s_low)
    t, t_low = two_sum(c, -r)
    far = t * w
    far = fma(w, fma(-far, d, t) + (t_low + (c_low - r_low)), far)
    y = x * SINC_SLOPE(x * x) if abs(x) <= 2 else far
    return 0 if abs(x) == inf else y


@scalar
def _angle(x, factor):
    """factor * x in two parts."""
    p = factor * x
    p_low = fma(factor, x, -p)
    return p, p_low if abs(p_low) < LARGEST_REST else 0


@scalar
def snake(x, alpha):
    p, p_low = _angle(x, alpha)
    s, s_low = sin_squared(p, p_low)
    inverse = 1 / alpha
    inverse_low = inverse * fma(-alpha, inverse, 1)
    q = s * inverse
    q_low = fma(s, inverse, -q) + fma(s, inverse_low, s_low * inverse)
    y, y_low = two_sum(x, q)
    y = y + (y_low + q_low)
    return x if abs(p) > NO_SINE else y


@scalar
def snake_derivative(x, alpha):
    p, p_low = _angle(x, 2 * alpha)
    return one_plus_sin(p, p_low)


RECORDS = [
    Activation(
        "exponential", "Exponential", exp, exp, "e^x", "e^x", (0.0, inf), "C^inf", initialization="lecun",
        source="the exponential function, in Keras under this name", of_result=itself,
    ),
    Activation(
        "gaussian", "Gaussian", gaussian, gaussian_derivative, "e^{-x^2}", "-2 x e^{-x^2}", (0.0, 1.0), "C^inf", monotonic=False,
        source="Broomhead, Lowe 1988, Multivariable functional interpolation and adaptive networks",
    ),
    Activation(
        "sin", "Sin", sin, cos, r"\sin x", r"\cos x", (-1.0, 1.0), "C^inf", monotonic=False,
        source="Parascandolo, Huttunen, Virtanen 2017, Taming the waves; Sitzmann et al. 2020", angle=itself,
    ),
    Activation(
        "sinc", "Sinc", sinc, sinc_derivative, r"\frac{\sin x}{x}", r"\frac{\cos x}{x} - \frac{\sin x}{x^2}",
        (-0.21723362821122164, 1.0), "C^inf", monotonic=False,
        source="Efimov, Shalyapina 2018; the cardinal sine of Woodward, Davies 1952", angle=itself,
    ),
    Activation(
        "snake", "Snake", snake, snake_derivative, r"x + \frac{\sin^2(\alpha x)}{\alpha}", r"1 + \sin(2 \alpha x)",
        (-inf, inf), "C^inf",
        source="Ziyin, Hartwig, Ueda 2020, Neural networks fail to learn periodic functions and how to fix it",
        parameters=(Parameter("alpha", 1.0, valid=finite_above_0, accepted="finite numbers above 0"),), angle=twice_alpha_x,
    ),
]  # fmt: skip
