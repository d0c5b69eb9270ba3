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


# -- norms: values and gradients are those of the CPU, which are tested against oracles ------------------------------
def on_both(fn, *arrays):
    """Results of fn of the arrays, of the CPU and of CUDA, as tuples of NumPy arrays."""
    there = [None if a is None else cuda.to_device(a) for a in arrays]
    return [[v if isinstance(v, np.ndarray) or v is None else cuda.to_host(v) for v in fn(*a)] for a in (arrays, there)]


def check_on_both(fn, *arrays):
    for mine, there in zip(*on_both(fn, *arrays), strict=True):
        assert (mine is None) == (there is None)
        if mine is not None:
            assert mine.shape == there.shape and mine.dtype == there.dtype
            np.testing.assert_allclose(there, mine, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "case",
    [
        ("layer_norm", (5, 3), (3,)), ("layer_norm", (2, 3, 2, 4), ((2, 4),)), ("rms_norm", (5, 3), (3,)),
        ("group_norm", (3, 4), (2,)), ("group_norm", (3, 4, 5), (2,)), ("instance_norm", (2, 3, 2, 2), ()),
    ],
    ids=str,
)  # fmt: skip
def test_norms_of_rows(case, affine, rng):
    name, shape, arguments = case
    function = getattr(nd, name)
    size = shape[1:2] if name in ("group_norm", "instance_norm") else np.atleast_1d(arguments[0])
    x, grad = rng.normal(3, 2, (2, *shape)).astype(np.float32)
    parameters = [rng.normal(size=size).astype(np.float32) if affine else None for _ in range(1 + (name != "rms_norm"))]

    def run(x, grad, *parameters):
        y, saved = function(x, *arguments, *parameters)
        gradients = function.backward(grad, x, parameters[0], saved)
        assert function.backward(grad, x, parameters[0], saved, out=grad)[0] is grad
        assert function(x, *arguments, *parameters, out=x)[0] is x
        return y, *gradients, grad, x

    check_on_both(run, x, grad, *parameters)


@pytest.mark.parametrize("shape", [(9, 3), (2, 3, 5)])
def test_batch_norm_and_what_is_behind_it(shape, rng):
    x, grad, residual = rng.normal(3, 2, (3, *shape)).astype(np.float32)
    weight, bias, mean, alpha = rng.normal(size=(4, 3)).astype(np.float32)
    stages = [nd.prelu] if x.ndim == 2 else [nd.stage.activation(nd.leaky_relu, negative_slope=0.3)]
    op, training = nd.fuse_batch_norm(nd.stage.residual, *stages), x.ndim == 2

    def run(x, grad, residual, weight, bias, mean, var, alpha):
        operands = [residual, alpha][: len(op.operands)]
        y, saved = op(x, weight, bias, mean, var, *operands, training=training)
        return y, mean, var, *op.backward(grad, x, weight, bias, saved, *operands)

    check_on_both(run, x, grad, residual, weight, bias, mean, rng.uniform(1, 2, 3).astype(np.float32), alpha)


def test_layers_of_norms_train_as_on_the_cpu(rng):
    x, grad = rng.normal(3, 2, (2, 3, 4, 6)).astype(np.float32)

    def run(x, grad):
        layers = [nd.nn.GroupNorm(2, 4), nd.nn.LayerNorm(6), nd.nn.BatchNorm(4, momentum=None), nd.nn.RMSNorm(6)]
        model = nd.nn.Sequential(*layers).to("cpu" if isinstance(x, np.ndarray) else "cuda")
        model.forward(x, training=True)
        y = model.forward(x, training=True)
        return y, model.backward(grad, input_gradient=True), *model.gradients().values(), *model.state().values()

    check_on_both(run, x, grad)


def test_a_model_of_convolution_and_pooling(rng):
    x, grad = rng.normal(size=(3, 2, 4, 4)).astype(np.float32), rng.normal(size=(3, 2)).astype(np.float32)

    def run(x, grad):
        layers = [nd.nn.Conv2d(2, 4, (2, 3), padding=(0, 1), groups=2), nd.nn.MaxPool2d(2, 1), nd.nn.AvgPool2d(2, 1, 1)]
        layers += [
            nd.nn.Residual([nd.nn.Conv2d(4, 2, 3, 2, 1, bias=False)], nd.nn.Conv2d(4, 2, 1, 2)),
            nd.nn.GlobalAvgPool(),
        ]
        model = nd.nn.Sequential(*layers).to("cpu" if isinstance(x, np.ndarray) else "cuda")
        y = model.forward(x, training=True)
        return y, model.backward(grad, input_gradient=True), *model.gradients().values()

    check_on_both(run, x, grad)


