"""Measure the accuracy of the elementary functions: ``python -m tests.accuracy --function exp --exhaustive``.

Errors are in units in the last place (ULP) of the result's type, the unit being that of the exact result's binade, over
all finite inputs with a normal result. float32 is compared with float64, over all 2^32 inputs with ``--exhaustive`` and
over a random sample otherwise; float64 with mpmath. ``--table`` measures every function (or the one given) and NumPy's and
PyTorch's from the same inputs, keeps the figures of each in docs/accuracy.json as soon as it has them, and writes
docs/accuracy.md from that file; ``--resume`` measures only what the file lacks (some hours with ``--exhaustive``). A
result that should be infinite, NaN or tiny and is not counts as wrong, and makes the exit status 1; so does an error
above ``--limit``. ``--activations`` measures the activations instead (activation_accuracy.py).
"""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numba
import numpy as np
from numba import njit, prange
from numbadl.kernels.scalar import math as scalar_math
from tqdm import tqdm

from .oracle.elementary import ELEMENTARY, exact, float64_inputs, ulps

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
FIGURES = PAGE.with_suffix(".json")
CHUNK = 1 << 22
BLOCK = 1 << 12
PAIRS = 10**9  # of pow
LARGEST32 = float(np.finfo(np.float32).max)
OVERFLOW32 = 2.0**128 - 2.0**103  # from here on a float64 number rounds to infinity in float32
TINY32 = 2.0**-126
PER_ULP32 = np.exp2(np.clip(1023.0 + 23 - np.arange(2048), -1000, 1000))  # by the exponent field of a float64


