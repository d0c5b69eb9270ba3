"""Matrix products: every transposition, shape and layout, with and without bias, on any number of threads."""

import ctypes
import itertools
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from numbadl.kernels.cpu.tile import vector_bytes

import numbadl as nd
from numbadl.linear import column_sums, multiply, prepared_matmul
from tests.layouts import views

KINDS = list(itertools.product((False, True), repeat=3))  # transpose_a, transpose_b, with a bias
EDGES = (0, 1, 2, 5, 16, 17, 33)
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


def operands(m, k, n, ta, tb, has_bias, dtype, rng):
    a = rng.normal(size=(k, m) if ta else (m, k)).astype(dtype)
    b = rng.normal(size=(n, k) if tb else (k, n)).astype(dtype)
    return a, b, {"transpose_a": ta, "transpose_b": tb, "bias": rng.normal(size=n).astype(dtype) if has_bias else None}


def check(a, b, options, actual):
    """The error of a sum of k products: k eps times the sum of their sizes, at most."""
    wide = [(v.T if options[key] else v).astype(np.longdouble) for v, key in ((a, "transpose_a"), (b, "transpose_b"))]
    bias = 0 if options["bias"] is None else options["bias"]
    expected, size = wide[0] @ wide[1] + bias, np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(bias)
    assert actual.dtype == a.dtype and actual.shape == expected.shape
    bound = (wide[0].shape[1] + 2) * np.finfo(a.dtype).eps * size
    assert np.all(np.abs(actual - expected) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("ta", "tb", "has_bias"), KINDS)
def test_small_shapes(ta, tb, has_bias, dtype, rng):
    for m, k, n in itertools.product(EDGES, repeat=3):
        a, b, options = operands(m, k, n, ta, tb, has_bias, dtype, rng)
        kept = a.copy(), b.copy()
        held = np.full(m * n + 2, 77, dtype)
        out = held[1:-1].reshape(m, n)
        assert nd.matmul(a, b, out, **options) is out
        check(a, b, options, out)
        assert held[0] == held[-1] == 77, f"{m} x {k} x {n}: wrote outside"
        assert np.array_equal(nd.matmul(a, b, **options), out)
        assert np.array_equal(a, kept[0]) and np.array_equal(b, kept[1])


@pytest.mark.parametrize(
    ("m", "k", "n"), [(300, 310, 290), (1, 5000, 700), (3000, 64, 1), (17, 3, 20_011), (513, 257, 129)]
)
@pytest.mark.parametrize(("ta", "tb", "has_bias"), KINDS)
def test_several_tiles(ta, tb, has_bias, m, k, n, on_threads, rng):
    a, b, options = operands(m, k, n, ta, tb, has_bias, np.float32, rng)
    first, *others = on_threads(lambda: nd.matmul(a, b, **options))
    check(a, b, options, first)
    others.append(nd.matmul(a, b, **options))
    assert all(np.array_equal(first, other) for other in others)


def test_bits_follow_from_the_operands_alone(rng):
    """Not from the way that they lie, nor from what stands beside them in a tile."""
    a, b, _ = operands(150, 520, 300, False, False, False, np.float32, rng)
    found = nd.matmul(a, b)
    for ta, tb in itertools.product((False, True), repeat=2):
        left, right = (np.ascontiguousarray(x.T) if t else x for x, t in ((a, ta), (b, tb)))
        assert np.array_equal(nd.matmul(left, right, transpose_a=ta, transpose_b=tb), found)
    assert np.array_equal(nd.matmul(a[31:46], b[:, 57:90]), found[31:46, 57:90])
    with_bias = nd.matmul(a, b, bias=b[0])
    for ta, tb in itertools.product((False, True), repeat=2):  # one column is computed as a row
        left, column = (np.ascontiguousarray(x.T) if t else x for x, t in ((a, ta), (b[:, 57:58], tb)))
        flags = {"transpose_a": ta, "transpose_b": tb}
        assert np.array_equal(nd.matmul(left, column, **flags), found[:, 57:58])
        assert np.array_equal(nd.matmul(left, column, bias=b[0, 57:58].copy(), **flags), with_bias[:, 57:58])


@pytest.mark.parametrize("transposed", ["a", "b"])
def test_symmetric_products(transposed, on_threads, rng):
    """They have the bits that all of it has where it is computed as a whole, which is as symmetric."""
    flags = {f"transpose_{transposed}": True}
    for n, k in ((1, 1), (7, 5), (33, 64), (130, 3), (300, 270)):
        x = rng.normal(size=(n, k)).astype(np.float32)
        x = x.T.copy() if transposed == "a" else x
        expected, held = nd.matmul(x, x, **flags), np.full(n * n + 2, 77, np.float32)
        check(x, x, {"transpose_a": False, "transpose_b": False, "bias": None, **flags}, expected)
        found = multiply(x, x, held[1:-1].reshape(n, n), symmetric=True, **flags)
        assert np.array_equal(found, expected) and held[0] == held[-1] == 77
    first, *others = on_threads(lambda: multiply(x, x, np.empty((n, n), np.float32), symmetric=True, **flags))
    assert all(np.array_equal(first, other) for other in (*others, expected))


