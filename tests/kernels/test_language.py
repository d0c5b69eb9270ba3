"""The scalar language: numbers take the type of the first floating argument, and integers stay what they are."""

import math
import re

import numpy as np
import pytest
from numba import njit, types
from numbadl.kernels.scalar.intrinsics import bits_float, float_bits, fma
from numbadl.kernels.scalar.language import ByType, Polynomial, scalar

THIRD = 1 / 3
CUBIC = Polynomial(float32=(1.0, 0.5, 0.25, 0.125), float64=(1.0, 0.5, 0.25, 0.0625))
LIMIT = ByType(2.0, 3.0)


@scalar
def literals(x):
    """A docstring does not matter."""
    return 0.5 * x + 1


@scalar
def constants(x):
    return x * THIRD + math.pi * 2 / 3


@scalar
def defaults(x, alpha=1, beta=0.25):
    return alpha * x + beta


@scalar
def loop(x, n: int):
    total = 0
    for i in range(1, n + 1):
        total += x * i**2 / (i + 1)
    return total


@scalar
def harmonic(x, n: int):
    total = 0
    for i in range(1, n + 1):
        total += 1 / i + i / n
    return total * x


@scalar
def by_type(x):
    return LIMIT if x > LIMIT else x


@scalar
def polynomial(x):
    return CUBIC(x)


@scalar
def branches(x):
    if x > 2:
        y = 1
    elif x < 0:
        y = -x
    else:
        y = 0.5
    return max(y, 0) if x != 1 else 7


@scalar
def calls_others(x):
    return literals(x) + fma(x, 2, 1)


def _closure(scale):
    @scalar
    def scaled(x):
        return x * scale

    return scaled


CASES = [
    (literals, (2.0,), 2.0),
    (constants, (3.0,), 1 + 2 * math.pi / 3),
    (defaults, (3.0,), 3.25),
    (defaults, (3.0, 2.0), 6.25),
    (loop, (2.0, 3), 2.0 * (1 / 2 + 4 / 3 + 9 / 4)),
    (harmonic, (2.0, 4), 2.0 * (1 + 1 / 2 + 1 / 3 + 1 / 4 + 10 / 4)),
    (branches, (1.0,), 7.0),
    (branches, (-4.0,), 4.0),
    (calls_others, (2.0,), 7.0),
    (_closure(0.1), (2.0,), 0.2),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("fn", "args", "expected"), CASES, ids=lambda v: getattr(v, "__name__", None))
def test_compiled_and_plain_python_agree_and_keep_the_type(fn, args, expected, dtype):
    typed = tuple(dtype(a) if isinstance(a, float) else a for a in args)
    compiled = njit(lambda *a: fn(*a))
    result = compiled(*typed)
    assert compiled.nopython_signatures[0].return_type == getattr(types, dtype.__name__)
    assert result == pytest.approx(expected, rel=4 * float(np.finfo(dtype).eps))
    plain = fn(*typed)
    assert isinstance(plain, (dtype, int, float))
    assert float(plain) == pytest.approx(expected, rel=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("fn", [literals, constants, defaults, by_type, polynomial, branches, calls_others])
def test_float32_code_has_no_float64_arithmetic(fn):
    compiled = njit(lambda x: fn(x))
    compiled(np.float32(1.5))
    (code,) = compiled.inspect_llvm().values()
    body = code[code.index("define") :].split("\n}")[0]
    assert not re.search(r"= f(add|mul|sub|div|cmp) .*double|call double", body), body


def test_constants_of_each_type():
    for dtype, limit in ((np.float32, 2.0), (np.float64, 3.0)):
        assert njit(lambda x: by_type(x))(dtype(10)) == limit
    for dtype, last in ((np.float32, 0.125), (np.float64, 0.0625)):
        assert njit(lambda x: polynomial(x))(dtype(2)) == pytest.approx(1 + 1 + 1 + 8 * last)
        assert polynomial(dtype(2)) == pytest.approx(1 + 1 + 1 + 8 * last)


def test_a_constant_called_with_a_number_has_its_type():
    @scalar
    def limit(x):
        return x if x > LIMIT(x) else LIMIT(x)

    for dtype, expected in ((np.float32, 2.0), (np.float64, 3.0)):
        for fn in (limit, njit(lambda x: limit(x))):
            assert fn(dtype(1)) == expected and fn(dtype(4)) == 4
        assert type(limit(dtype(1))) is dtype
    assert limit(1.0) == 3.0


def test_an_integer_first_argument_computes_in_float64():
    assert njit(lambda x: literals(x))(3) == 2.5


def test_every_parameter_takes_the_type_of_the_first():
    compiled = njit(lambda x, a: defaults(x, a))
    assert compiled(np.float32(1), 0.1) == np.float32(0.1) * np.float32(1) + np.float32(0.25)
    assert compiled.nopython_signatures[0].return_type == types.float32
    compiled(np.float32(1), 3)
    assert compiled.nopython_signatures[1].return_type == types.float32


def test_a_function_without_readable_source_still_works():
    namespace = {}
    exec("def hidden(x):\n    return x * 0.5 + 1", namespace)
    hidden = scalar(namespace["hidden"])
    compiled = njit(lambda x: hidden(x))
    assert compiled(np.float32(3)) == 2.5
    assert compiled.nopython_signatures[0].return_type == types.float32


def test_a_lambda_works():
    cube = scalar(lambda x: x * x * x * 0.5)
    compiled = njit(lambda x: cube(x))
    assert compiled(np.float32(2)) == 4
    assert compiled.nopython_signatures[0].return_type == types.float32


@pytest.mark.parametrize(("dtype", "integer"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_bits_and_back(dtype, integer):
    for value in (0.0, -0.0, 1.0, -2.5, math.inf, 5e-324):
        x = dtype(value)
        bits = njit(lambda x: float_bits(x))(x)
        assert bits == x.view(integer) == float_bits(x)
        back = njit(lambda i, x: bits_float(i, x))(integer(bits), x)
        assert dtype(back).tobytes() == x.tobytes() == dtype(bits_float(integer(bits), x)).tobytes()


def test_fma_rounds_once():
    x = np.float32(1 + 2**-23)
    exact = float(x) * float(x) - 1
    assert njit(lambda a, b, c: fma(a, b, c))(x, x, np.float32(-1)) == np.float32(exact)
    y = 1 + 2.0**-52
    assert njit(lambda a, b, c: fma(a, b, c))(y, y, -1 - 2.0**-51) == 2.0**-104
