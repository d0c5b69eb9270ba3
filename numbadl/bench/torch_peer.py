"""PyTorch's functions on the CPU, (arrays, out): the C++ operation with ``out=`` itself, or what PyTorch composes.

Where an operation takes no output, theirs allocates its result.
"""

import functools
import inspect

import torch
from torch.nn import functional as F

from .layers import DROPPED, EPSILON

aten = torch.ops.aten
NAME, VERSION = "PyTorch", torch.__version__

array = torch.from_numpy
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805  # of selu


def to_numpy(a):
    """The peer's array as NumPy's."""
    return a.detach().numpy() if isinstance(a, torch.Tensor) else a


def _out(operation, *options):
    def run(x, out):
        operation(x, *options, out=out)

    return run


def _allocating(function, *options):
    return lambda x, out: function(x, *options)


def _backward(operation, *options, **named):
    def run(grad, x, out):
        operation(grad, x, *options, grad_input=out, **named)

    return run


def _from_x(forward, backward, kept=1):
    """A backward from (grad, x), where ours starts, too: what it takes of forward, then backward, into arrays that are kept.

    PyTorch's autograd has kept that result; the rows "of y" compare what is left then.
    """
    known = {}

    def run(grad, x, out):
        if x.shape not in known:
            known.clear()
            known[x.shape] = [torch.empty_like(x) for _ in range(kept)]
        forward(x, *known[x.shape])
        backward(grad, x, known[x.shape][-1], out)

    return run


def _by_result(forward, backward):
    return _from_x(lambda x, y: forward(x, out=y), lambda grad, x, y, out: backward(grad, y, out))


def _logsigmoid_with_buffer(x, y, buffer):
    aten.log_sigmoid_forward.output(x, output=y, buffer=buffer)


def _logsigmoid_backward(grad, x, buffer, out):
    aten.log_sigmoid_backward.grad_input(grad, x, buffer, grad_input=out)


def _product(grad, y, out):
    torch.mul(grad, y, out=out)


def _autograd(function):
    """A composed function's backward: autograd's graph, built once."""
    graphs = {}

    def run(grad, x, out):
        if x.data_ptr() not in graphs:
            graphs.clear()
            leaf = x.detach().requires_grad_()
            graphs[x.data_ptr()] = leaf, function(leaf)
        leaf, y = graphs[x.data_ptr()]
        return torch.autograd.grad(y, leaf, grad, retain_graph=True)[0]

    return run


def _elu_backward(alpha, scale, input_scale):
    def run(grad, x, out):
        aten.elu_backward.grad_input(grad, alpha, scale, input_scale, False, x, grad_input=out)

    return run


def _rrelu(x, out):
    noise = torch.empty_like(x)
    aten.rrelu_with_noise.out(x, noise, 1 / 8, 1 / 3, True, None, out=out)


_QUARTER = torch.tensor([0.25])


def _copy(x, out):
    out.copy_(x)


def _gelu_tanh(x, out):
    aten.gelu.out(x, approximate="tanh", out=out)


