"""Every activation as a function with autograd, made from its record: `FUNCTIONS`."""

import dataclasses
import functools
import inspect
import math

import torch

from ...activation import ActivationFunction, ParametricFunction
from ...arrays import check_axis
from ...elementwise import typed
from ...functional import FUNCTIONS as NATIVE
from ...kernels.catalog import activation_kernels
from ...kernels.scalar.differentiate import derivative_of
from ...kernels.scalar.source import NoSource
from ...kernels.scalar.translate import NotScalar
from .operation import Operation
from .seeds import draw
from .shortcuts import CPU, Shortcut, Unusual

_KINDS = {float: "float", int: "int", str: "str", bool: "bool"}
_DRAWN = ("seed", "offset")  # options that a caller does not give


class _OfNumbers(Shortcut):
    """Of an activation without learnable or random parameters."""

    def __init__(self, native):
        super().__init__(1)
        self._native = native

    def _kernels(self, dtype, shape, given):
        if 0 in shape:
            raise Unusual
        CPU.prepare(math.prod(shape))
        return self._native.kernels(dtype, **dict(zip(self._native.options, given, strict=True) if given else {}))

    def declare(self, call, dtype, shape, *given):
        kernel, _, numbers = self._kernels(dtype, shape, given)
        x, y = call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernel, x.flat, y.flat, *numbers)

    def declare_backward(self, call, dtype, shape, *given):
        _, kernel, numbers = self._kernels(dtype, shape, given)
        grad, x, dx = call.given(dtype, *shape), call.given(dtype, *shape), call.made(dtype, *shape)
        call.step(kernel, grad.flat, x.flat, dx.flat, *numbers)


class _OfChannels(Shortcut):
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
        CPU.prepare(size)
        operands = [call.given(dtype, *shape), *(call.given(dtype, count) for _ in range(self._learnable))]
        return operands, (*typed(options.values(), dtype), inner), (size, dtype.itemsize, count, inner)

    def declare(self, call, dtype, shape, of_one, *given):
        (x, *parameters), numbers, layout = self._operands(call, dtype, shape, of_one, given)
        kernel = CPU.kernel(self._native._kernel.kernel).part_of(*layout)
        call.step(kernel, x.flat, call.made(dtype, *shape).flat, *parameters, *numbers)

    def declare_backward(self, call, dtype, shape, of_one, *given):
        grad = call.given(dtype, *shape)
        (x, *parameters), numbers, layout = self._operands(call, dtype, shape, of_one, given)
        dx, sums = call.made(dtype, *shape), call.made(dtype, self._learnable, *of_one)
        kernel = CPU.kernel(self._native._backward.kernel).part_of(*layout)
        call.step(kernel, grad.flat, x.flat, dx.flat, *parameters, sums, *numbers)


class _Activation:
    """The operations of one activation: forward, backward, and what backward's derivative needs."""

    def __init__(self, native):
        self.native, record = native, native.record
        self.name = record.name
        options = getattr(native, "options", {})
        self.learnable = tuple(p.name for p in record.learnable)
        self.random = record.random
        self.options = {k: v for k, v in options.items() if k not in (*self.learnable, *_DRAWN)}
        tensors = ", ".join(f"Tensor {name}" for name in ("x", *self.learnable, *["seed"] * self.random))
        rest = "".join(f", {_KINDS[type(v)]} {k}" for k, v in self.options.items())
        results = "Tensor" if not self.learnable else f"({', '.join(['Tensor'] * (1 + len(self.learnable)))})"
        self.forward = Operation(
            self.name, f"({tensors}{rest}) -> Tensor", self._forward, self._gradient, short=self._shortcut()
        )
        self.backward = Operation(
            f"{self.name}_backward", f"(Tensor grad, {tensors}{rest}) -> {results}", self._run_backward,
            self._second_gradient, shapes=_like_operands(len(self.learnable)), differentiable=1 + len(self.learnable),
        )  # fmt: skip

    def _shortcut(self):
        if self.learnable:
            return _OfChannels(self.native, len(self.learnable), tuple(self.options))
        return None if self.random or "axis" in self.options else _OfNumbers(self.native)

    def _forward(self, x, *given):
        return self.native(x, **self._named(given))

    def _run_backward(self, grad, x, *given):
        return self.native.backward(grad, x, **self._named(given))

    def _named(self, given):
        named = dict(zip((*self.learnable, *["seed"] * self.random, *self.options), given, strict=True))
        if self.random:
            named["seed"] = int(named["seed"])
        return named

    def _gradient(self, saved, options, grad):
        found = self.backward(grad, *saved, *options)
        return (*found, None) if self.random and self.learnable else (found, None) if self.random else found

    def _second_gradient(self, saved, options, *upstream):
        if self.learnable or self.random or "axis" in self.options:
            raise NotImplementedError(f"numbadl's {self.name} has no second derivative for parameters of channels")
        (grad, x), (h,) = saved, upstream
        variant = options[0] if options and isinstance(options[0], str) else None
        slope = slope_of(self.native if variant is None else self.native._variants[variant])
        if slope is None:
            raise NotImplementedError(
                f"numbadl's {self.name} has no second derivative: its first one has no plain rule"
            )
        return self.backward(h, x, *options), slope.backward(h * grad, x, *(options if variant is None else ()))