def test_what_lies_below_the_diagonal_is_copied(rng):
    """Of a product that is symmetric but for rounding; here, of one that is none."""
    for n in (1, 15, 17, 64, 200):
        a, b = rng.normal(size=(2, n, n)).astype(np.float32)
        whole, out = nd.matmul(a, b), guarded(np.empty((n, n), np.float32))
        multiply(guarded(a), guarded(b), out, symmetric=True)
        assert np.array_equal(np.triu(out), np.triu(whole)) and np.array_equal(out, out.T)


NARROW = """
import hashlib, sys
import numpy as np, numbadl as nd
from numbadl.linear import multiply
from numbadl.kernels.cpu.tile import vector_bytes
rng, digest = np.random.default_rng(0), hashlib.sha256()
for m, k, n in ((1, 1, 1), (9, 5, 33), (150, 520, 300)):
    for dtype in (np.float32, np.float64):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        digest.update(nd.matmul(a, b).tobytes())
        digest.update(nd.matmul(a.T.copy(), b.T.copy(), transpose_a=True, transpose_b=True, bias=b[0].copy()).tobytes())
        square = np.empty((m, m), dtype)
        digest.update(multiply(a, a.copy()[:, ::-1].copy(), square, transpose_b=True, symmetric=True).tobytes())
        model = nd.nn.Sequential(nd.nn.Conv2d(m, n, 3, 2, 1), dtype=dtype)
        x = rng.standard_normal((2, m, 13, 11)).astype(dtype)
        grad = rng.standard_normal(model.forward(x, training=True).shape).astype(dtype)
        for result in (model.forward(x, training=True), model.backward(grad, input_gradient=True), model.flat_gradients):
            digest.update(result.tobytes())
print(vector_bytes(), digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(vector_bytes() < 64, reason="there is one width of vectors here")
def test_bits_are_the_same_for_narrower_vectors():
    found = []
    narrower = {"haswell": "+avx,+avx2,+fma", "generic": ""}  # the last one has fused multiply-adds by a function, too
    changes = [{"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": has} for name, has in narrower.items()]
    for change in ({}, *changes):
        done = subprocess.run(
            [sys.executable, "-c", NARROW], env={**os.environ, **change}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert [width for width, _ in found] == ["64", "32", "16"]
    assert len({digest for _, digest in found}) == 1


def guarded(x):
    """*x* as an array whose memory ends where the process may not read on."""
    page = mmap.PAGESIZE
    size = -(-x.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + size
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), ctypes.c_size_t(page), 0) == 0
    found = np.frombuffer(memory, x.dtype, x.size, size - x.nbytes).reshape(x.shape)
    found[...] = x
    return found


@pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
@pytest.mark.parametrize(("ta", "tb", "has_bias"), KINDS)
def test_nothing_outside_the_arrays_is_read(ta, tb, has_bias, rng):
    for m, k, n in ((1, 1, 1), (7, 3, 31), (97, 5, 129), (13, 257, 33)):
        a, b, options = operands(m, k, n, ta, tb, has_bias, np.float32, rng)
        expected, out = nd.matmul(a, b, **options), guarded(np.zeros((m, n), np.float32))
        if has_bias:
            options["bias"] = guarded(options["bias"])
        assert np.array_equal(nd.matmul(guarded(a), guarded(b), out, **options), expected)


def test_prepared_product(rng):
    """It reads the arrays' contents anew; there is none for arrays that a call would refuse or copy."""
    a, b, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (6, 3), (6,)))
    out = np.empty((4, 6), np.float32)
    run = prepared_matmul(a, b, out, transpose_b=True, bias=bias)
    for _ in range(2):
        a += 1
        run()
        assert np.array_equal(out, nd.matmul(a, b, transpose_b=True, bias=bias))
    for others in ((a.T, b, out), (a[:, ::-1], b, out), (a, b, out[:2]), (a, b, a), (a.astype(np.float64), b, out)):
        assert prepared_matmul(*others, transpose_b=True) is None


def test_flags_of_numpy():
    a = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert np.array_equal(nd.matmul(a, a, transpose_a=np.True_, transpose_b=1), a.T @ a.T)


def test_nothing_is_added_to_what_out_held():
    out = np.full((3, 4), np.nan, np.float32)
    ones = np.ones((3, 3), np.float32)
    assert np.array_equal(nd.matmul(ones, np.ones((3, 4), np.float32), out), np.full((3, 4), 3))
    out[...] = np.nan
    bias = np.arange(4, dtype=np.float32)
    assert np.array_equal(nd.matmul(ones, np.ones((3, 4), np.float32), out, bias=bias), np.full((3, 4), 3) + bias)


def test_special_values():
    a = np.array([[1, 0], [np.inf, 0], [np.nan, 0]], np.float32)
    b = np.array([[2, 1], [0, 1]], np.float32)
    np.testing.assert_array_equal(nd.matmul(a, b), [[2, 1], [np.inf, np.inf], [np.nan, np.nan]])


