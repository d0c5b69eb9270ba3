"""Optimisers' rules, step by step in float64, as PyTorch's documentation or the papers print them."""

import math

import numpy as np


def directed(g, w, maximize=False, weight_decay=0.0):
    """The gradient with its sign, and with L2 decay."""
    return (-g if maximize else g) + weight_decay * w


def sgd(w, gradients, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    w, velocity = w.copy(), None
    for g in gradients:
        g = directed(g, w, maximize, weight_decay)
        if momentum:
            velocity = g.copy() if velocity is None else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        w = w - lr * g
        yield w


def adagrad(
    w, gradients, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, maximize=False
):
    w, total = w.copy(), np.full_like(w, initial_accumulator_value)
    for t, g in enumerate(gradients, 1):
        g = directed(g, w, maximize, weight_decay)
        total += g * g
        w = w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(total) + eps)
        yield w


def rmsprop(
    w, gradients, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, maximize=False
):  # fmt: skip
    w, square, mean, velocity = w.copy(), np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        g = directed(g, w, maximize, weight_decay)
        square = alpha * square + (1 - alpha) * g * g
        mean = alpha * mean + (1 - alpha) * g
        variance = square - mean * mean if centered else square
        velocity = momentum * velocity + g / (np.sqrt(variance) + eps)
        w = w - lr * velocity
        yield w


def adadelta(w, gradients, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, maximize=False):
    w, square, deltas = w.copy(), np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        g = directed(g, w, maximize, weight_decay)
        square = rho * square + (1 - rho) * g * g
        delta = np.sqrt(deltas + eps) / np.sqrt(square + eps) * g
        deltas = rho * deltas + (1 - rho) * delta * delta
        w = w - lr * delta
        yield w


def rprop(w, gradients, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0), maximize=False):
    w, before, size = w.copy(), np.zeros_like(w), np.full_like(w, lr)
    for g in gradients:
        g = directed(g, w, maximize)
        for i in np.ndindex(w.shape):
            here = g[i]
            if here * before[i] > 0:
                size[i] = min(size[i] * etas[1], step_sizes[1])
            elif here * before[i] < 0:
                size[i] = max(size[i] * etas[0], step_sizes[0])
                here = 0.0
            w[i] -= np.sign(here) * size[i]
            before[i] = here
        yield w.copy()


