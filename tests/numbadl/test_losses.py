"""Losses: values and gradients of every record, rows that overflow in the textbook form, labels, layouts, threads."""

import math

import numpy as np
import pytest
import references as ref

import numbadl as nd
from numbadl.losses import LOSSES, LogitsLoss, loss

NAMES = list(LOSSES)
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
SIZES = [(1, 1), (1, 5), (7, 3), (64, 10), (5, 1000), (4097, 3), (3, 40_001)]


def takes_labels(name):
    return isinstance(LOSSES[name], LogitsLoss)


def make(name, shape, dtype, rng, scale=3):
    """A prediction and a target."""
    prediction = (rng.normal(size=shape) * scale).astype(dtype)
    if takes_labels(name):
        return prediction, rng.integers(0, shape[1], shape[0])
    return prediction, rng.uniform(size=shape).astype(dtype)


def test_every_record_has_a_reference():
    assert set(LOSSES) == set(ref.LOSSES), "add its formula to tests/oracle/references.py"
    assert all(getattr(nd.losses, name) is LOSSES[name] for name in NAMES)


# -- values and gradients ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_value(name, shape, dtype, rng):
    prediction, target = make(name, shape, dtype, rng)
    value = LOSSES[name](prediction, target)
    assert type(value) is float
    np.testing.assert_allclose(value, float(ref.LOSSES[name](prediction, target)), rtol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (2, 17)])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "cross_entropy" else [pytest.mark.slow]) for n in NAMES]
)
def test_gradient_is_the_slope(name, shape, rng):
    prediction, target = make(name, shape, np.float64, rng)
    expected = ref.numeric_gradient(lambda: float(ref.LOSSES[name](prediction, target)), prediction)
    np.testing.assert_allclose(LOSSES[name].backward(prediction, target), expected, rtol=1e-6, atol=1e-9)


def reference_gradient(name, prediction, target):
    x = prediction.astype(np.longdouble)
    if name == "mse":
        return 2 * (x - target) / x.size
    if name == "binary_cross_entropy":
        return (1 / (1 + np.exp(-x)) - target) / x.size
    one_hot = np.zeros(x.shape)
    one_hot[np.arange(len(x)), target] = 1
    return (ref.softmax(x) - one_hot) / len(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_gradient(name, shape, dtype, rng):
    prediction, target = make(name, shape, dtype, rng)
    kept = prediction.copy(), target.copy()
    gradient = LOSSES[name].backward(prediction, target)
    expected = reference_gradient(name, prediction, target).astype(np.float64)
    assert gradient.dtype == dtype and gradient.shape == shape
    np.testing.assert_allclose(
        gradient, expected, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(expected).max() + 1e-40
    )
    value, again = LOSSES[name].value_and_grad(prediction, target)
    assert type(value) is float and value == LOSSES[name](prediction, target) and np.array_equal(again, gradient)
    assert np.array_equal(prediction, kept[0]) and np.array_equal(target, kept[1])


@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 31, 32, 33, 100])
def test_every_label(classes, rng):
    logits = rng.normal(size=(classes, classes)).astype(np.float32)
    labels = rng.permutation(classes)
    value, gradient = nd.losses.cross_entropy.value_and_grad(logits, labels)
    np.testing.assert_allclose(value, float(ref.cross_entropy(logits, labels)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        gradient, reference_gradient("cross_entropy", logits, labels).astype(np.float64), atol=4e-7 / classes
    )


# -- what textbook forms overflow or cancel at ---------------------------------------------------------------------
def test_cross_entropy_of_extreme_logits():
    logits = np.array([[1e30, 0, -1e30], [1e4, 9990, 0], [-1e30, -1e30, -1e30], [-200, -300, -200]], np.float32)
    for label in range(3):
        labels = np.full(4, label)
        for row in range(4):
            expected = float(ref.cross_entropy(logits[row : row + 1], labels[:1]))
            assert math.isclose(
                nd.losses.cross_entropy(logits[row : row + 1], labels[:1]), expected, rel_tol=1e-6, abs_tol=2e-7
            )
        gradient = nd.losses.cross_entropy.backward(logits, labels)
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-7)


