"""Parts of networks: rows, losses, dropout, norms, optimisers' steps, on arrays of the sizes that they have there.

A part is two functions of the same NumPy arrays, ours and the peer's (its module's PARTS), which give a function to call; what
that returns is compared before timing.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import functional, losses, normalization, optim, row_norms
from ..dropout import alpha_dropout, dropout, feature_dropout, gaussian_dropout
from ..fuse_batch_norm import fuse_batch_norm
from ..kernels.cpu.pool import PARALLEL_FROM
from ..kernels.scalar.losses import ElementLoss
from ..kernels.scalar.updates import UPDATES
from .work import FEW, Case, Work

MATRIX, IMAGES, LOGITS, FLAT, SQUARE = (4096, 1024), (64, 64, 32, 32), (4096, 1000), (1 << 22,), (512, 512)
FEW_IMAGES = (64, 8, 32, 32)
TENSORS = 100  # of mixed sizes, 3.6 million parameters in all


@dataclass(frozen=True)
class Part:
    """A benchmark: *ours* and the peer's part of the same name take the arrays of *inputs*; the peer's the *options*, too.

    Attributes
    ----------
    moves : how often an array of the first one's size has to be read or written, at least; 0 if memory is not the limit
    multiplications : fused multiplications and additions of numbers, where products are the limit
    few : a shape whose loops are the same with 1 to 12 along its first axis, or any number if it has no other; or None
        (`numbadl.bench.parts`)
    random : whether each side draws its own numbers: nothing to compare
    """

    name: str
    group: str
    ours: Callable
    inputs: Callable
    shape: tuple
    moves: int
    theirs: str = ""
    options: tuple = ()
    rtol: float = 1e-4
    random: bool = False
    multiplications: int = 0
    few: tuple | None = None

    def prepare(self, n, dtype):
        """The `Work`; the number of elements is that of the shape."""
        return self._prepared(self.shape, dtype)

    def prepare_few(self, n, dtype):
        """The `Work` of so many elements."""
        return self._prepared((n // math.prod(self.few[1:]), *self.few[1:]), dtype)

    def _prepared(self, shape, dtype):
        given = [_as(value, dtype) for value in self.inputs(np.random.default_rng(0), shape)]
        run = self.ours(*given)
        result = np.array(run())
        first = given[0] if isinstance(given[0], list) else given[:1]
        elements = sum(a.size for a in first)
        return Work(
            run, given, None if self.random else result, self.moves * sum(a.nbytes for a in first), elements,
            lambda: {"multiply": self.multiplications, "any": self.multiplications} if self.multiplications else {},
            rtol=self.rtol, atol=1e-2 * self.rtol + 1e-3 * float(np.abs(result).mean()),
        )  # fmt: skip

    def their(self, peer, work):
        """The peer's function, or None."""
        prepare = getattr(peer, "PARTS", {}).get(self.theirs or self.name)
        return None if prepare is None else prepare(*work.given, *self.options)

    def case(self):
        sizes = (math.prod(self.shape),)
        if self.few is None:
            return Case(self.name, self.group, self.prepare, self.their, sizes)
        row = math.prod(self.few[1:])
        counts = FEW if row == 1 else (4 * row, 12 * row) if 12 * row < PARALLEL_FROM else (row, 3 * row)
        return Case(self.name, self.group, self.prepare, self.their, sizes, self.prepare_few, counts)


def _as(value, dtype):
    if isinstance(value, list):
        return [_as(a, dtype) for a in value]
    return value.astype(dtype) if value.dtype.kind == "f" else value


