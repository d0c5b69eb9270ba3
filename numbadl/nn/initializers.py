"""First values of weights, from Philox streams: the same for the same seed, on every machine.

Each is uniform on (-limit, limit), which has the variance limit**2 / 3:

- he: variance 2 / fan_in, for relu and its kin (He, Zhang, Ren, Sun 2015);
- xavier: variance 2 / (fan_in + fan_out), for tanh and sigmoid (Glorot, Bengio 2010);
- lecun: variance 1 / fan_in, for what has no activation behind it (LeCun, Bottou, Orr, Müller 1998).
"""

import math

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
