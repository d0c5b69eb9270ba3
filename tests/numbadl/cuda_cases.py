"""The public functions on CUDA arrays: on a GPU, or in numba's simulator; tests/kernels/test_cuda_simulator.py runs this."""

import numpy as np
import optimizer_rules as rules
import pytest
import references as ref
from numbadl.kernels import cuda

import numbadl as nd

pytestmark = pytest.mark.usefixtures("eager_threads")
ROW_FUNCTIONS = {"softmax": (nd.softmax, ref.softmax), "log_softmax": (nd.log_softmax, ref.log_softmax)}
SHAPES = [(7,), (5, 3), (3, 1), (1, 6), (4, 3, 5), (2, 3, 2, 4)]
AXES = [(shape, axis) for shape in SHAPES for axis in range(len(shape))]
PARTS = {  # of 30 elements: one part, and one that shares some elements with it but is not the same
    "shifted": (lambda a: a[:24], lambda a: a[6:]),
    "one element": (lambda a: a[:15], lambda a: a[14:29]),
    "rows": (lambda a: a.reshape(5, 6)[:4], lambda a: a.reshape(5, 6)[1:]),
    "another shape": (lambda a: a.reshape(6, 5)[:4].reshape(4, 5), lambda a: a[10:].reshape(4, 5)),
}


def row_gradient(name, grad, y, axis):
    """From the results themselves, in their own type made wider."""
    grad, y = grad.astype(np.float64), y.astype(np.float64)
    if name == "softmax":
        return y * (grad - np.sum(grad * y, axis, keepdims=True))
    return grad - np.exp(y) * np.sum(grad, axis, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), AXES)
@pytest.mark.parametrize("name", ROW_FUNCTIONS)
def test_row_functions_along_every_axis(name, shape, axis, dtype, rng):
    function, reference = ROW_FUNCTIONS[name]
    x, grad = rng.normal(0, 2, (2, *shape)).astype(dtype)
    on_device, grad_there = cuda.to_device(x), cuda.to_device(grad)
    y = function(on_device, axis=axis)
    result = cuda.to_host(y)
    tolerance = 32 * np.finfo(dtype).eps
    assert result.dtype == dtype and result.shape == shape
    np.testing.assert_allclose(result, reference(x, axis).astype(np.float64), rtol=tolerance, atol=tolerance)
    dx = cuda.to_host(function.backward(grad_there, y, axis=axis))
    np.testing.assert_allclose(dx, row_gradient(name, grad, result, axis), rtol=tolerance, atol=4 * tolerance)
    np.testing.assert_array_equal(cuda.to_host(on_device), x)
    assert function(on_device, axis=axis, out=on_device) is on_device
    np.testing.assert_array_equal(cuda.to_host(on_device), result)
    assert function.backward(grad_there, y, axis=axis, out=grad_there) is grad_there
    np.testing.assert_array_equal(cuda.to_host(grad_there), dx)


