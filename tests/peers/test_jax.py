"""Functions for JAX, under jit, grad and vmap: against our float64 oracles, and against JAX's own functions where it has them."""

import gc
import os
import subprocess
import sys
import threading
import warnings

import formulas
import numpy as np
import pytest
import references as ref

import numbadl as nd
from tests.pages import run_example

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp

from numbadl.functional import FUNCTIONS
from numbadl.interop import _xla
from numbadl.interop import jax as ndj
from numbadl.interop._c_header import Header

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
FAST = ("silu", "prelu", "brelu")
NAMES = [n for n, f in FUNCTIONS.items() if not f.record.random]
each_activation = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in NAMES]
)


def oracle(name, order, x, parameters):
    """f or f' in the widest floats that the machine has."""
    with np.errstate(all="ignore"):
        given = [np.longdouble(p) for p in parameters]
        return formulas.ACTIVATIONS[name][order](formulas.WIDE, x.astype(np.longdouble), *given).astype(np.float64)


def values_and_slopes(fn, x, *more):
    """(f, grad * f' for grad = 1, 2, 3, ..., the same under vmap over the first axis), all under jit."""
    grad = jnp.arange(1.0, x.size + 1).reshape(x.shape)
    value = jax.jit(fn)(x, *more)
    slope = jax.jit(jax.grad(lambda x: (fn(x, *more) * grad).sum()))(x)
    return np.asarray(value), np.asarray(slope) / np.asarray(grad)


@each_activation
def test_activations_under_jit_and_grad(name, rng):
    record, x = FUNCTIONS[name].record, rng.normal(size=(3, 4, 5)) * 3
    parameters = [p.default for p in record.parameters]
    fn = getattr(ndj, name)
    if record.alternating:
        signs = np.where(np.arange(4) % 2 == 0, 1.0, -1.0)[:, None]
        expected = [np.stack([oracle(name, k, x[:, c], signs[c]) for c in range(4)], axis=1) for k in (0, 1)]
    else:
        expected = [oracle(name, k, x, parameters) for k in (0, 1)]
    for found, wanted in zip(values_and_slopes(fn, jnp.asarray(x)), expected, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, **CLOSE)
    if not record.alternating:  # whose channels would be another axis
        np.testing.assert_array_equal(jax.vmap(fn)(x), fn(jnp.asarray(x)))
        np.testing.assert_array_equal(
            jax.vmap(jax.vmap(jax.grad(lambda v: fn(v).sum())))(x), jax.grad(lambda v: fn(v).sum())(jnp.asarray(x))
        )


OTHER_PARAMETERS = {
    "elu": {"alpha": 0.3}, "leaky_relu": {"negative_slope": 0.3}, "softplus": {"beta": 0.3, "threshold": 5.0},
    "hardtanh": {"min_val": -0.3, "max_val": 7.0},
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "elu" else [pytest.mark.slow]) for n in OTHER_PARAMETERS]
)
def test_other_parameters(name, rng):
    options, x = OTHER_PARAMETERS[name], rng.normal(size=60) * 3
    assert set(options) <= set(FUNCTIONS[name].options)
    before = len(_xla._registered)
    for found, order in zip(
        values_and_slopes(lambda v: getattr(ndj, name)(v, **options), jnp.asarray(x)), (0, 1), strict=True
    ):
        np.testing.assert_allclose(found, oracle(name, order, x, options.values()), **CLOSE)
    getattr(ndj, name)(x, *[v + 0.25 for v in options.values()])
    assert len(_xla._registered) <= before + 2  # a kernel serves all of its parameters


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 8, 9)], ids=str)
def test_gradients_of_learnable_parameters(shape, rng):
    """One for all or one for each channel, in both layouts of the kernels, with vmap over x, over slopes, over both."""
    x, slope, grad = rng.normal(size=shape), rng.normal(size=3), rng.normal(size=shape)
    wide = slope.reshape(3, *[1] * (len(shape) - 2))

    def ours(x, slope):
        return (ndj.prelu(x, slope) * grad).sum()

    def plain(x, slope):
        return (jnp.where(x > 0, x, slope.reshape(wide.shape if slope.size > 1 else ()) * x) * grad).sum()

    for given in (slope, slope[:1], np.array(0.3)):
        found = jax.jit(jax.grad(ours, (0, 1)))(x, given)
        for a, b in zip(found, jax.grad(plain, (0, 1))(x, given), strict=True):
            np.testing.assert_allclose(a, b, **CLOSE)
    several, slopes = rng.normal(size=(6, *shape)), rng.normal(size=(6, 3))
    for axes in ((0, 0), (0, None), (None, 0)):
        given = several if axes[0] == 0 else x, slopes if axes[1] == 0 else slope
        found = jax.vmap(jax.grad(ours, (0, 1)), axes)(*given)
        for a, b in zip(found, jax.vmap(jax.grad(plain, (0, 1)), axes)(*given), strict=True):
            np.testing.assert_allclose(a, b, **CLOSE)
    np.testing.assert_allclose(
        ndj.prelu(np.moveaxis(x, 1, -1), slope, axis=-1), np.moveaxis(ndj.prelu(x, slope), 1, -1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if len(FUNCTIONS[n].record.learnable) > 0])
