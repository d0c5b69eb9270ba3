"""The pages of docs whose Python is run: what they claim holds, quickly in each run, and as the page has it in the slow ones."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests import pages

pytest.importorskip("matplotlib")
DOCS = Path(__file__).parents[2] / "docs"
LARGEST_PICTURE = 150_000  # bytes


def approximation(page, quick):
    errors, widest = page["errors"], page["widths"][-1]
    assert all(errors[name, widest] < errors[name, 2] / 2 for name in page["activations"])
    assert all(value > 0.9 for value in page["largest"].values()) and page["mean"][widest] < page["mean"][2]
    if not quick:
        assert errors["tanh", 32] < 0.01 and errors["tanh", 64] < 0.01


def batches(page, quick):
    far = {name: np.linalg.norm(path[-1] - page["minimum"]) for name, path in page["paths"].items()}
    assert far["full batch"] > 1 > 0.5 > max(far["single rows"], far["mini-batches of 10"])
    losses = [page["digits"][size]["val_loss"][-1] for size in (1, 32, None)]
    assert sorted(losses) == losses


def learning_rates(page, quick):
    accuracy = {rate: history["val_accuracy"][-1] for rate, history in page["runs"].items()}
    assert accuracy[0.3] > (0.6 if quick else 0.95) and accuracy[0.001] < 0.5 and accuracy[30.0] < 0.5
    assert 0.1 < page["found"].suggestion < 3
    distances = {name: values[-1] for name, values in page["distances"].items()}
    constant = distances.pop("constant 0.03"), distances.pop("constant 0.0003")
    assert max(distances.values()) < min(constant) / (1 if quick else 10)


def gradients(page, quick):
    first = {name: found[0] / found[-1] for name, (found, _) in page["first"].items()}
    assert first["sigmoid"] < 1e-9 and len(page["first"]["sigmoid"][1]) > 10
    assert all(first[name] > 0.01 for name in ("tanh", "relu", "sigmoid, batch norm", "sigmoid, residual"))
    small, usual, large = (page["scaled"][scale][0][0] for scale in (0.7, 1.0, 1.4))
    assert small < usual / 100 and large > usual * 100
    assert page["diverged"] is not None and page["clipped"]["loss"][-1] < page["clipped"]["loss"][0]
    if not quick:
        accuracy = {name: history["val_accuracy"][-1] for name, history in page["curves"].items()}
        assert accuracy["sigmoid"] < 0.15 < min(accuracy["relu"], accuracy["sigmoid, batch norm"])
        assert accuracy["sigmoid, residual"] > 0.9


def fitting(page, quick):
    losses = {name: history.last() for name, history in page["histories"].items()}
    assert losses["a line"]["loss"] > losses["8 units"]["loss"] > losses["3 x 64 units"]["loss"]
    assert page["left"]["L1"] < page["left"]["none"] == page["left"]["L2"]
    if not quick:
        verdicts = [history.diagnose(baseline=page["baseline"]).verdict for history in page["histories"].values()]
        assert verdicts == ["underfit", "good fit", "overfit"]
        accuracy = page["accuracy"]
        assert min(accuracy[name] for name in ("L2", "dropout", "early stopping")) > accuracy["none"]
        assert accuracy["L1"] > accuracy["none"] - 0.03
        assert page["left"]["L1"] < page["left"]["none"] / 2


def training_size(page, quick):
    few, many = page["sizes"][0], page["sizes"][-1]
    for name in page["nets"]:
        assert page["table"][name, many][1] > page["table"][name, few][1] + 0.1
        assert all(page["table"][name, n][0] >= page["table"][name, n][1] for n in page["sizes"])


def optimisers(page, quick):
    far = {name: np.linalg.norm(path[-1]) for name, path in page["paths"].items()}
    assert far.pop("SGD") > 10 * max(far.values())
    if not quick:
        assert all(history["val_accuracy"][-1] > 0.9 for history in page["best"].values())


def batch_norm(page, quick):
    by_scale, by_rate = page["by_scale"], page["by_rate"]
    assert by_scale["batch norm", 0.3] > by_scale["plain", 0.3] + 0.2
    if not quick:
        assert all(by_rate["batch norm", rate] > by_rate["plain", rate] + 0.1 for rate in (0.01, 0.03, 1.0))
        assert all(by_scale["batch norm", scale] > by_scale["plain", scale] + 0.1 for scale in page["scales"])
        assert page["by_size"]["batch norm", 2] < page["by_size"]["plain", 2] - 0.3
        assert page["by_size"]["batch norm", 32] > page["by_size"]["plain", 32] + 0.1


def convolution(page, quick):
    assert np.median(page["accuracies"]) >= (0.5 if quick else 0.987)


def sequences(page, quick):
    last = {name: [run[-1] for run in runs] for name, runs in page["errors"].items()}
    assert max(last["LSTM"] + last["GRU"]) < 0.01
    if not quick:
        assert min(last["RNN"]) > 0.01


CHECKS = {
    "approximation": approximation,
    "batches": batches,
    "learning-rates": learning_rates,
    "optimisers": optimisers,
    "gradients": gradients,
    "fitting": fitting,
    "training-size": training_size,
    "batch-norm": batch_norm,
    "convolution": convolution,
    "sequences": sequences,
}
SLOW = ("convolution",)  # even quickly: most kernels to compile


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CHECKS])
def test_quickly(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, _ = pages.run(DOCS / f"{name}.md", quick=True)
    CHECKS[name](page, True)
    assert (tmp_path / f"{name}.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_as_the_page_has_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, _ = pages.run(DOCS / f"{name}.md")
    CHECKS[name](page, False)


def test_all_pages_are_checked_and_listed():
    programs = {path.stem for path in DOCS.glob("*.md") if pages.QUICK.search(path.read_text(encoding="utf-8"))}
    assert programs == set(CHECKS)
    listed = (DOCS / "examples.md").read_text(encoding="utf-8")
    for name in programs:
        assert f"]({name}.md)" in listed and f"](pictures/{name}.png)" in listed
        assert 0 < (DOCS / "pictures" / f"{name}.png").stat().st_size < LARGEST_PICTURE


@pytest.mark.parametrize("name", CHECKS)
def test_numbers_in_the_text_are_printed_ones(name):
    """Of those with a decimal point: each stands in what the blocks print, or in their code."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    blocks = "".join(block[0] for block in pages.BLOCK.finditer(text))
    known = set(re.findall(r"\d+\.\d+", blocks))
    assert set(re.findall(r"\d+\.\d+", pages.BLOCK.sub("", text))) <= known


