"""``numbadl train``: a network for the built-in digits, or for the user's own table."""

import math
import time
from pathlib import Path

from . import _machine
from ._commandline import (
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
_DEFAULT_LR = {"sgd": 0.05}  # with momentum 0.9; the adaptive optimisers bring their own default
_UPDATES = 1_000  # aimed at when --epochs is not given
_EPOCHS = (10, 200)
_TEST_FRACTION = 0.25


def add_arguments(parser):
    data = parser.add_argument_group("data", "without --data: the handwritten digits that come with the package")
    data.add_argument("--data", metavar="FILE", help="CSV with a header line, or npz with arrays x and y")
    data.add_argument("--target", type=name_list, metavar="COLUMN[,COLUMN]", help="what to predict (npz: array, y)")
    data.add_argument("--ignore", type=name_list, metavar="COLUMN[,COLUMN]", help="columns to leave out")
    data.add_argument("--task", choices=("auto", *_TASKS), help="auto looks at the target's values (default)")
    data.add_argument("--test-fraction", type=number(0, 1, False), metavar="P", help="share of rows kept for testing")

    network = parser.add_argument_group("network")
    network.add_argument("--layers", type=_widths, default=[128], metavar="N[,N]", help="hidden layers (128); or none")
    network.add_argument("--activation", default="relu", metavar="NAME", help="relu, silu, ... (relu)")
    network.add_argument("--dropout", type=number(0, 1), default=0.2, metavar="P", help="share of units left out (0.2)")
    network.add_argument("--no-batch-norm", dest="batch_norm", action="store_false", help="no batch normalisation")

    training = parser.add_argument_group("training")
    training.add_argument("--optimizer", default="adamw", metavar="NAME", help="adamw, sgd (momentum 0.9), ... (adamw)")
    training.add_argument("--lr", type=number(0, low_allowed=False), metavar="X", help="learning rate (sgd 0.05)")
    training.add_argument("--weight-decay", type=number(0), metavar="X", help="weight decay (the optimiser's own)")
    training.add_argument(
        "--batch-size", type=_batch_size, default=64, metavar="N", help="rows per update, or full (64)"
    )
    training.add_argument(
        "--epochs", type=whole_number(1), metavar="N", help="passes over the data (about 1000 updates)"
    )
    training.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="for split, weights, order (0)")
    training.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA if usable")

    output = parser.add_argument_group("output").add_mutually_exclusive_group()
    output.add_argument("--out", metavar="DIR", help="folder for model and learning curves (runs/<name of the data>)")
    output.add_argument("--model", metavar="PATH", help="the model's file; the curves go beside it")
    parser.add_argument("--quiet", action="store_true", help="results only")


def run(arguments):
    import numpy as np

    from ._tasks import LOSSES, evaluate

    with user_input():
        model_path, curves_path = _output_paths(arguments)
        table, train_rows, test_rows, preprocessor = _read(arguments)
        train, test = (_part(table, preprocessor, rows) for rows in (train_rows, test_rows))
        device = _machine.choose_device(arguments.device)
        model = _network(arguments, table, train[0].shape[1])
        optimizer = _optimizer(arguments)
        model.to(device)
    batch_size = min(arguments.batch_size or len(train_rows), len(train_rows))
    epochs = arguments.epochs or _epochs(len(train_rows), batch_size)
    if not arguments.quiet:
        print_pairs(_setup(arguments, table, device, len(train_rows), len(test_rows), batch_size, epochs))
        print(f"\n{model.summary()}\n")
    start = time.perf_counter()
    history = model.fit(
        *train,
        loss=LOSSES[table.task],
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        validation_data=test,
        seed=arguments.seed,
        progress=not arguments.quiet,
    )
    seconds = time.perf_counter() - start
    metrics = {name: evaluate(model, preprocessor, *part) for name, part in (("train", train), ("test", test))}
    if not np.isfinite(metrics["train"]["loss"]):
        raise CommandError(f"training diverged: the loss is {metrics['train']['loss']}; try a smaller --lr")
    print(("" if arguments.quiet else "\n") + metrics_table(**metrics) + "\n")
    with user_input():
        model_path.parent.mkdir(parents=True, exist_ok=True)
        model.save(model_path, metadata={"numbadl_train": _description(arguments, table, preprocessor, epochs)})
    curves = _save_curves(history, curves_path)
    print_pairs([("time", f"{seconds:.1f} s"), ("model", model_path), ("curves", curves)])
    return 0


