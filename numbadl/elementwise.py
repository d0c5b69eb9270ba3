"""Running a map kernel over arrays of any layout: outputs, channels and random streams are sorted out here, once."""

import math
from dataclasses import dataclass

import numpy as np

from .arrays import (
    DEVICES,
    THREADS_FROM,
    check,
    check_axis,
    check_out,
    check_shape,
    device_of,
    flatten,
    is_plain,
    plain_out,
    rows_of,
    writeable,
)
from .interop.arrays import takes_any_array
from .kernels.cpu.map import REFUSED


@dataclass(frozen=True)
class Channels:
    """The operands by channel of one call: arrays of shape (C,) along *axis*, and how many sums are wanted."""

    axis: int
    count: int
    values: tuple
    sums: int = 0


def run_map(name, *operands):
    """Run a map kernel over flat arrays. It refuses, with nothing written, what overlaps in part."""
    if device_of(operands[0]).kernel(name)(*operands) == REFUSED:
        raise ValueError(f"{getattr(name, 'name', name)}: an array that is written to overlaps another one in part")


@takes_any_array
def elementwise(name, out=None, scalars=(), ordered=False, **inputs):
    """Run the map kernel *name* over inputs of one shape, after all checks; returns out. *ordered*: see `run_any`."""
    arrays = tuple(inputs.values())
    ready = plain_out(out, *arrays) if is_plain(*arrays) else None
    if ready is None:
        return run_any(name, inputs, (out,), scalars, ordered=ordered)[0][0]
    # The common case at the cost of some attribute look-ups, a microsecond in all.
    first, flat = arrays[0], [*arrays, ready]
    if first.ndim != 1:
        flat = [a.reshape(-1) for a in flat]
    if first.size:
        if first.size >= THREADS_FROM:
            DEVICES["cpu"].prepare(first.size)
        run_map(name, *flat, *typed(scalars, first.dtype))
    return ready


def run_any(name, inputs, outs=(None,), scalars=(), channels=None, ordered=False):
    """Run a map kernel over *inputs* (name -> array) of any one shape and layout, after all checks.

    *ordered* says that elements have numbers, in C order: those of a random stream.

    Returns
    -------
    outs : the outputs, new ones in place of None
    sums : array (number of sums, C), or None
    """
    if channels and (found := _run_plain(name, tuple(inputs.values()), outs, scalars, channels)):
        return found
    check(**inputs)
    (first_name, first), *others = inputs.items()
    for other, array in others:
        check_shape(other, array, first.shape, f"that of {first_name}")
    device = device_of(first)
    outs = tuple(_new_or_checked(out, first, device, inputs) for out in outs)
    _check_apart(outs)
    sums = _no_sums(channels, first) if channels else None
    if first.size:
        device.prepare(first.size)
        flat, order, pending = flatten(tuple(inputs.values()), outs, ordered)
        operands = [*flat, *typed(scalars, first.dtype)]
        if channels:
            inner = np.int64(_inner(first.shape, order, channels.axis) if channels.count > 1 else first.size)
            totals = [] if sums is None else [sums]
            operands[len(flat) : len(flat)] = [*channels.values, *totals]
            operands.append(inner)
        if device.kernel(name)(*operands) == REFUSED:
            raise RuntimeError(f"{getattr(name, 'name', name)}: refused operands that had been checked")
        for out, result in pending:
            np.copyto(out, result)
    return outs, sums


def _run_plain(name, arrays, outs, scalars, channels):
    """What `run_any` gives for one output and operands by channel, of plain arrays, after a few look-ups; None of others."""
    ready = plain_out(outs[0], *arrays) if len(outs) == 1 and is_plain(*arrays) else None
    if ready is None or ready.size == 0:
        return None
    inner, sums = math.prod(ready.shape[channels.axis + 1 :]) if channels.count > 1 else ready.size, None
    DEVICES["cpu"].prepare(ready.size)
    operands = [*(a.reshape(-1) for a in (*arrays, ready)), *channels.values]
    if channels.sums:
        sums = _no_sums(channels, ready)
        operands.append(sums)
    run_map(name, *operands, *typed(scalars, ready.dtype), np.int64(inner))
    return (ready,), sums


def _no_sums(channels, like):
    """An array for the sums over channels, or None."""
    return device_of(like).zeros((channels.sums, channels.count), like.dtype) if channels.sums else None


def reduced(name, *arrays, scalars=()):
    """The result of the reduce kernel *name* over arrays of one shape and any layout, as a float."""
    first, device = arrays[0], device_of(arrays[0])
    device.prepare(first.size)
    plain = is_plain(*arrays) or first.size == 0
    flat = [a.reshape(-1) if plain else rows_of(a.reshape(-1), -1).reshape(-1) for a in arrays]
    return float(device.kernel(name)(*flat, *typed(scalars, first.dtype)))


def typed(scalars, dtype):
    """Python numbers as numbers of *dtype*; NumPy's scalars stay what they are."""
    return [v if isinstance(v, np.generic) else dtype.type(v) for v in scalars]


def _new_or_checked(out, like, device, inputs):
    if out is not None:
        check_out(out, like, **inputs)
        return out
    return np.empty_like(like) if device.name == "cpu" else device.empty(like.shape, like.dtype)


def _check_apart(outs):
    for k, out in enumerate(outs):
        for other in outs[:k]:
            if out is other or (isinstance(out, np.ndarray) and np.shares_memory(out, other)):
                raise ValueError("out: two outputs share memory")


def _inner(shape, order, axis):
    """How many elements of memory in a row belong to one channel."""
    order = order or tuple(range(len(shape)))
    return math.prod(shape[a] for a in order[order.index(axis) + 1 :])


def by_channel(x, axis, sums=0, **parameters):
    """Numbers, and arrays of one value for each channel, as the `Channels` of a call on x."""
    device = device_of(x)
    given = {name: v for name, v in parameters.items() if getattr(v, "shape", ()) not in ((), (1,))}
    if not given:
        values = [_one_value(name, v, x, device) for name, v in parameters.items()]
        return Channels(0, 1, tuple(values), sums)
    axis = channel_axis(x, axis)
    count = x.shape[axis]
    for name, value in given.items():
        check(x=x, **{name: value})
        check_shape(name, value, (count,), f"one value for each channel of x, which lie along axis {axis}")
    values = []
    for name, value in parameters.items():
        if name not in given:
            value = device.from_host(np.full(count, _number(name, value), x.dtype))
        values.append(writeable(np.require(value, requirements="CA")) if isinstance(value, np.ndarray) else value)
    return Channels(axis, count, tuple(values), sums)


def like_parameter(total, value):
    """Sums over channels, (C,), in the shape in which the parameter *value* was given: one value for each, or one for all."""
    shape = getattr(value, "shape", ())
    if shape == total.shape or not isinstance(total, np.ndarray):
        return total
    return (total if total.size == 1 else total.sum()).reshape(shape)


def channel_axis(x, axis):
    """*axis* of x as a non-negative integer."""
    try:
        return check_axis(axis, x.ndim)
    except ValueError as error:
        raise ValueError(f"{error}; x has shape {x.shape}, and channels lie along that axis") from None


def _one_value(name, value, x, device):
    if getattr(value, "shape", ()) == (1,):
        check(x=x, **{name: value})
        return writeable(value) if isinstance(value, np.ndarray) else value
    return device.from_host(np.array([_number(name, value)], x.dtype))


def _number(name, value):
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number, np.ndarray)):
        raise TypeError(f"{name}: got {type(value).__name__}, accepted are numbers and arrays of one for each channel")
    return float(value)
