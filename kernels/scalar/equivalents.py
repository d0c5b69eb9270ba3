"""What `math`, NumPy and `scipy.special` call elementary functions, and ours, which vectorise and stay float32.

`EQUIVALENTS` has their functions, by the object, with ours beside them: what is in it is replaced where a user's function
calls it (`translate.py`). docs/own-activations.md has the same list in words.
"""

import math
import sys

import numpy as np

from . import math as ours
from .language import scalar
from .math import cos, log, log2, sin, softplus

LN_2, LOG10_OF_2 = math.log(2), math.log10(2)


@scalar
def larger(a, b):
    """Python's ``max(a, b)``: a, unless b > a."""
    return b if b > a else a


@scalar
def smaller(a, b):
    """Python's ``min(a, b)``: a, unless b < a."""
    return b if b < a else a


@scalar
def maximum(a, b):
    """NumPy's maximum: NaN if one of them is."""
    return a if a >= b else (a if a != a else b)


@scalar
def minimum(a, b):
    """NumPy's minimum: NaN if one of them is."""
    return a if a <= b else (a if a != a else b)


@scalar
def absolute(x):
    return abs(x)


@scalar
def sign(x):
    """-1, 0 or 1; NaN stays NaN."""
    return 1 if x > 0 else (-1 if x < 0 else x)


@scalar
def square(x):
    return x * x


@scalar
def reciprocal(x):
    return 1 / x


@scalar
def tan(x):
    return sin(x) / cos(x)


@scalar
def log10(x):
    return log2(x) * LOG10_OF_2


@scalar
def log_to_base(x, base):
    return log(x) / log(base)


@scalar
def logaddexp(a, b):
    """log(e^a + e^b), also for infinities."""
    return a + LN_2 if a == b else (a if a > b else b) + softplus(-abs(a - b))


def _table():
    same = ("exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "sin", "cos", "sinh", "cosh", "tanh", "erf", "erfc")
    found = {}
    for module in (math, np):
        found |= {getattr(module, n): getattr(ours, n) for n in same if hasattr(module, n)}
        found |= {module.tan: tan, module.log10: log10, module.fabs: absolute}
    found |= {math.atan: ours.atan, np.arctan: ours.atan, math.pow: ours.pow, np.power: ours.pow, pow: ours.pow}
    found |= {np.absolute: absolute, np.sign: sign, np.square: square, np.reciprocal: reciprocal}
    return found | {np.maximum: maximum, np.minimum: minimum, np.logaddexp: logaddexp}


EQUIVALENTS = _table()
SCIPY = {
    "erf": ours.erf, "erfc": ours.erfc, "expit": ours.sigmoid, "log_expit": ours.log_sigmoid, "ndtr": ours.normal_cdf,
    "expm1": ours.expm1, "log1p": ours.log1p, "exp2": ours.exp2,
}  # fmt: skip


def equivalent(function):
    """Our function for one of `math`, NumPy or `scipy.special`; None if there is none."""
    try:
        found = EQUIVALENTS.get(function)
    except TypeError:  # not hashable
        return None
    if found is None and (special := sys.modules.get("scipy.special")) is not None:
        found = next((mine for name, mine in SCIPY.items() if function is getattr(special, name, None)), None)
    return found
