"""Where batches come from: arrays, which may be memory maps larger than memory, or an iterable of batches.

Both give `Batch` after `Batch` on the host, in the dtypes that the model and the loss take, in buffers that are used again.
"""

import itertools
import math
import mmap
from dataclasses import dataclass

import numpy as np

from .. import _arguments as arguments
from ..losses import LogitsLoss
from ..nn.layer import every
from ..nn.layers import BatchNorm
from .weights import checked_weights

_BLOCK = 1 << 23  # bytes that are looked at together where an array is not looked at as a whole
_RELEASE = 1 << 25  # bytes of a memory map that may have been touched before its pages are given back
_TOUCHED = 1 << 21  # bytes that reading one row may bring in: Linux maps a huge page where the file's cache has one


@dataclass
class Batch:
    """Rows for one step: inputs, targets, and the weight of each row or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None


class Rows:
    """Rows of an array in *dtype*, gathered into a buffer that the next call of `take` overwrites.

    Nothing of the array is converted or copied but the rows that are taken. The pages of a memory map are given back every
    now and then, so that the process does not grow with what it has read.

    Examples
    --------
    >>> Rows(np.arange(6).reshape(3, 2), np.float32).take(np.array([2, 0]))
    array([[4., 5.],
           [0., 1.]], dtype=float32)
    """

    def __init__(self, array, dtype):
        self.array, self.dtype, self.shape = array, np.dtype(dtype), array.shape
        self._map, self._touched, self._held = _memory_map(array), 0, {}
        self._row = math.prod(self.shape[1:]) * array.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def take(self, rows):
        """The *rows*, a slice or an array of numbers; an array of ours, or a view where nothing has to be done."""
        if self._map is None:
            return self._converted(self._gathered(rows), isinstance(rows, slice))
        rows, each = _numbers(rows, len(self)), self._row if isinstance(rows, slice) else self._row + _TOUCHED
        out, step = self._buffer("converted", len(rows), self.dtype), max(1, _RELEASE // each)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            some = slice(some[0], some[-1] + 1) if isinstance(some, range) else some
            with np.errstate(over="ignore", invalid="ignore"):
                np.copyto(out[start : start + step], self.array[some], casting="unsafe")
            self._release(min(step, len(rows) - start) * each)
        return out

    def _gathered(self, rows):
        """The rows in the array's own dtype."""
        if isinstance(rows, slice) or not self.array.flags.c_contiguous:  # np.take would copy the whole array first
            return self.array[rows]
        return self.array.take(rows, axis=0, out=self._buffer("rows", len(rows), self.array.dtype), mode="clip")

    def _converted(self, given, view):
        """*given* in our dtype; a *view* of the user's array is C-contiguous as well."""
        if given.dtype == self.dtype and (given.flags.c_contiguous or not view):
            return given
        found = self._buffer("converted", len(given), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(found, given, casting="unsafe")
        return found

    def blocks(self):
        """(number of the first row, rows in *dtype*, the same rows as they were given), one block after the other."""
        size = math.prod(self.shape[1:]) * max(self.dtype.itemsize, self.array.dtype.itemsize)
        step = max(1, _BLOCK // max(size, 1))
        if self._map is None and self.array.dtype == self.dtype:
            step = max(1, len(self))  # looked at as it is
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield start, self.take(rows), self.array[rows]

    def _buffer(self, name, count, dtype):
        held = self._held.get(name)
        if held is None or len(held) < count:
            held = self._held[name] = np.empty((count, *self.shape[1:]), dtype)
        if len(held) == count:
            return held
        part = self._held.get((name, count))
        if part is None or part.base is not held:  # views are kept, too: see `numbadl.repeated.Repeats`
            part = self._held[name, count] = held[:count]
        return part

    def _release(self, count):
        """Give the map's pages back if *count* more bytes are too many."""
        self._touched += count
        if self._touched >= _RELEASE:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _numbers(rows, count):
    """*rows* as something that has a length."""
    return range(*rows.indices(count)) if isinstance(rows, slice) else rows


def _memory_map(array):
    """The map of a file that *array* lies in, whose pages may be given back; None if there is none, or it is small."""
    if array.nbytes < _RELEASE:
        return None
    while array is not None:
        # Pages of a private map (copy on write) may hold what the user wrote, and are in no file.
        if isinstance(array, np.memmap) and array.mode in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED"):
            return getattr(array, "_mmap", None)
        array = getattr(array, "base", None)
    return None


# -- arrays ------------------------------------------------------------------------------------------------------------
class ArraySource:
    """Batches of rows of two arrays, in an order that follows from the seed and the number of the epoch."""

    def __init__(self, model, data, size, seed, shuffle):
        self.data, self.seed = data, seed
        n = len(data)
        self.size = n if size is None else min(size, n)
        self.bounds = [*range(0, n, self.size), n]
        if (
            len(self.bounds) > 2
            and self.bounds[-1] - self.bounds[-2] == 1
            and self.size > 1
            and any(isinstance(layer, BatchNorm) for layer in every(model.layers))
        ):
            del self.bounds[-2]  # one row has no variance: it joins the batch before it
        self.steps, self.shuffle = len(self.bounds) - 1, shuffle and self.size < n

    def first(self):
        """A batch to look at."""
        return self.data.take(slice(0, self.size))

    def epoch(self, number):
        """The batches of epoch *number*, counted from 1."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.data)) if self.shuffle else None
        for start, stop in itertools.pairwise(self.bounds):
            yield self.data.take(slice(start, stop) if order is None else order[start:stop])


class Data:
    """Checked inputs, targets and weights: *y* fits *x* and the loss.

    Raises TypeError or ValueError that names the argument, *prefix* before it.
    """

    def __init__(self, model, x, y, loss, prefix="", finite=False, sample_weight=None):
        self.model, self.loss, self.prefix, self.weight = model, loss, prefix, None
        self.x, y = rows_of(model, x, f"{prefix}x"), _array(f"{prefix}y", y)
        if y.ndim == 0 or len(self.x) != len(y):
            raise ValueError(
                f"{prefix}y: got shape {y.shape}, expected one row for each of the {len(self.x)} rows of x"
            )
        self.y = Rows(y, _target_dtype(model, y, loss, f"{prefix}y"))
        if sample_weight is not None:
            self.weight = checked_weights(f"{prefix}sample_weight", sample_weight, len(y))
        if finite:
            for start, rows, given in self.x.blocks():
                arguments.finite(f"{prefix}x", rows, given, start)
        labels = isinstance(loss, LogitsLoss)
        for start, rows, given in () if labels and self.y.dtype.kind == "i" else self.y.blocks():
            if finite:
                arguments.finite(f"{prefix}y", rows, given, start)
            if not labels:
                loss.check_target(rows, f"{prefix}y", start=start)

    def __len__(self):
        return len(self.x)

    def take(self, rows):
        return Batch(self.x.take(rows), self.y.take(rows), None if self.weight is None else self.weight[rows])

    def output_shape(self):
        """The shape of what the model makes of one row of x."""
        first = np.ascontiguousarray(self.x.take(slice(0, 1)))
        try:
            return self.model.forward(self.model.device.from_host(first)).shape[1:]
        except ValueError as error:
            shape = (len(self), *first.shape[1:])
            raise ValueError(
                f"{error} (tried with the first row of {self.prefix}x, which has shape {shape})"
            ) from error

    def check_targets(self, shape):
        """Raise for targets that do not fit outputs of that shape, so that nothing is found out in the middle of training."""
        name, y = f"{self.prefix}y", self.y
        if not isinstance(self.loss, LogitsLoss):
            if y.shape[1:] != shape:
                raise ValueError(
                    f"{name}: got shape {y.shape}, expected {(len(y), *shape)}, that of the model's outputs"
                )
        elif len(shape) != 1:
            raise ValueError(
                f"{self.loss.__name__} takes logits of shape (N, classes), the model's outputs are (N, *{shape})"
            )
        elif len(y.shape) == 1:
            for start, rows, _ in y.blocks():
                self.loss.check_labels(rows, shape[0], name, start=start)
        elif y.shape[1:] != shape:
            raise _no_labels(name, y.array, self.loss)
        else:
            for start, rows, _ in y.blocks():
                arguments.within(name, rows, 0, 1, start=start)

    def split(self, fraction, seed):
        """(data for training, data for validation): a share of the rows, drawn from the seed, is kept for validation."""
        count = round(len(self) * fraction)
        if not 0 < count < len(self):
            raise ValueError(
                f"validation_split: got {fraction}, which leaves {len(self) - count} of {len(self)} rows for training and "
                f"{count} for validation"
            )
        order = np.random.default_rng([seed, 0]).permutation(len(self))
        return _Subset(self, np.sort(order[count:])), _Subset(self, np.sort(order[:count]))


class _Subset:
    """Some rows of `Data`, by their numbers."""

    def __init__(self, data, rows):
        self.data, self.rows, self.loss, self.model = data, rows, data.loss, data.model

    def __len__(self):
        return len(self.rows)

    def take(self, rows):
        return self.data.take(self.rows[rows])


# -- iterables -----------------------------------------------------------------------------------------------------------
class StreamSource:
    """Batches (x, y) or (x, y, sample_weight) as an iterable gives them, checked one by one.

    An iterator goes on from epoch to epoch, and needs *steps_per_epoch*; anything else that can be iterated is begun anew.
    """

    def __init__(self, model, batches, loss, epochs, steps_per_epoch, done=0):
        self.model, self.loss, self.steps = model, loss, steps_per_epoch
        self._given, self._goes_on = batches, hasattr(batches, "__next__")
        if self._goes_on and steps_per_epoch is None and epochs > 1:
            raise ValueError(
                f"steps_per_epoch: got None, needed for {epochs} epochs of an iterator, which can be read only once"
            )
        self.shape, self._number, first = None, 0, iter(batches)
        try:
            self._first = self._checked(next(first))
        except StopIteration:
            raise ValueError("x: the iterable has no batch, accepted are one or more") from None
        self.shape = self._first.output_shape()
        self._first.check_targets(self.shape)
        if self._goes_on:
            whole = itertools.chain([self._first], map(self._checked, first))
            # What a resumed training has seen already.
            self._rest = itertools.islice(whole, done * (steps_per_epoch or 0), None)

    def first(self):
        """A batch to look at."""
        return self._first.take(slice(None))

    def epoch(self, number):
        """The batches of epoch *number*."""
        self._number = 0
        batches = self._rest if self._goes_on else map(self._checked, self._given)
        count = 0
        for data in itertools.islice(batches, self.steps):
            count += 1
            yield data.take(slice(None))
        if count == 0 or (self.steps is not None and count < self.steps):
            raise ValueError(f"x: the iterable ended after {count} of the {self.steps or 1} batches of epoch {number}")

    def _checked(self, batch):
        self._number += 1
        name = f"batch {self._number}: "
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            got = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else arguments.shown(batch)
            raise TypeError(f"{name}got {got}, accepted are (x, y) and (x, y, sample_weight)")
        x, y, *weight = batch
        data = Data(self.model, x, y, self.loss, name, finite=True, sample_weight=weight[0] if weight else None)
        if len(data) == 0:
            raise ValueError(f"{name}x: got no rows, accepted are one or more")
        if self.shape is not None:
            data.check_targets(self.shape)
        return data


# -- checks --------------------------------------------------------------------------------------------------------------
def rows_of(model, x, name):
    """*x* as `Rows` of the model's dtype."""
    x = _array(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name}: got shape {x.shape}, expected (N, features) or more dimensions")
    _check_numbers(name, x)
    return Rows(x, model.dtype)


def _array(name, value):
    arguments.no_subclass(name, value)
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name}: {error}") from None


def _check_numbers(name, given):
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name}: got dtype {given.dtype}, accepted are numbers")


def _target_dtype(model, y, loss, name):
    """int64 for labels, otherwise the model's."""
    if isinstance(loss, LogitsLoss) and not loss.takes_probabilities(y, 2):
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise _no_labels(name, y, loss)
        return np.int64
    _check_numbers(name, y)
    return model.dtype


def _no_labels(name, y, loss):
    probabilities = ", or probabilities of its classes" * (loss.record.soft is not None)
    return TypeError(
        f"{name}: got dtype {y.dtype} and shape {y.shape}, {loss.__name__} takes integer labels of shape (N,){probabilities}"
    )
