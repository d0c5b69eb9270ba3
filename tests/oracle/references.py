"""Slow, obvious references: textbook formulas in high precision. Nothing here calls the library under test."""

import math

import numpy as np
from formulas import ACTIVATIONS, EXACT, KINKS, LIMITS, WIDE, of_parameters
from mpmath import mp, mpf

__all__ = ["ACTIVATIONS", "EXACT", "KINKS", "LIMITS", "WIDE", "of_parameters"]
DIGITS = 60  # of the working precision for numbers near 1: naive formulas may cancel this much before float64 notices


class Exact:
    """Numbers beyond float64: the nearest float64 and what it lacks."""

    def __init__(self, high, low):
        self.high, self.low = high, low

    def reshape(self, shape):
        return Exact(self.high.reshape(shape), self.low.reshape(shape))

    def tile(self, size):
        return Exact(np.resize(self.high, size), np.resize(self.low, size))

    def ulps(self, actual, scale=1.0):
        """The error of *actual* in units in the last place of its dtype; inf where a NaN or an infinity is wrong.

        Where the result is below the normal range (times *scale*, which it was multiplied by), it may be off by the
        smallest normal number (times *scale*).
        """
        info, actual64 = np.finfo(actual.dtype), actual.astype(np.float64)
        floor = float(info.tiny) * np.asarray(scale)
        size = np.maximum(np.abs(self.high), float(info.tiny))
        with np.errstate(invalid="ignore", over="ignore"):
            rounded = self.high.astype(actual.dtype)
            unit = 2.0 ** np.floor(np.log2(np.where(np.isfinite(size), size, 1))) * float(info.eps)
            error = np.abs((actual64 - self.high) - self.low)
            wrong = np.where(np.abs(self.high) < floor, np.where(error <= floor, 0, np.inf), error / unit)
        special = ~np.isfinite(rounded) | ~np.isfinite(actual64)
        same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
        return np.where(special, np.where(same, 0.0, np.inf), wrong)


def digits_for(value):
    """Digits with which naive formulas are right: x - tanh x loses those of x^2, log cosh x twice as many."""
    return DIGITS + (3 * math.ceil(abs(math.log10(abs(value)))) if value else 0)


def _exact(fn, value, *parameters):
    with mp.workdps(digits_for(value)):
        return +fn(EXACT, mpf(value), *(mpf(p) for p in parameters))


def activation(name, order, x, grad=None, parameters=()):
    """f (order 0) or f' (order 1) of each element of *x*, times *grad* if given; *parameters* are Python floats."""
    return _each(
        lambda value: _exact(ACTIVATIONS[name][order], value, *parameters),
        np.float64(of_parameters(LIMITS[name], parameters)[order]),
        x,
        grad,
    )


def _each(fn, limits, x, grad):
    high, low = np.empty(x.size), np.zeros(x.size)
    for k, value in enumerate(x.reshape(-1).tolist()):
        factor = 1.0 if grad is None else float(grad.reshape(-1)[k])
        if value != value or factor != factor:
            high[k] = np.nan
        elif abs(value) == np.inf:
            with np.errstate(invalid="ignore"):
                high[k] = limits[int(value > 0)] * factor
        else:
            with mp.workdps(DIGITS):
                result = fn(value) * mpf(factor)
                high[k] = float(result)
                low[k] = float(result - mpf(high[k])) if abs(high[k]) < np.inf else 0.0
    return Exact(high.reshape(x.shape), low.reshape(x.shape))


def difference(name, x, parameters=(), by=None):
    """The central difference of f at each (finite) element of *x*, good to 25 digits: by x, or by parameter *by*."""

    def quotient(value):
        with mp.workdps(digits_for(value) + 40):
            step = mpf(10) ** -30 * (1 if by is not None else max(abs(mpf(value)), mpf(10) ** -300))
            at = [mpf(value), *(mpf(p) for p in parameters)]
            moved = 0 if by is None else by + 1
            above, below = ([*at[:moved], at[moved] + d, *at[moved + 1 :]] for d in (step, -step))
            f = ACTIVATIONS[name][0]
            return (f(EXACT, *above) - f(EXACT, *below)) / (2 * step)

    return _each(quotient, (np.nan, np.nan), x, None)


