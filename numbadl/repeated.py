"""Calls that a layer makes again in every step: checked and prepared once, then run on arrays that are like those before."""

from .arrays import DEVICES, plain_out


class Repeated:
    """The last call of a layer on NumPy arrays of one shape, *inputs and an output; everything else in it stays the same.

    Checks and preparation take 15 to 20 us, and a kernel for (64, 512) takes 10.
    """

    def __init__(self):
        self._numbers = self._shape = self._run = self._result = None

    def keep(self, numbers, shape, run, result):
        """Keep the call ``run(*inputs, output)``, which computed *result* with these *numbers* for arrays of *shape*."""
        self._numbers, self._shape, self._run, self._result = numbers, shape, run, result

    def again(self, numbers, *inputs, out):
        """Its result, computed again from other inputs of the same kind; None, and nothing written, if they are not."""
        first = inputs[0]
        if self._shape != first.shape or self._numbers != numbers or plain_out(out, *inputs) is None:
            return None
        DEVICES["cpu"].prepare(first.size)
        self._run(*inputs, out)
        return self._result
