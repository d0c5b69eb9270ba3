"""Modules: those of torch.nn with numbadl's kernels, and one for each activation and loss that torch has not.

A module that torch has is a subclass of torch's, with its arguments, attributes and state_dict; only what it computes is
another. `replace` therefore exchanges modules of a model in place.
"""

import inspect

import torch

from . import activations, dropouts, losses, norms, rows

_TORCH = torch.nn


def _activation(function):
    """The module of an activation: torch's own with our forward, or a new one."""
    record, names = function.operations.native.record, function.parameters
    theirs = getattr(_TORCH, record.layer, None)
    if theirs is not None and record.random:

        def forward(self, input):
            return function(input, *(getattr(self, name) for name in names[:-1]), self.training, self.inplace)

    elif theirs is not None:
        held = tuple(
            name for name in names if name != "dim"
        )  # torch's prelu has its channels along axis 1, as ours has
        operation = function.operations.forward
        direct = not record.learnable and len(held) == len(function.operations.options)

        def forward(self, input):
            values = [getattr(self, name) for name in held]
            if direct and not getattr(self, "inplace", False):
                return operation.first(input, *values)
            return function(input, **dict(zip(held, values, strict=True)), inplace=getattr(self, "inplace", False))

    else:
        return _new_activation(function)
    return _subclass(theirs, forward)


def _new_activation(function):
    operations = function.operations
    defaults = {p.name: p.default for p in operations.native.record.learnable}
    options = {name: default for name, default in operations.options.items() if name != "axis"}
    has_dim = "axis" in operations.options

    def __init__(self, num_parameters=1, *, dim=1, device=None, dtype=None, **given):
        _TORCH.Module.__init__(self)
        if unknown := set(given) - set(defaults) - set(options):
            accepted = ", ".join((*defaults, *options)) or "none"
            raise TypeError(f"{type(self).__name__}: got unknown options {sorted(unknown)}, accepted are {accepted}")
        for name, default in defaults.items():
            value = torch.full((num_parameters,), float(given.get(name, default)), device=device, dtype=dtype)
            setattr(self, name, _TORCH.Parameter(value))
        for name, default in options.items():
            setattr(self, name, given.get(name, default))
        self.dim = dim

    def forward(self, input):
        values = {name: getattr(self, name) for name in (*defaults, *options)}
        return function(input, **values, **({"dim": self.dim} if has_dim else {}))

    def extra_repr(self):
        return ", ".join(f"{name}={getattr(self, name)}" for name in options)

    layer = operations.native.record.layer
    return type(layer, (_TORCH.Module,), {"__init__": __init__, "forward": forward, "extra_repr": extra_repr})


def _subclass(theirs, forward):
    return type(theirs.__name__, (theirs,), {"forward": forward, "__doc__": f"torch.nn.{theirs.__name__}, by numbadl."})


def _rows(name):
    def forward(self, input):
        dim = self.dim
        if dim is None:  # as torch chooses it
            dim = 0 if input.dim() in (0, 1, 3) else 1
        return rows.FUNCTIONS[name](input, dim)

    return forward


class _Sparsemax(_TORCH.Module):
    """sparsemax along *dim*."""

    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return rows.FUNCTIONS["sparsemax"](input, self.dim)


def _dropout(name):
    def forward(self, input):
        return dropouts.FUNCTIONS[name](input, self.p, self.training, self.inplace)

    return forward


def _batch_norm(self, input):
    """As torch's: the batch's statistics in training or where none are kept, and the running ones otherwise."""
    self._check_input_dim(input)
    momentum = 0.0 if self.momentum is None else self.momentum
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
    own = self.training or (self.running_mean is None and self.running_var is None)
    kept = not self.training or self.track_running_stats
    statistics = (self.running_mean, self.running_var) if kept else (None, None)
    return norms.batch_norm(input, *statistics, self.weight, self.bias, own, momentum, self.eps)


def _instance_norm(theirs):
    def forward(self, input):
        self._check_input_dim(input)
        if self.track_running_stats or input.dim() == self._get_no_batch_dim():
            return theirs.forward(self, input)  # what numbadl's has not
        return norms.instance_norm(input, self.weight, self.bias, self.eps)

    return forward


def _layer_norm(self, input):
    return norms.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


def _rms_norm(self, input):
    return norms.rms_norm(input, self.normalized_shape, self.weight, self.eps)


def _group_norm(self, input):
    return norms.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def _loss(name, init):
    """The forward of a loss's module, whose constructor is *init*."""
    function, held = losses.FUNCTIONS[losses.TORCH_NAMES[name][0]], inspect.signature(init).parameters
    options = tuple(option for option in losses.NATIVE[name].options if option in held)

    def forward(self, input, target):
        return function(input, target, **{option: getattr(self, option) for option in options})

    return forward


class HingeLoss(_TORCH.Module):
    """The hinge loss of scores and labels -1 and 1; see `numbadl.losses.hinge`."""

    def __init__(self, squared=False, reduction="mean"):
        super().__init__()
        self.squared, self.reduction = squared, reduction

    forward = _loss("hinge", __init__)


_FORWARDS = {
    **{
        layer: _rows(name)
        for layer, name in (("Softmax", "softmax"), ("LogSoftmax", "log_softmax"), ("Softmin", "softmin"))
    },
    "GLU": lambda self, input: rows.FUNCTIONS["glu"](input, self.dim),
    **{f"BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    **{name: _instance_norm(getattr(_TORCH, name)) for name in (f"InstanceNorm{n}d" for n in (1, 2, 3))},
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "GroupNorm": _group_norm,
    "Dropout": _dropout("dropout"),
    "AlphaDropout": _dropout("alpha_dropout"),
    **{f"Dropout{n}d": _dropout(f"dropout{n}d") for n in (1, 2, 3)},
    **{
        layer: _loss(name, getattr(_TORCH, layer).__init__)
        for name, (_, layer) in losses.TORCH_NAMES.items()
        if hasattr(_TORCH, layer)
    },
}
MODULES = {
    function.operations.native.record.layer: _activation(function)
    for name, function in activations.FUNCTIONS.items()
    if name != "identity"  # torch's costs nothing
}
MODULES |= {name: _subclass(getattr(_TORCH, name), forward) for name, forward in _FORWARDS.items()}
MODULES |= {"Sparsemax": _Sparsemax, "HingeLoss": HingeLoss}
for _name, _module in MODULES.items():
    _module.__name__ = _module.__qualname__ = _name
    _module.__module__ = __name__
Identity = _TORCH.Identity
globals().update(MODULES)


def replace(model):
    """Make every module of *model* that numbadl has one of numbadl's, in place, and return the model.

    Weights, buffers, hooks, names and training mode stay: torch's own modules (and not subclasses of them) get numbadl's
    class, which is a subclass of theirs.

    Examples
    --------
    >>> import torch
    >>> from numbadl.interop.torch import replace
    >>> replace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))[1].__module__
    'numbadl.interop.torch.nn'
    """
    for module in model.modules():
        ours = MODULES.get(type(module).__name__)
        if ours is not None and ours.__base__ is type(module):
            module.__class__ = ours
    return model
