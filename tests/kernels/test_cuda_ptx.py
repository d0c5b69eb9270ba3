"""What the compiler made of the CUDA kernels, on a machine without a GPU: PTX for sm_80 and sm_90, and its assembly."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
from declarations import OTHERS, all_or_slow, operands
from numbadl.kernels import shapes
from numbadl.kernels.catalog import ADD, EXCHANGE, LOOK_AHEAD, MOVE, SQUARES, TOWARDS, catalog
from numbadl.kernels.scalar.extras import measure_kernel, update_kernel
from numbadl.kernels.scalar.language import scalar
from numbadl.kernels.scalar.matrices import DIVIDED
from numbadl.kernels.scalar.updates import UPDATES

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'numbadl[cuda]'")

from numbadl.kernels import cpu, cuda
from numbadl.kernels.cpu import compile as cpu_compile
from numbadl.kernels.cuda import compile

if compile.SIMULATOR:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from numba.cuda import dispatcher, types
from numba.cuda.cudadrv import devices, nvvm
from numba.np.numpy_support import from_dtype

if not nvvm.is_available():
    pytest.skip("libNVVM is not installed: pip install 'numbadl[cuda]'", allow_module_level=True)

TARGETS = [(8, 0), (9, 0)]
FLOAT64 = re.compile(r"\.f64\b")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
SHAPE = {
    shapes.Map: (9,), shapes.Reduce: (9,), shapes.Row: (3, 5), shapes.Channel: (3, 2, 4), shapes.Sample: (3, 2, 4),
    shapes.Norm: (3, 2, 2, 2), shapes.Matmul: (2, 3, 4), shapes.Window: (2, 2, 4, 4, 2, 2, 1, 1, 0, 0, 1, 1),
    shapes.Taps: (2, 2, 3, 8, 4, 5), shapes.Take: (4, 3, 2), shapes.Gates: (2, 3),
}  # fmt: skip
DECLARATIONS = {**catalog(), **OTHERS}


def by_channel(declaration):
    return getattr(declaration, "by_channel", False)


class StandIn:
    """An array that has a type and a shape and no elements."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self.size = int(np.prod(shape))
        self._numba_type_ = types.Array(from_dtype(self.dtype), self.ndim, "C")

    def __getitem__(self, part):
        return StandIn((part.stop - (part.start or 0),), self.dtype)

    def reshape(self, size):
        return StandIn((self.size,), self.dtype)

    def copy_to_host(self, stream=0):
        return np.zeros(self.shape, self.dtype)

    def copy_to_device(self, source, stream=0):
        assert source.shape == self.shape


@pytest.fixture
def launches(monkeypatch):
    """Kernels are not run: this list holds what they would be launched with. The GPU is a stand-in, too."""
    recorded, device = [], SimpleNamespace(compute_capability=TARGETS[0], id=0)
    monkeypatch.setattr(compile.Kernel, "launch", lambda self, blocks, given, shared=0: recorded.append((self, given)))
    monkeypatch.setattr(compile, "_buffers", SimpleNamespace())
    monkeypatch.setattr(compile.cuda, "get_current_device", lambda: device)
    monkeypatch.setattr(compile.cuda, "device_array", lambda n, dtype, stream=0: StandIn((n,), dtype))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)
    monkeypatch.setattr(devices, "get_context", lambda: SimpleNamespace(device=device))
    monkeypatch.setattr(dispatcher._Kernel, "bind", lambda self: None)
    return recorded


def compiled(declaration, dtype, launches):
    """(kernel, target, PTX) of everything that the kernel of a declaration launches."""
    if isinstance(declaration, shapes.Segments):
        given = segment_operands(declaration, dtype)
        cuda.build(declaration)(*[StandIn(*operand) for operand in given])
        yield from compiled_launches(launches)
        return
    shape = SHAPE[shapes.Channel if by_channel(declaration) else type(declaration)]
    given = operands(declaration, shape, dtype, np.random.default_rng(0))
    cuda.build(declaration)(*[StandIn(a.shape, a.dtype) if isinstance(a, np.ndarray) else a for a in given])
    yield from compiled_launches(launches)


def segment_operands(declaration, dtype):
    """(shape, dtype) of each operand, for two tensors in three pieces."""
    integers = [(declaration.operand_count, 2), (3, 3), (3,)]
    sums = [(3, declaration.terms), (2, declaration.terms)]
    numbers = [(2, declaration.values), (declaration.scalars,)]
    return [(s, np.int64) for s in integers] + [(s, dtype) for s in numbers] + [(s, np.float64) for s in sums]


def compiled_launches(launches):
    for kernel, arguments in launches:
        signature = tuple(kernel.dispatcher.typeof_pyval(a) for a in arguments)
        kernel.dispatcher.compile(signature)
        for target in TARGETS:
            yield kernel, target, kernel.dispatcher.overloads[signature].inspect_asm(target)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("declaration", all_or_slow(DECLARATIONS.values()))
