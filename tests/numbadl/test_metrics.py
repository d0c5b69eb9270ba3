"""Metrics of training: equal to scikit-learn's of all outputs at once, however they come in batches; errors beforehand."""

import numpy as np
import pytest

import numbadl as nd
from numbadl.train.metrics import Metric, metrics_for

sklearn = pytest.importorskip("sklearn.metrics")

LABELS = nd.losses.cross_entropy
YES = nd.losses.binary_cross_entropy


def in_batches(loss, names, outputs, targets, size=37):
    """name -> value, of metrics that are given some rows at a time."""
    made = metrics_for(loss, names, outputs.shape[1:])
    for start in range(0, len(outputs), size):
        for metric in made:
            metric.add(outputs[start : start + size], targets[start : start + size])
    return {metric.name: metric.value() for metric in made}


def compare(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def logits_of(rng, n, classes, labels, ties=False):
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return np.round(logits, 1) if ties else logits


def probabilities(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("absent", [False, True])
def test_several_classes(rng, absent):
    labels = rng.integers(0, 4, 250) if absent else np.r_[rng.integers(0, 5, 245), np.arange(5)]
    logits = logits_of(rng, 250, 5, labels)
    if absent:
        logits[:, 4] = -9  # occurs neither among labels nor among answers
    names = ["accuracy", "top_2_accuracy", ("top_k", 3), "precision_macro", "recall_macro", "f1_macro"]
    found, answers = in_batches(LABELS, names, logits, labels), logits.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sklearn.accuracy_score(labels, answers),
        "top_2_accuracy": sklearn.top_k_accuracy_score(labels, logits, k=2, labels=range(5)),
        "top_3_accuracy": sklearn.top_k_accuracy_score(labels, logits, k=3, labels=range(5)),
        "precision_macro": sklearn.precision_score(labels, answers, **macro),
        "recall_macro": sklearn.recall_score(labels, answers, **macro),
        "f1_macro": sklearn.f1_score(labels, answers, **macro),
    }
    compare(found, expected)
    if not absent:
        area = sklearn.roc_auc_score(labels, probabilities(logits), multi_class="ovr", average="macro")
        compare(in_batches(LABELS, ["auc"], logits, labels), {"auc": area})


def test_labels_that_are_ignored_and_probabilities(rng):
    labels = rng.integers(0, 3, 90)
    logits = logits_of(rng, 90, 3, labels)
    names = ["accuracy", "top_2_accuracy", "f1_macro", "auc"]
    kept = rng.random(90) < 0.7
    some = in_batches(LABELS, names, logits, np.where(kept, labels, -100))
    compare(some, in_batches(LABELS, names, logits[kept], labels[kept], size=99))
    soft = 0.9 * np.eye(3)[labels] + 0.1 / 3
    compare(in_batches(LABELS, names, logits, soft), in_batches(LABELS, names, logits, labels))


@pytest.mark.parametrize("columns", ["one logit", "two classes"])
@pytest.mark.parametrize("ties", [False, True])
def test_two_classes(rng, columns, ties):
    labels = (rng.random(300) < 0.3).astype(np.int64)
    logits = logits_of(rng, 300, 2, labels, ties)
    score = logits[:, 1] - logits[:, 0] if columns == "two classes" else logits[:, 1]
    answers = logits.argmax(axis=1) if columns == "two classes" else (score > 0).astype(int)
    names = ["accuracy", "precision", "recall", "f1", "precision_macro", "recall_macro", "f1_macro", "auc"]
    if columns == "two classes":
        found = in_batches(LABELS, names, logits, labels)
    else:
        found = in_batches(YES, names, score[:, None], labels[:, None].astype(np.float64))
    kinds = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}
    expected = {"accuracy": sklearn.accuracy_score(labels, answers)}
    expected |= {name: function(labels, answers) for name, function in kinds.items()}
    expected |= {f"{name}_macro": function(labels, answers, average="macro") for name, function in kinds.items()}
    compare(found, {**expected, "auc": sklearn.roc_auc_score(labels, score)})


def test_several_yes_or_no(rng):
    targets = (rng.random((200, 3)) < [0.2, 0.5, 0.8]).astype(np.float64)
    logits = rng.normal(size=(200, 3)) + targets
    answers = logits > 0
    found = in_batches(YES, ["accuracy", "precision_macro", "recall_macro", "f1_macro", "auc"], logits, targets)
    expected = {
        "accuracy": np.mean(answers == targets),
        "precision_macro": sklearn.precision_score(targets, answers, average="macro"),
        "recall_macro": sklearn.recall_score(targets, answers, average="macro"),
        "f1_macro": sklearn.f1_score(targets, answers, average="macro"),
        "auc": sklearn.roc_auc_score(targets, logits, average="macro"),
    }
    compare(found, expected)


