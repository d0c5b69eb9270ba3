"""What every layer is: parameters and gradients that may be views into a model's flat buffers, forward and backward."""

import numpy as np

from ..arrays import DEVICES, to_host
from . import initializers

LAYERS = {}  # class name -> class, for loading a saved model


class Layer:
    """Base class. A layer keeps what backward needs from its last ``forward(x, training=True)``.

    A subclass declares its parameters in ``shapes`` and its other state in ``buffers``, and defines ``forward`` and
    ``backward``. In training, results live in the layer's own workspace and are overwritten by the next
    step, so that a step allocates nothing; otherwise they are new arrays.
    """

    model = None  # whether it is part of a model, whose flat buffers hold its parameters
    following = None  # the record of the activation behind it, which the initialiser is chosen by

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        LAYERS[cls.__name__] = cls

    def __init__(self):
        self.device, self.dtype = DEVICES["cpu"], np.dtype(np.float32)
        self.seed, self.stream, self.steps = 0, 0, 0
        self._workspace, self._values, self._gradients = {}, None, None
        self._buffers = {name: np.array(value) for name, value in self.buffers().items()}

    # -- to be defined by a layer --------------------------------------------------------------------------------
    def shapes(self):
        """Name -> shape of each parameter."""
        return {}

    def buffers(self):
        """Name -> first value of each array that is saved, but not trained."""
        return {}

    def config(self):
        """The constructor's arguments, for saving."""
        return {}

    def initialize(self, name, shape):
        """First values of a parameter, as a float64 or float32 array on the CPU."""
        raise NotImplementedError

    def forward(self, x, training=False):
        raise NotImplementedError

    def backward(self, grad, input_gradient=True):
        """Fill the parameters' gradients and return that of the input (None if it is not asked for)."""
        raise NotImplementedError

    def output_shape(self, shape):
        """The shape of the output for an input of *shape*, without the batch axis; for `summary`."""
        return shape

    # -- parameters ----------------------------------------------------------------------------------------------
    def parameters(self):
        """Name -> array of each parameter."""
        if self._values is None:
            self._values = {
                name: self.device.from_host(np.ascontiguousarray(self.initialize(name, shape), self.dtype))
                for name, shape in self.shapes().items()
            }
        return self._values

    def gradients(self):
        """Name -> gradient of each parameter, from the last backward."""
        if self._gradients is None:
            self._gradients = {name: self.device.zeros(shape, self.dtype) for name, shape in self.shapes().items()}
        return self._gradients

    def state(self):
        """Name -> array of everything that is saved: parameters and buffers."""
        return {**self.parameters(), **self._buffers}

    def bind(self, values, gradients, device, dtype):
        """Use these arrays from now on; buffers move along to the device and dtype."""
        self._values, self._gradients, self.device, self.dtype = values, gradients, device, dtype
        self._workspace = {}
        for name, value in self._buffers.items():
            self._buffers[name] = device.from_host(np.ascontiguousarray(to_host(value), dtype))

    def _work(self, name, shape, training=True):
        """An array for results: from the workspace in training, a new one otherwise."""
        if not training:
            return self.device.empty(shape, self.dtype)
        held = self._workspace.get(name)
        if held is None or held.shape[1:] != tuple(shape[1:]) or held.shape[0] < shape[0]:
            held = self._workspace[name] = self.device.empty(shape, self.dtype)
        return held if held.shape[0] == shape[0] else held[: shape[0]]

    def draw(self):
        """The random stream of this training step: of the layer's seed, its stream (its place in the model) and `steps`."""
        return {"seed": self.seed, "offset": (self.steps << 16) + self.stream}

    def _uniform(self, shape, low, high, name=""):
        index = list(self.shapes()).index(name) if name else 0
        return initializers.uniform(shape, low, high, self.seed, self.stream * 16 + index)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


def positive(name, value):
    """*value* as an int, if it is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}: got {value!r}, accepted are positive integers")
    return int(value)
