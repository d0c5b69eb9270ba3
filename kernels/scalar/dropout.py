"""Dropout: an element is kept where its 32 random bits exceed a threshold, and scaled by 1 / (fraction kept)."""

import numpy as np

from ..shapes import Map
from .intrinsics import fma
from .language import scalar


@scalar
def dropout(x, bits: np.uint32, threshold: np.uint32, scale):
    return x * scale if bits > threshold else 0


@scalar
def kept(bits: np.uint32, threshold: np.uint32):
    return bits > threshold


@scalar
def uniform(bits: np.uint32, low, high):
    # 23 bits, centred: exact in float32, never 0 or 1 itself; one rounding, and so the same bits on every device
    return fma(high - low, ((bits >> np.uint32(9)) + 0.5) * 2.0**-23, low)


DROPOUT = Map("dropout", dropout, scalars="ux", random=True)  # its own gradient: the same mask times the gradient
DROPOUT_MASK = Map("dropout.mask", kept, inputs="", outputs="b", scalars="u", random=True)
UNIFORM = Map("uniform", uniform, inputs="", scalars="xx", random=True)
