"""Averages of weights over training, in arrays of their own."""

from .. import _arguments as arguments
from ..arrays import check, device_of, to_host
from ..kernels.catalog import EXCHANGE, TOWARDS
from .gradients import Apart
from .groups import updatable
from .tensors import Tensors


class WeightAverage:
    """A mean of parameters as they were at each `update`: stochastic weight averaging, or an exponential mean.

    Parameters
    ----------
    params : an array, a list or dict of arrays of one dtype, or a model
    decay : None for the mean of all updates with equal weights (SWA), or a number: mean = decay * mean + (1 - decay) * w

    Batch norm's running statistics belong to the weights before: let the model see training data after `swap`.
    Source: P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, 2.0])
    >>> mean = nd.optim.WeightAverage(w)
    >>> for _ in range(3):
    ...     mean.update()
    ...     w += 1
    >>> mean.averages[0].tolist()
    [2.0, 3.0]
    >>> mean.swap()
    >>> w.tolist()
    [2.0, 3.0]
    """

    def __init__(self, params, decay=None):
        if decay is not None:
            arguments.number("decay", decay, high=1, below=True)
        self.params = arguments.array_list("params", getattr(params, "flat_parameters", params))
        if not self.params:
            raise ValueError("params: got no arrays")
        check(**{f"params[{k}]": p for k, p in enumerate(map(updatable, self.params))})
        Apart(self.params)
        self.decay, self.updates = decay, 0
        self.averages = [device_of(p).from_host(to_host(p).copy()) for p in self.params]
        self._tensors = Tensors([self.averages, self.params])

    def update(self):
        """Take the parameters as they are now into the mean."""
        self.updates += 1
        fraction = 1 / self.updates if self.decay is None or self.updates == 1 else 1 - self.decay
        self._tensors.run(TOWARDS, scalars=(fraction,))

    def swap(self):
        """Exchange the parameters and their mean: before an evaluation, and again after it."""
        self._tensors.run(EXCHANGE)

    def state_dict(self):
        """Copies of the mean and the number of updates, for `load_state_dict`."""
        return {"updates": self.updates, **{f"mean.{k}": to_host(a).copy() for k, a in enumerate(self.averages)}}

    def load_state_dict(self, saved):
        """Continue from what `state_dict` gave."""
        for k, average in enumerate(self.averages):
            given = saved.get(f"mean.{k}")
            if given is None or given.shape != average.shape or given.dtype != average.dtype:
                raise ValueError(f"saved: its mean {k} does not fit the parameters, of shape {average.shape}")
        updates = arguments.integer("saved: updates", saved.get("updates"), low=0)
        for k, average in enumerate(self.averages):
            device_of(average).copy(average, saved[f"mean.{k}"])
        self.updates = updates
