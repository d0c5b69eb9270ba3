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
from ...arrays import DEVICES, check_axis
from ...elementwise import typed
from ...kernels.cpu.map import DONE, REFUSED
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
        return self.native.kernels(_NUMPY[dtype], **dict(zip(self.native.options, given, strict=True) if given else {}))

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


class Learnable(Shortcut):
    """Of an activation with learnable parameters, all of one number or all of one for each channel."""

    def __init__(self, native, learnable, options):
        super().__init__()
        self.native, self._count, self._names = native, learnable, options

    def make_plan(self, dtype, shape, counts, *given):
        options, size, count = dict(zip(self._names, given, strict=True)), math.prod(shape), math.prod(counts[0])
        axis = options.pop("axis")
        if size == 0 or any(of_one != (count,) for of_one in counts):
            raise Unusual
        inner = size
        if count > 1:
            axis = check_axis(axis, len(shape))
            inner = math.prod(shape[axis + 1 :])
            if shape[axis] != count:
                raise Unusual
        self.native.check(**options)
        _CPU.prepare(size)
        kernels = [_CPU.kernel(quick.kernel) for quick in (self.native._kernel, self.native._backward)]
        return *kernels, (*typed(options.values(), _NUMPY[dtype]), inner)

    def _plan_of(self, x, parameters, options):
        return self.plan(x.dtype, x.shape, tuple([p.shape for p in parameters]), *options)

    def forward(self, x, *given):
        parameters, options = given[: self._count], given[self._count :]
        kernel, _, numbers = self._plan_of(x, parameters, options)
        array = array_of(x)
        y = np.empty_like(array)
        if kernel(array.reshape(-1), y.reshape(-1), *map(array_of, parameters), *numbers) != DONE:
            raise Unusual
        return _tensor(y), True, (x, *parameters)

    def backward(self, saved, kept, options, grad):
        x, *parameters = saved
        _, kernel, numbers = self._plan_of(x, parameters, options)
        array, values = array_of(x), [array_of(p) for p in parameters]
        dx, sums = np.empty_like(array), np.empty((self._count, values[0].size), array.dtype)
        if kernel(_dense(grad).reshape(-1), array.reshape(-1), dx.reshape(-1), *values, sums, *numbers) != DONE:
            raise Unusual
        return _tensor(dx), *map(_tensor, sums)


class Gated(Shortcut):
    """Of a gated unit of two tensors."""

    def __init__(self, name):
        super().__init__()
        self._names = name, f"{name}.backward"

    def make_plan(self):
        return [_CPU.kernel(name) for name in self._names]

    def forward(self, x, gate):
        arrays = array_of(x), array_of(gate)
        y = np.empty_like(arrays[0])
        if x.shape != gate.shape or self.plan()[0](*(a.reshape(-1) for a in (*arrays, y))) != DONE:
            raise Unusual
        return _tensor(y), True, (x, gate)

    def backward(self, saved, kept, options, grad):
        x, gate = map(array_of, saved)
        found = np.empty_like(x), np.empty_like(x)
        if self.plan()[1](*(a.reshape(-1) for a in (_dense(grad), x, gate, *found))) != DONE:
            raise Unusual
        return tuple(map(_tensor, found))


class Split(Gated):
    """Of a gated unit of the halves of a tensor, which are copied where they lie apart."""

    def make_plan(self, shape, dim):
        axis = check_axis(dim, len(shape))
        if shape[axis] % 2 or 0 in shape:
            raise Unusual
        halved = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
        return *super().make_plan(), halved, (math.prod(shape[:axis]), 2, -1)

    def forward(self, x, dim):
        kernel, _, shape, halves = self.plan(x.shape, dim)
        array = array_of(x)
        y = np.empty(shape, array.dtype)
        if kernel(*_parts(array, halves), y.reshape(-1)) != DONE:
            raise Unusual
        return _tensor(y), True, (x,)

    def backward(self, saved, kept, options, grad):
        (x,) = map(array_of, saved)
        _, kernel, shape, halves = self.plan(saved[0].shape, *options)
        dx, found = np.empty_like(x), np.empty((2, math.prod(shape)), x.dtype)
        if kernel(_dense(grad).reshape(-1), *_parts(x, halves), *found) != DONE:
            raise Unusual
        np.copyto(dx.reshape(halves).transpose(1, 0, 2), found.reshape(2, halves[0], -1))
        return (_tensor(dx),)


def _parts(array, halves):
    """Both halves, as flat arrays."""
    three = array.reshape(halves)
    return [np.ascontiguousarray(three[:, k]).reshape(-1) for k in range(2)]


