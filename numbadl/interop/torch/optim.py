"""Every optimiser as a `torch.optim.Optimizer`: numbadl's fused kernels over torch's parameters, in place.

Arguments, defaults and names of states are torch's where torch has the optimiser, so that schedulers work and a state of
``torch.optim.AdamW`` can be loaded. Beside them stand numbadl's options for groups (``l1``, ``l2``, ``proximal``, ``maximize``)
and for whole steps (``clip_norm``, ``clip_value``, ``clip_norm_per_tensor``, ``nonfinite``), which cost no further pass; see
`numbadl.optim.Optimizer`.
"""

import copy
import inspect

import numpy as np
import torch

from ... import optim
from ...kernels.scalar.update_record import REQUIRED
from ...kernels.scalar.updates import UPDATES
from ...optim import options
from ...optim.launch import Launch
from ..arrays import KINDS

WHOLE = ("clip_norm", "clip_value", "clip_norm_per_tensor", "nonfinite")
IMPLEMENTATIONS = ("foreach", "fused", "capturable", "differentiable")  # torch's choices among its own
_TENSOR = torch.Tensor


class Optimizer(torch.optim.Optimizer):
    """Base class; a subclass names its numbadl optimiser as *native*."""

    native = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = UPDATES[cls.native.name].hyperparameters
        whole = {name: options.WHOLE[name] for name in WHOLE}
        kind = inspect.Parameter
        signature = [kind("params", kind.POSITIONAL_OR_KEYWORD)]
        signature += [kind(n, kind.POSITIONAL_OR_KEYWORD, default=_torch_default(cls, n, v)) for n, v in own.items()]
        keywords = {**options.GROUP, **whole, **dict.fromkeys(IMPLEMENTATIONS)}
        signature += [kind(name, kind.KEYWORD_ONLY, default=value) for name, value in keywords.items()]
        cls.__signature__ = inspect.Signature(signature)

    def __init__(self, *args, **kwargs):
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        params = given.pop("params")
        if given.pop("differentiable"):
            raise ValueError("differentiable: got True, accepted is False: steps are in place, without gradients")
        for name in IMPLEMENTATIONS[:-1]:
            del given[name]
        self._native = self.native(**given)
        self._plan, self._batches = None, []
        self._own = tuple(name for name in given if name not in WHOLE)  # torch adds options to the defaults
        super().__init__(params, {name: given[name] for name in self._own})

    def add_param_group(self, param_group):
        """See `torch.optim.Optimizer.add_param_group`; a group may have options of its own."""
        group = {**self.defaults, **param_group}
        self._native._check({name: _number(group[name]) for name in self._own})
        super().add_param_group(param_group)
        self._plan = None

    def state_dict(self):
        """As torch's: {"state": ..., "param_groups": ...}, with a number of steps for each parameter."""
        found = (
            super().state_dict()
        )  # in which numbers are one tensor for all parameters, that torch would count up for each
        apart = {
            k: {name: v.clone() if isinstance(v, _TENSOR) and v.dim() == 0 else v for name, v in state.items()}
            for k, state in found["state"].items()
        }
        return {**found, "state": apart}

    def load_state_dict(self, state_dict):
        """Continue from a state of this class, or of torch's optimiser of the same name."""
        super().load_state_dict(copy.deepcopy(state_dict))  # torch would share the tensors
        self._plan = None

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:  # torch's groups have fewer options
            for name in self._own:
                group.setdefault(name, self.defaults[name])

    @property
    def grad_norm(self):
        """Norm of all gradients in the last step that looked at it (clip_norm or nonfinite), before clipping."""
        return self._native.grad_norm

    @torch.no_grad()
    def step(self, closure=None):
        """One update of all parameters that have a gradient; *closure* computes the loss again, which is returned.

        Raises
        ------
        TypeError, ValueError : a parameter or a gradient is no contiguous float32 or float64 tensor; nothing was changed
        FloatingPointError : a gradient is not finite, and ``nonfinite`` is "raise"; nothing was changed
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._native._averaged:
            raise RuntimeError("the parameters are the averaged ones: call train() before the next step")
        live = [
            (number, k, p)
            for number, group in enumerate(self.param_groups)
            if not group["frozen"]
            for k, p in enumerate(group["params"])
            if p.grad is not None
        ]
        if not live:
            return loss
        plan = [p.data_ptr() for *_, p in live]
        if plan != self._plan:
            self._make_plan(live)
            self._plan = plan
        for batch in self._batches:
            batch.take_options(self.param_groups, self._own)
            batch.take_gradients(self._native.whole["nonfinite"] != "allow")
        native = self._native
        if native._update(native._launches, 1.0, zero=False):
            for number, batch in enumerate(self._batches):
                batch.keep(native._memory[number])
        return loss

    def eval(self):
        """Put averaged parameters in place, of an optimiser that keeps some (ScheduleFreeAdamW); `train` undoes it."""
        self._move(averaged=True)

    def train(self):
        """Put the parameters that training goes on with in place."""
        self._move(averaged=False)

    def _move(self, averaged):
        if self._batches:
            self._native._move(averaged)

    # -- which tensors are updated together ---------------------------------------------------------------------------
    def _make_plan(self, live):
        """Tensors of a group that share rule, dtype, device and number of steps are updated by one launch."""
        native, alike = self._native, {}
        for number, k, p in live:
            group = {name: _number(self.param_groups[number][name]) for name in self._own}
            name = f"param_groups[{number}]['params'][{k}]"
            array = _native(p, name)
            record = native.rule_of(group, array)
            state, memory = self._state_of(p, group, array, name)
            key = number, record, p.dtype, p.device, tuple(memory.items())
            alike.setdefault(key, []).append((p, array, state, name))
        self._batches, native._names, launches = [], [], []
        for place, ((number, record, *_, memory), members) in enumerate(alike.items()):
            first = len(native._names)
            native._names += [name for *_, name in members]
            kind = native.launch_of.get(record.name, Launch)
            arrays, states = [array for _, array, *_ in members], [state for *_, state, _ in members]
            launch = kind(place, record, list(range(first, first + len(members))), arrays, states)
            launches.append(launch)
            self._batches.append(_Batch(number, launch, [p for p, *_ in members], dict(memory), self.state))
        native._launches, native._arrays = launches, [a for launch in launches for a in launch.params]
        native.param_groups = [batch.options for batch in self._batches]
        native._memory = [batch.memory for batch in self._batches]

    def _state_of(self, p, group, array, name):
        """(name -> array of each state buffer of a parameter, name -> number of what else lives as long)."""
        state, first = self.state[p], self._native._first_state(group, array)
        if not any(state.get(buffer) is not None for buffer in first) and "step" not in state:
            state.update({buffer: KINDS[_TENSOR].foreign(value, p) for buffer, value in first.items()})
        kept = {}
        for buffer, value in first.items():
            held = state.get(buffer)
            if held is None or tuple(held.shape) != tuple(value.shape) or held.dtype != p.dtype:
                shown = "none" if held is None else f"{tuple(held.shape)}, {held.dtype}"
                raise ValueError(f"state of {name}: {buffer} is {shown}, expected {tuple(value.shape)}, {p.dtype}")
            kept[buffer] = _native(held, f"{buffer} of {name}")
        memory = {k: float(v) for k, v in state.items() if k not in first and _is_number(v)}
        memory["step"] = int(memory.get("step", _was_loaded(state, first, p)))
        return kept, memory


def _was_loaded(state, first, p):
    """Whether buffers without a number of steps, such as torch's SGD has, are from a step: are other than at first."""
    return any(
        bool((state[name] != KINDS[_TENSOR].foreign(value, p)).any())
        for name, value in first.items()
        if state.get(name) is not None
    )


