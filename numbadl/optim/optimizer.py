"""The optimiser classes: parameter groups, state and its saving; the arithmetic is the rule's, in one kernel."""

import numpy as np

from .. import _arguments as arguments
from ..arrays import check, check_shape, device_of, to_host, writeable
from ..elementwise import run_map
from ..kernels.scalar.updates import UPDATES


class Optimizer:
    """Base class.

    Parameters
    ----------
    params : an array, a list of arrays, a list of groups (dicts with "params" and own hyperparameters), or a model;
        None leaves the optimiser unbound, until ``fit`` binds it. Arrays are updated in place, and are C-contiguous.
    lr : learning rate
    maximize : climb instead of descend

    Attributes
    ----------
    param_groups : list of dicts; change ``group["lr"]`` between steps at will
    """

    def __init__(self, params=None, **hyperparameters):
        self._check(hyperparameters)
        self.hyperparameters, self.param_groups, self._state = hyperparameters, [], []
        self.steps, self._model = 0, None
        if params is not None:
            self.bind(params)

    def rule(self, group):
        """The `numbadl.kernels.scalar.updates.Update` for a group's hyperparameters."""
        raise NotImplementedError

    def _check(self, h):
        """Raise for a wrong value among all hyperparameters, the optimiser's own or those of a group."""
        for name in ("lr", "eps", "weight_decay", "momentum", "dampening"):
            if name in h:
                arguments.number(name, h[name])
        if "betas" in h:
            arguments.betas("betas", h["betas"])

    # -- binding ----------------------------------------------------------------------------------------------
    def bind(self, params):
        """Take parameters (see the class) and start with empty state."""
        model = params if hasattr(params, "flat_parameters") else None
        if model is not None:
            groups = [{"params": [params.flat_parameters]}]
        elif isinstance(params, (list, tuple)) and params and isinstance(params[0], dict):
            groups = [dict(group) for group in params]
        else:
            groups = [{"params": params}]
        checked = []
        for group in groups:
            given = group.pop("params", None)
            unknown = set(group) - set(self.hyperparameters)
            if unknown:
                raise ValueError(
                    f"param group: unknown options {sorted(unknown)}, accepted are {sorted(self.hyperparameters)}"
                )
            group = {**self.hyperparameters, **group}
            self._check(group)
            arrays = arguments.array_list("params", given)
            checked.append({**group, "params": [self._checked(a) for a in arrays]})
        params = [p for group in checked for p in group["params"]]
        if len(set(map(id, params))) != len(params):
            raise ValueError("params: the same array stands in two places")
        state = [[self._zeros(group, p) for p in group["params"]] for group in checked]
        self.steps, self._model, self.param_groups, self._state = 0, model, checked, state

    def _require_bound(self):
        if not self.is_bound:
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
        if self._model is not None and self._model.flat_parameters is not self.param_groups[0]["params"][0]:
            raise RuntimeError("the model's parameters moved since the optimiser was bound: call bind(model) again")

    @staticmethod
    def _checked(array):
        check(params=array)
        if isinstance(array, np.ndarray) and not array.flags.carray:
            raise ValueError("params: have to be writeable, C-contiguous arrays, because they are updated in place")
        return array

    def _zeros(self, group, array):
        device = device_of(array)
        return {name: device.zeros(array.shape, array.dtype) for name in self.rule(group).state}

    # -- steps ------------------------------------------------------------------------------------------------
    def step(self, grads=None):
        """One update of all parameters, in place.

        Parameters
        ----------
        grads : gradients in the order of the parameters, in the form that these were given in; may be left out for
            a model, whose own gradients are then taken

        Raises
        ------
        RuntimeError : the optimiser is unbound, or the model moved its buffers (`to`) since it was bound
        TypeError, ValueError : a gradient's number, kind, dtype or shape does not fit; nothing was changed
        """
        self._require_bound()
        model = self._model
        self._check_in_place()
        if grads is None:
            if model is None:
                raise TypeError("grads: needed, because the optimiser was not bound to a model")
            grads = model.flat_gradients
        grads = self._match(grads)
        self.steps += 1
        for group, states, gradients in zip(self.param_groups, self._state, grads, strict=True):
            rule = self.rule(group)
            hyper = {**group, "scale": -1.0 if group.get("maximize") else 1.0}
            scalars = rule.scalars(self.steps, hyper)
            for param, grad, state in zip(group["params"], gradients, states, strict=True):
                _update(rule, param, grad, state, scalars)

    def _match(self, grads):
        """The gradients by group, checked against the parameters."""
        flat = arguments.array_list("grads", grads)
        params = [p for group in self.param_groups for p in group["params"]]
        if len(flat) != len(params):
            raise ValueError(f"grads: got {len(flat)} arrays for {len(params)} parameters")
        for k, (param, grad) in enumerate(zip(params, flat, strict=True)):
            name = f"grads[{k}]"
            check(**{f"params[{k}]": param, name: grad})
            check_shape(name, grad, param.shape, "that of the parameter")
            if isinstance(grad, np.ndarray) and np.may_share_memory(grad, param) and np.shares_memory(grad, param):
                raise ValueError(f"{name}: shares memory with the parameter")
        flat = iter(writeable(np.require(g, requirements="CA")) if isinstance(g, np.ndarray) else g for g in flat)
        return [[next(flat) for _ in group["params"]] for group in self.param_groups]

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
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups],
            "state": [[{k: to_host(v).copy() for k, v in s.items()} for s in group] for group in self._state],
        }

    def load_state_dict(self, saved):
        """Continue from what `state_dict` gave; the optimiser is bound to parameters of the same shapes."""
        self._require_bound()
        if missing := {"steps", "groups", "state"} - set(saved):
            raise ValueError(f"state: has no {sorted(missing)}")
        if len(saved["groups"]) != len(self.param_groups):
            raise ValueError(f"state: has {len(saved['groups'])} groups, the optimiser {len(self.param_groups)}")
        shapes = [[{k: v.shape for k, v in s.items()} for s in group] for group in self._state]
        given = [[{k: v.shape for k, v in s.items()} for s in group] for group in saved["state"]]
        if shapes != given:
            raise ValueError(f"state: shapes {given} do not fit the parameters' {shapes}")
        self.steps = saved["steps"]
        for group, options in zip(self.param_groups, saved["groups"], strict=True):
            group.update(options)
        for group, given in zip(self._state, saved["state"], strict=True):
            for mine, theirs in zip(group, given, strict=True):
                for name, value in mine.items():
                    device_of(value).copy(value, theirs[name])

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters.items())})"


