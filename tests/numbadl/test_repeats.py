"""Steps on the same arrays, whose calls are prepared once: the bits of a step, and when a call is not repeated."""

import numpy as np
import pytest

import numbadl as nd
from numbadl.repeated import MISSING, Repeats

ROWS, FEATURES = 6, 12


def network():
    nn = nd.nn
    return nn.Sequential(
        nn.Reshape((3, 4)), nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 8),
        nn.ELU(0.5), nn.Dropout(0.5), nn.PReLU(), nn.Linear(8, 3, bias=False), seed=4,
    )  # fmt: skip


def trained(rng_seed, change, same_arrays, sizes=(ROWS,)):
    """The parameters after each step; *change* (model, step) happens before each of them."""
    rng, model, found = np.random.default_rng(rng_seed), network(), []
    optimizer = nd.optim.Adam(model, lr=0.01)
    rooms = {n: (np.empty((n, FEATURES), np.float32), np.empty((n, 3), np.float32)) for n in sizes}
    for step in range(8):
        x, grad = rooms[sizes[step % len(sizes)]]
        x[...], grad[...] = rng.normal(size=x.shape), rng.normal(size=grad.shape)
        if not same_arrays:
            x, grad = x.copy(), grad.copy()
        change(model, step)
        output = model.forward(x, training=True).copy()
        dx = model.backward(grad, input_gradient=True).copy()
        optimizer.step()
        found += [output, dx, model.flat_parameters.copy(), *(a.copy() for a in model.state().values())]
    return found


def other_options(model, step):
    if step == 4:
        model.layers[5].p, model.layers[8].p = 0.4, 0.0
        model.layers[3].momentum, model.layers[3].eps = 0.3, 0.1


def calls_between(model, step):
    """Single layers see other arrays; the next forward is that of its own input again."""
    for layer in (model.layers[k] for k in (0, 1, 2)):
        layer.forward(np.ones((ROWS, *((3, 4) if layer is model.layers[1] else (12,))), np.float32), training=True)
    model.layers[6].forward(np.ones((ROWS, 8), np.float32), training=True)


@pytest.mark.parametrize("change", [lambda model, step: None, other_options, calls_between])
@pytest.mark.parametrize("sizes", [(ROWS,), (ROWS, ROWS, 4), (2, 3, 4, 5)], ids=str)
def test_the_same_arrays_give_the_bits_of_new_ones(change, sizes, monkeypatch):
    repeated = trained(0, change, True, sizes)
    monkeypatch.setattr(Repeats, "again", lambda *given: MISSING)
    for k, (a, b) in enumerate(zip(repeated, trained(0, change, False, sizes), strict=True)):
        assert np.array_equal(a, b), k


@pytest.mark.parametrize("layer", [nd.nn.Flatten(), nd.nn.Reshape((2, 6))], ids=str)
def test_a_reshaped_copy_is_made_again(layer):
    """Of arrays that do not lie in C order, forward and backward of a layer of views give copies."""
    model = nd.nn.Sequential(layer)
    x = np.empty((ROWS, 3, 4), np.float32, order="F")
    grad = np.empty(model.forward(x).shape, np.float32, order="F")
    for step in range(5):
        x[...], grad[...] = step, step
        assert np.array_equal(model.forward(x, training=True), grad)
        assert np.array_equal(model.backward(grad, input_gradient=True), x)


def test_calls_are_repeated(monkeypatch):
    """What every test here rests on: after some steps, one more for each layer that gives a view, only PReLU is asked."""
    model, asked = network(), []
    monkeypatch.setattr(nd.nn.Layer, "is_changed", lambda layer, name: False)  # though what is below changes them all
    x, grad = np.ones((ROWS, FEATURES), np.float32), np.ones((ROWS, 3), np.float32)
    for kind in {type(layer) for layer in model.layers}:
        for name in ("forward", "forward_with", "backward"):
            if hasattr(kind, name):
                given = getattr(kind, name)
                monkeypatch.setattr(
                    kind,
                    name,
                    lambda self, *a, _do=given, **k: (asked.append(type(self).__name__), _do(self, *a, **k))[1],
                )
    for step in range(7):
        asked.clear()
        model.forward(x, training=True)
        model.backward(grad)
        assert step in (3, 4) or (set(asked) == {"PReLU"}) == (step > 4), (step, asked)


