"""What the subcommands share: errors of the user, argument types, aligned output."""

import argparse
import contextlib
import sys

INTERRUPTED = 130  # the exit status after Ctrl-C: 128 + SIGINT, as shells report it


class CommandError(Exception):
    """Something that the user has to change; the message is all that they see of it."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `CommandError` for bad usage, so that all errors look alike."""

    def error(self, message):
        raise CommandError(f"{message} (see {self.prog} --help)")


@contextlib.contextmanager
def user_input():
    """Turn the errors that wrong input causes into `CommandError`.

    It stands around the stages that read what the user gave, and around nothing else: the same exceptions from
    elsewhere are defects of the program and keep their traceback.

    Examples
    --------
    >>> with user_input():
    ...     open("no/such/file.csv")
    Traceback (most recent call last):
    numbadl._commandline.CommandError: no/such/file.csv: No such file or directory
    """
    try:
        yield
    except OSError as error:
        raise CommandError(describe_os_error(error)) from error
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error


def describe_os_error(error):
    """The file and what is wrong with it, without the error's number."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def whole_number(minimum):
    """An argparse type: an integer, no smaller than `minimum`.

    >>> whole_number(1)("12")
    12
    """

    def parse(text):
        with contextlib.suppress(ValueError):
            if (value := int(text)) >= minimum:
                return value
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are whole numbers, {minimum} or more")

    return parse


def number(low, high=float("inf"), low_allowed=True):
    """An argparse type: a float from `low` up to, but not including, `high`.

    >>> number(0, 1)("0.25")
    0.25
    """

    def parse(text):
        with contextlib.suppress(ValueError):
            value = float(text)
            if low < value < high or (low_allowed and value == low):
                return value
        wording = f"{low:g} or more" if low_allowed else f"above {low:g}"
        wording += "" if high == float("inf") else f" and below {high:g}"
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are numbers, {wording}")

    return parse


def name_list(text):
    """An argparse type: names parted by commas.

    >>> name_list("a, b")
    ['a', 'b']
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"got {text!r}, accepted are different names parted by commas")
    return names


def print_pairs(pairs):
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {value}")


def metrics_table(**parts):
    """Metrics as lines of text: one row for each metric, one column for each part.

    >>> print(metrics_table(train={"loss": 0.01234, "accuracy": 1.0}, test={"loss": 0.2, "accuracy": 0.975}))
                 train      test
    loss       0.01234       0.2
    accuracy         1     0.975
    """
    names = list(dict.fromkeys(name for metrics in parts.values() for name in metrics))
    cells = [[f"{metrics[name]:.5g}" if name in metrics else "" for metrics in parts.values()] for name in names]
    first = max(len(name) for name in names)
    widths = [max(8, *(len(row[k]) for row in cells)) for k in range(len(parts))]
    lines = [" " * first + "".join(f"  {part:>{width}}" for part, width in zip(parts, widths, strict=True))]
    for name, row in zip(names, cells, strict=True):
        lines.append(
            f"{name:<{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        )
    return "\n".join(lines)


def warn(message):
    """A line on standard error that does not end the command."""
    print(f"numbadl: warning: {message}", file=sys.stderr)
