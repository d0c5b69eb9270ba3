"""References for the elementary functions: the C library in float64 for float32, mpmath for float64, and the peers.

None of it calls the library under test. The float64 references are good to far better than a float32 ULP: those that
are not a single C function lose at most a few float64 ULP (the normal distribution: x^2 of them).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpmath import mp, mpf
from numba import njit

DIGITS = 40  # of mpmath's working precision


@dataclass(frozen=True)
class Elementary:
    """References of one function.

    Attributes
    ----------
    float64 : compiled function of float64 numbers
    exact : function of mpf numbers
    interesting : the interval in which float64 results are neither trivial nor out of range
    numpy, torch : the peers' names for it, where they have it
    """

    float64: Callable
    exact: Callable
    interesting: tuple
    numpy: str | None = None
    torch: str | None = None


@njit
def _sigmoid(x):
    e = math.exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e)


@njit
def _sech2(x):
    e = math.exp(-2 * abs(x))
    return 4 * e / (1 + e) ** 2


@njit
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))) if x == x else x


@njit
def _log_sigmoid(x):
    return min(x, 0.0) - math.log1p(math.exp(-abs(x))) if x == x else x


@njit
def _log(x):
    return math.log(x) if x > 0 else (-np.inf if x == 0 else np.nan)


@njit
def _log2(x):
    return math.log2(x) if x > 0 else (-np.inf if x == 0 else np.nan)


@njit
def _log1p(x):
    return math.log1p(x) if x > -1 else (-np.inf if x == -1 else np.nan)


@njit
def _sqrt(x):
    return math.sqrt(x) if x >= 0 else np.nan


@njit
def _rsqrt(x):
    return 1 / math.sqrt(x) if x > 0 else (math.copysign(np.inf, x) if x == 0 else np.nan)


@njit
def _normal_cdf(x):
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@njit
def _normal_pdf(x):
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@njit
def _gaussian(x):
    return math.exp(-x * x)


def _compiled(fn):
    """*fn* as `@njit` code; where the argument is inf the C function answers, not Python's exception."""
    return njit(lambda x: fn(x))


def _log_exact(log):
    return lambda x: log(x) if x > 0 else mpf("nan")


ELEMENTARY = {
    "exp": Elementary(_compiled(math.exp), mp.exp, (-745, 710), "exp", "exp"),
    "exp2": Elementary(njit(lambda x: 2.0**x), lambda x: mpf(2) ** x, (-1075, 1024), "exp2", "exp2"),
    "expm1": Elementary(_compiled(math.expm1), mp.expm1, (-40, 710), "expm1", "expm1"),
    "sinh": Elementary(_compiled(math.sinh), mp.sinh, (-710, 710), "sinh", "sinh"),
    "cosh": Elementary(_compiled(math.cosh), mp.cosh, (-710, 710), "cosh", "cosh"),
    "tanh": Elementary(_compiled(math.tanh), mp.tanh, (-20, 20), "tanh", "tanh"),
    "sech2": Elementary(_sech2, lambda x: mp.sech(x) ** 2, (-354, 354)),
    "sigmoid": Elementary(_sigmoid, lambda x: 1 / (1 + mp.exp(-x)), (-710, 40), None, "sigmoid"),
    "softplus": Elementary(_softplus, lambda x: mp.log1p(mp.exp(x)), (-709, 40), None, "nn.functional.softplus"),
    "log_sigmoid": Elementary(
        _log_sigmoid, lambda x: -mp.log1p(mp.exp(-x)), (-40, 709), None, "nn.functional.logsigmoid"
    ),
    "log": Elementary(_log, _log_exact(mp.log), (0, 10), "log", "log"),
    "log2": Elementary(_log2, _log_exact(lambda x: mp.log(x) / mp.log(2)), (0, 10), "log2", "log2"),
    "log1p": Elementary(_log1p, lambda x: mp.log1p(x) if x > -1 else mpf("nan"), (-1, 10), "log1p", "log1p"),
    "sqrt": Elementary(_sqrt, _log_exact(mp.sqrt), (0, 10), "sqrt", "sqrt"),
    "rsqrt": Elementary(_rsqrt, _log_exact(lambda x: 1 / mp.sqrt(x)), (0, 10), None, "rsqrt"),
    "erf": Elementary(_compiled(math.erf), mp.erf, (-6, 6), None, "erf"),
    "erfc": Elementary(_compiled(math.erfc), mp.erfc, (-6, 26.6), None, "erfc"),
    "normal_cdf": Elementary(_normal_cdf, lambda x: mp.erfc(-x / mp.sqrt(2)) / 2, (-37.6, 8.5), None, "special.ndtr"),
    "normal_pdf": Elementary(_normal_pdf, mp.npdf, (-37.6, 37.6)),
    "gaussian": Elementary(_gaussian, lambda x: mp.exp(-x * x), (-26.7, 26.7)),
    "atan": Elementary(_compiled(math.atan), mp.atan, (-20, 20), "arctan", "atan"),
    "sin": Elementary(_compiled(math.sin), mp.sin, (-100, 100), "sin", "sin"),
    "cos": Elementary(_compiled(math.cos), mp.cos, (-100, 100), "cos", "cos"),
}