def test_backward_after_a_forward_of_another_array():
    """A layer whose input is another one than that of the steps before is differentiated at that input."""
    layer = nd.nn.Sequential(nd.nn.Tanh())
    x, grad = np.zeros((2, 3)).astype(np.float32), np.ones((2, 3), np.float32)
    for _ in range(3):
        layer.forward(x, training=True)
        assert np.array_equal(layer.backward(grad, input_gradient=True), grad)
    layer.layers[0].forward(x + 1, training=True)
    expected = 1 - np.tanh(np.ones((2, 3))) ** 2
    assert np.allclose(layer.backward(grad, input_gradient=True), expected, rtol=1e-6)


def test_an_array_that_became_read_only_is_still_taken():
    model, x = nd.nn.Sequential(nd.nn.Linear(3, 2), nd.nn.ReLU()), np.ones((4, 3), np.float32)
    first = [model.forward(x, training=True).copy() for _ in range(3)][-1]
    x.flags.writeable = False
    assert np.array_equal(model.forward(x, training=True), first)


def test_a_layer_with_a_forward_of_its_own_is_called():
    class Doubled(nd.nn.Linear):
        calls = 0

        def forward(self, x, training=False):
            self.calls += 1
            return 2 * super().forward(x, training)

    layer = Doubled(3, 2)
    model, x = nd.nn.Sequential(layer), np.ones((4, 3), np.float32)
    outputs = [model.forward(x, training=True) for _ in range(4)]
    assert layer.calls == 4 and np.array_equal(outputs[0], outputs[3])
    layer.forward = lambda x, training=False: x[:, :2]
    assert np.array_equal(model.forward(x, training=True), x[:, :2])


def test_few_arrays_are_kept():
    repeats, arrays = Repeats(), [np.zeros(n) for n in range(9)]
    for _ in range(2):
        for array in arrays:
            repeats.seen(lambda: None, array)
    assert len(repeats._kept) <= 2


def shares(shape, rng):
    p = rng.random(shape)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


TARGETS = {
    "cross_entropy": lambda rng, shape: rng.integers(0, shape[1], shape[0]),
    "nll": lambda rng, shape: rng.integers(0, shape[1], shape[0]),
    "binary_cross_entropy": lambda rng, shape: rng.random(shape).astype(np.float32),
    "kl_div": lambda rng, shape: shares(shape, rng),
    "mse": lambda rng, shape: rng.normal(size=shape).astype(np.float32),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}], ids=str)
def test_a_prepared_loss_reads_its_arrays_anew(name, options, rng):
    shape, loss = (5, 4), nd.losses.LOSSES[name].with_options(**options)
    prediction, target, out = np.empty(shape, np.float32), TARGETS[name](rng, shape), np.empty(shape, np.float32)
    run = loss.prepared(prediction, target, out)
    if run is None:
        assert name in ("cross_entropy", "nll") and options
        return
    for _ in range(2):
        prediction[...], target[...] = rng.normal(size=shape), TARGETS[name](rng, shape)
        total, count, gradient = run()
        expected = loss.sum_count_and_grad(prediction.copy(), target.copy())
        assert gradient is out and (total, count) == expected[:2] and np.array_equal(gradient, expected[2])


def test_a_prepared_loss_refuses(rng):
    logits, labels, out = np.ones((5, 4), np.float32), np.zeros(5, np.int64), np.full((5, 4), 7, np.float32)
    run = nd.losses.cross_entropy.prepared(logits, labels, out)
    for bad in (4, -1):
        labels[2] = bad
        assert run() is MISSING and np.all(out == 7)
    prepared = nd.losses.mse.prepared
    others = (logits[:, ::-1], out[::2], out.astype(np.float64), logits)
    assert all(prepared(logits, logits.copy(), other) is None for other in others)
    weighted = nd.losses.mse.with_options(weight=np.ones(4))
    assert weighted.prepared(logits, logits.copy(), out) is None
