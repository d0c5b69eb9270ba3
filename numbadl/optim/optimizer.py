"""What all optimisers share: parameter groups, binding, steps, and when a step is refused."""

import inspect
import math
from types import MappingProxyType

import numpy as np

from .. import _arguments as arguments
from ..arrays import device_of, to_host
from ..kernels.scalar.updates import UPDATES
from . import files, gradients, options, state
from .groups import filled, of_model, updatable
from .launch import Launch
from .tensors import address


class Optimizer:
    """Base class.

    Parameters
    ----------
    params : an array, a list of arrays, a list of groups (dicts with "params" and own options), or a model; None leaves
        the optimiser unbound, until ``fit`` binds it. Arrays are updated in place, and are C-contiguous.
    groups : for a model, own options for some of its parameters: dicts whose "params" is a pattern such as "*.bias", or a list
        of them; what no pattern matches has the optimiser's options
    lr : learning rate: a number, or a function of the number of updates before, such as those in `numbadl.optim.schedules`
    maximize : climb instead of descend
    l1, l2 : l1 * sum(abs(w)) + l2 * sum(w**2) is added to the loss
    proximal : l1 does not change the gradient; after the step w is moved towards 0 by lr * l1, at most to 0
    frozen : leave the parameters of a group as they are
    clip_norm : scale gradients so that their norm over all parameters is at most this, as `clip_grad_norm_` does
    clip_norm_per_tensor : the same for each parameter by itself
    clip_value : limit each entry of the gradients
    nonfinite : what happens where a gradient has NaN or infinity: "allow" lets it through, "skip" leaves everything as it is
        and counts no step, "raise" does so and raises FloatingPointError naming the parameter
    zero_grad : set the gradients to 0 as they are read
    ema_decay : keep an exponential mean of the parameters, ema = decay * ema + (1 - decay) * w (see `ema`, `swap_ema`)
    lookahead : every so many steps, slow weights go a part, lookahead_alpha, of the way, and training continues from there
        (Zhang et al. 2019)
    gradient_accumulation_steps : each so-manieth step updates, with the mean of the gradients since the last one

    The options down to frozen may differ between groups. Everything happens in one pass over memory, but for a first
    look at the gradients (clip_norm, nonfinite) or at each tensor (LARS, LAMB, Adafactor, Muon).

    Attributes
    ----------
    param_groups : list of dicts; change ``group["lr"]`` between steps at will
    steps : number of updates
    grad_norm : norm of the gradients in the last step that looked at it (clip_norm or nonfinite), before clipping
    """

    name = None  # of the record in UPDATES; or see `rule`

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.name is not None:
            own = {**UPDATES[cls.name].hyperparameters, **options.GROUP, **options.WHOLE}
            kind = inspect.Parameter
            given = [kind(name, kind.KEYWORD_ONLY, default=default) for name, default in own.items()]
            first = kind("params", kind.POSITIONAL_OR_KEYWORD, default=None)
            groups = kind("groups", kind.KEYWORD_ONLY, default=None)
            cls.__signature__ = inspect.Signature([first, *given, groups])

    def __init__(self, params=None, *, groups=None, **given):
        if self.name is None:
            raise TypeError("Optimizer: is the base class; use one of its subclasses")
        signature = inspect.signature(type(self))
        if unknown := sorted(set(given) - set(signature.parameters)):
            accepted = ", ".join(name for name in signature.parameters if name != "params")
            raise TypeError(f"{type(self).__name__}: got unknown options {unknown}, accepted are {accepted}")
        try:
            bound = signature.bind(params, groups=groups, **given)
        except TypeError as error:  # lr, where it has no default
            raise TypeError(f"{type(self).__name__}: {error}") from None
        bound.apply_defaults()
        h = {name: value for name, value in bound.arguments.items() if name not in ("params", "groups")}
        self.whole = {name: h.pop(name) for name in options.WHOLE}
        self.hyperparameters, self.param_groups, self._state = h, [], []
        self._check(h)
        options.check_whole(self.whole)
        self.steps, self._model, self.grad_norm, self._averaged = 0, None, None, False
        if params is not None:
            self.bind(params, groups)

    # -- what an optimiser may define ---------------------------------------------------------------------------
    def rule(self, group):
        """The `numbadl.kernels.scalar.update_record.Update` for a group's hyperparameters."""
        return UPDATES[self.name]

    def rule_of(self, group, param):
        """The rule for one of its parameters, where that depends on the shape."""
        return self.rule(group)

    def _check(self, h):
        """Raise for a wrong value among all hyperparameters, the optimiser's own or those of a group."""
        options.check_group(h)

    def _of_rule(self, launch, h):
        """The hyperparameters as the functions of the launch's record take them."""
        return h

    launch_of = MappingProxyType({})  # name of a record -> class of its launches

    # -- binding ----------------------------------------------------------------------------------------------
    def bind(self, params, groups=None):
        """Take parameters (see the class) and start with empty state."""
        model = params if hasattr(params, "flat_parameters") else None
        if groups is not None and model is None:
            raise TypeError("groups: is for a model's parameters; for arrays, params is a list of groups")
        if model is not None:
            chosen, names, own = of_model(model, groups, flat=groups is None and not self._needs_tensors)
        elif isinstance(params, (list, tuple)) and params and isinstance(params[0], dict):
            chosen, names = [dict(group) for group in params], None
        else:
            chosen, names = [{"params": params}], list(params) if isinstance(params, dict) else None
        checked = [self._group(group) for group in chosen]
        arrays = [p for group in checked for p in group["params"]]
        bounds = gradients.Apart(arrays)
        buffers = [[self._first_state(group, p) for p in group["params"]] for group in checked]
        self.steps, self._micro_steps, self._averaged, self._ema_swapped = 0, 0, False, False
        self._model, self._flat, self._own = model, None, None
        if model is not None:
            self._flat, self._own = model.flat_parameters, own
        self.param_groups, self._state, self._memory = checked, buffers, [{"step": 0} for _ in checked]
        self._names = names or [f"params[{k}]" for k in range(len(arrays))]
        self._arrays, self._bounds, self._last, self._owned = arrays, bounds, None, False
        self._launches = list(self._make_launches())

    def _group(self, group):
        given = group.pop("params", None)
        unknown = set(group) - set(self.hyperparameters)
        if unknown:
            raise ValueError(
                f"param group: unknown options {sorted(unknown)}, accepted are {sorted(self.hyperparameters)}"
            )
        group = {**self.hyperparameters, **group}
        self._check(group)
        return {**group, "params": [updatable(a) for a in arguments.array_list("params", given)]}

    @property
    def _needs_tensors(self):
        """Whether a model's parameters have to be told apart: for norms or shapes of each."""
        record = UPDATES[self.name]
        return bool(record.measure or self.whole["clip_norm_per_tensor"] is not None)

    def _first_state(self, group, array):
        """name -> array of each state buffer of a parameter, with its first value."""
        device, record, h = device_of(array), self.rule_of(group, array), options.now(group, 1)
        state = {name: filled(device, array, first, h) for name, first in record.state.items()}
        if record.factors:
            shapes = record.factors(tuple(array.shape))
            state |= {name: device.zeros(shape, array.dtype) for name, shape in shapes.items()}
        if self.whole["ema_decay"] is not None:
            state["ema"] = filled(device, array, "param", h)
        if self.whole["lookahead"] is not None:
            state["slow"] = filled(device, array, "param", h)
        if self.whole["gradient_accumulation_steps"] > 1:
            state["accumulated_grad"] = device.zeros(array.shape, array.dtype)
        return state

    def _make_launches(self):
        first = 0
        for number, (group, states) in enumerate(zip(self.param_groups, self._state, strict=True)):
            alike = {}
            for k, param in enumerate(group["params"]):
                record = self.rule_of(group, param)
                alike.setdefault((record, param.dtype, device_of(param)), []).append(k)
            for (record, *_), places in alike.items():
                kind = self.launch_of.get(record.name, Launch)
                mine = [group["params"][k] for k in places], [states[k] for k in places]
                yield kind(number, record, [first + k for k in places], *mine)
            first += len(group["params"])

    def unbind(self):
        """Forget the parameters and the state."""
        self.param_groups, self._state, self._launches, self._model, self._last = [], [], [], None, None

    def _require_bound(self):
        if not self.param_groups:
            raise RuntimeError("the optimiser has no parameters yet: give them to the constructor, or let fit bind it")

    @property
    def is_bound(self):
        return bool(self.param_groups)

    def check_bound_to(self, model):
        """Raise ValueError unless it was bound to this model: it would update other parameters than the model's."""
        if self._model is not model:
            raise ValueError("optimizer: is bound to other parameters than this model's; make a new one, or call bind")
        self._check_in_place()

    def _check_in_place(self):
        if self._model is not None and self._model.flat_parameters is not self._flat:
            raise RuntimeError("the model's parameters moved since the optimiser was bound: call bind(model) again")

    # -- steps ------------------------------------------------------------------------------------------------
    def step(self, grads=None, *, loss_scale=1.0):
        """One update of all parameters, in place.

        Parameters
        ----------
        grads : gradients in the order of the parameters, in the form that these were given in; may be left out for
            a model, whose own gradients are then taken. Those of frozen parameters may be None.
        loss_scale : what the loss was multiplied with; the gradients are divided by it

        Returns
        -------
        bool : whether parameters were updated; not if gradients are accumulated, or the step is skipped (`nonfinite`)

        Raises
        ------
        RuntimeError : the optimiser is unbound, the model moved its buffers (`to`) since it was bound, or the parameters are
            averages (`eval`, `swap_ema`)
        TypeError, ValueError : a gradient's number, kind, dtype or shape does not fit; nothing was changed
        FloatingPointError : a gradient is not finite, and ``nonfinite`` is "raise"; nothing was changed
        """
        self._require_bound()
        self._check_in_place()
        if self._averaged:
            raise RuntimeError("the parameters are the averaged ones: call train() before the next step")
        if self._ema_swapped:
            raise RuntimeError("the parameters are their exponential means: call swap_ema() before the next step")
        if loss_scale != 1.0:
            arguments.number("loss_scale", loss_scale, above=True)
        self._take(self._own_gradients() if grads is None else grads)
        launches = [launch for launch in self._launches if not self.param_groups[launch.group]["frozen"]]
        every = self.whole["gradient_accumulation_steps"]
        if every > 1:
            for launch in launches:
                launch.accumulate(self.whole["zero_grad"])
            self._micro_steps += 1
            if self._micro_steps < every:
                return False
            self._micro_steps = 0
        updated = self._update(launches, 1 / (loss_scale * every), zero=every > 1 or self.whole["zero_grad"])
        if not updated and (every > 1 or self.whole["zero_grad"]):
            for launch in launches:  # skipped: what was not finite goes
                launch.forget()
        return updated

    def _update(self, launches, scale, zero):
        try:
            scales = self._scales(launches, scale)
        except FloatingPointError:
            for launch in launches if self.whole["gradient_accumulation_steps"] > 1 else ():
                launch.forget()
            raise
        if scales is None:
            return False
        prepared, memories = [], {}
        for launch in launches:
            group, memory = self.param_groups[launch.group], {**self._memory[launch.group]}
            memory["step"] += 1
            t = memory["step"]
            h = launch.known(group)
            if h is None:
                if self.rule_of(group, launch.params[0]) is not launch.record:
                    raise ValueError("param_groups: were changed to options that need other state; call bind again")
                h = self._of_rule(launch, options.now(group, t))
                launch.keep(group, h)
            prepared.append((t, h, launch.record.scalars(t, h, memory)))
            memories.setdefault(launch.group, {}).update(memory)
        for launch, (t, h, scalars), of_tensors in zip(launches, prepared, scales, strict=True):
            of_tensors = -of_tensors if h["maximize"] else of_tensors
            launch.update(t, h, of_tensors, zero, self.whole["clip_value"], self.whole["ema_decay"], scalars)
        for number, memory in memories.items():
            self._memory[number] = memory
        self.steps += 1
        if self.whole["lookahead"] and self.steps % self.whole["lookahead"] == 0:
            for launch in launches:
                launch.look_ahead(self.whole["lookahead_alpha"])
        return True

    def _scales(self, launches, scale):
        """What each launch's gradients are multiplied with; None if the step is skipped."""
        norm, each = self.whole["clip_norm"], self.whole["clip_norm_per_tensor"]
        if norm is None and each is None and self.whole["nonfinite"] == "allow":
            return [scale] * len(launches)
        squares = [launch.squares() for launch in launches]
        total = math.fsum(float(s.sum()) for s in squares)
        if not math.isfinite(total):
            bad = self._nonfinite(launches, squares)
            if bad is not None and self.whole["nonfinite"] == "skip":
                return None
            if bad is not None and self.whole["nonfinite"] == "raise":
                raise FloatingPointError(f"grads: NaN or infinity in that of {bad}; no parameter was changed")
            total = math.fsum(float(s.sum()) for s in squares) if bad is None else math.nan
        self.grad_norm = math.sqrt(total) * scale
        if norm is not None:
            return [scale * gradients.factor(self.grad_norm, norm)] * len(launches)
        if each is not None:
            return [scale * gradients.factor(np.sqrt(s) * scale, each)[:, None] for s in squares]
        return [scale] * len(launches)

    def _nonfinite(self, launches, squares):
        """The name of the first parameter whose gradient is not finite. Where none is, squares overflowed: take float64's."""
        for launch, found in zip(launches, squares, strict=True):
            for k in np.flatnonzero(~np.isfinite(found)):
                wide = to_host(launch.gradient(k)).astype(np.float64)
                if not np.isfinite(wide).all():
                    return self._name_of(launch.places[k], int(np.argmin(np.isfinite(wide))))
                found[k] = np.sum(wide * wide)
        return None

    def _name_of(self, place, index):
        """The name of parameter number *place*; of a model's flat buffer, of the one that has element *index*."""
        if self._model is not None and self._arrays[place] is self._flat:
            at = address(self._flat) + index * self._flat.dtype.itemsize
            starts = {key: address(value) for key, value in self._model.parameters().items() if value.size}
            return max((start, key) for key, start in starts.items() if start <= at)[1]
        return self._names[place]

    def _own_gradients(self):
        if self._model is None:
            raise TypeError("grads: needed, because the optimiser was not bound to a model")
        return self._own

    def _take(self, grads):
        """Check the gradients and give them to the launches; nothing is to be done for those of the step before."""
        last = self._last
        if grads is self._own and last is not None and self._owned:
            return
        given = arguments.array_list("grads", grads)
        if last is not None and len(given) == len(last) and all(a is b for a, b in zip(given, last, strict=True)):
            return
        frozen = {k for launch in self._launches for k in launch.places if self.param_groups[launch.group]["frozen"]}
        taken, addresses = gradients.matched(given, self._arrays, self._bounds, self.whole["zero_grad"], frozen)
        for launch in self._launches:
            if not self.param_groups[launch.group]["frozen"]:
                launch.set_gradients([taken[k] for k in launch.places], [addresses[k] for k in launch.places])
        self._last = given if not frozen and all(a is b for a, b in zip(given, taken, strict=True)) else None
        self._owned = grads is self._own

    def learning_rate(self, param):
        """That of the next update of *param*, one of the parameters or a part of one."""
        self._require_bound()
        start = address(param)
        for launch in self._launches:
            for p in launch.params:
                if address(p) <= start < address(p) + max(p.size * p.dtype.itemsize, 1):
                    group, memory = self.param_groups[launch.group], self._memory[launch.group]
                    return self._of_rule(launch, options.now(group, memory["step"] + 1))["lr"]
        raise ValueError("param: is none of the optimiser's parameters")

    # -- averages ---------------------------------------------------------------------------------------------
    def eval(self):
        """Put the parameters that are good for predictions in place: those that the schedule-free rule averages.

        Other optimisers have nothing to do. `train` undoes it; `fit` calls both.
        """
        self._move(averaged=True)

    def train(self):
        """Put the parameters that training goes on with in place again."""
        self._move(averaged=False)

    def _move(self, averaged):
        self._require_bound()
        if averaged != self._averaged and any("z" in launch.record.state for launch in self._launches):
            for launch in self._launches:
                beta1 = self.param_groups[launch.group]["betas"][0]
                launch.move_towards_z((1 - 1 / beta1) if averaged else 1 - beta1)
            self._averaged = averaged

    @property
    def ema(self):
        """The exponential means of the parameters, one array for each, in their order (with `ema_decay`)."""
        self._require_bound()
        if self.whole["ema_decay"] is None:
            raise RuntimeError("there is no mean: the optimiser was made without ema_decay")
        return [state["ema"] for group in self._state for state in group]

    def swap_ema(self):
        """Exchange the parameters and their exponential means: before an evaluation, and again after it, before `step`."""
        self.ema  # noqa: B018 (raises where there is none)
        for launch in self._launches:
            launch.swap_average()
        self._ema_swapped = not self._ema_swapped

    # -- state ------------------------------------------------------------------------------------------------
    @property
    def state_bytes(self):
        """Bytes of all state buffers."""
        return sum(a.size * a.dtype.itemsize for group in self._state for s in group for a in s.values())

    def state_dict(self):
        """Steps, hyperparameters and copies of the state buffers; for `load_state_dict`."""
        self._require_bound()
        return {
            "steps": self.steps,
            "micro_steps": self._micro_steps,
            "averaged": self._averaged,
            "ema_swapped": self._ema_swapped,
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups],
            "memory": [dict(memory) for memory in self._memory],
            "state": [[{k: to_host(v).copy() for k, v in s.items()} for s in group] for group in self._state],
        }

    def check_state(self, saved):
        """Raise ValueError for a state that `load_state_dict` does not take."""
        self._require_bound()
        state.check(self, saved)

    def load_state_dict(self, saved):
        """Continue from what `state_dict` gave; the optimiser is bound to parameters of the same shapes."""
        self.check_state(saved)
        self.steps, self._micro_steps = saved["steps"], saved["micro_steps"]
        # Whether the parameters that go with it are averages.
        self._averaged, self._ema_swapped = saved.get("averaged", False), saved.get("ema_swapped", False)
        self._memory = [dict(memory) for memory in saved["memory"]]
        for group, options_of_group in zip(self.param_groups, saved["groups"], strict=True):
            group.update(options_of_group)
        for group, given in zip(self._state, saved["state"], strict=True):
            for mine, theirs in zip(group, given, strict=True):
                for name, value in mine.items():
                    device_of(value).copy(value, theirs[name])

    save, load = files.save, files.load

    def __repr__(self):
        defaults = {**UPDATES[self.name].hyperparameters, **options.GROUP, **options.WHOLE}
        shown = {k: v for k, v in {**self.hyperparameters, **self.whole}.items() if v != defaults[k]}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def check_optimizer(value):
    """Raise TypeError unless *value* is an optimiser."""
    if not isinstance(value, Optimizer):
        got = arguments.shown(value)
        raise TypeError(f"optimizer: got {got}, accepted are optimisers of numbadl.optim, such as AdamW(lr=1e-3)")
