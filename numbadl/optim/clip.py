"""Gradient clipping, in place: by global norm and by value."""

import numpy as np

from .. import _arguments as arguments
from ..arrays import check, device_of
from ..norms import norm
from .gradients import Apart, factor


def _flat(grads):
    given = arguments.array_list("grads", getattr(grads, "flat_gradients", grads))
    for k, array in enumerate(given):
        check(**{f"grads[{k}]": array})
        if isinstance(array, np.ndarray) and not array.flags.carray:
            raise ValueError(f"grads[{k}]: has to be a writeable, C-contiguous array, because it is changed in place")
    Apart(given, "grads")
    return [array.reshape(-1) for array in given if array.size]


def clip_grad_norm_(grads, max_norm):
    """Scale gradients so that their norm over all of them is at most *max_norm*; returns the norm before.

    A norm of NaN makes all gradients NaN, as in PyTorch. The norm is found where the sum of squares overflows, too.

    Parameters
    ----------
    grads : array, a list or dict of arrays, or a model, whose gradients are then clipped
    max_norm : positive number

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> g = np.array([3.0, 4.0])
    >>> nd.clip_grad_norm_(g, 1.0)
    5.0
    """
    arguments.number("max_norm", max_norm, above=True, finite=False)
    flat = _flat(grads)
    total = norm(flat) if flat else 0.0
    scale = factor(total, max_norm)
    if not scale >= 1:
        for a in flat:
            _run("scaled", a, a, a.dtype.type(scale))
    return total


def clip_grad_value_(grads, clip_value):
    """Limit every entry of the gradients to [-clip_value, clip_value], in place."""
    arguments.number("clip_value", clip_value, above=True, finite=False)
    for a in _flat(grads):
        _run("clipped", a, a, a.dtype.type(-clip_value), a.dtype.type(clip_value))


def _run(name, first, *rest):
    device = device_of(first)
    device.prepare(first.size)
    return device.kernel(name)(first, *rest)  # in place, so that a Map kernel has nothing to refuse