def lion(w, gradients, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
    """Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, algorithm 2."""
    w, m = w.copy(), np.zeros_like(w)
    for g in gradients:
        g = directed(g, w, maximize)
        c = betas[0] * m + (1 - betas[0]) * g
        w = w - lr * (np.sign(c) + weight_decay * w)
        m = betas[1] * m + (1 - betas[1]) * g
        yield w


def lars(
    w, gradients, lr, momentum=0.9, weight_decay=0.0, trust_coefficient=1e-3, eps=0.0, maximize=False
):  # fmt: skip
    """You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017, algorithm 1."""
    w, v = w.copy(), np.zeros_like(w)
    for g in gradients:
        g = directed(g, w, maximize)
        norm_w, norm_g = math.sqrt(np.sum(w * w)), math.sqrt(np.sum(g * g))
        rate = trust_coefficient * norm_w / (norm_g + weight_decay * norm_w + eps) if norm_w and norm_g else 1.0
        v = momentum * v + lr * rate * (g + weight_decay * w)
        w = w - v
        yield w


def _adam_moments(gradients, w, betas, maximize, weight_decay=0.0):
    """(t, g, m, v) of each step; *w* is a list of the parameters, which the caller changes."""
    m, v = np.zeros_like(w[0]), np.zeros_like(w[0])
    for t, g in enumerate(gradients, 1):
        g = directed(g, w[0], maximize, weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        yield t, g, m, v


def adam(
    w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False,
    decoupled_weight_decay=False,
):  # fmt: skip
    held, largest = [w.copy()], np.zeros_like(w)
    for t, _, m, v in _adam_moments(gradients, held, betas, maximize, 0.0 if decoupled_weight_decay else weight_decay):
        if decoupled_weight_decay:
            held[0] = held[0] * (1 - lr * weight_decay)
        largest = np.maximum(largest, v) if amsgrad else v
        held[0] = held[0] - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(largest / (1 - betas[1] ** t)) + eps)
        yield held[0]


def adamw(w, gradients, weight_decay=1e-2, **options):
    return adam(w, gradients, weight_decay=weight_decay, decoupled_weight_decay=True, **options)


def nadam(
    w, gradients, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
    decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    held, product = [w.copy()], 1.0
    coupled = 0.0 if decoupled_weight_decay else weight_decay
    for t, g, m, v in _adam_moments(gradients, held, betas, maximize, coupled):
        if decoupled_weight_decay:
            held[0] = held[0] * (1 - lr * weight_decay)
        now, following = (betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
        product *= now
        mean = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        held[0] = held[0] - lr * mean / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        yield held[0]


def radam(
    w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False, maximize=False
):
    held, longest = [w.copy()], 2 / (1 - betas[1]) - 1
    coupled = 0.0 if decoupled_weight_decay else weight_decay
    for t, _, m, v in _adam_moments(gradients, held, betas, maximize, coupled):
        if decoupled_weight_decay:
            held[0] = held[0] * (1 - lr * weight_decay)
        corrected, length = m / (1 - betas[0] ** t), longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        if length > 5:
            r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            corrected = corrected * r * math.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
        held[0] = held[0] - lr * corrected
        yield held[0]


def adamax(w, gradients, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False):
    held, u = [w.copy()], np.zeros_like(w)
    for t, g, m, _ in _adam_moments(gradients, held, betas, maximize, weight_decay):
        u = np.maximum(betas[1] * u, np.abs(g) + eps)
        held[0] = held[0] - lr / (1 - betas[0] ** t) * m / u
        yield held[0]


def yogi(
    w, gradients, lr=1e-2, betas=(0.9, 0.999), eps=1e-3, weight_decay=0.0, initial_accumulator=1e-6,
    decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    """Zaheer et al., "Adaptive methods for nonconvex optimization", NeurIPS 2018, algorithm 2, with Adam's corrections."""
    w, m, v = w.copy(), np.zeros_like(w), np.full_like(w, initial_accumulator)
    for t, g in enumerate(gradients, 1):
        g = directed(g, w, maximize, 0.0 if decoupled_weight_decay else weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = v - (1 - betas[1]) * np.sign(v - g * g) * g * g
        decay = lr * weight_decay * w if decoupled_weight_decay else 0.0
        w = w - decay - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        yield w


def adabelief(
    w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, decoupled_weight_decay=True, maximize=False
):
    """Zhuang et al., "AdaBelief optimizer", NeurIPS 2020, algorithm 2; weight decay as in the authors' code."""
    w, m, s = w.copy(), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        g = directed(g, w, maximize, 0.0 if decoupled_weight_decay else weight_decay)
        if decoupled_weight_decay:
            w = w * (1 - lr * weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * (g - m) ** 2 + eps
        w = w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
        yield w


def adan(w, gradients, lr=1e-3, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0, maximize=False):
    """Xie et al., "Adan", 2022, algorithm 1, with b = 1 - beta and the bias corrections of the authors' code."""
    w, m, n, v, before = w.copy(), np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), None
    for t, g in enumerate(gradients, 1):
        g = directed(g, w, maximize)
        difference = np.zeros_like(g) if before is None else g - before
        m = betas[0] * m + (1 - betas[0]) * g
        n = betas[1] * n + (1 - betas[1]) * difference
        v = betas[2] * v + (1 - betas[2]) * (g + betas[1] * difference) ** 2
        rate = lr / (np.sqrt(v / (1 - betas[2] ** t)) + eps)
        w = (w - rate * (m / (1 - betas[0] ** t) + betas[1] * n / (1 - betas[1] ** t))) / (1 + lr * weight_decay)
        before = g
        yield w


def lamb(w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, maximize=False):
    """You et al., "Large batch optimization for deep learning", ICLR 2020, algorithm 2, with phi the identity."""
    held = [w.copy()]
    for t, _, m, v in _adam_moments(gradients, held, betas, maximize):
        r = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * held[0]
        norm_w, norm_r = math.sqrt(np.sum(held[0] ** 2)), math.sqrt(np.sum(r * r))
        held[0] = held[0] - lr * (norm_w / norm_r if norm_w and norm_r else 1.0) * r
        yield held[0]


def schedule_free(
    w, gradients, lr=2.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0, r=0.0, weight_lr_power=2.0,
    maximize=False, average=False,
):  # fmt: skip
    """Defazio et al., "The road less scheduled", NeurIPS 2024, algorithm 1, which keeps x and z; yields y (x with *average*)."""
    x, z, v, total, largest = w.copy(), w.copy(), np.zeros_like(w), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        y = (1 - betas[0]) * z + betas[0] * x
        g = directed(g, y, maximize)
        v = betas[1] * v + (1 - betas[1]) * g * g
        rate = lr * min(1, t / warmup_steps) if warmup_steps else lr
        z = z - rate * (g / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * y)
        largest = max(largest, rate)
        weight = t**r * largest**weight_lr_power
        total += weight
        x = (1 - weight / total) * x + weight / total * z
        yield x if average else (1 - betas[0]) * z + betas[0] * x


def adafactor(
    w, gradients, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, maximize=False
):  # fmt: skip
    """Shazeer, Stern, "Adafactor", ICML 2018, algorithms 4 and 5, with the constants of PyTorch's documentation."""
    w, (floor, least) = w.copy(), eps
    floor = np.finfo(w.dtype).eps if floor is None else floor
    rows, columns, whole = 0.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        g = directed(g, w, maximize)
        beta2 = 1 - t**beta2_decay
        if w.ndim > 1:
            rows = beta2 * rows + (1 - beta2) * np.mean(g * g, axis=-1, keepdims=True)
            columns = beta2 * columns + (1 - beta2) * np.mean(g * g, axis=-2, keepdims=True)
            v = rows * columns / np.maximum(np.mean(rows, axis=-2, keepdims=True), floor)
        else:
            v = whole = beta2 * whole + (1 - beta2) * g * g
        u = g / np.sqrt(np.maximum(v, floor * floor))
        alpha = max(least, math.sqrt(np.mean(w * w))) * min(lr, 1 / math.sqrt(t))
        w = w * (1 - lr * weight_decay) - alpha * u / max(1.0, math.sqrt(np.mean(u * u)) / d)
        yield w


def muon(
    w, gradients, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
    eps=1e-7, ns_steps=5, adjust_lr_fn=None, adam_lr=1e-3, adam_betas=(0.9, 0.95), adam_eps=1e-8, maximize=False,
):  # fmt: skip
    """Jordan et al., "Muon", 2024, by singular values: the iteration is an odd polynomial of each; PyTorch's conventions."""
    if w.ndim != 2:
        yield from adamw(
            w, gradients, lr=adam_lr, betas=adam_betas, eps=adam_eps, weight_decay=weight_decay, maximize=maximize
        )
        return
    w, v, (a, b, c) = w.copy(), np.zeros_like(w), ns_coefficients
    for g in gradients:
        g = directed(g, w, maximize)
        v = momentum * v + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * v if nesterov else v
        left, s, right = np.linalg.svd(x / max(np.linalg.norm(x), eps), full_matrices=False)
        for _ in range(ns_steps):
            s = a * s + b * s**3 + c * s**5
        rows, columns = w.shape
        ratio = 0.2 * math.sqrt(max(rows, columns)) if adjust_lr_fn == "match_rms_adamw" else 1.0
        ratio = math.sqrt(max(1, rows / columns)) if adjust_lr_fn in (None, "original") else ratio
        w = w * (1 - lr * weight_decay) - lr * ratio * (left * s) @ right
        yield w


# (class, arguments, rule, bytes of state for each float32 parameter): the first of a class are its defaults
CASES = [
    ("SGD", {"lr": 0.05}, sgd, 0),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}, sgd, 0),
    ("SGD", {"lr": 0.05, "maximize": True, "weight_decay": 0.2}, sgd, 0),
    ("SGD", {"lr": 0.01, "momentum": 0.9}, sgd, 4),
    ("SGD", {"lr": 0.01, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.05}, sgd, 4),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, sgd, 4),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "maximize": True}, sgd, 4),
    ("Adagrad", {}, adagrad, 4),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.3}, adagrad, 4),
    ("Adagrad", {"lr": 0.1, "eps": 1e-3, "maximize": True}, adagrad, 4),
    ("RMSprop", {}, rmsprop, 4),
    ("RMSprop", {"alpha": 0.9, "weight_decay": 0.1, "maximize": True, "eps": 1e-4}, rmsprop, 4),
    ("RMSprop", {"momentum": 0.8, "weight_decay": 0.1}, rmsprop, 8),
    ("RMSprop", {"centered": True, "weight_decay": 0.1}, rmsprop, 8),
    ("RMSprop", {"momentum": 0.8, "centered": True, "lr": 0.003}, rmsprop, 12),
    ("Adadelta", {}, adadelta, 8),
    ("Adadelta", {"lr": 2.0, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}, adadelta, 8),
    ("Rprop", {}, rprop, 8),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.01, 0.5), "maximize": True}, rprop, 8),
    ("Lion", {}, lion, 4),
    ("Lion", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}, lion, 4),
    ("LARS", {"lr": 1.0}, lars, 4),
    ("LARS", {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.02, "eps": 1e-3}, lars, 4),
    ("LARS", {"lr": 0.5, "maximize": True}, lars, 4),
    ("Adam", {}, adam, 8),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "maximize": True}, adam, 8),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}, adam, 12),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}, adam, 8),
    ("AdamW", {}, adamw, 8),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}, adamw, 8),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "maximize": True}, adamw, 8),
    ("AdamW", {"lr": 0.01, "betas": (0.0, 0.0)}, adamw, 8),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}, adamw, 12),
    ("NAdam", {}, nadam, 8),
    ("NAdam", {"lr": 0.02, "momentum_decay": 0.1, "weight_decay": 0.1, "maximize": True}, nadam, 8),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}, nadam, 8),
    ("RAdam", {}, radam, 8),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}, radam, 8),
    ("RAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}, radam, 8),
    ("Adamax", {}, adamax, 8),
    ("Adamax", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}, adamax, 8),
    ("Yogi", {}, yogi, 8),
    ("Yogi", {"betas": (0.8, 0.9), "weight_decay": 0.1, "initial_accumulator": 0.1, "maximize": True}, yogi, 8),
    ("Yogi", {"weight_decay": 0.1, "decoupled_weight_decay": True}, yogi, 8),
    ("AdaBelief", {}, adabelief, 8),
    ("AdaBelief", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.1, "maximize": True}, adabelief, 8),
    ("AdaBelief", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": False}, adabelief, 8),
    ("Adan", {}, adan, 16),
    ("Adan", {"lr": 0.02, "betas": (0.9, 0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "maximize": True}, adan, 16),
    ("LAMB", {}, lamb, 8),
    ("LAMB", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}, lamb, 8),
    ("ScheduleFreeAdamW", {}, schedule_free, 8),
    (
        "ScheduleFreeAdamW",
        {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "warmup_steps": 20, "r": 1.0, "weight_lr_power": 1.0},
        schedule_free,
        8,
    ),
    ("Adafactor", {}, adafactor, 4),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.6, "eps": (1e-4, 1e-2), "d": 1.3, "weight_decay": 0.1}, adafactor, 4),
    ("Adafactor", {"lr": 0.1, "maximize": True}, adafactor, 4),
    ("Muon", {}, muon, 8),
    ("Muon", {"weight_decay": 0.01, "maximize": True, "adam_lr": 0.01}, muon, 8),
]  # of vectors

