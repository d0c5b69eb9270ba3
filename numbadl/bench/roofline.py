"""A roofline: how many vector operations a second each row does, over operations for each byte, below what the machine does."""

import math

import numpy as np

from ..plot import new_figure, picture_kind, save_figure
from .table import seconds


def draw(rows, path):
    """Write the picture to *path*, PNG or SVG, of rows with counted operations; ValueError if there are none."""
    kind = picture_kind(path)
    counted = [row for row in rows if row.operations and row.moved]
    if not counted:
        raise ValueError("--plot: no row has its operations counted; activations and elementary functions have")
    figure = new_figure((8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for k, size in enumerate(sorted({row.elements for row in counted})):
        these, colour = [row for row in counted if row.elements == size], f"C{k % 10}"
        intensity = [row.operations / row.moved for row in these]
        axes.scatter(intensity, [row.operations / row.ours for row in these], 14, colour, label=f"{size:,} elements")
        axes.plot(*_roof(these, sorted(intensity)), color=colour, linewidth=1)
    slowest = min(counted, key=lambda row: row.share)
    axes.annotate(
        f"farthest from its limit: {slowest.name}, {seconds(slowest.ours)}",
        (slowest.operations / slowest.moved, slowest.operations / slowest.ours),
        textcoords="offset points", xytext=(0, -12), fontsize=8, ha="right",
    )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="vector operations for each byte", ylabel="vector operations a second")
    axes.set_title("Points: reached; lines: the limits of memory and arithmetic", fontsize=10)
    axes.legend()
    axes.grid(alpha=0.3)
    save_figure(figure, path, kind)


def _roof(rows, intensity):
    """(operations for each byte, operations a second) along the limits that were measured with the rows."""
    speed = [row.moved / row.floor for row in rows if row.bound == "memory"]
    rates = [row.operations / row.floor for row in rows if row.bound == "arithmetic"]
    speed, rate = np.median(speed) if speed else math.inf, max(rates, default=math.inf)
    places = [intensity[0], *([rate / speed] if intensity[0] < rate / speed < intensity[-1] else []), intensity[-1]]
    return places, [min(place * speed, rate) for place in places]
