"""The same numbers as PyTorch, in float64: activations, rows, losses, normalisation, optimisers, a whole model."""

import warnings

import numpy as np
import optimizer_rules as rules
import pytest

import numbadl as nd

torch = pytest.importorskip("torch")
functional = torch.nn.functional

# name -> PyTorch's function of x and the same parameters, and the parameters with which they are compared
ACTIVATIONS = {
    "identity": (lambda x: x.clone(), ()),
    "sigmoid": (torch.sigmoid, ()),
    "tanh": (torch.tanh, ()),
    "softsign": (functional.softsign, ()),
    "relu": (torch.relu, ()),
    "leaky_relu": (functional.leaky_relu, (0.2,)),
    "elu": (functional.elu, (0.7,)),
    "silu": (functional.silu, ()),
    "relu6": (functional.relu6, ()),
    "hardtanh": (functional.hardtanh, (-0.5, 2.0)),
    "hardsigmoid": (functional.hardsigmoid, ()),
    "hardswish": (functional.hardswish, ()),
    "softplus": (functional.softplus, (2.0, 15.0)),
    "logsigmoid": (functional.logsigmoid, ()),
    "gelu": (functional.gelu, ()),
    "gelu_tanh": (lambda x: functional.gelu(x, approximate="tanh"), ()),
    "mish": (functional.mish, ()),
    "selu": (functional.selu, ()),
    "celu": (functional.celu, (0.75,)),  # its backward rounds alpha to float32
    "hardshrink": (functional.hardshrink, (0.7,)),
    "softshrink": (functional.softshrink, (0.7,)),
    "tanhshrink": (functional.tanhshrink, ()),
    "threshold": (functional.threshold, (0.5, 20.0)),
    "exponential": (torch.exp, ()),
    "arctan": (torch.atan, ()),
    "sin": (torch.sin, ()),
    "sinc": (lambda x: torch.special.sinc(x / torch.pi), ()),
}
# name -> PyTorch's function, and the options with which they are compared; ours have the same names
LOSSES = {
    "mse": (functional.mse_loss, [{}, {"weight": (30, 7)}]),
    "mae": (functional.l1_loss, [{}, {"weight": (30, 7)}]),
    "huber": (functional.huber_loss, [{}, {"delta": 0.3}, {"weight": (30, 7)}]),
    "smooth_l1": (functional.smooth_l1_loss, [{}, {"beta": 0.3}, {"beta": 0.0}]),
    "binary_cross_entropy": (
        functional.binary_cross_entropy_with_logits,
        [
            {},
            {"pos_weight": 2.5},
            {"weight": (30, 7)},
            {"weight": (30, 1), "pos_weight": 0.5},
            {"weight": (7,)},
            {"pos_weight": [0.5, 1, 2, 3, 0.1, 1, 7]},
        ],
    ),
    "kl_div": (functional.kl_div, [{}, {"log_target": True}]),
    "cross_entropy": (
        functional.cross_entropy,
        [{}, {"weight": (7,)}, {"label_smoothing": 0.2}, {"ignore_index": 3}, {"weight": (7,), "label_smoothing": 0.3}],
    ),
    "nll": (functional.nll_loss, [{}, {"weight": (7,)}, {"ignore_index": 3}]),
}
NOT_IN_TORCH = {"hinge"}
LOSS_CASES = [(name, options) for name, (_, cases) in LOSSES.items() for options in cases]
WIDER = {  # for the backward of
    "hardsigmoid": {"rtol": 1e-7},  # where PyTorch has 1/6 in float32
    "sinc": {"rtol": 1e-12, "atol": 1e-11},  # which PyTorch divides out of sin(pi x)/(pi x)
}
CLOSE = {"rtol": 1e-12, "atol": 1e-13}
pytestmark = pytest.mark.slow  # its float64 kernels are compiled nowhere else


def tensor(array):
    return torch.from_numpy(np.array(array)).requires_grad_(array.dtype.kind == "f")


