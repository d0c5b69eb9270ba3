"""Layers one after the other: what a model and a residual block do with theirs."""

import functools
import itertools

from .._arguments import shown
from ..activation import ActivationFunction
from ..repeated import MISSING
from .activations import ActivationLayer
from .dropout import Dropout
from .layer import Layer, axes_text, known_axes
from .layers import BatchNorm
from .norms import NORMS
from .spatial import Pool


def check_layers(layers, first=0):
    """All are layers that stand nowhere else, and none but that in place *first* takes whole numbers."""
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {position}: got {shown(layer)}, accepted are layers of numbadl.nn{_hint(layer)}")
        if layer.is_model:
            raise TypeError(f"layer {position}: a Sequential inside another is not supported; give its layers")
        if layer.model is not None:
            raise ValueError(f"layer {position}, {layer!r}: belongs to another model; make one for each")
        if layer.takes_numbers and position != first:
            raise ValueError(
                f"layer {position}, {layer!r}: takes whole numbers, which only the input of a model can be"
            )
    if len(set(map(id, layers))) != len(layers):
        raise ValueError("layers: the same layer stands in two places; make one for each")


def _hint(value):
    if isinstance(value, (list, tuple)):
        return "; *layers gives those of a list"
    if isinstance(value, type) and issubclass(value, Layer):
        return f", such as {value.__name__}(...)"
    if isinstance(value, (ActivationFunction, str)):
        return "; nn.activation_layer makes one of an activation"
    return ""


def output_shapes(layers, shape=None):
    """What each layer gives, as far as that is known without an input; checks that the next one takes it.

    *shape* is that of the input, without the batch axis, if it is known.
    """
    maker, shapes = "the input", []
    for position, layer in enumerate(layers):
        before = layer.input_shape() if shape is None else shape
        if before is not None and not layer.any_axes:
            before = known_axes(before)
        try:
            shape = None if before is None else layer.output_shape(before)
        except ValueError as error:
            raise ValueError(f"layer {position}, {layer!r}: {error}, but {maker} gives {axes_text(before)}") from None
        if shape != before:
            maker = f"layer {position}, {layer!r},"
        shapes.append(shape)
    return shapes


def activation_behind(layers):
    """The record of the first activation, looking past normalisation, dropout and pooling."""
    for layer in layers:
        if isinstance(layer, ActivationLayer):
            return layer.function.record
        if not isinstance(layer, (BatchNorm, Dropout, Pool, *NORMS)):
            return None
    return None


def collect(layers, what):
    """Key such as "0.weight" -> array, of name -> layer; *what* is "parameters", "gradients" or "state"."""
    return {f"{name}.{key}": value for name, layer in layers.items() for key, value in getattr(layer, what)().items()}


def forward_through(layers, x, training):
    """The output of the last layer; an error names the layer that it comes from.

    In training, a ReLU and the Dropout behind it are one pass over the array, and a layer's call for the same arrays as in
    the steps before is only run (`numbadl.repeated.Repeats`).
    """
    rectifier = None
    for position, (layer, behind) in enumerate(itertools.pairwise([*layers, None])):
        if training and isinstance(behind, Dropout) and behind.takes_over(layer):
            rectifier = layer
            continue
        repeats = layer.repeats[0]
        y = repeats.again(x, rectifier) if training and "forward" not in vars(layer) else MISSING
        if y is MISSING:
            try:
                y = layer.forward(x, training) if rectifier is None else layer.forward_with(rectifier, x)
            except ValueError as error:
                raise ValueError(f"layer {position}, {layer!r}: {error}") from None
            if training and not layer.is_changed("forward"):
                repeats.seen(functools.partial(layer.repeat_forward, x, y), x, rectifier)
        x, rectifier = y, None
    return x


def backward_through(layers, grad, input_gradient):
    """The gradient of the first layer's input, if it is asked for."""
    done = None  # the layer whose part the one behind it has done
    for position, layer in reversed(list(enumerate(layers))):
        if layer is done:
            continue
        repeats, wanted = layer.repeats[1], input_gradient or position > 0
        dx = MISSING if "backward" in vars(layer) else repeats.again(grad, wanted)
        if dx is MISSING:
            dx = layer.backward(grad, wanted)
            if not layer.is_changed("backward"):
                repeats.seen(functools.partial(layer.repeat_backward, grad, dx, wanted), grad, wanted)
        grad, done = dx, getattr(layer, "rectifier", None)
    return grad
