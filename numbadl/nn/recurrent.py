"""Recurrent layers of sequences: RNN, GRU and LSTM."""

import math

import numpy as np

from .. import _arguments as arguments
from ..arrays import check, check_shape, dense
from ..dropout import dropout as drop
from ..elementwise import elementwise
from ..regularizers import checked
from . import initializers
from .layer import Layer
from .scan import GRUScan, LSTMScan, RNNScan, Series, rows_in


class Recurrent(Layer):
    """What the recurrent layers share: layers and directions, each a `Scan`, and what lies between them.

    Inside, steps come first, (L, N, features), so that the samples of a step are one matrix.
    """

    any_axes = True  # the one in between
    scan = None

    def __init__(
        self, input_size, hidden_size, num_layers=1, *, bias=True, dropout=0.0, bidirectional=False,
        return_sequences=True, truncate=None, stateful=False, initialization="uniform", regularizer=None,
    ):  # fmt: skip
        self.input_size = arguments.integer("input_size", input_size)
        self.hidden_size = arguments.integer("hidden_size", hidden_size)
        self.num_layers = arguments.integer("num_layers", num_layers)
        self.bias, self.bidirectional = bool(bias), bool(bidirectional)
        self.return_sequences, self.stateful = bool(return_sequences), bool(stateful)
        self.dropout = float(arguments.number("dropout", dropout, high=1))
        if self.dropout and self.num_layers == 1:
            raise ValueError(f"dropout: got {dropout}, accepted is 0 for one layer, since it is between layers")
        self.truncate = None if truncate is None else arguments.integer("truncate", truncate)
        self.initialization = arguments.one_of("initialization", initialization, ("uniform", "orthogonal"))
        self.regularizer, self._final = checked(regularizer), None
        self.directions = 1 + self.bidirectional
        self.scans = [
            self.scan(self, f"l{k}" + "_reverse" * d, bool(d))
            for k in range(self.num_layers)
            for d in range(self.directions)
        ]
        super().__init__()

    def shapes(self):
        found, rows = {}, self.scan.gates * self.hidden_size
        for place, scan in enumerate(self.scans):
            found[f"weight_ih_{scan.key}"] = rows, self._features(place // self.directions)
            found[f"weight_hh_{scan.key}"] = rows, self.hidden_size
            if self.bias:
                found[f"bias_ih_{scan.key}"] = found[f"bias_hh_{scan.key}"] = (rows,)
        return found

    def _features(self, k):
        """How many features the input of layer k has."""
        return self.directions * self.hidden_size if k else self.input_size

    def config(self):
        names = (
            "input_size", "hidden_size", "num_layers", "bias", "dropout", "bidirectional", "return_sequences",
            "truncate", "stateful", "initialization",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def initialize(self, name, shape):
        if self.initialization == "uniform":
            bound = 1 / math.sqrt(self.hidden_size)
            return self._uniform(shape, -bound, bound, name)
        if name.startswith("bias"):
            return np.zeros(shape)
        if name.startswith("weight_ih"):
            bound = initializers.limit("xavier", shape[1], self.hidden_size)
            return self._uniform(shape, -bound, bound, name)
        return initializers.orthogonal(shape, self.seed, self._stream_of(name))

    def restart(self, seed, stream):
        """A stream for each layer: for the dropout behind it, and for sixteen parameters; it has eight at most."""
        return super().restart(seed, stream) + self.num_layers - 1

    def bind(self, values, gradients, device, dtype):
        super().bind(values, gradients, device, dtype)
        self.reset_state()
        for scan in self.scans:
            scan.left = None

    def output_shape(self, shape):
        if len(shape) != 2 or shape[1] != self.input_size or shape[0] == 0:
            raise ValueError(f"takes (L, {self.input_size}) for each sample, L of 1 or more")
        features = self.directions * self.hidden_size
        return (shape[0], features) if self.return_sequences else (features,)

    def __repr__(self):
        """With what is not as it is by default: there is much of that."""
        usual = type(self)(self.input_size, self.hidden_size).config()
        sizes = ("input_size", "hidden_size")
        shown = [f"{key}={v!r}" for key, v in self.config().items() if key in sizes or v != usual[key]]
        return f"{type(self).__name__}({', '.join(shown)})"

    # -- states ----------------------------------------------------------------------------------------------------
    @property
    def final_state(self):
        """The states after the last forward, (num_layers * directions, N, hidden_size): h, or for an LSTM (h, c).

        Those of a forward in training are overwritten by the next one.
        """
        if self._final is None:
            raise RuntimeError(f"final_state: {self!r} needs a forward before it")
        return self._as_state(self._final)

    def initial_state_gradient(self):
        """The gradient of the initial state, from the last backward, in the shape of `final_state`, as new arrays."""
        if self.scans[0].left is None:
            raise RuntimeError(f"initial_state_gradient: {self!r} needs a backward before it")
        found = self._state_series("initial gradient", self.scans[0].left[0].shape[0], training=False)
        for place, scan in enumerate(self.scans):
            for series, part in zip(found, scan.initial_gradient(), strict=True):
                self.device.copy(series.steps[place], part)
        return self._as_state(found)

    def reset_state(self):
        """Forget the final state: the next batch starts from zeros."""
        self._final = None

    def _as_state(self, found):
        """States as users get them."""
        arrays = tuple(series.all.reshape(*series.shape) for series in found)
        return arrays if self.scan.states > 1 else arrays[0]

    def _state_series(self, name, count, training=True):
        """A series for each state, whose steps are layers and directions."""
        parts = [f"{name} {k}" for k in range(self.scan.states)]
        return [self.series(part, len(self.scans), count, self.hidden_size, training) for part in parts]

    def _states(self, name, state, x):
        """For each scan its parts of a state, a list; None for each if there is no state."""
        parts = self.scan.states
        if state is None:
            return [[None] * parts for _ in self.scans]
        given = state if isinstance(state, (tuple, list)) else (state,)
        if len(given) != parts:
            accepted = "one array" if parts == 1 else "pairs, (h, c)"
            got = f"{len(given)} arrays" if isinstance(state, (tuple, list)) else "one"
            raise TypeError(f"{name}: got {got}, accepted are {accepted}")
        found = []
        for part, array in zip(("h", "c"), given, strict=False):
            key = f"{name}, {part}" if parts > 1 else name
            check(x=x, **{key: array})
            shape = (len(self.scans), x.shape[0], self.hidden_size)
            check_shape(key, array, shape, "for each layer and direction the states of N samples")
            found.append(Series(dense(array).reshape(math.prod(shape)), *shape).steps)
        return [list(parts) for parts in zip(*found, strict=True)]

    def _initial(self, state, x):
        if state is not None or not self.stateful or self._final is None:
            return self._states("state", state, x)
        kept = self._final[0].shape[1]
        if kept != x.shape[0]:
            raise ValueError(
                f"x: got {x.shape[0]} samples, but the state that was kept is of {kept}; reset_state() forgets it"
            )
        return [list(parts) for parts in zip(*(series.steps for series in self._final), strict=True)]

    # -- computing ---------------------------------------------------------------------------------------------------
    def forward(self, x, training=False, state=None):
        """The result for x; *state* is the initial one, in the shape of `final_state`, instead of zeros."""
        self._check_input(x)
        if x.ndim != 3 or x.shape[2] != self.input_size or x.shape[1] == 0:
            raise ValueError(
                f"x: got shape {tuple(x.shape)}, expected (N, L, {self.input_size}), L of 1 or more, for {self!r}"
            )
        count, length, _ = x.shape
        initial, final = self._initial(state, x), self._state_series("final", count, training)
        rows = self.series("x", length, count, self.input_size, training).all
        self._take("x", length, dense(x).reshape(count * length, self.input_size), rows, count)
        self.steps += bool(training)
        h = None
        for k in range(self.num_layers):
            if k:
                rows = self._between(k, h, training)
            h = self.series(f"h of {k}", length + 1, count, self.hidden_size, training, self.directions)
            for d, place in self._places(k):
                ends = [series.steps[place] for series in final]
                self.scans[place].forward(rows, h.parts[d], initial[place], ends, training)
        self._final = final
        out = self._work("out", (count, *self.output_shape((length, self.input_size))), training)
        self._take("sequences" if self.return_sequences else "last", length, h.all, self._by_direction(out), count)
        if training:
            self._kept = count, length
        return out

    def backward(self, grad, input_gradient=True, state_grad=None):
        """Fill the gradients of the weights; *state_grad* is that of `final_state`, in its shape, if there is one."""
        count, length = self._from_forward()
        check(grad=grad)
        check_shape("grad", grad, (count, *self.output_shape((length, self.input_size))), "that of the result")
        final, rows = self._states("state_grad", state_grad, grad), self._by_direction(dense(grad))
        dy, dx = [None] * self.directions, None
        if self.return_sequences:
            dy = self._split("dsequences", length, rows, count)
        else:
            for parts, given in zip(final[-self.directions :], self._split("dlast", 1, rows, count), strict=True):
                h = given.steps[0]
                parts[0] = h if parts[0] is None else elementwise("blend", h, (1, 1), x=h, y=parts[0])
        for k in range(self.num_layers - 1, -1, -1):
            if k < self.num_layers - 1:
                dy = self._before(k + 1, dx)
            wanted = k > 0 or input_gradient
            dx = self.series(f"dx of {k}", length, count, self._features(k)) if wanted else None
            for d, place in self._places(k):
                other = self.series(f"second dx of {k}", length, count, self._features(k)) if wanted and d else dx
                self.scans[place].backward(dy[d], final[place], self.truncate, other and other.all)
                if wanted and d:
                    elementwise("blend", dx.all, (1, 1), x=dx.all, y=other.all)
        if not input_gradient:
            return None
        out = self._work("dx", (count, length, self.input_size))
        self._take("dx", length, dx.all, out.reshape(count * length, self.input_size), count)
        return out

    def _places(self, k):
        """(direction, number among all scans) of each direction of layer k."""
        return [(d, k * self.directions + d) for d in range(self.directions)]

    def _between(self, k, h, training):
        """The input of layer k, rows of all steps, from the states of the layer before it."""
        places, count, _ = h.shape
        length = places // self.directions - 1
        rows = h.rows(1, length)
        if self.bidirectional:
            rows = self.series(f"between {k}", length, count, self._features(k), training).all
            self._take("between", length, h.all, self._by_direction(rows), count)
        if not (training and self.dropout):
            return rows
        dropped = self.series(f"dropped {k}", length, count, self._features(k)).all
        return drop(rows, self.dropout, out=dropped, **self._draw(k))

    def _before(self, k, dx):
        """The gradients of each direction's output in the layer before k, from that of layer k's input."""
        if self.dropout:
            drop.backward(dx.all, self.dropout, out=dx.all, **self._draw(k))
        length, count, _ = dx.shape
        return self._split("dbetween", length, self._by_direction(dx.all), count) if self.bidirectional else [dx]

    def _draw(self, k):
        drawn = self.draw()
        return {**drawn, "offset": drawn["offset"] + k - 1}

    # -- arrays ------------------------------------------------------------------------------------------------------
    def series(self, name, steps, count, width, training=True, parts=1):
        """A `Series`, in training in the workspace, and the same one as before if it is of the same shape."""
        size, key = parts * steps * count * width, ("series", name)
        if not training:
            return Series(self._work(name, (size,), training=False), steps, count, width, parts)
        held = self._workspace.get(key)
        if held is None or held.shape != (parts * steps, count, width):
            held = self._workspace[key] = Series(self._work(name, (size,)), steps, count, width, parts)
        return held

    def zeros(self, count, width):
        """An array of zeros, which nothing is written to."""
        size, held = count * width, self._workspace.get("zeros")
        if held is None or held.shape[0] < size:
            held = self._workspace["zeros"] = self.device.zeros((size,), self.dtype)
        return held[:size].reshape(count, width)

    def _by_direction(self, array):
        """An array whose last axis has the features of each direction, as rows of one direction each."""
        return array.reshape(math.prod(array.shape) // self.hidden_size, self.hidden_size)

    def _split(self, order, length, rows, count):
        """The rows of a gradient as a series for each direction."""
        found = self.series(order, length, count, self.hidden_size, parts=self.directions)
        self._take(order, length, rows, found.all, count)
        return found.parts

    def _take(self, order, length, table, out, count):
        """Copy the rows of a table in the order of that name."""
        key, shape = ("order", order), (length, count)
        held = self._workspace.get(key)
        if held is None or held[0] != shape:
            index = self.device.from_host(rows_in(order, length, count, self.directions))
            held = self._workspace[key] = shape, index
        self.device.prepare(max(table.size, out.size))
        self.device.kernel("take")(table, held[1], out)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter, Schmidhuber 1997; with forget gates: Gers, Schmidhuber, Cummins 2000).

    Of (N, L, input_size), what PyTorch calls batch_first, to (N, L, hidden_size), twice as wide if bidirectional:

    i, f, o = sigmoid(W_i x + b_i + U_i h + d_i), and so on; g = tanh(W_g x + b_g + U_g h + d_g);
    c = f c + i g; h = o tanh(c)

    Names of parameters and the order of gates in them, i, f, g, o, are PyTorch's, and so are the results.

    Parameters
    ----------
    input_size, hidden_size : features of a step's input, and of the state
    num_layers : layers one above the other
    bias : whether there are biases, b for the input and d for the state
    dropout : the fraction that is dropped between layers, in training
    bidirectional : whether each layer has another one beside it, which goes from the last step to the first; the
        results of both lie side by side
    return_sequences : False: the result is the last layer's final state h alone, (N, hidden_size), of both directions
    truncate : gradients stay within parts of so many steps, counted from each direction's first step; values go
        through all (truncated back-propagation through time)
    stateful : each batch starts where the one before it ended, sample by sample and without gradients, in training and
        evaluation, until `reset_state`; all are of one size
    initialization : "uniform": all parameters within 1 / sqrt(hidden_size), as PyTorch's; "orthogonal": orthogonal
        matrices for each gate's weights of the state, xavier's for those of the input, biases of 0 and, for forget
        gates, 1
    regularizer : one of `numbadl.regularizers`, for the weights of this layer

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> x = np.ones((5, 7, 3), np.float32)
    >>> nd.nn.LSTM(3, 4).forward(x).shape, nd.nn.LSTM(3, 4, return_sequences=False).forward(x).shape
    ((5, 7, 4), (5, 4))
    """

    scan = LSTMScan

    def initialize(self, name, shape):
        found = super().initialize(name, shape)
        if self.initialization == "orthogonal" and name.startswith("bias_ih"):
            found[self.hidden_size : 2 * self.hidden_size] = 1
        return found


class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014), in PyTorch's form; arguments as those of `LSTM`.

    r, z = sigmoid(W_r x + b_r + U_r h + d_r), and so on; n = tanh(W_n x + b_n + r (U_n h + d_n)); h = (1 - z) n + z h

    Gates lie in the order r, z, n.

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> layer = nd.nn.GRU(3, 4, num_layers=2, bidirectional=True)
    >>> layer.forward(np.ones((5, 7, 3), np.float32)).shape, layer.final_state.shape
    ((5, 7, 8), (4, 5, 4))
    """

    scan = GRUScan


class RNN(Recurrent):
    """h = tanh(W x + b + U h + d), or relu: a recurrent layer without gates (Elman 1990); arguments as those of `LSTM`.

    *nonlinearity* is "tanh" or "relu".

    Examples
    --------
    >>> import numpy as np
    >>> import numbadl as nd
    >>> nd.nn.RNN(3, 4, nonlinearity="relu").forward(np.ones((5, 7, 3), np.float32)).shape
    (5, 7, 4)
    """

    scan = RNNScan

    def __init__(self, input_size, hidden_size, num_layers=1, *, nonlinearity="tanh", **options):
        self.nonlinearity = arguments.one_of("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, num_layers, **options)

    def config(self):
        return {**super().config(), "nonlinearity": self.nonlinearity}
