"""Imported before anything that compiles: says clearly what is wrong where Numba cannot compile."""

import os

try:
    import numba
except ValueError as error:  # of a number of threads, which Numba reads as it is imported
    threads = os.environ.get("NUMBA_NUM_THREADS")
    raise ImportError(f"Numba cannot be imported: {error} (NUMBA_NUM_THREADS: got {threads!r})") from error

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, but numbadl has to compile its kernels: unset it")
