"""Every kernel of the library by name, derived from the records: what devices build and tests check."""

import functools
import itertools

from .scalar import dropout, normalization, penalties, rows
from .scalar.activations import ACTIVATIONS
from .scalar.gated import GATED
from .scalar.language import scalar
from .scalar.losses import LOSSES, ElementLoss
from .scalar.stages import compose_backward, of_activation
from .scalar.updates import UPDATES
from .shapes import Channel, Map, Matmul, Reduce, Row


def backward_of(record):
    """The scalar function (grad, x, *parameters) -> grad * derivative, *grad * gradients of learnable parameters."""
    derivative = record.derivative

    @scalar
    def backward(grad, x, *parameters):
        return grad * derivative(x, *parameters)

    return compose_backward([of_activation(record)], ()) if record.learnable else backward


def activation_kernels(record):
    """Forward, derivative and backward of an activation; learnable parameters are channel operands, others scalars."""
    learnable = len(record.learnable)
    channels = learnable + record.alternating
    operands = {"scalars": "x" * (len(record.parameters) - learnable), "channels": channels, "random": record.random}
    for name, function in ((record.name, record.forward), (f"{record.name}.derivative", record.derivative)):
        yield Map(name, function, angle=record.angle, **operands)
        if learnable:  # for numbers instead of arrays
            yield Map(f"{name}.numbers", function, scalars="x" * len(record.parameters), angle=record.angle)
    angle = record.angle and behind_grad(record.angle)
    yield Map(f"{record.name}.backward", backward_of(record), "xx", sums=learnable, angle=angle, **operands)


def behind_grad(fn):
    """The scalar function (grad, x, *parameters) -> fn(x, *parameters)."""

    @scalar
    def behind(grad, x, *parameters):
        return fn(x, *parameters)

    return behind


def _gated_kernels(record):
    yield Map(record.name, record.forward, "xx")
    yield Map(f"{record.name}.backward", record.gradient, "xxx", "xx")


def _loss_kernels(record):
    if not isinstance(record, ElementLoss):
        return record.rows
    value, gradient = record.value, record.gradient

    @scalar
    def scaled_gradient(prediction, target, scale, *scalars):
        return scale * gradient(prediction, target, *scalars)

    @scalar
    def gradient_and_value(prediction, target, scale, *scalars):
        return scale * gradient(prediction, target, *scalars), value(prediction, target, *scalars)

    @scalar
    def weighted(prediction, target, weight, scale, *scalars):
        slope, loss = gradient(prediction, target, *scalars), value(prediction, target, *scalars)
        return 0 if weight == 0 else scale * weight * slope, 0 if weight == 0 else weight * loss

    name, scalars = record.kernels, "x" * len(record.scalars(*(p.default for p in record.parameters)))
    return [
        Reduce(f"{name}.value", value, "xx", scalars),
        Map(f"{name}.gradient", scaled_gradient, "xx", scalars="x" + scalars),
        Map(f"{name}.value_and_grad", gradient_and_value, "xx", scalars="x" + scalars, sums=1),
        Map(f"{name}.weighted", weighted, "xxx", "xx", "x" + scalars),
    ]


def _update_kernel(record):
    states = len(record.state)
    return Map(f"update.{record.name}", record.rule, "x" * (2 + states), "x" * (1 + states), "x" * record.count)


def _records_of(module, *kinds):
    return [value for value in vars(module).values() if isinstance(value, kinds)]


@scalar
def scaled(x, factor):
    return x * factor


@scalar
def clipped(x, low, high):
    return low if x < low else (high if x > high else x)


@functools.cache
def catalog():
    """Name -> declaration of each kernel."""
    found = [k for record in ACTIVATIONS.values() for k in activation_kernels(record)]
    found += [k for record in GATED.values() for k in _gated_kernels(record)]
    found += [k for record in LOSSES.values() for k in _loss_kernels(record)]
    found += [_update_kernel(record) for record in UPDATES.values()]
    found += _records_of(rows, Row) + _records_of(dropout, Map) + _records_of(normalization, Channel)
    found += _records_of(penalties, Map, Reduce) + [Reduce("sum", ACTIVATIONS["identity"].forward)]
    found += [Map("scaled", scaled, scalars="x"), Map("clipped", clipped, scalars="xx")]
    for ta, tb, bias in itertools.product((False, True), repeat=3):
        found.append(Matmul("matmul" + ".ta" * ta + ".tb" * tb + ".bias" * bias, ta, tb, bias))
    return {declaration.name: declaration for declaration in found}
