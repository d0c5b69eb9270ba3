"""Benchmarks of parts of networks: rows, losses, dropout, norms, optimisers, on arrays of the sizes that they have there.

A part is two functions of the same NumPy arrays, ours and the peer's (its module's PARTS), which give a function to call; what
that returns is compared before timing.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import functional, losses, normalization, optim, row_norms
from ..dropout import dropout
from ..fuse_batch_norm import fuse_batch_norm

MATRIX, IMAGES, LOGITS, FLAT = (4096, 1024), (64, 64, 32, 32), (4096, 1000), (1 << 22,)
TENSORS = 100  # of mixed sizes, 3.3 million parameters in all


@dataclass(frozen=True)
class Part:
    """A benchmark: *ours* and the peer's part of the same name take the arrays of *inputs* and the *options*."""

    name: str
    group: str
    ours: Callable
    inputs: Callable
    shape: tuple
    theirs: str = ""
    options: tuple = ()
    rtol: float = 1e-4
    random: bool = False  # each side draws its own numbers: nothing to compare


def normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def of(count):
    """A function that makes *count* normal arrays."""
    return lambda rng, shape: [normal(rng, shape) for _ in range(count)]


def with_labels(rng, shape):
    return [normal(rng, shape), rng.integers(0, shape[1], shape[0])]


def with_uniform(rng, shape):
    return [normal(rng, shape), rng.uniform(0.01, 0.99, shape).astype(np.float32)]


def with_channels(rng, shape):
    """x, grad, weight, bias."""
    return [
        normal(rng, shape),
        normal(rng, shape),
        *(rng.uniform(0.5, 2, shape[1]).astype(np.float32) for _ in range(2)),
    ]