FORWARD = {
    name: _out(operation)
    for name, operation in {
        "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1, "log": torch.log, "log2": torch.log2,
        "log1p": torch.log1p, "tanh": torch.tanh, "sinh": torch.sinh, "cosh": torch.cosh, "sin": torch.sin,
        "cos": torch.cos, "atan": torch.atan, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "erf": torch.erf,
        "erfc": torch.erfc, "sigmoid": torch.sigmoid, "silu": aten.silu.out,
        "gelu": aten.gelu.out, "hardsigmoid": aten.hardsigmoid.out, "hardswish": aten.hardswish.out,
        "mish": aten.mish.out, "exponential": torch.exp, "arctan": torch.atan, 
        "normal_cdf": torch.special.ndtr,
    }.items()
}  # fmt: skip
FORWARD |= {
    "identity": _copy,
    "relu": _out(torch.clamp_min, 0.0),  # relu itself, with out=, is a generated copy and 10 times as slow
    "softplus": _out(aten.softplus.out, 1.0, 20.0),
    "log_sigmoid": _allocating(F.logsigmoid),
    "logsigmoid": _allocating(F.logsigmoid),
    "leaky_relu": _out(aten.leaky_relu.out, 0.01),
    "elu": _out(aten.elu.out, 1.0, 1.0, 1.0),
    "selu": _out(aten.elu.out, _ALPHA, _SCALE, 1.0),
    "celu": _out(aten.elu.out, 1.0, 1.0, 1.0),
    "hardtanh": _out(aten.hardtanh.out, -1.0, 1.0),
    "relu6": _out(aten.hardtanh.out, 0.0, 6.0),
    "hardshrink": _out(aten.hardshrink.out, 0.5),
    "softshrink": _out(aten.softshrink.out, 0.5),
    "threshold": _out(aten.threshold.out, 0.0, 0.0),
    "gelu_tanh": _gelu_tanh,
    "tanhshrink": _allocating(F.tanhshrink),
    "softsign": _allocating(F.softsign),
    "prelu": lambda x, out: torch.prelu(x, _QUARTER),
    "rrelu": _rrelu,
}
BACKWARD_OF_RESULT = {
    "sigmoid": _backward(aten.sigmoid_backward.grad_input),
    "tanh": _backward(aten.tanh_backward.grad_input),
    "exponential": _product,
}
BACKWARD = {
    "sigmoid": _by_result(torch.sigmoid, BACKWARD_OF_RESULT["sigmoid"]),
    "tanh": _by_result(torch.tanh, BACKWARD_OF_RESULT["tanh"]),
    "exponential": _by_result(torch.exp, BACKWARD_OF_RESULT["exponential"]),
    "relu": _backward(aten.threshold_backward.grad_input, 0.0),
    "silu": _backward(aten.silu_backward.grad_input),
    "gelu": _backward(aten.gelu_backward.grad_input),
    "gelu_tanh": _backward(aten.gelu_backward.grad_input, approximate="tanh"),
    "softplus": _backward(aten.softplus_backward.grad_input, 1.0, 20.0),
    "leaky_relu": _backward(aten.leaky_relu_backward.grad_input, 0.01, False),
    "hardtanh": _backward(aten.hardtanh_backward.grad_input, -1.0, 1.0),
    "relu6": _backward(aten.hardtanh_backward.grad_input, 0.0, 6.0),
    "hardsigmoid": _backward(aten.hardsigmoid_backward.grad_input),
    "hardshrink": _backward(aten.hardshrink_backward.grad_input, 0.5),
    "softshrink": _backward(aten.softshrink_backward.grad_input, 0.5),
    "threshold": _backward(aten.threshold_backward.grad_input, 0.0),
    "elu": _elu_backward(1.0, 1.0, 1.0),
    "selu": _elu_backward(_ALPHA, _SCALE, 1.0),
    "celu": _elu_backward(1.0, 1.0, 1.0),
    "hardswish": lambda grad, x, out: aten.hardswish_backward(grad, x),
    "mish": lambda grad, x, out: aten.mish_backward(grad, x),
    "logsigmoid": _from_x(_logsigmoid_with_buffer, _logsigmoid_backward, kept=2),
    "tanhshrink": _autograd(F.tanhshrink),
    "softsign": _autograd(F.softsign),
    "arctan": _autograd(torch.atan),
    "sin": _autograd(torch.sin),
}


START = {
    "import": "import torch",
    "first_call.cached": "import torch; torch.nn.functional.silu(torch.zeros(16))",
}


def chain(x, bias, residual, grad, made=lambda function: function):
    """(forward, gradients): functions of dropout's p, for bias, gelu, dropout, residual; *made* may compile them."""
    arrays = [torch.from_numpy(a) for a in (x, bias, residual)]

    def eager(x, bias, residual, p):
        return F.dropout(F.gelu(x + bias), p) + residual

    function, upstream = made(eager), torch.from_numpy(grad)

    def forward(p):
        with torch.no_grad():
            return function(*arrays, p)

    def gradients(p):
        leaves = [a.detach().requires_grad_() for a in arrays]
        return torch.autograd.grad(function(*leaves, p), leaves, upstream)[:2]

    return forward, gradients


# -- parts of networks (`numbadl.bench.network`): functions of NumPy arrays that give a function to call -----------------
def _tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def _row(operation, axis=-1):
    def prepare(x):
        x, out = torch.from_numpy(x), torch.empty(x.shape)
        return lambda: operation(x, axis, out=out)

    return prepare


