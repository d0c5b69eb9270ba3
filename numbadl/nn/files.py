"""Models on disk: one safetensors file with the parameters, the running statistics and how the model was built."""

import json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import _arguments as arguments
from ..arrays import to_host
from ..kernels.atomic import atomic_path
from ..losses import loss as find_loss
from ..train import state
from .activations import ActivationMissing
from .layer import described, set_steps
from .sequential import Sequential

FORMAT = "numbadl.model"
VERSION = 1


class ModelFileError(ValueError):
    """A file is not a model of this library, or is damaged."""


def save(model, path, optimizer=None, history=None, callbacks=()):
    """Write *model* to *path*: to a temporary file that takes its place, so that a killed process loses nothing.

    With *optimizer*, what `numbadl.train.state` packs of a training is in the file as well.
    """
    path = arguments.path("path", path)
    arguments.check_can_write(path)
    description, tensors = packed(model)
    header = {"format": FORMAT, "version": str(VERSION), "model": json.dumps(description)}
    if optimizer is not None:
        training, more = state.packed(model, optimizer, history, callbacks)
        header["training"] = json.dumps(training)
        tensors |= {state.PREFIX + key: value for key, value in more.items()}
    elif history is not None or callbacks:
        raise TypeError("optimizer: got None, needed beside history and callbacks, for training to be resumed")
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, header)


def packed(model):
    """(a JSON-able dict, a dict of arrays): everything that a model is built from."""
    description = {
        "layers": [layer.description() for layer in model.layers],
        "dtype": model.dtype.name,
        "loss": _described(model.loss),
        "metadata": model.metadata,
    }
    return description, {key: np.ascontiguousarray(to_host(value)) for key, value in model.state().items()}


def unpickled(description, tensors, device, seed, steps):
    """The model of `packed`, on *device*, with its random streams where they were: what pickle and copy call."""
    model = _made(description)
    _fill(model, tensors, "a pickled model")
    model.reseed(seed)
    set_steps(model.layers, steps)
    return model.to(device)


def load(path):
    """Read a model that `Sequential.save` wrote.

    Raises
    ------
    TypeError : *path* is neither a string nor a path
    FileNotFoundError : there is no such file
    ModelFileError : it is not a model of this library, is damaged, or its tensors do not fit its layers
    """
    header, tensors = read(path)
    return _built(path, header, tensors)


def read(path):
    """(header, tensors) of a file that `save` wrote."""
    header, tensors = _read(arguments.path("path", path))
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: a safetensors file, but not a model of numbadl (no format {FORMAT!r} in its header)"
        )
    if header.get("version") != str(VERSION):
        raise ModelFileError(f"{path}: version {header.get('version')!r} of the format; this numbadl reads {VERSION}")
    return header, tensors


def _built(path, header, tensors):
    tensors = {key: value for key, value in tensors.items() if not key.startswith(state.PREFIX)}
    try:
        description = json.loads(header["model"])
        layers = [described(entry) for entry in description["layers"]]
        _check_fit({f"{i}.{k}": v for i, layer in enumerate(layers) for k, v in layer.shapes().items()}, tensors, path)
        model = _made(description, layers)
    except ModelFileError:
        raise
    except ActivationMissing as error:
        raise ModelFileError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, MemoryError) as error:
        raise ModelFileError(f"{path}: the description of the model is damaged: {error}") from None
    _fill(model, tensors, path)
    return model


def _made(description, layers=None):
    layers = [described(entry) for entry in description["layers"]] if layers is None else layers
    model = Sequential(*layers, dtype=description["dtype"])
    model.metadata, model.loss = _metadata(description), _loss(description)
    return model


def _read(path):
    with open(path, "rb"):
        pass  # a missing or unreadable file is an OSError that names it
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file: {error}") from None


def read_metadata(path):
    """The metadata of the model in a file, without its tensors; {} if the file is no model, or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return _metadata(json.loads((file.metadata() or {})["model"]))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _metadata(description):
    found = description.get("metadata") or {}
    if not isinstance(found, dict):
        raise TypeError(f"its metadata is {type(found).__name__}, not a dict")
    return found


def _described(loss):
    """A model's loss as JSON: its name, or with options a dict of both."""
    if loss is None or isinstance(loss, str):
        return loss
    options = {
        k: v if isinstance(v, (str, bool, int, float)) else np.asarray(v).tolist() for k, v in loss.given.items()
    }
    return {"name": loss.__name__, "options": options}


def _loss(description):
    found = description.get("loss")
    if isinstance(found, dict):
        return find_loss(found["name"]).with_options(**found["options"])
    return None if found is None else find_loss(found).__name__


def _check_fit(shapes, tensors, path):
    """Before anything is allocated: shapes that the layers declare are those of the file."""
    for key, shape in shapes.items():
        if key in tensors and tensors[key].shape != shape:
            raise ModelFileError(f"{path}: {key} is {tensors[key].dtype}{tensors[key].shape}, its layer has {shape}")


def _fill(model, tensors, path):
    check_fill(model, tensors, path)
    for key, value in model.state().items():
        model.device.copy(value, tensors[key])


def check_fill(model, tensors, path):
    """Raise ModelFileError unless the tensors are those of the model's state."""
    wanted = model.state()
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise ModelFileError(f"{path}: tensors do not fit the layers; missing: {missing}, unknown: {unknown}")
    for key, value in wanted.items():
        if tensors[key].shape != value.shape or tensors[key].dtype != value.dtype:
            raise ModelFileError(
                f"{path}: {key} is {tensors[key].dtype}{tensors[key].shape}, its layer has {value.dtype}{value.shape}"
            )
