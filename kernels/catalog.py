"""Every kernel of the library by name, derived from the records: what devices build and tests check."""

import functools
import itertools

from .scalar import dropout, fills, normalization, penalties, recurrent, row_norms, rows
from .scalar.activations import ACTIVATIONS
from .scalar.gated import GATED
from .scalar.language import scalar
from .scalar.losses import DOMAINS, LOSSES, ElementLoss
from .scalar.parts import clipped
from .scalar.stages import compose_backward, of_activation
from .shapes import TAPS, WINDOWS, Channel, Gates, Map, Matmul, Norm, Reduce, Row, Sample, Segments, Take, Taps, Window


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
    if record.of_result:
        yield Map(f"{record.name}.backward.of_result", times(record.of_result), "xx")


def times(derivative):
    """The scalar function (grad, y) -> grad * derivative(y)."""

    @scalar
    def product(grad, y):
        return grad * derivative(y)

    return product


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
    value, gradient, by_target = record.value, record.gradient, record.by_target

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

    @scalar
    def weighted_by_target(prediction, target, weight, scale, *scalars):
        return 0 if weight == 0 else scale * weight * by_target(prediction, target, *scalars)

    name, scalars = record.kernels, "x" * len(record.scalars(*(p.default for p in record.parameters)))
    others = [kernel for _, variant in record.variants for kernel in _loss_kernels(variant)]
    return [
        *others,
        Reduce(f"{name}.value", value, "xx", scalars),
        Map(f"{name}.gradient", scaled_gradient, "xx", scalars="x" + scalars),
        Map(f"{name}.value_and_grad", gradient_and_value, "xx", scalars="x" + scalars, sums=1),
        Map(f"{name}.weighted", weighted, "xxx", "xx", "x" + scalars),
        *([Map(f"{name}.by_target", weighted_by_target, "xxx", scalars="x" + scalars)] if by_target else []),
    ]


def _targets_refused(domain):
    """The scalar function (target) -> 0 if *domain* has it, else 1."""

    @scalar
    def refused(target):
        return 0 if domain(target) == target else 1

    return refused


@scalar
def scaled(x, factor):
    return x * factor


@scalar
def next_number(x):
    return x + 1


@scalar
def blend(x, y, a, b):
    return a * x + b * y


@scalar
def quadratic(one, x, square, a, b, c):
    return a * one + (b * x + c * square)


@scalar
def added(x, y):
    return (x + y,)


@scalar
def moved_over(x, y):
    return x + y, 0


@scalar
def towards(x, y, fraction):
    """x goes a fraction of the way to y."""
    return (x + fraction * (y - x),)


@scalar
def both_towards(x, y, fraction):
    """x goes a fraction of the way to y, and y all the way to the new x."""
    x = x + fraction * (y - x)
    return x, x


@scalar
def exchanged(x, y):
    return y, x


@scalar
def of_square(x):
    return (x * x,)


# What optimisers do with many tensors, beside the updates (`scalar.extras` makes those for the extras in use).
SQUARES = Segments("segments.squares", of_square, 1, terms=1)
ADD = Segments("segments.add", added, 2, writes=(0,))
MOVE = Segments("segments.move", moved_over, 2, writes=(0, 1))
TOWARDS = Segments("segments.towards", towards, 2, writes=(0,), scalars=1)
LOOK_AHEAD = Segments("segments.look_ahead", both_towards, 2, writes=(0, 1), scalars=1)
EXCHANGE = Segments("segments.exchange", exchanged, 2, writes=(0, 1))


@functools.cache
def catalog():
    """Name -> declaration of each kernel; those for many tensors at once are objects of this module and of `scalar.extras`."""
    found = [k for record in ACTIVATIONS.values() for k in activation_kernels(record)]
    found += [k for record in GATED.values() for k in _gated_kernels(record)]
    found += [k for record in LOSSES.values() for k in _loss_kernels(record)]
    found += [Reduce(f"{kind}.refused", _targets_refused(domain)) for kind, domain in DOMAINS.items()]
    kinds = (Map, Reduce, Row, Channel, Norm, Sample, Gates)
    for module in (rows, dropout, fills, normalization, penalties, row_norms, recurrent):
        found += [value for value in vars(module).values() if isinstance(value, kinds)]
    found += [Reduce("sum", ACTIVATIONS["identity"].forward)]
    found += [Map("scaled", scaled, scalars="x"), Map("clipped", clipped, scalars="xx")]
    found += [Map("blend", blend, "xx", scalars="xx"), Map("quadratic", quadratic, "xxx", scalars="xxx")]
    found += [Map("next_number", next_number)]
    found += [*(Window(name) for name in WINDOWS), *(Taps(name) for name in TAPS), Take("take"), Take("take.backward")]
    for ta, tb, bias in itertools.product((False, True), repeat=3):
        found.append(Matmul("matmul" + ".ta" * ta + ".tb" * tb + ".bias" * bias, ta, tb, bias))
    for ta, tb in ((False, False), (True, False), (False, True)):
        found.append(Matmul("matmul" + ".ta" * ta + ".tb" * tb + ".symmetric", ta, tb, symmetric=True))
    return {declaration.name: declaration for declaration in found}
