"""Every CUDA kernel against its declaration, spelled out in plain Python: on a GPU, or in numba's simulator.

Which of the two is decided when numba is imported, so test_cuda_simulator.py runs this module in a process of its own.
"""

import numpy as np
import pytest
from declarations import OTHERS, expected, operands, outputs
from numbadl.kernels import cpu, cuda, shapes
from numbadl.kernels.catalog import catalog
from numbadl.kernels.cuda import compile

# In the simulator NumPy computes, and warns of what IEEE arithmetic just does (the root of a negative number).
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.usefixtures("eager_threads")]

# One element; fewer than threads; several turns of each loop, for grids of two blocks, which have 8 threads in the
# simulator and 256 on a GPU. A channel's elements lie in runs, or in columns where the last extent is 1.
BY_CHANNEL = "maps by channel"
WINDOWS_OF_ONE = (1, 2, 1, 3, 1, 1, 1, 1, 0, 0, 1, 1)
SHAPES = {
    shapes.Map: [(1,), (7,), (70,)],
    BY_CHANNEL: [(1, 1, 1), (2, 1, 70), (7, 3, 2), (33, 9, 1), (2, 3, 70)],
    shapes.Gates: [(1, 1), (3, 5), (7, 11)],
    shapes.Reduce: [(1,), (33,), (300,)],
    shapes.Row: [(1, 1), (3, 33), (21, 3)],
    shapes.Channel: [(2, 1, 1), (7, 2, 5), (33, 9, 1), (2, 3, 70)],
    shapes.Sample: [(1, 3, 1), (7, 2, 5), (4, 19, 1)],
    shapes.Norm: [(1, 1, 1, 1), (3, 1, 33, 1), (2, 3, 2, 5), (21, 1, 3, 1)],
    shapes.Window: [WINDOWS_OF_ONE, (2, 3, 5, 6, 3, 2, 2, 1, 1, 1, 1, 1), (1, 2, 6, 4, 2, 3, 1, 2, 1, 1, 3, 2)],
    shapes.Taps: [(1, 1, 1, 1, 1, 1), (2, 3, 4, 9, 5, 7), (3, 1, 17, 6, 0, 4)],
    shapes.Take: [(1, 1, 1), (9, 3, 2), (3, 7, 5)],
    shapes.Matmul: [(1, 1, 1), (3, 0, 2), (9, 13, 17)],
}
if not compile.SIMULATOR:
    SHAPES[shapes.Map] += [(5000,)]
    SHAPES[BY_CHANNEL] += [(700, 40, 1), (3, 3, 3000), (1000, 5, 7)]
    SHAPES[shapes.Gates] += [(64, 100)]
    SHAPES[shapes.Reduce] += [(20_000,)]
    SHAPES[shapes.Row] += [(5, 1000), (600, 10)]
    SHAPES[shapes.Channel] += [(700, 40, 1), (3, 3, 3000)]
    SHAPES[shapes.Norm] += [(600, 1, 1000, 1), (5, 4, 3, 700), (900, 2, 5, 1)]
    SHAPES[shapes.Window] += [(9, 7, 32, 31, 3, 5, 2, 1, 1, 2, 1, 1)]
    SHAPES[shapes.Taps] += [(9, 2, 33, 100, 70, 130)]
    SHAPES[shapes.Matmul] += [(70, 33, 130), (200, 100, 200)]
EMPTY = {
    shapes.Map: (0,),
    BY_CHANNEL: (0, 3, 2),
    shapes.Gates: (0, 3),
    shapes.Reduce: (0,),
    shapes.Row: (3, 0),
    shapes.Channel: (0, 3, 2),
    shapes.Sample: (0, 3, 2),
    shapes.Norm: (0, 3, 2, 2),
    shapes.Window: (0, *WINDOWS_OF_ONE[1:]),
    shapes.Taps: (0, 2, 0, 4, 3, 5),
    shapes.Take: (0, 3, 0),
    shapes.Matmul: (0, 3, 4),
}
EVERY = [
    pytest.param(declaration, dtype, id=f"{name}-{np.dtype(dtype).name}")
    for name, declaration in {**catalog(), **OTHERS}.items()
    for dtype in (np.float32, np.float64)
]
MAPS = [case for case in EVERY if isinstance(case.values[0], shapes.Map)]
ROWS = [case for case in EVERY if isinstance(case.values[0], shapes.Row)]
NORMAL = ("normal", "gaussian_dropout")  # they take logarithms: in the simulator NumPy's, of float64
RANDOM = [case for case in MAPS if case.values[0].random]