def page_of(tmp_path, *blocks):
    path = tmp_path / "page.md"
    path.write_text("# A page\n\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def test_outputs_are_written_behind_their_blocks(tmp_path):
    path = page_of(
        tmp_path, "```python\nquick = False  # or True\nn = 1 if quick else 2\n```", "```python\nprint(n)\nprint(n + 1)\n```",
        "```text\nold\n```", "The end.",
    )  # fmt: skip
    names, text = pages.run(path)
    assert names["n"] == 2 and text == path.read_text(encoding="utf-8").replace("old", "2\n3")
    assert "1\n2\n" in pages.run(path, quick=True)[1]


def test_pages_that_cannot_be_run(tmp_path):
    with pytest.raises(ValueError, match="sets quick = False 0 times"):
        pages.run(page_of(tmp_path, "```python\nn = 1\n```"))
    with pytest.raises(ValueError, match="a block prints and has no block of text"):
        pages.run(page_of(tmp_path, "```python\nquick = False\nprint(1)\n```"))
    with pytest.raises(ValueError, match="or the reverse"):
        pages.run(page_of(tmp_path, "```python\nquick = False\n```", "```text\n```"))
    with pytest.raises(ZeroDivisionError) as caught:
        pages.run(page_of(tmp_path, "```python\nquick = False\n```", "```python\n1 / 0\n```"))
    assert caught.traceback[-1].lineno + 1 == 8  # in the page
