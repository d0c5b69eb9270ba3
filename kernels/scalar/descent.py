"""Updates without running moments of Adam's kind: descent, its momentum, rates for each parameter, signs, LARS."""

import numpy as np

from .language import scalar
from .math.power import sqrt
from .update_record import REQUIRED, Update


# -- rules ---------------------------------------------------------------------------------------------------------
@scalar
def sign(x):
    return 1 if x > 0 else (-1 if x < 0 else 0 * x)  # NaN stays NaN


@scalar
def sgd(param, grad, lr):
    return (param - lr * grad,)


@scalar
def sgd_momentum(param, grad, velocity, lr, keep, fresh, direct, along):
    velocity = keep * velocity + fresh * grad
    return param - lr * (direct * grad + along * velocity), velocity


@scalar
def adagrad(param, grad, total, lr, eps):
    total = total + grad * grad
    return param - lr * (grad / (sqrt(total) + eps)), total


@scalar
def rmsprop(param, grad, square, lr, alpha, fresh, eps):
    square = alpha * square + fresh * (grad * grad)
    return param - lr * (grad / (sqrt(square) + eps)), square


@scalar
def rmsprop_momentum(param, grad, square, velocity, lr, alpha, fresh, eps, momentum):
    square = alpha * square + fresh * (grad * grad)
    velocity = momentum * velocity + grad / (sqrt(square) + eps)
    return param - lr * velocity, square, velocity


@scalar
def deviation(square, mean):
    """The root of the variance, which rounding would take below 0 where gradients are all the same."""
    variance = square - mean * mean
    return sqrt(0 if variance < 0 else variance)


@scalar
def rmsprop_centered(param, grad, square, mean, lr, alpha, fresh, eps):
    square = alpha * square + fresh * (grad * grad)
    mean = mean + fresh * (grad - mean)
    return param - lr * (grad / (deviation(square, mean) + eps)), square, mean


@scalar
def rmsprop_centered_momentum(param, grad, square, mean, velocity, lr, alpha, fresh, eps, momentum):
    square = alpha * square + fresh * (grad * grad)
    mean = mean + fresh * (grad - mean)
    velocity = momentum * velocity + grad / (deviation(square, mean) + eps)
    return param - lr * velocity, square, mean, velocity


@scalar
def adadelta(param, grad, square, delta_square, lr, rho, fresh, eps):
    square = rho * square + fresh * (grad * grad)
    delta = sqrt(delta_square + eps) / sqrt(square + eps) * grad
    return param - lr * delta, square, rho * delta_square + fresh * (delta * delta)


@scalar
def rprop(param, grad, before, size, shrink, grow, smallest, largest):
    agreement = grad * before
    size = size * (grow if agreement > 0 else (shrink if agreement < 0 else 1))
    size = smallest if size < smallest else (largest if size > largest else size)
    grad = 0 if agreement < 0 else grad
    return param - sign(grad) * size, grad, size


@scalar
def lion(param, grad, mean, decay, lr, beta1, fresh1, beta2, fresh2):
    step = sign(beta1 * mean + fresh1 * grad)
    return param * decay - lr * step, beta2 * mean + fresh2 * grad


@scalar
def lars(param, grad, velocity, rate, momentum, weight_decay):
    velocity = momentum * velocity + rate * (grad + weight_decay * param)
    return param - velocity, velocity


@scalar
def norms_of_param_and_grad(param, grad, *rest):
    return param * param, grad * grad


# -- scalars ---------------------------------------------------------------------------------------------------------
def _sgd_momentum(t, h, memory):
    """The first velocity is the gradient itself, whatever the dampening."""
    keep, fresh = (0.0, 1.0) if t == 1 else (h["momentum"], 1 - h["dampening"])
    direct, along = (1.0, h["momentum"]) if h["nesterov"] else (0.0, 1.0)
    return h["lr"], keep, fresh, direct, along


def _adagrad(t, h, memory):
    return h["lr"] / (1 + (t - 1) * h["lr_decay"]), h["eps"]


def _rmsprop(t, h, memory):
    return h["lr"], h["alpha"], 1 - h["alpha"], h["eps"]


def _rmsprop_momentum(t, h, memory):
    return *_rmsprop(t, h, memory), h["momentum"]


def _adadelta(t, h, memory):
    return h["lr"], h["rho"], 1 - h["rho"], h["eps"]


