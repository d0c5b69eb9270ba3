"""Files written by ``numpy.savez``: features in `x` or `X`, targets in `y`, or the same with `_train` and `_test`."""

import zipfile
import zlib

import numpy as np

from .errors import DataError, listing, plural
from .source import Source


class NpzSource(Source):
    """An npz file of numeric arrays. Pickled arrays are refused, because loading one can run any code.

    Features are an array `x` (or `X`) of N rows; further axes are flattened, so (N, 28, 28) images become 784 columns.
    A file with `x_train` may also hold `x_test`, whose rows then are the test rows. `feature_names`, an array of
    strings, names the columns; otherwise they are called x0, x1, ... and are matched by position.

    Raises
    ------
    DataError
        If the file is no npz, is damaged, holds pickled objects, or its arrays have unfitting names or shapes.
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path):
        self.path = path
        self._arrays = _load(path)
        self._parts, x = self._features()
        self._x_name = self._parts[0]
        self._x = x.reshape(len(x), int(np.prod(x.shape[1:])))
        self.n_rows, width = self._x.shape
        self.named = "feature_names" in self._arrays
        self.names = self._feature_names(width)
        self.image_shape = _image_shape(x.shape[1:])
        self.feature_range = (0, 255) if x.dtype == np.uint8 else None
        self._targets = {}

    def where(self, row, name):
        arrays = self._targets[name][0] if name in self._targets else self._parts
        first_rows = len(self._arrays[arrays[0]])
        array, row = (arrays[0], row) if row < first_rows else (arrays[1], row - first_rows)
        return f"{self.path}, row {row} (counted from 0) of array {array!r}, column {name!r}"

    def target_names(self, target):
        """Names of one-dimensional targets; the columns of a two-dimensional `y` are called y0, y1, ..."""
        self._targets = {}
        for wanted in target or ("y",):
            arrays, values = self._target_arrays(wanted)
            if values.ndim == 1:
                self._targets[wanted] = arrays, values
            else:
                self._targets.update((f"{wanted}{j}", (arrays, values[:, j])) for j in range(values.shape[1]))
        return tuple(self._targets)

    def column(self, name, kind="auto"):
        if name not in self._targets:
            if kind == "text":
                raise DataError(
                    f"{self.path}: column {name!r} must hold text, but array {self._x_name!r} holds numbers"
                )
            return self.numbers([name])[:, 0]
        values = self._targets[name][1]
        if values.dtype.kind == "U":
            return values.astype(object)
        return self._finite(values.astype(np.float64)[:, None], [name])[:, 0]

    def numbers(self, names):
        index = {name: position for position, name in enumerate(self.names)}
        return self._finite(self._x[:, [index[name] for name in names]], names)

    def rename(self, names):
        """Give the columns of an unnamed file the names that a model knows; their number must agree."""
        if len(names) != len(self.names):
            raise DataError(
                f"{self.path}: array {self._x_name!r} has {plural(len(self.names), 'column')}, "
                f"the model takes {len(names)}"
            )
        self.names = tuple(names)

    def _finite(self, values, names):
        bad = ~np.isfinite(values)
        if bad.any():
            row, position = np.argwhere(bad)[0]
            value = values[row, position]
            raise DataError(f"{self.where(row, names[position])}: got {value}, accepted are finite numbers")
        return values

    def _features(self):
        """Names of the arrays with features (one, or train and test) and their rows, stacked."""
        self.test_rows = None
        for name in ("x", "X"):
            if name in self._arrays:
                return [name], self._numeric(name)
        for train, test in (("x_train", "x_test"), ("X_train", "X_test")):
            if train in self._arrays and test in self._arrays:
                first, second = self._numeric(train), self._numeric(test)
                if first.shape[1:] != second.shape[1:]:
                    raise DataError(
                        f"{self.path}: arrays {train!r} and {test!r} have shapes {first.shape} and {second.shape}; "
                        "they may differ in the number of rows only"
                    )
                self.test_rows = np.arange(len(first), len(first) + len(second))
                return [train, test], np.concatenate([first, second])
            for name in (train, test):
                if name in self._arrays:
                    return [name], self._numeric(name)
        raise DataError(
            f"{self.path}: no array of features; 'x', 'X', 'x_train' or 'X_train' is expected, "
            f"the arrays are {listing(self._arrays)}"
        )

    def _numeric(self, name):
        array = self._arrays[name]
        if array.dtype.kind not in "biuf":
            raise DataError(f"{self.path}: array {name!r} has dtype {array.dtype}; numbers are expected")
        if array.ndim < 2 or array.size == 0:
            raise DataError(f"{self.path}: array {name!r} has shape {array.shape}; (rows, columns) is expected")
        return array

    def _feature_names(self, width):
        if not self.named:
            return tuple(f"x{position}" for position in range(width))
        names = self._arrays["feature_names"]
        if names.dtype.kind != "U" or names.shape != (width,) or len(set(names.tolist())) != width:
            raise DataError(
                f"{self.path}: array 'feature_names' has dtype {names.dtype} and shape {names.shape}; "
                f"{width} different strings are expected"
            )
        return tuple(names.tolist())

    def _target_arrays(self, wanted):
        """Names of the arrays that hold one target (one, or train and test) and their rows, stacked."""
        whole = len(self._parts) == 1 and wanted in self._arrays
        names = [wanted] if whole else [wanted + part[1:] for part in self._parts]
        missing = [name for name in names if name not in self._arrays]
        if missing:
            raise DataError(f"{self.path}: no array {listing(missing)}; the arrays are {listing(self._arrays)}")
        arrays = [self._arrays[name] for name in names]
        for name, array in zip(names, arrays, strict=True):
            if array.dtype.kind not in "biufU" or array.ndim not in (1, 2) or array.size == 0:
                raise DataError(
                    f"{self.path}: array {name!r} has dtype {array.dtype} and shape {array.shape}; "
                    "numbers or strings of shape (rows,) or (rows, columns) are expected"
                )
        if len({array.shape[1:] for array in arrays}) > 1 or len({array.dtype.kind == "U" for array in arrays}) > 1:
            raise DataError(f"{self.path}: arrays {listing(names)} do not agree in kind and number of columns")
        for name, part, array in zip(names, self._parts, arrays, strict=True):
            rows = len(self._arrays[part])
            if len(array) != rows:
                raise DataError(f"{self.path}: array {name!r} has {len(array)} rows, array {part!r} has {rows}")
        values = np.concatenate(arrays)
        return names, values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _image_shape(shape):
    """(channels, height, width) of arrays with two or three axes behind the first; more channels than 4 may be anything."""
    if len(shape) == 2:
        return (1, *shape)
    return tuple(shape) if len(shape) == 3 and shape[0] <= 4 else None


def _load(path):
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: not an npz file (numpy.savez writes one)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = {}
                for name in content.files:
                    # Named in the message: one array of objects spoils the file, and the reader wants to know which.
                    arrays[name] = content[name]
                return arrays
        except ValueError as error:
            if "pickle" in str(error):
                raise DataError(
                    f"{path}: array {name!r} holds pickled objects, which are refused; "
                    "save it with a numeric or string dtype"
                ) from None
            raise DataError(f"{path}: damaged npz file ({error})") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
            raise DataError(f"{path}: damaged npz file ({error})") from None
