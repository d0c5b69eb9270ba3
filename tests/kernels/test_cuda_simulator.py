"""CUDA kernels on a machine without a GPU: in the simulator, and what happens where numba-cuda is missing."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).with_name("cuda_cases.py")
ROOT = KERNELS.parents[2]
PUBLIC = ROOT / "tests" / "numbadl" / "cuda_cases.py"
needs_numba_cuda = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed: pip install 'numbadl[cuda]'"
)


def run_cases(selected, simulator):
    """Run both cuda_cases.py in a process of their own: whether it is the simulator is settled when numba is imported."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "-k", selected]
    command = [sys.executable, "-m", "pytest", *options, str(KERNELS), str(PUBLIC)]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": str(int(simulator))}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


# Of each loop shape and of each kind of public function some: what the quick tests run.
SOME = "relu or dropout or softmax or batch_norm or layer_norm or matmul or mse or refused or lstm or recurrent"


@needs_numba_cuda
def test_some_kernels_and_functions_in_float32():
    run_cases(f"not float64 and not whole_product and not leaky and not fused and ({SOME})", simulator=True)


@needs_numba_cuda
@pytest.mark.slow
def test_kernels_and_functions_in_float32():
    run_cases("not float64", simulator=True)


@needs_numba_cuda
@pytest.mark.slow
def test_kernels_and_functions_in_float64():
    run_cases("float64", simulator=True)


@pytest.mark.gpu
@needs_numba_cuda
def test_kernels_and_functions_on_a_gpu():
    from numbadl.kernels import cuda

    if not cuda.is_available():
        pytest.skip("no CUDA device")
    run_cases("test", simulator=False)


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_cuda_is_imported_before_it_is_asked_for():
    python(
        "import sys, numbadl, numbadl.kernels.cpu\n"
        "numbadl.relu\n"
        "assert 'numbadl.kernels.cuda' not in sys.modules and 'numba.cuda' not in sys.modules"
    )


def test_without_numba_cuda_it_is_unavailable_and_says_why():
    python(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'numba_cuda' else find(name, *a)\n"
        "from numbadl.kernels import cuda\n"
        "assert cuda.is_available() is False\n"
        "try:\n"
        "    cuda.kernel('relu')\n"
        "except ImportError as error:\n"
        "    assert 'numbadl[cuda]' in str(error)\n"
        "else:\n"
        "    raise AssertionError('no error')\n"
    )


@needs_numba_cuda
def test_is_available_survives_a_broken_driver():
    python(
        "from numbadl.kernels.cuda import compile, is_available\n"
        "def broken():\n"
        "    raise OSError('libcuda.so.1')\n"
        "compile.cuda.is_available = broken\n"
        "assert is_available() is False\n"
    )
