"""The layers Linear, BatchNorm, Flatten and Reshape.

Others: `convolution`, `pooling`, `norms`, `dropout`; activations are in `activations` and `families`.
"""

import math

import numpy as np

from .. import _arguments as arguments
from .. import normalization
from ..arrays import check_shape, rows_of, share_memory, to_host
from ..elementwise import elementwise
from ..linear import column_sums, matmul, prepared_column_sums, prepared_matmul
from ..regularizers import checked
from ..repeated import MISSING
from . import initializers
from .layer import Layer


class Linear(Layer):
    """y = x W^T + b, x: (N, ..., in_features), W: (out_features, in_features).

    Weights start uniform with the variance that suits the activation behind the layer (`numbadl.nn.initializers`),
    biases at 0. *regularizer* is one of `numbadl.regularizers`, for the weights of this layer.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.Linear(3, 2).forward(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    any_axes = True

    def __init__(self, in_features, out_features, bias=True, regularizer=None):
        self.in_features = arguments.integer("in_features", in_features)
        self.out_features = arguments.integer("out_features", out_features)
        self.bias, self.regularizer = bool(bias), checked(regularizer)
        super().__init__()

    def shapes(self):
        weight = {"weight": (self.out_features, self.in_features)}
        return {**weight, "bias": (self.out_features,)} if self.bias else weight

    def config(self):
        return {"in_features": self.in_features, "out_features": self.out_features, "bias": self.bias}

    def initialize(self, name, shape):
        if name == "bias":
            return np.zeros(shape)
        rule = self.following.initialization if self.following else "lecun"
        bound = initializers.limit(rule, self.in_features, self.out_features)
        return self._uniform(shape, -bound, bound, name)

    def forward(self, x, training=False):
        self._check_input(x)
        if x.ndim < 2 or x.shape[x.ndim - 1] != self.in_features:
            raise ValueError(f"x: got shape {x.shape}, expected (N, ..., {self.in_features}) for {self!r}")
        values = self.parameters()
        out = self._work("out", (*tuple(x.shape)[:-1], self.out_features), training)
        matmul(_as_matrix(x), values["weight"], _as_matrix(out), transpose_b=True, bias=values.get("bias"))
        if training:
            self._kept = x
        return out

    def backward(self, grad, input_gradient=True):
        gradients, x = self.gradients(), self._from_forward()
        if grad.ndim > 2:
            check_shape("grad", grad, (*tuple(x.shape)[:-1], self.out_features), "that of the output")
        columns = _as_matrix(grad)
        matmul(columns, _as_matrix(x), gradients["weight"], transpose_a=True)
        if self.bias:
            column_sums(columns, gradients["bias"])
        if not input_gradient:
            return None
        dx = self._work("dx", x.shape)
        matmul(columns, self.parameters()["weight"], _as_matrix(dx))
        return dx

    def repeat_forward(self, x, y):
        values, matrix = self.parameters(), _as_matrix(x)
        run = prepared_matmul(matrix, values["weight"], _as_matrix(y), transpose_b=True, bias=values.get("bias"))
        if run is None or not share_memory(x, matrix):
            return None

        def again():
            self._kept = x
            run()
            return y

        return again

    def repeat_backward(self, grad, dx, input_gradient):
        gradients, x = self.gradients(), self._from_forward()
        columns, matrix = _as_matrix(grad), _as_matrix(x)
        if not (share_memory(grad, columns) and share_memory(x, matrix)):
            return None
        runs = [prepared_matmul(columns, matrix, gradients["weight"], transpose_a=True)]
        if self.bias:
            runs.append(prepared_column_sums(columns, gradients["bias"]))
        if input_gradient:
            runs.append(prepared_matmul(columns, self.parameters()["weight"], _as_matrix(dx)))
        if None in runs:
            return None

        def again():
            if self._kept is not x:
                return MISSING
            for run in runs:
                run()
            return dx

        return again

    def output_shape(self, shape):
        if shape[-1:] != (self.in_features,):
            raise ValueError(f"takes {self.in_features} features")
        return (*shape[:-1], self.out_features)

    def input_shape(self):
        return (..., self.in_features)


def _as_matrix(array):
    return array if array.ndim == 2 else rows_of(array, -1)


class BatchNorm(Layer):
    """Batch normalisation of (N, C) or (N, C, *spatial), with running statistics for evaluation.

    momentum=None averages all batches alike (the cumulative mean), which `num_batches_tracked` counts.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        self.num_features, self.affine = arguments.integer("num_features", num_features), bool(affine)
        self.eps = arguments.number("eps", eps, above=True)
        self.momentum = None if momentum is None else arguments.number("momentum", momentum, high=1)
        self._scratch = normalization.Scratch(), normalization.Scratch()
        super().__init__()

    def shapes(self):
        return {"weight": (self.num_features,), "bias": (self.num_features,)} if self.affine else {}

    def buffers(self):
        zeros = np.zeros(self.num_features, np.float32)
        return {"running_mean": zeros, "running_var": zeros + 1, "num_batches_tracked": zeros[:1]}

    def config(self):
        return {
            "num_features": self.num_features, "eps": self.eps, "momentum": self.momentum, "affine": self.affine
        }  # fmt: skip

    def initialize(self, name, shape):
        return np.ones(shape) if name == "weight" else np.zeros(shape)

    def bind(self, *buffers):
        super().bind(*buffers)
        self._scratch = normalization.Scratch(), normalization.Scratch()

    def forward(self, x, training=False):
        self._check_input(x)
        y, kept = self._work("out", x.shape, training), self._scratch[0] if training else None
        saved = kept and kept.again((self.momentum, self.eps), x, out=y)
        if saved is None:
            saved = self._forward(x, y, training, kept)
        if training:
            tracked = self._buffers["num_batches_tracked"]
            if self.device.name == "cpu":
                tracked += 1
            else:
                elementwise("next_number", tracked, x=tracked)
            self._kept = x, saved
        return y

    def _forward(self, x, out, training, kept):
        values, state, seen = self.parameters(), self._buffers, None
        if training and self.momentum is None:
            seen = int(to_host(state["num_batches_tracked"])[0])
        return normalization.forward(
            normalization.KERNELS, x, values.get("weight"), values.get("bias"), state["running_mean"], state["running_var"],
            training, normalization.momentum_of(self.momentum, seen, training), self.eps, out, kept=kept,
        )[1]  # fmt: skip

    def backward(self, grad, input_gradient=True):
        (x, saved), kept = self._from_forward(), self._scratch[1]
        dx = self._work("dx", grad.shape)
        if kept.again((), grad, x, out=dx) is None:
            normalization.backward(
                normalization.BACKWARD_KERNELS, grad, x, self.parameters().get("weight"), saved,
                [saved.shift, saved.delta, saved.rstd], (dx,), kept=kept, totals=self.gradients().values(),
            )  # fmt: skip
        return dx

    def repeat_forward(self, x, y):
        numbers, kept, tracked = (self.momentum, self.eps), self._kept, self._buffers["num_batches_tracked"]
        prepared = self._scratch[0].prepared(numbers, x, out=y)
        if prepared is None:
            return None
        run, _ = prepared

        def again():
            if (self.momentum, self.eps) != numbers:
                return MISSING
            run()
            np.add(tracked, 1, tracked)
            self._kept = kept
            return y

        return again

    def repeat_backward(self, grad, dx, input_gradient):
        kept = self._kept
        prepared = self._scratch[1].prepared((), grad, kept[0], out=dx)
        if prepared is None:
            return None
        run, _ = prepared

        def again():
            if self._kept is not kept:
                return MISSING
            run()
            return dx

        return again

    def output_shape(self, shape):
        if shape[:1] != (self.num_features,):
            raise ValueError(f"takes {self.num_features} features")
        return shape


