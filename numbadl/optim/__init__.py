"""Optimisers: one pass over memory for each step, from the rules in ``numbadl.kernels.scalar.updates``."""

from .clip import clip_grad_norm_, clip_grad_value_
from .optimizer import SGD, AdamW, Optimizer
