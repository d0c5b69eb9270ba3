"""Elementary functions of one float32 or float64 number, that LLVM vectorises: selects, but no branch or call.

By subject: `exponential`, `hyperbolic`, `logistic` (sigmoid and softplus), `logarithm`, `power` (and roots),
`error_function`, `normal` (with gelu) and `trigonometric`, whose angles `quadrant` reduces; `floats` has what they share.

Each is a range reduction, a polynomial in fused multiply-adds (`coefficients.py`, computed by
``python -m tests.oracle.coefficients``) and a reconstruction. Three ideas come back everywhere:

- *Rounding by addition.* x + 1.5 * 2^23 has no bits left below 1: its low bits are round(x), and subtracting the
  constant again gives round(x) as a float. Shifted to the exponent's place, those low bits multiply by 2^round(x).
- *The exact error.* The rounding error of a sum or a product is itself a float: s = a + b leaves b - (s - a) if
  |a| >= |b|, p = a * b leaves fma(a, b, -p). A result of full accuracy is a large part (*high*) plus a small one
  (*low*) that collects those errors, added last.
- *Residuals.* w = 1/d is corrected by w * fma(-w, d, 1); d itself may be high + low there.

The figures in the doc strings are the largest errors in units in the last place: for float32 over all 2^32 inputs, for
float64 over 10^6 random ones (docs/accuracy.md: the full table, and how to repeat it). Functions whose names begin with
*short* take fewer steps, and are within 2. A few functions of activations have a float32 form whose coefficients are
looked up in registers (`pieces.py`). Inputs and results at the ends (0, -0, inf, NaN, denormals) are as C99 has them,
except that results below the normal range may be off by less than the smallest normal number where "flushed" is said. In
plain Python NumPy and `math` compute instead (sine and cosine included), on CUDA libdevice where it has the function.
"""

from .error_function import erf, erfc
from .exponential import (
    EXP_LOWERED_HIGHEST,
    exp,
    exp2,
    exp_scaled,
    exp_scaled_in_two_parts,
    exp_to_1,
    expm1,
    expm1_and_exp_scaled,
    one_plus_exp_lowered,
    short_expm1,
)
from .hyperbolic import cosh, log_cosh, sech2, short_tanh, sinh, tanh, tanh_slope, tanh_squared
from .logarithm import log, log1p, log2
from .logistic import (
    log_sigmoid,
    short_log_sigmoid,
    short_sigmoid,
    short_softplus_and_scaled,
    sigmoid,
    sigmoid_slope,
    silu_slope_float32,
    softplus,
    softplus_and_exp_scaled,
)
from .normal import (
    gaussian,
    gelu_tanh_float32,
    gelu_tanh_slope_float32,
    normal_cdf,
    normal_pdf,
    x_gaussian,
    x_normal_cdf,
    x_normal_cdf_derivative,
)
from .power import pow, rsqrt, sqrt
from .trigonometric import NEAR, atan, cos, near, one_plus_sin, sin, sin_and_cos, sin_squared

FUNCTIONS = {
    f.__name__: f
    for f in [
        exp, exp2, expm1, sinh, cosh, tanh, sech2, sigmoid, softplus, log_sigmoid, log, log2, log1p,
        sqrt, rsqrt, pow, erf, erfc, normal_cdf, normal_pdf, gaussian, atan, sin, cos,
    ]
}  # fmt: skip
