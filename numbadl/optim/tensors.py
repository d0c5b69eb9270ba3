"""Many tensors for one launch: where they lie, and how they are cut into pieces of work."""

from dataclasses import dataclass

import numpy as np

from ..arrays import device_of, to_host
from ..kernels.cpu.map import PARALLEL_FROM
from ..kernels.shapes import PIECE


@dataclass
class _Prepared:
    """A kernel with its numbers and rooms, and what the numbers are: of all tensors (None: of each its own), and the scalars.

    To write a tuple into an array takes half a microsecond.
    """

    operands: tuple
    value: float | None = None
    scalars: tuple | None = None


class Tensors:
    """Rows of arrays of one dtype on one device: row k has operand k of every tensor.

    Tasks follow from the tensors' sizes alone, so results do not depend on the number of threads.
    """

    def __init__(self, rows):
        first = rows[0][0]
        self.device, self.dtype = device_of(first), first.dtype
        self.sizes = np.array([a.size for a in rows[0]], np.int64)
        self.size = int(self.sizes.sum())
        pieces, bounds = cut(self.sizes.tolist())
        self.count = len(pieces)
        self._pieces, self._bounds = (self.device.from_host(a) for a in (pieces, bounds))
        self._rows = [list(row) for row in rows]  # kept alive: kernels know their addresses only
        self._table = np.array([[address(a) for a in row] for row in rows], np.int64)
        self._tables, self._kernels, self._specs = {}, {}, []

    def set_row(self, k, arrays, addresses=None):
        """Take other arrays of the same sizes as operand k."""
        self._rows[k], self._tables = arrays, {}
        self._table[k] = [address(a) for a in arrays] if addresses is None else addresses

    def operand(self, k):
        """The arrays of row k."""
        return self._rows[k]

    def run(self, spec, values=None, scalars=(), rows=slice(None)):
        """Run a `Segments` kernel over some rows; returns the terms' sums, (tensors, terms) in float64."""
        key = (rows.start, rows.stop)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self.device.from_host(np.ascontiguousarray(self._table[rows]))
        found = self._kernels.get(id(spec)) or self._prepared(spec)
        kernel, of_tensors, of_all, partial, totals = found.operands
        if values is not None and (type(values) is not float or values != found.value):
            of_tensors[...], found.value = values, values if type(values) is float else None
        if scalars != found.scalars:
            of_all[...], found.scalars = scalars, scalars
        if self.device.name == "cpu":
            kernel(table, self._pieces, self._bounds, of_tensors, of_all, partial, totals)
            return totals
        given = map(self.device.from_host, (of_tensors, of_all))
        kernel(table, self._pieces, self._bounds, *given, partial, totals)
        return to_host(totals)

    def _prepared(self, spec):
        """The kernel of *spec*, arrays for what it takes beside the table, and for what it gives."""
        self.device.prepare(self.size)
        rooms = np.empty((self.count, spec.terms)), np.empty((self.sizes.size, spec.terms))
        numbers = np.empty((self.sizes.size, spec.values), self.dtype), np.empty(spec.scalars, self.dtype)
        found = _Prepared((self.device.kernel(spec), *numbers, *map(self.device.from_host, rooms)))
        self._kernels[id(spec)] = found
        self._specs.append(spec)  # as long as it lives, no other has its id; to hash it would take longer than the call
        return found


def address(array):
    """Where the first element of an array lies, in the memory of its device; the array is C-contiguous."""
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    given = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__  # the simulator's arrays
    return given["data"][0]


def cut(sizes):
    """(pieces, bounds) as `numbadl.kernels.shapes.Segments` has them; a task has some `PIECE` elements.

    >>> cut([3, 40000, 5])[0].tolist()[:3]
    [[0, 0, 3], [1, 0, 8192], [1, 8192, 8192]]
    >>> cut([3, 40000, 5])[1].tolist()
    [0, 2, 3, 4, 5, 7]
    >>> cut([3, 4])[1].tolist()
    [0, 2]
    """
    pieces, bounds, held = [], [0], 0
    for k, size in enumerate(sizes):
        for start in range(0, size, PIECE):
            count = min(PIECE, size - start)
            pieces.append((k, start, count))
            held += count
            if held >= PIECE:
                bounds.append(len(pieces))
                held = 0
    if bounds[-1] < len(pieces):
        bounds.append(len(pieces))
    if sum(sizes) < PARALLEL_FROM:
        bounds = [0, len(pieces)] if pieces else [0]
    return np.array(pieces, np.int64).reshape(-1, 3), np.array(bounds, np.int64)
