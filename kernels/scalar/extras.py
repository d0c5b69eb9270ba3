"""What is done around an optimiser's rule in the same pass: the gradient scaled and clipped, penalties, averages.

`compose` makes one scalar function of a rule and the extras in use: (param, grad, *state, [average], *numbers) ->
(param, *state, [gradient = 0], [average]). The numbers come in this order: scale, the tensor's values; decay, those of the
extras in the order of `EXTRAS`, the rule's scalars. Scale and decay are always there: grad becomes
``scale * grad + decay * param``, which costs no memory access more.

======== ===== ===================================================================================
extra    takes does
======== ===== ===================================================================================
limit    1     the scaled gradient is limited to [-limit, limit]
l1       1     l1 * sign(param) is added to the gradient
shrink   1     after the step, param is soft-thresholded: moved towards 0 by shrink, at most to 0
average  1     average += fresh * (param - average), for one more array
zero     0     the gradient is set to 0
======== ===== ===================================================================================
"""

import functools
import itertools
from dataclasses import dataclass

from ..shapes import Segments
from .descent import sign
from .language import scalar
from .parts import clipped

EXTRAS = {"limit": 1, "l1": 1, "shrink": 1, "average": 1, "zero": 0}


@functools.cache
def update_kernel(record, extras=()):
    """The `Segments` kernel of an `Update` record's rule with these extras, which are in the order of `EXTRAS`."""
    return _update_kernel(record.rule, _Sizes.of(record, extras), extras)


@functools.cache
def _update_kernel(rule, sizes, extras):
    """One for all records with that rule."""
    states = range(2, 2 + sizes.states) if sizes.stores else ()
    writes = (0, *states) + (1,) * ("zero" in extras) + (2 + sizes.states,) * sizes.average
    return _kernel(f"update.{rule.__name__}", sizes, extras, _step(rule, sizes, extras), writes)


@functools.cache
def measure_kernel(record, extras=()):
    """The kernel of a record's first pass over each tensor, with the operands of the second."""
    sizes = _Sizes.of(record, extras)
    writes = tuple(range(2, 2 + sizes.states)) if record.measure_writes else ()
    return _kernel(
        f"measure.{record.name}", sizes, extras, _measure(record.measure, sizes, extras), writes, record.terms
    )


def _kernel(name, sizes, extras, function, writes, terms=0):
    operands, scalars = 2 + sizes.states + sizes.average, sizes.first - sizes.values + sizes.count
    return Segments("+".join([name, *extras]), function, operands, writes, sizes.values, scalars, terms)


@dataclass(frozen=True)
class _Sizes:
    """How many operands and numbers there are: state buffers, an average or none, values of the tensor with the scale, the
    rule's scalars; where those begin among all numbers; and whether the rule gives new state."""

    states: int
    average: bool
    values: int
    count: int
    first: int
    stores: bool

    @staticmethod
    def of(record, extras):
        values = 1 + record.values
        first = values + 1 + sum(EXTRAS[extra] for extra in extras)
        return _Sizes(
            len(record.state) + len(record.scratch),
            "average" in extras,
            values,
            record.count,
            first,
            not record.measure_writes,
        )


# -- composition -----------------------------------------------------------------------------------------------------
@scalar
def soft_threshold(x, by):
    return x - by if x > by else (x + by if x < -by else 0 * x)


def _step(rule, sizes, extras):
    """The scalar function of a rule with its extras (see the module)."""
    states, start, values, first = sizes.states, sizes.states + sizes.average, sizes.values, sizes.first
    places = _places(values, extras)
    gradient = _gradient(places, values)
    param_after = _shrunk(places["shrink"]) if "shrink" in places else _itself
    others = _others(extras, states, start + places.get("average", 0))

    @scalar
    def plain(param, grad, *rest):
        numbers = rest[states:]
        return rule(param, gradient(param, grad, *numbers), *(rest[:states] + numbers[1:values] + numbers[first:]))

    @scalar
    def step(param, grad, *rest):
        numbers = rest[start:]
        found = rule(param, gradient(param, grad, *numbers), *(rest[:states] + numbers[1:values] + numbers[first:]))
        param = param_after(found[0], *numbers)
        return (param,) + found[1:] + others(param, *rest)

    return step if set(extras) - {"limit", "l1"} else plain  # what does nothing takes time to compile


def _measure(measure, sizes, extras):
    """The scalar function of the first pass: the rule's own, of the prepared gradient."""
    states, start, first = sizes.states, sizes.states + sizes.average, sizes.first
    gradient = _gradient(_places(sizes.values, extras), sizes.values)

    @scalar
    def run(param, grad, *rest):
        numbers = rest[start:]
        return measure(param, gradient(param, grad, *numbers), *(rest[:states] + numbers[first:]))

    return run


def _places(values, extras):
    """Where each extra's number stands among all numbers: after the tensor's values and decay."""
    ends = itertools.accumulate((EXTRAS[extra] for extra in extras), initial=values + 1)
    return dict(zip(extras, ends, strict=False))


def _gradient(places, decay):
    """The scalar function (param, grad, *numbers) -> the gradient that the rule takes; *decay* is where that number stands."""
    if not places.keys() & {"limit", "l1"}:
        return _scaled_with_decay(decay)
    gradient = _scaled
    if "limit" in places:
        gradient = _limited(gradient, places["limit"])
    if "l1" in places:
        gradient = _with_l1(gradient, places["l1"])

    @scalar
    def with_decay(param, grad, *numbers):
        return gradient(param, grad, *numbers) + numbers[decay] * param

    return with_decay


def _scaled_with_decay(decay):
    @scalar
    def scaled_with_decay(param, grad, *numbers):
        return numbers[0] * grad + numbers[decay] * param

    return scaled_with_decay


@scalar
def _scaled(param, grad, *numbers):
    return numbers[0] * grad


def _limited(before, at):
    @scalar
    def limited(param, grad, *numbers):
        return clipped(before(param, grad, *numbers), -numbers[at], numbers[at])

    return limited


def _with_l1(before, at):
    @scalar
    def with_l1(param, grad, *numbers):
        return before(param, grad, *numbers) + numbers[at] * sign(param)

    return with_l1


@scalar
def _itself(param, *numbers):
    return param


def _shrunk(at):
    @scalar
    def shrunk(param, *numbers):
        return soft_threshold(param, numbers[at])

    return shrunk


def _others(extras, average, fresh):
    """The scalar function (param after the step, *rest) -> what is written beside parameter and state, as a tuple."""

    @scalar
    def nothing(param, *rest):
        return ()

    @scalar
    def zero(param, *rest):
        return (0,)

    @scalar
    def averaged(param, *rest):
        return (rest[average] + rest[fresh] * (param - rest[average]),)

    @scalar
    def both(param, *rest):
        return 0, rest[average] + rest[fresh] * (param - rest[average])

    if "zero" in extras:
        return both if "average" in extras else zero
    return averaged if "average" in extras else nothing
