"""Layers that normalise each sample by itself: LayerNorm, RMSNorm, GroupNorm, InstanceNorm."""

import numpy as np

from .. import _arguments as arguments
from .. import row_norms
from ..repeated import Repeated
from .layer import Layer


class _Norm(Layer):
    """Weights start at 1, biases at 0; training and evaluation are the same."""

    function = None
    parameter_shape = ()
    parameter_names = ("weight", "bias")

    def shapes(self):
        return dict.fromkeys(self.parameter_names, self.parameter_shape)

    def initialize(self, name, shape):
        return np.ones(shape) if name == "weight" else np.zeros(shape)

    def weights(self):
        return {}

    def __init__(self):
        self._calls = Repeated(), Repeated()
        super().__init__()

    def bind(self, *buffers):
        super().bind(*buffers)
        self._calls = Repeated(), Repeated()

    def _rows(self, x):
        """How rows lie in x, a `row_norms.Rows`, after the checks of its shape."""
        raise NotImplementedError

    def forward(self, x, training=False):
        self._check_input(x)
        y = self._work("out", x.shape, training)
        saved = self._calls[0].again(self.eps, x, out=y) if training else None
        if saved is None:
            saved = self._forward(x, y, training)
        if training:
            self._kept = x, saved
        return y

    def _forward(self, x, out, training):
        if training:
            self._calls = Repeated(), Repeated()  # backward's takes what this forward saves
        given = (self.parameters().get(name) for name in ("weight", "bias"))
        return self.function.forward(x, self._rows(x), *given, self.eps, out, self._calls[0] if training else None)[1]

    def backward(self, grad, input_gradient=True):
        (x, saved), kept = self._from_forward(), self._calls[1]
        dx = self._work("dx", grad.shape)
        found = kept.again((), grad, x, out=dx)
        if found is None:
            _, *found = self.function.gradients(grad, x, self.parameters().get("weight"), saved, dx, kept)
        for gradient, total in zip(self.gradients().values(), found, strict=False):
            self.device.copy(gradient, total)
        return dx

    def output_shape(self, shape):
        return shape


class _LastAxes(_Norm):
    """A layer that normalises the last axes."""

    any_axes = True

    def _rows(self, x):
        return row_norms.last_axes(x, self.normalized_shape)

    def _check_shape(self, shape):
        if tuple(shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(f"takes arrays whose last axes are {self.normalized_shape}")

    def output_shape(self, shape):
        self._check_shape((*self.normalized_shape[:-1], shape[-1]) if ... in shape else shape)
        return shape


class LayerNorm(_LastAxes):
    """`numbadl.layer_norm` over the last axes, of *normalized_shape*.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.LayerNorm(4).forward(np.ones((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    function = row_norms.layer_norm

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape = self.parameter_shape = row_norms.normalized_axes(normalized_shape)
        self.eps = arguments.number("eps", eps, above=True)
        self.elementwise_affine, self.bias = bool(elementwise_affine), bool(bias)
        self.parameter_names = ("weight", "bias")[: self.elementwise_affine + (self.elementwise_affine and self.bias)]
        super().__init__()

    def config(self):
        return {
            "normalized_shape": list(self.normalized_shape), "eps": self.eps,
            "elementwise_affine": self.elementwise_affine, "bias": self.bias,
        }  # fmt: skip


class RMSNorm(_LastAxes):
    """`numbadl.rms_norm` over the last axes, of *normalized_shape*; eps=None is that of the arrays' type."""

    function = row_norms.rms_norm

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        self.normalized_shape = self.parameter_shape = row_norms.normalized_axes(normalized_shape)
        self.eps = None if eps is None else arguments.number("eps", eps, above=True)
        self.elementwise_affine = bool(elementwise_affine)
        self.parameter_names = ("weight",) * self.elementwise_affine
        super().__init__()

    def config(self):
        return {
            "normalized_shape": list(self.normalized_shape), "eps": self.eps,
            "elementwise_affine": self.elementwise_affine,
        }  # fmt: skip


class GroupNorm(_Norm):
    """`numbadl.group_norm` of (N, num_channels, *spatial), in *num_groups* groups of neighbouring channels."""

    function = row_norms.group_norm

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        self.num_groups = arguments.integer("num_groups", num_groups)
        self.num_channels = arguments.integer("num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_groups: got {num_groups}, accepted are divisors of num_channels, {num_channels}")
        self.eps, self.affine = arguments.number("eps", eps, above=True), bool(affine)
        self.parameter_shape = (self.num_channels,)
        self.parameter_names = ("weight", "bias") * self.affine
        super().__init__()

    def config(self):
        return {
            "num_groups": self.num_groups, "num_channels": self.num_channels, "eps": self.eps, "affine": self.affine
        }  # fmt: skip

    def _rows(self, x):
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"x: got shape {x.shape}, expected (N, {self.num_channels}, ...) for {self!r}")
        return row_norms.groups_of(x, self.num_groups)

    def output_shape(self, shape):
        if shape[:1] != (self.num_channels,):
            raise ValueError(f"takes {self.num_channels} channels")
        return shape


class InstanceNorm(_Norm):
    """`numbadl.instance_norm` of (N, num_features, *spatial); without running statistics, and affine only if asked for."""

    function = row_norms.instance_norm

    def __init__(self, num_features, eps=1e-5, affine=False):
        self.num_features = arguments.integer("num_features", num_features)
        self.eps, self.affine = arguments.number("eps", eps, above=True), bool(affine)
        self.parameter_shape = (self.num_features,)
        self.parameter_names = ("weight", "bias") * self.affine
        super().__init__()

    def config(self):
        return {"num_features": self.num_features, "eps": self.eps, "affine": self.affine}

    def _rows(self, x):
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x: got shape {x.shape}, expected (N, {self.num_features}, ...) for {self!r}")
        return row_norms.channels_of(x)

    def output_shape(self, shape):
        if shape[:1] != (self.num_features,):
            raise ValueError(f"takes {self.num_features} features")
        return shape


NORMS = (LayerNorm, RMSNorm, GroupNorm, InstanceNorm)
