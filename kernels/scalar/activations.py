"""Activations: one declaration each; array functions, backward, layers, docs and tests are derived from the records.

To add one, write its two functions (see ``language.py`` for what a scalar function may say) and a record below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from .dropout import uniform
from .intrinsics import fma
from .language import scalar
from .math import exp_scaled, one_plus_exp_lowered, sech2, sigmoid, tanh


@dataclass(frozen=True)
class Parameter:
    """A parameter of an activation: a number, or if learnable one for each channel.

    Attributes
    ----------
    default : its value if nothing is given; what a learnable one starts from
    gradient : scalar function (x, *parameters) -> df/dparameter; None if it is not learnable
    valid : whether a value is accepted
    accepted : which values are, in words
    """

    name: str
    default: float
    gradient: Callable | None = None
    valid: Callable = isfinite
    accepted: str = "finite numbers"


@dataclass(frozen=True)
class Activation:
    """What there is to know about an activation function.

    Attributes
    ----------
    layer : name of the layer class in `numbadl.nn`
    forward, derivative : scalar functions of (x, [bits,] [sign,] *parameters), see *random* and *alternating*
    formula, derivative_formula : LaTeX
    range : (lowest, highest) value, approached or reached; or a function of the parameters that gives them
    continuity : "C^k", k the number of continuous derivatives ("C^inf": all), for the default parameters
    kinks : points where the derivative jumps; or a function of the parameters that gives them
    parameters : in the order of the functions' arguments; all of them are learnable, or none
    monotonic : whether f never decreases
    initialization : the `numbadl.nn` initialiser that suits a layer in front of it: "he", "xavier" or "lecun"
    source : where it comes from
    check : function of the parameters' values that gives what is wrong with them together, or None
    random : whether the functions take 32 random bits (uint32) after x
    evaluation : of a random one, the activation that it is with the mean of its parameters
    alternating : whether they take a sign after that, 1 on even channels and -1 on odd ones
    """

    name: str
    layer: str
    forward: Callable
    derivative: Callable
    formula: str
    derivative_formula: str
    range: tuple
    continuity: str
    kinks: tuple | Callable = ()
    monotonic: bool = True
    initialization: str = "xavier"
    source: str = ""
    parameters: tuple = ()
    check: Callable | None = None
    random: bool = False
    evaluation: str = ""
    alternating: bool = False

    @property
    def learnable(self):
        """The parameters that have gradients."""
        return tuple(p for p in self.parameters if p.gradient is not None)


@scalar
def identity(x):
    return x


@scalar
def identity_derivative(x):
    return 1 if x == x else x  # NaN stays NaN


@scalar
def relu(x):
    return 0 if x < 0 else x


@scalar
def relu_derivative(x):
    return 0 if x <= 0 else (1 if x > 0 else x)


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
    return negative_slope if x <= 0 else (1 if x > 0 else x)


@scalar
def negative_part(x, *parameters):
    return x if x <= 0 else (0 if x > 0 else x)


@scalar
def rrelu(x, bits: np.uint32, lower, upper):
    return leaky_relu(x, uniform(bits, lower, upper))


@scalar
def rrelu_derivative(x, bits: np.uint32, lower, upper):
    return leaky_relu_derivative(x, uniform(bits, lower, upper))


@scalar
def sigmoid_derivative(x):
    return 0.25 * sech2(0.5 * x)  # sigma(x) sigma(-x); f (1 - f) would cancel


FAR = 1e5  # beyond, every exponential has vanished; a limit for what would be inf * 0 there


@scalar
def _quotient(high, low, divisor, divisor_low):
    """(high + low) / (divisor + divisor_low) with little more than one rounding: what a first quotient leaves is divided."""
    reciprocal = 1 / divisor
    q = high * reciprocal
    return fma(reciprocal, fma(-q, divisor, high) + fma(-q, divisor_low, low), q)


@scalar
def silu(x):
    """x / (1 + e^-x), with numerator and denominator times 2**-64: e^-x is infinite where the quotient is not yet 0."""
    c = -FAR if x < -FAR else x
    y = c / one_plus_exp_lowered(-c) * 2.0**-64
    return x if x > 100 else y


@scalar
def silu_derivative(x):
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
    y = _quotient(high, fma(factor, a, -high) + factor * a_low, square, square_low)
    return y * 2.0**-64 if x < 0 else y


ACTIVATIONS = {
    record.name: record
    for record in [
        Activation(
            "identity", "Identity", identity, identity_derivative, "x", "1", (-inf, inf), "C^inf",
            initialization="lecun", source="the linear activation",
        ),
        Activation(
            "sigmoid", "Sigmoid", sigmoid, sigmoid_derivative, r"\frac{1}{1+e^{-x}}", r"\sigma(x)\,\sigma(-x)",
            (0.0, 1.0), "C^inf", source="Verhulst 1838, the logistic function",
        ),
        Activation(
            "tanh", "Tanh", tanh, sech2, r"\tanh x", r"\operatorname{sech}^2 x", (-1.0, 1.0), "C^inf",
            source="LeCun, Bottou, Orr, Müller 1998, Efficient BackProp",
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
            "silu", "SiLU", silu, silu_derivative, r"x\,\sigma(x)", r"\sigma(x)\,(1 + x\,\sigma(-x))",
            (-0.2784645427610738, inf), "C^inf", monotonic=False, initialization="he",
            source="Elfwing, Uchibe, Doya 2018; Ramachandran, Zoph, Le 2017 (swish with beta = 1)",
        ),
    ]
}  # fmt: skip
