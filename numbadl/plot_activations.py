"""Pictures of the activations, drawn from their records. They need matplotlib: ``pip install numbadl[plot]``."""

import math

import numpy as np

from ._curves import curve, jumps, of_parameters, variants, window
from ._formulas import mathtext
from .kernels.scalar.activations import ACTIVATIONS
from .plot import BLUE, FAINT, INK, ORANGE, new_figure, picture_kind, save_figure

_STYLES = ("-", "--", ":", "-.")
_INCHES = (6.4, 5.2)
_COLUMNS, _SMALL_INCHES, _HEADING_INCHES = 7, (1.9, 1.75), 0.4
_BOUND = "#9a9a9a"


def draw_activation(name, path):
    """Draw f and f' of one activation: kinks, the bounds of its range, other values of its parameters.

    Parameters
    ----------
    name : str
        A name in ``numbadl.ACTIVATIONS``.
    path : str or path
        A file that ends with .png or .svg; folders on the way are made. It is written under another name and renamed.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such activation, or the file is of another kind.

    Examples
    --------
    >>> import tempfile
    >>> from numbadl.plot_activations import draw_activation
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_activation("relu", f"{folder}/relu.svg").name
    'relu.svg'
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"name: got {name!r}, accepted are {', '.join(ACTIVATIONS)}")
    kind, record = picture_kind(path), ACTIVATIONS[name]
    figure = new_figure(_INCHES)
    figure.subplots_adjust(left=0.09, right=0.97, top=0.74, bottom=0.07)
    panel = figure.subplots()
    _draw(panel, record, all_variants=True)
    x0 = panel.get_position().x0
    figure.text(x0, 0.975, name, va="top", color=INK, fontsize=14, fontweight="bold")
    formulas = [("f(x)", record.formula, BLUE, 0.875), ("f'(x)", record.derivative_formula, ORANGE, 0.795)]
    for left, right, colour, y in formulas:
        line = figure.text(x0, y, mathtext(f"{left} = {right}"), va="center", color=colour, fontsize=13)
        _shrink(line, (0.98 - x0) * figure.bbox.width)
    return save_figure(figure, path, kind)


def draw_overview(path):
    """Draw all activations as small pictures on one page, the course's first; parameters and errors as for one.

    Examples
    --------
    >>> import tempfile
    >>> from numbadl.plot_activations import draw_overview
    >>> draw_overview("activations.gif")
    Traceback (most recent call last):
    ValueError: path: got 'activations.gif', accepted are files that end with .png or .svg
    """
    kind, rows = picture_kind(path), math.ceil(len(ACTIVATIONS) / _COLUMNS)
    width, height = _COLUMNS * _SMALL_INCHES[0], rows * _SMALL_INCHES[1] + _HEADING_INCHES
    figure = new_figure((width, height))
    top = 1 - 1.2 * _HEADING_INCHES / height
    figure.subplots_adjust(left=0.025, right=0.99, bottom=0.25 / height, top=top, wspace=0.2, hspace=0.32)
    figure.text(
        0.025, 1 - 0.2 * _HEADING_INCHES / height, "f (blue) and f' (orange) with default parameters", va="top", color=INK
    )  # fmt: skip
    from matplotlib.ticker import MaxNLocator

    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for panel, record in zip(panels, ACTIVATIONS.values(), strict=False):
        _draw(panel, record, all_variants=False)
        panel.set_title(record.name, loc="left", color=INK, fontsize=9, fontweight="bold", pad=3)
        panel.tick_params(labelsize=6, pad=1)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for panel in panels[len(ACTIVATIONS) :]:
        panel.set_visible(False)
    return save_figure(figure, path, kind)


def _draw(panel, record, all_variants):
    low, high = window(record)
    shown = variants(record)
    if not (all_variants or record.alternating):
        shown = shown[:1]
    curves = [curve(record, variant, low, high) for variant in shown]
    for k, (variant, found) in enumerate(zip(shown, curves, strict=True)):
        style = {"linestyle": _STYLES[k % len(_STYLES)], "alpha": 1.0 if k == 0 else 0.75}
        for order, colour, width in ((0, BLUE, 2.6), (1, ORANGE, 1.3)):  # where they are one line, both are seen
            width *= (1 if all_variants else 0.75) * (1 if k == 0 else 0.75)
            panel.plot(found.x, found.values[order], color=colour, linewidth=width, zorder=3, **style)
            if k == 0 or record.alternating:
                _mark(panel, found.kinks[order], colour, 4.5 if all_variants else 2.5)
        if all_variants and len(shown) > 1:
            panel.plot([], [], color=INK, linewidth=1.4, label=variant.label, **style)
    if record.random and all_variants:
        for order, colour in ((0, BLUE), (1, ORANGE)):
            ends = [found.values[order] for found in curves[1:]]
            panel.fill_between(curves[0].x, ends[0], ends[-1], color=colour, alpha=0.15, linewidth=0)
    panel.set_xlim(low, high)
    bounds = [bound for bound in of_parameters(record.range, shown[0]) if math.isfinite(bound)]
    panel.set_ylim(*_heights(curves, bounds, low, high))
    _furnish(panel, bounds)
    if all_variants and len(shown) > 1:
        panel.legend(frameon=True, framealpha=0.85, edgecolor=FAINT, fontsize=8.5, labelcolor=INK)


def _mark(panel, kinks, colour, size):
    """A dot at the value that is stated at a kink; rings at the limits that it is not, where there is a jump."""
    for x, below, at, above in kinks:
        if jumps(below, above):
            rings = [y for y in (below, above) if jumps(y, at)]
            panel.plot(
                [x] * len(rings), rings, "o", color=colour, markersize=size, markerfacecolor="white", zorder=4, clip_on=False
            )  # fmt: skip
        panel.plot([x], [at], "o", color=colour, markersize=size, zorder=5, clip_on=False)


def _heights(curves, bounds, low, high):
    """What curves and bounds span, but not much more than the width of the picture: an exponential would flatten the rest."""
    values = np.concatenate([bounds, *(y for found in curves for y in found.values)])
    most = 1.2 * max(abs(low), abs(high), 1)
    bottom, top = max(float(np.nanmin(values)), -most), min(float(np.nanmax(values)), most)
    margin = 0.06 * (top - bottom)
    return bottom - margin, top + margin


def _furnish(panel, bounds):
    """Axes through the origin, the bounds of the range, and no frame."""
    for bound in bounds:
        panel.axhline(bound, color=_BOUND, linewidth=0.8, linestyle=(0, (6, 4)), zorder=1)
    panel.axhline(0, color=FAINT, linewidth=1, zorder=0)
    panel.axvline(0, color=FAINT, linewidth=1, zorder=0)
    panel.grid(True, color=FAINT, linewidth=0.4, alpha=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(colors=INK, length=0)
    for side in panel.spines.values():
        side.set_visible(False)


def _shrink(line, width):
    """Make a text smaller, if it is wider than *width* pixels."""
    found = line.get_window_extent().width
    if found > width:
        line.set_fontsize(line.get_fontsize() * width / found)
