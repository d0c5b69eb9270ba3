"""Deep-learning kernels in pure Python, compiled by Numba for all CPU cores and for CUDA.

import numbadl as nd

y = nd.silu(x)                        # an array function, on all cores or on the GPU, wherever x is
dx = nd.silu.backward(grad, x)        # grad * f'(x) in one pass
nd.silu.scalar(0.5)                   # the same function for one number: in Python, @njit and @cuda.jit
"""

import importlib

from . import _numba  # isort: split

from . import kernels, losses, nn, optim, regularizers, stage
from ._recommend import recommend
from .dropout import alpha_dropout, dropout, feature_dropout, gaussian_dropout
from .fills import normal, uniform
from .functional import FUNCTIONS, GATED, apl, log_softmax, maxout, softmax, softmin, sparsemax
from .fuse import fuse
from .fuse_batch_norm import fuse_batch_norm
from .kernels.scalar.activations import ACTIVATIONS
from .linear import matmul
from .normalization import batch_norm
from .norms import norm
from .optim import clip_grad_norm_, clip_grad_value_
from .row_norms import group_norm, instance_norm, layer_norm, rms_norm
from .user_activation import activation

__version__ = "0.1.0"
globals().update(FUNCTIONS | GATED)
_ON_DEMAND = ("data", "plot", "train")  # submodules that are imported when they are first asked for


def __getattr__(name):
    if name in _ON_DEMAND:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ON_DEMAND})
