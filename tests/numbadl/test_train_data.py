"""What training is fed with: weights, splits, iterables, and memory maps that are never read as a whole."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import numbadl as nd
from numbadl.train.sources import Rows

nn = nd.nn
QUIET = {"progress": False}


def problem(n=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return (np.eye(3)[labels] + rng.normal(size=(n, 3)) * 0.4).astype(np.float32), labels


def linear(outputs=3, dtype=np.float64):
    return nn.Sequential(nn.Linear(3, outputs), dtype=dtype)


def trained(model, x, y=None, *, lr=0.5, **options):
    options = {"loss": "cross_entropy", **options}
    history = model.fit(x, y, optimizer=nd.optim.SGD(lr=lr), **options, **QUIET)
    return model.flat_parameters.copy(), history


# -- weights ---------------------------------------------------------------------------------------------------------
def test_a_weight_is_a_number_of_copies(rng):
    """Full batch: rows with integer weights are rows that stand there so many times; weight 0 is not there at all."""
    x, y = problem()
    weight = rng.integers(0, 4, len(x))
    weighted, history = trained(linear(), x, y, batch_size=None, sample_weight=weight, epochs=3)
    copied, expected = trained(linear(), np.repeat(x, weight, axis=0), np.repeat(y, weight), batch_size=None, epochs=3)
    np.testing.assert_allclose(weighted, copied, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-10)


def test_weights_go_with_their_rows():
    """Rows of weight 0 change nothing in any batch: with other targets, training is the same to the bit."""
    x, y = problem()
    weight = (np.arange(len(x)) % 3 > 0).astype(float)
    other = np.where(weight > 0, y, (y + 1) % 3)
    options = {"batch_size": 7, "epochs": 2, "sample_weight": weight, "metrics": []}
    first, history = trained(linear(), x, y, **options)
    second, again = trained(linear(), x, other, **options)
    assert np.array_equal(first, second) and history.metrics == again.metrics
    assert not np.array_equal(first, trained(linear(), x, other, **{**options, "sample_weight": None})[0])


@pytest.mark.parametrize("given", [{0: 2.0, 2: 0.5}, [2.0, 1.0, 0.5], np.array([2, 1, 0.5], np.float32)])
def test_class_weights_are_weights_of_rows(given):
    x, y = problem()
    options = {"batch_size": 20, "validation_data": (x[:30], y[:30])}
    expected, by_row = trained(linear(), x, y, sample_weight=np.array([2.0, 1.0, 0.5])[y], batch_size=20)
    found, history = trained(linear(), x, y, class_weight=given, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert history["loss"] == pytest.approx(by_row["loss"])
    model = linear()
    model.flat_parameters[...] = found
    weights = np.array([2.0, 1.0, 0.5])[y[:30]]
    assert history["val_loss"][0] == pytest.approx(
        model.evaluate(x[:30], y[:30], "cross_entropy", sample_weight=weights)["loss"]
    )


def test_balanced_classes():
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    x, y = problem()
    y[: 2 * len(y) // 3] = 0
    weights = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=y)
    expected, _ = trained(linear(), x, y, class_weight=weights, batch_size=20)
    np.testing.assert_allclose(trained(linear(), x, y, class_weight="balanced", batch_size=20)[0], expected, rtol=1e-12)


@pytest.mark.parametrize(("loss", "low"), [("binary_cross_entropy", 0), ("hinge", -1)])
def test_class_weights_of_yes_or_no(loss, low):
    x, labels = problem()
    y = np.where(labels == 1, 1.0, low).reshape(-1, 1)
    expected, _ = trained(linear(1), x, y, loss=loss, sample_weight=np.where(labels == 1, 3.0, 1.0))
    np.testing.assert_allclose(trained(linear(1), x, y, loss=loss, class_weight={1: 3.0})[0], expected, rtol=1e-12)


def test_an_epoch_whose_batches_have_different_weights(rng):
    """The loss of the epoch is the weighted mean over rows, not a mean of means."""
    x, y = problem()
    weight = rng.random(len(x))
    _, history = trained(linear(), x, y, lr=0.0, sample_weight=weight, batch_size=7)
    assert history["loss"][0] == pytest.approx(linear().evaluate(x, y, "cross_entropy", sample_weight=weight)["loss"])
    y[::4] = -100  # rows that are ignored do not count either
    _, history = trained(linear(), x, y, lr=0.0, batch_size=7)
    assert history["loss"][0] == pytest.approx(linear().evaluate(x, y, "cross_entropy")["loss"])


# -- splits ----------------------------------------------------------------------------------------------------------
class Recorder(nn.Layer):
    """A first layer that notes the first column of what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = {True: [], False: []}

    def forward(self, x, training=False):
        self.seen[training].append(x[:, 0].copy())
        return x

    def backward(self, grad, input_gradient=True):
        return grad


