"""A step of recurrent layers, for one element of the state: preactivations in, gates and the next state out; and back.

Preactivations come in two parts, x and hidden: what the input adds, and what the state adds. Backward takes the
gradient of the state in parts, too, as it comes from the output and from the next step, and computes tanh(c) again.
"""

from ..shapes import Gates, Steps
from .activations import (
    relu,
    relu_derivative,
    sigmoid_derivative_of_result,
    tanh_derivative_of_result,
)
from .intrinsics import fma
from .language import scalar
from .math.hyperbolic import tanh
from .math.logistic import sigmoid


@scalar
def rnn(x, hidden, rectified):
    return relu(x + hidden) if rectified != 0 else tanh(x + hidden)


@scalar
def rnn_gradient(h, dy, dh, rectified):
    return (dy + dh) * (relu_derivative(h) if rectified != 0 else tanh_derivative_of_result(h))


@scalar
def lstm(xi, xf, xg, xo, hidden_i, hidden_f, hidden_g, hidden_o, c):
    i, f, o = sigmoid(xi + hidden_i), sigmoid(xf + hidden_f), sigmoid(xo + hidden_o)
    g = tanh(xg + hidden_g)
    c = fma(f, c, i * g)
    return i, f, g, o, c, o * tanh(c)


@scalar
def lstm_gradient(i, f, g, o, before, c, dy, dh, dc):
    dh, squashed = dy + dh, tanh(c)
    dc = fma(dh * o, tanh_derivative_of_result(squashed), dc)
    di, df = dc * g * sigmoid_derivative_of_result(i), dc * before * sigmoid_derivative_of_result(f)
    dg, do = dc * i * tanh_derivative_of_result(g), dh * squashed * sigmoid_derivative_of_result(o)
    return di, df, dg, do, dc * f


@scalar
def gru(xr, xz, xn, hidden_r, hidden_z, hidden_n, h):
    r, z = sigmoid(xr + hidden_r), sigmoid(xz + hidden_z)
    n = tanh(fma(r, hidden_n, xn))
    return r, z, n, hidden_n, fma(z, h - n, n)


@scalar
def gru_gradient(r, z, n, hidden_n, before, dy, dh, direct):
    """The gradients of what the input adds, of what the state adds, and of the state before, as z lets it through."""
    dh = dy + dh + direct
    dn, dz = dh * (1 - z) * tanh_derivative_of_result(n), dh * (before - n) * sigmoid_derivative_of_result(z)
    dr = dn * hidden_n * sigmoid_derivative_of_result(r)
    return dr, dz, dn, dr, dz, dn * r, dh * z


# Blocks of operands: those of gates first, then single ones in the order of the functions.
RNN = Gates("rnn", rnn, (1, 1), (1,), "x")
RNN_BACKWARD = Gates("rnn.backward", rnn_gradient, (1, 1, 1), (1,), "x")
LSTM = Gates("lstm", lstm, (4, 4, 1), (4, 1, 1))
LSTM_BACKWARD = Gates("lstm.backward", lstm_gradient, (4, 1, 1, 1, 1, 1), (4, 1))
GRU = Gates("gru", gru, (3, 3, 1), (3, 1, 1))
GRU_BACKWARD = Gates("gru.backward", gru_gradient, (3, 1, 1, 1, 1, 1), (3, 3, 1))

# The steps of a layer in one kernel, by the name of the gates.
STEPS = {
    gates.name: Steps(f"{gates.name}.steps", gates, places, gates.name.endswith("backward"))
    for gates, places in (
        (RNN, "tpa"), (RNN_BACKWARD, "aypt"), (LSTM, "tpbtaa"), (LSTM_BACKWARD, "tbaypsts"), (GRU, "tpbtta"),
        (GRU_BACKWARD, "ttbypstts"),
    )
}  # fmt: skip