def forward_backward(fn, grad, *arrays):
    """fn's result and the gradients of its arguments, from PyTorch."""
    given = [tensor(a) for a in arrays]
    result = fn(*given)
    result.backward(torch.from_numpy(np.array(grad)))
    return result.detach().numpy(), *[None if g.grad is None else g.grad.numpy() for g in given]


def test_every_loss_is_compared():
    assert set(LOSSES) | NOT_IN_TORCH == set(nd.losses.LOSSES), "add PyTorch's name"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, rng):
    fn, parameters = ACTIVATIONS[name]
    kinks = nd.ACTIVATIONS[name].kinks
    kinks = kinks(*parameters) if callable(kinks) else kinks
    far = () if name == "exponential" else (300, -300)
    x = np.concatenate([rng.normal(0, 5, 1000), kinks, [0.0, 30, -30, *far]])
    grad = rng.normal(size=x.size)
    y, dx = forward_backward(lambda t: fn(t, *parameters), grad, x)
    np.testing.assert_allclose(getattr(nd, name)(x, *parameters), y, **CLOSE)
    np.testing.assert_allclose(getattr(nd, name).backward(grad, x, *parameters), dx, **WIDER.get(name, CLOSE))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_rows(name, axis, rng):
    x, grad = rng.normal(0, 3, (2, 4, 5, 6))
    y, dx = forward_backward(lambda t: getattr(torch, name)(t, axis), grad, x)
    found = getattr(nd, name)(x, axis=axis)
    np.testing.assert_allclose(found, y, **CLOSE)
    np.testing.assert_allclose(getattr(nd, name).backward(grad, found, axis=axis), dx, **CLOSE)