def test_gradients_of_all_learnable_parameters(name, rng):
    record, x = FUNCTIONS[name].record, rng.normal(size=(4, 6))
    parameters = [p.default + 0.3 for p in record.parameters]
    found = jax.jit(jax.grad(lambda *p: (getattr(ndj, name)(x, *p)).sum(), range(len(parameters))))(
        *map(jnp.asarray, parameters)
    )
    for k, value in enumerate(found):
        np.testing.assert_allclose(value, ref.difference(name, x, parameters, by=k).high.sum(), rtol=1e-10)


def test_random_slopes():
    """In training those of the seed, the same for each part under vmap; otherwise their mean."""
    x, grad = np.random.default_rng(0).normal(size=(2, 3, 50))
    options = {"training": True, "seed": 2**40 + 3, "offset": 5}
    np.testing.assert_array_equal(jax.jit(lambda v: ndj.rrelu(v, **options))(x), nd.rrelu(x, **options))
    found = jax.grad(lambda v: (ndj.rrelu(v, **options) * grad).sum())(x)
    np.testing.assert_array_equal(found, nd.rrelu.backward(grad, x, **options))
    np.testing.assert_array_equal(jax.vmap(lambda v: ndj.rrelu(v, **options))(x)[1], nd.rrelu(x[1], **options))
    np.testing.assert_allclose(ndj.rrelu(x, 0.2, 0.4), np.where(x > 0, x, 0.3 * x), rtol=1e-15)


def _shifted_tanh(x):
    return x - jnp.tanh(x)


OF_JAX = {
    "relu": jax.nn.relu, "relu6": jax.nn.relu6, "sigmoid": jax.nn.sigmoid, "silu": jax.nn.silu, "mish": jax.nn.mish,
    "logsigmoid": jax.nn.log_sigmoid, "softsign": jax.nn.soft_sign, "elu": jax.nn.elu, "selu": jax.nn.selu,
    "celu": jax.nn.celu, "gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_tanh": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu, "hardtanh": jax.nn.hard_tanh, "hardsigmoid": jax.nn.hard_sigmoid,
    "hardswish": jax.nn.hard_silu, "squareplus": jax.nn.squareplus, "sparse_plus": jax.nn.sparse_plus,
    "tanh": jnp.tanh, "sinc": None, "tanhshrink": _shifted_tanh, "sin": jnp.sin, "arctan": jnp.arctan,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, f in OF_JAX.items() if f is not None])
