"""Models as ONNX files: ``model.to_onnx("model.onnx")``, for onnxruntime and whatever else reads them. Needs onnx.

Layers are written as the operators that ONNX has for them, in evaluation: dropout is left out, batch norm has its running
statistics. An activation without an operator is a small graph, which is derived from the text of its scalar function.
"""

import numpy as np

try:
    import onnx
    from onnx import TensorProto, helper
except ImportError as error:
    raise ImportError(f"ONNX files need the package onnx: pip install onnx ({error})") from error

from .. import _arguments as arguments
from .. import nn
from ..arrays import to_host
from ..functional import FUNCTIONS
from ..kernels.atomic import atomic_path
from ..nn.activations import ActivationLayer
from ..nn.families import _Row, _Split
from ..nn.layer import known_axes
from ._onnx_formulas import Graph, NoGraph, Tensor, graph_of

OPSET, IR_VERSION = 18, 9  # old enough for most readers; 18 has Mish and Split into equal parts


def export(model, path, input_shape=None):
    """Write a model to *path*, in evaluation, with any number of rows.

    Parameters
    ----------
    model : a `numbadl.nn.Sequential`
    path : file
    input_shape : the shape of an input without the batch axis; needed if the first layer takes several

    Raises
    ------
    TypeError : a layer has no form in ONNX; the message names it
    ValueError : input_shape is needed, or does not fit the model
    """
    path = arguments.path("path", path)
    arguments.check_can_write(path)
    made = to_model(model, input_shape)
    with atomic_path(path) as temporary:
        temporary.write_bytes(made.SerializeToString())


def to_model(model, input_shape=None):
    """The ``onnx.ModelProto`` of a model; see `export`."""
    shape = _input_shape(model, input_shape)
    takes_numbers = bool(model.layers) and model.layers[0].takes_numbers
    graph = Graph(model.dtype)
    x, sample = Tensor(graph, "input"), np.zeros((1, *shape), np.int64 if takes_numbers else model.dtype)
    y, sample = _chain(graph, model.layers, x, model.device.from_host(sample), "")
    y = graph.add("Identity", y)
    graph.nodes[-1].output[0] = "output"
    kind = helper.np_dtype_to_tensor_dtype(model.dtype)
    given = helper.make_tensor_value_info("input", TensorProto.INT64 if takes_numbers else kind, ["N", *shape])
    result = helper.make_tensor_value_info("output", kind, ["N", *sample.shape[1:]])
    made = helper.make_graph(graph.nodes, "numbadl", [given], [result], graph.initializers)
    found = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="numbadl", ir_version=IR_VERSION
    )
    onnx.checker.check_model(found)
    return found


def _input_shape(model, given):
    if given is not None:
        return arguments.integers(
            "input_shape", tuple(given) if hasattr(given, "__iter__") else (given,), np.size(given)
        )
    found = model.layers[0].input_shape() if model.layers else None
    if found is None:
        raise ValueError("input_shape: got None, needed for a model whose first layer takes inputs of several shapes")
    return known_axes(found)


def _chain(graph, layers, x, sample, before):
    """(the output, the output for one sample) of layers one after the other; *before* is the name of what they are in."""
    for position, layer in enumerate(layers):
        name = f"layer {before}{position}, {layer!r}"
        try:
            after = layer.forward(sample)
        except ValueError as error:
            raise ValueError(f"input_shape: {name}: {error}") from None
        for kind, write in _WRITERS:
            if isinstance(layer, kind):
                if type(layer).forward.__module__.partition(".")[0] != __package__.partition(".")[0]:
                    raise TypeError(f"{name}: has a forward of its own, which cannot be written as ONNX")
                try:
                    x = write(graph, layer, x, sample.shape, f"{before}{position}.", sample)
                except NoGraph as error:
                    raise TypeError(f"{name}: cannot be written as ONNX: {error}") from None
                break
        else:
            kinds = [k for kind, _ in _WRITERS for k in (kind if isinstance(kind, tuple) else (kind,))]
            accepted = ", ".join(sorted({kind.__name__.lstrip("_") for kind in kinds}))
            raise TypeError(f"{name}: has no form in ONNX; accepted are {accepted}")
        sample = after
    return x, sample


