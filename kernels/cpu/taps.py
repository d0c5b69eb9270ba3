"""taps: convolution as products of matrices whose elements are read from the images themselves, at places from tables.

Lanes are output channels: a tile multiplies elements of an image, each spread over a vector, with a panel of weights, or of
gradients. So any stride, dilation and extent is as fast as another, and nothing is written but results. Tiles follow from
the shapes alone, of positions counted through all samples; an element is a chain of multiply-adds over DEPTH taps, or
positions, and chains are added in order.
"""

from .compile import function, kernel
from .matmul import TALL
from .pool import parallel
from .tile import VECTORS, aligned, pack_columns, room, tile_columns, tile_of_places, turn, vector_bytes
from .vector import at, pointers, scratch

DEPTH = 512  # taps, or positions, of a chain at most; a panel of them stays in L2
BLOCK = 96  # positions of a tile's results that are kept until all taps are added
TASK = 1 << 20  # multiply-adds, at least
ROW_BYTES = VECTORS * vector_bytes()  # of a panel
SUM_BYTES, PANEL_BYTES = (BLOCK + TALL) * ROW_BYTES, DEPTH * ROW_BYTES
LINES, STEPS = BLOCK + TALL, DEPTH + TALL


@function
def _panels(rows, like):
    """How many panels, and columns of one."""
    wide = tile_columns(like)
    return (rows + wide - 1) // wide, wide


@parallel
def _pack(shape, operands, index):
    """Panel *index* of the weights: element r of row k is the weight of result r and tap k."""
    rows, size, depth, pitch = shape
    weight, places, packed = operands
    panels, wide = _panels(rows, packed)
    group, first = index // panels, index % panels * wide
    target = index * depth * wide
    for k in range(depth):
        source = group * size + places[k] + first * pitch
        for r in range(wide):
            packed[target + r] = weight[source + r * pitch] if first + r < rows else 0
        target += wide


@function
def _offsets(first, some, group, groups, size, starts, count, offsets):
    """Where positions begin, those of all samples being counted through from *first* on; up to a tile the last is repeated."""
    sample, t = first // count, first % count
    for i in range(some):
        offsets[i] = (sample * groups + group) * size + starts[t]
        t += 1
        if t == count:
            sample, t = sample + 1, 0
    for i in range(some, _padded(some)):
        offsets[i] = offsets[some - 1]


@parallel
def _convolve(per_task, units, shape, operands, index):
    samples, groups, rows, size, depth, count, length = shape
    source, bias, taps, starts, targets, packed, out = operands
    (panels, wide), chain = _panels(rows, out), _even_part(max(depth, 1))
    sums, base, (lines,) = room(SUM_BYTES, out), room(ROW_BYTES, out), scratch(LINES, taps)
    for unit in range(index * per_task, min((index + 1) * per_task, units)):
        first, group, panel = unit // (panels * groups) * BLOCK, unit // panels % groups, unit % panels
        left, height = panel * wide, min(BLOCK, samples * count - first)
        columns = min(wide, rows - left)
        _offsets(first, height, group, groups, size, starts, count, lines)
        for j in range(wide):
            base[j] = bias[group * rows + left + j] if j < columns else 0
        for start in range(0, max(depth, 1), chain):
            part = at((packed,), ((group * panels + panel) * depth + start) * wide)[0]
            steps, some = at((taps,), start)[0], min(chain, depth - start)
            for t in range(0, height, TALL):
                found = at((sums,), t * wide)[0]
                before, before_row = (found, wide) if start else (base, 0)
                line = at((lines,), t)[0]
                tile_of_places(TALL, source, line, steps, some, part, columns, before, before_row, found)
        done = 0
        while done < height:
            sample, t = (first + done) // count, (first + done) % count
            some = min(count - t, height - done)
            result = at((out,), ((sample * groups + group) * rows + left) * length)[0]
            _put(at((sums,), done * wide)[0], wide, some, columns, result, length, at((targets,), t)[0])
            done += some


@function
def _put(sums, wide, some, columns, result, length, targets):
    """Sums of a sample's positions to where these have their results, one row for each column of the sums."""
    if targets[some - 1] - targets[0] == some - 1:
        turn(sums, wide, some, columns, at((result,), targets[0])[0], length)
    else:
        for j in range(columns):
            for t in range(some):
                result[j * length + targets[t]] = sums[t * wide + j]


