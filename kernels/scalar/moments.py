"""Updates with running moments of the gradient: Adam and its kin."""

import numpy as np

from .descent import sign
from .language import scalar
from .math.power import sqrt
from .update_record import Update

DEFAULTS_OF_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}

_MOMENTS = {"exp_avg": 0, "exp_avg_sq": 0}
_AMSGRAD = {**_MOMENTS, "max_exp_avg_sq": 0}


# -- rules -----------------------------------------------------------------------------------------------------------
@scalar
def adam(param, grad, mean, square, decay, fresh1, beta2, fresh2, step_size, root, eps):
    mean = mean + fresh1 * (grad - mean)
    square = beta2 * square + fresh2 * (grad * grad)
    return param * decay - step_size * (mean / (sqrt(square) * root + eps)), mean, square


@scalar
def adam_amsgrad(param, grad, mean, square, largest, decay, fresh1, beta2, fresh2, step_size, root, eps):
    mean = mean + fresh1 * (grad - mean)
    square = beta2 * square + fresh2 * (grad * grad)
    largest = largest if largest > square else square
    return param * decay - step_size * (mean / (sqrt(largest) * root + eps)), mean, square, largest


@scalar
def nadam(param, grad, mean, square, decay, fresh1, beta2, fresh2, direct, along, root, eps):
    mean = mean + fresh1 * (grad - mean)
    square = beta2 * square + fresh2 * (grad * grad)
    return param * decay - (direct * grad + along * mean) / (sqrt(square) * root + eps), mean, square


@scalar
def adamax(param, grad, mean, largest, fresh1, beta2, step_size, eps):
    mean = mean + fresh1 * (grad - mean)
    now, before = abs(grad) + eps, beta2 * largest
    largest = before if before > now else now
    return param - step_size * (mean / largest), mean, largest


@scalar
def yogi(param, grad, mean, square, decay, fresh1, fresh2, step_size, root, eps):
    mean = mean + fresh1 * (grad - mean)
    now = grad * grad
    square = square - fresh2 * (sign(square - now) * now)
    return param * decay - step_size * (mean / (sqrt(square) * root + eps)), mean, square


@scalar
def adabelief(param, grad, mean, variance, decay, fresh1, beta2, fresh2, step_size, root, eps):
    mean = mean + fresh1 * (grad - mean)
    surprise = grad - mean
    variance = beta2 * variance + fresh2 * (surprise * surprise) + eps
    return param * decay - step_size * (mean / (sqrt(variance) * root + eps)), mean, variance


@scalar
def adan(
    param, grad, mean, change, square, before, decay, fresh1, fresh2, fresh3, known, beta2, along, across, root, eps
):
    difference = known * (grad - before)
    mean = mean + fresh1 * (grad - mean)
    change = change + fresh2 * (difference - change)
    ahead = grad + beta2 * difference
    square = square + fresh3 * (ahead * ahead - square)
    step = (along * mean + across * change) / (sqrt(square) * root + eps)
    return (param - step) * decay, mean, change, square, grad


@scalar
def schedule_free(param, grad, ahead, square, beta2, fresh2, root, eps, weight_decay, blend, y_rate, z_rate):
    """param is y, where the gradient is taken; ahead is z; their average x is not stored."""
    square = beta2 * square + fresh2 * (grad * grad)
    step = grad / (sqrt(square) * root + eps) + weight_decay * param
    return param + blend * (ahead - param) + y_rate * step, ahead - z_rate * step, square


@scalar
def lamb_direction(param, mean, square, corrected, root, eps, weight_decay):
    return corrected * mean / (sqrt(square) * root + eps) + weight_decay * param


@scalar
def lamb_measure(param, grad, mean, square, fresh1, beta2, fresh2, corrected, root, eps, weight_decay):
    mean = mean + fresh1 * (grad - mean)
    square = beta2 * square + fresh2 * (grad * grad)
    step = lamb_direction(param, mean, square, corrected, root, eps, weight_decay)
    return mean, square, param * param, step * step


@scalar
def lamb(param, grad, mean, square, rate, fresh1, beta2, fresh2, corrected, root, eps, weight_decay):
    """The moments are new already: the first pass has stored them."""
    return (param - rate * lamb_direction(param, mean, square, corrected, root, eps, weight_decay),)


