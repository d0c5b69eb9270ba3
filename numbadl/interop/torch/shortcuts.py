"""The short way from tensors to a kernel, in eager mode on the CPU: a call costs a few microseconds beside the kernel.

What a kernel needs beside its arrays follows from dtypes, shapes and options. A `Shortcut` finds it once for each (its plan),
after the checks that the long way makes, too; then it takes tensors as arrays and calls the kernel. Whatever is unusual is an
exception here, after which `Operation` takes the long way: that computes the result, or says why not. Kernels themselves refuse
arrays that are no dense ones of their type.
"""

import functools
import math
from types import SimpleNamespace

import numpy as np
import torch

from ... import _arguments as arguments
from ... import normalization
from ...arrays import DEVICES
from ...elementwise import typed
from ...kernels.cpu.map import DONE
from ...streams import threshold_of

_CPU = DEVICES["cpu"]
_NUMPY = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_PLANS = 64  # that are kept for each operation
_VIEWS, _views = 1024, {}  # tensors' memory as arrays
_tensor = torch.from_numpy


class Unusual(ValueError):
    """What the short way leaves to the long one."""


class Shortcut:
    """The short way of an operation. `plan` is a function of hashable values only, found once for each."""

    def __init__(self):
        self.plan = functools.lru_cache(_PLANS, typed=True)(self.make_plan)

    def make_plan(self, *given):
        """What the kernels are called with. Raises for what the long way has to look at."""
        raise NotImplementedError

    def forward(self, *arguments):
        """(result, what backward needs beside tensors and is not None, the tensors to save)."""
        raise NotImplementedError

    def backward(self, saved, kept, options, grad):
        """The gradients of the tensor arguments, as a tuple."""
        raise NotImplementedError

    def saved(self, saved, kept):
        """What the long way would have saved."""
        return saved


def array_of(tensor):
    """A C-contiguous CPU tensor as an array of the same memory, with or without requires_grad; only while the tensor lives.

    An array is an address, a type and a shape, which come again and again: one that was made is kept, and owns nothing.
    """
    if not (tensor.is_cpu and tensor.is_contiguous()):
        raise Unusual
    if tensor.is_neg():  # a view whose signs are in a flag
        return tensor.numpy(force=True)
    key = tensor.data_ptr(), tensor.dtype, tensor.shape
    found = _views.get(key)
    if found is None:
        if len(_views) >= _VIEWS:
            _views.clear()
        found = tensor.numpy(force=True)
        held = SimpleNamespace(__array_interface__=found.__array_interface__)
        found = _views[key] = np.asarray(held) if found.size else found
    return found


def _dense(grad):
    """*grad* as an array; of a copy, which nobody else has, one that keeps it."""
    return array_of(grad) if grad.is_contiguous() else grad.contiguous().numpy(force=True)


class Map(Shortcut):
    """Of an activation without learnable or random parameters."""

    def __init__(self, native):
        super().__init__()
        self.native = native

    def make_plan(self, dtype, *given):
        native = self.native
        if hasattr(native, "_variants"):
            native, given = native._chosen(given, {}), ()
        elif given:
            native.check(*given)
        kernels = [_CPU.kernel(quick.kernel) for quick in (native._kernel, native._backward)]
        return *kernels, typed(given, _NUMPY[dtype])

    def forward(self, x, *given):
        kernel, _, scalars = self.plan(x.dtype, *given)
        array = array_of(x)
        y = np.empty_like(array)
        if kernel(array.reshape(-1), y.reshape(-1), *scalars) != DONE:
            raise Unusual
        return _tensor(y), True, (x,)

    def backward(self, saved, kept, options, grad):
        x = saved[0]
        _, kernel, scalars = self.plan(x.dtype, *options)
        array = array_of(x)
        dx = np.empty_like(array)
        if kernel(_dense(grad).reshape(-1), array.reshape(-1), dx.reshape(-1), *scalars) != DONE:
            raise Unusual
        return (_tensor(dx),)


