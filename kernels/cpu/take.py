"""take: rows of a table by their numbers, and the sums of what comes back to them."""

from ..scalar.activations import identity
from ..scalar.language import scalar
from .compile import kernel
from .pool import parallel
from .vector import at, pick, pointers, vector_map

TASK = 1 << 14  # elements, in whole rows
MOST_TASKS = 16  # that share a table on the way back: each of them reads all numbers


def build(spec):
    """The kernel of a `Take`: a table or a gradient, numbers, and what is written."""
    return (_build_backward if spec.name.endswith("backward") else _build_forward)(spec)


def _build_forward(spec):
    copy, first, last = identity, pick((0,)), pick((2,))

    @parallel
    def some_rows(rows, n, per_task, operands, index):
        for r in range(index * per_task, min((index + 1) * per_task, rows)):
            vector_map(copy, n, at(first(operands), operands[1][r] * n), at(last(operands), r * n), ())

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[2].shape
        per_task = max(1, TASK // max(n, 1))
        some_rows((rows + per_task - 1) // per_task, (rows, n, per_task, pointers(arguments)))

    return run


@scalar
def _add(x, y):
    return x + y


def _build_backward(spec):
    """Each task has some rows of the table for itself, and looks for their numbers from the first to the last."""
    add, first, last = _add, pick((0,)), pick((2,))

    @parallel
    def some_of_table(count, rows, n, per_task, operands, index):
        start, end = index * per_task, min((index + 1) * per_task, rows)
        for k in range(start * n, end * n):
            operands[2][k] = 0
        for r in range(count):
            row = operands[1][r]
            if start <= row < end:
                target = at(last(operands), row * n)
                vector_map(add, n, target + at(first(operands), r * n), target, ())

    @kernel(spec)
    def run(*arguments):
        rows, n = arguments[2].shape
        per_task = max((rows + MOST_TASKS - 1) // MOST_TASKS, TASK // max(n, 1), 1)
        operands = pointers(arguments)
        some_of_table((rows + per_task - 1) // per_task, (arguments[1].size, rows, n, per_task, operands))

    return run
