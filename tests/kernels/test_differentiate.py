"""Translated and differentiated functions against mpmath, their kernels' assembly and PTX, and what is refused."""

import importlib.util
import linecache
import math
import sys

import mpmath
import numpy as np
import pytest
from numba import njit
from numbadl.kernels.scalar.derivatives import RULES
from numbadl.kernels.scalar.differentiate import derivative_of
from numbadl.kernels.scalar.language import scalar
from numbadl.kernels.scalar.source import NoSource
from numbadl.kernels.scalar.translate import NotScalar, translate

import numbadl as nd

mp = mpmath.mp.clone()
mp.prec = 200
SLOPE, COEFFICIENTS = 0.25, (0.5, -0.25, 0.125)


def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def snake(x, alpha=1.5):
    return x + np.sin(alpha * x) ** 2 / alpha


def soft(x):
    """Softplus in base 2, and a logistic function written out."""
    return math.log(1 + math.exp(x)) / math.log(2) + 1 / (1 + np.exp(-2 * x))


def leaky_square(x, low=-1.0):
    if x < low:
        return SLOPE * (x - low) + 1
    if x < 0:
        y: float = x * x
    else:
        y = x
        y *= 2
    return y


def ternary(x):
    return (x if x > 0 else 0.5 * x if x > -2 else -1.0) + max(x, 1, 2 - x) - min(x * x, 3)


def polynomial(x):
    total, power = 0, x
    for k in range(len(COEFFICIENTS)):
        total += COEFFICIENTS[k] * power
        power = power * x
    return total


def continued(x):
    """More turns than are written out."""
    y = x
    for k in range(1, 101):
        y = math.sin(y) + x / (k * k)
        if y > 1.5:
            break
    return y


def _helper(x, scale, *, shift=0.5):
    return scale * math.atan(x) + shift * x


def calls(x):
    return _helper(x * x, shift=2, scale=x) + scalar_helper(x)


@scalar
def scalar_helper(x):
    return 2 ** (-x) * x


def built_in(x):
    return nd.silu(x) * nd.elu(x, alpha=0.5) + nd.tanh.scalar(-x) * nd.softplus(-x)


def powers(x):
    return abs(x) ** 1.3 + (1 + x * x) ** -2 + np.power(2 + np.cos(x), x) + np.square(x) + math.pow(3, x)


def numpy_names(x):
    return np.where(x > 0, np.clip(x, 0, 2), -np.log1p(-x)) + np.logaddexp(0, x) + x * (x > 1) + np.fabs(x) * np.sign(x)


def overwritten(x):
    y, z = x, 2 * x
    y, z = z, y
    x = x * y
    x -= z
    return x / (1 + y * y)


# Each function beside its formula for mpmath, which the oracle differentiates.
FORMULAS = {
    gelu: lambda x: x / 2 * (1 + mp.erf(x / mp.sqrt(2))),
    gelu_tanh: lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))),
    mish: lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    snake: lambda x: x + mp.sin(1.5 * x) ** 2 / 1.5,
    soft: lambda x: mp.log1p(mp.exp(x)) / mp.log(2) + 1 / (1 + mp.exp(-2 * x)),
    leaky_square: lambda x: (x + 1) / 4 + 1 if x < -1 else (x * x if x < 0 else 2 * x),
    ternary: lambda x: (x if x > 0 else x / 2 if x > -2 else -1) + max(x, 1, 2 - x) - min(x * x, 3),
    polynomial: lambda x: x / 2 - x**2 / 4 + x**3 / 8,
    calls: lambda x: x * mp.atan(x * x) + 2 * x * x + 2**-x * x,
    built_in: lambda x: x / (1 + mp.exp(-x)) * (x if x > 0 else mp.expm1(x) / 2) - mp.tanh(x) * mp.log1p(mp.exp(-x)),
    powers: lambda x: abs(x) ** mp.mpf(1.3) + (1 + x * x) ** -2 + (2 + mp.cos(x)) ** x + x * x + 3**x,
    numpy_names: lambda x: (min(x, 2) if x > 0 else -mp.log1p(-x)) + mp.log1p(mp.exp(x)) + (x if x > 1 else 0) + x,
    overwritten: lambda x: (2 * x * x - x) / (1 + 4 * x * x),
}
POINTS = [-30.5, -7.3, -2.6, -1.4, -0.77, -0.3, -1e-3, 1e-3, 0.2, 0.61, 1.3, 1.9, 3.7, 9.1, 25.3]


