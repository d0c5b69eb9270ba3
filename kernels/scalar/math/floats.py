"""What the elementary functions share: the bits of a float, powers of two made of them, a sum with its rounding error."""

import math

from ..intrinsics import bits_float, float_bits
from ..language import ByType, scalar

INF = math.inf
MANTISSA_BITS = ByType(23, 52)
SIGN = ByType(-(2**31), -(2**63))
EXPONENT = ByType(-(2**23), -(2**52))  # the bits of sign and exponent
ONE = ByType(0x3F800000, 0x3FF0000000000000)  # the bits of 1.0
FOUR = ByType(0x40800000, 0x4010000000000000)
HALF = ByType(0x3F000000, 0x3FE0000000000000)
QUARTER = ByType(0x3E800000, 0x3FD0000000000000)
THREE_QUARTERS = ByType(0x3F400000, 0x3FE8000000000000)
TWO_THIRDS = ByType(0x3F2AAAAB, 0x3FE5555555555555)
MAGIC = ByType(1.5 * 2**23, 1.5 * 2**52)
SMALLEST_NORMAL = ByType(2.0**-126, 2.0**-1022)
TINY = ByType(2.0**-26, 2.0**-55)  # x + x^2 rounds to x
SCALE_8 = ByType(8 << 23, 8 << 52)
SCALE_64 = ByType(64 << 23, 64 << 52)  # 64 in the exponent's place


@scalar
def with_sign(size, x):
    """*size*, which is not negative unless x is, with the sign of x (that of a zero, too)."""
    return bits_float(float_bits(size) | (float_bits(x) & SIGN), x)


@scalar
def power_of_two(z):
    """2^n for z = MAGIC + n."""
    return bits_float(ONE + (float_bits(z) << MANTISSA_BITS), z)


@scalar
def lifted_power_of_two(z):
    """2^(n + 64) for z = MAGIC + n: a normal number, or 0 if its exponent field is, where 2^n itself no longer is one."""
    return bits_float(ONE + SCALE_64 + (float_bits(z) << MANTISSA_BITS), z)


@scalar
def raised_power_of_two(z):
    """2^(n + 8) for z = MAGIC + n, or 0 if its exponent field is."""
    return bits_float(ONE + SCALE_8 + (float_bits(z) << MANTISSA_BITS), z)


@scalar
def two_sum(a, b):
    """a + b and its rounding error (Knuth)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)
