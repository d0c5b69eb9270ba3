"""The scalar functions of every activation: accuracy, kinks, ends and slopes, against mpmath, over plain compiled loops."""

import numpy as np
import pytest
import references as ref
from numba import njit, types
from numbadl.kernels.scalar.activations import ACTIVATIONS
from numbadl.kernels.scalar.gated import GATED

INF, NAN = np.inf, np.nan
# The names of the specification: the course's first, in its order. apl, softmax and maxout are not elementwise.
COURSE = [
    "identity", "binary_step", "sigmoid", "tanh", "softsign", "sqnl", "relu", "brelu", "leaky_relu", "prelu",
    "rrelu", "elu", "bent_identity", "silu", "soft_exponential", "soft_clipping",
]  # fmt: skip
BEYOND = [
    "relu6", "hardtanh", "hardsigmoid", "hardswish", "softplus", "logsigmoid", "gelu", "gelu_tanh", "mish",
    "selu", "celu", "hardshrink", "softshrink", "tanhshrink", "threshold", "squareplus", "sparse_plus",
    "sparse_sigmoid", "exponential", "arctan", "gaussian", "sin", "sinc", "snake", "isru", "isrlu", "quick_gelu",
    "relu_squared", "star_relu", "elish", "hard_elish", "log_cosh", "srelu",
]  # fmt: skip
NAMES = [
    name for name in COURSE + BEYOND if name != "rrelu"
]  # that draws random slopes: tests/numbadl/test_functional.py
# The parameters with which functions are tested, the default ones first. That of brelu is the sign of the channel.
PARAMETERS = {
    "brelu": [(1.0,), (-1.0,)],
    "leaky_relu": [(0.01,), (0.3,)],
    "prelu": [(0.25,), (-0.7,)],
    "elu": [(1.0,), (0.3,), (5.0,)],
    "soft_exponential": [(0.0,), (1.0,), (-1.0,), (0.3,), (-0.45,), (1e-3,), (-1e-3,)],
    "soft_clipping": [(50.0,), (1.0,), (0.1,), (7.0,)],
    "hardtanh": [(-1.0, 1.0), (-0.3, 7.0)],
    "softplus": [(1.0, 20.0), (0.3, 5.0), (7.0, 20.0)],
    "celu": [(1.0,), (0.3,), (3.0,)],
    "hardshrink": [(0.5,), (1.7,)],
    "softshrink": [(0.5,), (1.7,)],
    "threshold": [(0.0, 0.0), (0.1, 20.0)],
    "squareplus": [(4.0,), (0.1,), (1000.0,)],
    "snake": [(1.0,), (0.3,), (7.0,)],
    "isru": [(1.0,), (0.3,), (40.0,)],
    "isrlu": [(1.0,), (0.3,), (40.0,)],
    "star_relu": [(0.8944, -0.4472), (2.0, 0.7)],
    "srelu": [(0.0, 0.2, 1.0, 1.0), (-1.5, 0.1, 2.25, 0.4)],
}
LEARNABLE = {"prelu", "soft_exponential", "srelu"}
CASES = [(name, parameters) for name in NAMES for parameters in PARAMETERS.get(name, [()])]
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
LIMIT = 2.0  # ULP
CANCELS = {"snake", "log_cosh"}
ABSOLUTE = {"soft_exponential", "soft_clipping"}  # 2 ULP of 1.0, or of the result if that is larger


def label(value):
    return "-".join(map(str, [value[0], *value[1]])) if isinstance(value, tuple) else None


each_case = pytest.mark.parametrize("case", CASES, ids=label)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
_loops = {}


def evaluated(name, x, parameters):
    """f(x), f'(x), and the gradients by the learnable parameters, one row each."""
    record, dtype = ACTIVATIONS[name], x.dtype.type
    functions = [record.forward, record.derivative, *(p.gradient for p in record.learnable)]
    if (name, dtype) not in _loops:
        _loops[name, dtype] = _loop(functions, len(parameters), types.float32 if dtype is np.float32 else types.float64)
    out = np.empty((len(functions), x.size), dtype)
    _loops[name, dtype](x, out, *map(dtype, parameters))
    return out


