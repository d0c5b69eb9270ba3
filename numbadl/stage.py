"""Stages for `numbadl.fuse`: bias, scale, residual, dropout; an activation is a stage by itself."""

from .activation import ActivationFunction, ParametricFunction
from .kernels.scalar import stages
from .streams import threshold_of


class Stage:
    """A stage of `numbadl.fuse`: what it computes, the operands that a call gives it, the numbers that it brings along."""

    def __init__(self, record, text, names=(), scalars=()):
        self.record, self.names, self.scalars, self._text = record, tuple(names), tuple(scalars), text

    def __repr__(self):
        return self._text


class _Scale(Stage):
    """``stage.scale``: y * s with a value for each channel; ``stage.scale(0.5)``: y times that number."""

    def __call__(self, factor):
        return Stage(stages.SCALE, f"scale({factor})", scalars=(float(factor),))


bias = Stage(stages.BIAS, "bias", ["bias"])
residual = Stage(stages.RESIDUAL, "residual", ["residual"])
scale = _Scale(stages.CHANNEL_SCALE, "scale", ["scale"])


def dropout(p=0.5):
    """Zero a random fraction *p* and scale the rest by 1 / (1 - p), as `numbadl.dropout`; the identity in evaluation."""
    threshold = threshold_of(p)
    if threshold is None:
        return Stage(None, f"dropout({p})")
    return Stage(stages.DROPOUT, f"dropout({p})", scalars=(threshold, 0.0 if p == 1 else 1 / (1 - float(p))))


def activation(function, **parameters):
    """The activation *function* with other parameters than its defaults; learnable ones are operands of the call.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.stage.activation(nd.leaky_relu, negative_slope=0.2)
    leaky_relu(negative_slope=0.2)
    """
    if not isinstance(function, ActivationFunction):
        raise TypeError(f"stage: got {function!r}, accepted are activations and the stages of numbadl.stage")
    record = function.record
    if record.alternating or record.random:
        raise ValueError(f"stage: {record.name} needs what a fused kernel does not give it; call it by itself")
    values = function.check(**parameters) if isinstance(function, ParametricFunction) else {}
    text = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    names = [p.name for p in record.learnable]
    scalars = tuple(float(values[p.name]) for p in record.parameters if p.gradient is None)
    return Stage(stages.of_activation(record), record.name + (f"({text})" if text else ""), names, scalars)
