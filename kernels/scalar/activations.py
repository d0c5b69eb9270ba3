"""Activations: one declaration each; array functions, backward, layers, docs and tests are derived from the records.

To add one, write its two functions (see ``language.py`` for what a scalar function may say) and a record below: here
for the eighteen of the founding course, next door for the others.
"""

from math import inf

import numpy as np

from . import algebraic, rectifiers, smooth, units, waves
from .coefficients import EXP_REST
from .fills import uniform
from .intrinsics import fma
from .language import ByType, elementary, scalar
from .math.exponential import exp, exp_scaled, expm1, one_plus_exp_lowered, short_expm1
from .math.hyperbolic import short_tanh, tanh_slope
from .math.logarithm import log, log1p
from .math.logistic import short_sigmoid, sigmoid_slope, silu_slope_float32
from .math.power import sqrt
from .parts import FAR, HUGE, limited, nan_or, quotient
from .records import Activation, Parameter, finite_above_0, finite_from_0


@scalar
def identity(x):
    return x


@scalar
def identity_derivative(x):
    return nan_or(x, 1)


@scalar
def binary_step(x):
    return nan_or(x, 0 if x < 0 else 1)


@scalar
def binary_step_derivative(x):
    return nan_or(x, 0)


@scalar
def softsign(x):
    c = limited(x, 1e30)
    return c / (1 + abs(c))


@scalar
def softsign_derivative(x):
    """1 / u^2 for u = 1 + |x|, with the errors of u and of its square carried along."""
    a = abs(x)
    u = 1 + a
    larger = a if a > 1 else 1
    smaller = 1 if a > 1 else a
    y = 1 / fma(u, u, 2 * u * ((larger - u) + smaller))
    return 0 if a == inf else y


@scalar
def sqnl(x):
    c = limited(x, 2)
    return c * fma(-0.25, abs(c), 1)


@scalar
def sqnl_derivative(x):
    return fma(-0.5, abs(limited(x, 2)), 1)


@scalar
def relu(x):
    return 0 if x < 0 else x


@scalar
def relu_derivative(x):
    return nan_or(x, 0 if x <= 0 else 1)


@scalar
def bipolar_relu(x, sign):
    return sign * relu(sign * x)


@scalar
def bipolar_relu_derivative(x, sign):
    return relu_derivative(sign * x)


@scalar
def leaky_relu(x, negative_slope):
    return x * negative_slope if x <= 0 else x


@scalar
def leaky_relu_derivative(x, negative_slope):
    return nan_or(x, negative_slope if x <= 0 else 1)


@scalar
def negative_part(x, *parameters):
    return 0 if x > 0 else x


@scalar
def rrelu(x, bits: np.uint32, lower, upper):
    return leaky_relu(x, uniform(bits, lower, upper))


@scalar
def rrelu_derivative(x, bits: np.uint32, lower, upper):
    return leaky_relu_derivative(x, uniform(bits, lower, upper))


@scalar
def elu(x, alpha):
    return x if x > 0 else alpha * short_expm1(x)


@scalar
def elu_derivative(x, alpha):
    below = alpha * exp_scaled(x) * 2.0**-64
    return 1 if x > 0 else below


@scalar
def bent_identity(x):
    """x + x q, q = (sqrt(x^2 + 1) - 1) / (2 x) = x / (2 (sqrt(x^2 + 1) + 1))."""
    c = limited(x, HUGE)
    s = sqrt(fma(c, c, 1))
    d = s + 1
    w = 1 / d
    q = 0.5 * c * w
    q_low = w * (fma(-q, d, 0.5 * c) - q * ((s - d) + 1))
    y = fma(x, q_low, fma(x, q, x))
    return x if abs(x) == inf else y


@scalar
def bent_identity_derivative(x):
    c = limited(x, HUGE)
    return fma(0.5, c / sqrt(fma(c, c, 1)), 1)


@scalar
def sigmoid_derivative(x):
    return sigmoid_slope(x)  # sigma(x) sigma(-x); f (1 - f) would cancel


@scalar
def sigmoid_derivative_of_result(y):
    return y * (1 - y)


@scalar
def tanh_derivative_of_result(y):
    return (1 - y) * (1 + y)  # 1 - y^2 would lose the digits of a y near 1


