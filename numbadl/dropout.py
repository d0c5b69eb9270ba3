"""Dropout and its kin: what is dropped follows from (seed, offset) and an element's position, so backward draws it again."""

import functools
import math

import numpy as np

from . import _arguments as arguments
from .arrays import DEVICES, check, device_of, is_plain
from .elementwise import Channels, elementwise, run_any, typed
from .interop.arrays import takes_any_array
from .streams import stream_of, threshold_of

SELU_LOWEST = -1.7580993408473766  # -scale * alpha of selu, its limit at -inf


@takes_any_array
class Dropout:
    """dropout(x, p=0.5, seed=0, offset=0, out=None): zero a random fraction p, and scale the rest by 1 / (1 - p).

    The mask follows from (seed, offset) and the position of an element alone (Philox4x32-10), so that ``backward``
    draws it again, and nothing is stored. Another *offset* is another, independent mask.

    Parameters
    ----------
    x : array of float32 or float64, C-ordered positions
    p : fraction dropped, 0 <= p <= 1 (p = 1 gives zeros)
    seed, offset : non-negative integers below 2**64
    start : position of x's first element in the stream, for arrays that are parts of a larger one
    out : array like x, optional; x itself to work in place

    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> y = nd.dropout(np.ones(1000, np.float32), p=0.25, seed=1)
    >>> bool(np.array_equal(y != 0, nd.dropout.mask((1000,), p=0.25, seed=1)))
    True
    """

    __name__ = "dropout"

    def __call__(self, x, p=0.5, seed=0, offset=0, out=None, *, start=0):
        return _dropped({"x": x}, p, stream_of(seed, offset, start), out, _kept_scale)

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: the same mask and scale, applied to *grad*."""
        return _dropped({"grad": grad}, p, stream_of(seed, offset, start), out, _kept_scale)

    @takes_any_array
    def mask(self, shape, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The mask as a bool array, a new one or *out*: True = kept."""
        threshold, stream, shape = threshold_of(p), stream_of(seed, offset, start), arguments.shape("shape", shape)
        if out is None:
            out = np.empty(shape, np.bool_)
        elif not isinstance(out, np.ndarray) or out.dtype != np.bool_ or not out.flags.carray:
            raise TypeError("out: accepted are writeable, C-contiguous NumPy arrays of bool")
        elif out.shape != shape:
            raise ValueError(f"out: got shape {out.shape}, expected {shape}")
        if threshold is None:
            out[...] = True
        elif out.size:
            device = device_of(out)
            device.prepare(out.size)
            device.kernel("dropout.mask")(out.reshape(-1), threshold, *stream)
        return out


@takes_any_array
class AlphaDropout:
    """alpha_dropout(x, p=0.5, seed=0, offset=0, out=None): dropout that keeps mean 0 and variance 1, for selu.

    Dropped elements become a constant, selu's limit at -inf; all are then scaled and shifted: y = a (x or the constant) + b.
    p = 1 gives zeros. Arguments as those of `dropout`.

    Source: G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NIPS 2017.

    Examples
    --------
    >>> import numbadl as nd
    >>> x = nd.normal(100_000, seed=1)
    >>> y = nd.alpha_dropout(x, p=0.3, seed=2)
    >>> bool(abs(y.mean()) < 0.02), bool(abs(y.std() - 1) < 0.02)
    (True, True)
    """

    __name__ = "alpha_dropout"

    def __call__(self, x, p=0.5, seed=0, offset=0, out=None, *, start=0):
        stream = stream_of(seed, offset, start)
        if arguments.number("p", p, high=1) == 1:
            return _dropped({"x": x}, p, stream, out, _kept_scale)
        return _dropped({"x": x}, p, stream, out, self._scalars, "alpha_dropout")

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: a grad where an element was kept, otherwise 0."""
        return _dropped({"grad": grad}, p, stream_of(seed, offset, start), out, lambda p: self._scalars(p)[:1])

    @staticmethod
    def _scalars(p):
        if p == 1:
            return 0.0, 0.0, 0.0
        scale = ((1 - p) * (1 + p * SELU_LOWEST**2)) ** -0.5
        shift = -scale * p * SELU_LOWEST
        return scale, shift, scale * SELU_LOWEST + shift


@takes_any_array
class GaussianDropout:
    """gaussian_dropout(x, p=0.5, seed=0, offset=0, out=None): x (1 + z), z normal with variance p / (1 - p).

    The mean and the variance of what `dropout` multiplies with, but nothing is dropped altogether; 0 <= p < 1. Its backward
    multiplies with the same numbers. Arguments as those of `dropout`.

    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014, section 10.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> y = nd.gaussian_dropout(np.ones(100_000), p=0.2, seed=3)
    >>> bool(abs(y.mean() - 1) < 0.01), bool(abs(y.std() - 0.5) < 0.01)
    (True, True)
    """

    __name__ = "gaussian_dropout"

    def __call__(self, x, p=0.5, seed=0, offset=0, out=None, *, start=0):
        return self._run({"x": x}, p, stream_of(seed, offset, start), out)

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: *grad* times the same numbers."""
        return self._run({"grad": grad}, p, stream_of(seed, offset, start), out)

    def _run(self, inputs, p, stream, out):
        p = arguments.number("p", p, high=1, below=True)
        return elementwise("gaussian_dropout", out, (math.sqrt(p / (1 - p)), *stream), ordered=True, **inputs)


