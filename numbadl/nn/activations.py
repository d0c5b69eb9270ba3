"""A layer for each activation, made from its record: constructor, learnable parameters, forward and backward."""

import functools
import inspect
from difflib import get_close_matches

import numpy as np

from .. import _arguments as checked
from ..activation import ActivationFunction
from ..arrays import is_plain
from ..functional import FUNCTIONS
from ..kernels.cpu.map import DONE
from ..repeated import MISSING
from ..user_activation import DECLARED
from .layer import Layer


class ActivationLayer(Layer):
    """A layer that applies an activation; its subclasses are made from the records.

    Learnable parameters are those of the layer, *num_parameters* of each: 1, or one for each channel along *axis*.

    Where f'(x) is a simple function of f(x) (sigmoid, tanh, exponential), backward in training takes the result, which is as
    fast as a copy: the gradient's error is then at most some 2 epsilon of that behind the layer, and 0 where the result is 1.
    """

    any_axes = True
    function = None
    arguments = None  # the constructor's, with their defaults

    def __init__(self, *values, **options):
        self._configure(inspect.signature(type(self)), values, options)
        super().__init__()

    def _configure(self, signature, values, options):
        try:
            bound = signature.bind(*values, **options)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        self._config = {**(self.arguments or {}), **bound.arguments}
        if "num_parameters" in self._config:
            self._config["num_parameters"] = checked.integer("num_parameters", self._config["num_parameters"])
        if self.arguments:
            self.function.check(**self.options())

    def config(self):
        return dict(self._config)

    def shapes(self):
        if "num_parameters" not in self._config:
            return {}
        return {p.name: (self._config["num_parameters"],) for p in self.function.record.learnable}

    def initialize(self, name, shape):
        return np.full(shape, self._config[name])

    def options(self):
        """What the function is called with, but for learnable parameters and the random stream."""
        return {name: value for name, value in self._config.items() if name != "num_parameters"}

    def _call(self, training):
        """The options of this call: parameters as they are now, and the random stream in training."""
        options = {**self.options(), **self.parameters()}
        if training and self.function.record.random:
            options |= {"training": True, **self.draw()}
        return options

    def forward(self, x, training=False):
        self._check_input(x)
        if training:
            self.keep(x)  # first: random parameters are those of the step that it counts
        y = self.function(x, out=self._work("out", x.shape, training), **self._call(training))
        if training and self._of_result is not None:
            self._kept = y
        return y

    @property
    def _of_result(self):
        """The scalar function that gives the derivative for a result, if there is one."""
        return self.function.record.of_result

    def keep(self, x):
        """Count a step of training, of whose input, or result, backward needs no more than x."""
        self._kept = x
        self.steps += 1

    def backward(self, grad, input_gradient=True):
        out = self._work("dx", grad.shape)
        if self._of_result is not None:
            return self.function.backward(grad, result=self._from_forward(), out=out)
        found = self.function.backward(grad, self._from_forward(), out=out, **self._call(training=True))
        if not self.function.record.learnable:
            return found
        dx, *gradients = found
        for gradient, kept in zip(gradients, self.gradients().values(), strict=True):
            self.device.copy(kept, gradient)
        return dx

    def repeat_forward(self, x, y):
        run = self._prepared(0, x, y)
        if run is None:
            return None
        kept = x if self._of_result is None else y

        def again():
            if run() != DONE:
                return MISSING
            self.keep(kept)
            return y

        return again

    def repeat_backward(self, grad, dx, input_gradient):
        x = self._from_forward()
        run = self._prepared(1, grad, x, dx)
        if run is None:
            return None

        def again():
            return MISSING if self._kept is not x or run() != DONE else dx

        return again

    def _prepared(self, which, *arrays):
        """The kernel of forward (0) or backward (1) on these arrays, where they are all that it takes beside numbers."""
        if not is_plain(*arrays) or "num_parameters" in self._config:
            return None
        if which and self._of_result is not None:
            kernels = self.function.kernel_of_result(), ()
        else:
            kernels = self.function.kernels(arrays[0].dtype, **self.options())
            kernels = kernels and (kernels[which], kernels[2])
        return kernels and functools.partial(kernels[0], *(a.reshape(-1) for a in arrays), *kernels[1])

    def output_shape(self, shape):
        return shape


