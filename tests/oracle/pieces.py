"""Computes the constants of ``kernels/scalar/coefficients.py`` that are looked up: float32 functions in 16 pieces each."""

from dataclasses import dataclass

import numpy as np
from mpmath import mp, mpf

from .minimax import fit, rounded

COUNT, SHIFT = 16, 21  # as in kernels/scalar/pieces.py
GRID = 120  # points of a piece's error, which is smooth


@dataclass(frozen=True)
class Piecewise:
    """What is approximated for 0 <= a <= last, by the bits of v = scale a + offset; errors are relative to *floor* at least.

    With *line* = (origin, value, slope) the last piece is that line, which holds beyond it, too.
    """

    meaning: str
    function: object
    offset: float  # 1, 1.25, 1.5 or 1.75
    last: float
    floor: float = 0.0
    terms: int = 6
    shift: int = 0  # the function is multiplied by 2^-shift
    line: tuple = ()
    scale: float = 1.0


def mills_ratio(a):
    return mp.erfc(a / mp.sqrt(2)) * mp.exp(a * a / 2) / 2


def silu_slope(a):
    e = mp.exp(-a)
    return (1 - a + e) / (1 + e) ** 2


def gelu_tanh_exponent(a):
    """2 u, of which gelu_tanh is a times the logistic function, and a times its derivative."""
    line = 2 * mp.sqrt(2 / mp.pi) * a
    cube = mpf("0.044715") * line * a * a
    return line + cube, line + 3 * cube


def gelu_tanh_ratio(a):
    return 1 / (1 + mp.exp(-gelu_tanh_exponent(a)[0]))


def gelu_tanh_slope(a):
    ratio = gelu_tanh_ratio(a)
    return ratio * (1 - gelu_tanh_exponent(a)[1] * ratio)


PIECES = {
    "MILLS_PIECES": Piecewise("e^(a^2/2) Phi(-a)", mills_ratio, 1, 13.3),
    "GELU_SLOPE_PIECES": Piecewise(
        "2^-8 e^(a^2/2) (Phi(-a) - a phi(a))", lambda a: mills_ratio(a) - a / mp.sqrt(2 * mp.pi), 1, 13.75, 0.1, 5, 8
    ),
    "SILU_SLOPE_PIECES": Piecewise(
        "2^-8 (1 - a + e^-a) / (1 + e^-a)^2", silu_slope, 1.75, 26.25, 0.1, 6, 8, (24, -23, -1)
    ),
    "SOFTPLUS_PIECES": Piecewise(
        "e^a log(1 + e^-a)", lambda a: mp.exp(a) * mp.log1p(mp.exp(-a)), 1.75, 26.25, terms=5, line=(24, 1, 0)
    ),
    "GELU_TANH_PIECES": Piecewise("2^-8 / (1 + e^-2u)", gelu_tanh_ratio, 1, 10.3, shift=8, scale=1.4375),
    "GELU_TANH_SLOPE_PIECES": Piecewise(
        "2^-8 (1 - a (2u)' / (1 + e^-2u)) / (1 + e^-2u)", gelu_tanh_slope, 1, 10.3, 0.1, 6, 8, scale=1.4375
    ),
}


def interval(p, k):
    """Where the k-th piece from 0 on lies: octaves of v are cut into four, and the first piece starts at v = offset."""
    octave, quarter = divmod(k + int(4 * (p.offset - 1)), 4)
    start, width = mpf(2) ** octave, mpf(2) ** octave / 4
    return tuple((start + q * width - p.offset) / mpf(p.scale) for q in (quarter, quarter + 1))


def place(p, k):
    start = np.float32(float(interval(p, k)[0] * mpf(p.scale) + p.offset))
    return (int(start.view(np.int32)) >> SHIFT) % COUNT


def origin(p, low, high):
    """A number near the middle at which the function is nearly a float32 number, so that rounding it there costs nothing."""
    middle, best = (low + high) / 2, (mpf(1), None)
    for j in range(-300, 301):
        c = rounded(middle * (1 + mpf(j) / 20000), np.float32)
        y = p.function(c)
        best = min(best, (abs(y - rounded(y, np.float32)) / max(abs(y), mpf(p.floor) / 4), c))
    return best[1]


def piece(p, k):
    """origin, first coefficient, the others and the largest error, of the k-th piece."""
    low, high = interval(p, k)
    if low >= p.last:
        return mpf(0), mpf(0), [mpf(0)] * p.terms, mpf(0)
    if p.line and high >= p.last:
        c, first, slope = map(mpf, p.line)
        return c, first, [slope, *[mpf(0)] * (p.terms - 1)], mpf(0)
    high = min(high, mpf(p.last))
    c = origin(p, low, high)
    first = rounded(p.function(c), np.float32)

    def rise(u):
        return (p.function(c + u) - first) / u

    def weight(u):
        return u / max(abs(p.function(c + u)), mpf(p.floor))

    return c, first, *fit(rise, weight, (low - c, high - c), p.terms, np.float32, points=GRID)


def entry(name):
    """The source text of one function's pieces."""
    p, found = PIECES[name], [None] * COUNT
    for k in range(COUNT):
        found[place(p, k)] = piece(p, k)
    scale = mpf(2) ** -p.shift
    error = mp.log(max(f[3] for f in found), 2)
    rows = zip(*([c, first * scale, *(r * scale for r in rest)] for c, first, rest, _ in found), strict=True)
    lines = []
    for row in rows:
        numbers = [str(np.float32(float(value))) for value in row]
        lines.append([" " * 8 + ", ".join(numbers[k : k + 4]) + "," for k in range(0, COUNT, 4)])
    places = f"v = {'' if p.scale == 1 else f'{p.scale} '}a + {p.offset}, 0 <= a <= {p.last}"
    text = [f"# {p.meaning} in 16 pieces by {places}: 2^{float(error):.1f}", f"{name} = Pieces("]
    for keyword, row in zip(["origin", "first"], lines, strict=False):
        text += [f"    {keyword}=(", *row, "    ),"]
    text += ["    rest=(", *(line for row in lines[2:] for line in ["     (", *row, "     ),"]), "    ),"]
    return "\n".join([*text, ")  # fmt: skip"])
