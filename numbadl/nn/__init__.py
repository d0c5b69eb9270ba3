"""Layers and models."""

from .activations import ACTIVATION_LAYERS, activation_layer
from .convolution import Conv1d, Conv2d
from .dropout import AlphaDropout, Dropout, FeatureDropout, GaussianDropout
from .embedding import Embedding
from .families import FAMILIES
from .files import ModelFileError, load
from .layer import LAYERS, Layer
from .layers import BatchNorm, Flatten, Linear, Reshape
from .norms import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool1d, MaxPool2d
from .recurrent import GRU, LSTM, RNN
from .residual import Residual
from .sequential import Sequential

globals().update({cls.__name__: cls for cls in ACTIVATION_LAYERS.values()} | FAMILIES)
