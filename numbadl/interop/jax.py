"""This library's functions for JAX: under jit, grad and vmap, without Python in a call.

Every activation, softmax and its kin, the norms of rows and gated units, by their names: ``numbadl.interop.jax.gelu(x)``. What
`numbadl.activation` declares is taken by `of`. Arrays are of float32 or float64, on the CPU. Gradients are of the first order, in
reverse mode (grad, vjp). Needs JAX.

Examples
--------
>>> import jax
>>> import jax.numpy as jnp
>>> from numbadl.interop import jax as ndj
>>> x = jnp.linspace(-2, 2, 5)
>>> slope = jax.jit(jax.grad(lambda x: ndj.gelu(x).sum()))(x)
>>> bool(jnp.allclose(slope, jax.grad(lambda x: jax.nn.gelu(x, approximate=False).sum())(x), atol=1e-6))
True
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _arguments as arguments
from .. import functional, row_norms
from ..activation import ActivationFunction, VariantsFunction
from ..functional import FUNCTIONS, GATED, RowFunction
from ..gated import GatedFunction, SplitFunction
from ..kernels.catalog import catalog
from ..kernels.cpu.map_by_channel import layout_of as layout_of_channels
from ..kernels.cpu.norm import layout_of as layout_of_rows
from ..row_norms import GroupNorm, InstanceNorm, LayerNorm, normalized_axes
from ..streams import stream_of
from . import _xla

_ROWS = {name: f for name, f in vars(functional).items() if isinstance(f, RowFunction)}
_NORMS = {name: f for name, f in vars(row_norms).items() if isinstance(f, row_norms._RowNorm)}
_ALL = {**FUNCTIONS, **GATED, **_ROWS, **_NORMS}
_KEPT = 256  # calls with other numbers whose rules of differentiation are kept


def of(function):
    """The function for JAX that does what a function of this library does, with its arguments but ``out``.

    Parameters
    ----------
    function : such as ``numbadl.silu``, or what `numbadl.activation` gives

    Examples
    --------
    >>> import numbadl as nd
    >>> import jax.numpy as jnp
    >>> @nd.activation
    ... def cube(x):
    ...     return x * x * x
    >>> of(cube)(jnp.array([1.0, 2.0])).tolist()
    [1.0, 8.0]
    """
    for kind, make in _MAKERS:
        if isinstance(function, kind):
            return _named(functools.partial(make, function), function)
    raise TypeError(f"function: got {arguments.shown(function)}, accepted are functions such as numbadl.silu")


def __getattr__(name):
    if name not in _ALL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = of(_ALL[name])
    return found


def __dir__():
    return sorted({*globals(), *_ALL})


def _named(made, function):
    @functools.wraps(made, assigned=())
    def call(*given, **options):
        return made(*given, **options)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = f"`numbadl.{function.__name__}` for JAX arrays, without *out*."
    return call


def _array(name, value):
    """*value* as a JAX array of float32 or float64."""
    if not isinstance(value, (jax.Array, np.ndarray)):
        raise TypeError(f"{name}: got {arguments.shown(value)}, accepted are JAX arrays")
    value = jnp.asarray(value)
    if value.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{name}: got dtype {value.dtype}, accepted are float32 and float64")
    return value


def _like(name, value, x, shape):
    """*value* as an array of x's dtype and of *shape*."""
    value = _array(name, value)
    if value.dtype != x.dtype:
        raise TypeError(f"{name}: got dtype {value.dtype}, accepted is that of x, {x.dtype}")
    if value.shape != tuple(shape):
        raise ValueError(f"{name}: got shape {value.shape}, expected {tuple(shape)}")
    return value


def _axis(axis, ndim):
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        raise ValueError(f"axis: got {arguments.shown(axis)}, accepted are {-ndim} to {ndim - 1}")
    return int(axis) % ndim


def _declaration(name):
    return catalog()[name] if isinstance(name, str) else name


# -- activations ---------------------------------------------------------------------------------------------------------
def _variants(function, x, *chosen, **option):
    return _activation(function._chosen(chosen, option), x)