def test_jaxs_own_functions(name, rng):
    x = jnp.asarray(rng.normal(size=(4, 50)) * 3)
    for ours, theirs in zip(values_and_slopes(getattr(ndj, name), x), values_and_slopes(OF_JAX[name], x), strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_variants(rng):
    x = jnp.asarray(rng.normal(size=10))
    np.testing.assert_allclose(ndj.gelu(x, approximate="tanh"), jax.nn.gelu(x), **CLOSE)
    with pytest.raises(ValueError, match=r"approximate: got 'tan', accepted are 'none', 'tanh'"):
        ndj.gelu(x, approximate="tan")


# -- rows ------------------------------------------------------------------------------------------------------------
def sparsemax(x, axis=-1):
    """By sorting (Martins, Astudillo 2016)."""
    ordered = -jnp.sort(-x, axis)
    sums = jnp.cumsum(ordered, axis)
    ranks = jnp.expand_dims(jnp.arange(1, x.shape[axis] + 1), tuple(k for k in range(x.ndim) if k != axis % x.ndim))
    members = (1 + ranks * ordered > sums).sum(axis, keepdims=True)
    return jnp.maximum(x - (jnp.take_along_axis(sums, members - 1, axis) - 1) / members, 0)


OF_ROWS = {
    "softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax, "sparsemax": sparsemax,
    "softmin": lambda x, axis=-1: jax.nn.softmax(-x, axis),
}  # fmt: skip


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "softmax" else [pytest.mark.slow]) for n in ndj._ROWS]
)
def test_rows(name, axis, rng):
    x = jnp.asarray(rng.normal(size=(4, 5, 6)))
    ours, theirs = (lambda v, fn=fn: fn(v, axis=axis) for fn in (getattr(ndj, name), OF_ROWS[name]))
    for mine, other in zip(values_and_slopes(ours, x), values_and_slopes(theirs, x), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-13)
    if name in ("softmax", "log_softmax"):
        np.testing.assert_allclose(ours(x), getattr(ref, name)(np.asarray(x), axis).astype(float), **CLOSE)
    if axis == -1:
        for batched in (jax.vmap(ours, 1, 1), jax.vmap(jax.vmap(ours))):
            np.testing.assert_allclose(batched(x), ours(x), rtol=1e-15)


def test_masked_rows(rng):
    x, mask = jnp.asarray(rng.normal(size=(4, 6))), jnp.asarray(rng.random((4, 6)) > 0.4).at[:, 0].set(True)
    ours = values_and_slopes(lambda v: ndj.softmax(v, mask=mask), x)
    for mine, other in zip(ours, values_and_slopes(lambda v: jax.nn.softmax(v, where=mask), x), strict=True):
        np.testing.assert_allclose(mine, other, **CLOSE)
    np.testing.assert_allclose(jax.vmap(lambda v, m: ndj.softmax(v, mask=m))(x, mask), ours[0], rtol=1e-15)
    with pytest.raises(TypeError, match="mask: softmin takes none"):
        ndj.softmin(x, mask=mask)


# -- norms -----------------------------------------------------------------------------------------------------------
def normalised(x, rows, weight, bias, eps, centred=True):
    """Rows, with affine operands that broadcast to x."""
    flat = x.reshape(rows)
    flat = flat - flat.mean(1, keepdims=True) * centred
    y = (flat / jnp.sqrt((flat**2).mean(1, keepdims=True) + eps)).reshape(x.shape)
    return y * weight + bias


NORMS = [  # name, shape of x, what follows it, rows, shape of the affine operands, that which broadcasts
    ("layer_norm", (4, 6), (6,), (4, 6), (6,), (6,)),
    ("layer_norm", (2, 3, 4, 5), ((4, 5),), (6, 20), (4, 5), (4, 5)),
    ("rms_norm", (2, 3, 5), (5,), (6, 5), (5,), (5,)),
    ("group_norm", (2, 6, 5), (3,), (6, 10), (6,), (6, 1)),
    ("group_norm", (2, 4, 9, 8), (2,), (4, 144), (4,), (4, 1, 1)),
    ("instance_norm", (2, 3, 7), (), (6, 7), (3,), (3, 1)),
]


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[] if k == 0 else [pytest.mark.slow]) for k, c in enumerate(NORMS)], ids=str
)
def test_norms(case, rng):
    name, shape, given, rows, size, wide = case
    x, grad = rng.normal(2, 3, (2, *shape))
    affine = [jnp.asarray(rng.normal(size=size)) for _ in range(1 if name == "rms_norm" else 2)]
    several = rng.normal(size=(3, *shape))
    positions = tuple(range(1 + len(affine)))

    def ours(x, *affine):
        return getattr(ndj, name)(x, *given, *affine, eps=1e-3)

    def plain(x, weight, bias=None):
        bias = 0 if bias is None else bias.reshape(wide)
        return normalised(x, rows, weight.reshape(wide), bias, 1e-3, name != "rms_norm")

    def slopes(fn):
        return jax.grad(lambda *p: (fn(*p) * grad).sum(), positions)

    np.testing.assert_allclose(jax.jit(ours)(x, *affine), plain(x, *affine), **CLOSE)
    np.testing.assert_allclose(ours(x), plain(x, jnp.ones(size)), **CLOSE)
    for found, wanted in zip(jax.jit(slopes(ours))(x, *affine), slopes(plain)(x, *affine), strict=True):
        np.testing.assert_allclose(found, wanted, **CLOSE)
    axes = (0, *[None] * len(affine))
    for found, wanted in zip(
        jax.vmap(slopes(ours), axes)(several, *affine), jax.vmap(slopes(plain), axes)(several, *affine), strict=True
    ):
        np.testing.assert_allclose(found, wanted, **CLOSE)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "swiglu" else [pytest.mark.slow]) for n in nd.GATED])
