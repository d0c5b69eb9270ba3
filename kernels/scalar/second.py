"""Second derivatives of activations whose first one is written in parts or by bits, so that its text cannot be differentiated.

They are formulas of elementary functions; `derivatives.py` has them as rules for the first derivatives.
"""

import math

from .language import Polynomial, scalar
from .math.exponential import exp
from .math.hyperbolic import sech2, tanh
from .math.logistic import sigmoid, sigmoid_slope, softplus
from .math.trigonometric import cos, sin
from .parts import FAR, limited

LINE, CUBE = math.sqrt(2 / math.pi), 0.044715  # of gelu_tanh
QUICK = 1.702  # of quick_gelu
_SERIES = [(-1) ** k * 2 * k * (2 * k - 1) / math.factorial(2 * k + 1) for k in range(1, 10)]
SINC_SECOND = Polynomial(_SERIES, _SERIES)


@scalar
def silu_second(x):
    c = limited(x, FAR)
    return sigmoid_slope(c) * (2 - c * tanh(0.5 * c))


@scalar
def quick_gelu_second(x):
    """That of silu(c x) / c."""
    return QUICK * silu_second(QUICK * x)


@scalar
def gelu_tanh_second(x):
    """s (u' + x (u'' - 2 u'^2 tanh u) / 2) with u = sqrt(2/pi) (x + 0.044715 x^3) and s = 1 - tanh(u)^2."""
    c = limited(x, 20)  # beyond it s is 0
    square = c * c
    u = LINE * c * (1 + CUBE * square)
    slope = LINE * (1 + 3 * CUBE * square)
    return sech2(u) * (slope + c * (3 * LINE * CUBE * c - slope * slope * tanh(u)))


@scalar
def mish_second(x):
    """s (2 g + x (g' - 2 g^2 t)) with g = sigmoid x, t = tanh(softplus x) and s = 1 - t^2."""
    c = limited(x, FAR)
    g = sigmoid(c)
    w = softplus(c)
    return sech2(w) * (2 * g + c * (sigmoid_slope(c) - 2 * g * g * tanh(w)))


@scalar
def elish_second(x):
    """That of silu for x >= 0; below, e^x g + (2 e^x - (e^x - 1) tanh(x/2)) g' with g = sigmoid x."""
    e = exp(-abs(limited(x, FAR)))
    below = e * sigmoid(x) + sigmoid_slope(x) * (2 * e - (e - 1) * tanh(0.5 * x))
    return below if x < 0 else silu_second(x)


@scalar
def hard_elish_second(x):
    below = 0.5 * exp(limited(x, 1)) * (x + 3)
    return 0 if abs(x) > 1 else (below if x < 0 else 1)


@scalar
def sinc_second(x):
    """2 (sin x - x cos x) / x^3 - sin(x) / x; its power series for |x| <= 1, where that would cancel."""
    d = 1 if abs(x) <= 1 else x
    far = 2 * (sin(d) - d * cos(d)) / (d * d * d) - sin(d) / d
    return SINC_SECOND(x * x) if abs(x) <= 1 else (0 if abs(x) == math.inf else far)