class RowNorm(Shortcut):
    """Of a norm of rows with all its affine parameters; *rows* is the function (shape, *option) -> `row_norms.Rows`."""

    def __init__(self, fn, rows, parameters):
        super().__init__()
        self.fn, self._rows, self._parameters = fn, rows, parameters

    def make_plan(self, dtype, shape, affine, option, eps):
        rows = self._rows(shape, *option)
        arguments.number("eps", eps)
        fits = rows.count > 0 and rows.n > 1 and rows.count * rows.n == math.prod(shape)
        if option and type(option[0]) is tuple:
            fits = fits and shape[-len(option[0]) :] == option[0]
        if not fits or any(p != rows.parameter for p in affine):
            raise Unusual
        _CPU.prepare(rows.count * rows.n)
        kernels = [_CPU.kernel(self.fn._kernel + part) for part in ("", ".backward")]
        return *kernels, rows, _NUMPY[dtype].type(eps)

    def _plan_of(self, x, affine, option, eps):
        return self.plan(x.dtype, x.shape, tuple([p.shape for p in affine]), option, eps)

    def forward(self, x, *given):
        affine, option, eps = given[: self._parameters], given[self._parameters : -1], given[-1]
        kernel, _, rows, scalar = self._plan_of(x, affine, option, eps)
        array, matrix = array_of(x), (rows.count, rows.n)
        y, values = np.empty_like(array), np.empty((self.fn._saved, rows.count), array.dtype)
        operands = [array_of(p).reshape(-1) for p in affine]
        kernel(array.reshape(matrix), y.reshape(matrix), *operands, *values, scalar, rows.segment)
        return _tensor(y), values, (x, *affine)

    def backward(self, saved, kept, options, grad):
        x, *affine = saved
        _, kernel, rows, _ = self._plan_of(x, affine, options[:-1], options[-1])
        array, matrix, weight = array_of(x), (rows.count, rows.n), array_of(affine[0]).reshape(-1)
        dx, sums = np.empty_like(array), np.zeros((len(affine), weight.size), array.dtype)
        inputs = _dense(grad).reshape(matrix), array.reshape(matrix), dx.reshape(matrix)
        kernel(*inputs, weight, *kept, sums, rows.segment)
        return _tensor(dx), *(_tensor(total.reshape(rows.parameter)) for total in sums)

    def saved(self, saved, kept):
        return *saved, *map(_tensor, kept)


class BatchNorm(Shortcut):
    """Of batch norm with affine parameters and running statistics, which it updates in place."""

    def make_plan(self, dtype, shape, by_channel, training, momentum, eps):
        samples, channels, *rest = shape
        size = math.prod(rest)
        if any(p != (channels,) for p in by_channel) or samples * size < 2 or channels == 0:
            raise Unusual
        arguments.number("eps", eps)
        normalization.momentum_of(momentum, None, True)
        _CPU.prepare(math.prod(shape))
        of = _NUMPY[dtype].type
        kernels = normalization.KERNELS[training], normalization.BACKWARD_KERNELS[training], "typical_values"
        scalars = (of(momentum), of(eps)) if training else (of(eps),)
        return *map(_CPU.kernel, kernels), (samples, channels, size), scalars

    def _plan_of(self, x, by_channel, options):
        return self.plan(x.dtype, x.shape, tuple([p.shape for p in by_channel]), *options)

    def forward(self, x, weight, bias, running_mean, running_var, *options):
        parameters = weight, bias, running_mean, running_var
        kernel, _, typical_values, shape, scalars = self._plan_of(x, parameters, options)
        array, (weight, bias, mean, variance) = array_of(x), map(array_of, parameters)
        y, kept = np.empty_like(array), np.empty((4, shape[1]), array.dtype)
        (shift, *results), x3 = kept, array.reshape(shape)
        if options[0]:
            typical_values(x3, shift)
            operands, results = (shift, weight, bias, mean, variance), (*results, mean, variance)
        else:
            np.copyto(shift, mean)
            operands = shift, variance, weight, bias
        kernel(x3, y.reshape(shape), *operands, *results, *scalars)
        return _tensor(y), kept, (x, *parameters[:2])

    def backward(self, saved, kept, options, grad):
        x, weight, bias = saved
        _, kernel, _, shape, _ = self._plan_of(x, (weight, bias), options)
        array, (shift, delta, rstd, _) = array_of(x), kept
        dx, found = np.empty_like(array), np.empty((5 if options[0] else 3, shape[1]), array.dtype)
        arrays = _dense(grad).reshape(shape), array.reshape(shape), dx.reshape(shape)
        kernel(*arrays, shift, delta, rstd, array_of(weight), *found)
        return _tensor(dx), _tensor(found[0]), _tensor(found[1]), None, None

    def saved(self, saved, kept):
        return *saved, *map(_tensor, kept)


