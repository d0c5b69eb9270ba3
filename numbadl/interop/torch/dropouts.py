"""Dropout and its kin as functions with autograd: seeds come from PyTorch's generator, and no mask is stored."""

from ...dropout import alpha_dropout, dropout, feature_dropout, gaussian_dropout
from . import shortcuts
from .operation import Operation
from .seeds import draw


class _Dropout:
    """Forward and backward draw the same mask from the seed. Backward is linear: its derivative is the same operation."""

    def __init__(self, fn):
        schema = "(Tensor x, Tensor seed, float p) -> Tensor"
        self.backward = Operation(f"{fn.__name__}_backward", schema, _seeded(fn.backward), self._gradient)
        self.forward = Operation(
            fn.__name__, schema, _seeded(fn), self._gradient, save=lambda inputs, output: inputs[1:2],
            short=shortcuts.Dropout() if fn is dropout else None,
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
