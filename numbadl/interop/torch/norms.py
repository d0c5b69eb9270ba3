"""Batch norm, layer norm, RMS norm, group norm and instance norm as functions with autograd, with torch's signatures."""

import math

import torch

from ... import _arguments as arguments
from ... import normalization, row_norms
from ...kernels.cpu import norm
from ..arrays import KINDS
from .operation import Operation, only_first
from .shortcuts import CPU, Shortcut, Unusual, write_out


class _ShortRowNorm(Shortcut):
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
        CPU.prepare(rows.count * rows.n)
        return rows, call.given(dtype, *shape), [call.given(dtype, *rows.parameter) for _ in range(self._parameters)]

    def _kernel(self, call, rows, affine, backward=""):
        """The kernel for such rows, and the affine operands as it takes them."""
        layout, affine = norm.layout_of(rows.segment), [p.flat for p in affine]
        if layout == "columns" and rows.segment > 1:
            values, affine = affine, [call.scratch(p.dtype, p.shape[0] * rows.segment) for p in affine]
            for given, written in zip(values, affine, strict=True):
                call.step(write_out, given, written)
        return CPU.kernel(self._fn._kernel + backward).parts[layout], affine

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


class _ShortBatchNorm(Shortcut):
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
        CPU.prepare(math.prod(shape))
        return samples, channels, size

    def declare(self, call, dtype, shape, training, momentum, eps):
        shape3 = self._checked(shape, momentum, eps)
        x, *parameters = call.given(dtype, *shape), *(call.given(dtype, shape[1]) for _ in range(4))
        weight, bias, mean, variance = parameters
        arrays = x.shaped(*shape3), call.made(dtype, *shape).shaped(*shape3)
        shift, *results = call.kept(dtype, 4, shape[1]).rows
        kernel, eps = CPU.kernel(normalization.KERNELS[training]).part_of(shape3), dtype.type(eps)
        if training:
            call.step(CPU.kernel("typical_values"), arrays[0], shift)
            operands = shift, weight, bias, mean, variance, *results, mean, variance, dtype.type(momentum), eps
        else:
            call.step(write_out, mean, shift)
            operands = shift, variance, weight, bias, *results, eps
        call.step(kernel, *arrays, *operands)

    def declare_backward(self, call, dtype, shape, training, momentum, eps):
        shape3 = self._checked(shape, momentum, eps)
        grad, x = call.given(dtype, *shape), call.given(dtype, *shape)
        weight, _ = call.given(dtype, shape[1]), call.given(dtype, shape[1])
        shift, delta, rstd, _ = call.given(dtype, 4, shape[1]).rows
        arrays = [each.shaped(*shape3) for each in (grad, x, call.made(dtype, *shape))]
        found = call.made(dtype, 5 if training else 3, shape[1])
        kernel = CPU.kernel(normalization.BACKWARD_KERNELS[training]).part_of(shape3)
        call.step(kernel, *arrays, shift, delta, rstd, weight, *found.rows)


class _RowNorm:
    """A norm of rows: what forward saves are further results of the operator."""

    def __init__(self, fn, option, has_bias, rows):
        self.fn, self._rows, self._parameters = fn, rows, 1 + has_bias
        affine = "Tensor? weight, Tensor? bias" if has_bias else "Tensor? weight"
        saved = ["Tensor"] * fn._saved
        self.forward = Operation(
            fn.__name__, f"(Tensor x, {affine}{option}, float eps) -> ({', '.join(['Tensor', *saved])})", self._run,
            self._gradient, lambda inputs, output: (*inputs[: self._parameters + 1], *output[1:]), self._shapes,
            short=_ShortRowNorm(fn, rows, self._parameters),
        )  # fmt: skip
        kept = ", ".join(f"Tensor saved{k}" for k in range(fn._saved))
        results = ", ".join(["Tensor"] * (1 + self._parameters))
        self.backward = Operation(
            f"{fn.__name__}_backward", f"(Tensor grad, Tensor x, {affine}, {kept}{option}, float eps) -> ({results})",
            self._run_backward, shapes=self._shapes_of_backward, differentiable=1 + self._parameters,
        )  # fmt: skip

    def _run(self, x, *given):
        affine, (*option, eps) = given[: self._parameters], given[self._parameters :]
        y, saved = self.fn(x, *option, *affine, eps=eps)
        return (y, *_tensors(saved.values, x))

    def _run_backward(self, grad, x, *given):
        affine, rest = given[: self._parameters], given[self._parameters :]
        values, (*option, _) = rest[: self.fn._saved], rest[self.fn._saved :]
        rows = self._rows(tuple(x.shape), *option)
        values = tuple(KINDS[torch.Tensor].native(v) for v in values)
        saved = row_norms.RowNormSaved(values, rows, self._parameters == 2 and affine[1] is not None)
        found = self.fn.backward(grad, x, affine[0], saved)
        return tuple(x.new_empty(0) if t is None else t for t in found)

    def _gradient(self, saved, options, grad):
        rest = saved[1:]
        found = self.backward(grad, *saved, *options)
        return (found[0], *(None if p is None else g for p, g in zip(rest, found[1:], strict=False)))

    def _shapes(self, x, *given):
        count = self._rows(tuple(x.shape), *given[self._parameters : -1]).count
        return (x.new_empty(x.shape), *(x.new_empty(count) for _ in range(self.fn._saved)))

    def _shapes_of_backward(self, grad, x, *given):
        return (x.new_empty(x.shape), *(x.new_empty(0 if p is None else p.shape) for p in given[: self._parameters]))