def test_gated_units(name, rng):
    x, gate, grad = jnp.asarray(rng.normal(size=(3, 4, 6)))
    gates = {
        "glu": jax.nn.sigmoid, "swiglu": jax.nn.silu, "reglu": jax.nn.relu,
        "geglu": lambda g: jax.nn.gelu(g, approximate=False),
    }  # fmt: skip
    ours = getattr(ndj, name)

    def plain(x, gate):
        return x * gates[name](gate)

    def fn(x, gate):
        return ours(jnp.concatenate([x, gate], -1)) if name == "glu" else ours(x, gate)

    np.testing.assert_allclose(jax.jit(fn)(x, gate), plain(x, gate), **CLOSE)
    np.testing.assert_allclose(jax.vmap(fn)(x, gate), plain(x, gate), **CLOSE)
    slopes = [jax.jit(jax.grad(lambda *p, f=f: (f(*p) * grad).sum(), (0, 1)))(x, gate) for f in (fn, plain)]
    for found, wanted in zip(*slopes, strict=True):
        np.testing.assert_allclose(found, wanted, **CLOSE)


# -- the mechanism ---------------------------------------------------------------------------------------------------
def test_every_function_of_the_registries_is_there():
    assert {*FUNCTIONS, *nd.GATED, "softmax", "log_softmax", "layer_norm", "rms_norm", "group_norm"} <= set(dir(ndj))
    assert ndj.gelu is ndj.gelu
    assert ndj.gelu.__name__ == "gelu"
    with pytest.raises(AttributeError, match="no attribute 'rely'"):
        ndj.rely  # noqa: B018
    with pytest.raises(TypeError, match=r"function: got numpy\.ufunc, accepted are functions such as numbadl\.silu"):
        ndj.of(np.sin)


def test_somebodys_own_activation(rng):
    @nd.activation(learnable=("alpha",))
    def bump(x, alpha=1.5):
        return x / (1 + alpha * x * x)

    x = jnp.asarray(rng.normal(size=20))
    found = jax.jit(jax.value_and_grad(lambda x, a: ndj.of(bump)(x, a).sum(), (0, 1)))(x, jnp.array(0.7))
    wanted = jax.value_and_grad(lambda x, a: (x / (1 + a * x * x)).sum(), (0, 1))(x, jnp.array(0.7))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("n", [0, 1, 1 << 20])
def test_sizes(n, rng):
    """Nothing, one, and what is split over threads: the bits of the array function."""
    x = rng.normal(size=n).astype(np.float32)
    found = jax.jit(ndj.silu)(x)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, nd.silu(x))
    np.testing.assert_array_equal(jax.grad(lambda v: ndj.silu(v).sum())(x), nd.silu.derivative(x))


def test_nan_and_infinity_pass():
    """Subnormal numbers do not: XLA's threads take them for 0."""
    x = np.array([np.nan, np.inf, -np.inf, -0.0])
    np.testing.assert_allclose(ndj.silu(x), nd.silu(x), rtol=0, atol=1e-300)


def test_two_threads_at_once(rng):
    """Calls from two of Python's threads, of several functions each, which XLA runs on threads of its own."""
    x = rng.normal(size=1 << 18).astype(np.float32)

    def fn(x):
        return ndj.silu(x), ndj.silu(-x), ndj.softmax(x.reshape(64, -1)), jax.grad(lambda v: ndj.silu(v * v).sum())(x)

    compiled, wrong = jax.jit(fn), []
    wanted = [np.asarray(a) for a in compiled(x)]

    def work():
        for _ in range(40):
            wrong.extend(not np.array_equal(a, b) for a, b in zip(compiled(x), wanted, strict=True))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 2 * 40 * 4
    assert not any(wrong)
    np.testing.assert_array_equal(wanted[0], nd.silu(x))


