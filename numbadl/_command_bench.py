"""``numbadl bench``: medians over interleaved runs, ours beside the peer's, results checked equal before timing."""

import os
import sys

import numpy as np

from ._commandline import CommandError, warn, whole_number


def add_arguments(parser):
    parser.add_argument("names", nargs="*", metavar="NAME", help="activations, or matmul_then_relu (default: all)")
    parser.add_argument("--peers", default="numpy", help="numpy (default) or torch")
    parser.add_argument("--size", type=_sizes, default=[1 << 16, 1 << 20, 1 << 24], help="elements, e.g. 65536,1048576")
    parser.add_argument("--repeat", type=whole_number(1), default=31, help="interleaved runs of each (default 31)")


def _sizes(text):
    return [whole_number(1)(part) for part in text.split(",")]


def run(arguments):
    from . import bench

    peer = _peer(arguments.peers)
    known = [*bench.ELEMENTWISE, *bench.OTHER]
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise CommandError(f"{', '.join(unknown)}: not a benchmark; there are {', '.join(known)}")
    names = arguments.names or known
    if max(arguments.size) > 1 << 28:
        raise CommandError(f"--size: {max(arguments.size):,} elements; 268,435,456 (1 GiB) at most are accepted")
    _warn_of_a_busy_machine()
    print(
        f"float32, {bench.threads()} threads, {peer.__name__} {peer.__version__}; ratio = their time / our time",
        flush=True,
    )
    print(f"{'operation':<24}{'elements':>12}{'ours us':>12}{'theirs us':>12}{'ratio':>8}{'spread':>9}")
    ratios = []
    for name in names:
        for row in bench.rows(name, arguments.size, peer, arguments.repeat):
            ratios.append(row.ratio)
            print(
                f"{row.name:<24}{row.elements:>12,}{row.ours * 1e6:>12.1f}{row.theirs * 1e6:>12.1f}"
                f"{row.ratio:>8.2f}{row.spread:>8.0%}",
                flush=True,
            )
    if ratios:
        print(f"geometric mean of {len(ratios)} ratios: {np.exp(np.mean(np.log(ratios))):.2f}")
    for line in bench.notes(names):
        print(line)


def _warn_of_a_busy_machine():
    """Two threads that wait for each other lose a time slice, 8 ms, when a core is taken: ratios then say nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        warn(f"the machine is busy (load {load:.1f}): repeat the measurement when it is not")


def _peer(name):
    if name == "numpy":
        return np
    if name == "torch":
        try:
            import torch
        except ImportError:
            raise CommandError("torch: not installed; `pip install torch==2.13.0` gives the CPU build") from None
        return torch
    raise CommandError(f"--peers: got {name!r}, accepted are numpy and torch (on {sys.platform})")
