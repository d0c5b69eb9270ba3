"""Pooling layers: the maximum or the mean of windows, and of all elements of a channel."""

import math

import numpy as np

from ..windows import Windows, avg_pool, avg_pool_backward, max_pool, max_pool_backward
from .spatial import Pool


class _Max(Pool):
    def _pool(self, images, windows, out, training):
        index = self._work("index", out.shape, training, np.int64)
        max_pool(images, windows, out, index)
        return index

    def _spread(self, grad, windows, kept, dx):
        max_pool_backward(grad, kept, windows, dx)


class _Mean(Pool):
    count_include_pad = True

    def _pool(self, images, windows, out, training):
        avg_pool(images, windows, self.count_include_pad, out)

    def _spread(self, grad, windows, kept, dx):
        avg_pool_backward(grad, windows, self.count_include_pad, dx)


class MaxPool2d(_Max):
    """The maximum of each window of (N, C, H, W).

    The gradient goes to the first of equal maxima. A window with NaN gives NaN.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : an integer, or one for each axis; *stride* is the kernel's size by default,
        and *padding*, which never wins, at most half the window
    ceil_mode : also take a last window that reaches beyond the padding

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> nd.nn.MaxPool2d(2).forward(x).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        stride, self.ceil_mode = kernel_size if stride is None else stride, bool(ceil_mode)
        self.windows = self._windows(kernel_size, stride, padding, dilation, self.ceil_mode)
        _check_padding(self)
        super().__init__()

    def config(self):
        names = ("kernel_size", "stride", "padding", "dilation")
        return {**{name: self._shown(getattr(self, name)) for name in names}, "ceil_mode": self.ceil_mode}

    def _outputs(self, shape):
        found = super()._outputs(shape)
        for extent, step, padding in zip(shape[1:], self.dilation, self.padding, strict=True):
            if padding and extent < step:  # a window in the padding could step over all of them
                raise ValueError(f"takes {step} elements or more along each axis, got {extent}")
        return found


class MaxPool1d(MaxPool2d):
    """The maximum of each window of (N, C, L); arguments are those of `MaxPool2d`."""

    axes = 1


class AvgPool2d(_Mean):
    """The mean of each window of (N, C, H, W).

    Parameters
    ----------
    kernel_size, stride, padding : an integer, or one for each axis; *stride* is the kernel's size by default, and
        *padding* at most half the window
    ceil_mode : also take a last window that reaches beyond the padding
    count_include_pad : whether padding counts, as zeros

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> nd.nn.AvgPool2d(2).forward(x).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        stride, self.ceil_mode = kernel_size if stride is None else stride, bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.windows = self._windows(kernel_size, stride, padding, ceil=self.ceil_mode)
        _check_padding(self)
        super().__init__()

    def config(self):
        sizes = {name: self._shown(getattr(self, name)) for name in ("kernel_size", "stride", "padding")}
        return {**sizes, "ceil_mode": self.ceil_mode, "count_include_pad": self.count_include_pad}


class AvgPool1d(AvgPool2d):
    """The mean of each window of (N, C, L); arguments are those of `AvgPool2d`."""

    axes = 1


def _check_padding(layer):
    """A window that lies in the padding would have no maximum."""
    reach = [(size - 1) * step + 1 for size, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    if any(2 * padding > extent for padding, extent in zip(layer.padding, reach, strict=True)):
        most = layer._shown(tuple(extent // 2 for extent in reach))
        raise ValueError(f"padding: got {layer._shown(layer.padding)}, accepted are 0 to {most}")


class _Global(Pool):
    """Of (N, C, *spatial), with one axis or more, to (N, C)."""

    def _spatial(self, shape):
        if len(shape) < 2 or math.prod(shape[1:]) == 0:
            raise ValueError("takes (C, *spatial) for each sample, with elements along each axis")
        return shape[1], math.prod(shape[2:])

    def _outputs(self, shape):
        self._spatial(shape)
        return (1, 1), ()

    def _windows_of(self, images):
        return Windows(tuple(images.shape[2:]))


class GlobalMaxPool(_Global, _Max):
    """The maximum of each channel: (N, C, *spatial) to (N, C)."""

    def _spatial(self, shape):
        return 1, math.prod(super()._spatial(shape))  # one run of elements, of which vectors find the maximum


class GlobalAvgPool(_Global, _Mean):
    """The mean of each channel: (N, C, *spatial) to (N, C); PyTorch's AdaptiveAvgPool(1) and Flatten."""
