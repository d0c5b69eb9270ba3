"""Checks of arguments, one for each kind: what is accepted comes back, anything else raises and names the argument."""

import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .interop.arrays import KINDS, native


def shown(value):
    """What came, for a message: the value where it is short, otherwise its type.

    >>> shown("adam"), shown(0.5), shown([1] * 100), shown(np.zeros(3))
    ("'adam'", '0.5', 'list', 'numpy.ndarray')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value) if isinstance(value, (str, int, float, complex, type(None), np.generic, Path)) else ""
    cls = type(value)
    return (
        text if 0 < len(text) <= 60 else f"{'' if cls.__module__ == 'builtins' else cls.__module__ + '.'}{cls.__name__}"
    )


def integer(name, value, low=1):
    """*value* as an int, if it is an integer, *low* or more.

    >>> integer("epochs", np.int64(3))
    3
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        accepted = "positive integers" if low == 1 else f"integers, {low} or more"
        raise ValueError(f"{name}: got {shown(value)}, accepted are {accepted}")
    return int(value)


def integers(name, value, count, low=1):
    """*value*, one integer for all or *count* of them, as a tuple of *count* integers, *low* or more.

    >>> integers("stride", 2, 2), integers("padding", [0, 1], 2, low=0)
    ((2, 2), (0, 1))
    """
    if not isinstance(value, (tuple, list)):
        return (integer(name, value, low),) * count
    if len(value) != count:
        raise ValueError(f"{name}: got {len(value)} numbers, accepted are {'one' if count == 1 else f'one or {count}'}")
    return tuple(integer(name, v, low) for v in value)


def shape(name, value):
    """*value*, an integer from 0 on or several, as the tuple of an array's shape.

    >>> shape("shape", 3), shape("shape", [2, 0])
    ((3,), (2, 0))
    """
    sizes = tuple(value) if np.iterable(value) and not isinstance(value, str) else (value,)
    return tuple(integer(name, n, low=0) for n in sizes)


def number(name, value, low=0, high=math.inf, *, above=False, below=False, finite=True):
    """*value*, if it is a finite number from *low* to *high*; `above` and `below` leave out the ends.

    >>> number("p", 0.5, high=1)
    0.5
    """
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    good = good and low <= value <= high and not (finite and math.isinf(value))
    if not good or (above and value == low) or (below and value == high):
        start = f"above {low:g}" if above else f"from {low:g}"
        end = f"{' and below' if above else ' to below' if below else ' to'} {high:g}" if high < math.inf else ""
        raise ValueError(f"{name}: got {shown(value)}, accepted are numbers {start}{end or ' on' * (not above)}")
    return value


def betas(name, value, count=2):
    """*value* as a tuple, if it is a pair (or *count*) of numbers from 0 to below 1: the decay rates of running means.

    >>> betas("betas", [0.9, 0.999])
    (0.9, 0.999)
    """
    try:
        found = tuple(number(name, v, high=1, below=True) for v in value)
        if len(found) == count:
            return found
        raise ValueError
    except (TypeError, ValueError):
        text, words = str(value) if isinstance(value, (tuple, list)) else shown(value), {2: "two", 3: "three"}
        raise ValueError(f"{name}: got {text}, accepted are {words[count]} numbers from 0 to below 1") from None


def one_of(name, value, accepted):
    """*value*, if it is among *accepted*.

    >>> one_of("nonfinite", "skip", ("allow", "skip", "raise"))
    'skip'
    """
    if not any(value is a or (isinstance(value, str) and value == a) for a in accepted):
        raise ValueError(f"{name}: got {shown(value)}, accepted are {', '.join(map(repr, accepted))}")
    return value


