"""The operations that Python has no word for: fused multiply-add, the bits of a float, a float from its bits.

Each is a plain Python function, an LLVM instruction on the CPU and a libdevice call on CUDA.
"""

from fractions import Fraction

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_INTEGER = {np.float32: np.int32, np.float64: np.int64}


def fma(a, b, c):
    """a * b + c with one rounding (in plain Python: float32 in float64, which rounds twice in one case of 2**29)."""
    if any(isinstance(v, np.float32) for v in (a, b, c)):
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    try:
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        return type(a * b + c)(exact) if exact else a * b + c
    except (OverflowError, ValueError):  # an infinity or NaN, given or to be returned
        return a * b + c


def float_bits(x):
    """The bits of a float as a signed integer of the same width."""
    return x.view(_INTEGER[type(x)])


def bits_float(i, like):
    """The float of the type of *like* that has the bits of *i* (its low ones: Numba widens int32 + int32 to int64)."""
    return _INTEGER[type(like)](i).view(type(like))


def int_like(i, like):
    """*i* as a signed integer of the width of the float *like* (Numba widens int32 + int32 to int64)."""
    return _INTEGER[type(like)](i)


def _ir_type(t):
    if isinstance(t, types.Integer):
        return ir.IntType(t.bitwidth)
    return ir.FloatType() if t == types.float32 else ir.DoubleType()


@intrinsic
def _fma(context, a, b, c):
    if not (isinstance(a, types.Float) and a == b == c):
        return None
    return a(a, a, a), lambda cx, builder, sig, args: builder.fma(*args)


@intrinsic
def _float_bits(context, x):
    if not isinstance(x, types.Float):
        return None
    to = types.int32 if x == types.float32 else types.int64
    return to(x), lambda cx, builder, sig, args: builder.bitcast(args[0], _ir_type(to))


@intrinsic
def _bits_float(context, i, like):
    if not (isinstance(i, types.Integer) and isinstance(like, types.Float) and i.bitwidth >= like.bitwidth):
        return None

    def codegen(cx, builder, sig, args):
        bits = builder.trunc(args[0], ir.IntType(like.bitwidth)) if i.bitwidth > like.bitwidth else args[0]
        return builder.bitcast(bits, _ir_type(like))

    return like(i, like), codegen


@intrinsic
def _int_like(context, i, like):
    if not (isinstance(i, types.Integer) and isinstance(like, types.Float) and i.bitwidth >= like.bitwidth):
        return None
    to = types.int32 if like == types.float32 else types.int64

    def codegen(cx, builder, sig, args):
        return builder.trunc(args[0], _ir_type(to)) if i.bitwidth > like.bitwidth else args[0]

    return to(i, like), codegen


@overload(fma, target="generic", jit_options={"forceinline": True})
def _fma_overload(a, b, c):
    return lambda a, b, c: _fma(a, b, c)


@overload(float_bits, target="generic", jit_options={"forceinline": True})
def _float_bits_overload(x):
    return lambda x: _float_bits(x)


@overload(bits_float, target="generic", jit_options={"forceinline": True})
def _bits_float_overload(i, like):
    return lambda i, like: _bits_float(i, like)


@overload(int_like, target="generic", jit_options={"forceinline": True})
def _int_like_overload(i, like):
    return lambda i, like: _int_like(i, like)
