"""Losses: values and gradients of every record with every option, numbers that overflow, layouts, threads, errors."""

import doctest
import functools
import math
from pathlib import Path

import numpy as np
import pytest
import references as ref
from numbadl.kernels import cpu
from numbadl.kernels.cpu.map import DONE, REFUSED

import numbadl as nd
from numbadl.losses import LOSSES, LogitsLoss, loss
from numbadl.repeated import MISSING
from tests.layouts import views

NAMES = list(LOSSES)
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
SIZES = [(1, 1), (1, 5), (7, 3), (64, 10), (5, 1000), (4097, 3), (3, 40_001)]
OPTIONS = {  # of single losses; `weight` and `sample_weight` are options of all
    "huber": [{"delta": np.float64(0.3)}, {"delta": 4}],
    "smooth_l1": [{"beta": 0.3}, {"beta": 4}],
    "binary_cross_entropy": [{"pos_weight": 2.5}, {"pos_weight": 0}, {"pos_weight": np.array([0, 0.5, 1, 2, 3.0])}],
    "hinge": [{"squared": True}],
    "kl_div": [{"log_target": True}],
    "cross_entropy": [{"label_smoothing": 0.2}, {"label_smoothing": 1}, {"ignore_index": 1}],
    "nll": [{"ignore_index": 2}],
}


def takes_labels(name):
    return isinstance(LOSSES[name], LogitsLoss)


ELEMENTWISE = [name for name in NAMES if not takes_labels(name)]


def representative(names, first="cross_entropy"):
    """The names as parameters, all but one of them slow."""
    return [pytest.param(n, marks=[] if n == first else [pytest.mark.slow]) for n in names]


def make(name, shape, dtype, rng, scale=3):
    """A prediction and a target."""
    prediction = rng.normal(size=shape) * scale
    if name in ("nll", "kl_div") and 0 not in shape:
        prediction = ref.log_softmax(prediction, -1 if name == "kl_div" else 1)
    prediction = prediction.astype(dtype)
    if takes_labels(name):
        return prediction, rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target = rng.choice([-1, 1], size=shape) if name == "hinge" else rng.uniform(size=shape)
    return prediction, target.astype(dtype)


def check_value(value, name, prediction, target, reduction="mean", ulps=8, **options):
    """Within some units in the last place of the sum of the sizes of the terms."""
    expected, _ = ref.loss(name, prediction, target, reduction, **options)
    terms, _ = ref.loss(name, prediction, target, "none", **options)
    unit = ulps * np.finfo(prediction.dtype).eps
    if reduction == "none":
        assert value.shape == terms.shape and value.dtype == prediction.dtype
        np.testing.assert_allclose(value, terms.astype(np.float64), rtol=unit, atol=unit)
        return
    assert type(value) is float
    total, size = float(terms.sum()), float(np.abs(terms).sum())
    share = float(expected) / total if total else 1
    np.testing.assert_allclose(value, float(expected), rtol=0, atol=unit * size * share + 1e-40)


def check_gradient(gradient, name, prediction, target, reduction="mean", **options):
    expected = ref.loss(name, prediction, target, reduction, **options)[1].astype(np.float64)
    assert gradient.dtype == prediction.dtype and gradient.shape == prediction.shape
    unit = 8 * np.finfo(prediction.dtype).eps
    np.testing.assert_allclose(gradient, expected, rtol=unit, atol=unit * np.abs(expected).max(initial=0) + 1e-40)


def test_every_record_has_a_reference():
    assert set(LOSSES) == set(ref.LOSSES), "add its formula to tests/oracle/references.py"
    assert all(getattr(nd.losses, name) is LOSSES[name] for name in NAMES)


# -- values and gradients ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient(name, shape, dtype, rng):
    prediction, target = make(name, shape, dtype, rng)
    kept = prediction.copy(), target.copy()
    check_value(LOSSES[name](prediction, target), name, prediction, target)
    gradient = LOSSES[name].backward(prediction, target)
    check_gradient(gradient, name, prediction, target)
    value, again = LOSSES[name].value_and_grad(prediction, target)
    check_value(value, name, prediction, target)
    assert np.array_equal(again, gradient)
    assert np.array_equal(prediction, kept[0]) and np.array_equal(target, kept[1])


def check_slopes(name, prediction, target, **options):
    """Against differences of the reference, in float64."""
    found = LOSSES[name].backward(prediction, target, **options)
    moved = prediction.copy()
    expected = ref.numeric_gradient(lambda: float(ref.loss(name, moved, target, **options)[0]), moved)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (2, 17)])
