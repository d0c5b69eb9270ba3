"""The activations as their papers print them: formulas of a namespace of functions *m*, a number x and parameters.

Nothing here calls the library under test. The namespaces are EXACT (mpmath) and WIDE (NumPy's longdouble). A form that
cancels is kept, because the working precision is high, but for log(1 + y) and e^y - 1, which would need hundreds of digits.
"""

from types import SimpleNamespace

import numpy as np
from mpmath import mp, mpf
from scipy import special

INF, NAN = np.inf, np.nan


def _log(x):
    return mp.log(x) if x > 0 else mpf("nan")


def _erfc(x):
    return mp.erfc(x) if abs(x) < 10**4 else mpf(0 if x > 0 else 2)


EXACT = SimpleNamespace(
    exp=mp.exp, expm1=mp.expm1, log=_log, log1p=mp.log1p, tanh=mp.tanh, sech=mp.sech, cosh=mp.cosh, sin=mp.sin, cos=mp.cos,
    atan=mp.atan, sqrt=mp.sqrt, erfc=_erfc, number=mpf, pi=lambda: +mp.pi, where=lambda condition, a, b: a if condition else b,
)  # fmt: skip
WIDE = SimpleNamespace(
    exp=np.exp, expm1=np.expm1, log=np.log, log1p=np.log1p, tanh=np.tanh, sech=lambda x: 1 / np.cosh(x), cosh=np.cosh,
    sin=np.sin, cos=np.cos, atan=np.arctan, sqrt=np.sqrt, erfc=lambda x: special.erfc(x.astype(np.float64)), number=np.longdouble,
    pi=lambda: 4 * np.arctan(np.longdouble(1)), where=np.where,
)  # fmt: skip


def _sigmoid(m, x):
    return 1 / (1 + m.exp(-x))


def _step(m, x):
    return m.where(x > 0, 1 + 0 * x, 0 * x)


def _relu(m, x):
    return m.where(x > 0, x, 0 * x)


def _between(m, x, low, high, inside):
    """*inside* for low < x < high, otherwise 0."""
    return m.where(x > low, m.where(x < high, inside, 0 * x), 0 * x)


def _clip(m, x, low, high):
    return m.where(x < low, low + 0 * x, m.where(x > high, high + 0 * x, x))


def _leaky(m, x, slope):
    return m.where(x > 0, x, slope * x)


def _leaky_derivative(m, x, slope):
    return m.where(x > 0, 1 + 0 * x, slope + 0 * x)


def _swish(m, x, beta):
    return x * _sigmoid(m, beta * x)


def _swish_derivative(m, x, beta):
    return _sigmoid(m, beta * x) + beta * x * _sigmoid(m, beta * x) * _sigmoid(m, -beta * x)


def _sqnl(m, x):
    c = _clip(m, x, -2, 2)
    return m.where(x < 0, c + c * c / 4, c - c * c / 4)


def _sqnl_derivative(m, x):
    return _between(m, x, -2, 2, m.where(x < 0, 1 + x / 2, 1 - x / 2))


def _elu(m, x, alpha):
    return m.where(x > 0, x, alpha * m.expm1(_clip(m, x, -INF, 0)))


def _elu_derivative(m, x, alpha):
    return m.where(x > 0, 1 + 0 * x, alpha * m.exp(_clip(m, x, -INF, 0)))


def _soft_exponential(m, x, alpha):
    if alpha == 0:
        return x
    return -m.log(1 - alpha * (x + alpha)) / alpha if alpha < 0 else m.expm1(alpha * x) / alpha + alpha


def _soft_exponential_derivative(m, x, alpha):
    if alpha < 0:
        d = 1 - alpha * (alpha + x)
        return m.where(d > 0, 1 / m.where(d == 0, 1, d), m.number("nan"))
    return m.exp(alpha * x)


def _soft_exponential_limits(alpha):
    if alpha == 0:
        return (-INF, INF), (1, 1)
    return ((NAN, INF), (NAN, 0)) if alpha < 0 else ((alpha - 1 / alpha, INF), (0, INF))


def _soft_clipping(m, x, alpha):
    far = x > 2  # symmetric about (1/2, 1/2): exp(alpha x) itself may be out of range
    near = m.where(far, 1 - x, x)
    y = m.log((1 + m.exp(alpha * near)) / (1 + m.exp(alpha * (near - 1)))) / alpha
    return m.where(far, 1 - y, y)


def _soft_clipping_derivative(m, x, alpha):
    return _sigmoid(m, alpha * x) - _sigmoid(m, alpha * (x - 1))


def _softplus(m, x, beta, threshold):
    return m.where(beta * x > threshold, x, m.log1p(m.exp(_clip(m, beta * x, -INF, threshold))) / beta)


