"""numbadl.interop.torch against PyTorch in float64: values, gradients, compiled graphs, modules, optimisers, no copies."""

import copy
import functools

import numpy as np
import pytest

import numbadl as nd

torch = pytest.importorskip("torch")
ours = pytest.importorskip("numbadl.interop.torch")
F = torch.nn.functional
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
WIDER = {"hardsigmoid": 1e-7, "celu": 1e-7}  # torch has 1/6 and alpha in float32
THEIRS = {
    "exponential": torch.exp,
    "arctan": torch.atan,
    "sin": torch.sin,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
THEIRS |= {
    name: getattr(F, name, None) or getattr(torch, name)
    for name in nd.ACTIVATIONS
    if hasattr(F, name) and name not in ("prelu", "rrelu", "threshold", "glu")
}
NOT_DIFFERENTIABLE = {"binary_step"}


@pytest.fixture
def rng():
    torch._dynamo.reset()  # compiled functions of one line count as one, of which there may be eight
    torch.manual_seed(0)
    return torch.Generator().manual_seed(0)


def random(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def compare(mine, theirs, *tensors, rtol=1e-12):
    """Values and gradients by all tensors, of functions of these."""
    y, z = mine(*tensors), theirs(*tensors)
    torch.testing.assert_close(y, z, rtol=rtol, atol=1e-12)
    h = torch.randn_like(z)
    wanted = [t for t in tensors if t.requires_grad]
    for a, b in zip(torch.autograd.grad(y, wanted, h), torch.autograd.grad(z, wanted, h), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_activations(name, rng):
    compare(getattr(ours, name), THEIRS[name], random(5, 7), rtol=WIDER.get(name, 1e-12))


@pytest.mark.parametrize("name", nd.ACTIVATIONS)
def test_every_activation(name, rng):
    """gradcheck, opcheck and a graph without breaks; rrelu in evaluation has the mean slope."""
    function, x = getattr(ours, name), random(3, 4)
    operations = function.operations
    parameters = [torch.full((4,), p.default + 0.1, dtype=torch.float64) for p in nd.ACTIVATIONS[name].learnable]
    seed = [torch.tensor(3)] * operations.random
    arguments = (x, *parameters, *seed, *operations.options.values())
    torch.library.opcheck(operations.forward.operator, arguments)
    if name not in NOT_DIFFERENTIABLE:
        assert torch.autograd.gradcheck(function, (x, *[p.requires_grad_() for p in parameters]))
    compiled = torch.compile(lambda x: function(x, *parameters), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x, *parameters), rtol=0, atol=0)


LABELS = torch.tensor([0, 3, 2, 1, 6, -100])
CASES = {
    "softmax": (ours.softmax, F.softmax, lambda: (random(4, 5),), (1,)),
    "log_softmax": (ours.log_softmax, F.log_softmax, lambda: (random(4, 5),), (0,)),
    "softmin": (ours.softmin, F.softmin, lambda: (random(4, 5),), (1,)),
    "glu": (ours.glu, F.glu, lambda: (random(4, 6),), (1,)),
    "layer_norm": (None, lambda x, w, b: F.layer_norm(x, (7,), w, b), lambda: (random(5, 7), random(7), random(7)), ()),
    "rms_norm": (None, lambda x, w: F.rms_norm(x, (7,), w), lambda: (random(5, 7), random(7)), ()),
    "group_norm": (None, lambda x, w, b: F.group_norm(x, 2, w, b), lambda: (random(3, 4, 5), random(4), random(4)), ()),
    "instance_norm": (
        lambda x, w, b: ours.instance_norm(x, w, b),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b), lambda: (random(3, 4, 6), random(4), random(4)), (),
    ),
    "batch_norm": (
        lambda x, w, b: ours.batch_norm(x, None, None, w, b, True),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True), lambda: (random(6, 4, 5), random(4), random(4)), (),
    ),
    "mse_loss": (ours.mse_loss, F.mse_loss, lambda: (random(6, 7), random(6, 7, grad=False)), ()),
    "l1_loss": (ours.l1_loss, F.l1_loss, lambda: (random(6, 7), random(6, 7, grad=False)), ()),
    "huber_loss": (ours.huber_loss, F.huber_loss, lambda: (random(6, 7), random(6, 7, grad=False)), ()),
    "smooth_l1_loss": (ours.smooth_l1_loss, F.smooth_l1_loss, lambda: (random(6, 7), random(6, 7, grad=False)), ()),
    "binary_cross_entropy_with_logits": (
        ours.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits,
        lambda: (random(6, 7), random(6, 7, grad=False).sigmoid()), (),
    ),
    "kl_div": (
        lambda x, t: ours.kl_div(x, t, reduction="batchmean"), lambda x, t: F.kl_div(x, t, reduction="batchmean"),
        lambda: (random(6, 7), random(6, 7, grad=False).softmax(1)), (),
    ),
    "cross_entropy": (ours.cross_entropy, F.cross_entropy, lambda: (random(6, 7), LABELS), ()),
    "cross_entropy of each row": (
        lambda x, t: ours.cross_entropy(x, t, reduction="none", label_smoothing=0.2),
        lambda x, t: F.cross_entropy(x, t, reduction="none", label_smoothing=0.2), lambda: (random(6, 7), LABELS), (),
    ),
    "nll_loss": (ours.nll_loss, F.nll_loss, lambda: (random(6, 7), LABELS), ()),
}  # fmt: skip
_SHAPED = {
    "layer_norm": lambda x, w, b: ours.layer_norm(x, (7,), w, b),
    "rms_norm": lambda x, w: ours.rms_norm(x, (7,), w),
}
_SHAPED["group_norm"] = lambda x, w, b: ours.group_norm(x, 2, w, b)