@pytest.mark.parametrize("name", representative(NAMES))
def test_gradient_is_the_slope(name, shape, rng):
    check_slopes(name, *make(name, shape, np.float64, rng))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradient_with_options_is_the_slope(name, rng):
    for options in [{}, *OPTIONS.get(name, [])]:
        prediction, target = make(name, (5, 5), np.float64, rng)
        target = np.log(target) if options.get("log_target") else target
        weight = rng.uniform(0.5, 2, 5)
        check_slopes(name, prediction, target, weight=weight, sample_weight=rng.uniform(0.5, 2, 5), **options)


def check_target_slopes(name, prediction, target, grad, **options):
    found, moved = LOSSES[name].target_gradient(prediction, target, grad=grad, **options), target.copy()
    value = lambda: float(np.sum(grad * ref.loss(name, prediction, moved, **options)[0]))  # noqa: E731
    np.testing.assert_allclose(found, ref.numeric_gradient(value, moved), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", representative([n for n in ELEMENTWISE if n != "hinge"], "binary_cross_entropy"))
def test_gradient_by_the_target_is_the_slope(name, rng):
    weights = {"weight": rng.uniform(0.5, 2, 5), "sample_weight": np.array([0, 1, 2, 0.5, 1])}
    for options in [{}, weights, *OPTIONS.get(name, [])]:
        prediction, target = make(name, (5, 5), np.float64, rng)
        target = np.log(target) if options.get("log_target") else target * 0.9 + 0.05
        for reduction, grad in (("mean", 1.0), ("sum", 3.0), ("none", rng.normal(size=(5, 5)))):
            check_target_slopes(name, prediction, target, grad, reduction=reduction, **options)


def test_which_targets_have_gradients():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="hinge: has no gradient with respect to its target"):
        LOSSES["hinge"].target_gradient(x, x)
    with pytest.raises(ValueError, match=r"target\[0, 0\]: got"):
        LOSSES["kl_div"].target_gradient(x, 2 * x)
    with pytest.raises(ValueError, match="target: got shape"):
        LOSSES["mse"].target_gradient(x, x[:1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_options(name, reduction, dtype, rng):
    shape = (9, 5)
    weights = {"weight": rng.uniform(0, 2, 5), "sample_weight": rng.uniform(0, 2, 9)}
    weights["sample_weight"][3] = 0
    for own in [{}, *OPTIONS.get(name, [])]:
        for names in [(), ("weight",), ("sample_weight",), ("weight", "sample_weight")]:
            options = {"reduction": reduction, **own, **{n: weights[n] for n in names}}
            prediction, target = make(name, shape, dtype, rng)
            target = np.log(target) if own.get("log_target") else target
            if takes_labels(name):
                target[::4] = own.get("ignore_index", -100)
            check_value(LOSSES[name](prediction, target, **options), name, prediction, target, **options)
            value, gradient = LOSSES[name].value_and_grad(prediction, target, **options)
            check_value(value, name, prediction, target, **options)
            check_gradient(gradient, name, prediction, target, **options)
            grad = rng.normal(size=np.shape(value)).astype(dtype) if reduction == "none" else -1.5
            value, gradient = LOSSES[name].value_and_grad(prediction, target, grad=grad, **options)
            check_value(value, name, prediction, target, **options)
            check_gradient(gradient, name, prediction, target, grad=grad, **options)
            again = LOSSES[name].with_options(**options).backward(prediction, target, grad=grad)
            assert np.array_equal(again, gradient), "with_options gives what options in the call give"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{}, {"weight": [0.5, 1, 0, 2]}, {"sample_weight": [1, 0, 3]}, {"label_smoothing": 0.3}]
)
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (3, 4, 2, 3)])
def test_probabilities_as_targets(shape, options, dtype, rng):
    logits, each = (rng.normal(size=(2, *shape)) * 3).astype(dtype)
    target = ref.softmax(each, 1).astype(dtype)
    target[0] = np.eye(4, dtype=dtype)[1].reshape(4, *[1] * (len(shape) - 2))
    for reduction in ("mean", "sum", "none"):
        value, gradient = nd.losses.cross_entropy.value_and_grad(logits, target, reduction=reduction, **options)
        check_value(value, "cross_entropy", logits, target, reduction, **options)
        check_gradient(gradient, "cross_entropy", logits, target, reduction, **options)
    labels = np.argmax(target, axis=1)
    one_hot = np.moveaxis(np.eye(4, dtype=dtype)[labels], -1, 1)
    soft, hard = (nd.losses.cross_entropy(logits, t, **options, reduction="sum") for t in (one_hot, labels))
    assert math.isclose(soft, hard, rel_tol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 1), (3, 4, 5), (2, 7, 3, 4)])
