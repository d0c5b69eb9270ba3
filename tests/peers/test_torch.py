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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(20, 4), (6, 4, 5), (3, 4, 2, 6)])
def test_batch_norm(shape, training, rng):
    x, grad = rng.normal(2, 3, (2, *shape))
    weight, bias, mean = rng.normal(size=(3, 4))
    var = rng.uniform(0.5, 2, 4)
    theirs = [torch.from_numpy(a.copy()) for a in (mean, var)]

    def fn(x, weight, bias):
        return functional.batch_norm(x, *theirs, weight, bias, training, 0.2, 1e-4)

    y, *gradients = forward_backward(fn, grad, x, weight, bias)
    found, saved = nd.batch_norm(x, weight, bias, mean, var, training, 0.2, 1e-4)
    np.testing.assert_allclose(found, y, **CLOSE)
    np.testing.assert_allclose(mean, theirs[0], **CLOSE)
    np.testing.assert_allclose(var, theirs[1], **CLOSE)
    for mine, their in zip(nd.batch_norm.backward(grad, x, weight, saved), gradients, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", rules.CASES, ids=rules.label)
def test_optimizers(case, rng):
    name, arguments, rule, _ = case
    start = rng.normal(size=40)
    gradients = [rng.normal(size=40) * 10 ** rng.uniform(-4, 1, 40) for _ in range(100)]
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
    with pytest.raises(TypeError, match=r"x: got torch\.Tensor.*numbadl\.interop\.torch"):
        nd.relu(torch.zeros(3, requires_grad=True))
    with pytest.raises(TypeError, match="x: got torch.Tensor"):
        nd.relu(torch.zeros(3, dtype=torch.int32))