@pytest.mark.parametrize("name", CASES)
def test_operations(name, rng):
    mine, theirs, make, rest = CASES[name]
    mine, given = _SHAPED.get(name, mine), make()
    compare(lambda *a: mine(*a, *rest), lambda *a: theirs(*a, *rest), *given)
    compiled = torch.compile(lambda *a: mine(*a, *rest), fullgraph=True, backend="aot_eager")
    compare(compiled, lambda *a: theirs(*a, *rest), *given)
    assert torch.autograd.gradcheck(lambda *a: mine(*a, *rest), given)


def operators():
    """Arguments for an operator of each kind that `test_every_activation` does not have."""
    rows, norms, losses = ours.rows, ours.norms, ours.losses
    x, w = random(4, 6), random(6)
    yield from ((r.forward, (x, 1)) for r in rows.ROWS.values())
    yield rows.GATED["glu"].forward, (x, 1)
    yield rows.GATED["swiglu"].forward, (x, random(4, 6))
    yield norms.LAYER.forward, (x, w, w, [6], 1e-5)
    yield norms.RMS.forward, (x, w, [6], 1e-5)
    yield norms.GROUP.forward, (x, w, w, 2, 1e-5)
    yield norms.BATCH, (x, w, w, torch.zeros(6).double(), torch.ones(6).double(), True, 0.1, 1e-5)
    yield norms.BATCH, (x, w, w, torch.zeros(6).double(), torch.ones(6).double(), False, 0.1, 1e-5)
    yield from ((d.forward, (x, torch.tensor(5), 0.3)) for d in ours.dropouts.DROPOUTS.values())
    labels = torch.tensor([1, 2, 0, 5])
    for name, loss in losses.LOSSES.items():
        target = labels if name in ("cross_entropy", "nll") else torch.ones(4, 6).double()
        options = (*[None] * len(loss.tensors), *loss.options.values())
        yield loss.operation, (x, target, *options, True)


@pytest.mark.parametrize("number", range(len(list(operators()))))
def test_opcheck(number, rng):
    operation, arguments = list(operators())[number]
    torch.library.opcheck(operation.operator, arguments)


ONCE = {"brelu", "prelu", "rrelu", "soft_exponential", "srelu"}  # learnable or random: a second backward is refused
OFTEN = {"sigmoid", "mish", "elu", "celu", "gelu_tanh", "sinc"}


@pytest.mark.parametrize(
    "name", [n if n in OFTEN | ONCE else pytest.param(n, marks=pytest.mark.slow) for n in nd.ACTIVATIONS]
)
def test_second_derivatives_of_activations(name, rng):
    function, x = getattr(ours, name), random(5, 8)
    if name not in ONCE:
        assert torch.autograd.gradgradcheck(function, (x,))
        return
    (slope,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f"numbadl's {name}.* has no second derivative"):
        slope.sum().backward()