def resident():
    """Bytes of this process that are in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_many_calls_leave_nothing_behind(rng):
    x = jnp.asarray(rng.normal(size=1000))
    compiled = jax.jit(jax.value_and_grad(lambda v: ndj.silu(v).sum()))

    def run(count):
        for _ in range(count):
            found = compiled(x)
        return jax.block_until_ready(found)

    run(20_000)
    targets, before = len(_xla._registered), resident()
    run(100_000)
    assert resident() - before < 4 << 20
    assert len(_xla._registered) == targets


def test_targets_are_registered_once(rng):
    x = jnp.asarray(rng.normal(size=(2, 3)))
    ndj.elu(x)
    before = len(_xla._registered)
    for alpha in (0.1, 0.2, 0.3):
        jax.jit(lambda v, alpha=alpha: ndj.elu(v, alpha))(x)
        jax.vmap(lambda v, alpha=alpha: ndj.elu(v, alpha))(x)
        ndj.elu(jnp.ones((4, 5, 6)), alpha)
    assert len(_xla._registered) == before


# -- errors ----------------------------------------------------------------------------------------------------------
def test_wrong_arguments(rng):
    x = jnp.asarray(rng.normal(size=(2, 3)))
    for call, error, message in [
        (lambda: ndj.silu(jnp.arange(3)), TypeError, "x: got dtype int64, accepted are float32 and float64"),
        (lambda: ndj.silu(x.astype(jnp.bfloat16)), TypeError, "x: got dtype bfloat16, accepted are"),
        (lambda: ndj.silu([1.0]), TypeError, "x: got list, accepted are JAX arrays"),
        (lambda: ndj.silu(x, 1), TypeError, "silu: takes no arguments after x"),
        (lambda: ndj.elu(x, beta=1), TypeError, "elu: unknown argument 'beta', accepted are alpha"),
        (lambda: ndj.elu(x, alpha=np.nan), ValueError, "alpha: got nan, accepted are"),
        (lambda: ndj.prelu(x, jnp.ones(2)), ValueError, r"alpha: got shape \(2,\), expected \(3,\)"),
        (lambda: ndj.prelu(x, jnp.ones(3, jnp.float32)), TypeError, "alpha: got dtype float32, accepted is that of x"),
        (lambda: ndj.prelu(x, jnp.ones(3), axis=2), ValueError, "axis: got 2, accepted are -2 to 1"),
        (lambda: ndj.softmax(x, axis=2), ValueError, "axis: got 2, accepted are -2 to 1"),
        (lambda: ndj.layer_norm(x, 4), ValueError, r"normalized_shape: got \(4,\), accepted are the last axes"),
        (lambda: ndj.layer_norm(x, 3, jnp.ones(2)), ValueError, r"weight: got shape \(2,\), expected \(3,\)"),
        (lambda: ndj.layer_norm(x, 3, eps=-1), ValueError, "eps: got -1, accepted are"),
        (lambda: ndj.group_norm(x, 2), ValueError, "num_groups: got 2, accepted are divisors"),
        (lambda: ndj.swiglu(x, x[0]), ValueError, r"gate: got shape \(3,\), expected \(2, 3\)"),
        (lambda: ndj.glu(x), ValueError, "x: got 3 elements along axis 1, accepted are even numbers"),
    ]:
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(TypeError, match="alpha: got .*Tracer"):
        jax.jit(lambda a: ndj.elu(x, a))(0.5)


def test_a_handler_refuses_what_its_kernel_does_not_take(rng):
    """What no function here asks for, but a call of the target could."""
    x = jnp.asarray(rng.normal(size=5))
    ndj.silu(x)
    name = next(
        name for (spec, *_, dtype), (name, _) in _xla._registered.items() if spec.name == "silu" and dtype is np.float64
    )
    like = jax.ShapeDtypeStruct((5,), jnp.float64)
    for arguments, result in [
        ((x.astype(jnp.float32),), like),
        ((x,), jax.ShapeDtypeStruct((5,), jnp.float32)),
        ((x, x), like),
        ((x,), jax.ShapeDtypeStruct((6,), jnp.float64)),
        ((x[0],), jax.ShapeDtypeStruct((), jnp.float64)),
    ]:
        with pytest.raises(Exception, match="INVALID_ARGUMENT.*numbadl: silu: got buffers of other types or sizes"):
            jax.block_until_ready(jax.ffi.ffi_call(name, result)(*arguments))
    np.testing.assert_array_equal(jax.ffi.ffi_call(name, like)(x), nd.silu(np.asarray(x)))


# -- the header, and what happens without it ----------------------------------------------------------------------------
def test_the_layout_is_that_of_the_header():
    """The figures that were found by hand for version 0.3."""
    found = _xla.header()
    if (found.values["XLA_FFI_API_MAJOR"], found.values["XLA_FFI_API_MINOR"]) == (0, 3):
        frame = found.offset("XLA_FFI_CallFrame", "args")
        assert frame + found.offset("XLA_FFI_Args", "size") == 56
        assert frame + found.offset("XLA_FFI_Args", "args") == 72
        assert found.offset("XLA_FFI_CallFrame", "rets") + found.offset("XLA_FFI_Rets", "rets") == 112
        assert [found.offset("XLA_FFI_Buffer", name) for name in ("dtype", "data", "rank", "dims")] == [16, 24, 32, 40]


def test_a_header_as_c_lays_it_out():
    found = Header(
        """
        #define MAJOR 4
        typedef uint32_t Traits;  // an alias
        typedef enum { RED = 3, /* and */ BLUE = 7, } Colour;
        struct Point { Colour colour; int64_t at; };
        typedef struct Line { struct Point first; const char* name; Traits traits; void (*drop)(void* it); MADE(make); } Line;
    """,
        ["MADE"],
    )
    assert found.values == {"MAJOR": 4, "RED": 3, "BLUE": 7}
    assert [found.offset("Line", f) for f in ("first", "name", "traits", "drop", "make")] == [0, 16, 24, 32, 40]
    assert (found.size("Point"), found.size("Line")) == (16, 48)


@pytest.fixture
def no_header(monkeypatch, tmp_path):
    def clear():
        for cached in (_xla.header, ndj._of_elements, ndj._rows, ndj._norm_of_rows):
            cached.cache_clear()

    monkeypatch.setattr(jax.ffi, "include_dir", lambda: str(tmp_path))
    clear()
    yield
    clear()


def test_without_the_header_calls_go_through_python_and_say_so(no_header, rng):
    x, slope = rng.normal(size=(4, 3)), rng.normal(size=3)
    with pytest.warns(RuntimeWarning, match="foreign function interface cannot be used.*pure_callback.*slower"):
        found = jax.jit(ndj.silu)(x)
    np.testing.assert_array_equal(found, nd.silu(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        for found, wanted in zip(
            jax.vmap(jax.grad(lambda x, a: ndj.prelu(x, a).sum(), (0, 1)), (0, None))(x[:, None], slope),
            (np.where(x > 0, 1, slope)[:, None], np.where(x > 0, 0, x)),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, **CLOSE)
        np.testing.assert_allclose(jax.vmap(ndj.softmax)(x), nd.softmax(x), rtol=1e-15)
        np.testing.assert_allclose(ndj.layer_norm(x, 3), nd.layer_norm(x, 3)[0], rtol=1e-15)


@pytest.mark.parametrize("page", ["README.md", "docs/interop-jax.md"])
def test_the_examples_of_the_pages(page, tmp_path, monkeypatch):
    run_example(page, "from numbadl.interop import jax", tmp_path, monkeypatch)


def test_kernels_that_handlers_compiled_serve_pythons_calls(tmp_path):
    """What a handler puts on the disk has another signature: loaded for calls of Python, it never fitted, at 10 ms a call."""
    program = """
import sys, numpy as np, numbadl as nd
from numbadl.kernels import cpu
if sys.argv[1] == "jax":
    from numbadl.interop import _xla
    from numbadl.kernels.catalog import catalog
    _xla._target(catalog()["relu"], None, np.float32)
else:
    x = np.ones(5, np.float32)
    nd.relu(x)
    kernel = cpu.kernel("relu")
    kernel._compile_for_args = None  # what Numba calls where no version fits
    nd.relu(x, out=np.empty_like(x))
"""
    for who in ("jax", "python"):
        environment = {**os.environ, "NUMBADL_CACHE_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", program, who], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
