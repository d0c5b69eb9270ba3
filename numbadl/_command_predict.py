"""``numbadl predict``: a model that ``numbadl train`` saved, applied to the rows of a file."""

import csv
import sys

from . import _machine
from ._commandline import CommandError, metrics_table, user_input


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="a file that numbadl train saved")
    parser.add_argument("file", metavar="FILE", help="CSV or npz with the model's features; other columns are ignored")
    parser.add_argument("--out", metavar="CSV", help="file for the predictions (standard output)")
    parser.add_argument(
        "--evaluate", action="store_true", help="compare with FILE's targets; metrics on standard error"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA if usable")


def run(arguments):
    from ._arguments import check_can_write
    from ._tasks import evaluate, predictions
    from .data.table import open_source
    from .kernels.atomic import atomic_path

    with user_input():
        if arguments.out:
            check_can_write(arguments.out)
        model, description, preprocessor = _load(arguments.model)
        source = open_source(arguments.file)
        x = preprocessor.read(source)
        y = _targets(source, description, preprocessor) if arguments.evaluate else None
        model.to(_machine.choose_device(arguments.device))
    header, rows = predictions(model.predict(x), description, preprocessor)
    if y is not None:
        print(metrics_table(**{arguments.file: evaluate(model, preprocessor, x, y)}), file=sys.stderr)
    if not arguments.out:
        _write(sys.stdout, header, rows)
        return 0
    with (
        user_input(),
        atomic_path(arguments.out) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        _write(file, header, rows)
    return 0


def _load(path):
    """The network, the description that `numbadl train` saved with it, and its preprocessor."""
    from . import nn
    from .data import Preprocessor

    model = nn.load(path)
    description = (model.metadata or {}).get("numbadl_train")
    if description is None:
        raise CommandError(
            f"{path}: a model without the description of its features and classes, which numbadl train saves; "
            "numbadl.nn.load(path).predict(x) uses it from Python"
        )
    return model, description, Preprocessor.from_dict(description["preprocessor"])


def _targets(source, description, preprocessor):
    """The file's own targets in the form of the loss; a class that the model does not know is an error."""
    import numpy as np

    from .data.npz_source import NpzSource
    from .data.table import target_columns
    from .data.target import encode_target

    by_array = isinstance(source, NpzSource)
    names = source.target_names(description["target"] if by_array else description["target_names"])
    if len(names) != len(description["target_names"]):
        raise CommandError(f"{source.path}: {len(names)} targets, the model has {len(description['target_names'])}")
    columns = target_columns(source, names)
    y, _, _ = encode_target(columns, description["task"], description["classes"], np.float64)
    y = preprocessor.transform_target(y)
    return y if description["task"] == "multiclass" else y.astype(np.float32)


def _write(file, header, rows):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
