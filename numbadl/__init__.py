"""Deep-learning kernels in pure Python, compiled by Numba for all CPU cores and for CUDA.

import numbadl as nd

y = nd.silu(x)                        # an array function, on all cores or on the GPU, wherever x is
dx = nd.silu.backward(grad, x)        # grad * f'(x) in one pass
nd.silu.scalar(0.5)                   # the same function for one number: in Python, @njit and @cuda.jit
"""

from . import kernels, losses, nn, optim, stage
from .functional import FUNCTIONS, dropout, log_softmax, softmax, uniform
from .fuse import fuse
from .kernels.scalar.activations import ACTIVATIONS
from .linear import matmul
from .normalization import batch_norm
from .optim import clip_grad_norm_, clip_grad_value_

__version__ = "0.1.0"
globals().update(FUNCTIONS)
