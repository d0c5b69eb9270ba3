"""Which output activation and loss suit a task, and which activations suit hidden layers."""

from dataclasses import dataclass
from difflib import get_close_matches

from ._arguments import shown
from ._tasks import LOSSES

HIDDEN, RECURRENT = ("relu",), ("tanh", "sigmoid")
# name -> (key of LOSSES, output activation, what the network's last layer gives)
_TASKS = {
    "regression": ("regression", "identity", "one number for each quantity"),
    "binary classification": ("binary", "sigmoid", "one logit"),
    "multiclass classification": ("multiclass", "softmax", "one logit for each class"),
    "multilabel classification": ("multilabel", "sigmoid", "one logit for each label"),
}


@dataclass(frozen=True, repr=False)
class Recommendation:
    """What suits a task.

    Attributes
    ----------
    task : one of "regression", "binary classification", "multiclass classification", "multilabel classification"
    output_activation : name of the function that makes predictions of what the last layer gives
    loss : the name that ``model.fit`` takes
    outputs : what the last layer gives, in words
    from_logits : whether the loss takes what comes before the output activation, which then is no layer of the model
    hidden : activations of hidden layers, in convolutional and dense networks
    recurrent : activations of hidden layers, in recurrent networks
    """

    task: str
    output_activation: str
    loss: str
    outputs: str
    from_logits: bool
    hidden: tuple = HIDDEN
    recurrent: tuple = RECURRENT

    def __repr__(self):
        applied = ", applied to predictions only: the loss takes logits" if self.from_logits else ""
        rows = [
            ("last layer", self.outputs),
            ("output activation", self.output_activation + applied),
            ("loss", self.loss),
            ("hidden layers", f"{', '.join(self.hidden)} (convolutional, dense); {', '.join(self.recurrent)} (recurrent)"),
        ]  # fmt: skip
        return "\n".join([self.task, *(f"  {name:<19}{text}" for name, text in rows)])


TASKS = {
    task: Recommendation(task, activation, LOSSES[key], outputs, from_logits=key != "regression")
    for task, (key, activation, outputs) in _TASKS.items()
}


def recommend(task):
    """The output activation, the loss and the hidden activations for *task*: a table of rules of thumb.

    Parameters
    ----------
    task : str
        "regression", "binary classification", "multiclass classification" or "multilabel classification". Case,
        underscores and hyphens do not matter, "classification" may be left out, a misspelt letter is understood.

    Returns
    -------
    Recommendation

    Raises
    ------
    TypeError
        *task* is no string.
    ValueError
        There is no such task.

    Examples
    --------
    >>> import numbadl as nd
    >>> nd.recommend("multiclass")
    multiclass classification
      last layer         one logit for each class
      output activation  softmax, applied to predictions only: the loss takes logits
      loss               cross_entropy
      hidden layers      relu (convolutional, dense); tanh, sigmoid (recurrent)
    >>> nd.recommend("binary_classification").loss
    'binary_cross_entropy'
    """
    if not isinstance(task, str):
        raise TypeError(f"task: got {shown(task)}, accepted are {_accepted()}")
    known = {}
    for name in TASKS:
        known |= {_letters(name): name, _letters(name).removesuffix("classification"): name}
    # The names differ in more than 15% of their letters; "classification" alone is near none of them.
    close = get_close_matches(_letters(task), known, n=1, cutoff=0.85)
    if not close:
        raise ValueError(f"task: got {shown(task)}, accepted are {_accepted()}")
    return TASKS[known[close[0]]]


def _letters(text):
    return "".join(c for c in text.lower() if c.isalnum())


def _accepted():
    return ", ".join(map(repr, TASKS))
