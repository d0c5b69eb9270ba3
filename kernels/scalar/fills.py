"""Uniform and normal random numbers: one for each 32 bits of a stream."""

import numpy as np

from ..shapes import Map
from .coefficients import NORMAL_QUANTILE
from .intrinsics import fma
from .language import ByType, elementary, scalar
from .math.logarithm import log
from .math.power import sqrt

NORMAL_CENTRE = 45 / 16  # of what NORMAL_QUANTILE takes
same_log = elementary(python=np.log)(log.body)  # the polynomial on CUDA, too, for the same bits
LOW_BITS = ByType(0.0, 2.0**-32)  # what the 9 lowest bits count: float32 has no place for them


@scalar
def uniform(bits: np.uint32, low, high):
    # centred, and never 0 or 1 itself: exact in both types; one rounding, and so the same bits on every device
    u = (np.int32(bits >> np.uint32(9)) + 0.5) * 2.0**-23  # int32, which vectors convert in one step
    exact = u + (np.int32(bits & np.uint32(511)) - 255.5) * LOW_BITS(low)
    return fma(high - low, exact if LOW_BITS(low) > 0 else u, low)


@scalar
def standard_normal(bits: np.uint32, like):
    """A number of the type of *like*, at most 6.3 from 0: the 31 low bits are a fraction, the highest one is the sign.

    x with Phi(-x) = u is a function of t = sqrt(-2 log u), a polynomial in (t - c)/(t + c); off by 2^-22 (float32), 2^-31.
    """
    u = (np.int32(bits & np.uint32(0x7FFFFFFF)) + 0.5) * 2.0**-32
    t = sqrt(-2 * same_log(u))
    x = NORMAL_QUANTILE((t - NORMAL_CENTRE) / (t + NORMAL_CENTRE))
    return -x if bits > np.uint32(0x7FFFFFFF) else x


@scalar
def normal(bits: np.uint32, mean, std):
    return fma(std, standard_normal(bits, mean), mean)


UNIFORM = Map("uniform", uniform, inputs="", scalars="xx", random=True)
NORMAL = Map("normal", normal, inputs="", scalars="xx", random=True)
