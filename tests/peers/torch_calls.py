"""What a call from PyTorch costs beside the kernel, and beside torch's own: ``python -m tests.peers.torch_calls [small|large]``.

Microseconds, medians of sides that take turns. Small tensors show the overhead: the function without gradients, and with them,
each beside the kernels that it runs, called with arrays that are at hand; and with backward. Large ones are what networks have.
Losses that are asked for gradients compute them at once, so that they have kernels of their own.
"""

import statistics
import sys
import time

import numpy as np
import torch
from numbadl.kernels import cpu

import numbadl.interop.torch as ours

F = torch.nn.functional
SHAPES, CLASSES = {"small": (4, 16), "large": (256, 512)}, 10


def kernels(shape):
    """Name -> calls of the kernels that forward runs without gradients and with them, with everything at hand."""
    a, y = np.ones(shape, np.float32), np.empty(shape, np.float32)
    w, rows, numbers = np.ones((5, shape[1]), np.float32), np.empty((3, shape[0]), np.float32), np.float32([0.1, 1e-5])
    flat, shaped = (a.reshape(-1), y.reshape(-1)), (a.reshape(*shape, 1), y.reshape(*shape, 1))
    logits, labels = np.ones((shape[0], CLASSES), np.float32), np.zeros(shape[0], np.int64)
    slopes = np.empty_like(logits)
    stream = np.uint32(1 << 30), np.float32(4 / 3), np.uint64(5), np.uint64(0), np.int64(0)

    def batch_norm():
        cpu.kernel("typical_values")(shaped[0], w[0])
        cpu.kernel("batch_norm")(*shaped, *w, *np.empty((3, shape[1]), np.float32), w[3], w[4], *numbers)

    def cross_entropy():
        cpu.kernel("cross_entropy.value")(logits, labels, rows[0])
        cpu.kernel("sum")(rows[0])

    def cross_entropy_with_gradient():
        cpu.kernel("cross_entropy.gradient")(logits, labels, slopes, rows[0], np.float32(1))
        cpu.kernel("sum")(rows[0])

    def mse_with_gradient():
        cpu.kernel("mse.value_and_grad")(a.reshape(-1), *flat, w[:1, :1], numbers[0], a.size)

    found = {
        "relu": lambda: cpu.kernel("relu")(*flat),
        "gelu": lambda: cpu.kernel("gelu")(*flat),
        "prelu": lambda: cpu.kernel("prelu")(*flat, w[0, :1], a.size),
        "softmax": lambda: cpu.kernel("softmax")(a, y),
        "mse": lambda: cpu.kernel("mse.value")(*flat),
        "layer norm": lambda: cpu.kernel("layer_norm")(a, y, w[0], w[1], *rows, numbers[1], 1),
        "batch norm": batch_norm,
        "dropout": lambda: cpu.kernel("dropout")(*flat, *stream),
        "cross entropy": cross_entropy,
    }
    with_gradient = {"mse": mse_with_gradient, "cross entropy": cross_entropy_with_gradient}
    return {name: (call, with_gradient.get(name, call)) for name, call in found.items()}


def operations(library, shape, trained):
    """Name -> (function, its tensor, the affine parameters, which are *trained* or not)."""
    w, b = (torch.ones(shape[1], requires_grad=trained) for _ in range(2))
    slope, y = torch.full((1,), 0.25, requires_grad=trained), torch.randn(shape)
    statistics_of = torch.zeros(shape[1]), torch.ones(shape[1])
    x, logits, labels = torch.randn(shape), torch.randn(shape[0], CLASSES), torch.zeros(shape[0], dtype=torch.int64)
    return {
        "relu": (library.relu, x, ()),
        "gelu": (library.gelu, x, ()),
        "prelu": (lambda x: library.prelu(x, slope), x, (slope,)),
        "softmax": (lambda x: library.softmax(x, -1), x, ()),
        "mse": (lambda x: library.mse_loss(x, y), x, ()),
        "layer norm": (lambda x: library.layer_norm(x, shape[1:], w, b), x, (w, b)),
        "batch norm": (lambda x: library.batch_norm(x, *statistics_of, w, b, True), x, (w, b)),
        "dropout": (lambda x: library.dropout(x, 0.25), x, ()),
        "cross entropy": (lambda x: library.cross_entropy(x, labels), logits, ()),
    }


def calls(library, shape, name):
    """Without gradients, with them, and with backward."""
    plain, x, _ = operations(library, shape, trained=False)[name]
    function, x, parameters = operations(library, shape, trained=True)[name]
    wanted, h = x.clone().requires_grad_(), torch.ones_like(plain(x))

    def backward():
        function(wanted).backward(h)
        wanted.grad = None
        for p in parameters:
            p.grad = None

    return lambda: plain(x), lambda: function(wanted), backward


def times(functions, rounds=31, count=40):
    """Microseconds of each function in each of the rounds, in which they take turns: the median of its calls there."""
    found = []
    for _ in range(rounds):
        found.append([])
        for function in functions:
            each = []
            for _ in range(count):
                start = time.perf_counter()
                function()
                each.append(time.perf_counter() - start)
            found[-1].append(statistics.median(each) * 1e6)
    return zip(*found, strict=True)


HEADS = (
    "kernel", "call", "more", "torch", "ratio", "kernel (gradient)", "call", "more", "torch", "and backward", "torch", "ratio"
)  # fmt: skip


def main(sizes):
    for size in sizes:
        shape = SHAPES[size]
        print(f"| {shape} | " + " | ".join(HEADS) + " |\n|" + " --- |" * (len(HEADS) + 1))
        for name, of_kernels in kernels(shape).items():
            found = list(times((*of_kernels, *calls(ours, shape, name), *calls(F, shape, name))))
            kernel, kernel_with, *mine = found[:5]
            # Of each round, whose sides ran at the same speed.
            more, more_with = map(_differences, mine, (kernel, kernel_with))
            (call, call_with, backward), theirs = mine, found[5:]
            row = kernel, call, more, theirs[0], _ratios(theirs[0], call)
            row += kernel_with, call_with, more_with, theirs[1], backward, theirs[2], _ratios(theirs[2], backward)
            print(f"| {name} | " + " | ".join(f"{statistics.median(t):.1f}" for t in row) + " |", flush=True)


def _differences(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def _ratios(a, b):
    return [x / y for x, y in zip(a, b, strict=True)]


if __name__ == "__main__":
    main(sys.argv[1:] or SHAPES)
