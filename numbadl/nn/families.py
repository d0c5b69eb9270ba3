"""Layers of the operations on rows, halves and groups: the softmax family, gated units, maxout, apl."""

import inspect

import numpy as np

from .. import _arguments as arguments
from .. import functional
from ..gated import SplitFunction
from .layer import Layer


class _AlongAxis(Layer):
    """A layer that applies a function along one axis; subclasses name the function."""

    function = None

    def __init__(self, axis=-1):
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or axis == 0:
            raise ValueError(f"axis: got {arguments.shown(axis)}, accepted are integers but 0, the axis of the batch")
        self.axis = int(axis)
        super().__init__()

    def config(self):
        return {"axis": self.axis}

    def _resized(self, shape, times, parts):
        """*shape*, without the batch axis, with *times* / *parts* as many elements along the axis."""
        axis = self.axis - 1 if self.axis > 0 else self.axis
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"axis: got {self.axis}, but the input has {len(shape) + 1} dimensions")
        if shape[axis] is not None and shape[axis] % parts:
            raise ValueError(f"got {shape[axis]} elements along axis {self.axis}, accepted are multiples of {parts}")
        changed = list(shape)
        changed[axis] = changed[axis] * times // parts
        return tuple(changed)


class _Row(_AlongAxis):
    """Not to be used before the cross-entropy loss, which takes logits."""

    any_axes = True

    def forward(self, x, training=False):
        self._check_input(x)
        y = self.function(x, axis=self.axis, out=self._work("out", x.shape, training))
        if training:
            self._kept = y
        return y

    def backward(self, grad, input_gradient=True):
        return self.function.backward(grad, self._from_forward(), axis=self.axis, out=self._work("dx", grad.shape))

    def output_shape(self, shape):
        return shape


class _Split(_AlongAxis):
    """The second half of the features along an axis is the gate."""

    def forward(self, x, training=False):
        self._check_input(x)
        if training:
            self._kept = x
        return self.function(x, axis=self.axis)

    def backward(self, grad, input_gradient=True):
        x = self._from_forward()
        return self.function.backward(grad, x, axis=self.axis, out=self._work("dx", x.shape))

    def output_shape(self, shape):
        return self._resized(shape, 1, 2)


class Maxout(_AlongAxis):
    """The largest of each group of *pieces* channels: `numbadl.maxout` as a layer."""

    function = functional.maxout

    def __init__(self, pieces, axis=1):
        self.pieces = arguments.integer("pieces", pieces)
        super().__init__(axis)

    def config(self):
        return {"pieces": self.pieces, "axis": self.axis}

    def forward(self, x, training=False):
        self._check_input(x)
        if training:
            self._kept = x
        return self.function(x, self.pieces, axis=self.axis)

    def backward(self, grad, input_gradient=True):
        return self.function.backward(grad, self._from_forward(), self.pieces, axis=self.axis)

    def output_shape(self, shape):
        return self._resized(shape, 1, self.pieces)


class APL(Layer):
    """`numbadl.apl` as a layer: *pieces* hinges, learnt for all channels together, or for each of *num_parameters*.

    Heights start at 0, as a relu; hinges lie evenly from -1 to 1.
    """

    def __init__(self, pieces=2, num_parameters=1, axis=1):
        self.pieces = arguments.integer("pieces", pieces)
        self.num_parameters = arguments.integer("num_parameters", num_parameters)
        self.axis = axis
        super().__init__()

    def config(self):
        return {"pieces": self.pieces, "num_parameters": self.num_parameters, "axis": self.axis}

    def shapes(self):
        return dict.fromkeys(("a", "b"), (self.pieces, self.num_parameters))

    def initialize(self, name, shape):
        hinges = np.linspace(-1, 1, self.pieces) if self.pieces > 1 else np.zeros(1)
        return np.zeros(shape) if name == "a" else np.repeat(hinges[:, None], self.num_parameters, axis=1)

    def forward(self, x, training=False):
        self._check_input(x)
        if training:
            self._kept = x
        out = self._work("out", x.shape, training)
        return functional.apl(x, *self.parameters().values(), axis=self.axis, out=out)

    def backward(self, grad, input_gradient=True):
        out = self._work("dx", grad.shape)
        parameters = self.parameters().values()
        dx, *found = functional.apl.backward(grad, self._from_forward(), *parameters, axis=self.axis, out=out)
        for gradient, kept in zip(found, self.gradients().values(), strict=True):
            self.device.copy(kept, gradient)
        return dx

    def output_shape(self, shape):
        return shape


def _layer(name, base, function, doc):
    doc = f"{doc} as a layer, along *axis*. {inspect.getdoc(base)}"
    return type(name, (base,), {"function": function, "__doc__": doc})


_ROWS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Softmin": "softmin", "Sparsemax": "sparsemax"}
FAMILIES = {name: _layer(name, _Row, getattr(functional, f), f"`numbadl.{f}`") for name, f in _ROWS.items()}
FAMILIES |= {
    f.record.layer: _layer(f.record.layer, _Split, SplitFunction(f.record), f"`numbadl.{name}`, {f.record.formula},")
    for name, f in functional.GATED.items()
}
FAMILIES |= {"Maxout": Maxout, "APL": APL}