def _values(layer):
    """Name -> array of parameters and running statistics."""
    return {name: to_host(value) for name, value in layer.state().items()}


def _constants(graph, values, *names):
    return [graph.constant(values[name]) if name in values else None for name in names]


def _along(graph, values, axis, ndim):
    """Values for each channel, in a shape that broadcasts."""
    shape = [1] * ndim
    shape[axis] = -1
    return graph.constant(np.reshape(values, shape))


# -- layers of weights ---------------------------------------------------------------------------------------------------
def _linear(graph, layer, x, shape, name, sample):
    weight, bias = _constants(graph, _values(layer), "weight", "bias")
    if len(shape) == 2:
        return graph.add("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    y = graph.add("MatMul", x, graph.add("Transpose", weight, perm=[1, 0]))
    return y if bias is None else graph.add("Add", y, bias)


def _convolution(graph, layer, x, shape, name, sample):
    weight, bias = _constants(graph, _values(layer), "weight", "bias")
    return graph.add("Conv", x, weight, *([] if bias is None else [bias]), group=layer.groups, **_windows(layer))


def _windows(layer, dilation=True):
    found = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": layer.padding * 2}
    return {**found, "dilations": layer.dilation} if dilation else found


def _embedding(graph, layer, x, shape, name, sample):
    return graph.add("Gather", graph.constant(_values(layer)["weight"]), x, axis=0)


def _residual(graph, layer, x, shape, name, sample):
    y, _ = _chain(graph, layer.layers, x, sample, name)
    if layer.projection is not None:
        x, _ = _chain(graph, [layer.projection], x, sample, f"{name}projection.")
    return x + y


GATES = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2), nn.RNN: (0,)}  # ONNX's order of the gates, as numbers in ours


