"""All cores for one kernel: a function decorated with ``@parallel`` is called once for each index of a range.

Tasks are numbered by the data's shape alone, so results are the same to the bit however many threads run them.

Threads are those of Numba's threading layer, which one function here calls, the launcher: it gets a task as an address,
so that kernels compile serially, in a third of the time. (It calls the layer itself, because a prange takes Python's
lock and plans its work at each start: 2.8 us against 1.6.) A kernel knows one
symbol, ``numbadl_pool``: a few words of memory which hold the launcher's address once the pool runs, and a lock.

Where another library's OpenMP threads are in use (`share_openmp`; PyTorch's, once `numbadl.interop.torch` is imported), the
launcher takes those instead: two sets of threads on the same cores slow each other down, because idle ones spin for a while.

A call runs serially

- before the pool has been started (`ensure_started` is called by kernels that have large arrays, never at import:
  starting GNU OpenMP resets other libraries' thread counts),
- while another thread is in the pool: the workqueue layer aborts on concurrent entry, and an Python lock would not
  see threads from outside Python,
- in a forked child of a process whose pool had started, or in which another library had loaded GNU OpenMP, whose threads may
  have run: such a child ends, or waits for ever, at its first parallel region.
"""

import contextlib
import ctypes
import os
import sys
import threading

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc import parallel as numba_parallel

from .compile import OPTIONS, KernelCache, function
from .machine import last_level_cache
from .vector import prefer_512_bit

PARALLEL_FROM = 1 << 15  # elements: below, starting the threads costs more than they save
_LAUNCHER, _LOCK, _DECIDED, _CACHE_BYTES, _FORK, _THREAD, _THREADS, _AT_MOST, _LIMIT = range(9)
_OPENMP = {
    _FORK: "GOMP_parallel", _THREAD: "omp_get_thread_num", _THREADS: "omp_get_num_threads", _AT_MOST: "omp_get_max_threads"
}  # fmt: skip
_state = np.zeros(9, np.int64)
_state[_CACHE_BYTES] = last_level_cache()
if "NUMBA_NUM_THREADS" in os.environ:  # of another library's threads; Numba counts its own
    _state[_LIMIT] = numba.config.NUMBA_NUM_THREADS
llvmlite.binding.add_symbol("numbadl_pool", _state.ctypes.data)

_CAN_MOVE = sys.platform == "linux" and all(
    hasattr(ctypes.CDLL(None), name)
    for name in ("sched_getcpu", "sched_getaffinity", "sched_setaffinity", "pthread_self")
)  # what `_leave` calls

_I64, _I8P = ir.IntType(64), ir.IntType(8).as_pointer()
_TASK = ir.FunctionType(ir.VoidType(), [_I8P, _I64])
_starting = threading.Lock()
_started = _broken_by_fork = False


def ensure_started():
    """Start the threads, once, unless this process is the fork of one that had."""
    global _started
    if _started or _broken_by_fork:
        return
    with _starting:
        if _started or _broken_by_fork:
            return
        if "OMP_WAIT_POLICY" not in os.environ:
            # Workers that spin after a loop starve other libraries' threads and other processes; read when libgomp is loaded.
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        if not _state[_FORK]:
            numba.get_num_threads()  # loads the threading layer and starts it
        _launch_by(_run_in_openmp if _state[_FORK] else _run_in_threads)
        _started = True


def _launch_by(launcher):
    launcher.compile((types.intp, types.intp, types.intp))
    compiled = launcher.overloads[(types.intp, types.intp, types.intp)]
    _state[_LAUNCHER] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    _state[_DECIDED] = 1


def share_openmp(path):
    """Run kernels on the threads of GNU OpenMP's library at *path*, which another library uses; whether it is one."""
    try:
        library = ctypes.CDLL(path)
        addresses = {k: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for k, name in _OPENMP.items()}
    except (OSError, AttributeError):
        return False
    with _starting:
        for k in sorted(addresses, reverse=True):  # the one that is asked for comes last
            _state[k] = addresses[k]
        if _started and not _broken_by_fork:
            _launch_by(_run_in_openmp)
    return True


def cache_size():
    """Bytes of the last-level cache, as kernels see it (`cache_bytes`)."""
    return int(_state[_CACHE_BYTES])


@contextlib.contextmanager
def with_cache_size(nbytes):
    """Kernels see another last-level cache: with 0 bytes they store past it wherever they can, with many nowhere."""
    before = _state[_CACHE_BYTES]
    _state[_CACHE_BYTES] = nbytes
    try:
        yield
    finally:
        _state[_CACHE_BYTES] = before


