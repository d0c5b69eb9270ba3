"""The loop shapes: what an operation declares about itself, and what every device builds its kernel from.

An operation names its element function and the kinds of its operands; ``kernels.cpu`` and ``kernels.cuda`` have a
module for each shape here, whose ``build(declaration)`` gives the kernel. A kernel is called with the operands in
the order of the declaration: inputs, outputs, scalars. Kinds of operands, one letter each:

====  =========================================================
x     of the call's floating type, float32 or float64
u     uint32
i     int64
s     uint64 (seeds)
b     bool
d     float64
====  =========================================================
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

PIECE = 1 << 13  # elements of a segment that one task handles at a time
KINDS = {"u": np.uint32, "i": np.int64, "s": np.uint64, "b": np.bool_, "d": np.float64}


def dtype_of(kind, dtype):
    """The NumPy type of an operand of *kind* in a kernel for *dtype*."""
    return KINDS.get(kind, dtype)


def _operands(kinds, ndim):
    return [(kind, ndim) for kind in kinds]


@dataclass(frozen=True)
class Map:
    """(*outputs, *terms) = function(*inputs, [bits,] *channel values, *scalars), element by element.

    An output may be an input. With *random*, the element's 32 random bits come after the inputs. *channels* counts the
    operands with one value for each channel, where element e belongs to channel ``(e // inner) % C``; *sums* counts the
    terms whose sums over each channel are wanted: the gradients of channel operands.

    *angle* takes what the function takes and gives the largest angle whose sine or cosine it needs.

    Operands of the kernel: inputs and outputs, flat; channel operands (C,); [sums (sums, C)]; scalars; [seed, offset
    (uint64), start (int64): the index of the first element in the random stream]; [inner (int64), with channels or sums].
    """

    name: str
    function: Callable
    inputs: str = "x"
    outputs: str = "x"
    scalars: str = ""
    random: bool = False
    channels: int = 0
    sums: int = 0
    angle: Callable | None = None

    @property
    def by_channel(self):
        """Whether the kernel has to know which channel an element belongs to."""
        return self.channels + self.sums > 0

    def operands(self):
        """(kind, number of dimensions) of each operand, in order; scalars have 0."""
        arrays = _operands(self.inputs + self.outputs + "x" * self.channels, 1) + _operands("x" * (self.sums > 0), 2)
        return arrays + _operands(self.scalars + "ssi" * self.random + "i" * self.by_channel, 0)


@dataclass(frozen=True)
class Gates:
    """A map over rows in which blocks of equal width lie side by side, as the gates of a recurrent layer do.

    *inputs* and *outputs* have the number of blocks of each operand; an operand of k blocks is (rows, k * width). The
    function takes element j of each block of each input, and the scalars, and gives that of each block of the outputs.
    An output may be an input with as many blocks.

    Operands of the kernel: inputs, outputs, scalars.
    """

    name: str
    function: Callable
    inputs: tuple
    outputs: tuple
    scalars: str = ""

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return _operands("x" * len(self.inputs + self.outputs), 2) + _operands(self.scalars, 0)


@dataclass(frozen=True)
class Steps:
    """A `Gates` for each of T steps in turn, and a product with a matrix between them: one direction of a recurrent layer.

    Forward, a step is ``product = state @ weight.T + bias``, of the state that it starts from, and then the gates; with
    *backward*, from the last step to the first, the gates and then ``product = state @ weight + bias``, of the *state* of
    that step, the gradient of its preactivations. Rows (samples) do not depend on each other.

    Arrays have all steps one after the other, and *places* says where the rows of a step lie, one letter for each operand of the
    gates: "t" step t, "b" and "a" the state before and after it, of which there are T + 1, "p" the product, "s" the same
    place for all steps, "y" the one or the other, as the operand *moves* says.

    Operands of the kernel: weight, bias (C,), room, state, those of the gates, then (int64) T, whether time goes backwards,
    *moves*, and the number of steps after which product and operands "s" are set to 0 (0: never). *room* has `room`
    elements, for the kernel's own use.
    """

    DEPTH: ClassVar = 256  # of the product's inner index at a time
    LANES: ClassVar = 32  # at most, across a tile

    name: str
    gates: Gates
    places: str
    backward: bool = False

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        given = _operands("x", 2) + _operands("xx", 1) + _operands("x", 2)
        return given + self.gates.operands() + _operands("iiii", 0)

    @classmethod
    def room(cls, columns, depth):
        """Elements of room for a product of so many columns and so deep an inner index."""
        down = -(-depth // cls.DEPTH) * cls.DEPTH
        return down * (columns + cls.LANES) + cls.LANES


@dataclass(frozen=True)
class Reduce:
    """The sum, or "max", over all elements of function(*inputs, *scalars), as a float64: fixed blocks, combined in order.

    The sum of no elements is 0, their maximum -inf; NaN wins.
    """

    name: str
    function: Callable
    inputs: str = "x"
    scalars: str = ""
    combine: str = "sum"

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return _operands(self.inputs, 1) + _operands(self.scalars, 0)


@dataclass(frozen=True, eq=False)
class Segments:
    """A map over any number of tensors at once, each a segment of memory of its own: the step of an optimiser.

    (*written, *terms) = function(*elements, *values of the segment, *scalars), element by element. There are *operands*
    arrays for each segment, all of its length (parameter, gradient, state); *writes* are the positions of those that take
    the first results. *terms* are summed over each segment, in float64 over pieces of `PIECE` elements, in order.

    Operands of the kernel: addresses of the segments' first elements (operands, segments); pieces (pieces, 3): segment,
    first element, number of elements, in order of segments; bounds (tasks + 1,): the pieces of task t are bounds[t] to
    bounds[t + 1]; the segments' values (segments, values); scalars (scalars,); room for the terms of pieces (pieces, terms);
    the terms of segments, written (segments, terms).
    """

    name: str
    function: Callable
    operand_count: int
    writes: tuple = ()
    values: int = 0
    scalars: int = 0
    terms: int = 0

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return [("i", 2), ("i", 2), ("i", 1), ("x", 2), ("x", 1), ("d", 2), ("d", 2)]


@dataclass(frozen=True)
class Stage:
    """One reduction over a row: "sum", "max" or "top" of function(...), or its value at the row's "label".

    With *keep*, later stages see its values in place of input 0. "top" is the
    maximum of a row without NaN, for stages behind which a NaN shows anyway. "label", which comes before stages with *keep*,
    reads one element of the row, and is 0 where the label is no column.

    ``rebased(total, *results before it of a part of the row, *those of the row)`` is what a part's total is to the row, where
    that depends on the results before it.
    """

    combine: str
    function: Callable
    keep: bool = False
    rebased: Callable | None = None

    def without_keep(self):
        return replace(self, keep=False)


@dataclass(frozen=True)
class Threshold:
    """A number of each row, found by repetition: it separates members of the row from the others.

    From ``start(*results of the stages)`` on, the next one is ``update(sum of terms, number of members)``, until that
    number stays the same; ``terms(*elements, *results of the stages, threshold)`` gives an element's term, and 1 for a
    member, otherwise 0.
    """

    start: Callable
    terms: Callable
    update: Callable


@dataclass(frozen=True)
class Row:
    """An operation on each row of 2-D arrays, in stages and a final map.

    Every function takes: the element of each input, that of each of *columns* operands that all rows share, then (if
    *labelled*) the column's distance from the row's label, an int32 that is 0 in the label's column, then the results of
    the stages before it. *output* takes the row's entry of each of *row_values* operands and the scalars, too, and gives
    the element of the output (None: there is none); *value*, if there is one, takes the results of all stages and the
    row's entries, and gives the row's entry of one more output, of shape (rows,).

    *settled*, if there is one, is a function of the last result, computed once for each row, that *output* takes in its place.
    A *threshold*, if there is one, comes after the results of the stages.

    Operands of the kernel: inputs (rows, n), columns (n,), [labels (rows,) int64], [output (rows, n)], [values (rows,)],
    row values (rows,), scalars. A stage with *keep* stores into the output and needs one. Kernels of the CPU refuse labels
    that are no columns.
    """

    name: str
    stages: tuple
    output: Callable | None = None
    value: Callable | None = None
    inputs: str = "x"
    scalars: str = ""
    labelled: bool = False
    threshold: Threshold | None = None
    columns: int = 0
    row_values: int = 0
    settled: Callable | None = None

    def counts(self):
        """The number of inputs, columns, labels, outputs, values and row values; scalars follow."""
        has_output, has_value = self.output is not None, self.value is not None
        return len(self.inputs), self.columns, int(self.labelled), int(has_output), int(has_value), self.row_values

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        _, columns, labels, output, values, row_values = self.counts()
        before = _operands(self.inputs, 2) + _operands("x" * columns + "i" * labels, 1)
        return (
            before + _operands("x" * output, 2) + _operands("x" * (values + row_values), 1) + _operands(self.scalars, 0)
        )


@dataclass(frozen=True)
class Columns:
    """A `Row` along the middle axis of (outer, n, inner) arrays: stages and a map of elements, without labels and the like.

    Operands of the kernel: inputs, output, scalars.
    """

    row: Row

    @property
    def name(self):
        return f"{self.row.name}.columns"

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return _operands(self.row.inputs + "x", 3) + _operands(self.row.scalars, 0)

    @staticmethod
    def take(row):
        """Whether an operation on rows is one that columns can do."""
        return row.output is not None and row.counts()[1:] == (0, 0, 1, 0, 0) and row.threshold is None


@dataclass(frozen=True)
class Channel:
    """Statistics over each channel of (N, C, S) arrays, and a map that uses them: batch norm and its gradient.

    - ``reduce(*inputs, *[channel arrays of reduce_with], *constants)`` gives *sums* terms, summed over the channel
      (None: no sums);
    - ``finish(*sums, *channel_inputs, count, *scalars)`` gives the channel outputs; with sums, it computes in float64;
    - ``output(*inputs, *[channel arrays of map_with], *constants)`` gives the element of each output (None: there is none).

    Channel arrays are counted through channel inputs and then channel outputs; one may be both (running statistics).
    An input that a function does not use is not read. Operands of the kernel: inputs and outputs as (N, C, S), channel
    inputs and outputs as (C,) each, scalars, constants.
    """

    name: str
    reduce: Callable | None
    sums: int
    reduce_with: tuple
    finish: Callable
    channel_inputs: int
    channel_outputs: int
    output: Callable | None = None
    map_with: tuple = ()
    inputs: str = "x"
    scalars: str = ""
    outputs: str = "x"
    constants: str = ""

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        channels = "x" * (self.channel_inputs + self.channel_outputs)
        arrays = _operands(self.inputs + self.outputs, 3) + _operands(channels, 1)
        return arrays + _operands(self.scalars + self.constants, 0)


@dataclass(frozen=True)
class Sample:
    """out[c] = function of the first, the middle and the last element of channel c of an (N, C, S) array, which has some.

    Operands of the kernel: the array, out (C,).
    """

    name: str
    function: Callable

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return _operands("x", 3) + _operands("x", 1)


@dataclass(frozen=True)
class Norm:
    """Statistics of each row of 2-D arrays, and a map that uses them: layer norm and its kin, and their gradients.

    Row r has n = k * s elements: *k* segments of *s*. Affine operands have a value for each segment, of *G* rows that
    take turns: row r has those from ``(r % G) * k`` on. Layer norm: s = 1, G = 1. Group norm: a segment is a channel.

    - ``prior(*inputs)``: its mean over the first `some_of` n elements of the row, in the arrays' type, is the first value that
      is computed for a row (None: there is none);
    - ``reduce(*inputs, *affine, *row inputs, [mean])`` gives *sums* terms, summed over the row;
    - ``finish(*sums, *row inputs, [mean], n, *scalars)`` gives *results* more values of the row;
    - ``output(*inputs, *affine, *row inputs, [mean], *results)`` gives the element of the output;
    - ``terms(*inputs, *affine, *row inputs)`` gives *affine_sums* terms, whose sums over each segment are wanted, over all
      rows (None: there are none): the gradients of affine operands. A norm with terms has no prior.

    On the CPU `finish` computes in float64. Operands of the kernel: inputs and the output (rows, n), affine operands
    (G * k,), row inputs (rows,), the first *row_outputs* of the computed values (rows,), [sums (affine_sums, G * k)],
    scalars, s (int64).
    """

    name: str
    prior: Callable | None
    reduce: Callable
    sums: int
    finish: Callable
    results: int
    output: Callable
    affine: int
    row_inputs: int = 0
    row_outputs: int = 0
    terms: Callable | None = None
    affine_sums: int = 0
    inputs: str = "x"
    scalars: str = ""

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        values = "x" * (self.affine + self.row_inputs + self.row_outputs)
        arrays = _operands(self.inputs + "x", 2) + _operands(values, 1) + _operands("x" * (self.affine_sums > 0), 2)
        return arrays + _operands(self.scalars + "i", 0)


def some_of(n):
    """How many elements of n tell roughly what their mean is.

    The mean of m of n elements is at most sqrt(n / m - 1) standard deviations off the mean of all, whatever they are.
    """
    return min(n, max(64, n // 16))


WINDOWS = {  # name -> the operands of a `Window` before the scalars, (kind, number of dimensions), and the number of flags
    "pad": ((("x", 4), ("x", 4)), 0),
    "max_pool": ((("x", 4), ("x", 4), ("i", 4)), 0),
    "max_pool.backward": ((("x", 4), ("i", 4), ("x", 4)), 0),
    "avg_pool": ((("x", 4), ("x", 4)), 1),
    "avg_pool.backward": ((("x", 4), ("x", 4)), 1),
}


@dataclass(frozen=True)
class Window:
    """Windows over the last two axes of an (N, C, H, W) array x: what convolution and pooling are made of.

    Window (p, q) of the P * Q has the elements (p * sh + i * dh - ph, q * sw + j * dw - pw), 0 <= i < kh, 0 <= j < kw;
    those beyond x are padding. By *name*, with the operands:

    - "pad": x, y (N, C, P, Q): the element of each window of one, 0 in the padding, which may be negative;
    - "max_pool": x, y (N, C, P, Q), index: a window's maximum, and h * W + w of the first that equals it, or of its last NaN;
    - "max_pool.backward": grad (N, C, P, Q), index, dx;
    - "avg_pool": x, y (N, C, P, Q): the mean of a window, in which padding of ph and pw counts as zeros if the flag is set;
    - "avg_pool.backward": grad (N, C, P, Q), dx.

    All have the scalars kh, kw, sh, sw, ph, pw, dh, dw after their arrays, and averages, for which dh = dw = 1, the flag.
    """

    name: str

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        arrays, flags = WINDOWS[self.name]
        return [*arrays, *_operands("i" * (8 + flags), 0)]

    def places(self):
        """Which operand is the (N, C, H, W) array, and which one has the extents P and Q last."""
        last = len(WINDOWS[self.name][0]) - 1
        return (last, 0) if self.name.endswith("backward") else (0, 1)


TAPS = {  # name -> the operands of a `Taps` before the scalar, (kind, number of dimensions)
    "convolve": [("x", 3), ("x", 2), ("x", 2), *_operands("iiii", 1), ("x", 1), ("x", 4)],
    "convolve.weight": [("x", 3), ("x", 4), *_operands("ii", 1), ("x", 1), ("x", 3)],
}


@dataclass(frozen=True)
class Taps:
    """Convolution of N samples of G groups, by tables of places in memory, (int64): all geometry is in these.

    Tap k of position t is the element ``taps[k] + starts[t]`` of a group of a sample. By *name*, with the operands:

    - "convolve": source (N, G, S), weight (G, M), bias (G, R), taps, places (K,), starts, targets (T,), room, out
      (N, G, R, L), pitch (int64): ``out[n, g, r, targets[t]] = bias[g, r] + the sum over k of weight[g, r * pitch + places[k]]
      * source[n, g, taps[k] + starts[t]]``; targets grow;
    - "convolve.weight": source (N, G, S), grad (N, G, R, T), taps, starts, room, out (G, R, K), parts (int64): ``out[g, r, k] =
      the sum over n and t of grad[n, g, r, t] * source[n, g, taps[k] + starts[t]]``; N > 0 samples are added up in so many
      parts.

    taps go on with any places to a multiple of MULTIPLE. *room* has `room` elements, for the kernel's own use.
    """

    MULTIPLE: ClassVar = 24  # of the rows of a tile
    LANES: ClassVar = 32  # at most, across a tile

    name: str

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return [*TAPS[self.name], ("i", 0)]

    @classmethod
    def room(cls, groups, rows, depth, parts=1):
        """Elements of room for K = *depth* taps and, if gradients of weights are added up, so many parts."""
        down, across = (-(-count // unit) * unit for count, unit in ((depth, cls.MULTIPLE), (rows, cls.LANES)))
        return parts * groups * down * across + cls.LANES


@dataclass(frozen=True)
class Take:
    """Rows of a table (V, D) by their numbers: "take" copies them to out (R, D); "take.backward" adds the rows of a gradient
    (R, D) to those of dtable (V, D) that they were taken from, in order, and 0 elsewhere.

    Operands of the kernel, by *name*: table, index (R,), out; grad, index (R,), dtable. Numbers are from 0 to below V.
    """

    name: str

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return [("x", 2), ("i", 1), ("x", 2)]


@dataclass(frozen=True)
class Matmul:
    """out (M, N) = op(a) @ op(b), where op transposes if asked to; with *bias*, a row (N,) is added to every row.

    Of a *symmetric* result, M = N, what lies below the diagonal is copied from above it.

    Operands of the kernel: a, b, [bias], out.
    """

    name: str
    transpose_a: bool = False
    transpose_b: bool = False
    bias: bool = False
    symmetric: bool = False

    def operands(self):
        """(kind, number of dimensions) of each operand, in order."""
        return _operands("xx", 2) + _operands("x" * self.bias, 1) + _operands("x", 2)