class _Reshaped(Layer):
    """A layer whose output is a view of its input, the same one in every step."""

    any_axes = True

    def forward(self, x, training=False):
        self._check_input(x)
        try:
            shape = self.output_shape(x.shape[1:])
        except ValueError as error:
            raise ValueError(f"x: got shape {x.shape}, but {self!r} {error}") from None
        if training:
            self._kept = x.shape
        return x.reshape(x.shape[0], *shape)

    def backward(self, grad, input_gradient=True):
        return grad.reshape(self._from_forward())

    def repeat_forward(self, x, y):
        if not share_memory(x, y):  # of an array in another layout it is a copy
            return None

        def again():
            self._kept = x.shape
            return y

        return again

    def repeat_backward(self, grad, dx, input_gradient):
        return (lambda: dx if self._kept == dx.shape else MISSING) if share_memory(grad, dx) else None


class Flatten(_Reshaped):
    """(N, ...) to (N, features)."""

    def output_shape(self, shape):
        return None if ... in shape else (math.prod(shape),)


class Reshape(_Reshaped):
    """(N, ...) to (N, *shape), such as rows of 64 pixels to images: ``Reshape((1, 8, 8))``. One of *shape* may be -1.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.Reshape((1, 8, -1)).forward(np.ones((5, 64), np.float32)).shape
    (5, 1, 8, 8)
    """

    any_axes = True

    def __init__(self, shape):
        given = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        self.shape = tuple(n if n == -1 and type(n) is int else arguments.integer("shape", n) for n in given)
        if self.shape.count(-1) > 1 or not self.shape:
            raise ValueError(f"shape: got {self.shape}, accepted are positive integers, of which one may be -1 instead")
        super().__init__()

    def config(self):
        return {"shape": list(self.shape)}

    def output_shape(self, shape):
        if ... in shape:
            return None if -1 in self.shape else self.shape
        size, known = math.prod(shape), math.prod(n for n in self.shape if n != -1)
        if size % known if -1 in self.shape else size != known:
            raise ValueError(f"takes {'multiples of ' if -1 in self.shape else ''}{known} elements for each sample")
        return tuple(size // known if n == -1 else n for n in self.shape)

    def input_shape(self):
        return None if -1 in self.shape else (math.prod(self.shape),)
