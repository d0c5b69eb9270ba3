"""Convolution layers: products of weights and elements of images, which kernels read at places from tables."""

import math

import numpy as np

from .. import _arguments as arguments
from ..kernels.shapes import Taps
from ..linear import column_sums
from ..taps import backward_places, forward_places, parts_of, weight_gradient
from . import initializers
from .spatial import Spatial


class Conv2d(Spatial):
    """Convolution (cross-correlation, as everywhere in deep learning) of (N, in_channels, H, W).

    y[n, o] = bias[o] + sum over c, i, j of weight[o, c, i, j] x[n, c, p sh + i dh - ph, q sw + j dw - pw], with x = 0 in
    the padding. Weights (out_channels, in_channels / groups, *kernel_size) start uniform with the variance that suits
    the activation behind the layer (`numbadl.nn.initializers`), biases at 0.

    Parameters
    ----------
    in_channels, out_channels : multiples of *groups*
    kernel_size, stride, padding, dilation : an integer, or one for each axis; *padding* may be "valid", 0, or "same", with
        which the output is as large as the input, for stride 1 and odd windows
    groups : each of so many groups of output channels sees its own group of input channels
    bias : whether there is one

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.Conv2d(3, 16, 3, stride=2, padding=1).forward(np.ones((5, 3, 8, 8), np.float32)).shape
    (5, 16, 4, 4)
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True
    ):  # fmt: skip
        self.in_channels = self.channels = arguments.integer("in_channels", in_channels)
        self.out_channels = arguments.integer("out_channels", out_channels)
        self.groups, self.bias = arguments.integer("groups", groups), bool(bias)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups: got {groups}, accepted are divisors of in_channels, {in_channels}, and of out_channels,"
                f" {out_channels}"
            )
        if isinstance(padding, str):
            padding = self._named_padding(padding, kernel_size, stride, dilation)
        self.windows = self._windows(kernel_size, stride, padding, dilation)
        super().__init__()

    def _named_padding(self, name, kernel_size, stride, dilation):
        arguments.one_of("padding", name, ("valid", "same"))
        if name == "valid":
            return 0
        size, step = (
            arguments.integers(n, v, self.axes) for n, v in (("kernel_size", kernel_size), ("dilation", dilation))
        )
        beyond = [(k - 1) * d for k, d in zip(size, step, strict=True)]
        if any(b % 2 for b in beyond) or set(arguments.integers("stride", stride, self.axes)) != {1}:
            raise ValueError("padding: got 'same', accepted for stride 1 and windows of odd extents")
        return [b // 2 for b in beyond]

    def shapes(self):
        weight = {"weight": (self.out_channels, self.in_channels // self.groups, *self.kernel_size)}
        return {**weight, "bias": (self.out_channels,)} if self.bias else weight

    def config(self):
        sizes = {k: self._shown(getattr(self, k)) for k in ("kernel_size", "stride", "padding", "dilation")}
        channels = {"in_channels": self.in_channels, "out_channels": self.out_channels}
        return {**channels, **sizes, "groups": self.groups, "bias": self.bias}

    def initialize(self, name, shape):
        if name == "bias":
            return np.zeros(shape)
        rule, area = self.following.initialization if self.following else "lecun", math.prod(self.kernel_size)
        fan_in, fan_out = (channels // self.groups * area for channels in (self.in_channels, self.out_channels))
        bound = initializers.limit(rule, fan_in, fan_out)
        return self._uniform(shape, -bound, bound, name)

    def forward(self, x, training=False):
        images = self._images(x)
        places, _ = self._places(images.shape[2:])
        spatial = self._outputs(x.shape[1:])[1]
        source = places.padded(images, lambda shape: self._work("source", shape, training))
        if training:
            self._kept = x.shape, images.shape, source
        out, bias = (
            self._work("out", (x.shape[0], self.out_channels, *spatial), training),
            self.parameters().get("bias"),
        )
        bias = self._zeros(self.out_channels) if bias is None else bias
        self._convolve(places, source, bias, out, training)
        return out

    def backward(self, grad, input_gradient=True):
        gradients, (shape, images, source) = self.gradients(), self._from_forward()
        grad, (forward, backward) = self._gradient(grad, shape), self._places(images[2:])
        dweight = gradients["weight"].reshape(self.groups, self.out_channels // self.groups, -1)
        grouped = grad.reshape(grad.shape[0], *dweight.shape[:2], math.prod(grad.shape[2:]))
        parts = parts_of(grad.shape[0], dweight.size)
        room = self._work("sums", (Taps.room(*dweight.shape, parts),))
        weight_gradient(forward, source, grouped, room, dweight)
        if self.bias:
            column_sums(grad, gradients["bias"])
        if not input_gradient:
            return None
        dx = self._work("dx", shape)
        images = grad.reshape(*grad.shape[:2], *backward.shape)
        source = backward.padded(images, lambda shape: self._work("grad", shape))
        return self._convolve(backward, source, self._zeros(self.in_channels), dx)

    def _convolve(self, places, source, bias, out, training=True):
        groups, rows = self.groups, out.shape[1] // self.groups
        room = Taps.room(groups, rows, max(part.places.size for part in places.parts))
        weight, room = self.parameters()["weight"], self._work(f"{out.shape[1]} panels", (room,), training)
        grouped = out.reshape(out.shape[0], groups, rows, math.prod(out.shape[2:]))
        places.convolve(source, weight.reshape(groups, -1), bias.reshape(groups, rows), room, grouped)
        return out

    def _places(self, shape):
        """The tables of forward and backward for images of *shape*, (H, W)."""
        kept = self._workspace.get("places")
        if kept is None or kept[0] != shape:
            rows, channels = self.in_channels // self.groups, self.out_channels // self.groups
            tables = (
                forward_places(self.windows, shape, rows, self.device),
                backward_places(self.windows, shape, channels, rows, self.device),
            )
            self._workspace["places"] = kept = shape, tables  # one object: two threads may compute with other shapes
        return kept[1]

    def _zeros(self, count):
        name = f"{count} zeros"
        if name not in self._workspace:
            self._workspace[name] = self.device.zeros((count,), self.dtype)
        return self._workspace[name]

    def output_shape(self, shape):
        return (self.out_channels, *self._outputs(shape)[1])


class Conv1d(Conv2d):
    """Convolution of (N, in_channels, L), with weights (out_channels, in_channels / groups, kernel_size); see `Conv2d`."""

    axes = 1
