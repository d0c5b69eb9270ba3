"""What this machine offers to the kernels: CPU, threads, CUDA; found out through public interfaces."""

import importlib
import os
import platform

_FEATURES = {  # of the processor, those that change the code LLVM makes for our loops, oldest first
    "x86": "sse4.2 avx avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512bf16 avx512fp16",
    "arm": "neon fp-armv8 fullfp16 bf16 sve sve2",
}
_VECTOR_BITS = (("avx512f", 512), ("avx", 256), ("sse2", 128), ("neon", 128))
_SIMULATED = "the simulator is on (NUMBA_ENABLE_CUDASIM)"
_THREADING_LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def cpu():
    """The processor: LLVM's name for it, its own name, features that matter, widest vector in bits (0 if unknown)."""
    import llvmlite.binding as llvm

    has = {name for name, present in llvm.get_host_cpu_features().items() if present}
    known = [name for names in _FEATURES.values() for name in names.split()]
    bits = next((bits for name, bits in _VECTOR_BITS if name in has), 0)
    return {
        "llvm": llvm.get_host_cpu_name(),
        "model": _cpu_model(),
        "cores": os.cpu_count(),
        "features": [name for name in known if name in has],
        "vector_bits": bits,
    }


def _cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def threads():
    """How many threads kernels use; NUMBA_NUM_THREADS sets it."""
    import numba

    return numba.config.NUMBA_NUM_THREADS


def threading_layers():
    """Numba's threading layers: name -> None if it can be loaded, otherwise the reason."""
    found = {}
    for name, module in _THREADING_LAYERS.items():
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
            found[name] = None
        except ImportError as error:
            found[name] = str(error).splitlines()[0]
    return found


def threading_layer():
    """The threading layer that Numba picks here. Asking starts it."""
    import numba

    try:
        numba.get_num_threads()
        return numba.threading_layer()
    except ValueError as error:  # the layer that NUMBA_THREADING_LAYER names is not there
        return f"none ({' '.join(str(error).split())})"


def cuda():
    """Whether kernels can run on a GPU, and either its name or the reason why not.

    Returns
    -------
    usable : bool
    text : str

    Examples
    --------
    >>> usable, text = cuda()
    >>> isinstance(usable, bool), isinstance(text, str)
    (True, True)
    """
    # A broken driver or toolkit may raise anything; whatever it is, it is the reason why CUDA is not usable.
    try:
        from .kernels.cuda.compile import SIMULATOR, cuda

        if SIMULATOR:
            return False, _SIMULATED
        if not cuda.is_available():
            return False, " ".join(str(cuda.cuda_error() or "no CUDA device").split())
        device = cuda.get_current_device()
        name = device.name.decode() if isinstance(device.name, bytes) else device.name
        major, minor = device.compute_capability
        return True, f"{name}, compute capability {major}.{minor}"
    except ImportError as error:
        return False, str(error)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def choose_device(wanted):
    """The device for "auto", "cpu" or "cuda"; ValueError if CUDA is asked for and not usable."""
    if wanted == "cpu":
        return "cpu"
    usable, text = cuda()
    # The simulator is good for tests and thousands of times too slow for training: only on request.
    if wanted == "cuda" and not usable and text != _SIMULATED:
        raise ValueError(f"--device cuda: {text}")
    return "cuda" if usable or wanted == "cuda" else "cpu"
