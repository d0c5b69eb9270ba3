"""A float32 function as 16 polynomials, each for an interval of its own, whose coefficients are looked up in registers.

One instruction takes 16 numbers of a table of 16 for a whole vector (``vpermps``), in the time of a multiplication and
beside it; LLVM has no operation that becomes it. So a look-up is a call of a scalar function, which names its *vector
variants*: LLVM calls one of them where it vectorises the loop around the call, and `_inlining_variants` has it inlined
then, in our kernels and in those of users. What is left over of a loop, and machines without such an instruction, load from
the table: the same bits. So does everything under a Numba without the private methods that this takes (0.61 has others).
"""

import functools
import hashlib

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.codegen import CPUCodegen, CPUCodeLibrary
from numba.extending import intrinsic

COUNT = 16
SHIFT = 21  # of a float's bits: what is left ends with two bits of the exponent and two of the mantissa
_INT, _FLOAT = ir.IntType(32), ir.FloatType()
_LOOKUP = "numbadl_lookup"
_CAN_INLINE = hasattr(CPUCodeLibrary, "_optimize_final_module") and hasattr(CPUCodegen, "_pass_builder")


class Pieces:
    """f(a) = first[k] + rest(a), rest(a) = d p[k](d) with d = a - origin[k] and a polynomial p[k], for a piece k of 16.

    In scalar functions ``first, rest = PIECES(v, a)``, where the bits of v choose k: v runs through four octaves, each
    cut into four. In each the piece of the same mantissa has the same width, relative to v.

    Parameters
    ----------
    origin : 16 numbers, by k = (bits of v >> SHIFT) % 16
    first : 16 numbers, f(origin)
    rest : p's coefficients from the lowest power, 16 numbers each
    """

    def __init__(self, origin, first, rest):
        self.origin, self.first, self.rest = origin, first, rest
        tables = [_table(row) for row in (origin, first, *rest)]

        @intrinsic
        def evaluate(context, v, a):
            def codegen(cx, builder, sig, args):
                index = builder.lshr(builder.bitcast(args[0], _INT), _INT(SHIFT))
                features = cx.codegen().magic_tuple()[-1].split(",")
                at_origin, first, *rest = (_looked_up(builder, features, row, index) for row in tables)
                d = builder.fsub(args[1], at_origin)
                total = rest[-1]
                for coefficient in reversed(rest[:-1]):
                    total = builder.fma(total, d, coefficient)
                return cx.make_tuple(builder, sig.return_type, [first, builder.fmul(d, total)])

            return types.UniTuple(types.float32, 2)(types.float32, types.float32), codegen

        self.evaluate = evaluate

    def __call__(self, v, a):
        k = (np.float32(v).view(np.int32) >> SHIFT) % COUNT
        d, total = np.float32(a) - np.float32(self.origin[k]), np.float64(0)
        for row in reversed(self.rest):  # one rounding for a product and a sum, as a fused multiply-add has it
            total = np.float64(np.float32(total * d + np.float64(np.float32(row[k]))))
        return np.float32(self.first[k]), d * np.float32(total)


def _table(row):
    """The name of a table, which follows from its numbers, and they as a constant."""
    values = np.asarray(row, np.float32)
    name = f"numbadl_table_{hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
    return name, ir.Constant(ir.ArrayType(_FLOAT, COUNT), [ir.Constant(_FLOAT, float(v)) for v in values])


def _looked_up(builder, features, table, index):
    name, values = table
    module = builder.module
    if name not in module.globals:
        numbers = ir.GlobalVariable(module, values.type, name)
        numbers.linkage, numbers.global_constant, numbers.align, numbers.initializer = "linkonce_odr", True, 64, values
    first = builder.gep(module.globals[name], [_INT(0), _INT(0)])
    lookup = module.globals[_LOOKUP] if _LOOKUP in module.globals else _define_lookup(module, features)
    return builder.call(lookup, [index, first])


def _define_lookup(module, features):
    """The scalar function (index, table) -> table[index % 16]; with variants, not inlined, so that LLVM sees the call."""
    lookup = ir.Function(module, ir.FunctionType(_FLOAT, [_INT, _FLOAT.as_pointer()]), _LOOKUP)
    builder = ir.IRBuilder(lookup.append_basic_block())
    builder.ret(builder.load(builder.gep(lookup.args[1], [builder.and_(lookup.args[0], _INT(COUNT - 1))])))
    if _CAN_INLINE and "+avx512f" in features and "+avx512vl" in features:
        variants = {16: _permuted_512, 8: _permuted_256}
        names = ",".join(f"_ZGV_LLVM_N{lanes}vu_{_LOOKUP}({_LOOKUP}_{lanes})" for lanes in variants)
        _attributes(lookup, "memory(none)", "noinline", f'"vector-function-abi-variant"="{names}"')
        for lanes, permuted in variants.items():
            _define_variant(module, lanes, permuted)
    else:
        _attributes(lookup, "alwaysinline")
    return lookup


def _attributes(function, *more):
    """Of a function that several modules have: it reads constants only, and stays until the vectoriser has run."""
    function.linkage = "weak_odr"
    for attribute in ("nounwind", "willreturn", *more):
        set.add(function.attributes, attribute)  # llvmlite's own add() knows few


def _define_variant(module, lanes, permuted):
    index, numbers = ir.VectorType(_INT, lanes), ir.VectorType(_FLOAT, lanes)
    variant = ir.Function(module, ir.FunctionType(numbers, [index, _FLOAT.as_pointer()]), f"{_LOOKUP}_{lanes}")
    _attributes(variant, "memory(none)", "alwaysinline")
    builder = ir.IRBuilder(variant.append_basic_block())
    table = builder.bitcast(variant.args[1], numbers.as_pointer())
    parts = [builder.load(builder.gep(table, [_INT(k)]), align=lanes * 4) for k in range(COUNT // lanes)]
    builder.ret(permuted(module, builder, parts, variant.args[0]))


def _permuted_512(module, builder, parts, index):
    take = ir.FunctionType(parts[0].type, [parts[0].type, index.type])
    return builder.call(module.declare_intrinsic("llvm.x86.avx512.permvar.sf.512", (), take), [*parts, index])


def _permuted_256(module, builder, parts, index):
    low, high = parts
    take = ir.FunctionType(low.type, [low.type, index.type, high.type])
    return builder.call(module.declare_intrinsic("llvm.x86.avx512.vpermi2var.ps.256", (), take), [low, index, high])


def _inlining_variants(optimize):
    """*optimize*, the method of Numba's code libraries that optimises one, after which vector variants of look-ups are inlined.

    Numba's own passes inline first and vectorise then; code that is called from the loop takes two to ten times as long.
    """

    @functools.wraps(optimize)
    def optimize_and_inline(library):
        optimize(library)
        module = library._final_module
        if any(f.name == _LOOKUP for f in module.functions):
            passes = binding.create_new_module_pass_manager()
            passes.add_always_inliner_pass()
            passes.run(module, library._codegen._pass_builder())

    return optimize_and_inline


if _CAN_INLINE:
    CPUCodeLibrary._optimize_final_module = _inlining_variants(CPUCodeLibrary._optimize_final_module)