def test_second_derivatives(rng):
    for function in (ours.softmax, ours.log_softmax, ours.softmin):
        assert torch.autograd.gradgradcheck(function, (random(3, 4),))
    x = random(3, 4)
    (slope,) = torch.autograd.grad(ours.mse_loss(x, torch.zeros(3, 4).double()).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        slope.sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own forward mode
@pytest.mark.parametrize("name", ["gelu", "softmax", "layer_norm", "batch_norm", "cross_entropy", "mse_loss"])
def test_transforms_of_torch_func(name, rng):
    """Gradients, Jacobians, and each under vmap; forward mode, which there is none of, says so and loses no tangent."""
    func, x, weight = torch.func, random(4, 5, grad=False), random(5, grad=False)
    rest = {
        "gelu": (), "softmax": (-1,), "layer_norm": ((5,), weight), "batch_norm": (None, None, weight, None, True),
        "cross_entropy": (torch.tensor([0, 4, 2, 1]),), "mse_loss": (torch.zeros_like(x),),
    }[name]  # fmt: skip
    mine, theirs = (functools.partial(lambda f, x: f(x, *rest), getattr(library, name)) for library in (ours, F))
    transforms = (
        lambda f: func.grad(lambda x: f(x).square().sum())(x), lambda f: func.vjp(f, x)[1](torch.ones_like(f(x))),
        lambda f: func.jacrev(f)(x), lambda f: func.vmap(f)(torch.stack([x, 2 * x])),
        lambda f: func.vmap(func.grad(lambda x: f(x).square().sum()))(torch.stack([x, 2 * x])),
    )  # fmt: skip
    for transform in transforms:
        torch.testing.assert_close(transform(mine), transform(theirs), **CLOSE)
    if name in ("gelu", "softmax"):
        torch.testing.assert_close(func.jacrev(func.jacrev(mine))(x), func.jacrev(func.jacrev(theirs))(x), **CLOSE)
    with pytest.raises(NotImplementedError, match=f"numbadl's {name}.* has no derivative in forward mode"):
        func.jvp(mine, (x,), (x,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        mine(torch.autograd.forward_ad.make_dual(x, x))


def test_gradients_of_single_samples(rng):
    """What torch.func is mostly for; targets have gradients, too."""
    func, theirs = torch.func, torch.nn.Sequential(
        torch.nn.Linear(5, 6), torch.nn.GELU(), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2)
    ).double()  # fmt: skip
    parameters = {name: p.detach() for name, p in theirs.named_parameters()}
    x, y = random(4, 5, grad=False), torch.rand(4, 2, dtype=torch.float64)

    def gradients(net, library):
        def loss(p, x, y):
            return library.mse_loss(func.functional_call(net, p, (x[None],)), y[None])

        return func.vmap(func.grad(loss, (0, 2)), (None, 0, 0))(parameters, x, y)

    torch.testing.assert_close(gradients(ours.replace(copy.deepcopy(theirs)), ours), gradients(theirs, F), **CLOSE)


@pytest.mark.parametrize(("name", "shape"), [("dropout1d", (50, 3)), ("dropout3d", (50, 2, 3, 2))])
def test_feature_dropout_of_a_single_example(name, shape, rng):
    """Feature maps are those of the first axis then, as torch has it; in place as well."""
    for inplace in (False, True):
        x = torch.ones(shape)
        y = getattr(ours, name)(x, 0.5, inplace=inplace)
        maps = y.flatten(1)
        assert y.shape == x.shape and (maps == maps[:, :1]).all() and 5 < maps[:, 0].count_nonzero() < 45
        assert (y is x) == inplace and getattr(ours, name)(x, 0.5, False).equal(x)
    module = getattr(ours.nn, name.capitalize())(0.5)
    assert module(torch.ones(shape)).flatten(1).std(1).max() == 0


def test_dropout_follows_torchs_generator(rng):
    x = torch.ones(50, 40, requires_grad=True)
    torch.manual_seed(3)
    first, other = ours.dropout(x, 0.25), ours.dropout(x, 0.25)
    torch.manual_seed(3)
    assert torch.equal(ours.dropout(x, 0.25), first) and not torch.equal(first, other)
    first.sum().backward()
    assert torch.equal(x.grad, first.detach()), "backward draws another mask"
    assert ours.dropout(x, 0.25, training=False) is x
    compiled = torch.compile(lambda x: ours.dropout(x, 0.5), fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x), compiled(x)), "a compiled graph has one mask"


def test_arrays_are_taken_without_a_copy():
    x, out = torch.tensor([[1.0, -2.0]]), torch.empty(1, 2)
    address = out.data_ptr()
    assert nd.relu(x, out=out) is out and out.data_ptr() == address and out.tolist() == [[1.0, 0.0]]
    assert nd.relu(x, out=x) is x and x.tolist() == [[1.0, 0.0]]
    assert isinstance(nd.softmax(x), torch.Tensor) and isinstance(nd.layer_norm(x, 2)[0], torch.Tensor)
    assert nd.norm([x, x]) == pytest.approx(2**0.5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch.compile itself
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mse_loss", {}), ("mse_loss", {"reduction": "none"}), ("l1_loss", {"reduction": "sum"}),
        ("huber_loss", {"delta": 0.4}), ("smooth_l1_loss", {"beta": 0.3, "reduction": "none"}),
        ("kl_div", {"reduction": "batchmean"}), ("kl_div", {"log_target": True, "reduction": "sum"}),
        ("binary_cross_entropy_with_logits", {}),
        ("binary_cross_entropy_with_logits", {"weight": torch.tensor([0.5, 2, 1]), "pos_weight": torch.tensor([3.0, 1, 0.2])}),
        ("binary_cross_entropy_with_logits", {"weight": torch.tensor([0.5, 2, 1]), "reduction": "none"}),
    ],
)  # fmt: skip
def test_gradients_by_the_target(name, options):
    torch.manual_seed(1)
    torch.compiler.reset()  # partial functions have one code object, of which eight versions may be compiled
    options = {key: value.double() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
    input, target = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64) * 0.9 + 0.05
    for wanted in ((True, True), (False, True)):
        given = [t.clone().requires_grad_(w) for t, w in zip((input, target), wanted, strict=True)]
        leaves, found = [t for t in given if t.requires_grad], []
        mine, theirs = (functools.partial(getattr(library, name), **options) for library in (ours, F))
        for function in (theirs, mine, torch.compile(mine, fullgraph=True, backend="aot_eager")):
            result = function(*given)
            upstream = torch.linspace(1, 2, result.numel(), dtype=torch.float64).reshape(result.shape)
            found.append([result, *torch.autograd.grad(result, leaves, upstream)])
        for own in found[1:]:
            torch.testing.assert_close(own, found[0], rtol=1e-12, atol=1e-13)
    result = getattr(ours, name)(*given, **options).sum()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        (slope,) = torch.autograd.grad(result, given[1], create_graph=True)
        torch.autograd.grad(slope.sum(), given[1])


