"""Gated units: one half of the features, through an activation, multiplies the other half."""

from .activations import relu, relu_derivative, sigmoid_derivative, silu, silu_derivative
from .language import scalar
from .math.logistic import sigmoid
from .math.normal import x_normal_cdf, x_normal_cdf_derivative
from .records import Gated


@scalar
def swiglu(x, gate):
    return x * silu(gate)


@scalar
def swiglu_gradient(grad, x, gate):
    return grad * silu(gate), grad * x * silu_derivative(gate)


@scalar
def geglu(x, gate):
    return x * x_normal_cdf(gate)


@scalar
def geglu_gradient(grad, x, gate):
    return grad * x_normal_cdf(gate), grad * x * x_normal_cdf_derivative(gate)


@scalar
def reglu(x, gate):
    return x * relu(gate)


@scalar
def reglu_gradient(grad, x, gate):
    return grad * relu(gate), grad * x * relu_derivative(gate)


@scalar
def glu(x, gate):
    return x * sigmoid(gate)


@scalar
def glu_gradient(grad, x, gate):
    return grad * sigmoid(gate), grad * x * sigmoid_derivative(gate)


_DAUPHIN = "Dauphin, Fan, Auli, Grangier 2017, Language modeling with gated convolutional networks"
_SHAZEER = "Shazeer 2020, GLU variants improve transformer"
GATED = {
    record.name: record
    for record in [
        Gated("glu", "GLU", glu, glu_gradient, r"x\,\sigma(g)", _DAUPHIN),
        Gated("swiglu", "SwiGLU", swiglu, swiglu_gradient, r"x\,g\,\sigma(g)", _SHAZEER),
        Gated("geglu", "GEGLU", geglu, geglu_gradient, r"x\,g\,\Phi(g)", _SHAZEER),
        Gated("reglu", "ReGLU", reglu, reglu_gradient, r"x \max(0, g)", _SHAZEER),
    ]
}  # fmt: skip
