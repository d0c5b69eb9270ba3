"""The recommendations: each task, close spellings of it, and a network that is trained as recommended."""

import dataclasses

import numpy as np
import pytest

import numbadl as nd

TABLE = {
    "regression": ("identity", "mse"),
    "binary classification": ("sigmoid", "binary_cross_entropy"),
    "multiclass classification": ("softmax", "cross_entropy"),
    "multilabel classification": ("sigmoid", "binary_cross_entropy"),
}


@pytest.mark.parametrize("task", TABLE)
def test_table(task):
    found = nd.recommend(task)
    assert (found.task, found.output_activation, found.loss) == (task, *TABLE[task])
    assert (found.hidden, found.recurrent) == (("relu",), ("tanh", "sigmoid"))
    assert found.from_logits == (task != "regression")
    assert all(callable(getattr(nd, name)) for name in (found.output_activation, *found.hidden, *found.recurrent))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.loss = "mse"


@pytest.mark.parametrize(
    ("spelling", "task"),
    [
        ("Regression", "regression"),
        ("regresion", "regression"),
        ("binary", "binary classification"),
        ("binary_classification", "binary classification"),
        (" BINARY clasification ", "binary classification"),
        ("multi-class", "multiclass classification"),
        ("multi_class_classification", "multiclass classification"),
        ("multilable classification", "multilabel classification"),
    ],
)
def test_close_spellings(spelling, task):
    assert nd.recommend(spelling).task == task


@pytest.mark.parametrize("task", ["", "classification", "logistic regression", "multi", "clustering", "x" * 100])
def test_unknown_tasks_are_refused_with_a_list(task):
    with pytest.raises(
        ValueError, match="task: got .* accepted are 'regression', 'binary classification', 'multiclass"
    ):
        nd.recommend(task)


@pytest.mark.parametrize("task", [None, 3, ["regression"]])
def test_what_is_no_string_is_refused(task):
    with pytest.raises(TypeError, match="task: got .* accepted are 'regression'"):
        nd.recommend(task)


def test_repr_says_it_all():
    assert repr(nd.recommend("binary")).splitlines() == [
        "binary classification",
        "  last layer         one logit",
        "  output activation  sigmoid, applied to predictions only: the loss takes logits",
        "  loss               binary_cross_entropy",
        "  hidden layers      relu (convolutional, dense); tanh, sigmoid (recurrent)",
    ]


@pytest.mark.parametrize("task", TABLE)
def test_fit_takes_the_loss(task, rng):
    x = rng.normal(size=(64, 3)).astype(np.float32)
    targets = {
        "regression": x[:, :1] + 1,
        "binary classification": (x[:, :1] > 0).astype(np.float32),
        "multiclass classification": np.digitize(x[:, 0], [-0.5, 0.5]),
        "multilabel classification": (x[:, :2] > 0).astype(np.float32),
    }
    found, y = nd.recommend(task), targets[task]
    outputs = 3 if y.ndim == 1 else y.shape[1]
    model = nd.nn.Sequential(nd.nn.Linear(3, outputs))
    history = model.fit(x, y, loss=found.loss, optimizer=nd.optim.SGD(lr=0.1), epochs=3)
    assert history.metrics["loss"][-1] < history.metrics["loss"][0]
    predictions = getattr(nd, found.output_activation)(model.predict(x))
    assert predictions.shape == (64, outputs)
    if found.from_logits:
        assert ((predictions >= 0) & (predictions <= 1)).all()
