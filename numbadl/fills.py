"""Arrays of random numbers: each follows from the seed, the offset and its position alone."""

import math

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_dtype, device_of
from .streams import stream_of


def uniform(shape, low=0.0, high=1.0, seed=0, offset=0, dtype=np.float32, *, start=0, out=None):
    """An array of uniform numbers on (low, high), of 23 (float32) or 32 random bits each; rounding may reach the ends.

    Parameters
    ----------
    shape : int or tuple
    low, high : finite numbers
    seed, offset : non-negative integers below 2**64: the stream (Philox4x32-10); another offset is another, independent one
    dtype : float32 or float64
    start : position of the first element in the stream, for arrays that are parts of a larger one
    out : C-contiguous array to fill, on CPU or CUDA, in place of a new one; its dtype counts

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.uniform((2, 3), seed=7).shape
    (2, 3)
    """
    return _fill("uniform", shape, {"low": low, "high": high}, stream_of(seed, offset, start), dtype, out)


def normal(shape, mean=0.0, std=1.0, seed=0, offset=0, dtype=np.float32, *, start=0, out=None):
    """An array of normally distributed numbers: each the normal quantile of 32 random bits, to 2**-22 (float32), 2**-31.

    So none is further than 6.3 std from the mean. Parameters as those of `uniform`.

    Examples
    --------
    >>> import numbadl as nd
    >>> x = nd.normal(10_000, mean=3.0, std=0.5, seed=1)
    >>> bool(abs(x.mean() - 3) < 0.02), bool(abs(x.std() - 0.5) < 0.02)
    (True, True)
    """
    return _fill("normal", shape, {"mean": mean, "std": std}, stream_of(seed, offset, start), dtype, out)


def _fill(name, shape, parameters, stream, dtype, out):
    for parameter, value in parameters.items():
        arguments.number(parameter, value, low=0 if parameter == "std" else -math.inf)
    low, high = parameters.get("low", 0), parameters.get("high", 0)
    if low > high:
        raise ValueError(f"low: got {low}, which is above high, {high}")
    shape = arguments.shape("shape", shape)
    if out is None:
        out = np.empty(shape, check_dtype(dtype))
    else:
        check(out=out)
        if tuple(out.shape) != shape:
            raise ValueError(f"out: got shape {tuple(out.shape)}, expected {shape}")
        if isinstance(out, np.ndarray) and not out.flags.carray:
            raise ValueError("out: has to be a writeable, C-contiguous array")
    for value in (*parameters.values(), high - low):
        if abs(value) > float(np.finfo(out.dtype).max):
            raise ValueError(f"{', '.join(parameters)}: got {tuple(parameters.values())}, too large for {out.dtype}")
    if out.size:
        device = device_of(out)
        device.prepare(out.size)
        device.kernel(name)(out.reshape(-1), *map(out.dtype.type, parameters.values()), *stream)
    return out
