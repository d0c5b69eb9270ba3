"""The options of ``numbadl train``: spelling, defaults, and what a resumed run takes from its checkpoint."""

import argparse
import re

from ._commandline import CommandError, name_list, number, whole_number

TASKS = ("regression", "binary", "multiclass", "multilabel")
SCHEDULES = ("constant", "cosine", "linear", "one-cycle", "plateau")
AUGMENTATIONS = {"noise": number(0, low_allowed=False), "shift": whole_number(1), "flip": None}  # None: takes no value
VALIDATION_FRACTION = 0.2  # where something is decided by it
# None on the command line means "not given": then these, or with --resume what the run has.
DEFAULTS = {
    "activation": "relu", "dropout": 0.2, "batch_norm": True, "optimizer": "adamw", "batch_size": 64, "seed": 0,
}  # fmt: skip
OF_A_RUN = (
    "data", "target", "ignore", "task", "test_fraction", "validation_fraction", "image", "conv", "layers", "activation",
    "dropout", "batch_norm", "augment", "optimizer", "lr", "weight_decay", "clip_norm", "schedule", "warmup",
    "early_stopping", "batch_size", "epochs", "seed",
)  # fmt: skip
_MAY_CHANGE = ("data", "epochs")  # the data may have moved; more epochs are more of the same


def add_arguments(parser):
    data = parser.add_argument_group("data", "without --data: the handwritten digits that come with the package")
    add = data.add_argument
    add("--data", metavar="FILE", help="CSV with a header line, or npz with arrays x and y")
    add("--target", type=name_list, metavar="COLUMN[,COLUMN]", help="what to predict; for npz an array (default y)")
    add("--ignore", type=name_list, metavar="COLUMN[,COLUMN]", help="columns to leave out")
    add("--task", choices=("auto", *TASKS), help="what kind of target it is; auto (default) looks at its values")
    add("--test-fraction", type=number(0, 1, False), metavar="P", help="share of rows kept for testing (default 0.25)")
    add(
        "--validation-fraction", type=number(0, 1, False), metavar="P",
        help="share of the other rows kept for --early-stopping and --schedule plateau (default with these 0.2)",
    )  # fmt: skip
    add("--image", type=_image, metavar="[Cx]HxW", help="what images the rows are, where the data does not say it")
    add(
        "--augment", type=_augment, metavar="NAME[=X],..",
        help="rows change as they are trained on: noise=STD (of the standardised numbers), and of images shift=N (pixels "
        "each way) and flip (left to right)",
    )  # fmt: skip

    add = parser.add_argument_group("network").add_argument
    add(
        "--conv", type=_conv, metavar="N[xK],..",
        help="a convolutional net: stages of K convolutions (3x3, default one) with N channels, each stage ends with "
        "pooling by 2; such as 32x2,64",
    )  # fmt: skip
    add("--layers", type=_widths, metavar="N,..", help="hidden layers, or none (default 256,256; after --conv none)")
    add("--activation", metavar="NAME", help="between layers: relu (default), silu, ...")
    add("--dropout", type=number(0, 1), metavar="P", help="share of units left out (default 0.2)")
    add("--no-batch-norm", dest="batch_norm", action="store_const", const=False, help="leave batch normalisation out")

    add = parser.add_argument_group("training").add_argument
    add("--optimizer", metavar="NAME", help="adamw (default), sgd (with momentum 0.9), ...")
    add("--lr", type=number(0, low_allowed=False), metavar="X", help="learning rate (default: sgd 0.05, adamw 0.001)")
    add(
        "--schedule", choices=SCHEDULES,
        help="how the learning rate goes on: constant (default), down to 0 as a cosine or linear, one-cycle (up to --lr "
        "and down), plateau (halved after 5 epochs without a better validation loss)",
    )  # fmt: skip
    add("--warmup", type=number(0, 1), metavar="P", help="share of the updates in which the learning rate rises first")
    add("--weight-decay", type=number(0), metavar="X", help="weight decay (default: the optimiser's own)")
    add("--clip-norm", type=number(0, low_allowed=False), metavar="X", help="scale gradients down to this norm")
    add("--batch-size", type=_batch_size, metavar="N", help="rows per update, or full (default 64)")
    add("--epochs", type=whole_number(1), metavar="N", help="passes over the data (default: about 1000 updates)")
    add(
        "--early-stopping", type=whole_number(1), metavar="N",
        help="stop after N epochs without a better validation loss; the weights of the best epoch are kept",
    )  # fmt: skip
    add("--seed", type=whole_number(0), metavar="N", help="for split, weights and order (default 0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto (default): CUDA if usable")
    add("--checkpoint", action="store_true", help="after each epoch, save all that --resume needs beside the model")
    add(
        "--resume", metavar="CHECKPOINT",
        help="go on with the run that --checkpoint saved, to the bit, with its options; --epochs counts those before",
    )  # fmt: skip
    add(
        "--compare", type=name_list, metavar="NAME,..",
        help="train once with each of these optimisers (optimizers: with all), each with its own default learning rate "
        "unless --lr is given; a table and a picture of curves, no model",
    )  # fmt: skip

    add = parser.add_argument_group("output").add_mutually_exclusive_group().add_argument
    add(
        "--out", metavar="DIR", help="folder for model, learning curves and history.csv (default runs/NAME-OF-THE-DATA)"
    )
    add("--model", metavar="PATH", help="the model's file; the others go beside it")
    parser.add_argument("--quiet", action="store_true", help="print the results only")


