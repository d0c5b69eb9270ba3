"""Every loss as a function with autograd, made from its record, with the names and arguments that torch has for it."""

import inspect
import math

import numpy as np
import torch

from ...elementwise import typed
from ...kernels.cpu.map import DONE, REFUSED
from ...losses import LOSSES as NATIVE
from ...losses import ElementwiseLoss
from .operation import Operation, once, only_first, watched
from .shortcuts import CPU, Shortcut, Unusual, step

TORCH_NAMES = {  # of the function in torch.nn.functional and of the module
    "mse": ("mse_loss", "MSELoss"),
    "mae": ("l1_loss", "L1Loss"),
    "huber": ("huber_loss", "HuberLoss"),
    "smooth_l1": ("smooth_l1_loss", "SmoothL1Loss"),
    "binary_cross_entropy": ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    "hinge": ("hinge_loss", "HingeLoss"),  # torch has none of two classes
    "kl_div": ("kl_div", "KLDivLoss"),
    "cross_entropy": ("cross_entropy", "CrossEntropyLoss"),
    "nll": ("nll_loss", "NLLLoss"),
}
_TENSORS = ("weight", "pos_weight", "sample_weight")
_KINDS = {float: "float", int: "int", str: "str", bool: "bool"}


@step
def _store_mean(*operands):
    """Unless it is NaN: that tells of a target that is not accepted, among others."""
    total, divisor, value = operands
    mean = total[0] / divisor
    value[0] = mean
    return DONE if mean == mean else REFUSED


class _ShortLoss(Shortcut):
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


class _ShortLabels(_ShortLoss):
    """Of the mean of a loss of labels with the *defaults*: *rows* are those of its value, and of value and gradient."""

    def __init__(self, rows, weights, defaults):
        super().__init__(weights)
        self._rows, self._defaults = rows, list(defaults)

    def declare(self, call, dtype, shape, *options):
        (count, classes), (*options, _) = shape, options
        if options != self._defaults or count * classes == 0:
            raise Unusual
        CPU.prepare(count * classes)
        (x, labels), value = self._given(call, dtype, shape, np.int64, count), call.made(dtype)
        values, total = call.scratch(dtype, count), call.scratch(np.float64, 1)
        if call.keeps:
            kernel = CPU.kernel(self._rows[1].name)
            call.step(kernel, x, labels, call.made(dtype, *shape), values, dtype.type(1 / count))
        else:
            call.step(CPU.kernel(self._rows[0].name), x, labels, values)
        call.step(CPU.kernel("sum"), values, result=total)
        call.step(_store_mean, total, np.float64(count), value.flat)


class _ShortElements(_ShortLoss):
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
        CPU.prepare(count)
        divisor = {"mean": count, "batchmean": shape[0] if shape else 1, "sum": 1}[options["reduction"]]
        numbers = typed(record.scalars(*(options[p.name] for p in record.parameters)), dtype)
        name = record.variant(options).kernels
        arrays = [array.flat for array in self._given(call, dtype, shape, dtype, *shape)]
        value, total = call.made(dtype), call.scratch(dtype if call.keeps else np.float64, 1, 1)
        if call.keeps:
            arrays.append(call.made(dtype, *shape).flat)
            kernel = CPU.kernel(f"{name}.value_and_grad").part_of(count, dtype.itemsize, 1, count)
            call.step(kernel, *arrays, total, dtype.type(1 / divisor), *numbers, count)
        else:
            call.step(CPU.kernel(f"{name}.value"), *arrays, *numbers, result=total)
        call.step(_store_mean, total.flat, np.float64(divisor), value.flat)


