"""Pictures of training, and panels in their style for your own. They need matplotlib: ``pip install numbadl[plot]``."""

import math
from pathlib import Path

from . import _arguments as arguments
from .kernels.atomic import atomic_path
from .train.diagnosis import turning_epoch

BLUE, ORANGE, INK, FAINT = "#2a6fbb", "#d9622b", "#333333", "#d8d8d8"
# Safe for colour-blind eyes: M. Okabe, K. Ito, Color universal design, 2008, but for the first two and the last.
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
FORMATS = ("png", "svg")
_TRAIN, _VALIDATION = BLUE, ORANGE
_PANEL_INCHES = (4.8, 3.3)
_PANELS_PER_ROW = 3
_LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": INK}


def learning_curves(history, path):
    """Draw each metric over the epochs, training and validation in one panel, and save the picture as PNG.

    Where the losses say overfit (`numbadl.train.diagnosis`), a line in their panel marks the epoch where validation turned.

    Parameters
    ----------
    history : object
        ``history.epochs``, a list of epoch numbers, and ``history.metrics``, a mapping of names to lists of as many
        numbers. A name that starts with ``val_`` belongs to the validation rows. NaN and infinity leave gaps.
    path : str or path
        The PNG file; folders on the way are made. It is written under another name and renamed.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no epochs or no metrics, or a metric's length is not the number of epochs.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import tempfile
    >>> from numbadl.plot import learning_curves
    >>> history = SimpleNamespace(epochs=[1, 2, 3], metrics={"loss": [1.5, 0.5, 0.25], "val_loss": [1.6, 0.7, 0.5]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learning_curves(history, f"{folder}/curves.png").name
    'curves.png'
    """
    epochs, metrics = list(history.epochs), {name: list(values) for name, values in history.metrics.items()}
    _check(epochs, metrics)
    names = list(dict.fromkeys(name.removeprefix("val_") for name in metrics))
    figure, found = _grid(len(names))
    for panel, name in zip(found, names, strict=True):
        _draw(panel, name, epochs, metrics.get(name), metrics.get(f"val_{name}"))
        turned = turning_epoch(history) if name == "loss" else None
        if turned is not None:
            panel.axvline(turned, color=INK, linewidth=0.9, linestyle=":", label=f"overfits from epoch {turned}")
        panel.legend(**_LEGEND)
    return save_figure(figure, path, "png")


def panels(*titles, columns=None, inches=_PANEL_INCHES):
    """Empty panels in the style of this library's pictures: draw on them with matplotlib's methods, then `save`.

    Parameters
    ----------
    *titles : str
        One for each panel.
    columns : int, optional
        Panels beside each other; as many as there are, up to three, and two of four.
    inches : pair of numbers
        Width and height of a panel.

    Returns
    -------
    list of matplotlib.axes.Axes
        With a grid, and with colours that colour-blind eyes tell apart.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no titles, or one is no string.

    Examples
    --------
    >>> import tempfile
    >>> import numbadl as nd
    >>> left, right = nd.plot.panels("batches of 1", "batches of 64")
    >>> _ = left.plot([1, 2, 3], [4.0, 2.0, 1.0], label="training")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nd.plot.save([left, right], f"{folder}/batches.png").name
    'batches.png'
    """
    if not titles:
        raise ValueError("titles: got none, accepted are one or more")
    for title in titles:
        if not isinstance(title, str):
            raise TypeError(f"titles: got {arguments.shown(title)}, accepted are strings")
    _, found = _grid(len(titles), columns, inches)
    for panel, title in zip(found, titles, strict=True):
        panel.set_prop_cycle(color=COLOURS)
        _dress(panel, title)
    return found


def save(panels, path):
    """Save the picture that panels belong to, with a legend in each that has labels and no legend yet.

    Parameters
    ----------
    panels : what `panels` gave
    path : str or path
        A file that ends with .png or .svg; folders on the way are made. It is written under another name and renamed.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ValueError
        If the file is of another kind.
    """
    kind = picture_kind(path)
    for panel in panels:
        if panel.get_legend() is None and panel.get_legend_handles_labels()[0]:
            panel.legend(**_LEGEND)
    return save_figure(panels[0].figure, path, kind)


