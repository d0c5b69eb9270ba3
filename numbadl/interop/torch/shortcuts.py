"""The short way from tensors to a kernel, in eager mode on the CPU: a call costs a few microseconds beside the kernel.

A `Shortcut` declares an operation's kernels, for a dtype, shapes and options, as `prepared.Call`s, after the checks that the
long way makes, too. Whatever is unusual is an exception then, and None in a call; `Operation` takes the long way after that,
which computes the result, or says why not.
"""

import functools
import math

import numpy as np
import torch
from numba import njit

from ... import _arguments as arguments
from ... import normalization
from ...arrays import DEVICES, check_axis
from ...elementwise import typed
from ...kernels.cpu import norm
from ...kernels.cpu.compile import OPTIONS, KernelCache
from ...kernels.cpu.map import DONE, REFUSED
from ...streams import threshold_of
from .prepared import Call

_CPU = DEVICES["cpu"]
_NUMPY = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_CALLS = 256  # that are kept for each operation and direction
_REFUSALS = (AttributeError, LookupError, TypeError, ValueError, RuntimeError)


class Unusual(ValueError):
    """What the short way leaves to the long one."""


class Shortcut:
    """The short way of an operation of so many *tensors* and options.

    Calls are declared for a key: the dtype and the shape of the first tensor, and the options.
    """

    def __init__(self, tensors):
        self._tensors = tensors
        kept = functools.lru_cache(_CALLS, typed=True)
        self._value, self._forward, self._backward = (
            kept(functools.partial(_prepared, declare, keeps))
            for declare, keeps in ((self.declare, False), (self.declare, True), (self.declare_backward, True))
        )

    # -- what an operation consists of --------------------------------------------------------------------------------------
    def declare(self, call, dtype, shape, *options):
        """Declare the given tensors, the result as what is made first, what backward needs as what is kept, and the steps."""
        raise NotImplementedError

    def declare_backward(self, call, dtype, shape, *options):
        """Declare the gradient of the result and the saved tensors as given, the gradients as made, and the steps."""
        raise NotImplementedError

    @staticmethod
    def key(tensors):
        return tensors[0].dtype, tensors[0].shape

    def to_save(self, tensors, made, key):
        """(tensors, what `backward` is told)."""
        return (*tensors, *made[1:]), key

    def unpacked(self, saved, told):
        """What the long way would have saved."""
        return saved

    def gradients(self, made):
        """Those of the tensor arguments, from what backward made."""
        return made

    # -- calls, which give None where the long way has to be taken -------------------------------------------------------------
    def value(self, *arguments):
        """The result."""
        tensors = arguments[: self._tensors]
        run = self._value(*self.key(tensors), *arguments[self._tensors :])
        return run and run(*tensors)

    def forward(self, *arguments):
        """(the result, the tensors to save, what `backward` is to be told)."""
        tensors = arguments[: self._tensors]
        key = *self.key(tensors), *arguments[self._tensors :]
        run = self._forward(*key)
        made = run and run(*tensors)
        return made and (made[0], *self.to_save(tensors, made, key))

    def backward(self, saved, told, grad):
        """The gradients of the tensor arguments, as a tuple."""
        run = self._backward(*told)
        made = run and run(grad if grad.is_contiguous() else grad.contiguous(), *saved)
        return made and self.gradients(made)


def _prepared(declare, keeps, dtype, *key):
    call = Call(keeps)
    try:
        declare(call, _NUMPY[dtype], *key)
        return call.prepared()
    except _REFUSALS:  # not asked again
        return None


def _kernels(name):
    return _CPU.kernel(name), _CPU.kernel(f"{name}.backward")


# -- steps beside the kernels ----------------------------------------------------------------------------------------------
def _step(fn):
    dispatcher = njit(**OPTIONS)(fn)
    dispatcher._cache = KernelCache(f"torch.{fn.__name__}", fn)
    return dispatcher


@_step
def _store_mean(*operands):
    """Unless it is NaN: that tells of a target that is not accepted, among others."""
    total, divisor, value = operands
    mean = total[0] / divisor
    value[0] = mean
    return DONE if mean == mean else REFUSED