class Dropout(Shortcut):
    """Of dropout; the seed is all that backward needs."""

    def make_plan(self, dtype, p):
        threshold = threshold_of(p)
        if threshold is None:
            raise Unusual
        return _CPU.kernel("dropout"), threshold, dtype.type(0.0 if p == 1 else 1 / (1 - p))

    def _run(self, array, seed, p):
        kernel, *scalars = self.plan(array.dtype, p)
        y = np.empty_like(array)
        _CPU.prepare(array.size)
        kernel(array.reshape(-1), y.reshape(-1), *scalars, seed, _OFFSET, _START)
        return _tensor(y)

    def forward(self, x, seed, p):
        number = np.uint64(seed.item())
        return self._run(array_of(x), number, p), (number, seed), ()

    def backward(self, saved, kept, options, grad):
        return self._run(_dense(grad), kept[0], *options), None

    def saved(self, saved, kept):
        return kept[1:]


_OFFSET, _START = np.uint64(0), np.int64(0)


class Labels(Shortcut):
    """Of the mean of a loss of labels with the *defaults*: *rows* are those of its value, and of value and gradient."""

    def __init__(self, rows, tensors, defaults):
        super().__init__()
        self._rows, self._tensors, self._defaults = rows, tensors, defaults

    def make_plan(self, dtype, count, classes):
        if count * classes == 0:
            raise Unusual
        _CPU.prepare(count * classes)
        kernels = [_CPU.kernel(row.name) for row in self._rows]
        return *kernels, _CPU.kernel("sum"), _NUMPY[dtype].type(1 / count)

    def forward(self, x, labels, *given):
        if given[:-1] != self._defaults or x.dim() != 2 or labels.dim() != 1 or labels.dtype is not torch.int64:
            raise Unusual
        count, classes = x.shape
        value_of, both_of, total_of, scale = self.plan(x.dtype, count, classes)
        rows, numbers = array_of(x), array_of(labels)
        # Negative labels are large ones here.
        if numbers.size != count or np.maximum.reduce(numbers.view(np.uint64)) >= classes:
            raise Unusual
        values, kept = np.empty(count, rows.dtype), []
        if given[-1]:
            gradient = np.empty_like(rows)
            both_of(rows, numbers, gradient, values, scale)
            kept.append(_tensor(gradient))
        else:
            value_of(rows, numbers, values)
        return _tensor(np.array(total_of(values) / count, rows.dtype)), kept, (x, labels)

    def _gradient(self, saved, kept):
        """That of forward, once: who gets it may write to it. After that it is computed again."""
        if kept:
            return kept.pop()
        x, labels = saved
        _, both_of, _, scale = self.plan(x.dtype, *x.shape)
        rows = array_of(x)
        gradient = np.empty_like(rows)
        both_of(rows, array_of(labels), gradient, np.empty(len(rows), rows.dtype), scale)
        return _tensor(gradient)

    def backward(self, saved, kept, options, grad):
        gradient = self._gradient(saved, kept)
        # Usually 1: no further pass.
        return (gradient if grad.item() == 1 else gradient * grad), *[None] * (self._tensors - 1)

    def saved(self, saved, kept):
        return saved[0], self._gradient(saved, kept)