MATRICES = [  # (class, arguments, rule, shape)
    ("Adafactor", {}, adafactor, (5, 7)),
    (
        "Adafactor",
        {"lr": 0.1, "beta2_decay": -0.6, "eps": (1e-4, 1e-2), "d": 1.3, "weight_decay": 0.1},
        adafactor,
        (7, 4),
    ),
    ("Adafactor", {"lr": 0.1, "maximize": True}, adafactor, (2, 3, 4)),
    ("Adafactor", {}, adafactor, (1, 6)),
    ("Muon", {"lr": 0.02}, muon, (5, 7)),
    ("Muon", {"lr": 0.02, "nesterov": False, "momentum": 0.8, "weight_decay": 0.0, "ns_steps": 3}, muon, (7, 4)),
    ("Muon", {"lr": 0.01, "adjust_lr_fn": "match_rms_adamw", "maximize": True}, muon, (6, 6)),
    ("Muon", {"lr": 0.02}, muon, (4, 1)),
    ("LAMB", {"lr": 0.02, "weight_decay": 0.1}, lamb, (5, 7)),
    ("LARS", {"lr": 0.5}, lars, (5, 7)),
]


def label(case):
    name, arguments, *_ = case
    return f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items())})"


def clip_norm(gradients, max_norm):
    """(norm before, clipped gradients), as torch.nn.utils.clip_grad_norm_ does."""
    norm = math.sqrt(math.fsum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients))
    factor = min(max_norm / (norm + 1e-6), 1.0)
    return norm, [g * factor for g in gradients]
