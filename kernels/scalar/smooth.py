"""Smooth rectifiers and their like, beyond the course's."""

from math import inf

from .coefficients import GELU_CUBE_HIGH, GELU_CUBE_LOW, GELU_LINE_HIGH, GELU_LINE_LOW, QUICK_GELU_HIGH, QUICK_GELU_LOW
from .intrinsics import fma
from .language import ByType, elementary, scalar
from .math.exponential import exp_scaled, one_plus_exp_lowered
from .math.floats import two_sum
from .math.hyperbolic import log_cosh, short_tanh
from .math.logistic import short_log_sigmoid, short_sigmoid, short_softplus_and_scaled
from .math.normal import gelu_tanh_float32, gelu_tanh_slope_float32, x_normal_cdf, x_normal_cdf_derivative
from .parts import FAR, limited, quotient, swish_slope
from .records import Activation, Parameter, finite_above_0

LARGEST = 1e30  # products of smaller numbers with parameters stay finite


@scalar
def softplus(x, beta, threshold):
    c = limited(x, LARGEST)
    p = beta * c
    p_low = fma(beta, c, -p)
    inverse = 1 / beta
    y, e = short_softplus_and_scaled(p)
    far = p < -50  # there it is e^p, which may be a normal number only after the division by beta
    y = e if far else y
    low = (y if y < 1 else 1) * p_low  # the derivative is y to a few digits where the error of p counts
    y = fma(y, inverse, fma(y, inverse * fma(-beta, inverse, 1), low * inverse))
    y = y * 2.0**-64 if far else y
    return x if (p - threshold) + p_low > 0 else y


@scalar
def softplus_derivative(x, beta, threshold):
    c = limited(x, LARGEST)
    p = beta * c
    p_low = fma(beta, c, -p)
    y = short_sigmoid(p)
    return 1 if (p - threshold) + p_low > 0 else fma(y, p_low if p < 0 else 0, y)


@scalar
def log_sigmoid_derivative(x):
    return short_sigmoid(-x)


@scalar
def _swish(x, v, v_low):
    """x sigma(v + v_low), where v has the sign of x, both at most FAR; as `silu`."""
    d = one_plus_exp_lowered(-v)
    reciprocal = 1 / d
    y = x * reciprocal
    return (y + fma(reciprocal, fma(-y, d, x), y * v_low if x < 0 else 0)) * 2.0**-64


@scalar
def _quick_gelu_argument(x):
    high = QUICK_GELU_HIGH(x)
    v = high * x
    return v, fma(high, x, -v) + QUICK_GELU_LOW(x) * x


@scalar
def quick_gelu(x):
    c = limited(x, FAR)
    v, v_low = _quick_gelu_argument(c)
    return x if x > FAR else _swish(c, v, v_low)


@scalar
def quick_gelu_derivative(x):
    v, v_low = _quick_gelu_argument(limited(x, FAR))
    return swish_slope(x, v, v_low, v, v_low)


@scalar
def _cubic(x, s, b, low):
    """x (a + b s + low) in two parts; a is a coarse number and a rest, so that the error of b s + a is exact."""
    line = GELU_LINE_HIGH(x)
    start = fma(b, s, line)
    rest = fma(b, s, line - start) + (low + GELU_LINE_LOW(x))
    q = start + rest
    y = x * q
    return y, fma(x, q, -y) + x * ((start - q) + rest)


@scalar
def _gelu_tanh_argument(x):
    """v + v_low = x (a + b x^2), g + g_low = x (a + 3 b x^2)."""
    s = x * x
    s_low = fma(x, x, -s)
    b = GELU_CUBE_HIGH(x)
    low = fma(b, s_low, GELU_CUBE_LOW(x) * s)
    v, v_low = _cubic(x, s, b, low)
    g, g_low = _cubic(x, s, 3 * b, 3 * low)
    return v, v_low, g, g_low


@scalar
def _gelu_tanh_float64(x):
    c = limited(x, FAR)
    v, v_low, _, _ = _gelu_tanh_argument(c)
    return x if x > FAR else _swish(c, v, v_low)


@scalar
def _gelu_tanh_derivative_float64(x):
    c = limited(x, FAR)
    v, v_low, g, g_low = _gelu_tanh_argument(c)
    return swish_slope(x, v, v_low, g, g_low)


_GELU_TANH = ByType(gelu_tanh_float32, _gelu_tanh_float64)
_GELU_TANH_DERIVATIVE = ByType(gelu_tanh_slope_float32, _gelu_tanh_derivative_float64)


@elementary(python=_gelu_tanh_float64, cuda=_gelu_tanh_float64)
def gelu_tanh(x):
    """x sigma(2u); in float32 by pieces, which a CUDA thread has no instruction for."""
    return _GELU_TANH(x)


@elementary(python=_gelu_tanh_derivative_float64, cuda=_gelu_tanh_derivative_float64)
def gelu_tanh_derivative(x):
    """sigma(2u) (1 + x (2u)' sigma(-2u)), as `gelu_tanh`."""
    return _GELU_TANH_DERIVATIVE(x)