def _activation(function, x, *parameters, **options):
    x, record = _array("x", x), function.record
    if not hasattr(function, "options"):
        if parameters or options:
            raise TypeError(f"{record.name}: takes no arguments after x")
        return _of_elements(function, (), None)(x.reshape(-1)).reshape(x.shape)
    values = function.check(*parameters, **options)
    numbers = tuple(float(values[p.name]) for p in record.parameters if p.gradient is None)
    if record.random and not values["training"]:
        return _activation(FUNCTIONS[record.evaluation], x, sum(numbers) / len(numbers))
    if record.random:
        numbers += tuple(map(int, stream_of(values["seed"], values["offset"])))
    learnt = [_parameter(p.name, values[p.name], x, values["axis"]) for p in record.learnable]
    if not learnt and not record.alternating:
        return _of_elements(function, numbers, None)(x.reshape(-1), *learnt).reshape(x.shape)
    count, inner = max((a.size for a in learnt), default=1), x.size
    if count > 1 or record.alternating:
        axis = _axis(values["axis"], x.ndim)
        count, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    if x.size == 0:
        return x
    learnt = [jnp.broadcast_to(a.reshape(-1), (count,)) for a in learnt]
    if record.alternating:
        learnt.append(jnp.where(jnp.arange(count) % 2 == 0, 1, -1).astype(x.dtype))
    return _of_elements(function, (*numbers, inner), count)(x.reshape(-1), *learnt).reshape(x.shape)


def _parameter(name, value, x, axis):
    """A number, or one for each channel."""
    if not hasattr(value, "shape"):
        return jnp.full((1,), value, x.dtype)
    if value.size == 1:
        return _like(name, value, x, value.shape)
    return _like(name, value, x, (x.shape[_axis(axis, x.ndim)],))


@functools.lru_cache(maxsize=_KEPT)
def _of_elements(function, numbers, channels):
    """The differentiable function of flat x and of operands with one value for each channel."""
    forward, backward = _declaration(function._kernel.kernel), _declaration(function._backward.kernel)
    part = None if channels is None else (layout_of_channels(channels, numbers[-1]), False)
    sums = [(backward.sums, channels)] if backward.sums else []

    def run(x, *operands):
        return _xla.call(forward, part, (x, *operands), [x.shape], numbers)[0]

    def gradients(saved, grad):
        found = _xla.call(backward, part, (grad, *saved), [grad.shape, *sums], numbers)
        learnt = list(found[1]) if sums else []
        return (found[0], *learnt, *[jnp.zeros_like(o) for o in saved[1 + len(learnt) :]])

    return _differentiable(run, lambda *given: (run(*given), given), gradients)


def _differentiable(run, forward, backward):
    found = jax.custom_vjp(run)
    found.defvjp(forward, backward)
    return jax.jit(found)


# -- gated units -----------------------------------------------------------------------------------------------------------
def _gated(function, x, gate):
    x = _array("x", x)
    return _gate(function)(x.reshape(-1), _like("gate", gate, x, x.shape).reshape(-1)).reshape(x.shape)


def _split(function, x, axis=-1):
    x = _array("x", x)
    axis = _axis(axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"x: got {x.shape[axis]} elements along axis {axis}, accepted are even numbers")
    return _gated(function, *jnp.split(x, 2, axis))


@functools.cache
def _gate(function):
    forward, backward = catalog()[function.__name__], catalog()[f"{function.__name__}.backward"]

    def run(x, gate):
        return _xla.call(forward, None, (x, gate), [x.shape])[0]

    def gradients(saved, grad):
        return tuple(_xla.call(backward, None, (grad, *saved), [grad.shape] * 2))

    return _differentiable(run, lambda *given: (run(*given), given), gradients)


# -- rows ------------------------------------------------------------------------------------------------------------------
def _row(function, x, axis=-1, mask=None):
    x = _array("x", x)
    axis = _axis(axis, x.ndim)
    if x.size == 0:
        return x
    last = jnp.moveaxis(x, axis, -1)
    masks = () if mask is None else (_mask(function, mask, x.shape, axis).reshape(-1, last.shape[-1]),)
    found = _rows(function.__name__ + ".masked" * len(masks))(last.reshape(-1, last.shape[-1]), *masks)
    return jnp.moveaxis(found.reshape(last.shape), -1, axis)


def _mask(function, mask, shape, axis):
    if f"{function.__name__}.masked" not in catalog():
        raise TypeError(f"mask: {function.__name__} takes none")
    if getattr(mask, "dtype", None) != np.bool_:
        raise TypeError("mask: accepted are bool arrays, True for what takes part")
    return jnp.moveaxis(jnp.broadcast_to(mask, shape), axis, -1)