def compare_losses(name, reduction, options, prediction, target, rng):
    """Value and gradient; for "none" with random gradients of the values."""
    theirs = {
        k: torch.tensor(v, dtype=torch.float64) if k in ("weight", "pos_weight") else v for k, v in options.items()
    }
    result = torch.from_numpy(prediction.copy()).requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "reduction: 'mean' divides", UserWarning)
        value = LOSSES[name][0](result, torch.from_numpy(target.copy()), reduction=reduction, **theirs)
    grad = rng.normal(size=tuple(value.shape)) if reduction == "none" else float(rng.normal())
    (value * torch.as_tensor(grad, dtype=torch.float64)).sum().backward()
    found, gradient = nd.losses.LOSSES[name].value_and_grad(
        prediction, target, grad=grad, reduction=reduction, **options
    )
    np.testing.assert_allclose(found, value.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(gradient, result.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options"), LOSS_CASES, ids=str)
def test_losses(name, options, reduction, rng):
    options = {k: rng.uniform(0.1, 2, v) if k == "weight" else v for k, v in options.items()}
    if name not in ("cross_entropy", "nll"):
        x, target = rng.normal(0, 4, (30, 7)), rng.uniform(size=(30, 7))
        x = nd.log_softmax(x) if name == "kl_div" else x
        target = np.log(target) if options.get("log_target") else target
        compare_losses(name, reduction, options, x, target, rng)
        return
    for shape in [(30, 7), (6, 7, 5), (3, 7, 2, 4)]:
        x, labels = rng.normal(0, 4, shape), rng.integers(0, 7, (shape[0], *shape[2:]))
        x = nd.log_softmax(x, axis=1) if name == "nll" else x
        compare_losses(name, reduction, options, x, labels, rng)
        labels[0] = options.get("ignore_index", -100)
        compare_losses(name, reduction, options, x, labels, rng)
        if name == "cross_entropy" and "ignore_index" not in options:
            probabilities = nd.softmax(rng.normal(size=shape), axis=1)
            compare_losses(name, reduction, options, x, probabilities, rng)


def test_batchmean(rng):
    x, target = nd.log_softmax(rng.normal(0, 4, (30, 7))), rng.uniform(size=(30, 7))
    compare_losses("kl_div", "batchmean", {}, x, target, rng)


@pytest.mark.parametrize("ord", [1, 2, np.inf])
def test_norms(ord, rng):
    arrays = [rng.normal(size=shape) for shape in [(5,), (3, 4), (2, 3, 4)]]
    for a in arrays:
        norm = torch.linalg.vector_norm(torch.from_numpy(a), ord)
        np.testing.assert_allclose(nd.norm(a, ord), float(norm), rtol=1e-13)
    together = torch.nn.utils.get_total_norm([torch.from_numpy(a) for a in arrays], ord)
    np.testing.assert_allclose(nd.norm(arrays, ord), float(together), rtol=1e-13)


AFFINE = [(True, True), (True, False), (False, True), (False, False)]


def some(given, affine):
    """Of weight and bias, those that are asked for."""
    return [value if wanted else None for value, wanted in zip(given, affine, strict=True)]


def compare_gradients(found, theirs):
    """Both are sums of many terms, in different orders."""
    for mine, their in zip(found, theirs, strict=True):
        assert (mine is None) == (their is None)
        if mine is not None:
            np.testing.assert_allclose(mine, their, rtol=1e-12, atol=1e-12)


def with_gradients(fn, grad, x, parameters):
    """fn's result and the gradients of x and of the parameters that are given, None for others."""
    result, *gradients = forward_backward(
        lambda x, *given: fn(x, *[next(rest) if p is not None else None for rest in [iter(given)] for p in parameters]),
        grad, x, *[p for p in parameters if p is not None],
    )  # fmt: skip
    rest = iter(gradients[1:])
    return result, [gradients[0], *(next(rest) if p is not None else None for p in parameters)]


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(20, 4), (6, 4, 5), (3, 4, 2, 6), (2, 4, 3, 2, 5)])
def test_batch_norm(shape, training, affine, rng):
    x, grad = rng.normal(2, 3, (2, *shape))
    parameters, mean, var = some(rng.normal(size=(2, 4)), affine), rng.normal(size=4), rng.uniform(0.5, 2, 4)
    theirs = [torch.from_numpy(a.copy()) for a in (mean, var)]
    y, gradients = with_gradients(
        lambda x, *given: functional.batch_norm(x, *theirs, *given, training, 0.2, 1e-4), grad, x, parameters
    )
    found, saved = nd.batch_norm(x, *parameters, mean, var, training, 0.2, 1e-4)
    np.testing.assert_allclose(found, y, **CLOSE)
    np.testing.assert_allclose(mean, theirs[0], **CLOSE)
    np.testing.assert_allclose(var, theirs[1], **CLOSE)
    compare_gradients(nd.batch_norm.backward(grad, x, parameters[0], saved), gradients)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (1, 4, 3)])
def test_batch_norm_of_one_sample(shape, rng):
    """In evaluation; in training one value per channel is an error of both."""
    x, (weight, bias, mean), var = rng.normal(size=shape), rng.normal(size=(3, 4)), rng.uniform(0.5, 2, 4)
    given = [torch.from_numpy(a) for a in (x, mean, var, weight, bias)]
    np.testing.assert_allclose(
        nd.batch_norm(x, weight, bias, mean, var, training=False)[0], functional.batch_norm(*given), **CLOSE
    )
    if x.size == 4:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            functional.batch_norm(*given, training=True)
        with pytest.raises(ValueError, match="at least 2 values per channel"):
            nd.batch_norm(x, weight, bias, mean, var)


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_batch_norm_layers_keep_the_same_statistics(momentum, rng):
    mine = nd.nn.Sequential(nd.nn.BatchNorm(4, momentum=momentum), dtype=np.float64)
    theirs = torch.nn.BatchNorm1d(4, momentum=momentum).double()
    for _ in range(4):
        x = rng.normal(3, 2, (10, 4, 5))
        np.testing.assert_allclose(mine.forward(x, training=True), theirs(torch.from_numpy(x)).detach(), **CLOSE)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(mine.state()[f"0.{key}"].squeeze(), value, err_msg=key, **CLOSE)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(20, 4), (3, 4, 2, 60)])
