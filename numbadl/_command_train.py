"""``numbadl train``: a network for the built-in digits, or for the user's own table."""

import argparse
import inspect
import math
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import _comparison, _machine
from ._commandline import (
    INTERRUPTED,
    CommandError,
    metrics_table,
    name_list,
    number,
    print_pairs,
    user_input,
    warn,
    whole_number,
)

_TASKS = ("regression", "binary", "multiclass", "multilabel")
# Of optimisers whose learning rate has no default.
_DEFAULTS = {"sgd": {"lr": 0.05, "momentum": 0.9}, "lars": {"lr": 0.1, "trust_coefficient": 0.02}}
_UPDATES = 1_000  # aimed at when --epochs is not given
_EPOCHS = (10, 200)
_TEST_FRACTION = 0.25
_MODEL, _DIGITS = "model.safetensors", "digits"


class _Data(NamedTuple):
    """What is trained on and tested with; train and test are pairs (x, y), ready for the network."""

    table: object
    preprocessor: object
    train: tuple
    test: tuple


def add_arguments(parser):
    data = parser.add_argument_group("data", "without --data: the handwritten digits that come with the package")
    add = data.add_argument
    add("--data", metavar="FILE", help="CSV with a header line, or npz with arrays x and y")
    add("--target", type=name_list, metavar="COLUMN[,COLUMN]", help="what to predict; for npz an array (default y)")
    add("--ignore", type=name_list, metavar="COLUMN[,COLUMN]", help="columns to leave out")
    add("--task", choices=("auto", *_TASKS), help="what kind of target it is; auto (default) looks at its values")
    add("--test-fraction", type=number(0, 1, False), metavar="P", help="share of rows kept for testing (default 0.25)")

    add = parser.add_argument_group("network").add_argument
    add("--layers", type=_widths, default=[256, 256], metavar="N[,N]", help="hidden layers, or none (default 256,256)")
    add("--activation", default="relu", metavar="NAME", help="between layers: relu (default), silu, ...")
    add("--dropout", type=number(0, 1), default=0.2, metavar="P", help="share of units left out (default 0.2)")
    add("--no-batch-norm", dest="batch_norm", action="store_false", help="leave batch normalisation out")

    add = parser.add_argument_group("training").add_argument
    add("--optimizer", default="adamw", metavar="NAME", help="adamw (default), sgd (with momentum 0.9), ...")
    add("--lr", type=number(0, low_allowed=False), metavar="X", help="learning rate (default: sgd 0.05, adamw 0.001)")
    add("--weight-decay", type=number(0), metavar="X", help="weight decay (default: the optimiser's own)")
    add("--batch-size", type=_batch_size, default=64, metavar="N", help="rows per update, or full (default 64)")
    add("--epochs", type=whole_number(1), metavar="N", help="passes over the data (default: about 1000 updates)")
    add("--seed", type=whole_number(0), default=0, metavar="N", help="for split, weights and order (default 0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto (default): CUDA if usable")

    add(
        "--compare", type=name_list, metavar="NAME[,NAME]",
        help="train once with each of these optimisers (optimizers: with all), each with its own default learning rate "
        "unless --lr is given; a table and a picture of curves, no model",
    )  # fmt: skip

    add = parser.add_argument_group("output").add_mutually_exclusive_group().add_argument
    add("--out", metavar="DIR", help="folder for model and learning curves (default runs/NAME-OF-THE-DATA)")
    add("--model", metavar="PATH", help="the model's file; the curves go beside it")
    parser.add_argument("--quiet", action="store_true", help="print the results only")