@functools.cache
def _rows(name):
    forward, backward = catalog()[name], catalog()[f"{name}.backward"]

    def run(x, *masks):
        return _xla.call(forward, None, (x, *masks), [x.shape])[0]

    def kept(x, *masks):
        y = run(x, *masks)
        return y, (y, *masks)

    def gradients(saved, grad):
        return (_xla.call(backward, None, (grad, *saved), [grad.shape])[0], *[None] * (len(saved) - 1))

    return _differentiable(run, kept, gradients)


# -- norms -----------------------------------------------------------------------------------------------------------------
def _norm(function, x, *given, **options):
    return _NORM_ARGUMENTS[type(function)](function, _array("x", x), *given, **options)


def _layer_norm(function, x, normalized_shape, weight=None, bias=None, eps=1e-5):
    shape = _last_axes(x, normalized_shape)
    return _normalised(function, x, math.prod(shape), 1, shape, eps, weight=weight, bias=bias)


def _rms_norm(function, x, normalized_shape, weight=None, eps=None):
    shape = _last_axes(x, normalized_shape)
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    return _normalised(function, x, math.prod(shape), 1, shape, eps, weight=weight)


def _group_norm(function, x, num_groups, weight=None, bias=None, eps=1e-5):
    if x.ndim < 2:
        raise ValueError(f"x: got shape {x.shape}, expected (N, C) or (N, C, *spatial)")
    channels, size = x.shape[1], math.prod(x.shape[2:])
    if channels % arguments.integer("num_groups", num_groups):
        raise ValueError(f"num_groups: got {num_groups}, accepted are divisors of the number of channels, {channels}")
    return _normalised(function, x, channels // num_groups * size, size, (channels,), eps, weight=weight, bias=bias)


def _instance_norm(function, x, weight=None, bias=None, eps=1e-5):
    if x.ndim > 1 and math.prod(x.shape[2:]) == 1:
        raise ValueError(
            f"x: got shape {x.shape}; instance norm needs more than one value for each channel of a sample"
        )
    return _group_norm(function, x, x.shape[1] if x.ndim > 1 else 1, weight, bias, eps)


def _last_axes(x, normalized_shape):
    wanted = normalized_axes(normalized_shape)
    if x.shape[-len(wanted) :] != wanted:
        raise ValueError(f"normalized_shape: got {wanted}, accepted are the last axes of x, which has shape {x.shape}")
    return wanted


def _normalised(function, x, n, segment, shape, eps, **affine):
    arguments.number("eps", eps)
    neutral = {"weight": jnp.ones, "bias": jnp.zeros}
    given = [
        (neutral[name](shape, x.dtype) if value is None else _like(name, value, x, shape)).reshape(-1)
        for name, value in affine.items()
    ]
    if x.size == 0:
        return x
    return _norm_of_rows(function, segment, float(eps))(x.reshape(-1, n), *given).reshape(x.shape)


@functools.lru_cache(maxsize=_KEPT)
def _norm_of_rows(function, segment, eps):
    """The differentiable function of rows and of their affine operands, which have a value for *segment* elements each."""
    forward, backward = catalog()[function._kernel], catalog()[f"{function._kernel}.backward"]
    part = layout_of_rows(segment)

    def written(affine):
        return [jnp.repeat(a, segment) for a in affine] if part == "columns" else affine

    def run(x, *affine):
        outputs = [x.shape, *[x.shape[:1]] * forward.row_outputs]
        return _xla.call(forward, part, (x, *written(affine)), outputs, (eps, segment))

    def kept(x, *affine):
        y, *values = run(x, *affine)
        return y, (x, affine, values)

    def gradients(saved, grad):
        x, affine, values = saved
        outputs = [x.shape, (backward.affine_sums, affine[0].size)]
        inputs = (grad, x, *written(affine[: backward.affine]), *values)
        dx, sums = _xla.call(backward, part, inputs, outputs, (segment,))
        return (dx, *sums)

    return _differentiable(lambda *given: run(*given)[0], kept, gradients)


_NORM_ARGUMENTS = {
    LayerNorm: _layer_norm, row_norms.RMSNorm: _rms_norm, GroupNorm: _group_norm, InstanceNorm: _instance_norm
}  # fmt: skip
_MAKERS = (
    (VariantsFunction, _variants), (ActivationFunction, _activation), (SplitFunction, _split), (GatedFunction, _gated),
    (RowFunction, _row), (row_norms._RowNorm, _norm),
)  # fmt: skip
