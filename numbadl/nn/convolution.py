"""Convolution: the elements of all windows become the columns of a matrix, which is multiplied with the weights."""

import math

import numpy as np

from .. import _arguments as arguments
from ..elementwise import elementwise
from ..linear import column_sums, matmul
from ..windows import SINGLE, fold, unfold
from . import initializers
from .spatial import Spatial

COLUMNS = 1 << 20  # elements of the matrix of columns: samples are taken so many at a time. From shapes alone, as tiles


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
        if training:
            self._kept = x
        (p, q), spatial = self._outputs(x.shape[1:])
        out = self._work("out", (x.shape[0], self.out_channels, *spatial), training)
        y, bias = out.reshape(x.shape[0], self.out_channels, p, q), self.parameters().get("bias")
        for some in self._parts(x.shape[0], p * q):
            columns, products = self._matrices(images[some].shape[0], p, q, training)
            unfold(images[some], self.windows, columns)
            self._multiply(self.parameters()["weight"], columns, products)
            fold(products, self._zeros(self.out_channels) if bias is None else bias, SINGLE, y[some])
        return out

    def backward(self, grad, input_gradient=True):
        gradients, x = self.gradients(), self._from_forward()
        images, (p, q) = self._images(x), self._outputs(x.shape[1:])[0]
        grad = grad.reshape(x.shape[0], self.out_channels, p, q)
        dx = self._work("dx", x.shape) if input_gradient else None
        dweight = gradients["weight"]
        for some in self._parts(x.shape[0], p * q):
            columns, products = self._matrices(images[some].shape[0], p, q)
            unfold(images[some], self.windows, columns)
            unfold(grad[some], SINGLE, products)  # samples and channels change places
            target = dweight if some.start == 0 else self._work("dweight", dweight.shape)
            self._multiply(products, columns, target, transpose_b=True)
            if some.start > 0:
                elementwise("blend", dweight, (1, 1), x=dweight, y=target)
            if input_gradient:
                self._multiply(self.parameters()["weight"], products, columns, transpose_a=True)
                fold(columns, self._zeros(self.in_channels), self.windows, dx.reshape(*images.shape)[some])
        if self.bias:
            column_sums(grad, gradients["bias"])
        return dx

    def _parts(self, count, positions):
        """Slices of samples, whose columns are few enough for the cache; one if there are no samples."""
        size = max(1, COLUMNS // (self.in_channels * math.prod(self.kernel_size) * positions))
        return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]

    def _matrices(self, count, p, q, training=True):
        """Room for the columns of *count* samples, and for their products with the weights."""
        rows = self.in_channels * math.prod(self.kernel_size), self.out_channels
        return [
            self._work(name, (r * count * p * q,), training).reshape(r, count, p, q)
            for name, r in zip(("columns", "products"), rows, strict=True)
        ]

    def _multiply(self, a, b, out, **transposed):
        """Products of matrices, one for each group; the first axis of each array is that of the groups' rows."""
        a, b, out = (
            array.reshape(self.groups, array.shape[0] // self.groups, math.prod(array.shape[1:]))
            for array in (a, b, out)
        )
        for g in range(self.groups):
            matmul(a[g], b[g], out[g], **transposed)

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
