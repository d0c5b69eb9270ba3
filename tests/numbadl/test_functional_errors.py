"""What activations refuse, with the argument named and nothing written, and the outs that they accept."""

import numpy as np
import pytest

import numbadl as nd
from numbadl.arrays import check_out

OPERATIONS = ("forward", "derivative", "backward")


def run(name, operation, x, grad, out):
    function = getattr(nd, name)
    if operation == "backward":
        return function.backward(grad, x, out=out)
    return (function if operation == "forward" else function.derivative)(x, out=out)


def read_only(v):
    x = v.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "wrong",
    [
        [1.0, 2.0], 1.0, np.float32(1), None, "x", np.arange(3), np.zeros(3, np.float16), np.zeros(3, np.longdouble),
        np.zeros(3, np.complex64), np.zeros(3, bool), np.zeros(3, object), np.zeros(3, np.dtype(np.float32).newbyteorder()),
        np.ma.zeros(3, np.float32), np.zeros((1, 3), np.float32).view(np.matrix),
    ],
    ids=repr,
)  # fmt: skip
def test_wrong_arrays(wrong):
    right = np.zeros(3, np.float32)
    nd.relu(right), nd.relu.derivative(right), nd.relu.backward(right, right)  # a compiled kernel must not be lured
    with pytest.raises(TypeError, match="^x: got .*accepted"):
        nd.relu(wrong)
    for options in ((), (0.3,)):
        nd.leaky_relu(right, *options)
        with pytest.raises(TypeError, match="^x: got .*accepted"):
            nd.leaky_relu(wrong, *options)
    with pytest.raises(TypeError, match="^x: got .*accepted"):
        nd.relu.derivative(wrong)
    with pytest.raises(TypeError, match="^x: got "):
        nd.relu.backward(right, wrong)
    with pytest.raises(TypeError, match="^grad: got "):
        nd.relu.backward(wrong, right)
    if wrong is not None:
        with pytest.raises(TypeError, match="^out: got "):
            nd.relu(right, out=wrong)


def test_masked_arrays_are_refused_not_computed_with():
    x, labels = np.zeros((2, 3), np.float32), np.array([0, 1])
    masked = np.ma.masked_array(x, x == 0)
    calls = {
        "x": lambda: nd.layer_norm(masked, 3),
        "b": lambda: nd.matmul(x, masked),
        "target": lambda: nd.losses.mse(x, masked),
        "labels": lambda: nd.losses.cross_entropy(x, np.ma.masked_array(labels, [0, 1])),
        "sample_weight": lambda: nd.losses.mse(x, x, sample_weight=np.ma.masked_array(labels, [0, 1])),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name}: got numpy.ma.MaskedArray, accepted are plain"):
            call()


def test_hint_for_one_number():
    with pytest.raises(TypeError, match="scalar"):
        nd.relu(1.5)


@pytest.mark.parametrize("name", ["relu", "silu", "leaky_relu", "prelu", "rrelu"])  # one of each kind
def test_wrong_outs(name):
    held = np.linspace(-1, 1, 12, dtype=np.float32)
    before = held.copy()
    x = held[:8]
    wrong = {
        "shape": (np.zeros(7, np.float32), ValueError, "out: got shape"),
        "other shape of the size": (np.zeros((8, 1), np.float32), ValueError, "out: got shape"),
        "dtype": (np.zeros(8), TypeError, "out: got dtype float64"),
        "read-only": (read_only(x), ValueError, "out: is read-only"),
        "partial overlap": (held[2:10], ValueError, "out: overlaps x in part"),
        "reversed": (x[::-1], ValueError, "out: overlaps x in part"),
    }
    for out, error, message in wrong.values():
        kept = out.copy()
        for operation in OPERATIONS:
            with pytest.raises(error, match=message):
                run(name, operation, x, np.ones(8, np.float32), out)
        assert np.array_equal(out, kept)
    assert np.array_equal(held, before)
    with pytest.raises(ValueError, match="out: overlaps grad in part"):
        run(name, "backward", np.ones(8, np.float32), x, held[4:])
    assert np.array_equal(held, before)


def test_interleaved_out_is_no_overlap():
    held = np.arange(-8, 8, dtype=np.float32)
    expected = nd.silu(held[::2].copy())
    assert np.array_equal(nd.silu(held[::2], out=held[1::2]), expected)
    assert np.array_equal(held[::2], np.arange(-8, 8, 2))


def test_in_place_through_another_view():
    x = np.arange(-4, 4, dtype=np.float32)
    assert np.array_equal(nd.relu(x, out=x[:]), [0, 0, 0, 0, 0, 1, 2, 3])
    column = np.arange(-4, 4, dtype=np.float32)[:, None]  # an axis of one element may have any stride
    again = np.lib.stride_tricks.as_strided(column, column.shape, (4, 400))
    assert np.array_equal(nd.relu(column, out=again)[:, 0], [0, 0, 0, 0, 0, 1, 2, 3])


def test_shapes_of_backward():
    with pytest.raises(ValueError, match="shape"):
        nd.relu.backward(np.ones(3, np.float32), np.ones((3, 1), np.float32))
    with pytest.raises(TypeError, match="float64"):
        nd.relu.backward(np.ones(3, np.float64), np.ones(3, np.float32))


class OnGpu:
    """float32 elements of a GPU's memory, of which nothing is known but the address: reading it would be a crash."""

    def __init__(self, address, shape, strides=None, read_only=False):
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(np.float32)
        data = {"shape": shape, "typestr": "<f4", "data": (address, read_only), "strides": strides}
        self.__cuda_array_interface__ = {**data, "version": 3, "stream": 1}


GPU = 0x7F55_0000_0000


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (OnGpu(GPU, (8,)), OnGpu(GPU + 4, (8,))),
        (OnGpu(GPU, (8,)), OnGpu(GPU + 28, (8,))),
        (OnGpu(GPU, (8,)), OnGpu(GPU - 28, (8,))),
        (OnGpu(GPU, (4, 4)), OnGpu(GPU + 16, (4, 4))),
    ],
)
def test_partial_overlap_in_memory_of_a_gpu(x, out):
    with pytest.raises(ValueError, match="out: overlaps x in part"):
        nd.softmax(x, out=out)
    with pytest.raises(ValueError, match="out: overlaps y in part"):
        nd.softmax.backward(OnGpu(2 * GPU, x.shape), x, out=out)


@pytest.mark.parametrize("strided", [OnGpu(GPU, (4, 4), (4, 16)), OnGpu(GPU, (4,), (8,)), OnGpu(GPU, (2, 3), (16, 4))])
def test_strides_in_memory_of_a_gpu_are_refused(strided):
    with pytest.raises(ValueError, match="x: is not C-contiguous"):
        nd.softmax(strided)
    with pytest.raises(ValueError, match="out: is not C-contiguous"):
        nd.softmax(OnGpu(GPU, strided.shape), out=strided)


def test_read_only_out_in_memory_of_a_gpu():
    with pytest.raises(ValueError, match="out: is read-only"):
        nd.softmax(OnGpu(GPU, (8,)), out=OnGpu(2 * GPU, (8,), read_only=True))


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (OnGpu(GPU, (8,)), OnGpu(GPU, (8,))),
        (OnGpu(GPU, (8,)), OnGpu(GPU + 32, (8,))),
        (OnGpu(GPU, (4, 1), (4, 400)), OnGpu(GPU, (4, 1))),
        (OnGpu(0, (0, 3)), OnGpu(0, (0, 3))),
    ],
)
def test_outs_in_memory_of_a_gpu_that_are_accepted(x, out):
    check_out(out, x, x=x)
