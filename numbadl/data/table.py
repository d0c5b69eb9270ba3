"""A data file as arrays: `read_table` and its result."""

import os
from dataclasses import dataclass

import numpy as np

from .. import _arguments as arguments
from .csv_source import CsvSource
from .errors import DataError, listing
from .features import Column, describe_columns, encode_features
from .npz_source import NpzSource
from .target import TASKS, TargetColumn, encode_target

MIN_ROWS = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Features and targets of one file.

    Attributes
    ----------
    x : float array of shape (N, number of features)
        Not standardised; text columns as one column of 0 and 1 for each category.
    y : array
        In the form that the task's loss takes: multiclass int64 of shape (N,); binary 0 or 1 of shape (N, 1);
        multilabel and regression of shape (N, number of targets).
    columns : tuple of Column
        The file's feature columns, from which `x` was built.
    target_names : tuple of str
    task : str
        "regression", "binary", "multiclass" or "multilabel".
    classes : tuple of str or None
        Class names in the order of the network's outputs (multilabel: the labels); None for regression.
    source : str
        The file.
    test_rows : int array or None
        Rows that the file itself sets apart for testing.
    feature_range : pair of float or None
        Range that the file's format gives every feature, if it does (0 to 255 for 8-bit images).
    image_shape : tuple of int or None
        (channels, height, width) of the image that each row of `x` is, where the file says so.

    Examples
    --------
    >>> import numpy as np
    >>> from numbadl.data import Table
    >>> from numbadl.data.features import Column
    >>> table = Table(np.ones((4, 1)), np.array([0, 1, 0, 1]), (Column("a"),), ("b",), "multiclass", ("no", "yes"))
    >>> table.feature_names, table.labels
    (('a',), array([0, 1, 0, 1]))
    """

    x: np.ndarray
    y: np.ndarray
    columns: tuple[Column, ...]
    target_names: tuple[str, ...]
    task: str
    classes: tuple[str, ...] | None = None
    source: str = ""
    test_rows: np.ndarray | None = None
    feature_range: tuple[float, float] | None = None
    image_shape: tuple[int, int, int] | None = None

    @property
    def feature_names(self):
        """Names of the columns of `x`."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def labels(self):
        """Class of each row as int64 of shape (N,), None unless the task is binary or multiclass."""
        return self.y.reshape(-1).astype(np.int64) if self.task in ("binary", "multiclass") else None


def open_source(path):
    """Open a data file; its ending says what it is: .csv, .tsv or .txt, or .npz.

    Raises `DataError` for another ending or a file of the wrong form, OSError for one that cannot be opened.
    """
    ending = arguments.path("path", path).suffix.lower()
    path = os.fspath(path)
    if ending == ".npz":
        return NpzSource(path)
    if ending in (".csv", ".tsv", ".txt"):
        return CsvSource(path)
    raise DataError(f"{path}: the file ends in {ending!r}; '.csv', '.tsv', '.txt' and '.npz' are accepted")


def read_table(path, target=None, task="auto", dtype=np.float32, ignore=()):
    """Read a CSV or npz file for training.

    A CSV file has a header line; its cells are parted by commas, semicolons or tabs. An npz file holds `x` (or `X`)
    and `y`, or `x_train`, `y_train`, `x_test` and `y_test`.

    Parameters
    ----------
    path : str or path
    target : str or list of str, optional
        Target columns; "a,b" names two. For npz the name of the array with the targets, "y" unless given.
    task : str
        "regression", "binary", "multiclass", "multilabel", or "auto". Auto takes several target columns for
        multilabel if they hold nothing but 0 and 1, otherwise for regression; one column of words, or of at most 20
        different whole numbers (and no more than half as many as rows), for classes: binary if there are two; any
        other column of numbers for regression.
    dtype : float32 or float64
        Type of the features, and of targets other than class numbers.
    ignore : sequence of str
        Columns that are neither features nor targets.

    Returns
    -------
    Table

    Raises
    ------
    DataError
        A ValueError that names the file, the row and the column, for: a missing column, an empty cell or NaN, text
        among numbers, a ragged row, an empty file, text with too many different values, only one class, too few
        rows, arrays of the wrong shape, pickled arrays.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from numbadl.data import read_table
    >>> rows = ["1.5,red,rose", "0.5,white,daisy", "1.25,red,rose", "0.75,white,daisy"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("\\n".join(["height,colour,flower", *rows, *rows]))
    ...     table = read_table(path, target="flower")
    >>> table.task, table.classes, table.feature_names
    ('binary', ('daisy', 'rose'), ('height', 'colour=red', 'colour=white'))
    >>> table.x[:2]
    array([[1.5, 1. , 0. ],
           [0.5, 0. , 1. ]], dtype=float32)
    """
    if task not in ("auto", *TASKS):
        raise ValueError(f"task: got {task!r}, accepted are {listing(('auto', *TASKS))}")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype: got {np.dtype(dtype)}, accepted are float32 and float64")
    source = open_source(path)
    target_names = source.target_names(_name_list(target))
    source.require(ignore)
    if both := [name for name in target_names if name in ignore]:
        raise ValueError(f"ignore: got {listing(both)}, which is a target; accepted are other columns")
    if source.n_rows < MIN_ROWS:
        raise DataError(f"{source.path}: too few rows, {source.n_rows}; at least {MIN_ROWS} are needed")
    features = [name for name in source.names if name not in target_names and name not in ignore]
    if not features:
        raise DataError(f"{source.path}: no column is left as a feature beside {listing([*target_names, *ignore])}")
    y, task, classes = encode_target(target_columns(source, target_names), task, dtype=dtype)
    columns = describe_columns(source, features)
    return Table(
        x=_within_range(encode_features(source, columns), columns, source, dtype),
        y=y,
        columns=columns,
        target_names=target_names,
        task=task,
        classes=classes,
        source=source.path,
        test_rows=source.test_rows,
        feature_range=source.feature_range,
        image_shape=source.image_shape if len(features) == len(source.names) else None,
    )


def target_columns(source, names):
    """The target columns of a source with the addresses of their values."""
    return [
        TargetColumn(name, source.column(name, "label"), lambda row, name=name: source.where(row, name))
        for name in names
    ]


def _name_list(target):
    if target is None:
        return []
    names = target.split(",") if isinstance(target, str) else list(target)
    names = [name.strip() for name in names if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"target: got {target!r}, accepted are one or several different column names")
    return names


def _within_range(x, columns, source, dtype):
    """`x` in its final type; a finite value that this type cannot hold is an error."""
    with np.errstate(over="ignore"):
        cast = x.astype(dtype, copy=False)
    bad = ~np.isfinite(cast)
    if bad.any():
        row, feature = np.argwhere(bad)[0]
        name = [column.name for column in columns for _ in range(column.width)][feature]
        raise DataError(f"{source.where(row, name)}: got {x[row, feature]}, beyond the range of {np.dtype(dtype)}")
    return cast
