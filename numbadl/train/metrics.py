"""Metrics beside the loss, for an epoch as a whole: sums over batches where that will do, all outputs where it will not.

Every row counts alike, whatever its weight in the loss; labels that the loss ignores are left out.

============================================ ========================================================================
name                                         what it is
============================================ ========================================================================
accuracy                                     the fraction of right answers
top_5_accuracy, or ("top_k", 5)              the fraction of labels among the 5 largest outputs; any number will do
precision, recall, f1                        of the class 1 of two
precision_macro, recall_macro, f1_macro      the mean over the classes that occur among labels or answers, or over the
                                             columns of a model with several yes or no
auc                                          area under the ROC curve; the mean of one class against the rest, or of columns
r2, mae, mse, rmse                           of regression; r2 as the mean over outputs
============================================ ========================================================================

Where something is divided by 0, precision, recall and F1 are 0; auc of one class only and r2 of constant targets are NaN.
"""

import re

import numpy as np

from .. import _arguments as arguments
from ..losses import LogitsLoss

_REGRESSION = ("mse", "mae", "huber", "smooth_l1")


class Metric:
    """Base class. One object for each epoch: `add` batches, then ask for the `value`.

    Attributes
    ----------
    name : in the history
    """

    def __init__(self, name, loss, outputs):
        self.name, self.loss, self.labels = name, loss, isinstance(loss, LogitsLoss)
        self.columns = outputs[-1] if outputs else 1
        self.check()

    def check(self):
        """Raise ValueError if this metric does not go with the loss and the number of outputs."""

    def add(self, outputs, targets):
        """Take a batch, as NumPy arrays."""
        raise NotImplementedError

    def value(self):
        """The metric of all batches since the object was made, as a float."""
        raise NotImplementedError

    def refuse(self, accepted):
        raise ValueError(
            f"metrics: {self.name!r} does not go with {self.loss.__name__} of {self.columns} outputs, accepted are {accepted}"
        )

    def _needs_classes(self):
        if self.loss.__name__ in (*_REGRESSION, "kl_div"):
            self.refuse("losses of classes")

    def kept(self, outputs, targets):
        """(outputs, labels) without the rows whose label is ignored; probabilities as targets become the largest's label."""
        if targets.ndim == outputs.ndim:
            return outputs, np.argmax(targets, axis=1)
        ignored = targets == self.loss.options["ignore_index"]
        return (outputs[~ignored], targets[~ignored]) if ignored.any() else (outputs, targets)


class Accuracy(Metric):
    """The fraction of right answers among those that count."""

    def __init__(self, *given):
        super().__init__(*given)
        self.right = self.count = 0

    def check(self):
        self._needs_classes()

    def add(self, outputs, targets):
        right = self.answers(outputs, targets)
        self.right += int(np.count_nonzero(right))
        self.count += right.size

    def answers(self, outputs, targets):
        """Which answers are right."""
        if not self.labels:
            return (outputs > 0) == (targets > 0.5)
        outputs, labels = self.kept(outputs, targets)
        return np.argmax(outputs, axis=1) == labels

    def value(self):
        return self.right / self.count if self.count else float("nan")


class TopK(Accuracy):
    """The fraction of rows whose label is among the k largest outputs; of equal outputs, the first come first."""

    def __init__(self, k, *given):
        self.k = k
        super().__init__(*given)

    def check(self):
        if not self.labels or self.k > self.columns:
            self.refuse("k up to the number of outputs, and losses of one of several classes")

    def answers(self, outputs, targets):
        outputs, labels = self.kept(outputs, targets)
        own = outputs[np.arange(len(labels)), labels][:, None]
        before = np.arange(self.columns) < labels[:, None]
        return np.count_nonzero((outputs > own) | ((outputs == own) & before), axis=1) < self.k


