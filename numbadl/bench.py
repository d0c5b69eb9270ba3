"""Measurements beside a peer, NumPy or PyTorch, in one process: the same arrays, ``out=`` on both sides.

Ours and theirs take turns, and each pair gives a ratio; machines are shared and noisy, so the median ratio counts and
its spread (the distance between quartiles) is shown.
"""

import functools
import time
from dataclasses import dataclass

import numba
import numpy as np

from . import functional
from .linear import matmul


@dataclass(frozen=True)
class Row:
    """One comparison: median seconds of ours and theirs, median ratio theirs / ours, quartile spread of the ratio."""

    name: str
    elements: int
    ours: float
    theirs: float
    ratio: float
    spread: float


def threads():
    """The number of threads that kernels use."""
    return numba.get_num_threads()


def compare(name, elements, ours, theirs, repeat):
    """Time two functions in turn; they were run, and their results compared, before."""
    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        times.append((middle - start, time.perf_counter() - middle))
    mine, other = np.array(times[2:]).T
    low, median, high = np.quantile(other / mine, [0.25, 0.5, 0.75])
    return Row(name, elements, float(np.median(mine)), float(np.median(other)), float(median), (high - low) / median)


def _numpy_peers():
    def sigmoid(x, out):
        np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.reciprocal(out, out=out)

    def silu(x, out):
        sigmoid(x, out)
        np.multiply(out, x, out=out)

    return {
        "identity": lambda x, out: np.copyto(out, x),
        "relu": lambda x, out: np.maximum(x, 0, out=out),
        "sigmoid": sigmoid,
        "tanh": lambda x, out: np.tanh(x, out=out),
        "silu": silu,
    }


def _torch_peers():
    import torch

    return {
        "identity": lambda x, out: out.copy_(x),
        "relu": lambda x, out: torch.clamp_min(x, 0, out=out),
        "sigmoid": lambda x, out: torch.sigmoid(x, out=out),
        "tanh": lambda x, out: torch.tanh(x, out=out),
        "silu": lambda x, out: torch._C._nn.silu(x, out=out),
    }


ELEMENTWISE = tuple(_numpy_peers())
OTHER = ("matmul_then_relu",)


def rows(name, sizes, peer, repeat):
    """The rows of one benchmark, one for each size."""
    if name in OTHER:
        yield from _matmul_then_relu(peer, repeat)
        return
    function = functional.FUNCTIONS[name]
    for n in sizes:
        x = (np.random.default_rng(0).standard_normal(n) * 3).astype(np.float32)
        out, other = np.empty_like(x), np.empty_like(x)
        if peer is np:
            theirs = _numpy_peers()[name]
            a, b = x, other
        else:
            theirs = _torch_peers()[name]
            a, b = peer.from_numpy(x), peer.from_numpy(other)
        function(x, out=out)
        theirs(a, b)
        np.testing.assert_allclose(out, other, rtol=1e-5, atol=1e-6)
        yield compare(name, n, functools.partial(function, x, out=out), functools.partial(theirs, a, b), repeat)


_MATMUL_NOTES = []


def _matmul_then_relu(peer, repeat):
    """A product, an activation, and both in turn: two thread pools would make the pair cost more than its parts."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    out, activated = np.empty((512, 512), np.float32), np.empty((512, 512), np.float32)
    if peer is np:
        ta, tb, other, relu = a, b, np.empty_like(out), lambda: np.maximum(other, 0, out=other)
        product = lambda: np.matmul(ta, tb, out=other)  # noqa: E731
    else:
        ta, tb, other = peer.from_numpy(a), peer.from_numpy(b), peer.from_numpy(np.empty_like(out))
        product, relu = lambda: peer.matmul(ta, tb, out=other), lambda: peer.clamp_min(other, 0, out=other)
    parts = {
        "matmul 512": (lambda: matmul(a, b, out), product),
        "relu 512x512": (lambda: functional.FUNCTIONS["relu"](out, out=activated), relu),
    }
    for ours, theirs in parts.values():
        ours()
        theirs()
    parts["matmul, then relu"] = tuple(_in_turn(*sides) for sides in zip(*parts.values(), strict=True))
    times = []
    for label, (ours, theirs) in parts.items():
        row = compare(label, out.size, ours, theirs, repeat)
        times.append(row.ours)
        yield row
    _MATMUL_NOTES[:] = [
        f"matmul, then relu: {times[2] * 1e6:.0f} us in turn; {(times[0] + times[1]) * 1e6:.0f} us, the sum of both alone"
    ]


def _in_turn(first, second):
    def both():
        first()
        second()

    return both


def notes(names):
    """Lines to print below the table."""
    return _MATMUL_NOTES if "matmul_then_relu" in names else []
