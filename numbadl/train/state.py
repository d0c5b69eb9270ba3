"""A training in a file beside its model: the optimiser's state, the history, callbacks, and where the layers' masks are."""

import json

import numpy as np

from .. import _arguments as arguments
from ..arrays import to_host
from ..nn.layer import set_steps, steps_of
from ..optim import files as optimizer_files
from .history import History

PREFIX = "training."  # of the names of tensors that do not belong to the model


def packed(model, optimizer, history=None, callbacks=()):
    """(a JSON-able dict, a dict of arrays): everything that training continues from, but for the model's own state."""
    history = History() if history is None else history
    if not isinstance(history, History):
        raise TypeError(f"history: got {arguments.shown(history)}, accepted is what fit returns")
    optimizer.check_bound_to(model)
    state, tensors = optimizer_files.packed(optimizer)
    tensors = {f"optimizer.{key}": value for key, value in tensors.items()}
    states = []
    for position, callback in enumerate(callbacks):
        plain = {}
        for key, value in callback.state_dict().items():
            if isinstance(value, np.ndarray):
                tensors[f"callback.{position}.{key}"] = np.ascontiguousarray(value)
            else:
                plain[key] = value
        states.append({"type": type(callback).__name__, "state": plain})
    description = {
        "optimizer": type(optimizer).__name__,
        "state": state,
        "history": history.to_dict(),
        "callbacks": states,
        "seed": model.seed,
        "steps": steps_of(model.layers),
        "stopped": bool(getattr(model, "stop_training", False)),
    }
    return description, tensors


def read(path):
    """The `Saved` training in a file."""
    from ..nn import files  # which imports this package

    header, tensors = files.read(path)
    if "training" not in header:
        raise files.ModelFileError(
            f"{path}: has a model, but no training to resume; model.save(path, optimizer=..., history=...) writes one"
        )
    try:
        return Saved(path, json.loads(header["training"]), tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise files.ModelFileError(f"{path}: the description of the training is damaged: {error}") from None


def check(path, model, optimizer, callbacks, seed):
    """Raise what ``fit(resume=path)`` with the same arguments would; the optimiser is bound to the model."""
    from .callbacks import Training  # which imports this module

    optimizer.bind(model)
    saved = read(path)
    saved.check(Training(model, optimizer, None, callbacks, saved.history, seed, None))


class Saved:
    """A training as a file has it: `check`, which changes nothing, then `restore`."""

    def __init__(self, path, description, tensors):
        self.path, self.description = path, description
        self.history = History.from_dict(description["history"])
        self._model = {key: value for key, value in tensors.items() if not key.startswith(PREFIX)}
        rest = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
        self._optimizer = {k.removeprefix("optimizer."): v for k, v in rest.items() if k.startswith("optimizer.")}
        self._callbacks = [dict(entry["state"]) for entry in description["callbacks"]]
        for key, value in rest.items():
            if key.startswith("callback."):
                _, position, name = key.split(".", 2)
                self._callbacks[int(position)][name] = value

    def check(self, training):
        """Raise ValueError unless the model, the optimiser, the callbacks and the seed are like those that were saved."""
        from ..nn import files

        given, path = self.description, self.path
        files.check_fill(training.model, self._model, path)
        if given["optimizer"] != type(training.optimizer).__name__:
            got = type(training.optimizer).__name__
            raise ValueError(f"optimizer: got {got}, the training in {path} has {given['optimizer']}")
        if given["seed"] != training.seed:
            raise ValueError(f"seed: got {training.seed}, the training in {path} has {given['seed']}")
        if len(given["steps"]) != len(steps_of(training.model.layers)):
            raise ValueError(f"{path}: its layers' numbers of steps are those of other layers")
        saved = [entry["type"] for entry in given["callbacks"]]
        if saved and saved != [type(callback).__name__ for callback in training.callbacks]:
            raise ValueError(f"callbacks: got {list(training.callbacks)}, the training in {path} has {saved}")
        state = self._state(training.optimizer)
        try:
            training.optimizer.check_state(state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def restore(self, training):
        """Put everything in place, for the epoch that comes next."""
        model = training.model
        for key, value in model.state().items():
            model.device.copy(value, self._model[key])
        set_steps(model.layers, self.description["steps"])
        training.optimizer.load_state_dict(self._state(training.optimizer))
        for callback, saved in zip(training.callbacks, self._callbacks, strict=False):
            callback.load_state_dict(saved)
        model.stop_training = self.description["stopped"]

    def _state(self, optimizer):
        try:
            return optimizer_files.unpacked(optimizer, self.description["state"], self._optimizer)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.path}: its optimiser's state is that of other parameters: {error}") from None


def copies(model):
    """Key -> a copy on the host of everything that the model's file would have."""
    return {key: to_host(value).copy() for key, value in model.state().items()}


def put_back(model, kept):
    """Make the model's state what `copies` gave."""
    for key, value in model.state().items():
        model.device.copy(value, kept[key])
