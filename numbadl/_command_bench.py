"""``numbadl bench``: medians over interleaved runs beside peers and the hardware's limit, results compared before timing."""

import argparse
import importlib.util
import os
import re
from pathlib import Path

from ._commandline import CommandError, name_list, user_input, warn, whole_number

AGAIN = 2  # times that what fell is measured again, before it is named
# Name -> the packages that it needs.
PEERS = {
    "numpy": ("numpy",), "torch": ("torch",), "compile": ("torch",), "jax": ("jax",), "sklearn": ("sklearn",),
    "keras": ("keras", "jax"),
}  # fmt: skip
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_INSTALL = {
    "torch": "`pip install torch==2.13.0` gives the CPU build",
    "sklearn": "`pip install scikit-learn`",
}


def add_arguments(parser):
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks or groups of them (--list shows both); default: all"
    )
    parser.add_argument(
        "--peers",
        type=name_list,
        default=["numpy"],
        help=f"numpy (default), {', '.join(list(PEERS)[1:])}; parted by commas",
    )
    parser.add_argument(
        "--size",
        type=_sizes,
        default=[1 << 16, 1 << 20, 1 << 24],
        help="elements of what has no size of its own (default 64K,1M,16M)",
    )
    parser.add_argument(
        "--repeat", type=whole_number(1), default=31, help="interleaved runs at most (default 31); 9 where they agree"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the rows there, beside those that it has")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a roofline as PNG or SVG")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="exit with 1 if ratios fell below 85%% of those there"
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks by group, and stop")


def _sizes(text):
    """Numbers of elements; K and M behind one are 2^10 and 2^20."""
    found = [re.fullmatch(r"(0*[1-9]\d*)([KM]?)", part.strip(), re.ASCII | re.IGNORECASE) for part in text.split(",")]
    if None in found:
        accepted = "whole numbers of elements, 1 or more, such as 65536, 64K and 1M, parted by commas"
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are {accepted}")
    return [int(part[1]) * _FACTORS[part[2].upper()] for part in found]


def run(arguments):
    _check_peers(arguments.peers)
    from . import bench
    from .bench import record, table

    if arguments.list:
        for group in bench.GROUPS:
            print(f"{group}: {' '.join(case.name for case in bench.CASES.values() if case.group == group)}")
        return None
    unknown = [name for name in arguments.names if name not in (*bench.CASES, *bench.GROUPS)]
    if unknown:
        raise CommandError(f"{', '.join(unknown)}: not a benchmark; `numbadl bench --list` shows what there is")
    if max(arguments.size) > 1 << 28:
        raise CommandError(f"--size: {max(arguments.size):,} elements; 268,435,456 (1 GiB) at most are accepted")
    run = _Run(arguments, bench.select(arguments.names), [bench.peer(name) for name in arguments.peers])
    _warn_of_a_busy_machine()
    run.measure()
    for line in table.summary(run.rows):
        print(line)
    if message := table.noise(run.rows):
        warn(message)
    if arguments.plot is not None:
        from .bench import roofline

        with user_input():
            roofline.draw(run.rows, arguments.plot)
    fell = [] if arguments.check is None else run.check(record.fallen)
    return 1 if run.differing or fell else None


class _Run:
    """One run of the command: what is read and written is looked at before anything is measured."""

    def __init__(self, arguments, cases, modules):
        from . import bench
        from ._arguments import check_can_write
        from .bench import record

        self.arguments, self.cases, self.rows, self.differing = arguments, cases, [], []
        self.around = record.surroundings(modules, bench.threads())
        with user_input():
            self.recorded = None if arguments.check is None else record.read(arguments.check)
            for path in (arguments.json, arguments.plot):
                if path is not None:
                    check_can_write(path)
            if arguments.plot is not None:
                _check_plot(arguments.plot)
            kept = arguments.json is not None and arguments.json.exists()
            self.before = record.read(arguments.json) if kept else None
            if arguments.json is not None:
                record.merged(self.before, self.around, [])
        if self.recorded and self.recorded["machine"] != self.around["machine"]:
            warn(f"{arguments.check}: recorded on another machine; ratios differ between machines")

    def measure(self):
        """Measure and print all cases; after each the file is written, so that nothing is lost."""
        from tqdm import tqdm

        from . import bench
        from .bench import record, table

        peers = self.arguments.peers
        versions = ", ".join(f"{name} {version}" for name, version in self.around["versions"].items())
        print(f"float32, {bench.threads()} threads; {versions}; x = their time / ours", flush=True)
        print(table.header(peers), flush=True)
        with tqdm(self.cases, desc="bench", unit="case", disable=None, leave=False) as progress:
            for case in progress:
                progress.set_postfix_str(case.name)
                for row in self._rows_of(case):
                    self.rows.append(row)
                    progress.write(table.line(row, peers))
                if self.arguments.json is not None:
                    with user_input():
                        record.write(self.arguments.json, record.merged(self.before, self.around, self.rows))
        print(
            "floor: the share that was reached of the speed of a copy, or of as many vector operations, in the same turns"
        )

    def check(self, fallen):
        """Name what fell against the recorded run, after it was measured again."""
        from . import bench

        fell = fallen(self.recorded, self.rows)
        for _ in range(AGAIN):
            if not fell:
                break
            again = {(name, elements) for name, elements, *_ in fell}
            rows = [row for name in {name for name, _ in again} for row in self._rows_of(bench.CASES[name])]
            fell = fallen(self.recorded, [row for row in rows if (row.name, row.elements) in again])
        for name, elements, what, was, now in fell:
            print(f"fell: {name} at {elements:,} beside {what}: {now:.2f}, recorded {was:.2f}")
        if not fell:
            print(f"nothing fell by more than 15% against {self.arguments.check}")
        return fell

    def _rows_of(self, case):
        from . import bench

        arguments = self.arguments
        return bench.rows(case, arguments.size, arguments.peers, arguments.repeat, self._differs)

    def _differs(self, case, peer, error):
        self.differing.append(case.name)
        warn(f"{case.name}: {peer} is not timed, the results differ: {' '.join(str(error).split())[:200]}")


def _check_plot(path):
    """Raise now what drawing would raise after all was measured."""
    from .plot import new_figure, picture_kind

    try:
        picture_kind(path)
        new_figure((1, 1))
    except (ImportError, ValueError) as error:
        raise CommandError(f"--plot: {error}") from None


def _warn_of_a_busy_machine():
    """Two threads that wait for each other lose a time slice, 8 ms, when a core is taken: ratios then say nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        warn(f"the machine is busy (load {load:.1f}): repeat the measurement when it is not")


def _check_peers(names):
    for name in names:
        if name not in PEERS:
            raise CommandError(f"--peers: got {name!r}, accepted are {', '.join(PEERS)}")
        for package in PEERS[name]:
            if importlib.util.find_spec(package) is None:  # to import keras would choose its backend
                raise CommandError(f"{package}: not installed; {_INSTALL.get(package, f'`pip install {package}`')}")
