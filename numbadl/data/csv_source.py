"""CSV files, kept as text until a column is asked for: a bad cell in a column that nobody uses does no harm."""

import csv
import math
import re

import numpy as np

from .errors import DataError, listing, plural
from .source import Source, parse_number

# Spellings of "no value", in any case. In a column of words only the empty cell and "nan" count, as "none" may well
# be a category.
_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "?"))
_ALWAYS_MISSING = frozenset(("", "nan"))
_DELIMITERS = ",;\t"
_DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+([eE][+-]?\d+)?")  # 3,14 and 1.234,5


class CsvSource(Source):
    """A CSV file with a header line, in UTF-8, with cells parted by commas, semicolons or tabs.

    Cells are read as text and stripped of surrounding blanks; blank lines are skipped.

    Raises
    ------
    DataError
        For an empty file, a missing or ambiguous header, a ragged row or text that is no CSV.
    OSError
        If the file cannot be opened.
    """

    named = True
    test_rows = None
    feature_range = None

    def __init__(self, path):
        self.path = path
        header, self._lines, rows = _read_rows(path)
        self.names = tuple(header)
        self.n_rows = len(rows)
        self._cells = dict(zip(self.names, zip(*rows, strict=True), strict=True))

    def where(self, row, name):
        return f"{self.path}, line {self._lines[row]}, column {name!r}"

    def target_names(self, target):
        if not target:
            raise DataError(f"{self.path}: no target column named; the columns are {listing(self.names)}")
        self.require(target)
        return tuple(target)

    def column(self, name, kind="auto"):
        cells = self._cells[name]
        if kind == "text":
            self._refuse(name, cells, lambda cell: cell.lower() in _ALWAYS_MISSING, "words in all rows")
            return np.array(cells, dtype=object)
        values = np.array([parse_number(cell) for cell in cells], dtype=np.float64)
        if kind == "number":
            if not np.isfinite(values).all():
                self._refuse(name, cells, lambda cell: not math.isfinite(parse_number(cell)), "finite numbers")
            return values
        return self._number_or_text(name, cells, values, mixed_allowed=kind == "label")

    def _number_or_text(self, name, cells, values, mixed_allowed):
        finite = np.isfinite(values)
        if finite.all():
            return values
        commas = [bool(_DECIMAL_COMMA.fullmatch(cell)) for cell in cells]
        if 2 * sum(commas) > len(commas) - sum(finite):
            # As text each number would be a category of its own, and training would learn from none of them.
            row = commas.index(True)
            raise DataError(f"{self.where(row, name)}: got {cells[row]!r}, accepted are numbers{_hint(cells[row])}")
        if not finite.any():
            return self.column(name, "text")
        self._refuse(name, cells, lambda cell: cell.lower() in _MISSING, "values in all rows")
        if mixed_allowed:
            return self.column(name, "text")
        rare = finite if 2 * finite.sum() < len(finite) else ~finite
        row = int(np.argmax(rare))
        came = "a number, while most other cells are not" if finite[row] else "not a finite number, while others are"
        came = f"{cells[row]!r}, which is {came}"
        accepted = f"numbers throughout or text throughout{_hint(cells[row])}"
        raise DataError(f"{self.where(row, name)}: got {came}; accepted are {accepted}")

    def _refuse(self, name, cells, is_bad, accepted):
        for row, cell in enumerate(cells):
            if is_bad(cell):
                came = repr(cell) if cell else "an empty cell"
                raise DataError(f"{self.where(row, name)}: got {came}, accepted are {accepted}{_hint(cell)}")


def _hint(cell):
    if not _DECIMAL_COMMA.fullmatch(cell):
        return ""
    return " with a decimal point and nothing between thousands (pandas.read_csv reads such a file with decimal=',')"


def _read_rows(path):
    """Header, line number of each row, and rows of stripped cells."""
    lines, rows, line = [], [], 1
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            first = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            while True:
                line = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    break
                if not cells or (len(header) > 1 and cells == [""]):
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}, line {line}: {plural(len(cells), 'cell')}, but the header names "
                        f"{plural(len(header), 'column')}"
                    )
                lines.append(line)
                rows.append([cell.strip() for cell in cells])
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: not CSV ({error})") from None
    if not rows:
        raise DataError(f"{path}: a header, but no rows")
    return header, lines, rows


def _check_header(path, header):
    if not any(header):
        raise DataError(f"{path}: the file is empty; a header line and rows are expected")
    # pandas names the columns of an array 0, 1, 2, ...; any other numbers are a first row without a header.
    counted = [str(position) for position in range(len(header))]
    if header != counted and all(math.isfinite(parse_number(name)) for name in header):
        raise DataError(f"{path}, line 1: only numbers; a header line that names the columns is expected")
    for position, name in enumerate(header, 1):
        if not name:
            raise DataError(
                f"{path}, line 1: column {position} of {len(header)} has no name "
                "(an index that pandas wrote? to_csv(index=False) leaves it out)"
            )
        if name in header[: position - 1]:
            raise DataError(f"{path}, line 1: two columns are named {name!r}; names must differ")
