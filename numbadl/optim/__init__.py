"""Optimisers: one pass over memory for each step, from the rules in ``numbadl.kernels.scalar.updates``."""

from . import schedules
from .averages import WeightAverage
from .clip import clip_grad_norm_, clip_grad_value_
from .descent import LARS, SGD, Adadelta, Adagrad, Lion, RMSprop, Rprop
from .lr_finder import lr_find
from .matrices import Adafactor, Muon
from .moments import LAMB, AdaBelief, Adam, Adamax, AdamW, Adan, NAdam, RAdam, ScheduleFreeAdamW, Yogi
from .optimizer import Optimizer
from .schedules import ReduceOnPlateau
