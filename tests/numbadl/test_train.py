"""Training: what is learnt, which rows meet in which step, the same bits again, and errors before anything changes."""

import copy
import inspect
import re
import signal
import time

import numpy as np
import pytest

import numbadl as nd
from numbadl.nn import Sequential
from numbadl.train import Callback

nn = nd.nn
QUIET = {"progress": False}


def blobs(n=240, seed=0, dtype=np.float32):
    """Three classes that a small network separates."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    centres = np.array([[2, 0], [-1, 2], [-1, -2]])
    return (centres[labels] + rng.normal(size=(n, 2)) * 0.5).astype(dtype), labels


def make_model(seed=0, dropout=0.1, dtype=np.float32):
    layers = [nn.Linear(2, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)]
    return Sequential(*layers, seed=seed, dtype=dtype)


def state_of(model):
    return b"".join(value.tobytes() for value in model.state().values())


# -- learning --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_size", [None, 1, 17, 64])
def test_classification(batch_size):
    x, y = blobs(180)
    model = Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    epochs = {None: 60, 1: 4, 17: 12, 64: 25}[batch_size]
    optimizer = nd.optim.AdamW(lr=0.03 if batch_size != 1 else 0.005)
    history = model.fit(x, y, loss="cross_entropy", optimizer=optimizer, epochs=epochs, batch_size=batch_size, **QUIET)
    assert history.epochs == list(range(1, epochs + 1)) and len(history["loss"]) == epochs
    assert history["loss"][-1] < history["loss"][0] / 3
    found = model.evaluate(x, y)
    assert found["accuracy"] > 0.97 and found["loss"] < 0.2
    assert (model.predict(x).argmax(axis=1) == y).mean() == found["accuracy"]


def test_regression():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 3
    model = Sequential(nn.Linear(3, 1))
    model.fit(x, y, loss="mse", optimizer=nd.optim.SGD(lr=0.1, momentum=0.8), epochs=60, batch_size=50, **QUIET)
    np.testing.assert_allclose(model.parameters()["0.weight"], [[1, -2, 0.5]], atol=1e-4)
    np.testing.assert_allclose(model.parameters()["0.bias"], [3], atol=1e-4)
    found = model.evaluate(x, y)
    assert found["r2"] > 0.999 and found["mae"] < 1e-3


def test_binary_and_multilabel():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    y = (x > 0).astype(np.float32)
    model = Sequential(nn.Linear(2, 2))
    history = model.fit(
        x,
        y,
        loss="binary_cross_entropy",
        optimizer=nd.optim.AdamW(lr=0.1, weight_decay=0.0),
        epochs=30,
        batch_size=60,
        **QUIET,
    )
    assert history.last()["accuracy"] > 0.97 and model.evaluate(x, y)["accuracy"] > 0.97


METRIC = {
    "cross_entropy": "accuracy", "nll": "accuracy", "binary_cross_entropy": "accuracy", "hinge": "accuracy",
    "mse": "mae", "huber": "mae", "smooth_l1": "mae",
}  # fmt: skip


@pytest.mark.parametrize("name", nd.losses.LOSSES)
def test_every_loss_by_name(name):
    x, labels = blobs(120)
    yes = (labels == 0).astype(np.float32).reshape(-1, 1)
    y = {"cross_entropy": labels, "nll": labels, "hinge": 2 * yes - 1, "kl_div": np.eye(3)[labels]}.get(name, yes)
    outputs = 1 if np.shape(y)[1:] == (1,) else 3
    layers = [nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs)]
    model = Sequential(*layers, *[nn.LogSoftmax()] * (name in ("nll", "kl_div")))
    history = model.fit(x, y, loss=name, optimizer=nd.optim.AdamW(lr=0.03), epochs=12, batch_size=20, **QUIET)
    assert history["loss"][-1] < history["loss"][0] / 2 and model.loss == name
    found = model.evaluate(x, y)
    metrics = {METRIC[name]} if name in METRIC else set()
    assert set(found) == {"loss", *metrics, *({"r2"} if name == "mse" else set())}
    assert found.get("accuracy", 1) > 0.9 and found.get("mae", 0) < 0.25


def test_losses_with_options():
    x, y = blobs(60)
    y[::5] = -100
    loss = nd.losses.cross_entropy.with_options(weight=[0.5, 1, 3], label_smoothing=0.1)
    model = Sequential(nn.Linear(2, 3))
    options = {"loss": loss, "optimizer": nd.optim.SGD(lr=0.1), "batch_size": None, **QUIET}
    before = model.evaluate(x, y, loss=loss)
    assert np.isclose(before["loss"], loss(model.predict(x), y), rtol=1e-6)
    kept = y >= 0
    assert before["accuracy"] == np.mean(model.predict(x).argmax(axis=1)[kept] == y[kept])
    history = model.fit(x, y, **options, validation_data=(x, y))
    assert np.isclose(history["loss"][0], before["loss"], rtol=1e-6) and model.loss is loss
    assert np.isclose(model.evaluate(x, y)["loss"], model.evaluate(x, y, batch_size=7)["loss"], rtol=1e-6)
    for reduction in ("sum", "none"):
        with pytest.raises(ValueError, match=f"loss: got one with reduction '{reduction}', accepted are means"):
            model.fit(x, y, **{**options, "loss": loss.with_options(reduction=reduction)})


def test_probabilities_as_targets():
    x, labels = blobs(60)
    y = np.eye(3)[labels]
    models = make_model(), make_model()
    for model, target in zip(models, (labels, y), strict=True):
        model.fit(x, target, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.1), batch_size=20, epochs=3, **QUIET)
    np.testing.assert_allclose(models[0].flat_parameters, models[1].flat_parameters, rtol=1e-4, atol=1e-6)
    assert models[0].evaluate(x, labels)["accuracy"] == models[1].evaluate(x, y)["accuracy"]
    with pytest.raises(ValueError, match=r"y\[0, \d\]: got .*, accepted are numbers from 0 to 1"):
        models[0].fit(x, y * 3 + 0.1, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.1), **QUIET)


def test_one_step_is_the_one_by_hand():
    """Full batch, plain SGD: w - lr dL/dw, with the gradient written out."""
    x, y = blobs(50, dtype=np.float64)
    model = Sequential(nn.Linear(2, 3), dtype=np.float64)
    w, b = (model.parameters()[f"0.{name}"].copy() for name in ("weight", "bias"))
    model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.5), batch_size=None, **QUIET)
    logits = x @ w.T + b
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    delta = (p - np.eye(3)[y]) / 50
    np.testing.assert_allclose(model.parameters()["0.weight"], w - 0.5 * delta.T @ x, rtol=1e-12)
    np.testing.assert_allclose(model.parameters()["0.bias"], b - 0.5 * delta.sum(axis=0), rtol=1e-12)


# -- batches ---------------------------------------------------------------------------------------------------------
class Recorder(nn.Layer):
    """A first layer that notes the rows of every training step."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x, training=False):
        if training:
            self.batches.append(x[:, 0].copy())
        return x

    def backward(self, grad, input_gradient=True):
        return grad


