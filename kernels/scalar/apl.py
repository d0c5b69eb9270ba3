"""apl, the adaptive piecewise linear unit: one record for each number of pieces, built from the inside out."""

from math import inf

from .activations import relu, relu_derivative
from .intrinsics import fma
from .language import scalar
from .records import Activation, Parameter


def record(pieces):
    """The activation with parameters a_1 ... a_S, b_1 ... b_S for S *pieces*."""
    forward, derivative = relu, relu_derivative
    for s in range(pieces):
        forward, derivative = _with_hinge(forward, s, pieces + s), _with_step(derivative, s, pieces + s)
    gradients = [_height(pieces + s) for s in range(pieces)] + [_shift(s, pieces + s) for s in range(pieces)]
    names = [f"a{s + 1}" for s in range(pieces)] + [f"b{s + 1}" for s in range(pieces)]
    return Activation(
        f"apl.{pieces}", "APL", forward, derivative, r"\max(0, x) + \sum_s a_s \max(0, b_s - x)",
        r"H(x) - \sum_s a_s H(b_s - x)", (-inf, inf), "C^0", monotonic=False, initialization="he",
        source="Agostinelli, Hoffman, Sadowski, Baldi 2015, Learning activation functions to improve deep neural networks",
        parameters=tuple(Parameter(name, 0.0, gradient) for name, gradient in zip(names, gradients, strict=True)),
    )  # fmt: skip


def _plain(fn):
    """*fn* of (x), as a function of (x, *parameters)."""

    @scalar
    def plain(x, *parameters):
        return fn(x)

    return plain


_relu, _relu_derivative = _plain(relu), _plain(relu_derivative)


def _with_hinge(before, a, b):
    before = _relu if before is relu else before

    @scalar
    def with_hinge(x, *parameters):
        return fma(parameters[a], relu(parameters[b] - x), before(x, *parameters))

    return with_hinge


def _with_step(before, a, b):
    before = _relu_derivative if before is relu_derivative else before

    @scalar
    def with_step(x, *parameters):
        return before(x, *parameters) - parameters[a] * relu_derivative(parameters[b] - x)

    return with_step


def _height(b):
    @scalar
    def by_a(x, *parameters):
        return relu(parameters[b] - x)

    return by_a


def _shift(a, b):
    @scalar
    def by_b(x, *parameters):
        return parameters[a] * relu_derivative(parameters[b] - x)

    return by_b
