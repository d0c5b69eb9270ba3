"""What layers of windows over (N, C, *spatial) have in common: sizes for each axis, and arrays of one axis as images."""

from .. import _arguments as arguments
from ..arrays import check_shape, dense
from ..windows import Windows
from .layer import Layer


class Spatial(Layer):
    """A layer of windows over the *axes* last axes, 1 or 2; those of one axis are images of one row."""

    axes = 2
    channels = None  # what it takes; None: any number

    def _windows(self, size, stride, padding, dilation=1, ceil=False):
        """Sets kernel_size, stride, padding and dilation, each of them an integer or a tuple; returns the windows."""
        self.kernel_size = arguments.integers("kernel_size", size, self.axes)
        self.stride = arguments.integers("stride", stride, self.axes)
        self.padding = arguments.integers("padding", padding, self.axes, low=0)
        self.dilation = arguments.integers("dilation", dilation, self.axes)
        ones, zeros = (1,) * (2 - self.axes), (0,) * (2 - self.axes)
        sizes = ones + self.kernel_size, ones + self.stride, zeros + self.padding, ones + self.dilation
        return Windows(*sizes, ceil)

    def _spatial(self, shape):
        """The extents (H, W) of an input of *shape*, which is without the batch axis."""
        if len(shape) != self.axes + 1 or self.channels not in (None, shape[0]):
            channels = "C" if self.channels is None else self.channels
            raise ValueError(f"takes ({channels}, {'L' if self.axes == 1 else 'H, W'}) for each sample")
        return (1,) * (2 - self.axes) + tuple(shape[1:])

    def _outputs(self, shape):
        """(P, Q) for an input of *shape* without the batch axis, and the output's spatial shape."""
        found = self.windows.outputs(self._spatial(shape))
        return found, found[2 - self.axes :]

    def _images(self, x):
        """x as (N, C, H, W)."""
        self._check_input(x)
        try:
            self._outputs(x.shape[1:])
        except ValueError as error:
            raise ValueError(f"x: got shape {x.shape}, but {self!r} {error}") from None
        return x.reshape(*x.shape[:2], *self._spatial(x.shape[1:]))

    def _gradient(self, grad, shape):
        """*grad*, after checks that it is one of the output for an input of *shape*, as a C-contiguous array."""
        self._check_input(grad, "grad")
        check_shape("grad", grad, (shape[0], *self.output_shape(shape[1:])), "that of the output of the last forward")
        return dense(grad)

    def _shown(self, value):
        """A size as it is written: one number, if it is the same along all axes."""
        return value[0] if len(set(value)) == 1 else list(value)


class Pool(Spatial):
    """A layer that makes one number of each window; backward needs the input's shape and what `_pool` keeps."""

    def forward(self, x, training=False):
        images = self._images(x)
        (p, q), spatial = self._outputs(x.shape[1:])
        out = self._work("out", (*x.shape[:2], *spatial), training)
        kept = self._pool(images, self._windows_of(images), out.reshape(*x.shape[:2], p, q), training)
        if training:
            self._kept = x.shape, images.shape, kept
        return out

    def backward(self, grad, input_gradient=True):
        shape, images, kept = self._from_forward()
        grad = self._gradient(grad, shape)
        if not input_gradient:
            return None
        p, q = self._outputs(shape[1:])[0]
        dx = self._work("dx", shape)
        images = dx.reshape(*images)
        self._spread(grad.reshape(*shape[:2], p, q), self._windows_of(images), kept, images)
        return dx

    def _windows_of(self, images):
        return self.windows

    def _pool(self, images, windows, out, training):
        raise NotImplementedError

    def _spread(self, grad, windows, kept, dx):
        raise NotImplementedError

    def output_shape(self, shape):
        return (shape[0], *self._outputs(shape)[1])
