"""Multi-layer perceptrons for scikit-learn: `MLPClassifier` and `MLPRegressor`, with its parameters, over `numbadl.nn`.

What they compute is what scikit-learn's own compute, step for step; beside its activations and solvers they take all of this
library. They are in pipelines, grid searches and pickles what scikit-learn's are. Needs scikit-learn.

Examples
--------
>>> from sklearn.datasets import load_digits
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> x, y = load_digits(return_X_y=True)
>>> model = make_pipeline(StandardScaler(), MLPClassifier((64,), activation="gelu", tol=0.01, random_state=0))
>>> bool(model.fit(x[:1500], y[:1500]).score(x[1500:], y[1500:]) > 0.85)
True
"""

import functools
import itertools
import math
import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import _arguments as arguments
from .. import nn, optim
from ..elementwise import reduced
from ..functional import FUNCTIONS, softmax
from ..losses import LOSSES, ElementwiseLoss
from ..train.callbacks import Callback
from ..train.fit import TrainingInterrupted
from ..train.state import copies, put_back

sigmoid, sum_of_squares = FUNCTIONS["sigmoid"], functools.partial(reduced, "sum_of_squares")
SOLVERS = {
    name.lower(): value
    for name, value in vars(optim).items()
    if isinstance(value, type) and issubclass(value, optim.Optimizer) and value is not optim.Optimizer
}
_RATES = ("constant", "invscaling", "adaptive")
_SMALLEST_RATE = 1e-6  # below it "adaptive" stops


class _PerRow(ElementwiseLoss):
    """A loss of elements that is added up in each row, times *factor*, and averaged over rows, as scikit-learn does."""

    def __init__(self, record, given=None, factor=1.0):
        super().__init__(record, given)
        self.factor = factor

    def _weights(self, prediction, options):
        factors, count = super()._weights(prediction, options)
        return factors, count / (prediction.shape[1] * self.factor)


class _Progress(Callback):
    """What scikit-learn's estimators keep of each epoch, and when they stop."""

    def __init__(self, estimator, optimizer, rows, size, weight, validation):
        self.estimator, self.optimizer, self.validation = estimator, optimizer, validation
        self.rows, self.size, self.weight, self.kept = rows, size, weight, None
        self.penalised = [group for group in optimizer.param_groups if estimator.alpha and group["l2"]]

    def on_train_begin(self, model, history):
        self.weights = list(model.weights().values())

    def on_backward_end(self, model, history):
        rows = min(self.size, self.rows - (self.training.step - 1) * self.size)
        for group in self.penalised:
            group["l2"] = self.estimator.alpha / (2 * rows * self.weight)

    def on_epoch_end(self, model, history):
        mine = self.estimator
        squares = sum(map(sum_of_squares, self.weights))  # not by BLAS, whose idle threads spin beside ours
        mine.loss_ = history["loss"][-1] / mine._loss_divisor() + 0.5 * mine.alpha * squares / (self.rows * self.weight)
        mine.n_iter_ += 1
        mine.t_ += self.rows
        mine.loss_curve_.append(mine.loss_)
        if mine.verbose:
            print(f"Iteration {mine.n_iter_}, loss = {mine.loss_:.8f}")
        mine._no_improvement = 0 if self._improved(model) else mine._no_improvement + 1
        if mine.solver == "sgd" and mine.learning_rate == "invscaling":
            self._set_rate(mine.learning_rate_init / (mine.t_ + 1) ** mine.power_t)
        if mine._no_improvement > mine.n_iter_no_change:
            self._without_improvement(model)

    def _improved(self, model):
        mine = self.estimator
        if self.validation is None:
            found = mine.loss_ <= mine.best_loss_ - mine.tol
            mine.best_loss_ = min(mine.loss_, mine.best_loss_)
            return found
        x, y, weight = self.validation
        score = mine._score(y, mine._decoded(model.predict(x)), sample_weight=weight)
        mine.validation_scores_.append(score)
        if mine.verbose:
            print(f"Validation score: {score:f}")
        found = not score < mine.best_validation_score_ + mine.tol
        if score > mine.best_validation_score_:
            mine.best_validation_score_, self.kept = score, copies(model)
        return found

    def _without_improvement(self, model):
        mine, rate = self.estimator, self.optimizer.param_groups[0]["lr"]
        what = "Training loss" if self.validation is None else "Validation score"
        what += f" did not improve more than tol={mine.tol:f} for {mine.n_iter_no_change} consecutive epochs."
        if mine.solver != "sgd" or mine.learning_rate != "adaptive" or rate <= _SMALLEST_RATE:
            model.stop_training = True
            what += " Stopping."
        else:
            self._set_rate(rate / 5)
            mine._no_improvement = 0
            what += f" Setting learning rate to {rate / 5:f}"
        if mine.verbose:
            print(what)

    def _set_rate(self, rate):
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def on_train_end(self, model, history):
        if self.kept is not None:
            put_back(model, self.kept)


