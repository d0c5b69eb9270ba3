"""Sequential: layers one after the other, with all parameters in one flat buffer and all gradients in another."""

import math

import numpy as np

from .. import arrays
from ..streams import stream_of
from ..train import fit as training
from .chain import (
    activation_behind,
    backward_through,
    check_layers,
    collect,
    forward_through,
    output_shapes,
)
from .layer import Layer, steps_of

LINE = 64  # bytes: every parameter starts at a multiple, padded with zeros


class Sequential(Layer):
    """A model of layers one after the other.

    Parameters
    ----------
    *layers : Layer
    seed : first weights and dropout follow from it
    dtype : float32 or float64

    Attributes
    ----------
    flat_parameters, flat_gradients : 1-D arrays, which the layers' parameters and gradients are views of
    metadata : JSON-able dict that is saved with the model

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> model = nd.nn.Sequential(nd.nn.Linear(2, 8), nd.nn.Tanh(), nd.nn.Linear(8, 1))
    >>> model.predict(np.zeros((3, 2), np.float32)).shape
    (3, 1)
    """

    is_model = True

    def __init__(self, *layers, seed=0, dtype=np.float32):
        check_layers(layers)
        self.layers, self.metadata, self.loss = list(layers), {}, None
        self._output_shapes()
        super().__init__()
        self.dtype = arrays.check_dtype(dtype)
        self.reseed(seed)
        for position, layer in enumerate(layers):
            layer.join(activation_behind(layers[position + 1 :]))
        self._place(arrays.DEVICES["cpu"], self.dtype)

    def _output_shapes(self):
        """What each layer gives, as far as that is known without an input; checks that the next one takes it."""
        return output_shapes(self.layers)

    def reseed(self, seed):
        """Draw dropout masks from *seed*, from the first step on; weights that were initialised stay."""
        stream_of(seed, 0)  # refuses what is no seed
        self.seed, stream = seed, 1
        for layer in self.layers:
            stream = layer.restart(seed, stream)

    # -- buffers ----------------------------------------------------------------------------------------------
    def _place(self, device, dtype):
        """Put parameters and gradients into flat buffers of *dtype* on *device*, and the layers' views on them."""
        values = {key: arrays.to_host(value) for key, value in self.parameters().items()}
        align = LINE // dtype.itemsize
        starts, end = {}, 0
        for key, value in values.items():
            starts[key] = end
            end += -(-value.size // align) * align
        host = np.zeros(end, dtype)
        for key, value in values.items():
            host[starts[key] : starts[key] + value.size] = value.reshape(-1)
        self.device, self.dtype, self._kept = device, dtype, None
        self.flat_parameters, self.flat_gradients = device.from_host(host), device.zeros(end, dtype)
        for position, layer in enumerate(self.layers):
            views = [
                {
                    name: flat[starts[f"{position}.{name}"] :][: math.prod(shape)].reshape(shape)
                    for name, shape in layer.shapes().items()
                }
                for flat in (self.flat_parameters, self.flat_gradients)
            ]
            layer.bind(*views, device, dtype)

    def to(self, device=None, dtype=None):
        """Move to a device ("cpu", "cuda", "auto") or a dtype; an optimiser bound to the old buffers then refuses."""
        device = self.device if device is None else arrays.device(device)
        dtype = self.dtype if dtype is None else arrays.check_dtype(dtype)
        if device is not self.device or dtype != self.dtype:
            self._place(device, dtype)
        return self

    def parameters(self):
        """Key such as "0.weight" -> array."""
        return self._collect("parameters")

    def weights(self):
        """Key -> array of the parameters that penalties are of."""
        return self._collect("weights")

    def gradients(self):
        """Key such as "0.weight" -> gradient."""
        return self._collect("gradients")

    def state(self):
        """Key -> array of everything that is saved: parameters and running statistics."""
        return self._collect("state")

    def _collect(self, what):
        return collect({str(i): layer for i, layer in enumerate(self.layers)}, what)

    # -- computing --------------------------------------------------------------------------------------------
    def forward(self, x, training=False):
        """The output of the last layer. In training it lives in a workspace until the next step."""
        (self.layers[0] if self.layers and self.layers[0].takes_numbers else self)._check_input(x)
        x = forward_through(self.layers, x, training)
        if training:
            self._kept = x.shape
        return x

    def backward(self, grad, input_gradient=False):
        """Fill all gradients, given that of the output; the input's gradient is computed only if asked for."""
        shape = self._from_forward()
        self._check_input(grad, "grad")
        arrays.check_shape("grad", grad, shape, "that of the output of the last forward in training")
        return backward_through(self.layers, grad, input_gradient)

    # -- training -----------------------------------------------------------------------------------------------
    fit, evaluate, predict = training.fit, training.evaluate, training.predict

    def save(self, path, metadata=None, *, optimizer=None, history=None, callbacks=()):
        """Write the model to *path* (safetensors), whole or not at all; *metadata* is a JSON-able dict.

        With *optimizer* and *history*, ``fit(resume=path)`` continues the training, and *callbacks* as well, to the bit.
        """
        from .files import save

        if metadata is not None:
            self.metadata = metadata
        save(self, path, optimizer, history, callbacks)

    def to_onnx(self, path, input_shape=None):
        """Write the model to *path* as ONNX, in evaluation, for any number of rows; see `numbadl.interop.onnx`.

        *input_shape* is that of an input without the batch axis, for models whose first layer takes several. Needs onnx.
        """
        from ..interop.onnx import export

        export(self, path, input_shape)

    def __reduce__(self):
        """Pickles and copies are models of their own: layers, state, device and random streams, but nothing of a step."""
        from .files import packed, unpickled

        return unpickled, (*packed(self), self.device.name, self.seed, steps_of(self.layers))

    def summary(self):
        """A table of the layers, their outputs' shapes and their numbers of parameters."""
        rows, before = [("layer", "", "output", "parameters")], None
        for position, (layer, shape) in enumerate(zip(self.layers, self._output_shapes(), strict=True)):
            rows += layer.summary_rows(str(position), before, shape)
            before = shape
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        ]
        total = sum(math.prod(s) for layer in self.layers for s in layer.shapes().values())
        memory = self.flat_parameters.size * self.dtype.itemsize / 1024
        return "\n".join([*lines, f"{total:,} parameters, {memory:,.1f} KiB of {self.dtype} on {self.device.name}"])

    def config(self):
        return {}

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self.layers))})"