def test_an_embedding(rng):
    numbers, grad = np.array([[3, 1], [1, 0]]), rng.normal(size=(2, 2, 5)).astype(np.float32)

    def run(grad):
        device = "cpu" if isinstance(grad, np.ndarray) else "cuda"
        model = nd.nn.Sequential(nd.nn.Embedding(4, 5, padding_idx=0)).to(device)
        y = model.forward(numbers if device == "cpu" else cuda.to_device(numbers), training=True)
        model.backward(grad)
        return y, model.gradients()["0.weight"]

    check_on_both(run, grad)


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


@nd.activation
def wavelet(x):
    return x * np.exp(-x * x / 8)


def test_an_activation_of_a_user_trains_a_network_on_the_digits():
    """From one in ten to four in five of the test digits in thirty small steps, all ten classes."""
    x, y, x_test, y_test = nd.data.load_digits()
    model = nd.nn.Sequential(nd.nn.Linear(64, 16), wavelet.layer(), nd.nn.Linear(16, 10)).to("cuda")
    optimizer = nd.optim.Adam(model, lr=0.03)
    for step in range(30):
        rows = np.random.default_rng(step).integers(0, 1000, 16)
        logits = model.forward(cuda.to_device(x[rows].astype(np.float32)), training=True)
        _, grad = nd.losses.cross_entropy.value_and_grad(logits, cuda.to_device(y[rows]))
        model.backward(grad)
        optimizer.step()
    assert np.mean(model.to("cpu").predict(x_test).argmax(axis=1) == y_test) > 0.8


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "feature_dropout", "gaussian_dropout"])
def test_what_is_dropped_is_that_of_the_cpu(name, rng):
    function, x = getattr(nd, name), rng.normal(size=(3, 5, 7)).astype(np.float32)
    for call in (function, function.backward):
        found = cuda.to_host(call(cuda.to_device(x), 0.4, seed=5, offset=6))
        wanted = call(x, 0.4, seed=5, offset=6)
        if name == "gaussian_dropout":  # in the simulator NumPy takes the logarithm, in float64
            np.testing.assert_allclose(found, wanted, rtol=2**-20, atol=2**-20)
        else:
            np.testing.assert_array_equal(found, wanted)


def test_fills_of_an_array_on_the_device():
    for fill in (nd.uniform, nd.normal):
        out = cuda.empty((3, 50), np.float32)
        assert fill((3, 50), 1.0, 2.0, seed=5, out=out) is out
        np.testing.assert_allclose(cuda.to_host(out), fill((3, 50), 1.0, 2.0, seed=5), rtol=2**-20, atol=2**-20)


@pytest.mark.parametrize("function", [nd.softmax, nd.log_softmax], ids=lambda f: f.__name__)
def test_masks(function, rng):
    x, mask = rng.normal(size=(4, 3, 9)).astype(np.float32), rng.uniform(size=(4, 3, 9)) < 0.5
    for axis in (1, 2):
        y = function(cuda.to_device(x), axis=axis, mask=cuda.to_device(mask))
        expected = function(x, axis=axis, mask=mask)
        np.testing.assert_allclose(cuda.to_host(y), expected, rtol=1e-5)
        dx = function.backward(cuda.to_device(x), y, axis=axis, mask=cuda.to_device(mask))
        np.testing.assert_allclose(
            cuda.to_host(dx), function.backward(x, expected, axis=axis, mask=mask), rtol=1e-4, atol=1e-6
        )
    with pytest.raises(TypeError, match="mask: got .*, accepted are bool arrays where the input is"):
        function(cuda.to_device(x), mask=mask)


def test_arrays_that_are_not_contiguous_are_refused(rng):
    x = cuda.to_device(rng.normal(size=(6, 8)).astype(np.float32))
    for call in (lambda: nd.relu(x[:, ::2]), lambda: nd.softmax(x.T), lambda: nd.relu.backward(x, x, out=x.T)):
        with pytest.raises(ValueError, match="C-contiguous|got shape"):
            call()