@scalar
def silu(x):
    """x / (1 + e^-x), with numerator and denominator times 2**-64: e^-x is infinite where the quotient is not yet 0."""
    c = -FAR if x < -FAR else x
    y = c / one_plus_exp_lowered(-c) * 2.0**-64
    return x if x > 100 else y


@scalar
def _silu_derivative_float64(x):
    """e (1 + e + x) / (1 + e)**2 with e = exp(x) for x < 0, (1 + e + x e) / (1 + e)**2 with e = exp(-x) otherwise."""
    x = -FAR if x < -FAR else (FAR if x > FAR else x)
    scaled = exp_scaled(-abs(x))
    e = scaled * 2.0**-64
    u = 1 + e
    lost = e - (u - 1)
    p = x if x < 0 else x * e
    a = u + p
    rest = a - u
    a_low = (u - (a - rest)) + (p - rest) + lost
    factor = scaled if x < 0 else 1
    high = factor * a
    square = fma(u, u, 2 * u * lost)
    square_low = fma(u, u, -square) + 2 * u * lost
    y = quotient(high, fma(factor, a, -high) + factor * a_low, square, square_low)
    return y * 2.0**-64 if x < 0 else y


_SILU_DERIVATIVE = ByType(silu_slope_float32, _silu_derivative_float64)


@elementary(python=_silu_derivative_float64, cuda=_silu_derivative_float64)
def silu_derivative(x):
    """sigma(x) (1 + x sigma(-x)); in float32 by pieces, which a CUDA thread has no instruction for."""
    return _SILU_DERIVATIVE(x)


@scalar
def _argument(x, alpha):
    """d + d_low = 1 - alpha (x + alpha) for alpha <= 0: what soft_exponential takes the logarithm of."""
    s = x + alpha
    v = s - x
    s_low = (x - (s - v)) + (alpha - v)
    u = -alpha * s
    u_low = fma(-alpha, s, -u) - alpha * s_low
    start = 1 + u
    v = start - u
    rest = ((u - (start - v)) + (1 - v)) + u_low
    d = start + (rest if abs(start) < inf else 0)
    d = d if d > 0 else np.nan
    return d, (start - d) + rest if d < inf else 0


@scalar
def _product(x, alpha):
    """p + p_low = alpha x, 0 for alpha = 0."""
    c = nan_or(x, 0) if alpha == 0 else x
    p = alpha * c
    return p, fma(alpha, c, -p) if abs(p) < 1000 else 0


@scalar
def soft_exponential(x, alpha):
    a = 1 if alpha == 0 else alpha
    d, d_low = _argument(x, alpha)
    p, p_low = _product(x, alpha)
    e = expm1(p)
    below = (log(d) + d_low / d) / -a
    above = (e + (fma(e, p_low, p_low) if e < inf else 0)) / a + alpha
    return x if alpha == 0 else (below if alpha < 0 else above)


@scalar
def soft_exponential_derivative(x, alpha):
    d, d_low = _argument(x, alpha)
    p, p_low = _product(x, alpha)
    w = 1 / d
    e = exp(p)
    below = fma(-w, w * d_low, w) if w < inf else w
    above = e + (e * p_low if e < inf else 0)
    return below if alpha < 0 else above


@scalar
def soft_exponential_by_alpha(x, alpha):
    """1/d + f^2 k(log d) for alpha < 0, 1 + x^2 e^p k(p) otherwise, with k(p) = (e^-p - 1 + p) / p^2."""
    a = 1 if alpha == 0 else alpha
    d, d_low = _argument(x, alpha)
    w = 1 / d
    log_d = fma(w, d_low, log(d))
    f = log_d / a
    below = w + (f * f * EXP_REST(-log_d) if abs(log_d) < 1 else (log_d - 1 + w) / (a * a))
    p, p_low = _product(x, alpha)
    p = -FAR if p < -FAR else p
    e = exp(p)
    e = e + (e * p_low if e < inf else 0)
    above = 1 + (x * x * (e * EXP_REST(-p)) if abs(p) < 1 else fma(p - 1, e, 1) / (a * a))
    return below if alpha < 0 else above