def kind(declaration):
    """What the tables above are indexed with."""
    return BY_CHANNEL if getattr(declaration, "by_channel", False) else type(declaration)


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    monkeypatch.setattr(compile, "MOST_BLOCKS", 2)


def run(declaration, given):
    """Call a kernel with the operands -> (what it returns, the operands on the host afterwards)."""
    on_device = [cuda.to_device(a) if isinstance(a, np.ndarray) else a for a in given]
    returned = cuda.kernel(declaration)(*on_device)
    pairs = zip(given, on_device, strict=True)
    return returned, [cuda.to_host(d) if isinstance(a, np.ndarray) else a for a, d in pairs]


def check(declaration, given):
    """Run the kernel; outputs are as expected, and nothing else has changed."""
    returned, after = run(declaration, given)
    written, wanted = outputs(declaration), expected(declaration, given)
    for k, (before, now) in enumerate(zip(given, after, strict=True)):
        if k not in written:
            np.testing.assert_array_equal(now, before, err_msg=f"operand {k} is no output")
    if isinstance(declaration, shapes.Reduce):
        assert type(returned) is float
        compare(returned, wanted, given)
        return
    for k, want in zip(written, wanted, strict=True):
        compare(after[k], want, given, exact=is_exact(declaration, k))


def is_exact(declaration, k):
    """Whether the reference does the same arithmetic for operand k: maps call the same functions of the same numbers.

    But the compiler of a GPU may fuse a product and a sum, and sums are added in another order.
    """
    if not isinstance(declaration, shapes.Map) or declaration.operands()[k][1] == 2:
        return False
    return compile.SIMULATOR or declaration.random


def compare(got, want, given, exact=False):
    """Equal; if not *exact*, but for some units in the last place of the largest number involved: terms may cancel."""
    if exact or np.asarray(want).dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    unit = 32 * np.finfo(given[0].dtype).eps
    floats = [np.asarray(v) for v in (want, *given) if np.asarray(v).dtype.kind == "f"]
    largest = max(np.max(np.abs(v), initial=0, where=np.isfinite(v)) for v in floats)
    np.testing.assert_allclose(got, want, rtol=unit, atol=unit * largest)


@pytest.mark.parametrize(("declaration", "dtype"), EVERY)
def test_kernel_computes_what_its_declaration_says(declaration, dtype, rng):
    for shape in SHAPES[kind(declaration)]:
        check(declaration, operands(declaration, shape, dtype, rng))
        if isinstance(declaration, shapes.Map):
            check(declaration, operands(declaration, shape, dtype, rng, positive=True))


@pytest.mark.parametrize(("declaration", "dtype"), EVERY)
def test_empty_arrays_launch_nothing(declaration, dtype, rng, monkeypatch):
    """But for sums over channels or rows: there are channels, and their sums are 0."""
    given = operands(declaration, EMPTY[kind(declaration)], dtype, rng)
    if getattr(declaration, "affine_sums", 0) or (isinstance(declaration, shapes.Map) and declaration.sums):
        check(declaration, given)
        return
    monkeypatch.setattr(compile.Kernel, "launch", None)
    returned, _ = run(declaration, given)
    assert returned == (expected(declaration, given) if isinstance(declaration, shapes.Reduce) else None)


@pytest.mark.parametrize(("declaration", "dtype"), [case for case in MAPS if "x" in case.values[0].inputs])
@pytest.mark.parametrize("skipped", [0, 1])
def test_map_in_place_and_of_unaligned_arrays(declaration, dtype, skipped, rng):
    """An output may be an input; arrays that do not begin at 16 bytes take the loop without wide loads."""
    shape = (5, 2, 7) if declaration.by_channel else (70,)
    given = operands(declaration, shape, dtype, rng, positive=True)
    on_device = [cuda.to_device(a) if isinstance(a, np.ndarray) else a for a in given]
    for k in range(len(declaration.inputs + declaration.outputs)):
        on_device[k] = cuda.to_device(np.append(given[k][:skipped], given[k]))[skipped:]
    written = outputs(declaration)
    on_device[written[0]] = on_device[0]
    cuda.kernel(declaration)(*on_device)
    for k, want in zip(written, expected(declaration, given), strict=True):
        compare(cuda.to_host(on_device[k]), want, given, exact=is_exact(declaration, k))