@pytest.mark.parametrize("shape", [(180, 1), (180, 3)])
def test_regression(rng, shape):
    targets = rng.normal(size=shape) * [1e-2, 1, 10][: shape[1]] + 1000
    outputs = targets + rng.normal(size=shape) * 0.005
    found = in_batches(nd.losses.mse, ["r2", "mae", "mse", "rmse"], outputs, targets)
    expected = {
        "r2": sklearn.r2_score(targets, outputs),
        "mae": sklearn.mean_absolute_error(targets, outputs),
        "mse": sklearn.mean_squared_error(targets, outputs),
        "rmse": np.sqrt(np.mean((targets - outputs) ** 2)),
    }
    compare(found, expected)


def test_where_nothing_can_be_said():
    outputs, ones = np.array([[-1.0], [-2.0]]), np.ones((2, 1))
    found = in_batches(YES, ["precision", "recall", "f1", "auc"], outputs, ones)
    assert found["precision"] == found["recall"] == found["f1"] == 0 and np.isnan(found["auc"])
    assert np.isnan(in_batches(nd.losses.mse, ["r2"], outputs, ones)["r2"])


def test_functions_and_classes_of_the_user(rng):
    def balanced(targets, outputs):
        return sklearn.balanced_accuracy_score(targets, outputs.argmax(axis=1))

    class Rows(Metric):
        seen = 0

        def add(self, outputs, targets):
            self.seen += len(outputs)

        def value(self):
            return self.seen

    labels = rng.integers(0, 3, 80)
    logits = logits_of(rng, 80, 3, labels)
    found = in_batches(LABELS, [balanced, Rows], logits, labels)
    assert found == {"balanced": pytest.approx(balanced(labels, logits)), "Rows": 80}


def test_fit_and_evaluate_use_them(rng):
    x = rng.normal(size=(60, 4)).astype(np.float32)
    labels = rng.integers(0, 3, 60)
    model = nd.nn.Sequential(nd.nn.Linear(4, 3))
    before = model.predict(x)
    history = model.fit(
        x, labels, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.0), batch_size=16, metrics=["f1_macro", "auc"],
        validation_data=(x[:30], labels[:30]), progress=False,
    )  # fmt: skip
    assert list(history.metrics) == ["loss", "f1_macro", "auc", "val_loss", "val_f1_macro", "val_auc"]
    expected = sklearn.f1_score(labels, before.argmax(axis=1), average="macro")
    assert history["f1_macro"][0] == pytest.approx(expected)
    assert history["val_auc"][0] == pytest.approx(
        sklearn.roc_auc_score(labels[:30], probabilities(before[:30].astype(np.float64)), multi_class="ovr")
    )
    assert set(model.evaluate(x, labels, metrics=["top_2_accuracy"], batch_size=7)) == {"loss", "top_2_accuracy"}


ERRORS = [
    (LABELS, "accuracy", TypeError, "metrics: got 'accuracy', accepted are lists"),
    (LABELS, ["acuracy"], ValueError, r"metrics\[0\]: got 'acuracy', accepted are accuracy, .*top_5_accuracy"),
    (LABELS, ["accuracy", 3], TypeError, r"metrics\[1\]: got 3, accepted are names"),
    (LABELS, [("top_k", 0)], ValueError, r"metrics\[0\]: k: got 0"),
    (LABELS, ["top_6_accuracy"], ValueError, "'top_6_accuracy' does not go with cross_entropy of 5 outputs"),
    (YES, ["top_2_accuracy"], ValueError, "'top_2_accuracy' does not go with binary_cross_entropy"),
    (
        LABELS,
        ["f1"],
        ValueError,
        "'f1' does not go with cross_entropy of 5 outputs, accepted are two classes; f1_macro",
    ),
    (LABELS, ["r2"], ValueError, "'r2' does not go with cross_entropy of 5 outputs, accepted are losses of regression"),
    (nd.losses.mse, ["accuracy"], ValueError, "'accuracy' does not go with mse"),
    (LABELS, ["accuracy", "accuracy"], ValueError, "got two of the name 'accuracy'"),
]


@pytest.mark.parametrize(("loss", "names", "error", "message"), ERRORS, ids=[e[3] for e in ERRORS])
def test_errors(loss, names, error, message):
    with pytest.raises(error, match=message):
        metrics_for(loss, names, (5,))
    model = nd.nn.Sequential(nd.nn.Linear(2, 5))
    before = model.flat_parameters.copy()
    y = np.zeros(6, int) if loss is LABELS else np.zeros((6, 5), np.float32)
    with pytest.raises(error, match=message):
        model.fit(np.zeros((6, 2)), y, loss=loss, optimizer=nd.optim.SGD(lr=1.0), metrics=names, progress=False)
    assert np.array_equal(model.flat_parameters, before)
