"""What every layer is: parameters and gradients that may be views into a model's flat buffers, forward and backward."""

import math

import numpy as np

from ..arrays import DEVICES, check, device_of, to_host
from ..regularizers import L1L2
from ..repeated import Repeats
from . import initializers

LAYERS = {}  # class name -> class, for loading a saved model
_PACKAGE = __name__.partition(".")[0] + "."


class Layer:
    """Base class. A layer keeps what backward needs from its last ``forward(x, training=True)``.

    A subclass declares its parameters in ``shapes`` and its other state in ``buffers``, and defines ``forward`` and
    ``backward``. In training, results live in the layer's own workspace and are overwritten by the next
    step, so that a step allocates nothing; otherwise they are new arrays.

    Files name a layer by its class, so a subclass may not have the name of a layer of this library (TypeError). Of two
    subclasses with one name, the one that was defined last is the one that files are loaded with.
    """

    is_model = False  # whether it is a whole model, which cannot be a part of another
    any_axes = False  # whether it takes an input (N, ..., n) of any axes in between, as `output_shape` a shape (..., n)
    takes_numbers = False  # whether its input are whole numbers: of an integer type, or of the layer's dtype
    model = None  # whether it is part of a model, whose flat buffers hold its parameters
    regularizer = None  # one of `numbadl.regularizers` for this layer's weights, instead of that of `fit`
    following = None  # the record of the activation behind it, which the initialiser is chosen by
    _kept = None  # what backward needs from the last forward in training

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        ours = LAYERS.get(cls.__name__, cls).__module__
        if ours.startswith(_PACKAGE) and not cls.__module__.startswith(_PACKAGE):
            raise TypeError(
                f"class {cls.__name__}: numbadl.nn has a layer of that name, by which files know it; rename"
            )
        LAYERS[cls.__name__] = cls
        cls._made = {name: getattr(cls, name) for name in ("forward", "backward")}
        for name in cls._made:  # what repeats another class's is not its own
            if name in vars(cls) and f"repeat_{name}" not in vars(cls):
                setattr(cls, f"repeat_{name}", getattr(Layer, f"repeat_{name}"))

    def __init__(self):
        self.device, self.dtype = DEVICES["cpu"], np.dtype(np.float32)
        self.seed, self.stream, self.steps = 0, 0, 0
        self._workspace, self._values, self._gradients = {}, None, None
        self.repeats = Repeats(), Repeats()  # of forward and backward in training
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

    def repeat_forward(self, x, y):
        """After ``forward(x, training=True)`` gave y: a function that does that again with what x holds then, or None.

        See `numbadl.repeated.Repeats`. A subclass with a forward of its own has to have one of these, too, if any.
        """
        return

    def repeat_backward(self, grad, dx, input_gradient):
        """The same for ``backward(grad, input_gradient)``, which gave dx."""
        return

    def output_shape(self, shape):
        """The shape of the output for an input of *shape*, both without the batch axis; None if it is not known.

        Raises ValueError for a shape that the layer does not take; a model asks as it is built.
        """
        return

    def input_shape(self):
        """The shape of the input without the batch axis, if it is always the same; (..., n) or None if it is not."""
        return

    def parts(self):
        """Name -> layer of each that it consists of."""
        return {}

    # -- parameters ----------------------------------------------------------------------------------------------
    def parameters(self):
        """Name -> array of each parameter."""
        if self._values is None:
            self._values = {
                name: self.device.from_host(np.ascontiguousarray(self.initialize(name, shape), self.dtype))
                for name, shape in self.shapes().items()
            }
        return self._values

    def weights(self):
        """Name -> array of the parameters that penalties are of: those of two or more dimensions, not biases and slopes."""
        return {name: value for name, value in self.parameters().items() if len(value.shape) > 1}

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
        self._workspace, self._kept, self.repeats = {}, None, (Repeats(), Repeats())
        for name, value in self._buffers.items():
            self._buffers[name] = device.from_host(np.ascontiguousarray(to_host(value), dtype))

    def __reduce__(self):
        """Pickles and copies are layers of their own: parameters, buffers and random stream, but nothing of a step."""
        state = {name: np.array(to_host(value)) for name, value in self.state().items()}
        return _restored, (
            self.description(), state, self.dtype, self.device.name, self.seed, self.stream, steps_of([self])
        )  # fmt: skip

    def is_changed(self, name):
        """Whether somebody gave this layer, or its class, another "forward" or "backward" than it was made with."""
        return name in vars(self) or getattr(type(self), name) is not self._made[name]

    # -- as a part of a model --------------------------------------------------------------------------------------
    def join(self, following):
        """Be part of a model in which *following* is the record of the activation behind, or None."""
        self.following, self.model = following, True

    def restart(self, seed, stream):
        """Draw random numbers from *seed* and *stream*, from the first step on; the next free stream is returned."""
        self.seed, self.stream, self.steps = seed, stream, 0
        return stream + 1

    def description(self):
        """Its class's name and its arguments, as JSON can hold them; `described` makes a layer of it again."""
        found = {"type": type(self).__name__, **self.config()}
        if self.regularizer is not None:
            penalty = self.regularizer
            found["_regularizer"] = {"l1": penalty.l1, "l2": penalty.l2, "proximal": penalty.proximal}
        return found

    def summary_rows(self, name, before, shape):
        """Rows of a model's summary, (name, layer, output, parameters), given the shapes of input and output, or None."""
        count = sum(math.prod(s) for s in self.shapes().values())
        return [(name, repr(self), "" if shape is None else f"(N, {axes_text(shape)})", f"{count:,}")]

    # -- what forward and backward share -------------------------------------------------------------------------
    def _check_input(self, x, name="x"):
        """x is an array of the layer's dtype, on its device."""
        if type(x) is np.ndarray and x.dtype is self.dtype and self.device is DEVICES["cpu"]:  # as in every step
            return
        check(**{name: x})
        if x.dtype != self.dtype:
            converted = f"{name}.astype(np.{self.dtype}) converts it"
            raise TypeError(f"{name}: got dtype {x.dtype}, accepted is {self.dtype}; {converted}")
        if device_of(x) is not self.device:
            raise TypeError(f"{name}: got an array on {device_of(x).name}, accepted are those on {self.device.name}")

    def _from_forward(self):
        if self._kept is None:
            raise RuntimeError(f"backward: {self!r} needs a forward(x, training=True) before it")
        return self._kept

    def _work(self, name, shape, training=True, dtype=None):
        """An array for results: from the workspace in training, a new one otherwise."""
        dtype = self.dtype if dtype is None else dtype
        if not training:
            return self.device.empty(shape, dtype)
        held = self._workspace.get(name)
        if held is None or held.shape[1:] != tuple(shape[1:]) or held.shape[0] < shape[0]:
            held = self._workspace[name] = self.device.workspace(shape, dtype)
        if held.shape[0] == shape[0]:
            return held
        part = self._workspace.get((name, shape[0]))
        if part is None or part[0] is not held:  # views are kept, too: see `numbadl.repeated.Repeats`
            part = self._workspace[name, shape[0]] = held, held[: shape[0]]
        return part[1]

    def draw(self):
        """The random stream of this training step: of the layer's seed, its stream (its place in the model) and `steps`."""
        return {"seed": self.seed, "offset": (self.steps << 16) + self.stream}

    def _uniform(self, shape, low, high, name=""):
        return initializers.uniform(shape, low, high, self.seed, self._stream_of(name))

    def _stream_of(self, name):
        """The stream that a parameter's first values are drawn from."""
        return self.stream * 16 + (list(self.shapes()).index(name) if name else 0)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


