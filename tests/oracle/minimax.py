"""Minimax polynomials whose coefficients are floating-point numbers, found in high precision."""

import numpy as np
from mpmath import mp, mpf
from scipy.optimize import linprog

POINTS = 400  # of the grid, dense at both ends; an error curve here has at most 40 extrema


def rounded(value, dtype):
    """The number of *dtype* nearest to an mpf, as an mpf."""
    return mpf(float(dtype(mp.nstr(value, 25))))


def fit(function, weight, interval, terms, dtype, extended=False, points=POINTS):
    """Coefficients c, lowest power first, that minimise max |weight(r) (sum c[k] r**k - function(r))|.

    The best real coefficients are found first. Then the lowest one is rounded to *dtype* and the others are fitted
    again around it, and so on upwards: each takes up the rounding of those before it, so the result stays much closer
    to the optimum than rounding all of them at once would. With *extended* the first is rounded to twice the digits,
    for a sum with its low part. Returns the coefficients (mpf) and the largest weighted error.
    """
    low, high = mpf(interval[0]), mpf(interval[1])
    angles = [mp.pi * (k + mpf(1) / 3) / points for k in range(points)]
    r = [(low + high) / 2 - (high - low) / 2 * mp.cos(a) for a in angles]
    w = [weight(ri) for ri in r]
    error = [-wi * function(ri) for wi, ri in zip(w, r, strict=True)]  # of the zero polynomial
    c = [mpf(0)] * terms
    for k in range(terms):
        for _ in range(8 if k == 0 else 2):  # each pass gains the seven digits that a float64 linear program has
            c, error = _add(c, _improvement(r, w, error, k, terms, low, high), r, w, error)
        nearest = rounded(c[k], dtype)
        if extended and k == 0:
            nearest += rounded(c[k] - nearest, dtype)
        step = [mpf(0)] * terms
        step[k] = nearest - c[k]
        c, error = _add(c, step, r, w, error)
    return c, max(abs(e) for e in error)


def _add(c, step, r, w, error):
    value = [wi * mp.polyval(step[::-1], ri) for wi, ri in zip(w, r, strict=True)]
    return [a + b for a, b in zip(c, step, strict=True)], [a + b for a, b in zip(error, value, strict=True)]


def _improvement(r, w, error, first, terms, low, high):
    """The polynomial r**first * (...) that, added, makes the largest error smallest: a linear program."""
    size = max(abs(e) for e in error)
    basis = [[mpf(0)] * first + t for t in _chebyshev(terms - first, low, high)]
    columns = [[wi * mp.polyval(b[::-1], ri) for wi, ri in zip(w, r, strict=True)] for b in basis]
    norms = [max(abs(v) for v in column) for column in columns]
    a = np.array([[float(v / n) for v in column] for column, n in zip(columns, norms, strict=True)]).T
    e = np.array([float(v / size) for v in error])
    level = -np.ones((len(e), 1))
    solution = linprog(
        np.r_[np.zeros(terms - first), 1],
        A_ub=np.block([[a, level], [-a, level]]),
        b_ub=np.r_[-e, e],
        bounds=[(None, None)] * (terms - first) + [(0, None)],
        method="highs",
    )
    step = [mpf(0)] * terms
    if solution.x is None:
        return step
    for x, n, b in zip(solution.x, norms, basis, strict=False):
        for k, bk in enumerate(b):
            step[k] += mpf(x) * size / n * bk
    return step


def _chebyshev(count, low, high):
    """Coefficients, in powers of r, of the Chebyshev polynomials T_0 ... T_(count - 1) on low <= r <= high."""
    u = [-(high + low) / (high - low), 2 / (high - low)]  # from r to -1 <= u <= 1
    t = [[mpf(1)], u]
    while len(t) < count:
        twice = [2 * (u[0] * a + u[1] * b) for a, b in zip([*t[-1], 0], [0, *t[-1]], strict=True)]
        t.append([a - b for a, b in zip(twice, [*t[-2], 0, 0], strict=True)])
    return t[:count]