class _Loss:
    """One operator with the value and, if asked for, the gradient, which are found in one pass."""

    def __init__(self, native):
        self.native, self.name = native, native.__name__
        self.tensors = [name for name in native.options if name in _TENSORS]
        self.options = {name: value for name, value in native.options.items() if name not in self.tensors}
        self._defaults = self._values(None, {})
        tensors = "".join(f", Tensor? {name}" for name in self.tensors)
        options = "".join(f", {_KINDS[type(value)]} {name}" for name, value in self.options.items())
        self.operation = Operation(
            f"{self.name}_loss", f"(Tensor input, Tensor target{tensors}{options}, bool with_gradient) -> (Tensor, Tensor)",
            self._run, self._gradient, lambda inputs, output: (inputs[0], output[1]), self._shapes,
            short=self._shortcut(),
        )  # fmt: skip
        self._by_target = None
        if getattr(native.record, "by_target", None) is not None:
            schema = f"(Tensor input, Tensor target{tensors}{options}) -> Tensor"
            self._by_target = Operation(f"{self.name}_loss_target_gradient", schema, self._run_by_target)

    def __call__(self, input, target, **options):
        """The value; *options* are the loss's."""
        wanted = input.requires_grad and torch.is_grad_enabled()
        values = self._values(input, options) if options else self._defaults
        if getattr(target, "requires_grad", False) and torch.is_grad_enabled():
            if self._by_target is None:
                raise TypeError(f"target: requires grad, but numbadl's {self.name} has no gradient of it; detach it")
            fixed = target.detach()
            value = only_first(self.operation.first(input, fixed, *values, wanted))
            return _OfTarget.apply(self.name, value, target, self._by_target(input.detach(), fixed, *values))
        return only_first(self.operation.first(input, target, *values, wanted))

    def _values(self, input, options):
        """The operator's arguments for these options."""
        given = {**self.native.options, **options}
        pos_weight = given.get("pos_weight")
        if isinstance(pos_weight, (int, float)):
            given["pos_weight"] = None if pos_weight == 1 else torch.tensor([pos_weight], dtype=input.dtype)
        return tuple(given[name] for name in (*self.tensors, *self.options))

    def _shortcut(self):
        rows = getattr(self.native.record, "plain", None)
        if isinstance(self.native, ElementwiseLoss):
            return _ShortElements(self.native, len(self.tensors), tuple(self.options))
        if not rows:
            return None
        return _ShortLabels(rows, len(self.tensors), self._defaults[len(self.tensors) :])

    def _run(self, input, target, *given):
        *values, wanted = given
        options = self._native_options(values)
        if not wanted:
            value, gradient = self.native(input, target, **options), input.new_empty(0)
        else:
            value, gradient = self.native.value_and_grad(input, target, **options)
        if not isinstance(value, torch.Tensor):
            value = torch.scalar_tensor(value, dtype=input.dtype, device=input.device)
        return value, gradient

    def _run_by_target(self, input, target, *values):
        return self.native.target_gradient(input, target, **self._native_options(values))

    def _native_options(self, values):
        """What `_values` gave, as options of numbadl's own loss."""
        options = dict(zip((*self.tensors, *self.options), values, strict=True))
        if "pos_weight" in options:
            weight = options["pos_weight"]
            options["pos_weight"] = 1.0 if weight is None else float(weight) if weight.numel() == 1 else weight
        return options

    def _shapes(self, input, target, *given):
        options = dict(zip((*self.tensors, *self.options), given, strict=False))
        shape = ()
        if options["reduction"] == "none":
            elements = isinstance(self.native, ElementwiseLoss)
            shape = input.shape if elements else (input.shape[0], *input.shape[2:])
        if not given[-1]:
            return input.new_empty(shape), input.new_empty(0)
        elements = isinstance(self.native, ElementwiseLoss)
        return input.new_empty(shape), torch.empty_like(input) if elements else input.new_empty(input.shape)

    def _gradient(self, saved, options, grad):
        input, gradient = saved
        gradient = once(self.name, gradient, input)
        if grad.dim() and grad.dim() < gradient.dim():  # of rows of classes
            grad = grad.unsqueeze(1)
        eager = type(grad) is torch.Tensor and not (torch.compiler.is_compiling() or watched() or grad.requires_grad)
        one = eager and grad.dim() == 0 and grad.device.type == "cpu" and float(grad) == 1  # usually: no further pass
        return gradient if one else gradient * grad, *[None] * (1 + len(self.tensors))


class _OfTarget(torch.autograd.Function):
    """A loss's value, which gets its derivative by the target beside that by the input."""

    generate_vmap_rule = True

    @staticmethod
    def forward(name, value, target, slope):
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.name, _, *saved = inputs
        ctx.save_for_backward(*saved)

    @staticmethod
    def backward(ctx, grad):
        target, slope = ctx.saved_tensors
        return None, grad, grad * once(ctx.name, slope, target), None


def _function(loss):
    """With torch's signature, if it has the loss: size_average and reduce, which are deprecated there, have to be None."""
    name = TORCH_NAMES[loss.name][0]
    theirs = getattr(torch.nn.functional, name, None)
    accepted, of_rows = {**loss.native.options}, not isinstance(loss.native, ElementwiseLoss)
    names = list(accepted) if theirs is None else list(inspect.signature(theirs).parameters)[2:]
    names += [option for option in accepted if option not in names]

    def function(input, target, *given, **options):
        if given:
            options |= dict(zip(names, given, strict=False))
        if options:
            for old in ("size_average", "reduce"):
                if options.pop(old, None) is not None:
                    raise TypeError(f"{old}: is deprecated in PyTorch; give reduction")
            if options.get("pos_weight", 1.0) is None:
                del options["pos_weight"]
        if input.dim() == 1 and of_rows:
            return loss(input.unsqueeze(0), target.unsqueeze(0), **options).squeeze(0)
        return loss(input, target, **options)

    kind = inspect.Parameter
    parameters = [kind(n, kind.POSITIONAL_OR_KEYWORD) for n in ("input", "target")]
    parameters += [kind(n, kind.POSITIONAL_OR_KEYWORD, default=accepted.get(n)) for n in names]
    function.__signature__ = inspect.Signature(parameters)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{loss.name}: {loss.native.record.formula}; see `numbadl.losses.{loss.name}`."
    return function


LOSSES = {name: _Loss(native) for name, native in NATIVE.items()}
FUNCTIONS = {TORCH_NAMES[name][0]: _function(loss) for name, loss in LOSSES.items()}
