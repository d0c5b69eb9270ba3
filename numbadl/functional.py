"""The public operations, derived from the records in ``numbadl.kernels.scalar``: checks, layouts, one kernel call."""

import numpy as np

from .arrays import (
    DEVICES,
    DTYPES,
    THREADS_FROM,
    check,
    check_axis,
    check_out,
    check_shape,
    device_of,
    is_plain,
    plain_out,
    rows_of,
    run_flat,
    run_map,
)
from .kernels.cpu.map import DONE
from .kernels.scalar.activations import ACTIVATIONS
from .kernels.scalar.holder import ScalarHolder

_FLOAT32, _FLOAT64 = DTYPES


class ActivationFunction:
    """An activation over arrays: ``f(x)``, ``f.derivative(x)``, ``f.backward(grad, x)``; ``f.scalar`` for kernels."""

    def __init__(self, record):
        self.record = record
        self.__name__ = record.name
        self.scalar = record.forward
        self.scalar_derivative = record.derivative
        self.__doc__ = _activation_doc(record)
        self._kernel = self._first_call
        self._derivative, self._backward = f"{record.name}.derivative", f"{record.name}.backward"

    def __call__(self, x, out=None):
        if type(x) is np.ndarray and x.ndim == 1 and (x.dtype is _FLOAT32 or x.dtype is _FLOAT64):
            # One compiled call that refuses what it does not take, so that 16 elements cost half a microsecond.
            result = np.empty_like(x) if out is None else out
            try:
                # Numba's dispatch does not look at byte orders: it would take a foreign one for its own.
                if result.dtype is x.dtype and self._kernel(x, result) == DONE:
                    return result
            except (AttributeError, TypeError):
                pass  # the long way finds out what is wrong, or copies
        return _elementwise(self.__name__, out, x=x)

    def derivative(self, x, out=None):
        """f'(x), element by element; at a kink the value that the record states."""
        return _elementwise(self._derivative, out, x=x)

    def backward(self, grad, x, out=None):
        """grad * f'(x) in one pass: the gradient with respect to x, given the gradient with respect to f(x)."""
        return _elementwise(self._backward, out, grad=grad, x=x)

    @property
    def _numba_type_(self):
        return ScalarHolder(self.__name__, {"scalar": self.scalar, "scalar_derivative": self.scalar_derivative})

    def _first_call(self, *arguments):
        self._kernel = DEVICES["cpu"].kernel(self.__name__)
        return self._kernel(*arguments)

    def __repr__(self):
        return f"<numbadl activation {self.__name__}: {self.record.formula}>"


def _activation_doc(record):
    kinks = f"    Kinks at {', '.join(map(str, record.kinks))}.\n" if record.kinks else ""
    return f"""{record.name}(x, out=None): f(x) = {record.formula}

    f'(x) = {record.derivative_formula}; range {record.range}; {record.continuity}.
{kinks}
    Parameters
    ----------
    x : array of float32 or float64, any shape and layout, on CPU or CUDA
    out : array like x, optional; x itself to work in place

    Returns
    -------
    array of x's kind, shape and dtype

    Raises
    ------
    TypeError : x or out is of another kind or dtype
    ValueError : out has another shape, is read-only or overlaps x in part

    Source: {record.source}

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.{record.name}(np.zeros(2, np.float32)).dtype
    dtype('float32')
    """


def _elementwise(name, out, scalars=(), **inputs):
    """Run a Map kernel over inputs of one shape, after all checks; returns out."""
    arrays = tuple(inputs.values())
    first = arrays[0]
    ready = plain_out(out, *arrays) if is_plain(*arrays) else None
    if ready is not None:
        # The common case at the cost of some attribute look-ups, a microsecond in all; everything else goes below.
        device, out, flat = DEVICES["cpu"], ready, [*arrays, ready]
        if first.ndim != 1:
            flat = [a.reshape(-1) for a in flat]
    else:
        check(**inputs)
        for other in inputs:
            check_shape(other, inputs[other], first.shape, f"that of {next(iter(inputs))}")
        device, flat = device_of(first), None
        if out is None:
            out = np.empty_like(first) if device.name == "cpu" else device.empty(first.shape, first.dtype)
        else:
            check_out(out, first, **inputs)
    if first.size:
        if first.size >= THREADS_FROM:
            device.prepare(first.size)
        if scalars:
            scalars = [v if isinstance(v, np.generic) else first.dtype.type(v) for v in scalars]
        if flat is None:
            run_flat(device.kernel(name), arrays, out, scalars)
        else:
            run_map(name, *flat, *scalars)
    return out