def _arguments_of(function):
    """The arguments of the layer of an activation function, with their defaults, and its signature."""
    arguments = {p.name: p.default for p in function.record.parameters}
    if function.record.learnable:
        arguments = {"num_parameters": 1, **arguments}
    options = getattr(function, "options", {})
    arguments |= {name: options[name] for name in ("axis", "approximate") if name in options}
    kind = inspect.Parameter
    parameters = [kind(name, kind.POSITIONAL_OR_KEYWORD, default=value) for name, value in arguments.items()]
    return arguments, inspect.Signature(parameters)


def layer_of(function):
    """The layer class of an activation function of this library."""
    arguments, signature = _arguments_of(function)
    doc = f"The activation f(x) = {function.record.formula} as a layer; see `numbadl.{function.__name__}`."
    body = {"function": function, "arguments": arguments, "__doc__": doc, "__signature__": signature}
    return type(function.record.layer, (ActivationLayer,), body)


ACTIVATION_LAYERS = {name: layer_of(function) for name, function in FUNCTIONS.items()}


class ActivationMissing(ValueError):
    """A model has an activation that this program has not declared, or has declared as another function."""


class DeclaredActivation(ActivationLayer):
    """The layer of an activation that was declared with `numbadl.activation`.

    A file cannot hold the function. It holds its name and some of its values, with which that of the program that loads the
    model is compared: it has to declare the function first.
    """

    def __init__(self, function, *values, expected=None, **options):
        self.function = _declared(function) if isinstance(function, str) else function
        self.arguments, signature = _arguments_of(self.function)
        self._configure(signature, values, options)
        Layer.__init__(self)
        if expected is not None:
            self._compare(expected)

    def config(self):
        return {"function": self.function.__name__, **self._config, "expected": self._values_at(PROBES)}

    def _values_at(self, points):
        given = [float(self._config.get(p.name, p.default)) for p in self.function.record.parameters]
        with np.errstate(all="ignore"):
            return [[x, float(self.function.scalar(np.float64(x), *given))] for x in points]

    def _compare(self, expected):
        for (x, then), (_, now) in zip(expected, self._values_at([x for x, _ in expected]), strict=True):
            if not np.isclose(now, then, rtol=1e-5, atol=1e-9, equal_nan=True):
                raise ActivationMissing(
                    f"activation {self.function.__name__!r}: gives {now} at {x}, and gave {then} when the model was"
                    " saved; declare the function that it was trained with"
                )

    def __repr__(self):
        return f"{self.function.record.layer}({', '.join(f'{k}={v!r}' for k, v in self._config.items())})"


PROBES = (-30.0, -5.0, -2.1, -1.3, -0.6, -0.1, 0.2, 0.7, 1.1, 2.3, 4.7, 11.0)


def _declared(name):
    if name not in DECLARED:
        raise ActivationMissing(
            f"activation {name!r}: is not declared in this program; numbadl.activation(..., name={name!r}) has to be"
            " called before the model is loaded"
        )
    return DECLARED[name]


def activation_layer(activation, **options):
    """A layer that applies an activation: one of this library, by its name or itself, or one declared with `activation`.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.nn.activation_layer("relu")
    ReLU()
    >>> nd.nn.activation_layer(nd.elu, alpha=0.5)
    ELU(alpha=0.5)
    """
    name = getattr(activation, "__name__", activation)
    if isinstance(activation, ActivationFunction) and FUNCTIONS.get(name) is not activation:
        return DeclaredActivation(activation, **options)
    if not isinstance(name, str) or name not in ACTIVATION_LAYERS:
        close = get_close_matches(name.lower(), ACTIVATION_LAYERS, n=1) if isinstance(name, str) else ()
        hint = f"; did you mean {close[0]!r}?" if close else ""
        accepted = f"{', '.join(ACTIVATION_LAYERS)}, and what numbadl.activation gives"
        raise ValueError(f"activation: got {activation!r}, accepted are {accepted}{hint}")
    return ACTIVATION_LAYERS[name](**options)
