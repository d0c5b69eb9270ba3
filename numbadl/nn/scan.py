"""One direction of one recurrent layer: the loop over its steps, forward and backward. Arrays have the steps first."""

import itertools

import numpy as np

from ..elementwise import elementwise
from ..kernels.scalar.recurrent import STEPS
from ..linear import column_sums, multiply

LARGE = 1 << 24  # multiply-adds of a step: from here on, what lies between the kernels of single steps hardly matters


class Series:
    """An array (count, width) for each of several steps, one after the other in a flat array; or such *parts*."""

    def __init__(self, flat, steps, count, width, parts=1):
        size = count * width
        self.shape, self.all = (parts * steps, count, width), flat.reshape(parts * steps * count, width)
        self.steps = [flat[t * size : (t + 1) * size].reshape(count, width) for t in range(parts * steps)]
        self.parts = [self]
        if parts > 1:
            ends = range(0, (parts + 1) * steps * size, steps * size) if size else [0] * (parts + 1)
            self.parts = [Series(flat[a:b], steps, count, width) for a, b in itertools.pairwise(ends)]

    def rows(self, first, steps):
        """The rows of some steps, as one matrix."""
        count = self.shape[1]
        return self.all[first * count : (first + steps) * count]


def rows_in(order, steps, count, directions):
    """Numbers of the rows of one array in the order in which another one has them, as int64.

    Letters: t step, n sample, d direction.

    - "x": (n, t) as (t, n); "dx" is the way back;
    - "sequences": of states, as (n, t, d), those that the steps left; "between": as (t, n, d); "last": the final ones,
      as (n, d);
    - "dsequences", "dbetween", "dlast": the way back, to (d, t, n) and (d, n).
    """
    n, t, d = count, steps, directions
    places = np.arange(d * (t + 1) * n).reshape(d, t + 1, n)
    left = np.stack([places[0, 1:], places[-1, :-1]][:d])
    found = {
        "x": lambda: np.arange(n * t).reshape(n, t).T,
        "dx": lambda: np.arange(n * t).reshape(t, n).T,
        "sequences": lambda: left.transpose(2, 1, 0),
        "between": lambda: left.transpose(1, 2, 0),
        "last": lambda: np.stack([left[0, -1], left[-1, 0]][:d], axis=1),
        "dsequences": lambda: np.arange(n * t * d).reshape(n, t, d).transpose(2, 1, 0),
        "dbetween": lambda: np.arange(n * t * d).reshape(t, n, d).transpose(2, 0, 1),
        "dlast": lambda: np.arange(n * d).reshape(n, d).T,
    }
    return np.ascontiguousarray(found[order](), np.int64).reshape(-1)


