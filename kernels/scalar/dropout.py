"""Dropout: an element is kept where its 32 random bits exceed a threshold, and scaled by 1 / (fraction kept); its kin."""

import numpy as np

from ..shapes import Map
from .activations import relu
from .fills import standard_normal
from .intrinsics import fma
from .language import scalar


@scalar
def dropout(x, bits: np.uint32, threshold: np.uint32, scale):
    return x * scale if bits > threshold else 0


@scalar
def relu_dropout(x, bits: np.uint32, threshold: np.uint32, scale):
    return dropout(relu(x), bits, threshold, scale)


@scalar
def relu_dropout_backward(grad, y, scale):
    """The result tells what was kept and above 0, so that no random number is drawn again."""
    return 0 if y <= 0 else (grad * scale if y > 0 else y)


@scalar
def kept(bits: np.uint32, threshold: np.uint32):
    return bits > threshold


@scalar
def alpha_dropout(x, bits: np.uint32, threshold: np.uint32, scale, shift, dropped):
    return fma(x, scale, shift) if bits > threshold else dropped


@scalar
def gaussian_dropout(x, bits: np.uint32, std):
    return x * fma(std, standard_normal(bits, x), 1)


@scalar
def feature_dropout(x, scale):
    return x * scale if scale != 0 else 0


DROPOUT = Map("dropout", dropout, scalars="ux", random=True)  # its own gradient: the same mask times the gradient
RELU_DROPOUT = Map("dropout.relu", relu_dropout, scalars="ux", random=True)
RELU_DROPOUT_BACKWARD = Map("dropout.relu.backward", relu_dropout_backward, "xx", scalars="x")
DROPOUT_MASK = Map("dropout.mask", kept, inputs="", outputs="b", scalars="u", random=True)
ALPHA_DROPOUT = Map("alpha_dropout", alpha_dropout, scalars="uxxx", random=True)  # its gradient is dropout's
GAUSSIAN_DROPOUT = Map("gaussian_dropout", gaussian_dropout, scalars="x", random=True)  # its own gradient
FEATURE_DROPOUT = Map("feature_dropout", feature_dropout, channels=1)  # its own gradient; a scale for each feature map