@parallel
def _weights(extents, shape, operands, index):
    """The part of some samples, for one panel and some taps; *index* counts taps first and samples last."""
    parts, samples, blocks, tall = extents
    groups, rows, size, depth, count = shape
    source, grad, taps, starts, sums = operands
    panels, wide = _panels(rows, sums)
    rest = index // blocks
    first, panel, group, part = index % blocks * tall, rest % panels, rest // panels % groups, rest // (panels * groups)
    behind, left = min(first + tall, depth), panel * wide
    columns = min(wide, rows - left)
    packed, zeros, (steps,) = room(PANEL_BYTES, sums), room(ROW_BYTES, sums), scratch(STEPS, taps)
    for j in range(wide):
        zeros[j] = 0
    begin, end = part * samples // parts * count, (part + 1) * samples // parts * count
    own = ((part * groups + group) * panels + panel) * _padded(depth)
    for start in range(begin, end, DEPTH):
        some = min(DEPTH, end - start)
        _offsets(start, some, group, groups, size, starts, count, steps)
        done = 0
        while done < some:
            sample, t = (start + done) // count, (start + done) % count
            more = min(count - t, some - done)
            place = ((sample * groups + group) * rows + left) * count + t
            pack_columns(at((grad,), place)[0], count, more, columns, at((packed,), done * wide)[0], DEPTH * wide)
            done += more
        for k in range(first, behind, TALL):
            found, line = at((sums,), (own + k) * wide)[0], at((taps,), k)[0]
            before, before_row = (zeros, 0) if start == begin else (found, wide)
            tile_of_places(TALL, source, line, steps, some, packed, columns, before, before_row, found)


@parallel
def _add(extents, shape, sums, out, index):
    """The sum of all parts, for one panel and some taps, as rows of the result."""
    parts, _, blocks, tall = extents
    groups, rows, _, depth, _ = shape
    panels, wide = _panels(rows, sums)
    first, panel = index % blocks * tall, index // blocks  # of all groups
    height, left = min(tall, depth - first), panel % panels * wide
    total = at((sums,), (panel * _padded(depth) + first) * wide)[0]
    for part in range(1, parts):
        term = at((total,), part * groups * panels * _padded(depth) * wide)[0]
        for j in range(height * wide):
            total[j] += term[j]
    result = at((out,), (panel // panels * rows + left) * depth + first)[0]
    turn(total, wide, height, min(wide, rows - left), result, depth)


@function
def _even_part(depth):
    """The size of parts of at most DEPTH, which are as large as each other."""
    parts = (depth + DEPTH - 1) // DEPTH
    return (depth + parts - 1) // parts


@function
def _padded(depth):
    return (depth + TALL - 1) // TALL * TALL


def build(spec):
    """The kernel of a `Taps`."""
    return {"convolve": _build_convolve, "convolve.weight": _build_weight}[spec.name](spec)


def _build_convolve(spec):
    @kernel(spec)
    def run(*arguments):
        source, weight, bias, taps, places, starts, targets, packed, out, pitch = pointers(arguments)
        samples, groups, rows, length = arguments[8].shape
        size, depth, count = arguments[0].shape[2], arguments[4].size, arguments[6].size
        packed = aligned(packed)
        panels, wide = _panels(rows, out)
        _pack(groups * panels, ((rows, arguments[1].shape[1], depth, pitch), (weight, places, packed)))
        units = (samples * count + BLOCK - 1) // BLOCK * groups * panels
        per_task = max(1, TASK // (BLOCK * wide * max(depth, 1)))
        shape = samples, groups, rows, size, depth, count, length
        operands = source, bias, taps, starts, targets, packed, out
        _convolve((units + per_task - 1) // per_task, (per_task, units, shape, operands))

    return run


def _build_weight(spec):
    @kernel(spec)
    def run(*arguments):
        source, grad, taps, starts, sums, out, parts = pointers(arguments)
        samples, groups, rows, count = arguments[1].shape
        size, depth = arguments[0].shape[2], arguments[5].shape[2]
        sums = aligned(sums)
        panels = _panels(rows, out)[0]
        tall = _padded(_even_part(depth))
        blocks = (depth + tall - 1) // tall
        extents, shape = (parts, samples, blocks, tall), (groups, rows, size, depth, count)
        _weights(parts * groups * panels * blocks, (extents, shape, (source, grad, taps, starts, sums)))
        _add(groups * panels * blocks, (extents, shape, sums, out))

    return run
