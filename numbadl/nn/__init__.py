"""Layers and models."""

from .files import ModelFileError, load
from .layer import LAYERS, Layer
from .layers import ACTIVATION_LAYERS, BatchNorm, Dropout, Flatten, Linear, Softmax, activation_layer
from .sequential import Sequential

globals().update({cls.__name__: cls for cls in ACTIVATION_LAYERS.values()})
