"""Training: what is learnt, which rows meet in which step, the same bits again, and errors before anything changes."""

import copy

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


def test_evaluate_needs_a_loss():
    x, y = blobs(10)
    with pytest.raises(ValueError, match="loss: the model was not trained yet"):
        make_model().evaluate(x, y)


# -- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_of_nan_stops_training(bad):
    x, y = blobs(40)
    x[33] = bad
    model = Sequential(nn.Linear(2, 3))
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, step 4 of 4"):
        model.fit(x, y, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.1), batch_size=10, shuffle=False, **QUIET)
    assert np.isfinite(model.flat_parameters).all()
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) in epoch \d+, step 1 of 1"):
        Sequential(nn.Linear(2, 1)).fit(
            x[:20], x[:20, :1], loss="mse", optimizer=nd.optim.SGD(lr=1e20), batch_size=None, epochs=10, **QUIET
        )


X, Y = blobs(20)
LAST_WRONG = np.where(np.arange(20) == 19, 3, Y)
FIT_ERRORS = [
    ({"y": LAST_WRONG}, ValueError, "y: row 19 holds 3, accepted are labels from 0 to 2"),
    ({"y": np.where(np.arange(20) == 12, -1, Y)}, ValueError, "y: row 12 holds -1"),
    ({"y": Y[:19]}, ValueError, "y: got shape .* each of the 20 rows"),
    ({"y": 3}, ValueError, "y: got shape"),
    ({"y": Y.astype(np.float32)}, TypeError, "y: got float32.*takes integer labels"),
    ({"y": Y[:, None]}, TypeError, "y: got int64.*takes integer labels"),
    ({"y": Y > 0}, TypeError, "y: got bool"),
    ({"y": ["a"] * 20}, TypeError, "y: got <U1"),
    ({"x": X[:, :1]}, ValueError, "layer 0, Linear"),
    ({"x": X[:, 0]}, ValueError, r"x: got shape \(20,\)"),
    ({"x": X[:0], "y": Y[:0]}, ValueError, "x: has no rows"),
    ({"x": X.astype(str)}, TypeError, "x: got dtype"),
    ({"x": X.astype(object)}, TypeError, "x: got dtype object"),
    ({"x": X.astype(complex)}, TypeError, "x: got dtype complex"),
    ({"loss": "cross_entrophy"}, ValueError, "loss: got 'cross_entrophy', accepted are"),
    ({"loss": "mse", "y": X[:, :1]}, ValueError, r"y: got shape \(20, 1\), expected \(20, 3\)"),
    ({"loss": "mse", "y": Y}, ValueError, r"y: got shape \(20,\), expected \(20, 3\)"),
    ({"loss": "binary_cross_entropy", "y": Y.astype("U")}, TypeError, "y: got dtype"),
    ({"epochs": 0}, ValueError, "epochs: got 0"),
    ({"epochs": 1.5}, ValueError, "epochs: got 1.5"),
    ({"batch_size": 0}, ValueError, "batch_size: got 0"),
    ({"batch_size": -3}, ValueError, "batch_size: got -3"),
    ({"batch_size": 2.0}, ValueError, "batch_size: got 2.0"),
    ({"validation_data": (X, LAST_WRONG)}, ValueError, "validation y: row 19 holds 3"),
    ({"validation_data": (X, Y[:5])}, ValueError, "validation y: got shape"),
    ({"validation_data": (X[:, :1], Y)}, ValueError, "layer 0, Linear"),
    ({"validation_data": (X, X)}, TypeError, "validation y: got float32"),
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
