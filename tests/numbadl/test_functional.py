"""Activations over arrays: values against high precision, layouts, sizes, threads and errors, for every record."""

import numpy as np
import pytest
import references as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from numbadl.kernels import cpu
from numbadl.kernels.cpu import pool

import numbadl as nd

OPERATIONS = ("forward", "derivative", "backward")
ULPS = {"forward": 2, "derivative": 2, "backward": 3}  # backward multiplies, which rounds once more
ABSOLUTE = {"soft_exponential", "soft_clipping"}  # 2 ULP of 1.0 are asked for, as in tests/kernels/test_activations.py
NAMES = [name for name, record in nd.ACTIVATIONS.items() if not record.alternating]  # see test_brelu
# One of each kind: plain ones, numbers as parameters, learnable ones with sums, random ones. The others are built alike,
# and their layouts, sizes and threads are tested in the slow part.
KINDS = ("relu", "silu", "leaky_relu", "prelu", "rrelu")
IN_FLOAT64 = ("silu", "prelu")  # float64 kernels of the others are compiled in the slow part only


def each(*dtypes, names=NAMES):
    return [
        pytest.param(
            name, operation, dtype, id=f"{name}-{operation}-{np.dtype(dtype)}",
            marks=[pytest.mark.slow]
            if (dtype is np.float64 and name not in IN_FLOAT64) or name not in names else [],
        )
        for name in NAMES for operation in OPERATIONS for dtype in dtypes
    ]  # fmt: skip


def run(name, operation, x, grad=None, out=None):
    function = getattr(nd, name)
    if operation == "backward":
        result = function.backward(grad, x, out=out)
        return result[0] if function.record.learnable else result
    return (function if operation == "forward" else function.derivative)(x, out=out)


def defaults(name, dtype):
    """The default parameters as the kernels get them, for the references: a random one takes its mean."""
    values = [p.default for p in nd.ACTIVATIONS[name].parameters]
    values = [sum(values) / len(values)] if nd.ACTIVATIONS[name].random else values
    return tuple(float(dtype(v)) for v in values)


def kinks(name):
    return ref.of_parameters(ref.KINKS.get(name, ()), defaults(name, np.float64))


def check(name, operation, actual, x, grad=None, ulps=8):
    """*actual* against the reference; accuracy itself is tested in `test_values`, and elsewhere by a wider *ulps*."""
    order, parameters = int(operation != "forward"), defaults(name, x.dtype.type)
    expected = ref.activation(name, order, x, grad if operation == "backward" else None, parameters)
    scale = 1.0 if operation != "backward" else np.maximum(np.abs(grad.astype(np.float64)), 1)
    error = expected.ulps(actual, scale)
    bad = error > ulps
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(actual.astype(np.float64) - expected.high) / (np.finfo(x.dtype).eps * scale)
        if name in ABSOLUTE:
            bad &= ~(distance <= 2 * np.maximum(1, np.abs(expected.high)))
    if bad.any():  # beside a zero crossing away from the origin, 2 ULP of 1.0 are asked for
        bad &= ~((distance <= 2) & ref.crosses_zero(name, order, x, parameters=parameters))
    if bad.any():
        k = np.unravel_index(np.argmax(np.where(bad, error, -1)), x.shape)
        pytest.fail(f"x = {x[k]!r}: got {actual[k]!r}, expected {expected.high[k]!r}, {error[k]:.3g} ULP")


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def special_values(dtype):
    info = np.finfo(dtype)
    edges = [
        0.0,
        info.smallest_subnormal,
        info.tiny / 2,
        info.tiny,
        1e-30,
        1e-3,
        0.5,
        1,
        2,
        17.5,
        19,
        40,
        86,
        87.5,
        88.8,
        104,
    ]
    edges += [700, 709.5, 745, 750, 1e4, 1e30, info.max]
    values = np.array([s * v for v in edges for s in (1.0, -1.0)] + [np.inf, -np.inf, np.nan], dtype)
    near = [np.nextafter(v, dtype(t)) for v in dtype([-1, 0, 1, 2]) for t in (-9, 9)]
    return np.concatenate([values, np.array(near, dtype)])


