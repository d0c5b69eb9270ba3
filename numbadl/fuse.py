"""`fuse`: a chain of stages as one kernel, forward and backward, that reads and writes every array once."""

import functools

from .arrays import check
from .elementwise import by_channel, like_parameter, run_any
from .functional import FUNCTIONS
from .interop.arrays import takes_any_array
from .kernels.digest import identity
from .kernels.scalar.stages import compose, compose_backward
from .kernels.shapes import Map
from .stage import Stage, activation
from .streams import stream_of


def fuse(*stages, axis=1):
    """Compile a chain of elementwise stages into one operation with a backward pass.

    Parameters
    ----------
    *stages : activations such as ``nd.gelu``, and those of `numbadl.stage`: ``bias`` and ``scale`` (one value for each
        channel), ``scale(number)``, ``residual``, ``dropout(p)``, ``activation(nd.elu, alpha=0.5)``
    axis : int, the channels' axis of x

    Returns
    -------
    Fused : ``op(x, *operands, seed=0, offset=0, training=True, out=None)``, the operands in the order of the stages;
        ``op.backward(grad, x, *operands, ...)`` gives a tuple: the gradients of x and of each operand

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> op = nd.fuse(nd.stage.bias, nd.silu, nd.stage.residual)
    >>> x, bias = np.ones((2, 3), np.float32), np.zeros(3, np.float32)
    >>> y = op(x, bias, x)
    >>> dx, dbias, dresidual = op.backward(np.ones_like(x), x, bias, x)
    >>> dbias.shape
    (3,)
    """
    return Fused(stages, axis)


class Chain:
    """Stages, one after the other, and the names of their operands."""

    def __init__(self, stages):
        if not stages:
            raise ValueError("stages: got none, a chain needs at least one")
        self.stages = tuple(s if isinstance(s, Stage) else activation(s) for s in stages)
        self.operands = _numbered([name for s in self.stages for name in s.names])
        self._plan = _Plan([s for s in self.stages if s.record is not None])

    def _checked(self, operands):
        if len(operands) != len(self.operands):
            wanted = ", ".join(self.operands) or "none"
            raise TypeError(f"operands: got {len(operands)} after x, accepted are {len(self.operands)}: {wanted}")
        return dict(zip(self.operands, operands, strict=True))


@takes_any_array
class Fused(Chain):
    """A chain of stages as one kernel; made by `fuse`."""

    def __init__(self, stages, axis):
        super().__init__(stages)
        self.axis = axis
        active = [s for s in self.stages if s.record is not None]
        if sum("b" in s.record.operands for s in active) > 1:
            raise ValueError("stages: got several random ones, accepted is one")
        self._evaluation = _Plan([s for s in active if "b" not in s.record.operands])

    def __call__(self, x, *operands, seed=0, offset=0, training=True, out=None):
        """y, with every stage applied; in evaluation (not *training*) dropout is the identity."""
        plan = self._plan if training else self._evaluation
        return plan.forward(x, self._checked(operands), self.axis, stream_of(seed, offset), out)

    def backward(self, grad, x, *operands, seed=0, offset=0, training=True, out=None):
        """The gradients of x and of every operand, as a tuple; *out* is for that of x.

        What forward computed on the way is computed again. The gradient of a residual behind which nothing changes
        it is *grad* itself.
        """
        plan = self._plan if training else self._evaluation
        return plan.backward(grad, x, self._checked(operands), self.axis, stream_of(seed, offset), out)

    def __repr__(self):
        return f"fuse({', '.join(map(repr, self.stages))})"


class _Plan:
    """The two kernels of a chain, and which operand of a call goes where."""

    def __init__(self, stages):
        self.records = tuple(s.record for s in stages)
        kinds = "".join(k for s in stages for k in s.record.operands if k in "ac")
        names = _numbered([name for s in stages for name in s.names])
        self.kinds = dict(zip(names, kinds, strict=True))
        self.scalars = tuple(v for s in stages for v in s.scalars)
        self.random = any("b" in r.operands for r in self.records)
        behind = [all(r.unit for r in self.records[k + 1 :]) for k in range(len(self.records))]
        self.wanted = tuple(
            not behind[k] for k, r in enumerate(self.records) for kind in r.operands if kind == "a"
        )  # of array operands: whose gradient is not grad itself

    @functools.cached_property
    def declarations(self):
        """The `Map` of forward and that of backward."""
        arrays, channels = (list(self.kinds.values()).count(k) for k in "ac")
        scalars = "".join(r.scalar_kinds for r in self.records)
        common = {"scalars": scalars, "random": self.random, "channels": channels}
        label = "fuse." + "-".join(r.name for r in self.records)[:80]
        forward, backward = compose(self.records), compose_backward(self.records, self.wanted)
        return (
            Map(f"{label}.{identity(forward)}", forward, "x" * (1 + arrays), **common),
            Map(
                f"{label}.backward.{identity(backward)}", backward, "x" * (2 + arrays), "x" * (1 + sum(self.wanted)),
                sums=channels, **common,
            ),
        )  # fmt: skip

    def forward(self, x, operands, axis, stream, out):
        if not self.records:
            return FUNCTIONS["identity"](x, out=out)
        inputs, channels = self._sorted(x, operands, axis, 0)
        (y,), _ = run_any(self.declarations[0], inputs, (out,), self._numbers(stream), channels, self.random)
        return y

    def backward(self, grad, x, operands, axis, stream, out):
        inputs, channels = self._sorted(x, operands, axis, list(self.kinds.values()).count("c"))
        inputs = {"grad": grad, **inputs}
        if not self.records:
            check(**inputs)
            return (FUNCTIONS["identity"](grad, out=out),)
        if out is grad and not all(self.wanted):
            grad = inputs["grad"] = FUNCTIONS["identity"](grad)  # it is a residual's gradient, too
        outs = (out, *[None] * sum(self.wanted))
        outs, sums = run_any(self.declarations[1], inputs, outs, self._numbers(stream), channels, self.random)
        return outs[0], *self.gradients(grad, operands, iter(outs[1:]), sums)

    def _sorted(self, x, operands, axis, sums):
        arrays = {name: operands[name] for name, kind in self.kinds.items() if kind == "a"}
        values = {name: operands[name] for name, kind in self.kinds.items() if kind == "c"}
        check(x=x, **arrays)
        return {"x": x, **arrays}, by_channel(x, axis, sums, **values) if values else None

    def _numbers(self, stream):
        return (*self.scalars, *stream) if self.random else self.scalars

    def gradients(self, grad, operands, outs, sums):
        """The gradient of each operand, in order: of arrays from *outs* or *grad* itself, of channel values from *sums*."""
        wanted, totals = iter(self.wanted), iter(() if sums is None else sums)
        for name, kind in self.kinds.items():
            if kind == "a":
                yield next(outs) if next(wanted) else grad
            else:
                yield like_parameter(next(totals), operands[name])


def _numbered(names):
    """Names made unique: bias, bias2, ..."""
    counts, found = {}, []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        found.append(name if counts[name] == 1 else f"{name}{counts[name]}")
    return found
