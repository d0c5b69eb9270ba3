"""Training: the loop over batches, metrics, history, callbacks."""

from .callbacks import Callback, ReduceOnPlateau
from .fit import TrainingInterrupted
from .history import History
