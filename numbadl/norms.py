"""Norms of arrays, and of many arrays as if they were one."""

import math

import numpy as np

from . import _arguments as arguments
from .arrays import check
from .elementwise import reduced


def norm(x, ord=2):
    r"""norm(x, ord=2): the sum of sizes (ord=1), Euclidean length (ord=2) or largest size (ord=inf) of all elements.

    (\sum_i |x_i|^{ord})^{1/ord}, with sums in fixed blocks that are combined in float64: the same bits for any number of
    threads. The squares of huge or tiny numbers neither overflow nor vanish. NaN anywhere gives NaN.

    Parameters
    ----------
    x : array of float32 or float64, of any shape; or a list or dict of arrays, of which the global norm is taken
    ord : 1, 2 or math.inf

    Returns
    -------
    float; 0 of nothing

    Raises
    ------
    TypeError, ValueError : naming the argument

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.norm([np.array([3.0]), np.array([[0.0, -4.0]])])
    5.0
    >>> nd.norm(np.array([3.0, -4.0]), ord=1), nd.norm(np.array([3.0, -4.0]), ord=np.inf)
    (7.0, 4.0)
    """
    if isinstance(ord, bool) or not isinstance(ord, (int, float, np.integer, np.floating)) or ord not in _NORMS:
        raise ValueError(f"ord: got {arguments.shown(ord)}, accepted are 1, 2 and math.inf")
    given = arguments.array_list("x", x)
    for k, array in enumerate(given):
        check(**{"x" if array is x else f"x[{k}]": array})
    one, combine = _NORMS[ord]
    found = [one(array) for array in given if array.size]
    return math.nan if any(map(math.isnan, found)) else float(combine(found))


def _largest(x):
    return reduced("largest_size", x)


def _sum_of_sizes(x):
    total = reduced("sum_of_scaled_sizes", x, scalars=(1.0,))
    if not math.isinf(total):
        return total
    largest = _largest(x)
    if math.isinf(largest):
        return largest
    factor = _scale(largest, x.dtype)
    return reduced("sum_of_scaled_sizes", x, scalars=(factor,)) / factor


def _length(x):
    """The root of the sum of squares, if these neither overflow nor lose digits below the smallest normal number."""
    total = reduced("sum_of_squares", x)
    if 4 * x.size * float(np.finfo(x.dtype).tiny) <= total < math.inf:
        return math.sqrt(total)
    largest = _largest(x)
    if largest == 0 or not math.isfinite(largest):
        return largest
    factor = _scale(largest, x.dtype)
    return math.sqrt(reduced("sum_of_scaled_squares", x, scalars=(factor,))) / factor


def _scale(size, dtype):
    """A power of 2 that brings *size* near 1, as far as *dtype* has one."""
    info, exponent = np.finfo(dtype), math.frexp(size)[1]
    return 2.0 ** -min(max(exponent, 2 - info.maxexp), info.maxexp - 2)


_NORMS = {
    1: (_sum_of_sizes, sum),
    2: (_length, lambda lengths: math.hypot(*lengths)),
    math.inf: (_largest, lambda sizes: max(sizes, default=0.0)),
}