def path(name, value):
    """*value* as a Path, if it is a string or a path, and not empty.

    >>> path("path", "model.safetensors").suffix
    '.safetensors'
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}: got {shown(value)}, accepted are strings and paths")
    if not os.fspath(value):
        raise ValueError(f"{name}: got an empty string, accepted are the names of files")
    return Path(value)


def array_list(name, given):
    """An array, or a list or dict of arrays, as a list.

    >>> len(array_list("grads", {"weight": np.zeros(3), "bias": np.zeros(1)}))
    2
    """
    if hasattr(given, "dtype"):
        return [native(given, name)]
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise TypeError(f"{name}: got {shown(given)}, accepted are arrays, lists or dicts of arrays, and models")
    given = given.values() if isinstance(given, dict) else given
    return [a if KINDS[type(a)] is None else native(a, f"{name}[{k}]") for k, a in enumerate(given)]


def within(name, array, low, high, what="numbers", start=0):
    """Raise ValueError for a value of *array* that is not from *low* to *high*, naming its place; rows count from *start*.

    >>> within("y", np.array([[0.5], [2.0]]), 0, 1)
    Traceback (most recent call last):
    ValueError: y[1, 0]: got 2.0, accepted are numbers from 0 to 1
    """
    # The extremes pass NaN on, and need no memory.
    if array.size and not (array.min() >= low and array.max() <= high):
        index, value = _first(array, ~((array >= low) & (array <= high)), start)
        raise ValueError(f"{name}[{index}]: got {value}, accepted are {what} from {low:g} to {high:g}")


def among(name, array, accepted, start=0):
    """Raise ValueError for a value of *array* that is not one of *accepted*, naming its place; rows count from *start*.

    >>> among("y", np.array([1, 0]), (-1, 1))
    Traceback (most recent call last):
    ValueError: y[1]: got 0, accepted are -1 and 1
    """
    bad = ~np.isin(array, accepted)
    if bad.any():
        index, value = _first(array, bad, start)
        raise ValueError(f"{name}[{index}]: got {value}, accepted are {' and '.join(map(str, accepted))}")


def weights(name, array, shape, exact=False):
    """*array* in float64, if it holds finite numbers from 0 on and has that shape, or one that NumPy broadcasts to it.

    >>> weights("weight", np.array([1, 2]), (3, 2))
    array([1., 2.])
    """
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: got dtype {array.dtype}, accepted are numbers")
    fits = array.shape == shape
    if not exact and array.ndim <= len(shape):
        fits = all(n in (1, m) for n, m in zip(array.shape[::-1], shape[::-1], strict=False))
    if not fits:
        others = "" if exact else ", or one that NumPy broadcasts to it"
        raise ValueError(f"{name}: got shape {array.shape}, expected {shape}{others}")
    array = array.astype(np.float64)
    if array.size and not (array.min() >= 0 and array.max() < math.inf):
        index, value = _first(array, ~((array >= 0) & (array < math.inf)))
        raise ValueError(f"{name}[{index}]: got {value}, accepted are finite numbers from 0 on")
    return array


def finite(name, array, given, start=0):
    """Raise ValueError for NaN or infinity in *array*, which was made from *given*, naming its place; rows from *start*.

    >>> finite("x", np.array([1, np.inf], np.float32), np.array([1, 1e300]))
    Traceback (most recent call last):
    ValueError: x[1]: got 1e+300, accepted are finite numbers within the range of float32
    """
    if array.size and not (math.isfinite(array.min()) and math.isfinite(array.max())):
        index, value = _first(given, ~np.isfinite(array), start)
        within_range = f" within the range of {array.dtype}" if math.isfinite(value) else ""
        raise ValueError(f"{name}[{index}]: got {value}, accepted are finite numbers{within_range}")


def _first(array, bad, start=0):
    index = tuple(np.argwhere(bad)[0].tolist())
    return ", ".join(map(str, (index[0] + start, *index[1:]) if index else index)), array[index]


def no_subclass(name, array):
    """Refuse the kinds of NumPy array that mean something else than their numbers: masked arrays and matrices."""
    if type(array) is np.ndarray:
        return
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: got numpy.ma.MaskedArray, accepted are plain arrays; .filled(value) makes one")
    if isinstance(array, np.matrix):
        raise TypeError(f"{name}: got numpy.matrix, accepted are plain arrays; np.asarray(...) makes one")


def check_can_write(path):
    """Raise OSError now if a file at `path` could not be written later; nothing is left behind.

    Examples
    --------
    >>> check_can_write(Path(tempfile.gettempdir(), "numbadl-no-such-folder", "model.safetensors"))
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; the name of a file is expected")
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; a folder is expected, to write {path.name} into")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"{folder}: cannot be written to ({error.strerror or error})") from None
