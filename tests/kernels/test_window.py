"""Windows, and rows of a table, on the CPU: each kernel against its declaration; the same bits for any number of threads."""

import numpy as np
import pytest
from declarations import expected, operands, outputs
from numbadl.kernels import cpu, shapes
from numbadl.kernels.catalog import catalog

WINDOWS = {name: catalog()[name] for name in shapes.WINDOWS}
SHAPES = [  # n, c, h, w, kh, kw, sh, sw, ph, pw, dh, dw
    (1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1),
    (2, 3, 5, 6, 3, 2, 2, 1, 1, 1, 1, 1),
    (1, 2, 6, 4, 2, 3, 1, 2, 1, 1, 3, 2),
    (3, 2, 1, 9, 1, 4, 1, 3, 0, 2, 1, 1),
    (2, 2, 4, 5, 4, 5, 4, 5, 0, 0, 1, 1),
    (2, 1, 7, 7, 1, 1, 3, 3, 0, 0, 1, 1),
    (0, 2, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1),
    (2, 2, 3, 70, 2, 66, 1, 2, 0, 1, 1, 1),
    (1, 2, 4, 40, 3, 40, 1, 1, 0, 0, 1, 1),
    (2, 1, 5, 300, 2, 2, 2, 2, 1, 1, 1, 1),
    (1, 1, 5, 40, 3, 3, 2, 3, 1, 1, 1, 1),
]


def run(declaration, given):
    given = [np.array(v) if np.ndim(v) else v for v in given]
    cpu.kernel(declaration)(*given)
    return [given[k] for k in outputs(declaration)]


def check(declaration, given):
    before = [np.array(v) for v in given]
    for found, wanted in zip(run(declaration, given), expected(declaration, given), strict=True):
        unit = 8 * np.finfo(given[0].dtype).eps
        np.testing.assert_allclose(found, wanted, rtol=unit, atol=unit * 10)
    for a, b in zip(before, given, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WINDOWS)
def test_kernel_computes_what_its_declaration_says(name, dtype, rng):
    for shape in SHAPES:
        check(WINDOWS[name], operands(WINDOWS[name], shape, dtype, rng))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_maxima_of_special_values(value, rng):
    """NaN wins, the last one if there are several; of equal maxima the first has the gradient, of -inf, too."""
    for shape in (*SHAPES[1:3], SHAPES[7]):  # the last in vectors
        given = operands(WINDOWS["max_pool"], shape, np.float32, rng)
        given[0][rng.random(given[0].shape) < 0.6] = value
        check(WINDOWS["max_pool"], given)
        given[0][...] = value
        check(WINDOWS["max_pool"], given)


@pytest.mark.parametrize("name", WINDOWS)
def test_same_bits_for_any_number_of_threads(name, rng, on_threads):
    cpu.ensure_started()
    given = operands(WINDOWS[name], (5, 8, 23, 21, 3, 3, 1, 2, 1, 1, 1, 1), np.float32, rng)
    first, *others = on_threads(lambda: run(WINDOWS[name], given))
    assert others
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", shapes.TAPS)
def test_convolution_by_places(name, dtype, rng, on_threads):
    """One element; parts of tiles; more than a tile's columns, a block's positions, and a chain's taps or positions; no taps."""
    cpu.ensure_started()
    for shape in [
        (1, 1, 1, 1, 1, 1), (2, 3, 4, 9, 5, 7), (3, 1, 17, 6, 1, 4), (2, 1, 5, 8, 0, 3), (0, 2, 2, 3, 4, 5),
        (7, 2, 70, 900, 260, 300), (1, 1, 33, 2000, 600, 201),
    ]:  # fmt: skip
        given = operands(catalog()[name], shape, dtype, rng)
        if shape[0] == 0 and name == "convolve.weight":
            continue  # there have to be samples
        (found,) = run(catalog()[name], given)
        (wanted,) = expected(catalog()[name], given)
        most = np.sqrt(max(shape[4:]) * max(shape[0], 1))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=most * 8 * np.finfo(dtype).eps * most)
        first, *others = on_threads(lambda given=given: run(catalog()[name], given)[0])
        assert all(np.array_equal(first, other, equal_nan=True) for other in others)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["take", "take.backward"])
def test_rows_of_a_table(name, dtype, rng, on_threads):
    cpu.ensure_started()
    for shape in [(1, 1, 1), (9, 3, 2), (3, 7, 5), (0, 3, 4), (3, 2, 0), (700, 300, 80)]:
        given = operands(catalog()[name], shape, dtype, rng)
        check(catalog()[name], given)
        first, *others = on_threads(lambda given=given: run(catalog()[name], given)[0])
        assert all(np.array_equal(first, other) for other in others)
