"""`fuse_batch_norm`: batch norm and the stages behind it in the passes over memory that batch norm takes alone."""

import functools

import numpy as np

from .arrays import check, check_out, check_shape, device_of, share_memory, to_host
from .elementwise import by_channel
from .functional import FUNCTIONS
from .fuse import Chain
from .interop.arrays import takes_any_array
from .kernels.scalar.fused_norm import fused_batch_norm
from .normalization import Behind, backward, check_channels, check_saved, forward, momentum_of


def fuse_batch_norm(*stages):
    """Compile batch norm with a chain of elementwise stages behind it, and its backward pass.

    y = act(bn(x) + residual) is ``fuse_batch_norm(nd.stage.residual, nd.relu)``. Forward reads x twice, the residual once
    and writes y; nothing else is stored, and backward computes what it needs again.

    Parameters
    ----------
    *stages : activations such as ``nd.relu``, and those of `numbadl.stage`: ``residual``, ``bias`` and ``scale`` (one
        value for each channel), ``scale(number)``, ``activation(nd.leaky_relu, negative_slope=0.2)``

    Returns
    -------
    FusedBatchNorm : ``y, saved = op(x, weight, bias, running_mean, running_var, *operands, training=True, momentum=0.1,
        eps=1e-5, out=None, num_batches_tracked=None)``, with the operands of the stages in their order;
        ``dx, dweight, dbias, *doperands = op.backward(grad, x, weight, bias, saved, *operands, out=None)``.
        Everything else is as in `numbadl.batch_norm`.

    Raises
    ------
    TypeError : a stage is no activation and none of `numbadl.stage`, or a call has too few or too many operands
    ValueError : there is no stage, or a random one; and what `numbadl.batch_norm` refuses

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> op = nd.fuse_batch_norm(nd.stage.residual, nd.relu)
    >>> x = np.arange(12, dtype=np.float32).reshape(4, 3)
    >>> y, saved = op(x, None, None, None, None, -x)
    >>> bool(np.array_equal(y, np.maximum(nd.batch_norm(x, None, None, None, None)[0] - x, 0)))
    True
    >>> dx, dweight, dbias, dresidual = op.backward(np.ones_like(x), x, None, None, saved, -x)
    >>> bool(np.array_equal(dresidual, y > 0))
    True
    """
    return FusedBatchNorm(stages)


@takes_any_array
class FusedBatchNorm(Chain):
    """Batch norm and a chain of stages behind it as one kernel; made by `fuse_batch_norm`."""

    def __init__(self, stages):
        super().__init__(stages)
        if not self._plan.records:
            raise ValueError("stages: got none that computes anything; that is numbadl.batch_norm")
        if self._plan.random:
            raise ValueError("stages: got a random one, which batch norm cannot have behind it in one kernel")

    @functools.cached_property
    def _kernels(self):
        return fused_batch_norm(self._plan.records, self._plan.wanted)

    def __call__(
        self, x, weight, bias, running_mean, running_var, *operands, training=True, momentum=0.1, eps=1e-5, out=None,
        num_batches_tracked=None,
    ):  # fmt: skip
        """y and what backward needs; see `numbadl.batch_norm`."""
        momentum = momentum_of(momentum, num_batches_tracked, training)
        behind = self._behind(x, operands)
        statistics = running_mean, running_var
        return forward(self._kernels[0], x, weight, bias, *statistics, training, momentum, eps, out, behind)

    def backward(self, grad, x, weight, bias, saved, *operands, out=None):
        """The gradients of x, weight, bias (None for what is None) and of every operand, as a tuple; *out* is for that of x.

        The gradient of a residual behind which nothing changes it is *grad* itself.
        """
        check_saved(saved)
        behind, plan = self._behind(x, operands), self._plan
        channels = check_channels(x, weight=weight, bias=bias)
        check(x=x, grad=grad)
        if out is not None and not all(plan.wanted) and share_memory(out, grad):
            check_out(out, x, grad=grad)
            grad = FUNCTIONS["identity"](grad)  # it is a residual's gradient, too
        given = [saved.shift, saved.delta, saved.rstd, saved.scale, channels.constant(bias, 0)]
        outs = (out, *[None] * sum(plan.wanted))
        (dx, *arrays), totals = backward(self._kernels[1], grad, x, weight, saved, given, outs, behind)
        dweight, dbias, *sums = totals
        gradients = plan.gradients(grad, self._checked(operands), iter(arrays), sums)
        return dx, None if weight is None else dweight, None if bias is None else dbias, *gradients

    def _behind(self, x, operands):
        given, kinds = self._checked(operands), self._plan.kinds
        count = check_channels(x).count
        arrays = {name: value for name, value in given.items() if kinds[name] == "a"}
        check(x=x, **arrays)
        for name, value in arrays.items():
            check_shape(name, value, x.shape, "that of x")
        values = by_channel(x, 1, **{name: value for name, value in given.items() if kinds[name] == "c"}).values
        device = device_of(x)
        values = [v if v.shape == (count,) else device.from_host(np.full(count, to_host(v)[0])) for v in values]
        return Behind(arrays, tuple(values), self._plan.scalars)

    def __repr__(self):
        return f"fuse_batch_norm({', '.join(map(repr, self.stages))})"