def test_kernel_compiles_for_every_target(declaration, dtype, launches):
    for kernel, target, ptx in compiled(declaration, dtype, launches):
        assert f".target sm_{target[0]}{target[1]}" in ptx
        assert ".extern .func" not in ptx, "calls what is not there"
        assert ".local" not in ptx.replace(".locals", ""), "arrays that were meant for registers are in memory"
        if dtype is np.float32 and not kernel.float64:
            assert not FLOAT64.search(ptx), f"{kernel.name}: {FLOAT64.search(ptx)}"
        check_wide_access(declaration, dtype, ptx)
        check_registers(ptx, target)
        if kernel.float64:  # few threads, one for each channel
            assert isinstance(declaration, (shapes.Channel, shapes.Norm)) or declaration.sums
            assert kernel.name == declaration.name + ".finish"


ALL_EXTRAS = ("limit", "l1", "shrink", "average", "zero")
SEGMENTS = [update_kernel(record) for record in UPDATES.values()]
SEGMENTS += [measure_kernel(record) for record in UPDATES.values() if record.measure]
SEGMENTS += [
    update_kernel(UPDATES["adam"], ALL_EXTRAS),
    measure_kernel(UPDATES["lamb"], ALL_EXTRAS),
    DIVIDED,
    SQUARES,
    ADD,
]
SEGMENTS += [MOVE, TOWARDS, LOOK_AHEAD, EXCHANGE]
SEGMENTS = list(dict.fromkeys(SEGMENTS))  # some records share a rule
FAST = (update_kernel(UPDATES["adam"]), measure_kernel(UPDATES["lamb"]))


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "declaration",
    [pytest.param(d, marks=[] if d in FAST else pytest.mark.slow) for d in SEGMENTS],
    ids=[d.name for d in SEGMENTS],
)
def test_update_compiles_for_every_target(declaration, dtype, launches):
    """Elements are loaded from and stored to global memory directly; float64 appears where terms are stored, at most."""
    for _, target, ptx in compiled(declaration, dtype, launches):
        assert ".extern .func" not in ptx and ".local" not in ptx.replace(".locals", "")
        letter = "f32" if dtype is np.float32 else "f64"
        assert len(re.findall(rf"\bld\.global(?:\.nc)?\.{letter}", ptx)) >= declaration.operand_count - 1
        assert len(re.findall(rf"\bst\.global\.{letter}", ptx)) >= len(declaration.writes)
        if dtype is np.float32:
            left = re.sub(r".*(cvt\.f64\.f32|st\.global\.f64|\.reg \.f64).*", "", ptx)
            assert not FLOAT64.search(left)
        check_registers(ptx, target)


def check_wide_access(declaration, dtype, ptx):
    """Maps load and store 16 bytes at once, but for those that go channel by channel; matmul reads shared memory so."""
    vector = ".v4.f32" if dtype is np.float32 else ".v2.f64"
    in_order = isinstance(declaration, shapes.Map) and (by_channel(declaration) or not declaration.random)
    if in_order and not declaration.sums:
        assert f"ld.global{vector}" in ptx
        assert f"st.global{vector}" in ptx
    if isinstance(declaration, shapes.Matmul):
        assert f"ld.shared{vector}" in ptx


def check_registers(ptx, target):
    """No thread keeps numbers in memory for want of registers, says nvJitLink, where it is installed."""
    try:
        from cuda.bindings import nvjitlink
    except ImportError:
        return
    handle = nvjitlink.create(2, [f"-arch=sm_{target[0]}{target[1]}", "-verbose"])
    try:
        code = ptx.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    found = SPILLS.findall(log.decode())
    assert found, log.decode()
    assert set(found) == {("0", "0", "0")}


def test_the_check_for_float64_can_fail(launches):
    @scalar
    def widened(x):
        return np.float64(x) * x * x  # with one product less, LLVM finds out that float32 would do

    ptx = [ptx for *_, ptx in compiled(shapes.Map("widened", widened), np.float32, launches)]
    assert all(FLOAT64.search(p) for p in ptx)


def test_arrays_of_any_shape_share_one_compilation(launches):
    run = cuda.build(catalog()["relu"])
    for shape in [(9,), (3, 3), (1, 1, 1)]:
        run(StandIn(shape, np.float32), StandIn(shape, np.float32))
    kernel = launches[0][0]
    assert len({tuple(kernel.dispatcher.typeof_pyval(a) for a in given) for _, given in launches}) == 1


def test_a_cpu_kernel_of_a_function_that_was_compiled_for_a_gpu(launches, monkeypatch):
    """Numba keeps one entry point with a function, that of the last target; kernels of the same types keep their code."""
    monkeypatch.setattr(cpu_compile, "cache_folder", lambda: None)
    x, declaration = np.ones(10, np.float32), catalog()["softsign"]

    def on_cpu(name):
        y = np.empty_like(x)
        cpu.build(dataclasses.replace(declaration, name=name))(x, y)
        return y[0]

    assert on_cpu("softsign.before") == 0.5
    assert list(compiled(declaration, np.float32, launches))
    assert on_cpu("softsign.after") == 0.5
