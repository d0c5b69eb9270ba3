"""What is measured, from the registries: elementary functions, activations and their backward, fused chains, products."""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import functional, stage
from ..arrays import DEVICES
from ..fuse import fuse
from ..kernels.scalar.math import FUNCTIONS
from ..kernels.shapes import Map
from ..linear import matmul
from . import network


@dataclass(frozen=True)
class Comparison:
    """Three things to call, *ours*, *theirs* and *copy*; the bytes that ours reads and writes; elements, if not n."""

    ours: Callable
    theirs: Callable
    copy: Callable
    moved: int
    elements: int = 0


@dataclass(frozen=True)
class Case:
    """A benchmark: *prepare* of a number of elements and the peer's name gives a `Comparison`, or None."""

    name: str
    group: str
    prepare: Callable
    sizes: tuple | None = None


def peers(name):
    """The module of a peer: FORWARD and BACKWARD, name -> function of (arrays, out), and what they need around them."""
    return importlib.import_module(f".{name}_peer", __package__)


def _inputs(n, count):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(n) * 3).astype(np.float32) for _ in range(count)]


def _compared(peer, ours, theirs, arrays, out, rtol=2e-5, atol=1e-5):
    """A comparison of functions of *arrays* that write to *out*; their results have been compared."""
    peer, other = peers(peer), np.empty_like(out)
    given, target = [peer.array(a) for a in arrays], peer.array(other)
    ours()
    found = theirs(*given, target)
    np.testing.assert_allclose(out, peer.to_numpy(other if found is None else found), rtol=rtol, atol=atol)
    identity = functional.FUNCTIONS["identity"]
    copied, moved = np.empty_like(out), sum(a.nbytes for a in (*arrays, out))
    return Comparison(
        ours, functools.partial(theirs, *given, target), lambda: identity(arrays[0], out=copied), moved
    )  # fmt: skip


def _elementary(name, n, peer):
    theirs = peers(peer).FORWARD.get(name)
    if theirs is None:
        return None
    angle = functional.FUNCTIONS["identity"].scalar if name in ("sin", "cos") else None
    kernel = DEVICES["cpu"].kernel(Map(f"math.{name}", FUNCTIONS[name], angle=angle))
    DEVICES["cpu"].prepare(n)
    (x,) = _inputs(n, 1)
    if name in ("log", "log2", "log1p", "sqrt", "rsqrt"):
        x = np.abs(x)
    out = np.empty_like(x)
    return _compared(peer, lambda: kernel(x, out), theirs, [x], out)


def _forward(name, n, peer):
    theirs = peers(peer).FORWARD.get(name)
    if theirs is None:
        return None
    function, (x,), options = functional.FUNCTIONS[name], _inputs(n, 1), {}
    if function.record.random:
        return _random(function, theirs, x, peer)
    out = np.empty_like(x)
    return _compared(peer, lambda: function(x, out=out, **options), theirs, [x], out)


def _random(function, theirs, x, peer):
    """Both draw, but not the same numbers: each result is checked by its range."""
    out, other = np.empty_like(x), np.empty_like(x)
    given, target = peers(peer).array(x), peers(peer).array(other)
    ours = functools.partial(function, x, out=out, training=True)
    ours()
    theirs(given, target)
    for found in (out, other):
        slopes = found[x < 0] / x[x < 0]
        assert abs(slopes.mean() - (1 / 8 + 1 / 3) / 2) < 0.02
    copied = np.empty_like(x)
    copy = functools.partial(functional.FUNCTIONS["identity"], x, out=copied)
    return Comparison(ours, functools.partial(theirs, given, target), copy, 2 * x.nbytes)


def _backward(name, n, peer, of_result=False):
    theirs = getattr(peers(peer), "BACKWARD_OF_RESULT" if of_result else "BACKWARD", {}).get(name)
    if theirs is None:
        return None
    function, (grad, x) = functional.FUNCTIONS[name], _inputs(n, 2)
    out = np.empty_like(x)
    if of_result:
        y = function(x)
        return _compared(peer, lambda: function.backward(grad, result=y, out=out), theirs, [grad, y], out)
    return _compared(peer, lambda: function.backward(grad, x, out=out), theirs, [grad, x], out, atol=1e-4)


