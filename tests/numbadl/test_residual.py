"""Residual blocks beyond what every layer is tested for: their parts' names, buffers, random streams, files, errors."""

import copy
import pickle

import numpy as np
import pytest

import numbadl as nd

nn = nd.nn


def make_model(**options):
    block = [
        nn.Conv2d(2, 4, 3, 2, 1),
        nn.BatchNorm(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
    ]
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Residual(block, projection=nn.Conv2d(2, 4, 1, 2)), nn.Tanh(), nn.Dropout(0.3), **options
    )


def test_parameters_are_named_after_their_place_and_lie_in_the_flat_buffer():
    model = make_model()
    inner = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "projection.weight", "projection.bias"]
    assert list(model.parameters()) == ["0.weight", "0.bias", *(f"1.{name}" for name in inner)]
    assert {"1.1.running_mean", "1.1.running_var"} <= set(model.state())
    assert all(np.shares_memory(value, model.flat_parameters) for value in model.parameters().values())
    assert all(np.shares_memory(value, model.flat_gradients) for value in model.gradients().values())
    assert model.layers[1].layers[0].parameters()["weight"] is model.parameters()["1.0.weight"]


def test_layers_in_a_block_start_from_streams_of_their_own():
    """Weights and dropout masks differ from all others; the initialiser suits what is behind the layer, or the block."""
    model = nn.Sequential(nn.Residual([nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40)]), nn.Tanh(), nn.Linear(40, 40))
    first, second, last = (model.parameters()[name] for name in ("0.0.weight", "0.2.weight", "2.weight"))
    for a, b in ((first, second), (first, last), (second, last)):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1
    bounds = [np.abs(w).max() for w in (first, second, last)]
    np.testing.assert_allclose(bounds, np.sqrt(3 * np.array([2 / 40, 2 / 80, 1 / 40])), rtol=0.02)
    alone = nn.Residual([nn.Linear(40, 40), nn.Linear(40, 40)]).parameters()
    assert abs(np.corrcoef(alone["0.weight"].ravel(), alone["1.weight"].ravel())[0, 1]) < 0.1


def test_dropout_in_a_block_follows_the_seed(rng):
    x, outputs = rng.normal(size=(4, 1, 8, 8)).astype(np.float32), []
    for seed in (0, 0, 1):
        model = make_model()
        model.reseed(seed)
        outputs.append([model.forward(x, training=True).copy() for _ in range(2)])
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0][0], outputs[0][1]) and not np.array_equal(outputs[0][0], outputs[2][0])


def test_saved_and_loaded(tmp_path, rng):
    model = make_model()
    x = rng.normal(size=(4, 1, 8, 8)).astype(np.float32)
    model.forward(x, training=True)
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    assert repr(again) == repr(model) and np.array_equal(again.forward(x), model.forward(x))