@scalar
def soft_clipping(x, alpha):
    """max(x, 0) + log((1 + e^-|alpha x|) / (1 + e^-b)) / alpha, b = alpha (1 - x), for x <= 1/2; 1 - f(1 - x) beyond."""
    near = x if x <= 0.5 else 1 - x
    positive = 0 if near < 0 else near
    e = exp_scaled(-alpha * abs(near)) * 2.0**-64
    less = expm1(alpha * (2 * positive - 1))  # e^(|alpha x| - b) - 1
    y = positive + log1p(-e * less / (1 + fma(e, less, e))) / alpha
    return y if x <= 0.5 else 1 - y


@scalar
def soft_clipping_derivative(x, alpha):
    """(1 - e^-alpha) / ((1 + e^(-alpha x)) (1 + e^-b)), b = alpha (1 - x), for x <= 1/2; f'(1 - x) beyond."""
    near = x if x <= 0.5 else 1 - x
    e = exp_scaled(-alpha * abs(near)) * 2.0**-64
    far = exp_scaled(alpha * (near - 1)) * 2.0**-64
    factor = e if near < 0 else 1
    return -expm1(-alpha) * factor / ((1 + e) * (1 + far))


def _soft_exponential_range(alpha):
    return (alpha - 1 / alpha, inf) if alpha > 0 else (-inf, inf)