@takes_any_array
class FeatureDropout:
    """feature_dropout(x, p=0.5, seed=0, offset=0, out=None): zero whole feature maps of x, (N, C) or (N, C, *spatial).

    PyTorch's dropout1d, dropout2d and dropout3d. Feature map (n, c) takes number n C + c of the stream, as an element of an
    (N, C) array does in `dropout`, whose other arguments these are.

    Source: J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> y = nd.feature_dropout(np.ones((8, 16, 5, 5), np.float32), p=0.5, seed=4)
    >>> bool(np.array_equal(y[:, :, 0, 0], nd.dropout(np.ones((8, 16), np.float32), p=0.5, seed=4)))
    True
    """

    __name__ = "feature_dropout"

    def __call__(self, x, p=0.5, seed=0, offset=0, out=None, *, start=0):
        return self._run("x", x, p, seed, offset, start, out)

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: the same feature maps of *grad* zeroed, the others scaled."""
        return self._run("grad", grad, p, seed, offset, start, out)

    def _run(self, name, x, p, seed, offset, start, out):
        check(**{name: x})
        if x.ndim < 2:
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected (N, C) or (N, C, *spatial)")
        scales = device_of(x).from_host(np.ones(x.shape[0] * x.shape[1], x.dtype))
        dropout(scales, p, seed, offset, out=scales, start=start)
        channels = Channels(1, x.shape[0] * x.shape[1], (scales,))  # one for each feature map of each example
        return run_any("feature_dropout", {name: x}, (out,), (), channels, ordered=True)[0][0]


def relu_dropout(x, p, seed, offset, out):
    """`dropout` of `relu`, in one pass."""
    return _dropped({"x": x}, p, stream_of(seed, offset), out, _kept_scale, "dropout.relu")


def relu_dropout_backward(grad, y, p, out):
    """The gradient with respect to x of `relu_dropout`, given its result y."""
    return elementwise("dropout.relu.backward", out, _kept_scale(p), grad=grad, y=y)


def prepared(x, out, p, fused=False):
    """`dropout` of x, or if *fused* of its `relu`, as a function of a stream (`numbadl.streams.stream_of`).

    None where a call has to look at the arrays, or copies them.
    """
    threshold = threshold_of(p)
    if threshold is None or not is_plain(x, out):
        return None
    kernel = DEVICES["cpu"].kernel("dropout.relu" if fused else "dropout")
    return functools.partial(kernel, x.reshape(-1), out.reshape(-1), threshold, *typed(_kept_scale(p), x.dtype))


def prepared_backward(grad, y, out, p):
    """`relu_dropout_backward` as a function without arguments; or None."""
    if not is_plain(grad, y, out):
        return None
    flat, kernel = [a.reshape(-1) for a in (grad, y, out)], DEVICES["cpu"].kernel("dropout.relu.backward")
    return functools.partial(kernel, *flat, *typed(_kept_scale(p), grad.dtype))


def _dropped(inputs, p, stream, out, scalars, name="dropout"):
    """The kernel of that name over the inputs; the identity for p = 0."""
    threshold = threshold_of(p)
    if threshold is None:
        return elementwise("identity", out, **inputs)
    return elementwise(name, out, (threshold, *scalars(float(p)), *stream), ordered=True, **inputs)


def _kept_scale(p):
    return (0.0 if p == 1 else 1 / (1 - p),)


dropout = Dropout()
alpha_dropout = AlphaDropout()
gaussian_dropout = GaussianDropout()
feature_dropout = FeatureDropout()