class Scan:
    """The steps of a layer's one direction; a subclass for each kind of cell.

    States lie in the order of time for both directions, in one place more than there are steps: the initial one comes
    first, or, backwards in time, last. Step t starts from place t + `before`, and leaves its state in t + `after`.
    """

    kernel = None  # the name of its `Gates`; that of their gradient ends in .backward
    gates = 1
    states = 1

    def __init__(self, layer, key, reverse):
        self.layer, self.key, self.reverse, self.left = layer, key, reverse, None

    @property
    def before(self):
        """1 if the state that a step starts from comes after it in time, else 0."""
        return int(self.reverse)

    @property
    def after(self):
        """1 - `before`."""
        return int(not self.reverse)

    def order(self, steps):
        return range(steps - 1, -1, -1) if self.reverse else range(steps)

    def _series(self, name, steps, count, width, training=True):
        return self.layer.series(f"{self.key} {name}", steps, count, width, training)

    def _weight(self, name):
        return self.layer.parameters().get(f"{name}_{self.key}")

    # -- forward -------------------------------------------------------------------------------------------------
    def forward(self, x, h, initial, final, training):
        """Fill the states *h*, from rows *x* of all steps, initial states (None: zeros); *final* take the last ones."""
        places, count, hidden = h.shape
        steps, device = places - 1, self.layer.device
        pre = self._series("gates", steps, count, self.gates * hidden, training)
        product = self._series("product", 1, count, self.gates * hidden, training)
        held = self._hold(h, pre, steps, training)
        first = steps * self.before
        for state, start in zip(held["states"], initial, strict=True):
            device.copy(state.steps[first], self.layer.zeros(count, hidden) if start is None else start)
        multiply(x, self._weight("weight_ih"), pre.all, transpose_b=True, bias=self._weight("bias_ih"))
        device.prepare(pre.all.size)
        operands = self._operands(held, product)
        if self._fits_one_kernel(count, hidden):
            bias = self._weight("bias_hh")
            bias = self.layer.zeros(1, product.shape[2]).reshape(-1) if bias is None else bias
            self._run_steps(self.kernel, bias, h, operands, steps, training=training)
        else:
            for t in self.order(steps):
                start = h.steps[t + self.before]
                multiply(start, self._weight("weight_hh"), product.all, transpose_b=True, bias=self._weight("bias_hh"))
                self._run_step(self.kernel, operands, t)
        for state, end in zip(held["states"], final, strict=True):
            device.copy(end, state.steps[steps - first])
        if training:
            self.held, self.x, self.steps = held, x, steps

    # -- backward ------------------------------------------------------------------------------------------------
    def backward(self, dy, final, truncate, dx):
        """Fill the gradients of the weights, and *dx* (None: it is not asked for), rows of all steps.

        *dy* has the gradient of each step's output (None: zeros), *final* those of the last states (None: zeros). With
        *truncate*, none goes back from a part of so many steps to the part before it. `left` has what arrives at the
        initial states.
        """
        layer, (_, count, hidden) = self.layer, self.held["states"][0].shape
        zeros, name = layer.zeros(count, hidden), f"{self.kernel}.backward"
        given, state = self._gradient_series(count, self.gates * hidden)
        dh, carry = (self._series(part, 1, count, hidden) for part in ("dh", "carry"))
        for part, start in itertools.zip_longest((dh, carry), final):
            layer.device.copy(part.all, zeros if start is None else start)
        moves = dy is not None
        operands = self._gradient_operands(
            dy if moves else Series(zeros.reshape(-1), 1, count, hidden), dh, carry, given, state
        )
        if self._fits_one_kernel(count, hidden):
            bias = layer.zeros(1, hidden).reshape(-1)
            self._run_steps(name, bias, state, operands, self.steps, moves, truncate or 0)
        else:
            for s, t in reversed(list(enumerate(self.order(self.steps)))):
                self._run_step(name, operands, t, moves)
                if truncate and s and s % truncate == 0:
                    layer.device.copy(dh.all, zeros)
                    layer.device.copy(carry.all, zeros)
                else:
                    multiply(state.steps[t], self._weight("weight_hh"), dh.all)
        self.left = dh.all, carry.all
        self._weight_gradients(given, state)
        if dx is not None:
            multiply(given.all, self._weight("weight_ih"), dx)

    def _weight_gradients(self, given, state):
        """By one product over all steps each; those of the biases are sums of rows."""
        gradients = self.layer.gradients()
        before = self.held["states"][0].rows(self.before, self.steps)
        multiply(given.all, self.x, gradients[f"weight_ih_{self.key}"], transpose_a=True)
        multiply(state.all, before, gradients[f"weight_hh_{self.key}"], transpose_a=True)
        if self.layer.bias:
            column_sums(given.all, gradients[f"bias_ih_{self.key}"])
            if state is given:
                self.layer.device.copy(gradients[f"bias_hh_{self.key}"], gradients[f"bias_ih_{self.key}"])
            else:
                column_sums(state.all, gradients[f"bias_hh_{self.key}"])

    def initial_gradient(self):
        """Gradients of the initial states."""
        return [self.left[0]]

    # -- the kernels -----------------------------------------------------------------------------------------------
    def _fits_one_kernel(self, count, hidden):
        return self.layer.device.name == "cpu" and count * hidden * hidden * self.gates < LARGE

    def _run_steps(self, name, bias, state, operands, steps, moves=False, truncate=0, training=True):
        """All steps, with the product of *state* between them, in one kernel."""
        weight, spec = self._weight("weight_hh"), STEPS[name]
        columns, depth = weight.shape[::-1] if spec.backward else weight.shape
        room = self._series(f"room of {name}", 1, 1, spec.room(columns, depth), training).all.reshape(-1)
        numbers = map(np.int64, (steps, self.before, moves, truncate))
        arrays = [series.all for series in operands]
        self.layer.device.kernel(spec)(weight, bias, room, state.all, *arrays, *self._scalars(), *numbers)

    def _run_step(self, name, operands, t, moves=False):
        """The gates of step t."""
        rows = {"t": t, "b": t + self.before, "a": t + self.after, "y": t if moves else 0, "p": 0, "s": 0}
        arrays = [series.steps[rows[letter]] for series, letter in zip(operands, STEPS[name].places, strict=True)]
        self.layer.device.kernel(name)(*arrays, *self._scalars())

    # -- to be defined by a kind of cell ---------------------------------------------------------------------------
    def _hold(self, h, pre, steps, training):
        """What steps write and backward needs: "states" is a list of series of states, h the first of them."""
        return {"states": [h], "gates": pre}

    def _gradient_series(self, count, width):
        """Gradients of the preactivations: of what the input adds and of what the state adds, perhaps the same."""
        given = self._series("dgates", self.steps, count, width)
        return given, given

    def _operands(self, held, product):
        """The series that are operands of the gates, inputs and outputs."""
        raise NotImplementedError

    def _gradient_operands(self, dy, dh, carry, given, state):
        """Those of their gradient: *given* and *state* are gradients of the preactivations, the rest those of states.

        *carry* is what goes to the step before beside *dh*, a product; in place.
        """
        raise NotImplementedError

    def _scalars(self):
        return ()


