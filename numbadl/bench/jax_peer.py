"""JAX's functions on the CPU, compiled by ``jax.jit``; results are new arrays, and a call waits until they are there."""

import jax
import numpy as np
from jax import nn
from jax import numpy as jnp

NAME, VERSION = "JAX", jax.__version__
EPSILON = 1e-5  # of norms
array, to_numpy = jnp.asarray, np.asarray
START = {"import": "import jax.numpy"}


def _waiting(function):
    compiled = jax.jit(function)
    return lambda *arrays: jax.block_until_ready(compiled(*arrays))


def _into_new(function):
    """A function (*arrays, out) which leaves out alone."""
    compiled = _waiting(function)
    return lambda *arrays: compiled(*arrays[:-1])


def _gradient(function):
    return lambda grad, x: jax.vjp(function, x)[1](grad)[0]


ACTIVATIONS = {
    "identity": jnp.copy, "relu": nn.relu, "sigmoid": nn.sigmoid, "tanh": jnp.tanh, "silu": nn.silu,
    "gelu": lambda x: nn.gelu(x, approximate=False), "gelu_tanh": nn.gelu, "elu": nn.elu, "selu": nn.selu, "celu": nn.celu,
    "softplus": nn.softplus, "leaky_relu": nn.leaky_relu, "relu6": nn.relu6, "hardtanh": nn.hard_tanh,
    "hardsigmoid": nn.hard_sigmoid, "hardswish": nn.hard_swish, "logsigmoid": nn.log_sigmoid, "mish": nn.mish,
    "softsign": nn.soft_sign, "exponential": jnp.exp, "arctan": jnp.arctan, "sin": jnp.sin,
}  # fmt: skip
FUNCTIONS = {
    "exp": jnp.exp, "exp2": jnp.exp2, "expm1": jnp.expm1, "log": jnp.log, "log2": jnp.log2, "log1p": jnp.log1p,
    "sinh": jnp.sinh, "cosh": jnp.cosh, "cos": jnp.cos, "atan": jnp.arctan, "sqrt": jnp.sqrt, "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc, "normal_cdf": jax.scipy.special.ndtr, "rsqrt": jax.lax.rsqrt,
}  # fmt: skip
FORWARD = {name: _into_new(function) for name, function in (FUNCTIONS | ACTIVATIONS).items()}
BACKWARD = {name: _into_new(_gradient(function)) for name, function in ACTIVATIONS.items()}


def _rows(function, axis=-1):
    compiled = _waiting(lambda x: function(x, axis=axis))

    def prepare(x):
        x = array(x)
        return lambda: compiled(x)

    return prepare


def _of_axes(axes_of, centred=True):
    """A norm over the axes that the function of x gives, without running statistics."""

    def norm(x, weight, bias):
        axes, shape = axes_of(x)
        mean = x.mean(axes, keepdims=True) if centred else 0
        variance = jnp.square(x - mean).mean(axes, keepdims=True)
        epsilon = EPSILON if centred else float(np.finfo(np.float32).eps)
        y = (x - mean) * jax.lax.rsqrt(variance + epsilon) * weight.reshape(shape)
        return y + bias.reshape(shape) if centred else y

    return norm


def _channels(x):
    return (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))


def _last(x):
    return (-1,), (1, -1)


def _normalised(norm):
    compiled = _waiting(norm)

    def prepare(x, grad, weight, bias):
        given = [array(a) for a in (x, weight, bias)]
        return lambda: compiled(*given)

    return prepare


def _with_backward(norm):
    def gradients(grad, *given):
        y, backward = jax.vjp(norm, *given)
        return *backward(grad), y

    compiled = _waiting(gradients)

    def prepare(x, grad, weight, bias):
        given = [array(a) for a in (grad, x, weight, bias)]
        return lambda: compiled(*given)[0]

    return prepare


NORMS = {"batch_norm": _of_axes(_channels), "layer_norm": _of_axes(_last), "rms_norm": _of_axes(_last, centred=False)}
PARTS = {
    "softmax": _rows(nn.softmax), "log_softmax": _rows(nn.log_softmax), "softmax.axis0": _rows(nn.softmax, 0),
    "softmax.images": _rows(nn.softmax, 1),
}  # fmt: skip
PARTS |= {name: _normalised(norm) for name, norm in NORMS.items()}
PARTS |= {f"{name}.both": _with_backward(norm) for name, norm in NORMS.items()}
