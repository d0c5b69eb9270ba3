"""The short way from tensors to a kernel, in eager mode on the CPU: a call costs a few microseconds beside the kernel.

A `Shortcut` declares an operation's kernels, for a dtype, shapes and options, as `prepared.Call`s, after the checks that the
long way makes, too. Whatever is unusual is an exception then, and None in a call; `Operation` takes the long way after that,
which computes the result, or says why not. Each operation's shortcut stands beside its long way.
"""

import functools

import numpy as np
import torch
from numba import njit

from ...arrays import DEVICES
from ...kernels.cpu.compile import OPTIONS, KernelCache
from ...kernels.cpu.map import DONE
from .prepared import Call

CPU = DEVICES["cpu"]
_NUMPY = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_CALLS = 256  # that are kept for each operation and direction
_REFUSALS = (LookupError, TypeError, ValueError)  # of a declaration


class Unusual(ValueError):
    """What the short way leaves to the long one."""


class Shortcut:
    """The short way of an operation of so many *tensors* and options.

    Calls are declared for a key: the dtype and the shape of the first tensor, and the options.
    """

    def __init__(self, tensors):
        self._tensors = tensors
        kept = functools.lru_cache(_CALLS, typed=True)
        self._value, self._forward, self._backward = (
            kept(functools.partial(_prepared, declare, keeps))
            for declare, keeps in ((self.declare, False), (self.declare, True), (self.declare_backward, True))
        )

    # -- what an operation consists of --------------------------------------------------------------------------------------
    def declare(self, call, dtype, shape, *options):
        """Declare the given tensors, the result as what is made first, what backward needs as what is kept, and the steps."""
        raise NotImplementedError

    def declare_backward(self, call, dtype, shape, *options):
        """Declare the gradient of the result and the saved tensors as given, the gradients as made, and the steps."""
        raise NotImplementedError

    @staticmethod
    def key(tensors):
        """What a call is declared for, beside the options."""
        return tensors[0].dtype, tensors[0].shape

    def to_save(self, tensors, made, key):
        """(tensors, what `backward` is told)."""
        return (*tensors, *made[1:]), key

    def unpacked(self, saved, told):
        """What the long way would have saved."""
        return saved

    def gradients(self, made):
        """Those of the tensor arguments, from what backward made."""
        return made

    # -- calls, which give None where the long way has to be taken -------------------------------------------------------------
    def value(self, *arguments):
        """The result."""
        tensors = arguments[: self._tensors]
        run = self._value(*self.key(tensors), *arguments[self._tensors :])
        return run and run(*tensors)

    def forward(self, *arguments):
        """(the result, the tensors to save, what `backward` is to be told)."""
        tensors = arguments[: self._tensors]
        key = *self.key(tensors), *arguments[self._tensors :]
        run = self._forward(*key)
        made = run and run(*tensors)
        return made and (made[0], *self.to_save(tensors, made, key))

    def backward(self, saved, told, grad):
        """The gradients of the tensor arguments, as a tuple."""
        run = self._backward(*told)
        made = run and run(grad if grad.is_contiguous() else grad.contiguous(), *saved)
        return made and self.gradients(made)


def _prepared(declare, keeps, dtype, *key):
    call = Call(keeps)
    try:
        declare(call, _NUMPY[dtype], *key)
        return call.prepared()
    except _REFUSALS:  # not asked again
        return None


def kernels_of(name):
    """(the CPU kernel of that name, that of its backward)."""
    return CPU.kernel(name), CPU.kernel(f"{name}.backward")


def step(fn):
    """Compile a step that stands beside the kernels of a call; like them it takes one tuple and is kept on disk."""
    dispatcher = njit(**OPTIONS)(fn)
    dispatcher._cache = KernelCache(f"torch.{fn.__name__}", fn)
    return dispatcher


@step
def write_out(*operands):
    """Each value as often as it takes to fill what is written."""
    values, written = operands
    times = written.size // values.size
    for i in range(values.size):
        for j in range(i * times, (i + 1) * times):
            written[j] = values[i]
    return DONE
