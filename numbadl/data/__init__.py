"""Data for training: the built-in digits, and tables from the user's CSV and npz files."""

from . import augmentation
from .digits import load_digits
from .errors import DataError
from .preprocessing import Preprocessor
from .splitting import split
from .table import Table, read_table

__all__ = ["DataError", "Preprocessor", "Table", "augmentation", "load_digits", "read_table", "split"]
