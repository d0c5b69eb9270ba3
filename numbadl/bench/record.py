"""Recorded runs: rows of several runs in one file, with machine and versions; and what fell since then."""

import json
from dataclasses import asdict
from datetime import date
from importlib import metadata

from .. import _machine
from ..kernels.atomic import atomic_path
from . import Row

FELL = 0.85  # of the recorded ratio: below, it fell


def surroundings(peers, threads):
    """{"machine", "versions"} of this process; *peers* are modules."""
    versions = {name: metadata.version(name) for name in ("numbadl", "numba", "llvmlite", "numpy")}
    return {
        "machine": {**_machine.cpu(), "threads": threads},
        "versions": versions | {peer.NAME: peer.VERSION for peer in peers},
    }


def read(path):
    """A recorded run: {"machine", "versions", "rows"}; ValueError says what is wrong with the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"machine", "versions", "rows"} <= set(found):
            raise ValueError("keys machine, versions and rows are missing")
        rows = [Row(**{k: v for k, v in row.items() if k != "date"}) for row in found["rows"]]
        assert len(rows) == len({(row.name, row.elements) for row in rows}), "a row is there twice"
    except (ValueError, TypeError, AssertionError) as error:
        raise ValueError(f"{path}: not a recorded run of `numbadl bench --json` ({error})") from None
    return found


def merged(before, around, rows):
    """*before*, a recorded run or None, with new rows in place of those of the same name and size.

    Of a row that was there, ratios to peers that were not measured now stay: a ratio holds within its own run. ValueError
    if machine or versions differ: such rows do not belong into one table.
    """
    if before is None:
        before = {"machine": around["machine"], "versions": {}, "rows": []}
    different = [
        f"{name} {before[kind][name]} (now {value})"
        for kind in ("machine", "versions")
        for name, value in around[kind].items()
        if before[kind].get(name, value) != value
    ]
    if different:
        raise ValueError(f"recorded with {', '.join(different)}: choose another file, or remove it")
    found = {(row["name"], row["elements"]): row for row in before["rows"]}
    for row in rows:
        old = found.get((row.name, row.elements), {"peers": {}})
        new = {**asdict(row), "date": date.today().isoformat()}
        found[row.name, row.elements] = {**new, "peers": {**old["peers"], **new["peers"]}}
    return {
        "machine": before["machine"],
        "versions": before["versions"] | around["versions"],
        "rows": [*found.values()],
    }


def write(path, found):
    """Write a run as JSON, a row a line."""
    head = {key: value for key, value in found.items() if key != "rows"}
    lines = ",\n".join(json.dumps(row) for row in found["rows"])
    text = json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{lines}\n]\n}}\n'
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fallen(recorded, rows):
    """What is more than 15 % lower than recorded, as (name, elements, what, recorded, now).

    Ratios to peers are compared, and where a row has none in common, the share of the hardware's limit; times are not.
    """
    before, found = {(row["name"], row["elements"]): row for row in recorded["rows"]}, []
    for row in rows:
        old = before.get((row.name, row.elements))
        if old is None:
            continue
        pairs = [
            (peer, old["peers"][peer]["ratio"], now["ratio"]) for peer, now in row.peers.items() if peer in old["peers"]
        ]
        if not pairs and old["share"] and row.share:
            pairs = [("floor", old["share"], row.share)]
        found += [(row.name, row.elements, what, was, now) for what, was, now in pairs if now < FELL * was]
    return found