def test_validation_split():
    n = 50
    x = np.zeros((n, 3), np.float32)
    x[:, 0] = np.arange(n)
    weight = np.arange(n) + 1.0

    def run(seed):
        recorder = Recorder()
        model = nn.Sequential(recorder, nn.Linear(3, 1))
        model.fit(
            x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=1e-9), batch_size=8, epochs=2, validation_split=0.3,
            sample_weight=weight, seed=seed, **QUIET,
        )  # fmt: skip
        validation = [set(rows.tolist()) for rows in recorder.seen[False] if len(rows) == 15]
        return np.concatenate(recorder.seen[True]).reshape(2, 35), validation

    training, validation = run(seed=3)
    assert len(validation) == 2 and validation[0] == validation[1]
    assert all(set(epoch.tolist()) == set(range(n)) - validation[0] for epoch in training)
    again, other = run(seed=3), run(seed=4)
    assert np.array_equal(training, again[0]) and validation == again[1] and validation != other[1]


# -- iterables -------------------------------------------------------------------------------------------------------
def batches_of(x, y, size=15):
    return [(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)]


def test_iterables_are_arrays_in_pieces():
    x, y = problem()
    expected, history = trained(linear(), x, y, batch_size=15, shuffle=False, epochs=3)
    one_by_one = itertools.cycle(batches_of(x, y))
    weighted = [(*batch, np.full(len(batch[0]), 2.0)) for batch in batches_of(x, y)]
    for given, options in (
        (batches_of(x, y), {}),
        (weighted, {}),
        (one_by_one, {"steps_per_epoch": 6}),
        ((batch for batch in batches_of(x, y) * 3), {"steps_per_epoch": 6}),
    ):
        found, other = trained(linear(), given, epochs=3, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert other["loss"] == pytest.approx(history["loss"]) and other["accuracy"] == history["accuracy"]
    parts, _ = trained(linear(), batches_of(x, y), steps_per_epoch=2, epochs=2)
    again, _ = trained(linear(), x[:30], y[:30], batch_size=15, shuffle=False, epochs=2)
    np.testing.assert_allclose(parts, again, rtol=1e-12)


def test_an_iterator_for_one_epoch_needs_no_number_of_steps():
    x, y = problem()
    expected, _ = trained(linear(), x, y, batch_size=15, shuffle=False, validation_data=(x, y))
    np.testing.assert_allclose(
        trained(linear(), iter(batches_of(x, y)), validation_data=(x, y))[0], expected, rtol=1e-12
    )


X, Y = problem(20)
WRONG = [(X[:10], Y[:10]), (X[10:], np.where(Y[10:] == 1, 5, Y[10:]))]
ERRORS = [
    ({"sample_weight": np.ones(19)}, ValueError, r"sample_weight: got shape \(19,\), expected \(20,\)"),
    ({"sample_weight": -np.ones(20)}, ValueError, r"sample_weight\[0\]: got -1.0, accepted are finite numbers from 0"),
    ({"sample_weight": np.zeros(20)}, ValueError, "sample_weight: got zeros only"),
    ({"class_weight": {3: 1.0}}, ValueError, "class_weight: got class 3, accepted are 0, 1, 2"),
    ({"class_weight": [1.0, 2.0]}, ValueError, r"class_weight: got shape \(2,\), expected \(3,\)"),
    ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\]: got -1.0"),
    ({"class_weight": "equal"}, ValueError, "class_weight: got 'equal', accepted are 'balanced'"),
    (
        {"class_weight": [1.0], "loss": "mse", "y": X},
        ValueError,
        r"class_weight: mse of outputs \(N, 3\) has no classes",
    ),
    ({"validation_split": 1.0}, ValueError, "validation_split: got 1.0, accepted are numbers above 0 and below 1"),
    (
        {"validation_split": 0.01},
        ValueError,
        "validation_split: got 0.01, which leaves 20 of 20 rows for training and 0",
    ),
    (
        {"validation_split": 0.2, "validation_data": (X, Y)},
        ValueError,
        "validation_split: got 0.2 beside validation_data",
    ),
    ({"validation_data": (X, Y, np.ones(3))}, ValueError, r"validation sample_weight: got shape \(3,\)"),
    ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch: got 0"),
    ({"steps_per_epoch": 3}, ValueError, "steps_per_epoch: got 3, accepted with arrays is None"),
    ({"y": None}, TypeError, "y: got None, needed beside an array x"),
    ({"x": iter([(X, Y)]), "y": None, "epochs": 2}, ValueError, "steps_per_epoch: got None, needed for 2 epochs"),
    ({"x": [], "y": None}, ValueError, "x: the iterable has no batch"),
    ({"x": [X, X], "y": None}, TypeError, "batch 1: got numpy.ndarray, accepted are"),
    ({"x": [(X, Y, Y, Y)], "y": None}, TypeError, "batch 1: got 4 values"),
    ({"x": [(X, Y[:3])], "y": None}, ValueError, "batch 1: y: got shape"),
    (
        {"x": [(X, Y)], "y": None, "validation_split": 0.5},
        ValueError,
        "validation_split: got 0.5, accepted beside an iter",
    ),
    (
        {"x": [(X, Y)], "y": None, "sample_weight": Y},
        ValueError,
        "sample_weight: got numpy.ndarray, accepted beside an",
    ),
    (
        {"x": [(X, Y)], "y": None, "class_weight": "balanced"},
        ValueError,
        "class_weight: got 'balanced', accepted for an",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors_before_training(change, error, message):
    model = linear()
    before = model.flat_parameters.copy()
    options = {"x": X, "y": Y, "loss": "cross_entropy", "optimizer": nd.optim.SGD(lr=1.0), **QUIET, **change}
    with pytest.raises(error, match=message):
        model.fit(**options)
    assert np.array_equal(model.flat_parameters, before)


def test_batches_are_checked_as_they_come():
    for given, message in (
        (WRONG, r"batch 2: y\[\d\]: got 5, accepted are labels from 0 to 2"),
        ([(X, Y), (X + np.nan, Y)], r"batch 2: x\[0, 0\]: got nan"),
        ([(X, Y), (X[:0], Y[:0])], "batch 2: x: got no rows"),
    ):
        with pytest.raises(ValueError, match=message):
            trained(linear(), given)
    with pytest.raises(ValueError, match="x: the iterable ended after 1 of the 2 batches of epoch 2"):
        trained(linear(), iter([(X, Y)] * 3), epochs=3, steps_per_epoch=2)


# -- memory maps -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, ">i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_a_memory_map(tmp_path, rng, dtype, order, monkeypatch):
    """Whatever is taken, released and taken again is what the array has."""
    monkeypatch.setattr(nd.train.sources, "_RELEASE", 256)
    monkeypatch.setattr(nd.train.sources, "_BLOCK", 1 << 10)
    values = np.asarray(rng.integers(0, 200, (60, 7)), dtype, order=order)
    np.save(tmp_path / "x.npy", values)
    rows = Rows(np.asarray(np.load(tmp_path / "x.npy", mmap_mode="r")), np.float32)
    assert rows._map is not None
    for _ in range(5):
        order_of = rng.permutation(60)[:31]
        assert np.array_equal(rows.take(order_of), values[order_of].astype(np.float32))
        assert np.array_equal(rows.take(slice(4, 50)), values[4:50].astype(np.float32))
    found = [(start, block.copy()) for start, block, _ in rows.blocks()]
    assert len(found) > 1 and np.array_equal(np.concatenate([b for _, b in found]), values.astype(np.float32))
    assert found[1][0] == len(found[0][1])


def test_pages_that_the_user_changed_in_private_stay(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((8, 2), np.float32))
    monkeypatch.setattr(nd.train.sources, "_RELEASE", 1)
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[3] = 5
    assert Rows(private, np.float32)._map is None
    assert Rows(np.load(tmp_path / "x.npy", mmap_mode="r"), np.float32)._map is not None


def test_nan_in_a_later_block_is_named_by_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(nd.train.sources, "_BLOCK", 1 << 10)
    x = np.ones((900, 3))
    x[777, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    given = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(ValueError, match=r"x\[777, 2\]: got nan"):
        trained(linear(dtype=np.float32), given, np.zeros(900, int))
    y = np.zeros((900, 3))
    y[801, 1] = 1.5
    np.save(tmp_path / "y.npy", y)
    given = np.load(tmp_path / "y.npy", mmap_mode="r")
    with pytest.raises(ValueError, match=r"y\[801, 1\]: got 1.5, accepted are numbers from 0 to 1"):
        trained(linear(dtype=np.float32), np.zeros((900, 3)), given, loss="binary_cross_entropy")


MEMORY = """
import sys
import numpy as np
import numbadl as nd

x, y = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
model = nd.nn.Sequential(nd.nn.Linear(x.shape[1], 3))
options = {"loss": "cross_entropy", "optimizer": nd.optim.SGD(lr=1e-3), "progress": False}
model.fit(np.zeros((512, x.shape[1]), np.float32), np.zeros(512, int), batch_size=256, **options)  # compiles

def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = resident("VmRSS")
history = model.fit(x, y, epochs=2, batch_size=256, validation_split=0.1, shuffle=sys.argv[3] == "shuffle", **options)
assert len(history.epochs) == 2
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    ("dtype", "shuffle"), [(np.float32, "shuffle"), pytest.param(np.uint8, "in order", marks=pytest.mark.slow)]
)
def test_memory_maps_larger_than_memory(tmp_path, dtype, shuffle):
    """300 MB (uint8 is converted batch by batch) are read twice within 156 MB; NUMBADL_TEST_GIGABYTES=10 reads so many."""
    gigabytes = float(os.environ.get("NUMBADL_TEST_GIGABYTES", 0.3))
    n = int(gigabytes * 1e9) // (1000 * np.dtype(dtype).itemsize)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (n, 1000))
    for start in range(0, n, 10_000):
        x[start : start + 10_000] = np.arange(1000) % 7
    x.flush()
    np.save(tmp_path / "y.npy", np.arange(n) % 3)
    del x
    command = [sys.executable, "-c", MEMORY, tmp_path / "x.npy", tmp_path / "y.npy", shuffle]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150 + 20 * gigabytes  # labels and the order of rows grow with their number