def standard(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def of(count):
    """A function that makes *count* normal arrays."""
    return lambda rng, shape: [standard(rng, shape) for _ in range(count)]


def with_labels(rng, shape):
    return [standard(rng, shape), rng.integers(0, shape[1], shape[0])]


def with_targets(kind):
    """A function that makes predictions, and targets of a kind that losses' records name."""

    def inputs(rng, shape):
        targets = rng.uniform(0.01, 0.99, shape)
        return [standard(rng, shape), np.where(targets < 0.5, -1.0, 1.0) if kind == "signs" else targets]

    return inputs


def with_channels(rng, shape):
    """x, grad, weight, bias."""
    return [standard(rng, shape), standard(rng, shape), *(rng.uniform(0.5, 2, shape[1]) for _ in range(2))]


def tensors(rng, shape):
    """(parameters, gradients) of one array, or of many of mixed sizes."""
    sizes = [shape] if shape != (TENSORS,) else [(64 << k % 11,) for k in range(TENSORS)]
    while sum(s[0] for s in sizes) < 3_300_000 and len(sizes) == TENSORS:
        sizes = [(s[0] * 5 // 4,) for s in sizes]
    return [[standard(rng, s) for s in sizes], [standard(rng, s) for s in sizes]]


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


def loss_value(name):
    return lambda prediction, target: functools.partial(losses.LOSSES[name], prediction, target)


def loss(name):
    function = losses.LOSSES[name]

    def prepare(prediction, target):
        out = np.empty_like(prediction)
        return lambda: function.value_and_grad(prediction, target, out=out)[1]

    return prepare


DROPOUTS = {f.__name__: f for f in (dropout, alpha_dropout, gaussian_dropout, feature_dropout)}


def dropped(name, backward):
    function = DROPOUTS[name]

    def prepare(x):
        out, call = np.empty_like(x), function.backward if backward else function
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
    """The same by two calls: what fusing them gains."""
    between, out, statistics = np.empty_like(x), np.empty_like(x), _statistics(x)

    def run():
        normalization.batch_norm(x, weight, bias, *statistics, out=between)
        return functional.FUNCTIONS["relu"](between, out=out)

    return run


ROW_NORMS = {  # name -> (arguments after x, ...), given x, weight and bias
    "layer_norm": lambda x, weight, bias: (x.shape[1:], weight, bias),
    "rms_norm": lambda x, weight, bias: (x.shape[1:], weight),
    "group_norm": lambda x, weight, bias: (8, weight, bias),
    "instance_norm": lambda x, weight, bias: (weight, bias),
}


def row_norm(name, backward):
    function = getattr(row_norms, name)

    def prepare(x, grad, weight, bias):
        out, dx, arguments = np.empty_like(x), np.empty_like(x), ROW_NORMS[name](x, weight, bias)

        def run():
            y, saved = function(x, *arguments, out=out)
            return function.backward(grad, x, weight, saved, out=dx)[0] if backward else y

        return run

    return prepare


def optimizer(kind, options):
    def prepare(params, grads):
        params = [p.copy() for p in params]
        bound = kind(params, **options)

        def run():
            bound.step(grads)
            return params[0]

        return run

    return prepare


OPTIMIZERS = {  # class -> the name of its record in UPDATES
    kind: kind.name
    for kind in vars(optim).values()
    if isinstance(kind, type) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
}
_OF_NAME = {name: kind for kind, name in OPTIMIZERS.items()}
VARIANTS = {  # records of the same classes with options
    "sgd": ("sgd", {"lr": 1e-3}),
    "sgd_momentum": ("sgd", {"lr": 1e-3, "momentum": 0.9}),
    "rmsprop_momentum": ("rmsprop", {"momentum": 0.9}),
    "rmsprop_centered": ("rmsprop", {"centered": True}),
    "rmsprop_centered_momentum": ("rmsprop", {"momentum": 0.9, "centered": True}),
    "lars": ("lars", {"lr": 1e-3}),
    "adam_amsgrad": ("adam", {"amsgrad": True}),
    "adamw_amsgrad": ("adamw", {"amsgrad": True}),
    "adafactor_matrix": ("adafactor", {}),
}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")  # what PyTorch has one kernel for on the CPU
ON_MATRICES = {"adafactor_matrix": 0, "muon": 10 * math.prod(SQUARE) * SQUARE[0]}  # multiplications of their products


def made_by(record):
    """(class, options) of the optimiser whose step an update's record is."""
    name, options = VARIANTS.get(record, (record, {}))
    return _OF_NAME[name], options


def _rows():
    part = functools.partial(Part, group="rows", shape=MATRIX, few=MATRIX)
    for name in ("softmax", "log_softmax", "softmin", "sparsemax"):
        yield part(name, ours=row(name), inputs=of(1), moves=2)
        yield part(f"{name}.backward", ours=row_backward(name), inputs=of(2), moves=3)
    yield part("softmax.axis0", ours=row("softmax", 0), inputs=of(1), moves=2, few=None)
    yield part("softmax.images", ours=row("softmax", 1), inputs=of(1), shape=IMAGES, moves=2, few=(64, 64, 8, 16))


def _losses():
    for name, record in losses.RECORDS.items():
        if isinstance(record, ElementLoss):
            inputs, shape, moves = with_targets(record.targets), FLAT, 2
        else:
            inputs, shape, moves = with_labels, LOGITS, int(name != "nll")  # which needs one number of a row
        yield Part(f"{name}.value", "losses", loss_value(name), inputs, shape, moves, few=shape)
        yield Part(name, "losses", loss(name), inputs, shape, moves + 1, few=shape)


def _dropouts():
    for name in DROPOUTS:
        shape, few = (IMAGES, FEW_IMAGES) if name == "feature_dropout" else (FLAT, FLAT)
        for backward in (False, True):
            title = name + ".backward" * backward
            yield Part(title, "dropout", dropped(name, backward), of(1), shape, 2, name, random=True, few=few)


def _norms():
    for suffix, shape, few in (("", MATRIX, MATRIX), (".images", IMAGES, FEW_IMAGES)):
        part = functools.partial(Part, group="norms", inputs=with_channels, shape=shape, rtol=1e-3, few=few)
        yield part(f"batch_norm{suffix}", ours=batch_norm, moves=2, theirs="batch_norm")
        yield part(f"batch_norm.both{suffix}", ours=batch_norm_both, moves=5, theirs="batch_norm.both")
        yield part(f"batch_norm.relu{suffix}", ours=batch_norm_relu, moves=2, theirs="batch_norm.relu")
        yield part(f"batch_norm.relu_in_turn{suffix}", ours=batch_norm_then_relu, moves=4, theirs="batch_norm.relu")
    for name in ROW_NORMS:
        shape, few = (MATRIX, MATRIX) if name in ("layer_norm", "rms_norm") else (IMAGES, FEW_IMAGES)
        part = functools.partial(Part, group="norms", inputs=with_channels, shape=shape, rtol=1e-3, few=few)
        yield part(name, ours=row_norm(name, False), moves=2)
        yield part(f"{name}.both", ours=row_norm(name, True), moves=5)


def _steps():
    part = functools.partial(Part, group="optimizers", inputs=tensors, theirs="optimizer", rtol=1e-3)
    for name, record in UPDATES.items():
        kind, options = made_by(name)
        way = "fused" if kind.__name__ in FUSED else "foreach"
        theirs, moves = (kind.__name__, way, options), 3 + 2 * len(record.state)
        shape, products = (SQUARE, ON_MATRICES[name]) if name in ON_MATRICES else (FLAT, 0)
        ours = optimizer(kind, options)
        few = FLAT if shape == FLAT else None
        yield part(name, ours=ours, options=theirs, moves=moves, shape=shape, multiplications=products, few=few)
        if way == "fused" and not options.get("amsgrad"):
            yield part(f"{name}.tensors", ours=ours, options=theirs, moves=moves, shape=(TENSORS,))
    clipping = {"clip_norm": 1.0}
    yield part(
        "adamw.clipped",
        ours=optimizer(optim.AdamW, clipping),
        options=("AdamW", "fused", clipping),
        moves=7,
        shape=FLAT,
        few=FLAT,
    )


def cases():
    """From the registries of losses and updates, and what there is of rows, dropout and norms."""
    for parts in (_rows, _losses, _dropouts, _norms, _steps):
        for part in parts():
            yield part.case()