def test_fused_batch_norm(shape, training, rng):
    x, residual, grad = rng.normal(2, 3, (3, *shape))
    weight, bias, mean = rng.normal(size=(3, 4))
    var, theirs = rng.uniform(0.5, 2, 4), [torch.from_numpy(mean.copy())]
    theirs.append(torch.from_numpy(var.copy()))

    def fn(x, weight, bias, residual):
        return functional.silu(functional.batch_norm(x, *theirs, weight, bias, training) + residual)

    y, *gradients = forward_backward(fn, grad, x, weight, bias, residual)
    op = nd.fuse_batch_norm(nd.stage.residual, nd.silu)
    found, saved = op(x, weight, bias, mean, var, residual, training=training)
    np.testing.assert_allclose(found, y, **CLOSE)
    compare_gradients(op.backward(grad, x, weight, bias, saved, residual), gradients)


ROW_NORMS = [  # name, shape of x, what follows it, shape of weight and bias
    ("layer_norm", (6,), (6,), (6,)),
    ("layer_norm", (5, 6), (6,), (6,)),
    ("layer_norm", (5, 3, 70), ((3, 70),), (3, 70)),
    ("layer_norm", (2, 3, 2, 4), ((2, 4),), (2, 4)),
    ("layer_norm", (2, 3, 2, 4, 5), (5,), (5,)),
    ("rms_norm", (6,), (6,), (6,)),
    ("rms_norm", (2, 3, 2, 4), ((2, 4),), (2, 4)),
    ("group_norm", (5, 6), (3,), (6,)),
    ("group_norm", (5, 6, 7), (2,), (6,)),
    ("group_norm", (2, 6, 9, 8), (2,), (6,)),
    ("group_norm", (2, 6, 2, 3, 2), (6,), (6,)),
    ("instance_norm", (5, 6, 7), (), (6,)),
    ("instance_norm", (2, 6, 9, 8), (), (6,)),
    ("instance_norm", (2, 6, 2, 3, 2), (), (6,)),
]


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("case", ROW_NORMS, ids=str)
def test_row_norms(case, affine, rng):
    name, shape, arguments, size = case
    x, grad = rng.normal(2, 3, (2, *shape))
    parameters = some(rng.normal(size=(2, *size)), affine)[: 1 + (name != "rms_norm")]

    def theirs(x, *given):
        if name == "instance_norm":
            return functional.instance_norm(x, None, None, *given, eps=1e-4)
        if name == "group_norm" and given[0] is None:  # its backward fails for a bias without a weight
            given = (torch.ones(size, dtype=torch.float64), given[1])
        first = [list(np.atleast_1d(arguments[0]))] if name != "group_norm" else arguments
        return getattr(functional, name)(x, *first, *given, eps=1e-4)

    y, gradients = with_gradients(theirs, grad, x, parameters)
    found, saved = getattr(nd, name)(x, *arguments, *parameters, eps=1e-4)
    np.testing.assert_allclose(found, y, **CLOSE)
    compare_gradients(getattr(nd, name).backward(grad, x, parameters[0], saved), gradients)


NORM_LAYERS = {
    "LayerNorm": lambda nn: nn.LayerNorm((4, 5)),
    "LayerNorm without bias": lambda nn: nn.LayerNorm(5, bias=False),
    "RMSNorm": lambda nn: nn.RMSNorm(5),
    "GroupNorm": lambda nn: nn.GroupNorm(2, 4),
    "InstanceNorm": lambda nn: (nn.InstanceNorm1d if nn is torch.nn else nn.InstanceNorm)(4, affine=True),
}


@pytest.mark.parametrize("make", NORM_LAYERS.values(), ids=NORM_LAYERS)
def test_norm_layers_have_the_same_names_and_defaults(make, rng):
    mine, theirs = nd.nn.Sequential(make(nd.nn), dtype=np.float64), make(torch.nn).double()
    x = rng.normal(2, 3, (6, 4, 5))
    assert {key.removeprefix("0."): v.shape for key, v in mine.state().items()} == {
        key: tuple(v.shape) for key, v in theirs.state_dict().items()
    }
    np.testing.assert_allclose(mine.predict(x), theirs(torch.from_numpy(x)).detach(), **CLOSE)