def _softplus_derivative(m, x, beta, threshold):
    return m.where(beta * x > threshold, 1 + 0 * x, _sigmoid(m, beta * x))


def _hardswish_derivative(m, x):
    return m.where(x >= 3, 1 + 0 * x, _between(m, x, -3, 3, (2 * x + 3) / 6))


def _gelu(m, x):
    return x * m.erfc(-x / m.sqrt(m.number(2))) / 2


def _gelu_derivative(m, x):
    root2 = m.sqrt(m.number(2))
    return m.erfc(-x / root2) / 2 + x * m.exp(-x * x / 2) / (root2 * m.sqrt(m.pi()))


def _gelu_tanh_argument(m, x):
    """(1 + tanh u)/2 is sigma(2 u)."""
    return 2 * m.sqrt(2 / m.pi()) * (x + m.number("0.044715") * x**3)


def _gelu_tanh_derivative(m, x):
    v = _gelu_tanh_argument(m, x)
    slope = 2 * m.sqrt(2 / m.pi()) * (1 + 3 * m.number("0.044715") * x**2)
    return _sigmoid(m, v) + x * slope * _sigmoid(m, v) * _sigmoid(m, -v)


def _mish(m, x):
    return x * m.tanh(m.log1p(m.exp(_clip(m, x, -INF, 1000)))) if m is EXACT else x * m.tanh(np.logaddexp(0, x))


def _mish_derivative(m, x):
    softplus = m.log1p(m.exp(_clip(m, x, -INF, 1000))) if m is EXACT else np.logaddexp(0, x)
    return m.tanh(softplus) + x * m.sech(softplus) ** 2 * _sigmoid(m, x)


def _selu_constants(m):
    return m.number("1.0507009873554804934193349852946"), m.number("1.6732632423543772848170429916717")


def _selu(m, x):
    scale, alpha = _selu_constants(m)
    return scale * _elu(m, x, alpha)


def _selu_derivative(m, x):
    scale, alpha = _selu_constants(m)
    return scale * _elu_derivative(m, x, alpha)


def _sparse_plus(m, x):
    return m.where(x >= 1, x, _between(m, x, -1, 1, (x + 1) ** 2 / 4))


def _sinc(m, x):
    return m.where(x == 0, 1 + 0 * x, m.sin(x) / m.where(x == 0, 1, x))


def _sinc_derivative(m, x):
    d = m.where(x == 0, 1, x)
    return m.where(x == 0, 0 * x, (d * m.cos(d) - m.sin(d)) / d**2)


def _isru(m, x, alpha):
    return x / m.sqrt(1 + alpha * x**2)


def _isru_derivative(m, x, alpha):
    return (1 / m.sqrt(1 + alpha * x**2)) ** 3


def _elish(m, x):
    return m.where(x >= 0, x, m.expm1(_clip(m, x, -INF, 0))) * _sigmoid(m, x)


def _elish_derivative(m, x):
    negative, s = _clip(m, x, -INF, 0), _sigmoid(m, x)
    below = m.exp(negative) * s + m.expm1(negative) * s * _sigmoid(m, -x)
    return m.where(x >= 0, _swish_derivative(m, x, 1), below)


def _hard_elish(m, x):
    return m.where(x >= 0, x, m.expm1(_clip(m, x, -INF, 0))) * _clip(m, (x + 1) / 2, 0, 1)


def _hard_elish_derivative(m, x):
    negative = _clip(m, x, -INF, 0)
    below = m.exp(negative) * (x + 1) / 2 + m.expm1(negative) / 2
    return m.where(x >= 1, 1 + 0 * x, _between(m, x, -1, 1, m.where(x >= 0, x + m.number("0.5"), below)))


def _srelu(m, x, t_left, a_left, t_right, a_right):
    middle = m.where(x <= t_left, t_left + a_left * (x - t_left), x)
    return m.where(x >= t_right, t_right + a_right * (x - t_right), middle)


def _srelu_derivative(m, x, t_left, a_left, t_right, a_right):
    return m.where(x >= t_right, a_right + 0 * x, m.where(x <= t_left, a_left + 0 * x, 1 + 0 * x))


