"""Slow, obvious references: textbook formulas in high precision. Nothing here calls the library under test."""

from types import SimpleNamespace

import numpy as np
from mpmath import mp, mpf

DIGITS = 60  # of the working precision: naive formulas may cancel this much before float64 notices


# -- activations: name -> (f, f'), of a namespace of functions and a number of it ----------------------------------
def _sigmoid(m, x):
    return 1 / (1 + m.exp(-x))


def _silu_derivative(m, x):
    return _sigmoid(m, x) + x * _sigmoid(m, x) * _sigmoid(m, -x)


ACTIVATIONS = {
    "identity": (lambda m, x: x, lambda m, x: 1 + 0 * x),
    "sigmoid": (_sigmoid, lambda m, x: _sigmoid(m, x) * _sigmoid(m, -x)),
    "tanh": (lambda m, x: m.tanh(x), lambda m, x: m.sech(x) ** 2),
    "relu": (lambda m, x: m.where(x > 0, x, 0 * x), lambda m, x: m.where(x > 0, 1 + 0 * x, 0 * x)),
    "silu": (lambda m, x: x * _sigmoid(m, x), _silu_derivative),
}
EXACT = SimpleNamespace(exp=mp.exp, tanh=mp.tanh, sech=mp.sech, where=lambda condition, a, b: a if condition else b)
WIDE = SimpleNamespace(exp=np.exp, tanh=np.tanh, sech=lambda x: 1 / np.cosh(x), where=np.where)
KINKS = {"relu": (0.0,)}
# Limits at -inf and inf of f and f', which the formulas cannot be asked for.
LIMITS = {
    "identity": ((-np.inf, np.inf), (1, 1)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, np.inf), (0, 1)),
    "silu": ((0, np.inf), (0, 1)),
}


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


def activation(name, order, x, grad=None):
    """f (order 0) or f' (order 1) of each element of *x*, times *grad* if given."""
    fn, limits = ACTIVATIONS[name][order], LIMITS[name][order]
    high, low = np.empty(x.size), np.zeros(x.size)
    for k, value in enumerate(x.reshape(-1).tolist()):
        factor = 1.0 if grad is None else float(grad.reshape(-1)[k])
        if value != value or factor != factor:
            high[k] = np.nan
        elif abs(value) == np.inf:
            with np.errstate(invalid="ignore"):
                high[k] = np.float64(limits[value > 0]) * factor
        else:
            with mp.workdps(DIGITS):
                result = fn(EXACT, mpf(value)) * mpf(factor)
                high[k] = float(result)
                low[k] = float(result - mpf(high[k])) if abs(high[k]) < np.inf else 0.0
    return Exact(high.reshape(x.shape), low.reshape(x.shape))


def crosses_zero(name, order, x, within=0.5):
    """Where f (or f') has a zero crossing near, away from the origin: relative accuracy is not asked for there."""
    fn = ACTIVATIONS[name][order]

    def crosses(value):
        with mp.workdps(DIGITS):
            return (
                abs(value) > 0.5
                and abs(value) < 1e6
                and fn(EXACT, mpf(value - within)) * fn(EXACT, mpf(value + within)) < 0
            )

    return np.array([crosses(v) for v in x.reshape(-1).tolist()], bool).reshape(x.shape)


def activation_of_many(name, order, x, within=0.5):
    """f or f' of finite float32 numbers, in the widest floats that the machine has; and where `crosses_zero` holds."""
    fn, wide = ACTIVATIONS[name][order], x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        result = fn(WIDE, wide)
        crossing = (np.abs(wide) > 0.5) & (fn(WIDE, wide - within) * fn(WIDE, wide + within) < 0)
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


def mse(prediction, target):
    return np.mean((prediction.astype(np.longdouble) - target) ** 2)


def binary_cross_entropy(logits, target):
    """-mean(t log s(x) + (1 - t) log s(-x)), each logarithm of a sigmoid as -log(1 + e^-x)."""
    x, t = logits.astype(np.longdouble), target.astype(np.longdouble)
    return np.mean(t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x))


def cross_entropy(logits, labels):
    return -np.mean(log_softmax(logits)[np.arange(len(labels)), labels])


LOSSES = {"mse": mse, "binary_cross_entropy": binary_cross_entropy, "cross_entropy": cross_entropy}


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