def _widths(text):
    return [] if text.strip().lower() in ("none", "0", "") else [whole_number(1)(width) for width in text.split(",")]


def _batch_size(text):
    return None if text == "full" else whole_number(1)(text)


def _output_paths(arguments):
    """Where the model and the picture go; raises now what would otherwise be raised after training."""
    from ._atomic import check_can_write

    if arguments.model:
        model = Path(arguments.model)
        curves = model.with_suffix(".png")
        if curves == model:
            raise CommandError(f"--model {model}: the learning curves would have the same name; .safetensors is usual")
    else:
        folder = Path(arguments.out or Path("runs", Path(arguments.data or "digits").stem))
        model, curves = folder / "model.safetensors", folder / "learning_curves.png"
    check_can_write(model)
    check_can_write(curves)
    return model, curves


def _read(arguments):
    """Table, training rows, test rows and the preprocessor fitted on the training rows."""
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
    return table, train_rows, test_rows, Preprocessor.fit(table, train_rows)


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


def _optimizer(arguments):
    from . import optim

    known = {name.lower(): getattr(optim, name) for name in optim.__all__ if name != "Optimizer"}
    known = {name: kind for name, kind in known.items() if isinstance(kind, type) and issubclass(kind, optim.Optimizer)}
    name = arguments.optimizer.lower()
    if name not in known:
        raise CommandError(f"--optimizer {arguments.optimizer!r} came; one of {', '.join(known)} is accepted")
    options = {"lr": arguments.lr or _DEFAULT_LR.get(name), "weight_decay": arguments.weight_decay}
    if name == "sgd":
        options["momentum"] = 0.9
    return known[name](**{option: value for option, value in options.items() if value is not None})


def _epochs(n_rows, batch_size):
    low, high = _EPOCHS
    return max(low, min(high, math.ceil(_UPDATES / math.ceil(n_rows / batch_size))))


def _setup(arguments, table, device, n_train, n_test, batch_size, epochs):
    kinds = {"regression": f"regression of {', '.join(table.target_names)}"}
    names = ", ".join(table.classes or ())
    task = kinds.get(table.task, f"{table.task}, {len(table.classes or ())} classes: {names}")
    where = _machine.cuda()[1] if device == "cuda" else f"{_machine.threads()} threads, {_machine.cpu()['model']}"
    return [
        ("device", f"{device} ({where})"),
        ("data", f"{table.source}: {len(table.x):,} rows, {table.x.shape[1]} features"),
        ("task", task if len(task) < 100 else task[:96] + " ..."),
        ("rows", f"{n_train:,} for training, {n_test:,} for testing"),
        ("training", f"{epochs} epochs, {batch_size} rows per update, {arguments.optimizer}, seed {arguments.seed}"),
    ]


def _description(arguments, table, preprocessor, epochs):
    """What `numbadl predict` needs beside the network, and how the model came about."""
    options = ("activation", "batch_norm", "batch_size", "dropout", "layers", "lr", "optimizer", "seed", "weight_decay")
    return {
        "task": table.task,
        "classes": table.classes and list(table.classes),
        "target": arguments.target,
        "target_names": list(table.target_names),
        "preprocessor": preprocessor.to_dict(),
        "source": str(table.source),
        "options": {**{option: getattr(arguments, option) for option in options}, "epochs": epochs},
    }


def _save_curves(history, path):
    """Save the picture; without matplotlib, or with a disc that is full by now, the model is still worth having."""
    from .plot import learning_curves

    try:
        return learning_curves(history, path)
    except (ImportError, OSError) as error:
        warn(f"no learning curves: {error}")
        return "not drawn"
