"""The learning rate range test: which rates make the loss fall, and from which on it grows."""

import math
from dataclasses import dataclass

import numpy as np

from .. import _arguments as arguments
from ..arrays import device_of, to_host
from ..losses import loss as find_loss
from ..streams import stream_of
from .optimizer import check_optimizer
from .schedules import set_rate


@dataclass(frozen=True)
class LearningRates:
    """What `lr_find` found: the loss of each rate, smoothed, and a rate to begin with."""

    rates: list
    losses: list
    suggestion: float


def lr_find(model, x, y, *, loss, optimizer, start=1e-6, end=1.0, steps=100, batch_size=64, seed=0):
    """Train for some steps with rates that grow from *start* to *end*, and put everything back as it was.

    Parameters
    ----------
    model, x, y, loss, batch_size : as `fit` takes them
    optimizer : an optimiser that is not bound, or bound to the model; its learning rate does not matter here
    steps : number of rates, in equal ratios

    Returns
    -------
    LearningRates : rates, the loss of each as a mean with decay 0.9, and as a suggestion the rate where it fell fastest;
        the test ends where the loss is 4 times its minimum

    Source: L. Smith, "Cyclical learning rates for training neural networks", WACV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    >>> model = nd.nn.Sequential(nd.nn.Linear(3, 1))
    >>> found = nd.optim.lr_find(model, x, x[:, :1].copy(), loss="mse", optimizer=nd.optim.AdamW(), end=10, steps=50)
    >>> 1e-3 < found.suggestion < 1
    True
    """
    from ..nn.layer import set_steps, steps_of  # which import this package
    from ..train.sources import Data

    loss = find_loss(loss)
    check_optimizer(optimizer)
    stream_of(seed, 0)  # refuses what is no seed
    data = Data(model, x, y, loss, finite=True)
    if len(data) == 0:
        raise ValueError("x: got no rows, accepted are one or more")
    data.check_targets(data.output_shape())
    batch_size = min(arguments.integer("batch_size", batch_size), len(data))
    arguments.number("start", start, above=True)
    arguments.number("end", end, low=start, above=True)
    arguments.integer("steps", steps, low=2)
    ours = not optimizer.is_bound
    if ours:
        optimizer.bind(model)
    optimizer.check_bound_to(model)
    kept = {key: to_host(value).copy() for key, value in model.state().items()}
    steps_before = steps_of(model.layers)
    before, rates, losses = optimizer.state_dict(), [], []
    try:
        batches = _batches(model, data, batch_size, np.random.default_rng(seed))
        for k, (batch, target) in zip(range(steps), batches, strict=False):
            rate = start * (end / start) ** (k / (steps - 1))
            value, grad = loss.value_and_grad(model.forward(batch, training=True), target)
            losses.append(value if not losses else 0.9 * losses[-1] + 0.1 * value)
            rates.append(rate)
            if not math.isfinite(value) or losses[-1] > 4 * min(losses):
                break
            model.backward(grad)
            for group in optimizer.param_groups:
                set_rate(group, rate, None)
            optimizer.step()
    finally:
        for key, value in model.state().items():
            device_of(value).copy(value, kept[key])
        set_steps(model.layers, steps_before)
        optimizer.load_state_dict(before)
        if ours:
            optimizer.unbind()
    return LearningRates(rates, losses, _steepest(rates, losses))


def _batches(model, data, size, rng):
    """Batches of rows in random order, for ever."""
    while True:
        order = rng.permutation(len(data))
        for first in range(0, len(data) - size + 1, size):
            batch = data.take(order[first : first + size])
            target = batch.y if batch.y.dtype.kind in "iu" else model.device.from_host(batch.y)
            yield model.device.from_host(batch.x), target


def _steepest(rates, losses):
    """The rate where the loss fell fastest against the logarithm of the rate, on the way to its minimum."""
    finite = np.isfinite(losses)
    rates, losses = np.array(rates)[finite], np.array(losses)[finite]
    last = int(np.argmin(losses)) + 1 if losses.size else 0
    if last < 3:
        return float(rates[0]) if rates.size else math.nan
    return float(rates[int(np.argmin(np.gradient(losses[:last], np.log(rates[:last]))))])
