"""What a history says about a training, on curves that are made for it; the pictures show it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import numbadl as nd
from numbadl.train.diagnosis import diagnose, turning_epoch

T = np.arange(30)
FALLING = np.exp(-T / 4)


def history(loss, val_loss, **more):
    history = nd.train.History()
    for epoch, values in enumerate(zip(loss, val_loss, strict=True), 1):
        history.record(epoch, dict(zip(("loss", "val_loss"), values, strict=True)))
    history.metrics.update(more)
    return history


CASES = {
    "good": (FALLING + 0.05, FALLING + 0.07, "good fit", None, "near its minimum"),
    "turned": (FALLING, np.where(T < 12, FALLING, FALLING[12] + 0.01 * (T - 12)), "overfit", 13, "turned in epoch 13"),
    "gap": (FALLING, np.maximum(FALLING, 0.5) + 0.001 * (T == 20), "overfit", 4, "stopped falling in epoch 4"),
    "both rise": (FALLING + 0.02 * T, FALLING + 0.02 * T, "underfit", None, "little below 1"),
    "high": (1 - 0.1 * (1 - FALLING), 1 - 0.09 * (1 - FALLING), "underfit", None, "ends at 0.9"),
    "too short": (np.exp(-T / 20), np.exp(-T / 20) + 0.01, "underfit", None, "still fall at the end, in epoch 30"),
    "one peak": (FALLING + 0.05, FALLING + 0.06 + 3.0 * (T == 22), "good fit", None, "near its minimum"),
    "one dip": (FALLING + 0.05, FALLING + 0.1 - 0.09 * (T == 25), "good fit", None, "near its minimum"),
    "diverged": (np.where(T < 20, FALLING, np.nan), FALLING, "diverged", 20, "ends at nan"),
    "recovered": (np.where(T == 5, np.inf, FALLING) + 0.05, FALLING + 0.07, "good fit", None, "near its minimum"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name):
    loss, val_loss, verdict, epoch, reason = CASES[name]
    found = history(loss, val_loss).diagnose()
    assert (found.verdict, found.epoch) == (verdict, epoch), found
    assert reason in found.reason and str(found).startswith(f"{verdict}: {found.reason}")
    assert bool(found.advice) == (verdict != "good fit")
    assert turning_epoch(history(loss, val_loss)) == (epoch if verdict == "overfit" else None)


@pytest.mark.parametrize("name", ["good", "turned", "gap", "high"])
@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_the_unit_of_the_loss_does_not_matter(name, factor):
    loss, val_loss, verdict, epoch, _ = CASES[name]
    found = history(loss * factor, val_loss * factor).diagnose()
    assert (found.verdict, found.epoch) == (verdict, epoch)


def test_a_baseline_tells_what_the_first_epoch_does_not():
    """A loss that begins at 0.1 and stays: a good fit if guessing costs 2.3, and an underfit if it costs 0.11."""
    flat = history(np.full(9, 0.1), np.full(9, 0.11))
    assert flat.diagnose(baseline=2.3).verdict == "good fit" and flat.diagnose(baseline=0.11).verdict == "underfit"


def test_errors():
    with pytest.raises(ValueError, match="history: has no 'val_loss', needed are both losses"):
        diagnose(SimpleNamespace(epochs=[1, 2, 3], metrics={"loss": [1, 2, 3]}))
    with pytest.raises(ValueError, match="history: got 2 epochs, accepted are 3 or more"):
        history([1, 2], [1, 2]).diagnose()
    for bad in (0, -1, math.nan, "1"):
        with pytest.raises(ValueError, match="baseline: got"):
            history([1, 2, 3], [1, 2, 3]).diagnose(baseline=bad)


def test_real_trainings():
    """A wide net on 30 rows of noisy labels overfits; a linear one on a linear problem is a good fit; one on xor underfits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10)).astype(np.float32)
    labels = ((x[:, 0] > 0) ^ (rng.random(300) < 0.2)).astype(int)
    options = {"loss": "cross_entropy", "batch_size": 30, "progress": False}

    def verdict(model, x, y, epochs, n):
        optimizer = nd.optim.Adam(lr=0.01)
        fitted = model.fit(
            x[:n], y[:n], optimizer=optimizer, epochs=epochs, validation_data=(x[150:], y[150:]), **options
        )
        return fitted.diagnose().verdict

    wide = nd.nn.Sequential(nd.nn.Linear(10, 100), nd.nn.Tanh(), nd.nn.Linear(100, 2))
    assert verdict(wide, x, labels, 100, 30) == "overfit"
    clean = (x[:, 0] > 0).astype(int)
    assert verdict(nd.nn.Sequential(nd.nn.Linear(10, 2)), x, clean, 150, 150) == "good fit"
    xor = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)
    assert verdict(nd.nn.Sequential(nd.nn.Linear(10, 2)), x, xor, 40, 150) == "underfit"


def test_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: (figures.append(self), file.write_bytes(b"PNG")))
    for name in ("turned", "good"):
        assert history(*CASES[name][:2]).plot(tmp_path / "curves.png") == tmp_path / "curves.png"
    labels = [[text.get_text() for text in figure.axes[0].get_legend().get_texts()] for figure in figures]
    assert "overfits from epoch 13" in labels[0] and not any("overfits" in label for label in labels[1])
    monitor = nd.train.GradientMonitor()
    monitor.epochs, monitor.norms = [1, 2, 3], {"0 Linear": [1.0, 0.0, 1e-9], "2 Linear": [2.0, math.inf, 3.0]}
    monitor.plot(tmp_path / "norms.png")
    (panel,) = figures[2].axes
    assert panel.get_yscale() == "log" and [line.get_label() for line in panel.lines] == list(monitor.norms)
    np.testing.assert_equal(panel.lines[0].get_ydata(), [1.0, math.nan, 1e-9])
    with pytest.raises(ValueError, match="monitor: got 0 epochs"):
        nd.train.GradientMonitor().plot(tmp_path / "norms.png")