@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_classes_along_the_second_of_many_axes(name, shape, rng):
    logits, labels = make(name, shape, np.float32, rng)
    for options in ({}, {"weight": rng.uniform(size=shape[1])}, {"sample_weight": rng.uniform(size=shape[0])}):
        for reduction in ("mean", "none"):
            value, gradient = LOSSES[name].value_and_grad(logits, labels, reduction=reduction, **options)
            check_value(value, name, logits, labels, reduction, **options)
            check_gradient(gradient, name, logits, labels, reduction, **options)
    for kind, out in views(np.zeros_like(logits)).items():
        if kind != "read-only":
            assert LOSSES[name].backward(logits, labels, out=out) is out
            check_gradient(out, name, logits, labels)


@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 31, 32, 33, 100])
def test_every_label(classes, rng):
    logits = rng.normal(size=(classes, classes)).astype(np.float32)
    labels = rng.permutation(classes)
    value, gradient = nd.losses.cross_entropy.value_and_grad(logits, labels)
    check_value(value, "cross_entropy", logits, labels)
    check_gradient(gradient, "cross_entropy", logits, labels)


def test_weights_broadcast_to_elements(rng):
    prediction, target = make("mse", (4, 3, 2), np.float32, rng)
    for shape in [(), (2,), (1, 1), (3, 1), (4, 1, 1), (4, 3, 2)]:
        weight = rng.uniform(0.1, 2, shape)
        whole = np.broadcast_to(weight, prediction.shape)
        value, gradient = nd.losses.mse.value_and_grad(prediction, target, weight=weight)
        check_value(value, "mse", prediction, target, weight=whole)
        check_gradient(gradient, "mse", prediction, target, weight=whole)


def test_batchmean_of_kl_div(rng):
    prediction, target = make("kl_div", (4, 6), np.float32, rng)
    value, gradient = nd.losses.kl_div.value_and_grad(prediction, target, reduction="batchmean")
    check_value(value, "kl_div", prediction, target, "batchmean")
    check_gradient(gradient, "kl_div", prediction, target, "batchmean")


# -- kinks, and numbers that textbook forms overflow or cancel at ----------------------------------------------------------
def slopes_of(name, prediction, target, **options):
    return LOSSES[name].backward(np.float32(prediction), np.float32(target), reduction="sum", **options).tolist()


def test_gradients_at_kinks():
    assert slopes_of("mae", [1, -2, 3, np.nan], [1, -1, 2, 0])[:3] == [0, -1, 1]
    assert slopes_of("huber", [0, 2, -2, 2.5], [0] * 4, delta=2) == [0, 2, -2, 2]
    assert slopes_of("smooth_l1", [0, 2, -2, 1], [0] * 4, beta=2) == [0, 1, -1, 0.5]
    assert slopes_of("smooth_l1", [0, 1e-30, -1], [0] * 3, beta=0) == [0, 1, -1], "mae"
    assert slopes_of("hinge", [1, -1, 0.5, 2], [1, -1, 1, -1]) == [0, 0, -1, 1]
    assert slopes_of("hinge", [1, -1, 0.5, 2], [1, -1, 1, -1], squared=np.True_) == [0, 0, -1, 6]


def test_predictions_of_infinity():
    assert slopes_of("mae", [np.inf, -np.inf], [0, 0]) == [1, -1]
    assert slopes_of("huber", [np.inf, -1e30], [0, 1], delta=2) == [2, -2]
    assert slopes_of("hinge", [-np.inf, np.inf], [1, 1]) == [-1, 0]
    infinite = np.float32([np.inf, -np.inf])
    assert nd.losses.mae(infinite, np.zeros(2, np.float32)) == math.inf
    assert nd.losses.huber(np.float32([1e30]), np.zeros(1, np.float32)) == np.float32(1e30)
    assert nd.losses.binary_cross_entropy(infinite, np.float32([1, 0])) == 0
    assert nd.losses.binary_cross_entropy(infinite, np.float32([0, 1])) == math.inf
    assert slopes_of("binary_cross_entropy", infinite, [0, 1]) == [1, -1]


