"""Training and test rows."""

import numpy as np

from .. import _arguments as arguments
from .errors import DataError


def split(y, test_fraction=0.25, seed=0, stratify=None):
    """Choose test rows at random, each class in proportion.

    Parameters
    ----------
    y : array of N rows
        Targets; only their number matters unless `stratify` is true.
    test_fraction : float
        Share of the test rows, above 0 and below 1.
    seed : int
        The same seed gives the same rows.
    stratify : bool, optional
        Whether each class keeps its share in both parts. Unless given: if `y` holds class numbers, which is
        integers in one dimension. A class of a single row goes to training.

    Returns
    -------
    train_rows, test_rows : int64 arrays
        Ascending; together 0 to N - 1.

    Raises
    ------
    ValueError
        If `test_fraction` is not between 0 and 1, or `stratify` is asked for targets that are no classes.
    DataError
        If a part would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from numbadl.data import split
    >>> train_rows, test_rows = split(np.array([0, 1] * 8), test_fraction=0.25, seed=0)
    >>> len(train_rows), len(test_rows), int((test_rows % 2).sum())
    (12, 4, 2)
    """
    y = np.asarray(y)
    arguments.number("test_fraction", test_fraction, high=1, above=True, below=True)
    if stratify is None:
        stratify = y.ndim == 1 and y.dtype.kind in "biu"
    elif stratify and y.ndim != 1:
        raise ValueError(f"y: got shape {y.shape}, stratify takes one class for each row")
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == value) for value in np.unique(y)] if stratify else [np.arange(len(y))]
    counts = _test_counts(np.array([len(group) for group in groups]), test_fraction)
    chosen = [rng.permutation(group)[:count] for group, count in zip(groups, counts, strict=True)]
    test_rows = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    train_rows = np.delete(np.arange(len(y)), test_rows)
    if not len(test_rows) or not len(train_rows):
        raise DataError(f"too few rows, {len(y)}, to set {test_fraction:g} of them apart for testing")
    return train_rows, test_rows


def _test_counts(sizes, fraction):
    """How many test rows each class gives: its share rounded down, the rest to the largest remainders."""
    shares = sizes * fraction
    counts = np.floor(shares).astype(np.int64)
    missing = round(float(shares.sum())) - int(counts.sum())
    # Stable, so that classes with equal remainders are served in order and the result is the same everywhere.
    for group in np.argsort(counts - shares, kind="stable")[:missing]:
        counts[group] += counts[group] + 1 < sizes[group]
    return counts
