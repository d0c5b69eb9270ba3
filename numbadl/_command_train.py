"""``numbadl train``: a network for the built-in digits, or for the user's own table."""

import hashlib
import math
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import _comparison, _machine
from ._commandline import INTERRUPTED, CommandError, describe_os_error, metrics_table, print_pairs, user_input, warn
from ._train_network import image_shape, network
from ._train_options import OF_A_RUN, add_arguments, complete, take_over
from ._train_parts import augmentation, deciding, known_optimizers, optimizer, recording

__all__ = ["add_arguments", "run"]

_UPDATES = 1_000  # aimed at when --epochs is not given
_EPOCHS = (10, 200)
_TEST_FRACTION = 0.25
_DIGITS = "digits"
_CHECKPOINT = "checkpoint.safetensors"


class _Files(NamedTuple):
    """Where everything goes."""

    model: Path
    curves: Path
    history: Path
    checkpoint: Path

    @classmethod
    def within(cls, folder):
        names = ("model.safetensors", "learning_curves.png", "history.csv", _CHECKPOINT)
        return cls(*(folder / name for name in names))

    @classmethod
    def beside(cls, model):
        return cls(model, *(model.with_suffix(ending) for ending in (".png", ".history.csv", f".{_CHECKPOINT}")))

    @classmethod
    def of_checkpoint(cls, path):
        """Those of the run that the checkpoint is of."""
        name = path.name.removesuffix(f".{_CHECKPOINT}")
        files = cls.within(path.parent) if name == path.name else cls.beside(path.with_name(f"{name}.safetensors"))
        return files._replace(checkpoint=path)


