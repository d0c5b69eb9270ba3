"""Pieces of generated pages, as lists of lines."""

import textwrap


def paragraph(*parts):
    """A paragraph of several sentences, and the empty line behind it."""
    return [*textwrap.wrap(" ".join(parts), 120, break_on_hyphens=False, break_long_words=False), ""]


def table(header, rows):
    """A table of cells that are texts."""
    return [f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows]]
