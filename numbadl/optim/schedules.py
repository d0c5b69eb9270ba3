"""Learning rates that change while training: functions of the number of updates before, given as ``lr``.

``lr=Cosine(0.01, total=1000, warmup=50)`` gives the first update the rate of step 0. The shapes, and the numbers, are those
of PyTorch's schedulers of similar names. Schedules are saved with the optimiser's state. Any other function of an integer
will do as well, but is not saved.

Examples
--------
>>> import numpy as np
>>> import numbadl as nd
>>> w = np.array([1.0])
>>> optimizer = nd.optim.SGD(w, lr=nd.optim.schedules.Step(0.1, step_size=2, gamma=0.5))
>>> for _ in range(4):
...     optimizer.step(np.array([1.0]))
True
True
True
True
>>> float(w[0])  # 1 - 0.1 - 0.1 - 0.05 - 0.05
0.7
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from .. import _arguments as arguments

NOT_SAVED = object()  # in place of a function of the user


@dataclass(frozen=True)
class Schedule:
    """Base class. For *warmup* updates the rate rises in equal steps to the first one; then the schedule begins."""

    lr: float
    warmup: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self):
        arguments.integer("warmup", self.warmup, low=0)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("total", "first", "step_size", "factor"):
                arguments.integer(field.name, value)
            elif field.name == "pct_start":
                arguments.number(field.name, value, high=1, above=True, below=True)
            elif field.name in ("div_factor", "final_div_factor"):
                arguments.number(field.name, value, above=True)
            else:
                arguments.number(field.name, value)

    def __call__(self, step):
        """The rate of update number *step*, counted from 0."""
        if step < self.warmup:
            return self.after(0) * (step + 1) / self.warmup
        return self.after(step - self.warmup)

    def after(self, step):
        """The rate *step* updates after the warm-up."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the same rate, but for the warm-up.

    >>> [Constant(0.1, warmup=2)(k) for k in range(3)]
    [0.05, 0.1, 0.1]
    """

    def after(self, step):
        return self.lr


@dataclass(frozen=True)
class Step(Schedule):
    """lr * gamma**(step // step_size); PyTorch's StepLR."""

    step_size: int
    gamma: float = 0.1

    def after(self, step):
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr * gamma**step; PyTorch's ExponentialLR."""

    gamma: float

    def after(self, step):
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class Polynomial(Schedule):
    """From lr to *end* within *total* updates, as (1 - step / total)**power; PyTorch's PolynomialLR, whose end is 0."""

    total: int
    power: float = 1.0
    end: float = 0.0

    def after(self, step):
        return self.end + (self.lr - self.end) * (1 - min(step, self.total) / self.total) ** self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """From lr to *minimum* within *total* updates along half a cosine, then constant; PyTorch's CosineAnnealingLR.

    Source: I. Loshchilov, F. Hutter, "SGDR", ICLR 2017.

    >>> [round(Cosine(1.0, total=4)(k), 3) for k in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    total: int
    minimum: float = 0.0

    def after(self, step):
        return _half_cosine(self.lr, self.minimum, min(step, self.total) / self.total)


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """`Cosine` again and again: *first* updates, then each time *factor* times as many; PyTorch's CosineAnnealingWarmRestarts.

    Source: I. Loshchilov, F. Hutter, "SGDR", ICLR 2017.
    """

    first: int
    factor: int = 1
    minimum: float = 0.0

    def after(self, step):
        length = self.first
        if self.factor == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * self.factor
        return _half_cosine(self.lr, self.minimum, step / length)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to lr for a part, *pct_start*, of *total* updates, and down for the rest, each along half a cosine; OneCycleLR.

    It begins with lr / div_factor and ends with that divided by final_div_factor. Momentum is left alone.

    Source: L. Smith, N. Topin, "Super-convergence", 2018.
    """

    total: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def after(self, step):
        first, peak, last = self.lr / self.div_factor, self.pct_start * self.total - 1, self.total - 1
        if step <= peak:
            return _half_cosine(first, self.lr, step / peak if peak > 0 else 1.0)
        return _half_cosine(self.lr, first / self.final_div_factor, (min(step, last) - peak) / (last - peak))


def _half_cosine(start, end, part):
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


class ReduceOnPlateau:
    """Multiply the learning rates with *factor* where a measure has not improved for *patience* calls of `step`.

    Parameters
    ----------
    optimizer : its groups' ``lr`` are numbers
    mode : "min" where less is better, "max" where more is
    threshold : an improvement is one by this part of the best value, or by this much, with threshold_mode "abs"
    cooldown : calls after a reduction that are not counted
    min_lr : not below
    eps : reductions by less than this are left out

    PyTorch's ReduceLROnPlateau. `numbadl.train.ReduceOnPlateau` calls it after each epoch of ``fit``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> optimizer = nd.optim.SGD(np.zeros(3), lr=0.1)
    >>> plateau = ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (1.0, 1.0, 1.0, 1.0):
    ...     plateau.step(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """

    def __init__(
        self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
        min_lr=0.0, eps=1e-8,
    ):  # fmt: skip
        arguments.one_of("mode", mode, ("min", "max"))
        arguments.one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        arguments.number("factor", factor, high=1, below=True)
        for name, value in (("patience", patience), ("cooldown", cooldown)):
            arguments.integer(name, value, low=0)
        for name, value in (("threshold", threshold), ("min_lr", min_lr), ("eps", eps)):
            arguments.number(name, value)
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lr, self.eps = min_lr, eps
        self.best, self.bad, self.waiting = math.inf if mode == "min" else -math.inf, 0, 0

    def step(self, measure):
        """Look at the measure after an epoch."""
        if isinstance(measure, bool) or not isinstance(measure, (int, float, np.integer, np.floating)):
            raise TypeError(f"measure: got {arguments.shown(measure)}, accepted are numbers")
        for group in self.optimizer.param_groups:
            if callable(group["lr"]):
                raise TypeError(f"lr: got {group['lr']!r}, accepted beside ReduceOnPlateau are numbers")
        if self._is_better(measure):
            self.best, self.bad = measure, 0
        else:
            self.bad += 1
        if self.waiting > 0:
            self.waiting, self.bad = self.waiting - 1, 0
        if self.bad > self.patience:
            for group in self.optimizer.param_groups:
                lr = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.waiting, self.bad = self.cooldown, 0

    def _is_better(self, measure):
        if measure != measure:
            return False  # NaN is never better
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * measure > sign * self.best * (1 + sign * self.threshold) if math.isfinite(self.best) else True
        return sign * measure > sign * self.best + self.threshold

    def state_dict(self):
        """What `load_state_dict` continues from."""
        return {"best": self.best, "bad": self.bad, "waiting": self.waiting}

    def load_state_dict(self, saved):
        """Continue from what `state_dict` gave."""
        self.best, self.bad, self.waiting = saved["best"], saved["bad"], saved["waiting"]


def reference(lr):
    """The rate that other rates are in proportion to: *lr*, of a schedule its ``lr``; None for any other function."""
    return lr.lr if isinstance(lr, Schedule) else None if callable(lr) else lr


def set_rate(group, rate, first):
    """Change a group's learning rate; other rates of its are what they were given as where it is *first*, if not None."""
    group["lr"] = rate
    if "initial_lr" in group:
        group["initial_lr"] = rate if first is None else first


# -- files -------------------------------------------------------------------------------------------------------------
SCHEDULES = {
    kind.__name__: kind for kind in (Constant, Step, Exponential, Polynomial, Cosine, CosineRestarts, OneCycle)
}


def to_json(value):
    """A hyperparameter for a file: a schedule by its name and numbers."""
    if type(value) in SCHEDULES.values():
        return {"schedule": type(value).__name__, **dataclasses.asdict(value)}
    return {"schedule": None} if callable(value) else value


def from_json(value):
    """The hyperparameter again; `NOT_SAVED` for a function of the user.

    >>> from_json(to_json(Cosine(0.1, total=5)))
    Cosine(lr=0.1, warmup=0, total=5, minimum=0.0)
    """
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    given = dict(value)
    kind = given.pop("schedule")
    return NOT_SAVED if kind is None else SCHEDULES[kind](**given)
