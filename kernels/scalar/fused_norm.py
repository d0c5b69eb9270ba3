"""Batch norm with a chain of stages behind it: the declarations of one kernel forward, and of one backward.

The stages of `numbadl.kernels.scalar.stages` are composed into the functions of batch norm's own `Channel`, so both take
the passes over memory that batch norm takes alone. Backward computes each normalised value again, from the same numbers
in the same order as forward, and with it the gradient that reaches it.
"""

from ..digest import identity
from ..shapes import Channel
from .language import scalar
from .normalization import (
    batch_gradient,
    batch_norm_gradient,
    batch_statistics,
    normalized,
    running_gradient,
    running_statistics,
    scaled_gradient,
    shifted_moments,
)
from .stages import compose, compose_backward


def fused_batch_norm(records, wanted):
    """(forward, backward) -> by whether it is training, the `Channel` of each.

    *wanted* says for each array operand, in order, whether its gradient is an output.

    Channel arrays as in `normalization`, with those of the stages behind the channel inputs; backward's inputs are

    - training: 0 shift, 1 delta, 2 rstd, 3 weight, 4 scale, 5 bias -> dweight, dbias, a, b, c, gradients of the stages'
    - evaluation: the same -> dweight, dbias, a, gradients of the stages'

    Constants are the stages' numbers.
    """
    kinds = "".join(record.operands for record in records)
    arrays, channels = kinds.count("a"), kinds.count("c")
    label = "batch_norm." + "-".join(record.name for record in records)[:80]
    common = {"constants": "".join(record.scalar_kinds for record in records)}
    chain, gradients = compose(records), compose_backward(records, wanted)
    output = _behind_norm(chain, arrays)
    name = f"{label}.{identity(chain)}"

    def forward(part, reduce, sums, finish, inputs, results, map_with, scalars):
        own = tuple(range(inputs, inputs + channels))
        moved = tuple(k if k < inputs else k + channels for k in map_with)  # results follow the stages' operands
        return Channel(
            name + part, reduce, sums, (0,) * (sums > 0), _without(finish, sums, inputs, channels), inputs + channels,
            results, output, moved + own, "x" * (1 + arrays), scalars, **common,
        )  # fmt: skip

    def backward(part, finish, results, gradient, map_with):
        own, terms = tuple(range(6, 6 + channels)), _terms(gradients, arrays, 1 + sum(wanted))
        return Channel(
            f"{label}.backward.{identity(gradients)}{part}", terms, 2 + channels, (0, 1, 4, 5, 2, *own),
            _with_gradients(finish, channels), 6 + channels, results + channels,
            _gradient(gradients, gradient, arrays, 1 + sum(wanted), len(map_with)),
            (0, 1, 4, 5, *(k + channels for k in map_with), *own), "x" * (2 + arrays),
            outputs="x" * (1 + sum(wanted)), **common,
        )  # fmt: skip

    return (
        {
            True: forward("", _moments(arrays), 2, batch_statistics, 5, 5, (0, 2, 5, 7), "xx"),
            False: forward(".evaluation", None, 0, running_statistics, 4, 3, (0, 3, 4, 6), "x"),
        },
        {
            True: backward("", batch_gradient, 5, batch_norm_gradient, (8, 9, 10)),
            False: backward(".evaluation", running_gradient, 3, _scaled, (8,)),
        },
    )


@scalar
def _scaled(g, x, shift, delta, a):
    return scaled_gradient(g, x, a)


def _moments(arrays):
    @scalar
    def moments(x, *rest):
        return shifted_moments(x, rest[arrays])

    return moments


def _behind_norm(chain, arrays):
    """(x, *arrays, shift, bias, delta, scale, *channels, *numbers) -> y."""
    a, b, c, d, end = range(arrays, arrays + 5)

    @scalar
    def output(x, *rest):
        y = normalized(x, rest[a], rest[b], rest[c], rest[d])
        return chain(y, *(rest[:a] + rest[end:]))

    return output


def _terms(gradients, arrays, outputs):
    """(g, x, *arrays, shift, delta, scale, bias, rstd, *channels, *numbers) -> terms of dbias, dweight, channels'."""
    a, b, c, d, e, end = range(arrays, arrays + 6)

    @scalar
    def terms(g, x, *rest):
        y = normalized(x, rest[a], rest[d], rest[b], rest[c])
        found = gradients(g, y, *(rest[:a] + rest[end:]))
        return (found[0], found[0] * (((x - rest[a]) - rest[b]) * rest[e])) + found[outputs:]

    return terms


def _gradient(gradients, gradient, arrays, outputs, coefficients):
    """(g, x, *arrays, shift, delta, scale, bias, *coefficients, *channels, *numbers) -> dx, gradients of arrays."""
    a, b, c, d, first = range(arrays, arrays + 5)
    end = first + coefficients

    @scalar
    def output(g, x, *rest):
        y = normalized(x, rest[a], rest[d], rest[b], rest[c])
        found = gradients(g, y, *(rest[:a] + rest[end:]))
        return (gradient(found[0], x, rest[a], rest[b], *rest[first:end]),) + found[1:outputs]

    return output


def _without(finish, sums, inputs, channels):
    """*finish*, which does not take the stages' channel operands."""
    end, behind = sums + inputs - 1, sums + inputs - 1 + channels

    @scalar
    def run(x, *rest):
        return finish(x, *(rest[:end] + rest[behind:]))

    return run if channels else finish


def _with_gradients(finish, channels):
    """*finish* of the sums, shift, delta, rstd, weight and count; the sums for the stages' channel operands follow."""
    first = 1 + channels
    end, count = first + 4, first + 6 + channels

    @scalar
    def run(sum_g, *rest):
        found = finish(sum_g, rest[0], *(rest[first:end] + (rest[count],)))
        return found + rest[1:first]

    return run
