"""Stages: scalar functions that are composed into one kernel, forward and backward, by `numbadl.fuse`.

A stage is a function (y, *operands) -> y of one element. Kinds of operands, in the order in which functions take them:

======= =======================================================
array   an element of an array like x; with a gradient
bits    the element's 32 random bits
channel the value of the element's channel; with a gradient
scalar  a number
======= =======================================================
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .dropout import dropout
from .language import scalar

KINDS = ("array", "bits", "channel", "scalar")


@dataclass(frozen=True)
class Stage:
    """One step of a composition.

    Attributes
    ----------
    forward, derivative : scalar functions (y, *operands) -> the next y, and its derivative by y
    gradients : for each array and channel operand, in order, its scalar function (y, *operands) -> d next y / d operand
    operands : a string of kinds, one letter each: a, b, c or s
    scalar_kinds : what `numbadl.kernels.shapes` calls the scalars' types, one letter each
    unit : whether the derivative is 1 everywhere
    """

    name: str
    forward: Callable
    derivative: Callable
    gradients: tuple = ()
    operands: str = ""
    scalar_kinds: str = ""
    unit: bool = False


@scalar
def plus(y, operand):
    return y + operand


@scalar
def times(y, operand):
    return y * operand


@scalar
def one(y, *operands):
    return 1


@scalar
def first_operand(y, operand):
    return operand


@scalar
def first_argument(y, operand):
    return y


@scalar
def dropout_derivative(y, bits: np.uint32, threshold: np.uint32, scale):
    return scale if bits > threshold else 0


BIAS = Stage("bias", plus, one, (one,), "c", unit=True)
RESIDUAL = Stage("residual", plus, one, (one,), "a", unit=True)
CHANNEL_SCALE = Stage("scale", times, first_operand, (first_argument,), "c")
SCALE = Stage("scale", times, first_operand, (), "s", "x")
DROPOUT = Stage("dropout", dropout, dropout_derivative, (), "bss", "ux")


def of_activation(record):
    """The stage that applies an activation; its learnable parameters are channel operands, others scalars."""
    learnable = tuple(p.gradient for p in record.learnable)
    numbers = len(record.parameters) - len(learnable)
    operands = "b" * record.random + "c" * len(learnable) + "s" * numbers
    return Stage(record.name, record.forward, record.derivative, learnable, operands, "x" * numbers)


# -- composition -----------------------------------------------------------------------------------------------------
def compose(stages):
    """The scalar function (x, *arrays, [bits,] *channels, *scalars) -> y of stages one after the other."""
    composed = None
    for stage, places in zip(stages, _places(stages), strict=True):
        composed = _after(composed, stage.forward, places)
    return composed


def compose_backward(stages, wanted):
    """The scalar function (grad, x, *operands as in `compose`) -> dx, gradients of arrays, gradients of channel values.

    *wanted* says for each array operand, in order, whether its gradient is an output. Every y is computed on the way
    in and every gradient on the way out: nothing is stored.
    """
    wanted, chain = list(wanted), _end
    for stage, places in reversed(list(zip(stages, _places(stages), strict=True))):
        array_terms = channel_terms = _no_terms
        for kind, gradient in zip([k for k in stage.operands if k in "ac"], stage.gradients, strict=True):
            if kind == "c":
                channel_terms = _and_term(channel_terms, gradient)
            elif wanted.pop():
                array_terms = _and_term(array_terms, gradient)
        chain = _before(stage, places, array_terms, channel_terms, chain)

    @scalar
    def backward(grad, x, *rest):
        found = chain(grad, x, *rest)
        return (found[0],) + found[1] + found[2]

    return backward


def _places(stages):
    """For each stage, where its operands begin and end among all, by kind: arrays, bits, channels, scalars."""
    counts = [[stage.operands.count(kind[0]) for kind in KINDS] for stage in stages]
    for row, stage in zip(counts, stages, strict=True):
        row[1] = int("b" in stage.operands)
    totals = np.sum(counts, axis=0)
    totals[1] = min(totals[1], 1)
    ends = np.concatenate([[0], np.cumsum(totals)[:-1]])
    for row in counts:
        starts, ends = ends, ends + row
        if row[1]:
            ends[1] -= 1  # the bits are the same for all
        yield tuple(int(v) for pair in zip(starts, starts + row, strict=True) for v in pair)


def _after(before, fn, places):
    a, a_end, b, b_end, c, c_end, s, s_end = places

    @scalar
    def first(x, *rest):
        return fn(x, *(rest[a:a_end] + rest[b:b_end] + rest[c:c_end] + rest[s:s_end]))

    @scalar
    def composed(x, *rest):
        return fn(before(x, *rest), *(rest[a:a_end] + rest[b:b_end] + rest[c:c_end] + rest[s:s_end]))

    return first if before is None else composed


@scalar
def _end(grad, y, *rest):
    return grad, (), ()


@scalar
def _no_terms(grad, y, *operands):
    return ()


def _and_term(before, gradient):
    """The scalar function that gives a tuple: what *before* gives, and grad * gradient."""

    @scalar
    def terms(grad, y, *operands):
        return (*before(grad, y, *operands), grad * gradient(y, *operands))

    return terms


def _before(stage, places, array_terms, channel_terms, chain):
    a, a_end, b, b_end, c, c_end, s, s_end = places
    forward, derivative = stage.forward, stage.derivative

    @scalar
    def run(grad, y, *rest):
        mine = rest[a:a_end] + rest[b:b_end] + rest[c:c_end] + rest[s:s_end]
        found = chain(grad, forward(y, *mine), *rest)
        g = found[0]
        return g * derivative(y, *mine), array_terms(g, y, *mine) + found[1], channel_terms(g, y, *mine) + found[2]

    return run