def digits_for(name, x):
    """Decimal digits with which mpmath has to work so that the result is good to 30."""
    if name in ("sin", "cos") and x.size:
        return DIGITS + int(np.log10(max(np.abs(x).max(), 1)))
    return DIGITS + 10


FAR = {"sin", "cos", "atan", "log", "log2", "log1p", "sqrt", "rsqrt"}  # not at their limits for large numbers


def exact(name, x):
    """The function of each element of *x* (float64) as high + low, two float64 arrays."""
    fn, limit = ELEMENTARY[name].exact, ELEMENTARY[name].float64
    high, low = np.empty(x.size), np.zeros(x.size)
    with mp.workdps(digits_for(name, x)):
        for k, value in enumerate(x.tolist()):
            if value == 0 or not math.isfinite(value) or (abs(value) > 1e5 and name not in FAR):
                high[k] = limit(value)  # mpmath would compute thousands of digits, or raise
                continue
            result = fn(mpf(value))
            high[k] = float(result)
            low[k] = float(result - mpf(high[k])) if abs(high[k]) < np.inf else 0.0
    return high, low


def float64_inputs(name, count, rng):
    """Random float64 numbers: half of the function's interesting interval, half of any magnitude and sign."""
    low, high = ELEMENTARY[name].interesting
    inside = rng.uniform(low, high, count - count // 2)
    sizes = np.exp2(rng.uniform(-60, np.log2(max(abs(low), abs(high))) + 1, count // 2))
    return np.concatenate([inside, sizes * rng.choice([-1.0, 1.0], sizes.size)])


def float32_inputs(count, rng):
    """Random bit patterns: float32 numbers of any magnitude, infinities and NaN."""
    return rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


def ulps(actual, high, low):
    """Errors of *actual* in its units in the last place against high + low, and where it is wrong altogether.

    The unit is that of the exact result's binade. A result below the normal range has error 0 if it is off by at most
    the smallest normal number, and is wrong otherwise; so is a missing or unexpected infinity or NaN.
    """
    info = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        rounded = high.astype(actual.dtype)
        size = np.abs(high)
        unit = np.ldexp(1.0, np.frexp(np.where(np.isfinite(size) & (size > 0), size, 1.0))[1] - info.nmant - 1)
        difference = np.abs((actual.astype(np.float64) - high) - low)
        same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
        finite = np.isfinite(rounded) & np.isfinite(actual)
        normal = finite & (size >= float(info.tiny))
        error = np.where(normal, difference / unit, 0.0)
        wrong = ~same & ~normal & ~(finite & (difference <= float(info.tiny)))
    return error, wrong, normal