def crosses_zero(name, order, x, within=0.5, parameters=()):
    """Where f (or f') has a zero crossing near, away from the origin: relative accuracy is not asked for there."""
    fn = ACTIVATIONS[name][order]

    def crosses(value):
        if not 0 < abs(value) < 1e6:
            return False
        for width in (within, within / 2, within / 5):  # a kink may hide it from the wider interval
            ends = max(abs(value) - width, abs(value) / 2), abs(value) + width
            before, behind = (_exact(fn, math.copysign(end, value), *parameters) for end in ends)
            if before * behind < 0:
                return True
        return False

    return np.array([crosses(v) for v in x.reshape(-1).tolist()], bool).reshape(x.shape)


def activation_of_many(name, order, x, within=0.5, parameters=()):
    """f or f' of finite float32 numbers, in the widest floats that the machine has; and where `crosses_zero` holds."""
    fn, wide = ACTIVATIONS[name][order], x.astype(np.longdouble)
    parameters = [np.longdouble(p) for p in parameters]
    with np.errstate(all="ignore"):
        result = fn(WIDE, wide, *parameters)
        size, crossing = np.abs(wide), np.zeros(x.shape, bool)
        for width in (within, within / 2, within / 5):
            ends = (np.maximum(size - width, size / 2), size + width)
            crossing |= np.prod([fn(WIDE, np.copysign(end, wide), *parameters) for end in ends], axis=0) < 0
    high = result.astype(np.float64)
    return Exact(high, (result - high).astype(np.float64)), crossing


# -- random numbers ------------------------------------------------------------------------------------------------
def philox(counter, key):
    """Philox4x32-10 as its authors print it: four 32-bit words from a counter of four and a key of two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (product1 >> 32) ^ c[1] ^ k[0],
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c[3] ^ k[1],
            product0 & 0xFFFFFFFF,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(c)


def random_bits(element, seed, offset):
    """The 32 bits of one element: word (e // 256) % 4 of the counter (e // 1024) * 256 + e % 256."""
    counter = element // 1024 * 256 + element % 256
    words = philox(
        (counter & 0xFFFFFFFF, counter >> 32, offset & 0xFFFFFFFF, offset >> 32), (seed & 0xFFFFFFFF, seed >> 32)
    )
    return words[element // 256 % 4]


def dropout_mask(elements, p, seed, offset):
    """True where an element is kept: its bits, as a fraction of 2**32, reach p."""
    return np.array([random_bits(e, seed, offset) >= round(p * 2**32) for e in elements])


# -- rows, losses, normalisation: float64, or wider where the machine has it ---------------------------------------
def softmax(x, axis=-1):
    with np.errstate(invalid="ignore"):
        e = np.exp(x.astype(np.longdouble) - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = x.astype(np.longdouble) - x.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def batch_norm(x, weight, bias, mean=None, var=None, eps=1e-5):
    """(y, mean, biased variance); with *mean* and *var* given they are used."""
    x = x.astype(np.longdouble)
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axis=axes) if mean is None else mean.astype(np.longdouble)
    var = ((x - mean.reshape(shape)) ** 2).mean(axis=axes) if var is None else var.astype(np.longdouble)
    y = (x - mean.reshape(shape)) / np.sqrt(var + np.longdouble(eps)).reshape(shape)
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)), mean, var


