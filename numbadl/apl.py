"""`apl`: the adaptive piecewise linear unit, whose number of pieces comes with its parameters."""

import functools

import numpy as np

from .activation import ParametricFunction
from .arrays import check
from .interop.arrays import takes_any_array
from .kernels.catalog import activation_kernels
from .kernels.scalar import apl as records


@functools.cache
def _function(pieces):
    record = records.record(pieces)
    return ParametricFunction(record, list(activation_kernels(record)))


@takes_any_array
class AdaptivePiecewiseLinear:
    """apl(x, a, b, axis=1, out=None): f(x) = max(0, x) + sum_s a_s max(0, b_s - x).

    f'(x) = H(x) - sum_s a_s H(b_s - x). Backward gives (dx, da, db).

    Parameters
    ----------
    x : array of float32 or float64
    a, b : arrays (S,), or (S, C) with values for each channel along *axis*; learnable
    out : array like x, optional; x itself to work in place

    Raises
    ------
    TypeError : an array is of another kind or dtype
    ValueError : shapes do not fit

    Source: Agostinelli, Hoffman, Sadowski, Baldi 2015, Learning activation functions to improve deep neural networks.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.apl(np.array([-1.0, 2.0]), np.array([0.5]), np.array([0.0]))
    array([0.5, 2. ])
    """

    __name__ = "apl"

    def __call__(self, x, a, b, axis=1, out=None):
        function, parameters = self._split(x, a, b)
        return function(x, *parameters, axis=axis, out=out)

    def derivative(self, x, a, b, axis=1, out=None):
        """f'(x), element by element."""
        function, parameters = self._split(x, a, b)
        return function.derivative(x, *parameters, axis=axis, out=out)

    def backward(self, grad, x, a, b, axis=1, out=None):
        """The gradients of x, a and b, of their shapes, as a tuple."""
        function, parameters = self._split(x, a, b)
        dx, *gradients = function.backward(grad, x, *parameters, axis=axis, out=out)
        pieces = a.shape[0]
        return dx, np.stack(gradients[:pieces]).reshape(a.shape), np.stack(gradients[pieces:]).reshape(b.shape)

    def _split(self, x, a, b):
        check(x=x, a=a, b=b)
        for name, value in (("a", a), ("b", b)):
            if value.ndim not in (1, 2) or value.shape[0] == 0 or value.shape[0] != a.shape[0]:
                raise ValueError(
                    f"{name}: got shape {value.shape}, expected (S,) or (S, channels), S the same for a and b"
                )
        parameters = [value[s : s + 1] if value.ndim == 1 else value[s] for value in (a, b) for s in range(a.shape[0])]
        return _function(a.shape[0]), parameters