def batches_of(n, **options):
    x = np.zeros((n, 2), np.float32)
    x[:, 0] = np.arange(n)
    recorder = Recorder()
    model = Sequential(recorder, nn.Linear(2, 3))
    model.fit(x, np.zeros(n, int), loss="cross_entropy", optimizer=nd.optim.SGD(lr=1e-9), **options, **QUIET)
    return recorder.batches


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(None, [10]), (1, [1] * 10), (3, [3, 3, 3, 1]), (4, [4, 4, 2]), (10, [10]), (99, [10])]
)
def test_every_row_once_an_epoch(batch_size, sizes):
    batches = batches_of(10, batch_size=batch_size, epochs=2)
    assert [len(b) for b in batches] == sizes * 2
    for epoch in (batches[: len(sizes)], batches[len(sizes) :]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(10))


def test_shuffling():
    first, second = np.concatenate(batches_of(50, batch_size=7, epochs=2)).reshape(2, 50)
    assert not np.array_equal(first, second) and not np.array_equal(first, np.arange(50))
    again = np.concatenate(batches_of(50, batch_size=7, epochs=2)).reshape(2, 50)
    assert np.array_equal(again, [first, second])
    other = np.concatenate(batches_of(50, batch_size=7, epochs=1, seed=1))
    assert not np.array_equal(other, first)
    plain = np.concatenate(batches_of(50, batch_size=7, epochs=2, shuffle=False)).reshape(2, 50)
    assert np.array_equal(plain, [np.arange(50)] * 2)


