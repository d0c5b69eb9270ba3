"""Users' own activations: checks at the declaration, arrays, parameters, stages, layers, files, training, the disk."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numba import njit

import numbadl as nd
from numbadl.data import load_digits
from numbadl.nn import ModelFileError
from numbadl.user_activation import DECLARED

ROOT = Path(__file__).parents[2]
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


@nd.activation
def bump(x, width=1.0):
    """x exp(-(x / width)^2)."""
    return x * math.exp(-((x / width) ** 2))


@nd.activation(learnable=("alpha", "beta"))
def leaf(x, alpha=0.5, beta=1.0, scale=2.0):
    return scale * (beta * x * x if x > 0 else alpha * np.expm1(x) + beta * x)


def leaf_in_numpy(x, alpha, beta, scale):
    return scale * np.where(x > 0, beta * x * x, alpha * np.expm1(x) + beta * x)


def exact_bump(x, width):
    x, width = mpmath.mpf(float(x)), mpmath.mpf(width)
    decay = mpmath.exp(-((x / width) ** 2))
    return float(x * decay), float(decay * (1 - 2 * (x / width) ** 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_array_functions_against_mpmath(dtype, rng):
    x, grad = rng.normal(0, 2, (2, 301)).astype(dtype)
    limit = {"rtol": 0, "atol": 20 * np.finfo(dtype).eps}
    for width in (1.0, 2.5):
        values, slopes = np.array([exact_bump(v, width) for v in x]).T
        for y in (bump(x, width), bump(x, width=width, out=np.empty_like(x))):
            assert y.dtype == dtype
            np.testing.assert_allclose(y, values, **limit)
        np.testing.assert_allclose(bump.derivative(x, width), slopes, **limit)
        np.testing.assert_allclose(bump.backward(grad, x, width), grad * slopes, rtol=0, atol=10 * limit["atol"])
    assert np.isnan(bump(np.array([np.nan], dtype))[0]) and np.isnan(bump.derivative(np.array([np.nan], dtype))[0])


def test_layouts_threads_and_in_place(rng, on_threads):
    x = rng.normal(size=(70, 1000)).astype(np.float32)
    y = bump(x)
    np.testing.assert_array_equal(bump(x.T).T, y)
    np.testing.assert_array_equal(bump(np.repeat(x, 2, axis=1)[:, ::2]), y)
    assert all(np.array_equal(found, y) for found in on_threads(lambda: bump(x)))
    same = x.copy()
    assert bump(same, out=same) is same and np.array_equal(same, y)
    with pytest.raises(TypeError, match="x: got list"):
        bump([1.0])
    with pytest.raises(ValueError, match="overlaps"):
        bump(x[0, :-1], out=x[0, 1:])


def test_scalars_in_compiled_code_and_in_python():
    def both(x):
        return bump.scalar(x, 2.0) + bump.scalar_derivative(x, 2.0)

    compiled = njit(both)
    assert compiled(np.float32(0.3)) == pytest.approx(sum(exact_bump(0.3, 2.0)), rel=1e-6)
    assert both(0.3) == pytest.approx(sum(exact_bump(0.3, 2.0)), rel=1e-14)
    assert compiled.nopython_signatures[0].return_type.name == "float32"


@pytest.mark.parametrize("dtype", DTYPES)
def test_learnable_gradients_against_differences(dtype, rng):
    x, grad = rng.normal(0, 2, (2, 5, 3, 4)).astype(dtype)
    alpha, beta = rng.uniform(0.5, 1.5, (2, 3)).astype(dtype)
    wide = [v.astype(np.float64) for v in (x, alpha, beta)]

    def total(x, alpha, beta, scale=3.0):
        alpha, beta = (v.reshape(-1, 1) for v in (alpha, beta))
        return np.sum(grad.astype(np.float64) * leaf_in_numpy(x, alpha, beta, scale))

    found = leaf.backward(grad, x, alpha, beta, scale=3.0)
    assert [g.shape for g in found] == [x.shape, (3,), (3,)]
    for k, got in enumerate(found):
        assert got.dtype == dtype
        for index in np.ndindex(got.shape):
            values = []
            for sign in (1, -1):
                moved = [v.copy() for v in wide]
                moved[k][index] += sign * 1e-6
                values.append(total(*moved))
            assert got[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-4)
    one = leaf.backward(grad, x, 0.5, beta)
    assert one[1].shape == () and one[2].shape == (3,)


def test_fused(rng):
    x, residual = rng.normal(size=(2, 5, 6)).astype(np.float32)
    op = nd.fuse(nd.stage.activation(bump, width=2.0), nd.stage.residual, bump)
    inner = x.astype(np.float64) * np.exp(-((x / 2.0) ** 2)) + residual
    np.testing.assert_allclose(op(x, residual), inner * np.exp(-(inner**2)), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_fused_with_learnable_parameters(rng):
    x, bias, residual = rng.normal(size=(4, 6)), rng.normal(size=6), rng.normal(size=(4, 6))
    stages = [nd.stage.bias, nd.stage.activation(bump, width=2.0), leaf, bump, nd.stage.residual]
    op, ones = nd.fuse(*stages), np.ones((4, 6))
    inner = leaf_in_numpy(bump(x + bias, 2.0), 0.7, 1.1, 2.0)
    np.testing.assert_allclose(op(x, bias, 0.7, 1.1, residual), inner * np.exp(-(inner**2)) + residual, rtol=1e-12)
    dx, dbias, dalpha, *_ = op.backward(ones, x, bias, 0.7, 1.1, residual)
    step = 1e-6
    high, low = (op(x + sign * step, bias, 0.7, 1.1, residual) for sign in (1, -1))
    np.testing.assert_allclose(dx, (high - low) / (2 * step), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dbias, dx.sum(0), rtol=1e-12, atol=1e-14)
    high, low = (op(x, bias, 0.7 + sign * step, 1.1, residual).sum() for sign in (1, -1))
    assert dalpha == pytest.approx((high - low) / (2 * step), rel=1e-6)


# -- the check at the declaration ------------------------------------------------------------------------------------
def softer(x):
    return x / (1 + abs(x))


def never_finite(x):
    return math.sqrt(-1 - x * x)


def test_a_right_derivative_is_accepted():
    f = nd.activation(softer, lambda x: 1 / (1 + abs(x)) ** 2)
    assert f.scalar_derivative(1.0) == 0.25
    nd.activation(lambda x: max(x, 0), lambda x: 1 if x > 0 else 0, name="kinked")
    nd.activation(lambda x: math.floor(x) * x, lambda x: math.floor(x), name="jumps")
    nd.activation(lambda x: math.log(x), name="half_a_line")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: 1 / (1 + abs(x)),
        lambda x: 1.0001 / (1 + abs(x)) ** 2,
        lambda x: 1 / (1 + abs(x)) ** 2 if x < 40 else 0,
        lambda x: 1 / (1 + abs(x)) ** 2 + math.nan * (x < -900),
    ],
    ids=["another", "0.01% off", "far out", "NaN"],
)
def test_a_wrong_derivative_is_refused(wrong):
    with pytest.raises(ValueError, match=r"derivative: of softer at x = -?\d+.* is .*, differences give ") as error:
        nd.activation(softer, wrong)
    x, found, right = map(float, re.findall(r"(?:x =|is|give) (nan|[-+.e\d]*\d)", str(error.value)))
    assert right == pytest.approx(1 / (1 + abs(x)) ** 2, rel=1e-4)
    assert found == pytest.approx(wrong(x), rel=1e-4, nan_ok=True)
    assert nd.activation(softer, wrong, check=False).scalar(1.0) == 0.5


def test_an_automatic_derivative_that_overflows_is_refused():
    def sigmoid(x):
        e = math.exp(-x)
        return 1 / (1 + e)

    # At 1, where the slopes of both branches meet, sparse_sigmoid has a kink: refused by hand, not if found so.
    pieces = nd.activation(lambda x: x if x > 1 else nd.sparse_sigmoid(x) ** 2, name="pieces")
    with pytest.raises(ValueError, match="derivative: of pieces at x = 1 is 0, differences give 1|0.99"):
        nd.activation(pieces.__wrapped__, pieces.scalar_derivative, name="pieces")
    with pytest.raises(ValueError, match="automatic derivative: of sigmoid at x = -1000 is nan.* overflows"):
        nd.activation(sigmoid)
    f = nd.activation(lambda x: 1 / (1 + math.exp(-x)), name="direct")
    assert f.scalar_derivative(np.float32(-100)) == f.scalar_derivative(np.float32(100)) == pytest.approx(0, abs=1e-40)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nd.activation(3), TypeError, "forward: got 3, accepted are Python functions"),
        (lambda: nd.activation(softer, 3), TypeError, "derivative: got 3"),
        (lambda: nd.activation(softer, lambda x, a=1.0: x), ValueError, "derivative: takes x, a, accepted are"),
        (lambda: nd.activation(lambda x, a: x), ValueError, "parameter a has no default"),
        (lambda: nd.activation(lambda x, out=1.0: x), ValueError, "parameter out has a name"),
        (lambda: nd.activation(lambda x, a="b": x), TypeError, "parameter a has the default 'b'"),
        (lambda: nd.activation(softer, name="a b"), ValueError, "name: got 'a b'"),
        (
            lambda: nd.activation(softer, learnable="a"),
            ValueError,
            "learnable: got 'a', accepted are the parameters: none",
        ),
        (lambda: nd.activation(softer, parameters={"a": 1.0}), ValueError, "parameters: got 'a'"),
        (lambda: nd.activation(lambda x, a=1.0, b=1.0: x, learnable="b"), ValueError, "put them first"),
        (lambda: nd.activation(softer, initialization="zero"), ValueError, "initialization: got 'zero'"),
        (lambda: nd.activation(never_finite), ValueError, "finite and has a derivative at none"),
        (lambda: bump(np.ones(3), width="a"), TypeError, "width: got str"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_parameters_given_apart():
    f = nd.activation(lambda x, a, b=2.0: a * x + b, parameters={"a": 3, "b": 4.0}, name="line")
    np.testing.assert_array_equal(f(np.ones(2)), [7, 7])
    np.testing.assert_array_equal(f(np.ones(2), 1.0, b=0.5), [1.5, 1.5])


# -- names, sources, the disk ----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_functions_of_one_name_and_shape():
    found = []
    for factor in (2.0, 3.0):

        def scaled(x):
            return factor * x  # noqa: B023

        found.append(nd.activation(scaled))
    x = np.ones(3, np.float32)
    assert [f(x)[0] for f in found] == [2, 3]
    assert [nd.fuse(f, nd.stage.residual)(x, x)[0] for f in found] == [3, 4]
    first, second = found

    @njit
    def both(x):
        return first.scalar(x), second.scalar(x)

    assert both(1.0) == (2, 3)


USE = """
import sys
import numpy as np
from numba.core import event