def _tensors(arrays, like):
    return [KINDS[torch.Tensor].foreign(a, like) for a in arrays]


def _last_axes(shape, normalized):
    normalized = tuple(normalized)
    return row_norms.Rows(shape, math.prod(shape[: -len(normalized)]), math.prod(normalized), 1, normalized)


def _groups(shape, groups=None):
    samples, channels, size = shape[0], shape[1], math.prod(shape[2:])
    groups = channels if groups is None else groups
    return row_norms.Rows(shape, samples * groups, channels // max(groups, 1) * size, size, (channels,))


_shape, _number = ", int[] normalized_shape", ", int num_groups"
LAYER = _RowNorm(row_norms.layer_norm, _shape, True, _last_axes)
RMS = _RowNorm(row_norms.rms_norm, _shape, False, _last_axes)
GROUP = _RowNorm(row_norms.group_norm, _number, True, _groups)
INSTANCE = _RowNorm(row_norms.instance_norm, "", True, _groups)


# -- batch norm ------------------------------------------------------------------------------------------------------------
def _batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps):
    """The results, what backward needs, and the running statistics after this batch, in new tensors."""
    mean, variance = (
        x.new_empty(0) if t is None else t.clone() if training else t for t in (running_mean, running_var)
    )
    given = (None, None) if running_mean is None else (mean, variance)
    y, saved = normalization.batch_norm(x, weight, bias, *given, training, momentum, eps)
    if not training:
        mean, variance = x.new_empty(0), x.new_empty(0)
    return (y, *_tensors(saved[:4], x), mean, variance)


def _batch_norm_shapes(x, weight, bias, running_mean, running_var, training, momentum, eps):
    kept = [x.new_empty(x.shape[1]) for _ in range(4)]
    tracked = x.shape[1] if training and running_mean is not None else 0
    return (x.new_empty(x.shape), *kept, x.new_empty(tracked), x.new_empty(tracked))


def _batch_norm_backward(grad, x, weight, shift, delta, rstd, scale, training, has_bias):
    values = [KINDS[torch.Tensor].native(v) for v in (shift, delta, rstd, scale)]
    saved = normalization.BatchNormSaved(*values, training, has_bias)
    found = normalization.batch_norm.backward(grad, x, weight, saved)
    return tuple(x.new_empty(0) if t is None else t for t in found)


def _batch_norm_backward_shapes(grad, x, weight, shift, delta, rstd, scale, training, has_bias):
    channels = x.shape[1]
    of_weight, of_bias = x.new_empty(0 if weight is None else channels), x.new_empty(channels if has_bias else 0)
    return x.new_empty(x.shape), of_weight, of_bias


def _batch_norm_gradient(saved, options, grad):
    x, weight, bias, *kept = saved
    training = options[0]
    dx, dweight, dbias = BATCH_BACKWARD(grad, x, weight, *kept, training, bias is not None)
    return dx, None if weight is None else dweight, None if bias is None else dbias, None, None


BATCH = Operation(
    "batch_norm",
    "(Tensor x, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum,"
    " float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _batch_norm, _batch_norm_gradient, lambda inputs, output: (*inputs[:3], *output[1:5]), _batch_norm_shapes,
    short=_ShortBatchNorm(),
)  # fmt: skip
BATCH_BACKWARD = Operation(
    "batch_norm_backward",
    "(Tensor grad, Tensor x, Tensor? weight, Tensor shift, Tensor delta, Tensor rstd, Tensor scale, bool training,"
    " bool has_bias) -> (Tensor, Tensor, Tensor)",
    _batch_norm_backward, shapes=_batch_norm_backward_shapes, differentiable=3,
)  # fmt: skip


# -- with torch's signatures -----------------------------------------------------------------------------------------------
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """`torch.nn.functional.batch_norm`; see `numbadl.batch_norm`."""
    found = BATCH.first(input, weight, bias, running_mean, running_var, training, float(momentum), float(eps))
    if type(found) is not tuple:  # the short way updated the running statistics
        return found
    y, *_, mean, variance = found
    if training and running_mean is not None:
        with torch.no_grad():
            running_mean.copy_(mean)
            running_var.copy_(variance)
    return y


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """`torch.nn.functional.layer_norm`; see `numbadl.layer_norm`."""
    return only_first(LAYER.forward.first(input, weight, bias, _axes(normalized_shape), float(eps)))


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """`torch.nn.functional.rms_norm`; see `numbadl.rms_norm`."""
    eps = torch.finfo(input.dtype).eps if eps is None else float(eps)
    return only_first(RMS.forward.first(input, weight, _axes(normalized_shape), eps))


def _axes(normalized_shape):
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """`torch.nn.functional.group_norm`; see `numbadl.group_norm`."""
    return only_first(GROUP.forward.first(input, weight, bias, num_groups, float(eps)))


def instance_norm(input, weight=None, bias=None, eps=1e-5):
    """Instance norm by the statistics of the input, without running ones; see `numbadl.instance_norm`."""
    return only_first(INSTANCE.forward.first(input, weight, bias, float(eps)))


FUNCTIONS = {f.__name__: f for f in (batch_norm, layer_norm, rms_norm, group_norm, instance_norm)}