def test_what_is_refused():
    x = torch.ones(3)
    with pytest.raises(TypeError, match=r"^x: got dtype int64.*; x\.to\(torch\.float32\) converts it"):
        nd.silu(x.long())
    with pytest.raises(TypeError, match="^softmax: .*'dim'"):
        nd.softmax(x, dim=0)
    with pytest.raises(TypeError, match=r"x: requires grad.*numbadl\.interop\.torch"):
        nd.gelu(x.clone().requires_grad_())
    for wrong, message in (
        (x.half(), "float16"),
        (x.bfloat16(), "bfloat16"),
        (x.to_sparse(), "sparse"),
        (x.to("meta"), "meta"),
    ):
        with pytest.raises(TypeError, match=message):
            nd.gelu(wrong)
    with pytest.raises(TypeError, match=r"operands\[1\]: requires grad"):
        nd.fuse(nd.stage.bias, nd.stage.residual)(x[None], x, x[None].clone().requires_grad_())
    with pytest.raises(TypeError, match="target: requires grad"):
        ours.cross_entropy(x[None], torch.ones_like(x[None]).requires_grad_())


def test_subclasses_of_modules_that_leave_some_to_torch():
    class Mine(ours.nn.InstanceNorm2d):
        pass

    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(Mine(3, track_running_stats=True)(x), torch.nn.InstanceNorm2d(3)(x))
    assert Mine(3)(x[0]).shape == (3, 4, 4)