LOSS_OPTIONS = [{}, {"sample_weight": [1, 0, 3, 0.5]}, {"reduction": "none"}, {"reduction": "sum"}]
OWN_OPTIONS = {
    "huber": {"delta": 0.5},
    "binary_cross_entropy": {"pos_weight": np.array([2.0])},
    "cross_entropy": {"weight": [1, 2, 0.5], "label_smoothing": 0.2},
}


def run_loss(loss, on_device, prediction, target, **options):
    """(value, gradient, gradient alone) on the host."""
    given = [cuda.to_device(a) for a in (prediction, target)] if on_device else (prediction, target)
    grad = options.pop("grad", None)
    grad = cuda.to_device(grad) if on_device and isinstance(grad, np.ndarray) else grad
    out = cuda.empty(prediction.shape, prediction.dtype) if on_device else np.empty_like(prediction)
    value, gradient = loss.value_and_grad(*given, out=out, grad=grad, **options)
    assert gradient is out
    found = value, loss(*given, **options), gradient, loss.backward(*given, grad=grad, **options)
    return [cuda.to_host(a) if hasattr(a, "copy_to_host") else a for a in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
@pytest.mark.parametrize("name", nd.losses.LOSSES)
def test_losses_are_those_of_the_cpu(name, shape, dtype, rng):
    """Whose values and gradients are tested against references."""
    loss = nd.losses.LOSSES[name]
    prediction = -rng.uniform(0.1, 3, shape).astype(dtype)
    targets = [rng.choice([-1, 1], shape) if name == "hinge" else rng.uniform(size=shape)]
    if name in ref.CLASS_LOSSES:
        labels = rng.integers(0, 3, (4, *shape[2:]))
        labels[1] = -100
        targets = [labels, *targets] if name == "cross_entropy" else [labels]
    for target in [a.astype(dtype) if a.dtype.kind == "f" or name == "hinge" else a for a in targets]:
        for options in [*LOSS_OPTIONS, OWN_OPTIONS.get(name, {}), {"reduction": "none", "grad": True}]:
            if "grad" in options:
                grad = rng.normal(size=loss(prediction, target, reduction="none").shape).astype(dtype)
                options = {**options, "grad": grad}
            found, wanted = (run_loss(loss, there, prediction, target, **options) for there in (True, False))
            for mine, theirs in zip(found, wanted, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=32 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("name", "target"), [("hinge", [1, 0.5]), ("binary_cross_entropy", [1, 1.5]), ("kl_div", [1, -0.5])]
)
def test_a_wrong_target_is_found_with_the_value(name, target):
    prediction, loss = cuda.to_device(np.zeros(2, np.float32)), nd.losses.LOSSES[name]
    for call in (loss, loss.value_and_grad):
        with pytest.raises(ValueError, match=rf"target\[1\]: got {target[1]}, accepted are"):
            call(prediction, cuda.to_device(np.float32(target)))


def test_a_loss_of_rows_across_memory_in_place_and_empty(rng):
    logits, labels = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.integers(0, 3, (2, 4))
    wanted = nd.losses.cross_entropy.backward(logits, labels)
    held = cuda.to_device(logits)
    assert nd.losses.cross_entropy.backward(held, labels, out=held) is held
    np.testing.assert_allclose(cuda.to_host(held), wanted, rtol=1e-5, atol=1e-7)
    empty = cuda.empty((0, 3), np.float32)
    assert nd.losses.cross_entropy(empty, np.zeros(0, int)) == nd.losses.mse(empty, empty) == 0


@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")  # of the simulator's NumPy; the norm starts again
def test_penalties_and_norms_are_those_of_the_cpu(rng):
    w, before = rng.normal(size=(2, 5, 7)).astype(np.float32)
    w[0] = 0
    there, grad = cuda.to_device(w), cuda.to_device(before)
    both, lasso = nd.regularizers.L1L2(0.3, 0.1), nd.regularizers.L1(0.5, proximal=True)
    np.testing.assert_allclose(both(there), both(w), rtol=1e-6)
    np.testing.assert_allclose(cuda.to_host(both.gradient(there)), both.gradient(w), rtol=1e-6)
    np.testing.assert_allclose(both.add_gradient(there, grad), both(w), rtol=1e-6)
    np.testing.assert_allclose(cuda.to_host(grad), before + both.gradient(w), rtol=1e-6, atol=1e-6)
    for factor in (1, 1e-30, 1e30):
        for ord in (1, 2, np.inf):
            scaled = (w * factor).astype(np.float32)
            np.testing.assert_allclose(nd.norm(cuda.to_device(scaled), ord), nd.norm(scaled, ord), rtol=1e-6)
    w[3, 2] = np.nan
    assert np.isnan(nd.norm(cuda.to_device(w), np.inf))
    lasso.shrink(there, lr=1)
    expected = np.nan_to_num(w.copy())
    lasso.shrink(expected, lr=1)
    keep = ~np.isnan(w)
    np.testing.assert_array_equal(cuda.to_host(there)[keep], expected[keep])


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


@pytest.mark.parametrize("name", ["swiglu", "geglu", "reglu"])
def test_gated_units_are_those_of_the_cpu(name, rng):
    function, (x, gate, grad) = getattr(nd, name), rng.normal(size=(3, 4, 6)).astype(np.float32)
    there = [cuda.to_device(a) for a in (x, gate, grad)]
    np.testing.assert_allclose(cuda.to_host(function(*there[:2])), function(x, gate), rtol=1e-6, atol=1e-6)
    found = function.backward(there[2], *there[:2])
    for mine, theirs in zip(found, function.backward(grad, x, gate), strict=True):
        np.testing.assert_allclose(cuda.to_host(mine), theirs, rtol=1e-5, atol=1e-6)


def test_glu_and_maxout_are_those_of_the_cpu(rng):
    x = rng.normal(size=(4, 6)).astype(np.float32)
    there = cuda.to_device(x)
    y = nd.glu(x, axis=0)
    np.testing.assert_allclose(cuda.to_host(nd.glu(there, axis=0)), y, rtol=1e-6)
    dx = nd.glu.backward(cuda.to_device(y), there, axis=0)
    np.testing.assert_allclose(cuda.to_host(dx), nd.glu.backward(y, x, axis=0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="axis: got 1, accepted is 0 for CUDA arrays"):
        nd.glu(there, axis=1)
    y = nd.maxout(x, 3)
    np.testing.assert_array_equal(cuda.to_host(nd.maxout(there, 3)), y)
    dx = nd.maxout.backward(cuda.to_device(y), there, 3)
    np.testing.assert_array_equal(cuda.to_host(dx), nd.maxout.backward(y, x, 3))


def test_apl_is_that_of_the_cpu(rng):
    x, grad = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    a, b = rng.normal(size=(2, 2, 3)).astype(np.float32)
    there = [cuda.to_device(v) for v in (x, a, b)]
    np.testing.assert_allclose(cuda.to_host(nd.apl(*there)), nd.apl(x, a, b), rtol=1e-5, atol=1e-6)
    found = nd.apl.backward(cuda.to_device(grad), *there)
    for mine, theirs in zip(found, nd.apl.backward(grad, x, a, b), strict=True):
        mine = mine if isinstance(mine, np.ndarray) else cuda.to_host(mine)
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


RECURRENT = [
    ("LSTM", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "truncate": 2, "stateful": True}),
    ("RNN", {"return_sequences": False, "bidirectional": True, "nonlinearity": "relu"}),
    ("RNN", {"num_layers": 2, "dropout": 0.5}),
]


@pytest.mark.parametrize("case", RECURRENT, ids=lambda c: f"recurrent-{c[0]}" + "-whole_product" * (c[0] != "LSTM"))
def test_recurrent_layers_are_those_of_the_cpu(case, rng):
    """Results, gradients and states; of a second batch too, which is smaller if no state is kept."""
    name, options = case
    here, there = (
        nd.nn.Sequential(getattr(nd.nn, name)(3, 5, **options), seed=1).to(device) for device in ("cpu", "cuda")
    )

    def results(model, move, x, grad):
        layer = model.layers[0]
        y, dx = model.forward(move(x), training=True), model.backward(move(grad), input_gradient=True)
        states = layer.final_state, layer.initial_state_gradient()
        found = [y, dx, model.flat_gradients, *(states[0] + states[1] if name == "LSTM" else states)]
        return [np.copy(v) if isinstance(v, np.ndarray) else cuda.to_host(v) for v in found]

    for count in (3, 3) if options.get("stateful") else (3, 2):
        x, features = rng.normal(size=(count, 4, 3)).astype(np.float32), here.layers[0].output_shape((4, 3))
        grad = rng.normal(size=(count, *features)).astype(np.float32)
        wanted = results(here, np.asarray, x, grad)
        for mine, theirs in zip(results(there, cuda.to_device, x, grad), wanted, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there.predict(x), here.predict(x), rtol=1e-4, atol=1e-5)