def test_targets_go_with_their_rows():
    n = 40
    x = np.zeros((n, 2), np.float32)
    x[:, 0] = np.arange(n)
    model = Sequential(nn.Linear(2, 1))
    model.parameters()["0.weight"][...] = [[1, 0]]
    history = model.fit(
        x, x[:, :1].copy(), loss="mse", optimizer=nd.optim.SGD(lr=1e-12), batch_size=7, epochs=2, **QUIET
    )
    assert history["loss"] == [0, 0] and history["mae"] == [0, 0]


def test_the_loss_of_an_epoch_is_the_mean_over_rows():
    x, y = blobs(50)
    model = Sequential(nn.Linear(2, 3))
    before = model.evaluate(x, y, loss="cross_entropy")
    history = model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0), batch_size=7, **QUIET)
    assert np.isclose(history["loss"][0], before["loss"], rtol=1e-6)
    assert history["accuracy"][0] == before["accuracy"]


def test_the_data_stay_as_they_are():
    x, y = blobs(60)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    for batch_size in (None, 13):
        make_model().fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(), batch_size=batch_size, **QUIET)
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])


def test_data_of_other_types_and_layouts():
    x, y = blobs(60)
    expected = make_model()
    options = {"loss": "cross_entropy", "batch_size": 16, "epochs": 2, **QUIET}
    expected.fit(x, y, optimizer=nd.optim.AdamW(), **options)
    for other_x, other_y in [
        (x.astype(np.float64), y.astype(np.uint8)),
        (np.asfortranarray(x), y.astype(np.int32)),
        (np.repeat(x, 2, axis=0)[::2], np.repeat(y, 2)[::2]),
        (x.tolist(), y.tolist()),
    ]:
        model = make_model()
        model.fit(other_x, other_y, optimizer=nd.optim.AdamW(), **options)
        assert state_of(model) == state_of(expected)


# -- the same again ---------------------------------------------------------------------------------------------------
def test_same_seed_same_bits(on_threads):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(700, 64)).astype(np.float32), rng.integers(0, 10, 700)

    def run(seed=3, model_seed=1):
        layers = [nn.Linear(64, 150), nn.BatchNorm(150), nn.SiLU(), nn.Dropout(0.3), nn.Linear(150, 10)]
        model = Sequential(*layers, seed=model_seed)
        history = model.fit(
            x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(lr=0.01), epochs=3, batch_size=300, seed=seed, **QUIET
        )
        return state_of(model), history.metrics

    first, *others = on_threads(run)
    assert all(other == first for other in [*others, run()])
    assert run(seed=4)[0] != first[0] and run(model_seed=2)[0] != first[0]


def test_dropout_follows_from_the_seed_of_fit():
    x, y = blobs(60)

    def run(seed):
        model = make_model(dropout=0.5)
        model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(lr=0.01), batch_size=None, seed=seed, **QUIET)
        return state_of(model)

    assert run(1) == run(1) != run(2)


def test_training_on_is_no_new_start():
    """Two fits of one epoch with one optimiser continue its state; a model keeps its weights."""
    x, y = blobs(60)
    model, optimizer = make_model(dropout=0), nd.optim.AdamW(lr=0.01)
    for _ in range(2):
        model.fit(x, y, loss="cross_entropy", optimizer=optimizer, batch_size=None, **QUIET)
    assert optimizer.steps == 2
    other = make_model(dropout=0)
    other.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(lr=0.01), batch_size=None, epochs=2, **QUIET)
    assert state_of(model) == state_of(other)