# -- threads with small stacks -----------------------------------------------------------------------------------------
SMALL_STACK = """
import threading
import numpy as np, numbadl as nd

def multiply():
    try:
        found.append(float(nd.matmul(np.ones((40, 40), np.float32), np.ones((40, 40), np.float32)).sum()))
    except RuntimeError as error:
        found.append(str(error))

found = []
multiply()
for size in (256 << 10, 512 << 10):
    threading.stack_size(size)
    thread = threading.Thread(target=multiply)
    thread.start()
    thread.join()
print(*found, sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux")
def test_a_thread_whose_stack_is_too_small_is_told():
    done = subprocess.run([sys.executable, "-c", SMALL_STACK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, small, enough = done.stdout.splitlines()
    assert here == enough == "64000.0"
    assert small == (
        "matmul: this thread has a stack of 262,144 bytes, needed are 524,288; threading.stack_size sets it for new ones"
    )


# -- layouts -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("ta", "tb", "has_bias"), KINDS)
def test_layouts(ta, tb, has_bias, rng):
    a, b, options = operands(7, 5, 6, ta, tb, has_bias, np.float32, rng)
    expected = nd.matmul(a, b, **options)
    for (name, left), (other, right) in itertools.product(views(a).items(), views(b).items()):
        assert np.array_equal(nd.matmul(left, right, **options), expected), f"{name}, {other}"
    if has_bias:
        for name, bias in views(options["bias"]).items():
            assert np.array_equal(nd.matmul(a, b, **{**options, "bias": bias}), expected), name
    for name, out in views(np.zeros_like(expected)).items():
        if name == "read-only":
            with pytest.raises(ValueError, match="out: is read-only"):
                nd.matmul(a, b, out, **options)
            continue
        assert nd.matmul(a, b, out, **options) is out
        assert np.array_equal(out, expected), name
        if name == "strided":
            assert np.all(out.base.reshape(*expected.shape, 2)[..., 1] == 9)


def test_the_same_matrix_twice(rng):
    a = rng.normal(size=(20, 20)).astype(np.float32)
    np.testing.assert_allclose(nd.matmul(a, a, transpose_b=True), a.astype(np.float64) @ a.T, atol=1e-5)


# -- errors --------------------------------------------------------------------------------------------------------------
def test_wrong_arguments():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    cases = [
        ({"a": a[0]}, ValueError, r"a: got shape \(4,\), expected a matrix"),
        ({"b": b[None]}, ValueError, "b: got shape .* expected a matrix"),
        ({"a": b}, ValueError, r"b: its inner dimension is 4, that of a is 5"),
        ({"transpose_b": True}, ValueError, "inner dimension"),
        ({"a": a.tolist()}, TypeError, "a: got list"),
        ({"b": b.astype(np.float64)}, TypeError, "b: got dtype float64, but a has float32"),
        ({"a": a.astype(int)}, TypeError, "a: got dtype int64"),
        ({"bias": np.ones(4, np.float32)}, ValueError, "bias: got shape"),
        ({"bias": np.ones((1, 5), np.float32)}, ValueError, "bias: got shape"),
        ({"bias": np.ones(5)}, TypeError, "bias: got dtype float64"),
        ({"out": np.zeros((5, 3), np.float32)}, ValueError, "out: got shape"),
        ({"out": np.zeros((3, 5))}, TypeError, "out: got dtype float64"),
        ({"out": [[0] * 5] * 3}, TypeError, "out: got list"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            nd.matmul(**{"a": a, "b": b, **change})
    assert np.all(a == 1) and np.all(b == 1)


def test_out_apart_from_the_operands():
    held = np.ones((8, 4), np.float32)
    square, other, bias = held[:4], np.full((4, 4), 2, np.float32), np.ones(4, np.float32)
    overlapping = [square, square[:], held[1:5], square.T, square[::-1]]
    for out, name in itertools.product(overlapping, ("a", "b")):
        a, b = (square, other) if name == "a" else (other, square)
        with pytest.raises(ValueError, match=f"^out: .*{name}"):
            nd.matmul(a, b, out)
    out = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="^out: .*bias"):
        nd.matmul(square, other, out, bias=out[1])
    assert np.all(held == 1) and np.all(other == 2) and np.all(bias == 1) and np.all(out == 0)


# -- column sums -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 3), (64, 3), (65, 17), (3000, 40), (2, 0)])
def test_column_sums(shape, on_threads, rng):
    grad = rng.normal(size=shape).astype(np.float32)
    expected = grad.sum(axis=0, dtype=np.float64)
    for _ in range(20):
        np.full(shape[1], np.nan, np.float32)  # memory that was never written would show
    out = np.full(shape[1], np.nan, np.float32)
    first, *others = on_threads(lambda: column_sums(grad))
    np.testing.assert_allclose(first, expected, atol=1e-6 * (1 + np.sqrt(shape[0])))
    assert all(np.array_equal(first, other) for other in others)
    assert column_sums(grad, out) is out and np.array_equal(out, first)
    for name, view in views(grad).items():
        assert np.array_equal(column_sums(view), first), name
