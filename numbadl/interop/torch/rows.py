"""softmax and its kin, gated units, maxout and apl as functions with autograd."""

import torch

from ... import functional as native
from . import shortcuts
from .operation import Operation


class _Rows:
    """softmax and its kin, whose backward takes the result y.

    *transposed* is backward as a function of grad, transposed (for most it is that itself); *second* is the derivative of
    sum(h backward(g, y)) by y.
    """

    def __init__(self, fn, second, transposed=None):
        self._second = second
        self.forward = Operation(
            fn.__name__, "(Tensor x, int dim) -> Tensor", fn, self._gradient, lambda inputs, output: (output,), _dense,
            short=shortcuts.Rows(fn.__name__),
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
    name: _OfInputs(fn, name, ("x",), ("dim",), _half, _whole, shortcuts.Split(name))
    if isinstance(fn, native.SplitFunction)
    else _OfInputs(fn, name, ("x", "gate"), (), torch.empty_like, _pair, shortcuts.Gated(name))
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