def sample(dtype, rng, n=150):
    """Special values, values of every magnitude, and the range in which activations bend."""
    signs = rng.choice([-1, 1], n)
    return np.concatenate(
        [special_values(dtype), (signs * 10 ** rng.uniform(-36, 36, n)), rng.uniform(-12, 12, n)]
    ).astype(dtype)


# -- values --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "operation", "dtype"), each(np.float32, np.float64))
def test_values(name, operation, dtype, rng):
    x = sample(dtype, rng)
    if name == "snake" and operation != "forward":  # the angle 2 alpha x is rounded: beyond, it says nothing
        x = x[~(np.abs(x) > 2.0**20)]
    if operation == "backward":  # where the derivative itself overflows, so does its product
        x = x[np.isfinite(run(name, "derivative", x)) | ~np.isfinite(x)]
    grad = rng.normal(size=x.size).astype(dtype)
    check(name, operation, run(name, operation, x, grad), x, grad, ULPS[operation])


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_grad_times_derivative(name, rng):
    x = sample(np.float32, rng)
    grad = rng.permutation(sample(np.float32, rng))
    with np.errstate(all="ignore"):
        expected = grad * getattr(nd, name).derivative(x)
    actual = run(name, "backward", x, grad)
    np.testing.assert_allclose(actual, expected, rtol=3e-7, atol=1.2e-38, equal_nan=True)


@pytest.mark.parametrize("name", [n for n in NAMES if not nd.ACTIVATIONS[n].parameters])
def test_sign_of_zero(name, rng):
    f = getattr(nd, name)
    x = rng.uniform(0, 5, 50).astype(np.float32)
    result = f(np.array([0.0, -0.0], np.float32))
    if np.array_equal(f(-x), -f(x)):  # an odd function
        assert np.signbit(result).tolist() == [False, True]
    elif result[0] == 0:
        assert not np.signbit(result[0]) and result[1] == 0


# -- layouts ---------------------------------------------------------------------------------------------------
def unaligned(v):
    buffer = np.zeros(v.nbytes + 1, np.uint8)
    x = buffer[1:].view(v.dtype).reshape(v.shape)
    x[...] = v
    return x


def read_only(v):
    x = v.copy()
    x.flags.writeable = False
    return x


def strided(v):
    x = np.full((*v.shape[:-1], 2 * v.shape[-1]), 7, v.dtype)[..., ::2]
    x[...] = v
    return x


LAYOUTS = {
    "C": np.copy,
    "F": lambda v: np.array(v, order="F"),
    "permuted": lambda v: np.array(v.transpose(2, 0, 1), order="C").transpose(1, 2, 0),
    "transposed matrix": lambda v: np.array(v[0].T, order="C").T,
    "strided": strided,
    "rows left out": lambda v: np.repeat(v, 2, axis=0)[::2],
    "negative strides": lambda v: np.array(v[::-1, :, ::-1], order="C")[::-1, :, ::-1],
    "reversed": lambda v: np.array(v.reshape(-1)[::-1], order="C")[::-1],
    "broadcast": lambda v: np.broadcast_to(v[:, :1], v.shape),
    "axes of one element": lambda v: v.reshape(1, -1, 1).copy(),
    "0-d": lambda v: np.array(v[0, 1, 2]),
    "empty": lambda v: v[:, :0].copy(),
    "empty and strided": lambda v: v[:0, :, ::2],
    "read-only": read_only,
    "read-only F": lambda v: read_only(v).transpose(1, 0, 2).T,
    "unaligned": unaligned,
}
OUTS = {
    "none": lambda x: None,
    "C": lambda x: np.full(x.shape, 9, x.dtype),
    "F": lambda x: np.full(x.shape, 9, x.dtype, order="F"),
    "strided": lambda x: np.full((*x.shape, 2), 9, x.dtype)[..., 0],
    "unaligned": lambda x: unaligned(np.full(x.shape, 9, x.dtype)),
    "in place": lambda x: x,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "operation", "dtype"), each(np.float32, np.float64, names=KINDS))
