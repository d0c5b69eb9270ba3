"""A layer for each activation, made from its record: constructor, learnable parameters, forward and backward."""

import inspect

import numpy as np

from .. import _arguments as checked
from ..functional import FUNCTIONS
from .layer import Layer


class ActivationLayer(Layer):
    """A layer that applies an activation; its subclasses are made from the records.

    Learnable parameters are those of the layer, *num_parameters* of each: 1, or one for each channel along *axis*.
    """

    function = None
    arguments = None  # the constructor's, with their defaults

    def __init__(self, *values, **options):
        try:
            bound = inspect.signature(type(self)).bind(*values, **options)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        self._config = {**(self.arguments or {}), **bound.arguments}
        if "num_parameters" in self._config:
            self._config["num_parameters"] = checked.integer("num_parameters", self._config["num_parameters"])
        if self.arguments:
            self.function.check(**self._options())
        super().__init__()

    def config(self):
        return dict(self._config)

    def shapes(self):
        if "num_parameters" not in self._config:
            return {}
        return {p.name: (self._config["num_parameters"],) for p in self.function.record.learnable}

    def initialize(self, name, shape):
        return np.full(shape, self._config[name])

    def _options(self):
        return {name: value for name, value in self._config.items() if name != "num_parameters"}

    def _call(self, training):
        """The options of this call: parameters as they are now, and the random stream in training."""
        options = {**self._options(), **self.parameters()}
        if training and self.function.record.random:
            options |= {"training": True, **self.draw()}
        return options

    def forward(self, x, training=False):
        self._check_input(x)
        if training:
            self._kept = x
            self.steps += 1
        return self.function(x, out=self._work("out", x.shape, training), **self._call(training))

    def backward(self, grad, input_gradient=True):
        out = self._work("dx", grad.shape)
        found = self.function.backward(grad, self._from_forward(), out=out, **self._call(training=True))
        if not self.function.record.learnable:
            return found
        dx, *gradients = found
        for gradient, kept in zip(gradients, self.gradients().values(), strict=True):
            self.device.copy(kept, gradient)
        return dx

    def output_shape(self, shape):
        return shape


def layer_of(function):
    """The layer class of an activation function."""
    arguments = {p.name: p.default for p in function.record.parameters}
    if function.record.learnable:
        arguments = {"num_parameters": 1, **arguments}
    if "axis" in getattr(function, "options", ()):
        arguments["axis"] = function.options["axis"]
    kind = inspect.Parameter
    parameters = [kind(name, kind.POSITIONAL_OR_KEYWORD, default=value) for name, value in arguments.items()]
    doc = f"The activation f(x) = {function.record.formula} as a layer; see `numbadl.{function.__name__}`."
    body = {
        "function": function, "arguments": arguments, "__doc__": doc, "__signature__": inspect.Signature(parameters)
    }  # fmt: skip
    return type(function.record.layer, (ActivationLayer,), body)


ACTIVATION_LAYERS = {name: layer_of(function) for name, function in FUNCTIONS.items()}


def activation_layer(name):
    """A layer that applies the activation of that name.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.nn.activation_layer("relu")
    ReLU()
    """
    if name not in ACTIVATION_LAYERS:
        raise ValueError(f"activation: got {name!r}, accepted are {', '.join(ACTIVATION_LAYERS)}")
    return ACTIVATION_LAYERS[name]()