def _row_backward(forward, operation):
    def prepare(grad, x):
        grad, x = _tensors(grad, x)
        y, out = forward(x, -1), torch.empty(x.shape)
        return lambda: operation(grad, y, -1, torch.float32, **{_RESULT[operation]: out})

    return prepare


_RESULT = {aten._softmax_backward_data.out: "grad_input", aten._log_softmax_backward_data.out: "out"}


def _loss_value(function):
    def prepare(prediction, target):
        prediction, target = _tensors(prediction, target)
        return lambda: function(prediction, target)

    return prepare


def _loss(function):
    def prepare(prediction, target):
        leaf, target = torch.from_numpy(prediction.copy()).requires_grad_(), torch.from_numpy(target)

        def run():
            leaf.grad = None
            function(leaf, target).backward()
            return leaf.grad

        return run

    return prepare


def normalised(function, backward=False):
    def prepare(x, grad, weight, bias):
        x, grad, weight, bias = (t.clone().requires_grad_(backward) for t in _tensors(x, grad, weight, bias))
        mean, variance = torch.zeros(x.shape[1]), torch.ones(x.shape[1])

        def run():
            y = function(x, mean, variance, weight, bias)
            if not backward:
                return y
            x.grad = weight.grad = bias.grad = None
            y.backward(grad.detach())
            return x.grad

        return run

    return prepare


def _batch_norm(x, mean, variance, weight, bias):
    return F.batch_norm(x, mean, variance, weight, bias, True)


def batch_norm_relu(*arrays):
    return F.relu(_batch_norm(*arrays))


def _layer_norm(x, mean, variance, weight, bias):
    return F.layer_norm(x, x.shape[1:], weight, bias)


def _optimizer(params, grads, name, way, options):
    options = dict(options)
    clip = options.pop("clip_norm", None)
    kind_of = getattr(torch.optim, name, None)
    if kind_of is None:
        return None
    way = {way: True} if way in inspect.signature(kind_of).parameters else {}
    leaves = [p.clone().requires_grad_() for p in _tensors(*params)]
    for leaf, grad in zip(leaves, _tensors(*grads), strict=True):
        leaf.grad = grad.clone()
    optimizer = kind_of(leaves, **options, **way)

    def run():
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(leaves, clip)
        optimizer.step()
        return leaves[0].detach()

    return run


def _dropout(x):
    x = torch.from_numpy(x)
    return lambda: F.dropout(x, 0.5)


def _layer(make, backward):
    """A layer of PyTorch's with our parameters: its output, or the first of the gradients of input and parameters."""

    def prepare(x, grad, *parameters):
        layer, x, grad = make(*parameters), torch.from_numpy(x), torch.from_numpy(grad)
        with torch.no_grad():
            for theirs, ours in zip(layer.parameters(), parameters, strict=True):
                theirs.copy_(torch.from_numpy(ours))
        x = x.requires_grad_(x.is_floating_point())
        wanted = [p for p in (x, *layer.parameters()) if p.requires_grad]

        def run():
            y = layer(x)
            y = y[0] if isinstance(y, tuple) else y  # without the final state
            return torch.autograd.grad(y, wanted, grad)[0] if backward else y

        return run

    return prepare


def _recurrent(name, *parameters):
    return getattr(torch.nn, name)(parameters[0].shape[1], parameters[1].shape[1], batch_first=True)


def training_step(x, labels, first, second, made=lambda function: function):
    """One step of Adam on two layers; *made* may compile forward and loss."""
    x, labels = _tensors(x, labels)
    model = torch.nn.Sequential(
        torch.nn.Linear(*first.shape[::-1]), torch.nn.ReLU(), torch.nn.Linear(*second.shape[::-1])
    )
    with torch.no_grad():
        for parameter, given in zip(model.parameters(), (first, None, second, None), strict=True):
            parameter.copy_(torch.zeros(1) if given is None else torch.from_numpy(given))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss = made(lambda: F.cross_entropy(model(x), labels))

    def run():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        return model[0].weight.detach()

    return run


