"""`activation`: somebody's own scalar function as an activation of the library, with a derivative that was checked."""

import dataclasses
import functools
import inspect
import keyword
from math import inf, isfinite

from . import _derivative_check
from ._arguments import shown
from .activation import ActivationFunction, ParametricFunction
from .kernels.catalog import activation_kernels
from .kernels.digest import digest
from .kernels.scalar.differentiate import derivative_of
from .kernels.scalar.made import parameters_of, with_partials
from .kernels.scalar.records import Activation, Parameter
from .kernels.scalar.source import NoSource
from .kernels.scalar.translate import translate, without_source

DECLARED = {}  # name -> the activation that was declared last under it, for loading models
_RESERVED = ("out", "axis", "num_parameters", "grad", "training", "function", "expected")


def activation(
    forward=None,
    derivative=None,
    *,
    name=None,
    layer=None,
    parameters=None,
    learnable=(),
    initialization="xavier",
    check=True,
):
    """Make an activation of a Python function of one number: an array function like ``nd.silu``, a stage and a layer.

    Calls of `math`, NumPy and `scipy.special` become those of this library's elementary functions, which vectorise and
    keep to float32; numbers in global variables are taken as they are now. Without *derivative* it is found by
    automatic differentiation, which needs the source: if and else, loops over constant ranges and calls of other such
    functions are differentiated, too; at a kink the derivative is that of the branch which is taken.

    Parameters
    ----------
    forward : function (x, alpha=1.0, ...) of one number, and of parameters with numbers as defaults
    derivative : function of the same arguments; None: by automatic differentiation
    name : under which errors, kernels and saved models know it; None: the function's
    layer : name that its layer is shown with; None: made from *name*
    parameters : dict, name -> default of parameters, for those without one, or in place of it
    learnable : True, or names of parameters that layers learn, the first ones; their gradients are differentiated
    initialization : "xavier", "he" or "lecun": of a linear layer in front of it
    check : whether derivatives are compared with differences of *forward*, in float64, from -1000 to 1000

    Returns
    -------
    ActivationFunction : ``f(x)``, ``f.derivative(x)``, ``f.backward(grad, x)``, ``f.scalar``, ``f.scalar_derivative``,
        ``f.layer()``; with parameters ``f(x, alpha=0.5)``

    Raises
    ------
    TypeError : something in a function is not supported (the message names it and its line), or its source, which is
        needed, cannot be read
    ValueError : a derivative is wrong (the message has the point and both values), or does not fit *forward*

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import numbadl as nd
    >>> @nd.activation
    ... def bump(x, width=1.0):
    ...     return x * math.exp(-((x / width) ** 2))
    >>> bump.derivative(np.zeros(3, np.float32), width=2.0)
    array([1., 1., 1.], dtype=float32)
    >>> nd.nn.Sequential(nd.nn.Linear(4, 8), bump.layer(width=2.0))
    Sequential(Linear(in_features=4, out_features=8, bias=True), Bump(width=2.0))
    """
    options = {
        "name": name, "layer": layer, "parameters": parameters, "learnable": learnable,
        "initialization": initialization, "check": check,
    }  # fmt: skip
    if forward is None:
        return functools.partial(activation, derivative=derivative, **options)
    record, given = _record(_function("forward", forward), derivative, **options)
    function = _UserParametric(record, given) if record.parameters else _UserActivation(record, given)
    if check:
        _derivative_check.check(given, record, derivative is not None)
    DECLARED[record.name] = function
    return function


class _Documented:
    """What a user's activation has in place of a formula: its own docstring, and kernels outside the catalog."""

    def __init__(self, record, given):
        # Two functions of one name have kernels of two names, and so two files.
        gradients = [p.gradient for p in record.learnable]
        label = f"{record.name[:60]}.{digest(record.forward, record.derivative, *gradients)[:12]}"
        super().__init__(record, list(activation_kernels(dataclasses.replace(record, name=label))))
        self.__doc__ = inspect.getdoc(given) or f"{record.name}, declared with numbadl.activation."
        self.__wrapped__ = given

    def __repr__(self):
        return f"<numbadl activation {self.__name__}, declared with numbadl.activation>"


