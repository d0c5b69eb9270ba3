"""Elementary functions, activations, their derivatives and backward passes, gated units, fused chains: from the registries."""

import functools

import numpy as np

from .. import functional, stage
from ..arrays import DEVICES
from ..fuse import fuse
from ..kernels.catalog import activation_kernels, catalog
from ..kernels.scalar.math import FUNCTIONS
from ..kernels.shapes import Map
from .work import FEW, Case, Work, normal

ROWS = 64  # elements of a row, for what has channels
POSITIVE = ("log", "log2", "log1p", "sqrt", "rsqrt", "pow")  # arguments from 0 on
BACKWARD_ATOL = 1e-4
# Elements of a loop with channels, of which up to 8192 values are written out for each call, or with learnable parameters,
# whose calls take so long that a few elements are lost in them.
BY_CHANNEL = 1 << 14, 3 << 13


@functools.cache
def per_element(declaration, itemsize):
    """Vector operations for each element of a `Map` (`numbadl.kernels.cpu.assembly`), or nothing."""
    import platform

    from numba import types

    from ..kernels.cpu.assembly import counted

    if platform.machine() not in ("x86_64", "AMD64") or not isinstance(declaration, Map) or declaration.by_channel:
        return {}
    if declaration.random or declaration.sums:
        return {}
    return counted(declaration, {4: types.float32, 8: types.float64}[itemsize])


def _counted(declaration, n, itemsize):
    """A function that counts the operations of *n* elements."""
    return lambda: {kind: count * n for kind, count in per_element(declaration, itemsize).items()}


def _work(call, arrays, out, declaration=None, **tolerances):
    """The work of a function that writes to *out* from *arrays* of the same size."""
    call()
    moved = sum(a.nbytes for a in (*arrays, out))
    counted = _counted(declaration, out.size, out.itemsize)
    return Work(call, arrays, out.copy(), moved, out.size, counted, out=out, **tolerances)


def _theirs(tables, name):
    """A peer's function (*arrays, out) as one without arguments that returns its result."""

    def prepare(peer, work):
        function = getattr(peer, tables, {}).get(name)
        if function is None:
            return None
        work.out.fill(np.nan)  # so that what a peer does not write differs
        given, target = [peer.array(a) for a in work.given], peer.array(work.out)

        def run():
            found = function(*given, target)
            return target if found is None else found

        return run

    return prepare


def _elementary(name, n, dtype):
    angle = functional.FUNCTIONS["identity"].scalar if name in ("sin", "cos") else None
    declaration = Map(f"math.{name}", FUNCTIONS[name], "xx" if name == "pow" else "x", angle=angle)
    kernel = DEVICES["cpu"].kernel(declaration)
    DEVICES["cpu"].prepare(n)
    arrays = normal(n, len(declaration.inputs), dtype, 3)
    arrays[0] = np.abs(arrays[0]) if name in POSITIVE else arrays[0]
    out = np.empty_like(arrays[0])
    return _work(functools.partial(kernel, *arrays, out), arrays, out, declaration)


def _shaped(record, arrays):
    return [a.reshape(-1, ROWS) for a in arrays] if record.alternating else arrays


def _kernel(record, what):
    """The declaration of the kernel that numbers as parameters take."""
    name = f"{record.name}{what}"
    return catalog().get(f"{name}.numbers", catalog()[name])


def _forward(name, n, dtype):
    function = functional.FUNCTIONS[name]
    record = function.record
    arrays = _shaped(record, normal(n, 1, dtype, 3))
    out = np.empty_like(arrays[0])
    if not record.random:
        return _work(functools.partial(function, *arrays, out=out), arrays, out, _kernel(record, ""))
    work = _work(functools.partial(function, *arrays, out=out, training=True), arrays, out)
    work.check = functools.partial(_check_slopes, arrays[0])
    return work


def _check_slopes(x, found):
    """Both sides of rrelu draw, but not the same numbers."""
    slopes = found[x < 0] / x[x < 0]
    assert abs(slopes.mean() - (1 / 8 + 1 / 3) / 2) < 0.02


def _derivative(name, n, dtype):
    function = functional.FUNCTIONS[name]
    arrays = _shaped(function.record, normal(n, 1, dtype, 3))
    out = np.empty_like(arrays[0])
    return _work(
        functools.partial(function.derivative, *arrays, out=out), arrays, out, _kernel(function.record, ".derivative")
    )


