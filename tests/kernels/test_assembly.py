"""What the compiler made of the kernels: no float64 arithmetic for float32, wide vectors, no calls of libm."""

import platform
import re

import llvmlite.binding
import pytest
from declarations import OWN, all_or_slow
from numba import types
from numbadl.kernels import shapes
from numbadl.kernels.catalog import catalog
from numbadl.kernels.cpu.assembly import assembly
from numbadl.kernels.scalar.extras import measure_kernel, update_kernel
from numbadl.kernels.scalar.updates import UPDATES

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")

FLOAT64 = re.compile(
    r"\bv?(?:add|sub|mul|div|sqrt|max|min|rndscale|scalef|fn?m(?:add|sub)\d+)[ps]d\b|\bv?cvt\w*[ps]d\w*"
)
COMBINE_BLOCKS = {"vaddsd", "addsd", "vmaxsd", "maxsd", "vcvtss2sd", "cvtss2sd"}
UNBOX_ARGUMENTS = {"vcvtsd2ss", "cvtsd2ss"}  # from Python's floats; in a loop, the arithmetic before it would be found
LIBM = re.compile(r"\$_*(?:exp|expm1|log|log1p|tanh|sinh|cosh|sin|cos|atan|erf|erfc|pow|sqrt|fma)[f0-9]*\b")


def element_functions(declaration):
    """The element functions of a `Channel` as `Map` declarations: its own kernel finishes statistics in float64."""
    if declaration.reduce:
        inputs = declaration.inputs + "x" * len(declaration.reduce_with)
        yield shapes.Map(declaration.name + ".reduce", declaration.reduce, inputs, "x" * declaration.sums)
    if declaration.output:
        yield shapes.Map(
            declaration.name + ".output", declaration.output, declaration.inputs + "x" * len(declaration.map_with)
        )


def row_functions(declaration):
    """The element functions of a `Norm`, which finishes rows in float64, as `Map` declarations."""
    values = declaration.inputs + "x" * (declaration.affine + declaration.row_inputs)
    computed = "x" * (declaration.prior is not None)
    name, outputs = declaration.name, "x" * declaration.sums
    yield shapes.Map(f"{name}.reduce", declaration.reduce, values + computed, outputs)
    yield shapes.Map(f"{name}.output", declaration.output, values + computed + "x" * declaration.results)
    if declaration.terms:
        yield shapes.Map(f"{name}.terms", declaration.terms, values, "x" * declaration.affine_sums)


def element_function(declaration):
    """A `Map` with sums as one that stores the terms: its own kernel adds up sums of pieces in float64."""
    inputs, outputs = declaration.inputs + "x" * declaration.channels, declaration.outputs + "x" * declaration.sums
    return shapes.Map(declaration.name + ".terms", declaration.function, inputs, outputs, declaration.scalars)


def parts(declaration):
    if isinstance(declaration, shapes.Channel):
        return element_functions(declaration)
    if isinstance(declaration, shapes.Norm):
        return row_functions(declaration)
    return [element_function(declaration) if getattr(declaration, "sums", 0) else declaration]


def terms_function(declaration):
    """A `Segments` with terms as a `Map` that stores them: its own kernel adds them up in float64."""
    outputs, scalars = len(declaration.writes) + declaration.terms, declaration.values + declaration.scalars
    operands = "x" * declaration.operand_count
    return shapes.Map(declaration.name + ".terms", declaration.function, operands, "x" * outputs, "x" * scalars)


DECLARATIONS = [part for declaration in [*catalog().values(), *OWN.values()] for part in parts(declaration)]


UPDATE_KERNELS = dict.fromkeys(update_kernel(record) for record in UPDATES.values())
UPDATE_KERNELS |= dict.fromkeys(terms_function(measure_kernel(r)) for r in UPDATES.values() if r.measure)
CASES = all_or_slow(DECLARATIONS)
CASES += [pytest.param(d, id=d.name, marks=[pytest.mark.slow] * (d.name != "update.adam")) for d in UPDATE_KERNELS]


@pytest.mark.parametrize("declaration", CASES)
def test_float32_kernels_compute_in_float32(declaration):
    text = assembly(declaration)
    found = set(FLOAT64.findall(text)) - UNBOX_ARGUMENTS
    if isinstance(declaration, shapes.Reduce):  # blocks of 4096 elements are combined in float64
        found -= COMBINE_BLOCKS
    assert not found, f"{declaration.name}: {found}"
    assert not LIBM.search(text), LIBM.search(text)
    if isinstance(declaration, (shapes.Map, shapes.Row, shapes.Segments, shapes.Gates)):
        features = llvmlite.binding.get_host_cpu_features()
        widest = "zmm" if features.get("avx512f") else "ymm" if features.get("avx2") else "xmm"
        assert widest in text, f"{declaration.name}: no {widest} register in its assembly"


def test_the_check_can_fail():
    from numbadl.kernels.scalar.language import scalar

    @scalar
    def widened(x, factor: float):  # the annotation does not keep a parameter from being cast; an array would
        return x * factor

    text = assembly(shapes.Map("widened", widened, "xx"), types.float64)
    assert FLOAT64.search(text)