def _loop(functions, count, element):
    names = ", ".join(["x", "out", *(f"p{k}" for k in range(count))])
    arguments = ", ".join(["x[i]", *(f"p{k}" for k in range(count))])
    rows = "".join(f"        out[{k}, i] = f{k}({arguments})\n" for k in range(len(functions)))
    scope = {f"f{k}": fn for k, fn in enumerate(functions)}
    exec(f"def loop({names}):\n    for i in range(x.size):\n{rows}", scope)
    signature = types.void(element[::1], element[:, ::1], *[element] * count)
    return njit([signature], error_model="numpy")(scope["loop"])


def rounded(parameters, dtype):
    """What the functions get, as Python floats."""
    return tuple(float(dtype(p)) for p in parameters)


def kinks(name, parameters):
    return ref.of_parameters(ref.KINKS.get(name, ()), parameters)


def ends(dtype):
    info = np.finfo(dtype)
    sizes = [
        0.0,
        info.smallest_subnormal,
        info.tiny,
        1e-30,
        1e-5,
        0.5,
        1,
        1.25,
        2,
        3,
        13.3,
        20,
        87.4,
        88.8,
        104,
        1e4,
        1.9e19,
        1e30,
    ]
    sizes += [700, 709.5, 745, 2.0**40, info.max]
    return np.array([s * v for v in sizes for s in (1.0, -1.0)] + [INF, -INF, NAN], dtype)


def inputs(count, dtype, rng, special=()):
    """Numbers of all magnitudes, a grid, the ends, and *special* ones with their neighbours."""
    wide = 16 if dtype is np.float32 else 60
    special = np.array(special, dtype)
    parts = [
        rng.choice([-1.0, 1.0], count) * np.exp2(rng.uniform(-wide, wide, count)),
        rng.uniform(-3, 3, count),
        rng.uniform(-40, 20, count),
        rng.uniform(*((-95, -80) if dtype is np.float32 else (-760, -690)), count // 5),
        np.linspace(-12, 12, 2 * count + 1),
    ]
    x = np.concatenate(parts).astype(dtype)
    near = [special, np.nextafter(special, dtype(INF)), np.nextafter(special, dtype(-INF))]
    return np.concatenate([x, *near, ends(dtype)])


def exact_angle(name, x, parameters):
    """Where the angle of snake' is not so large that the rounding of alpha x would be turns, as its source says."""
    if name != "snake":
        return np.full(x.shape, True)
    with np.errstate(over="ignore"):
        angle = np.abs(x * x.dtype.type(2 * parameters[0]))
    return (
        ~(angle > (2.0**20 if x.dtype == np.float32 else 2.0**49))
        | ((parameters[0] == 1) & np.isfinite(angle))
        | ~np.isfinite(x)
    )


def errors(name, order, actual, x, parameters):
    """The error at each x in ULP, by what the specification asks for there."""
    expected = ref.activation(name, order, x, parameters=parameters)
    error = expected.ulps(actual)
    with np.errstate(invalid="ignore"):
        off = np.abs((actual.astype(np.float64) - expected.high) - expected.low) / np.finfo(x.dtype).eps
    if name in ABSOLUTE:
        return np.minimum(error, np.where(np.isfinite(off), off / np.maximum(1, np.abs(expected.high)), np.inf))
    suspects = np.flatnonzero((error > LIMIT) & (off <= LIMIT))
    forgiven = suspects[ref.crosses_zero(name, order, x[suspects], parameters=parameters)]
    error[forgiven] = off[forgiven]
    return error


def check(error, x, actual, what):
    k = int(np.argmax(error))
    assert error[k] <= LIMIT, f"{what}({x[k]!r}) = {actual[k]!r}: {error[k]:.3g} ULP"


def test_no_name_of_the_specification_is_missing():
    assert set(COURSE + BEYOND) <= set(ACTIVATIONS)
    assert set(COURSE + BEYOND) <= set(ref.ACTIVATIONS) and set(ref.ACTIVATIONS) == set(ref.LIMITS)
    assert {name for name in NAMES if ACTIVATIONS[name].learnable} == LEARNABLE
    listed = [name for name in ACTIVATIONS if name in COURSE + BEYOND]
    assert listed[: len(COURSE)] == COURSE


@each_case
@each_dtype
def test_values(case, dtype, rng):
    name, parameters = case[0], rounded(case[1], dtype)
    x = inputs(60 if dtype is np.float32 else 150, dtype, rng, kinks(name, parameters))
    for order, actual in enumerate(evaluated(name, x, parameters)[:2]):
        asked = exact_angle(name, x, parameters) if order else np.full(x.shape, True)
        check(errors(name, order, actual[asked], x[asked], parameters), x[asked], actual[asked], name + order * "'")


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "soft_exponential"], ids=label)
def test_many_values(case, rng):
    """A dense sample in float32 against the formulas in longdouble (soft_exponential's is one of single numbers)."""
    name, parameters = case[0], rounded(case[1], np.float32)
    parts = [
        rng.uniform(-3, 3, 400_000),
        rng.uniform(-30, 30, 200_000),
        rng.choice([-1, 1], 100_000) * np.exp2(rng.uniform(-10, 6.3, 100_000)),
    ]
    x = np.concatenate(parts).astype(np.float32)
    for order, actual in enumerate(evaluated(name, x, parameters)[:2]):
        expected, crossing = ref.activation_of_many(name, order, x, parameters=parameters)
        error, off = expected.ulps(actual), np.abs(actual - expected.high) / np.finfo(np.float32).eps
        if name in ABSOLUTE:
            error = np.minimum(error, off / np.maximum(1, np.abs(expected.high)))
        if name in CANCELS:  # 1 + sin x and log cosh x near 0 have fewer digits in longdouble than in float32
            error[expected.high < 1e-8] = 0
        check(np.where(crossing & (off <= LIMIT), 0, error), x, actual, name + order * "'")