def batch_norm_gradient(grad, x, weight, mean, var, training, eps=1e-5):
    """(dx, dweight, dbias), where *mean* and *var* are those of the batch in training, and constants otherwise."""
    grad, axes, n = grad.astype(np.longdouble), (0, *range(2, x.ndim)), x.size // x.shape[1]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, rstd = mean.reshape(shape), 1 / np.sqrt(var + np.longdouble(eps)).reshape(shape)
    normalized = (x - mean) * rstd
    dweight, dbias = (grad * normalized).sum(axis=axes), grad.sum(axis=axes)
    through_statistics = (dbias.reshape(shape) + normalized * dweight.reshape(shape)) / n
    inner = grad - through_statistics if training else grad
    return inner * rstd * (1 if weight is None else weight.reshape(shape)), dweight, dbias


def row_norm(x, weight, bias, eps, centred=True):
    """(y, mean, 1 / std) of each row of a matrix, whose weight and bias are matrices, too; not *centred*: without a mean."""
    x, eps = x.astype(np.longdouble), np.longdouble(eps)
    mean = x.mean(axis=1, keepdims=True) * centred
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + eps)
    return (x - mean) * rstd * weight + bias, mean, rstd


def row_norm_gradient(grad, x, weight, eps, centred=True):
    """(dx, terms of dweight, terms of dbias), matrices, by the chain rule: through x - mean and through 1 / std."""
    normalized, _, rstd = row_norm(x, 1, 0, eps, centred)
    inner = grad.astype(np.longdouble) * weight
    through_rstd = -((inner * normalized).mean(axis=1, keepdims=True)) * normalized
    through_mean = -inner.mean(axis=1, keepdims=True) * centred
    return rstd * (inner + through_mean + through_rstd), grad * normalized, grad.astype(np.longdouble)


# -- losses: each term of an element, and its slope ------------------------------------------------------------------
def _pieces(d, bend, inside, outside):
    """*inside* up to a size of d of *bend*, *outside* from there on."""
    return np.where(np.abs(d) < bend, inside(d), outside(d))


def _binary_terms(x, t, pos_weight=1.0):
    """-w t log s(x) - (1 - t) log s(-x), each logarithm of a sigmoid as -log(1 + e^-x)."""
    return pos_weight * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)


def _binary_slopes(x, t, pos_weight=1.0):
    return (1 - t) / (1 + np.exp(-x)) - pos_weight * t / (1 + np.exp(x))


def _kl_terms(p, t, log_target=False):
    log_t = t if log_target else np.log(t)
    return np.where(np.exp(log_t) == 0, 0, np.exp(log_t) * (np.where(np.isinf(log_t), 0, log_t) - p))


def _hinge_slopes(p, t, squared=False):
    return np.where(t * p < 1, -t * (2 * (1 - t * p) if squared else 1), 0)


ELEMENT_LOSSES = {
    "mse": (lambda p, t: (p - t) ** 2, lambda p, t: 2 * (p - t)),
    "mae": (lambda p, t: np.abs(p - t), lambda p, t: np.sign(p - t)),
    "huber": (
        lambda p, t, delta=1.0: _pieces(p - t, delta, lambda d: d * d / 2, lambda d: delta * np.abs(d) - delta**2 / 2),
        lambda p, t, delta=1.0: np.clip(p - t, -delta, delta),
    ),
    "smooth_l1": (
        lambda p, t, beta=1.0: _pieces(p - t, beta, lambda d: d * d / (2 * beta), lambda d: np.abs(d) - beta / 2),
        lambda p, t, beta=1.0: np.clip((p - t) / beta, -1, 1),
    ),
    "binary_cross_entropy": (_binary_terms, _binary_slopes),
    "hinge": (lambda p, t, squared=False: np.maximum(1 - t * p, 0) ** (2 if squared else 1), _hinge_slopes),
    "kl_div": (_kl_terms, lambda p, t, log_target=False: -(np.exp(t) if log_target else t)),
}
MEAN_OVER_ELEMENTS = ("huber", "binary_cross_entropy")  # whatever `weight` is, as in PyTorch
CLASS_LOSSES = ("cross_entropy", "nll")
LOSSES = (*ELEMENT_LOSSES, *CLASS_LOSSES)