# name -> (f, f'), of a namespace, a number of it, and parameters. The parameter of brelu is the sign of the channel,
# that of rrelu the slope that was drawn.
ACTIVATIONS = {
    "identity": (lambda m, x: x, lambda m, x: 1 + 0 * x),
    "binary_step": (lambda m, x: m.where(x >= 0, 1 + 0 * x, 0 * x), lambda m, x: 0 * x),
    "sigmoid": (_sigmoid, lambda m, x: _sigmoid(m, x) * _sigmoid(m, -x)),
    "tanh": (lambda m, x: m.tanh(x), lambda m, x: m.sech(x) ** 2),
    "softsign": (lambda m, x: x / (1 + abs(x)), lambda m, x: 1 / (1 + abs(x)) ** 2),
    "sqnl": (_sqnl, _sqnl_derivative),
    "relu": (_relu, _step),
    "brelu": (lambda m, x, sign: sign * _relu(m, sign * x), lambda m, x, sign: _step(m, sign * x)),
    "leaky_relu": (_leaky, _leaky_derivative),
    "prelu": (_leaky, _leaky_derivative),
    "rrelu": (_leaky, _leaky_derivative),
    "elu": (_elu, _elu_derivative),
    "bent_identity": (
        lambda m, x: (m.sqrt(x**2 + 1) - 1) / 2 + x,
        lambda m, x: x / (2 * m.sqrt(x**2 + 1)) + 1,
    ),
    "silu": (lambda m, x: _swish(m, x, 1), lambda m, x: _swish_derivative(m, x, 1)),
    "soft_exponential": (_soft_exponential, _soft_exponential_derivative),
    "soft_clipping": (_soft_clipping, _soft_clipping_derivative),
    "relu6": (lambda m, x: _clip(m, x, 0, 6), lambda m, x: _between(m, x, 0, 6, 1 + 0 * x)),
    "hardtanh": (_clip, lambda m, x, low, high: _between(m, x, low, high, 1 + 0 * x)),
    "hardsigmoid": (
        lambda m, x: _clip(m, x + 3, 0, 6) / 6,
        lambda m, x: _between(m, x, -3, 3, m.number(1) / 6 + 0 * x),
    ),
    "hardswish": (lambda m, x: x * _clip(m, x + 3, 0, 6) / 6, _hardswish_derivative),
    "softplus": (_softplus, _softplus_derivative),
    "logsigmoid": (lambda m, x: -m.log1p(m.exp(-x)), lambda m, x: _sigmoid(m, -x)),
    "gelu": (_gelu, _gelu_derivative),
    "gelu_tanh": (lambda m, x: x * _sigmoid(m, _gelu_tanh_argument(m, x)), _gelu_tanh_derivative),
    "mish": (_mish, _mish_derivative),
    "selu": (_selu, _selu_derivative),
    "celu": (
        lambda m, x, alpha: _elu(m, x / alpha, 1) * alpha,
        lambda m, x, alpha: _elu_derivative(m, x / alpha, 1),
    ),
    "hardshrink": (
        lambda m, x, lambd: m.where(abs(x) > lambd, x, 0 * x),
        lambda m, x, lambd: m.where(abs(x) > lambd, 1 + 0 * x, 0 * x),
    ),
    "softshrink": (
        lambda m, x, lambd: m.where(abs(x) > lambd, x - m.where(x > 0, lambd, -lambd), 0 * x),
        lambda m, x, lambd: m.where(abs(x) > lambd, 1 + 0 * x, 0 * x),
    ),
    "tanhshrink": (lambda m, x: x - m.tanh(x), lambda m, x: m.tanh(x) ** 2),
    "threshold": (
        lambda m, x, threshold, value: m.where(x > threshold, x, value + 0 * x),
        lambda m, x, threshold, value: _step(m, x - threshold),
    ),
    "squareplus": (
        lambda m, x, b: (x + m.sqrt(x**2 + b)) / 2,
        lambda m, x, b: (1 + x / m.sqrt(x**2 + b)) / 2,
    ),
    "sparse_plus": (_sparse_plus, lambda m, x: (_clip(m, x, -1, 1) + 1) / 2),
    "sparse_sigmoid": (
        lambda m, x: (_clip(m, x, -1, 1) + 1) / 2,
        lambda m, x: _between(m, x, -1, 1, m.number("0.5") + 0 * x),
    ),
    "exponential": (lambda m, x: m.exp(x), lambda m, x: m.exp(x)),
    "arctan": (lambda m, x: m.atan(x), lambda m, x: 1 / (1 + x**2)),
    "gaussian": (lambda m, x: m.exp(-(x**2)), lambda m, x: -2 * x * m.exp(-(x**2))),
    "sin": (lambda m, x: m.sin(x), lambda m, x: m.cos(x)),
    "sinc": (_sinc, _sinc_derivative),
    "snake": (
        lambda m, x, alpha: x + m.sin(alpha * x) ** 2 / alpha,
        lambda m, x, alpha: 1 + m.sin(2 * alpha * x),
    ),
    "isru": (_isru, _isru_derivative),
    "isrlu": (
        lambda m, x, alpha: m.where(x >= 0, x, _isru(m, x, alpha)),
        lambda m, x, alpha: m.where(x >= 0, 1 + 0 * x, _isru_derivative(m, x, alpha)),
    ),
    "quick_gelu": (
        lambda m, x: _swish(m, x, m.number("1.702")),
        lambda m, x: _swish_derivative(m, x, m.number("1.702")),
    ),
    "relu_squared": (lambda m, x: _relu(m, x) ** 2, lambda m, x: 2 * _relu(m, x)),
    "star_relu": (
        lambda m, x, scale, bias: scale * _relu(m, x) ** 2 + bias,
        lambda m, x, scale, bias: 2 * scale * _relu(m, x),
    ),
    "elish": (_elish, _elish_derivative),
    "hard_elish": (_hard_elish, _hard_elish_derivative),
    "log_cosh": (lambda m, x: m.log(m.cosh(x)), lambda m, x: m.tanh(x)),
    "srelu": (_srelu, _srelu_derivative),
}

