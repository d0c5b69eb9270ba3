"""Scalar functions inside a user's own compiled functions, in the forms that users write."""

import importlib.util
import os
import platform
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit, prange

import numbadl as nd
from numbadl import silu

PAGE = Path(__file__).parents[2] / "docs" / "own-kernels.md"


@njit(parallel=True)
def gated(x, gate, out):
    for i in prange(x.size):
        out[i] = x[i] * nd.sigmoid.scalar(gate[i])


@njit
def derivative(x):
    return silu.scalar_derivative(x)


def test_the_example_of_the_readme():
    x, gate = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    out = np.empty_like(x)
    gated(x, gate, out)
    np.testing.assert_allclose(out, x / (1 + np.exp(-gate.astype(float))), rtol=3e-7)


def test_imported_by_name():
    expected = nd.silu.derivative(np.array([0.3], np.float32))[0]
    assert derivative(np.float32(0.3)) == expected
    assert derivative.nopython_signatures[0].return_type.name == "float32"


@pytest.mark.parametrize("name", [n for n, r in nd.ACTIVATIONS.items() if not r.random and not r.alternating])
def test_every_activation_compiles_and_agrees_with_its_array_function(name):
    function, x = getattr(nd, name), np.array([-2.5, 0.3, 4.0], np.float32)
    scalar, parameters = function.scalar, [np.float32(p.default) for p in function.record.parameters]
    compiled = njit(lambda v, *rest: scalar(v, *rest))
    np.testing.assert_array_equal([compiled(v, *parameters) for v in x], function(x))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A folder with the page's Python as a file, without CUDA and with it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    folder = tmp_path_factory.mktemp("page")
    for name, chosen in (("on_cpu.py", [b for b in blocks if not b.startswith("# cuda")]), ("on_gpu.py", blocks)):
        (folder / name).write_text("\n".join(chosen), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_page_runs(page):
    names = runpy.run_path(str(page / "on_cpu.py"))
    assert {"gated", "elu_step", "black_scholes", "noisy", "dice"} <= set(names)
    if platform.machine() in ("x86_64", "AMD64"):
        for name, wide in (("elu_step", "ps"), ("black_scholes", "pd")):
            (text,) = names[name].inspect_asm().values()
            assert re.search(rf"vf\w*{wide}\s.*[yz]mm", text), name  # multiply-add of vectors
            assert not re.search(r"\b(expf?|erff?)\b@PLT|\$(exp|erf)f?\b", text), name


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_the_page_runs_on_cuda_in_the_simulator(page):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, str(page / "on_gpu.py")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_frameworks_are_imported_only_when_they_are_asked_for():
    program = "import sys, numbadl; print([n for n in ('jax', 'sklearn', 'onnx', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