class Counts(Metric):
    """Precision, recall or F1, from the numbers of rows of each class that were found, missed and taken for it."""

    def __init__(self, kind, macro, *given):
        self.kind, self.macro = kind, macro
        super().__init__(*given)
        self.by_column = not self.labels and self.columns > 1
        size = self.columns if self.labels or self.by_column else 2
        self.found, self.missed, self.wrong = np.zeros((3, size), np.int64)

    def check(self):
        self._needs_classes()
        if not self.macro and self.columns > (2 if self.labels else 1):
            self.refuse(f"two classes; {self.kind}_macro is the mean over more")

    def add(self, outputs, targets):
        if self.by_column:
            said, true = outputs > 0, targets > 0.5
            self.found += np.count_nonzero(said & true, axis=0)
            self.missed += np.count_nonzero(~said & true, axis=0)
            self.wrong += np.count_nonzero(said & ~true, axis=0)
            return
        if self.labels:
            outputs, true = self.kept(outputs, targets)
            said = np.argmax(outputs, axis=1)
        else:
            said, true = (outputs > 0).ravel().astype(np.int64), (targets > 0.5).ravel().astype(np.int64)
        size, right = len(self.found), said == true
        self.found += np.bincount(true[right], minlength=size)
        self.missed += np.bincount(true[~right], minlength=size)
        self.wrong += np.bincount(said[~right], minlength=size)

    def value(self):
        above = 2 * self.found if self.kind == "f1" else self.found
        below = self.found + {"precision": self.wrong, "recall": self.missed}.get(self.kind, 0)
        if self.kind == "f1":
            below = above + self.wrong + self.missed
        of_classes = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
        if not self.macro:
            return float(of_classes[1])
        occurs = (self.found + self.missed + self.wrong > 0) | self.by_column
        return float(of_classes[occurs].mean()) if occurs.any() else float("nan")


class Collected(Metric):
    """A metric that needs all outputs and targets of the epoch: it keeps them."""

    def __init__(self, *given):
        super().__init__(*given)
        self.batches = []

    def add(self, outputs, targets):
        self.batches.append((np.array(outputs), np.array(targets)))

    def value(self):
        if not self.batches:
            return float("nan")
        return float(self.of_all(*(np.concatenate(parts) for parts in zip(*self.batches, strict=True))))

    def of_all(self, outputs, targets):
        """The metric of all outputs and targets."""
        raise NotImplementedError


class AreaUnderCurve(Collected):
    """The chance that a row of the class has a larger score than one that is not of it, ties counted half."""

    def check(self):
        self._needs_classes()

    def of_all(self, outputs, targets):
        if not self.labels:
            return np.mean([_area(o, t > 0.5) for o, t in zip(outputs.T, targets.T, strict=True)])
        outputs, labels = self.kept(outputs.astype(np.float64), targets)
        if self.columns == 2:
            return _area(outputs[:, 1] - outputs[:, 0], labels == 1)
        scores = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        return np.mean([_area(scores[:, k], labels == k) for k in range(self.columns)])


def _area(scores, true):
    """By ranks: H. B. Mann, D. R. Whitney, Ann. Math. Statist. 18, 1947."""
    positive = int(np.count_nonzero(true))
    negative = true.size - positive
    if not positive or not negative:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    return (ranks[place][true].sum() - positive * (positive + 1) / 2) / (positive * negative)


class Own(Collected):
    """A user's function of all targets and outputs, in scikit-learn's order."""

    def __init__(self, function, *given):
        self.function = function
        super().__init__(*given)

    def of_all(self, outputs, targets):
        value = self.function(targets, outputs)
        if not np.isscalar(value) and np.ndim(value) != 0:
            raise TypeError(
                f"metrics: {self.name} gave {arguments.shown(value)}, accepted are functions that give a number"
            )
        return value


class Errors(Metric):
    """The mean of |prediction - target| or of its square, or the root of that."""

    def __init__(self, *given):
        super().__init__(*given)
        self.total, self.count = 0.0, 0

    def check(self):
        if self.loss.__name__ not in _REGRESSION:
            self.refuse("losses of regression")

    def add(self, outputs, targets):
        error = np.subtract(outputs, targets, dtype=np.float64)
        self.total += float((np.abs(error) if self.name == "mae" else error * error).sum())
        self.count += error.size

    def value(self):
        mean = self.total / self.count if self.count else float("nan")
        return mean**0.5 if self.name == "rmse" else mean


