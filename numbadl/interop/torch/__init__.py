"""PyTorch at home: numbadl's kernels as functions with autograd, as modules and as optimisers, on tensors without a copy.

Functions are attributes of this module, by torch's names where torch has them; modules are in `nn`, optimisers in `optim`.
"""

from . import activations, dropouts, losses, norms, rows
from . import nn as nn
from . import optim as optim
from .nn import replace

FUNCTIONS = activations.FUNCTIONS | rows.FUNCTIONS | norms.FUNCTIONS | dropouts.FUNCTIONS | losses.FUNCTIONS
globals().update(FUNCTIONS)