@each_case
def test_slopes_of_the_references(case, rng):
    """The formula of f' against central differences of that of f, away from kinks: what everything else rests on."""
    name, parameters = case
    x = rng.uniform(-6, 6, 12)
    near = [np.abs(x - kink) > 1e-3 for kink in kinks(name, parameters)]
    x = x[np.all(near, axis=0)] if near else x
    slope, difference = ref.activation(name, 1, x, parameters=parameters), ref.difference(name, x, parameters)
    np.testing.assert_allclose(slope.high, difference.high, rtol=1e-15, atol=1e-20)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in LEARNABLE], ids=label)
@each_dtype
def test_gradients_of_parameters(case, dtype, rng):
    """Against differences in high precision; 8 ULP of the result, or of 1.0 where it is smaller."""
    name, parameters = case[0], rounded(case[1], dtype)
    assert len(ACTIVATIONS[name].learnable) == len(parameters)
    x = np.concatenate([rng.uniform(-4, 4, 150), rng.normal(0, 1e-3, 20), rng.uniform(-60, 60, 40)]).astype(dtype)
    rows = evaluated(name, x, parameters)
    for k in range(len(parameters)):
        expected = ref.difference(name, x, parameters, by=k).high
        error = np.abs(rows[2 + k] - expected) / (np.finfo(dtype).eps * np.maximum(1, np.abs(expected)))
        bad = ~(error <= 8) & ~(np.isnan(expected) & np.isnan(rows[2 + k]))
        assert not bad.any(), (x[bad][:3], rows[2 + k][bad][:3], expected[bad][:3])
        assert np.isfinite(expected).mean() > 0.4
        assert np.isnan(evaluated(name, np.array([NAN], dtype), parameters)[2 + k, 0])


@pytest.mark.parametrize("name", NAMES)
def test_records(name, rng):
    """Kinks, range and monotony, as the record has them, of the default parameters: are they true of the function?"""
    record = ACTIVATIONS[name]
    parameters = PARAMETERS.get(name, [()])[0]
    if name != "brelu":
        assert tuple(p.default for p in record.parameters) == parameters, "the first of PARAMETERS are the defaults"
        assert all(p.valid(p.default) and not p.valid(NAN) and not p.valid(INF) for p in record.parameters)
        assert ref.of_parameters(record.kinks, parameters) == kinks(name, parameters)
    x = np.sort(np.concatenate([rng.uniform(-8, 8, 4000), rng.uniform(-300, 300, 1000), [-1e9, 1e9]])).astype(
        np.float32
    )
    y, slope = evaluated(name, x, parameters)[:2].astype(np.float64)
    finite = np.isfinite(y)  # soft_exponential has a domain, the exponential overflows
    low, high = (0, INF) if name == "brelu" else np.float32(ref.of_parameters(record.range, parameters))
    assert (y[finite] >= low).all() and (y[finite] <= high).all()
    for end, reached in ((low, y[finite].min()), (high, y[finite].max())):
        assert reached == pytest.approx(end, abs=0.01) if np.isfinite(end) else abs(reached) > 290
    falls = np.diff(y[finite]) < -1e-6 * np.maximum(1, np.abs(y[finite][1:]))
    assert falls.any() != record.monotonic
    if record.monotonic:
        assert (slope[finite] >= 0).all()
    assert record.source and record.formula and record.derivative_formula and record.layer


