"""NumPy's functions, (arrays, out): the ufunc where there is one, else the usual few lines."""

import functools

import numpy as np

NAME, VERSION = "NumPy", np.__version__


def array(a):
    """*a* as the peer's kind of array, without a copy."""
    return a


def to_numpy(a):
    """The peer's array as NumPy's."""
    return a


def _ufunc(ufunc):
    return lambda x, out: ufunc(x, out=out)


def _sigmoid(x, out):
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _silu(x, out):
    _sigmoid(x, out)
    np.multiply(out, x, out=out)


def _where_positive(x, negative, out):
    np.copyto(out, np.where(x > 0, x, negative))


FORWARD = {
    name: _ufunc(ufunc)
    for name, ufunc in {
        "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log1p": np.log1p,
        "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "sin": np.sin, "cos": np.cos, "atan": np.arctan,
        "sqrt": np.sqrt, "exponential": np.exp, "arctan": np.arctan,
    }.items()
}  # fmt: skip
FORWARD |= {
    "identity": lambda x, out: np.copyto(out, x),
    "relu": lambda x, out: np.maximum(x, 0, out=out),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": lambda x, out: np.logaddexp(0, x, out=out),
    "leaky_relu": lambda x, out: _where_positive(x, 0.01 * x, out),
    "elu": lambda x, out: _where_positive(x, np.expm1(x), out),
    "relu6": lambda x, out: np.clip(x, 0, 6, out=out),
    "hardtanh": lambda x, out: np.clip(x, -1, 1, out=out),
    "softsign": lambda x, out: np.divide(x, 1 + np.abs(x), out=out),
}
BACKWARD = {
    "relu": lambda grad, x, out: np.multiply(grad, x > 0, out=out),
    "identity": lambda grad, x, out: np.copyto(out, grad),
}


def _matmul(a, b):
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    return functools.partial(np.matmul, a, b, out=out)


PARTS = {"matmul": _matmul}
START = {"import": "import numpy"}