def net():
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.GroupNorm(2, 4), nn.PReLU(4), nn.GELU("tanh"),
        nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10), nn.Softplus(2), nn.LogSoftmax(1),
    ).double()  # fmt: skip


def test_replaced_modules(rng):
    theirs = net()
    mine = ours.replace(copy.deepcopy(theirs))
    assert sum(type(m).__module__ == "numbadl.interop.torch.nn" for m in mine) == 8
    x = random(5, 2, 6, 6, grad=False)
    for training in (True, False):
        a, b = mine.train(training)(x), theirs.train(training)(x)
        torch.testing.assert_close(a, b, **CLOSE)
        a.square().sum().backward()
        b.square().sum().backward()
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-10)
    mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=0)


COMPARED = [name for name in ours.optim.OPTIMIZERS if hasattr(torch.optim, name)]
LOOSE = {"NAdam": 1e-7, "Muon": 1e-2}  # torch keeps a product in float32, and iterates in bfloat16


def steps(optimizer, model, x, count):
    for _ in range(count):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", COMPARED)
def test_optimisers(name, rng):
    """The same steps as torch's; then each goes on with the other's state."""
    mine = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=name != "Muon"), torch.nn.Tanh()).double()
    theirs, x = copy.deepcopy(mine), random(9, 6, grad=False)
    addresses = [p.data_ptr() for p in mine.parameters()]
    a, b = (
        getattr(ours.optim, name)(mine.parameters(), lr=0.01),
        getattr(torch.optim, name)(theirs.parameters(), lr=0.01),
    )
    tolerance = LOOSE.get(name, 1e-12)
    for _ in range(2):
        steps(a, mine, x, 3)
        steps(b, theirs, x, 3)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
        of_mine, of_theirs = copy.deepcopy(a.state_dict()), copy.deepcopy(b.state_dict())
        a.load_state_dict(of_theirs)
        b.load_state_dict(of_mine)
    assert addresses == [p.data_ptr() for p in mine.parameters()]


@pytest.mark.parametrize("name", [name for name in ours.optim.OPTIMIZERS if name not in COMPARED])
def test_optimisers_that_torch_has_not(name, rng):
    """The bits of numbadl's own."""
    p = torch.nn.Parameter(random(4, 3, grad=False))
    w, options = p.detach().numpy().copy(), {"lr": 0.01}
    mine, native = getattr(ours.optim, name)([p], **options), getattr(nd.optim, name)([w], **options)
    for _ in range(3):
        p.grad = random(4, 3, grad=False)
        native.step([p.grad.numpy()])
        mine.step()
    np.testing.assert_array_equal(p.detach().numpy(), w)


def test_a_first_step_that_is_skipped_is_none(rng):
    """Accumulators that do not start at 0 are no sign of a step before."""
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    w, native = np.ones(3), {"lr": 0.01, "nonfinite": "skip"}
    mine, expected = ours.optim.Yogi([p, q], **native), nd.optim.Yogi([w], **native)
    p.grad = torch.full_like(p, torch.nan)
    mine.step()
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(p)  # one more tensor: a new plan
    mine.step()
    expected.step([np.ones(3)])
    for found in (p, q):
        np.testing.assert_array_equal(found.detach().numpy(), w)


def test_groups_schedulers_closures_and_missing_gradients(rng):
    both = [torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 2)).double()]
    both.append(copy.deepcopy(both[0]))
    x = random(9, 6, grad=False)
    for library, model in zip((ours.optim, torch.optim), both, strict=True):
        optimizer = library.AdamW(model[0].parameters(), lr=0.02)
        optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.1})
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        for k in range(6):

            def closure(model=model, optimizer=optimizer, k=k):
                optimizer.zero_grad()
                loss = model(x).square().sum()
                loss.backward()
                if k % 2:
                    model[1].bias.grad = None
                return loss

            assert optimizer.step(closure).item() > 0
            scheduler.step()
    for p, q in zip(*(model.parameters() for model in both), strict=True):
        torch.testing.assert_close(p, q, **CLOSE)


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_training_reaches_the_same_accuracy(network):
    from tests.peers import torch_training

    theirs, mine = torch_training.accuracies(network, epochs=8)
    assert mine > 0.95 and abs(theirs - mine) < 0.02
