"""The short way of numbadl.interop.torch's eager calls: it is taken, has the long one's bits, and refuses what that refuses."""

import functools
import threading

import numpy as np
import pytest
from numbadl.kernels import cpu

torch = pytest.importorskip("torch")
ours = pytest.importorskip("numbadl.interop.torch")
from numbadl.interop.torch.operation import Operation
from numbadl.interop.torch.prepared import Call

F = torch.nn.functional


def _shortened():
    """Calls that take the short way, by name: function, how its tensors are made."""
    x = w = lambda *shape: torch.randn(shape).requires_grad_()
    labels = torch.tensor([1, 0, 3, 2])
    stats = lambda: (torch.zeros(6), torch.ones(6))  # noqa: E731
    yield "gelu", lambda x: ours.gelu(x), [x(4, 6)]
    yield "gelu by a tanh", lambda x: ours.gelu(x, "tanh"), [x(4, 6)]
    yield "elu", lambda x: ours.elu(x, 0.7), [x(4, 6)]
    yield "layer norm", lambda x, w, b: ours.layer_norm(x, (6,), w, b), [x(4, 6), w(6), w(6)]
    yield "layer norm of two axes", lambda x, w, b: ours.layer_norm(x, (3, 2), w, b), [x(4, 3, 2), x(3, 2), x(3, 2)]
    yield "rms norm", lambda x, w: ours.rms_norm(x, (6,), w), [x(4, 6), w(6)]
    yield "group norm", lambda x, w, b: ours.group_norm(x, 2, w, b), [x(4, 6, 3), w(6), w(6)]
    yield "instance norm", lambda x, w, b: ours.instance_norm(x, w, b), [x(4, 6, 3), w(6), w(6)]
    for training in (True, False):
        batch_norm = functools.partial(ours.batch_norm, training=training)
        yield f"batch norm, {training}", lambda x, w, b, f=batch_norm: f(x, *stats(), w, b), [x(4, 6, 3), w(6), w(6)]
    yield "dropout", lambda x: ours.dropout(x, 0.3), [x(40, 6)]
    slopes = lambda count: torch.full((count,), 0.3).requires_grad_()  # noqa: E731
    yield "prelu", lambda x, a: ours.prelu(x, a), [x(4, 6), slopes(1)]
    yield "prelu of channels", lambda x, a: ours.prelu(x, a), [x(4, 6, 3), slopes(6)]
    yield "srelu", lambda x, *given: ours.srelu(x, *given), [x(4, 6), slopes(6), slopes(6), slopes(6), slopes(6)]
    yield "softmax", lambda x: ours.softmax(x, -1), [x(4, 2, 6)]
    yield "log softmax", lambda x: ours.log_softmax(x, 1), [x(4, 6)]
    yield "glu", lambda x: ours.glu(x, 1), [x(4, 6, 3)]
    yield "swiglu", lambda x, gate: ours.swiglu(x, gate), [x(4, 6), x(4, 6)]
    share, many = torch.rand(4, 6), torch.randn(4, 6)
    yield "mse", lambda x: ours.mse_loss(x, many), [x(4, 6)]
    yield "huber", lambda x: ours.huber_loss(x, many, delta=0.5, reduction="sum"), [x(4, 6)]
    yield "kl_div", lambda x: ours.kl_div(x, share, reduction="batchmean"), [x(4, 6)]
    yield "kl_div of logs", lambda x: ours.kl_div(x, many, log_target=True), [x(4, 6)]
    yield "binary cross entropy", lambda x: ours.binary_cross_entropy_with_logits(x, share), [x(4, 6)]
    yield "cross entropy", lambda x: ours.cross_entropy(x, labels), [x(4, 6)]


def _bits(function, tensors, seed=3):
    """The result and the gradients, as one flat tensor."""
    torch.manual_seed(seed)
    result = function(*tensors)
    torch.manual_seed(seed)
    grads = torch.autograd.grad(result, tensors, torch.randn(result.shape))
    return torch.cat([t.detach().reshape(-1) for t in (result, *grads)])


@pytest.mark.parametrize("number", range(len(list(_shortened()))))
def test_the_short_way_has_the_bits_of_the_long_one(number, monkeypatch):
    torch.manual_seed(number)
    name, function, tensors = list(_shortened())[number]
    with monkeypatch.context() as patched:
        patched.setattr(Operation, "_way", lambda self, arguments: "operator")
        expected = _bits(function, tensors)
    with monkeypatch.context() as patched:
        patched.setattr(Operation, "_setup", None)  # of the long way
        patched.setattr(Operation, "_gradients", None)
        short = _bits(function, tensors)
        with torch.no_grad():
            torch.manual_seed(3)
            value = function(*tensors)
    assert torch.equal(short, expected), name
    assert torch.equal(value.reshape(-1), short[: value.numel()]), name
    turned = [t.detach().mT.contiguous().mT.requires_grad_() if t.dim() > 1 else t for t in tensors]
    assert torch.allclose(_bits(function, turned), expected, atol=1e-6), f"{name} of what is not contiguous"