def test_kl_div_of_a_target_of_0():
    p, t = np.float32([-1, -np.inf, -2]), np.float32([0.5, 0, 0])
    assert math.isclose(nd.losses.kl_div(p, t, reduction="sum"), 0.5 * (math.log(0.5) + 1), rel_tol=1e-6)
    with np.errstate(divide="ignore"):
        value = nd.losses.kl_div(p, np.log(t), reduction="sum", log_target=True)
    assert math.isclose(value, 0.5 * (math.log(0.5) + 1), rel_tol=1e-6)


def test_cross_entropy_of_extreme_logits():
    logits = np.array(
        [[1e30, 0, -1e30], [1e4, 9990, 0], [-1e30, -1e30, -1e30], [-200, -300, -200], [1e4, -1e4, 0]], np.float32
    )
    for label in range(3):
        labels = np.full(5, label)
        for options in ({}, {"label_smoothing": 0.1}, {"weight": [1, 2, 3]}):
            value = nd.losses.cross_entropy(logits, labels, reduction="none", **options)
            check_value(value, "cross_entropy", logits, labels, "none", ulps=4, **options)
            gradient = nd.losses.cross_entropy.backward(logits, labels, **options)
            assert np.isfinite(gradient).all()
            np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=2e-7)


def test_cross_entropy_of_infinite_logits():
    logits = np.array([[0, -np.inf, 0]], np.float32)
    for options in ({}, {"weight": [1, 1, 1]}):
        value, gradient = nd.losses.cross_entropy.value_and_grad(logits, np.array([0]), **options)
        assert math.isclose(value, math.log(2), rel_tol=1e-6)
        np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]], rtol=1e-6)
        assert nd.losses.cross_entropy(logits, np.array([1]), **options) == math.inf
        for broken in ([[np.nan, 0, 0]], [[np.inf, 0, 0]], [[-np.inf] * 3]):
            assert math.isnan(nd.losses.cross_entropy(np.array(broken, np.float32), np.array([0]), **options))
    probabilities = np.array([[0.5, 0, 0.5]], np.float32)
    assert math.isclose(nd.losses.cross_entropy(logits, probabilities), math.log(2), rel_tol=1e-6)
    assert nd.losses.cross_entropy(logits, np.array([0]), label_smoothing=0.1) == math.inf


