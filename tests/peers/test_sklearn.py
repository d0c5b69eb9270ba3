"""The perceptrons for scikit-learn, beside its own."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import numbadl as nd
from tests.pages import run_example

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from numbadl.interop.sklearn import SOLVERS, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def problem(kind, rng):
    """(x, y, our class, theirs)."""
    x = rng.normal(size=(50, 4))
    score = x @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(50, 3))
    y = {
        "two classes": np.where(score[:, 0] > 0, "yes", "no"), "classes": score.argmax(axis=1) + 5,
        "labels": (score > 0).astype(int), "number": score[:, 0], "numbers": score,
    }[kind]  # fmt: skip
    return (x, y, MLPRegressor, TheirRegressor) if "number" in kind else (x, y, MLPClassifier, TheirClassifier)


def same_start(ours, theirs, x, y, *weight, epochs):
    """Both fitted for so many epochs from the same weights."""
    for estimator in (ours, theirs):
        estimator.set_params(max_iter=1, warm_start=True)
        estimator.fit(x, y)
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            mine[...] = other
    for estimator in (ours, theirs):
        estimator.set_params(max_iter=epochs)
        estimator.loss_curve_, estimator.best_loss_, estimator._no_improvement_count = [], np.inf, 0
        estimator.fit(x, y, *weight)


SETTINGS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.1, "alpha": 0.5},
    "plain sgd": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.5, "nesterovs_momentum": False},
    "adam": {"solver": "adam", "learning_rate_init": 0.05, "epsilon": 1e-30, "alpha": 0.5},
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", ["two classes", "classes", "labels", "number", "numbers"])
def test_training_is_scikit_learns_step_for_step(kind, setting, rng):
    x, y, mine, other = problem(kind, rng)
    options = {**setting, "hidden_layer_sizes": (6, 5), "batch_size": 16, "shuffle": False, "random_state": 1}
    ours, theirs = mine(activation="tanh", **options), other(activation="tanh", **options)
    same_start(ours, theirs, x, y, epochs=8)
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(a, b, **EXACT)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x)) if mine is MLPClassifier else (
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), **EXACT)
    )
    if mine is MLPClassifier:
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), **EXACT)
        np.testing.assert_allclose(ours.predict_log_proba(x), theirs.predict_log_proba(x), **EXACT)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("kind", ["two classes", "classes", "labels", "number", "numbers"])
def test_losses_and_stopping_are_scikit_learns(kind, rng):
    x, y, mine, other = problem(kind, rng)
    options = {
        "hidden_layer_sizes": 6, "alpha": 0, "batch_size": 16, "shuffle": False, "random_state": 1, "solver": "sgd",
        "learning_rate_init": 0.05, "tol": 0.01, "n_iter_no_change": 3,
    }  # fmt: skip
    ours, theirs = mine(**options), other(**options)
    same_start(ours, theirs, x, y, epochs=200)
    assert ours.n_iter_ == theirs.n_iter_ < 200
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose([ours.loss_, ours.best_loss_], [theirs.loss_, theirs.best_loss_], rtol=1e-7)


def test_the_loss_has_the_penalty(rng):
    x, y, mine, _ = problem("number", rng)
    found = mine(6, alpha=3.0, max_iter=5, learning_rate_init=1e-9, random_state=0).fit(x, y)
    half_squares = np.mean((found.predict(x) - y) ** 2) / 2
    penalty = 3.0 / 2 * sum(np.sum(w**2) for w in found.coefs_) / 50
    np.testing.assert_allclose(found.loss_, half_squares + penalty, rtol=1e-6)


@pytest.mark.parametrize("kind", ["two classes", "classes", "numbers"])
def test_sample_weights(kind, rng):
    """In one batch, those of scikit-learn; and a row that counts three times is three rows."""
    x, y, mine, other = problem(kind, rng)
    options = {"hidden_layer_sizes": 6, "alpha": 0.3, "random_state": 1, "solver": "sgd", "learning_rate_init": 0.1}
    weight = rng.integers(0, 4, 50)
    ours, theirs = mine(**options), other(**options)
    same_start(ours, theirs, x, y, weight, epochs=8)
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, **EXACT)
    start = mine(**options, max_iter=8)
    kept = weight > 0
    repeated = clone(start).fit(np.repeat(x, weight, axis=0), np.repeat(y, weight, axis=0))
    weighted = clone(start).fit(x[kept], y[kept], weight[kept])
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], **EXACT)


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_learning_rates(schedule, rng):
    """Without momentum, which PyTorch and scikit-learn multiply with different rates."""
    x, y, mine, other = problem("number", rng)
    options = {
        "hidden_layer_sizes": 6, "alpha": 0, "batch_size": 16, "shuffle": False, "random_state": 1, "solver": "sgd",
        "learning_rate_init": 0.2, "tol": 0.05, "n_iter_no_change": 1, "momentum": 0, "learning_rate": schedule,
    }  # fmt: skip
    ours, theirs = mine(**options), other(**options)
    same_start(ours, theirs, x, y, epochs=100)
    assert 3 < ours.n_iter_ == theirs.n_iter_ < 100
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], **EXACT)


def test_early_stopping_ends_with_the_best_weights(rng):
    x, y, mine, _ = problem("number", rng)
    y = y + rng.normal(size=50)
    found = mine(
        30, early_stopping=True, validation_fraction=0.3, n_iter_no_change=9, learning_rate_init=0.05, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.fit(x, y)
    scores = found.validation_scores_
    assert found.n_iter_ == len(scores) == len(found.loss_curve_) < 200
    assert found.best_validation_score_ == max(scores) > scores[-1]
    assert found.best_loss_ is None
    rng_of_fit = np.random.RandomState(0)
    rng_of_fit.randint(np.iinfo(np.int32).max)
    _, held, _, y_held = train_test_split(x, y, random_state=rng_of_fit, test_size=0.3)
    assert r2_score(y_held, found.predict(held)) == found.best_validation_score_
    with pytest.raises(ValueError, match="validation_fraction: got 0.01, which leaves fewer than 2 of 50 rows"):
        clone(found).set_params(validation_fraction=0.01).fit(x[:50], y[:50])
    assert not hasattr(found, "partial_fit")


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on(solver, rng):
    """As one call of fit does, where the order of rows is the same."""
    x, y, mine, _ = problem("classes", rng)
    options = {"hidden_layer_sizes": 6, "solver": solver, "shuffle": False, "random_state": 3, "batch_size": 20}
    whole, parts = mine(**options, max_iter=6).fit(x, y), mine(**options)
    for _ in range(6):
        parts.partial_fit(x, y, classes=[5, 6, 7])
    np.testing.assert_array_equal(parts.coefs_[0], whole.coefs_[0])
    assert parts.t_ == whole.t_ == 300
    assert len(parts.loss_curve_) == 6
    with pytest.warns(UserWarning, match="batch_size: got 20, more than the 9 rows; it is clipped"):
        parts.partial_fit(x[y == 5][:9], y[y == 5][:9])
    with pytest.raises(ValueError, match="y: got class 9, accepted are those of classes_"):
        parts.partial_fit(x, y * 0 + 9)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        mine().partial_fit(x, y)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_pickles_go_on_to_the_bit(copied, rng):
    x, y, mine, _ = problem("classes", rng)
    first = mine((6, 4), activation="prelu", random_state=3, alpha=0.1).partial_fit(x, y, classes=[5, 6, 7])
    second = copied(first)
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))
    for estimator in (first, second):
        for _ in range(3):
            estimator.partial_fit(x, y)
    np.testing.assert_array_equal(first.model_.flat_parameters, second.model_.flat_parameters)
    assert first.model_.flat_parameters is not second.model_.flat_parameters
    unfitted = copied(mine(random_state=3))
    with pytest.raises(NotFittedError):
        unfitted.predict(x)


def test_warm_start(rng):
    x, y, mine, _ = problem("classes", rng)
    found = mine(6, warm_start=True, max_iter=5, random_state=0).fit(x, y)
    before = found.loss_
    found.set_params(learning_rate_init=0.05, max_iter=30).fit(x, y)
    assert found.loss_ < before
    assert (len(found.loss_curve_), found.n_iter_) == (35, 30)
    found.set_params(warm_start=False, max_iter=2).fit(x, y)
    assert len(found.loss_curve_) == 2


def test_same_seed_same_bits(rng):
    x, y, mine, _ = problem("classes", rng)
    a, b, c = (mine(6, max_iter=3, batch_size=10, random_state=seed).fit(x, y).coefs_[0] for seed in (4, 4, 5))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_float32_stays(rng):
    x, y, mine, _ = problem("two classes", rng)
    found = mine(6, max_iter=2).fit(x.astype(np.float32), y)
    assert found.coefs_[0].dtype == found.predict_proba(x).dtype == np.float32
    assert mine(6, max_iter=2).fit(x, y).predict_proba(x.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_lowers_the_loss(solver, rng):
    x, y, mine, _ = problem("number", rng)
    rate = 1.0 if solver == "adadelta" else 0.01
    found = mine(8, solver=solver, max_iter=20, learning_rate_init=rate, random_state=0).fit(x.astype(np.float32), y)
    assert found.loss_curve_[-1] < found.loss_curve_[0]


@pytest.mark.parametrize("loss", ["squared_error", "mse", "mae", "huber", "smooth_l1"])
def test_losses_of_regressors(loss, rng):
    x, y, mine, _ = problem("number", rng)
    found = mine(8, loss=loss, max_iter=60, learning_rate_init=0.03, random_state=0).fit(x.astype(np.float32), y)
    assert found.score(x, y) > 0.8


def test_verbose_prints_what_scikit_learns_does(rng, capsys):
    x, y, mine, other = problem("number", rng)
    options = {"hidden_layer_sizes": 4, "tol": 10.0, "n_iter_no_change": 2, "verbose": True, "max_iter": 20}
    mine(**options).fit(x, y)
    ours = capsys.readouterr().out.splitlines()
    other(**options).fit(x, y)
    theirs = capsys.readouterr().out.splitlines()
    assert [line.split("=")[0] for line in ours] == [line.split("=")[0] for line in theirs]
    assert ours[-1] == theirs[-1]


def test_an_epoch_too_few_warns(rng):
    x, y, mine, _ = problem("number", rng)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        mine(4, max_iter=2).fit(x, y)


def test_digits_in_a_pipeline_with_grid_search():
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x.astype(np.float32), y, random_state=0)
    steps = [("scale", StandardScaler()), ("net", MLPClassifier(max_iter=25, batch_size=64, random_state=0))]
    grid = {"net__hidden_layer_sizes": [(32,), (64, 32)], "net__activation": ["relu", "gelu"], "net__solver": ["adamw"]}
    search = GridSearchCV(Pipeline(steps), grid, cv=2).fit(x, y)
    assert search.score(x_test, y_test) > 0.95
    assert search.best_score_ > 0.93
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(x_test), search.predict_proba(x_test))
    assert log_loss(y_test, search.predict_proba(x_test)) < 0.3


def test_labels_of_many_kinds():
    x, y = make_multilabel_classification(n_samples=60, random_state=0)
    found = MLPClassifier(8, learning_rate_init=0.03, random_state=0).fit(x, y)
    assert found.predict(x).shape == found.predict_proba(x).shape == y.shape
    assert np.mean(found.predict(x) == y) > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs"}, "solver: got 'lbfgs', accepted are .*'adam'"),
        ({"activation": "rely"}, "activation: got 'rely', accepted are .*relu"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes: got 0, accepted are positive integers"),
        ({"alpha": -1}, "alpha: got -1, accepted are numbers from 0 on"),
        ({"batch_size": 0}, "batch_size: got 0, accepted are positive integers"),
        ({"learning_rate": "falling"}, "learning_rate: got 'falling', accepted are 'constant'"),
        ({"learning_rate_init": 0}, "learning_rate_init: got 0, accepted are numbers above 0"),
        ({"loss": "huber"}, "loss: got 'huber', accepted are 'auto', 'log_loss'"),
        ({"max_iter": 0}, "max_iter: got 0"),
        ({"beta_1": 1.0}, "beta_1: got 1.0"),
        ({"validation_fraction": 1.5}, "validation_fraction: got 1.5"),
        ({"n_iter_no_change": 0}, "n_iter_no_change: got 0"),
        ({"early_stopping": "yes"}, "early_stopping: got 'yes', accepted are False, True"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit([[0.0], [1.0]], [0, 1])


def test_warm_start_with_other_classes(rng):
    x, y, mine, _ = problem("classes", rng)
    found = mine(6, warm_start=True, max_iter=2).fit(x, y)
    with pytest.raises(ValueError, match="classes"):
        found.fit(x, y % 2)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=lambda e: type(e).__name__)
def test_scikit_learns_own_checks(estimator):
    """All that apply to estimators; some need pandas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail="raise", on_skip=None)
    assert sum(r["status"] == "passed" for r in results) > 50


def test_models_are_pickled_and_copied(rng):
    """What the estimators' pickles are made of: layers, state, random streams."""
    model = nd.nn.Sequential(nd.nn.Linear(4, 6), nd.nn.BatchNorm(6), nd.nn.Dropout(0.5), nd.nn.Linear(6, 2), seed=3)
    x = rng.normal(size=(10, 4)).astype(np.float32)
    model.forward(x, training=True)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        model_steps, mine = [layer.steps for layer in model.layers], [layer.steps for layer in other.layers]
        assert mine == model_steps == [0, 0, 1, 0]
    np.testing.assert_array_equal(other.forward(x, training=True), model.forward(x, training=True))
    other.flat_parameters[:] = 0
    assert model.flat_parameters.any()


@pytest.mark.parametrize("page", ["README.md", "docs/interop-sklearn.md"])
def test_the_examples_of_the_pages(page, tmp_path, monkeypatch):
    run_example(page, "from numbadl.interop.sklearn", tmp_path, monkeypatch)