def dense_model(regularizer=None):
    block = [nn.Linear(6, 6, regularizer=regularizer), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(nn.Residual(block), nn.Linear(6, 3), seed=1)


def train(model, rng, epochs=1, **options):
    """33 rows in batches of 32: the last row has no batch of its own, since batch norm could not take it."""
    x, y = rng.normal(size=(33, 6)).astype(np.float32), rng.integers(0, 3, 33)
    options = {"optimizer": nd.optim.SGD(lr=0.1), "batch_size": 32, "progress": False, **options}
    return model.fit(x, y, loss="cross_entropy", epochs=epochs, **options)


def test_training_goes_on_with_the_masks_in_a_block(tmp_path):
    path, models = tmp_path / "run.safetensors", [dense_model() for _ in range(3)]
    train(models[0], np.random.default_rng(0), 4)
    checkpoint = [nd.train.ModelCheckpoint(path)]
    train(models[1], np.random.default_rng(0), 2, callbacks=checkpoint)
    train(models[2], np.random.default_rng(0), 4, callbacks=checkpoint, resume=path)
    assert np.array_equal(models[0].flat_parameters, models[2].flat_parameters)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_go_on_with_the_masks_in_a_block(again, rng):
    x, model = rng.normal(size=(4, 6)).astype(np.float32), dense_model()
    model.forward(x, training=True)
    for one in (model, model.layers[0]):
        other = again(one)
        assert np.array_equal(one.forward(x, training=True).copy(), other.forward(x, training=True))


def test_penalties_of_layers_in_a_block(rng):
    """A layer's own penalty is its alone; the model's is of the others' weights."""
    model = dense_model(nd.regularizers.L2(0.5))
    own, other = (model.weights()[name].astype(np.float64) for name in ("0.0.weight", "1.weight"))
    history = train(model, rng, optimizer=nd.optim.SGD(lr=0.0), regularizer=nd.regularizers.L1(2.0))
    np.testing.assert_allclose(history["penalty"], 0.5 * np.sum(own**2) + 2 * np.abs(other).sum(), rtol=1e-5)
    assert nn.Residual([nn.LayerNorm((2, 3))]).weights() == {}


def test_moving_to_another_dtype(rng):
    model = make_model()
    x = rng.normal(size=(4, 1, 8, 8)).astype(np.float32)
    before = model.forward(x)
    after = model.to(dtype=np.float64).forward(x.astype(np.float64))
    assert after.dtype == np.float64
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_summary_has_a_row_for_each_layer_of_a_block():
    block = [nn.Linear(6, 3), nn.ReLU(), nn.Residual([nn.Linear(3, 3, bias=False)]), nn.Linear(3, 2)]
    lines = nn.Sequential(nn.Linear(4, 6), nn.Residual(block, nn.Linear(6, 2))).summary().splitlines()
    names = ["0", "1", "1.0", "1.1", "1.2", "1.2.0", "1.3", "1.projection"]
    assert [line.split()[0] for line in lines[1:-1]] == names
    assert lines[2].split()[1:] == ["Residual", "(N,", "2)"]
    outputs = [int(line[line.index("(N, ") + 4 :].split(")")[0]) for line in lines[1:-1]]
    assert outputs == [6, 2, 3, 3, 3, 3, 2, 2]
    counts = [line.split()[-1] for line in lines[1:-1] if "Residual" not in line]
    assert list(map(int, counts)) == [30, 21, 0, 9, 8, 14] and lines[-1].startswith("82 parameters")


def test_errors():
    for wrong, got in ((nn.ReLU(), "ReLU"), ("relu", "str"), ([], "no layers")):
        with pytest.raises(TypeError, match=f"layers: got {got}, accepted are lists of layers"):
            nn.Residual(wrong)
    with pytest.raises(TypeError, match="layer 1: got 'relu'"):
        nn.Residual([nn.ReLU(), "relu"])
    with pytest.raises(TypeError, match="projection: got str, accepted are layers"):
        nn.Residual([nn.ReLU()], "relu")
    layer = nn.ReLU()
    with pytest.raises(ValueError, match="layers: the same layer stands in two places"):
        nn.Residual([layer], layer)
    inside = nn.Linear(3, 3)
    nn.Residual([inside])
    with pytest.raises(ValueError, match="layer 0, Linear.*belongs to another model"):
        nn.Sequential(inside)
    with pytest.raises(ValueError, match=r"adds \(3,\), what its layers give, to \(4,\)"):
        nn.Residual([nn.Linear(4, 3)])
    with pytest.raises(ValueError, match=r"layer 1, Linear.* takes 5 features, but layer 0, Linear.* gives 3"):
        nn.Residual([nn.Linear(4, 3), nn.Linear(5, 4)])
    with pytest.raises(
        ValueError, match=r"layer 1, Residual.*layer 0, Linear.* takes 4 features, but the input gives 3"
    ):
        nn.Sequential(nn.Linear(2, 3), nn.Residual([nn.Linear(4, 4)]))
    model = nn.Sequential(nn.Residual([nn.Conv2d(1, 2, 3)]))  # no sizes are known before there is an input
    with pytest.raises(
        ValueError, match=r"layer 0, Residual.*: x: got shape \(1, 1, 5, 5\), for which the block gives"
    ):
        model.forward(np.zeros((1, 1, 5, 5), np.float32))
