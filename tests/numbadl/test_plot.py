"""Learning curves: a whole PNG or none, whatever the numbers are."""

import math
import subprocess
import sys
from types import SimpleNamespace

import pytest

from numbadl.plot import COLOURS, learning_curves, panels, save

matplotlib = pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n"
LOSS = [1.0, 0.5, 0.25]


def history(**metrics):
    return SimpleNamespace(epochs=[1, 2, 3], metrics=metrics)


def drawn_lines(monkeypatch, run, path):
    """Draw, and return what was drawn: panel title -> {legend entry: values}."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: (figures.append(self), file.write_bytes(PNG)))
    learning_curves(run, path)
    panels = [panel for panel in figures[0].axes if panel.get_visible()]
    return {p.get_title(loc="left"): {line.get_label(): list(line.get_ydata()) for line in p.lines} for p in panels}


def test_picture_is_a_png_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "curves.png"
    assert learning_curves(history(loss=LOSS, val_loss=LOSS, accuracy=LOSS), path) == path
    assert path.read_bytes().startswith(PNG)
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


def test_one_panel_holds_training_and_validation(tmp_path, monkeypatch):
    run = history(loss=LOSS, accuracy=[0.5, 0.75, 0.9], val_loss=[1.1, 0.4, 0.6], val_accuracy=[0.4, 0.8, 0.7])
    panels = drawn_lines(monkeypatch, run, tmp_path / "curves.png")
    assert list(panels) == ["loss", "accuracy"]
    assert panels["loss"] == {
        "training, last 0.25": LOSS,
        "validation, last 0.6": [1.1, 0.4, 0.6],
        "best 0.4, epoch 2": [0.4],
        "overfits from epoch 2": [0, 1],  # from the bottom to the top of the panel
    }
    assert panels["accuracy"]["best 0.8, epoch 2"] == [0.8]


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_every_metric_has_its_panel(tmp_path, monkeypatch, count):
    names = [f"metric{k}" for k in range(count)]
    panels = drawn_lines(monkeypatch, history(**dict.fromkeys(names, LOSS)), tmp_path / "curves.png")
    assert list(panels) == names


@pytest.mark.parametrize(
    "values", [[math.nan] * 3, [1.0, math.inf, 0.5], [1.0, 0.5, math.nan], [1e-300, 1e300, 1.0]], ids=repr
)
def test_numbers_that_cannot_be_drawn_leave_gaps(tmp_path, values):
    path = tmp_path / "curves.png"
    learning_curves(history(loss=values, val_loss=values), path)
    assert path.read_bytes().startswith(PNG)


def test_a_single_epoch_is_visible(tmp_path, monkeypatch):
    run = SimpleNamespace(epochs=[1], metrics={"loss": [1.0], "val_loss": [2.0]})
    assert drawn_lines(monkeypatch, run, tmp_path / "curves.png") == {
        "loss": {"training, last 1": [1.0], "validation, last 2": [2.0]}
    }


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (SimpleNamespace(epochs=[], metrics={}), "0 epochs and 0 metrics"),
        (SimpleNamespace(epochs=[1], metrics={}), "1 epochs and 0 metrics"),
        (SimpleNamespace(epochs=[1, 2], metrics={"loss": [1.0]}), "'loss' has 1 values for 2 epochs"),
    ],
)
def test_bad_histories_are_refused(tmp_path, run, message):
    with pytest.raises(ValueError, match=message):
        learning_curves(run, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_picture(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def half_written(self, file, **_):
        file.write_bytes(PNG)
        raise OSError("disc full")

    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", half_written)
    with pytest.raises(OSError, match="disc full"):
        learning_curves(history(loss=LOSS), path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3)])
def test_panels_for_own_pictures(count, rows, columns):
    found = panels(*(f"panel {k}" for k in range(count)))
    assert [panel.get_title(loc="left") for panel in found] == [f"panel {k}" for k in range(count)]
    assert found[0].get_subplotspec().get_gridspec().get_geometry() == (rows, columns)
    lines = [found[0].plot([1, 2], [k, k])[0].get_color() for k in range(2)]
    assert lines == list(COLOURS[:2])
    assert sum(panel.get_visible() for panel in found[0].figure.axes) == count


@pytest.mark.parametrize(("name", "first"), [("own.png", PNG), ("own.SVG", b"<?xml")])
def test_panels_are_saved_with_legends(tmp_path, name, first):
    named, plain, own = found = panels("named", "plain", "own")
    named.plot([1, 2], label="a line")
    plain.plot([1, 2])
    own.plot([1, 2], label="a line")
    legend = own.legend(["of my own"])
    assert save(found, tmp_path / "new" / name) == tmp_path / "new" / name
    assert (tmp_path / "new" / name).read_bytes().startswith(first)
    assert [text.get_text() for text in named.get_legend().get_texts()] == ["a line"]
    assert plain.get_legend() is None and own.get_legend() is legend


def test_panels_errors(tmp_path):
    with pytest.raises(ValueError, match="titles: got none, accepted are one or more"):
        panels()
    with pytest.raises(TypeError, match="titles: got 3, accepted are strings"):
        panels("one", 3)
    with pytest.raises(ValueError, match="path: got .*own.gif.*, accepted are files that end with .png or .svg"):
        save(panels("one"), tmp_path / "own.gif")
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install numbadl\[plot\]"):
        learning_curves(history(loss=LOSS), tmp_path / "curves.png")


def test_import_and_drawing_leave_the_users_backend_alone(tmp_path):
    code = (
        "import sys; from types import SimpleNamespace; from numbadl.plot import learning_curves;"
        "assert 'matplotlib' not in sys.modules;"
        "learning_curves(SimpleNamespace(epochs=[1], metrics={'loss': [1.0]}), sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "curves.png"], check=True)
