"""Measured rows as lines of text."""

import numpy as np

from . import parts

SLOW, FAR = 1.0, 0.8  # a ratio, and a share of the floor, below which rows are named at the end
NOISY = 0.15  # median spread, from which on figures say little
_UNITS = ((1e-6, "ns", 1e9), (1e-3, "us", 1e6), (1, "ms", 1e3))


def seconds(value):
    """A time in three digits.

    >>> seconds(0.000012345)
    '12.3 us'
    """
    for limit, unit, factor in _UNITS:
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def header(peers):
    """The table's first line; *peers* are names."""
    columns = "".join(f"{f'{name} x':>14}{'+-':>6}" for name in peers)
    return f"{'operation':<32}{'elements':>12}{'ours':>10}{'+-':>6}{'floor':>7}{'by':>12}{columns}"


def line(row, peers):
    """One row of the table."""
    share = f"{row.share:>7.0%}{row.bound:>12}" if row.share is not None else " " * 19
    text = f"{row.name:<32}{row.elements:>12,}{seconds(row.ours):>10}{row.spread:>6.0%}{share}"
    for name in peers:
        found = row.peers.get(name)
        text += f"{found['ratio']:>14.2f}{found['spread']:>6.0%}" if found else " " * 20
    return text.rstrip()


def summary(rows):
    """Lines for the end: means, what is slower than a peer, and what is far from the floor."""
    sizes, lines = sorted({(name, row.elements) for row in rows for name in row.peers if row.elements}), []
    for name, size in sizes:
        ratios = [row.peers[name]["ratio"] for row in rows if row.elements == size and name in row.peers]
        if len(ratios) > 1:
            mean = np.exp(np.mean(np.log(ratios)))
            lines.append(f"{name}, {size:,} elements: geometric mean of {len(ratios)} ratios {mean:.2f}")
    slow = [
        f"{_place(row)} {found['ratio']:.2f} ({name})"
        for row in rows
        for name, found in row.peers.items()
        if found["ratio"] < SLOW
    ]
    far = [f"{_place(row)} {row.share:.0%}{_parts(row)}" for row in rows if row.share is not None and row.share < FAR]
    lines += _listed(f"below {SLOW:.1f} x", slow) + _listed(f"below {FAR:.0%} of the floor", far)
    return lines


def noise(rows):
    """A warning if the spread says that the machine was busy, else None."""
    spread = float(np.median([row.spread for row in rows])) if rows else 0.0
    if spread <= NOISY:
        return None
    return f"the machine is noisy: the median spread of our own times is {spread:.0%}; repeat the measurement when it is quiet"


def _parts(row):
    return f" ({parts.text(row.ours, row.parts)})" if row.parts else ""


def _place(row):
    return f"{row.name} at {row.elements:,}"


def _listed(title, entries):
    return [f"{title}: {len(entries) or 'none'}", *(f"  {entry}" for entry in entries)]
