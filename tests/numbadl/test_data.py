"""Digits, tables from files, preprocessing, splitting; and what happens to files that are wrong."""

import json
import pickle

import numpy as np
import pytest

from numbadl.data import DataError, Preprocessor, load_digits, read_table, split
from numbadl.data.digits import digits_table
from numbadl.data.features import MAX_CATEGORIES, Column

ROWS = 12


def write_csv(folder, filename="data.csv", /, **columns):
    """A CSV file with the given columns; returns its path."""
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path = folder / filename
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def plain(**columns):
    """Columns of a sound file, 12 rows of a, b and target t, with replacements."""
    defaults = {"a": range(ROWS), "b": [0.5 * k for k in range(ROWS)], "t": [k % 3 for k in range(ROWS)]}
    return {name: list(values) for name, values in {**defaults, **columns}.items()}


def replaced(values, row, value):
    """`values` as a list with one of them replaced."""
    values = list(values)
    values[row] = value
    return values


# -- digits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_have_their_documented_form(dtype):
    x_train, y_train, x_test, y_test = load_digits(dtype)
    assert x_train.shape == (1347, 64) and x_test.shape == (450, 64)
    assert x_train.dtype == x_test.dtype == dtype and y_train.dtype == y_test.dtype == np.int64
    assert x_train.min() == 0 and x_train.max() == 1
    shares = np.bincount(y_test) / np.bincount(np.concatenate([y_train, y_test]))
    assert abs(shares - 0.25).max() < 0.01


def test_digits_are_scikit_learns_and_their_split_is_the_documented_one():
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    x_train, y_train, x_test, y_test = load_digits(np.float64)
    expected = train_test_split(np.arange(1797), test_size=0.25, random_state=0, stratify=digits.target)[1]
    expected.sort()
    assert np.array_equal(x_test * 16, digits.data[expected]) and np.array_equal(y_test, digits.target[expected])
    rest = np.setdiff1d(np.arange(1797), expected)
    assert np.array_equal(x_train * 16, digits.data[rest]) and np.array_equal(y_train, digits.target[rest])
    assert list(digits_table().feature_names) == list(digits.feature_names)


def test_preprocessed_digits_table_equals_load_digits():
    table = digits_table()
    x_test = Preprocessor.fit(table).transform(table.x[table.test_rows])
    assert np.array_equal(x_test, load_digits()[2])


def test_digits_refuse_other_types():
    with pytest.raises(TypeError, match="got float16, accepted are float32 and float64"):
        load_digits(np.float16)


# -- reading sound files -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csv_becomes_arrays(tmp_path, dtype):
    table = read_table(write_csv(tmp_path, **plain()), target="t", dtype=dtype)
    assert table.x.dtype == dtype and table.feature_names == ("a", "b")
    assert np.array_equal(table.x, np.column_stack([np.arange(ROWS), 0.5 * np.arange(ROWS)]))
    assert table.task == "multiclass" and table.classes == ("0", "1", "2")
    assert table.y.dtype == np.int64 and np.array_equal(table.y, np.arange(ROWS) % 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_delimiters_byte_order_marks_blank_lines_and_quotes(tmp_path, delimiter, prefix):
    rows = [f'{k}{delimiter} "word, {k % 2}; x"{delimiter}{k % 2}' for k in range(ROWS)]
    text = delimiter.join(["size", " what ", "t"]) + "\r\n" + "\r\n\r\n".join(rows) + "\r\n\r\n"
    path = tmp_path / "data.txt"
    path.write_bytes(prefix + text.encode())
    table = read_table(path, target="t")
    assert table.feature_names == ("size", "what=word, 0; x", "what=word, 1; x")
    assert np.array_equal(table.x[:, 1:], np.eye(2)[np.arange(ROWS) % 2])
    assert table.y.shape == (ROWS, 1)


def test_columns_named_by_pandas_with_numbers_are_a_header(tmp_path):
    path = write_csv(tmp_path, **dict(zip("012", plain().values(), strict=True)))
    assert read_table(path, target="2").feature_names == ("0", "1")


def test_ignored_columns_may_hold_anything(tmp_path):
    path = write_csv(tmp_path, **plain(name=["", *"bcdefghijkl"]))
    assert read_table(path, target="t", ignore=["name"]).feature_names == ("a", "b")


def test_npz_with_its_own_test_rows_and_images(tmp_path):
    rng = np.random.default_rng(1)
    train, test = rng.integers(0, 256, (20, 4, 5), np.uint8), rng.integers(0, 256, (8, 4, 5), np.uint8)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=train, y_train=np.arange(20) % 4, x_test=test, y_test=np.arange(8) % 4)
    table = read_table(path)
    assert np.array_equal(table.x, np.concatenate([train, test]).reshape(28, 20))
    assert np.array_equal(table.test_rows, np.arange(20, 28)) and table.feature_range == (0, 255)
    assert table.task == "multiclass" and table.feature_names[:2] == ("x0", "x1")
    scaled = Preprocessor.fit(table).transform(table.x)
    np.testing.assert_allclose(scaled, table.x / 255, rtol=1e-6)


