"""Underfit, good fit or overfit: what the curves of training and validation say."""

import math
from dataclasses import dataclass

import numpy as np

_RISE = 0.05  # validation may end this part of its minimum above it
_GAP = 0.25  # validation may end this part of the baseline above training
_HIGH = 0.5  # a training loss above this part of the baseline has learnt little
_FALLING = 0.1  # the part of the whole fall that happens in the last fifth of a training that ended too early
_FEWEST = 3  # epochs


@dataclass(frozen=True)
class Diagnosis:
    """What the curves say.

    Attributes
    ----------
    verdict : "underfit", "good fit", "overfit" or "diverged"
    epoch : where validation turned or stopped improving, or where the loss was last finite; None where nothing turned
    reason : why, in words and numbers
    advice : what helps
    """

    verdict: str
    epoch: int | None
    reason: str
    advice: str

    def __str__(self):
        return f"{self.verdict}: {self.reason}; {self.advice}" if self.advice else f"{self.verdict}: {self.reason}"


_LESS = "stop early, regularise (dropout, L2, L1), take a smaller model, or more data or augmentation"
_MORE = "take a larger model, a higher learning rate, more epochs, better features, or less regularisation"


def diagnose(history, baseline=None):
    """What the losses of training and validation say, both smoothed as medians of three epochs.

    In this order: *diverged*, if the last loss is not finite; *overfit*, if validation ends 5 % above its minimum while the
    training loss has fallen on, or ends above the training loss by more than a quarter of the baseline; *underfit*, if the
    training loss is above half of the baseline, or if more than a tenth of what both fell, they fell in the last fifth of the
    epochs; otherwise a *good fit*.

    Parameters
    ----------
    history : with "loss" and "val_loss" of three epochs or more
    baseline : the loss of a prediction that looks at no input; without it that of the first epoch

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError : there are too few epochs, or no validation

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> curves = {"loss": [1, 0.5, 0.3, 0.2, 0.1, 0.05], "val_loss": [1, 0.6, 0.5, 0.55, 0.6, 0.7]}
    >>> found = diagnose(SimpleNamespace(epochs=[1, 2, 3, 4, 5, 6], metrics=curves))
    >>> found.verdict, found.epoch
    ('overfit', 3)
    """
    epochs, train, validation = _curves(history)
    if baseline is None:
        baseline = np.nanmax([train[0], validation[0], 0.0])
    elif not (isinstance(baseline, (int, float, np.number)) and 0 < baseline < math.inf):
        raise ValueError(f"baseline: got {baseline!r}, accepted are numbers above 0")
    finite = np.isfinite(train) & np.isfinite(validation)
    if not finite[-1]:
        last = np.flatnonzero(finite)
        reason = f"the loss ends at {train[-1]}, the validation loss at {validation[-1]}"
        advice = "lower the learning rate, clip gradients, look for NaN in the data"
        return Diagnosis("diverged", epochs[last[-1]] if last.size else None, reason, advice)
    epochs = [epoch for epoch, good in zip(epochs, finite, strict=True) if good]
    train, validation = (_smooth(curve[finite]) for curve in (train, validation))
    best = int(np.argmin(validation))
    end_train, end_validation, lowest = float(train[-1]), float(validation[-1]), float(validation[best])
    scale = max(abs(lowest), 0.01 * abs(baseline))
    if end_validation - lowest > _RISE * scale and end_train < train[best]:
        reason = (
            f"the validation loss turned in epoch {epochs[best]} and rose from {lowest:.4g} to {end_validation:.4g}, "
            f"while the training loss fell from {train[best]:.4g} to {end_train:.4g}"
        )
        return Diagnosis("overfit", epochs[best], reason, _LESS)
    if end_validation - end_train > _GAP * baseline:
        stopped = int(np.argmax(validation <= lowest + _RISE * scale))
        reason = (
            f"the validation loss stopped falling in epoch {epochs[stopped]} and ends at {end_validation:.4g}, far above the "
            f"training loss, {end_train:.4g}"
        )
        return Diagnosis("overfit", epochs[stopped], reason, _LESS)
    if end_train > _HIGH * baseline:
        reason = f"the training loss ends at {end_train:.4g}, little below {baseline:.4g}, what it began with"
        return Diagnosis("underfit", None, reason, _MORE)
    if _still_falls(train) and _still_falls(validation):
        reason = f"both losses still fall at the end, in epoch {epochs[-1]}"
        return Diagnosis("underfit", None, reason, "train for more epochs, or with a higher learning rate")
    reason = (
        f"the training loss ends at {end_train:.4g} and the validation loss, near its minimum, at {end_validation:.4g}"
    )
    return Diagnosis("good fit", None, reason, "")


def turning_epoch(history):
    """The epoch where validation turned or stopped, if the curves say overfit; else None."""
    try:
        found = diagnose(history)
    except ValueError:
        return None
    return found.epoch if found.verdict == "overfit" else None


def _curves(history):
    epochs, metrics = list(history.epochs), history.metrics
    missing = [name for name in ("loss", "val_loss") if name not in metrics]
    if missing:
        raise ValueError(f"history: has no {missing[0]!r}, needed are both losses; fit with validation_data gives them")
    if len(epochs) < _FEWEST:
        raise ValueError(f"history: got {len(epochs)} epochs, accepted are {_FEWEST} or more")
    return epochs, *(np.array(metrics[name], np.float64) for name in ("loss", "val_loss"))


def _smooth(curve):
    """Medians of three; the ends stay."""
    if len(curve) < 3:
        return curve
    middle = np.median([curve[:-2], curve[1:-1], curve[2:]], axis=0)
    return np.concatenate([curve[:1], middle, curve[-1:]])


def _still_falls(curve):
    fall, last = curve[0] - curve[-1], curve[-1 - max(1, len(curve) // 5)] - curve[-1]
    return fall > 0 and last > _FALLING * fall
