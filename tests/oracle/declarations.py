"""What a kernel's declaration means, spelled out element by element in plain Python: the reference for every device.

`operands` makes random operands for any declaration of the catalog, `expected` computes what its kernel has to write. A
new record is covered by both without a change here.
"""

import itertools
import math

import numpy as np
import pytest
from numbadl.kernels import shapes
from numbadl.kernels.catalog import activation_kernels
from numbadl.kernels.scalar import stages
from numbadl.kernels.scalar.fused_norm import fused_batch_norm
from numbadl.kernels.scalar.language import scalar
from numbadl.kernels.scalar.losses import LOSSES
from numbadl.kernels.scalar.random import random_bits

import numbadl as nd


@scalar
def scaled_at_random(x, bits: np.uint32, factor, threshold: np.uint32):
    return x * factor if bits > threshold else 0


@scalar
def scaled_at_random_backward(grad, x, bits: np.uint32, factor, threshold: np.uint32):
    return (grad * factor, grad * x) if bits > threshold else (0, 0)


@nd.activation
def own(x, alpha=0.75):
    """A user's activation, of most of what they are made of; its derivative is found automatically."""
    total = x
    for k in range(3):
        total += alpha * math.tanh(x - k) ** 2
    if total > 1:
        total = max(total, 2) * nd.silu(x) + 2**-x
    return np.where(x > 0, total, math.log1p(math.exp(x)) * abs(x) ** 1.5)


OWN = {declaration.name: declaration for declaration in activation_kernels(own.record)}


def fused_norms():
    """Batch norm with stages of every kind of operand behind it."""
    records = [stages.RESIDUAL, stages.of_activation(nd.ACTIVATIONS["prelu"]), stages.SCALE, stages.RESIDUAL]
    for by_training in fused_batch_norm(records, (True, False)):
        yield from by_training.values()


# What the shapes allow and no kernel of the catalog is: random maps by channel. And a user's activation, a fused batch norm.
OTHERS = {
    declaration.name: declaration
    for declaration in [
        shapes.Map("scaled_at_random", scaled_at_random, scalars="u", random=True, channels=1),
        shapes.Map("scaled_at_random.backward", scaled_at_random_backward, "xx", "x", "u", True, channels=1, sums=1),
        *fused_norms(),
    ]
} | OWN


# What the quick tests compile to look at its code: of each loop shape, and of what kernels are made of, some. The rest is slow.
QUICK = {
    "relu", "silu", "silu.backward", "gelu", "gelu.backward", "tanh", "sigmoid.backward.of_result", "elu",
    "leaky_relu.derivative", "prelu", "prelu.backward", "rrelu", "brelu", "sin", "snake.backward", "mish",
    "own.backward", "swiglu", "swiglu.backward", "scaled_at_random.backward", "softmax", "softmax.backward",
    "softmax.masked", "log_softmax", "sparsemax", "cross_entropy.gradient",
    "cross_entropy.weighted", "mse.value", "mse.value_and_grad", "binary_cross_entropy.gradient", "dropout",
    "dropout.mask", "normal", "feature_dropout", "sum", "largest_size", "penalty.add", "batch_norm.backward",
    "typical_values", "layer_norm", "layer_norm.backward", "convolve", "max_pool", "take", "matmul", "matmul.ta.bias",
    "lstm",
}  # fmt: skip


def all_or_slow(declarations):
    """Declarations as parameters of a test that compiles each; all but the QUICK ones are slow."""
    return [pytest.param(d, id=d.name, marks=[pytest.mark.slow] * is_slow(d)) for d in declarations]


def is_slow(declaration):
    name = declaration.name
    if name in OTHERS and name.startswith("batch_norm"):  # of the fused ones the one with most in it
        return "evaluation" in name or "backward" not in name
    return name.removesuffix(".reduce").removesuffix(".output").removesuffix(".terms") not in QUICK