# -- validation, history, callbacks --------------------------------------------------------------------------------------
def test_validation_data():
    x, y = blobs(90)
    xv, yv = blobs(40, seed=1)
    model, plain = make_model(), make_model()
    options = {"loss": "cross_entropy", "epochs": 3, "batch_size": 30, **QUIET}
    history = model.fit(x, y, optimizer=nd.optim.AdamW(lr=0.01), validation_data=(xv, yv), **options)
    assert set(history.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 3 for values in history.metrics.values())
    found = model.evaluate(xv, yv)
    assert history.last()["val_loss"] == found["loss"] and history.last()["val_accuracy"] == found["accuracy"]
    plain.fit(x, y, optimizer=nd.optim.AdamW(lr=0.01), **options)
    assert state_of(plain) == state_of(model), "looking at validation data changed training"


class Stop(Callback):
    def __init__(self, after):
        self.after, self.calls = after, []

    def on_train_begin(self, model, history):
        self.calls.append(("begin", len(history.epochs)))

    def on_epoch_end(self, model, history):
        self.calls.append(("epoch", history.epochs[-1], sorted(history.last())))
        model.stop_training = len(history.epochs) == self.after

    def on_train_end(self, model, history):
        self.calls.append(("end", len(history.epochs)))


def test_callbacks_stop():
    x, y = blobs(30)
    stop, model = Stop(2), make_model()
    fit = {"loss": "cross_entropy", "optimizer": nd.optim.AdamW(), "callbacks": [Callback(), stop], **QUIET}
    history = model.fit(x, y, epochs=5, **fit)
    names = ["accuracy", "loss"]
    assert stop.calls == [("begin", 0), ("epoch", 1, names), ("epoch", 2, names), ("end", 2)]
    assert history.epochs == [1, 2]
    assert len(model.fit(x, y, epochs=1, **fit).epochs) == 1, "a new fit starts afresh"


def test_history():
    history = nd.train.History()
    assert history.last() == {}
    history.record(1, {"loss": np.float32(0.5)})
    history.record(2, {"loss": 0.25, "val_loss": 0.75})
    assert history["loss"] == [0.5, 0.25] and history.last() == {"loss": 0.25, "val_loss": 0.75}
    assert type(history["loss"][0]) is float and "2 epochs" in repr(history) and "0.25" in repr(history)


def test_progress_bar(capsys):
    x, y = blobs(30)
    make_model().fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(), epochs=2, batch_size=10)
    shown = capsys.readouterr()
    assert "6/6" in shown.err and "loss" in shown.err and "accuracy" in shown.err and shown.out == ""


# -- evaluate and predict ---------------------------------------------------------------------------------------------
def test_batches_of_evaluation_do_not_show():
    x, y = blobs(50)
    model = make_model()
    whole, parts = model.evaluate(x, y, loss="cross_entropy"), model.evaluate(x, y, loss="cross_entropy", batch_size=7)
    assert np.isclose(whole["loss"], parts["loss"], rtol=1e-6) and whole["accuracy"] == parts["accuracy"]
    np.testing.assert_allclose(model.predict(x), model.predict(x, batch_size=7), rtol=1e-5, atol=1e-6)
    assert model.predict(x[:0]).shape == (0, 3) and model.predict(x[:1]).shape == (1, 3)
    assert np.shares_memory(Sequential(nn.Flatten()).predict(x), x) is False


def test_evaluation_checks_targets():
    x, y = np.zeros((3, 2), np.float32), np.array([[0], [1], [2]])
    with pytest.raises(ValueError, match=r"y\[2, 0\]: got 2.0, accepted are numbers from 0 to 1"):
        Sequential(nn.Linear(2, 1)).evaluate(x, y, loss="binary_cross_entropy")
    assert np.isnan(Sequential(nn.Linear(2, 1)).predict(x + np.nan)).all(), "a prediction may say that it is none"


