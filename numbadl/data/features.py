"""From the columns of a file to the matrix that a network reads: numbers as they are, text as one column per word."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from .errors import DataError, listing

MAX_CATEGORIES = 64


@dataclass(frozen=True)
class Column:
    """A feature column of a file: of numbers, or of text with its known categories.

    Examples
    --------
    >>> Column("size").width, Column("colour", ("blue", "red")).feature_names
    (1, ('colour=blue', 'colour=red'))
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def width(self):
        return 1 if self.categories is None else len(self.categories)

    @property
    def feature_names(self):
        return (self.name,) if self.categories is None else tuple(f"{self.name}={word}" for word in self.categories)


def describe_columns(source, names):
    """Find out which of a source's columns hold numbers and which categories hold the others."""
    if not source.named:
        return tuple(Column(name) for name in names)
    return tuple(_describe(source, name) for name in names)


def _describe(source, name):
    values = source.column(name)
    if values.dtype != object:
        return Column(name)
    categories = sorted(set(values))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"{source.path}, column {name!r}: text with {len(categories)} different values ({listing(categories, 3)}); "
            f"at most {MAX_CATEGORIES} are accepted. Leave the column out (ignore) or code it as numbers"
        )
    return Column(name, tuple(categories))


def encode_features(source, columns, dtype=np.float64):
    """The features of every row of a source, as an array of shape (n_rows, sum of the columns' widths).

    Raises `DataError` for a column that is missing, a cell that is not a number where one is expected, and a word
    that is not among the column's categories.
    """
    source.require([column.name for column in columns])
    x = np.zeros((source.n_rows, sum(column.width for column in columns)), dtype)
    start = 0
    for numeric, group in groupby(columns, key=lambda column: column.categories is None):
        group = list(group)
        if numeric:
            x[:, start : start + len(group)] = source.numbers([column.name for column in group])
            start += len(group)
            continue
        for column in group:
            x[np.arange(source.n_rows), start + _category_numbers(source, column)] = 1
            start += column.width
    return x


def _category_numbers(source, column):
    position = {word: number for number, word in enumerate(column.categories)}
    words = source.column(column.name, "text")
    numbers = np.array([position.get(word, -1) for word in words], dtype=np.int64)
    if numbers.min() < 0:
        row = int(numbers.argmin())
        raise DataError(
            f"{source.where(row, column.name)}: got {words[row]!r}, accepted are {listing(column.categories)}"
        )
    return numbers