# Layers of both, made with the same arguments; and the shape of an input.
WINDOW_LAYERS = [
    ("Conv1d", (3, 4, 3), {}, (2, 3, 9)),
    ("Conv1d", (4, 6, 2, 2, 1, 3), {"groups": 2, "bias": False}, (3, 4, 11)),
    ("Conv2d", (3, 4, 3), {}, (2, 3, 6, 7)),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2), {}, (3, 4, 6, 7)),
    ("Conv2d", (4, 8, 3), {"padding": "same", "groups": 4, "dilation": (1, 2), "bias": False}, (2, 4, 6, 7)),
    ("Conv2d", (2, 3, 1), {"stride": 3, "padding": "valid"}, (2, 2, 6, 7)),
    ("MaxPool1d", (3,), {"padding": 1}, (2, 3, 10)),
    ("MaxPool1d", (2, 3), {"dilation": 2, "ceil_mode": True}, (2, 3, 11)),
    ("MaxPool2d", (2,), {}, (2, 3, 6, 7)),
    ("MaxPool2d", ((3, 2), (2, 1), (1, 0), (2, 1)), {"ceil_mode": True}, (2, 3, 6, 7)),
    ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, (2, 3, 1, 2)),
    ("AvgPool1d", (3,), {"padding": 1, "ceil_mode": True}, (2, 3, 9)),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 10)),
    ("AvgPool2d", (2,), {}, (2, 3, 6, 7)),
    ("AvgPool2d", (3, 3, 1), {"ceil_mode": True}, (2, 3, 6, 7)),
    ("AvgPool2d", ((4, 3), (3, 1), (2, 1)), {"ceil_mode": True, "count_include_pad": False}, (2, 3, 6, 7)),
]


@pytest.mark.parametrize("case", WINDOW_LAYERS, ids=str)
def test_convolution_and_pooling(case, rng):
    """Outputs and all gradients, with copied weights; of ties and NaN, too, which rounded numbers are full of."""
    name, arguments, options, shape = case
    mine = nd.nn.Sequential(getattr(nd.nn, name)(*arguments, **options), dtype=np.float64)
    theirs = getattr(torch.nn, name)(*arguments, **options).double()
    assert mine.parameters().keys() == {f"0.{key}" for key, _ in theirs.named_parameters()}
    x = rng.normal(size=shape)
    if "MaxPool" in name:
        x = np.round(x)
        x[0].flat[::5] = np.nan
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            value.copy_(torch.from_numpy(mine.parameters()[f"0.{key}"]))
    given = tensor(x)
    y = theirs(given)
    grad = rng.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(grad))
    np.testing.assert_allclose(mine.forward(x, training=True), y.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(mine.backward(grad, input_gradient=True), given.grad.numpy(), **CLOSE)
    for key, value in theirs.named_parameters():
        np.testing.assert_allclose(mine.gradients()[f"0.{key}"], value.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("padding", [None, 2])
def test_embedding(padding, rng):
    mine = nd.nn.Sequential(nd.nn.Embedding(7, 4, padding_idx=padding), dtype=np.float64)
    theirs = torch.nn.Embedding(7, 4, padding_idx=padding).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(mine.parameters()["0.weight"]))
    numbers, grad = rng.integers(0, 7, (5, 6)), rng.normal(size=(5, 6, 4))
    y = theirs(torch.from_numpy(numbers))
    y.backward(torch.from_numpy(grad))
    np.testing.assert_array_equal(mine.forward(numbers, training=True), y.detach().numpy())
    mine.backward(grad)
    np.testing.assert_allclose(mine.gradients()["0.weight"], theirs.weight.grad.numpy(), **CLOSE)


RECURRENT_OPTIONS = [
    {},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 2},
    {"num_layers": 3, "bidirectional": True, "bias": False},
]
RECURRENT = [(name, options) for name in ("RNN", "GRU", "LSTM") for options in RECURRENT_OPTIONS]
RECURRENT += [("RNN", {"nonlinearity": "relu", **options}) for options in RECURRENT_OPTIONS[::2]]
TO_1E_10 = {"rtol": 0, "atol": 1e-10}