# -- scalars ---------------------------------------------------------------------------------------------------------
def _moments(t, h):
    """fresh1, beta2, fresh2; the factors 1 / (1 - beta1**t) and 1 / sqrt(1 - beta2**t)."""
    beta1, beta2 = h["betas"]
    return (1 - beta1, beta2, 1 - beta2), 1 / (1 - beta1**t), (1 - beta2**t) ** -0.5


def _decay(h):
    return 1 - h["lr"] * h["weight_decay"] if h.get("decoupled_weight_decay") else 1.0


def _adam(t, h, memory):
    fresh, corrected, root = _moments(t, h)
    return _decay(h), *fresh, h["lr"] * corrected, root, h["eps"]


def _adamw(t, h, memory):
    return _adam(t, {**h, "decoupled_weight_decay": True}, memory)


def _yogi(t, h, memory):
    (fresh1, _, fresh2), corrected, root = _moments(t, h)
    return _decay(h), fresh1, fresh2, h["lr"] * corrected, root, h["eps"]


def _radam(t, h, memory):
    """Adam's rule with other numbers: a rectified step, or the plain mean while too few gradients were seen."""
    beta2 = h["betas"][1]
    fresh, corrected, root = _moments(t, h)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    if length <= 5:
        return _decay(h), *fresh, h["lr"] * corrected, 0.0, 1.0
    above, below = (length - 4) * (length - 2) * longest, (longest - 4) * (longest - 2) * length
    return _decay(h), *fresh, h["lr"] * corrected * (above / below) ** 0.5 / root, 1.0, h["eps"]


def _nadam(t, h, memory):
    beta1 = h["betas"][0]
    now, following = (beta1 * (1 - 0.5 * 0.96 ** (k * h["momentum_decay"])) for k in (t, t + 1))
    product = memory["mu_product"] = memory.get("mu_product", 1.0) * now
    fresh, _, root = _moments(t, h)
    direct, along = h["lr"] * (1 - now) / (1 - product), h["lr"] * following / (1 - product * following)
    return _decay(h), *fresh, direct, along, root, h["eps"]


def _adamax(t, h, memory):
    (fresh1, beta2, _), corrected, _ = _moments(t, h)
    return fresh1, beta2, h["lr"] * corrected, h["eps"]


def _adan(t, h, memory):
    beta1, beta2, beta3 = h["betas"]
    along, across = h["lr"] / (1 - beta1**t), h["lr"] * beta2 / (1 - beta2**t)
    decay, known, root = 1 / (1 + h["lr"] * h["weight_decay"]), float(t > 1), (1 - beta3**t) ** -0.5
    return decay, 1 - beta1, 1 - beta2, 1 - beta3, known, beta2, along, across, root, h["eps"]


def _schedule_free(t, h, memory):
    beta1, beta2 = h["betas"]
    lr = h["lr"] * min(t / h["warmup_steps"], 1) if h["warmup_steps"] else h["lr"]
    largest = memory["lr_max"] = max(lr, memory.get("lr_max", 0.0))
    weight = t ** h["r"] * largest ** h["weight_lr_power"]
    total = memory["weight_sum"] = memory.get("weight_sum", 0.0) + weight
    blend = weight / total if total else 0.0
    root = (1 - beta2**t) ** -0.5
    return beta2, 1 - beta2, root, h["eps"], h["weight_decay"], blend, lr * (beta1 * (1 - blend) - 1), lr


def _lamb(t, h, memory):
    fresh, corrected, root = _moments(t, h)
    return *fresh, corrected, root, h["eps"], h["weight_decay"]


def trust_of_lamb(sums, sizes, h, t):
    """lr times |w| / |step|, which is 1 where either norm is 0."""
    param, step = np.sqrt(sums).T
    return h["lr"] * np.divide(param, step, out=np.ones_like(param), where=(param != 0) & (step != 0))[:, None]