@_step
def _labels_fit(*operands):
    labels, classes = operands
    wrong = 0
    for label in labels:
        wrong += (label < 0) | (label >= classes)
    return REFUSED if wrong else DONE


@_step
def _take_apart(*operands):
    x, halves = operands
    for i in range(x.shape[0]):
        for k in range(2):
            for j in range(x.shape[2]):
                halves[k, i, j] = x[i, k, j]
    return DONE


@_step
def _put_together(*operands):
    halves, x = operands
    for i in range(x.shape[0]):
        for k in range(2):
            for j in range(x.shape[2]):
                x[i, k, j] = halves[k, i, j]
    return DONE


@_step
def _write_out(*operands):
    """Each value as often as it takes to fill what is written."""
    values, written = operands
    times = written.size // values.size
    for i in range(values.size):
        for j in range(i * times, (i + 1) * times):
            written[j] = values[i]
    return DONE


# -- activations -----------------------------------------------------------------------------------------------------------
class Map(Shortcut):
    """Of an activation without learnable or random parameters."""

    def __init__(self, native):
        super().__init__(1)
        self._native = native

    def _kernels(self, dtype, shape, given):
        if 0 in shape:
            raise Unusual
        _CPU.prepare(math.prod(shape))
        return self._native.kernels(dtype, **dict(zip(self._native.options, given, strict=True) if given else {}))

    def declare(self, call, dtype, shape, *given):
        kernel, _, numbers = self._kernels(dtype, shape, given)
        x, y = call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernel, x.flat, y.flat, *numbers)

    def declare_backward(self, call, dtype, shape, *given):
        _, kernel, numbers = self._kernels(dtype, shape, given)
        grad, x, dx = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernel, grad.flat, x.flat, dx.flat, *numbers)


class Learnable(Shortcut):
    """Of an activation with learnable parameters, all of one number or all of one for each channel."""

    def __init__(self, native, learnable, options):
        super().__init__(1 + learnable)
        self._native, self._learnable, self._names = native, learnable, options

    @staticmethod
    def key(tensors):
        return tensors[0].dtype, tensors[0].shape, tensors[1].shape

    def gradients(self, made):
        return made[0], *made[1].unbind()

    def _operands(self, call, dtype, shape, of_one, given):
        """x and the parameters, the numbers behind the arrays, and which of the kernels of channels suits them."""
        options, size = dict(zip(self._names, given, strict=True)), math.prod(shape)
        axis, (count,), inner = options.pop("axis"), of_one, size
        if count > 1:
            axis = check_axis(axis, len(shape))
            inner = math.prod(shape[axis + 1 :])
            if shape[axis] != count:
                raise Unusual
        if size == 0:
            raise Unusual
        self._native.check(**options)
        _CPU.prepare(size)
        operands = [call.given(dtype, *shape), *(call.given(dtype, count) for _ in range(self._learnable))]
        return operands, (*typed(options.values(), dtype), inner), (size, dtype.itemsize, count, inner)

    def declare(self, call, dtype, shape, of_one, *given):
        (x, *parameters), numbers, layout = self._operands(call, dtype, shape, of_one, given)
        kernel = _CPU.kernel(self._native._kernel.kernel).part_of(*layout)
        call.step(kernel, x.flat, call.made(dtype, *shape).flat, *parameters, *numbers)

    def declare_backward(self, call, dtype, shape, of_one, *given):
        grad = call.given(dtype, *shape)
        (x, *parameters), numbers, layout = self._operands(call, dtype, shape, of_one, given)
        dx, sums = call.made(dtype, *shape), call.made(dtype, self._learnable, *of_one)
        kernel = _CPU.kernel(self._native._backward.kernel).part_of(*layout)
        call.step(kernel, grad.flat, x.flat, dx.flat, *parameters, sums, *numbers)


# -- gated units, rows -----------------------------------------------------------------------------------------------------
class Gated(Shortcut):
    """Of a gated unit of two tensors."""

    def __init__(self, name):
        super().__init__(2)
        self._name = name

    def declare(self, call, dtype, shape):
        x, gate, y = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(_kernels(self._name)[0], x.flat, gate.flat, y.flat)

    def declare_backward(self, call, dtype, shape):
        given = [call.given(dtype, *shape).flat for _ in range(3)]
        made = [call.made(dtype, *shape).flat for _ in range(2)]
        call.step(_kernels(self._name)[1], *given, *made)


