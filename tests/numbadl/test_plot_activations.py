"""Pictures of the activations: every record is drawn, what is drawn is right, legible and unbroken; the page and its command."""

import json
import math
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import references as ref
from numbadl.kernels.scalar.activations import ACTIVATIONS, COURSE
from numbadl.kernels.scalar.gated import GATED

from numbadl import _curves, cli, plot_activations
from numbadl._formulas import markdown, mathtext
from numbadl.functional import FUNCTIONS

matplotlib = pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PNG = b"\x89PNG\r\n\x1a\n"
COMPILED = _curves.evaluate


def from_formulas(record, variant, x):
    """What `_curves.evaluate` gives, from the reference formulas: no kernel has to be compiled."""
    parameters = variant.parameters
    if record.random:
        parameters = (sum(parameters) / len(parameters),)
    if record.alternating:
        parameters = ((1.0, -1.0)[variant.channel],)
    wide = [np.longdouble(np.float32(p)) for p in parameters]
    with np.errstate(all="ignore"):
        found = [fn(ref.WIDE, x.astype(np.longdouble), *wide) for fn in ref.ACTIVATIONS[record.name]]
        return [np.broadcast_to(y, x.shape).astype(np.float32) for y in found]


@pytest.fixture(autouse=True)
def formulas(monkeypatch):
    monkeypatch.setattr(_curves, "evaluate", from_formulas)


@pytest.fixture
def figures(monkeypatch):
    """The figures as they are saved."""
    found, save = [], plot_activations.save_figure
    monkeypatch.setattr(
        plot_activations, "save_figure", lambda figure, path, kind: (found.append(figure), save(figure, path, kind))[1]
    )
    return found


def lines(panel, colour):
    return [line for line in panel.lines if line.get_color() == colour and line.get_linestyle() != "None"]


def colours(path):
    """How many pixels of a PNG are nearly blue, and how many nearly orange."""
    pixels = matplotlib.image.imread(path)[..., :3]
    wanted = [matplotlib.colors.to_rgb(c) for c in (plot_activations.BLUE, plot_activations.ORANGE)]
    return [int((np.abs(pixels - rgb).max(axis=-1) < 0.1).sum()) for rgb in wanted]


# -- the pictures ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_drawn_and_legible(name, tmp_path, figures):

    path = plot_activations.draw_activation(name, tmp_path / f"{name}.png")
    assert path.read_bytes().startswith(PNG)
    assert all(count > 200 for count in colours(path)), "f and f' can both be seen"
    (panel,) = figures[0].axes
    record, variants = ACTIVATIONS[name], _curves.variants(ACTIVATIONS[name])
    for order, colour in enumerate((plot_activations.BLUE, plot_activations.ORANGE)):
        drawn = lines(panel, colour)
        assert len(drawn) == len(variants)
        for line, variant in zip(drawn, variants, strict=True):
            x, y = line.get_data()
            expected, there = from_formulas(record, variant, x)[order], np.isfinite(y)
            np.testing.assert_allclose(y[there], expected[there], rtol=1e-5, atol=1e-5)
            assert (~there & np.isfinite(expected)).sum() <= len(_curves.of_parameters(record.kinks, variant))
    heading, f, derivative = (text.get_window_extent() for text in figures[0].texts)
    width, height = figures[0].bbox.size
    assert heading.y1 <= height and max(f.x1, derivative.x1) <= width
    assert heading.y0 > f.y1 and f.y0 > derivative.y1 and derivative.y0 > panel.bbox.y1, "nothing overlaps"


