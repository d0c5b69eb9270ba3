"""Matrix products over arrays, and the parts of a linear layer that are made of them."""

from .arrays import check, check_out, check_shape, dense, device_of, rows_of, share_memory
from .interop.arrays import takes_any_array
from .kernels.cpu import blas


@takes_any_array
def matmul(a, b, out=None, *, transpose_a=False, transpose_b=False, bias=None):
    """op(a) @ op(b) (+ bias), where op transposes if asked to; 2-D arrays of one dtype, C-contiguous or copied.

    The result is the same to the bit for any number of threads: tiles depend on the shapes alone.

    Raises
    ------
    TypeError, ValueError : dtypes, devices or shapes do not fit

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.matmul(np.eye(2), np.ones((2, 3))).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    check(a=a, b=b, **({} if bias is None else {"bias": bias}))
    for name, array in (("a", a), ("b", b)):
        if array.ndim != 2:
            raise ValueError(f"{name}: got shape {array.shape}, expected a matrix")
    m, k = a.shape[::-1] if transpose_a else a.shape
    inner, n = b.shape[::-1] if transpose_b else b.shape
    if inner != k:
        raise ValueError(f"b: its inner dimension is {inner}, that of a is {k} (shapes {a.shape} and {b.shape})")
    if bias is not None:
        check_shape("bias", bias, (n,), "one value for each column of the result")
    if max(m, n, k) >= 2**31:
        raise ValueError(f"a, b: shapes {a.shape} and {b.shape}; BLAS takes dimensions below 2**31")
    device = device_of(a)
    if out is None:
        out = device.empty((m, n), a.dtype)
    else:
        check(a=a, out=out)
        check_shape("out", out, (m, n), "that of the product")
        _check_apart(out, a=a, b=b, **({} if bias is None else {"bias": bias}))
    if m * n == 0:
        return out
    name = "matmul" + ".ta" * transpose_a + ".tb" * transpose_b + ".bias" * (bias is not None)
    operands = [rows_of(a, -1), rows_of(b, -1)] + ([] if bias is None else [rows_of(bias, -1).reshape(-1)])
    direct = device.name == "cuda" or out.flags.carray
    target = out if direct else device.empty(out.shape, out.dtype)
    device.prepare(m * n * k // 64)
    if device.name == "cpu":
        with blas.single_threaded, blas.calling:
            device.kernel(name)(*operands, target)
    else:
        device.kernel(name)(*operands, target)
    if not direct:
        device.copy(out, target)
    return out


def _check_apart(out, **inputs):
    check_out(out, out)
    for name, array in inputs.items():
        if out is array or share_memory(out, array):
            raise ValueError(f"out: may not share memory with {name}; a product cannot be computed in place")


def column_sums(grad, out=None):
    """The sums of (N, C) or (N, C, *spatial) over all axes but that of the channels, (C,): the gradient of a bias."""
    check(grad=grad)
    if grad.ndim < 2:
        raise ValueError(f"grad: got shape {grad.shape}, expected (N, C) or more dimensions")
    device = device_of(grad)
    if out is None:
        out = device.empty((grad.shape[1],), grad.dtype)
    else:
        check(grad=grad, out=out)
        check_shape("out", out, (grad.shape[1],), "one value for each column")
    if grad.size == 0:
        device.copy(out, device.zeros(out.shape, out.dtype))
        return out
    device.prepare(grad.size)
    device.kernel("channel_sum")(dense(grad).reshape(*grad.shape[:2], -1), out)
    return out
