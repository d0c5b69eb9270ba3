"""Measure the accuracy of the activations: ``python -m tests.accuracy --activations``.

The largest error of f and f' in units in the last place (ULP), for the parameters that the pictures show: in float32 over a
random sample against the formulas in longdouble, and over a small one of all magnitudes against mpmath; in float64 against
mpmath. The figures are kept in docs/activations.json, from which ``python -m tests.document`` takes them.
"""

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import numpy as np
from numbadl.kernels.scalar.activations import ACTIVATIONS
from tqdm import tqdm

from numbadl._curves import evaluate, variants

sys.path.insert(0, str(Path(__file__).parent / "oracle"))  # as pytest has it
import references as ref

FIGURES = Path(__file__).parents[1] / "docs" / "activations.json"
MANY, FEW, FLOAT64 = 500_000, 500, 3_000  # inputs for each variant: in longdouble, with mpmath, in float64 with mpmath
LIMIT = 2.0
ABSOLUTE = ("soft_exponential", "soft_clipping")  # errors in ULP of 1.0, or of the result if that is larger


def inputs(count, rng, dtype, smallest):
    """Numbers where activations bend, where exponentials end, and of magnitudes from 2^smallest to 2^6.3."""
    low = -104 if dtype is np.float32 else -745
    parts = [
        rng.uniform(-3, 3, count // 2),
        rng.uniform(-30, 30, count // 4),
        rng.uniform(low, low * 0.75, count // 20),
        rng.choice([-1, 1], count // 5) * np.exp2(rng.uniform(smallest, 6.3, count // 5)),
    ]
    return np.concatenate(parts).astype(dtype)


def of_reference(record, variant, dtype):
    """The parameters of the reference: the sign of a channel, the slope that is drawn, otherwise what f gets."""
    if record.alternating:
        return ((1.0, -1.0)[variant.channel],)
    given = variant.parameters
    return tuple(float(dtype(p)) for p in ((sum(given) / len(given),) if record.random else given))


def errors(record, order, actual, expected, crossing):
    """ULP; beside a zero crossing away from the origin and for ABSOLUTE ones, of 1.0 where that is less."""
    error = expected.ulps(actual)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs((actual.astype(np.float64) - expected.high) - expected.low) / np.finfo(actual.dtype).eps
        if record.name in ABSOLUTE:
            off = off / np.maximum(1, np.abs(expected.high))
            return np.where(np.isfinite(off), np.minimum(error, off), error)
    suspects = np.flatnonzero((error > LIMIT) & (off <= LIMIT))
    error[suspects[crossing(suspects)]] = 0  # what they are off is no relative error
    return error


def measure(record, dtype, rng):
    """{"f": {"ulp": largest error, "x": where, "parameters": for which ones}, "f'": ...}."""
    found = {what: {"ulp": -1.0} for what in ("f", "f'")}
    for variant in variants(record):
        parameters = of_reference(record, variant, dtype)
        samples = [(inputs(FEW, rng, np.float32, -120), False), (inputs(MANY, rng, np.float32, -10), True)]
        for x, many in samples if dtype is np.float32 else [(inputs(FLOAT64, rng, dtype, -900), False)]:
            for order, (what, actual) in enumerate(zip(found, evaluate(record, variant, x), strict=True)):
                error = errors(record, order, actual, *_expected(record.name, order, x, parameters, many))
                k = int(np.argmax(error))
                if error[k] > found[what]["ulp"]:
                    found[what] = {"ulp": float(error[k]), "x": float(x[k]), "parameters": variant.parameters}
    return found


def _expected(name, order, x, parameters, many):
    """The reference, and a function of indices: whether there is a zero crossing near."""
    if many:
        expected, crossing = ref.activation_of_many(name, order, x, parameters=parameters)
        # A kink may hide a crossing from the quick way, which looks at one interval only.
        return expected, lambda k: crossing[k] | ref.crosses_zero(name, order, x[k], parameters=parameters)
    expected = ref.activation(name, order, x, parameters=parameters)
    return expected, lambda k: ref.crosses_zero(name, order, x[k], parameters=parameters)


def table(arguments):
    """Measure, keep the figures as soon as they are there; 1 if an error is above LIMIT."""
    kept = json.loads(FIGURES.read_text())["errors"] if arguments.resume and FIGURES.exists() else {}
    for name, record in tqdm(ACTIVATIONS.items(), disable=None):
        if name not in kept:
            rng = np.random.default_rng(arguments.seed)
            kept[name] = {np.dtype(dtype).name: measure(record, dtype, rng) for dtype in (np.float32, np.float64)}
            figures = {
                "inputs": {"float32": MANY + FEW, "float64": FLOAT64},
                "machine": platform.machine(),
                "versions": {
                    package: importlib.metadata.version(package) for package in ("numba", "llvmlite", "numpy")
                },
                "errors": {name: kept[name] for name in ACTIVATIONS if name in kept},
            }
            FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    high = [
        f"{name} {dtype} {what}: {error}"
        for name, row in kept.items() for dtype, found in row.items() for what, error in found.items()
        if not error["ulp"] <= LIMIT
    ]  # fmt: skip
    print("\n".join(high) or f"{len(kept)} activations, all errors at most {LIMIT:g} ULP")
    return int(bool(high))