def _backward(name, n, dtype, of_result=False):
    function = functional.FUNCTIONS[name]
    grad, x = _shaped(function.record, normal(n, 2, dtype, 3))
    out, kernel = np.empty_like(x), f"{name}.backward" + ".of_result" * of_result
    if of_result:
        arrays = [grad, function(x)]
        call = functools.partial(function.backward, grad, result=arrays[1], out=out)
    else:
        arrays, call = [grad, x], functools.partial(function.backward, grad, x, out=out)
    return _work(call, arrays, out, catalog()[kernel], atol=BACKWARD_ATOL)


def _gated(name, n, dtype, backward):
    function, arrays = functional.GATED[name], normal(n, 2 + backward, dtype)
    declaration, first = catalog()[f"{name}.backward" if backward else name], np.empty_like(arrays[0])
    if name == "glu":  # takes both halves as one array
        arrays = [*arrays[:backward], np.concatenate(arrays[backward:])]
        out = np.empty_like(arrays[-1]) if backward else first
    else:
        out = (first, np.empty_like(first)) if backward else first
    call = functools.partial(function.backward if backward else function, *arrays, out=out)
    call()
    given = [*arrays, *(out if isinstance(out, tuple) else (out,))]
    return Work(call, arrays, None, sum(a.nbytes for a in given), n, _counted(declaration, n, first.itemsize))


def _fused(n, dtype, backward):
    """bias, gelu, dropout, residual on rows of 1024; the values are compared without dropout."""
    x, residual, grad = (a.reshape(-1, 1024) for a in normal(n, 3, dtype, 3))
    bias = normal(1024, 1, dtype, 3)[0]
    op = fuse(stage.bias, functional.FUNCTIONS["gelu"], stage.dropout(0.1), stage.residual)
    given, out = [x, bias, residual], np.empty_like(x)
    evaluated = op.backward(grad, *given, training=False)[0] if backward else op(*given, training=False)
    call = functools.partial(op.backward if backward else op, *[grad] * backward, *given, seed=1, out=out)
    call()
    scale = float(np.abs(evaluated).max())
    return Work(call, [*given, grad], evaluated, 3 * x.nbytes, x.size, rtol=1e-4, atol=1e-5 * scale)


def _their_chain(backward):
    def prepare(peer, work):
        chain = getattr(peer, "chain", None)
        if chain is None:
            return None
        forward, gradients = chain(*work.given)
        function = gradients if backward else forward
        found = function(0.0)
        work.compare(peer.to_numpy(found[0] if backward else found))

        def run():
            function(0.1)

        return run

    return prepare


def _case(name, group, prepare, *theirs, by_channel=False):
    return Case(name, group, prepare, *theirs, few=prepare, counts=BY_CHANNEL if by_channel else FEW)


def cases():
    """Name by name of the registries."""
    for name in FUNCTIONS:
        title = f"math.{name}" if name in functional.FUNCTIONS else name
        yield _case(title, "math", functools.partial(_elementary, name), _theirs("FORWARD", name))
    for name, function in functional.FUNCTIONS.items():
        few = {"by_channel": function.record.alternating}
        yield _case(name, "activations", functools.partial(_forward, name), _theirs("FORWARD", name), **few)
        if not function.record.random:
            yield _case(f"{name}.derivative", "derivatives", functools.partial(_derivative, name), **few)
            few["by_channel"] = few["by_channel"] or bool(function.record.learnable)
            backward = functools.partial(_backward, name)
            yield _case(f"{name}.backward", "backward", backward, _theirs("BACKWARD", name), **few)
        if function.record.of_result:
            of_result = functools.partial(_backward, name, of_result=True)
            yield _case(f"{name}.backward.of_result", "backward", of_result, _theirs("BACKWARD_OF_RESULT", name))
    for name in functional.GATED:
        for backward in (False, True):
            title = name + ".backward" * backward
            yield _case(title, "gated", functools.partial(_gated, name, backward=backward))
    for backward in (False, True):
        prepare = functools.partial(_fused, backward=backward)
        name = "fuse" + ".backward" * backward
        yield Case(name, "fuse", prepare, _their_chain(backward), (1 << 22,), few=prepare, counts=(2048, 6144))


def declared(name):
    """Names of the kernels of an activation: what a test compares with the cases."""
    return [declaration.name for declaration in activation_kernels(functional.FUNCTIONS[name].record)]