@pytest.mark.parametrize("name", ROW_FUNCTIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_row_functions_of_empty_arrays(name, shape):
    x = cuda.empty(shape, np.float32)
    for axis in range(len(shape)):
        assert tuple(ROW_FUNCTIONS[name][0](x, axis=axis).shape) == shape


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_an_out_that_overlaps_an_input_in_part_is_refused(parts):
    values = np.linspace(-1, 1, 30, dtype=np.float32)
    held = cuda.to_device(values)
    x, out = (part(held) for part in parts)
    other = cuda.to_device(np.ones(tuple(x.shape), np.float32))
    calls = {
        "x": [lambda: nd.relu(x, out=out), lambda: nd.softmax(x, out=out), lambda: nd.relu.backward(other, x, out=out)],
        "grad": [lambda: nd.relu.backward(x, other, out=out), lambda: nd.softmax.backward(x, other, axis=0, out=out)],
        "y": [lambda: nd.log_softmax.backward(other, x, out=out)],
    }
    for name, functions in calls.items():
        for call in functions:
            with pytest.raises(ValueError, match=f"out: overlaps {name} in part"):
                call()
    np.testing.assert_array_equal(cuda.to_host(held), values)


def test_a_product_and_an_operand_in_the_same_memory_are_refused():
    values = np.linspace(-1, 1, 30, dtype=np.float32)
    held = cuda.to_device(values)
    a, b = held[:9].reshape(3, 3), cuda.to_device(np.eye(3, dtype=np.float32))
    for out in (held[:9].reshape(3, 3), held[6:15].reshape(3, 3)):
        with pytest.raises(ValueError, match="out: may not share memory with a"):
            nd.matmul(a, b, out=out)
        with pytest.raises(ValueError, match="out: may not share memory with b"):
            nd.matmul(b, a, out=out)
    np.testing.assert_array_equal(cuda.to_host(held), values)
    nd.matmul(a, b, out=held[9:18].reshape(3, 3))
    np.testing.assert_array_equal(cuda.to_host(held)[9:18], values[:9])


def test_an_out_beside_the_input_and_the_input_itself_in_another_object_are_accepted():
    values = np.linspace(-1, 1, 30, dtype=np.float32)
    held = cuda.to_device(values)
    nd.relu(held[:15], out=held[15:])
    np.testing.assert_array_equal(cuda.to_host(held), np.append(values[:15], np.maximum(values[:15], 0)))
    nd.relu(held[:15], out=held[:15])
    np.testing.assert_array_equal(cuda.to_host(held), np.maximum(np.tile(values[:15], 2), 0))


@nd.activation(learnable=("alpha",))
def ripple(x, alpha=0.8, slope=0.5):
    return x + slope * np.sin(alpha * x) ** 2 if x > 0 else np.tanh(x)


def test_an_activation_of_a_user_trains_as_on_the_cpu(rng):
    """Values after some steps are those of the CPU, whose derivatives are tested against differences."""
    x, y = rng.normal(size=(6, 5)).astype(np.float32), rng.integers(0, 3, 6)
    found = []
    for device in ("cpu", "cuda"):
        model = nd.nn.Sequential(nd.nn.Linear(5, 4), ripple.layer(num_parameters=4), nd.nn.Linear(4, 3)).to(device)
        optimizer = nd.optim.SGD(model, lr=0.1)
        given = [cuda.to_device(v) if device == "cuda" else v for v in (x, y)]
        losses = []
        for _ in range(3):
            logits = model.forward(given[0], training=True)
            loss, grad = nd.losses.cross_entropy.value_and_grad(logits, given[1])
            model.backward(grad)
            optimizer.step()
            losses.append(loss)
        host = [v if device == "cpu" else cuda.to_host(v) for v in model.parameters().values()]
        found.append((losses, host))
    assert found[0][0][2] < found[0][0][0]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    for on_cpu, on_cuda in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(on_cuda, on_cpu, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(found[0][1][2], np.full(4, 0.8, np.float32)), "alpha was not trained"


REPRESENTATIVE = ("AdamW", "LAMB", "Muon")
FIRST = [next(c for c in rules.CASES if c[0] == name) for name in dict.fromkeys(c[0] for c in rules.CASES)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", FIRST, ids=[c[0] + "-whole_product" * (c[0] not in REPRESENTATIVE) for c in FIRST])
def test_optimizers_as_on_the_cpu(case, dtype, rng):
    """Three steps of several tensors, a matrix among them, with norms and state."""
    shapes = [(3, 4), (21,), (1,)]
    start, *gradients = [[rng.normal(size=s).astype(dtype) for s in shapes] for _ in range(4)]
    here, there = [a.copy() for a in start], [cuda.to_device(a) for a in start]
    on_cpu, on_cuda = (getattr(nd.optim, case[0])(p, **case[1]) for p in (here, there))
    for g in gradients:
        on_cpu.step(g)
        on_cuda.step([cuda.to_device(a) for a in g])
    tolerance = 64 * np.finfo(dtype).eps
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(cuda.to_host(theirs), mine, rtol=tolerance, atol=tolerance)
    assert on_cuda.state_bytes == on_cpu.state_bytes
    saved, expected = on_cuda.state_dict(), on_cpu.state_dict()
    assert saved["memory"] == expected["memory"]
    for mine, theirs in zip(saved["state"][0], expected["state"][0], strict=True):
        for name in theirs:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=tolerance, atol=tolerance)


EVERYTHING = {
    "clip_norm": 0.5, "l1": 0.1, "proximal": True, "l2": 0.1, "ema_decay": 0.5, "zero_grad": True, "lookahead": 2,
    "nonfinite": "raise",
}  # fmt: skip


@pytest.mark.parametrize("options", [EVERYTHING, {"clip_value": 0.3, "l1": 0.1, "gradient_accumulation_steps": 2}])
def test_what_is_fused_around_a_rule(options, rng):
    start, *gradients = rng.normal(size=(5, 2, 11)).astype(np.float32)
    here, there = list(start.copy()), [cuda.to_device(a) for a in start]
    on_cpu, on_cuda = (nd.optim.SGD(p, lr=0.1, **options) for p in (here, there))
    for g in gradients:
        given = [cuda.to_device(a) for a in g]
        assert on_cpu.step(list(g)) == on_cuda.step(given)
        for mine, theirs in zip(g, given, strict=True):
            np.testing.assert_array_equal(cuda.to_host(theirs), mine)
    if on_cpu.whole["ema_decay"]:
        on_cpu.swap_ema()
        on_cuda.swap_ema()
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(cuda.to_host(theirs), mine, rtol=1e-5, atol=1e-6)


def test_a_step_is_refused_as_on_the_cpu():
    there = [cuda.to_device(np.ones(3)), cuda.to_device(np.ones(2))]
    optimizer = nd.optim.SGD(there, lr=0.1, nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"params\[1\]"):
        optimizer.step([cuda.to_device(np.ones(3)), cuda.to_device(np.array([1, np.inf]))])
    with pytest.raises(TypeError, match=r"grads\[0\]: is on cpu, but params\[0\] on cuda"):
        optimizer.step([np.ones(3), np.ones(2)])
    for array, size in zip(there, (3, 2), strict=True):
        np.testing.assert_array_equal(cuda.to_host(array), np.ones(size))
    assert optimizer.steps == 0