compiled = event.RecordingListener()
with event.install_listener("numba:compile", compiled):
    import numbadl as nd
    import own

    x = np.ones(4, np.float32)
    print(own.f(x)[0])
print(sum(e.is_start for _, e in compiled.buffer))
"""
OWN = """
import numbadl as nd

FACTOR = {factor}

def inner(x):
    return x {operator} FACTOR

@nd.activation
def f(x):
    return inner(x) * x
"""


def test_an_edited_function_is_compiled_again_and_another_of_its_name_is_not_confused_with_it(tmp_path):
    environment = {**os.environ, "NUMBADL_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def run(factor, operator="*"):
        (tmp_path / "own.py").write_text(OWN.format(factor=factor, operator=operator))
        command = [sys.executable, "-B", "-c", USE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        values, compilations = done.stdout.splitlines()
        return values, int(compilations) > 0

    assert run(2.0) == ("2.0", True)
    assert run(3.0) == ("3.0", True)  # a constant that it refers to
    assert run(3.0, "+") == ("4.0", True)  # a function that it calls
    assert run(2.0) == ("2.0", False)  # the first is still there


def test_where_the_source_cannot_be_read():
    scope = {"__name__": "cell", "math": math, "np": np}
    exec(
        "def f(x, a=2):\n    return a * math.tanh(x) + np.exp(-x * x)\n"
        "def slope(x, a=2):\n    return a * (1 - math.tanh(x) ** 2) - 2 * x * np.exp(-x * x)\n",
        scope,
    )
    with pytest.raises(TypeError, match="f: its source cannot be read; .*give derivative="):
        nd.activation(scope["f"])
    with pytest.raises(TypeError, match="f: its source cannot be read"):
        nd.activation(scope["f"], scope["slope"], learnable="a")
    f = nd.activation(scope["f"], scope["slope"])
    x = np.linspace(-3, 3, 41, dtype=np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(f(x, 3.0), 3 * np.tanh(wide) + np.exp(-(wide**2)), rtol=1e-5, atol=1e-6)
    slope = 2 * (1 - np.tanh(wide) ** 2) - 2 * wide * np.exp(-(wide**2))
    np.testing.assert_allclose(f.derivative(x), slope, rtol=1e-5, atol=1e-6)
    wrong = {"__name__": "cell"}
    exec("def g(x):\n    return 2 * x", wrong)
    with pytest.raises(ValueError, match="differences give 2"):
        nd.activation(wrong["g"], wrong["g"])


@pytest.mark.parametrize("arguments", [["-c"], ["-i"]], ids=["python -c", "a prompt"])
def test_command_line_and_prompt(arguments):
    code = "import numbadl as nd\nf = nd.activation(lambda x: x * x, lambda x: 2 * x)\nprint('value', f.scalar(3.0))\n"
    if arguments == ["-c"]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    else:
        done = subprocess.run([sys.executable, "-q", "-i"], input=code, capture_output=True, text=True)
    assert "value 9.0" in done.stdout, done.stderr


# -- layers ------------------------------------------------------------------------------------------------------------
def test_layers_are_saved_by_name_and_compared_when_loaded(tmp_path, rng, monkeypatch):
    path = tmp_path / "m.safetensors"
    layers = [nd.nn.Linear(4, 3), leaf.layer(num_parameters=3, scale=1.5), nd.nn.activation_layer(bump, width=2.0)]
    model = nd.nn.Sequential(*layers)
    assert repr(layers[2]) == "Bump(width=2.0)"
    x = rng.normal(size=(5, 4)).astype(np.float32)
    model.backward(np.ones_like(model.forward(x, training=True)))
    assert np.abs(model.gradients()["1.alpha"]).sum() > 0
    model.parameters()["1.alpha"][:] = [0.1, 0.2, 0.3]
    model.save(path)
    again = nd.nn.load(path)
    assert repr(again) == repr(model) and again.predict(x).tobytes() == model.predict(x).tobytes()

    other = nd.activation(lambda x, width=1.0: x * math.exp(-((x / width) ** 2)), name="bump")  # the same function
    assert nd.nn.load(path).layers[2].function is other
    nd.activation(lambda x, width=1.0: x * math.exp(-abs(x / width)), name="bump")
    with pytest.raises(ModelFileError, match="activation 'bump': gives .* and gave .* when the model was saved"):
        nd.nn.load(path)
    monkeypatch.delitem(DECLARED, "bump")
    with pytest.raises(ModelFileError, match="activation 'bump': is not declared in this program"):
        nd.nn.load(path)
    monkeypatch.setitem(DECLARED, "bump", bump)


def test_layers_of_builtin_activations():
    assert repr(nd.elu.layer(alpha=0.5)) == "ELU(alpha=0.5)"
    with pytest.raises(ValueError, match="activation: got 'bump', accepted are identity"):
        nd.nn.activation_layer("bump")
    with pytest.raises(TypeError, match="width: got str"):
        bump.layer(width="a")
    with pytest.raises(TypeError, match="widht"):
        bump.layer(widht=1.0)


def example_of_the_readme():
    """The code of the README's section on own activations."""
    text = (ROOT / "README.md").read_text().partition("## Your own activation")[2]
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


def test_the_example_of_the_readme_trains_on_the_digits(tmp_path):
    path = tmp_path / "example.py"  # a file: automatic differentiation reads it
    path.write_text(example_of_the_readme())
    specification = importlib.util.spec_from_file_location("example", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    *_, x_test, y_test = load_digits()
    assert module.model.evaluate(x_test, y_test)["accuracy"] > 0.95
    assert module.model.layers[1].parameters()["alpha"][0] != 1.0
