"""The elementary functions: accuracy on random samples, special values, types, and what the compiler makes of them.

``python -m tests.accuracy`` has the exhaustive tests.
"""

import inspect
import itertools
import math
import platform
import re
from types import SimpleNamespace

import numpy as np
import pytest
from elementary import ELEMENTARY, exact, float32_inputs, float64_inputs, ulps
from numba import njit, types
from numbadl.kernels.scalar.math import FUNCTIONS, NEAR, exp_to_1, near, x_normal_cdf

INF, NAN = np.inf, np.nan
DTYPES = [np.float32, np.float64]
UNARY = [name for name in FUNCTIONS if name != "pow"]
# Where something begins or ends for one of the functions and types; the samples have the neighbours of each.
EDGES = [
    0, 1, 0.5, 2 / 3, 3 / 4, 4 / 3, 1.5, math.log(2) / 2, math.pi / 4, math.pi / 2, math.pi, 2, 10, 1e-3, 1e-8, 1e-20, 1e30,
    8.3, 9.02, 9.19, 13, 17.3, 18.5, 19.1, 26.55, 36.8, 37.5, 44.36, 87.34, 88.38, 88.72284, 89.416, 103.98, 126, 127, 128,
    149, 354.5, 708.4, 709.09, 709.79, 710.48, 745.2, 1022, 1024, 1075, NEAR, 2**24, 2**53, 1e300, 2.0**-126, 2.0**-1022,
]  # fmt: skip


def compiled(fn, dtype):
    """fn over arrays, in the numbers of *dtype*; the loop keeps what it was compiled to for the tests of that."""
    key = fn, dtype
    if key not in _compiled:
        parameters = ", ".join(f"x{k}" for k in range(len(inspect.signature(fn).parameters)))
        elements = ", ".join(f"{p}[i]" for p in parameters.split(", "))
        scope = {"fn": fn}
        exec(f"def loop({parameters}, out):\n    for i in range(out.size):\n        out[i] = fn({elements})", scope)
        array = (types.float32 if dtype is np.float32 else types.float64)[::1]
        loop = njit([types.void(*[array] * (parameters.count("x") + 1))], error_model="numpy")(scope["loop"])

        def run(*x):
            out = np.empty_like(x[0])
            loop(*x, out)
            return out

        _compiled[key] = run, loop
    return _compiled[key][0]


_compiled = {}


def edges(dtype):
    """Both signs of every edge and its neighbours, the extremes and the special numbers."""
    info, neighbours = np.finfo(dtype), []
    with np.errstate(all="ignore"):
        values = np.concatenate([np.array(EDGES), [info.max, info.tiny, info.smallest_subnormal, INF]]).astype(dtype)
        for direction in (dtype(0), dtype(INF)):
            near = values
            for _ in range(8):
                neighbours.append(near)
                near = np.nextafter(near, direction)
    values = np.concatenate(neighbours)
    return np.concatenate([values, -values, [dtype(NAN)]])


def check(name, x, high, low):
    error, wrong, _ = ulps(compiled(FUNCTIONS[name], x.dtype.type)(x), high, low)
    assert not wrong.any(), f"{name} is wrong at {x[wrong][:5]!r}"
    worst = int(np.argmax(error))
    assert error[worst] <= 1.0, f"{name} is off by {error[worst]} ULP at {x[worst]!r}"


@pytest.mark.parametrize("name", UNARY)
def test_float32_against_float64(name, rng):
    inside = rng.uniform(*np.clip(ELEMENTARY[name].interesting, -150, 150), 20_000).astype(np.float32)
    x = np.concatenate([float32_inputs(40_000, rng), inside, edges(np.float32)])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide = x.astype(np.float64)
    check(name, x, np.array([ELEMENTARY[name].float64(v) for v in wide.tolist()]), 0)