class _Batch:
    """Tensors that one launch updates, and the options and numbers that they share."""

    def __init__(self, number, launch, params, memory, state):
        self.number, self.launch, self.params, self.memory = number, launch, params, memory
        self.options, self._state, self._numbers, self._addresses = {}, state, {}, None

    def take_options(self, groups, names):
        group = groups[self.number]
        for name in names:
            self.options[name] = _number(group[name])
        self.options["initial_lr"] = _number(group.get("initial_lr", group["lr"]))  # schedulers of torch's write it

    def take_gradients(self, looked_at):
        grads = [p.grad for p in self.params]
        for k, (p, grad) in enumerate(zip(self.params, grads, strict=True)):
            if grad.layout is not torch.strided or grad.dtype is not p.dtype or grad.device != p.device:
                raise TypeError(f"grad: got {grad.dtype}, {grad.layout} on {grad.device} for a parameter of {p.dtype}")
            if not grad.is_contiguous():
                grads[k] = grad.contiguous()
        addresses = [grad.data_ptr() for grad in grads]
        if looked_at:
            grads = [KINDS[_TENSOR].native(grad) for grad in grads]
        if addresses != self._addresses or looked_at:
            self.launch.set_gradients(grads, addresses)
            self._addresses = addresses
        else:
            self.launch.tensors._rows[1] = grads

    def keep(self, memory):
        """Write numbers, such as the number of steps, to the states: one tensor for all of the batch."""
        self.memory = memory
        for name, value in memory.items():
            number = self._numbers.get(name)
            if number is None:
                self._numbers[name] = number = torch.zeros((), dtype=torch.float64 if name != "step" else torch.float32)
                for p in self.params:
                    self._state[p][name] = number
            number.fill_(value)


def _native(tensor, name):
    if not tensor.is_contiguous() or tensor.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name}: got {tensor.dtype}, strides {tensor.stride()}; accepted are contiguous float32 and float64"
        )
    return KINDS[_TENSOR].native(tensor.detach())


def _number(value):
    return value.item() if isinstance(value, _TENSOR) else value


def _is_number(value):
    return isinstance(value, (int, float, np.number)) or (isinstance(value, _TENSOR) and value.numel() == 1)


def _torch_default(cls, name, value):
    """numbadl's default; torch's where numbadl has none."""
    if value is not REQUIRED:
        return value
    theirs = getattr(torch.optim, cls.native.__name__, None)
    return inspect.signature(theirs).parameters[name].default if theirs else value


def _made(native):
    text = f"`numbadl.optim.{native.__name__}` as a `torch.optim.Optimizer`."
    return type(native.__name__, (Optimizer,), {"native": native, "__doc__": text, "__module__": __name__})


OPTIMIZERS = {
    name: _made(cls)
    for name, cls in vars(optim).items()
    if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer
}
globals().update(OPTIMIZERS)
