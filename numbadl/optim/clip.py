"""Gradient clipping, in place: by global norm and by value."""

import math

import numpy as np

from ..arrays import check, device_of


def _flat(grads, name="grads"):
    arrays = [grads] if hasattr(grads, "dtype") else list(grads.values() if isinstance(grads, dict) else grads)
    for k, array in enumerate(arrays):
        check(**{f"{name}[{k}]": array})
        if isinstance(array, np.ndarray) and not array.flags.carray:
            raise ValueError(f"{name}[{k}]: has to be a writeable, C-contiguous array, because it is changed in place")
    return [array.reshape(-1) for array in arrays if array.size]


def clip_grad_norm_(grads, max_norm):
    """Scale gradients so that their norm over all of them is at most *max_norm*; returns the norm before.

    A norm of NaN or inf makes all gradients NaN or 0, as in PyTorch.

    Parameters
    ----------
    grads : array, or a list or dict of arrays
    max_norm : positive number

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> g = np.array([3.0, 4.0])
    >>> nd.clip_grad_norm_(g, 1.0)
    5.0
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm: got {max_norm}, accepted are positive numbers")
    arrays = _flat(grads)
    total = math.sqrt(math.fsum(_run("sum_of_squares", a) for a in arrays)) if arrays else 0.0
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:
        for a in arrays:
            _run("scaled", a, a, a.dtype.type(factor))
    return total


def clip_grad_value_(grads, clip_value):
    """Limit every entry of the gradients to [-clip_value, clip_value], in place."""
    if not clip_value > 0:
        raise ValueError(f"clip_value: got {clip_value}, accepted are positive numbers")
    for a in _flat(grads):
        _run("clipped", a, a, a.dtype.type(-clip_value), a.dtype.type(clip_value))


def _run(name, first, *rest):
    device = device_of(first)
    device.prepare(first.size)
    return device.kernel(name)(first, *rest)  # in place, so that a Map kernel has nothing to refuse
