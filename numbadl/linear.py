"""Matrix products over arrays, and the parts of a linear layer that are made of them."""

import functools
import itertools

import numpy as np

from ._stack import check_stack
from .arrays import DEVICES, DTYPES, check, check_out, check_shape, dense, device_of, is_plain, rows_of, share_memory
from .interop.arrays import takes_any_array


@takes_any_array
def matmul(a, b, out=None, *, transpose_a=False, transpose_b=False, bias=None):
    """op(a) @ op(b) (+ bias), where op transposes if asked to; 2-D arrays of one dtype, C-contiguous or copied.

    The bits of the result follow from the operands' values alone, not from threads, layouts or the other elements.

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
    if out is not None and _fit_as_they_are(a, b, out, transpose_a, transpose_b, bias):
        return multiply(a, b, out, transpose_a=transpose_a, transpose_b=transpose_b, bias=bias)
    check(a=a, b=b, **({} if bias is None else {"bias": bias}))
    for operand, array in (("a", a), ("b", b)):
        if array.ndim != 2:
            raise ValueError(f"{operand}: got shape {array.shape}, expected a matrix")
    m, k = a.shape[::-1] if transpose_a else a.shape
    inner, n = b.shape[::-1] if transpose_b else b.shape
    if inner != k:
        raise ValueError(f"b: its inner dimension is {inner}, that of a is {k} (shapes {a.shape} and {b.shape})")
    if bias is not None:
        check_shape("bias", bias, (n,), "one value for each column of the result")
    device = device_of(a)
    if out is None:
        out = device.empty((m, n), a.dtype)
    else:
        check(a=a, out=out)
        check_shape("out", out, (m, n), "that of the product")
        _check_apart(out, a=a, b=b, **({} if bias is None else {"bias": bias}))
    if m * n == 0:
        return out
    direct = device.name == "cuda" or out.flags.carray
    target = out if direct else device.empty(out.shape, out.dtype)
    bias = None if bias is None else rows_of(bias, -1).reshape(-1)
    multiply(rows_of(a, -1), rows_of(b, -1), target, transpose_a=transpose_a, transpose_b=transpose_b, bias=bias)
    if not direct:
        device.copy(out, target)
    return out


def multiply(a, b, out, *, transpose_a=False, transpose_b=False, bias=None, symmetric=False):
    """`matmul` of arrays that were checked, and are C-contiguous; without a bias the result may be known to be symmetric."""
    device = device_of(out)
    check_stack()
    device.prepare(out.size * a.shape[0 if transpose_a else 1] // 64)
    name = _NAMES[bool(transpose_a), bool(transpose_b), bias is not None]
    kernel = device.kernel(f"{name}.symmetric" if symmetric else name)
    if bias is None:
        kernel(a, b, out)
    else:
        kernel(a, b, bias, out)
    return out


_NAMES = {
    (a, b, bias): "matmul" + ".ta" * a + ".tb" * b + ".bias" * bias
    for a, b, bias in itertools.product((False, True), repeat=3)
}


def prepared_matmul(a, b, out, *, transpose_a=False, transpose_b=False, bias=None):
    """`matmul` of these arrays as a function without arguments; None where a call has to look at them or to copy them."""
    if not _fit_as_they_are(a, b, out, transpose_a, transpose_b, bias):
        return None
    kernel = DEVICES["cpu"].kernel(_NAMES[bool(transpose_a), bool(transpose_b), bias is not None])
    return functools.partial(kernel, a, b, *([] if bias is None else [bias]), out)


def _fit_as_they_are(a, b, out, transpose_a, transpose_b, bias):
    """Whether nothing has to be checked or copied: dense arrays of NumPy, as in every step of a training.

    A few microseconds, where all that follows otherwise takes thirty.
    """
    dtype, others = getattr(a, "dtype", None), (a, b) if bias is None else (a, b, bias)
    if dtype not in DTYPES:
        return False
    for array in (*others, out):
        if type(array) is not np.ndarray or array.dtype is not dtype or not array.flags.carray:
            return False
    if not a.ndim == b.ndim == out.ndim == 2 or 0 in a.shape or 0 in b.shape:
        return False
    m, k = a.shape[::-1] if transpose_a else a.shape
    inner, n = b.shape[::-1] if transpose_b else b.shape
    if inner != k or out.shape != (m, n) or not (bias is None or bias.shape == (n,)):
        return False
    return not any(np.may_share_memory(out, array) for array in others)


def _check_apart(out, **inputs):
    check_out(out, out)
    for name, array in inputs.items():
        if out is array or share_memory(out, array):
            raise ValueError(f"out: may not share memory with {name}; a product cannot be computed in place")


def column_sums(grad, out=None):
    """The sums of (N, C) or (N, C, *spatial) over all axes but that of the channels, (C,): the gradient of a bias."""
    if (run := prepared_column_sums(grad, out)) is not None:
        DEVICES["cpu"].prepare(grad.size)
        run()
        return out
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


def prepared_column_sums(grad, out):
    """`column_sums` of (N, C) as a function without arguments; None where a call has to look at the arrays."""
    if type(out) is not np.ndarray or not is_plain(grad) or grad.ndim != 2 or grad.size == 0:
        return None
    if out.dtype is not grad.dtype or out.shape != grad.shape[1:] or not out.flags.carray:
        return None
    return functools.partial(DEVICES["cpu"].kernel("channel_sum"), grad.reshape(*grad.shape, 1), out)
