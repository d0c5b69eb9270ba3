"""Windows over images (N, C, H, W): their geometry, and the operations that convolution and pooling are made of.

The arrays were checked by the layers: of one dtype, on one device.
"""

from dataclasses import dataclass

from .arrays import dense, device_of


@dataclass(frozen=True)
class Windows:
    """The extents of a window, the steps between windows and between its elements, and padding; (height, width) each.

    *ceil* keeps a last window that reaches beyond the padding, if it begins within the image or the padding before it.

    Examples
    --------
    >>> Windows((3, 3), stride=(2, 2), padding=(1, 1)).outputs((8, 9))
    (4, 5)
    """

    size: tuple
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)
    dilation: tuple = (1, 1)
    ceil: bool = False

    def outputs(self, shape):
        """The number of windows along both axes of images of *shape*, (H, W). Raises ValueError if one is 0."""
        axes = zip(shape, self.size, self.stride, self.padding, self.dilation, strict=True)
        return tuple(self._along(*axis) for axis in axes)

    def _along(self, extent, size, stride, padding, dilation):
        reach = (size - 1) * dilation + 1
        count = (extent + 2 * padding - reach + (stride - 1) * self.ceil) // stride + 1
        if count < 1 or extent < 1:
            least = max(reach - 2 * padding - (stride - 1) * self.ceil, 1)
            raise ValueError(f"takes {least} elements or more along an axis, got {extent}")
        return count - (self.ceil and (count - 1) * stride >= extent + padding)

    def scalars(self):
        """As kernels take them."""
        return *self.size, *self.stride, *self.padding, *self.dilation


def pad(x, front, out):
    """x (N, C, H, W) behind *front* rows and columns of zeros, and before as many as *out* (N, C, P, Q) has beyond it."""
    return _run("pad", Windows((1, 1), padding=front), (dense(x), out), out)


def max_pool(x, windows, out, index):
    """The largest element of each window, and where in its image it is: *out* and *index* (int64), (N, C, P, Q)."""
    return _run("max_pool", windows, (dense(x), out, index), out)


def max_pool_backward(grad, index, windows, out):
    """The gradient of x: each of *grad* goes to the element that was the largest."""
    return _run("max_pool.backward", windows, (dense(grad), index, out), out)


def avg_pool(x, windows, count_include_pad, out):
    """The mean of each window; padding counts as zeros, or not."""
    return _run("avg_pool", windows, (dense(x), out), out, int(count_include_pad))


def avg_pool_backward(grad, windows, count_include_pad, out):
    """The gradient of x: each of *grad* in equal shares to the elements of its window."""
    return _run("avg_pool.backward", windows, (dense(grad), out), out, int(count_include_pad))


def _run(name, windows, operands, out, *flags):
    return run_kernel(name, operands, out, (*windows.scalars(), *flags), max(operand.size for operand in operands))


def run_kernel(name, operands, out, scalars, size):
    """Run a kernel that writes *out*, unless that is empty; with threads, if *size* elements are worth it."""
    if out.size:
        device = device_of(out)
        device.prepare(size)
        device.kernel(name)(*operands, *scalars)
    return out