@dataclass
class Errors:
    """The errors of one implementation over the inputs so far."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0
    wrong: int = 0
    worst: tuple = (float("nan"),)
    wrong_at: tuple = ()

    def add(self, largest, total, count, wrong, worst, wrong_at):
        if largest > self.largest:
            self.largest, self.worst = largest, worst
        self.total, self.count, self.wrong = float(self.total + total), self.count + count, self.wrong + wrong
        self.wrong_at = self.wrong_at or (wrong_at if wrong else ())

    @property
    def mean(self):
        return self.total / max(self.count, 1)

    def __str__(self):
        worst = ", ".join(f"{w:.9g}" for w in self.worst)
        line = f"max {self.largest:.4f} ULP at ({worst}), mean {self.mean:.4f} ULP, {self.count:,} normal results"
        return line + (f", {self.wrong:,} WRONG, e.g. at {self.wrong_at}" if self.wrong else "")


# -- float32 against float64 ---------------------------------------------------------------------------------------
@njit(parallel=True)
def compare(out, reference):
    """Per block: largest error, its position, sum of errors, number of normal results, of wrong ones, a wrong one."""
    blocks = out.size // BLOCK
    largest, total = np.zeros(blocks), np.zeros(blocks)
    where, counts = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
    wrong, wrong_at = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
    for b in prange(blocks):
        for i in range(b * BLOCK, (b + 1) * BLOCK):
            r, y = reference[i], np.float64(out[i])
            size = abs(r)
            if size >= TINY32 and size < OVERFLOW32 and abs(y) <= LARGEST32:
                error = abs(y - r) * PER_ULP32[np.float64(size).view(np.int64) >> 52]
                counts[b] += 1
                total[b] += error
                if error > largest[b]:
                    largest[b], where[b] = error, i
            else:
                fine = (np.isnan(r) and np.isnan(y)) or (size >= OVERFLOW32 and y == np.copysign(np.inf, r))
                if not (fine or (size < TINY32 and abs(y - r) <= TINY32)):
                    wrong[b] += 1
                    wrong_at[b] = i
    return largest, where, total, counts, wrong, wrong_at


def parallel_map(fn, arguments):
    """fn over arrays of equal length, compiled for all cores."""
    if arguments == 1:

        @njit(parallel=True, error_model="numpy")
        def run(x, out):
            for b in prange(x.size // BLOCK):
                for i in range(b * BLOCK, (b + 1) * BLOCK):
                    out[i] = fn(x[i])

    else:

        @njit(parallel=True, error_model="numpy")
        def run(x, y, out):
            for b in prange(x.size // BLOCK):
                for i in range(b * BLOCK, (b + 1) * BLOCK):
                    out[i] = fn(x[i], y[i])

    return run


def chunks(exhaustive, samples, seed, pairs):
    """Arrays of CHUNK float32 numbers each: all of them in order, or random bit patterns; pairs of them for pow."""
    rng = np.random.default_rng(seed)
    count = -(-samples // CHUNK) if pairs or not exhaustive else 2**32 // CHUNK
    for c in range(count):
        if pairs:
            yield pow_inputs(rng, c)
        elif exhaustive:
            first = np.uint64(c) * np.uint64(CHUNK)
            yield ((first + np.arange(CHUNK, dtype=np.uint64)).astype(np.uint32).view(np.float32),)
        else:
            yield (rng.integers(0, 2**32, CHUNK, dtype=np.uint32).view(np.float32),)


def pow_inputs(rng, c):
    """Pairs whose power is mostly a normal number: any bits, any base with a fitting exponent, bases near 1."""
    x = rng.integers(0, 2**32, CHUNK, dtype=np.uint32).view(np.float32)
    if c % 4 == 0:
        return x, rng.integers(0, 2**32, CHUNK, dtype=np.uint32).view(np.float32)
    if c % 4 == 1:
        x = (1 + rng.normal(0, 0.1, CHUNK)).astype(np.float32)
    with np.errstate(all="ignore"):
        room = 150 / np.maximum(np.abs(np.log2(np.abs(x.astype(np.float64)))), 1e-6)
    y = (rng.uniform(-1, 1, CHUNK) * np.minimum(np.nan_to_num(room), 1e6)).astype(np.float32)
    return (x, y) if c % 4 < 3 else (x, np.round(y))


def measure32(name, implementations, exhaustive, samples, seed):
    """Errors of each of *implementations* (name -> function of the input arrays) over the same float32 inputs."""
    pairs = name == "pow"
    reference_map = parallel_map(REFERENCES[name], 2 if pairs else 1)
    found = {key: Errors() for key in implementations}
    total = (PAIRS if pairs else 2**32) // CHUNK if exhaustive else -(-samples // CHUNK)
    inputs = chunks(exhaustive, PAIRS if pairs and exhaustive else samples, seed, pairs)
    for x in tqdm(inputs, desc=name, total=total, unit="chunk", disable=None):
        reference = np.empty(CHUNK)
        with np.errstate(invalid="ignore"):  # signalling NaNs
            reference_map(*(xi.astype(np.float64) for xi in x), reference)
        for key, implementation in implementations.items():
            out = implementation(*x)
            largest, where, sums, counts, wrong, wrong_at = compare(out, reference)
            b, w = int(np.argmax(largest)), int(np.argmax(wrong))
            worst, bad = (tuple(float(xi[k]) for xi in x) for k in (where[b], wrong_at[w]))
            found[key].add(float(largest[b]), sums.sum(), int(counts.sum()), int(wrong.sum()), worst, bad)
    return found


# -- float64 against mpmath ----------------------------------------------------------------------------------------
def measure64(name, implementations, samples, seed):
    x = float64_inputs(name, samples, np.random.default_rng(seed))
    found = {key: Errors() for key in implementations}
    for part in tqdm(np.array_split(x, max(samples // 5000, 1)), desc=f"{name} float64", disable=None):
        high, low = exact(name, part)
        for key, implementation in implementations.items():
            error, wrong, normal = ulps(implementation(part), high, low)
            k, w = int(np.argmax(error)), int(np.argmax(wrong))
            found[key].add(
                float(error[k]), error.sum(), int(normal.sum()), int(wrong.sum()), (float(part[k]),), (float(part[w]),)
            )
    return found


# -- float64, screened ---------------------------------------------------------------------------------------------
def _wide_sech2(x):
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


def _wide_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _wide_softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# In the machine's widest floats, whose own errors are 2^-11 ULP of float64 where they have 64 bits: enough to find suspects.
WIDE = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "sech2": _wide_sech2, "sigmoid": _wide_sigmoid, "softplus": _wide_softplus, "log_sigmoid": lambda x: -_wide_softplus(-x),
    "log": np.log, "log2": np.log2, "log1p": np.log1p, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "normal_pdf": lambda x: np.exp(-0.5 * x * x) / np.sqrt(8 * np.arctan(np.longdouble(1))), "gaussian": lambda x: np.exp(-x * x),
    "atan": np.arctan, "sin": np.sin, "cos": np.cos,
}  # fmt: skip
SUSPECTS = 20  # of each chunk, whose errors mpmath then finds


def screen(name, count, seed):
    """The largest error among *count* float64 inputs: the worst by the widest floats, measured by mpmath -> `Errors`."""
    implementation, rng = ours(name), np.random.default_rng(seed)
    suspects = []
    for _ in tqdm(range(-(-count // CHUNK)), desc=f"{name} screen", disable=None):
        x = float64_inputs(name, CHUNK, rng)
        with np.errstate(all="ignore"):
            wide = WIDE[name](x.astype(np.longdouble))
            size = np.abs(wide.astype(np.float64))
            unit = np.ldexp(1.0, np.frexp(size)[1] - 53)
            error = np.abs(implementation(x) - wide).astype(np.float64) / unit
        error[~(np.isfinite(error) & (size >= np.finfo(np.float64).tiny))] = 0
        suspects.append(x[np.argpartition(error, -SUSPECTS)[-SUSPECTS:]])
    x = np.concatenate(suspects)
    error, wrong, normal = ulps(implementation(x), *exact(name, x))
    found, k = Errors(), int(np.argmax(error))
    found.add(
        float(error[k]), error.sum(), int(normal.sum()), int(wrong.sum()), (float(x[k]),), (float(x[np.argmax(wrong)]),)
    )
    return found


# -- implementations -----------------------------------------------------------------------------------------------
REFERENCES = {name: e.float64 for name, e in ELEMENTARY.items()} | {"pow": njit(lambda x, y: x**y)}


def ours(name):
    fn = scalar_math.FUNCTIONS[name]
    run = parallel_map(fn, 2 if name == "pow" else 1)

    def implementation(*x):
        padded = [np.concatenate([xi, np.ones(-xi.size % BLOCK, xi.dtype)]) for xi in x]
        out = np.empty_like(padded[0])
        run(*padded, out)
        return out[: x[0].size]

    return implementation


def peers(name):
    """NumPy's and PyTorch's functions of the same name, where there are some."""
    entry, found = ELEMENTARY.get(name), {}
    numpy_name, torch_name = ("power", "pow") if entry is None else (entry.numpy, entry.torch)
    if numpy_name:
        found["NumPy"] = quiet(getattr(np, numpy_name))
    try:
        import torch
    except ImportError:
        return found
    if torch_name:
        fn = functools.reduce(getattr, torch_name.split("."), torch)
        found["PyTorch"] = lambda *x: fn(*(torch.from_numpy(xi) for xi in x)).numpy()
    return found


def quiet(fn):
    def run(*x):
        with np.errstate(all="ignore"):
            return fn(*x)

    return run


# -- command line --------------------------------------------------------------------------------------------------
def table(arguments):
    """Measure, keep the figures of each function in FIGURES, and write the page from them."""
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in [arguments.function] if arguments.function else scalar_math.FUNCTIONS:
        if arguments.resume and name in kept:
            continue
        began, implementations = time.time(), {"numbadl": ours(name)} | peers(name)
        found = {"float32": measure32(name, implementations, arguments.exhaustive, arguments.samples, arguments.seed)}
        if name != "pow":
            found["float64"] = measure64(name, implementations, arguments.samples64, arguments.seed)
        kept[name] = {
            "inputs": inputs_of(name, arguments),
            "minutes": round((time.time() - began) / 60, 1),
            "versions": {p: importlib.metadata.version(p) for p in ("numba", "numpy", "torch") if find_spec(p)},
            "errors": {dtype: {k: asdict(e) for k, e in errors.items()} for dtype, errors in found.items()},
        }
        print(name, {d: {k: round(e.largest, 3) for k, e in errors.items()} for d, errors in found.items()}, flush=True)
        FIGURES.write_text(json.dumps(kept, indent=1))
        PAGE.write_text(page(kept))


def screens(arguments):
    """Screen one function or all, and keep what was found with the other figures."""
    kept, failed = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}, False
    for name in [arguments.function] if arguments.function else WIDE:
        found = screen(name, arguments.screen, arguments.seed)
        print(
            f"{name} float64, worst of {arguments.screen:,}: {found.largest:.4f} ULP at {found.worst[0]!r}", flush=True
        )
        failed |= found.largest > arguments.limit or found.wrong > 0
        if name in kept:
            kept[name]["screen"] = {"count": arguments.screen, "largest": found.largest, "worst": found.worst[0]}
            FIGURES.write_text(json.dumps(kept, indent=1))
            PAGE.write_text(page(kept))
    return int(failed)


def inputs_of(name, arguments):
    """What was measured, in words: of float32, and of float64."""
    if name == "pow":
        return [f"{PAIRS if arguments.exhaustive else arguments.samples:,} pairs", ""]
    float32 = "all 2^32" if arguments.exhaustive else f"{arguments.samples:,} random bit patterns"
    return [float32, f"{arguments.samples64:,} random"]


def page(kept):
    versions = kept[max(kept, key=lambda name: len(kept[name]["versions"]))]["versions"]
    lines = [
        "# Accuracy of the elementary functions",
        "",
        "Generated by `python -m tests.accuracy --table --exhaustive` "
        f"({sum(row['minutes'] for row in kept.values()):.0f} minutes in all, {platform.machine()}, "
        f"{', '.join(f'{p} {v}' for p, v in versions.items())}); the figures are in accuracy.json beside it.",
        "",
        "Errors in units in the last place (ULP) of the result's type, over the inputs with a normal result. float32 against",
        "float64, float64 against mpmath; over random inputs the largest error may be a little larger than what was found.",
        "In brackets: how many results are wrong altogether, that is not infinite, NaN or tiny where they should be.",
        "",
        "| function | type | inputs | max ULP | mean ULP | worst input | NumPy max, mean | PyTorch max, mean |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in [n for n in scalar_math.FUNCTIONS if n in kept]:
        row = kept[name]
        for inputs, (dtype, found) in zip(row["inputs"], row["errors"].items(), strict=False):
            errors = {key: Errors(**values) for key, values in found.items()}
            mine = errors["numbadl"]
            worst = ", ".join(f"{w:.9g}" if dtype == "float32" else repr(w) for w in mine.worst)
            peer = [brief(errors[p]) if p in errors else "" for p in ("NumPy", "PyTorch")]
            cells = [name, dtype, inputs, number(mine), f"{mine.mean:.3f}", worst, *peer]
            lines.append(f"| {' | '.join(cells)} |")
    screened = {name: kept[name]["screen"] for name in WIDE if "screen" in kept.get(name, {})}
    if screened:
        lines += [
            "",
            "The worst float64 inputs that `python -m tests.accuracy --screen N` finds: N random inputs are compared with the",
            "widest floats of the machine, and the worst of every few millions with mpmath.",
            "",
            "| function | N | max ULP | at |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {n} | {f['count']:,} | {f['largest']:.3f} | {f['worst']!r} |" for n, f in screened.items()]
    return "\n".join(lines) + "\n"


def number(errors):
    value = f"{errors.largest:.3f}" if errors.largest < 1000 else f"{errors.largest:.1e}"
    return value + (f" ({errors.wrong:,} wrong)" if errors.wrong else "")


def brief(errors):
    return f"{number(errors)}, {errors.mean:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--function", choices=scalar_math.FUNCTIONS, help="one function; all if left out")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--exhaustive", action="store_true", help="all 2^32 float32 inputs (pow: 10^9 pairs)")
    parser.add_argument("--samples", type=int, default=1 << 24, help="random float32 inputs")
    parser.add_argument("--samples64", type=int, default=10**6, help="random float64 inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--screen", type=int, metavar="N", help="the worst of N float64 inputs, kept for the page")
    parser.add_argument("--limit", type=float, default=1.0, help="largest error that passes, in ULP")
    parser.add_argument("--peers", action="store_true", help="NumPy's and PyTorch's functions, too")
    parser.add_argument("--table", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--resume", action="store_true", help="measure only what the file of figures lacks")
    parser.add_argument("--activations", action="store_true", help="measure the activations, for docs/activations.md")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    numba.set_num_threads(min(arguments.threads, numba.config.NUMBA_NUM_THREADS))
    if arguments.activations:
        from . import activation_accuracy

        return activation_accuracy.table(arguments)
    if arguments.table:
        table(arguments)
        return 0
    if arguments.screen:
        return screens(arguments)
    failed = False
    for name in [arguments.function] if arguments.function else scalar_math.FUNCTIONS:
        implementations = {"numbadl": ours(name)} | (peers(name) if arguments.peers else {})
        if arguments.dtype == "float32":
            found = measure32(name, implementations, arguments.exhaustive, arguments.samples, arguments.seed)
        elif name == "pow":
            continue
        else:
            found = measure64(name, implementations, arguments.samples64, arguments.seed)
        for key, errors in found.items():
            print(f"{name} {arguments.dtype} {key}: {errors}", flush=True)
        failed |= found["numbadl"].largest > arguments.limit or found["numbadl"].wrong > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