@pytest.mark.parametrize("count", [len(COURSE), pytest.param(len(ACTIVATIONS), marks=pytest.mark.slow)])
def test_overview_has_every_activation_the_courses_first(count, tmp_path, figures, monkeypatch):

    shown = dict(list(ACTIVATIONS.items())[:count])
    monkeypatch.setattr(plot_activations, "ACTIVATIONS", shown)
    path = plot_activations.draw_overview(tmp_path / "all.png")
    panels = [panel for panel in figures[0].axes if panel.get_visible()]
    names = [panel.get_title(loc="left") for panel in panels]
    assert names == list(shown) and names[: len(COURSE)] == [record.name for record in COURSE]
    for panel in panels:
        for colour in (plot_activations.BLUE, plot_activations.ORANGE):
            assert np.isfinite(lines(panel, colour)[0].get_ydata()).sum() > 250
    assert all(pixels > 100 * count for pixels in colours(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kernels_give_the_points_that_are_drawn(name):
    record = ACTIVATIONS[name]
    low, high = _curves.window(record)
    x = np.linspace(low, high, 501, dtype=np.float32)
    for variant in _curves.variants(record):
        for actual, expected in zip(COMPILED(record, variant, x), from_formulas(record, variant, x), strict=True):
            inside = np.isfinite(expected)  # its domain
            assert np.array_equal(np.isfinite(actual), inside)
            np.testing.assert_allclose(actual[inside], expected[inside], rtol=1e-5, atol=1e-6)


def test_a_jump_breaks_the_line_and_a_bend_does_not(tmp_path, figures):
    for name, breaks in [("binary_step", (1, 0)), ("relu", (0, 1)), ("hardshrink", (2, 2)), ("softplus", (0, 0))]:
        plot_activations.draw_activation(name, tmp_path / "picture.svg")
        for colour, count in zip((plot_activations.BLUE, plot_activations.ORANGE), breaks, strict=True):
            assert np.isnan(lines(figures[-1].axes[0], colour)[0].get_ydata()).sum() == count, name


def test_values_at_kinks_are_dots_and_limits_are_rings(tmp_path, figures):
    plot_activations.draw_activation("relu6", tmp_path / "relu6.svg")
    marks = [line for line in figures[0].axes[0].lines if line.get_marker() == "o"]
    slopes = [line for line in marks if line.get_color() == plot_activations.ORANGE]
    rings = [(*line.get_xdata(), *line.get_ydata()) for line in slopes if line.get_markerfacecolor() == "white"]
    dots = [(*line.get_xdata(), *line.get_ydata()) for line in slopes if line.get_markerfacecolor() != "white"]
    assert rings == [(0.0, 1.0), (6.0, 1.0)] and dots == [(0.0, 0.0), (6.0, 0.0)]


def test_the_same_picture_is_the_same_file(tmp_path):
    first, second = (plot_activations.draw_activation("elu", tmp_path / f"{k}.svg").read_bytes() for k in range(2))
    assert first == second and ET.fromstring(first).tag.endswith("svg")


@pytest.mark.parametrize(
    ("draw", "arguments", "message"),
    [
        (plot_activations.draw_activation, ("silo", "a.png"), "name: got 'silo', accepted are identity"),
        (plot_activations.draw_activation, ("silu", "a.gif"), "path: got 'a.gif'"),
        (plot_activations.draw_overview, ("a",), "path: got 'a'"),
    ],
)
def test_wrong_arguments_are_refused(draw, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)


# -- what is shown -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_variants_are_valid_and_different(name):
    record, shown = ACTIVATIONS[name], _curves.variants(ACTIVATIONS[name])
    assert shown[0].parameters == tuple(p.default for p in record.parameters)
    assert len({variant.label for variant in shown}) == len(shown)
    if record.parameters:
        assert len(shown) > 1
        for variant in shown:
            FUNCTIONS[name].check(*variant.parameters)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_window_shows_the_bends(name):
    low, high = _curves.window(ACTIVATIONS[name])
    assert low < 0 < high and high - low >= 2
    kinks = _curves.of_parameters(ACTIVATIONS[name].kinks, _curves.variants(ACTIVATIONS[name])[0])
    assert all(low < kink < high for kink in kinks if kink < 20), "softplus jumps by 2e-9 at 20"


def test_windows_follow_from_the_slope():
    assert _curves.window(ACTIVATIONS["sigmoid"]) == _curves.window(ACTIVATIONS["exponential"]) == (-5, 5)
    assert _curves.window(ACTIVATIONS["soft_clipping"]) == (-0.5, 1.5)
    assert _curves.window(ACTIVATIONS["relu6"])[1] > 7


@pytest.mark.parametrize("record", [*ACTIVATIONS.values(), *GATED.values()], ids=lambda record: record.name)
def test_formulas_can_be_written(record):
    from matplotlib.mathtext import MathTextParser

    formulas = [record.formula, getattr(record, "derivative_formula", "x")]
    for formula in formulas:
        assert MathTextParser("path").parse(mathtext(formula)).width > 0
        cell = markdown(formula)
        assert "|" not in cell and r"\operatorname" not in cell and r"\," not in cell
        assert cell.count(r"\lvert") == cell.count(r"\rvert") == formula.count("|") / 2


# -- the command -------------------------------------------------------------------------------------------------
def run(*arguments):
    return cli.main(["plot", *map(str, arguments)])


def test_command_draws_what_is_named(tmp_path, capsys):
    assert run("activations", "silu", "brelu", "--out", tmp_path / "new", "--format", "png,svg") == 0
    expected = sorted(str(tmp_path / "new" / f"{n}.{kind}") for n in ("silu", "brelu") for kind in ("png", "svg"))
    assert sorted(map(str, (tmp_path / "new").iterdir())) == expected
    assert sorted(capsys.readouterr().out.split()) == expected


def test_command_draws_all_and_the_overview(tmp_path, monkeypatch):
    few = {name: ACTIVATIONS[name] for name in ("relu", "rrelu")}
    monkeypatch.setattr(plot_activations, "ACTIVATIONS", few)
    assert run("activations", "--out", tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"relu.png", "rrelu.png", "activations.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("activations", "silo"), "silo: not an activation of one number; did you mean silu?"),
        (("activations", "qqq"), "accepted are identity, "),
        (("activations", "relu", "--format", "gif"), "--format: got 'gif', accepted are png and svg"),
        (("activations", "relu", "--out", "file"), "is a file; a folder is expected"),
        ((), "the following arguments are required: activations ("),
        (("curves",), "invalid choice: 'curves'"),
    ],
)
def test_command_explains_what_is_wrong(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("numbadl: error: ") and error.count("\n") == 1 and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_command_explains_a_missing_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("activations", "relu", "--out", tmp_path) == 2
    assert "pip install numbadl[plot]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- the pages ---------------------------------------------------------------------------------------------------
def test_pages_are_what_the_command_writes():
    command = [sys.executable, "-m", "tests.document", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_activation_has_a_picture_and_figures():
    pictures = {path.stem: path for path in (DOCS / "activations").glob("*.svg")}
    assert set(pictures) == {*ACTIVATIONS, "activations"}, (
        "run: numbadl plot activations --format svg --out docs/activations"
    )
    assert sum(path.stat().st_size for path in pictures.values()) < 3_000_000
    errors = json.loads((DOCS / "activations.json").read_text())["errors"]
    assert list(errors) == list(ACTIVATIONS), "run: python -m tests.accuracy --activations --resume"
    for found in errors.values():
        for dtype in ("float32", "float64"):
            assert all(math.isfinite(found[dtype][what]["ulp"]) for what in ("f", "f'"))


def test_page_takes_the_speed_nearest_to_a_million_elements():
    page = runpy.run_path(str(ROOT / "tests" / "document.py"))
    rows = [("silu", 1 << 16, 3.0), ("silu", 1 << 20, 1.25), ("silu", 1 << 24, 2.0), ("silu.backward", 1 << 24, 1.5)]
    recorded = [{"name": name, "elements": n, "peers": {"torch": {"ratio": ratio}}} for name, n, ratio in rows]
    ratios = page["_ratios"]({"rows": recorded})
    assert ratios == {"silu": 1.25, "silu.backward": 1.5}
    header, cells = page["_measured"]({}, ratios)
    found = {row[0]: dict(zip(header, row, strict=True)) for row in cells}
    assert (found["`silu`"]["speed $f$"], found["`silu`"]["speed backward"]) == ("1.25", "1.50")
    assert found["`relu`"]["speed $f$"] == ""
    assert "speed $f$" not in page["_measured"]({}, {})[0]
