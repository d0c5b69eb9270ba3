"""Callbacks that look at training from within: the gradient of each layer, and losses that jump."""

import math
import warnings
from collections import deque
from statistics import median

from .. import _arguments as arguments
from ..norms import norm
from .callbacks import Callback


class GradientWarning(UserWarning):
    """The gradient of a layer vanishes or explodes."""


class LossWarning(UserWarning):
    """The loss of a step is far above those before."""


VANISHING_CURES = (
    "an initialiser that suits the activation (He for ReLU, Xavier for tanh), normalisation (BatchNorm, LayerNorm), a "
    "ReLU-like activation instead of sigmoid or tanh, residual connections"
)
EXPLODING_CURES = (
    "clipping (clip_norm=1.0 of the optimiser), a lower learning rate, an initialiser that suits the activation, "
    "normalisation (BatchNorm, LayerNorm), residual connections"
)


class GradientMonitor(Callback):
    """The norm of each layer's gradient, as a mean for each epoch, with a warning where it vanishes or explodes.

    Parameters
    ----------
    vanishing : warn where a layer's gradient, per parameter, is less than this part of the largest layer's, in the mean of an
        epoch
    exploding : warn where a layer's norm is above this, or not finite, in any step that is looked at
    every : look at each so-manieth step

    Attributes
    ----------
    epochs : list of int
    norms : name of the layer, such as "0 Linear" -> list of mean norms of the epochs

    A layer is warned of once for each reason. The norms are those of the gradients before clipping.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(-1, 1)
    >>> monitor = nd.train.GradientMonitor()
    >>> model = nd.nn.Sequential(nd.nn.Linear(1, 4), nd.nn.Tanh(), nd.nn.Linear(4, 1))
    >>> options = {"loss": "mse", "optimizer": nd.optim.SGD(lr=0.1), "epochs": 2, "progress": False}
    >>> _ = model.fit(x, x, callbacks=[monitor], **options)
    >>> {name: len(norms) for name, norms in monitor.norms.items()}
    {'0 Linear': 2, '2 Linear': 2}
    """

    def __init__(self, vanishing=1e-4, exploding=1e3, every=1):
        self.vanishing = arguments.number("vanishing", vanishing, high=1)
        self.exploding = arguments.number("exploding", exploding, above=True)
        self.every = arguments.integer("every", every)
        self.epochs, self.norms = [], {}

    def on_train_begin(self, model, history):
        layers = [(k, layer) for k, layer in enumerate(model.layers) if layer.shapes()]
        self._layers = [(k, layer, list(layer.gradients().values())) for k, layer in layers]
        self.epochs, self.norms = [], {_name(k, layer): [] for k, layer in layers}
        self._warned, self._sums, self._seen = set(), None, 0

    def on_epoch_begin(self, model, history):
        self._sums, self._seen = [0.0] * len(self._layers), 0

    def on_backward_end(self, model, history):
        if (self.training.step - 1) % self.every:
            return
        self._seen += 1
        for place, (k, layer, gradients) in enumerate(self._layers):
            found = norm(gradients)
            self._sums[place] += found
            if not found <= self.exploding:
                where = f"step {self.training.step} of epoch {self.training.epoch}"
                self._warn(k, layer, f"explodes: its norm is {found:.3g} in {where}", EXPLODING_CURES)

    def on_epoch_end(self, model, history):
        means = [total / max(self._seen, 1) for total in self._sums]
        self.epochs.append(self.training.epoch)
        for (k, layer, _), mean in zip(self._layers, means, strict=True):
            self.norms[_name(k, layer)].append(mean)
        sizes = [sum(g.size for g in gradients) for *_, gradients in self._layers]
        each = [mean / math.sqrt(size) for mean, size in zip(means, sizes, strict=True)]
        largest = max(each, default=0.0)
        for (k, layer, _), mine, mean in zip(self._layers, each, means, strict=True):
            if math.isfinite(largest) and (mine < self.vanishing * largest or mean == 0):
                part = f", per parameter {mine / largest:.1g} of the largest layer's" if largest else ""
                where = f"in epoch {self.training.epoch}"
                self._warn(k, layer, f"vanishes: its norm is {mean:.3g} {where}{part}", VANISHING_CURES)

    def plot(self, path):
        """Draw the norms over the epochs, a line for each layer, and save the picture as PNG."""
        from ..plot import gradient_norms

        return gradient_norms(self, path)

    def state_dict(self):
        warned = sorted(f"{k} {what}" for k, what in self._warned)
        return {"epochs": list(self.epochs), "norms": {k: list(v) for k, v in self.norms.items()}, "warned": warned}

    def load_state_dict(self, saved):
        self.epochs = list(saved["epochs"])
        self.norms = {name: list(values) for name, values in saved["norms"].items()}
        self._warned = {(int(k), what) for k, what in (entry.split(" ", 1) for entry in saved["warned"])}

    def _warn(self, k, layer, what, cures):
        kind = what.split(":")[0]
        if (k, kind) not in self._warned:
            self._warned.add((k, kind))
            message = f"layer {k}, {layer!r}: the gradient {what}; what helps: {cures}"
            warnings.warn(message, GradientWarning, stacklevel=2)


class LossMonitor(Callback):
    """Flag losses that jump: those of a step far above the median of the steps before.

    Parameters
    ----------
    factor : a jump is a loss above this many medians
    window : number of steps that the median is of; the first jump is looked for after half of them

    Attributes
    ----------
    jumps : list of (epoch, step, loss, median of the losses before)

    The first jump of a training is warned of.
    """

    def __init__(self, factor=5.0, window=20):
        self.factor = arguments.number("factor", factor, low=1, above=True)
        self.window = arguments.integer("window", window, low=2)
        self.jumps, self._last = [], deque(maxlen=self.window)

    def on_train_begin(self, model, history):
        self.jumps, self._last = [], deque(maxlen=self.window)

    def on_batch_end(self, model, history):
        training, loss = self.training, self.training.loss_of_step
        usual = median(self._last) if len(self._last) >= self.window // 2 else math.inf
        if loss > self.factor * usual > 0:
            if not self.jumps:
                message = (
                    f"the loss jumps from about {usual:.3g} to {loss:.3g} in epoch {training.epoch}, step {training.step}; "
                    "what helps: a lower learning rate, clipping (clip_norm=1.0 of the optimiser), larger batches"
                )
                warnings.warn(message, LossWarning, stacklevel=2)
            self.jumps.append((training.epoch, training.step, loss, usual))
        self._last.append(loss)

    def state_dict(self):
        return {"jumps": [list(jump) for jump in self.jumps], "last": list(self._last)}

    def load_state_dict(self, saved):
        self.jumps = [tuple(jump) for jump in saved["jumps"]]
        self._last = deque(saved["last"], maxlen=self.window)


def _name(k, layer):
    return f"{k} {type(layer).__name__}"