class Split(Shortcut):
    """Of a gated unit of the halves of a tensor, which are copied where they lie apart."""

    def __init__(self, name):
        super().__init__(1)
        self._name = name

    @staticmethod
    def _shapes(shape, dim):
        """That of a half, and of the tensor with its halves side by side."""
        axis = check_axis(dim, len(shape))
        if shape[axis] % 2 or 0 in shape:
            raise Unusual
        _CPU.prepare(math.prod(shape))
        half = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
        outer = math.prod(shape[:axis])
        return half, (outer, 2, math.prod(half) // outer)

    @staticmethod
    def _halves(call, x, parts):
        if parts[0] == 1:
            return x.shaped(2, parts[2]).rows
        halves = call.scratch(x.dtype, 2, parts[0], parts[2])
        call.step(_take_apart, x.shaped(*parts), halves)
        return [half.flat for half in halves.rows]

    def declare(self, call, dtype, shape, dim):
        half, parts = self._shapes(shape, dim)
        x, y = call.given(dtype, *shape), call.made(dtype, *half)
        call.step(_kernels(self._name)[0], *self._halves(call, x, parts), y.flat)

    def declare_backward(self, call, dtype, shape, dim):
        half, parts = self._shapes(shape, dim)
        grad, x, dx = call.given(dtype, *half), call.given(dtype, *shape), call.made(dtype, *shape)
        found = call.scratch(dtype, 2, parts[0], parts[2])
        halves = [each.flat for each in found.rows]
        call.step(_kernels(self._name)[1], grad.flat, *self._halves(call, x, parts), *halves)
        call.step(_put_together, found, dx.shaped(*parts))


class Rows(Shortcut):
    """Of softmax and its kin along the last axis."""

    def __init__(self, name):
        super().__init__(1)
        self._name = name

    @staticmethod
    def _matrix(shape, dim):
        if check_axis(dim, len(shape)) != len(shape) - 1 or 0 in shape:
            raise Unusual
        _CPU.prepare(math.prod(shape))
        return math.prod(shape[:-1]), shape[-1]

    def to_save(self, tensors, made, key):
        return made, key

    def declare(self, call, dtype, shape, dim):
        matrix = self._matrix(shape, dim)
        x, y = call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(_kernels(self._name)[0], x.shaped(*matrix), y.shaped(*matrix))

    def declare_backward(self, call, dtype, shape, dim):
        matrix = self._matrix(shape, dim)
        operands = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(_kernels(self._name)[1], *(o.shaped(*matrix) for o in operands))


# -- norms, dropout --------------------------------------------------------------------------------------------------------
class RowNorm(Shortcut):
    """Of a norm of rows with all its affine *parameters*; *rows* is the function (shape, *option) -> `row_norms.Rows`."""

    def __init__(self, fn, rows, parameters):
        super().__init__(1 + parameters)
        self._fn, self._rows, self._parameters = fn, rows, parameters

    def unpacked(self, saved, told):
        return *saved[:-1], *saved[-1].unbind()

    def gradients(self, made):
        return made[0], *made[1].unbind()

    def _operands(self, call, dtype, shape, option, eps):
        """The rows, x, the affine parameters."""
        rows = self._rows(shape, *option)
        arguments.number("eps", eps)
        fits = rows.count > 0 and rows.n > 1 and rows.count * rows.n == math.prod(shape)
        if option and type(option[0]) is tuple:
            fits = fits and shape[-len(option[0]) :] == option[0]
        if not fits:
            raise Unusual
        _CPU.prepare(rows.count * rows.n)
        return rows, call.given(dtype, *shape), [call.given(dtype, *rows.parameter) for _ in range(self._parameters)]

    def _kernel(self, call, rows, affine, backward=""):
        """The kernel for such rows, and the affine operands as it takes them."""
        layout, affine = norm.layout_of(rows.segment), [p.flat for p in affine]
        if layout == "columns" and rows.segment > 1:
            values, affine = affine, [call.scratch(p.dtype, p.shape[0] * rows.segment) for p in affine]
            for given, written in zip(values, affine, strict=True):
                call.step(_write_out, given, written)
        return _CPU.kernel(self._fn._kernel + backward).parts[layout], affine

    def declare(self, call, dtype, shape, *options):
        *option, eps = options
        rows, x, affine = self._operands(call, dtype, shape, option, eps)
        y, saved, matrix = call.made(dtype, *shape), call.kept(dtype, self._fn._saved, rows.count), (rows.count, rows.n)
        kernel, affine = self._kernel(call, rows, affine)
        call.step(kernel, x.shaped(*matrix), y.shaped(*matrix), *affine, *saved.rows, dtype.type(eps), rows.segment)

    def declare_backward(self, call, dtype, shape, *options):
        grad = call.given(dtype, *shape)
        rows, x, affine = self._operands(call, dtype, shape, options[:-1], options[-1])
        saved = call.given(dtype, self._fn._saved, rows.count)
        dx, sums = call.made(dtype, *shape), call.made(dtype, self._parameters, *rows.parameter)
        arrays = [each.shaped(rows.count, rows.n) for each in (grad, x, dx)]
        kernel, weight = self._kernel(call, rows, affine[:1], ".backward")
        totals = sums.shaped(self._parameters, math.prod(rows.parameter))
        call.step(kernel, *arrays, *weight, *saved.rows, totals, rows.segment)


class BatchNorm(Shortcut):
    """Of batch norm with affine parameters and running statistics, which it updates in place."""

    def __init__(self):
        super().__init__(5)

    def to_save(self, tensors, made, key):
        return (*tensors[:3], made[1]), key

    def unpacked(self, saved, told):
        return *saved[:3], *saved[3].unbind()

    def gradients(self, made):
        return made[0], *made[1].unbind()[:2], None, None

    @staticmethod
    def _checked(shape, momentum, eps):
        samples, channels, *rest = shape
        size = math.prod(rest)
        if samples * size < 2 or channels == 0:
            raise Unusual
        arguments.number("eps", eps)
        normalization.momentum_of(momentum, None, True)
        _CPU.prepare(math.prod(shape))
        return samples, channels, size

    def declare(self, call, dtype, shape, training, momentum, eps):
        shape3 = self._checked(shape, momentum, eps)
        x, *parameters = call.given(dtype, *shape), *(call.given(dtype, shape[1]) for _ in range(4))
        weight, bias, mean, variance = parameters
        arrays = x.shaped(*shape3), call.made(dtype, *shape).shaped(*shape3)
        shift, *results = call.kept(dtype, 4, shape[1]).rows
        kernel, eps = _CPU.kernel(normalization.KERNELS[training]).part_of(shape3), dtype.type(eps)
        if training:
            call.step(_CPU.kernel("typical_values"), arrays[0], shift)
            operands = shift, weight, bias, mean, variance, *results, mean, variance, dtype.type(momentum), eps
        else:
            call.step(_write_out, mean, shift)
            operands = shift, variance, weight, bias, *results, eps
        call.step(kernel, *arrays, *operands)

    def declare_backward(self, call, dtype, shape, training, momentum, eps):
        shape3 = self._checked(shape, momentum, eps)
        grad, x = call.given(dtype, *shape), call.given(dtype, *shape)
        weight, _, (shift, delta, rstd, _) = (
            call.given(dtype, shape[1]),
            call.given(dtype, shape[1]),
            call.given(dtype, 4, shape[1]).rows,
        )
        arrays = [each.shaped(*shape3) for each in (grad, x, call.made(dtype, *shape))]
        found = call.made(dtype, 5 if training else 3, shape[1])
        kernel = _CPU.kernel(normalization.BACKWARD_KERNELS[training]).part_of(shape3)
        call.step(kernel, *arrays, shift, delta, rstd, weight, *found.rows)


class Dropout(Shortcut):
    """Of dropout; the seed is all that backward needs."""

    def __init__(self):
        super().__init__(2)

    def to_save(self, tensors, made, key):
        return tensors[1:], key

    def gradients(self, made):
        return made[0], None

    def declare(self, call, dtype, shape, p):
        threshold = threshold_of(p)
        if threshold is None or 0 in shape:
            raise Unusual
        _CPU.prepare(math.prod(shape))
        x, seed, y = call.given(dtype, *shape), call.given(np.int64), call.made(dtype, *shape)
        scale = dtype.type(0.0 if p == 1 else 1 / (1 - p))
        stream = seed.as_type(np.uint64), np.uint64(0), np.int64(0)
        call.step(_CPU.kernel("dropout"), x.flat, y.flat, threshold, scale, *stream)

    declare_backward = declare


# -- losses ----------------------------------------------------------------------------------------------------------------
class _Loss(Shortcut):
    """Of a loss that is one number, without *weights*. Forward makes the value and the gradient."""

    def __init__(self, weights):
        super().__init__(2 + weights)
        self._weights = (None,) * weights

    def to_save(self, tensors, made, key):
        return tensors[:2], [key, made[1]]  # until it is taken

    def _given(self, call, dtype, shape, target_dtype, *target_shape):
        given = call.given(dtype, *shape), call.given(target_dtype, *target_shape)
        for _ in self._weights:
            call.absent()
        return given

    def _gradient(self, saved, told):
        """That of forward, once: who gets it may write to it. After that it is computed again."""
        return told.pop() if len(told) > 1 else self._forward(*told[0])(*saved, *self._weights)[1]

    def backward(self, saved, told, grad):
        gradient = self._gradient(saved, told)
        # Usually 1: no further pass.
        return gradient if grad.item() == 1 else gradient * grad, None, *self._weights

    def unpacked(self, saved, told):
        return saved[0], self._gradient(saved, told)


class Labels(_Loss):
    """Of the mean of a loss of labels with the *defaults*: *rows* are those of its value, and of value and gradient."""

    def __init__(self, rows, weights, defaults):
        super().__init__(weights)
        self._rows, self._defaults = rows, list(defaults)

    def declare(self, call, dtype, shape, *options):
        (count, classes), (*options, _) = shape, options
        if options != self._defaults or count * classes == 0:
            raise Unusual
        _CPU.prepare(count * classes)
        (x, labels), value = self._given(call, dtype, shape, np.int64, count), call.made(dtype)
        values, total = call.scratch(dtype, count), call.scratch(np.float64, 1)
        call.step(_labels_fit, labels, classes)
        if call.keeps:
            kernel = _CPU.kernel(self._rows[1].name)
            call.step(kernel, x, labels, call.made(dtype, *shape), values, dtype.type(1 / count))
        else:
            call.step(_CPU.kernel(self._rows[0].name), x, labels, values)
        call.step(_CPU.kernel("sum"), values, result=total)
        call.step(_store_mean, total, np.float64(count), value.flat)


class Elements(_Loss):
    """Of a loss of elements without weights, such as the `numbadl.losses` one *native*, added up."""

    def __init__(self, native, weights, names):
        super().__init__(weights)
        self._native, self._names = native, names

    def declare(self, call, dtype, shape, *given):
        native, options = self._native, {**self._native.options, **dict(zip(self._names, given[:-1], strict=True))}
        for name in self._names:
            native._check_option(name, options[name])
        count, record = math.prod(shape), native.record
        if count == 0 or options["reduction"] == "none":
            raise Unusual
        _CPU.prepare(count)
        divisor = {"mean": count, "batchmean": shape[0] if shape else 1, "sum": 1}[options["reduction"]]
        numbers = typed(record.scalars(*(options[p.name] for p in record.parameters)), dtype)
        name = record.variant(options).kernels
        arrays = [array.flat for array in self._given(call, dtype, shape, dtype, *shape)]
        value, total = call.made(dtype), call.scratch(dtype if call.keeps else np.float64, 1, 1)
        if call.keeps:
            arrays.append(call.made(dtype, *shape).flat)
            kernel = _CPU.kernel(f"{name}.value_and_grad").part_of(count, dtype.itemsize, 1, count)
            call.step(kernel, *arrays, total, dtype.type(1 / divisor), *numbers, count)
        else:
            call.step(_CPU.kernel(f"{name}.value"), *arrays, *numbers, result=total)
        call.step(_store_mean, total.flat, np.float64(divisor), value.flat)
