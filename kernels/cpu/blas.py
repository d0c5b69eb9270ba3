"""BLAS for compiled kernels: scipy's own, looked up at the first matmul, one thread for each of ours.

Kernels call the symbols ``numbadl_sgemm`` and ``numbadl_dgemm``, which `load` resolves to scipy's entry points, so
that compiled code holds no address and can be kept on disk. BLAS has its own threads, for which there is no
core left when it is called from all of ours: `single_threaded` limits them for the length of a call.
"""

import functools
import os
import threading

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

MOST_CALLS_AT_ONCE = 64  # PyPI's OpenBLAS is compiled for 64 threads and has buffers for no more callers than that


@functools.cache
def load():
    """Import scipy's BLAS and give its entry points their names; returns the controllers of its threads."""
    import scipy.linalg.cython_blas  # noqa: F401 (loads the library that the addresses point into)
    from numba.extending import get_cython_function_address
    from threadpoolctl import ThreadpoolController

    for name in ("sgemm", "dgemm"):
        address = get_cython_function_address("scipy.linalg.cython_blas", name)
        llvmlite.binding.add_symbol(f"numbadl_{name}", address)
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return [lib for lib in libraries if "scipy" in lib.filepath] or libraries


class _SingleThreaded:
    """A context in which scipy's BLAS uses one thread; may be nested and entered from several threads at once."""

    def __init__(self):
        self._lock, self._depth, self._before, self._mine = threading.RLock(), 0, [], threading.local()

    def __enter__(self):
        libraries = load()
        with self._lock:
            if self._depth == 0:
                self._before = [(lib, lib.get_num_threads()) for lib in libraries]
                for lib, _ in self._before:
                    lib.set_num_threads(1)
            self._depth += 1
            self._mine.depth = getattr(self._mine, "depth", 0) + 1

    def __exit__(self, *error):
        with self._lock:
            self._depth -= 1
            self._mine.depth -= 1
            if self._depth == 0:
                self._restore()

    def _restore(self):
        for lib, threads in self._before:
            lib.set_num_threads(threads)

    def after_fork_in_child(self):
        """Forget what other threads were doing: they do not exist here."""
        others, self._depth = self._depth, getattr(self._mine, "depth", 0)
        self._lock = threading.RLock()
        if others and not self._depth:
            self._restore()


single_threaded = _SingleThreaded()
calling = threading.RLock()  # held during a product


def _after_fork_in_child():
    single_threaded.after_fork_in_child()
    calling.release()


if hasattr(os, "register_at_fork"):
    # OpenBLAS stops its own threads before a fork, and waits for ever if another thread is inside a product then.
    os.register_at_fork(before=calling.acquire, after_in_parent=calling.release, after_in_child=_after_fork_in_child)


@intrinsic
def gemm(context, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """C = op(A) op(B) + beta C in BLAS's column order; *a*, *b*, *c* are pointers to float32 or float64."""
    element = a.dtype
    name = "numbadl_sgemm" if element == types.float32 else "numbadl_dgemm"

    def codegen(cx, builder, sig, values):
        pointer = ir.IntType(8).as_pointer()
        number = cx.get_value_type(element)

        def reference(value):
            slot = builder.alloca(value.type)
            builder.store(value, slot)
            return builder.bitcast(slot, pointer)

        def letter(flag):
            chosen = builder.select(flag, ir.IntType(8)(ord("T")), ir.IntType(8)(ord("N")))
            return reference(chosen)

        def integer(value):
            return reference(builder.trunc(value, ir.IntType(32)))

        ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc = values
        module = builder.module
        signature = ir.FunctionType(ir.VoidType(), [pointer] * 13)
        fn = module.globals.get(name) or ir.Function(module, signature, name)
        address = functools.partial(builder.bitcast, typ=pointer)
        builder.call(
            fn,
            [letter(ta), letter(tb), integer(m), integer(n), integer(k), reference(number(1.0)), address(a)]
            + [integer(lda), address(b), integer(ldb), reference(beta), address(c), integer(ldc)],
        )
        return cx.get_dummy_value()

    i, flag = types.intp, types.boolean
    return types.void(flag, flag, i, i, i, a, i, b, i, element, c, i), codegen