def test_binary_cross_entropy_of_extreme_logits():
    x = np.array([-1e30, -1e4, -200, -90, -20, 0, 20, 90, 200, 1e4, 1e30], np.float32)
    for t in (0.0, 1.0):
        for pos_weight in (1.0, 3.0):
            target, options = np.full(x.size, t, np.float32), {"pos_weight": pos_weight}
            value = nd.losses.binary_cross_entropy(x, target, reduction="none", **options)
            expected, slopes = ref.loss("binary_cross_entropy", x, target, "none", **options)
            tiny = np.finfo(np.float32).tiny
            np.testing.assert_allclose(value, expected.astype(np.float64), rtol=1e-6, atol=tiny)
            gradient = nd.losses.binary_cross_entropy.backward(x, target, reduction="sum", **options)
            np.testing.assert_allclose(gradient, slopes.astype(np.float64), rtol=1e-6, atol=tiny)


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_lost(name, rng):
    prediction, target = make(name, (9, 700), np.float32, rng)
    prediction[4, 555] = np.nan
    if takes_labels(name):
        target[4] = 555
    for options in ({}, {"sample_weight": np.full(9, 2)}):
        value, gradient = LOSSES[name].value_and_grad(prediction, target, **options)
        assert math.isnan(value)
        if name not in ("nll", "kl_div"):  # whose gradients are of the target only
            assert np.isnan(gradient[4, 555])
        assert np.isfinite(gradient[np.arange(9) != 4]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_0_leaves_out_whatever_stands_there(name, rng):
    prediction, target = make(name, (9, 5), np.float32, rng)
    kept = np.arange(9) != 4
    for broken in (np.nan, np.inf):
        prediction[4] = broken
        value, gradient = LOSSES[name].value_and_grad(prediction, target, sample_weight=kept.astype(int))
        check_value(value, name, prediction[kept], target[kept])
        assert (gradient[4] == 0).all()
        check_gradient(gradient[kept], name, prediction[kept], target[kept])
        if takes_labels(name):
            ignored = np.where(kept, target, -100)
            again = LOSSES[name].value_and_grad(prediction, ignored)
            assert again[0] == value and np.array_equal(again[1], gradient)
            classes = np.where(kept, target % 4, 4)
            again = LOSSES[name].value_and_grad(prediction, classes, weight=[1, 1, 1, 1, 0])
            assert math.isfinite(again[0]) and (again[1][4] == 0).all() and np.isfinite(again[1]).all()
    if takes_labels(name):
        value, gradient = LOSSES[name].value_and_grad(prediction, np.full(9, -100))
        assert value == 0 and not gradient.any()


# -- shapes, layouts, threads ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_any_shape(name, shape, rng):
    prediction, target = rng.normal(size=shape).astype(np.float32), rng.uniform(size=shape).astype(np.float32)
    prediction, target = np.asarray(prediction), np.asarray(target)
    target = np.ones_like(target) if name == "hinge" else target
    value, gradient = LOSSES[name].value_and_grad(prediction, target)
    check_value(value, name, prediction, target)
    check_gradient(gradient, name, prediction, target)
    assert LOSSES[name](prediction, target, reduction="none").shape == shape
    weighted = {"reduction": "none", "weight": np.full(shape, 2)}
    check_value(LOSSES[name](prediction, target, **weighted), name, prediction, target, **weighted)
    doubled = LOSSES[name].backward(prediction, target, grad=np.ones_like(prediction), **weighted)
    check_gradient(doubled, name, prediction, target, **weighted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty(name, shape):
    target = np.zeros(shape[0], int) if takes_labels(name) else np.zeros(shape, np.float32)
    if takes_labels(name) and shape == (3, 0):
        with pytest.raises(ValueError, match=r"labels\[0\]: got 0"):
            LOSSES[name](np.zeros(shape, np.float32), target)
        return
    for options in ({}, {"sample_weight": np.ones(shape[0])}, {"reduction": "sum"}):
        value, gradient = LOSSES[name].value_and_grad(np.zeros(shape, np.float32), target, **options)
        assert value == 0 and gradient.shape == shape
    assert LOSSES[name](np.zeros(shape, np.float32), target, reduction="none").shape == target.shape


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name, rng):
    prediction, target = make(name, (6, 5), np.float32, rng)
    value, gradient = LOSSES[name].value_and_grad(prediction, target)
    for kind, view in views(prediction).items():
        for other, target_view in views(target).items():
            found = LOSSES[name].value_and_grad(view, target_view)
            assert found[0] == value and np.array_equal(found[1], gradient), f"{kind}, {other}"
        if kind != "read-only":
            assert LOSSES[name].backward(view, target, out=view) is view and np.array_equal(view, gradient), kind
    weighted = LOSSES[name].value_and_grad(prediction, target, sample_weight=np.arange(6))
    for kind, view in views(prediction).items():
        found = LOSSES[name].value_and_grad(view, target, sample_weight=np.arange(6))
        assert found[0] == weighted[0] and np.array_equal(found[1], weighted[1]), kind
    for kind, out in views(np.zeros_like(prediction)).items():
        if kind == "read-only":
            with pytest.raises(ValueError, match="out: is read-only"):
                LOSSES[name].backward(prediction, target, out=out)
            continue
        value_again, found = LOSSES[name].value_and_grad(prediction, target, out=out)
        assert found is out and value_again == value and np.array_equal(out, gradient), kind


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(20_000, 7), (40, 5000)])
def test_threads(name, shape, on_threads, rng):
    prediction, target = make(name, shape, np.float32, rng)
    weights = rng.uniform(size=shape[0])
    for options in ({}, {"sample_weight": weights}):

        def run(options=options):
            return (
                LOSSES[name](prediction, target, **options),
                *LOSSES[name].value_and_grad(prediction, target, **options),
            )

        first, *others = on_threads(run)
        for *values, gradient in [*others, run()]:
            assert values == list(first[:2]) and gradient.tobytes() == first[2].tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.intp])
def test_labels_of_any_integer_type(dtype, rng):
    logits, labels = make("cross_entropy", (6, 5), np.float32, rng)
    assert nd.losses.cross_entropy(logits, labels.astype(dtype)) == nd.losses.cross_entropy(logits, labels)
    assert nd.losses.cross_entropy(logits, labels.tolist()) == nd.losses.cross_entropy(logits, labels)


# -- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 4], ValueError, r"labels\[2\]: got 4, accepted are labels from 0 to 3"),
        ([0, -1, 9], ValueError, r"labels\[1\]: got -1, accepted are labels from 0 to 3"),
        ([0, 1], ValueError, r"labels: got shape \(2,\), expected \(3,\)"),
        ([[0], [1], [2]], ValueError, "labels: got shape"),
        ([0.0, 1.0, 2.0], TypeError, "labels: got dtype float64, accepted are integers, or prob"),
        ([True, False, True], TypeError, "labels: got dtype bool"),
        (np.array([0, 1, 2**64 - 1], np.uint64), ValueError, r"labels\[2\]: got 18446744073709551615"),
    ],
)
def test_wrong_labels(labels, error, message):
    out = np.full((3, 4), 7, np.float32)
    for call in (nd.losses.cross_entropy, lambda x, y: nd.losses.cross_entropy.value_and_grad(x, y, out=out)):
        with pytest.raises(error, match=message):
            call(np.zeros((3, 4), np.float32), np.asarray(labels))
    assert np.all(out == 7)