def operands(declaration, shape, dtype, rng, positive=False):
    """Random operands in the order of the declaration; arrays to be written are filled with NaN.

    *shape* is (n,) for a map or a reduction, (rows, n) for rows, (rows, width) for gates, (N, C, S) for channels and maps
    by channel, (m, k, n) for a product, (N, G, k, s) for norms: rows that take G turns, of k segments of s elements,
    (N, C, H, W, kh, kw, sh, sw, ph, pw, dh, dw) for windows, whose indices are those of random maxima, (N, G, R, S, K, T) for
    convolution by random places in S elements, (R, V, D) for R rows of a table. For the sake of roots, scalars and channel
    arrays (eps, variances) are positive, with *positive* all are.
    """
    if getattr(declaration, "name", "").startswith("avg_pool"):
        shape = (*shape[:-2], 1, 1)
    if getattr(declaration, "name", "") == "pad":  # of windows of one element
        shape = (*shape[:4], 1, 1, *shape[6:])
    extents = _extents(declaration, shape)
    found = [_operand(kind, extent, dtype, rng, positive or extent != extents[0][1]) for kind, extent in extents]
    if getattr(declaration, "by_channel", False):
        found[-1] = np.int64(shape[2])
    if isinstance(declaration, shapes.Norm):
        found[-1] = np.int64(shape[3])
    if isinstance(declaration, shapes.Window):
        found = [v if np.ndim(v) else np.int64(v % 2) for v in found]
        found[arrays_of(declaration) : arrays_of(declaration) + 8] = [np.int64(v) for v in shape[4:]]
        if declaration.name == "max_pool.backward":
            found[1] = _window(shapes.Window("max_pool"), operands(shapes.Window("max_pool"), shape, dtype, rng))[1]
    if isinstance(declaration, shapes.Taps):
        _draw_places(declaration, shape, found, rng)
    if isinstance(declaration, shapes.Take):
        found[1] = rng.integers(0, shape[1], shape[0])
    if getattr(declaration, "labelled", False):
        found[len(declaration.inputs) + declaration.columns] = rng.integers(0, max(shape[1], 1), shape[0])
    targets = getattr(LOSSES.get(getattr(declaration, "name", "").partition(".")[0]), "targets", None)
    if targets == "probabilities":  # a loss of any other target is NaN, and would agree with anything
        found[1] = rng.random(found[1].shape).astype(dtype)
    elif targets == "signs":
        found[1] = np.copysign(dtype(1), found[1])
    for k in outputs(declaration):
        found[k].fill(np.nan if found[k].dtype.kind == "f" else 0)
    return found


def arrays_of(declaration):
    """The number of operands that are arrays."""
    return sum(ndim > 0 for _, ndim in declaration.operands())


def outputs(declaration):
    """Positions of the operands that are written."""
    if isinstance(declaration, shapes.Take):
        return [2]
    if isinstance(declaration, shapes.Taps):
        return [8] if declaration.name == "convolve" else [5]
    if isinstance(declaration, shapes.Window):
        return [1, 2] if declaration.name == "max_pool" else [arrays_of(declaration) - 1]
    if isinstance(declaration, shapes.Matmul):
        return [2 + declaration.bias]
    if isinstance(declaration, shapes.Sample):
        return [1]
    first = len(declaration.inputs)
    if isinstance(declaration, shapes.Gates):
        return list(range(first, first + len(declaration.outputs)))
    if isinstance(declaration, shapes.Map):
        sums = first + len(declaration.outputs) + declaration.channels
        return [*range(first, first + len(declaration.outputs)), *[sums] * (declaration.sums > 0)]
    if isinstance(declaration, shapes.Row):
        first += declaration.columns + declaration.labelled
        return list(range(first, first + (declaration.output is not None) + (declaration.value is not None)))
    if isinstance(declaration, shapes.Channel):
        results = first + len(declaration.outputs) + declaration.channel_inputs
        written = range(first, first + len(declaration.outputs))
        return [*written, *range(results, results + declaration.channel_outputs)]
    if isinstance(declaration, shapes.Norm):
        results = first + 1 + declaration.affine + declaration.row_inputs
        return [first, *range(results, results + declaration.row_outputs + (declaration.affine_sums > 0))]
    return []


def expected(declaration, given):
    """What the kernel writes, one array for each of `outputs`; for a reduction what it returns.

    A map is computed in the operands' own type, and so to the bit (but for sums); everything else in float64.
    """
    with np.errstate(all="ignore"):
        return _MEANINGS[type(declaration)](declaration, given)