@scalar
def mish(x):
    """x n / d with n = 1 + 2 e, d = n + 2 e^2 and e = exp(-x) for x >= 0, e n / d, n = 2 + e, d = 2 + e n, e = exp(x) below."""
    c = limited(x, FAR)
    scaled = exp_scaled(-abs(c))
    e = scaled * 2.0**-64
    first = 2 if x < 0 else 1
    term = e if x < 0 else 2 * e
    n = first + term
    n_low = (first - n) + term
    start = 2 if x < 0 else n
    factor = n if x < 0 else 2 * e
    d = fma(e, factor, start)
    d_low = fma(e, factor, start - d) + (e * n_low if x < 0 else n_low)
    f = c * (scaled if x < 0 else 1)
    f_low = fma(c, scaled, -f) if x < 0 else 0
    high = f * n
    y = quotient(high, fma(f, n, -high) + fma(f_low, n, f * n_low), d, d_low)
    y = y * 2.0**-64 if x < 0 else y
    return x if x > FAR else y


@scalar
def mish_derivative(x):
    """e (4 (x + 1) + e (4 x + 6 + e (4 + e))) / (2 + e (2 + e))^2 with e = exp(x) for x < 0; for x >= 0 the same over e^4:

    (1 + e (4 + e (4 x + 6 + 4 e (x + 1)))) / (1 + 2 e (1 + e))^2 with e = exp(-x).
    """
    c = limited(x, FAR)
    scaled = exp_scaled(-abs(c))
    e = scaled * 2.0**-64
    line = fma(4, c, 4)
    middle = fma(4, c, 6)
    start = line if x < 0 else 1
    inner = 4 + e if x < 0 else fma(e, line, middle)
    last = middle if x < 0 else 4
    tail = fma(e, inner, last)
    p = e * tail
    a, a_low = two_sum(start, p)
    a_low = a_low + fma(e, tail, -p) + e * fma(e, inner, last - tail)
    factor = scaled if x < 0 else 1
    term = e if x < 0 else 2 * e
    n = 2 + term
    first = 2 if x < 0 else 1
    d = fma(e, n, first)
    d_low = fma(e, n, first - d) + e * ((2 - n) + term)
    square = d * d
    high = factor * a
    low = fma(factor, a, -high) + factor * a_low
    y = quotient(high, low, square, fma(d, d, -square) + 2 * d * d_low)
    return y * 2.0**-64 if x < 0 else y


RECORDS = [
    Activation(
        "softplus", "Softplus", softplus, softplus_derivative,
        r"x \text{ if } \beta x > t, \text{ else } \frac{\ln(1+e^{\beta x})}{\beta}",
        r"1 \text{ if } \beta x > t, \text{ else } \sigma(\beta x)", (0.0, inf), "C^-1",
        kinks=lambda beta, threshold: (threshold / beta,), initialization="he",
        source="Dugas, Bengio, Bélisle, Nadeau, Garcia 2001; Glorot, Bordes, Bengio 2011; the threshold as in PyTorch",
        parameters=(
            Parameter("beta", 1.0, valid=finite_above_0, accepted="finite numbers above 0"),
            Parameter("threshold", 20.0),
        ),
    ),
    Activation(
        "logsigmoid", "LogSigmoid", short_log_sigmoid, log_sigmoid_derivative, r"\ln \sigma(x)", r"\sigma(-x)",
        (-inf, 0.0), "C^inf", source="the logarithm of the logistic function, of Verhulst 1838",
    ),
    Activation(
        "gelu", "GELU", x_normal_cdf, x_normal_cdf_derivative, r"x\,\Phi(x)", r"\Phi(x) + x\,\varphi(x)",
        (-0.16997120747990369, inf), "C^inf", monotonic=False, initialization="he",
        source="Hendrycks, Gimpel 2016, Gaussian error linear units",
    ),
    Activation(
        "gelu_tanh", "GELUTanh", gelu_tanh, gelu_tanh_derivative,
        r"\frac{x}{2} (1 + \tanh u),\ u = \sqrt{2/\pi}\,(x + 0.044715\,x^3)",
        r"\sigma(2u) + x\,(2u)'\,\sigma(2u)\,\sigma(-2u)",
        (-0.17004075057125412, inf), "C^inf", monotonic=False, initialization="he",
        source="Hendrycks, Gimpel 2016, Gaussian error linear units: their approximation",
        variant=("gelu", "approximate", "tanh"),
    ),
    Activation(
        "mish", "Mish", mish, mish_derivative, r"x \tanh(\ln(1 + e^x))",
        r"\tanh s + x\,\sigma(x)\operatorname{sech}^2 s,\ s = \ln(1 + e^x)", (-0.30884341301725, inf), "C^inf",
        monotonic=False, initialization="he", source="Misra 2020, Mish: a self regularized non-monotonic activation function",
    ),
    Activation(
        "quick_gelu", "QuickGELU", quick_gelu, quick_gelu_derivative, r"x\,\sigma(1.702\,x)",
        r"\sigma(1.702\,x)\,(1 + 1.702\,x\,\sigma(-1.702\,x))", (-0.16361018361972, inf), "C^inf", monotonic=False,
        initialization="he", source="Hendrycks, Gimpel 2016, Gaussian error linear units: their sigmoid approximation",
    ),
    Activation(
        "log_cosh", "LogCosh", log_cosh, short_tanh, r"\ln \cosh x", r"\tanh x", (0.0, inf), "C^inf", monotonic=False,
        source="Green 1990, Bayesian reconstructions from emission tomography data, as a penalty",
    ),
]  # fmt: skip
