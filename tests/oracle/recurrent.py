"""Recurrent layers in NumPy, one sample's step after the other, written from the formulas; in float64.

Parts are cut for truncated back-propagation by *held*: the states in which parts begin are then taken from a run
before, so that a difference of two runs has none of what would have come through them.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, state, w, nonlinearity="tanh"):
    total = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ state[0] + w["bias_hh"]
    return (np.tanh(total) if nonlinearity == "tanh" else np.maximum(total, 0),)


def lstm(x, state, w):
    h, c = state
    i, f, g, o = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x, state, w):
    h = state[0]
    xr, xz, xn = np.split(w["weight_ih"] @ x + w["bias_ih"], 3)
    hr, hz, hn = np.split(w["weight_hh"] @ h + w["bias_hh"], 3)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return ((1 - z) * n + z * h,)


CELLS = {"RNN": (rnn, 1), "LSTM": (lstm, 2), "GRU": (gru, 1)}


def run(name, parameters, x, state=None, num_layers=1, bidirectional=False, truncate=None, held=None, **options):
    """Results of all steps (N, L, features), final states (parts, layers and directions, N, H), where parts began.

    *state* has the shape of the final states; *held* is a third result, to be used for all parts but the first.
    """
    cell, parts = CELLS[name]
    hidden = parameters["weight_hh_l0"].shape[1]
    scans, (count, length, _) = num_layers * (1 + bidirectional), x.shape
    state = (
        np.zeros((parts, scans, count, hidden)) if state is None else np.reshape(state, (parts, scans, count, hidden))
    )
    final, began = np.zeros_like(state), {}
    for layer in range(num_layers):
        results = []
        for direction in range(1 + bidirectional):
            key, place = f"_l{layer}" + "_reverse" * direction, layer * (1 + bidirectional) + direction
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            w = {kind: parameters.get(kind + key, np.zeros(1)) for kind in kinds}
            result = np.zeros((count, length, hidden))
            for n in range(count):
                now = tuple(state[:, place, n])
                for s in range(length):
                    if truncate and s and s % truncate == 0:
                        began[place, n, s] = now
                        now = now if held is None else held[place, n, s]
                    t = length - 1 - s if direction else s
                    now = cell(x[n, t], now, w, **options)
                    result[n, t] = now[0]
                final[:, place, n] = now
            results.append(result)
        x = np.concatenate(results, axis=2)
    return x, final, began