class _Data(NamedTuple):
    """The table, and pairs (x, y) of its parts, ready for the network; validation is None unless something asks for it."""

    table: object
    preprocessor: object
    image: tuple | None  # (channels, height, width) of a row, where it is trained on as an image
    train: tuple
    validation: tuple | None
    test: tuple

    def parts(self):
        """Names of the parts that there are -> pairs."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}


class _Plan(NamedTuple):
    """What is trained, on what, and how."""

    arguments: object
    options: dict  # of the run, as they were given, before the data had its say
    data: _Data
    files: _Files

    def network(self):
        return network(self.arguments, self.data.table, self.data.train[0].shape[1], self.data.image)

    def optimizer(self, name):
        return optimizer(self.arguments, name, math.ceil(len(self.data.train[0]) / self.arguments.batch_size))

    def fit(self, model, optimizer, callbacks, progress):
        from ._tasks import LOSSES

        arguments, data = self.arguments, self.data
        return model.fit(
            *data.train,
            loss=LOSSES[data.table.task],
            optimizer=optimizer,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            validation_data=data.validation or data.test,
            augmentation=augmentation(arguments, data.image),
            callbacks=callbacks,
            seed=arguments.seed,
            resume=arguments.resume,
            progress=progress,
        )


def run(arguments):
    with user_input():
        saved = _saved(arguments) if arguments.resume else None
        complete(arguments)
        options = {name: getattr(arguments, name) for name in OF_A_RUN}
        data = _read(arguments)
        files = _files(arguments)
        if saved is not None and saved.get("digest") != _digest(data.table):
            raise CommandError(
                f"{data.table.source}: holds other data than the run in {arguments.resume} was trained on"
            )
        _settle(arguments, len(data.train[0]))
        device = _machine.choose_device(arguments.device)
        plan = _Plan(arguments, options | {"epochs": arguments.epochs}, data, files)
        model = plan.network()
        names = [arguments.optimizer]
        if arguments.compare:
            names = _comparison.chosen(arguments.compare, known_optimizers())
        optimizers = {name: plan.optimizer(name) for name in names}
        model.to(device)
    if not arguments.quiet:
        print_pairs(_setup(arguments, data, device))
        print(f"\n{model.summary()}\n", flush=True)
    if arguments.compare:
        return _compare(plan, device, optimizers)
    return _train(plan, model, optimizers[arguments.optimizer])


def _train(plan, model, optimizer):
    """Train, print what came of it, and save."""
    from .train import EarlyStopping, TrainingInterrupted, state

    arguments, data, files = plan.arguments, plan.data, plan.files
    model.metadata = {"numbadl_train": _description(plan)}
    with user_input():
        found = [*deciding(arguments, optimizer), *recording(arguments, files)]
        if arguments.resume:
            state.check(arguments.resume, model, optimizer, found, arguments.seed)
    start, status = time.perf_counter(), 0
    try:
        history = plan.fit(model, optimizer, found, progress=not arguments.quiet)
    except FloatingPointError as error:
        raise CommandError(f"training diverged: {error}; try a smaller --lr") from error
    except OSError as error:  # a disc that is full by now
        raise CommandError(describe_os_error(error)) from error
    except TrainingInterrupted as stop:
        if not stop.steps:
            raise
        history, status = stop.history, INTERRUPTED
        more = f"; --resume {files.checkpoint} goes on after epoch {len(history.epochs)}"
        more = more if arguments.checkpoint and history.epochs else ""
        print(f"\nnumbadl: {stop}, and is saved{more}", file=sys.stderr)
    seconds = time.perf_counter() - start
    print(("" if arguments.quiet else "\n") + metrics_table(**_metrics(model, data)) + "\n")
    with user_input():
        model.save(files.model)
    pairs = [("time", f"{seconds:.1f} s"), ("model", files.model), ("curves", _save_curves(history, files.curves))]
    if history.epochs:
        pairs.append(("history", files.history))
        if arguments.checkpoint:
            pairs.append(("checkpoint", files.checkpoint))
    stopping = next((callback for callback in found if isinstance(callback, EarlyStopping)), None)
    if stopping is not None and not status:
        pairs.insert(0, ("epochs", f"{len(history.epochs)}; the weights are those of epoch {stopping.best_epoch}"))
    print_pairs(pairs)
    return status


def _compare(plan, device, optimizers):
    """A network of the same first weights for each optimiser."""

    def train(optimizer):
        found = deciding(plan.arguments, optimizer)
        return plan.fit(plan.network().to(device), optimizer, found, progress=False)

    folder, held_out = plan.files.model.parent, "test" if plan.data.validation is None else "validation"
    _comparison.compare(optimizers, train, folder, held_out, progress=not plan.arguments.quiet)
    return 0


def _saved(arguments):
    """What `_description` said of the run to be resumed, whose options the arguments get."""
    from .nn import load
    from .train import state

    path = arguments.resume
    saved = state.read(path)
    description = load(path).metadata.get("numbadl_train")
    if not isinstance(description, dict) or not set(OF_A_RUN) <= set(description.get("options") or ()):
        raise CommandError(f"{path}: holds a training, but none that numbadl train --checkpoint saved")
    if saved.description["stopped"]:
        raise CommandError(f"{path}: the run stopped early, after epoch {len(saved.history.epochs)}: it is at its end")
    take_over(arguments, description["options"], len(saved.history.epochs))
    return description


def _files(arguments):
    """Where everything goes; raises now what would otherwise be raised after training."""
    from ._arguments import check_can_write

    if arguments.model:
        if arguments.compare:
            raise CommandError(f"--model {arguments.model}: --compare writes no model; --out names its folder")
        files = _Files.beside(Path(arguments.model))
        if files.model in files[1:]:
            raise CommandError(f"--model {files.model}: another file would have this name; .safetensors is usual")
    elif arguments.out:
        files = _Files.within(Path(arguments.out))
    elif arguments.resume:
        files = _Files.of_checkpoint(Path(arguments.resume))
    else:
        files = _Files.within(_own_folder(arguments.data))
    for path in files:
        check_can_write(path)
        if arguments.data and os.path.realpath(path) == os.path.realpath(arguments.data):
            raise CommandError(f"{path}: is the data, and would be written; --out names another folder")
    return files


def _own_folder(data):
    """runs/NAME-OF-THE-DATA; with a number if the model there was trained on another file of that name."""
    folder = chosen = Path("runs", Path(data or _DIGITS).stem)
    number = 1
    while any(path.exists() and not _trained_on(data, path) for path in _Files.within(chosen)[::3]):
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    if chosen != folder:
        warn(f"{folder} holds the model of other data, and stays; this one goes to {chosen}")
    return chosen


def _trained_on(data, model):
    from .nn.files import read_metadata

    source = (read_metadata(model).get("numbadl_train") or {}).get("source")
    if data is None or source in (None, _DIGITS):
        return source == (data or _DIGITS)
    return os.path.realpath(source) == os.path.realpath(data)


def _read(arguments):
    """The table, split, and preprocessed by what the training rows say."""
    import numpy as np

    from .data import Preprocessor, read_table
    from .data.digits import digits_table

    if arguments.data is None:
        table = digits_table()
    else:
        # Double precision until the columns are standardised: float32 does not tell 1700000000 from 1700000001.
        table = read_table(
            arguments.data, arguments.target, arguments.task or "auto", np.float64, ignore=arguments.ignore or ()
        )
    if table.test_rows is None:
        fraction = arguments.test_fraction or _TEST_FRACTION
        train_rows, test_rows = _apart(table, np.arange(len(table.x)), fraction, arguments.seed)
    elif arguments.test_fraction is not None:
        raise CommandError(f"--test-fraction: {table.source} says itself which rows are for testing")
    else:
        test_rows = table.test_rows
        train_rows = np.delete(np.arange(len(table.x)), test_rows)
    parts = {"train": train_rows, "validation": None, "test": test_rows}
    if arguments.validation_fraction is not None:
        kept, validation = _apart(table, train_rows, arguments.validation_fraction, arguments.seed)
        parts |= {"train": train_rows[kept], "validation": train_rows[validation]}
    image = image_shape(arguments, table)
    preprocessor = Preprocessor.fit(table, parts["train"], image)
    parts = {name: None if rows is None else _part(table, preprocessor, rows) for name, rows in parts.items()}
    return _Data(table, preprocessor, image, **parts)


def _apart(table, rows, fraction, seed):
    """Two parts of some rows, the second with that fraction; classes in proportion."""
    from .data import split

    stratify = table.labels is not None
    return split(table.labels[rows] if stratify else rows, fraction, seed, stratify=stratify)


def _part(table, preprocessor, rows):
    import numpy as np

    y = preprocessor.transform_target(table.y[rows])
    return preprocessor.transform(table.x[rows]), y if table.task == "multiclass" else y.astype(np.float32)


def _settle(arguments, n_rows):
    """Fill in what the data decides: rows per update, number of epochs, whether batch norm is possible."""
    size = n_rows if arguments.batch_size == "full" else arguments.batch_size
    arguments.batch_size = size = min(size, n_rows)
    if size == 1 and arguments.batch_norm and arguments.layers:
        arguments.batch_norm = False
        warn("no batch normalisation: updates of one row have no batch statistics")
    if arguments.batch_norm and arguments.layers:
        # A last batch of one row has no statistics either.
        while n_rows % arguments.batch_size == 1:
            arguments.batch_size += 1
        if arguments.batch_size != size:
            warn(f"{arguments.batch_size} rows per update instead of {size}, which would leave a single one over")
    low, high = _EPOCHS
    steps = math.ceil(n_rows / arguments.batch_size)
    arguments.epochs = arguments.epochs or max(low, min(high, math.ceil(_UPDATES / steps)))


def _setup(arguments, data, device):
    table = data.table
    kinds = {"regression": f"regression of {', '.join(table.target_names)}"}
    names = ", ".join(table.classes or ())
    task = kinds.get(table.task, f"{table.task}, {len(table.classes or ())} classes: {names}")
    where = _machine.cuda()[1] if device == "cuda" else f"{_machine.threads()} threads, {_machine.cpu()['model']}"
    apart = "" if data.validation is None else f"{len(data.validation[0]):,} for validation, "
    return [
        ("device", f"{device} ({where})"),
        ("data", f"{table.source}: {len(table.x):,} rows, {table.x.shape[1]} features"),
        ("task", task if len(task) < 100 else task[:96] + " ..."),
        ("rows", f"{len(data.train[0]):,} for training, {apart}{len(data.test[0]):,} for testing"),
        (
            "training",
            f"{arguments.epochs} epochs, {arguments.batch_size} rows per update, "
            f"{' and '.join(arguments.compare or [arguments.optimizer])}, seed {arguments.seed}",
        ),
        *([("resumed", arguments.resume)] if arguments.resume else []),
    ]


def _metrics(model, data):
    """Metrics of each part of the rows."""
    from ._tasks import evaluate

    return {name: evaluate(model, data.preprocessor, *part) for name, part in data.parts().items()}


def _description(plan):
    """What `numbadl predict` needs beside the network, and what --resume does."""
    table = plan.data.table
    return {
        "task": table.task,
        "classes": table.classes and list(table.classes),
        "target": plan.options["target"],
        "target_names": list(table.target_names),
        "preprocessor": plan.data.preprocessor.to_dict(),
        "source": str(table.source),
        "digest": _digest(table),
        "epochs": 0,  # completed, of those in the options
        "options": plan.options,
    }


def _digest(table):
    """The same for the same data."""
    found = hashlib.sha256()
    for array in (table.x, table.y):
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _save_curves(history, path):
    """Save the picture; without matplotlib, or with a disc that is full by now, the model is still worth having."""
    from .plot import learning_curves

    if not history.epochs:
        return "not drawn: no epoch was completed"
    try:
        return learning_curves(history, path)
    except (ImportError, OSError) as error:
        warn(f"no learning curves: {error}")
        return "not drawn"
