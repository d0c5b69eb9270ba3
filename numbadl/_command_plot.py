"""``numbadl plot``: pictures of the activations, from their records."""

from difflib import get_close_matches
from pathlib import Path

from ._commandline import CommandError, name_list, user_input


def add_arguments(parser):
    parser.add_argument("what", choices=["activations"], metavar="activations", help="what to draw")
    parser.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="NAME",
        help="activations to draw; default: all, and a page that shows them together",
    )
    parser.add_argument("--out", default="plots", metavar="FOLDER", help="where the pictures go (default: plots)")
    parser.add_argument(
        "--format", type=name_list, default=["png"], help="png (default), svg, or both parted by a comma"
    )


def run(arguments):
    from . import plot_activations
    from ._arguments import check_can_write
    from .plot import FORMATS, new_figure

    names = arguments.names or list(plot_activations.ACTIVATIONS)
    _check(arguments.names, plot_activations.ACTIVATIONS)
    _check_formats(arguments.format, FORMATS)
    try:
        new_figure((1, 1))
    except ImportError as error:
        raise CommandError(str(error)) from error
    folder = Path(arguments.out)
    paths = {(name, kind): folder / f"{name}.{kind}" for name in names for kind in arguments.format}
    with user_input():
        for path in paths.values():
            check_can_write(path)
    for (name, _), path in paths.items():
        _draw(plot_activations.draw_activation, name, path)
    if not arguments.names:
        for kind in arguments.format:
            _draw(plot_activations.draw_overview, folder / f"activations.{kind}")


def _draw(draw, *arguments):
    try:
        print(draw(*arguments), flush=True)
    except OSError as error:  # a disc that is full by now
        raise CommandError(f"{arguments[-1]}: {error.strerror or error}") from error


def _check(names, known):
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"accepted are {', '.join(known)}"
            raise CommandError(f"{name}: not an activation of one number; {hint}")


def _check_formats(formats, known):
    for name in formats:
        if name not in known:
            raise CommandError(f"--format: got {name!r}, accepted are {' and '.join(known)}")