def gradient_norms(monitor, path):
    """Draw the norm of each layer's gradient over the epochs, on a logarithmic axis, and save the picture as PNG.

    Parameters
    ----------
    monitor : object
        ``monitor.epochs``, a list of epoch numbers, and ``monitor.norms``, a mapping of layers to lists of as many norms,
        as `numbadl.train.GradientMonitor` has them. Zero, NaN and infinity leave gaps.
    path : str or path
        The PNG file, as `learning_curves` has it.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no epochs or no layers, or a layer's number of norms is not that of epochs.
    """
    epochs, norms = list(monitor.epochs), {name: list(values) for name, values in monitor.norms.items()}
    _check(epochs, norms, "monitor", "layer")
    figure = new_figure((1.5 * _PANEL_INCHES[0], 1.2 * _PANEL_INCHES[1]), layout="constrained")
    panel = figure.subplots()
    for place, (name, values) in enumerate(norms.items()):
        part = place / max(len(norms) - 1, 1)  # from the first layer's colour to the last one's
        colour = [(1 - part) * a + part * b for a, b in zip(_rgb(BLUE), _rgb(ORANGE), strict=True)]
        shown = [value if 0 < value < math.inf else math.nan for value in values]
        panel.plot(epochs, shown, color=colour, linewidth=1.5, marker="o" if len(epochs) == 1 else None, label=name)
    panel.set_yscale("log")
    _dress(panel, "norm of the gradient")
    _over_epochs(panel)
    panel.legend(**_LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    return save_figure(figure, path, "png")


def _rgb(colour):
    return [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]


def picture_kind(path):
    """ "png" or "svg", by the end of the file's name; ValueError for others."""
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ValueError(f"path: got {str(path)!r}, accepted are files that end with .png or .svg")
    return kind


def save_figure(figure, path, kind):
    """Write a figure, whole or not at all; the same picture is the same file: no date, no random names."""
    import matplotlib

    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "numbadl"}):
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return Path(path)


def _grid(count, columns=None, inches=_PANEL_INCHES):
    """A figure, and so many panels in rows."""
    columns = columns or (2 if count == 4 else min(count, _PANELS_PER_ROW))
    rows = math.ceil(count / columns)
    figure = new_figure((inches[0] * columns, inches[1] * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in found[count:]:
        panel.set_visible(False)
    return figure, found[:count]


def new_figure(inches, layout=None):
    """An empty figure; ImportError says how to install matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: pip install numbadl[plot] ({error})") from error
    # A figure without pyplot belongs to no window system and to no global list: nothing to choose, nothing to close.
    figure = Figure(figsize=inches, dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _check(epochs, metrics, argument="history", what="metric"):
    if not epochs or not metrics:
        raise ValueError(
            f"{argument}: got {len(epochs)} epochs and {len(metrics)} {what}s, at least one of each is needed"
        )
    for name, values in metrics.items():
        if len(values) != len(epochs):
            raise ValueError(f"{argument}: {what} {name!r} has {len(values)} values for {len(epochs)} epochs")


def _draw(panel, name, epochs, train, validation):
    """One metric: two lines, a dot at the best validation value, the last values written beside the lines."""
    marker = "o" if len(epochs) == 1 else None
    for label, values, colour in (("training", train, _TRAIN), ("validation", validation, _VALIDATION)):
        if values is not None:
            finite = [value if math.isfinite(value) else math.nan for value in values]
            panel.plot(epochs, finite, color=colour, linewidth=1.8, marker=marker, label=_label(label, name, finite))
    if validation is not None and len(epochs) > 1:
        _mark_best(panel, name, epochs, validation)
    _dress(panel, name.replace("_", " "))
    _over_epochs(panel)


def _over_epochs(panel):
    from matplotlib.ticker import MaxNLocator

    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _dress(panel, title):
    """Title, colours and grid."""
    panel.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set_color(INK)
    panel.grid(True, color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(which="both", colors=INK, length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(FAINT)
    panel.margins(x=0.02)


def _label(label, name, values):
    return f"{label}, last {values[-1]:.4g}" if math.isfinite(values[-1]) else label


def _mark_best(panel, name, epochs, values):
    smaller_is_better = not any(word in name for word in ("accuracy", "r2", "f1", "auc", "precision", "recall"))
    finite = [
        (value if smaller_is_better else -value, epoch, value) for epoch, value in zip(epochs, values, strict=True)
    ]
    finite = [entry for entry in finite if math.isfinite(entry[0])]
    if finite:
        _, epoch, value = min(finite)
        panel.plot([epoch], [value], "o", color=_VALIDATION, markersize=5, label=f"best {value:.4g}, epoch {epoch}")
