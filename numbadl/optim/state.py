"""Whether a state fits an optimiser: everything that a damaged file could have wrong, looked at before anything is written."""

import math

import numpy as np

from .. import _arguments as arguments
from . import options

_KEYS = ("steps", "micro_steps", "groups", "memory", "state")
_FLAGS = ("averaged", "ema_swapped")


def check(optimizer, saved):
    """Raise ValueError, which says what is wrong, for a state that is not one of this optimiser."""
    if not isinstance(saved, dict):
        raise ValueError(f"state: got {arguments.shown(saved)}, accepted is what state_dict gives")
    if missing := set(_KEYS) - set(saved):
        raise ValueError(f"state: has no {sorted(missing)}")
    _count("steps", saved["steps"])
    _count("micro_steps", saved["micro_steps"], optimizer.whole["gradient_accumulation_steps"] - 1)
    for name in _FLAGS:
        if not isinstance(saved.get(name, False), bool):
            raise ValueError(f"state: {name} is {arguments.shown(saved[name])}, accepted are False and True")
    _check_groups(optimizer, saved["groups"])
    _check_arrays(optimizer, saved["state"])
    _check_memory(optimizer, saved)


def _count(name, value, high=math.inf):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= high:
        accepted = "integers from 0" + (f" to {high}" if high < math.inf else " on")
        raise ValueError(f"state: {name} is {arguments.shown(value)}, accepted are {accepted}")


def _entries(name, found, mine):
    """One dict or list for each of mine."""
    if not isinstance(found, (list, tuple)) or len(found) != len(mine):
        has = f"{len(found)} {name}" if isinstance(found, (list, tuple)) else f"{arguments.shown(found)} for {name}"
        raise ValueError(f"state: has {has}, the optimiser {len(mine)}")
    return zip(found, mine, strict=True)


def _check_groups(optimizer, groups):
    for number, (given, mine) in enumerate(_entries("groups", groups, optimizer.param_groups)):
        wanted = set(mine) - {"params"}
        if not isinstance(given, dict) or set(given) != wanted:
            has = sorted(given) if isinstance(given, dict) else arguments.shown(given)
            raise ValueError(f"state: group {number} has {has}, the optimiser's has {sorted(wanted)}")
        try:
            optimizer._check(given)
        except TypeError as error:
            raise ValueError(f"state: group {number}: {error}") from None


def _check_arrays(optimizer, state):
    shapes = [[_shapes(of_tensor) for of_tensor in group] for group in optimizer._state]
    given = [[_shapes(of_tensor) for of_tensor in group] for group, _ in _entries("lists of arrays", state, shapes)]
    if shapes != given:
        raise ValueError(f"state: shapes {given} do not fit the parameters' {shapes}")


def _shapes(of_tensor):
    return {name: (tuple(getattr(a, "shape", ())), getattr(a, "dtype", type(a))) for name, a in of_tensor.items()}


def _check_memory(optimizer, saved):
    """The numbers that rules remember: those that the rule makes in its first step, and finite."""
    for number, (memory, _) in enumerate(_entries("memories", saved["memory"], optimizer.param_groups)):
        if not isinstance(memory, dict) or "step" not in memory:
            raise ValueError(f"state: memory {number} is {memory!r}, accepted are dicts with step")
        _count(f"step of memory {number}", memory["step"], saved["steps"])
    for launch in optimizer._launches:
        group = {**optimizer.param_groups[launch.group], **saved["groups"][launch.group]}
        if optimizer.rule_of(group, launch.params[0]) is not launch.record:
            raise ValueError(f"state: group {launch.group} has options with another rule than the optimiser's")
    for number, memory in enumerate(saved["memory"]):
        wanted = _remembered(optimizer, number) if memory["step"] else {"step"}
        if set(memory) != wanted:
            raise ValueError(f"state: memory {number} has {sorted(memory)}, accepted are {sorted(wanted)}")
        for name, value in memory.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                raise ValueError(f"state: {name} of memory {number} is {arguments.shown(value)}, accepted are numbers")


def _remembered(optimizer, number):
    """Names of what the rules of a group remember."""
    found = {"step": 1}
    for launch in optimizer._launches:
        if launch.group == number:
            h = optimizer._of_rule(launch, options.now(optimizer.param_groups[number], 1))
            launch.record.scalars(1, h, found)
    return set(found)
