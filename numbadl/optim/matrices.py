"""Adafactor and Muon: optimisers whose direction follows from a whole matrix."""

import math
from types import MappingProxyType

import numpy as np

from .. import _arguments as arguments
from ..arrays import to_host
from ..kernels.catalog import SQUARES
from ..kernels.scalar.matrices import DIVIDED
from ..kernels.scalar.updates import UPDATES
from .launch import Launch
from .newton_schulz import NewtonSchulz
from .optimizer import Optimizer
from .schedules import reference
from .tensors import Tensors


class _Factored(Launch):
    """Adafactor's matrices: the direction is the gradient, divided by the root of rows' times columns' mean squares.

    The rows of all matrices are segments of one launch; the columns of each are a launch of their own.
    """

    def __init__(self, *given):
        super().__init__(*given)
        self._matrices, every, factors_of = [], [], []
        for array, state in zip(self.scratch[0], self.states, strict=True):
            if array.size:
                rows, columns = array.shape[-2:]
                flat = array.reshape(-1, columns)
                factors = self.tensors.device.empty((flat.shape[0] // rows, columns), self.tensors.dtype)
                mine = slice(len(every), len(every) + flat.shape[0])
                every += [flat[k] for k in range(flat.shape[0])]
                factors_of += [factors[k // rows] for k in range(flat.shape[0])]
                self._matrices.append((mine, array.reshape(-1, rows, columns), factors, state))
            else:
                self._matrices.append(None)
        self._rows = Tensors([every, factors_of]) if every else None

    def finish(self, sums, t, h):
        squares = np.zeros(len(self._matrices))
        if self._rows is not None:
            floor, of_rows = h["eps"][0], self._rows.run(SQUARES, rows=slice(0, 1))
            shares = np.empty_like(of_rows)
            held = [(k, *matrix) for k, matrix in enumerate(self._matrices) if matrix is not None]
            for _, mine, *matrix in held:
                shares[mine] = self._shares(t ** h["beta2_decay"], floor, of_rows[mine], *matrix)
            of_rows = self._rows.run(DIVIDED, shares, (floor * floor,))
            for k, mine, *_ in held:
                squares[k] = of_rows[mine].sum()
        return self.record.finish(np.column_stack([sums[:, 0], squares]), self.sizes, h, t)

    def _shares(self, fresh, floor, of_rows, matrices, factors, state):
        """Update the mean squares of rows and columns; returns what each row's are of the mean of all rows."""
        device, dtype, (batch, rows, columns) = self.tensors.device, self.tensors.dtype, matrices.shape
        device.prepare(matrices.size)
        for k in range(batch):
            device.kernel("channel_squares")(matrices[k].reshape(rows, columns, 1), factors[k])
        row, column = (_host(state[name]) for name in ("row_var", "col_var"))
        row = _towards(row, of_rows.reshape(row.shape) / columns, fresh)
        column = _towards(column, _host(factors).reshape(column.shape) / rows, fresh)
        device.copy(state["row_var"], row.astype(dtype))
        device.copy(state["col_var"], column.astype(dtype))
        device.copy(factors, np.ascontiguousarray(column.reshape(batch, columns), dtype))
        return (row / np.maximum(row.mean(axis=-2, keepdims=True), floor)).reshape(-1, 1)


def _host(array):
    return to_host(array).astype(np.float64)


def _towards(old, new, fraction):
    return old + fraction * (new - old)


class Adafactor(Optimizer):
    r"""Adam's second moment in the space of rows and columns, steps in proportion to the parameters (Shazeer, Stern 2018).

    For a matrix, r and c are running means of the squares of its rows and of its columns, and v = r c / mean(r); for a
    vector, v is that of its entries. Then u = g / sqrt(v), w -= a u / max(1, RMS(u) / d), a = max(eps2, RMS(w)) rho, where
    rho = min(lr, 1 / sqrt(t)), and the means take t**beta2_decay of what is new.

    State, float32: 4 bytes for each row and each column of a matrix, for each entry of a vector. Of arrays of more than two
    dimensions the last two are the matrix. weight_decay is decoupled: w *= 1 - lr wd. eps is (eps1, eps2), where None stands
    for the dtype's machine epsilon. Defaults and arithmetic are PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([[1.0, -2.0], [3.0, 0.5]])
    >>> optimizer = nd.optim.Adafactor(w, lr=0.1)
    >>> for _ in range(500):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.02)
    True
    """

    name = "adafactor"
    launch_of = MappingProxyType({"adafactor_matrix": _Factored})

    def rule_of(self, group, param):
        return UPDATES["adafactor_matrix" if len(param.shape) > 1 else "adafactor"]

    def _check(self, h):
        super()._check({name: value for name, value in h.items() if name != "eps"})
        if not (isinstance(h["eps"], (tuple, list)) and len(h["eps"]) == 2):
            raise ValueError(f"eps: got {arguments.shown(h['eps'])}, accepted are two numbers, or None and a number")
        first, second = h["eps"]
        for value in (second,) if first is None else (first, second):
            arguments.number("eps", value)
        arguments.number("d", h["d"], low=1)
        arguments.number("beta2_decay", h["beta2_decay"], low=-math.inf, high=0)

    def _of_rule(self, launch, h):
        first, second = h["eps"]
        return h if first is not None else {**h, "eps": (float(np.finfo(launch.tensors.dtype).eps), second)}


class _Orthogonal(Launch):
    """Muon's matrices: the direction is the momentum with its singular values brought near 1."""

    def __init__(self, *given):
        super().__init__(*given)
        shapes = {array.shape for array in self.scratch[0] if array.size}
        self._iterations = {shape: NewtonSchulz(self.tensors.device, self.tensors.dtype, shape) for shape in shapes}

    def finish(self, sums, t, h):
        rates = []
        for array, square in zip(self.scratch[0], sums[:, 0], strict=True):
            if array.size:
                norm = max(math.sqrt(square), h["eps"])
                self._iterations[array.shape].run(array, norm, h["ns_steps"], h["ns_coefficients"])
            rates.append(h["lr"] * _ratio(h["adjust_lr_fn"], *array.shape))
        return np.array(rates)[:, None]


def _ratio(adjustment, rows, columns):
    if adjustment == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns)) if columns else 1.0


class Muon(Optimizer):
    r"""Momentum made orthogonal, for matrices; AdamW for everything else (Jordan et al. 2024).

    v = mu v + (1 - mu) g; O = NS(v), or of (1 - mu) g + mu v with nesterov, where NS brings the singular values near 1 by
    ns_steps of X = a X + (b X X' + c (X X')**2) X; w = (1 - lr wd) w - lr r O. The ratio r of a matrix (A, B) is
    sqrt(max(1, A / B)), or 0.2 sqrt(max(A, B)) with adjust_lr_fn="match_rms_adamw".

    State: 4 bytes for each float32 parameter of a matrix, 8 for others. Defaults are PyTorch's, whose iteration runs in
    bfloat16 and refuses all but matrices; here those take AdamW's rule with adam_lr, adam_betas and adam_eps, and the
    same weight_decay. adam_lr is a function of the number of updates, as lr may be, or a number, which is the rate while lr
    is what it was given as (of a schedule: its ``lr``) and changes in proportion to it; beside a function of your own as lr
    it stays. Source: K. Jordan et al., "Muon", 2024, kellerjordan.github.io/posts/muon.

    The built-in digits train with lr=0.02.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([[1.0, -2.0], [3.0, 0.5]])
    >>> optimizer = nd.optim.Muon(w, lr=nd.optim.schedules.Polynomial(0.1, total=200), weight_decay=0.0)
    >>> for _ in range(200):
    ...     _ = optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    name = "muon"
    launch_of = MappingProxyType({"muon": _Orthogonal})

    def rule_of(self, group, param):
        return UPDATES["muon" if len(param.shape) == 2 else "adamw"]

    def _group(self, group):
        found = super()._group(group)
        return {**found, "initial_lr": reference(found["lr"])}

    def _check(self, h):
        super()._check(h)
        arguments.number("momentum", h["momentum"], high=1)
        if h.get("initial_lr") is not None:
            arguments.number("initial_lr", h["initial_lr"])
        arguments.integer("ns_steps", h["ns_steps"])
        arguments.one_of("adjust_lr_fn", h["adjust_lr_fn"], (None, "original", "match_rms_adamw"))
        if not (isinstance(h["ns_coefficients"], (tuple, list)) and len(h["ns_coefficients"]) == 3):
            raise ValueError(f"ns_coefficients: got {h['ns_coefficients']}, accepted are three numbers")
        for value in h["ns_coefficients"]:
            arguments.number("ns_coefficients", value, low=-math.inf)

    def _of_rule(self, launch, h):
        if launch.record.name == "muon":
            return h
        rate, first = h["adam_lr"], h["initial_lr"]
        if first and not callable(self.param_groups[launch.group]["adam_lr"]):
            rate *= h["lr"] / first
        return {**h, "lr": rate, "betas": h["adam_betas"], "eps": h["adam_eps"]}
