"""Steps of recurrent layers on the CPU: each kernel against its declaration, in place, same bits for any threads."""

import numpy as np
import pytest
from declarations import expected, operands, outputs
from numbadl.kernels import cpu, shapes
from numbadl.kernels.catalog import catalog

GATES = {name: declaration for name, declaration in catalog().items() if isinstance(declaration, shapes.Gates)}
SHAPES = [(1, 1), (3, 5), (2, 33), (0, 4), (3, 0), (70, 64)]
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


def run(declaration, given, in_place=()):
    """What is written; *in_place* has pairs: an output, and the input that it is."""
    given = [np.array(v) if np.ndim(v) else v for v in given]
    for output, source in in_place:
        given[output] = given[source]
    cpu.kernel(declaration)(*given)
    return [given[k] for k in outputs(declaration)]


def check(found, wanted):
    """But for some units in the last place of the largest: random gates are no sigmoids, and terms cancel."""
    for mine, theirs in zip(found, wanted, strict=True):
        unit = 16 * np.finfo(mine.dtype).eps
        np.testing.assert_allclose(mine, theirs, rtol=unit, atol=unit * np.max(np.abs(theirs), initial=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GATES)
def test_kernel_computes_what_its_declaration_says(name, dtype, rng, on_threads):
    cpu.ensure_started()
    declaration = GATES[name]
    for shape in SHAPES:
        given = operands(declaration, shape, dtype, rng)
        before = [np.array(v) for v in given]
        for rectified in (0, 1) if declaration.scalars else (0,):
            given[len(given) - len(declaration.scalars) :] = [dtype(rectified)] * len(declaration.scalars)
            wanted = expected(declaration, given)
            first, *others = on_threads(lambda given=given: run(declaration, given))
            check(first, wanted)
            for other in others:
                assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
        arrays = len(declaration.inputs + declaration.outputs)
        for a, b in zip(before[:arrays], given[:arrays], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", GATES)
def test_an_output_may_be_an_input(name, rng):
    """Each output is the first input with as many blocks that is free; others stay apart."""
    declaration, pairs, taken = GATES[name], [], set()
    for k, blocks in enumerate(declaration.outputs):
        free = [i for i, count in enumerate(declaration.inputs) if count == blocks and i not in taken]
        if free:
            taken.add(free[0])
            pairs.append((len(declaration.inputs) + k, free[0]))
    assert pairs
    given = operands(declaration, (5, 19), np.float32, rng)
    check(run(declaration, given, pairs), expected(declaration, given))
