"""Callbacks: when training stops and with what weights, what is written, what is warned of and what the warning says."""

import csv
import math
import re
import warnings

import numpy as np
import pytest

import numbadl as nd
from numbadl.train import callbacks as module

nn, train = nd.nn, nd.train
QUIET = {"progress": False}


class Scripted(train.Callback):
    """Gives the history a measure from a list, and keeps the weights of each epoch."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name, self.weights, self.rates = values, name, [], []

    def on_epoch_end(self, model, history):
        history.metrics.setdefault(self.name, []).append(self.values[len(history.epochs) - 1])
        self.weights.append({key: value.copy() for key, value in model.state().items()})
        self.rates.append(self.training.optimizer.param_groups[0]["lr"])


def run(*callbacks, epochs=10, layers=None, lr=0.1, **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    model = nn.Sequential(*(layers or [nn.Linear(3, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 1)]))
    optimizer = options.pop("optimizer", None) or nd.optim.SGD(lr=lr)
    options = {"loss": "mse", "batch_size": 10, **options}
    y = x[:, :1] - 2 * x[:, 1:2]
    return model, model.fit(x, y, optimizer=optimizer, epochs=epochs, callbacks=callbacks, **options, **QUIET)


# -- early stopping ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "options", "best", "last"),
    [
        ([5, 4, 3, 4, 4, 2, 1], {"patience": 2}, 3, 5),
        ([5, 4, 3, 4, 2, 3, 3], {"patience": 2}, 5, 7),
        ([5, 4.9, 4.8, 4.7], {"patience": 2, "min_delta": 0.5}, 1, 3),
        ([5, 4, np.nan, np.nan, 1], {"patience": 2}, 2, 4),
        ([1, 2, 3, 2, 2], {"patience": 2, "monitor": "val_accuracy"}, 3, 5),
        ([1, 2, 3, 2, 2], {"patience": 2, "monitor": "val_score", "mode": "max"}, 3, 5),
        ([5, 4, 3, 2], {"patience": 1}, 4, None),
    ],
)
def test_early_stopping(values, options, best, last):
    scripted = Scripted(values, options.get("monitor", "val_loss"))
    stopping = train.EarlyStopping(**options)
    model, history = run(scripted, stopping, epochs=len(values))
    assert (stopping.best_epoch, stopping.stopped_epoch) == (best, last)
    assert history.epochs[-1] == (last or len(values)) and stopping.best == values[best - 1]
    for key, value in model.state().items():
        assert np.array_equal(value, scripted.weights[best - 1][key]), f"{key} is not that of the best epoch"
    if best != len(history.epochs):
        assert not np.array_equal(model.flat_parameters, run(epochs=len(history.epochs))[0].flat_parameters)


def test_early_stopping_may_leave_the_weights():
    scripted = Scripted([1, 2, 3])
    model, _ = run(scripted, train.EarlyStopping(patience=2, restore_best_weights=False), epochs=3)
    assert all(np.array_equal(value, scripted.weights[2][key]) for key, value in model.state().items())


def test_a_measure_that_is_not_there():
    for callback in (train.EarlyStopping(), train.ReduceOnPlateau(nd.optim.SGD(lr=1.0))):
        with pytest.raises(ValueError, match="monitor: got 'val_loss', accepted without validation data are"):
            run(callback, epochs=1)
        with pytest.raises(ValueError, match="monitor: got 'val_loss', accepted are 'loss', 'mae', 'other'"):
            run(Scripted([1.0], "other"), callback, epochs=1)  # which could have measured it


# -- files ---------------------------------------------------------------------------------------------------------------
def test_checkpoints(tmp_path):
    scripted = Scripted([3.0, 1.0, 2.0, 0.5])
    every = train.ModelCheckpoint(tmp_path / "e{epoch}-{val_loss:.1f}.safetensors", every=2)
    best = train.ModelCheckpoint(tmp_path / "best.safetensors", save_best_only=True)
    model, _ = run(scripted, every, best, epochs=3)
    assert {f.name for f in tmp_path.iterdir()} == {"e2-1.0.safetensors", "best.safetensors"}
    for name in ("e2-1.0", "best"):
        saved = nn.load(tmp_path / f"{name}.safetensors")
        for key, value in saved.state().items():
            assert np.array_equal(value, scripted.weights[1][key])
    assert repr(saved) == repr(model)


def test_a_checkpoints_name_has_what_is_measured(tmp_path):
    with pytest.raises(ValueError, match="path: got .*accepted in braces are epoch, loss, mae"):
        run(train.ModelCheckpoint(tmp_path / "{val_loss}.safetensors"), epochs=1)


def test_a_folder_that_cannot_be_written_is_known_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    for kind in (train.ModelCheckpoint, train.CSVLogger):
        with pytest.raises(NotADirectoryError):
            kind(tmp_path / "file" / "x")


def test_csv(tmp_path):
    _, history = run(train.CSVLogger(tmp_path / "new" / "log.csv"), epochs=3)
    with open(tmp_path / "new" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3] and list(rows[0]) == ["epoch", "loss", "mae"]
    assert [float(row["loss"]) for row in rows] == history["loss"]


# -- learning rates, averages ----------------------------------------------------------------------------------------------
def test_learning_rate_of_each_epoch():
    schedule = nd.optim.schedules.Step(0.1, step_size=2, gamma=0.5)
    scripted = Scripted([0] * 5)
    run(train.LearningRateSchedule(schedule), scripted, epochs=5)
    assert scripted.rates == [0.1, 0.1, 0.05, 0.05, 0.025]


@pytest.mark.parametrize(
    "schedule, rate", [(nd.optim.schedules.Exponential(0.1, gamma=0.5), 0.002), (lambda k: 0.1, 0.004)]
)
def test_learning_rate_of_each_epoch_and_the_second_rate_of_muon(schedule, rate):
    optimizer = nd.optim.Muon(adam_lr=0.004)
    model, _ = run(train.LearningRateSchedule(schedule), epochs=2, optimizer=optimizer)
    bias = next(p for p in model.parameters().values() if p.ndim == 1)
    assert math.isclose(optimizer.learning_rate(bias), rate)


def test_reduce_on_plateau():
    optimizer, scripted = nd.optim.SGD(lr=0.1), Scripted([1.0] * 5)
    plateau = train.ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    run(scripted, plateau, epochs=5, optimizer=optimizer)
    assert scripted.rates == [0.1, 0.1, 0.1, 0.05, 0.05] and optimizer.param_groups[0]["lr"] == 0.025


@pytest.mark.parametrize("decay", [None, 0.9])
def test_averaged_weights(decay):
    class Each(train.Callback):
        def __init__(self):
            self.weights = []

        def on_batch_end(self, model, history):
            self.weights.append(model.flat_parameters.astype(np.float64))

    each = Each()
    model, _ = run(train.AverageWeights(decay, start_epoch=2), each, epochs=3)
    mean = each.weights[4]
    for count, weights in enumerate(each.weights[5:], 2):
        mean = mean + (weights - mean) * (1 / count if decay is None else 1 - decay)
    np.testing.assert_allclose(model.flat_parameters, mean, rtol=1e-5, atol=1e-7)
    assert np.array_equal(each.weights[-1], run(epochs=3)[0].flat_parameters), "the mean changed training"


def test_events_in_their_order():
    class Log(train.Callback):
        def __init__(self):
            self.calls = []

        def __getattribute__(self, name):
            if name.startswith("on_"):
                training = self.training
                self.calls.append((name[3:], training.epoch, training.step))
            return super().__getattribute__(name)

    log = Log()
    run(log, epochs=2, batch_size=20)
    step = [("backward_end", 1, 1), ("batch_end", 1, 1), ("backward_end", 1, 2), ("batch_end", 1, 2)]
    epoch = [("epoch_begin", 1, 0), *step, ("epoch_end", 1, 2), ("checkpoint", 1, 2)]
    second = [(name, 2, step) for name, _, step in epoch]
    assert log.calls == [("train_begin", 0, 0), *epoch, *second, ("train_end", 2, 2)]


# -- gradients and losses ----------------------------------------------------------------------------------------------
def test_norms_of_gradients_are_recorded():
    class Norms(train.Callback):
        def __init__(self):
            self.found = []

        def on_backward_end(self, model, history):
            g = {key: value.astype(np.float64) for key, value in model.gradients().items()}
            self.found.append([np.sqrt(sum((g[f"{k}.{n}"] ** 2).sum() for n in ("weight", "bias"))) for k in (0, 1, 3)])

    monitor, norms = train.GradientMonitor(vanishing=0), Norms()
    run(monitor, norms, epochs=2)
    assert monitor.epochs == [1, 2] and list(monitor.norms) == ["0 Linear", "1 BatchNorm", "3 Linear"]
    expected = np.array(norms.found).reshape(2, 4, 3).mean(axis=1)
    np.testing.assert_allclose(np.array(list(monitor.norms.values())).T, expected, rtol=1e-5, atol=1e-8)
    sparse = train.GradientMonitor(vanishing=0, every=4)
    run(sparse, epochs=1)
    np.testing.assert_allclose([v[0] for v in sparse.norms.values()], norms.found[0], rtol=1e-5, atol=1e-8)


def test_vanishing_gradients_are_named():
    """Ten layers of sigmoids: the first ones hardly learn. With ReLU and its initialiser nothing is said."""
    deep = [nn.Linear(3, 8), *(make() for _ in range(9) for make in (nn.Sigmoid, lambda: nn.Linear(8, 8)))]
    with pytest.warns(train.GradientWarning) as caught:
        run(train.GradientMonitor(), layers=[*deep, nn.Linear(8, 1)], epochs=2)
    messages = [str(w.message) for w in caught]
    assert re.match(
        r"layer 0, Linear\(.*\): the gradient vanishes: its norm is \S+ in epoch 1, per parameter", messages[0]
    )
    for cure in ("initialiser", "normalisation", "ReLU-like activation", "residual"):
        assert cure in messages[0]
    layers = [message.split(",")[0] for message in messages]
    assert len(set(layers)) == len(layers) and "layer 19" not in layers
    healthy = [nn.Linear(3, 8), *(make() for _ in range(9) for make in (nn.ReLU, lambda: nn.Linear(8, 8)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(train.GradientMonitor(), layers=[*healthy, nn.Linear(8, 1)], epochs=2, lr=1e-3)


def test_exploding_gradients_are_named():
    layers = [nn.Linear(3, 8, bias=False), nn.Linear(8, 1)]
    model = nn.Sequential(*layers)
    model.parameters()["1.weight"][...] = 1e5
    x = np.ones((20, 3), np.float32)
    monitor = train.GradientMonitor()
    with pytest.warns(train.GradientWarning) as caught:
        model.fit(x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=0.0), callbacks=[monitor], epochs=2, **QUIET)
    first = next(str(w.message) for w in caught if "layer 0" in str(w.message))
    assert re.match(
        r"layer 0, Linear\(.*\): the gradient explodes: its norm is \S+ in step 1 of epoch 1; what helps", first
    )
    for cure in ("clipping", "learning rate", "initialiser", "normalisation", "residual"):
        assert cure in first
    assert sum("layer 0" in str(w.message) for w in caught) == 1, "warned of twice"


def test_a_loss_that_jumps():
    monitor = train.LossMonitor(factor=4.0, window=6)
    monitor.training = module.Training(None, None, None, [], None, 0, 10)
    losses = [1.0, 9.0, 1.0, 1.1, 0.9, 3.9, 1.0, 4.5, 1.0, 5.0]
    monitor.on_train_begin(None, None)
    with pytest.warns(
        train.LossWarning, match=r"jumps from about 1(\.\d+)? to 4.5 in epoch 2, step 8; what helps"
    ) as caught:
        for step, loss in enumerate(losses, 1):
            monitor.training.epoch, monitor.training.step, monitor.training.loss_of_step = 2, step, loss
            monitor.on_batch_end(None, None)
    assert [jump[:3] for jump in monitor.jumps] == [(2, 8, 4.5), (2, 10, 5.0)] and len(caught) == 1


def test_fit_tells_the_monitor_its_losses():
    class Losses(train.Callback):
        def __init__(self):
            self.found = []

        def on_batch_end(self, model, history):
            self.found.append(self.training.loss_of_step)

    losses, monitor = Losses(), train.LossMonitor(factor=100.0)
    _, history = run(losses, monitor, epochs=1)
    assert np.mean(losses.found) == pytest.approx(history["loss"][0]) and monitor.jumps == []
    assert list(monitor._last) == losses.found


# -- NaN -----------------------------------------------------------------------------------------------------------------
def test_nan_names_the_layer():
    x = np.ones((20, 3), np.float32)

    def layers():
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    model = layers()
    model.parameters()["2.bias"][...] = np.nan
    with pytest.raises(train.TrainingDiverged, match="begins in the bias of layer 2, Linear") as caught:
        model.fit(x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=0.1), **QUIET)
    assert caught.value.layer == 2 and isinstance(caught.value, FloatingPointError)
    message = (
        r"loss is inf in epoch 1, step 2 of 2; .*; the outputs are finite, the largest parameter, \S+, is in .* layer 2"
    )
    with pytest.raises(train.TrainingDiverged, match=message) as caught:
        layers().fit(x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=1e25), batch_size=10, epochs=9, **QUIET)
    assert (caught.value.epoch, caught.value.step, caught.value.layer) == (1, 2, 2)
    assert caught.value.history.epochs == []

    class Broken(nn.Layer):
        def forward(self, x, training=False):
            return np.full_like(x, np.inf)

        def backward(self, grad, input_gradient=True):
            return grad

    model = nn.Sequential(nn.Linear(3, 4), Broken(), nn.Linear(4, 1))
    with pytest.raises(train.TrainingDiverged, match="begins in the output of layer 1, Broken") as caught:
        model.fit(x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=0.1), **QUIET)
    assert (caught.value.epoch, caught.value.step, caught.value.layer) == (1, 1, 1)


ERRORS = [
    (train.EarlyStopping, {"patience": 0}, ValueError, "patience: got 0"),
    (train.EarlyStopping, {"monitor": 3}, TypeError, "monitor: got 3, accepted are names in the history"),
    (train.EarlyStopping, {"mode": "least"}, ValueError, "mode: got 'least', accepted are 'auto', 'min', 'max'"),
    (train.EarlyStopping, {"min_delta": -1}, ValueError, "min_delta: got -1"),
    (train.ModelCheckpoint, {"path": ""}, ValueError, "path: got an empty string"),
    (train.ModelCheckpoint, {"path": "x", "every": 0}, ValueError, "every: got 0"),
    (train.LearningRateSchedule, {"schedule": 0.1}, TypeError, "schedule: got 0.1, accepted are"),
    (train.AverageWeights, {"decay": 1}, ValueError, "decay: got 1"),
    (train.AverageWeights, {"start_epoch": 0}, ValueError, "start_epoch: got 0"),
    (train.GradientMonitor, {"exploding": 0}, ValueError, "exploding: got 0"),
    (train.GradientMonitor, {"every": 0.5}, ValueError, "every: got 0.5"),
    (train.LossMonitor, {"factor": 1}, ValueError, "factor: got 1"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), ERRORS, ids=[e[3] for e in ERRORS])
def test_errors(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(**options)
