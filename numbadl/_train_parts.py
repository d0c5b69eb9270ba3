"""What ``numbadl train`` gives to fit: the optimiser with its schedule, augmentation, callbacks."""

import inspect

from ._commandline import CommandError

# Of optimisers whose learning rate has no default.
_DEFAULTS = {"sgd": {"lr": 0.05, "momentum": 0.9}, "lars": {"lr": 0.1, "trust_coefficient": 0.02}}
_PLATEAU = {"factor": 0.5, "patience": 5}


def known_optimizers():
    """Names as the command line has them -> classes."""
    from . import optim

    known = {name.lower(): kind for name, kind in vars(optim).items() if isinstance(kind, type)}
    return {
        name: kind for name, kind in known.items() if issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
    }


def optimizer(arguments, name, steps):
    """The optimiser of that name; an epoch has so many *steps*."""
    known, given, name = known_optimizers(), name, name.lower()
    if name not in known:
        raise CommandError(f"--optimizer: got {given!r}, accepted are {', '.join(known)}")
    accepted = inspect.signature(known[name]).parameters
    if arguments.weight_decay is not None and "weight_decay" not in accepted:
        raise CommandError(f"--weight-decay: {known[name].__name__} has none")
    given = {option: getattr(arguments, option) for option in ("lr", "weight_decay", "clip_norm")}
    options = _DEFAULTS.get(name, {}) | {option: value for option, value in given.items() if value is not None}
    options["lr"] = _rate(arguments, options.get("lr", accepted["lr"].default), arguments.epochs * steps)
    return known[name](**options)


def _rate(arguments, lr, total):
    """The learning rate, as a number or a schedule of *total* updates."""
    from .optim import schedules

    warmup = round((arguments.warmup or 0) * total)
    rest = max(total - warmup, 1)
    if arguments.schedule == "cosine":
        return schedules.Cosine(lr, total=rest, warmup=warmup)
    if arguments.schedule == "linear":
        return schedules.Polynomial(lr, total=rest, warmup=warmup)
    if arguments.schedule == "one-cycle":
        return schedules.OneCycle(lr, total=total)
    return schedules.Constant(lr, warmup=warmup) if warmup else lr


def augmentation(arguments, image):
    """What --augment asks for, or None; *image* is the shape of the images that the rows are."""
    from .data import augmentation as ours

    if not arguments.augment:
        return None
    found = []
    for part in arguments.augment:
        name, _, value = part.partition("=")
        found.append({"noise": ours.Noise, "shift": ours.Shift, "flip": ours.Flip}[name](*_numbers(name, value)))
    every = ours.Compose(*found)
    return every if image is None else ours.Reshaped(every, image)


def _numbers(name, value):
    return [{"noise": float, "shift": int}[name](value)] if value else []


def deciding(arguments, optimizer):
    """The callbacks that change how training goes on."""
    from . import train

    found = [train.EarlyStopping(patience=arguments.early_stopping)] if arguments.early_stopping else []
    return [*found, train.ReduceOnPlateau(optimizer, **_PLATEAU)] if arguments.schedule == "plateau" else found


def recording(arguments, files):
    """The callbacks that write down what was learnt."""
    from . import train

    class Counted(train.Callback):
        """Says with the model how many whole epochs it has had."""

        def on_epoch_end(self, model, history):
            model.metadata["numbadl_train"]["epochs"] = len(history.epochs)

    found = [Counted(), train.CSVLogger(files.history)]
    if arguments.checkpoint:
        # Braces in the name of a folder are no places to be filled in.
        found.append(train.ModelCheckpoint(str(files.checkpoint).replace("{", "{{").replace("}", "}}")))
    return found