def loss(name, prediction, target, reduction="mean", grad=1, **options):
    """(value, gradient) of a loss from its terms, each written down in full, in the widest floats."""
    x = prediction.astype(np.longdouble)
    with np.errstate(all="ignore"):
        by_element = name in ELEMENT_LOSSES
        terms, slopes, counts = (_element_loss if by_element else _class_loss)(name, x, target, **options)
        divisor = {"mean": counts.sum(), "batchmean": math.prod(x.shape[:1])}.get(reduction, 1)
        factors = np.broadcast_to(grad, terms.shape) / np.longdouble(divisor)
        return (terms if reduction == "none" else terms.sum() / divisor), slopes * (
            factors if by_element else np.expand_dims(factors, 1)
        )


def _by_sample(sample_weight, shape):
    return np.broadcast_to(np.reshape(sample_weight, (-1,) + (1,) * (len(shape) - 1)), shape)


def _element_loss(name, x, target, weight=None, sample_weight=None, **options):
    term, slope = ELEMENT_LOSSES[name]
    t = target.astype(np.longdouble)
    factors, counts = np.ones(x.shape, np.longdouble), np.ones(x.shape, np.longdouble)
    if weight is not None:
        factors = factors * weight
        counts = counts if name in MEAN_OVER_ELEMENTS else counts * weight
    if sample_weight is not None:
        factors, counts = (a * _by_sample(sample_weight, x.shape) for a in (factors, counts))
    return factors * term(x, t, **options), factors * slope(x, t, **options), counts


def _class_loss(name, x, target, weight=None, sample_weight=None, ignore_index=-100, label_smoothing=0.0):
    """Labels as probabilities of classes: a one in a row of zeros, or zeros only where the label is ignored."""
    classes, positions = x.shape[1], (x.shape[0], *x.shape[2:])
    weights = np.ones(classes) if weight is None else np.asarray(weight)
    per_class = weights.reshape(-1, *[1] * (x.ndim - 2)).astype(np.longdouble)
    counts = np.ones(positions, np.longdouble)
    kept = np.ones(positions, bool)
    if target.dtype.kind in "iu":
        kept = target != ignore_index
        shares = np.zeros(x.shape, np.longdouble)
        for index in np.argwhere(kept):
            n, *rest = index
            shares[(n, target[tuple(index)], *rest)] = 1
            counts[tuple(index)] = weights[target[tuple(index)]]
        counts[~kept] = 0
    else:
        shares = target.astype(np.longdouble)
    shares = per_class * ((1 - label_smoothing) * shares + np.longdouble(label_smoothing) / classes)
    factors = np.ones(positions) if sample_weight is None else _by_sample(sample_weight, positions)
    shares = shares * np.expand_dims(np.where(kept, factors, 0), 1)
    logs = log_softmax(x, 1) if name == "cross_entropy" else x
    terms = -np.where(shares == 0, 0, shares * logs).sum(axis=1)
    slopes = -shares if name == "nll" else shares.sum(axis=1, keepdims=True) * softmax(x, 1) - shares
    return terms, np.where(np.expand_dims(kept, 1), slopes, 0), counts * factors


def cross_entropy(logits, labels):
    return loss("cross_entropy", logits, labels)[0]


def binary_cross_entropy(logits, target):
    return loss("binary_cross_entropy", logits, target)[0]


def numeric_gradient(fn, x, step=1e-6):
    """Central differences of the scalar *fn* with respect to every element of the float64 array *x*, in place."""
    gradient = np.empty(x.shape)
    flat, out = x.reshape(-1), gradient.reshape(-1)
    assert np.shares_memory(flat, x)
    for k in range(flat.size):
        before = flat[k]
        flat[k] = before + step
        above = fn()
        flat[k] = before - step
        out[k] = (above - fn()) / (2 * step)
        flat[k] = before
    return gradient
