"""Where a loss that became NaN or infinite comes from."""

import numpy as np

from ..arrays import to_host


class TrainingDiverged(FloatingPointError):
    """The loss became NaN or infinite.

    Attributes
    ----------
    epoch, step : where, both counted from 1
    layer : the position of the first layer with NaN or infinity in its parameters or its output, or if only the loss itself
        overflowed, of the layer with the largest parameter; None if the layers have none
    history : History of the epochs that were completed
    """

    def __init__(self, training, x):
        self.epoch, self.step, self.history = training.epoch, training.step, training.history
        self.layer, what = _first_layer(training.model, x)
        of = "" if training.steps is None else f" of {training.steps}"
        super().__init__(
            f"the loss is {training.loss_of_step} in epoch {self.epoch}, step {self.step}{of}; lower the learning rate or "
            f"clip; {what}"
        )


def _first_layer(model, x):
    """(position, words) of the first layer that is not finite: in its parameters, else in its output for the batch."""
    for position, layer in enumerate(model.layers):
        for name, value in layer.parameters().items():
            if not np.isfinite(to_host(value)).all():
                return position, f"NaN or infinity begins in the {name} of layer {position}, {layer!r}"
    with np.errstate(all="ignore"):
        for position, layer in enumerate(model.layers):
            x = layer.forward(x)
            if not np.isfinite(to_host(x)).all():
                return position, f"NaN or infinity begins in the output of layer {position}, {layer!r}"
    sizes = [
        (float(np.abs(to_host(value)).max()), position, name)
        for position, layer in enumerate(model.layers)
        for name, value in layer.parameters().items()
        if value.size
    ]
    if not sizes:
        return None, "the outputs are finite"
    size, position, name = max(sizes)
    return position, (
        f"the outputs are finite, the largest parameter, {size:.3g}, is in the {name} of layer {position}, "
        f"{model.layers[position]!r}"
    )
