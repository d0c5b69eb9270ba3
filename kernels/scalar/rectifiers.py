"""Activations made of straight lines and parabolas, beyond the course's."""

from math import inf

from .coefficients import SIXTH_HIGH, SIXTH_LOW
from .intrinsics import fma
from .language import scalar
from .parts import clipped, limited, nan_or
from .records import Activation, Parameter, finite_from_0


@scalar
def relu6(x):
    return clipped(x, 0, 6)


@scalar
def relu6_derivative(x):
    return inside(x, 0, 6, 1)


@scalar
def inside(x, low, high, value):
    """*value* for low < x < high, otherwise 0."""
    return nan_or(x, 0 if x <= low else (0 if x >= high else value))


@scalar
def hardtanh(x, min_val, max_val):
    return clipped(x, min_val, max_val)


@scalar
def hardtanh_derivative(x, min_val, max_val):
    return inside(x, min_val, max_val, 1)


@scalar
def hardsigmoid(x):
    return relu6(x + 3) * (1 / 6)


@scalar
def hardsigmoid_derivative(x):
    return inside(x, -3, 3, 1 / 6)


@scalar
def hardswish(x):
    """x h, h = x/6 + 1/2 with 1/6 in two parts, so that it vanishes at -3 as it should."""
    h = fma(x, SIXTH_LOW(x), fma(x, SIXTH_HIGH(x), 0.5))
    y = x if x >= 3 else x * h
    return 0 if x <= -3 else y


@scalar
def hardswish_derivative(x):
    return 0 if x <= -3 else (1 if x >= 3 else fma(2, x, 3) * (1 / 6))


@scalar
def hardshrink(x, lambd):
    return 0 if abs(x) <= lambd else x


@scalar
def hardshrink_derivative(x, lambd):
    return nan_or(x, 0 if abs(x) <= lambd else 1)


@scalar
def softshrink(x, lambd):
    return x - limited(x, lambd)


@scalar
def threshold(x, threshold, value):
    return value if x <= threshold else x


@scalar
def threshold_derivative(x, threshold, value):
    return nan_or(x, 0 if x <= threshold else 1)


@scalar
def relu_squared(x):
    positive = 0 if x < 0 else x
    return positive * positive


@scalar
def relu_squared_derivative(x):
    return 0 if x < 0 else 2 * x


@scalar
def star_relu(x, scale, bias):
    positive = 0 if x < 0 else x
    return fma(scale * positive, positive, bias)


@scalar
def star_relu_derivative(x, scale, bias):
    return 2 * scale * (0 if x < 0 else x)


@scalar
def sparse_plus(x):
    """((x + 1)/2)^2 between -1 and 1."""
    h = sparse_sigmoid(x)
    return x if x > 1 else h * h


@scalar
def sparse_sigmoid(x):
    return fma(0.5, limited(x, 1), 0.5)


@scalar
def sparse_sigmoid_derivative(x):
    return inside(x, -1, 1, 0.5)


@scalar
def srelu(x, t_left, a_left, t_right, a_right):
    left = fma(a_left, x - t_left, t_left)
    right = fma(a_right, x - t_right, t_right)
    return right if x >= t_right else (left if x <= t_left else x)


@scalar
def srelu_derivative(x, t_left, a_left, t_right, a_right):
    return nan_or(x, a_right if x >= t_right else (a_left if x <= t_left else 1))


@scalar
def srelu_by_t_left(x, t_left, a_left, t_right, a_right):
    return nan_or(x, 0 if x >= t_right else (1 - a_left if x <= t_left else 0))


@scalar
def srelu_by_a_left(x, t_left, a_left, t_right, a_right):
    return nan_or(x, 0 if x >= t_right else (x - t_left if x <= t_left else 0))


@scalar
def srelu_by_t_right(x, t_left, a_left, t_right, a_right):
    return nan_or(x, 1 - a_right if x >= t_right else 0)


@scalar
def srelu_by_a_right(x, t_left, a_left, t_right, a_right):
    return nan_or(x, x - t_right if x >= t_right else 0)


def _lambd():
    return (Parameter("lambd", 0.5, valid=finite_from_0, accepted="finite numbers from 0"),)


def _symmetric_kinks(lambd):
    return (-lambd, lambd)


