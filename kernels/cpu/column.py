"""column: the operation of a `Row` along the middle axis of (outer, n, inner) arrays: columns side by side, in vector lanes.

A task has some columns of one outer index. Every stage passes their n rows, with one total for each column, and so does the
map; where n is not too large, the columns stay in L2 between them.
"""

import numpy as np

from ..scalar.language import scalar
from .compile import function, kernel
from .pool import parallel
from .vector import at, pick, pointers, scratch, spread, vector_map, vector_map_accumulate, vector_map_largest

MOST = 1 << 10  # columns of a task, at most
FEWEST = 1 << 8  # at least: shorter stretches of memory are slow to read
TASK = 1 << 16  # elements of a task, if there are more columns than FEWEST


def build(spec):
    """The kernel of a `Columns`: inputs and output (outer, n, inner), scalars."""
    row = spec.row
    output, count, ends = row.output, len(row.stages), np.cumsum([0, len(row.inputs), 1, len(row.scalars)])
    inputs, outputs, scalars = (pick(range(*ends[k : k + 2])) for k in range(3))
    stages, space = _stages(row), count * MOST

    @parallel
    def some_columns(n, inner, width, blocks, operands, index):
        begin = index % blocks * width
        columns, start = min(width, inner - begin), index // blocks * n * inner + begin
        totals, targets = spread(scratch(space, inputs(operands)[0]), count, MOST), at(outputs(operands), start)
        sources = stages(n, inner, columns, at(inputs(operands), start), targets, totals)
        for i in range(n):
            vector_map(output, columns, at(sources, i * inner) + totals, at(targets, i * inner), scalars(operands))

    @kernel(spec)
    def run(*arguments):
        outer, n, inner = arguments[0].shape
        if n * inner > 0:
            width = min(inner, MOST, max(FEWEST, TASK // n))
            blocks = (inner + width - 1) // width
            some_columns(outer * blocks, (n, inner, width, blocks, pointers(arguments)))

    return run


def _stages(row):
    """A compiled function (n, inner, columns, sources, targets, totals) -> sources for the map; it fills the totals."""

    @function
    def run(n, inner, columns, sources, targets, totals):
        return sources

    for k, stage in enumerate(row.stages):
        run = _with_stage(run, stage, k, len(row.inputs))
    return run


def _with_stage(before, stage, k, inputs):
    earlier, own, kept, rest = pick(range(k)), pick([k]), pick([0] * stage.keep), pick(range(int(stage.keep), inputs))
    fn = _twice(stage.function) if stage.keep else stage.function
    combine = vector_map_accumulate if stage.combine == "sum" else vector_map_largest
    start = 0.0 if stage.combine == "sum" else -np.inf

    @function
    def run(n, inner, columns, sources, targets, totals):
        sources = before(n, inner, columns, sources, targets, totals)
        for j in range(columns):
            own(totals)[0][j] = start
        for i in range(n):
            found = at(sources, i * inner) + earlier(totals)
            combine(fn, columns, found, at(kept(targets), i * inner), own(totals), ())
        return kept(targets) + rest(sources)

    return run


def _twice(fn):
    """What *fn* gives, to be stored and to be combined."""

    @scalar
    def twice(x, *rest):
        value = fn(x, *rest)
        return value, value

    return twice
