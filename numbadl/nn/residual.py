"""Residual: layers whose output is added to their input."""

from ..elementwise import elementwise
from .chain import activation_behind, backward_through, check_layers, collect, forward_through, output_shapes
from .layer import Layer, described, known_axes


class Residual(Layer):
    """y = x + block(x), or projection(x) + block(x): a shortcut around a block of layers (He, Zhang, Ren, Sun 2015).

    Parameters
    ----------
    layers : the block, a list of layers
    projection : a layer for x where the block's output has another shape, such as ``Conv2d(16, 32, 1, stride=2)``

    Parameters' names are those of the block with their position, "0.weight", and of the projection, "projection.weight".

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> block = [nd.nn.Linear(4, 8), nd.nn.ReLU(), nd.nn.Linear(8, 4)]
    >>> nd.nn.Residual(block).forward(np.ones((2, 4), np.float32)).shape
    (2, 4)
    """

    any_axes = True

    def __init__(self, layers, projection=None):
        given = list(layers) if isinstance(layers, (tuple, list)) else layers
        if not isinstance(given, list) or not given:
            got = "no layers" if given == [] else type(layers).__name__
            raise TypeError(f"layers: got {got}, accepted are lists of layers")
        self.layers = [described(layer) if isinstance(layer, dict) else layer for layer in given]
        self.projection = described(projection) if isinstance(projection, dict) else projection
        if not (projection is None or isinstance(self.projection, Layer)):
            raise TypeError(f"projection: got {type(projection).__name__}, accepted are layers of numbadl.nn")
        check_layers(self.layers if projection is None else [*self.layers, self.projection], first=None)
        shape = self.input_shape()
        if shape is not None:
            self.output_shape(shape)
        super().__init__()
        self.restart(0, 0)
        for layer in self.parts().values():
            layer.model = True

    def parts(self):
        found = {str(position): layer for position, layer in enumerate(self.layers)}
        return found if self.projection is None else {**found, "projection": self.projection}

    def shapes(self):
        return collect(self.parts(), "shapes")

    def config(self):
        projection = self.projection and self.projection.description()
        return {"layers": [layer.description() for layer in self.layers], "projection": projection}

    def parameters(self):
        return collect(self.parts(), "parameters")

    def weights(self):
        return collect(self.parts(), "weights")

    def gradients(self):
        return collect(self.parts(), "gradients")

    def state(self):
        return collect(self.parts(), "state")

    def bind(self, values, gradients, device, dtype):
        super().bind(values, gradients, device, dtype)
        for part, layer in self.parts().items():
            mine = [{name: given[f"{part}.{name}"] for name in layer.shapes()} for given in (values, gradients)]
            layer.bind(*mine, device, dtype)

    def join(self, following):
        super().join(following)
        for position, layer in enumerate(self.layers):
            behind = self.layers[position + 1 :]
            layer.join(activation_behind(behind) if behind else following)
        if self.projection is not None:
            self.projection.join(following)

    def restart(self, seed, stream):
        stream = super().restart(seed, stream)
        for layer in self.parts().values():
            stream = layer.restart(seed, stream)
        return stream

    def forward(self, x, training=False):
        self._check_input(x)
        y = forward_through(self.layers, x, training)
        shortcut = x if self.projection is None else self.projection.forward(x, training)
        if y.shape != shortcut.shape:
            raise ValueError(
                f"x: got shape {x.shape}, for which the block gives {y.shape}, the shortcut {shortcut.shape}"
            )
        if training:
            self._kept = x.shape
        return elementwise("blend", self._work("out", y.shape, training), (1, 1), x=y, y=shortcut)

    def backward(self, grad, input_gradient=True):
        shape = self._from_forward()
        dx = backward_through(self.layers, grad, input_gradient)
        shortcut = grad if self.projection is None else self.projection.backward(grad, input_gradient)
        if not input_gradient:
            return None
        return elementwise("blend", self._work("dx", shape), (1, 1), x=dx, y=shortcut)

    def output_shape(self, shape):
        found = output_shapes(self.layers, shape)[-1]
        shortcut = shape if self.projection is None else output_shapes([self.projection], shape)[-1]
        if None not in (found, shortcut) and (given := known_axes(found)) != known_axes(shortcut):
            raise ValueError(f"adds {given}, what its layers give, to {known_axes(shortcut)}")
        return shortcut if found is None else found

    def input_shape(self):
        return self.layers[0].input_shape()

    def summary_rows(self, name, before, shape):
        """A row for the block, whose parameters are those of the rows below it: its layers, and the projection."""
        shapes = [*output_shapes(self.layers, before), shape]
        ((_, _, output, _),) = super().summary_rows(name, before, shape)
        rows = [(name, "Residual", output, "")]
        befores = [before, *shapes[: len(self.layers) - 1], before]
        for (part, layer), *given in zip(self.parts().items(), befores, shapes, strict=False):
            rows += layer.summary_rows(f"{name}.{part}", *given)
        return rows

    def __repr__(self):
        projection = "" if self.projection is None else f", projection={self.projection!r}"
        return f"Residual({self.layers!r}{projection})"
