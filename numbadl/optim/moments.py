"""Optimisers with running moments of the gradient: Adam and its kin."""

from .. import _arguments as arguments
from ..kernels.scalar.updates import UPDATES
from .optimizer import Optimizer


class Adam(Optimizer):
    r"""Running means of the gradient and of its square: w -= lr mhat / (sqrt(vhat) + eps).

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g**2, mhat = m / (1 - b1**t), vhat = v / (1 - b2**t); with amsgrad, the largest
    v so far stands for v. State: 8 bytes for each float32 parameter, 12 with amsgrad. weight_decay is L2,
    and with decoupled_weight_decay as in `AdamW`. Sources: D. Kingma, J. Ba, ICLR 2015; S. Reddi, S. Kale, S. Kumar, ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Adam(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adam"

    def rule(self, group):
        return UPDATES[self.name + "_amsgrad" * bool(group["amsgrad"])]


class AdamW(Optimizer):
    r"""Adam with decoupled weight decay: w *= 1 - lr wd, then w -= lr mhat / (sqrt(vhat) + eps).

    State: 8 bytes for each float32 parameter, 12 with amsgrad. Source: I. Loshchilov, F. Hutter, ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.AdamW(w, lr=0.1, weight_decay=0.0)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adamw"

    def rule(self, group):
        return UPDATES[self.name + "_amsgrad" * bool(group["amsgrad"])]


class NAdam(Optimizer):
    r"""Adam with Nesterov's momentum, whose weights mu_t = b1 (1 - 0.96**(t momentum_decay) / 2) grow with time.

    w -= lr ((1 - mu_t) g / (1 - prod mu_1..t) + mu_t+1 m / (1 - prod mu_1..t+1)) / (sqrt(vhat) + eps). State: 8 bytes for each
    float32 parameter. weight_decay is L2 unless decoupled_weight_decay. Source: T. Dozat, ICLR workshop 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.NAdam(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "nadam"


class RAdam(Optimizer):
    r"""Adam whose step is rectified for the variance of 1 / sqrt(vhat), and plain momentum while that is not known.

    With rho_inf = 2 / (1 - b2) - 1 and rho = rho_inf - 2 t b2**t / (1 - b2**t): where rho > 5,
    w -= lr sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho)) mhat / (sqrt(vhat) + eps), else w -= lr mhat.
    State: 8 bytes for each float32 parameter. weight_decay is L2 unless decoupled_weight_decay.
    Source: L. Liu et al., ICLR 2020.

    The built-in digits train with lr=0.003.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.RAdam(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "radam"


class Adamax(Optimizer):
    r"""Adam with the largest gradient, fading, in place of the root of the mean square: u = max(b2 u, abs(g) + eps).

    w -= lr mhat / u. State: 8 bytes for each float32 parameter. weight_decay is L2. Source: D. Kingma, J. Ba, ICLR 2015.

    The built-in digits train with lr=0.005.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Adamax(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adamax"


class Yogi(Optimizer):
    r"""Adam whose second moment changes by no more than the square: v -= (1 - b2) sign(v - g**2) g**2.

    Both moments are corrected as Adam's are. v starts with initial_accumulator. State: 8 bytes for each float32 parameter.
    weight_decay is L2 unless decoupled_weight_decay. Source: M. Zaheer et al., NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Yogi(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "yogi"


class AdaBelief(Optimizer):
    r"""Adam whose second moment is that of the surprise: s = b2 s + (1 - b2) (g - m)**2 + eps.

    w -= lr mhat / (sqrt(shat) + eps). State: 8 bytes for each float32 parameter. weight_decay is decoupled unless
    decoupled_weight_decay is False. Source: J. Zhuang et al., NeurIPS 2020, and the authors' code (version 0.2, not
    rectified).

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.AdaBelief(w, lr=0.1)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adabelief"


class Adan(Optimizer):
    r"""Adam with Nesterov's momentum from the difference d of gradients: m of g, n of d, v of (g + b2 d)**2.

    w = (w - lr (mhat + b2 nhat) / (sqrt(vhat) + eps)) / (1 + lr wd); betas are (b1, b2, b3) as the authors' code has
    them, one minus those of the paper. State: 16 bytes for each float32 parameter. weight_decay is decoupled, proximal.
    Source: X. Xie et al., IEEE TPAMI 2024 (arXiv:2208.06677), and the authors' code.

    The built-in digits train with lr=0.003.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.Adan(w, lr=nd.optim.schedules.Polynomial(0.5, total=200))
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "adan"

    def _check(self, h):
        super()._check({k: v for k, v in h.items() if k != "betas"})
        arguments.betas("betas", h["betas"], count=3)


class LAMB(Optimizer):
    r"""Adam's step in proportion to the norm of each tensor: r = mhat / (sqrt(vhat) + eps) + wd w, w -= lr norm(w) / norm(r) r.

    The ratio is 1 where either norm is 0. A model's parameters are told apart. State: 8 bytes for each float32
    parameter. weight_decay is decoupled, as part of r. Source: Y. You et al., ICLR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.LAMB(w, lr=nd.optim.schedules.Polynomial(0.1, total=200))
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "lamb"


class ScheduleFreeAdamW(Optimizer):
    r"""AdamW without a schedule: an average x of the iterates z, and gradients between them, at y = (1 - b1) z + b1 x.

    z -= lr (g / (sqrt(vhat) + eps) + wd y), x += c (z - x), where c is the share of this step among lr_max**weight_lr_power t**r.
    The parameters are y while training; `eval` makes them x, `train` makes them y again (``fit`` calls both).
    For warmup_steps the rate rises. State: 8 bytes for each float32 parameter (z and v). weight_decay is decoupled, taken at y.
    Source: A. Defazio et al., "The road less scheduled", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.ScheduleFreeAdamW(w, lr=0.5)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "schedule_free"

    def _check(self, h):
        super()._check(h)
        if h["betas"][0] == 0:
            raise ValueError(f"betas: got {tuple(h['betas'])}, accepted is a first one above 0: eval divides by it")
