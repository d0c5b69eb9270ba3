"""The options that all optimisers have, and the checks of every option."""

import math

import numpy as np

from .. import _arguments as arguments

GROUP = {"maximize": False, "l1": 0.0, "l2": 0.0, "proximal": False, "frozen": False}
WHOLE = {
    "clip_norm": None, "clip_value": None, "clip_norm_per_tensor": None, "nonfinite": "allow", "zero_grad": False,
    "ema_decay": None, "lookahead": None, "lookahead_alpha": 0.5, "gradient_accumulation_steps": 1,
}  # fmt: skip
_NOT_NEGATIVE = (
    "weight_decay", "momentum", "dampening", "lr_decay", "initial_accumulator_value", "initial_accumulator", "eps",
    "momentum_decay", "trust_coefficient", "l1", "l2", "r", "weight_lr_power", "adam_eps",
)  # fmt: skip
RATES = ("lr", "adam_lr")  # numbers, or functions of the number of updates before
_FLAGS = ("maximize", "proximal", "frozen", "nesterov", "centered", "amsgrad", "decoupled_weight_decay")
_CLIPS = ("clip_norm", "clip_value", "clip_norm_per_tensor")


def check_group(h):
    """Raise ValueError for a wrong value among the hyperparameters of a group."""
    for name in RATES:
        if name in h and not callable(h[name]):
            arguments.number(name, h[name])
    for name in _NOT_NEGATIVE:
        if name in h:
            arguments.number(name, h[name])
    for name in ("alpha", "rho"):
        if name in h:
            arguments.number(name, h[name], high=1)
    for name in _FLAGS:
        if name in h:
            arguments.one_of(name, h[name], (False, True))
    for name in ("betas", "adam_betas"):
        if name in h:
            arguments.betas(name, h[name], count=2)
    if h["proximal"] and not h["l1"]:
        raise ValueError("proximal: needs an l1 above 0")


def check_whole(h):
    """Raise ValueError for a wrong value among the options of the whole optimiser."""
    for name in _CLIPS:
        if h[name] is not None:
            arguments.number(name, h[name], above=True)
    given = [name for name in _CLIPS if h[name] is not None]
    if len(given) > 1:
        raise ValueError(
            f"{given[1]}: got {h[given[1]]!r} beside {given[0]}={h[given[0]]!r}; accepted is one way to clip"
        )
    arguments.one_of("nonfinite", h["nonfinite"], ("allow", "skip", "raise"))
    arguments.one_of("zero_grad", h["zero_grad"], (False, True))
    if h["ema_decay"] is not None:
        arguments.number("ema_decay", h["ema_decay"], high=1, below=True)
    if h["lookahead"] is not None:
        arguments.integer("lookahead", h["lookahead"])
    arguments.number("lookahead_alpha", h["lookahead_alpha"], high=1)
    arguments.integer("gradient_accumulation_steps", h["gradient_accumulation_steps"])


def now(group, t):
    """A group's hyperparameters for its update number *t*: with numbers for the learning rates."""
    scheduled = {}
    for name in RATES:
        given = group.get(name)
        if callable(given):
            scheduled[name] = _rate(name, given(t - 1), t - 1)
        elif name in group and not (
            type(given) is float and 0 <= given < math.inf
        ):  # in every step: the message comes later
            arguments.number(name, given)
    return {**group, **scheduled} if scheduled else group


def _rate(name, rate, step):
    if not (isinstance(rate, (int, float, np.floating)) and 0 <= rate < math.inf):
        raise ValueError(f"{name}: the schedule gave {rate!r} for step {step}, accepted are numbers from 0 on")
    return rate
