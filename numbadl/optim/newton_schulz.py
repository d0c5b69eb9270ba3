"""Newton and Schulz's iteration, by which Muon brings the singular values of a matrix near 1."""

import numpy as np

from ..linear import multiply

TOGETHER = 3  # steps, after which the matrix itself is computed


class NewtonSchulz:
    """The iteration X = a X + (b X X' + c (X X')**2) X for matrices of one shape (of X' X for tall ones).

    Every factor of X is a polynomial of G = X X', so all of them are symmetric and commute. With Q = a + b G + c G**2, a step is
    X = Q X, and G = Q G Q in the next one: *TOGETHER* steps take products of small symmetric matrices, of which half is
    computed, and one with X. For (m, n), m <= n, five steps take 3 m^2 n + 7 m^3 multiplications instead of 7.5 m^2 n + 2.5 m^3
    (of which symmetric products are half of those for any matrices).

    What rounding leaves of a small eigenvalue of G grows by a**2 with each step, that of a singular value of X by a. With all
    five steps together float32 was off by up to 3e-4 in the spectral norm (singular values 1 to 1e-3), with three by 9e-6, and
    step by step by 6e-6.
    """

    def __init__(self, device, dtype, shape):
        small, self._is_tall = min(shape), shape[0] > shape[1]
        self._device, self._number = device, np.dtype(dtype).type
        self._room, self._one = device.empty(shape, dtype), device.from_host(np.eye(small, dtype=dtype))
        self._squares = [device.empty((small, small), dtype) for _ in range(4)]

    def run(self, x, norm, steps, coefficients):
        """Let the matrix x / *norm*, whose singular values are 1 at most, take so many steps, in place."""
        self._device.prepare(max(x.size, self._one.size))
        counts = [min(TOGETHER, steps - first) for first in range(0, steps, TOGETHER)]
        here, there = (self._room, x) if len(counts) % 2 else (x, self._room)
        self._map("scaled", (x, here), (1 / norm,))
        for count in counts:
            factor = self._factor(here, count, coefficients)
            multiply(*((here, factor) if self._is_tall else (factor, here)), there)
            here, there = there, here

    def _factor(self, x, count, coefficients):
        """What x has to be multiplied by for *count* steps."""
        gram, first, second, free = self._squares
        multiply(x, x, gram, transpose_a=self._is_tall, transpose_b=not self._is_tall, symmetric=True)
        whole = None
        for k in range(count):
            factor = first if whole is None else second
            multiply(gram, gram, factor, symmetric=True)
            self._map("quadratic", (self._one, gram, factor, factor), coefficients)
            if whole is None:
                whole = factor
            else:
                multiply(whole, factor, free, symmetric=True)
                whole, free = free, whole
            if k + 1 < count:
                multiply(gram, factor, free, symmetric=True)
                multiply(free, factor, gram, symmetric=True)
        return whole

    def _map(self, name, arrays, numbers):
        self._device.kernel(name)(*(a.reshape(-1) for a in arrays), *map(self._number, numbers))
