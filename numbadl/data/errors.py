"""The error that every bad data file ends in."""


class DataError(ValueError):
    """A data file, or a value in it, that cannot be used.

    The message names the file, the row and the column, says what stands there and what is accepted.

    Examples
    --------
    >>> from numbadl.data import DataError
    >>> issubclass(DataError, ValueError)
    True
    """


def listing(names, limit=12):
    """Names for an error message, shortened when there are many.

    >>> listing(["a", "b"])
    "'a', 'b'"
    >>> listing("abcdef", limit=2)
    "'a', 'b' and 4 more"
    """
    names = list(names)
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def plural(count, noun):
    """``count`` with its noun, "1 row" or "2 rows".

    >>> plural(1, "row"), plural(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
