"""Functions in pieces: one value for an element, wherever in an array it lies and whoever looks its coefficients up."""

import re

import llvmlite.binding
import numbadl.kernels.scalar.pieces
import numpy as np
import pytest
from numba import njit
from numbadl.kernels import cpu, shapes
from numbadl.kernels.scalar.coefficients import (
    GELU_SLOPE_PIECES,
    GELU_TANH_PIECES,
    GELU_TANH_SLOPE_PIECES,
    MILLS_PIECES,
    SILU_SLOPE_PIECES,
    SOFTPLUS_PIECES,
)
from numbadl.kernels.scalar.language import scalar
from numbadl.kernels.scalar.math import x_normal_cdf
from numbadl.kernels.scalar.pieces import Pieces
from numbadl.kernels.scalar.smooth import gelu_tanh, gelu_tanh_derivative

COVERED = {
    "mills": (MILLS_PIECES, 1, 1, 13.2),
    "gelu": (GELU_SLOPE_PIECES, 1, 1, 13.7),
    "gelu_tanh": (GELU_TANH_PIECES, 1.4375, 1, 10.27),
    "gelu_tanh slope": (GELU_TANH_SLOPE_PIECES, 1.4375, 1, 10.27),
    "silu": (SILU_SLOPE_PIECES, 1, 1.75, 25.0),
    "softplus": (SOFTPLUS_PIECES, 1, 1.75, 25.0),
}


@pytest.mark.parametrize("pieces, scale, offset, last", COVERED.values(), ids=COVERED)
def test_plain_python_and_a_compiled_element_agree(pieces, scale, offset, last, rng):
    @scalar
    def evaluated(v, a):
        return pieces(v, a)

    compiled = njit(lambda v, a: evaluated(v, a))
    for a in rng.uniform(0, last, 300).astype(np.float32):
        v = np.float32(scale * np.float64(a) + offset)
        assert pieces(v, a) == compiled(v, a), (a, v)


@pytest.mark.parametrize("function", [x_normal_cdf, gelu_tanh, gelu_tanh_derivative])
def test_an_element_has_one_value_in_vectors_of_any_width(function, rng):
    run = cpu.build(shapes.Map(f"pieces.{function.__name__}", function))
    run._cache.disable()
    x = rng.normal(0, 4, 200).astype(np.float32)
    whole = np.empty_like(x)
    run(x, whole)
    for n in (1, 7, 8, 15, 16, 17, 31, 40, 63, 64, 77, 129):
        part = np.empty(n, np.float32)
        run(x[:n].copy(), part)
        assert part.tobytes() == whole[:n].tobytes(), n


methods = pytest.mark.skipif(
    not numbadl.kernels.scalar.pieces._CAN_INLINE, reason="this Numba has not the methods that registers take"
)


@methods
def test_coefficients_are_looked_up_in_registers():
    features = llvmlite.binding.get_host_cpu_features()
    if not (features.get("avx512f") and features.get("avx512vl")):
        pytest.skip("needs AVX-512")
    run = cpu.build(shapes.Map("pieces.registers", x_normal_cdf))
    run._cache.disable()
    x = np.zeros(1, np.float32)
    run(x, np.empty_like(x))

    @njit
    def of_a_user(x, out):
        for i in range(x.size):
            out[i] = x_normal_cdf(x[i])

    of_a_user(x, np.empty_like(x))
    for compiled in (run, of_a_user):
        text = next(iter(compiled.inspect_asm().values()))
        assert "vpermps" in text or "vpermi2ps" in text
        assert "vgatherdps" not in text
        assert not re.search(r"call\w*\s.*numbadl_lookup_", text), "a look-up is called from the loop"


@methods
def test_without_numbas_private_methods_tables_are_loaded_from(monkeypatch, rng):
    def evaluated_by(pieces):
        @scalar
        def evaluated(a):
            first, rest = pieces(a + 1, a)
            return first + rest

        return evaluated

    a, results = rng.uniform(0, 13, 100).astype(np.float32), []
    for can_inline in (True, False):
        monkeypatch.setattr(numbadl.kernels.scalar.pieces, "_CAN_INLINE", can_inline)
        fresh = Pieces(GELU_SLOPE_PIECES.origin, GELU_SLOPE_PIECES.first, GELU_SLOPE_PIECES.rest)
        run = cpu.build(shapes.Map(f"pieces.{can_inline}", evaluated_by(fresh)))
        run._cache.disable()
        results.append(np.empty_like(a))
        run(a, results[-1])
    assert "numbadl_lookup_" not in next(iter(run.inspect_asm().values()))
    assert results[0].tobytes() == results[1].tobytes()
