"""Embedding: a vector for each of a number of words, or of anything else that has numbers."""

import numpy as np

from .. import _arguments as arguments
from ..arrays import dense, device_of, is_cuda, to_host
from ..fills import normal
from .layer import Layer


class Embedding(Layer):
    """Row x of a table, for each x of (N, ...): (N, ..., embedding_dim). The first layer of a model.

    Numbers are of an integer type, or of the layer's dtype and whole, as `fit` hands them on; float32 holds those below 2**24.
    The table starts with normal numbers.

    Parameters
    ----------
    num_embeddings : rows of the table; numbers are from 0 to below it
    embedding_dim : length of a row
    padding_idx : a number whose row starts at 0, and has the gradient 0

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.Embedding(1000, 16).forward(np.array([[3, 1, 4], [1, 5, 9]])).shape
    (2, 3, 16)
    """

    takes_numbers = True

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self.num_embeddings = arguments.integer("num_embeddings", num_embeddings)
        self.embedding_dim = arguments.integer("embedding_dim", embedding_dim)
        self.padding_idx = None if padding_idx is None else arguments.integer("padding_idx", padding_idx, low=0)
        if self.padding_idx is not None and self.padding_idx >= self.num_embeddings:
            raise ValueError(f"padding_idx: got {padding_idx}, accepted are 0 to {self.num_embeddings - 1}")
        super().__init__()

    def shapes(self):
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def config(self):
        return {
            "num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim, "padding_idx": self.padding_idx
        }  # fmt: skip

    def initialize(self, name, shape):
        table = normal(shape, seed=self.seed, offset=self.stream * 16)
        if self.padding_idx is not None:
            table[self.padding_idx] = 0
        return table

    def _check_input(self, x):
        arguments.no_subclass("x", x)
        if not (isinstance(x, np.ndarray) or is_cuda(x)):
            raise TypeError(f"x: got {arguments.shown(x)}, accepted are numpy.ndarray and CUDA arrays")
        if np.dtype(x.dtype).kind not in "iu" and x.dtype != self.dtype:
            raise TypeError(f"x: got dtype {x.dtype}, accepted are integers, and whole numbers of {self.dtype}")
        if device_of(x) is not self.device:
            raise TypeError(f"x: got an array on {device_of(x).name}, accepted are those on {self.device.name}")
        if x.ndim == 0:
            raise ValueError("x: got one number, expected (N, ...)")

    def _numbers(self, x, training):
        """x as int64, flat; it is checked on the host."""
        given = to_host(x)
        arguments.within("x", given, 0, self.num_embeddings - 1, "whole numbers")
        numbers = self._host("numbers", given.shape, np.int64, training)
        np.copyto(numbers, given, casting="unsafe")
        if (
            given.dtype.kind == "f"
            and not np.equal(numbers, given, self._host("whole", given.shape, bool, training)).all()
        ):
            place = tuple(np.argwhere(numbers != given)[0].tolist())
            raise ValueError(f"x[{', '.join(map(str, place))}]: got {given[place]}, accepted are whole numbers")
        return self.device.from_host(numbers.reshape(-1))

    def _host(self, name, shape, dtype, training):
        """An array on the host, which in training the next step uses again."""
        held = self._workspace.get(name) if training else None
        if held is None or held.shape != shape:
            held = np.empty(shape, dtype)
        if training:
            self._workspace[name] = held
        return held

    def forward(self, x, training=False):
        self._check_input(x)
        index = self._numbers(x, training)
        shape = tuple(x.shape)
        out = self._work("out", (*shape, self.embedding_dim), training)
        if training:
            self._kept = index
        self._run("take", self.parameters()["weight"], index, out.reshape(index.size, self.embedding_dim))
        return out

    def backward(self, grad, input_gradient=True):
        """Fill the table's gradient. There is none of the input: None."""
        index, gradient = self._from_forward(), self.gradients()["weight"]
        self._run("take.backward", dense(grad).reshape(index.size, self.embedding_dim), index, gradient)
        if self.padding_idx is not None:
            row = gradient[self.padding_idx : self.padding_idx + 1]
            self.device.copy(row, self.device.zeros(row.shape, self.dtype))

    def _run(self, name, *operands):
        self.device.prepare(max(operand.size for operand in operands))
        self.device.kernel(name)(*operands)

    def output_shape(self, shape):
        return (*shape, self.embedding_dim)