def arguments(fn):
    return fn.__defaults__ or ()


@pytest.mark.parametrize("fn", FORMULAS, ids=lambda f: f.__name__)
def test_values_and_derivatives_against_mpmath(fn):
    function, derivative = translate(fn), derivative_of(fn)
    for x in POINTS:
        exact = mp.diff(FORMULAS[fn], mp.mpf(x))
        for computed, right in ((function, FORMULAS[fn](mp.mpf(x))), (derivative, exact)):
            got = computed(np.float64(x), *arguments(fn))
            assert float(abs(got - right)) <= 1e-12 * max(1, abs(right)), (x, got, right)


def test_a_long_loop_stays_one_and_is_differentiated():
    def oracle(x):
        y = x
        for k in range(1, 101):
            y = mp.sin(y) + x / (k * k)
            if y > 1.5:
                break
        return y

    derivative = derivative_of(continued)
    assert "for k in range(1, 101):" in derivative.source
    for x in (-1.1, -0.4, 0.3, 0.9, 2.0):
        right = mp.diff(oracle, mp.mpf(x))
        assert float(abs(derivative(np.float64(x)) - right)) < 1e-11 * max(1, abs(right)), x
    assert "for" not in derivative_of(polynomial).source


FAST = (leaky_square, calls)


@pytest.mark.parametrize(
    "fn",
    [fn if fn in FAST else pytest.param(fn, marks=pytest.mark.slow) for fn in (*FORMULAS, continued)],
    ids=lambda f: f.__name__,
)
def test_compiled_as_in_python(fn):
    for made in (translate(fn), derivative_of(fn)):
        compiled = njit(lambda x, *rest: made(x, *rest))  # noqa: B023
        for dtype in (np.float32, np.float64):
            given = [dtype(v) for v in arguments(fn)]
            got = [compiled(dtype(x), *given) for x in (-2.6, 0.2, 3.7)]
            want = [made(np.float64(dtype(x)), *map(float, given)) for x in (-2.6, 0.2, 3.7)]
            limit = 20 * np.finfo(dtype).eps  # absolute, too: 1 + erf(x) cancels
            np.testing.assert_allclose(got, want, rtol=limit, atol=limit)
        assert {s.return_type.name for s in compiled.nopython_signatures} == {"float32", "float64"}


# Of each elementary function with a rule: where it is smooth.
INSIDE = {  # from where on arguments are drawn, each or all of them
    "log": 0.2,
    "log2": 0.2,
    "log10": 0.2,
    "sqrt": 0.2,
    "rsqrt": 0.2,
    "log_to_base": 1.2,
    "pow": 0.2,
    "log1p": -0.8,
    "celu_derivative": (-2.0, 0.5),
    "soft_exponential_derivative": (-1.0, -0.3),
    "soft_clipping_derivative": (-2.0, 0.2),
}


@pytest.mark.parametrize("fn", RULES, ids=lambda f: f.__name__)
def test_every_rule(fn):
    """Against central differences of the function in float64, for each argument by itself."""
    low, step, rng = INSIDE.get(fn.__name__, -2.0), 1e-5, np.random.default_rng(0)
    for values in rng.uniform(low, 2.5, (20, len(RULES[fn]))):
        for k in range(values.size):
            around = [values + sign * step * (np.arange(values.size) == k) for sign in (1, -1)]
            high, below = (float(fn(*map(np.float64, v))) for v in around)
            got = rule_of(fn, k)(*map(np.float64, values))
            assert abs(got - (high - below) / (2 * step)) < 1e-7 * max(1, abs(got)), (values, k)
            if fn is not abs:  # no function of this library
                assert derivative_of(fn, k)(*map(np.float64, values)) == got, "of the function itself"