class RowFunction:
    """softmax or log_softmax: an operation along one axis, whose backward takes its result."""

    def __init__(self, name, formula, gradient):
        self.__name__ = name
        self.__doc__ = _row_doc(name, formula, gradient)

    def __call__(self, x, axis=-1, out=None):
        check(x=x)
        return self._run(self.__name__, axis, out, x=x)

    def backward(self, grad, y, axis=-1, out=None):
        """The gradient with respect to x, given that with respect to y = f(x), and y itself."""
        check(grad=grad, y=y)
        check_shape("grad", grad, y.shape, "that of y")
        return self._run(f"{self.__name__}.backward", axis, out, grad=grad, y=y)

    def _run(self, name, axis, out, **inputs):
        first = next(iter(inputs.values()))
        axis, device = check_axis(axis, first.ndim), device_of(first)
        if out is not None:
            check_out(out, first, **inputs)
        elif device.name == "cpu":
            out = np.empty(first.shape, first.dtype)
        else:
            out = device.empty(first.shape, first.dtype)
        if first.size == 0:
            return out
        device.prepare(first.size)
        direct = device.name == "cuda" or (axis == first.ndim - 1 and out.flags.carray)
        result = rows_of(out, axis) if direct else np.empty(rows_of(out, axis).shape, out.dtype)
        device.kernel(name)(*[rows_of(a, axis) for a in inputs.values()], result)
        if not direct:
            moved = np.moveaxis(out, axis, -1)
            moved[...] = result.reshape(moved.shape)
        return out


def _row_doc(name, formula, gradient):
    return f"""{name}(x, axis=-1, out=None): {formula}, along one axis.

    Backward takes the result y: dx = {gradient}.

    Parameters
    ----------
    x : array of float32 or float64
    axis : int
    out : array like x, optional; x itself to work in place

    Returns
    -------
    array of x's kind, shape and dtype. A row that holds NaN, inf, or nothing but -inf gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> bool(np.allclose(np.exp(nd.log_softmax(np.arange(3.0))), nd.softmax(np.arange(3.0))))
    True
    """


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
        return self._run("x", x, p, seed, offset, start, out)

    def backward(self, grad, p=0.5, seed=0, offset=0, out=None, *, start=0):
        """The gradient with respect to x: the same mask and scale, applied to *grad*."""
        return self._run("grad", grad, p, seed, offset, start, out)

    def mask(self, shape, p=0.5, seed=0, offset=0, *, start=0):
        """The mask as a bool array: True = kept."""
        threshold, stream = _threshold(p), _stream(seed, offset, start)
        out = np.empty(shape, np.bool_)
        if threshold is None:
            out[...] = True
        elif out.size:
            device = device_of(out)
            device.prepare(out.size)
            device.kernel("dropout.mask")(out.reshape(-1), threshold, *stream)
        return out

    def _run(self, name, x, p, seed, offset, start, out):
        check(**{name: x})
        threshold, stream = _threshold(p), _stream(seed, offset, start)
        if threshold is None:
            return _elementwise("identity", out, **{name: x})
        if isinstance(x, np.ndarray) and not x.flags.c_contiguous:
            if out is not None:
                check_out(out, x, **{name: x})
            result = self._run(name, np.ascontiguousarray(x), p, seed, offset, start, None)
            return _elementwise("identity", out, **{name: result}) if out is not None else result
        scale = 0.0 if p == 1 else 1 / (1 - float(p))
        return _elementwise("dropout", out, (threshold, scale, *stream), **{name: x})


def _threshold(p):
    """An element is kept if its 32 bits exceed this; None keeps all."""
    if not 0 <= p <= 1:
        raise ValueError(f"p: got {p}, accepted are probabilities from 0 to 1")
    dropped = round(p * 2**32)
    return None if dropped == 0 else np.uint32(dropped - 1)


def _stream(seed, offset, start):
    for name, value in (("seed", seed), ("offset", offset), ("start", start)):
        bits = 63 if name == "start" else 64
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**bits:
            raise ValueError(f"{name}: got {value!r}, accepted are integers from 0 to 2**{bits} - 1")
    if start >= 2**62:
        raise ValueError(f"start: got {start}, accepted are integers below 2**62")
    return np.uint64(seed), np.uint64(offset), np.int64(start)


def uniform(shape, low=0.0, high=1.0, seed=0, offset=0, dtype=np.float32):
    """An array of that shape, uniform on (low, high), from the stream (seed, offset); rounding may reach the ends.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.uniform((2, 3), seed=7).shape
    (2, 3)
    """
    out, stream = np.empty(shape, dtype), _stream(seed, offset, 0)
    check(dtype=out)
    if out.size:
        dtype = out.dtype.type
        device_of(out).kernel("uniform")(out.reshape(-1), dtype(low), dtype(high), *stream)
    return out


FUNCTIONS = {name: ActivationFunction(record) for name, record in ACTIVATIONS.items()}
softmax = RowFunction("softmax", "y_i = exp(x_i - max x) / sum_j exp(x_j - max x)", "y (g - sum(g y))")
log_softmax = RowFunction("log_softmax", "y_i = x_i - max x - log sum_j exp(x_j - max x)", "g - exp(y) sum(g)")
dropout = Dropout()
