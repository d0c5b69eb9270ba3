"""docs/benchmarks.md: tables of the recorded run between the paragraphs of benchmarks_template.md.

The template has lines of its own for what is generated, ``{{table GROUP ...}}``, and reasons: ``{{why NAME ...}}`` and, up to the
next empty line, why these rows (names, or patterns as of files) are slower than a peer; ``{{rest NAME ...}}`` likewise, why they
are far from the floor, and the measured parts of their time (`numbadl.bench.parts`) do not say so. The page has a reason behind
its rows as long as they are; what is below `UNEXPLAINED`, or leaves more than `REST`, and has none is said to be "not explained
yet".
"""

import fnmatch
import json
import math
import re
from pathlib import Path

from numbadl.bench.parts import REST, shares, text
from numbadl.bench.table import FAR, SLOW, seconds
from tests.markdown import paragraph, table

DOCS = Path(__file__).parents[1] / "docs"
SPEED, SPEED_NOTES = DOCS / "benchmarks.json", DOCS / "benchmarks_template.md"
UNEXPLAINED = 0.9  # ratios from here to 1 need no reason: they vary by a tenth
MISSING = "not explained yet."
IN_TURN = "call, loop and memory one after the other take about as long: loop and memory hardly overlap."
_REASON = re.compile(r"^\{\{(why|rest) (.*)\}\}\n((?:.+\n)+)\n?", re.MULTILINE)

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
    reasons = {"why": {}, "rest": {}}
    for kind, names, reason in _REASON.findall(template):
        reasons[kind] |= dict.fromkeys(names.split(), " ".join(reason.split()))
    page = "".join([
        "<!-- Written by `python -m tests.document` from benchmarks_template.md and benchmarks.json: edit those. -->\n",
        _REASON.sub("", template),
    ])  # fmt: skip
    for place in re.findall(r"^\{\{.*\}\}$", page, re.MULTILINE):
        what, *names = place.strip("{}").split()
        page = page.replace(place, "\n".join(_speed_part(what, names, run, reasons)))
    return page


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
    """By size, the ratio to each peer and the share of the floor (m: of memory, a: of arithmetic), with parts if it is small."""
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
    if not row or row["share"] is None:
        return ""
    parts = f": {text(row['ours'], row['parts'])}" if _is_far(row) and row.get("parts") else ""
    return f"{row['share']:.0%} {row['bound'][0]}{parts}"


def _is_far(row):
    return row["share"] is not None and row["share"] < FAR


def _in_turn(row):
    """Whether a row's parts make up its time if none overlaps another."""
    return bool(row.get("parts")) and sum(row["parts"].values()) >= (1 - REST) * row["ours"]


def _rest(row):
    """The share of a row's time that its parts, or else the floor, leave."""
    return shares(row["ours"], row["parts"])["rest"] if row.get("parts") else 1 - row["share"]


def _named(rows, reasons):
    """What is slower than a peer, and what is far from the floor for more than its parts say, with the template's reasons."""
    slow = [
        (row, f"{_place(row)} {found['ratio']:.2f} ({PEER_NAMES[peer]})", found["ratio"])
        for row in rows for peer, found in row["peers"].items() if found["ratio"] < SLOW
    ]  # fmt: skip
    near = ", ".join(entry for _, entry, ratio in slow if ratio >= UNEXPLAINED)
    unexplained = [(_reason(row, reasons["why"]), entry) for row, entry, ratio in slow if ratio < UNEXPLAINED]
    far = [row for row in rows if _is_far(row)]
    left = [
        (_reason(row, reasons["rest"], IN_TURN if _in_turn(row) else MISSING), f"{_place(row)} {_rest(row):.0%}")
        for row in far if _rest(row) > REST
    ]  # fmt: skip
    beyond = (
        f"; of {len(left)}, call, loop and memory leave more than {REST:.0%} of the time, or were not measured"
        * bool(left)
    )
    return [
        *_listed(
            f"Below {SLOW:.1f}: {near or 'none' * (not unexplained)}{', and' * bool(near and unexplained)}", unexplained
        ),
        "",
        *_listed(f"Below {FAR:.0%} of the floor: {len(far) or 'none'}{beyond}{':' * bool(left)}", left),
    ]


def _listed(text, entries):
    """The text, and a list of (reason, entry) below it, by reason."""
    explained = {}
    for reason, entry in entries:
        explained.setdefault(reason, []).append(entry)
    items = [line for reason, found in explained.items() for line in _item(f"{', '.join(found)}: {reason}")]
    return [*paragraph(text.rstrip()), *items] if items else paragraph(f"{text}.")[:-1]


def _item(text):
    return ["- " + "\n  ".join(paragraph(text)[:-1])]


def _reason(row, reasons, otherwise=MISSING):
    """What the template says of a row, under its name or a pattern that fits it."""
    return next((text for pattern, text in reasons.items() if fnmatch.fnmatchcase(row["name"], pattern)), otherwise)


def _place(row):
    size = row["elements"]
    return f"`{row['name']}`" + (f" {SIZES[size]}" if size in SIZES else "")