def complete(arguments):
    """Fill in the defaults, and refuse options that do not go together."""
    for name, value in DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.layers is None:
        arguments.layers = [] if arguments.conv else [256, 256]
    if arguments.data is None:
        for name in ("target", "ignore", "task", "test_fraction"):
            if getattr(arguments, name) is not None:
                raise CommandError(f"{flag(name)} needs --data: the built-in digits are what they are")
    if arguments.warmup is not None and arguments.schedule in ("one-cycle", "plateau"):
        raise CommandError(f"--warmup: --schedule {arguments.schedule} takes none; accepted are the other schedules")
    decided = [name for name in ("early_stopping", "resume", "checkpoint") if getattr(arguments, name)]
    if arguments.compare and decided:
        raise CommandError(f"{flag(decided[0])}: --compare trains with each optimiser to the end, and keeps no model")
    if arguments.validation_fraction is None and (arguments.early_stopping or arguments.schedule == "plateau"):
        arguments.validation_fraction = VALIDATION_FRACTION


def take_over(arguments, options, done):
    """Take the options of the run in ``arguments.resume``, which has *done* epochs; refuse others than these."""
    path = arguments.resume
    for name in OF_A_RUN:
        given, before = getattr(arguments, name), options.get(name)
        if given is None:
            setattr(arguments, name, before)
        elif given != before and name not in _MAY_CHANGE:
            has = "was begun without it" if before is None else f"has {_spelled(before)}"
            raise CommandError(f"{flag(name)}: got {_spelled(given)}, the run in {path} {has}")
    wanted = arguments.epochs
    if wanted != options["epochs"] and (arguments.warmup or arguments.schedule in ("cosine", "linear", "one-cycle")):
        whose = f"--schedule {arguments.schedule}" if arguments.schedule else "--warmup"
        raise CommandError(f"--epochs: got {wanted}, but {whose} of the run in {path} is for {options['epochs']}")
    if wanted <= done:
        raise CommandError(f"--epochs: got {wanted}, but the run in {path} has {done} already; accepted are more")
    arguments.checkpoint = True


def flag(name):
    """How an option is written."""
    return "--no-batch-norm" if name == "batch_norm" else f"--{name.replace('_', '-')}"


def _spelled(value):
    return (",".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


# -- types: what is checked stays as it was written, so that it can be shown and kept in a file --------------------------
def sizes(text):
    """The whole numbers of a text such as 3x28x28."""
    return tuple(int(size) for size in text.split("x"))


def _list(text, what, accept):
    found = [part.strip() for part in text.split(",")]
    if not all(accept(part) for part in found):
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are {what}")
    return found


def _image(text):
    if not re.fullmatch(r"(0*[1-9]\d*x)?0*[1-9]\d*x0*[1-9]\d*", text, re.ASCII):
        accepted = "HEIGHTxWIDTH and CHANNELSxHEIGHTxWIDTH, such as 28x28 and 3x32x32"
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are {accepted}")
    return "x".join(map(str, sizes(text)))


def _conv(text):
    what = "numbers of channels parted by commas, each with x and a number of convolutions or without, such as 32x2,64"
    return _list(text, what, lambda part: re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", part, re.ASCII))


def _augment(text):
    def accept(part):
        name, _, value = part.partition("=")
        if name not in AUGMENTATIONS:
            return False
        kind = AUGMENTATIONS[name]
        if kind is None:
            return part == name
        try:
            return kind(value) is not None
        except argparse.ArgumentTypeError:
            return False

    return _list(text, "noise=STANDARD-DEVIATION, shift=PIXELS and flip, parted by commas", accept)


def _widths(text):
    try:
        return [] if text.strip().lower() == "none" else [whole_number(1)(width) for width in text.split(",")]
    except argparse.ArgumentTypeError:
        accepted = "numbers of units parted by commas, each 1 or more, and none"
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are {accepted}") from None


def _batch_size(text):
    return text if text == "full" else whole_number(1)(text)
