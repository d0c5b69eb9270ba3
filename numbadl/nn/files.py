"""Models on disk: one safetensors file with the parameters, the running statistics and how the model was built."""

import json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .._atomic import atomic_path
from ..arrays import to_host
from .layer import LAYERS

FORMAT = "numbadl.model"
VERSION = 1


class ModelFileError(ValueError):
    """A file is not a model of this library, or is damaged."""


def save(model, path):
    """Write *model* to *path*: to a temporary file that then takes its place, so that a killed process loses nothing."""
    description = {
        "layers": [{"type": type(layer).__name__, **layer.config()} for layer in model.layers],
        "dtype": model.dtype.name,
        "loss": model.loss,
        "metadata": model.metadata,
    }
    tensors = {key: np.ascontiguousarray(to_host(value)) for key, value in model.state().items()}
    header = {"format": FORMAT, "version": str(VERSION), "model": json.dumps(description)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, header)


def load(path):
    """Read a model that `Sequential.save` wrote.

    Raises
    ------
    FileNotFoundError : there is no such file
    ModelFileError : it is not a model of this library, is damaged, or its tensors do not fit its layers
    """
    header, tensors = _read(path)
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: a safetensors file, but not a model of numbadl (no format {FORMAT!r} in its header)"
        )
    if header.get("version") != str(VERSION):
        raise ModelFileError(f"{path}: version {header.get('version')!r} of the format; this numbadl reads {VERSION}")
    try:
        description = json.loads(header["model"])
        model = _build(description)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description of the model is damaged: {error}") from None
    _fill(model, tensors, path)
    model.metadata, model.loss = description.get("metadata") or {}, description.get("loss")
    return model


def _read(path):
    with open(path, "rb"):
        pass  # a missing or unreadable file is an OSError that names it
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file: {error}") from None


def _build(description):
    from .sequential import Sequential

    layers = []
    for entry in description["layers"]:
        options = dict(entry)
        layers.append(LAYERS[options.pop("type")](**options))
    return Sequential(*layers, dtype=description["dtype"])


def _fill(model, tensors, path):
    state = model.state()
    missing, unknown = sorted(set(state) - set(tensors)), sorted(set(tensors) - set(state))
    if missing or unknown:
        raise ModelFileError(f"{path}: tensors do not fit the layers; missing: {missing}, unknown: {unknown}")
    for key, value in state.items():
        if tensors[key].shape != value.shape or tensors[key].dtype != value.dtype:
            raise ModelFileError(
                f"{path}: {key} is {tensors[key].dtype}{tensors[key].shape}, its layer has {value.dtype}{value.shape}"
            )
        model.device.copy(value, tensors[key])