def test_wrong_logits():
    with pytest.raises(ValueError, match="logits: got shape"):
        nd.losses.cross_entropy(np.zeros(3, np.float32), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"labels: got shape \(3,\), expected \(3, 2\)"):
        nd.losses.cross_entropy(np.zeros((3, 4, 2), np.float32), np.zeros(3, int))
    for wrong in ([[0.0]], np.zeros((1, 2), int), np.zeros((1, 2), np.float16)):
        with pytest.raises(TypeError, match="logits: got "):
            nd.losses.cross_entropy(wrong, np.zeros(1, int))
    with pytest.raises(TypeError, match="log_probabilities: got "):
        nd.losses.nll([[0.0]], np.zeros(1, int))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_wrong_targets(name):
    x = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match="target: got shape"):
        LOSSES[name](x, np.zeros((3, 1), np.float32))
    with pytest.raises(TypeError, match="target: got dtype float64"):
        LOSSES[name].backward(x, np.zeros((3, 4)))
    with pytest.raises(TypeError, match="target: got dtype int64"):
        LOSSES[name](x, np.zeros((3, 4), int))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_outs(name, rng):
    held = rng.normal(size=(6, 4)).astype(np.float32)
    kept = held.copy()
    prediction, target = held[:4], make(name, (4, 4), np.float32, rng)[1]
    for out, error, message in [
        (held[1:5], ValueError, "out: overlaps .* in part"),
        (np.zeros((4, 3), np.float32), ValueError, "out: got shape"),
        (np.zeros((4, 4)), TypeError, "out: got dtype"),
    ]:
        with pytest.raises(error, match=message):
            LOSSES[name].value_and_grad(prediction, target, out=out)
    assert np.array_equal(held, kept)


def test_loss_by_name():
    assert loss("mse") is nd.losses.mse and loss(nd.losses.mse) is nd.losses.mse
    with pytest.raises(ValueError, match="loss: got 'msee', accepted are mse"):
        loss("msee")


@pytest.mark.parametrize("bad", [-0.01, 1.5, np.nan, np.inf])
def test_binary_targets_outside_0_and_1(bad):
    loss, logits, target = nd.losses.binary_cross_entropy, np.zeros((3, 2)), np.full((3, 2), 0.5)
    target[1, 0] = target[2, 1] = bad
    out = np.full((3, 2), 9.0)
    for call in (loss, loss.backward, loss.value_and_grad, lambda *both: loss.backward(*both, out=out)):
        with pytest.raises(ValueError, match=rf"target\[1, 0\]: got {bad}, accepted are numbers from 0 to 1"):
            call(logits, target)
    assert np.all(out == 9)
    target[...] = [[0, 1]]
    assert np.isclose(loss(logits, target), np.log(2))
    assert nd.losses.mse(logits, target + 7) > 1, "other losses take any target"


@pytest.mark.parametrize("bad", [0, 0.5, 2, np.nan])
def test_signs_that_are_none(bad):
    target, out = np.float32([[1, -1], [bad, 1]]), np.full((2, 2), 9, np.float32)
    for options in ({}, {"reduction": "none"}, {"sample_weight": [1, 0]}):
        hinge = nd.losses.hinge.with_options(**options)
        for call in (hinge, hinge.backward, hinge.value_and_grad, functools.partial(hinge.value_and_grad, out=out)):
            with pytest.raises(ValueError, match=rf"target\[1, 0\]: got {np.float32(bad)}, accepted are -1 and 1"):
                call(np.zeros((2, 2), np.float32), target)
    assert np.all(out == 9)


