"""Which quarter turn, and how far into it: the range reduction of sine and cosine.

Up to NEAR, x - n pi/2 is computed directly, with pi/2 in three parts. Beyond, n would need more bits than x has; there
x is taken apart into an integer times a power of two, and a table has 2/pi times that power modulo 4 to four times the
digits of the type: whole turns are left out before the multiplication (Payne and Hanek, 1983).
"""

import math

import numpy as np

from ..coefficients import HALF_PI_HIGH, HALF_PI_LOW, HALF_PI_LOWEST
from ..intrinsics import bits_float, float_bits, fma
from ..language import ByType, scalar
from .floats import MAGIC, MANTISSA_BITS, two_sum

NEAR = 2.0**17  # up to here n = round(x / (pi/2)) times HALF_PI_HIGH minus x is exact
FIRST = 16  # exponent of the table's first row; infinities have one of their own
STEP_BITS = 2  # a row serves four exponents: CUDA has 64 KiB for constants, and a table for each place that uses it
ROUND_TO_128 = ByType(1.5 * 2**30, 1.5 * 2**59)  # adding it rounds to a multiple of 128: of whole turns
SIGN_AND_MANTISSA = ByType(-(2**31) + 2**23 - 1, -(2**63) + 2**52 - 1)
LARGE = ByType((127 + 23) << 23, (1023 + 52) << 52)  # the exponent of numbers whose last bit is 1
EXPONENT_MASK = ByType(0xFF, 0x7FF)
EXPONENT_OF_FIRST = ByType(127 + FIRST, 1023 + FIRST)


def _two_over_pi(bits):
    """2/pi * 2**bits as an integer, pi by Machin's formula 16 atan(1/5) - 4 atan(1/239)."""

    def arctangent_of_inverse(n, one):
        term = total = one // n
        k = 1
        while term:
            term //= -n * n
            k += 2
            total += term // k
        return total

    one = 1 << (bits + 64)
    pi = 16 * arctangent_of_inverse(5, one) - 4 * arctangent_of_inverse(239, one)
    return (one << (bits + 1)) // pi


def _table(dtype, largest_exponent):
    """Rows of four parts of 2^(e - mantissa bits) * 2/pi mod 4, e = FIRST ... largest; a row of NaN for inf and NaN."""
    digits, point = np.finfo(dtype).nmant + 1, 1400
    constant = _two_over_pi(point)
    rows = []
    for e in range(FIRST, largest_exponent + 1, 1 << STEP_BITS):
        rest, row = (constant << e >> (digits - 1)) % (4 << point), []
        for _ in range(4):
            drop = max(rest.bit_length() - digits, 0)
            part = (rest >> drop) << drop
            row.append(dtype(math.ldexp(rest >> drop, drop - point)))
            rest -= part
        rows.append(row)
    return np.array([*rows, [np.nan] * 4], dtype)


TABLE = ByType(_table(np.float32, 127), _table(np.float64, 1023))


@scalar
def near_quadrant(x):
    """z, r, r_low: x = n pi/2 + r + r_low, |r| <= pi/4 and z = MAGIC + n, for |x| <= NEAR."""
    z = fma(x, 2 / math.pi, MAGIC)
    n = z - MAGIC
    start = fma(n, -HALF_PI_HIGH, x)
    p = n * HALF_PI_LOW
    r = start - p
    r_low = fma(n, -HALF_PI_LOWEST, ((start - r) - p) - fma(n, HALF_PI_LOW, -p))
    return z, r, r_low


@scalar
def _product(a, b):
    """a * b and its rounding error."""
    p = a * b
    return p, fma(a, b, -p)


@scalar
def far_quadrant(x):
    """The same for |x| > NEAR, with n modulo 4; NaN for inf and NaN."""
    i = ((float_bits(x) >> MANTISSA_BITS) & EXPONENT_MASK) - EXPONENT_OF_FIRST
    m = bits_float(
        ((float_bits(x) & SIGN_AND_MANTISSA) | LARGE) + ((i & 3) << MANTISSA_BITS), x
    )  # x = m 2^k, k of the row
    i = i >> STEP_BITS
    a, a_low = _product(m, TABLE[i, 0])
    b, b_low = _product(m, TABLE[i, 1])
    c, c_low = _product(m, TABLE[i, 2])
    a = a - ((a + ROUND_TO_128) - ROUND_TO_128)
    a, first = two_sum(a, a_low)
    a, second = two_sum(a, b)
    z = a + MAGIC
    a = a - (z - MAGIC)  # exact
    a, first = two_sum(a, first)  # from the largest to the smallest: near a zero, a and these cancel
    a, second = two_sum(a, second)
    a, third = two_sum(a, b_low)
    a, fourth = two_sum(a, c)
    low = ((first + second) + (third + fourth)) + (c_low + m * TABLE[i, 3])
    f = a + low
    f_low = (a - f) + low
    high, high_low = _product(f, HALF_PI_HIGH)
    low = high_low + fma(f, HALF_PI_LOW, f_low * HALF_PI_HIGH)
    r = high + low
    return z, r, (high - r) + low
