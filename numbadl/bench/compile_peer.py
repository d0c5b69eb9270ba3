"""PyTorch's functions through ``torch.compile``, which needs a C++ compiler and some seconds for each."""

import functools

import torch
from torch.nn import functional as F

from . import torch_peer
from .torch_peer import array, to_numpy

__all__ = ["FORWARD", "NAME", "PARTS", "VERSION", "array", "chain", "to_numpy"]
NAME, VERSION = "torch.compile", torch.__version__

_compiled = functools.partial(torch.compile, dynamic=False)
chain = functools.partial(torch_peer.chain, made=_compiled)


def _forward(function):
    compiled = _compiled(function)

    def run(x, out):
        with torch.no_grad():
            return compiled(x)

    return run


FORWARD = {
    name: _forward(function)
    for name, function in {
        "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu, "elu": F.elu,
        "selu": F.selu, "softplus": F.softplus, "mish": F.mish, "hardswish": F.hardswish, "leaky_relu": F.leaky_relu,
        "exp": torch.exp, "log": torch.log, "erf": torch.erf,
    }.items()
}  # fmt: skip


def _rows(function):
    compiled = _compiled(lambda x: function(x, -1))

    def prepare(x):
        x = torch.from_numpy(x)
        return lambda: compiled(x)

    return prepare


PARTS = {"softmax": _rows(torch.softmax), "log_softmax": _rows(torch.log_softmax)}
PARTS |= {name: torch_peer.normalised(_compiled(function)) for name, function in torch_peer.NORMS.items()}
PARTS |= {
    f"{name}.both": torch_peer.normalised(_compiled(function), backward=True)
    for name, function in torch_peer.NORMS.items()
}
PARTS["batch_norm.relu"] = torch_peer.normalised(_compiled(torch_peer.batch_norm_relu))
PARTS["training_step"] = functools.partial(torch_peer.training_step, made=_compiled)
PARTS["network_step"] = functools.partial(torch_peer.network_step, made=_compiled)