def test_signatures_are_those_of_the_functions():
    expected = list(inspect.signature(nd.train.fit.fit).parameters)[1:]
    assert expected[:4] == ["x", "y", "loss", "optimizer"]
    assert list(inspect.signature(make_model().fit).parameters) == expected


def test_evaluate_needs_a_loss():
    x, y = blobs(10)
    with pytest.raises(ValueError, match="loss: the model was not trained yet"):
        make_model().evaluate(x, y)


# -- errors -----------------------------------------------------------------------------------------------------------
def test_a_loss_of_nan_stops_training():
    x, _ = blobs(20)
    message = r"loss is (nan|inf) in epoch \d+, step 1 of 1; lower the learning rate"
    with pytest.raises(FloatingPointError, match=message):
        Sequential(nn.Linear(2, 1)).fit(
            x, x[:, :1], loss="mse", optimizer=nd.optim.SGD(lr=1e20), batch_size=None, epochs=10, **QUIET
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "y", "validation x", "validation y"])
def test_data_that_are_not_finite_are_named_before_training(where, bad):
    arrays = {name: np.zeros((9, 2), np.float32) for name in ("x", "y", "validation x", "validation y")}
    arrays[where][7, 1] = arrays[where][8, 0] = bad
    model = Sequential(nn.Linear(2, 2))
    before = state_of(model)
    validation = arrays["validation x"], arrays["validation y"]
    with pytest.raises(ValueError, match=rf"^{where}\[7, 1\]: got {bad}, accepted are finite numbers$"):
        model.fit(
            arrays["x"], arrays["y"], loss="mse", optimizer=nd.optim.SGD(lr=0.1), validation_data=validation, **QUIET
        )
    assert state_of(model) == before