def recurrent_pair(name, options, **ours):
    """Layers of 4 features and 6 units with the same weights; ours in a model."""
    mine = nd.nn.Sequential(getattr(nd.nn, name)(4, 6, **options, **ours), dtype=np.float64)
    theirs = getattr(torch.nn, name)(4, 6, batch_first=True, **options).double()
    assert list(mine.parameters()) == [f"0.{key}" for key, _ in theirs.named_parameters()]
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            value.copy_(torch.from_numpy(mine.parameters()[f"0.{key}"]))
    return mine, theirs


@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_recurrent_layers(case, rng):
    """Results, final states and all gradients, those of the initial states too, with copied weights."""
    name, options = case
    mine, theirs = recurrent_pair(name, options)
    layer, count = mine.layers[0], 1 + (name == "LSTM")
    x, states = rng.normal(size=(5, 9, 4)), list(rng.normal(size=(count, len(layer.scans), 5, 6)))
    given, starts = tensor(x), [tensor(state) for state in states]
    y, final = theirs(given, tuple(starts) if count > 1 else starts[0])
    final = final if count > 1 else (final,)
    grad, state_grads = rng.normal(size=tuple(y.shape)), list(rng.normal(size=(count, *states[0].shape)))
    torch.autograd.backward([y, *final], [torch.from_numpy(g) for g in (grad, *state_grads)])

    def one_or_pair(parts):
        return tuple(parts) if count > 1 else parts[0]

    def as_list(state):
        return list(state) if count > 1 else [state]

    mine_y = layer.forward(x, training=True, state=one_or_pair(states))
    np.testing.assert_allclose(mine_y, y.detach().numpy(), **TO_1E_10)
    for found, wanted in zip(as_list(layer.final_state), final, strict=True):
        np.testing.assert_allclose(found, wanted.detach().numpy(), **TO_1E_10)
    dx = layer.backward(grad, state_grad=one_or_pair(state_grads))
    np.testing.assert_allclose(dx, given.grad.numpy(), **TO_1E_10)
    for found, start in zip(as_list(layer.initial_state_gradient()), starts, strict=True):
        np.testing.assert_allclose(found, start.grad.numpy(), **TO_1E_10)
    for key, value in theirs.named_parameters():
        np.testing.assert_allclose(mine.gradients()[f"0.{key}"], value.grad.numpy(), **TO_1E_10)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_truncated_back_propagation(name, rng):
    """PyTorch's layer, called for one part after the other, with states that were detached."""
    mine, theirs = recurrent_pair(name, {}, truncate=4)
    x, grad = rng.normal(size=(5, 10, 4)), rng.normal(size=(5, 10, 6))
    given, state, results = tensor(x), None, []
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        y, state = theirs(given[:, part], state)
        state = tuple(s.detach() for s in state) if name == "LSTM" else state.detach()
        results.append(y)
    torch.cat(results, dim=1).backward(torch.from_numpy(grad))
    mine.forward(x, training=True)
    np.testing.assert_allclose(mine.backward(grad, input_gradient=True), given.grad.numpy(), **TO_1E_10)
    for key, value in theirs.named_parameters():
        np.testing.assert_allclose(mine.gradients()[f"0.{key}"], value.grad.numpy(), **TO_1E_10)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (2, 3, 4, 2, 3)], ids=str)