def _extents(declaration, shape):
    """(kind, shape) of each operand."""
    if isinstance(declaration, shapes.Matmul):
        m, k, n = shape[0], shape[1], shape[0] if declaration.symmetric else shape[2]
        a, b = (k, m) if declaration.transpose_a else (m, k), (n, k) if declaration.transpose_b else (k, n)
        return [("x", extent) for extent in [a, b, *[(n,)] * declaration.bias, (m, n)]]
    if isinstance(declaration, shapes.Take):
        rows, table = (shape[0], shape[2]), shape[1:]
        first, last = (rows, table) if declaration.name.endswith("backward") else (table, rows)
        return [("x", first), ("i", shape[:1]), ("x", last)]
    if isinstance(declaration, shapes.Taps):
        n, groups, rows, size, depth, count = shape
        taps = -(-depth // declaration.MULTIPLE) * declaration.MULTIPLE
        source, room = (n, groups, size), declaration.room(groups, rows, depth, 2)
        sizes = {
            "convolve": [
                source, (groups, 2 * rows * depth + 3), (groups, rows), (taps,), (depth,), (count,), (count,), (room,),
                (n, groups, rows, 2 * count + 1), (),
            ],
            "convolve.weight": [
                source, (n, groups, rows, count), (taps,), (count,), (room,), (groups, rows, depth), ()
            ],
        }[declaration.name]  # fmt: skip
        return [(kind, extent) for (kind, _), extent in zip(declaration.operands(), sizes, strict=True)]
    if isinstance(declaration, shapes.Window):
        (n, c, *_), places = shape, declaration.places()
        windowed = n, c, *(len(starts) for starts in window_starts(*shape[2:]))
        sizes = [shape[:4] if k == places[0] else windowed for k in range(arrays_of(declaration))]
        sizes += [()] * (len(declaration.operands()) - len(sizes))
        return [(kind, size) for (kind, _), size in zip(declaration.operands(), sizes, strict=True)]
    if isinstance(declaration, shapes.Gates):
        sizes = [(shape[0], count * shape[1]) for count in declaration.inputs + declaration.outputs]
        return [("x", size) for size in sizes] + [(kind, ()) for kind in declaration.scalars]
    if getattr(declaration, "by_channel", False):
        n, channels, s = shape
        sizes = [(n * channels * s,)] * len(declaration.inputs + declaration.outputs) + [
            (channels,)
        ] * declaration.channels
        sizes += [(declaration.sums, channels)] * (declaration.sums > 0)
        kinds = [kind for kind, _ in declaration.operands()]
        return list(zip(kinds, sizes + [()] * (len(kinds) - len(sizes)), strict=True))
    if isinstance(declaration, shapes.Row):
        inputs, columns, labels, outputs, values, row_values = declaration.counts()
        sizes = [shape] * inputs + [shape[1:]] * columns + [shape[:1]] * labels + [shape] * outputs
        sizes += [shape[:1]] * (values + row_values)
        kinds = [kind for kind, _ in declaration.operands()]
        return list(zip(kinds, sizes + [()] * (len(kinds) - len(sizes)), strict=True))
    if isinstance(declaration, shapes.Norm):
        n, turns, segments, s = shape
        values = [(turns * segments,)] * declaration.affine
        values += [(n * turns,)] * (declaration.row_inputs + declaration.row_outputs)
        sizes = [(n * turns, segments * s)] * (len(declaration.inputs) + 1) + values
        sizes += [(declaration.affine_sums, turns * segments)] * (declaration.affine_sums > 0)
        kinds = [kind for kind, _ in declaration.operands()]
        return list(zip(kinds, sizes + [()] * (len(kinds) - len(sizes)), strict=True))
    single = {shapes.Channel: shape[1:2], shapes.Sample: shape[1:2]}.get(type(declaration), shape)
    return [
        (kind, () if ndim == 0 else shape if ndim == len(shape) else single) for kind, ndim in declaration.operands()
    ]


def _operand(kind, extent, dtype, rng, positive):
    wanted = np.dtype(shapes.dtype_of(kind, dtype))
    if wanted.kind == "f":
        value = rng.uniform(0.25, 2, extent) if positive else rng.normal(0, 2, extent)
    elif wanted.kind == "b":
        value = rng.integers(0, 2, extent)
    else:
        value = rng.integers(0, 2 ** (8 * wanted.itemsize - 2), extent)
    return np.asarray(value).astype(wanted)[()]


# -- what each loop shape means ------------------------------------------------------------------------------
def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def _wide(given):
    """Operands with floats in float64."""
    return [v.astype(np.float64) if v.dtype.kind == "f" else v for v in given]


def _map(declaration, given):
    first, last = len(declaration.inputs), len(declaration.inputs) + len(declaration.outputs)
    channels, after = given[last : last + declaration.channels], last + declaration.channels + (declaration.sums > 0)
    scalars, stream = given[after : after + len(declaration.scalars)], given[after + len(declaration.scalars) :]
    results, sums = [np.empty_like(a) for a in given[first:last]], []
    if declaration.sums:
        sums = [np.zeros(given[after - 1].shape)]
    for i in range(given[0].size if first else results[0].size):
        elements = [a[i] for a in given[:first]]
        if declaration.random:
            seed, offset, start = stream[:3]
            elements.append(random_bits(np.uint64(start + i), seed, offset))
        if declaration.by_channel:
            c = i // int(stream[-1]) % (channels[0].size if channels else sums[0].shape[1])
            elements += [a[c] for a in channels]
        values = _tuple(declaration.function(*elements, *scalars))
        for result, value in zip(results, values[: len(results)], strict=True):
            result[i] = value
        for k, value in enumerate(values[len(results) :]):
            sums[0][k, c] += value
    return results + sums


def _reduce(declaration, given):
    count = len(declaration.inputs)
    given = _wide(given)
    terms = [float(declaration.function(*e, *given[count:])) for e in zip(*given[:count], strict=True)]
    return sum(terms) if declaration.combine == "sum" else float(np.max(terms, initial=-np.inf))


def _row(declaration, given):
    ends = np.cumsum([0, *declaration.counts(), len(declaration.scalars)]).tolist()
    arrays, shared, labels, _, _, row_values, scalars = (_wide(given)[a:b] for a, b in itertools.pairwise(ends))
    rows, n = arrays[0].shape
    output, values = np.empty((rows, n)), np.empty(rows)
    for r in range(rows):
        columns = [[a[r, j] for a in arrays] + [a[j] for a in shared] for j in range(n)]
        distance = [(np.int32(j - labels[0][r]),) if declaration.labelled else () for j in range(n)]
        results = []
        for stage in declaration.stages:
            found = [stage.function(*columns[j], *distance[j], *results) for j in range(n)]
            if stage.keep:
                columns = [[value, *column[1:]] for value, column in zip(found, columns, strict=True)]
            if stage.combine == "label":
                results.append(found[labels[0][r]])
            else:
                results.append(np.sum(found) if stage.combine == "sum" else np.max(found))
        if declaration.settled is not None:
            results[-1] = declaration.settled(results[-1])
        if declaration.threshold is not None:
            results.append(_threshold(declaration.threshold, columns, results))
        results += [a[r] for a in row_values]
        if declaration.output is not None:
            output[r] = [declaration.output(*columns[j], *distance[j], *results, *scalars) for j in range(n)]
        if declaration.value is not None:
            values[r] = declaration.value(*results)
    return [output] * (declaration.output is not None) + [values] * (declaration.value is not None)


def _threshold(spec, columns, results):
    """By the definition: the largest set of members that its own threshold separates, from the largest elements down."""
    value, members = spec.start(*results), None
    while True:
        terms = [spec.terms(*column, *results, value) for column in columns]
        now = [member for _, member in terms]
        if now == members:
            return value
        members, value = now, spec.update(np.float64(sum(term for term, _ in terms)), np.float64(sum(now)))


def _channel(declaration, given):
    given = _wide(given)
    count, written = len(declaration.inputs), len(declaration.outputs)
    arrays, per_channel = given[:count], given[count + written :]
    values = declaration.channel_inputs + declaration.channel_outputs
    scalars, constants = (
        per_channel[values:][: len(declaration.scalars)],
        per_channel[values + len(declaration.scalars) :],
    )
    n, channels, s = arrays[0].shape
    results, outputs = np.empty((declaration.channel_outputs, channels)), np.empty((written, n, channels, s))
    for c in range(channels):
        elements = list(zip(*[a[:, c].ravel() for a in arrays], strict=True))
        known = [a[c] for a in per_channel[: declaration.channel_inputs]]
        sums = []
        if declaration.sums:
            given_to_reduce = [*(known[k] for k in declaration.reduce_with), *constants]
            terms = [_tuple(declaration.reduce(*e, *given_to_reduce)) for e in elements]
            sums = list(np.sum(terms, axis=0))
        known += _tuple(declaration.finish(*sums, *known, np.float64(n * s), *scalars))
        results[:, c] = known[declaration.channel_inputs :]
        if written:
            given_to_map = [*(known[k] for k in declaration.map_with), *constants]
            found = [_tuple(declaration.output(*e, *given_to_map)) for e in elements]
            outputs[:, :, c] = np.reshape(np.transpose(found), (written, n, s))
    return [*outputs, *results]


def _sample(declaration, given):
    x = given[0]
    by_channel = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    return [np.array([declaration.function(a[0], a[a.size // 2], a[-1]) for a in by_channel])]


def _norm(declaration, given):
    given = _wide(given)
    counts = (
        len(declaration.inputs), 1, declaration.affine, declaration.row_inputs, declaration.row_outputs,
        declaration.affine_sums > 0, len(declaration.scalars), 1,
    )  # fmt: skip
    ends = np.cumsum(counts)
    arrays, _, affine, row_inputs, row_outputs, sums, scalars, (s,) = (
        given[end - count : end] for count, end in zip(counts, ends, strict=True)
    )
    rows, n = arrays[0].shape
    output, stored = np.empty((rows, n)), np.empty((len(row_outputs), rows))
    totals = np.zeros(sums[0].shape if sums else (0, affine[0].size))
    for r in range(rows):
        segments = [(r * (n // int(s)) + j // int(s)) % affine[0].size for j in range(n)]
        elements = [[a[r, j] for a in arrays] for j in range(n)]
        known = [a[r] for a in row_inputs]
        before = [(*element, *(a[q] for a in affine), *known) for element, q in zip(elements, segments, strict=True)]
        some = elements[: shapes.some_of(n)]
        computed = [] if declaration.prior is None else [np.mean([declaration.prior(*element) for element in some])]
        found = [_tuple(declaration.reduce(*values, *computed)) for values in before]
        computed += _tuple(declaration.finish(*np.sum(found, axis=0), *known, *computed, np.float64(n), *scalars))
        output[r] = [declaration.output(*values, *computed) for values in before]
        stored[:, r] = computed[: len(row_outputs)]
        for q, values in zip(segments, before, strict=True):
            if declaration.terms is not None:
                totals[:, q] += _tuple(declaration.terms(*values))
    return [output, *stored, *([totals] if sums else [])]


def _gates(declaration, given):
    given, count = _wide(given), len(declaration.inputs)
    arrays, scalars = given[:count], given[count + len(declaration.outputs) :]
    blocks = [b for a, n in zip(arrays, declaration.inputs, strict=True) for b in np.split(a, n, axis=1)]
    found = np.zeros((sum(declaration.outputs), *blocks[0].shape))
    for place in np.ndindex(blocks[0].shape):
        found[(slice(None), *place)] = declaration.function(*(b[place] for b in blocks), *scalars)
    return [np.concatenate(list(part), axis=1) for part in np.split(found, np.cumsum(declaration.outputs)[:-1])]


def _matmul(declaration, given):
    a, b, *bias = _wide(given)[:-1]
    product = (a.T if declaration.transpose_a else a) @ (b.T if declaration.transpose_b else b)
    if declaration.symmetric:
        return [np.triu(product) + np.triu(product, 1).T]
    return [product + bias[0] if bias else product]


def _take(declaration, given):
    first, index, last = _wide(given)
    if not declaration.name.endswith("backward"):
        return [np.array([first[i] for i in index]).reshape(last.shape)]
    found = np.zeros(last.shape)
    for row, i in zip(first, index, strict=True):
        found[i] += row
    return [found]


def _draw_places(declaration, shape, found, rng):
    """Random places within the arrays; results lie one after the other, or, of an odd number of positions, some apart."""
    n, _, _, size, depth, count = shape
    tables = [3, 5] if declaration.name == "convolve" else [2, 3]
    for k in tables:
        found[k] = rng.integers(0, (size + 1) // 2, found[k].shape)
    if declaration.name == "convolve":
        pitch = 2 * depth
        found[4] = rng.permutation(pitch + 3)[:depth]
        found[6] = np.arange(count) + 1 if count % 2 == 0 else np.arange(count) * 2 + 1
        found[-1] = np.int64(pitch)
    else:
        found[-1] = np.int64(min(max(n, 1), 2))


def _taps(declaration, given):
    """Element by element, from the tables."""
    if declaration.name == "convolve":
        source, weight, bias, taps, places, starts, targets, _, out, pitch = given
        (_, _, rows, _), read = out.shape, _elements_at(source, taps[: places.size], starts)
        weights = np.stack([weight[:, r * int(pitch) + places] for r in range(rows)], 1)
        found = np.full(out.shape, np.nan)
        found[..., targets] = np.einsum("grk,ngkt->ngrt", np.float64(weights), read) + bias[None, :, :, None]
        return [found]
    source, grad, taps, starts, _, out, _ = given
    return [np.einsum("ngrt,ngkt->grk", np.float64(grad), _elements_at(source, taps[: out.shape[2]], starts))]


def _elements_at(source, taps, starts):
    """Tap k of position t for each sample and group, (N, G, K, T)."""
    return np.float64(source)[:, :, taps[:, None] + starts]


def window_starts(h, w, kh, kw, sh, sw, ph, pw, dh, dw):
    """Where windows begin along both axes: all that lie within the array and its padding."""
    return [
        range(-padding, size + padding - (extent - 1) * step, stride)
        for size, extent, stride, padding, step in ((h, kh, sh, ph, dh), (w, kw, sw, pw, dw))
    ]


def _window(declaration, given):
    count = arrays_of(declaration)
    arrays, (kh, kw, *sizes) = _wide(given[:count]), map(int, given[count:])
    h, w = arrays[declaration.places()[0]].shape[2:]
    found = [np.zeros(given[k].shape, np.int64 if given[k].dtype.kind == "i" else float) for k in outputs(declaration)]
    tops, lefts = window_starts(h, w, kh, kw, *sizes[:6])
    for (o, top), (r, left) in itertools.product(enumerate(tops), enumerate(lefts)):
        places = [(top + i * sizes[4], left + j * sizes[5]) for i in range(kh) for j in range(kw)]
        inside = [(k, y, x) for k, (y, x) in enumerate(places) if 0 <= y < h and 0 <= x < w]
        size = kh * kw if sizes[-1] or "avg" not in declaration.name else len(inside)
        _WINDOWS[declaration.name](arrays, found, (..., o, r), inside, size)
    return found


def _pad(arrays, found, window, inside, size):
    for _, y, x in inside[:1]:
        found[0][window] = arrays[0][:, :, y, x]


def _max_pool(arrays, found, window, inside, size):
    x = arrays[0]
    for n, c in np.ndindex(x.shape[:2]):
        values = [x[n, c, row, column] for _, row, column in inside]
        largest = max(values) if not np.isnan(values).any() else np.nan
        nans = np.flatnonzero(np.isnan(values))
        _, row, column = inside[nans[-1] if nans.size else values.index(largest)]
        found[0][n, c][window], found[1][n, c][window] = largest, row * x.shape[3] + column


def _max_pool_backward(arrays, found, window, inside, size):
    grad, index = arrays[0][window], arrays[1][window]
    for n, c in np.ndindex(grad.shape):
        found[0][n, c].flat[index[n, c]] += grad[n, c]


def _avg_pool(arrays, found, window, inside, size):
    found[0][window] = sum(arrays[0][:, :, y, x] for _, y, x in inside) / size


def _avg_pool_backward(arrays, found, window, inside, size):
    for _, y, x in inside:
        found[0][:, :, y, x] += arrays[0][window] / size


_WINDOWS = {
    "pad": _pad,
    "max_pool": _max_pool,
    "max_pool.backward": _max_pool_backward,
    "avg_pool": _avg_pool,
    "avg_pool.backward": _avg_pool_backward,
}
_MEANINGS = {
    shapes.Map: _map,
    shapes.Gates: _gates,
    shapes.Reduce: _reduce,
    shapes.Row: _row,
    shapes.Channel: _channel,
    shapes.Sample: _sample,
    shapes.Norm: _norm,
    shapes.Window: _window,
    shapes.Taps: _taps,
    shapes.Take: _take,
    shapes.Matmul: _matmul,
}
