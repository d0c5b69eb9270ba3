"""How many vector operations a second all threads do at most, measured: what an arithmetic floor is computed from.

A burst is a loop of independent chains of one kind of operation, on vectors of 512 bits, with nothing in memory. Kinds:
"multiply" are fused multiplications and additions, "any" a mixture of those with additions and operations on integers (which
processors with more ports for these do more of), "divide" and "root" are what they say.
"""

from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from .assembly import OPERATIONS
from .compile import OPTIONS, KernelCache
from .pool import parallel
from .vector import pointers, prefer_512_bit

LANES = 16  # of float32
MOST = 1 << 10  # threads
_VECTOR, _INTEGERS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)


def _intrinsic_function(builder, name, arguments):
    signature = ir.FunctionType(_VECTOR, [_VECTOR] * arguments)
    found = builder.module.globals.get(name)
    return found if found is not None else ir.Function(builder.module, signature, name)


def _multiply(builder, value, k):
    return builder.call(_intrinsic_function(builder, "llvm.fma.v16f32", 3), [value, k, k])


def _root(builder, value, k):
    return builder.call(_intrinsic_function(builder, "llvm.sqrt.v16f32", 1), [value])


def _divide(builder, value, k):
    return builder.fdiv(k, value)


def _add(builder, value, k):
    return builder.fadd(value, k)


def _integers(builder, value, k):
    """Two operations, which no optimisation makes one of several turns'."""
    value, k = builder.bitcast(value, _INTEGERS), builder.bitcast(k, _INTEGERS)
    return builder.bitcast(builder.xor(builder.add(value, k), k), _VECTOR)


CHAINS = {  # kind -> (its chains, operations of one turn)
    "multiply": ([_multiply] * 12, 12),
    "any": ([_multiply, _add, _integers] * 4, 16),
    "divide": ([_divide] * 8, 8),
    "root": ([_root] * 8, 8),
}


def _burst(kind):
    chains, _ = CHAINS[kind]

    @intrinsic
    def burst(context, turns, number):
        def codegen(cx, builder, sig, values):
            prefer_512_bit(builder)
            k = _splat(builder, values[1])
            before, loop = builder.block, builder.append_basic_block(kind)
            builder.branch(loop)
            builder.position_at_end(loop)
            i, carried = builder.phi(ir.IntType(64)), [builder.phi(_VECTOR) for _ in chains]
            computed = [chain(builder, value, k) for chain, value in zip(chains, carried, strict=True)]
            following = builder.add(i, ir.IntType(64)(1))
            i.add_incoming(ir.IntType(64)(0), before)
            i.add_incoming(following, loop)
            for place, (phi, value) in enumerate(zip(carried, computed, strict=True)):
                phi.add_incoming(ir.Constant(_VECTOR, [1.5 + place] * LANES), before)
                phi.add_incoming(value, loop)
            after = builder.append_basic_block("after")
            builder.cbranch(builder.icmp_signed("<", following, values[0]), loop, after)
            builder.position_at_end(after)
            total = computed[0]
            for value in computed[1:]:
                total = builder.fadd(total, value)
            return builder.extract_element(total, ir.IntType(32)(0))

        return types.float32(types.int64, types.float32), codegen

    return burst


def _splat(builder, number):
    vector = ir.Constant(_VECTOR, ir.Undefined)
    for lane in range(LANES):
        vector = builder.insert_element(vector, number, ir.IntType(32)(lane))
    return vector


_multiplies, _anything, _divides, _roots = map(_burst, OPERATIONS)


@parallel
def _task(kind, turns, number, results, index):
    if kind == 0:
        value = _multiplies(turns, number)
    elif kind == 1:
        value = _anything(turns, number)
    elif kind == 2:
        value = _divides(turns, number)
    else:
        value = _roots(turns, number)
    carray(results, MOST)[index] = value


@njit(**OPTIONS)
def _run(kind, turns, threads, number, results):
    _task(threads, (kind, turns, number, pointers((results,))[0]))


_run._cache = KernelCache("rates", _run.py_func)


def burst(kind, turns, threads, results):
    """Do *turns* of a kind of operation on each of so many threads; the number of operations is returned.

    *results* is a float32 array of `MOST` elements, which takes what was computed.
    """
    _run(OPERATIONS.index(kind), turns, threads, results.dtype.type(1.0000001), results)
    return turns * threads * CHAINS[kind][1] * LANES