COURSE = [
    Activation(
        "identity", "Identity", identity, identity_derivative, "x", "1", (-inf, inf), "C^inf",
        initialization="lecun", source="the linear activation",
    ),
    Activation(
        "binary_step", "BinaryStep", binary_step, binary_step_derivative, r"0 \text{ if } x < 0, \text{ else } 1", "0",
        (0.0, 1.0), "C^-1", kinks=(0.0,),
        source="McCulloch, Pitts 1943, A logical calculus of the ideas immanent in nervous activity",
    ),
    Activation(
        "sigmoid", "Sigmoid", short_sigmoid, sigmoid_derivative, r"\frac{1}{1+e^{-x}}", r"\sigma(x)\,\sigma(-x)",
        (0.0, 1.0), "C^inf", source="Verhulst 1838, the logistic function", of_result=sigmoid_derivative_of_result,
    ),
    Activation(
        "tanh", "Tanh", short_tanh, tanh_slope, r"\tanh x", r"\operatorname{sech}^2 x", (-1.0, 1.0), "C^inf",
        source="LeCun, Bottou, Orr, Müller 1998, Efficient BackProp", of_result=tanh_derivative_of_result,
    ),
    Activation(
        "softsign", "Softsign", softsign, softsign_derivative, r"\frac{x}{1+|x|}", r"\frac{1}{(1+|x|)^2}", (-1.0, 1.0), "C^1",
        source="Elliott 1993, A better activation function for artificial neural networks; Glorot, Bengio 2010",
    ),
    Activation(
        "sqnl", "SQNL", sqnl, sqnl_derivative, r"c - \frac{c\,|c|}{4},\ c = \min(\max(x, -2), 2)",
        r"1 - \frac{|c|}{2},\ c = \min(\max(x, -2), 2)", (-1.0, 1.0), "C^1",
        source="Wuraola, Patel 2018, SQNL: a new computationally efficient activation function",
    ),
    Activation(
        "relu", "ReLU", relu, relu_derivative, r"\max(0, x)", "H(x)", (0.0, inf), "C^0", kinks=(0.0,),
        initialization="he", source="Nair, Hinton 2010; f'(0) = 0 as in PyTorch and JAX",
    ),
    Activation(
        "brelu", "BReLU", bipolar_relu, bipolar_relu_derivative,
        r"\max(0, x) \text{ on even channels}, \min(0, x) \text{ on odd ones}",
        r"H(x) \text{ on even channels}, H(-x) \text{ on odd ones}", (-inf, inf), "C^0", kinks=(0.0,),
        initialization="he", source="Eidnes, Nøkland 2017, Shifting mean activation towards zero with bipolar activation",
        alternating=True,
    ),
    Activation(
        "leaky_relu", "LeakyReLU", leaky_relu, leaky_relu_derivative, r"\max(0, x) + a \min(0, x)",
        r"1 \text{ if } x > 0, \text{ else } a", (-inf, inf), "C^0", kinks=(0.0,), initialization="he",
        source="Maas, Hannun, Ng 2013; f'(0) = a as in PyTorch", parameters=(Parameter("negative_slope", 0.01),),
    ),
    Activation(
        "prelu", "PReLU", leaky_relu, leaky_relu_derivative, r"\max(0, x) + \alpha \min(0, x)",
        r"1 \text{ if } x > 0, \text{ else } \alpha", (-inf, inf), "C^0", kinks=(0.0,), initialization="he",
        source="He, Zhang, Ren, Sun 2015", parameters=(Parameter("alpha", 0.25, negative_part),),
    ),
    Activation(
        "rrelu", "RReLU", rrelu, rrelu_derivative, r"\max(0, x) + a \min(0, x),\ a \sim U(l, u)",
        r"1 \text{ if } x > 0, \text{ else } a", (-inf, inf), "C^0", kinks=(0.0,), initialization="he",
        source="Xu, Wang, Chen, Li 2015, Empirical evaluation of rectified activations",
        parameters=(Parameter("lower", 1 / 8), Parameter("upper", 1 / 3)), random=True,
        evaluation="leaky_relu", check=lambda lower, upper: lower > upper and f"lower: got {lower}, above upper = {upper}",
    ),
    Activation(
        "elu", "ELU", elu, elu_derivative, r"x \text{ if } x > 0, \text{ else } \alpha (e^x - 1)",
        r"1 \text{ if } x > 0, \text{ else } \alpha e^x", lambda alpha: (-alpha, inf), "C^1",
        kinks=lambda alpha: () if alpha == 1 else (0.0,), initialization="he",
        source="Clevert, Unterthiner, Hochreiter 2016; f'(0) = alpha as in PyTorch",
        parameters=(Parameter("alpha", 1.0, valid=finite_from_0, accepted="finite numbers from 0"),),
    ),
    Activation(
        "bent_identity", "BentIdentity", bent_identity, bent_identity_derivative, r"\frac{\sqrt{x^2+1}-1}{2} + x",
        r"\frac{x}{2\sqrt{x^2+1}} + 1", (-inf, inf), "C^inf",
        source="the founding course's table; a hyperbola with slopes 1/2 and 3/2 far out",
    ),
    Activation(
        "silu", "SiLU", silu, silu_derivative, r"x\,\sigma(x)", r"\sigma(x)\,(1 + x\,\sigma(-x))",
        (-0.2784645427610738, inf), "C^inf", monotonic=False, initialization="he",
        source="Elfwing, Uchibe, Doya 2018; Ramachandran, Zoph, Le 2017 (swish with beta = 1)",
    ),
    Activation(
        "soft_exponential", "SoftExponential", soft_exponential, soft_exponential_derivative,
        r"-\frac{\ln(1-\alpha(x+\alpha))}{\alpha};\ x;\ \frac{e^{\alpha x}-1}{\alpha}+\alpha \text{ for } \alpha <, =, > 0",
        r"\frac{1}{1-\alpha(\alpha+x)} \text{ for } \alpha < 0, \text{ else } e^{\alpha x}", _soft_exponential_range, "C^inf",
        source="Godfrey, Gashler 2015, A continuum among logarithmic, linear, and exponential functions",
        parameters=(Parameter("alpha", 0.0, soft_exponential_by_alpha),),
    ),
    Activation(
        "soft_clipping", "SoftClipping", soft_clipping, soft_clipping_derivative,
        r"\frac{1}{\alpha} \ln \frac{1+e^{\alpha x}}{1+e^{\alpha(x-1)}}", r"\sigma(\alpha x) - \sigma(\alpha(x-1))",
        (0.0, 1.0), "C^inf",
        source="Klimek, Perelstein 2020, Neural network-based approach to phase space integration",
        parameters=(Parameter("alpha", 50.0, valid=finite_above_0, accepted="finite numbers above 0"),),
    ),
]  # fmt: skip

ACTIVATIONS = {
    record.name: record
    for record in COURSE + rectifiers.RECORDS + units.RECORDS + smooth.RECORDS + algebraic.RECORDS + waves.RECORDS
}