def test_layouts(name, operation, dtype, layout):
    values = np.linspace(-7, 8, 24).astype(dtype).reshape(2, 3, 4)
    for grad_layout in (np.asarray, np.ascontiguousarray):
        for kind, make_out in OUTS.items():
            x = LAYOUTS[layout](values)
            grad = grad_layout(LAYOUTS[layout](np.cos(values)))
            grad = grad.reshape(x.shape)  # ascontiguousarray makes 0-d 1-d
            before, grad_before = x.copy(), grad.copy()
            out = make_out(x)
            if out is not None and not out.flags.writeable:
                with pytest.raises(ValueError, match="read-only"):
                    run(name, operation, x, grad, out)
                assert same_bits(x, before)
                continue
            result = run(name, operation, x, grad, out)
            assert type(result) is np.ndarray and result.dtype == dtype and result.shape == x.shape
            assert out is None or result is out
            assert kind == "in place" or same_bits(x, before)
            assert same_bits(grad, grad_before)
            if kind == "strided" and x.ndim:
                assert np.all(out.base.reshape(*x.shape, 2)[..., 1] == 9)
            assert same_bits(result, run(name, operation, before, grad_before))


@pytest.mark.parametrize("name", NAMES)
def test_backward_into_grad(name):
    x, grad = np.linspace(-3, 3, 30, dtype=np.float32), np.linspace(2, -1, 30, dtype=np.float32)
    expected = run(name, "backward", x, grad)
    assert run(name, "backward", x, grad, grad) is grad
    assert same_bits(grad, expected)


OF_RESULT = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: (1 - y) * (1 + y), "exponential": lambda y: y}


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OF_RESULT)
def test_backward_of_the_result(name, dtype, rng):
    """Within 3 ULP of the derivative of the y that came, in higher precision; for a y that rounded to 1, too."""
    y = np.append(getattr(nd, name)(rng.normal(0, 4, 5000).astype(dtype)), dtype(1))
    grad = rng.normal(size=y.size).astype(dtype)
    backward = getattr(nd, name).backward
    expected = grad.astype(np.longdouble) * OF_RESULT[name](y.astype(np.longdouble))
    np.testing.assert_array_max_ulp(backward(grad, result=y), expected.astype(dtype), maxulp=3)
    assert same_bits(backward(grad[::-1], result=y[::-1]), backward(grad, result=y)[::-1])
    expected = backward(grad, result=y)
    assert backward(grad, result=y, out=y) is y and same_bits(y, expected)


