"""Targets: which task they pose, and their form for the task's loss."""

from dataclasses import dataclass

import numpy as np

from .errors import DataError, listing
from .source import parse_number

TASKS = ("regression", "binary", "multiclass", "multilabel")
MAX_INFERRED_CLASSES = 20


@dataclass(frozen=True, eq=False)
class TargetColumn:
    """A target column: float64 values or an object array of str; `where(row)` is a value's address for messages."""

    name: str
    values: np.ndarray
    where: object

    @property
    def is_text(self):
        return self.values.dtype == object

    @property
    def is_flag(self):
        return not self.is_text and bool(np.isin(self.values, (0, 1)).all())

    @property
    def is_whole(self):
        return not self.is_text and bool((self.values == np.floor(self.values)).all())


def infer_task(columns):
    """The task that target columns pose.

    - Several columns: multilabel if every value is 0 or 1, otherwise regression of several values.
    - One column of words: binary if there are two, multiclass if more.
    - One column of whole numbers with at most 20 different ones, and no more than half as many as rows: the same.
    - Any other column of numbers: regression.

    Raises `DataError` for a column that mixes numbers and words (a regression target with a typing error, or
    classes?) and for several columns that are not all numeric.
    """
    if len(columns) > 1:
        return "multilabel" if all(column.is_flag for column in columns) else "regression"
    column = columns[0]
    n_classes = len(set(column.values.tolist()))
    if column.is_text:
        _refuse_mixture(column)
    elif not column.is_whole or n_classes > min(MAX_INFERRED_CLASSES, len(column.values) / 2):
        return "regression"
    return "binary" if n_classes <= 2 else "multiclass"


def encode_target(columns, task="auto", classes=None, dtype=np.float32):
    """Targets in the form that the task's loss takes.

    Parameters
    ----------
    columns : list of TargetColumn
    task : str
        One of `TASKS`, or "auto" for `infer_task`.
    classes : sequence of str, optional
        The classes of a trained model, for binary and multiclass; others in the file are then errors.
    dtype : float32 or float64
        Type of `y`, except for multiclass.

    Returns
    -------
    y : array
        Multiclass: int64 of shape (N,), positions in `classes`. Binary: 0 or 1 of shape (N, 1), 1 for the second class.
        Multilabel and regression: shape (N, number of columns).
    task : str
    classes : tuple of str or None
        Names of the classes in order; for multilabel of the labels; None for regression.

    Raises
    ------
    DataError
        If the values do not fit the task, or only one class is there.
    """
    if task == "auto":
        task = infer_task(columns)
    if task in ("regression", "multilabel"):
        y = np.column_stack([_numbers(column, task, dtype) for column in columns])
        return y, task, None if task == "regression" else tuple(column.name for column in columns)
    if len(columns) > 1:
        return _one_hot(columns, task), task, tuple(column.name for column in columns)
    column = columns[0]
    names, numbers = _classes(column)
    if classes is None:
        _check_classes(column, task, names)
        classes = names
    else:
        numbers = _known(column, names, numbers, classes)
    return (numbers if task == "multiclass" else numbers[:, None].astype(dtype)), task, tuple(classes)


def _numbers(column, task, dtype):
    values, accepted = column.values, "a number"
    if column.is_text:
        values = np.array([parse_number(word) for word in values])
    with np.errstate(over="ignore"):
        cast = values.astype(dtype) if np.dtype(dtype).kind == "f" else values
    bad = ~np.isfinite(cast)
    if task == "multilabel":
        bad, accepted = ~np.isin(values, (0, 1)), "0 or 1"
    elif not column.is_text:
        accepted = f"a number within the range of {np.dtype(dtype)}"
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{column.where(row)}: got {_shown(column.values[row])}, accepted for {task} is {accepted}")
    return values.astype(dtype)


def _classes(column):
    """Names of a column's classes in order, and the position of each row's class among them."""
    if not column.is_text and not column.is_whole:
        row = int(np.argmax(column.values != np.floor(column.values)))
        raise DataError(f"{column.where(row)}: got {column.values[row]}, accepted classes are words and whole numbers")
    values, numbers = np.unique(column.values, return_inverse=True)
    return tuple(value if column.is_text else str(int(value)) for value in values), numbers.astype(np.int64)


def _check_classes(column, task, names):
    address = column.where(0)
    if len(names) == 1:
        raise DataError(f"{address} and all others: only one class, {names[0]!r}; at least two are needed")
    if task == "binary" and len(names) > 2:
        raise DataError(f"{address} and others: {len(names)} classes, {listing(names)}; binary takes two")
    if len(names) > len(column.values) / 2:
        raise DataError(
            f"{address} and others: {len(names)} classes in {len(column.values)} rows; "
            "at least two rows for each class are needed on average"
        )


def _known(column, names, numbers, classes):
    position = {name: number for number, name in enumerate(classes)}
    numbers = np.array([position.get(name, -1) for name in names])[numbers]
    if numbers.min() < 0:
        row = int(numbers.argmin())
        raise DataError(f"{column.where(row)}: got class {_shown(column.values[row])}, accepted are {listing(classes)}")
    return numbers


def _one_hot(columns, task):
    if task == "binary":
        raise DataError(f"{columns[0].where(0)}: got {len(columns)} target columns, binary takes one")
    y = np.column_stack([_numbers(column, "multilabel", np.int64) for column in columns])
    bad = y.sum(axis=1) != 1
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{columns[0].where(row)} and {len(columns) - 1} more: {int(y[row].sum())} of the columns are 1; "
            "multiclass with several columns takes exactly one"
        )
    return y.argmax(axis=1)


def _refuse_mixture(column):
    number_like = np.isfinite([parse_number(word) for word in column.values])
    if number_like.any() and not number_like.all():
        row = int(np.argmin(number_like))
        raise DataError(
            f"{column.where(row)}: {column.values[row]!r} is not a number, while others are; correct it, "
            "or choose the task multiclass if all of them are classes"
        )


def _shown(value):
    return repr(value) if isinstance(value, str) else f"{value:g}"