class RNNScan(Scan):
    """h = tanh or relu of the preactivation."""

    kernel = "rnn"

    def _scalars(self):
        return (self.layer.dtype.type(self.layer.nonlinearity == "relu"),)

    def _operands(self, held, product):
        return held["gates"], product, held["states"][0]

    def _gradient_operands(self, dy, dh, carry, given, state):
        return self.held["states"][0], dy, dh, given


class LSTMScan(Scan):
    """Gates i, f, g, o; the states are h and c, whose gradient is carried."""

    kernel = "lstm"
    gates = 4
    states = 2

    def _hold(self, h, pre, steps, training):
        c = self._series("c", steps + 1, *h.shape[1:], training)
        return {"states": [h, c], "gates": pre}

    def _operands(self, held, product):
        (h, c), gates = held["states"], held["gates"]
        return gates, product, c, gates, c, h

    def _gradient_operands(self, dy, dh, carry, given, state):
        c = self.held["states"][1]
        return self.held["gates"], c, c, dy, dh, carry, given, carry

    def initial_gradient(self):
        return list(self.left)


class GRUScan(Scan):
    """Gates r, z, n, and what the state adds to n before r scales it; carried is what z lets through."""

    kernel = "gru"
    gates = 3

    def _hold(self, h, pre, steps, training):
        return {"states": [h], "gates": pre, "hidden_n": self._series("hidden_n", steps, *h.shape[1:], training)}

    def _gradient_series(self, count, width):
        return [self._series(name, self.steps, count, width) for name in ("dgates", "dproduct")]

    def _operands(self, held, product):
        (h,), gates = held["states"], held["gates"]
        return gates, product, h, gates, held["hidden_n"], h

    def _gradient_operands(self, dy, dh, carry, given, state):
        held = self.held
        return held["gates"], held["hidden_n"], held["states"][0], dy, dh, carry, given, state, carry

    def initial_gradient(self):
        dh, carry = self.left
        return [elementwise("blend", None, (1, 1), x=dh, y=carry)]