def test_backward_takes_x_or_a_result_that_it_can_use():
    x = np.ones(3, np.float32)
    for call, message in [
        (lambda: nd.tanh.backward(x, x, result=x), "result: got x, too"),
        (lambda: nd.tanh.backward(x), "^x: got NoneType"),
        (lambda: nd.gelu.backward(x), "x"),
        (lambda: nd.silu.backward(x, result=x), "result: silu.backward takes x"),
        (lambda: nd.tanh.backward(x, result=np.ones(3)), "result"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    assert {n for n, record in nd.ACTIVATIONS.items() if record.of_result} == set(OF_RESULT)


def test_dense_arrays_of_one_order_are_not_copied(allocated):
    c = np.ones((100, 200, 300), np.float32)
    for x in (c, np.array(c, order="F"), c.transpose(1, 0, 2), c.reshape(-1)[4:].reshape(2, -1)):
        out = np.empty_like(x)
        nd.silu(x[:1, :1].copy())
        assert allocated(lambda x=x, out=out: (nd.silu(x, out=out), nd.silu.backward(x, x, out=out))) < x.nbytes / 20


def test_a_dtype_compiles_once_whatever_the_layout():
    values = np.linspace(-7, 8, 24).astype(np.float32).reshape(2, 3, 4)
    for layout in LAYOUTS.values():
        for make_out in OUTS.values():
            x = layout(values)
            out = make_out(x)
            if out is None or out.flags.writeable:
                nd.relu(x, out=out)
                nd.relu.backward(layout(values), x, out=out)
    for name in ("relu", "relu.backward"):
        dtypes = [signature[0].dtype.name for signature in cpu.kernel(name).signatures]
        assert len(dtypes) == len(set(dtypes)), f"{name} was compiled several times for one dtype: {dtypes}"


@st.composite
def views(draw):
    """An array of 1 to 4 dimensions with its axes in any order, any steps, and elements left out at the ends."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    steps = draw(st.tuples(*[st.sampled_from([1, 1, 2, -1, -2]) for _ in shape]))
    order = draw(st.permutations(range(len(shape))))
    base = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7 - 3
    return base[tuple(slice(None, None, s) for s in steps)].transpose(order)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(views(), views())
def test_any_view(x, other):
    dense = nd.silu(x.copy())
    assert np.array_equal(nd.silu(x), dense)
    out = np.empty_like(x)  # of x's order, or of another one that NumPy thinks close
    assert np.array_equal(nd.silu.backward(x[..., ::-1], x, out=out), nd.silu.backward(x[..., ::-1].copy(), x.copy()))
    if other.size >= x.size:
        target = other.copy().reshape(-1)[: x.size].reshape(x.shape[::-1]).T
        assert np.array_equal(nd.silu(x, out=target), dense)


# -- sizes and threads -------------------------------------------------------------------------------------------
SIZES = [0, 1, 15, 16, 17, 63, 64, 65, 8191, 8192, 8193, 32767, 32768, 32769, 200_003, 2**20 + 3]


@pytest.fixture(params=["cached", "streamed"])
def store(request):
    """Large results stay in the cache, or are stored past it, as they are where they exceed it."""
    before = pool._state[pool._CACHE_BYTES]
    pool._state[pool._CACHE_BYTES] = 1 << (50 if request.param == "cached" else 17)
    yield
    pool._state[pool._CACHE_BYTES] = before


@pytest.mark.parametrize(("name", "operation", "dtype"), each(np.float32, np.float64, names=KINDS))
def test_sizes(name, operation, dtype, store):
    """An element's value does not depend on its place: not on the chunk, the vector lane or the way it is stored."""
    period = np.linspace(-9, 9, 61).astype(dtype)
    grad = np.sin(period).astype(dtype)
    once = run(name, operation, period, grad)
    check(name, operation, once, period, grad)
    for n in SIZES:
        for x_from, out_from in [(0, None), (3, None), (0, 1), (3, 15), (0, 16)]:
            x = np.concatenate([np.empty(x_from, dtype), np.resize(period, n)])[x_from:]
            held = None if out_from is None else np.full(out_from + n + 70, 5, dtype)
            out = None if held is None else held[out_from : out_from + n]
            result = run(name, operation, x, np.resize(grad, n), out)
            assert same_bits(result, np.resize(once, n)), f"n = {n}, x starts at {x_from}, out at {out_from}"
            if held is not None:
                assert np.all(held[:out_from] == 5) and np.all(held[out_from + n :] == 5), f"n = {n}: wrote outside"
        x = np.resize(period, n)
        assert same_bits(run(name, operation, x, np.resize(grad, n), x), np.resize(once, n)), f"n = {n} in place"


@pytest.mark.parametrize("n", [40_001, 400_077])
@pytest.mark.parametrize(("name", "operation", "dtype"), each(np.float32, names=KINDS))
def test_threads(name, operation, dtype, n, on_threads, rng, store):
    x, grad = rng.normal(0, 5, (2, n)).astype(dtype)
    results = on_threads(lambda: run(name, operation, x, grad))
    slices = [slice(k, k + 1000) for k in range(0, n, 1000)]
    serial = np.concatenate([run(name, operation, x[s], grad[s]) for s in slices])
    assert all(same_bits(result, serial) for result in results)
    assert same_bits(run(name, operation, x, grad), serial), "another run, other bits"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", [name for name in NAMES if nd.ACTIVATIONS[name].angle])
def test_large_angles_among_small_ones(name, operation, rng, store):
    """Blocks of small angles take another way: the same bits, wherever a large angle, an infinity or a NaN lies."""
    x, grad = rng.uniform(-50, 50, (2, 100_000)).astype(np.float32)
    x[[5, 3000, 50_001, 99_999]] = 2.0**18, -3e30, np.inf, np.nan
    expected = np.concatenate([run(name, operation, x[k : k + 1], grad[k : k + 1]) for k in range(2990, 3010)])
    result = run(name, operation, x, grad)
    assert np.array_equal(result[2990:3010], expected)
    small = np.abs(x) <= 50
    assert np.array_equal(result[small], run(name, operation, x[small], grad[small]))
    check(name, operation, result[[5, 50_001, 99_999]], x[[5, 50_001, 99_999]], grad[[5, 50_001, 99_999]])


# -- names ---------------------------------------------------------------------------------------------------------
def test_public_names():
    for name, record in nd.ACTIVATIONS.items():
        function = getattr(nd, name)
        assert (
            function.record is record
            and function.scalar is record.forward
            and function.scalar_derivative is record.derivative
        )
        assert record.formula in repr(function) and record.formula in function.__doc__


# -- what parameters bring along -------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 3), (2, 3, 4, 5)])
def test_brelu_alternates_over_channels(shape, rng):
    x, grad = rng.normal(size=(2, *shape)).astype(np.float32)
    even = np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2)) % 2 == 0
    np.testing.assert_array_equal(nd.brelu(x), np.where(even, np.maximum(x, 0), np.minimum(x, 0)))
    np.testing.assert_array_equal(nd.brelu.backward(grad, x), grad * (even == (x > 0)))
    np.testing.assert_array_equal(nd.brelu(x, axis=0)[1::2], np.minimum(x, 0)[1::2])
    zero = np.zeros(shape, np.float32)
    assert not nd.brelu.derivative(zero).any()