def test_cross_entropy_of_infinite_logits():
    logits = np.array([[0, -np.inf, 0]], np.float32)
    value, gradient = nd.losses.cross_entropy.value_and_grad(logits, np.array([0]))
    assert math.isclose(value, math.log(2), rel_tol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]], rtol=1e-6)
    assert nd.losses.cross_entropy(logits, np.array([1])) == math.inf
    for broken in ([[np.nan, 0, 0]], [[np.inf, 0, 0]], [[-np.inf] * 3]):
        assert math.isnan(nd.losses.cross_entropy(np.array(broken, np.float32), np.array([0])))


def test_binary_cross_entropy_of_extreme_logits():
    x = np.array([-1e30, -200, -90, -20, 0, 20, 90, 200, 1e30], np.float32)
    for t in (0.0, 1.0):
        for k in range(x.size):
            one = x[k : k + 1]
            target = np.full(1, t, np.float32)
            expected = float(ref.binary_cross_entropy(one, target))
            assert math.isclose(nd.losses.binary_cross_entropy(one, target), expected, rel_tol=1e-6, abs_tol=1.2e-38)
        gradient = nd.losses.binary_cross_entropy.backward(x, np.full(x.size, t, np.float32)) * x.size
        np.testing.assert_allclose(
            gradient, [-t, -t, -t, 2.0611537e-9 - t, 0.5 - t, 1 - t, 1 - t, 1 - t, 1 - t], atol=3e-9
        )


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_lost(name, rng):
    prediction, target = make(name, (9, 700), np.float32, rng)
    prediction[4, 555] = np.nan
    value, gradient = LOSSES[name].value_and_grad(prediction, target)
    assert math.isnan(value) and np.isnan(gradient[4, 555])
    rows = np.arange(9) != 4
    assert np.isfinite(gradient[rows]).all()


# -- shapes, layouts, threads ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in NAMES if not takes_labels(name)])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_any_shape(name, shape, rng):
    prediction, target = rng.normal(size=shape).astype(np.float32), rng.uniform(size=shape).astype(np.float32)
    prediction, target = np.asarray(prediction), np.asarray(target)
    value, gradient = LOSSES[name].value_and_grad(prediction, target)
    assert math.isclose(value, float(ref.LOSSES[name](prediction, target)), rel_tol=1e-6)
    np.testing.assert_allclose(gradient, reference_gradient(name, prediction, target).astype(np.float64), atol=3e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty(name, shape):
    target = np.zeros(shape[0], int) if takes_labels(name) else np.zeros(shape, np.float32)
    if takes_labels(name) and shape == (3, 0):
        with pytest.raises(ValueError, match=r"labels\[0\]: got 0"):
            LOSSES[name](np.zeros(shape, np.float32), target)
        return
    value, gradient = LOSSES[name].value_and_grad(np.zeros(shape, np.float32), target)
    assert value == 0 and gradient.shape == shape


def views(x):
    """The same values in other layouts."""
    wide = np.full((*x.shape, 2), 9, x.dtype)
    wide[..., 0] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    return {
        "C": x.copy(), "F": np.array(x, order="F"), "strided": wide[..., 0], "read-only": frozen, "unaligned": shifted,
        "reversed": x[::-1].copy()[::-1],
    }  # fmt: skip


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
    first, *others = on_threads(lambda: LOSSES[name].value_and_grad(prediction, target))
    others.append(LOSSES[name].value_and_grad(prediction, target))
    for value, gradient in others:
        assert value == first[0] and gradient.tobytes() == first[1].tobytes()


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
        ([0.0, 1.0, 2.0], TypeError, "labels: got dtype float64, accepted are integers"),
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
    for wrong in (np.zeros(3, np.float32), np.zeros((3, 4, 2), np.float32)):
        with pytest.raises(ValueError, match="logits: got shape"):
            nd.losses.cross_entropy(wrong, np.zeros(3, int))
    for wrong in ([[0.0]], np.zeros((1, 2), int), np.zeros((1, 2), np.float16)):
        with pytest.raises(TypeError, match="logits: got "):
            nd.losses.cross_entropy(wrong, np.zeros(1, int))


@pytest.mark.parametrize("name", [name for name in NAMES if not takes_labels(name)])
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


def test_reprs():
    for name, each in nd.losses.LOSSES.items():
        assert repr(each) == f"<numbadl loss {name}: {each.record.formula}>"
