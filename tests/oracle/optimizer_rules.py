"""PyTorch's optimiser rules, step by step in float64, as its documentation prints them."""

import math

import numpy as np


def sgd(w, gradients, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    w, velocity = w.copy(), None
    for g in gradients:
        g = (-g if maximize else g) + weight_decay * w
        if momentum:
            velocity = g.copy() if velocity is None else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        w = w - lr * g
        yield w


def adamw(w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, maximize=False):
    w, m, v = w.copy(), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        g = -g if maximize else g
        w = w * (1 - lr * weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w = w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
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
    ("AdamW", {}, adamw, 8),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}, adamw, 8),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "maximize": True}, adamw, 8),
    ("AdamW", {"lr": 0.01, "betas": (0.0, 0.0)}, adamw, 8),
]


def label(case):
    name, arguments, _, _ = case
    return f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items())})"


def clip_norm(gradients, max_norm):
    """(norm before, clipped gradients), as torch.nn.utils.clip_grad_norm_ does."""
    norm = math.sqrt(math.fsum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients))
    factor = min(max_norm / (norm + 1e-6), 1.0)
    return norm, [g * factor for g in gradients]