LEARNABLE = [name for name in NAMES if nd.ACTIVATIONS[name].learnable]


@pytest.mark.parametrize("name", LEARNABLE)
def test_gradients_of_parameters(name, rng):
    """One value for each channel, one for all, or a number; against the sum of mpmath's differences."""
    f, record = getattr(nd, name), nd.ACTIVATIONS[name]
    x, grad = rng.uniform(-1, 1, (2, 3, 4, 5)).astype(np.float32)
    count = len(record.parameters)
    values = [np.linspace(-0.3, 0.5, 4, dtype=np.float32) + np.float32(k) for k in range(count)]
    wide = [
        [ref.difference(name, x[:, c], [float(v[c]) for v in values], by=k).high for c in range(4)]
        for k in range(count)
    ]
    terms = np.moveaxis(np.array(wide), 1, 2) * grad
    dx, *gradients = f.backward(grad, x, *values)
    assert dx.shape == x.shape and len(gradients) == count
    for got, want in zip(gradients, terms.sum((1, 3)), strict=True):
        assert got.shape == (4,)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    one = [np.full(1, record.parameters[k].default, np.float32) for k in range(count)]
    arrays, numbers = f.backward(grad, x, *one), f.backward(grad, x)
    for k, (a, b) in enumerate(zip(arrays[1:], numbers[1:], strict=True)):
        assert a.shape == (1,) and b.shape == () and a[0] == b
        want = (ref.difference(name, x, [float(v[0]) for v in one], by=k).high * grad).sum()
        np.testing.assert_allclose(b, want, rtol=1e-5, atol=1e-5)


def test_rrelu_draws_the_same_slopes_again(rng):
    x, grad = rng.normal(size=(2, 70, 90)).astype(np.float32)
    stream = {"training": True, "seed": 11, "offset": 5}
    y, dx = nd.rrelu(x, 0.1, 0.4, **stream), nd.rrelu.backward(grad, x, 0.1, 0.4, **stream)
    negative = x < 0
    slopes = nd.rrelu.derivative(x, 0.1, 0.4, **stream)
    np.testing.assert_array_equal(slopes[~negative], 1)
    np.testing.assert_array_equal(y, np.where(negative, slopes * x, x))
    np.testing.assert_array_equal(dx, grad * slopes)
    drawn = slopes[negative]
    assert 0.1 <= drawn.min() < 0.11 and 0.39 < drawn.max() <= 0.4 and abs(drawn.mean() - 0.25) < 0.01
    assert np.unique(drawn).size > drawn.size * 0.9
    expected = ref_slopes(x.size, 11, 5, 0.1, 0.4).reshape(x.shape)
    np.testing.assert_allclose(slopes[negative], expected[negative], rtol=1e-6)
    for other in ({"seed": 12}, {"offset": 6}):
        assert not np.array_equal(nd.rrelu(x, 0.1, 0.4, **{**stream, **other}), y)
    fortran = np.asfortranarray(x)
    np.testing.assert_array_equal(nd.rrelu(fortran, 0.1, 0.4, **stream), y)
    np.testing.assert_array_equal(nd.rrelu(x, 0.1, 0.4), nd.leaky_relu(x, 0.25))