@pytest.mark.parametrize("case", [case for case in CASES if kinks(*case)], ids=label)
@each_dtype
def test_kinks(case, dtype):
    """At a kink f' has the value of the reference, and just beside it another one on at least one side."""
    name, parameters = case[0], rounded(case[1], dtype)
    for kink in kinks(name, parameters):
        at = dtype(kink)
        x = np.array([at, np.nextafter(at, dtype(-INF)), np.nextafter(at, dtype(INF))])
        y, slope = evaluated(name, x, parameters)[:2]
        expected = ref.activation(name, 1, x, parameters=parameters).high
        np.testing.assert_allclose(slope, expected, rtol=2 * np.finfo(dtype).eps, atol=0)
        too_small = (name == "softplus" and dtype is np.float32) or (name, kink) == (
            "srelu",
            1.0,
        )  # a slope of 1 on either side
        assert np.ptp(slope) > 1e-10 or np.ptp(y) > 0.1 or too_small


@each_case
@each_dtype
def test_plain_python(case, dtype, rng):
    """What Python and the CUDA simulator run, the function itself, gives the compiled one's numbers."""
    name, parameters = case
    record, x = (
        ACTIVATIONS[name],
        np.concatenate([rng.uniform(-3, 3, 20), [-30.0, 0.0, 30.0, *kinks(name, parameters)]]),
    )
    x, given = x.astype(dtype), [dtype(p) for p in parameters]
    functions = [record.forward, record.derivative, *(p.gradient for p in record.learnable)]
    close = (8 if dtype is np.float32 else 64) * np.finfo(dtype).eps  # NumPy's exp is another one
    for fn, row in zip(functions, evaluated(name, x, given), strict=True):
        np.testing.assert_allclose(row, [float(fn(v, *given)) for v in x], rtol=close, atol=close)
    assert isinstance(float(record.forward(0.5, *parameters)), float)


@pytest.mark.parametrize("name", GATED)
@each_dtype
def test_gated_units(name, dtype, rng):
    """Values and both gradients within 3 ULP: a product more than the activation of the gate, which has 2."""
    gate_of = {"glu": "sigmoid", "swiglu": "silu", "geglu": "gelu", "reglu": "relu"}[name]
    record = GATED[name]
    x, gate, grad = rng.normal(0, 2, (3, 300)).astype(dtype)
    gate[:50] = rng.uniform(-20, 20, 50)
    out = np.empty((3, x.size), dtype)
    forward, gradient = record.forward, record.gradient

    @njit(error_model="numpy")
    def loop(x, gate, grad, out):
        for i in range(x.size):
            out[0, i] = forward(x[i], gate[i])
            out[1, i], out[2, i] = gradient(grad[i], x[i], gate[i])

    loop(x, gate, grad, out)
    for row, order, factor in ((0, 0, x), (1, 0, grad), (2, 1, x.astype(np.float64) * grad)):
        factor = factor.astype(np.float64)
        scale = np.maximum(1, np.abs(factor))
        expected = ref.activation(gate_of, order, gate, factor)
        off = np.abs(out[row] - expected.high) / (np.finfo(dtype).eps * scale)
        error = expected.ulps(out[row], scale)
        suspects = np.flatnonzero((error > 3) & (off <= 3))
        error[suspects[ref.crosses_zero(gate_of, order, gate[suspects])]] = 0
        assert error.max() <= 3, (row, x[error.argmax()], gate[error.argmax()])