SOFT = np.full((3, 4), 0.25, np.float32)
WRONG_OPTIONS = [
    ("mse", {"delta": 1}, TypeError, "mse: unknown option 'delta', accepted are reduction, weight, sample_weight"),
    ("mse", {"reduction": "average"}, ValueError, "reduction: got 'average', accepted are mean, sum, none"),
    ("mse", {"reduction": None}, ValueError, "reduction: got None"),
    ("mse", {"reduction": "batchmean"}, ValueError, "reduction: got 'batchmean'"),
    ("huber", {"delta": 0}, ValueError, "delta: got 0, accepted are finite numbers above 0"),
    ("huber", {"delta": "1"}, ValueError, "delta: got '1'"),
    ("huber", {"delta": True}, ValueError, "delta: got True"),
    ("smooth_l1", {"beta": -1}, ValueError, "beta: got -1, accepted are finite numbers from 0 on"),
    ("binary_cross_entropy", {"pos_weight": np.nan}, ValueError, "pos_weight: got nan"),
    (
        "binary_cross_entropy",
        {"pos_weight": [1, 2]},
        ValueError,
        r"pos_weight: got shape \(2,\), expected \(3, 4\), or",
    ),
    ("binary_cross_entropy", {"pos_weight": [1, 2, -1, 1]}, ValueError, r"pos_weight\[2\]: got -1.0"),
    ("binary_cross_entropy", {"pos_weight": "1"}, ValueError, "pos_weight: got '1'"),
    ("hinge", {"squared": 1}, ValueError, "squared: got 1, accepted are True and False"),
    ("mse", {"weight": np.ones((2, 3))}, ValueError, r"weight: got shape \(2, 3\), expected \(3, 4\), or one that"),
    ("mse", {"weight": "many"}, TypeError, "weight: got dtype"),
    ("mse", {"sample_weight": np.ones(4)}, ValueError, r"sample_weight: got shape \(4,\), expected \(3,\)"),
    (
        "mse",
        {"sample_weight": [1, -1, 0]},
        ValueError,
        r"sample_weight\[1\]: got -1.0, accepted are finite numbers from 0",
    ),
    ("mse", {"grad": np.ones(3)}, TypeError, "grad: got numpy.ndarray, accepted is a number"),
    ("mse", {"grad": SOFT[:2], "reduction": "none"}, ValueError, r"grad: got shape \(2, 4\)"),
    ("mse", {"grad": np.ones((3, 4)), "reduction": "none"}, TypeError, "grad: got dtype float64"),
    ("nll", {"label_smoothing": 0.1}, TypeError, "nll: unknown option 'label_smoothing'"),
    ("cross_entropy", {"label_smoothing": 1.1}, ValueError, "label_smoothing: got 1.1"),
    ("cross_entropy", {"ignore_index": 1.0}, ValueError, "ignore_index: got 1.0"),
    ("cross_entropy", {"weight": np.ones(3)}, ValueError, r"weight: got shape \(3,\), expected \(4,\)"),
    ("cross_entropy", {"weight": [1, 2, np.inf, 1]}, ValueError, r"weight\[2\]: got inf"),
    ("cross_entropy", {"sample_weight": np.ones((3, 1))}, ValueError, "sample_weight: got shape"),
    (
        "cross_entropy",
        {"grad": SOFT[0, :2], "reduction": "none"},
        ValueError,
        r"grad: got shape \(2,\), expected \(3,\)",
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"), WRONG_OPTIONS, ids=[case[-1] for case in WRONG_OPTIONS]
)
def test_wrong_options(name, options, error, message, rng):
    prediction, target = make(name, (3, 4), np.float32, rng)
    out = np.full((3, 4), 7, np.float32)
    with pytest.raises(error, match=message):
        LOSSES[name].value_and_grad(prediction, target, out=out, **options)
    assert np.all(out == 7)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (SOFT * 5, ValueError, r"labels\[0, 0\]: got 1.25, accepted are numbers from 0 to 1"),
        (SOFT[:, :3], ValueError, r"labels: got shape \(3, 3\), expected \(3, 4\)"),
        (SOFT.astype(np.float64), TypeError, "labels: got dtype float64, but logits has float32"),
    ],
)
def test_wrong_probabilities(target, error, message):
    with pytest.raises(error, match=message):
        nd.losses.cross_entropy(np.zeros((3, 4), np.float32), target)
    held = SOFT.copy()
    with pytest.raises(ValueError, match="out: may not share memory with labels"):
        nd.losses.cross_entropy.backward(np.zeros((3, 4), np.float32), held, out=held)
    assert np.array_equal(held, SOFT)
    with pytest.raises(TypeError, match="labels: got dtype float32, accepted are integers$"):
        nd.losses.nll(np.zeros((3, 4), np.float32), held)