def ref_slopes(count, seed, offset, low, high):
    """Uniform numbers of 23 bits, at the middle of their intervals, from the reference's bits."""
    bits = np.array([ref.random_bits(e, seed, offset) for e in range(count)], np.float64)
    return low + (high - low) * (bits // 512 + 0.5) * 2.0**-23


def test_wrong_parameters():
    x = np.zeros((2, 3), np.float32)
    for call, error, message in [
        (lambda: nd.elu(x, alpha="1"), TypeError, "alpha: got str"),
        (lambda: nd.elu(x, np.nan), ValueError, "alpha: got nan"),
        (lambda: nd.elu(x, 1.0, 2.0), TypeError, "takes 1 arguments after x, got 2"),
        (lambda: nd.elu(x, 1.0, alpha=1.0), TypeError, "two values for alpha"),
        (lambda: nd.silu(x, alpha=2), TypeError, "^silu: .*'alpha', accepted are x, out$"),
        (lambda: nd.silu(x, x, x), TypeError, "^silu: too many positional arguments, accepted are x, out$"),
        (lambda: nd.silu(), TypeError, "^silu: missing .*'x', accepted are x, out$"),
        (lambda: nd.silu.derivative(x, x, x), TypeError, "^silu.derivative: too many .*, accepted are x, out$"),
        (lambda: nd.silu.backward(x, x, y=x), TypeError, "^silu.backward: .*'y', accepted are grad, x, out, result$"),
        (lambda: nd.silu.backward(x, x, x, x), TypeError, "^silu.backward: too many positional arguments"),
        (lambda: nd.silu.backward(), TypeError, "^silu.backward: missing .*'grad'"),
        (lambda: nd.gelu(), TypeError, "^gelu: missing .*'x'"),
        (lambda: nd.elu(), TypeError, "^elu: missing .*'x', accepted are x, out, alpha$"),
        (lambda: nd.dropout.mask(), TypeError, "^dropout.mask: missing .*'shape'"),
        (lambda: nd.softmax(x, dim=1), TypeError, "^softmax: .*'dim', accepted are x, axis, out"),
        (lambda: nd.softmax.backward(x), TypeError, "^softmax.backward: missing .*'y'"),
        (lambda: nd.layer_norm(x), TypeError, "^layer_norm: missing .*'normalized_shape'"),
        (lambda: nd.elu(x, beta=1), TypeError, "unknown argument 'beta', accepted are alpha"),
        (lambda: nd.prelu(x, np.zeros(2, np.float32)), ValueError, r"alpha: got shape \(2,\), expected \(3,\)"),
        (lambda: nd.prelu(x, np.zeros(3)), TypeError, "alpha: got dtype float64"),
        (lambda: nd.prelu(x, np.zeros(3, np.float32), axis=2), ValueError, "axis: got 2"),
        (lambda: nd.prelu(x, [0.1, 0.2, 0.3]), TypeError, "alpha: got list"),
        (lambda: nd.rrelu(x, 0.5, 0.1), ValueError, "lower: got 0.5, above upper"),
        (lambda: nd.rrelu(x, training=True, seed=-1), ValueError, "seed: got -1"),
        (lambda: nd.brelu(x[0]), ValueError, "axis: got 1"),
    ]:
        with pytest.raises(error, match=message):
            call()
