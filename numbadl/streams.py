"""The arguments of random operations: probabilities and streams, checked and as kernels take them."""

import numpy as np

from . import _arguments as arguments


def threshold_of(p):
    """An element is kept if its 32 bits exceed this; None keeps all."""
    dropped = round(float(arguments.number("p", p, high=1)) * 2**32)
    return None if dropped == 0 else np.uint32(dropped - 1)


def stream_of(seed, offset, start=0):
    """(seed, offset, start) of a stream as NumPy integers."""
    for name, value in (("seed", seed), ("offset", offset), ("start", start)):
        bits = 62 if name == "start" else 64
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**bits:
            raise ValueError(f"{name}: got {value!r}, accepted are integers from 0 to 2**{bits} - 1")
    return np.uint64(seed), np.uint64(offset), np.int64(start)
