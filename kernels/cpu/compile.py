"""How CPU kernels are compiled and kept: one place for jit options, one file per compiled kernel on disk.

Numba's own cache gives the closures of one factory a common index file and reads, changes and writes it without a
lock: two processes that compiled at once lost entries, or got another function's code. Here every compiled kernel has
a file of its own, written to a temporary name and renamed, so there is nothing to lock and nothing half written.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import njit, types
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from ..atomic import atomic_path
from ..digest import digest, identity, sources_changed
from ..shapes import KINDS, dtype_of

ELEMENTS = tuple(KINDS.values())
OPTIONS = {"nogil": True, "error_model": "numpy"}  # no global fastmath: it folds isnan away


@contextlib.contextmanager
def building(declaration, part=""):
    """While a kernel is built, or a *part* of one that is kept by itself: every function made for it is named after it.

    See `numbadl.kernels.digest.identity`.
    """
    global _prefix
    with _build_lock:
        before, _prefix = _prefix, f"{declaration.name}{part}.{identity(declaration)}."
        try:
            yield
        finally:
            _prefix = before


_prefix, _build_lock = "", threading.RLock()


def function(fn, **options):
    """Compile *fn* as a part of kernels: inlined or called by them, never cached by itself."""
    fn.__qualname__ = _prefix + fn.__qualname__
    return njit(**OPTIONS, **options)(fn)


def inlined(fn):
    """`function` that is inlined wherever it is called."""
    return function(fn, forceinline=True)


def in_place(fn):
    """`function` whose text Numba puts into its callers: nothing is compiled for itself, and then once more with each of them."""
    return function(fn, inline="always")


def kernel(declaration, part=""):
    """Decorate a function that Python calls: compiled at its first call, then kept on disk under its name.

    It compiles for the operands that its declaration names, and raises TypeError for all others. So a caller may try
    it first, at the cost of Numba's own look at the types, and ask questions when it refuses.
    """

    def decorate(fn):
        fn.__qualname__ = _prefix + fn.__qualname__
        dispatcher = njit(**OPTIONS)(fn)
        dispatcher._cache = KernelCache(declaration.name + part, fn, declaration)
        compile_for_args = dispatcher._compile_for_args

        def checked(arguments):  # one tuple: every kernel is declared as run(*arguments)
            _check_operands(declaration, arguments)
            return compile_for_args(arguments)

        dispatcher._compile_for_args = checked  # what Numba's C code calls when no compiled version fits
        return dispatcher

    return decorate


def _check_operands(declaration, arguments):
    operands = declaration.operands()
    if len(arguments) != len(operands):
        raise TypeError(f"kernel {declaration.name}: got {len(arguments)} operands, takes {len(operands)}")
    kinds = zip(arguments, (kind for kind, _ in operands), strict=True)
    floats = [a.dtype for a, kind in kinds if kind == "x" and hasattr(a, "dtype")]
    dtype = floats[0].type if floats else np.float32
    for position, (argument, (kind, ndim)) in enumerate(zip(arguments, operands, strict=True)):
        wanted = dtype_of(kind, dtype)
        if ndim == 0:
            fits = type(argument) is wanted or (kind == "i" and type(argument) is int)
        else:
            fits = isinstance(argument, np.ndarray) and argument.ndim == ndim and argument.flags.carray
            fits = fits and argument.dtype == np.dtype(wanted) and wanted in (*ELEMENTS, dtype)
        if not fits or dtype not in (np.float32, np.float64):
            raise TypeError(f"kernel {declaration.name}: operand {position} has to be a {ndim}-d {np.dtype(wanted)}")


class KernelCache(_Cache):
    """One file for each (kernel, argument types, machine, versions); it holds the digest of its sources."""

    def __init__(self, name, *sources):
        self.name, self._sources, self._enabled = name, sources, True

    @property
    def cache_path(self):
        return str(cache_folder())

    @functools.cached_property
    def _digest(self):
        return digest(*self._sources)

    def _file(self, signature, codegen):
        what = (str(signature), codegen.magic_tuple(), numba.__version__, llvmlite.__version__, sys.version)
        # A call from compiled code has another type of tuple, of the same name: Python's calls would not be found to fit it.
        if any(isinstance(t, (types.StarArgTuple, types.StarArgUniTuple)) for t in signature):
            what += ("called by compiled code",)
        return cache_folder() / f"{self.name}-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.kernel"

    def load_overload(self, sig, target_context):
        if not self._enabled or cache_folder() is None:
            return None
        target_context.refresh()
        try:
            with open(self._file(sig, target_context.codegen()), "rb") as f:
                if pickle.load(f) != self._digest:
                    return None
                payload = pickle.load(f)
        except Exception:  # not there, or damaged, in which case anything may come out: compile and write it again
            return None
        return CompileResult._rebuild(target_context, *payload)

    def save_overload(self, sig, data):
        folder = cache_folder()
        if not self._enabled or folder is None or sources_changed():
            return
        if data.library.has_dynamic_globals:
            raise RuntimeError(f"kernel {self.name} holds an address of this process and cannot be kept on disk")
        content = pickle.dumps(self._digest) + dumps(data._reduce())
        try:
            with atomic_path(self._file(sig, data.codegen)) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept in {folder}: {error}")

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        for path in [] if cache_folder() is None else cache_folder().glob(f"{self.name}-*.kernel"):
            path.unlink(missing_ok=True)


@functools.cache
def cache_folder():
    """Where compiled kernels are kept: NUMBADL_CACHE_DIR, beside the sources, or the user's cache; None if nowhere.

    Returns
    -------
    pathlib.Path or None
    """
    sources = Path(__file__).resolve().parent.parent
    tag = f"numbadl-{hashlib.sha256(str(sources).encode()).hexdigest()[:8]}"
    chosen = os.environ.get("NUMBADL_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / tag
    for folder in [Path(chosen)] if chosen else [sources / "__pycache__" / "compiled", user]:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    _warn_once("no writable folder for compiled kernels (set NUMBADL_CACHE_DIR): every process compiles its own")
    return None


@functools.cache
def _warn_once(message):
    warnings.warn(message, RuntimeWarning, stacklevel=2)
