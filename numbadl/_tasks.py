"""What a task means at the network's end: its loss, its number of outputs, how outputs become predictions."""

import numpy as np

# Loss on the network's outputs: one logit for each class (multiclass) or for each question (binary, multilabel).
LOSSES = {
    "regression": "mse",
    "binary": "binary_cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy",
}


def n_outputs(table):
    """How many outputs the network for a `Table` has."""
    return len(table.classes) if table.task == "multiclass" else table.y.shape[1]


def evaluate(model, preprocessor, x, y):
    """The model's metrics; for regression also the errors in the target's own units."""
    metrics = dict(model.evaluate(x, y))
    if preprocessor.target_mean is not None:
        error = preprocessor.restore_target(model.predict(x)) - preprocessor.restore_target(y)
        metrics.update(rmse=float(np.sqrt(np.mean(error**2))), mae=float(np.mean(np.abs(error))))
        variance = np.var(np.asarray(y, np.float64), axis=0).mean()
        if "r2" not in metrics and variance > 0:
            metrics["r2"] = 1 - float(np.mean((error / preprocessor.target_scale) ** 2) / variance)
    return metrics


def predictions(outputs, description, preprocessor):
    """Header and rows of the predictions, as text.

    Regression: the targets in their own units. Binary and multiclass: the class and the probability of each class.
    Multilabel: 0 or 1 for each label, then the probabilities.

    Examples
    --------
    >>> description = {"task": "binary", "classes": ["no", "yes"], "target_names": ["rain"]}
    >>> header, rows = predictions(np.array([[-1.0], [2.0]], np.float32), description, None)
    >>> header, list(rows)
    (['rain', 'probability_no', 'probability_yes'], [['no', '0.731059', '0.268941'], ['yes', '0.119203', '0.880797']])
    """
    from . import sigmoid, softmax

    task, names, classes = description["task"], description["target_names"], description["classes"]
    outputs = np.ascontiguousarray(outputs)
    if task == "regression":
        return list(names), ([f"{value:.7g}" for value in row] for row in preprocessor.restore_target(outputs))
    probabilities = softmax(outputs, axis=-1) if task == "multiclass" else sigmoid(outputs)
    columns = [f"probability_{name}" for name in classes]
    if task == "multilabel":
        decided = (["1" if p > 0.5 else "0" for p in row] for row in probabilities)
        return [*names, *columns], _joined(decided, probabilities)
    if task == "binary":
        probabilities = np.column_stack([1 - probabilities[:, 0], probabilities[:, 0]])
    # Several one-hot target columns give one prediction, which then needs a name of its own.
    name = names[0] if len(names) == 1 else "class"
    return [name, *columns], _joined(([classes[k]] for k in probabilities.argmax(axis=1)), probabilities)


def _joined(decided, probabilities):
    for first, row in zip(decided, probabilities, strict=True):
        yield [*first, *(f"{value:.6g}" for value in row)]