def rule_of(fn, k):
    """The rule of an elementary function, by way of a user's function that calls it."""
    letters = "abc"[: len(RULES[fn])]
    text = f"def user({', '.join(letters)}):\n    return elementary({', '.join(letters)})\n"
    return derivative_of(from_text(text, elementary=fn)["user"], k)


def from_text(text, **scope):
    """What a module or a notebook's cell with that text defines."""
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    scope = {"__name__": "cell", "np": np, "math": math, "nd": nd, **scope}
    exec(compile(text, name, "exec"), scope)
    return scope


REFUSED = {
    "def f(x):\n    while x > 1:\n        x = x / 2\n    return x": (2, "a while loop cannot be differentiated"),
    "def f(x, n=3):\n    for k in range(n):\n        x = x * x\n    return x": (2, "bounds are not constant"),
    "def f(x):\n    y = 1\n    for c in (1, 2):\n        y = y * c\n    return y": (3, "accepted is range"),
    "def f(x):\n    return math.gamma(x)": (2, "gamma, a function without a rule"),
    "def f(x):\n    return x // 1": (2, "x // 1"),
    "def f(x):\n    return [x, x][0]": (2, "[x, x][0]"),
    "def f(x):\n    y = x\n    return unknown(y)": (3, "unknown is not known"),
    "def f(x):\n    return x * unknown": (2, "unknown is not known"),
    "def f(x):\n    return x * np": (2, "np is module"),
    "def f(x):\n    return x and 1": (2, "x and 1"),
    "def f(x):\n    y = lambda v: v\n    return y(x)": (2, "a function inside"),
    "def f(x):\n    return f(x - 1) if x > 0 else x": (2, "f calls itself"),
    "def f(x):\n    try:\n        y = x\n    finally:\n        y = x\n    return y": (2, "try"),
    "def f(x):\n    return math.exp(*[x])": (2, "* and **"),
    "def f(x):\n    return nd.rrelu(x)": (2, "rrelu needs more than one number"),
    "def g(x):\n    return math.gamma(x)\n\ndef f(x):\n    return x * g(x)": (2, "gamma"),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda t: t.replace("\n", ";"))
def test_what_is_refused_names_the_construct_and_its_line(text):
    line, message = REFUSED[text]
    with pytest.raises(NotScalar) as error:
        derivative_of(from_text(text)["f"])
    assert f"line {line})" in str(error.value) and message in str(error.value)


def test_lambdas_and_decorators_and_closures():
    first, second = (lambda x: x * x), (lambda x: 3 * x)
    if sys.version_info >= (3, 11):
        assert derivative_of(first)(2.0) == 4 and derivative_of(second)(2.0) == 3
    else:
        with pytest.raises(NoSource, match="several on line"):
            derivative_of(first)
    scale = 5.0

    @scalar
    def closure(x):
        return scale * x

    assert derivative_of(closure)(1.0) == 5
    scale = 6.0  # taken as it is when the function is translated
    assert derivative_of(closure)(1.0) == 6


def test_a_source_that_is_not_what_was_compiled_is_not_used(tmp_path):
    path = tmp_path / "edited.py"
    path.write_text("def f(x):\n    return 2 * x\n")
    module = load(path)
    assert derivative_of(module.f)(1.0) == 2
    path.write_text("def f(x):\n    return 33 * x\n")
    with pytest.raises(NoSource, match="edited since"):
        derivative_of(module.f)
    assert derivative_of(load(path).f)(1.0) == 33


def load(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    linecache.checkcache(str(path))
    return module


def test_without_a_source():
    scope = {"__name__": "cell"}
    exec("def f(x):\n    return 2 * x", scope)
    with pytest.raises(NoSource, match="f: its source cannot be read"):
        derivative_of(scope["f"])
