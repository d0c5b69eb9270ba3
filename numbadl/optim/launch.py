"""One launch of an optimiser's kernels: the tensors of a group that share a rule, a dtype and a device."""

import numpy as np

from ..arrays import device_of
from ..kernels.catalog import ADD, EXCHANGE, LOOK_AHEAD, MOVE, SQUARES, TOWARDS
from ..kernels.scalar.extras import measure_kernel, update_kernel
from .options import RATES
from .tensors import Tensors


class Launch:
    """Tensors whose update is one kernel, or two where a first pass measures each tensor.

    Attributes
    ----------
    group : the group's number
    record : the `numbadl.kernels.scalar.update_record.Update`
    places : the tensors' numbers among all parameters of the optimiser
    states : for each tensor, name -> array
    """

    def __init__(self, group, record, places, params, states):
        self.group, self.record, self.places, self.params, self.states = group, record, places, params, states
        self.scratch = [[_like(p) for p in params] for _ in record.scratch]
        operands = [[s[name] for s in states] for name in record.state]
        self._average = "ema" in states[0]
        averages = [[s["ema"] for s in states]] if self._average else []
        self.tensors = Tensors([params, params, *operands, *self.scratch, *averages])
        self.sizes = self.tensors.sizes
        self._accumulated = self._slow = self._ahead = None
        self._seen = self._of_seen = self._plan = None
        if "accumulated_grad" in states[0]:
            sums = [s["accumulated_grad"] for s in states]
            self._accumulated = Tensors([sums, params])
            self.tensors.set_row(1, sums)
        if "slow" in states[0]:
            self._slow = Tensors([[s["slow"] for s in states], params])
        if "z" in states[0]:
            self._ahead = Tensors([params, [s["z"] for s in states]])

    def known(self, group):
        """What `keep` was given for a group's options, if they are the same; Python would take longer than small kernels."""
        return self._of_seen if self._seen == group else None

    def keep(self, group, h):
        """Keep that a group's options give these hyperparameters; with a schedule, others in the next step."""
        scheduled = any(callable(group.get(name)) for name in RATES)
        self._seen, self._of_seen, self._plan = None if scheduled else dict(group), h, None

    def set_gradients(self, grads, addresses):
        """Take these gradients: of the right shape and dtype, C-contiguous."""
        tensors = self.tensors if self._accumulated is None else self._accumulated
        tensors.set_row(1, grads, addresses)

    def accumulate(self, zero):
        """Add the gradients to the sums of those before them; with *zero*, set them to 0."""
        self._accumulated.run(MOVE if zero else ADD)

    def forget(self):
        """Set the gradients that the step would see to 0: those given, or the accumulated ones."""
        for array in self.tensors.operand(1):
            self.tensors.device.copy(array, np.zeros(array.shape, array.dtype))

    def gradient(self, k):
        """That of tensor *k*, as the step sees it."""
        return self.tensors.operand(1)[k]

    def swap_average(self):
        """Exchange the parameters and their exponential means."""
        averages = [s["ema"] for s in self.states]
        Tensors([self.params, averages]).run(EXCHANGE)

    def squares(self):
        """The sum of each gradient's squares, in float64."""
        return self.tensors.run(SQUARES, rows=slice(1, 2))[:, 0]

    def update(self, t, h, scales, zero, clip_value, ema_decay, scalars):
        """The step: *scales* multiply the gradients, one for each tensor or one for all; *scalars* are the rule's."""
        plan, asked = self._plan, (zero, clip_value, ema_decay)
        if plan is None or plan[0] != asked:
            extras, numbers = self._extras(h, *asked)
            plan = self._plan = asked, extras, numbers, update_kernel(self.record, extras)
        _, extras, numbers, kernel = plan
        numbers += scalars
        values, record = scales, self.record
        if record.measure:
            values = np.zeros((self.sizes.size, 1 + record.values))
            values[:, 0] = np.ravel(scales)
            sums = self.tensors.run(measure_kernel(record, extras), values, numbers)
            with np.errstate(all="ignore"):  # gradients with NaN or infinity, if they are let through
                values[:, 1:] = self.finish(sums, t, h)
        self.tensors.run(kernel, values, numbers)

    def finish(self, sums, t, h):
        """The values of each tensor, from what the first pass measured."""
        return self.record.finish(sums, self.sizes, h, t)

    def _extras(self, h, zero, clip_value, ema_decay):
        """The names of the extras in use, and the numbers that come before the rule's: decay, and theirs."""
        decoupled = self.record.decoupled or h.get("decoupled_weight_decay")
        numbers = [2 * h["l2"] + (0 if decoupled else h.get("weight_decay", 0))]
        names, l1 = (), h["l1"]
        if clip_value is not None:
            names, numbers = ("limit",), [*numbers, clip_value]
        if l1:
            names += ("shrink",) if h["proximal"] else ("l1",)
            numbers.append(l1 * h["lr"] if h["proximal"] else l1)
        if self._average:
            names += ("average",)
            numbers.append(1 - ema_decay)
        return names + ("zero",) if zero else names, tuple(numbers)

    def look_ahead(self, alpha):
        """Slow weights go a fraction *alpha* of the way to the parameters, which continue from there."""
        self._slow.run(LOOK_AHEAD, scalars=(alpha,))

    def move_towards_z(self, fraction):
        """Parameters of the schedule-free rule go this fraction of the way to z."""
        self._ahead.run(TOWARDS, scalars=(fraction,))


def _like(array):
    return device_of(array).empty(array.shape, array.dtype)