@pytest.mark.parametrize("name", ["max", "avg"])
def test_global_pooling(name, shape, rng):
    x, grad = rng.normal(size=shape), rng.normal(size=(2, 3))
    mine = nd.nn.Sequential(nd.nn.GlobalMaxPool() if name == "max" else nd.nn.GlobalAvgPool(), dtype=np.float64)
    pool = getattr(functional, f"adaptive_{name}_pool{len(shape) - 2}d")
    y, dx = forward_backward(lambda t: pool(t, 1).reshape(2, 3), grad, x)
    np.testing.assert_allclose(mine.forward(x, training=True), y, **CLOSE)
    np.testing.assert_allclose(mine.backward(grad, input_gradient=True), dx, **CLOSE)


@pytest.fixture
def float64_by_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


OPTIMIZERS = [case for case in rules.CASES + rules.MATRICES if hasattr(torch.optim, case[0]) and case[0] != "Muon"]


@pytest.mark.parametrize("case", OPTIMIZERS, ids=rules.label)
def test_optimizers(case, rng, float64_by_default):
    """All but Muon, which PyTorch computes in bfloat16. NAdam's product of momenta is of PyTorch's default dtype."""
    name, arguments, rule, shape = case
    shape = shape if isinstance(shape, tuple) else (40,)
    start = rng.normal(size=shape)
    gradients = [rng.normal(size=shape) * 10 ** rng.uniform(-4, 1, shape) for _ in range(100)]
    w, parameter = start.copy(), torch.nn.Parameter(torch.from_numpy(start.copy()))
    mine = getattr(nd.optim, name)(w, **arguments)
    theirs = getattr(torch.optim, name)([parameter], **arguments)
    for g, reference in zip(gradients, rule(start, gradients, **arguments), strict=True):
        parameter.grad = torch.from_numpy(g)
        theirs.step()
        mine.step(g)
        np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(reference, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_clipping(rng):
    arrays = [rng.normal(size=n) for n in (5, 70, 1)]
    for max_norm in (0.5, 1e3):
        mine = [a.copy() for a in arrays]
        parameters = [torch.nn.Parameter(torch.zeros(a.size, dtype=torch.float64)) for a in arrays]
        for p, a in zip(parameters, arrays, strict=True):
            p.grad = torch.from_numpy(a.copy())
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        np.testing.assert_allclose(nd.clip_grad_norm_(mine, max_norm), float(norm), rtol=1e-13)
        for a, p in zip(mine, parameters, strict=True):
            np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-12)


def test_a_model_trains_alike(rng):
    """Linear, batch norm, tanh, linear, cross-entropy, AdamW: thirty steps, parameters and statistics."""
    x, labels = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    mine = nd.nn.Sequential(
        nd.nn.Linear(6, 8), nd.nn.BatchNorm(8), nd.nn.Tanh(), nd.nn.Linear(8, 3), dtype=np.float64
    )  # fmt: skip
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).double()  # fmt: skip
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            value.copy_(torch.from_numpy(mine.parameters()[key]))
    optimizer, other = nd.optim.AdamW(mine, lr=0.01), torch.optim.AdamW(theirs.parameters(), lr=0.01)
    for _ in range(30):
        value, grad = nd.losses.cross_entropy.value_and_grad(mine.forward(x, training=True), labels)
        mine.backward(grad)
        optimizer.step()
        other.zero_grad()
        loss = functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(labels))
        loss.backward()
        other.step()
        np.testing.assert_allclose(value, float(loss.detach()), rtol=1e-9)
    state = theirs.state_dict()
    for key, value in mine.state().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_allclose(value, state[key].numpy(), rtol=1e-7, atol=1e-9, err_msg=key)
    np.testing.assert_allclose(
        mine.predict(x), theirs.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-7, atol=1e-9
    )


def test_a_tensor_that_requires_grad_is_refused_by_name():
    with pytest.raises(TypeError, match=r"x: requires grad.*numbadl\.interop\.torch"):
        nd.relu(torch.zeros(3, requires_grad=True))
    with pytest.raises(TypeError, match="x: got dtype int32, accepted are float32 and float64"):
        nd.relu(torch.zeros(3, dtype=torch.int32))