@contextlib.contextmanager
def serially():
    """Kernels run as if there were no threads."""
    ensure_started()  # inside, it would be taken back
    before = int(_state[_LAUNCHER])
    _state[_LAUNCHER] = 0
    try:
        yield
    finally:
        _state[_LAUNCHER] = before


def started():
    """Whether kernels run in parallel from now on."""
    return bool(_state[_LAUNCHER])


def _openmp_is_loaded():
    """Whether GNU OpenMP is in this process; nothing tells whether its threads have run."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return False
    with contextlib.suppress(OSError):
        ctypes.CDLL("libgomp.so.1", os.RTLD_NOLOAD)
        return True
    return False


def _after_fork_in_child():
    global _broken_by_fork, _starting
    used = _started or getattr(numba_parallel, "_is_initialized", False) or bool(_state[_FORK]) or _openmp_is_loaded()
    _broken_by_fork = _broken_by_fork or used
    _starting = threading.Lock()
    _state[[_LAUNCHER, _LOCK]] = 0
    _state[_DECIDED] = _broken_by_fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# -- inside compiled code ------------------------------------------------------------------------
def _call_ignoring_status(cx, builder, task, signature, values):
    """Call a compiled function from one that cannot raise (kernels do not: the shapes were checked in Python)."""
    compiled = task.get_compile_result(signature)
    cx.add_linking_libs([compiled.library])
    fn = cx.declare_function(builder.module, compiled.fndesc)
    cx.call_conv.call_function(builder, fn, signature.return_type, signature.args, values)


@intrinsic
def _call_task(context, address, bound, index):
    def codegen(cx, builder, sig, values):
        fn = builder.inttoptr(values[0], _TASK.as_pointer())
        builder.call(fn, [builder.inttoptr(values[1], _I8P), values[2]])
        return cx.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


def _word(builder, index):
    """Pointer to a word of the pool's memory, by the symbol that the process resolved."""
    module = builder.module
    symbol = module.globals.get("numbadl_pool") or ir.GlobalVariable(
        module, ir.ArrayType(_I64, _state.size), "numbadl_pool"
    )
    return builder.gep(symbol, [ir.IntType(32)(0), ir.IntType(32)(index)])


@intrinsic
def _load_launcher(context):
    return types.intp(), lambda cx, builder, sig, args: builder.load_atomic(_word(builder, _LAUNCHER), "acquire", 8)


@intrinsic
def pool_is_decided(context):
    """Whether `ensure_started` has nothing left to do: the threads run, or never will in this process."""

    def codegen(cx, builder, sig, values):
        return builder.icmp_signed("!=", builder.load(_word(builder, _DECIDED)), _I64(0))

    return types.boolean(), codegen


@intrinsic
def cache_bytes(context):
    """Bytes of the last-level cache: what arrays have to exceed before it pays to store past it."""
    return types.intp(), lambda cx, builder, sig, args: builder.load(_word(builder, _CACHE_BYTES))


@intrinsic
def _try_lock(context):
    def codegen(cx, builder, sig, values):
        taken = builder.cmpxchg(_word(builder, _LOCK), _I64(0), _I64(1), "acquire", "monotonic")
        return builder.extract_value(taken, 1)

    return types.boolean(), codegen


@intrinsic
def _unlock(context):
    def codegen(cx, builder, sig, values):
        builder.store_atomic(_I64(0), _word(builder, _LOCK), "release", 8)
        return cx.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _call_launcher(context, launcher, address, bound, count):
    """Call `_run_in_threads` by its address, in Numba's calling convention: (result, exception, *arguments)."""

    def codegen(cx, builder, sig, values):
        signature = ir.FunctionType(ir.IntType(32), [_I8P, _I8P, _I64, _I64, _I64])
        ignored = [builder.bitcast(cgutils.alloca_once(builder, _I8P), _I8P) for _ in range(2)]
        builder.call(builder.inttoptr(values[0], signature.as_pointer()), [*ignored, *values[1:]])
        return cx.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), codegen


def _place(builder):
    """The CPU and the thread of whoever launches, as two words."""
    if not _CAN_MOVE:
        return _I64(0), _I64(0)
    cpu = builder.call(_c_function(builder, "sched_getcpu", ir.IntType(32)), [])
    return builder.sext(cpu, _I64), builder.call(_c_function(builder, "pthread_self", _I64), [])