def every(layers):
    """Layers, each with those that it consists of, in order."""
    for layer in layers:
        yield layer
        yield from every(layer.parts().values())


def steps_of(layers):
    """The training steps of `every` layer: where their random streams are."""
    return [layer.steps for layer in every(layers)]


def set_steps(layers, steps):
    """Put the random streams where they were when `steps_of` gave *steps*."""
    for layer, count in zip(every(layers), steps, strict=True):
        layer.steps = count


def axes_text(shape):
    """A shape, as messages and the summary show it."""
    return ", ".join(map(str, known_axes(shape)))


def known_axes(shape):
    """*shape* without the axes that (..., n) leaves open."""
    return tuple(n for n in shape if n is not ...)


def described(description):
    """The layer that a `Layer.description` describes."""
    options = dict(description)
    penalty = options.pop("_regularizer", None)
    layer = LAYERS[options.pop("type")](**options)
    if penalty is not None:
        layer.regularizer = L1L2(**penalty)
    return layer


def _restored(description, state, dtype, device, seed, stream, steps):
    """The layer whose `Layer.__reduce__` gave this."""
    layer = described(description)
    layer.restart(seed, stream)
    set_steps([layer], steps)
    for where in dict.fromkeys(("cpu", device)):
        found = {name: DEVICES[where].from_host(state[name]) for name in layer.shapes()}
        gradients = {name: DEVICES[where].zeros(shape, dtype) for name, shape in layer.shapes().items()}
        layer.bind(found, gradients, DEVICES[where], dtype)
        if where == "cpu":
            for name, value in layer.state().items():
                value[...] = state[name]  # buffers, too, which move along to a device
    return layer
