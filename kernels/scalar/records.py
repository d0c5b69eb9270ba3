"""What is declared about an activation: the classes of the records from which everything else is derived."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite


def finite_from_0(value):
    return 0 <= value < inf


def finite_above_0(value):
    return 0 < value < inf


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
    angle : function (x, *parameters) -> the largest angle whose sine or cosine they need, if they need one
    variant : (name, option, value) of the activation that is this one with that option, if there is one
    of_result : scalar function y -> f'(x) for y = f(x), where that is a simple one; exact for y, which is a rounded f(x)
    alternating : whether they take a sign after that, 1 on even channels and -1 on odd ones
    """

    name: str
    layer: str
    forward: Callable
    derivative: Callable
    formula: str
    derivative_formula: str
    range: tuple | Callable
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
    angle: Callable | None = None
    variant: tuple | None = None
    of_result: Callable | None = None

    @property
    def learnable(self):
        """The parameters that have gradients."""
        return tuple(p for p in self.parameters if p.gradient is not None)


@dataclass(frozen=True)
class Gated:
    """What there is to know about a gated unit, y = activation(gate) * x.

    Attributes
    ----------
    layer : name of the layer class in `numbadl.nn`
    forward : scalar function (x, gate) -> y
    gradient : scalar function (grad, x, gate) -> (grad * dy/dx, grad * dy/dgate)
    formula : LaTeX, of x and the gate g
    source : where it comes from
    """

    name: str
    layer: str
    forward: Callable
    gradient: Callable
    formula: str
    source: str = ""