RECORDS = [
    Activation(
        "relu6", "ReLU6", relu6, relu6_derivative, r"\min(\max(0, x), 6)", r"1 \text{ if } 0 < x < 6, \text{ else } 0",
        (0.0, 6.0), "C^0", kinks=(0.0, 6.0), initialization="he",
        source="Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10; f' at its kinks as in PyTorch",
    ),
    Activation(
        "hardtanh", "Hardtanh", hardtanh, hardtanh_derivative, r"\min(\max(a, x), b)",
        r"1 \text{ if } a < x < b, \text{ else } 0", lambda min_val, max_val: (min_val, max_val), "C^0",
        kinks=lambda min_val, max_val: (min_val, max_val), source="Collobert 2004, Large scale machine learning (thesis)",
        parameters=(Parameter("min_val", -1.0), Parameter("max_val", 1.0)),
        check=lambda min_val, max_val: min_val >= max_val and f"min_val: got {min_val}, not below max_val = {max_val}",
    ),
    Activation(
        "hardsigmoid", "Hardsigmoid", hardsigmoid, hardsigmoid_derivative, r"\frac{\min(\max(0, x+3), 6)}{6}",
        r"\frac{1}{6} \text{ if } |x| < 3, \text{ else } 0", (0.0, 1.0), "C^0", kinks=(-3.0, 3.0),
        source="Courbariaux, Bengio, David 2015, BinaryConnect (slope 1/2); slope 1/6: Howard et al. 2019, MobileNetV3",
    ),
    Activation(
        "hardswish", "Hardswish", hardswish, hardswish_derivative, r"x\,\frac{\min(\max(0, x+3), 6)}{6}",
        r"\frac{2x+3}{6} \text{ if } |x| < 3; \ 1 \text{ if } x \ge 3, \text{ else } 0", (-0.375, inf), "C^0",
        kinks=(-3.0, 3.0), monotonic=False, initialization="he", source="Howard et al. 2019, Searching for MobileNetV3",
    ),
    Activation(
        "hardshrink", "Hardshrink", hardshrink, hardshrink_derivative, r"x \text{ if } |x| > \lambda, \text{ else } 0",
        r"1 \text{ if } |x| > \lambda, \text{ else } 0", (-inf, inf), "C^-1", kinks=_symmetric_kinks,
        source="Donoho, Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage", parameters=_lambd(),
    ),
    Activation(
        "softshrink", "Softshrink", softshrink, hardshrink_derivative, r"x - \min(\max(-\lambda, x), \lambda)",
        r"1 \text{ if } |x| > \lambda, \text{ else } 0", (-inf, inf), "C^0", kinks=_symmetric_kinks,
        source="Donoho 1995, De-noising by soft-thresholding", parameters=_lambd(),
    ),
    Activation(
        "threshold", "Threshold", threshold, threshold_derivative, r"x \text{ if } x > t, \text{ else } v",
        r"1 \text{ if } x > t, \text{ else } 0", lambda threshold, value: (min(threshold, value), inf), "C^0",
        kinks=lambda threshold, value: (threshold,), initialization="he",
        source="Konda, Memisevic, Krueger 2015, Zero-bias autoencoders (the truncated linear unit)",
        parameters=(Parameter("threshold", 0.0), Parameter("value", 0.0)),
    ),
    Activation(
        "relu_squared", "ReLUSquared", relu_squared, relu_squared_derivative, r"\max(0, x)^2", r"2 \max(0, x)",
        (0.0, inf), "C^1", initialization="he", source="So et al. 2021, Primer: searching for efficient transformers",
    ),
    Activation(
        "star_relu", "StarReLU", star_relu, star_relu_derivative, r"s \max(0, x)^2 + b", r"2 s \max(0, x)",
        lambda scale, bias: (bias, inf) if scale >= 0 else (-inf, bias), "C^1", initialization="he",
        source="Yu et al. 2022, MetaFormer baselines for vision",
        parameters=(Parameter("scale", 0.8944), Parameter("bias", -0.4472)),
    ),
    Activation(
        "sparse_plus", "SparsePlus", sparse_plus, sparse_sigmoid,
        r"0 \text{ if } x \le -1; \ x \text{ if } x \ge 1, \text{ else } \tfrac{1}{4} (x+1)^2",
        r"\tfrac{1}{2} (\min(\max(-1, x), 1) + 1)", (0.0, inf), "C^1", initialization="he",
        source="the integral of sparse_sigmoid; Optax and JAX have it under this name",
    ),
    Activation(
        "sparse_sigmoid", "SparseSigmoid", sparse_sigmoid, sparse_sigmoid_derivative,
        r"\tfrac{1}{2} (\min(\max(-1, x), 1) + 1)", r"\tfrac{1}{2} \text{ if } |x| < 1, \text{ else } 0", (0.0, 1.0), "C^0",
        kinks=(-1.0, 1.0), source="Martins, Astudillo 2016, From softmax to sparsemax (two classes)",
    ),
    Activation(
        "srelu", "SReLU", srelu, srelu_derivative,
        r"t_r + a_r (x - t_r) \text{ if } x \ge t_r; \ t_l + a_l (x - t_l) \text{ if } x \le t_l, \text{ else } x",
        r"a_r \text{ if } x \ge t_r; \ a_l \text{ if } x \le t_l, \text{ else } 1", (-inf, inf), "C^0",
        kinks=lambda t_left, a_left, t_right, a_right: (t_left, t_right), initialization="he",
        source="Jin, Xu, Feng, Wei, Xiong, Yan 2016, Deep learning with S-shaped rectified linear activation units",
        parameters=(
            Parameter("t_left", 0.0, srelu_by_t_left), Parameter("a_left", 0.2, srelu_by_a_left),
            Parameter("t_right", 1.0, srelu_by_t_right), Parameter("a_right", 1.0, srelu_by_a_right),
        ),
    ),
]  # fmt: skip