class _Perceptron(BaseEstimator):
    """What both estimators share.

    Parameters
    ----------
    hidden_layer_sizes : a number for each hidden layer
    activation : the name of any activation of this library, or "logistic" (which is sigmoid)
    solver : "adam", "sgd", or any other optimiser of `numbadl.optim`, in lower case ("adamw", "lion", "muon", ...), with its own
        defaults but for the learning rate. There is no "lbfgs"
    alpha : alpha / 2 times the sum of the squared weights is added to the loss of a batch, divided by its rows
    batch_size : rows for each step; "auto" is min(200, rows)
    learning_rate : "constant", or for "sgd" "invscaling" (learning_rate_init / (rows seen)**power_t) or "adaptive" (a fifth
        when nothing improves)
    learning_rate_init : the learning rate
    power_t : see learning_rate
    max_iter : epochs at most
    loss : "auto": the log-loss, or half the squared error. A regressor takes "squared_error" as well, and the names of
        losses such as "mae" and "huber"
    shuffle : take rows in another order in each epoch
    random_state : weights, order and the validation's rows follow from it
    tol, n_iter_no_change : stop where the loss (with early_stopping, the score of the validation) has not improved by tol in
        more than so many epochs
    verbose : print the loss of each epoch
    warm_start : `fit` goes on from the last weights
    momentum, nesterovs_momentum : of "sgd"
    early_stopping, validation_fraction : keep a share of the rows for validation, and end with the weights that did best there
    beta_1, beta_2, epsilon : of "adam"

    Attributes
    ----------
    model_ : the `numbadl.nn.Sequential`
    coefs_, intercepts_ : of each layer, views of the model's parameters; coefs_ are (inputs, outputs)
    loss_, best_loss_, loss_curve_ : with the penalty of alpha, for the weights at the end of the epoch
    validation_scores_, best_validation_score_ : with early_stopping
    n_iter_, t_, n_features_in_, n_layers_, n_outputs_, out_activation_ : as scikit-learn has them
    """

    def __init__(
        self, hidden_layer_sizes=(100,), activation="relu", *, solver="adam", alpha=0.0001, batch_size="auto",
        learning_rate="constant", learning_rate_init=0.001, power_t=0.5, max_iter=200, loss="auto", shuffle=True,
        random_state=None, tol=1e-4, verbose=False, warm_start=False, momentum=0.9, nesterovs_momentum=True,
        early_stopping=False, validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10,
    ):  # fmt: skip
        self.hidden_layer_sizes, self.activation, self.solver, self.alpha = (
            hidden_layer_sizes,
            activation,
            solver,
            alpha,
        )
        self.batch_size, self.learning_rate, self.learning_rate_init = batch_size, learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.loss, self.shuffle = power_t, max_iter, loss, shuffle
        self.random_state, self.tol, self.verbose, self.warm_start = random_state, tol, verbose, warm_start
        self.momentum, self.nesterovs_momentum, self.early_stopping = momentum, nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2 = validation_fraction, beta_1, beta_2
        self.epsilon, self.n_iter_no_change = epsilon, n_iter_no_change

    # -- training ------------------------------------------------------------------------------------------------
    def fit(self, X, y, sample_weight=None):
        """Train on rows of X, (N, features), with targets y; *sample_weight* (N,) is how much each row counts."""
        return self._train(X, y, sample_weight, incremental=False)

    def _can_go_on(self):
        return not self.early_stopping

    @available_if(_can_go_on)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over the rows of X, with the weights and the optimiser's state from before."""
        return self._train(X, y, sample_weight, incremental=True)

    def _train(self, X, y, sample_weight, incremental):
        self._check_parameters()
        again = hasattr(self, "model_") and (self.warm_start or incremental)
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            order="C",
            multi_output=True,
            y_numeric=self._numeric,
            reset=not again,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        targets = self._encoded(y, fresh=not (again or incremental))
        rng = check_random_state(self.random_state)
        seed = rng.randint(np.iinfo(np.int32).max)
        if not again:
            self._begin(X, targets, seed)
        if X.dtype != self.model_.dtype:
            X = X.astype(self.model_.dtype)
        if not (again and incremental):
            self._optimizer = self._bound(self._new_optimizer())
        split, validation = (X, targets, sample_weight), None
        if self.early_stopping:
            split, validation = self._split(X, y, targets, sample_weight, rng)
        self.n_iter_ = 0
        self._run(*split, validation, (seed + self.t_) % (1 << 31), 1 if incremental else self.max_iter)
        return self

    def _run(self, x, y, weight, validation, seed, epochs):
        size = min(200, len(x)) if self.batch_size == "auto" else self.batch_size
        if size > len(x):
            warnings.warn(f"batch_size: got {size}, more than the {len(x)} rows; it is clipped", stacklevel=4)
        size, weight = min(size, len(x)), None if weight is None else weight.astype(np.float64)
        progress = _Progress(
            self, self._optimizer, len(x), size, 1.0 if weight is None else float(weight.mean()), validation
        )
        try:
            self.model_.fit(
                x, y, loss=self._loss_of(), optimizer=self._optimizer, epochs=epochs, batch_size=size, metrics=[],
                sample_weight=weight, callbacks=[progress], seed=seed, shuffle=self.shuffle, progress=False,
            )  # fmt: skip
        except TrainingInterrupted:
            progress.on_train_end(self.model_, None)
            warnings.warn("Training interrupted by user.", stacklevel=4)
            return
        if self.n_iter_ == self.max_iter > 1 and not self.model_.stop_training:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't"
                " converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _begin(self, x, targets, seed):
        """A new model for such inputs and targets."""
        self.n_outputs_ = self._outputs(targets)
        sizes = [x.shape[1], *self._hidden(), self.n_outputs_]
        layers = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.activation_layer(self._activation())]
        self.model_ = nn.Sequential(*layers[:-1], seed=seed, dtype=x.dtype)
        self.n_layers_, self.t_, self.loss_curve_, self._no_improvement = len(sizes), 0, [], 0
        stopping = self.early_stopping
        self.validation_scores_, self.best_validation_score_ = ([], -np.inf) if stopping else (None, None)
        self.best_loss_ = None if stopping else np.inf

    def _split(self, x, y, targets, weight, rng):
        """((x, targets, weight) for training, (x, y, weight) for validation)."""
        some = [x, targets, y] if weight is None else [x, targets, y, weight]
        share, stratify = self.validation_fraction, self._stratified(y)
        parts = train_test_split(*some, random_state=rng, test_size=share, stratify=stratify)
        train, held = parts[::2], parts[1::2]
        if len(held[0]) < 2:
            raise ValueError(
                f"validation_fraction: got {self.validation_fraction}, which leaves fewer than 2 of {len(x)} rows"
            )
        ours, theirs = (train[3], held[3]) if weight is not None else (None, None)
        return (train[0], train[1], ours), (held[0], held[2], theirs)

    def _new_optimizer(self):
        options = {"lr": self.learning_rate_init}
        if self.solver == "sgd":
            options |= {"momentum": self.momentum, "nesterov": bool(self.nesterovs_momentum and self.momentum)}
        if self.solver == "adam":
            options |= {"betas": (self.beta_1, self.beta_2), "eps": self.epsilon}
        return SOLVERS[self.solver](**options)

    def _bound(self, optimizer):
        """Bound to the model; the weights have the penalty, whose size a step decides."""
        optimizer.bind(self.model_, [{"params": "*.weight", "l2": self.alpha}] if self.alpha else None)
        return optimizer

    # -- checks --------------------------------------------------------------------------------------------------
    def _hidden(self):
        given = self.hidden_layer_sizes
        return [arguments.integer("hidden_layer_sizes", n) for n in (given if hasattr(given, "__iter__") else [given])]

    def _activation(self):
        return "sigmoid" if self.activation == "logistic" else self.activation

    def _check_parameters(self):
        self._hidden()
        nn.activation_layer(self._activation())
        arguments.one_of("solver", self.solver, tuple(SOLVERS))
        arguments.one_of("learning_rate", self.learning_rate, _RATES)
        arguments.one_of("loss", self.loss, self._losses)
        if self.batch_size != "auto":
            arguments.integer("batch_size", self.batch_size)
        arguments.integer("max_iter", self.max_iter)
        if self.n_iter_no_change != math.inf:
            arguments.integer("n_iter_no_change", self.n_iter_no_change)
        for name in ("alpha", "tol", "power_t"):
            arguments.number(name, getattr(self, name))
        for name in ("learning_rate_init", "epsilon"):
            arguments.number(name, getattr(self, name), above=True)
        arguments.number("momentum", self.momentum, high=1)
        for name in ("validation_fraction", "beta_1", "beta_2"):
            arguments.number(name, getattr(self, name), high=1, below=True)
        for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
            value = getattr(self, name)
            arguments.one_of(name, bool(value) if isinstance(value, np.bool_) else value, (False, True))

    # -- what was learnt -------------------------------------------------------------------------------------------
    @property
    def _linear(self):
        return [layer.parameters() for layer in self.model_.layers if isinstance(layer, nn.Linear)]

    @property
    def coefs_(self):
        return [values["weight"].T for values in self._linear]

    @property
    def intercepts_(self):
        return [values["bias"] for values in self._linear]

    def _raw(self, X):
        """The model's outputs for the rows of X."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), order="C", reset=False)
        return self.model_.predict(X.astype(self.model_.dtype, copy=False))

    def predict(self, X):
        """The class, or the value, that is predicted for each row of X."""
        return self._decoded(self._raw(X))

    def __getstate__(self):
        state = super().__getstate__().copy()
        optimizer = state.pop("_optimizer", None)
        if optimizer is not None:
            options = {**optimizer.hyperparameters, **optimizer.whole}
            state["_optimizer_state"] = (
                type(optimizer),
                options,
                len(optimizer.param_groups) > 1,
                optimizer.state_dict(),
            )
        return state

    def __setstate__(self, state):
        state = dict(state)
        kept = state.pop("_optimizer_state", None)
        super().__setstate__(state)
        if kept is not None:
            made, options, grouped, saved = kept
            self._optimizer = made(**options)
            self._optimizer.bind(self.model_, [{"params": "*.weight"}] if grouped else None)
            self._optimizer.load_state_dict(saved)


class MLPClassifier(ClassifierMixin, _Perceptron):
    __doc__ = f"""A perceptron that tells classes apart; y has a class for each row, or is a multilabel indicator (N, labels).

    {_Perceptron.__doc__.partition("What both estimators share.")[2].strip()}
    classes_ : the classes, or the numbers of the labels

    Examples
    --------
    >>> x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), ["no", "yes", "yes", "no"]
    >>> MLPClassifier((32,), learning_rate_init=0.05, random_state=0).fit(x, y).predict(x).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    _numeric, _losses, _score = False, ("auto", "log_loss"), staticmethod(accuracy_score)

    @available_if(_Perceptron._can_go_on)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """One epoch over the rows of X, with the weights and the optimiser's state from before.

        *classes* are all that will ever be in y; needed in the first call.
        """
        if _check_partial_fit_first_call(self, classes):
            self._multilabel = type_of_target(y).startswith("multilabel")
        return self._train(X, y, sample_weight, incremental=True)

    def _encoded(self, y, fresh):
        """Numbers of classes; of two, 0 and 1 in a column; of labels, such columns."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes = np.unique(y) if y.ndim == 1 and y.dtype.kind in "biuf" else unique_labels(y)  # which takes 0.2 ms
        if fresh:
            self.classes_ = classes
            self._multilabel = y.ndim > 1 and type_of_target(y).startswith("multilabel")
        elif unknown := [c for c in classes if c not in self.classes_]:
            raise ValueError(f"y: got class {unknown[0]}, accepted are those of classes_, {self.classes_}")
        if self._multilabel:
            return y.toarray() if issparse(y) else y
        numbers = np.searchsorted(self.classes_, y)
        return numbers if self._softmax else numbers.reshape(-1, 1)

    @property
    def _softmax(self):
        """Whether outputs are logits of classes; otherwise each is that of a yes or no."""
        return not self._multilabel and len(self.classes_) != 2

    @property
    def out_activation_(self):
        return "softmax" if self._softmax else "logistic"

    def _outputs(self, targets):
        return targets.shape[1] if targets.ndim == 2 else len(self.classes_)

    def _loss_of(self):
        return LOSSES["cross_entropy"] if self._softmax else _PerRow(LOSSES["binary_cross_entropy"].record)

    def _loss_divisor(self):
        return 1

    def _stratified(self, y):
        return y if self.n_outputs_ == 1 else None

    def _decoded(self, raw):
        if self._multilabel:
            return (raw > 0).astype(int)
        return self.classes_[raw.argmax(axis=1) if self._softmax else (raw[:, 0] > 0).astype(int)]

    def predict_proba(self, X):
        """The probability of each class, (N, classes), or of each label."""
        raw = self._raw(X)
        if self._softmax:
            return softmax(raw)
        return sigmoid(raw) if self._multilabel else np.hstack([sigmoid(-raw), sigmoid(raw)])

    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Perceptron):
    __doc__ = f"""A perceptron that predicts numbers; y has one for each row, or several, (N, outputs).

    {_Perceptron.__doc__.partition("What both estimators share.")[2].strip()}

    Examples
    --------
    >>> x = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> model = MLPRegressor((32,), activation="silu", solver="nadam", learning_rate_init=0.01, random_state=0)
    >>> bool(model.fit(x, np.sin(4 * x[:, 0])).score(x, np.sin(4 * x[:, 0])) > 0.9)
    True
    """

    _numeric, _score = True, staticmethod(r2_score)
    _losses = ("auto", "squared_error", "mse", "mae", "huber", "smooth_l1")
    out_activation_ = "identity"

    def _encoded(self, y, fresh):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y.reshape(len(y), -1)

    def _outputs(self, targets):
        return targets.shape[1]

    def _loss_of(self):
        if self.loss in ("auto", "squared_error"):
            return _PerRow(LOSSES["mse"].record, factor=0.5)
        return LOSSES[self.loss]

    def _loss_divisor(self):
        """scikit-learn adds up the outputs in its gradient, and averages them in the loss that it shows."""
        return self.n_outputs_ if self.loss in ("auto", "squared_error") else 1

    def _stratified(self, y):
        return None

    def _decoded(self, raw):
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