class _UserActivation(_Documented, ActivationFunction):
    pass


class _UserParametric(_Documented, ParametricFunction):
    pass


def _record(forward, derivative, name, layer, parameters, learnable, initialization, check):
    """The record of a declaration, and the function as it was given."""
    name = _name("name", name if name is not None else forward.__name__.replace("<lambda>", "lambda"))
    layer = _name("layer", layer if layer is not None else "".join(p[:1].upper() + p[1:] for p in name.split("_")))
    if initialization not in ("xavier", "he", "lecun"):
        raise ValueError(f"initialization: got {shown(initialization)}, accepted are 'xavier', 'he' and 'lecun'")
    if not isinstance(check, bool):
        raise TypeError(f"check: got {shown(check)}, accepted are True and False")
    defaults = _defaults(forward, parameters or {})
    learnt = _learnable(learnable, defaults)
    function = _translated(forward, needs_source=derivative is None or bool(learnt))
    if derivative is None:
        slope = derivative_of(function)
    else:
        slope = _translated(_function("derivative", derivative))
        if len(parameters_of(derivative)) != len(defaults) + 1:
            wanted = ", ".join(parameters_of(forward))
            raise ValueError(
                f"derivative: takes {', '.join(parameters_of(slope))}, accepted are those of forward: {wanted}"
            )
    gradients = {n: derivative_of(function, 1 + k) for k, n in enumerate(defaults) if n in learnt}
    record = Activation(
        name, layer, with_partials(function, (slope, *map(gradients.get, defaults))), slope, "", "", (-inf, inf), "",
        initialization=initialization, source="declared with numbadl.activation",
        parameters=tuple(Parameter(n, value, gradients.get(n)) for n, value in defaults.items()),
    )  # fmt: skip
    return record, forward


def _function(argument, value):
    value = getattr(value, "py_func", value)  # of a compiled one
    if not inspect.isfunction(value):
        raise TypeError(f"{argument}: got {shown(value)}, accepted are Python functions of one number")
    return value


def _name(argument, value):
    if not isinstance(value, str) or not value.isidentifier() or (keyword.iskeyword(value) and value != "lambda"):
        raise ValueError(f"{argument}: got {shown(value)}, accepted are names: letters, digits and underscores")
    return value


def _translated(fn, needs_source=False):
    try:
        return translate(fn)
    except NoSource as error:
        if needs_source:
            raise NoSource(
                f"{error}; automatic differentiation needs it: define the function in a file, or give derivative="
            ) from None
        return without_source(fn)


def _defaults(forward, parameters):
    """Name -> default of each parameter of a function, after x."""
    found = parameters_of(forward)
    if not found:
        raise TypeError(f"forward: {forward.__name__} takes no argument, accepted are functions of one number")
    if not isinstance(parameters, dict):
        raise TypeError(f"parameters: got {shown(parameters)}, accepted is a dict of names and numbers")
    names = list(found)[1:]
    for name in parameters:
        if name not in names:
            raise ValueError(
                f"parameters: got {name!r}, accepted are those of {forward.__name__}: {', '.join(names) or 'none'}"
            )
    defaults = {}
    for name in names:
        value = parameters.get(name, found[name])
        if name in _RESERVED or name == "x":
            raise ValueError(f"forward: its parameter {name} has a name that array functions and layers use; rename it")
        if value is inspect.Parameter.empty:
            raise ValueError(
                f"forward: its parameter {name} has no default; give it one, or parameters={{{name!r}: 1.0}}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            raise TypeError(
                f"forward: its parameter {name} has the default {shown(value)}, accepted are finite numbers"
            )
        defaults[name] = float(value)
    return defaults


def _learnable(learnable, defaults):
    """The names of the learnable parameters, after checks."""
    names = (
        list(defaults) if learnable is True else [learnable] if isinstance(learnable, str) else list(learnable or ())
    )
    for name in names:
        if name not in defaults:
            raise ValueError(f"learnable: got {name!r}, accepted are the parameters: {', '.join(defaults) or 'none'}")
    if set(list(defaults)[: len(names)]) != set(names):
        raise ValueError(
            f"learnable: got {', '.join(names)}, but the parameters are {', '.join(defaults)}; put them first"
        )
    return names