def run(arguments):
    from .train import TrainingInterrupted

    with user_input():
        model_path, curves_path = _output_paths(arguments)
        data = _read(arguments)
        _settle(arguments, len(data.train[0]))
        device = _machine.choose_device(arguments.device)
        model = _network(arguments, data.table, data.train[0].shape[1])
        if arguments.compare:
            known = _known_optimizers()
            optimizers = {name: _optimizer(arguments, name) for name in _comparison.chosen(arguments.compare, known)}
        else:
            optimizer = _optimizer(arguments, arguments.optimizer)
        model.to(device)
    if not arguments.quiet:
        print_pairs(_setup(arguments, data, device))
        print(f"\n{model.summary()}\n", flush=True)
    if arguments.compare:
        return _compare(arguments, data, device, optimizers, model_path.parent)
    start, status = time.perf_counter(), 0
    try:
        history = _fit(arguments, data, model, optimizer, progress=not arguments.quiet)
    except FloatingPointError as error:
        raise CommandError(f"training diverged: {error}; try a smaller --lr") from error
    except TrainingInterrupted as stop:
        if not stop.steps:
            raise
        history, status = stop.history, INTERRUPTED
        print(f"\nnumbadl: {stop}, and is saved", file=sys.stderr)
    seconds = time.perf_counter() - start
    print(("" if arguments.quiet else "\n") + metrics_table(**_metrics(model, data)) + "\n")
    with user_input():
        model_path.parent.mkdir(parents=True, exist_ok=True)
        model.save(model_path, metadata={"numbadl_train": _description(arguments, data, history)})
    curves = _save_curves(history, curves_path)
    print_pairs([("time", f"{seconds:.1f} s"), ("model", model_path), ("curves", curves)])
    return status


def _fit(arguments, data, model, optimizer, progress):
    from ._tasks import LOSSES

    return model.fit(
        *data.train,
        loss=LOSSES[data.table.task],
        optimizer=optimizer,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=data.test,
        seed=arguments.seed,
        progress=progress,
    )


def _compare(arguments, data, device, optimizers, folder):
    """A network of the same first weights for each optimiser."""

    def train(optimizer):
        model = _network(arguments, data.table, data.train[0].shape[1]).to(device)
        return _fit(arguments, data, model, optimizer, progress=False)

    _comparison.compare(optimizers, train, folder, progress=not arguments.quiet)
    return 0


def _widths(text):
    try:
        return [] if text.strip().lower() == "none" else [whole_number(1)(width) for width in text.split(",")]
    except argparse.ArgumentTypeError:
        accepted = "numbers of units parted by commas, each 1 or more, and none"
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are {accepted}") from None


def _batch_size(text):
    return None if text == "full" else whole_number(1)(text)


def _output_paths(arguments):
    """Where the model and the picture go; raises now what would otherwise be raised after training."""
    from ._arguments import check_can_write

    if arguments.model:
        if arguments.compare:
            raise CommandError(f"--model {arguments.model}: --compare writes no model; --out names its folder")
        model = Path(arguments.model)
        curves = model.with_suffix(".png")
        if curves == model:
            raise CommandError(f"--model {model}: the learning curves would have the same name; .safetensors is usual")
    else:
        folder = Path(arguments.out) if arguments.out else _own_folder(arguments.data)
        model, curves = folder / _MODEL, folder / "learning_curves.png"
    check_can_write(model)
    check_can_write(curves)
    return model, curves


def _own_folder(data):
    """runs/NAME-OF-THE-DATA; with a number if the model there was trained on another file of that name."""
    folder = chosen = Path("runs", Path(data or _DIGITS).stem)
    number = 1
    while (chosen / _MODEL).exists() and not _trained_on(data, chosen / _MODEL):
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

    from .data import Preprocessor, read_table, split
    from .data.digits import digits_table

    if arguments.data is None:
        for option in ("target", "ignore", "task", "test_fraction"):
            if getattr(arguments, option) is not None:
                raise CommandError(f"--{option.replace('_', '-')} needs --data: the built-in digits are what they are")
        table = digits_table()
    else:
        # Double precision until the columns are standardised: float32 does not tell 1700000000 from 1700000001.
        table = read_table(
            arguments.data, arguments.target, arguments.task or "auto", np.float64, ignore=arguments.ignore or ()
        )
    if table.test_rows is None:
        by = np.arange(len(table.x)) if table.labels is None else table.labels
        fraction = arguments.test_fraction or _TEST_FRACTION
        train_rows, test_rows = split(by, fraction, arguments.seed, stratify=table.labels is not None)
    elif arguments.test_fraction is not None:
        raise CommandError(f"--test-fraction: {table.source} says itself which rows are for testing")
    else:
        test_rows = table.test_rows
        train_rows = np.delete(np.arange(len(table.x)), test_rows)
    preprocessor = Preprocessor.fit(table, train_rows)
    train, test = (_part(table, preprocessor, rows) for rows in (train_rows, test_rows))
    return _Data(table, preprocessor, train, test)


