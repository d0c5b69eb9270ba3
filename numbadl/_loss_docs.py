"""The docstrings of losses, from their records: signature, formula, parameters, an example."""

REDUCTIONS = ("mean", "sum", "none")
_TARGETS = {
    "numbers": "any numbers",
    "probabilities": "targets are probabilities, from 0 to 1",
    "signs": "targets are -1 or 1",
}


def of_elements(record):
    """That of a loss of elements."""
    second = "-1.0" if record.targets == "signs" else "0.0"
    options = "".join(f", {p.name}={p.default}" for p in record.parameters)
    by_class = {"pos_weight": ", or an array of them that NumPy broadcasts to the prediction's shape"}
    parameters = "".join(f"\n    {p.name} : {p.accepted}{by_class.get(p.name, '')}" for p in record.parameters)
    mean = "their sum" if record.weighted_mean else "the number of elements, as PyTorch's does"
    return f"""{record.name}(prediction, target, *, reduction="mean", weight=None, sample_weight=None{options})

    Of each element: {record.formula}

    Source: {record.source}.

    Parameters
    ----------
    prediction, target : arrays of one shape and dtype, float32 or float64; {_TARGETS[record.targets]}
    reduction : {", ".join(repr(r) for r in (*REDUCTIONS, *record.reductions))}
    weight : numbers from 0 on, of a shape that NumPy broadcasts to the prediction's; a mean divides by {mean}
    sample_weight : (N,), a number from 0 on for each entry of the first axis; a mean divides by their sum{parameters}

    Returns
    -------
    float, or for "none" an array like the prediction. ``backward`` and ``value_and_grad`` take `out`, an array like the
    prediction, and `grad`, which the gradient is multiplied by: a number, or for "none" an array.

    Raises
    ------
    TypeError, ValueError : naming the argument, before anything is written

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> prediction, target = np.array([[-0.5, 2.5]], np.float32), np.array([[1.0, {second}]], np.float32)
    >>> value, gradient = nd.losses.{record.name}.value_and_grad(prediction, target)
    >>> value > 0, gradient.shape
    (True, (1, 2))
    """


def of_labels(record):
    """That of a loss of rows of classes."""
    smoothing = bool(record.weighted.columns)
    options = (
        "reduction='mean', weight=None, sample_weight=None, ignore_index=-100" + ", label_smoothing=0.0" * smoothing
    )
    soft = ";\n        or probabilities of all classes, of the logits' shape and dtype" * smoothing
    smoothed = (
        "\n    label_smoothing : from 0 to 1; that fraction of the label's probability is spread over all classes"
        * smoothing
    )
    return f"""{record.name}({record.input}, labels, *, {options})

    Of each row x of classes with label y: {record.formula}

    Source: {record.source}.

    Parameters
    ----------
    {record.input} : (N, classes) or (N, classes, d1, ...) of float32 or float64
    labels : integers from 0 to classes - 1, of shape (N,) or (N, d1, ...){soft}
    reduction : {", ".join(map(repr, REDUCTIONS))}
    weight : (classes,), numbers from 0 on; a mean over labels divides by the sum of those of the labels
    sample_weight : (N,), numbers from 0 on; a mean divides by their sum
    ignore_index : rows with this label have a loss and a gradient of 0, and do not count in a mean{smoothed}

    Returns
    -------
    float, or for "none" an array like the labels. ``backward`` and ``value_and_grad`` take `out`, an array like
    {record.input}, and `grad`, which the gradient is multiplied by: a number, or for "none" an array like the labels.

    Raises
    ------
    TypeError, ValueError : naming the argument, before anything is written

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = nd.log_softmax(np.array([[1, 2, 3], [3, 2, 1]], np.float32))
    >>> round(nd.losses.{record.name}(x, [2, 0]), 4)
    0.4076
    >>> nd.losses.{record.name}.backward(x, [2, -100]).shape
    (2, 3)
    """
