"""Penalties of large weights: l1 sum |w| + l2 sum w**2, as `L1` (lasso), `L2` (ridge) and `L1L2` (elastic net).

A penalty of parameters, which are an array, a list or a dict of arrays, or a model, whose weights of two or more
dimensions are meant then: biases, slopes and the parameters of normalisation are left out.

Examples
--------
>>> import numpy as np
>>> import numbadl as nd
>>> w, grad = np.array([3.0, -4.0, 0.0]), np.zeros(3)
>>> ridge = nd.regularizers.L2(0.5)
>>> ridge(w)
12.5
>>> ridge.add_gradient(w, grad), grad
(12.5, array([ 3., -4.,  0.]))
"""

import math

import numpy as np

from . import _arguments as arguments
from .arrays import check, check_out, check_shape, device_of, share_memory, to_host
from .elementwise import Channels, elementwise, reduced, run_any
from .interop.arrays import takes_any_array


@takes_any_array
class L1L2:
    """The penalty l1 sum |w| + l2 sum w**2, with gradient l1 sign(w) + 2 l2 w; the sign of 0 is 0.

    Parameters
    ----------
    l1, l2 : numbers from 0 on
    proximal : whether the first part acts through `shrink` after each step, which makes weights exactly 0, and not
        through the gradient. It shrinks by the learning rate times l1 whatever the optimiser does with gradients, so an l1 that
        suits SGD does next to nothing with Adam, whose learning rates are smaller

    Attributes
    ----------
    gradient_scalars : (l1, l2) as the gradient has them: what an optimiser adds in its own pass, by the scalar function
        `numbadl.kernels.scalar.penalties.penalty_gradient`

    Sources: R. Tibshirani, Regression shrinkage and selection via the lasso, JRSS B 58, 1996; H. Zou, T. Hastie, the
    elastic net, JRSS B 67, 2005; I. Daubechies et al., soft-thresholding, Comm. Pure Appl. Math. 57, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.regularizers.L1L2(0.5, 0.25).gradient(np.array([2.0, -4.0, 0.0]))
    array([ 1.5, -2.5,  0. ])
    """

    def __init__(self, l1, l2, proximal=False):
        self.l1, self.l2 = arguments.number("l1", l1), arguments.number("l2", l2)
        if not isinstance(proximal, (bool, np.bool_)):
            raise TypeError(f"proximal: got {arguments.shown(proximal)}, accepted are True and False")
        self.proximal = bool(proximal)

    @property
    def gradient_scalars(self):
        return (0.0 if self.proximal else self.l1), self.l2

    def __call__(self, params):
        """The penalty, as a float."""
        return math.fsum(reduced("penalty", w, scalars=(self.l1, self.l2)) for w in _arrays("params", params))

    def gradient(self, w, out=None):
        """The penalty's gradient for one array, in a new array or in *out*."""
        check(w=w)
        device = device_of(w)
        if out is not None:
            check_out(out, w)
            if share_memory(out, w):
                raise ValueError("out: may not share memory with w")
            device.copy(out, np.zeros(out.shape, out.dtype))
        else:
            out = device.zeros(w.shape, w.dtype)
        self._add(w, out)
        return out

    def add_gradient(self, params, grads=None):
        """Add the penalty's gradient to *grads*, in place and in one pass; returns the penalty.

        Parameters
        ----------
        grads : arrays in the order of the parameters, in the form that these are given in; a model has its own

        Raises
        ------
        TypeError, ValueError : a gradient's number, kind, dtype or shape does not fit; nothing was changed
        """
        pairs = list(zip(*self._matched(params, grads), strict=True))
        total = math.fsum([self._add(w, grad) for w, grad in pairs])
        return self(params) if self.proximal else total

    def shrink(self, params, lr):
        """The proximal step: move every weight towards 0 by lr * l1, in place, and those within it to 0 exactly.

        Nothing happens unless *proximal* is True.
        """
        arguments.number("lr", lr)
        weights = _arrays("params", params)
        _check_writeable("params", weights)
        if self.proximal and lr * self.l1 > 0:
            for w in weights:
                elementwise("softshrink", w, (lr * self.l1,), params=w)

    def _add(self, w, grad):
        _, sums = run_any(
            "penalty.add", {"params": w, "grads": grad}, (grad,), self.gradient_scalars, Channels(0, 1, (), 1)
        )
        return float(to_host(sums)[0, 0])

    @staticmethod
    def _matched(params, grads):
        if grads is None:
            if not hasattr(params, "flat_gradients"):
                raise TypeError("grads: needed, because params is no model")
            grads = _weights_of(params, params.gradients())
        weights, grads = _arrays("params", params), _arrays("grads", grads)
        if len(weights) != len(grads):
            raise ValueError(f"grads: got {len(grads)} arrays for {len(weights)} parameters")
        _check_writeable("grads", grads)
        for k, (w, grad) in enumerate(zip(weights, grads, strict=True)):
            check(**{f"params[{k}]": w, f"grads[{k}]": grad})
            check_shape(f"grads[{k}]", grad, w.shape, "that of the parameter")
            check_out(grad, w, f"grads[{k}]")
            if share_memory(grad, w):
                raise ValueError(f"grads[{k}]: shares memory with the parameter")
        return weights, grads

    def __repr__(self):
        return f"{type(self).__name__}({self.l1}, {self.l2}{', proximal=True' * self.proximal})"


class L1(L1L2):
    """The lasso, lam sum |w|: some weights become 0, with ``proximal=True`` exactly.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -0.05, 0.3])
    >>> nd.regularizers.L1(1.0, proximal=True).shrink(w, lr=0.1)
    >>> w
    array([0.9, 0. , 0.2])
    """

    def __init__(self, lam, proximal=False):
        super().__init__(arguments.number("lam", lam), 0.0, proximal)

    def __repr__(self):
        return f"L1({self.l1}{', proximal=True' * self.proximal})"


class L2(L1L2):
    """Ridge, lam sum w**2, with gradient 2 lam w.

    Source: A. E. Hoerl, R. W. Kennard, Ridge regression, Technometrics 12, 1970.
    """

    def __init__(self, lam):
        super().__init__(0.0, arguments.number("lam", lam))

    def __repr__(self):
        return f"L2({self.l2})"


def _arrays(name, given):
    """The arrays that are meant, checked; of a model its weights."""
    if hasattr(given, "flat_parameters"):
        given = _weights_of(given, given.parameters())
    found = arguments.array_list(name, given)
    for k, array in enumerate(found):
        check(**{f"{name}[{k}]": array})
    return found


def _weights_of(model, arrays):
    """Those of a model's *arrays*, its parameters or gradients, that penalties are of (`numbadl.nn.Layer.weights`)."""
    return [arrays[key] for key in model.weights()]


def checked(regularizer):
    """*regularizer*, if it is one, or None."""
    if regularizer is not None and not isinstance(regularizer, L1L2):
        got = arguments.shown(regularizer)
        raise TypeError(f"regularizer: got {got}, accepted are those of numbadl.regularizers, such as L2(1e-4)")
    return regularizer


def _check_writeable(name, given):
    for k, array in enumerate(given):
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError(f"{name}[{k}]: is read-only")