@pytest.mark.parametrize("name", ["x", "X", "x_train", "X_train"])
def test_npz_array_names(tmp_path, name):
    path = tmp_path / "data.npz"
    suffix = name[1:]
    labels = np.array(["no", "yes"] * 6)
    np.savez(path, **{name: np.ones((12, 2)), f"kind{suffix}": labels, "feature_names": np.array(["p", "q"])})
    table = read_table(path, target="kind")
    assert table.task == "binary" and table.classes == ("no", "yes") and table.feature_names == ("p", "q")


# -- which task --------------------------------------------------------------------------------

NUMBERS = np.arange(ROWS)
TASK_CASES = {
    "words, two": ({"t": ["no", "yes"] * 6}, "binary", (ROWS, 1), ("no", "yes")),
    "words, three": ({"t": ["r", "g", "b"] * 4}, "multiclass", (ROWS,), ("b", "g", "r")),
    "0 and 1": ({"t": NUMBERS % 2}, "binary", (ROWS, 1), ("0", "1")),
    "-1 and 1": ({"t": NUMBERS % 2 * 2 - 1}, "binary", (ROWS, 1), ("-1", "1")),
    "few whole numbers": ({"t": NUMBERS % 4 + 7}, "multiclass", (ROWS,), ("7", "8", "9", "10")),
    "whole numbers written as floats": ({"t": NUMBERS % 3 + 0.0}, "multiclass", (ROWS,), ("0", "1", "2")),
    "many whole numbers": ({"t": NUMBERS}, "regression", (ROWS, 1), None),
    "fractions": ({"t": NUMBERS % 2 + 0.5}, "regression", (ROWS, 1), None),
    "several of 0 and 1": ({"t": NUMBERS % 2, "u": NUMBERS % 3 // 2}, "multilabel", (ROWS, 2), ("t", "u")),
    "several numbers": ({"t": NUMBERS % 2, "u": NUMBERS % 3}, "regression", (ROWS, 2), None),
}


@pytest.mark.parametrize("case", TASK_CASES)
def test_task_is_inferred(tmp_path, case):
    targets, task, shape, classes = TASK_CASES[case]
    path = write_csv(tmp_path, a=NUMBERS, **targets)
    table = read_table(path, target=list(targets))
    assert (table.task, table.y.shape, table.classes) == (task, shape, classes)
    assert table.y.dtype == (np.int64 if task == "multiclass" else np.float32)
    if classes is not None and task != "multilabel":
        words = [str(int(value)) if not isinstance(value, str) else value for value in targets["t"]]
        assert [classes[label] for label in table.labels] == words


def test_chosen_task_overrides_the_guess(tmp_path):
    path = write_csv(tmp_path, **plain())
    assert read_table(path, "t", "regression").y.shape == (ROWS, 1)
    path = write_csv(tmp_path, a=NUMBERS, t=["1", "2", "3+"] * 4)
    assert read_table(path, "t", "multiclass").classes == ("1", "2", "3+")


def test_one_hot_targets_are_classes_on_request(tmp_path):
    flags = np.eye(3, dtype=int)[NUMBERS % 3]
    path = write_csv(tmp_path, a=NUMBERS, p=flags[:, 0], q=flags[:, 1], r=flags[:, 2])
    table = read_table(path, "p,q,r", "multiclass")
    assert table.classes == ("p", "q", "r") and np.array_equal(table.y, NUMBERS % 3)


def test_words_with_commas_are_words(tmp_path):
    """Only where most of them look like numbers: a place, a list of two."""
    path = write_csv(tmp_path, a=['"1,5"', "x", "y", "z"] * 3, t=["a", "b"] * 6)
    assert read_table(path, "t").feature_names == ("a=1,5", "a=x", "a=y", "a=z")


# -- bad files: the message names the file, the row and the column ------------------------------

COMMAS = [f'"{k},5"' for k in range(ROWS)]
THOUSANDS = [f'"{k + 1}.000,5"' for k in range(ROWS)]
BAD_COLUMNS = {
    "empty cell": (plain(b=replaced(NUMBERS, 4, "")), ["line 6, column 'b'", "got an empty cell"]),
    "NaN": (plain(a=replaced(NUMBERS, 0, "NaN")), ["line 2, column 'a'", "got 'NaN'"]),
    "infinity": (plain(a=replaced(NUMBERS, 1, "inf")), ["line 3, column 'a'", "'inf'"]),
    "too large a number": (plain(a=replaced(NUMBERS, 1, "1e999")), ["line 3, column 'a'", "'1e999'"]),
    "beyond float32": (plain(a=replaced(NUMBERS, 1, "1e99")), ["line 3, column 'a'", "1e+99", "float32"]),
    "word among numbers": (
        plain(a=replaced(NUMBERS, 7, "many")),
        ["line 9, column 'a'", "got 'many', which is not a finite"],
    ),
    "number among words": (
        plain(a=replaced(["x", "y"] * 6, 7, "5")),
        ["line 9, column 'a'", "got '5', which is a number"],
    ),
    "missing marker": (plain(a=replaced(NUMBERS, 7, "N/A")), ["line 9, column 'a'", "got 'N/A'"]),
    "decimal comma": (plain(a=replaced(NUMBERS, 2, '"1,5"')), ["line 4, column 'a'", "'1,5'", "decimal point"]),
    "decimal commas": (plain(a=COMMAS), ["line 2, column 'a'", "got '0,5', accepted are numbers with a decimal point"]),
    "decimal commas and thousands": (plain(a=THOUSANDS), ["line 2, column 'a'", "got '1.000,5'", "decimal=','"]),
    "decimal commas and a gap": (plain(a=replaced(COMMAS, 0, "")), ["line 3, column 'a'", "got '1,5'"]),
    "decimal commas as target": (plain(t=COMMAS), ["line 2, column 't'", "got '0,5', accepted are numbers"]),
    "mostly decimal commas": (plain(t=["4", *COMMAS[1:]]), ["line 3, column 't'", "got '1,5', accepted are numbers"]),
    "underscore": (plain(a=replaced(NUMBERS, 2, "1_0")), ["line 4, column 'a'", "'1_0'"]),
    "empty word": (plain(a=replaced(["x", "y"] * 6, 3, "")), ["line 5, column 'a'", "got an empty cell"]),
    "empty target": (plain(t=replaced(NUMBERS % 3, 5, "")), ["line 7, column 't'", "got an empty cell"]),
    "word in a number target": (plain(t=replaced(NUMBERS + 0.5, 5, "x")), ["line 7, column 't'", "'x'", "multiclass"]),
    "one class": (plain(t=["same"] * ROWS), ["column 't'", "only one class, 'same'"]),
    "class per row": (plain(t=[f"id{k}" for k in range(ROWS)]), ["column 't'", "12 classes in 12 rows"]),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_bad_values_are_located(tmp_path, case):
    columns, expected = BAD_COLUMNS[case]
    path = write_csv(tmp_path, **columns)
    with pytest.raises(DataError) as caught:
        read_table(path, target="t")
    for part in (str(path), *expected):
        assert part in str(caught.value)


BAD_TEXT = {
    "empty": ("", ["empty"]),
    "only blank lines": ("\n\n", ["empty"]),
    "only a header": ("a,b,t\n", ["no rows"]),
    "no header": ("".join(f"{k},0.5,{k % 2}\n" for k in range(ROWS)), ["line 1", "header line"]),
    "nameless column": ("," + "a,t\n" + "0,1,2\n" * ROWS, ["line 1", "column 1 of 3", "index=False"]),
    "equal names": ("a,a,t\n" + "0,1,2\n" * ROWS, ["line 1", "two columns are named 'a'"]),
    "short row": ("a,b,t\n1,2,0\n1,2\n" + "1,2,1\n" * ROWS, ["line 3", "2 cells", "3 columns"]),
    "long row": ("a,b,t\n1,2,0\n\n1,2,3,4\n" + "1,2,1\n" * ROWS, ["line 4", "4 cells", "3 columns"]),
    "open quote": ('a,b,t\n1,2,0\n1,"2,1\n1,2,1\n', ["line 3", "not CSV"]),
    "too few rows": ("a,b,t\n" + "1,2,0\n1,3,1\n" * 3, ["too few rows, 6"]),
    "no feature": ("t\n" + "0\n1\n" * ROWS, ["no column is left", "'t'"]),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_form_is_located(tmp_path, case):
    text, expected = BAD_TEXT[case]
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(path, target="t")
    for part in (str(path), *expected):
        assert part in str(caught.value)


def test_rows_of_several_lines_keep_their_line_numbers(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('a,b,t\n1,"two\nlines",0\n1,x,1\nbad,x,1\n' + "1,x,1\n" * ROWS, encoding="utf-8")
    with pytest.raises(DataError, match="line 5, column 'a': got 'bad'"):
        read_table(path, target="t")


def test_text_in_another_encoding(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("größe,t\n1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_table(path, target="t")


def test_too_many_categories(tmp_path):
    words = [f"w{k}" for k in range(MAX_CATEGORIES + 1)]
    path = write_csv(tmp_path, word=words, t=[k % 2 for k in range(len(words))])
    with pytest.raises(DataError, match=f"column 'word'.* {len(words)} different .*at most {MAX_CATEGORIES}"):
        read_table(path, target="t")


def test_missing_columns_are_named_with_those_that_exist(tmp_path):
    path = write_csv(tmp_path, **plain())
    with pytest.raises(DataError, match="no column 'price'; the columns are 'a', 'b', 't'"):
        read_table(path, target="price")
    with pytest.raises(DataError, match="no column 'q'; the columns are"):
        read_table(path, target="t", ignore=["q"])
    with pytest.raises(DataError, match="no target column named; the columns are 'a', 'b', 't'"):
        read_table(path)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_targets_that_do_not_fit_the_task(tmp_path, task):
    path = write_csv(tmp_path, **plain())
    with pytest.raises(
        DataError, match=r"column 't'.*binary takes two|line 4, column 't': got 2, accepted for multilabel"
    ):
        read_table(path, "t", task)


def test_fractions_are_no_classes(tmp_path):
    path = write_csv(tmp_path, **plain(t=NUMBERS % 2 + 0.5))
    with pytest.raises(DataError, match=r"line 2, column 't': got 0\.5, accepted classes are words and whole numbers"):
        read_table(path, "t", "multiclass")


def test_arguments_are_checked(tmp_path):
    path = write_csv(tmp_path, **plain())
    with pytest.raises(ValueError, match="ignore: got 't', which is a target; accepted are other columns"):
        read_table(path, "t", ignore=["a", "t"])
    with pytest.raises(TypeError, match="path: got 3, accepted are strings and paths"):
        read_table(3)
    with pytest.raises(ValueError, match="task: got 'ranking'"):
        read_table(path, "t", "ranking")
    with pytest.raises(TypeError, match="dtype: got int64"):
        read_table(path, "t", dtype=np.int64)
    with pytest.raises(ValueError, match="target: got 't,t'"):
        read_table(path, "t,t")
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "absent.csv", "t")
    with pytest.raises(DataError, match=r"'\.parquet'; '\.csv'"):
        read_table(tmp_path / "data.parquet", "t")


X = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 3
BAD_ARRAYS = {
    "no features": ({"data": X, "y": Y}, ["no array of features", "'data', 'y'"]),
    "no target": ({"x": X}, ["no array 'y'", "'x'"]),
    "one axis": ({"x": X[:, 0], "y": Y}, ["array 'x' has shape (12,)"]),
    "no columns": ({"x": X[:, :0], "y": Y}, ["array 'x' has shape (12, 0)"]),
    "lengths": ({"x": X, "y": Y[:-1]}, ["array 'y' has 11 rows, array 'x' has 12"]),
    "complex": ({"x": X + 1j, "y": Y}, ["array 'x' has dtype complex128"]),
    "words": ({"x": X.astype(str), "y": Y}, ["array 'x' has dtype <U"]),
    "NaN": ({"x": np.where(X == 7, np.nan, X), "y": Y}, ["row 3", "array 'x', column 'x1'", "got nan"]),
    "NaN target": ({"x": X, "y": np.where(Y == 2, np.nan, Y)}, ["row 2", "array 'y', column 'y'", "got nan"]),
    "three axes in y": ({"x": X, "y": np.zeros((12, 1, 2))}, ["array 'y'", "(12, 1, 2)"]),
    "widths": ({"x_train": X, "x_test": X[:, :1], "y_train": Y, "y_test": Y}, ["(12, 2) and (12, 1)"]),
    "no test target": ({"x_train": X, "x_test": X, "y_train": Y}, ["no array 'y_test'"]),
    "NaN in test rows": (
        {"x_train": X, "x_test": np.where(X == 5, np.inf, X), "y_train": Y, "y_test": Y},
        ["row 2", "array 'x_test', column 'x1'", "got inf"],
    ),
    "names": ({"x": X, "y": Y, "feature_names": np.array(["a"])}, ["'feature_names'", "2 different strings"]),
    "objects": ({"x": X, "y": np.array([{}] * 12)}, ["array 'y' holds pickled objects"]),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_named(tmp_path, case):
    arrays, expected = BAD_ARRAYS[case]
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        read_table(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)


def _flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [lambda c: b"", lambda c: b"hello", lambda c: pickle.dumps([1]), lambda c: c[: len(c) // 2], _flipped],
    ids=["empty", "text", "pickle", "cut short", "flipped byte"],
)
def test_files_that_are_no_npz(tmp_path, spoil):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(200, 9)), y=np.arange(200) % 2)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"data\.npz: (not an npz file|damaged npz file)"):
        read_table(path)


# -- splitting ---------------------------------------------------------------------------------


def test_split_is_stratified_complete_and_reproducible():
    y = np.repeat([0, 1, 2], [40, 20, 4])
    train, test = split(y, 0.25, seed=5)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(64))
    assert np.bincount(y[test]).tolist() == [10, 5, 1]
    assert np.array_equal(split(y, 0.25, seed=5)[1], test)
    assert not np.array_equal(split(y, 0.25, seed=6)[1], test)


def test_split_of_remainders_and_single_rows():
    y = np.repeat(np.arange(6), [7, 7, 7, 7, 7, 1])
    train, test = split(y, 0.25)
    assert len(test) == 9 and 35 in train
    assert np.bincount(y[test], minlength=6).tolist() == [2, 2, 2, 2, 1, 0]


def test_split_of_numbers():
    train, test = split(np.linspace(0, 1, 10), 0.3)
    assert len(test) == 3 and len(train) == 7


def test_split_refuses():
    with pytest.raises(ValueError, match=r"test_fraction: got 1\.5"):
        split(np.arange(4), 1.5)
    with pytest.raises(DataError, match="too few rows, 3"):
        split(np.zeros(3), 0.01)
    with pytest.raises(ValueError, match="one class for each row"):
        split(np.zeros((3, 2)), stratify=True)


# -- preprocessing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "expected"), [((4, 6), (1, 4, 6)), ((2, 3, 4), (2, 3, 4)), ((6, 4, 1), None), ((24,), None)], ids=str
)
def test_images_of_npz_files(tmp_path, axes, expected):
    """The arrays' axes say what the rows are, unless the channels might come last; channels are standardised as a whole."""
    x = np.random.default_rng(3).normal(5, 3, (12, *axes))
    x[:, 0] = 7.0  # constant: a scale of its own would be another than that of its neighbours
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(12) % 2)
    table = read_table(tmp_path / "images.npz", dtype=np.float64)
    assert table.image_shape == expected
    assert read_table(tmp_path / "images.npz", ignore=["x1"]).image_shape is None
    if expected is not None:
        rows = np.arange(9)
        images = x.reshape(12, *expected)
        mean, scale = (f(images[rows], axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
        scale = np.where(scale > 0, scale, 1.0)
        found = Preprocessor.fit(table, rows, expected).transform(table.x, np.float64)
        np.testing.assert_allclose(found, ((images - mean) / scale).reshape(12, -1), rtol=1e-12, atol=1e-14)


def test_preprocessor_standardises_training_rows_only(tmp_path):
    rng = np.random.default_rng(3)
    colours = rng.choice(["red", "green"], 40)
    values = rng.normal(1e9, 3, 40)
    path = write_csv(tmp_path, big=values, constant=[0.1] * 40, colour=colours, t=rng.normal(50, 9, 40))
    table = read_table(path, target="t", dtype=np.float64)
    rows = np.arange(30)
    p = Preprocessor.fit(table, rows)
    x = p.transform(table.x[rows], np.float64)
    np.testing.assert_allclose(x[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(x[:, 0].std(), 1, rtol=1e-9)
    assert (x[:, 1] == 0).all() and p.scale[1] == 1
    assert np.array_equal(x[:, 2:], table.x[rows, 2:])
    y = p.transform_target(table.y[rows], np.float64)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-9)
    np.testing.assert_allclose(p.restore_target(y), table.y[rows], rtol=1e-12)
    assert p.transform(table.x).dtype == np.float32


@pytest.fixture
def trained(tmp_path):
    """A table with a text column and its preprocessor, after a way through JSON."""
    path = write_csv(tmp_path, **plain(colour=["red", "green", "blue"] * 4))
    table = read_table(path, target="t", dtype=np.float64)
    return table, Preprocessor.from_dict(json.loads(json.dumps(Preprocessor.fit(table).to_dict())))


def test_new_files_are_matched_by_name(tmp_path, trained):
    table, p = trained
    columns = plain(colour=["red", "green", "blue"] * 4)
    del columns["t"]
    shuffled = {"comment": [""] * ROWS, **{name: columns[name] for name in ("colour", "b", "a")}}
    x = p.read(write_csv(tmp_path, "new.csv", **shuffled))
    assert np.array_equal(x, p.transform(table.x))


NEW_FILES = {
    "missing column": ({"a": NUMBERS, "colour": ["red"] * ROWS}, "no column 'b'; the columns are 'a', 'colour'"),
    "new category": (
        {**plain(), "colour": replaced(["red"] * ROWS, 3, "pink")},
        "line 5, column 'colour': got 'pink'",
    ),
    "word": (
        {**plain(a=replaced(NUMBERS, 2, "x")), "colour": ["red"] * ROWS},
        "line 4, column 'a': got 'x', accepted are finite",
    ),
    "too large": (
        {**plain(a=replaced(NUMBERS, 2, 1e300)), "colour": ["red"] * ROWS},
        "line 4, column 'a'.*range of float32",
    ),
}


@pytest.mark.parametrize("case", NEW_FILES)
def test_new_files_that_do_not_fit(tmp_path, trained, case):
    columns, message = NEW_FILES[case]
    with pytest.raises(DataError, match=message):
        trained[1].read(write_csv(tmp_path, "new.csv", **columns))


def test_unnamed_npz_is_matched_by_position(tmp_path):
    p = Preprocessor([Column("first"), Column("second")], [0, 1], [1, 2])
    path = tmp_path / "new.npz"
    np.savez(path, x=X)
    assert np.array_equal(p.read(path), (X - [0, 1]) / [1, 2])
    np.savez(path, x=X[:, :1])
    with pytest.raises(DataError, match="array 'x' has 1 column, the model takes 2"):
        p.read(path)


def test_preprocessor_refuses_what_it_did_not_write(trained):
    good = trained[1].to_dict()
    for bad in ({}, {**good, "mean": [1.0]}, {**good, "scale": [0.0] * len(good["scale"])}, [1]):
        with pytest.raises(ValueError, match=r"values:|mean:|scale:"):
            Preprocessor.from_dict(bad)