@pytest.mark.parametrize(("declaration", "dtype"), ROWS)
def test_rows_across_memory(declaration, dtype, rng):
    """Arrays (outer, n, inner) have the same rows as arrays (outer * inner, n) whose last two axes are exchanged."""
    shapes_across = [(1, 2, 3), (3, 33, 2), (2, 1, 9)] + [(3, 700, 50)] * (not compile.SIMULATOR)
    for outer, n, inner in shapes_across:
        given = operands(declaration, (outer * inner, n), dtype, rng)
        matrices = [k for k, (_, ndim) in enumerate(declaration.operands()) if ndim == 2]
        across = list(given)
        for k in matrices:
            across[k] = np.ascontiguousarray(given[k].reshape(outer, inner, n).transpose(0, 2, 1))
        _, after = run(declaration, across)
        for k in matrices:
            after[k] = after[k].transpose(0, 2, 1).reshape(outer * inner, n)
        for k, want in zip(outputs(declaration), expected(declaration, given), strict=True):
            compare(after[k], want, given)


@pytest.mark.parametrize(("declaration", "dtype"), RANDOM)
@pytest.mark.parametrize("start", [0, 1000, 2**40 + 5])
def test_random_kernels_draw_what_the_cpu_draws(declaration, dtype, start, rng):
    given = operands(declaration, (5, 2, 7) if declaration.by_channel else (70,), dtype, rng)
    given[-2 if declaration.by_channel else -1] = np.int64(start)
    _, after = run(declaration, given)
    cpu.kernel(declaration)(*given)
    other = compile.SIMULATOR and declaration.name in NORMAL
    for k in outputs(declaration):
        if other:
            np.testing.assert_allclose(after[k], given[k], rtol=2**-20, atol=2**-18)
        else:
            compare(after[k], given[k], given, exact=declaration.operands()[k][1] == 1)


@pytest.mark.parametrize(
    "name",
    ["softmax", "sum", "largest_size", "batch_norm", "layer_norm.backward", "matmul", "prelu.backward", "mse.gradient"],
)
def test_runs_on_grids_of_any_size_give_the_same_bits(name, rng, monkeypatch):
    declaration = catalog()[name]
    for shape in SHAPES[kind(declaration)]:
        given = operands(declaration, shape, np.float32, rng)
        returned, after = run(declaration, given)
        for blocks in (2, 1, 7):
            monkeypatch.setattr(compile, "MOST_BLOCKS", blocks)
            again = run(declaration, given)
            assert again[0] == returned
            for a, b in zip(again[1], after, strict=True):
                np.testing.assert_array_equal(a, b)


def test_maximum_of_a_row_with_nan_is_nan():
    x = np.array([[1, np.nan, 2, 3], [np.inf, 1, 2, 3], [0, 1, 2, 3]], np.float32)
    _, (_, y) = run(catalog()["softmax"], [x, np.zeros_like(x)])
    assert np.isnan(y[:2]).all()
    np.testing.assert_allclose(y[2].sum(), 1, rtol=1e-6)


def test_partial_results_are_kept_in_memory_of_the_first_call(rng, monkeypatch):
    """A second call of the same size allocates nothing; a smaller one is not misled by what is left there."""
    large, small = rng.normal(size=300), rng.normal(size=20)
    first = cuda.kernel("sum")(cuda.to_device(large))
    on_device = cuda.to_device(large), cuda.to_device(small)
    monkeypatch.setattr(compile, "empty", None)
    assert cuda.kernel("sum")(on_device[0]) == first
    np.testing.assert_allclose(cuda.kernel("sum")(on_device[1]), small.sum(), rtol=1e-12)


def test_arrays_of_more_dimensions_are_taken_as_they_lie_in_memory():
    x = cuda.to_device(np.arange(-3.0, 3.0).reshape(1, 2, 3))
    out = cuda.empty((1, 2, 3), np.float64)
    cuda.kernel("relu")(x, out)
    np.testing.assert_array_equal(cuda.to_host(out), np.maximum(0, np.arange(-3.0, 3.0)).reshape(1, 2, 3))


def test_kernels_and_copies_use_the_stream_of_the_context(monkeypatch):
    used, launch = [], compile._configured

    def configured(dispatcher, blocks, stream, shared):
        used.append(stream)
        return launch(dispatcher, blocks, stream, shared)

    monkeypatch.setattr(compile, "_configured", configured)
    stream = compile.cuda.stream()
    with cuda.use_stream(stream):
        assert cuda.kernel("sum")(cuda.to_device(np.ones(5))) == 5
    assert cuda.kernel("sum")(cuda.to_device(np.ones(5))) == 5
    assert used == [stream, 0]
