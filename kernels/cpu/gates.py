"""gates: a scalar function over rows of blocks side by side; a row is one vector loop over a block's elements."""

from .compile import kernel
from .pool import parallel
from .vector import at_blocks, pick, pointers, vector_map

TASK = 1 << 12  # elements of a block, in whole rows: 15 us of an LSTM's, of which a layer has one after the other


def build(spec):
    """The kernel of a `Gates`: inputs and outputs, 2-D C-contiguous arrays, and scalars."""
    fn, first_out = spec.function, len(spec.inputs)
    first_scalar = first_out + len(spec.outputs)
    last = first_scalar + len(spec.scalars)
    inputs, outputs = pick(range(first_out)), pick(range(first_out, first_scalar))
    scalars, blocks = pick(range(first_scalar, last)), spec.inputs[0]
    sources, targets = at_blocks(spec.inputs), at_blocks(spec.outputs)

    @parallel
    def some_rows(rows, width, per_task, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            given, written = sources(inputs(operands), r, width), targets(outputs(operands), r, width)
            vector_map(fn, width, given, written, scalars(operands))

    @kernel(spec)
    def run(*arguments):
        rows, width = arguments[0].shape[0], arguments[0].shape[1] // blocks
        per_task = max(1, TASK // max(width, 1))
        some_rows((rows + per_task - 1) // per_task, (rows, width, per_task, pointers(arguments)))

    return run