class R2(Metric):
    """1 - the mean squared error / the variance of the targets, of each output; the mean over outputs."""

    def __init__(self, *given):
        super().__init__(*given)
        self.count, self.mean, self.squares, self.errors = 0, 0.0, 0.0, 0.0

    check = Errors.check

    def add(self, outputs, targets):
        # Batches are merged as in T. F. Chan et al., Updating formulae and a pairwise algorithm, 1979.
        targets = targets.astype(np.float64).reshape(len(targets), -1)
        n, mean = len(targets), targets.mean(axis=0)
        away = mean - self.mean
        self.squares = (
            self.squares + ((targets - mean) ** 2).sum(axis=0) + away**2 * (n * self.count / (n + self.count))
        )
        self.mean, self.count = self.mean + away * (n / (n + self.count)), self.count + n
        self.errors = self.errors + ((outputs.reshape(targets.shape) - targets) ** 2).sum(axis=0)

    def value(self):
        if not self.count or not np.all(self.squares > 0):
            return float("nan")
        return float(np.mean(1 - self.errors / self.squares))


_KINDS = {
    "accuracy": Accuracy,
    **{name: (lambda *given, kind=name: Counts(kind, False, *given)) for name in ("precision", "recall", "f1")},
    **{
        f"{name}_macro": (lambda *given, kind=name: Counts(kind, True, *given))
        for name in ("precision", "recall", "f1")
    },
    "auc": AreaUnderCurve,
    "r2": R2,
    "mae": Errors,
    "mse": Errors,
    "rmse": Errors,
}
_DEFAULT = {
    **dict.fromkeys(("cross_entropy", "nll", "binary_cross_entropy", "hinge"), "accuracy"),
    **dict.fromkeys(("mse", "huber", "smooth_l1"), "mae"),
}


def metrics_for(loss, metrics, outputs):
    """Fresh metrics: those that are named, or without any, what goes with the loss; *outputs* is the shape of a row's output.

    Parameters
    ----------
    metrics : None, or a list of names (see the module), of pairs ("top_k", k), of functions (targets, outputs) -> number,
        or of subclasses of `Metric`

    Raises
    ------
    TypeError, ValueError : naming the entry

    Examples
    --------
    >>> import numbadl as nd
    >>> [metric.name for metric in metrics_for(nd.losses.cross_entropy, ["accuracy", ("top_k", 3)], (10,))]
    ['accuracy', 'top_3_accuracy']
    """
    if metrics is None:
        metrics = [_DEFAULT[loss.__name__]] if loss.__name__ in _DEFAULT else []
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics: got {arguments.shown(metrics)}, accepted are lists of names and functions")
    made = [_metric(position, given, loss, outputs) for position, given in enumerate(metrics)]
    names = [metric.name for metric in made]
    if doubled := [name for name in names if names.count(name) > 1 or name in ("loss", "penalty")]:
        raise ValueError(f"metrics: got two of the name {doubled[0]!r}, accepted are different names")
    return made


def _metric(position, given, loss, outputs):
    if isinstance(given, tuple) and len(given) == 2 and given[0] == "top_k":
        k = arguments.integer(f"metrics[{position}]: k", given[1])
        return TopK(k, f"top_{k}_accuracy", loss, outputs)
    if isinstance(given, str):
        if found := re.fullmatch(r"top_([1-9]\d*)_accuracy", given):
            return TopK(int(found[1]), given, loss, outputs)
        if given not in _KINDS:
            accepted = ", ".join([*_KINDS, "top_5_accuracy", "functions (targets, outputs) -> number"])
            raise ValueError(f"metrics[{position}]: got {given!r}, accepted are {accepted}")
        return _KINDS[given](given, loss, outputs)
    if isinstance(given, type) and issubclass(given, Metric):
        return given(given.__name__, loss, outputs)
    if callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        return Own(given, name, loss, outputs)
    got = arguments.shown(given)
    raise TypeError(f'metrics[{position}]: got {got}, accepted are names, ("top_k", k) and functions')