class Rows(Shortcut):
    """Of softmax and its kin along the last axis."""

    def __init__(self, name):
        super().__init__()
        self._names = name, f"{name}.backward"

    def make_plan(self, shape, dim):
        if check_axis(dim, len(shape)) != len(shape) - 1 or 0 in shape:
            raise Unusual
        _CPU.prepare(math.prod(shape))
        return *map(_CPU.kernel, self._names), (-1, shape[-1])

    def forward(self, x, dim):
        kernel, _, matrix = self.plan(x.shape, dim)
        array = array_of(x)
        y = np.empty_like(array)
        kernel(array.reshape(matrix), y.reshape(matrix))
        y = _tensor(y)
        return y, True, (y,)

    def backward(self, saved, kept, options, grad):
        _, kernel, matrix = self.plan(saved[0].shape, *options)
        y = array_of(saved[0])
        dx = np.empty_like(y)
        kernel(*(a.reshape(matrix) for a in (_dense(grad), y, dx)))
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


class _Loss(Shortcut):
    """Of a loss that is one number. What is kept are the options and, until it is taken, the gradient."""

    def __init__(self, tensors):
        super().__init__()
        self._tensors = tensors

    def _value(self, x, target, options, gradient):
        """The value; *gradient*, an array like x or None, is written to."""
        raise NotImplementedError

    def forward(self, x, target, *given):
        *options, wanted = given
        array = array_of(x)
        gradient = np.empty_like(array) if wanted else None
        value = self._value(x, target, options, gradient)
        kept = [options, _tensor(gradient)] if wanted else [options]
        return _tensor(np.array(value, array.dtype)), kept, (x, target)

    def _gradient(self, saved, kept):
        """That of forward, once: who gets it may write to it. After that it is computed again."""
        if len(kept) > 1:
            return kept.pop()
        gradient = np.empty_like(array_of(saved[0]))
        self._value(*saved, kept[0], gradient)
        return _tensor(gradient)

    def backward(self, saved, kept, options, grad):
        gradient = self._gradient(saved, kept)
        # Usually 1: no further pass.
        return (gradient if grad.item() == 1 else gradient * grad), *[None] * (self._tensors - 1)

    def saved(self, saved, kept):
        return saved[0], self._gradient(saved, kept)


class Labels(_Loss):
    """Of the mean of a loss of labels with the *defaults*: *rows* are those of its value, and of value and gradient."""

    def __init__(self, rows, tensors, defaults):
        super().__init__(tensors)
        self._rows, self._defaults = rows, list(defaults)

    def make_plan(self, dtype, count, classes):
        if count * classes == 0:
            raise Unusual
        _CPU.prepare(count * classes)
        kernels = [_CPU.kernel(row.name) for row in self._rows]
        return *kernels, _CPU.kernel("sum"), _NUMPY[dtype].type(1 / count)

    def _value(self, x, labels, options, gradient):
        if options != self._defaults or x.dim() != 2 or labels.dim() != 1 or labels.dtype is not torch.int64:
            raise Unusual
        count, classes = x.shape
        value_of, both_of, total_of, scale = self.plan(x.dtype, count, classes)
        rows, numbers = array_of(x), array_of(labels)
        if numbers.size != count:
            raise Unusual
        values = np.empty(count, rows.dtype)
        kernel, rest = (value_of, (values,)) if gradient is None else (both_of, (gradient, values, scale))
        if kernel(rows, numbers, *rest) == REFUSED:  # a label that is none, or is ignored
            raise Unusual
        return total_of(values) / count


class Elements(_Loss):
    """Of a loss of elements without weights, such as the `numbadl.losses` one *native*, added up."""

    def __init__(self, native, tensors, weights, names):
        super().__init__(tensors)
        self._native, self._weights, self._names = native, [None] * weights, names

    def make_plan(self, dtype, shape, *given):
        native, options = self._native, {**self._native.options, **dict(zip(self._names, given, strict=True))}
        for name in self._names:
            native._check_option(name, options[name])
        count, record = math.prod(shape), native.record
        if count == 0 or options["reduction"] == "none":
            raise Unusual
        _CPU.prepare(count)
        divisor = {"mean": count, "batchmean": shape[0], "sum": 1}[options["reduction"]]
        scalars = typed(record.scalars(*(options[p.name] for p in record.parameters)), _NUMPY[dtype])
        kernels = [_CPU.kernel(f"{record.variant(options).kernels}.{name}") for name in ("value", "value_and_grad")]
        return *kernels, scalars, _NUMPY[dtype].type(1 / divisor), divisor

    def _value(self, x, target, options, gradient):
        if options[: len(self._weights)] != self._weights or target.shape != x.shape:
            raise Unusual
        value_of, both_of, scalars, scale, divisor = self.plan(x.dtype, x.shape, *options[len(self._weights) :])
        flat = array_of(x).reshape(-1), array_of(target).reshape(-1)
        if gradient is None:
            return _known(value_of(*flat, *scalars)) / divisor
        total = np.empty((1, 1), gradient.dtype)
        if both_of(*flat, gradient.reshape(-1), total, scale, *scalars, gradient.size) != DONE:
            raise Unusual
        return _known(float(total[0, 0])) / divisor


def _known(value):
    """*value*, unless it is NaN: that tells of a target that is not accepted, among others."""
    if value != value:
        raise Unusual
    return value
