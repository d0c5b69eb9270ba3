"""The command ``numbadl``: its subcommands, and what becomes of errors.

A subcommand is a module with ``add_arguments(parser)`` and ``run(arguments)``, and one entry in `COMMANDS`. Such
modules import numpy, numba and the rest of the package when they run, so that ``--help`` and usage errors are quick.
"""

import importlib
import os
import sys
import warnings
from dataclasses import dataclass

from ._commandline import INTERRUPTED, CommandError, Parser, warn


@dataclass(frozen=True)
class Command:
    """A subcommand: ``numbadl <name>``, explained in one line, implemented by a module of this package."""

    name: str
    help: str
    module: str


COMMANDS = (
    Command("train", "train a network on the built-in digits or on a CSV or npz file", "_command_train"),
    Command("predict", "apply a trained model to the rows of a file", "_command_predict"),
    Command("plot", "draw activations and their derivatives", "_command_plot"),
    Command("bench", "measure operations beside NumPy or PyTorch", "_command_bench"),
    Command("info", "show what runs where: CPU, vector width, threads, CUDA, cache folder", "_command_info"),
)

_USAGE = 2


def main(argv=None):
    """Run ``numbadl`` with the arguments `argv`, by default those of the process.

    Returns
    -------
    int
        Exit status: 0 if all went well, 2 if the user's input is wrong (one line on standard error says what and
        where), 130 after Ctrl-C.

    Examples
    --------
    >>> from numbadl.cli import main
    >>> main(["info", "--section", "versions"])  # doctest: +ELLIPSIS
    numbadl ...
    0
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: warn(message)
        try:
            arguments = _parse(argv)
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status or 0
        except SystemExit as leaving:  # argparse, after --help and --version
            return leaving.code or 0
        except CommandError as error:
            print(f"numbadl: error: {error}", file=sys.stderr)
            return _USAGE
        except KeyboardInterrupt:
            print("\nnumbadl: interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # The reader (head, less) has seen enough. Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _parse(argv):
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:  # parse_args would name the help of numbadl, which does not list the command's options
        raise CommandError(f"unrecognized arguments: {' '.join(unknown)} (see numbadl {arguments.command} --help)")
    return arguments


def _parser():
    from importlib.metadata import version

    parser = Parser(prog="numbadl", description="Deep learning with kernels in pure Python, compiled by Numba.")
    parser.add_argument("--version", action="version", version=f"numbadl {version('numbadl')}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        module = importlib.import_module(f".{command.module}", __package__)
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=f"{command.help[0].upper()}{command.help[1:]}."
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser
