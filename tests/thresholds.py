"""Measure what the loops' constants were chosen by: ``python -m tests.thresholds``; docs/benchmarks.md records a run.

Four tables, each of ratios within one run: where threads begin to pay (PARALLEL_FROM), how much of an array a task takes
(CHUNK), from which size stores past the cache pay, and what 512-bit vectors gain for each activation.
"""

import contextlib
import time

import numpy as np
from numbadl.kernels import cpu
from numbadl.kernels.cpu import map as maps
from numbadl.kernels.cpu import pool, vector
from numbadl.kernels.scalar.activations import ACTIVATIONS
from numbadl.kernels.shapes import Map

EXAMPLES = ("relu", "silu")
REPEAT = 25


@contextlib.contextmanager
def changed(module, **constants):
    """Kernels that are built and compiled inside have other constants."""
    before = {name: getattr(module, name) for name in constants}
    vars(module).update(constants)
    try:
        yield
    finally:
        vars(module).update(before)


def kernel(name, label, n):
    """The kernel of an activation, compiled under a name of its own, as a function of two arrays of *n* elements."""
    record = ACTIVATIONS[name]
    declaration = Map(f"threshold.{name}.{label}", record.forward, scalars="x" * len(record.parameters))
    numbers = [np.float32(p.default) for p in record.parameters]
    run = cpu.build(declaration)
    x = np.linspace(-4, 4, n, dtype=np.float32)
    out = np.empty_like(x)
    run(x, out, *numbers)
    return lambda: run(x, out, *numbers)


def seconds(functions, repeat=REPEAT):
    """Median seconds of each function, which take turns."""
    times = [[] for _ in functions]
    for _ in range(repeat + 2):
        for function, found in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            found.append(time.perf_counter() - start)
    return [float(np.median(found[2:])) for found in times]


def serially(function):
    """*function*, run as if there were no threads."""

    def run():
        with pool.serially():
            function()

    return run


def with_cache(size, function):
    """*function*, run as if the last-level cache had *size* bytes."""

    def run():
        with pool.with_cache_size(size):
            function()

    return run


def threads():
    print(f"\nserial time / parallel time (PARALLEL_FROM = {maps.PARALLEL_FROM:,} elements)")
    for name in EXAMPLES:
        with changed(maps, PARALLEL_FROM=0, CHUNK=1 << 11):
            for n in [1 << k for k in range(12, 19)]:
                run = kernel(name, "parallel", n)
                parallel, serial = seconds([run, serially(run)], 101)
                print(f"{name:<12}{n:>12,}{serial / parallel:>8.2f}")


def chunks(n=1 << 20):
    print(f"\ntime of {n:,} elements by elements of a task, over that of CHUNK = {maps.CHUNK:,}")
    for name in EXAMPLES:
        runs = {}
        for size in [1 << k for k in range(11, 18)]:
            with changed(maps, CHUNK=size):
                runs[size] = kernel(name, f"chunk{size}", n)
        times = dict(zip(runs, seconds(list(runs.values())), strict=True))
        for size, found in times.items():
            print(f"{name:<12}{size:>12,}{found / times[maps.CHUNK]:>8.2f}")


def streaming():
    cached = pool.cache_size()
    print(
        f"\nplain stores' time / streaming stores' time (from {3 * cached >> 22} MiB of operands: {3 * cached // 32:,} elements)"
    )
    for name in EXAMPLES:
        for n in [1 << k for k in range(18, 25)]:
            # Arrays of their own: stores past the cache would throw the other's out of it.
            plain, past = (with_cache(size, kernel(name, "stores", n)) for size in (1 << 50, 0))
            first, second = seconds([plain, past])
            print(f"{name:<12}{n:>12,}{first / second:>8.2f}")


def prefer_256_bit(builder):
    set.add(builder.function.attributes, '"prefer-vector-width"="256"')


def widths(n=1 << 14):
    print("\n256-bit time / 512-bit time, in cache, one thread")
    for name, record in ACTIVATIONS.items():
        if record.random or record.alternating:
            continue
        wide = kernel(name, "512", n)
        with changed(vector, prefer_512_bit=prefer_256_bit), changed(pool, prefer_512_bit=prefer_256_bit):
            narrow = kernel(name, "256", n)
        first, second = seconds([narrow, wide], 201)
        print(f"{name:<20}{first / second:>8.2f}", flush=True)


if __name__ == "__main__":
    cpu.ensure_started()
    for table in (threads, chunks, streaming, widths):
        table()