@pytest.mark.parametrize("name", UNARY)
def test_float64_against_mpmath(name, rng):
    x = edges(np.float64)
    x = np.concatenate([float64_inputs(name, 1000, rng), rng.choice(x[np.isfinite(x)], 300)])
    check(name, x, *exact(name, x))


def test_pow_against_float64(rng):
    x = np.abs(float32_inputs(100_000, rng))
    with np.errstate(all="ignore"):
        room = np.nan_to_num(150 / np.abs(np.log2(x.astype(np.float64))), posinf=1)
    y = (rng.uniform(-1, 1, x.size) * room).astype(np.float32)
    with np.errstate(all="ignore"):
        high = np.power(x.astype(np.float64), y.astype(np.float64))
    error, wrong, normal = ulps(compiled(FUNCTIONS["pow"], np.float32)(x, y), high, 0)
    assert not wrong.any(), (x[wrong][:5], y[wrong][:5])
    assert normal.sum() > 50_000
    assert error.max() <= 1.0, (x[error.argmax()], y[error.argmax()])


def test_pow_in_float64_against_mpmath(rng):
    from mpmath import mp, mpf

    x = np.exp2(rng.uniform(-1000, 1000, 1000))
    x[::2] = 1 + rng.normal(0, 0.01, 500)
    y = rng.uniform(-1, 1, 1000) * np.minimum(1000 / np.abs(np.log2(x)), 1e9)
    with mp.workdps(50):
        powers = [mpf(a) ** mpf(b) for a, b in zip(x, y, strict=True)]
        high = np.array([float(p) for p in powers])
        low = np.array([float(p - mpf(h)) for p, h in zip(powers, high, strict=True)])
    error, wrong, _ = ulps(compiled(FUNCTIONS["pow"], np.float64)(x, y), high, low)
    assert not wrong.any()
    assert error.max() <= 1.0, (x[error.argmax()], y[error.argmax()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sin_and_cos_far_out(dtype, rng):
    from mpmath import mp, mpf

    with np.errstate(over="ignore"):
        x = np.exp2(rng.uniform(17, np.log2(float(np.finfo(dtype).max)), 500)).astype(dtype)
    for name in ("sin", "cos"):
        with mp.workdps(400):
            high = np.array([float(getattr(mp, name)(mpf(v))) for v in x.tolist()])
        error, wrong, _ = ulps(compiled(FUNCTIONS[name], dtype)(x), high, 0)
        assert not wrong.any()
        assert error.max() <= (1.0 if dtype is np.float32 else 1.5), x[error.argmax()]  # the reference is a float64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_near_functions_are_the_same_numbers(name, dtype, rng):
    x = rng.uniform(-NEAR, NEAR, 10_000).astype(dtype)
    assert np.array_equal(compiled(near(FUNCTIONS[name]), dtype)(x), compiled(FUNCTIONS[name], dtype)(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_of_sums(dtype, rng):
    """e^x for x <= 0 to 1.1 ULP, against wider floats; flushed below the normal range."""
    lowest = math.log(np.finfo(dtype).tiny)
    x = np.concatenate([-rng.uniform(0, -1.1 * lowest, 200_000), -(10 ** rng.uniform(-12, 3, 50_000))]).astype(dtype)
    found, wide = compiled(exp_to_1, dtype)(x), np.exp(x.astype(np.longdouble))
    normal = wide >= np.finfo(dtype).tiny
    unit = np.ldexp(np.finfo(dtype).eps, np.frexp(wide[normal].astype(np.float64))[1] - 1)
    assert np.max(np.abs(found[normal] - wide[normal]) / unit) <= 1.1
    assert np.all(np.abs(found[~normal] - wide[~normal]) <= np.finfo(dtype).tiny)
    ends = np.array([0, -0.0, -INF, -np.finfo(dtype).max, NAN], dtype)
    np.testing.assert_array_equal(compiled(exp_to_1, dtype)(ends), [1, 1, 0, 0, NAN])


@pytest.mark.parametrize("dtype", DTYPES)
def test_x_normal_cdf_where_the_cdf_is_no_normal_number(dtype, rng):
    from mpmath import mp, mpf

    low = -14.0 if dtype is np.float32 else -38.0
    x = np.concatenate([rng.uniform(low, low + 2, 500), rng.uniform(-8, 6, 1000), [INF, -INF, NAN]]).astype(dtype)
    with mp.workdps(50):
        high = [float(mpf(v) * mp.erfc(-mpf(v) / mp.sqrt(2)) / 2) for v in x[:-3].tolist()]
    error, wrong, _ = ulps(compiled(x_normal_cdf, dtype)(x), np.array([*high, INF, 0, NAN]), 0)
    assert not wrong.any(), x[wrong]
    assert error.max() <= (2.0 if dtype is np.float32 else 2.5), x[error.argmax()]  # the reference is a float64


# -- special values: as C99, annex F, has them ---------------------------------------------------------------------
SPECIAL = {
    "exp": [(INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0)],
    "exp2": [(INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (10.0, 1024.0), (-3.0, 0.125)],
    "expm1": [(INF, INF), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0)],
    "sinh": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0)],
    "cosh": [(INF, INF), (-INF, INF), (0.0, 1.0), (-0.0, 1.0)],
    "tanh": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0)],
    "sech2": [(INF, 0.0), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0)],
    "sigmoid": [(INF, 1.0), (-INF, 0.0), (0.0, 0.5), (-0.0, 0.5)],
    "softplus": [(INF, INF), (-INF, 0.0)],
    "log_sigmoid": [(INF, -0.0), (-INF, -INF)],
    "log": [(INF, INF), (-INF, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-1.0, NAN)],
    "log2": [
        (INF, INF),
        (-INF, NAN),
        (0.0, -INF),
        (-0.0, -INF),
        (1.0, 0.0),
        (-1.0, NAN),
        (1024.0, 10.0),
        (0.125, -3.0),
    ],
    "log1p": [(INF, INF), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-2.0, NAN)],
    "sqrt": [(INF, INF), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (-1.0, NAN), (4.0, 2.0)],
    "rsqrt": [(INF, 0.0), (-INF, NAN), (0.0, INF), (-0.0, -INF), (-1.0, NAN), (4.0, 0.5)],
    "erf": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0)],
    "erfc": [(INF, 0.0), (-INF, 2.0), (0.0, 1.0), (-0.0, 1.0)],
    "normal_cdf": [(INF, 1.0), (-INF, 0.0), (0.0, 0.5), (-0.0, 0.5)],
    "normal_pdf": [(INF, 0.0), (-INF, 0.0)],
    "gaussian": [(INF, 0.0), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0)],
    "atan": [(INF, math.pi / 2), (-INF, -math.pi / 2), (0.0, 0.0), (-0.0, -0.0)],
    "sin": [(INF, NAN), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0)],
    "cos": [(INF, NAN), (-INF, NAN), (0.0, 1.0), (-0.0, 1.0)],
}