def _part(table, preprocessor, rows):
    import numpy as np

    y = preprocessor.transform_target(table.y[rows])
    return preprocessor.transform(table.x[rows]), y if table.task == "multiclass" else y.astype(np.float32)


def _network(arguments, table, n_features):
    """Linear, batch norm, activation, dropout for each hidden layer, and a linear layer for the outputs."""
    from . import nn
    from ._tasks import n_outputs

    layers, width = [], n_features
    for next_width in arguments.layers:
        layers.append(nn.Linear(width, next_width))
        if arguments.batch_norm:
            layers.append(nn.BatchNorm(next_width))
        layers.append(nn.activation_layer(arguments.activation))
        if arguments.dropout:
            layers.append(nn.Dropout(arguments.dropout))
        width = next_width
    layers.append(nn.Linear(width, n_outputs(table)))
    return nn.Sequential(*layers, seed=arguments.seed)


def _known_optimizers():
    """Names as the command line has them -> classes."""
    from . import optim

    known = {name.lower(): kind for name, kind in vars(optim).items() if isinstance(kind, type)}
    return {
        name: kind for name, kind in known.items() if issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
    }


def _optimizer(arguments, name):
    known, given, name = _known_optimizers(), name, name.lower()
    if name not in known:
        raise CommandError(f"--optimizer: got {given!r}, accepted are {', '.join(known)}")
    options = {"lr": arguments.lr, "weight_decay": arguments.weight_decay}
    if arguments.weight_decay is not None and "weight_decay" not in inspect.signature(known[name]).parameters:
        raise CommandError(f"--weight-decay: {known[name].__name__} has none")
    given = {option: value for option, value in options.items() if value is not None}
    return known[name](**{**_DEFAULTS.get(name, {}), **given})


def _settle(arguments, n_rows):
    """Fill in what the data decides: rows per update, number of epochs, whether batch norm is possible."""
    arguments.batch_size = size = min(arguments.batch_size or n_rows, n_rows)
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
    return [
        ("device", f"{device} ({where})"),
        ("data", f"{table.source}: {len(table.x):,} rows, {table.x.shape[1]} features"),
        ("task", task if len(task) < 100 else task[:96] + " ..."),
        ("rows", f"{len(data.train[0]):,} for training, {len(data.test[0]):,} for testing"),
        (
            "training",
            f"{arguments.epochs} epochs, {arguments.batch_size} rows per update, "
            f"{' and '.join(arguments.compare or [arguments.optimizer])}, seed {arguments.seed}",
        ),
    ]


def _metrics(model, data):
    """Metrics on training and test rows."""
    from ._tasks import evaluate

    return {name: evaluate(model, data.preprocessor, *getattr(data, name)) for name in ("train", "test")}


def _description(arguments, data, history):
    """What `numbadl predict` needs beside the network, and how the model came about."""
    table = data.table
    options = ("layers", "activation", "dropout", "batch_norm", "optimizer", "lr", "weight_decay", "batch_size")
    options = (*options, "epochs", "seed")
    return {
        "task": table.task,
        "classes": table.classes and list(table.classes),
        "target": arguments.target,
        "target_names": list(table.target_names),
        "preprocessor": data.preprocessor.to_dict(),
        "source": str(table.source),
        "epochs": len(history.epochs),  # completed, of those in the options
        "options": {option: getattr(arguments, option) for option in options},
    }


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