# Where f' jumps (or f itself); of the parameters where it depends on them.
KINKS = {
    **dict.fromkeys(["binary_step", "relu", "brelu", "leaky_relu", "prelu", "rrelu", "selu"], (0.0,)),
    "elu": lambda alpha: () if alpha == 1 else (0.0,),
    "relu6": (0.0, 6.0),
    "hardtanh": lambda low, high: (low, high),
    "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, 3.0),
    "softplus": lambda beta, threshold: (threshold / beta,),
    "hardshrink": lambda lambd: (-lambd, lambd),
    "softshrink": lambda lambd: (-lambd, lambd),
    "threshold": lambda threshold, value: (threshold,),
    "sparse_sigmoid": (-1.0, 1.0),
    "hard_elish": (-1.0, 1.0),
    "srelu": lambda t_left, a_left, t_right, a_right: (t_left, t_right),
}

# Limits at -inf and inf of f and f', which the formulas cannot be asked for; of the parameters where they depend on them.
_RECTIFIER = ((0, INF), (0, 1))
_SIGMOID = ((0, 1), (0, 0))
_ODD_SIGMOID = ((-1, 1), (0, 0))
_LINE = ((-INF, INF), (1, 1))
_ROOT_2 = 2**0.5
LIMITS = {
    **dict.fromkeys(
        ["relu", "silu", "hardswish", "gelu", "gelu_tanh", "mish", "sparse_plus", "quick_gelu", "elish", "hard_elish"],
        _RECTIFIER,
    ),
    **dict.fromkeys(["binary_step", "sigmoid", "hardsigmoid", "sparse_sigmoid"], _SIGMOID),
    **dict.fromkeys(["tanh", "softsign", "sqnl"], _ODD_SIGMOID),
    **dict.fromkeys(["identity", "tanhshrink"], _LINE),
    **dict.fromkeys(["hardshrink", "softshrink"], lambda lambd: _LINE),
    **dict.fromkeys(["leaky_relu", "prelu", "rrelu"], lambda slope: ((-INF * slope, INF), (slope, 1))),
    "brelu": lambda sign: _RECTIFIER if sign > 0 else ((-INF, 0), (1, 0)),
    "elu": lambda alpha: ((-alpha, INF), (0, 1)),
    "bent_identity": ((-INF, INF), (0.5, 1.5)),
    "soft_exponential": _soft_exponential_limits,
    "soft_clipping": lambda alpha: _SIGMOID,
    "relu6": ((0, 6), (0, 0)),
    "hardtanh": lambda low, high: ((low, high), (0, 0)),
    "softplus": lambda beta, threshold: _RECTIFIER,
    "logsigmoid": ((-INF, 0), (1, 0)),
    "selu": ((-1.7580993408473768, INF), (0, 1.0507009873554805)),
    "celu": lambda alpha: ((-alpha, INF), (0, 1)),
    "threshold": lambda threshold, value: ((value, INF), (0, 1)),
    "squareplus": lambda b: _RECTIFIER,
    "exponential": ((0, INF), (0, INF)),
    "arctan": ((-np.pi / 2, np.pi / 2), (0, 0)),
    "gaussian": ((0, 0), (0, 0)),
    "sin": ((NAN, NAN), (NAN, NAN)),
    "sinc": ((0, 0), (0, 0)),
    "snake": lambda alpha: ((-INF, INF), (NAN, NAN)),
    "isru": lambda alpha: ((-(alpha**-0.5), alpha**-0.5), (0, 0)),
    "isrlu": lambda alpha: ((-(alpha**-0.5), INF), (0, 1)),
    "relu_squared": ((0, INF), (0, INF)),
    "star_relu": lambda scale, bias: ((bias, INF * scale), (0, INF * scale)),
    "log_cosh": ((INF, INF), (-1, 1)),
    "srelu": lambda t_left, a_left, t_right, a_right: ((-INF * a_left, INF * a_right), (a_left, a_right)),
}


def of_parameters(entry, parameters):
    """What *entry*, a value or a function of the parameters, is for *parameters*."""
    return entry(*parameters) if callable(entry) else entry
