"""What the two kinds of data file have in common: named columns, and an address for every value."""

import math

import numpy as np

from .errors import DataError, listing


def parse_number(cell):
    """A cell's value, NaN if it is not a number.

    >>> parse_number("1e3"), parse_number("1_000"), parse_number("red")
    (1000.0, nan, nan)
    """
    try:
        # float() takes Python's 1_000, which no other program writes into a CSV file.
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


class Source:
    """A data file, opened and checked for its outer form. Values are checked when a column is asked for.

    Attributes
    ----------
    path : str
        As the user gave it, for messages.
    names : tuple of str
        Columns that may serve as features.
    n_rows : int
    named : bool
        Whether the file names its columns; if not, a new file is matched to a model by position.
    test_rows : int array or None
        Rows that the file itself sets apart for testing.
    feature_range : pair of float or None
        Smallest and largest value that the file's format allows, where it says so (8-bit images).
    image_shape : tuple of int or None
        (channels, height, width) of the image that all columns are together, where the file's arrays have these axes.
    """

    image_shape = None

    def where(self, row, name):
        """Address of one value, for messages."""
        raise NotImplementedError

    def target_names(self, target):
        """Names of the target columns; `target` is what the user asked for, a list of names or None."""
        raise NotImplementedError

    def column(self, name, kind="auto"):
        """One column: float64 if it holds numbers, otherwise an object array of str.

        `kind` is "number" or "text" where only that will do, "auto" to find out, "label" to find out and
        take a mixture of numbers and words as words. NaN, infinity and empty cells raise `DataError`.
        """
        raise NotImplementedError

    def numbers(self, names):
        """Several numeric columns as one array of shape (n_rows, len(names))."""
        return np.column_stack([self.column(name, "number") for name in names])

    def require(self, names):
        """Raise `DataError` for the names that the file lacks."""
        missing = [name for name in names if name not in self.names]
        if missing:
            word = "column" if len(missing) == 1 else "columns"
            raise DataError(f"{self.path}: no {word} {listing(missing)}; the columns are {listing(self.names)}")