def test_the_short_way_refuses_as_the_long_one_does():
    x, w = torch.randn(4, 6), torch.ones(6)
    for call, message in (
        (lambda: ours.cross_entropy(x, torch.tensor([1, 2, 6, 0])), "labels"),
        (lambda: ours.cross_entropy(x, torch.tensor([1, 2, -1, 0])), "labels"),
        (lambda: ours.cross_entropy(x, torch.tensor([1, 2, 3])), "labels"),
        (lambda: ours.layer_norm(x, (5,), w, w), "normalized_shape"),
        (lambda: ours.layer_norm(x, (6,), w[:5], w), "weight"),
        (lambda: ours.layer_norm(x, (6,), w, w, eps=-1), "eps"),
        (lambda: ours.group_norm(x, 4, w, w), "num_groups"),
        (lambda: ours.batch_norm(x[:1], w.clone(), w.clone(), w, w, True), "at least 2 values"),
        (lambda: ours.batch_norm(x, w.clone(), w.clone(), w, w, True, momentum=2.0), "momentum"),
        (lambda: ours.elu(x, float("nan")), "alpha"),
        (lambda: ours.prelu(x, torch.ones(5)), "weight|alpha"),
        (lambda: ours.softmax(x, 2), "axis"),
        (lambda: ours.glu(x[:, :5].contiguous()), "even"),
        (lambda: ours.mse_loss(x, x[:3].contiguous()), "target"),
        (lambda: ours.huber_loss(x, x, delta=-1.0), "delta"),
        (lambda: ours.binary_cross_entropy_with_logits(x, x - 9), "target"),
        (lambda: ours.dropout(x, 1.5), "p: "),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="float16"):
        ours.gelu(x.half())
    with pytest.raises(TypeError, match="weight"):
        ours.layer_norm(x, (6,), w.double(), w)
    ignored = torch.tensor([1, -100, 2, 0])
    assert torch.allclose(ours.cross_entropy(x, ignored), F.cross_entropy(x, ignored))


def test_a_kept_gradient_is_not_added_to():
    x = torch.randn(4, 6, requires_grad=True)
    loss = ours.cross_entropy(x, torch.tensor([1, 0, 3, 2]))
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    for _ in range(2):
        loss.backward(retain_graph=True)
    assert torch.allclose(x.grad, 3 * once)


def test_a_gradient_that_was_changed_in_place_is_computed_again():
    x, labels = torch.randn(4, 6, requires_grad=True), torch.tensor([1, 0, 3, 2])
    loss = ours.cross_entropy(x, labels)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    expected = first.clone()
    first.mul_(5)
    (again,) = torch.autograd.grad(loss, x)
    assert torch.equal(again, expected)


def test_tensors_are_taken_as_they_are_now():
    """Where a tensor lies, what it is a view of, and who owns a gradient, may change from call to call."""
    x = torch.randn(4, 6)
    for _ in range(3):
        assert torch.equal(ours.relu(x), F.relu(x))
        x.data = torch.randn(4, 6)
    assert torch.equal(ours.relu(x.reshape(2, 12)[1]), F.relu(x.reshape(-1)[12:]))
    turned = torch._neg_view(torch.randn(4, 6))  # as the imaginary part of a conjugate is: its sign is in a flag
    assert torch.equal(ours.relu(turned), F.relu(turned))
    for shape in ((300, 40), (40, 300)):  # the gradient of a sum is one number, expanded; its copy belongs to no one
        x = torch.randn(shape, requires_grad=True)
        for function, theirs in ((ours.gelu, F.gelu), (ours.relu, F.relu)):
            ((3 * function(x)).sum()).backward()
            mine, x.grad = x.grad, None
            ((3 * theirs(x)).sum()).backward()
            torch.testing.assert_close(mine, x.grad)
            x.grad = None


def test_a_prepared_call_takes_what_was_declared_and_nothing_else():
    call = Call(keeps=True)
    x, weight = call.given(np.float32, 2, 3), call.given(np.float32)
    call.absent()
    y, z, scratch = call.made(np.float32, 2, 3), call.made(np.float32, 3), call.scratch(np.float32, 2, 3)
    call.step(cpu.kernel("relu"), x.flat, scratch.flat)
    call.step(cpu.kernel("scaled"), scratch.flat, y.flat, weight)
    call.step(cpu.kernel("scaled"), y[1], z, np.float32(2))
    run = call.prepared()
    x, half = torch.randn(2, 3), torch.tensor(0.5)
    for given in (x, torch.nn.Parameter(x), x[None][0], torch.cat([x, x])[2:]):
        y, z = run(given, half, None)
        assert torch.equal(y, F.relu(x) / 2) and torch.equal(z, F.relu(x)[1])
    unaligned = torch.frombuffer(bytearray(25), dtype=torch.float32, offset=1).reshape(2, 3)
    others = (
        None, 3.0, x.double(), x[:1], x.reshape(3, 2), x.reshape(-1), x.T.contiguous().T, torch.randn(2, 6)[:, ::2], unaligned,
        x.to("meta"), x.to_sparse(), torch._efficientzerotensor((2, 3)),
    )  # fmt: skip
    for other in others:
        assert run(other, half, None) is None
    assert run(x, None, None) is None and run(x, half, half) is None and run(x, half) is None


def test_threads_share_a_prepared_call():
    """Each has results and scratch of its own, while kernels run without Python's lock."""
    logits, labels = torch.randn(8, 2000, 10), torch.randint(0, 10, (8, 2000))
    expected = [F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
    wrong = []

    def check(k):
        for _ in range(50):
            if not torch.allclose(ours.cross_entropy(logits[k], labels[k]), expected[k], rtol=1e-5):
                wrong.append(k)

    threads = [threading.Thread(target=check, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