_EITHER = {**DEFAULTS_OF_ADAM, "decoupled_weight_decay": False}
_ADAMW = {**DEFAULTS_OF_ADAM, "weight_decay": 1e-2, "amsgrad": False}
_ADAM = {**DEFAULTS_OF_ADAM, "amsgrad": False, "decoupled_weight_decay": False}
_STEP = r"w \leftarrow w - \eta\,\hat m / (\sqrt{\hat v} + \epsilon)"
_KINGMA, _REDDI = "Kingma, Ba 2015", "Reddi, Kale, Kumar 2018"
MOMENTS = [
    Update("adam", adam, _MOMENTS, 7, _adam, _ADAM, _STEP, _KINGMA),
    Update("adam_amsgrad", adam_amsgrad, _AMSGRAD, 7, _adam, _ADAM, _STEP, _REDDI),
    Update("adamw", adam, _MOMENTS, 7, _adamw, _ADAMW, _STEP, "Loshchilov, Hutter 2019", decoupled=True),
    Update("adamw_amsgrad", adam_amsgrad, _AMSGRAD, 7, _adamw, _ADAMW, _STEP, _REDDI, decoupled=True),
    Update(
        "nadam", nadam, _MOMENTS, 8, _nadam, {**_EITHER, "lr": 2e-3, "momentum_decay": 4e-3},
        r"w \leftarrow w - \eta (\mu_{t+1} \hat m + (1 - \mu_t) \hat g) / (\sqrt{\hat v} + \epsilon)", "Dozat 2016",
    ),
    Update("radam", adam, _MOMENTS, 7, _radam, _EITHER, r"w \leftarrow w - \eta r_t \hat m / \sqrt{\hat v}", "Liu et al. 2020"),
    Update(
        "adamax", adamax, {"exp_avg": 0, "exp_inf": 0}, 4, _adamax, {**DEFAULTS_OF_ADAM, "lr": 2e-3},
        r"u \leftarrow \max(\beta_2 u, |g| + \epsilon),\ w \leftarrow w - \eta \hat m / u", _KINGMA,
    ),
    Update(
        "yogi", yogi, {"exp_avg": 0, "exp_avg_sq": lambda h: h["initial_accumulator"]}, 6, _yogi,
        {**_EITHER, "lr": 1e-2, "eps": 1e-3, "initial_accumulator": 1e-6},
        r"v \leftarrow v - (1 - \beta_2) \operatorname{sign}(v - g^2) g^2", "Zaheer et al. 2018",
    ),
    Update(
        "adabelief", adabelief, {"exp_avg": 0, "exp_avg_var": 0}, 7, _adam,
        {**_EITHER, "eps": 1e-16, "decoupled_weight_decay": True},
        r"s \leftarrow \beta_2 s + (1 - \beta_2)(g - m)^2 + \epsilon,\ w \leftarrow w - \eta \hat m / (\sqrt{\hat s} + \epsilon)",
        "Zhuang et al. 2020",
    ),
    Update(
        "adan", adan, {"exp_avg": 0, "exp_avg_diff": 0, "exp_avg_sq": 0, "prev": 0}, 10, _adan,
        {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0},
        r"w \leftarrow (w - \eta (\hat m + \beta_2 \hat d) / (\sqrt{\hat n} + \epsilon)) / (1 + \eta\lambda)",
        "Xie et al. 2022", decoupled=True,
    ),
    Update(
        "schedule_free", schedule_free, {"z": "param", "exp_avg_sq": 0}, 8, _schedule_free,
        {"lr": 2.5e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "warmup_steps": 0, "r": 0.0,
         "weight_lr_power": 2.0},
        r"y = (1 - \beta_1) z + \beta_1 x,\ z \leftarrow z - \eta (\hat g + \lambda y),\ x \leftarrow (1 - c) x + c z",
        "Defazio et al. 2024", decoupled=True,
    ),
    Update(
        "lamb", lamb, _MOMENTS, 7, _lamb, {**DEFAULTS_OF_ADAM, "eps": 1e-6},
        r"r = \hat m / (\sqrt{\hat v} + \epsilon) + \lambda w,\ w \leftarrow w - \eta \frac{|w|}{|r|} r", "You et al. 2020",
        decoupled=True, values=1, measure=lamb_measure, terms=2, measure_writes=True, finish=trust_of_lamb,
    ),
]  # fmt: skip
