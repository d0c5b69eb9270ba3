"""Training: the loop over batches, metrics, history, callbacks."""

from .callbacks import (
    AverageWeights,
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateSchedule,
    ModelCheckpoint,
    ReduceOnPlateau,
)
from .diagnosis import Diagnosis
from .divergence import TrainingDiverged
from .fit import TrainingInterrupted
from .history import History
from .metrics import Metric
from .monitors import GradientMonitor, GradientWarning, LossMonitor, LossWarning
