"""Training: the loop over batches, metrics, history, callbacks."""

from .callbacks import Callback
from .history import History