def _rprop(t, h, memory):
    return *h["etas"], *h["step_sizes"]


def _lion(t, h, memory):
    beta1, beta2 = h["betas"]
    return 1 - h["lr"] * h["weight_decay"], h["lr"], beta1, 1 - beta1, beta2, 1 - beta2


def trust_of_lars(sums, sizes, h, t):
    """lr times the local rate eta |w| / (|g| + wd |w| + eps), which is 1 where either norm is 0."""
    param, grad = np.sqrt(sums).T
    below = grad + h["weight_decay"] * param + h["eps"]
    known = (param > 0) & (grad > 0)
    trust = np.divide(h["trust_coefficient"] * param, below, out=np.ones_like(param), where=known)
    return (h["lr"] * np.where(np.isnan(grad), grad, trust))[:, None]


_SGD = {"lr": REQUIRED, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
_RMSPROP = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False}
_RMSPROP_FORMULA = r"s \leftarrow \alpha s + (1 - \alpha) g^2,\ w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)"
_RMSPROP_SOURCE = "Hinton, lecture 6e, 2012; centred: Graves 2013"
DESCENT = [
    Update("sgd", sgd, {}, 1, lambda t, h, memory: (h["lr"],), _SGD, r"w \leftarrow w - \eta g", "Robbins, Monro 1951"),
    Update(
        "sgd_momentum", sgd_momentum, {"momentum_buffer": 0}, 5, _sgd_momentum, _SGD,
        r"v \leftarrow \mu v + (1 - d) g,\ w \leftarrow w - \eta v", "Polyak 1964; Sutskever et al. 2013",
    ),
    Update(
        "adagrad", adagrad, {"sum": lambda h: h["initial_accumulator_value"]}, 2, _adagrad,
        {"lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10},
        r"s \leftarrow s + g^2,\ w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)", "Duchi, Hazan, Singer 2011",
    ),
    Update("rmsprop", rmsprop, {"square_avg": 0}, 4, _rmsprop, _RMSPROP, _RMSPROP_FORMULA, _RMSPROP_SOURCE),
    Update(
        "rmsprop_momentum", rmsprop_momentum, {"square_avg": 0, "momentum_buffer": 0}, 5, _rmsprop_momentum, _RMSPROP,
        _RMSPROP_FORMULA, _RMSPROP_SOURCE,
    ),
    Update(
        "rmsprop_centered", rmsprop_centered, {"square_avg": 0, "grad_avg": 0}, 4, _rmsprop, _RMSPROP,
        _RMSPROP_FORMULA, _RMSPROP_SOURCE,
    ),
    Update(
        "rmsprop_centered_momentum", rmsprop_centered_momentum, {"square_avg": 0, "grad_avg": 0, "momentum_buffer": 0},
        5, _rmsprop_momentum, _RMSPROP, _RMSPROP_FORMULA, _RMSPROP_SOURCE,
    ),
    Update(
        "adadelta", adadelta, {"square_avg": 0, "acc_delta": 0}, 4, _adadelta,
        {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
        r"d = g \sqrt{u + \epsilon} / \sqrt{s + \epsilon},\ w \leftarrow w - \eta d", "Zeiler 2012",
    ),
    Update(
        "rprop", rprop, {"prev": 0, "step_size": lambda h: h["lr"]}, 4, _rprop,
        {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)},
        r"w \leftarrow w - \operatorname{sign}(g)\, \Delta", "Riedmiller, Braun 1993",
    ),
    Update(
        "lion", lion, {"exp_avg": 0}, 6, _lion, {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
        r"w \leftarrow (1 - \eta\lambda) w - \eta \operatorname{sign}(\beta_1 m + (1 - \beta_1) g)", "Chen et al. 2023",
        decoupled=True,
    ),
    Update(
        "lars", lars, {"momentum_buffer": 0}, 2, lambda t, h, memory: (h["momentum"], h["weight_decay"]),
        {"lr": REQUIRED, "momentum": 0.9, "weight_decay": 0.0, "trust_coefficient": 1e-3, "eps": 0.0},
        r"v \leftarrow \mu v + \eta \frac{c |w|}{|g| + \lambda |w|} (g + \lambda w),\ w \leftarrow w - v",
        "You, Gitman, Ginsburg 2017",
        decoupled=True, values=1, measure=norms_of_param_and_grad, terms=2, finish=trust_of_lars,
    ),
]  # fmt: skip
