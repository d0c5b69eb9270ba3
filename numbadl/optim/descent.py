"""Gradient descent, with momentum, with a rate for each parameter, with signs, and with a rate for each tensor."""

from .. import _arguments as arguments
from ..kernels.scalar.updates import UPDATES
from .optimizer import Optimizer


class SGD(Optimizer):
    r"""Gradient descent, with momentum and Nesterov's look-ahead if asked for: v = mu v + (1 - dampening) g, w -= lr v.

    The first v is g; with nesterov, w -= lr (g + mu v). State: none without momentum, 4 bytes for each float32 parameter with
    it. weight_decay is L2: it is added to g. Sources: H. Robbins, S. Monro, 1951; B. Polyak, 1964; I. Sutskever et al.,
    ICML 2013.

    The built-in digits train with lr=0.05, momentum=0.9.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.SGD(w, lr=0.1, momentum=0.5)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "sgd"

    def _check(self, h):
        super()._check(h)
        if h["nesterov"] and (h["momentum"] <= 0 or h["dampening"] != 0):
            raise ValueError("nesterov: needs a momentum above 0, and no dampening")

    def rule(self, group):
        return UPDATES["sgd_momentum" if group["momentum"] else "sgd"]


class Adagrad(Optimizer):
    r"""Steps divided by the root of all squares so far: s += g**2, w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).

    State: 4 bytes for each float32 parameter, initial_accumulator_value at the start. weight_decay is L2.
    Source: J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Adagrad(w, lr=0.5)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adagrad"


class RMSprop(Optimizer):
    r"""Steps divided by the root of a running mean of squares: s = alpha s + (1 - alpha) g**2, w -= lr g / (sqrt(s) + eps).

    With momentum, v = momentum v + g / (sqrt(s) + eps), w -= lr v; centered, the variance s - mean(g)**2 stands for s (0 where
    rounding makes it negative). State: 4 bytes for each float32 parameter, and 4 more for each of the two.
    weight_decay is L2. Sources: G. Hinton, lecture 6e, 2012; A. Graves, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.RMSprop(w, lr=nd.optim.schedules.Exponential(0.1, gamma=0.97))
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "rmsprop"

    def rule(self, group):
        return UPDATES["rmsprop" + "_centered" * bool(group["centered"]) + "_momentum" * (group["momentum"] > 0)]


class Adadelta(Optimizer):
    r"""Steps in the parameters' own unit: s = rho s + (1 - rho) g**2, d = sqrt(u + eps) / sqrt(s + eps) g, w -= lr d.

    u is the running mean of d**2. State: 8 bytes for each float32 parameter. weight_decay is L2.
    Source: M. Zeiler, arXiv:1212.5701, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Adadelta(w, lr=5.0)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adadelta"


class Rprop(Optimizer):
    r"""Steps by the gradients' signs alone, for full batches: a step grows while the sign stays, and shrinks when it changes.

    Step sizes start with lr, are multiplied with etas[1] where the sign stays and with etas[0] where it changes (there nothing
    moves this time), and stay within step_sizes. State: 8 bytes for each float32 parameter.
    Source: M. Riedmiller, H. Braun, ICNN 1993.

    The built-in digits train with lr=0.001, step_sizes=(1e-06, 0.1).

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Rprop(w)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "rprop"

    def _check(self, h):
        super()._check(h)
        for name in ("etas", "step_sizes"):
            if not (isinstance(h[name], (tuple, list)) and len(h[name]) == 2):
                raise ValueError(f"{name}: got {arguments.shown(h[name])}, accepted are two numbers")
        arguments.number("etas", h["etas"][0], high=1, above=True, below=True)
        arguments.number("etas", h["etas"][1], low=1, above=True)
        arguments.number("step_sizes", h["step_sizes"][0], above=True)
        arguments.number("step_sizes", h["step_sizes"][1], low=h["step_sizes"][0])


class Lion(Optimizer):
    r"""The sign of an interpolation of momentum and gradient: w -= lr sign(b1 m + (1 - b1) g), m = b2 m + (1 - b2) g.

    State: 4 bytes for each float32 parameter. weight_decay is decoupled: w *= 1 - lr wd.
    Source: X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    The built-in digits train with lr=0.001.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Lion(w, lr=nd.optim.schedules.Polynomial(0.05, total=200))
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "lion"


class LARS(Optimizer):
    r"""Momentum with a rate for each tensor: r = lr c norm(w) / (norm(g) + wd norm(w) + eps), v = mu v + r (g + wd w), w -= v.

    c is trust_coefficient; r is lr where either norm is 0. A model's parameters are told apart. State: 4 bytes for each
    float32 parameter. Source: Y. You, I. Gitman, B. Ginsburg, arXiv:1708.03888, 2017.

    The built-in digits train with lr=0.1, trust_coefficient=0.02.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.LARS(w, lr=20.0, momentum=0.5)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "lars"
