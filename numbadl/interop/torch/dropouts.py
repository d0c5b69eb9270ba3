"""Dropout and its kin as functions with autograd: seeds come from PyTorch's generator, and no mask is stored."""

import math

import numpy as np

from ...dropout import alpha_dropout, dropout, feature_dropout, gaussian_dropout
from ...streams import threshold_of
from .operation import Operation
from .seeds import draw
from .shortcuts import CPU, Shortcut, Unusual


class _ShortDropout(Shortcut):
    """Of dropout; the seed is all that backward needs."""

    def __init__(self):
        super().__init__(2)

    def to_save(self, tensors, made, key):
        return tensors[1:], key

    def gradients(self, made):
        return made[0], None

    def declare(self, call, dtype, shape, p):
        threshold = threshold_of(p)
        if threshold is None or 0 in shape:
            raise Unusual
        CPU.prepare(math.prod(shape))
        x, seed, y = call.given(dtype, *shape), call.given(np.int64), call.made(dtype, *shape)
        scale = dtype.type(0.0 if p == 1 else 1 / (1 - p))
        stream = seed.as_type(np.uint64), np.uint64(0), np.int64(0)
        call.step(CPU.kernel("dropout"), x.flat, y.flat, threshold, scale, *stream)

    declare_backward = declare


class _Dropout:
    """Forward and backward draw the same mask from the seed. Backward is linear: its derivative is the same operation."""

    def __init__(self, fn):
        schema = "(Tensor x, Tensor seed, float p) -> Tensor"
        self.backward = Operation(f"{fn.__name__}_backward", schema, _seeded(fn.backward), self._gradient)
        self.forward = Operation(
            fn.__name__, schema, _seeded(fn), self._gradient, save=lambda inputs, output: inputs[1:2],
            short=_ShortDropout() if fn is dropout else None,
        )  # fmt: skip
        self.backward._save = self.forward._save

    def _gradient(self, saved, options, grad):
        return self.backward(grad, *saved, *options), None


def _seeded(fn):
    def run(x, seed, p):
        return fn(x, p, int(seed))

    return run


DROPOUTS = {fn.__name__: _Dropout(fn) for fn in (dropout, alpha_dropout, gaussian_dropout, feature_dropout)}


def _function(name):
    operation = DROPOUTS[name].forward

    def function(input, p=0.5, training=True, inplace=False):
        if not 0 <= p <= 1:
            raise ValueError(f"p: got {p!r}, accepted are numbers from 0 to 1")
        if not training or p == 0:
            return input
        result = operation.first(input, draw(), float(p))
        return input.copy_(result) if inplace else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{name} with a seed from PyTorch's generator; see `numbadl.{name}`. In evaluation, the input itself."
    )
    return function


def _of_dimensions(n):
    """Of feature maps with n dimensions; as in torch, an input without a batch's one is a single example, but for n = 2."""

    def function(input, p=0.5, training=True, inplace=False):
        alone = n != 2 and input.dim() == n + 1
        result = FUNCTIONS["feature_dropout"](input.unsqueeze(0) if alone else input, p, training, inplace)
        return input if result is input or (alone and inplace) else result.squeeze(0) if alone else result

    function.__name__ = function.__qualname__ = f"dropout{n}d"
    function.__doc__ = f"{FUNCTIONS['feature_dropout'].__doc__} (N, C, ...), of {n} dimensions behind C, or (C, ...)."
    return function


FUNCTIONS = {name: _function(name) for name in DROPOUTS}
FUNCTIONS |= {f"dropout{n}d": _of_dimensions(n) for n in (1, 2, 3)}
