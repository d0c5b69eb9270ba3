"""What a process waits for before it computes: the import, a first call from the cache, a cold compile."""

import functools
import os
import subprocess
import sys
import tempfile

from ..kernels.cpu import cache_folder
from .work import Case, Work

FIRST_CALL = "import numpy as np, numbadl as nd; nd.silu(np.zeros(16, np.float32))"
CODE = {"import": "import numbadl", "first_call.cached": FIRST_CALL, "first_call.cold": FIRST_CALL}


def process(code, folder=None):
    """Run Python code in a new process, with a cache folder of its own if one is given."""
    env = {**os.environ, **({"NUMBADL_CACHE_DIR": str(folder)} if folder else {})}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def _cold():
    with tempfile.TemporaryDirectory() as folder:
        process(FIRST_CALL, folder)


def run_of(name):
    """The function of one of the cases, ready to be timed."""
    if name == "first_call.cold":
        return _cold
    process(CODE[name], cache_folder())
    return functools.partial(process, CODE[name], cache_folder())


def _prepare(name, n, dtype):
    return Work(run_of(name), [], None, 0, 0, process=True)


def _theirs(name, peer, work):
    code = getattr(peer, "START", {}).get(name)
    return None if code is None else functools.partial(process, code)


def cases():
    """One for each of `CODE`."""
    for name in CODE:
        yield Case(f"start.{name}", "start", functools.partial(_prepare, name), functools.partial(_theirs, name), (0,))
