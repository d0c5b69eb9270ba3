"""What a picture of an activation shows, from its record: parameters, the piece of the axis where it bends, points."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .functional import FUNCTIONS

_LOW, _HIGH = -5.0, 5.0  # shown where nothing else follows from f'
_FAR, _ENDLESS = 10.0, 8.0  # f' is looked at from -_FAR to _FAR; one that still varies beyond _ENDLESS has no end there
_TAIL = 0.02  # the part of the variation of f' that may lie outside at each end
_NARROW, _WIDE = 2.5, 5.5  # bends closer together are shown enlarged, bends farther out are shown as well
_STEPS = 300

# Parameters to show beside the default ones, where half and double of the first would look like it.
_SHOWN = {
    "leaky_relu": [(0.1,), (0.3,)],
    "prelu": [(-0.25,), (0.75,)],
    "soft_clipping": [(20.0,)],
    "squareplus": [(0.25,), (16.0,)],
    "srelu": [(-1.0, 0.2, 1.0, 0.2), (-2.0, -0.5, 2.0, 2.0)],
    "threshold": [(1.0, -1.0), (-2.0, 1.0)],
}


@dataclass(frozen=True)
class Variant:
    """One curve of an activation: its values for these parameters, on an even (0) or odd (1) channel."""

    label: str
    parameters: tuple = ()
    channel: int = 0


@dataclass(frozen=True)
class Curve:
    """Points of f and f' with NaN where a line has to break; (x, below, at, above) of f and of f' for each kink."""

    x: np.ndarray
    values: tuple
    kinks: tuple


def variants(record):
    """The curves to draw, the one for the default parameters first.

    >>> from numbadl.kernels.scalar.activations import ACTIVATIONS
    >>> [variant.label for variant in variants(ACTIVATIONS["elu"])]
    ['alpha = 1', 'alpha = 0.5', 'alpha = 2']
    """
    defaults = tuple(p.default for p in record.parameters)
    if record.alternating:
        return [Variant("even channels", defaults, 0), Variant("odd channels", defaults, 1)]
    if record.random:  # equal ends leave nothing to chance
        ends = [Variant(f"{p.name} = {p.default:.4g}", (p.default,) * len(defaults)) for p in record.parameters]
        return [Variant("mean of the random slopes", defaults), *ends]
    if not defaults:
        return [Variant("")]
    first, *rest = defaults
    others = [first / 2, 2 * first] if first else [-0.5, 0.5]
    shown = [defaults, *_SHOWN.get(record.name, [(value, *rest) for value in others])]
    varying = [k for k in range(len(defaults)) if len({parameters[k] for parameters in shown}) > 1]
    return [
        Variant(", ".join(f"{record.parameters[k].name} = {parameters[k]:.4g}" for k in varying), parameters)
        for parameters in shown
    ]


def of_parameters(entry, variant):
    """A record's entry that is a value or a function of the parameters."""
    return entry(*variant.parameters) if callable(entry) else entry


def evaluate(record, variant, x):
    """f and f' at the float32 numbers *x*."""
    function = FUNCTIONS[record.name]
    if record.alternating:
        x = np.stack([x, x], axis=1)
    found = [call(x, *variant.parameters) for call in (function, function.derivative)]
    return [y[:, variant.channel] for y in found] if record.alternating else found


def window(record):
    """(lowest, highest) x of a picture: -5 and 5, unless everything bends close together, or some of it beyond.

    >>> from numbadl.kernels.scalar.activations import ACTIVATIONS
    >>> window(ACTIVATIONS["silu"]), window(ACTIVATIONS["soft_clipping"])
    ((-5.0, 5.0), (-0.5, 1.5))
    """
    x = np.linspace(-_FAR, _FAR, 2001, dtype=np.float32)
    spans = [_span(x, evaluate(record, variant, x)[1]) for variant in variants(record)]
    if any(span is None for span in spans):
        return _LOW, _HIGH
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    width = high - low
    narrow = width < _NARROW and all(span[0] < span[1] for span in spans)  # a single bend looks the same at any scale
    if not narrow and max(-low, high) < _WIDE:
        return _LOW, _HIGH
    margin = 0.4 * width
    return round(2 * (low - margin)) / 2, round(2 * (high + margin)) / 2


def _span(x, slope):
    """Where f' varies, but for _TAIL at each end; None if nowhere, or if there is no end to it."""
    change = np.abs(np.diff(np.clip(slope.astype(np.float64), -_FAR, _FAR)))
    change = np.nan_to_num(change)
    total, between = change.sum(), (x[1:] + x[:-1]) / 2
    if total < 1e-6 or change[np.abs(between) > _ENDLESS].sum() > _TAIL / 2 * total:
        return None
    part = np.cumsum(change) / total
    return tuple(float(between[np.searchsorted(part, share)]) for share in (_TAIL, 1 - _TAIL))


def curve(record, variant, low, high):
    """The `Curve` from *low* to *high*."""
    kinks = [np.float32(k) for k in of_parameters(record.kinks, variant) if low < k < high]
    ends = np.float32([low, *kinks, high])
    pieces = []
    for k, (start, stop) in enumerate(pairwise(ends)):
        piece = np.linspace(start, stop, max(2, round(_STEPS * (stop - start) / (high - low))), dtype=np.float32)
        if k > 0:
            piece[0] = np.nextafter(start, np.float32(np.inf))
        if stop != ends[-1]:
            piece[-1] = np.nextafter(stop, np.float32(-np.inf))
        pieces += [piece, ends[k + 1 : k + 2]]
    x = np.concatenate(pieces[:-1])
    values = [y.copy() for y in evaluate(record, variant, x)]
    at = np.cumsum([piece.size for piece in pieces])[:-1:2]  # of the kinks in x
    marks = tuple(
        tuple((float(x[k]), float(y[k - 1]), float(y[k]), float(y[k + 1])) for k in at[: len(kinks)]) for y in values
    )
    for y, found in zip(values, marks, strict=True):
        for k, (_, below, _, above) in zip(at, found, strict=False):
            y[k] = np.nan if jumps(below, above) else y[k - 1]
    return Curve(x, tuple(values), marks)


def jumps(below, above):
    """Whether two neighbouring values are so far apart that a line must not join them."""
    return abs(above - below) > 1e-3
