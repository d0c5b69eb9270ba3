"""Activations with an exponential on the negative side, as ELU has it, beyond the course's."""

from math import inf

from .coefficients import SELU_NEGATIVE_HIGH, SELU_NEGATIVE_LOW, SELU_SCALE
from .intrinsics import fma
from .language import scalar
from .math.exponential import exp_scaled, exp_scaled_in_two_parts, expm1, expm1_and_exp_scaled, short_expm1
from .parts import FAR, limited, quotient
from .records import Activation, Parameter, finite_above_0

LOWEST = -1e30  # products with parameters stay finite


@scalar
def selu(x):
    e = short_expm1(x)
    return SELU_SCALE(x) * x if x > 0 else fma(SELU_NEGATIVE_HIGH(x), e, SELU_NEGATIVE_LOW(x) * e)


@scalar
def selu_derivative(x):
    return SELU_SCALE(x) if x > 0 else SELU_NEGATIVE_HIGH(x) * exp_scaled(x) * 2.0**-64


@scalar
def _over(x, alpha):
    """x / alpha in two parts, for x that are not below LOWEST."""
    c = LOWEST if x < LOWEST else x
    inverse = 1 / alpha
    inverse_low = inverse * fma(-alpha, inverse, 1)
    q = c * inverse
    return q, fma(c, inverse, -q) + c * inverse_low


@scalar
def celu(x, alpha):
    q, q_low = _over(x, alpha)
    e = short_expm1(q)
    return x if x > 0 else fma(alpha, e, alpha * fma(e, q_low, q_low))


@scalar
def celu_derivative(x, alpha):
    q, q_low = _over(x, alpha)
    e = exp_scaled(q)
    return 1 if x > 0 else fma(e, q_low, e) * 2.0**-64


@scalar
def elish(x):
    """x / (1 + e) with e = exp(-x) for x >= 0, (e - 1) e / (1 + e) with e = exp(x) below."""
    m, m_low, scaled = expm1_and_exp_scaled(-abs(x))
    e = scaled * 2.0**-64
    u = 1 + e
    factor = scaled if x < 0 else x
    n = m if x < 0 else 1
    high = factor * n
    low = fma(factor, n, -high) + (factor * m_low if x < 0 else 0)
    y = quotient(high, low, u, e - (u - 1))
    y = y * 2.0**-64 if x < 0 else y
    return y if x < FAR else x


@scalar
def elish_derivative(x):
    """(1 + e + x e) / (1 + e)^2 with e = exp(-x) for x >= 0, e (1 - 2 / (1 + e)^2) with e = exp(x) below."""
    c = limited(x, FAR)
    scaled, scaled_low = exp_scaled_in_two_parts(-abs(c))
    e = scaled * 2.0**-64
    u = 1 + e
    lost = fma(2.0**-64, scaled_low, e - (u - 1))
    square = fma(u, u, 2 * u * lost)
    square_low = fma(u, u, -square) + 2 * u * lost
    start = square if x < 0 else u
    p = -2 if x < 0 else c * e
    a = start + p
    a_low = ((start - a) + p) + (square_low if x < 0 else lost)
    factor = scaled if x < 0 else 1
    factor_low = scaled_low if x < 0 else 0
    high = factor * a
    y = quotient(high, fma(factor, a, -high) + fma(factor, a_low, factor_low * a), square, square_low)
    return y * 2.0**-64 if x < 0 else y


@scalar
def hard_elish(x):
    """b + b c with c = x between -1 and 1, and 2 b = x for x >= 0, e^x - 1 below."""
    c = limited(x, 1)
    b = 0.5 * (expm1(c) if x < 0 else x)
    return fma(b, c, b)


@scalar
def hard_elish_derivative(x):
    """(e^x (x + 1) + e^x - 1)/2 between -1 and 0."""
    m, m_low, scaled = expm1_and_exp_scaled(limited(x, 1))
    below = 0.5 * (fma(scaled * 2.0**-64, x + 1, m) + m_low)
    return 0 if x <= -1 else (below if x < 0 else (x + 0.5 if x < 1 else (1 if x >= 1 else x)))


RECORDS = [
    Activation(
        "selu", "SELU", selu, selu_derivative, r"s \left(x \text{ if } x > 0, \text{ else } \alpha (e^x - 1)\right)",
        r"s \text{ if } x > 0, \text{ else } s \alpha e^x", (-1.7580993408473768, inf), "C^0", kinks=(0.0,),
        initialization="lecun", source="Klambauer, Unterthiner, Mayr, Hochreiter 2017, Self-normalizing neural networks",
    ),
    Activation(
        "celu", "CELU", celu, celu_derivative, r"x \text{ if } x > 0, \text{ else } \alpha (e^{x/\alpha} - 1)",
        r"1 \text{ if } x > 0, \text{ else } e^{x/\alpha}", lambda alpha: (-alpha, inf), "C^1", initialization="he",
        source="Barron 2017, Continuously differentiable exponential linear units",
        parameters=(Parameter("alpha", 1.0, valid=finite_above_0, accepted="finite numbers above 0"),),
    ),
    Activation(
        "elish", "ELiSH", elish, elish_derivative, r"x\,\sigma(x) \text{ if } x \ge 0, \text{ else } (e^x - 1)\,\sigma(x)",
        r"\sigma(x)(1 + x\,\sigma(-x)) \text{ if } x \ge 0, \text{ else } e^x \left(1 - \frac{2}{(1+e^x)^2}\right)",
        (-0.1715728752538099, inf), "C^1", monotonic=False, initialization="he",
        source="Basirat, Roth 2018, The quest for the golden activation function",
    ),
    Activation(
        "hard_elish", "HardELiSH", hard_elish, hard_elish_derivative,
        r"(x \text{ if } x \ge 0, \text{ else } e^x - 1) \min(\max(0, \tfrac{x+1}{2}), 1)",
        r"1 \text{ if } x \ge 1;\ x + \tfrac{1}{2} \text{ if } x \ge 0;\ \tfrac{(x+2)(e^x-1) + x + 1}{2} \text{ if } x > -1;\ 0",
        (-0.10234, inf), "C^0", kinks=(-1.0, 1.0), monotonic=False, initialization="he",
        source="Basirat, Roth 2018, The quest for the golden activation function",
    ),
]  # fmt: skip
