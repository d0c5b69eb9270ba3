"""Embedding: rows of its table, their gradient, what it takes, and training."""

import numpy as np
import pytest
import references as ref

import numbadl as nd

nn = nd.nn


@pytest.mark.parametrize("padding", [None, 3])
def test_gradient_of_the_table(padding, rng):
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=padding), nn.Flatten(), nn.Linear(12, 2), dtype=np.float64)
    x, grad = np.array([[0, 3, 3, 1], [4, 0, 3, 0]]), rng.normal(size=(2, 2))
    model.forward(x, training=True)
    assert model.backward(grad) is None
    found = {key: value.copy() for key, value in model.gradients().items()}
    for key, value in model.parameters().items():
        expected = ref.numeric_gradient(lambda: float(np.sum(grad * model.forward(x, training=True))), value)
        if padding is not None and key == "0.weight":
            expected[padding] = 0
        np.testing.assert_allclose(found[key], expected, rtol=1e-6, atol=1e-8)
    assert not found["0.weight"][2].any(), "a row that was not taken"


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
def test_numbers_of_any_type(dtype):
    layer = nn.Embedding(4, 3, padding_idx=1)
    table = layer.parameters()["weight"]
    assert not table[1].any() and table[0].any()
    x = np.array([[3, 1], [0, 3]], dtype)
    np.testing.assert_array_equal(layer.forward(x), table[x.astype(int)])
    np.testing.assert_array_equal(layer.forward(x[:, ::-1]), table[x.astype(int)[:, ::-1]])
    assert layer.forward(x[:0]).shape == (0, 2, 3)


def test_evaluation_leaves_what_backward_needs():
    layer = nn.Embedding(4, 3)
    grad, gradients = np.ones((1, 2, 3), np.float32), []
    for interrupted in (False, True):
        layer.forward(np.array([[1, 2]]), training=True)
        if interrupted:
            layer.forward(np.array([[0, 0]]))
        layer.backward(grad)
        gradients.append(layer.gradients()["weight"].copy())
    assert np.array_equal(*gradients) and gradients[0][1:3].all()


def test_errors():
    with pytest.raises(ValueError, match="num_embeddings: got 0"):
        nn.Embedding(0, 3)
    with pytest.raises(ValueError, match="padding_idx: got 4, accepted are 0 to 3"):
        nn.Embedding(4, 3, padding_idx=4)
    layer = nn.Embedding(4, 3)
    with pytest.raises(TypeError, match="x: got list"):
        layer.forward([1, 2])
    with pytest.raises(TypeError, match="x: got dtype float64, accepted are integers, and whole numbers of float32"):
        layer.forward(np.zeros(3))
    for wrong, message in (
        ([[0, 4]], r"x\[0, 1\]: got 4, accepted are whole numbers from 0 to 3"),
        ([[0, -1]], r"x\[0, 1\]: got -1"),
        (np.array([[0, np.nan]], np.float32), r"x\[0, 1\]: got nan"),
        (np.array([[0, 1.5]], np.float32), r"x\[0, 1\]: got 1.5, accepted are whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.forward(np.asarray(wrong), training=True)
    with pytest.raises(RuntimeError, match="backward: Embedding.*needs a forward"):
        layer.backward(np.ones((1, 2, 3), np.float32))
    with pytest.raises(ValueError, match=r"layer 1, Embedding.*takes whole numbers, which only the input of a model"):
        nn.Sequential(nn.Flatten(), layer)
    with pytest.raises(ValueError, match=r"layer 0, Embedding.*takes whole numbers"):
        nn.Residual([layer])


def test_training_and_files(tmp_path, rng):
    """Whether a word is among the first ten, of sentences of words."""
    words = rng.integers(0, 20, (400, 6))
    labels = (words < 10).sum(axis=1) // 4
    model = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(24, 2))
    assert repr(model.layers[0]) == "Embedding(num_embeddings=20, embedding_dim=4, padding_idx=None)"
    optimizer = nd.optim.AdamW(lr=0.02)
    model.fit(words, labels, loss="cross_entropy", optimizer=optimizer, epochs=20, batch_size=40, progress=False)
    assert model.evaluate(words, labels)["accuracy"] > 0.97
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(nn.load(tmp_path / "m.safetensors").forward(words), model.forward(words))
