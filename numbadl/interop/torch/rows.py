"""softmax and its kin, gated units, maxout and apl as functions with autograd."""

import math

import torch

from ... import functional as native
from ...arrays import check_axis
from ...kernels.cpu.map import DONE
from .operation import Operation
from .shortcuts import CPU, Shortcut, Unusual, kernels_of, step


@step
def _take_apart(*operands):
    x, halves = operands
    for i in range(x.shape[0]):
        for k in range(2):
            for j in range(x.shape[2]):
                halves[k, i, j] = x[i, k, j]
    return DONE


@step
def _put_together(*operands):
    halves, x = operands
    for i in range(x.shape[0]):
        for k in range(2):
            for j in range(x.shape[2]):
                x[i, k, j] = halves[k, i, j]
    return DONE


class _ShortGated(Shortcut):
    """Of a gated unit of two tensors."""

    def __init__(self, name):
        super().__init__(2)
        self._name = name

    def declare(self, call, dtype, shape):
        x, gate, y = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernels_of(self._name)[0], x.flat, gate.flat, y.flat)

    def declare_backward(self, call, dtype, shape):
        given = [call.given(dtype, *shape).flat for _ in range(3)]
        made = [call.made(dtype, *shape).flat for _ in range(2)]
        call.step(kernels_of(self._name)[1], *given, *made)


class _ShortSplit(Shortcut):
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
        CPU.prepare(math.prod(shape))
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
        call.step(kernels_of(self._name)[0], *self._halves(call, x, parts), y.flat)

    def declare_backward(self, call, dtype, shape, dim):
        half, parts = self._shapes(shape, dim)
        grad, x, dx = call.given(dtype, *half), call.given(dtype, *shape), call.made(dtype, *shape)
        found = call.scratch(dtype, 2, parts[0], parts[2])
        halves = [each.flat for each in found.rows]
        call.step(kernels_of(self._name)[1], grad.flat, *self._halves(call, x, parts), *halves)
        call.step(_put_together, found, dx.shaped(*parts))


class _ShortRows(Shortcut):
    """Of softmax and its kin along the last axis."""

    def __init__(self, name):
        super().__init__(1)
        self._name = name

    @staticmethod
    def _matrix(shape, dim):
        if check_axis(dim, len(shape)) != len(shape) - 1 or 0 in shape:
            raise Unusual
        CPU.prepare(math.prod(shape))
        return math.prod(shape[:-1]), shape[-1]

    def to_save(self, tensors, made, key):
        return made, key

    def declare(self, call, dtype, shape, dim):
        matrix = self._matrix(shape, dim)
        x, y = call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernels_of(self._name)[0], x.shaped(*matrix), y.shaped(*matrix))

    def declare_backward(self, call, dtype, shape, dim):
        matrix = self._matrix(shape, dim)
        operands = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernels_of(self._name)[1], *(o.shaped(*matrix) for o in operands))


class _Rows:
    """softmax and its kin, whose backward takes the result y.

    *transposed* is backward as a function of grad, transposed (for most it is that itself); *second* is the derivative of
    sum(h backward(g, y)) by y.
    """

    def __init__(self, fn, second, transposed=None):
        self._second = second
        self.forward = Operation(
            fn.__name__, "(Tensor x, int dim) -> Tensor", fn, self._gradient, lambda inputs, output: (output,), _dense,
            short=_ShortRows(fn.__name__),
        )  # fmt: skip
        schema = "(Tensor grad, Tensor y, int dim) -> Tensor"
        self.backward = Operation(f"{fn.__name__}_backward", schema, fn.backward, self._again, shapes=_dense)
        self._transposed = transposed or self.backward

    def _gradient(self, saved, options, grad):
        return self.backward(grad, *saved, *options)

    def _again(self, saved, options, h):
        grad, y = saved
        return self._transposed(h, y, *options), self._second(h, grad, y, *options)


def _dense(x, *rest):
    return x.new_empty(x.shape)


def _of_softmax(h, g, y, dim):
    return h * (g - (g * y).sum(dim, True)) - g * (h * y).sum(dim, True)


ROWS = {
    "softmax": _Rows(native.softmax, _of_softmax),
    "log_softmax": _Rows(
        native.log_softmax,
        lambda h, g, y, dim: -h * y.exp() * g.sum(dim, True),
        lambda h, y, dim: h - (h * y.exp()).sum(dim, True),
    ),
    "softmin": _Rows(native.softmin, lambda *given: -_of_softmax(*given)),
    "sparsemax": _Rows(native.sparsemax, lambda h, g, y, dim: torch.zeros_like(y)),
}


class _OfInputs:
    """A native function whose backward takes the inputs, and gives a gradient for each of them."""

    def __init__(self, fn, name, tensors, options, result, gradients, short=None):
        count = len(tensors)
        given = ", ".join([f"Tensor {t}" for t in tensors] + [f"int {option}" for option in options])
        results = "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
        self.forward = Operation(name, f"({given}) -> Tensor", fn, self._gradient, shapes=result, short=short)
        self.backward = Operation(
            f"{name}_backward", f"(Tensor grad, {given}) -> {results}", fn.backward, shapes=gradients, differentiable=count
        )  # fmt: skip

    def _gradient(self, saved, options, grad):
        return self.backward(grad, *saved, *options)


def _half(x, dim):
    shape = list(x.shape)
    shape[dim] //= 2
    return x.new_empty(shape)


def _part(x, pieces, dim):
    shape = list(x.shape)
    shape[dim] //= pieces
    return x.new_empty(shape)


def _whole(grad, x, *rest):
    return x.new_empty(x.shape)


def _pair(grad, x, gate):
    return torch.empty_like(grad), torch.empty_like(grad)


def _of_apl(grad, x, a, b, dim):
    return torch.empty_like(grad), a.new_empty(a.shape), b.new_empty(b.shape)


GATED = {
    name: _OfInputs(fn, name, ("x",), ("dim",), _half, _whole, _ShortSplit(name))
    if isinstance(fn, native.SplitFunction)
    else _OfInputs(fn, name, ("x", "gate"), (), torch.empty_like, _pair, _ShortGated(name))
    for name, fn in native.GATED.items()
}
_maxout = _OfInputs(native.maxout, "maxout", ("x",), ("pieces", "dim"), _part, _whole)
_apl = _OfInputs(native.apl, "apl", ("x", "a", "b"), ("dim",), torch.empty_like, _of_apl)


def _along(name):
    def function(input, dim=-1, dtype=None):
        input = input if dtype is None else input.to(dtype)
        return ROWS[name].forward.first(input, dim)

    return function


def _gated(name):
    operation = GATED[name].forward
    if operation.tensors == 1:
        return lambda input, dim=-1: operation.first(input, dim)
    return lambda input, gate: operation.first(input, gate)


def _named(name, function, text):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}; see `numbadl.{name}`."
    return function


def maxout(input, pieces, dim=1):
    """The largest of each group of *pieces* neighbouring channels along *dim*; see `numbadl.maxout`."""
    return _maxout.forward(input, pieces, dim)


def apl(input, a, b, dim=1):
    """The adaptive piecewise linear unit; a and b are of shape (S,) or (S, channels); see `numbadl.apl`."""
    return _apl.forward(input, a, b, dim)


FUNCTIONS = {name: _named(name, _along(name), f"{name} of a tensor along *dim*") for name in ROWS}
FUNCTIONS |= {name: _named(name, _gated(name), f"The gated unit {name}") for name in GATED}
FUNCTIONS |= {"maxout": maxout, "apl": apl}