def same(a, b):
    """Equal bits, but any NaN for a NaN."""
    return (np.isnan(a) and np.isnan(b)) or (a == b and np.signbit(a) == np.signbit(b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name, dtype):
    fn = FUNCTIONS[name]
    for argument, result in [*SPECIAL[name], (NAN, NAN)]:
        x, expected = dtype(argument), dtype(result)
        assert same(compiled(fn, dtype)(np.array([x]))[0], expected), f"compiled {name}({x})"
        assert same(fn(x), expected), f"plain {name}({x})"


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_of_pow(dtype):
    values = [
        0.0,
        -0.0,
        1,
        -1,
        2,
        -2,
        0.5,
        -0.5,
        3,
        -3,
        INF,
        -INF,
        NAN,
        2.5,
        -2.5,
        1e-40,
        2.0**24 + 2,
        2.0**23 + 1,
        -1e9,
    ]
    for x, y in itertools.product(values, values):
        x, y = dtype(x), dtype(y)
        with np.errstate(over="ignore"):
            expected = dtype(_pow(float(x), float(y)))
        actual = compiled(FUNCTIONS["pow"], dtype)(np.array([x]), np.array([y]))[0]
        close = abs(float(actual) - float(expected)) <= 2e-7 * abs(float(expected)) + float(np.finfo(dtype).tiny)
        alike = same(actual, expected) or (close and np.signbit(actual) == np.signbit(expected))
        assert alike, f"pow({x}, {y}) = {actual}, not {expected}"


def _pow(x, y):
    """C's pow, from Python's, which raises where C gives inf or NaN."""
    odd = abs(y) < 2**53 and y % 2 == 1
    if x == 0 and y < 0:
        return math.copysign(INF, x) if odd else INF
    if x < 0 and math.isfinite(x) and math.isfinite(y) and y != int(y):
        return NAN
    try:
        return math.pow(x, y)
    except OverflowError:
        return -INF if x < 0 and odd else INF


# -- types, plain Python, code -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_plain_python_agrees_with_compiled_code(name, dtype, rng):
    fn = FUNCTIONS[name]
    x = np.concatenate([float64_inputs(name, 40, rng), [0.3, -0.3, 1.0]]).astype(dtype)
    plain = [fn(v) for v in x]
    assert {type(v) for v in plain} == {dtype}
    error, wrong, _ = ulps(compiled(fn, dtype)(x), np.array(plain, np.float64), 0)
    assert not wrong.any(), x[wrong]
    assert error.max() <= (1.0 if dtype is np.float32 else 8), x[error.argmax()]  # Python's float64 has rounding errors
    assert isinstance(fn(0.5), float)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_stays_float32(name):
    fn = FUNCTIONS[name]
    count = len(inspect.signature(fn).parameters)
    scope = {"fn": fn}
    exec("def call(x, y):\n    return fn(x, y)" if count == 2 else "def call(x):\n    return fn(x)", scope)
    call = njit(scope["call"])
    assert call.compile((types.float32,) * count) is not None
    assert call.nopython_signatures[0].return_type == types.float32


FLOAT64 = re.compile(r"\bv?(?:add|sub|mul|div|sqrt|max|min|fn?m(?:add|sub)\d+)[ps]d\b|\bv?cvt\w*[sp]d2?\w*")
PACKED = re.compile(r"\bv?(?:add|sub|mul|div|sqrt|fn?m(?:add|sub)\d+)ps\b")
CALL = re.compile(r"\$_*(?:exp|exp2|expm1|log|log2|log1p|tanh|sinh|cosh|sin|cos|atan|erf|erfc|pow|sqrt|fma)f?\b")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize("name", UNARY)
def test_float32_code_is_vectorised_without_float64_or_libm(name):
    fn = FUNCTIONS[name]
    compiled(fn, np.float32)
    (text,) = _compiled[fn, np.float32][1].inspect_asm().values()
    text = text[: text.find("cpython")] if "cpython" in text else text
    assert PACKED.search(text), "no vector instruction"
    assert not CALL.search(text), CALL.search(text).group()
    assert not FLOAT64.search(text), FLOAT64.search(text).group()


def test_float32_ptx_has_no_float64(monkeypatch):
    cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    dispatcher = pytest.importorskip("numba.cuda.dispatcher")
    if not hasattr(dispatcher, "get_current_device"):
        pytest.skip("the simulator compiles nothing")
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(8, 0), id=0))
    signature = types.void(types.float32[::1], types.float32[::1])
    for name in UNARY:
        text = cuda.compile(_cuda_kernel(cuda, FUNCTIONS[name]), signature, cc=(8, 0), abi="numba", output="ptx")[0]
        assert ".f64" not in text, name


def _cuda_kernel(cuda, fn):
    def kernel(x, out):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = fn(x[i])

    return kernel