def network_step(x, labels, *given, made=lambda function: function):
    """`numbadl.bench.layers._network_step`; the last argument says which AdamW: "default" or "fused"."""
    *weights, way = given
    x, labels = _tensors(x, labels)
    parts = []
    for weight in weights:
        behind = [torch.nn.BatchNorm1d(len(weight)), torch.nn.ReLU(), torch.nn.Dropout(0.0)]
        parts += [torch.nn.Linear(*weight.shape[::-1]), *(behind if weight is not weights[-1] else [])]
    model = torch.nn.Sequential(*parts)
    linear = [layer for layer in parts if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, weight in zip(linear, weights, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.zero_()
    optimizer = torch.optim.AdamW(model.parameters(), eps=EPSILON, **({"fused": True} if way == "fused" else {}))
    loss = made(lambda: F.cross_entropy(model(x), labels))

    def run():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        for layer in parts:
            if isinstance(layer, torch.nn.Dropout):
                layer.p = DROPPED
        return linear[0].weight.detach()

    return run


def _matmul(a, b):
    a, b = _tensors(a, b)
    out = torch.empty(a.shape[0], b.shape[1])
    return lambda: torch.matmul(a, b, out=out)


def _relu(a, b):
    a, out = torch.from_numpy(a), torch.empty(a.shape)
    return lambda: torch.clamp_min(a, 0.0, out=out)


def _matmul_then_relu(a, b):
    product = _matmul(a, b)
    out = torch.empty(a.shape[0], b.shape[1])
    return lambda: torch.clamp_min(product(), 0.0, out=out)


def _rms_norm(x, mean, variance, weight, bias):
    return F.rms_norm(x, x.shape[1:], weight)


def _group_norm(x, mean, variance, weight, bias):
    return F.group_norm(x, 8, weight, bias)


def _instance_norm(x, mean, variance, weight, bias):
    return F.instance_norm(x, None, None, weight, bias)


def _kl_div(prediction, target):
    return F.kl_div(prediction, target, reduction="sum") / prediction.numel()  # with "mean" it warns that this is so


LOSSES = {
    "cross_entropy": F.cross_entropy, "nll": F.nll_loss, "mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss,
    "smooth_l1": F.smooth_l1_loss, "binary_cross_entropy": F.binary_cross_entropy_with_logits, "kl_div": _kl_div,
}  # fmt: skip
NORMS = {
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "group_norm": _group_norm,
    "instance_norm": _instance_norm,
}  # fmt: skip
LAYERS = {
    "Linear": lambda w, b: torch.nn.Linear(w.shape[1], w.shape[0]),
    "Conv1d": lambda w, b: torch.nn.Conv1d(w.shape[1], w.shape[0], w.shape[2], padding=w.shape[2] // 2),
    "Conv2d": lambda w, b: torch.nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], padding=w.shape[2] // 2),
    "MaxPool1d": lambda: torch.nn.MaxPool1d(2),
    "MaxPool2d": lambda: torch.nn.MaxPool2d(2),
    "AvgPool1d": lambda: torch.nn.AvgPool1d(2),
    "AvgPool2d": lambda: torch.nn.AvgPool2d(2),
    "Embedding": lambda w: torch.nn.Embedding(*w.shape),
    **{name: functools.partial(_recurrent, name) for name in ("RNN", "GRU", "LSTM")},
}
PARTS = {
    "softmax": _row(torch.softmax),
    "log_softmax": _row(torch.log_softmax),
    "softmax.axis0": _row(torch.softmax, 0),
    "softmax.images": _row(torch.softmax, 1),
    "softmax.backward": _row_backward(torch.softmax, aten._softmax_backward_data.out),
    "log_softmax.backward": _row_backward(torch.log_softmax, aten._log_softmax_backward_data.out),
    "batch_norm.relu": normalised(batch_norm_relu),
    "dropout": _dropout,
    "optimizer": _optimizer,
    "training_step": training_step,
    "network_step": network_step,
    "matmul": _matmul,
    "matmul.relu": _relu,
    "matmul.then_relu": _matmul_then_relu,
}
PARTS |= {name: _loss(function) for name, function in LOSSES.items()}
PARTS |= {f"{name}.value": _loss_value(function) for name, function in LOSSES.items()}
PARTS |= {name: normalised(function) for name, function in NORMS.items()}
PARTS |= {f"{name}.both": normalised(function, backward=True) for name, function in NORMS.items()}
PARTS |= {f"nn.{name}": _layer(make, False) for name, make in LAYERS.items()}
PARTS |= {f"nn.{name}.both": _layer(make, True) for name, make in LAYERS.items()}