def test_data_beyond_the_range_of_the_model():
    x = np.ones((9, 2))
    x[3, 0] = 1e300
    message = r"x\[3, 0\]: got 1e\+300, accepted are finite numbers within the range of float32"
    with pytest.raises(ValueError, match=message):
        Sequential(nn.Linear(2, 2)).fit(x, x, loss="mse", optimizer=nd.optim.SGD(lr=0.1), **QUIET)


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------
class Interrupting(nn.Layer):
    """A first layer that presses Ctrl-C in a given training step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def forward(self, x, training=False):
        self.left -= training
        if training and self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return x

    def backward(self, grad, input_gradient=True):
        return grad


def test_ctrl_c_keeps_what_was_learnt():
    """The model is the one of the steps before, bit for bit; it predicts, and trains on with its optimiser."""
    x, y = blobs(40)
    options = {"loss": "cross_entropy", "batch_size": 10, "shuffle": False, **QUIET}
    model, optimizer = Sequential(Interrupting(7), nn.Linear(2, 3)), nd.optim.AdamW(lr=0.01)
    with pytest.raises(
        nd.train.TrainingInterrupted, match=r"after 6 steps \(1 whole epochs\); the model keeps"
    ) as caught:
        model.fit(x, y, optimizer=optimizer, epochs=5, **options)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.steps == optimizer.steps == 6 and caught.value.history.epochs == [1]
    expected, other = Sequential(nn.Flatten(), nn.Linear(2, 3)), nd.optim.AdamW(lr=0.01)
    expected.fit(x, y, optimizer=other, epochs=1, **options)
    expected.fit(x[:20], y[:20], optimizer=other, epochs=1, **options)
    assert state_of(model) == state_of(expected) and np.array_equal(model.predict(x), expected.predict(x))
    for one, its_optimizer in ((model, optimizer), (expected, other)):
        one.fit(x, y, optimizer=its_optimizer, epochs=2, **options)
    assert state_of(model) == state_of(expected)


def test_ctrl_c_before_the_first_step():
    x, y = blobs(40)
    model = Sequential(Interrupting(1), nn.Linear(2, 3))
    before = state_of(model)
    with pytest.raises(nd.train.TrainingInterrupted, match="after 0 steps") as caught:
        model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(), **QUIET)
    assert caught.value.steps == 0 and state_of(model) == before


def test_the_clock_starts_after_the_first_step(capsys):
    """The first step compiles: the time that is left, reckoned from it, would be hours."""

    class Slow(Interrupting):
        def forward(self, x, training=False):
            self.left -= training
            if training:
                time.sleep(1.5 if self.left == 0 else 0.06)
            return x

    x, y = blobs(40)
    model = Sequential(Slow(1), nn.Linear(2, 3))
    model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(), batch_size=2)
    shown = capsys.readouterr().err
    assert "compiling or loading kernels:   0%" in shown and "20/20" in shown
    left = [int(m) * 60 + int(s) for m, s in re.findall(r"<(\d\d):(\d\d)", shown)]
    assert left and max(left) <= 5, shown


X, Y = blobs(20)
LAST_WRONG = np.where(np.arange(20) == 19, 3, Y)
THREE = np.zeros((20, 3))
THREE[5, 1] = 1.5
PLATEAU_OF = nd.optim.AdamW()
PLATEAU = nd.train.ReduceOnPlateau(PLATEAU_OF, "val_f1")
FIT_ERRORS = [
    ({"y": LAST_WRONG}, ValueError, r"y\[19\]: got 3, accepted are labels from 0 to 2"),
    ({"y": np.where(np.arange(20) == 12, -1, Y)}, ValueError, r"y\[12\]: got -1"),
    ({"y": Y[:19]}, ValueError, "y: got shape .* each of the 20 rows"),
    ({"y": 3}, ValueError, "y: got shape"),
    ({"y": Y.astype(np.float32)}, TypeError, "y: got dtype float32.*takes integer labels"),
    ({"y": Y[:, None]}, TypeError, "y: got dtype int64.*takes integer labels"),
    ({"y": Y > 0}, TypeError, "y: got dtype bool"),
    ({"y": ["a"] * 20}, TypeError, "y: got dtype <U1"),
    ({"x": X[:, :1]}, ValueError, r"layer 0, Linear.*first row of x, which has shape \(20, 1\)"),
    ({"x": X[:, 0]}, ValueError, r"x: got shape \(20,\)"),
    ({"x": X[:0], "y": Y[:0]}, ValueError, "x: got no rows"),
    ({"x": [[1, 2], [3]]}, ValueError, "x: .*inhomogeneous"),
    ({"x": np.ma.masked_greater(X, 1)}, TypeError, "x: got numpy.ma.MaskedArray, accepted are plain arrays"),
    ({"y": np.ma.masked_greater(Y, 1)}, TypeError, "y: got numpy.ma.MaskedArray, accepted are plain arrays"),
    ({"optimizer": "adamw"}, TypeError, "optimizer: got 'adamw', accepted are optimisers of numbadl.optim"),
    ({"optimizer": nd.optim.AdamW}, TypeError, "optimizer: got the class AdamW, accepted are optimisers"),
    ({"optimizer": None}, TypeError, "optimizer: got None"),
    ({"callbacks": Callback()}, TypeError, "callbacks: got numbadl.train.callbacks.Callback, accepted are lists"),
    ({"callbacks": [Callback]}, TypeError, r"callbacks\[0\]: got the class Callback, accepted are objects"),
    ({"validation_data": X}, TypeError, r"validation_data: got numpy.ndarray, accepted are pairs \(x, y\)"),
    ({"validation_data": (X,)}, TypeError, r"validation_data: got 1 values, accepted are pairs \(x, y\)"),
    ({"validation_data": 0.2}, TypeError, r"validation_data: got 0.2, accepted are pairs \(x, y\)"),
    ({"x": X.astype(str)}, TypeError, "x: got dtype"),
    ({"x": X.astype(object)}, TypeError, "x: got dtype object"),
    ({"x": X.astype(complex)}, TypeError, "x: got dtype complex"),
    ({"loss": "cross_entrophy"}, ValueError, "loss: got 'cross_entrophy', accepted are"),
    ({"loss": ["mse"]}, ValueError, "loss: got list, accepted are"),
    ({"loss": "binary_cross_entropy", "y": THREE}, ValueError, r"y\[5, 1\]: got 1.5, accepted are numbers from 0 to 1"),
    ({"loss": "binary_cross_entropy", "y": -THREE}, ValueError, r"y\[5, 1\]: got -1.5, accepted are numbers from 0"),
    ({"loss": "mse", "y": X[:, :1]}, ValueError, r"y: got shape \(20, 1\), expected \(20, 3\)"),
    ({"loss": "mse", "y": Y}, ValueError, r"y: got shape \(20,\), expected \(20, 3\)"),
    ({"loss": "binary_cross_entropy", "y": Y.astype("U")}, TypeError, "y: got dtype"),
    ({"epochs": 0}, ValueError, "epochs: got 0"),
    ({"epochs": 1.5}, ValueError, "epochs: got 1.5"),
    (
        {"callbacks": [nd.train.EarlyStopping()]},
        ValueError,
        "monitor: got 'val_loss', accepted without validation data",
    ),
    (
        {"callbacks": [nd.train.EarlyStopping("loss"), PLATEAU], "optimizer": PLATEAU_OF},
        ValueError,
        "monitor: got 'val_f1'",
    ),
    ({"seed": -1}, ValueError, "seed: got -1, accepted are integers from 0"),
    ({"seed": None}, ValueError, "seed: got None"),
    ({"batch_size": 0}, ValueError, "batch_size: got 0"),
    ({"batch_size": -3}, ValueError, "batch_size: got -3"),
    ({"batch_size": 2.0}, ValueError, "batch_size: got 2.0"),
    ({"validation_data": (X, LAST_WRONG)}, ValueError, r"validation y\[19\]: got 3"),
    ({"validation_data": (X, Y[:5])}, ValueError, "validation y: got shape"),
    ({"validation_data": (X[:, :1], Y)}, ValueError, "layer 0, Linear"),
    ({"validation_data": (X, X)}, TypeError, "validation y: got dtype float32"),
]


@pytest.mark.parametrize(("change", "error", "message"), FIT_ERRORS, ids=[message for *_, message in FIT_ERRORS])
def test_errors_before_training(change, error, message):
    model = make_model()
    before = copy.deepcopy(state_of(model))
    options = {
        "x": X,
        "y": Y,
        "loss": "cross_entropy",
        "optimizer": nd.optim.AdamW(),
        "epochs": 2,
        "batch_size": 6,
        **QUIET,
    }
    with pytest.raises(error, match=message):
        model.fit(**{**options, **change})
    assert state_of(model) == before, "the model was changed before the error"


def test_an_optimizer_of_another_model():
    other, model = make_model(1), make_model(2)
    before = state_of(other), state_of(model)
    for optimizer in (nd.optim.AdamW(other), nd.optim.AdamW(np.zeros(3, np.float32))):
        with pytest.raises(ValueError, match="optimizer: (it )?is bound to other parameters"):
            model.fit(X, Y, loss="cross_entropy", optimizer=optimizer, **QUIET)
    assert (state_of(other), state_of(model)) == before


def test_an_optimizer_bound_before_the_model_moved():
    model = make_model()
    optimizer = nd.optim.AdamW(model)
    model.to(dtype=np.float64)
    before = state_of(model)
    with pytest.raises(RuntimeError, match="bind"):
        model.fit(X, Y, loss="cross_entropy", optimizer=optimizer, **QUIET)
    assert state_of(model) == before


def test_a_batch_of_one_row_and_batch_norm():
    """Rows that are left over join the batch before them; one row for each step is an error, before anything changes."""
    model = make_model()
    history = model.fit(
        X[:19], Y[:19], loss="cross_entropy", optimizer=nd.optim.AdamW(), batch_size=6, epochs=2, **QUIET
    )
    assert len(history.epochs) == 2
    before = state_of(model)
    for x, y, size in ((X, Y, 1), (X[:1], Y[:1], 6)):
        with pytest.raises(ValueError, match="at least 2"):
            model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.AdamW(), batch_size=size, **QUIET)
        assert state_of(model) == before
