"""What is done to the features before the network, learned from training rows and kept with the model."""

import numpy as np

from .errors import DataError
from .features import Column, encode_features
from .table import open_source


class Preprocessor:
    """Standardise numbers: (x - mean) / scale for each feature, and the same for the targets of a regression.

    Build one with `Preprocessor.fit`. Columns of 0 and 1 that stand for categories are left as they are. Constant
    columns get scale 1. If the file's format gives the features a range (8-bit images), that range is mapped to
    [0, 1] instead: standardising would blow up pixels that are almost always blank.

    Parameters
    ----------
    columns : sequence of Column
    mean, scale : float64 arrays, one value for each feature
    target_mean, target_scale : float64 arrays, one value for each target, optional

    Examples
    --------
    >>> import numpy as np
    >>> from numbadl.data import Preprocessor
    >>> from numbadl.data.features import Column
    >>> p = Preprocessor([Column("a")], mean=np.array([10.0]), scale=np.array([2.0]))
    >>> p.transform(np.array([[10.0], [14.0]]))
    array([[0.],
           [2.]], dtype=float32)
    >>> Preprocessor.from_dict(p.to_dict()).mean
    array([10.])
    """

    def __init__(self, columns, mean, scale, target_mean=None, target_scale=None):
        self.columns = tuple(columns)
        self.mean = np.asarray(mean, np.float64)
        self.scale = np.asarray(scale, np.float64)
        self.target_mean = None if target_mean is None else np.asarray(target_mean, np.float64)
        self.target_scale = None if target_scale is None else np.asarray(target_scale, np.float64)
        width = sum(column.width for column in self.columns)
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if values.shape != (width,) or not np.isfinite(values).all():
                raise ValueError(f"{name}: got shape {values.shape}, accepted are {width} finite values")
        if not (self.scale > 0).all():
            raise ValueError("scale: values above 0 are accepted")

    @classmethod
    def fit(cls, table, rows=None, image_shape=None):
        """Learn mean and scale from the training rows of a `Table`.

        With *image_shape*, (channels, height, width), they are those of each channel: all of its pixels are standardised
        alike, because a pixel that is almost always blank would be blown up.

        Raises `DataError` if a column's values are so large that their spread is no finite number.
        """
        rows = slice(None) if rows is None else rows
        numeric = np.array([column.categories is None for column in table.columns for _ in range(column.width)])
        if table.feature_range is not None:
            low, high = table.feature_range
            mean, scale = np.full(len(numeric), float(low)), np.full(len(numeric), float(high - low))
        elif image_shape is not None:
            mean, scale = _of_channels(table.x[rows], image_shape, table.source)
        else:
            mean, scale = _mean_and_scale(table.x[rows], table.feature_names, table.source)
            mean, scale = np.where(numeric, mean, 0.0), np.where(numeric, scale, 1.0)
        target = (None, None)
        if table.task == "regression":
            target = _mean_and_scale(table.y[rows], table.target_names, table.source)
        return cls(table.columns, mean, scale, *target)

    def transform(self, x, dtype=np.float32):
        """Features (N, F) of a table, standardised in double precision and then cast to `dtype`.

        Raises `DataError` for a value that `dtype` cannot hold then.
        """
        return self._transform(x, dtype, lambda row, name: f"row {row} (counted from 0), column {name!r}")

    def _transform(self, x, dtype, where):
        names = [column.name for column in self.columns for _ in range(column.width)]
        return _finite((np.asarray(x, np.float64) - self.mean) / self.scale, names, dtype, where)

    def transform_target(self, y, dtype=np.float32):
        """Regression targets (N, T), standardised; other targets unchanged."""
        if self.target_mean is None:
            return y
        standardised = (np.asarray(y, np.float64) - self.target_mean) / self.target_scale
        numbers = range(len(self.target_mean))
        return _finite(standardised, numbers, dtype, lambda row, number: f"row {row} (counted from 0), target {number}")

    def restore_target(self, outputs):
        """A network's outputs (N, T) in the units of the file's targets, as float64."""
        outputs = np.asarray(outputs, np.float64)
        return outputs if self.target_mean is None else outputs * self.target_scale + self.target_mean

    def read(self, source, dtype=np.float32):
        """Features of a new file, ready for the network.

        Columns are found by name, in any order; others in the file are ignored, whatever they hold. An npz file
        without `feature_names` is matched by position.

        Raises
        ------
        DataError
            For a missing column, a bad cell, or a category that the training data did not have.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from numbadl.data import Preprocessor
        >>> from numbadl.data.features import Column
        >>> p = Preprocessor([Column("a"), Column("b")], [0, 0], [1, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "new.csv")
        ...     _ = path.write_text("name,b,a\\nx,1,2\\ny,3,4\\n")
        ...     p.read(path)
        array([[2., 1.],
               [4., 3.]], dtype=float32)
        """
        if not hasattr(source, "column"):
            source = open_source(source)
        if not source.named:
            source.rename([column.name for column in self.columns])
        return self._transform(encode_features(source, self.columns), dtype, source.where)

    def to_dict(self):
        """Everything as lists, numbers and strings, for JSON. Python's float repr keeps every bit."""
        return {
            "columns": [
                {"name": c.name, "categories": None if c.categories is None else list(c.categories)}
                for c in self.columns
            ],
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "target_mean": None if self.target_mean is None else self.target_mean.tolist(),
            "target_scale": None if self.target_scale is None else self.target_scale.tolist(),
        }

    @classmethod
    def from_dict(cls, values):
        """The preprocessor that `to_dict` wrote; ValueError if `values` is something else."""
        try:
            columns = [
                Column(c["name"], None if c["categories"] is None else tuple(c["categories"]))
                for c in values["columns"]
            ]
            keys = ("mean", "scale", "target_mean", "target_scale")
            return cls(columns, *(values[key] for key in keys))
        except (KeyError, TypeError) as error:
            raise ValueError(f"values: not what Preprocessor.to_dict wrote ({error!r})") from None


def _finite(values, names, dtype, where):
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    bad = ~np.isfinite(cast)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{where(row, names[column])}: {values[row, column]:g} once standardised, beyond the range of {cast.dtype}"
        )
    return cast


def _of_channels(x, image_shape, source):
    """Mean and scale of each pixel: those of all pixels of its channel."""
    channels, pixels = image_shape[0], image_shape[1] * image_shape[2]
    x = x.reshape(-1, channels, pixels).transpose(0, 2, 1).reshape(-1, channels)
    found = _mean_and_scale(x, [f"channel {channel}" for channel in range(channels)], source)
    return [np.repeat(values, pixels) for values in found]


def _mean_and_scale(values, names, source):
    """Mean and standard deviation of each column in double precision, scale 1 for constant columns."""
    values = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = values.mean(axis=0), values.std(axis=0)
    # The rounded mean of equal values need not be one of them, so the deviation alone does not tell a constant column.
    constant = values.min(axis=0) == values.max(axis=0)
    mean, scale = np.where(constant, values[0], mean), np.where(constant | (scale == 0), 1.0, scale)
    bad = ~(np.isfinite(mean) & np.isfinite(scale))
    if bad.any():
        name = names[int(np.argmax(bad))]
        raise DataError(f"{source}, column {name!r}: the values are too large, their spread is no finite number")
    return mean, scale