def test_losses_with_options():
    wide = nd.losses.huber.with_options(delta=2)
    assert wide.options["delta"] == 2 and wide.given == {"delta": 2} and nd.losses.huber.given == {}
    both = wide.with_options(reduction="sum")
    assert both.given == {"delta": 2, "reduction": "sum"} and loss(both) is both
    x, zero = np.float32([3, 1]), np.zeros(2, np.float32)
    assert wide(x, zero) == (4 + 0.5) / 2 and wide(x, zero, delta=1) == (2.5 + 0.5) / 2 and both(x, zero) == 4.5
    with pytest.raises(ValueError, match="delta: got -1"):
        nd.losses.huber.with_options(delta=-1)
    assert repr(both) == f"<numbadl loss huber, delta=2, reduction='sum': {both.record.formula}>"


def test_sums_and_counts_of_batches_make_the_mean(rng):
    logits, labels = make("cross_entropy", (10, 4), np.float32, rng)
    labels[::3] = -100
    weighted = nd.losses.cross_entropy.with_options(weight=[1, 2, 3, 4])
    parts = [weighted.sum_and_count(logits[k : k + 3], labels[k : k + 3]) for k in range(0, 10, 3)]
    total, count = map(sum, zip(*parts, strict=True))
    assert math.isclose(total / count, weighted(logits, labels), rel_tol=1e-6)


def test_reprs():
    for name, each in nd.losses.LOSSES.items():
        assert repr(each) == f"<numbadl loss {name}: {each.record.formula}>"


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(LOSSES[name].__doc__, {}, name, None, None))
    assert runner.tries > 0 and runner.failures == 0


def test_the_example_of_the_page():
    page = Path(__file__).parents[2] / "docs" / "losses.md"
    names = {}
    exec(page.read_text(encoding="utf-8").split("```")[1].removeprefix("python"), names)
    assert names["gradient"].shape == names["each"].shape == (4, 3) and names["penalty"] == 0


@pytest.mark.parametrize("name", ["nll.value", "cross_entropy.value"])
def test_kernels_refuse_labels_that_are_no_columns(name, rng):
    """In compiled code, before anything is read or written; also those that are columns in their last 32 bits."""
    x = rng.normal(size=(3, 9)).astype(np.float32)
    values = np.full(3, 7, np.float32)
    for wrong in (-1, 9, -100, 1 << 32, (1 << 40) + 4, -(1 << 63), (1 << 63) - 1):
        for place in range(3):
            labels = np.array([0, 8, 4])
            labels[place] = wrong
            assert cpu.kernel(name)(x, labels, values) == REFUSED
            assert np.all(values == 7)
    assert cpu.kernel(name)(x, np.array([0, 8, 4]), values) == DONE
    rest = np.log(np.sum(np.exp(x.astype(np.float64)), axis=1)) if name == "cross_entropy.value" else 0
    np.testing.assert_allclose(values, rest - x[range(3), [0, 8, 4]], rtol=1e-5)


@pytest.mark.parametrize("name", ["nll", "cross_entropy"])
def test_wrong_labels_are_found_before_out_is_written(name):
    x, out = np.zeros((400, 5), np.float32), np.full((400, 5), 7, np.float32)
    labels = np.arange(400) % 5
    labels[333] = 5
    with pytest.raises(ValueError, match=r"labels\[333\]: got 5, accepted are labels from 0 to 4"):
        LOSSES[name].value_and_grad(x, labels, out=out)
    assert np.all(out == 7) and LOSSES[name].prepared(x, labels, out)() is MISSING and np.all(out == 7)
    labels[333] = 0
    assert LOSSES[name].prepared(x, labels, out)() is not MISSING and np.all(out != 7)


@pytest.mark.parametrize("name", ["cross_entropy", "huber"])
def test_the_quick_way_has_the_bits_of_the_long_one(name, rng):
    loss = getattr(nd.losses, name)
    prediction = rng.standard_normal((40, 7)).astype(np.float32)
    target = rng.integers(0, 7, 40) if name == "cross_entropy" else np.zeros_like(prediction)
    quick = loss.value_and_grad(prediction, target), loss(prediction, target)
    turned = np.asfortranarray(prediction)  # is no plain array
    (value, gradient), alone = loss.value_and_grad(turned, target), loss(turned, target)
    assert quick[0][0] == value and quick[1] == alone
    np.testing.assert_array_equal(quick[0][1], gradient)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8])
def test_labels_of_every_integer_type_are_checked(dtype):
    logits = np.zeros((3, 200), np.float32)
    assert nd.losses.cross_entropy(logits, np.array([0, 5, 100], dtype)) == pytest.approx(np.log(200))
    wrong = 199 + 1 if dtype is np.uint8 else -1
    with pytest.raises(ValueError, match="labels"):
        nd.losses.cross_entropy(logits, np.array([0, 5, wrong], dtype))
