"""docs/benchmarks.md: tables of the recorded run between the paragraphs of benchmarks_template.md.

The template has lines of its own for what is generated, ``{{table GROUP ...}}``, and reasons: ``{{why NAME ...}}`` and, up to the
next empty line, why these rows (names, or patterns as of files) are slower than a peer. The page has a reason behind its rows
as long as they are; what is below `UNEXPLAINED` and has none is said to be "not explained yet".
"""

import fnmatch
import json
import math
import re
from pathlib import Path

from numbadl.bench.table import FAR, SLOW, seconds
from tests.markdown import paragraph, table

DOCS = Path(__file__).parents[1] / "docs"
SPEED, SPEED_NOTES = DOCS / "benchmarks.json", DOCS / "benchmarks_template.md"
UNEXPLAINED = 0.9  # ratios from here to 1 need no reason: they vary by a tenth
MISSING = "not explained yet."
_REASON = re.compile(r"^\{\{why (.*)\}\}\n((?:.+\n)+)\n?", re.MULTILINE)

PEER_NAMES = {
    "numpy": "NumPy", "torch": "PyTorch", "compile": "torch.compile", "jax": "JAX", "sklearn": "scikit-learn",
    "keras": "Keras on JAX",
}  # fmt: skip
SIZES = {1 << 16: "64K", 1 << 20: "1M", 1 << 24: "16M"}


def benchmarks_page():
    """The template's text, with tables of the recorded run in place of its ``{{...}}`` lines."""
    return written(SPEED_NOTES.read_text(encoding="utf-8"), json.loads(SPEED.read_text()))


def written(template, run):
    """The page of a template and a recorded run."""
    reasons = {
        pattern: " ".join(text.split()) for names, text in _REASON.findall(template) for pattern in names.split()
    }
    text = "".join([
        "<!-- Written by `python -m tests.document` from benchmarks_template.md and benchmarks.json: edit those. -->\n",
        _REASON.sub("", template),
    ])  # fmt: skip
    for place in re.findall(r"^\{\{.*\}\}$", text, re.MULTILINE):
        what, *names = place.strip("{}").split()
        text = text.replace(place, "\n".join(_speed_part(what, names, run, reasons)))
    return text


def _speed_part(what, names, run, reasons):
    rows = run["rows"]
    if what == "recorded":
        machine, dates = run["machine"], sorted({row["date"] for row in rows})
        features = f"{machine['vector_bits']}-bit vectors, " if machine["vector_bits"] else ""
        return paragraph(
            f"Recorded {' to '.join(dict.fromkeys((dates[0], dates[-1])))}: {machine['model']} ({machine['llvm']}),",
            f"{features}{machine['threads']} threads, {', '.join(f'{n} {v}' for n, v in run['versions'].items())}.",
            f"{len(rows)} rows, all figures: [{SPEED.name}]({SPEED.name}).",
        )[:-1]
    if what == "means":
        return _means(rows)
    rows = [row for name in names for row in rows if row["group"] == name]
    if not rows:
        return ["Not measured yet."]
    return [*_speed_table(rows), "", *_named(rows, reasons)]


OF_RESULT = ".of_result"  # rows of a backward that is there from x, too


def _means(rows):
    """Geometric means of the ratios of each group, by size."""
    header, lines = ["group", "beside", *SIZES.values(), "other sizes"], []
    for group in dict.fromkeys(row["group"] for row in rows):
        these = [row for row in rows if row["group"] == group]
        for peer in [p for p in PEER_NAMES if any(p in row["peers"] for row in these)]:
            ratios = {}
            for row in these:
                if peer in row["peers"]:
                    ratios.setdefault(SIZES.get(row["elements"], ""), []).append(row["peers"][peer]["ratio"])
            means = [_mean(ratios.get(size)) for size in (*SIZES.values(), "")]
            lines.append([group, PEER_NAMES[peer], *means])
    each = [row for row in rows if row["group"] in ("activations", "backward") and not row["name"].endswith(OF_RESULT)]
    ratios = [row["peers"]["torch"]["ratio"] for row in each if "torch" in row["peers"]]
    both = f"All activations, forward and backward from x, all sizes, beside PyTorch: {_mean(ratios)}."
    return [*table(header, lines), *(["", both] if ratios else [])]


def _mean(ratios):
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} of {len(ratios)}" if ratios else ""


def _speed_table(rows):
    """By size, the ratio to each peer and the share of the floor (m: of memory, a: of arithmetic)."""
    peers = [peer for peer in PEER_NAMES if any(peer in row["peers"] for row in rows)]
    by_name = {}
    for row in rows:
        by_name.setdefault(row["name"], {})[row["elements"]] = row
    if not all(set(sizes) <= set(SIZES) for sizes in by_name.values()) or max(map(len, by_name.values())) == 1:
        header = ["", "elements", "time", *(PEER_NAMES[p] for p in peers), "of the floor"]
        cells = [
            [f"`{r['name']}`", f"{r['elements']:,}", seconds(r["ours"]), *(_ratio(r, p) for p in peers), _share(r)]
            for r in rows
        ]
        return table(header, cells)
    sizes = [size for size in SIZES if any(size in found for found in by_name.values())]
    header = ["", *(f"{PEER_NAMES[p]} {SIZES[s]}" for p in peers for s in sizes), *(f"floor {SIZES[s]}" for s in sizes)]
    return table(
        header,
        [
            [
                f"`{name}`",
                *(_ratio(found.get(s), p) for p in peers for s in sizes),
                *(_share(found.get(s)) for s in sizes),
            ]
            for name, found in by_name.items()
        ],
    )


def _ratio(row, peer):
    return f"{row['peers'][peer]['ratio']:.2f}" if row and peer in row["peers"] else ""


def _share(row):
    return f"{row['share']:.0%} {row['bound'][0]}" if row and row["share"] is not None else ""


def _named(rows, reasons):
    """What is slower than a peer, with the reasons that the template gives, and what is far from the floor."""
    slow = [
        (row, f"{_place(row)} {found['ratio']:.2f} ({PEER_NAMES[peer]})", found["ratio"])
        for row in rows for peer, found in row["peers"].items() if found["ratio"] < SLOW
    ]  # fmt: skip
    far = [f"{_place(row)} {row['share']:.0%}" for row in rows if row["share"] is not None and row["share"] < FAR]
    near = [text for _, text, ratio in slow if ratio >= UNEXPLAINED]
    explained = {}
    for row, text, ratio in slow:
        if ratio < UNEXPLAINED:
            explained.setdefault(_reason(row["name"], reasons), []).append(text)
    listed = [line for reason, texts in explained.items() for line in _item(f"{', '.join(texts)}: {reason}")]
    named = f"{', '.join(near) or 'none'}{', and' * bool(explained)}" if near or not explained else ""
    return [
        *paragraph(f"Below {SLOW:.1f}: {named}".rstrip() + ("" if explained else ".")),
        *([*listed, ""] if explained else []),
        *paragraph(f"Below {FAR:.0%} of the floor: {', '.join(far) or 'none'}."),
    ][:-1]


def _item(text):
    return ["- " + "\n  ".join(paragraph(text)[:-1])]


def _reason(name, reasons):
    """What the template says of a row, under its name or a pattern that fits it."""
    found = [text for pattern, text in reasons.items() if fnmatch.fnmatchcase(name, pattern)]
    return found[0] if found else MISSING


def _place(row):
    size = row["elements"]
    return f"`{row['name']}`" + (f" {SIZES[size]}" if size in SIZES else "")
