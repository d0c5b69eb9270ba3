"""``numbadl bench``: medians over interleaved runs, ours beside the peer's, results checked equal before timing."""

import json
import os
from dataclasses import asdict
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np

from ._commandline import CommandError, user_input, warn, whole_number


def add_arguments(parser):
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks or groups of them (--list shows both); default: all"
    )
    parser.add_argument("--peers", default="numpy", help="numpy (default) or torch")
    parser.add_argument("--size", type=_sizes, default=[1 << 16, 1 << 20, 1 << 24], help="elements, e.g. 65536,1048576")
    parser.add_argument("--repeat", type=whole_number(1), default=31, help="interleaved runs of each (default 31)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too, with machine and versions")
    parser.add_argument("--list", action="store_true", help="list the benchmarks by group, and stop")


def _sizes(text):
    return [whole_number(1)(part) for part in text.split(",")]


def run(arguments):
    _check_peer(arguments.peers)
    from . import bench

    if arguments.list:
        for group in bench.GROUPS:
            print(f"{group}: {' '.join(case.name for case in bench.CASES.values() if case.group == group)}")
        return None
    unknown = [name for name in arguments.names if name not in (*bench.CASES, *bench.GROUPS)]
    if unknown:
        raise CommandError(f"{', '.join(unknown)}: not a benchmark; `numbadl bench --list` shows what there is")
    if max(arguments.size) > 1 << 28:
        raise CommandError(f"--size: {max(arguments.size):,} elements; 268,435,456 (1 GiB) at most are accepted")
    if arguments.json is not None:
        _check_can_write(arguments.json)
    _warn_of_a_busy_machine()
    peer = bench.cases.peers(arguments.peers)
    print(f"float32, {bench.threads()} threads, {peer.NAME} {peer.VERSION}; ratio = their time / our time", flush=True)
    print(f"{'operation':<28}{'elements':>12}{'ours us':>12}{'theirs us':>12}{'ratio':>8}{'spread':>9}{'of copy':>9}")
    found, differing = [], []
    for case in bench.select(arguments.names):
        try:
            for row in bench.rows(case, arguments.size, arguments.peers, arguments.repeat):
                found.append(row)
                print(
                    f"{row.name:<28}{row.elements:>12,}{row.ours * 1e6:>12.1f}{row.theirs * 1e6:>12.1f}"
                    f"{row.ratio:>8.2f}{row.spread:>8.0%}{row.bandwidth:>9.0%}",
                    flush=True,
                )
        except AssertionError as error:
            differing.append(case.name)
            print(f"{case.name}: not timed, the results differ: {' '.join(str(error).split())[:200]}", flush=True)
        if arguments.json is not None:  # after each case, so that nothing is lost
            _write(arguments.json, found, peer, bench.threads())
    print("of copy: bytes read and written per second, compared with our copy of the first array in the same turns")
    for size in sorted({row.elements for row in found}):
        ratios = {row.name: row.ratio for row in found if row.elements == size}
        worst = min(ratios, key=ratios.get)
        mean = np.exp(np.mean(np.log(list(ratios.values()))))
        print(
            f"{size:,} elements: geometric mean of {len(ratios)} ratios {mean:.2f}, lowest {ratios[worst]:.2f} ({worst})"
        )
    return 1 if differing else None


def _check_can_write(path):
    from ._arguments import check_can_write

    with user_input():
        check_can_write(path)


def _write(path, rows, peer, threads):
    """{"date", "machine", "versions", "rows": [{"name", "elements", "ratio", ...}, ...]}: the rows have seconds."""
    from . import _machine
    from .kernels.atomic import atomic_path

    versions = {name: metadata.version(name) for name in ("numbadl", "numba", "llvmlite", "numpy")}
    found = {
        "date": date.today().isoformat(),
        "machine": {**_machine.cpu(), "threads": threads},
        "versions": versions | {peer.NAME: peer.VERSION},
        "rows": [asdict(row) for row in rows],
    }
    with user_input(), atomic_path(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _warn_of_a_busy_machine():
    """Two threads that wait for each other lose a time slice, 8 ms, when a core is taken: ratios then say nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        warn(f"the machine is busy (load {load:.1f}): repeat the measurement when it is not")


def _check_peer(name):
    if name not in ("numpy", "torch"):
        raise CommandError(f"--peers: got {name!r}, accepted are numpy and torch")
    if name == "torch":
        try:
            import torch  # noqa: F401
        except ImportError:
            raise CommandError("torch: not installed; `pip install torch==2.13.0` gives the CPU build") from None
