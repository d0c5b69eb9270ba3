"""Optimiser updates: one rule each, (param, grad, *state, *scalars) -> (param, *state), run in one pass over memory.

What is the same for all parameters of a step (bias corrections and the like) is computed once, in float64, by the
record's ``scalars(step, ...)`` from the hyperparameters; step counts from 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from .language import scalar
from .math import sqrt


@dataclass(frozen=True)
class Update:
    """An optimiser's rule.

    Attributes
    ----------
    rule : scalar function (param, grad, *state, *scalars) -> (param, *state)
    state : names of the state buffers, each of the parameter's shape and dtype, zero at the start
    hyperparameters : name -> default
    scalars : function (step, hyperparameters as a dict) -> values of the rule's scalars
    """

    name: str
    rule: Callable
    state: tuple
    count: int  # of scalars
    scalars: Callable
    hyperparameters: dict = field(default_factory=dict)
    formula: str = ""
    source: str = ""


@scalar
def sgd(param, grad, lr, weight_decay, scale):
    return param - lr * (scale * grad + weight_decay * param)


@scalar
def sgd_momentum(param, grad, velocity, lr, weight_decay, scale, keep, fresh, direct, along):
    grad = scale * grad + weight_decay * param
    velocity = keep * velocity + fresh * grad
    return param - lr * (direct * grad + along * velocity), velocity


@scalar
def adamw(param, grad, mean, square, scale, decay, fresh1, beta2, fresh2, step_size, root, eps):
    grad = scale * grad
    mean = mean + fresh1 * (grad - mean)
    square = beta2 * square + fresh2 * (grad * grad)
    return param * decay - step_size * (mean / (sqrt(square) * root + eps)), mean, square


def _sgd(step, h):
    return h["lr"], h["weight_decay"], h["scale"]


def _sgd_momentum(step, h):
    """The first velocity is the gradient itself, whatever the dampening."""
    first = step == 1
    keep, fresh = (0.0, 1.0) if first else (h["momentum"], 1 - h["dampening"])
    direct, along = (1.0, h["momentum"]) if h["nesterov"] else (0.0, 1.0)
    return *_sgd(step, h), keep, fresh, direct, along


def _adamw(step, h):
    beta1, beta2 = h["betas"]
    step_size = h["lr"] / (1 - beta1**step)
    root = (1 - beta2**step) ** -0.5
    decay = 1 - h["lr"] * h["weight_decay"]
    return h["scale"], decay, 1 - beta1, beta2, 1 - beta2, step_size, root, h["eps"]


UPDATES = {
    record.name: record
    for record in [
        Update(
            "sgd", sgd, (), 3, _sgd, {"lr": None, "weight_decay": 0.0}, r"w \leftarrow w - \eta g", "Robbins, Monro 1951"
        ),
        Update(
            "sgd_momentum", sgd_momentum, ("momentum_buffer",), 7, _sgd_momentum,
            {"lr": None, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
            r"v \leftarrow \mu v + (1 - d) g,\ w \leftarrow w - \eta v", "Polyak 1964; Sutskever et al. 2013",
        ),
        Update(
            "adamw", adamw, ("exp_avg", "exp_avg_sq"), 8, _adamw,
            {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
            r"w \leftarrow (1 - \eta\lambda) w - \eta\,\hat m / (\sqrt{\hat v} + \epsilon)", "Loshchilov, Hutter 2019",
        ),
    ]
}  # fmt: skip
