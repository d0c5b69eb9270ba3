"""``numbadl train --compare``: one network, trained with one optimiser after the other; a table and a picture of curves."""

import csv
import math

from ._commandline import CommandError, print_pairs, warn

EVERY = "optimizers"  # stands for all of them
TABLE, PICTURE = "comparison.csv", "comparison.png"
_STYLES = ("-", "--", ":")


def chosen(names, known):
    """The optimisers that are meant, in the order of their names in *known*, or as they were given."""
    if names == [EVERY]:
        return list(known)
    for name in names:
        if name.lower() not in known:
            raise CommandError(f"--compare: got {name!r}, accepted are {EVERY} for all of them, and {', '.join(known)}")
    return [name.lower() for name in names]


def compare(optimizers, train, folder, held_out="test", progress=True):
    """Train once with each, print and write the table, the best loss of the held-out rows first, and draw the curves.

    Parameters
    ----------
    optimizers : name -> optimiser, not bound yet
    train : function of an optimiser that gives the history, or raises FloatingPointError where the training diverges
    folder : where the files go
    held_out : what the rows are called that are not trained on
    """
    from .kernels.atomic import atomic_path

    rows, histories = [], {}
    for name, optimizer in optimizers.items():
        if progress:
            print(f"{name} ...", flush=True)
        lr = optimizer.hyperparameters["lr"]
        row = {
            "optimizer": name,
            "lr": getattr(lr, "lr", lr),
        }  # of a schedule, the rate that it starts from or goes up to
        try:
            histories[name] = train(optimizer)
            rows.append({**row, **histories[name].last()})
        except FloatingPointError as error:
            warn(f"{name}: {error}")
            rows.append({**row, "val_loss": math.nan})
    rows.sort(key=lambda row: math.inf if math.isnan(row["val_loss"]) else row["val_loss"])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(folder / TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(_text(rows, columns, held_out))
    print_pairs([("\ntable", folder / TABLE), ("curves", _draw(histories, folder / PICTURE, held_out))])


def _text(rows, columns, held_out):
    """The table in columns; what did not train to the end has no numbers."""
    titles = [name.replace("val_", f"{held_out} ").replace("_", " ") for name in columns]
    cells = [[_cell(row.get(name, math.nan)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    lines = [[cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))]
             for row in (titles, *cells)]  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _cell(value):
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _draw(histories, path, held_out):
    if not histories:
        return "not drawn: no training came to its end"
    try:
        from .plot import COLOURS, panels, save

        training, test = found = panels("training loss", f"{held_out} loss")
    except ImportError as error:
        warn(f"no curves: {error}")
        return "not drawn"
    for place, (name, history) in enumerate(histories.items()):
        look = {"color": COLOURS[place % len(COLOURS)], "linestyle": _STYLES[place // len(COLOURS) % len(_STYLES)]}
        training.plot(history.epochs, history["loss"], **look)
        test.plot(history.epochs, history["val_loss"], **look, label=name)
    for panel in found:
        panel.set_xlabel("epoch")
        panel.locator_params(axis="x", integer=True)
        panel.set_yscale("log")
    test.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return save(found, path)
