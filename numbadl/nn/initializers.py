"""First values of weights, from Philox streams: the same for the same seed, on every machine.

Those by `limit` are uniform on (-limit, limit), which has the variance limit**2 / 3:

- he: variance 2 / fan_in, for relu and its kin (He, Zhang, Ren, Sun 2015);
- xavier: variance 2 / (fan_in + fan_out), for tanh and sigmoid (Glorot, Bengio 2010);
- lecun: variance 1 / fan_in, for what has no activation behind it (LeCun, Bottou, Orr, Müller 1998).
"""

import math

import numpy as np

from ..fills import normal as _normal
from ..fills import uniform as _uniform

VARIANCES = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


def limit(name, fan_in, fan_out):
    """The bound of the uniform distribution for the initialiser of that name."""
    return math.sqrt(3 * VARIANCES[name](fan_in, fan_out))


def uniform(shape, low, high, seed, stream):
    """Uniform values from the stream (seed, stream)."""
    return _uniform(shape, low, high, seed=seed, offset=stream)


def orthogonal(shape, seed, stream):
    """Square orthogonal matrices one below the other, of normal numbers (Saxe, McClelland, Ganguli 2014), in float64.

    Examples
    --------
    >>> q = orthogonal((6, 3), seed=0, stream=0)[3:]
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    size = shape[1]
    found = _normal(shape, seed=seed, offset=stream, dtype=np.float64).reshape(-1, size, size)
    for block in found:
        q, r = np.linalg.qr(block)
        block[...] = q * np.where(
            np.diagonal(r) < 0, -1, 1
        )  # without signs of r, all orthogonal matrices are as likely
    return found.reshape(shape)
