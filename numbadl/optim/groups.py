"""What is bound: a model's parameters as groups, arrays that may be updated in place, first values of state."""

from fnmatch import fnmatch

import numpy as np

from .. import _arguments as arguments
from ..arrays import check, to_host


def of_model(model, groups, flat):
    """(groups, names, gradients) of a model's parameters; with *flat*, its one flat buffer.

    *groups* are dicts whose "params" is a pattern of names or a list of patterns; what none matches comes first.
    """
    if flat:
        return [{"params": [model.flat_parameters]}], ["the model's parameters"], [model.flat_gradients]
    named, rest = model.parameters(), dict.fromkeys(model.parameters())
    found, keys = [], []
    for k, group in enumerate(groups or []):
        patterns = group.get("params") if isinstance(group, dict) else None
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if not isinstance(patterns, (list, tuple)) or not all(isinstance(p, str) for p in patterns):
            got = arguments.shown(group)
            raise TypeError(f'groups[{k}]: got {got}, accepted are dicts with patterns of names as "params"')
        matched = [key for key in rest if any(fnmatch(key, pattern) for pattern in patterns)]
        if not matched:
            raise ValueError(f"groups[{k}]: {patterns} match none of {list(rest)}")
        for key in matched:
            del rest[key]
        found.append({**group, "params": [named[key] for key in matched]})
        keys += matched
    if rest:
        found, keys = [{"params": [named[key] for key in rest]}, *found], [*rest, *keys]
    gradients = model.gradients()
    return found, keys, [gradients[key] for key in keys]


def updatable(array):
    """*array*, if kernels can update it in place."""
    check(params=array)
    if isinstance(array, np.ndarray) and not array.flags.carray:
        raise ValueError("params: have to be writeable, C-contiguous arrays, because they are updated in place")
    return array


def filled(device, like, first, h):
    """A state buffer with its first value (see `numbadl.kernels.scalar.update_record.Update`)."""
    if isinstance(first, str):
        return device.from_host(to_host(like).copy())
    value = first(h) if callable(first) else first
    if not value:
        return device.zeros(like.shape, like.dtype)
    return device.from_host(np.full(like.shape, value, like.dtype))