def _update(rule, param, grad, state, scalars):
    if param.size:
        device = device_of(param)
        device.prepare(param.size)
        flat = [a.reshape(-1) for a in (param, *state.values())]
        values = [param.dtype.type(s) for s in scalars]
        run_map(f"update.{rule.name}", flat[0], grad.reshape(-1), *flat[1:], *flat, *values)


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's look-ahead if asked for: v = mu v + (1 - dampening) g, w -= lr v.

    State: none without momentum, 4 bytes for each float32 parameter with it. weight_decay is L2: it is added to g.
    """

    def __init__(
        self, params=None, *, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize,
        )  # fmt: skip

    def _check(self, h):
        super()._check(h)
        if h["nesterov"] and (h["momentum"] <= 0 or h["dampening"] != 0):
            raise ValueError("nesterov: needs a momentum above 0, and no dampening")

    def rule(self, group):
        return UPDATES["sgd_momentum" if group["momentum"] else "sgd"]


class AdamW(Optimizer):
    """Adam with decoupled weight decay: w *= 1 - lr wd, then w -= lr mhat / (sqrt(vhat) + eps).

    State: 8 bytes for each float32 parameter.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = nd.optim.AdamW(w, lr=0.1, weight_decay=0.0)
    >>> for _ in range(200):
    ...     optimizer.step(2 * w)  # the gradient of w**2
    >>> bool(np.abs(w).max() < 0.01)
    True
    """

    def __init__(
        self, params=None, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, maximize=False
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, betas=arguments.betas("betas", betas), eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def rule(self, group):
        return UPDATES["adamw"]
