"""Derivatives of a user's function against differences of the function itself, in float64, before they are used."""

import math

import numpy as np

POINTS = np.concatenate(
    [
        np.linspace(-8, 8, 33),
        np.outer([-1, 1], [1e-3, 0.03, 12, 20, 50, 100, 300, 1000]).ravel(),
        np.random.default_rng(0).normal(0, 3, 24),
    ]
)
TOLERANCE = 1e-5  # relative; differences in float64 are good to 1e-9 or so
EPSILON = np.finfo(np.float64).eps


def check(given, record, by_hand):
    """Compare a record's derivatives, and its translation of the function *given*, with that function.

    Raises ValueError that names the point and both values. Points next to a kink or a jump, where differences from the
    left and from the right are not the same, and those where the function is not finite, are left out.
    """
    values = tuple(p.default for p in record.parameters)
    _compare_translation(given, record, values)
    what = "derivative" if by_hand else "automatic derivative"
    compared = _compare(what, record, 0, record.derivative, values, by_hand)
    for k, parameter in enumerate(record.parameters):
        if parameter.gradient is not None:
            _compare(f"automatic derivative by {parameter.name}", record, k + 1, parameter.gradient, values)
    if not compared:
        raise ValueError(
            f"forward: {record.name} is finite and has a derivative at none of the points from -1000 to 1000 that were"
            " tried; check=False takes it as it is"
        )


def _compare(what, record, position, derivative, values, by_hand=False):
    """How many points there were to compare a derivative at, by the argument at *position*.

    An automatic derivative may be another one in a single point: where kinks of the function's parts cancel.
    """
    compared = 0
    for point in POINTS:
        found, exact, good = _at(record.forward, derivative, [point, *values], position)
        compared += exact is not None
        nearby = point + 1e-6 * max(abs(point), 1)
        if not good and (by_hand or not _at(record.forward, derivative, [nearby, *values], position)[2]):
            raise ValueError(_message(what, record, point, values, found, exact))
    return compared


def _at(function, derivative, arguments, position):
    """A derivative at a point, that by differences (None if there is none), and whether they agree."""

    def along(v):
        return _number(function, [*arguments[:position], v, *arguments[position + 1 :]])

    found, exact = _number(derivative, arguments), slope(along, arguments[position])
    if exact is None or _close(found, *exact):
        return found, exact and exact[0], True
    again = slope(along, arguments[position], 1e-3)  # a kink may be near
    return found, exact[0], again is not None and _close(found, *again)


def _close(found, value, error):
    return abs(found - value) <= TOLERANCE * max(abs(value), abs(found)) + 20 * error + 1e-9  # False for NaN


def _message(what, record, point, values, found, exact):
    names = "".join(f", {p.name} = {v:g}" for p, v in zip(record.parameters, values, strict=True))
    text = f"{what}: of {record.name} at x = {point:.6g}{names} is {found:.6g}, differences give {exact:.6g}"
    if math.isnan(found) or math.isinf(found):
        text += "; something overflows on the way, nd.sigmoid, nd.softplus or a case for large x may help"
    return text + "; check=False takes it as it is"


def _number(fn, arguments):
    with np.errstate(all="ignore"):
        return float(fn(*map(np.float64, arguments)))


def slope(f, x, reach=0.1):
    """The derivative of f at x and an estimate of its error, by Ridders' extrapolation; None at kinks, jumps and ends.

    Ridders 1982, Accurate computation of F'(x) and F'(x) F''(x).
    """
    size = max(abs(x), 1.0)
    if _has_kink(f, x, 1e-4 * size):
        return None
    best, error, before = None, math.inf, []
    noise = 0.0
    for k in range(10):
        h = reach * size / 2**k
        high, low = f(x + h), f(x - h)
        row = [(high - low) / (2 * h)]
        noise = 4 * EPSILON * max(abs(high), abs(low)) / h
        for j, previous in enumerate(before):
            factor = 4.0 ** (j + 1)
            row.append((factor * row[j] - previous) / (factor - 1))
            spread = max(abs(row[j + 1] - row[j]), abs(row[j + 1] - previous)) + noise
            if spread < error:
                best, error = row[j + 1], spread
        before = row
    return None if best is None else (best, error)


def _has_kink(f, x, h):
    """Whether slopes to the left and to the right differ, or a value nearby is not finite."""
    values = [f(x + k * h) for k in (-2, -1, 0, 1, 2)]
    if not all(map(math.isfinite, values)):
        return True
    a, b, c, d, e = values
    right, left = (-3 * c + 4 * d - e) / (2 * h), (3 * c - 4 * b + a) / (2 * h)
    noise = 16 * EPSILON * max(map(abs, values)) / h
    return abs(right - left) > 1e-4 * max(abs(right), abs(left)) + 1e-7 + noise


def _compare_translation(given, record, values):
    """The function as it was written gives, where it gives a finite number at all, what its translation gives."""
    named = {p.name: value for p, value in zip(record.parameters, values, strict=True)}
    for point in POINTS:
        try:
            with np.errstate(all="ignore"):
                expected = float(given(float(point), **named))
        except (ArithmeticError, ValueError, TypeError):  # math.exp(1000), or an array function
            continue
        found = _number(record.forward, (point, *values))
        if math.isfinite(expected) and not math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9):
            raise ValueError(
                f"forward: {record.name} is {expected:.6g} at x = {point:.6g} in Python, but {found:.6g} as a kernel"
                " computes it; check=False takes it as it is"
            )