def _fused(n, peer, backward, compiled):
    """bias, gelu, dropout, residual on (n / 1024, 1024); the values are compared without dropout."""
    chain = getattr(peers(peer), "chain", None)
    if chain is None:
        return None
    x, residual, grad = (a.reshape(-1, 1024) for a in _inputs(n, 3))
    bias = _inputs(1024, 1)[0]
    theirs, their_gradients = chain(x, bias, residual, grad, compiled)
    op = fuse(stage.bias, functional.FUNCTIONS["gelu"], stage.dropout(0.1), stage.residual)
    evaluated = (
        op.backward(grad, x, bias, residual, training=False)[:2]
        if backward
        else [op(x, bias, residual, training=False)]
    )
    expected = their_gradients(0.0) if backward else [theirs(0.0)]
    for mine, other in zip(evaluated, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
    out = np.empty_like(x)
    ours = functools.partial(op.backward if backward else op, *[grad] * backward, x, bias, residual, seed=1, out=out)
    ours()
    copied = np.empty_like(x)
    copy = functools.partial(functional.FUNCTIONS["identity"], x, out=copied)
    return Comparison(ours, functools.partial(their_gradients if backward else theirs, 0.1), copy, 3 * x.nbytes)


def _product(what, n, peer):
    """A product, an activation, and both in turn: two thread pools would make the pair cost more than its parts."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    out, activated, other, other_activated = (np.empty((512, 512), np.float32) for _ in range(4))
    module = peers(peer)
    product, relu = module.product(a, b, other), module.FORWARD["relu"]
    x, y = module.array(other), module.array(other_activated)
    ours = {
        "matmul": lambda: matmul(a, b, out),
        "relu": lambda: functional.FUNCTIONS["relu"](out, out=activated),
    }
    theirs = {"matmul": product, "relu": lambda: relu(x, y)}
    for side in (ours, theirs):
        side["matmul_then_relu"] = functools.partial(_in_turn, side["matmul"], side["relu"])
        side["matmul_then_relu"]()
    np.testing.assert_allclose(activated, other_activated, rtol=1e-3, atol=1e-3)
    copy = functools.partial(functional.FUNCTIONS["identity"], a, out=activated.copy())
    return Comparison(ours[what], theirs[what], copy, 3 * out.nbytes, out.size)


def _in_turn(first, second):
    first()
    second()


def _part(part, n, peer):
    module = peers(peer)
    prepare = getattr(module, "PARTS", {}).get(part.theirs or part.name)
    return None if prepare is None else _of_parts(part, prepare, module.to_numpy)


def _of_parts(part, prepare, to_numpy):
    """A comparison of a part of ours and another way to the same: a peer's, or our own."""
    given = part.inputs(np.random.default_rng(0), part.shape)
    ours, theirs = part.ours(*given), prepare(*given, *part.options)
    found, expected = np.array(ours()), to_numpy(theirs())
    if not part.random:
        np.testing.assert_allclose(
            found, expected, rtol=part.rtol, atol=1e-2 * part.rtol + 1e-3 * np.abs(expected).mean()
        )
    arrays = [a for value in given for a in (value if isinstance(value, list) else [value])]
    n = sum(a.size for a in arrays[: len(given[0]) if isinstance(given[0], list) else 1])
    source, copied = np.zeros(n, np.float32), np.empty(n, np.float32)
    copy = functools.partial(functional.FUNCTIONS["identity"], source, out=copied)
    return Comparison(ours, theirs, copy, sum(a.nbytes for a in arrays if a.size >= 1 << 16) + copied.nbytes, n)


def _own_pair(part, n, peer):
    """Fused batch norm and ReLU beside the two in turn, both ours."""
    return _of_parts(part, network.batch_norm_then_relu, np.asarray)


def _cases():
    for name in FUNCTIONS:
        if name not in ("pow",):
            yield Case(
                name if name not in functional.FUNCTIONS else f"math.{name}",
                "math",
                functools.partial(_elementary, name),
            )
    for name in functional.FUNCTIONS:
        yield Case(name, "activations", functools.partial(_forward, name))
        yield Case(f"{name}.backward", "backward", functools.partial(_backward, name))
        if functional.FUNCTIONS[name].record.of_result:
            backward_of_result = functools.partial(_backward, name, of_result=True)
            yield Case(f"{name}.backward.of_result", "backward", backward_of_result)
    for compiled in (False, True):
        for backward in (False, True):
            yield Case(
                "fuse" + ".backward" * backward + ".compiled" * compiled, "fuse",
                functools.partial(_fused, backward=backward, compiled=compiled), (1 << 22,),
            )  # fmt: skip
    for part in network.PARTS.values():
        size = (int(np.prod(part.shape)),)
        yield Case(part.name, part.group, functools.partial(_part, part), size)
        if part.theirs == "batch_norm.relu":
            name = part.name.replace("relu", "relu_unfused")
            yield Case(name, part.group, functools.partial(_own_pair, part), size)
    for what in ("matmul", "relu", "matmul_then_relu"):
        yield Case(f"512x512.{what}", "matmul", functools.partial(_product, what), (1 << 18,))


CASES = {case.name: case for case in _cases()}
GROUPS = tuple(dict.fromkeys(case.group for case in CASES.values()))


def select(names):
    """The cases that *names* of cases and groups stand for (all for none); raises KeyError for others."""
    found = {}
    for name in names or GROUPS:
        if name in GROUPS:
            found |= {c.name: c for c in CASES.values() if c.group == name}
        else:
            found[name] = CASES[name]
    return list(found.values())