def tensors(rng, shape):
    """(parameters, gradients) of one array, or of many of mixed sizes."""
    sizes = [shape] if len(shape) == 1 and shape[0] > TENSORS else [(64 << k % 11,) for k in range(TENSORS)]
    while sum(s[0] for s in sizes) < 3_300_000 and len(sizes) == TENSORS:
        sizes = [(s[0] * 5 // 4,) for s in sizes]
    return [[normal(rng, s) for s in sizes], [normal(rng, s) for s in sizes]]


# -- ours --------------------------------------------------------------------------------------------------------
def row(name, axis=-1):
    function = getattr(functional, name)

    def prepare(x):
        out = np.empty_like(x)
        return lambda: function(x, axis=axis, out=out)

    return prepare


def row_backward(name):
    function = getattr(functional, name)

    def prepare(grad, x):
        y, out = function(x), np.empty_like(x)
        return lambda: function.backward(grad, y, out=out)

    return prepare


def loss(name):
    function = losses.LOSSES[name]

    def prepare(prediction, target):
        out = np.empty_like(prediction)
        return lambda: function.value_and_grad(prediction, target, out=out)[1]

    return prepare


def dropped(backward):
    def prepare(x):
        out, call = np.empty_like(x), dropout.backward if backward else dropout
        return lambda: call(x, 0.5, seed=1, out=out)

    return prepare


def _statistics(x):
    return np.zeros(x.shape[1], x.dtype), np.ones(x.shape[1], x.dtype)


def batch_norm(x, grad, weight, bias):
    out, statistics = np.empty_like(x), _statistics(x)
    return lambda: normalization.batch_norm(x, weight, bias, *statistics, out=out)[0]


def batch_norm_both(x, grad, weight, bias):
    out, dx, statistics = np.empty_like(x), np.empty_like(x), _statistics(x)

    def run():
        _, saved = normalization.batch_norm(x, weight, bias, *statistics, out=out)
        return normalization.batch_norm.backward(grad, x, weight, saved, out=dx)[0]

    return run


def batch_norm_relu(x, grad, weight, bias):
    operation, out, statistics = fuse_batch_norm(functional.FUNCTIONS["relu"]), np.empty_like(x), _statistics(x)
    return lambda: operation(x, weight, bias, *statistics, out=out)[0]


def batch_norm_then_relu(x, grad, weight, bias):
    """The same by two calls of ours: a peer for the fused one."""
    between, out, statistics = np.empty_like(x), np.empty_like(x), _statistics(x)

    def run():
        normalization.batch_norm(x, weight, bias, *statistics, out=between)
        return functional.FUNCTIONS["relu"](between, out=out)

    return run


def layer_norm(x, grad, weight, bias):
    out = np.empty_like(x)
    return lambda: row_norms.layer_norm(x, x.shape[1:], weight, bias, out=out)[0]


def layer_norm_both(x, grad, weight, bias):
    out, dx = np.empty_like(x), np.empty_like(x)

    def run():
        _, saved = row_norms.layer_norm(x, x.shape[1:], weight, bias, out=out)
        return row_norms.layer_norm.backward(grad, x, weight, saved, out=dx)[0]

    return run


def optimizer(name, **options):
    def prepare(params, grads):
        params = [p.copy() for p in params]
        bound = getattr(optim, name)(params, **options)

        def run():
            bound.step(grads)
            return params[0]

        return run

    return prepare


def _parts():
    rows = functools.partial(Part, group="rows", shape=MATRIX)
    yield rows("softmax", ours=row("softmax"), inputs=of(1))
    yield rows("log_softmax", ours=row("log_softmax"), inputs=of(1))
    yield rows("softmax.axis0", ours=row("softmax", 0), inputs=of(1))
    yield rows("softmax.images", ours=row("softmax", 1), inputs=of(1), shape=IMAGES)
    yield rows("softmax.backward", ours=row_backward("softmax"), inputs=of(2))
    yield rows("log_softmax.backward", ours=row_backward("log_softmax"), inputs=of(2))
    yield Part("cross_entropy", "losses", loss("cross_entropy"), with_labels, LOGITS)
    for name in ("mse", "mae", "huber", "binary_cross_entropy"):
        yield Part(name, "losses", loss(name), with_uniform, FLAT)
    for backward in (False, True):
        name = "dropout" + ".backward" * backward
        yield Part(name, "dropout", dropped(backward), of(1), FLAT, "dropout", random=True)
    for suffix, shape in (("", MATRIX), (".images", IMAGES)):
        norms = functools.partial(Part, group="norms", inputs=with_channels, shape=shape, rtol=1e-3)
        yield norms(f"batch_norm{suffix}", ours=batch_norm, theirs="batch_norm")
        yield norms(f"batch_norm.both{suffix}", ours=batch_norm_both, theirs="batch_norm.both")
        yield norms(f"batch_norm.relu{suffix}", ours=batch_norm_relu, theirs="batch_norm.relu")
    norms = functools.partial(Part, group="norms", inputs=with_channels, shape=MATRIX, rtol=1e-3)
    yield norms("layer_norm", ours=layer_norm)
    yield norms("layer_norm.both", ours=layer_norm_both)
    steps = functools.partial(Part, group="optimizers", inputs=tensors, shape=FLAT, theirs="optimizer", rtol=1e-3)
    for name, options in (("SGD", {"lr": 1e-3, "momentum": 0.9}), ("Adagrad", {}), ("Adam", {}), ("AdamW", {})):
        yield steps(name, ours=optimizer(name, **options), options=(name, "fused", options))
        many = optimizer(name, **options)
        yield steps(f"{name}.tensors", ours=many, options=(name, "fused", options), shape=(TENSORS,))
    for name in ("RMSprop", "NAdam", "RAdam", "Adamax", "Adadelta"):
        yield steps(name, ours=optimizer(name), options=(name, "foreach", {}))
    clipped = optimizer("AdamW", clip_norm=1.0)
    yield steps("AdamW.clipped", ours=clipped, options=("AdamW", "fused", {"clip_norm": 1.0}))


PARTS = {part.name: part for part in _parts()}