def _recurrent(graph, layer, x, shape, name, sample):
    if layer.stateful:
        raise NoGraph("it keeps its state from one call to the next")
    kind, values, hidden, directions = type(layer), _values(layer), layer.hidden_size, layer.directions
    options = {"hidden_size": hidden, "direction": "bidirectional" if directions > 1 else "forward"}
    if kind is nn.GRU:
        options["linear_before_reset"] = 1
    if kind is nn.RNN:
        options["activations"] = [layer.nonlinearity.capitalize()] * directions

    def in_order(key, scans):
        blocks = [np.split(values[f"{key}_{scan.key}"], len(GATES[kind])) for scan in scans]
        return np.stack([np.concatenate([found[gate] for gate in GATES[kind]]) for found in blocks])

    y = graph.add("Transpose", x, perm=[1, 0, 2])
    for first in range(0, len(layer.scans), directions):
        scans = layer.scans[first : first + directions]
        given = [in_order("weight_ih", scans), in_order("weight_hh", scans)]
        if layer.bias:
            given.append(np.concatenate([in_order("bias_ih", scans), in_order("bias_hh", scans)], axis=1))
        if first:  # (L, directions, N, hidden) of the layer before
            y = graph.add("Reshape", graph.add("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1], np.int64))
        y, last = graph.add(kind.__name__, y, *map(graph.constant, given), outputs=2, **options)
    if layer.return_sequences:
        return graph.add("Reshape", graph.add("Transpose", y, perm=[2, 0, 1, 3]), graph.constant([0, 0, -1], np.int64))
    return graph.add("Reshape", graph.add("Transpose", last, perm=[1, 0, 2]), graph.constant([0, -1], np.int64))


# -- normalisation ---------------------------------------------------------------------------------------------------------
def _batch_norm(graph, layer, x, shape, name, sample):
    values, ones = _values(layer), np.ones(layer.num_features)
    given = values.get("weight", ones), values.get("bias", 0 * ones), values["running_mean"], values["running_var"]
    return graph.add("BatchNormalization", x, *map(graph.constant, given), epsilon=layer.eps)


def _layer_norm(graph, layer, x, shape, name, sample):
    values, ones = _values(layer), np.ones(layer.normalized_shape)
    given = values.get("weight", ones), values.get("bias", 0 * ones)
    return graph.add(
        "LayerNormalization", x, *map(graph.constant, given), axis=-len(layer.normalized_shape), epsilon=layer.eps
    )


def _rms_norm(graph, layer, x, shape, name, sample):
    axes = graph.constant(range(-len(layer.normalized_shape), 0), np.int64)
    eps = float(np.finfo(layer.dtype).eps) if layer.eps is None else layer.eps
    y = x / graph.add("Sqrt", graph.add("ReduceMean", x * x, axes) + eps)
    weight = _values(layer).get("weight")
    return y if weight is None else y * graph.constant(weight)


def _group_norm(graph, layer, x, shape, name, sample):
    groups = getattr(layer, "num_groups", layer.parameter_shape[0])
    flat = graph.add("Reshape", x, graph.constant([0, groups, -1], np.int64))
    ones = np.ones(groups)
    y = graph.add("InstanceNormalization", flat, graph.constant(ones), graph.constant(0 * ones), epsilon=layer.eps)
    y, values = graph.add("Reshape", y, graph.add("Shape", x)), _values(layer)
    if "weight" in values:
        y = y * _along(graph, values["weight"], 1, len(shape)) + _along(graph, values["bias"], 1, len(shape))
    return y


# -- shapes and pooling ------------------------------------------------------------------------------------------------------
def _flatten(graph, layer, x, shape, name, sample):
    return graph.add("Flatten", x)


def _reshape(graph, layer, x, shape, name, sample):
    shape = layer.output_shape(tuple(shape[1:]))
    return graph.add("Reshape", x, graph.constant([-1, *shape], np.int64))


def _max_pool(graph, layer, x, shape, name, sample):
    return graph.add("MaxPool", x, ceil_mode=int(layer.ceil_mode), **_windows(layer))


def _avg_pool(graph, layer, x, shape, name, sample):
    options = {"ceil_mode": int(layer.ceil_mode), "count_include_pad": int(layer.count_include_pad)}
    return graph.add("AveragePool", x, **options, **_windows(layer, dilation=False))


def _global_pool(graph, layer, x, shape, name, sample):
    kind = "GlobalMaxPool" if isinstance(layer, nn.GlobalMaxPool) else "GlobalAveragePool"
    return graph.add("Flatten", graph.add(kind, x))


def _nothing(graph, layer, x, shape, name, sample):
    return x


# -- rows, halves, groups ------------------------------------------------------------------------------------------------------
def _row(graph, layer, x, shape, name, sample):
    kind = type(layer).__name__
    if kind == "Sparsemax":
        return _sparsemax(graph, x, layer.axis, shape)
    if kind == "Softmin":
        kind, x = "Softmax", -x
    return graph.add(kind, x, axis=layer.axis)


def _sparsemax(graph, x, axis, shape):
    """By sorting: the threshold is that of the largest k for which 1 + k x_k exceeds the sum of the k largest."""
    n, axis = shape[axis], axis % len(shape)
    count, axes = graph.constant([n], np.int64), graph.constant(axis, np.int64)
    ordered, _ = graph.add("TopK", x, count, outputs=2, axis=axis)
    sums = graph.add("CumSum", ordered, axes)
    members = 1 + ordered * _along(graph, np.arange(1, n + 1), axis, len(shape)) > sums
    member = graph.add("Cast", members, to=helper.np_dtype_to_tensor_dtype(graph.dtype))
    axes = graph.constant([axis], np.int64)
    threshold = (graph.add("ReduceSum", ordered * member, axes) - 1) / graph.add("ReduceSum", member, axes)
    return graph.add("Relu", x - threshold)


def _split(graph, layer, x, shape, name, sample):
    halves = graph.add("Split", x, outputs=2, axis=layer.axis, num_outputs=2)
    return graph_of(graph, layer.function.record.forward, *halves)


def _maxout(graph, layer, x, shape, name, sample):
    def every(first):
        given = ([first], [shape[layer.axis]], [layer.axis], [layer.pieces])
        return graph.add("Slice", x, *(graph.constant(v, np.int64) for v in given))

    return graph.add("Max", *map(every, range(layer.pieces)))


def _apl(graph, layer, x, shape, name, sample):
    values, y = _values(layer), graph.add("Relu", x)
    for a, b in zip(values["a"], values["b"], strict=True):
        height, hinge = (_along(graph, v, layer.axis, len(shape)) for v in (a, b))
        y = y + height * graph.add("Relu", hinge - x)
    return y


# -- activations ---------------------------------------------------------------------------------------------------------------
def _clip(low, high):
    return lambda graph, x: graph.add("Clip", x, graph.constant(low), graph.constant(high))


def _plain(kind, **attributes):
    return lambda graph, x: graph.add(kind, x, **attributes)


# Name -> function of the parameters: the activations that are one operator. Others follow from their scalar functions.
OPERATORS = {
    "identity": lambda: _plain("Identity"), "sigmoid": lambda: _plain("Sigmoid"), "tanh": lambda: _plain("Tanh"),
    "softsign": lambda: _plain("Softsign"), "relu": lambda: _plain("Relu"), "mish": lambda: _plain("Mish"),
    "selu": lambda: _plain("Selu"), "hardswish": lambda: _plain("HardSwish"), "relu6": lambda: _clip(0.0, 6.0),
    "hardsigmoid": lambda: _plain("HardSigmoid", alpha=1 / 6, beta=0.5), "hardtanh": _clip,
    "leaky_relu": lambda slope: _plain("LeakyRelu", alpha=slope), "elu": lambda alpha: _plain("Elu", alpha=alpha),
    "celu": lambda alpha: _plain("Celu", alpha=alpha),
}  # fmt: skip
_IN_FLOAT32_ONLY = ("mish", "selu", "celu", "hardswish", "hardsigmoid", "softsign", "elu", "leaky_relu")


def _activation(graph, layer, x, shape, name, sample):
    function, options = layer.function, layer.options()
    if "approximate" in options:
        function = function._chosen((), options)
    record = function.record
    parameters = [options.get(p.name, p.default) for p in record.parameters]
    if record.random:
        record = FUNCTIONS[record.evaluation].record
        parameters = [sum(parameters) / len(parameters)]
    # Operators' attributes are float32, and readers have few of them for float64.
    if record.name in OPERATORS and (graph.dtype == np.float32 or record.name not in _IN_FLOAT32_ONLY):
        return OPERATORS[record.name](*parameters)(graph, x)
    if record.learnable:
        axis, values = options.get("axis", 1), _values(layer)
        learnt = [v if v.size == 1 else _along(graph, v, axis, len(shape)) for v in values.values()]
        parameters[: len(learnt)] = [graph.constant(v) if isinstance(v, np.ndarray) else v for v in learnt]
    if record.alternating:
        axis = options["axis"]
        signs = np.where(np.arange(shape[axis]) % 2 == 0, 1, -1)
        parameters = [_along(graph, signs, axis, len(shape)), *parameters]
    return graph_of(graph, record.forward, x, *parameters)


_WRITERS = (
    (nn.Linear, _linear), (nn.Conv2d, _convolution), (nn.Embedding, _embedding), (nn.Residual, _residual),
    ((nn.RNN, nn.GRU, nn.LSTM), _recurrent), (nn.BatchNorm, _batch_norm), (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _rms_norm), (nn.GroupNorm, _group_norm), (nn.InstanceNorm, _group_norm), (nn.Flatten, _flatten),
    (nn.Reshape, _reshape), (nn.MaxPool2d, _max_pool), (nn.AvgPool2d, _avg_pool), (nn.GlobalMaxPool, _global_pool),
    (nn.GlobalAvgPool, _global_pool), (nn.Dropout, _nothing), (_Row, _row), (_Split, _split), (nn.Maxout, _maxout),
    (nn.APL, _apl), (ActivationLayer, _activation),
)  # fmt: skip