def _like_operands(learnable):
    """Shapes of backward's results: gradients like grad, and like each learnable parameter."""

    def shapes(grad, x, *given):
        if not learnable:
            return torch.empty_like(grad)
        return (torch.empty_like(grad), *(torch.empty_like(p) for p in given[:learnable]))

    return shapes


@functools.cache
def slope_of(native):
    """The operations of f' for those of f, with f'' from the differentiation of scalar functions; None where it cannot."""
    record = native.record
    try:
        second = derivative_of(record.derivative)
    except (NotScalar, NoSource, AttributeError):
        return None
    slope = dataclasses.replace(
        record, name=f"{record.name}_slope", forward=record.derivative, derivative=second, of_result=None, variant=None
    )
    kind = ParametricFunction if record.parameters else ActivationFunction
    return _Activation(kind(slope, list(activation_kernels(slope))))


TORCH_NAMES = {"prelu": {"alpha": "weight"}, "axis": "dim"}  # where torch's are no parameters of its module


def _made(native):
    """The public function: torch's argument names where torch has the activation, with ``inplace``."""
    operations, record = _Activation(native), native.record
    names = _option_names(operations)
    parameters = list(zip(names, (*(p.default for p in record.learnable), *operations.options.values()), strict=True))
    learnable = len(record.learnable)

    if not parameters:

        def function(input, inplace=False):
            return _inplace(operations, input) if inplace else operations.forward.first(input)

    else:
        parameters.append(("inplace", False))

        usual = tuple(default for _, default in parameters[:-1])

        def function(input, *given, **named):
            if not named and not operations.random and len(given) == learnable and _are_tensors(given):
                return operations.forward.first(input, *given, *usual[learnable:])
            values = [*given, *[named.pop(name, default) for name, default in parameters[len(given) :]]]
            if named or len(values) > len(parameters):
                accepted = ", ".join(name for name, _ in parameters)
                raise TypeError(
                    f"{record.name}: got {', '.join(named) or 'too many arguments'}, accepted are {accepted}"
                )
            inplace = values.pop()
            values[:learnable] = [_as_tensor(value, input) for value in values[:learnable]]
            if operations.random:
                values.insert(0, draw())
            return _inplace(operations, input, *values) if inplace else operations.forward.first(input, *values)

    kind = inspect.Parameter
    signature = [kind("input", kind.POSITIONAL_OR_KEYWORD)]
    signature += [kind(n, kind.POSITIONAL_OR_KEYWORD, default=d) for n, d in parameters or [("inplace", False)]]
    function.__signature__ = inspect.Signature(signature)
    function.__name__ = function.__qualname__ = record.name
    function.__doc__ = f"""{record.name}{function.__signature__}: f(x) = {record.formula}, of a float32 or float64 tensor.

    See `numbadl.{record.name}`. inplace writes to the tensor itself, as torch's functions do.
    """
    function.operations, function.parameters = operations, tuple(name for name, _ in parameters if name != "inplace")
    return function


def _option_names(operations):
    """Names of learnable parameters and options, torch's where torch's module of that name has as many."""
    record = operations.native.record
    renamed = TORCH_NAMES.get(record.name, {})
    learnable = [renamed.get(name, name) for name in operations.learnable]
    options = list(operations.options)
    theirs = getattr(torch.nn, record.layer, None)
    if theirs is not None and not learnable:
        own = [name for name in options if name != "training"]
        options[: len(own)] = list(inspect.signature(theirs).parameters)[: len(own)]
    return learnable + [TORCH_NAMES["axis"] if name == "axis" else name for name in options]


def _inplace(operations, x, *rest):
    if torch.is_grad_enabled() and (x.requires_grad or any(getattr(t, "requires_grad", False) for t in rest)):
        return x.copy_(operations.forward(x.clone(), *rest))
    return x.copy_(operations.forward(x, *rest))


def _are_tensors(values):
    return all([isinstance(value, torch.Tensor) for value in values])


def _as_tensor(value, like):
    if isinstance(value, torch.Tensor):
        return value
    return torch.full((1,), value, dtype=like.dtype, device=like.device)


FUNCTIONS = {name: _made(native) for name, native in NATIVE.items()}