def _leave(builder, cpu, thread):
    """In another thread than *thread*: leave that *cpu*, if it runs there, for another one that it may run on.

    After a pause Linux may start a thread on the CPU of the one that woke it, which spins there until both are done, and move
    neither for up to 0.1 s: a step of 0.2 ms took 1.2.
    """
    if not _CAN_MOVE:
        return
    int32, mask_bytes = ir.IntType(32), 128
    here = builder.sext(builder.call(_c_function(builder, "sched_getcpu", int32), []), _I64)
    other = builder.icmp_unsigned("!=", builder.call(_c_function(builder, "pthread_self", _I64), []), thread)
    known = builder.icmp_unsigned("<", cpu, _I64(8 * mask_bytes))
    with builder.if_then(
        builder.and_(builder.and_(builder.icmp_unsigned("==", here, cpu), other), known), likely=False
    ):
        mask = cgutils.alloca_once(builder, ir.ArrayType(_I64, mask_bytes // 8))
        given = [int32(0), _I64(mask_bytes), builder.bitcast(mask, _I8P)]
        get, change = (
            _c_function(builder, name, int32, int32, _I64, _I8P) for name in ("sched_getaffinity", "sched_setaffinity")
        )
        with builder.if_then(builder.icmp_signed("==", builder.call(get, given), int32(0))):
            word = builder.gep(mask, [int32(0), builder.lshr(cpu, _I64(6))])
            allowed, bit = builder.load(word), builder.shl(_I64(1), builder.and_(cpu, _I64(63)))
            builder.store(builder.and_(allowed, builder.not_(bit)), word)
            builder.call(change, given)
            builder.store(allowed, word)
            builder.call(change, given)


def _c_function(builder, name, result, *arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


@intrinsic
def _parallel_for(context, address, bound, count):
    """Run task number 0 to count - 1 on the threads of Numba's threading layer.

    The layer splits a NumPy generalised ufunc, ``loop(args, dimensions, steps, data)``: each thread gets pointers
    ``args[0] + start * steps[0]`` and a length. A null pointer and a step of one make the first of them a task's number.
    """

    def codegen(cx, builder, sig, values):
        module, word = builder.module, _I64.as_pointer()
        loop_type = ir.FunctionType(ir.VoidType(), [_I8P.as_pointer(), word, word, _I8P])
        loop = ir.Function(module, loop_type, module.get_unique_name("tasks"))
        loop.linkage = "internal"
        _run_tasks(ir.IRBuilder(loop.append_basic_block()), *loop.args)

        def stored(*items):
            space = cgutils.alloca_once(builder, ir.ArrayType(_I64, len(items)))
            for k, item in enumerate(items):
                builder.store(item, builder.gep(space, [ir.IntType(32)(0), ir.IntType(32)(k)]))
            return builder.bitcast(space, _I8P)

        layer = ir.FunctionType(ir.VoidType(), [_I8P] * 5 + [_I64] * 3)
        threads = cgutils.get_or_insert_function(module, ir.FunctionType(_I64, []), "get_num_threads")
        data = stored(values[0], values[1], *_place(builder))
        operands = [stored(_I64(0)), stored(values[2]), stored(_I64(1)), data]
        builder.call(
            cgutils.get_or_insert_function(module, layer, "numba_parallel_for"),
            [builder.bitcast(loop, _I8P), *operands, _I64(0), _I64(1), builder.call(threads, [])],
        )
        return cx.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


def _run_tasks(builder, args, dimensions, steps, data):
    """The body of one thread: call the task for each of its numbers."""
    data = builder.bitcast(data, _I64.as_pointer())
    task, bound, *place = (builder.load(builder.gep(data, [_I64(k)])) for k in range(4))
    _leave(builder, *place)
    task, bound = builder.inttoptr(task, _TASK.as_pointer()), builder.inttoptr(bound, _I8P)
    first = builder.ptrtoint(builder.load(args), _I64)
    with cgutils.for_range(builder, builder.load(dimensions), intp=_I64) as loop:
        builder.call(task, [bound, builder.add(first, loop.index)])
    builder.ret_void()


@njit(**OPTIONS)
def _run_in_threads(address, bound, count):
    _parallel_for(address, bound, count)


_run_in_threads._cache = KernelCache("pool", _run_in_threads.py_func)


@intrinsic
def _openmp_for(context, address, bound, count):
    """Run task number 0 to count - 1 on the threads of the library of `share_openmp`.

    They are as many as it takes by itself, or NUMBA_NUM_THREADS if that is set to fewer.
    """

    def codegen(cx, builder, sig, values):
        module, word, number = builder.module, _I64.as_pointer(), ir.FunctionType(ir.IntType(32), [])
        region_type = ir.FunctionType(ir.VoidType(), [_I8P])
        region = ir.Function(module, region_type, module.get_unique_name("region"))
        region.linkage = "internal"
        inner = ir.IRBuilder(region.append_basic_block())
        data = inner.bitcast(region.args[0], word)
        task, bound, count, *place = (inner.load(inner.gep(data, [_I64(k)])) for k in range(5))
        _leave(inner, *place)
        thread, threads = (
            inner.zext(inner.call(inner.inttoptr(inner.load(_word(inner, k)), number.as_pointer()), []), _I64)
            for k in (_THREAD, _THREADS)
        )
        first = inner.sdiv(inner.mul(count, thread), threads)
        end = inner.sdiv(inner.mul(count, inner.add(thread, _I64(1))), threads)
        task, bound = inner.inttoptr(task, _TASK.as_pointer()), inner.inttoptr(bound, _I8P)
        with cgutils.for_range(inner, inner.sub(end, first), intp=_I64) as loop:
            inner.call(task, [bound, inner.add(first, loop.index)])
        inner.ret_void()
        space = cgutils.alloca_once(builder, ir.ArrayType(_I64, 5))
        for k, value in enumerate([*values, *_place(builder)]):
            builder.store(value, builder.gep(space, [ir.IntType(32)(0), ir.IntType(32)(k)]))
        int32 = ir.IntType(32)
        fork = ir.FunctionType(ir.VoidType(), [region_type.as_pointer(), _I8P, int32, int32])
        fork = builder.inttoptr(builder.load(_word(builder, _FORK)), fork.as_pointer())
        at_most = builder.call(builder.inttoptr(builder.load(_word(builder, _AT_MOST)), number.as_pointer()), [])
        limit = builder.trunc(builder.load(_word(builder, _LIMIT)), int32)  # 0: none; to GOMP_parallel, too
        limit = builder.select(builder.icmp_signed("<", limit, at_most), limit, int32(0))
        builder.call(fork, [region, builder.bitcast(space, _I8P), limit, int32(0)])
        return cx.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@njit(**OPTIONS)
def _run_in_openmp(address, bound, count):
    _openmp_for(address, bound, count)


_run_in_openmp._cache = KernelCache("pool.openmp", _run_in_openmp.py_func)


@function
def _run_all(address, bound, count):
    """Run task number 0 to count - 1, on all cores where that is possible; of a negative count one after the other."""
    launcher = _load_launcher() if count > 1 else 0
    if launcher != 0 and _try_lock():
        _call_launcher(launcher, address, bound, count)
        _unlock()
    else:
        for i in range(abs(count)):
            _call_task(address, bound, i)


@function
def worth_threads(count, elements):
    """*count* tasks, or -count where they have too few elements for starting threads, which may be asleep."""
    return count if elements >= PARALLEL_FROM else -count


def parallel(fn):
    """Turn ``fn(*args, index)`` into ``run(count, args)``: all indices, on all cores where that is possible.

    The task is part of the intrinsic and not an argument: a dispatcher as a value would put an address of this
    process into the code, which then could not be kept on disk.
    """
    task = function(fn)

    @intrinsic
    def run(context, count, args):
        signature = types.Dispatcher(task).get_call_type(context, (*args.types, types.intp), {})
        run_all = types.Dispatcher(_run_all)
        run_signature = run_all.get_call_type(context, (types.intp,) * 3, {})

        def codegen(cx, builder, sig, values):
            count, packed = values
            storage = cgutils.alloca_once_value(builder, packed)
            wrapper = _wrapper(cx, builder, task, signature, packed.type)
            addresses = [builder.ptrtoint(wrapper, _I64), builder.ptrtoint(storage, _I64)]
            cx.get_function(run_all, run_signature)(builder, [*addresses, count])
            return cx.get_dummy_value()

        return types.void(types.intp, args), codegen

    return run


def _wrapper(cx, builder, task, signature, packed):
    """A C function (context, i): the task, called with the arguments that the context holds, and i."""
    wrapper = ir.Function(builder.module, _TASK, builder.module.get_unique_name("task"))
    wrapper.linkage = "internal"
    inner = ir.IRBuilder(wrapper.append_basic_block())
    prefer_512_bit(builder)
    prefer_512_bit(inner)
    arguments = inner.load(inner.bitcast(wrapper.args[0], packed.as_pointer()))
    unpacked = [inner.extract_value(arguments, k) for k in range(len(packed.elements))]
    _call_ignoring_status(cx, inner, task, signature, [*unpacked, wrapper.args[1]])
    inner.fence("seq_cst")  # streaming stores are not ordered with what tells other threads that this is done
    inner.ret_void()
    return wrapper
