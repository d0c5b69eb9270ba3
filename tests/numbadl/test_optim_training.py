"""Every optimiser minimises a convex problem and learns the digits, with its defaults or with settings that its docs state."""

import re

import numpy as np
import pytest

import numbadl as nd
from numbadl.data import load_digits

OPTIMIZERS = {
    name: kind
    for name, kind in vars(nd.optim).items()
    if isinstance(kind, type) and issubclass(kind, nd.optim.Optimizer) and kind is not nd.optim.Optimizer
}
CONVEX_STEPS = 400
CONVEX = {  # learning rates at the start, from which they fall to 0
    "SGD": 0.3, "LARS": 10.0, "Adagrad": 0.5, "RMSprop": 0.05, "Adadelta": 10.0, "Rprop": 0.01, "Lion": 0.05,
    "Adam": 0.1, "AdamW": 0.1, "NAdam": 0.1, "RAdam": 0.1, "Adamax": 0.1, "Yogi": 0.1, "AdaBelief": 0.1, "Adan": 0.1,
    "LAMB": 0.1, "ScheduleFreeAdamW": 0.5, "Adafactor": 0.1, "Muon": 0.1,
}  # fmt: skip
WITHOUT_DECAY = {"AdamW": {"weight_decay": 0.0}, "Muon": {"weight_decay": 0.0}}
DIGITS = {  # beside the defaults
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "LARS": {"lr": 0.1, "trust_coefficient": 0.02},
    "Lion": {"lr": 1e-3},
    "RAdam": {"lr": 3e-3},
    "Adan": {"lr": 3e-3},
    "Muon": {"lr": 0.02},
    "Adamax": {"lr": 5e-3},
    "Rprop": {"lr": 1e-3, "step_sizes": (1e-6, 0.1)},
}


def all_but(*fast):
    """Every optimiser's name, marked as slow but for some."""
    return [pytest.param(name, marks=[] if name in fast else pytest.mark.slow) for name in OPTIMIZERS]


def test_every_optimizer_is_here():
    assert set(CONVEX) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", DIGITS)
def test_settings_that_differ_from_the_defaults_are_documented(name):
    documented = re.search(r"The built-in digits train with (.*)\.$", OPTIMIZERS[name].__doc__, re.MULTILINE)
    assert documented, "say in the docstring what trains the digits"
    assert documented[1] == ", ".join(f"{k}={v}" for k, v in DIGITS[name].items())


@pytest.mark.parametrize("name", all_but("AdamW", "Muon"))
def test_least_squares(name, rng):
    """f(w) = |a w - b|**2 / 100 over matrices w (6, 4): the distance to the minimum falls to a ten thousandth."""
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(50, 4))
    w, best = rng.normal(size=(6, 4)).astype(np.float32) + 1, np.linalg.lstsq(a, b)[0]

    def value(w):
        return np.sum((a @ w - b) ** 2) / 100

    first = value(w)
    lr = CONVEX[name] if name == "Rprop" else nd.optim.schedules.Polynomial(CONVEX[name], total=CONVEX_STEPS)
    optimizer = OPTIMIZERS[name](w, lr=lr, **WITHOUT_DECAY.get(name, {}))
    for _ in range(CONVEX_STEPS):
        optimizer.step((a.T @ (a @ w - b) / 50).astype(np.float32))
    optimizer.eval()
    assert value(w) - value(best) < 1e-4 * (first - value(best))


@pytest.mark.parametrize("name", all_but("AdamW"))
def test_digits(name):
    x, y, x_test, y_test = load_digits()
    layers = nd.nn.Linear(64, 64), nd.nn.BatchNorm(64), nd.nn.ReLU(), nd.nn.Linear(64, 10)
    model, optimizer = nd.nn.Sequential(*layers), OPTIMIZERS[name](**DIGITS.get(name, {}))
    batches = {"epochs": 100, "batch_size": None} if name == "Rprop" else {"epochs": 40, "batch_size": 64}
    model.fit(x, y, loss="cross_entropy", optimizer=optimizer, progress=False, **batches)
    assert model.evaluate(x_test, y_test)["accuracy"] >= 0.95
