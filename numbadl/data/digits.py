"""The handwritten digits that come with the package (source and licence: LICENSE-digits.md)."""

from pathlib import Path

import numpy as np

from .features import Column
from .table import Table

_FILE = Path(__file__).with_name("digits.npz")
_LARGEST_PIXEL = 16


def _arrays():
    with np.load(_FILE, allow_pickle=False) as file:
        return file["x"], file["y"], file["test_rows"].astype(np.int64)


def load_digits(dtype=np.float32):
    """The 1,797 handwritten digits of the UCI set, split once and for all.

    The test part is 25% of the rows, stratified by digit.

    Parameters
    ----------
    dtype : float32 or float64
        Type of the pixels.

    Returns
    -------
    x_train : array of shape (1347, 64)
        Images of 8 by 8 pixels, row by row, from 0 (paper) to 1 (ink).
    y_train : int64 array of shape (1347,)
        The digits, 0 to 9.
    x_test : array of shape (450, 64)
    y_test : int64 array of shape (450,)

    Raises
    ------
    TypeError
        If `dtype` is neither float32 nor float64.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> from numbadl.data import load_digits
    >>> x_train, y_train, x_test, y_test = load_digits()
    >>> x_train.shape, x_test.shape, x_train.dtype, float(x_train.max())
    ((1347, 64), (450, 64), dtype('float32'), 1.0)
    >>> y_train[:5]
    array([0, 1, 2, 3, 4])
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype: got {dtype}, accepted are float32 and float64")
    pixels, labels, test_rows = _arrays()
    x = pixels.astype(dtype) / dtype.type(_LARGEST_PIXEL)
    y = labels.astype(np.int64)
    train_rows = np.delete(np.arange(len(y)), test_rows)
    return x[train_rows], y[train_rows], x[test_rows], y[test_rows]


def digits_table(dtype=np.float64):
    """The digits as a `Table`, with the original pixel values 0..16.

    The columns are named as in ``sklearn.datasets.load_digits(as_frame=True)``, so that a model trained on this table
    predicts for a file written from there.

    Examples
    --------
    >>> table = digits_table()
    >>> table.x.shape, table.feature_names[:2], table.classes[:3], len(table.test_rows)
    ((1797, 64), ('pixel_0_0', 'pixel_0_1'), ('0', '1', '2'), 450)
    """
    pixels, labels, test_rows = _arrays()
    return Table(
        x=pixels.astype(dtype),
        y=labels.astype(np.int64),
        columns=tuple(Column(f"pixel_{row}_{column}") for row in range(8) for column in range(8)),
        target_names=("digit",),
        task="multiclass",
        classes=tuple("0123456789"),
        source="digits",
        test_rows=test_rows,
        feature_range=(0, _LARGEST_PIXEL),
        image_shape=(1, 8, 8),
    )
