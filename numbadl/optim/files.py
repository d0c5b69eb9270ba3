"""An optimiser's state on disk: one safetensors file with its buffers, steps and hyperparameters."""

import json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import _arguments as arguments
from ..kernels.atomic import atomic_path
from . import schedules

FORMAT = "numbadl.optimizer"
VERSION = "1"


def save(optimizer, path):
    """Write the state to *path* (safetensors), whole or not at all; training that continues from it gives the same bits."""
    path = arguments.path("path", path)
    arguments.check_can_write(path)
    description, tensors = packed(optimizer)
    header = {
        "format": FORMAT, "version": VERSION, "optimizer": type(optimizer).__name__,
        "description": json.dumps(description),
    }  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, header)


def packed(optimizer):
    """The state as a JSON-able dict and a dict of arrays, which `unpacked` takes."""
    saved = optimizer.state_dict()
    tensors = {
        f"{g}.{k}.{name}": np.ascontiguousarray(value)
        for g, group in enumerate(saved.pop("state"))
        for k, state in enumerate(group)
        for name, value in state.items()
    }
    saved["groups"] = [{k: schedules.to_json(v) for k, v in group.items()} for group in saved["groups"]]
    return saved, tensors


def load(optimizer, path):
    """Continue from the state that `save` wrote; the optimiser is bound to parameters of the same shapes.

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : it is no state of this kind of optimiser, is damaged, or does not fit the parameters; nothing was changed
    """
    path = arguments.path("path", path)
    with open(path, "rb"):
        pass  # a missing or unreadable file is an OSError that names it
    try:
        with safe_open(path, framework="numpy") as file:
            header, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from None
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ValueError(
            f"{path}: a safetensors file, but not version {VERSION} of the state of an optimiser of numbadl"
        )
    if header.get("optimizer") != type(optimizer).__name__:
        raise ValueError(f"{path}: the state of {header.get('optimizer')}, not of {type(optimizer).__name__}")
    try:
        saved = unpacked(optimizer, json.loads(header["description"]), tensors)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: its state is damaged, or that of other parameters: {error}") from None
    try:
        optimizer.check_state(saved)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    optimizer.load_state_dict(saved)


def unpacked(optimizer, description, tensors):
    """What `Optimizer.load_state_dict` takes; *optimizer* is bound to parameters like those that were."""
    state = [[{} for _ in group["params"]] for group in optimizer.param_groups]
    for key, value in tensors.items():
        g, k, name = key.split(".", 2)
        state[int(g)][int(k)][name] = value
    groups = [{k: schedules.from_json(v) for k, v in group.items()} for group in description["groups"]]
    if len(groups) == len(optimizer.param_groups):  # functions of the user are in no file: they stay what they are
        for mine, theirs in zip(optimizer.param_groups, groups, strict=True):
            theirs.update({k: mine[k] for k, v in theirs.items() if v is schedules.NOT_SAVED})
    return {**description, "groups": groups, "state": state}
