"""Optimisers' updates: one rule each, run in one pass over memory; `UPDATES` has a record of each by name.

A rule is a scalar function (param, grad, *state, *values of the tensor, *scalars) -> (param, *state). What is the same for
all parameters of a step (bias corrections and the like) is computed once, in float64, by the record's ``scalars`` from the
hyperparameters. The gradient comes prepared: scaled, clipped, with penalty terms (`extras`).
"""

from .descent import DESCENT
from .matrices import MATRICES
from .moments import MOMENTS

UPDATES = {record.name: record for record in [*DESCENT, *MOMENTS, *MATRICES]}
