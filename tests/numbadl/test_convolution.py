"""Convolution and pooling beyond what every layer is tested for: parts of a batch, threads, sizes, memory, errors."""

import tracemalloc

import numpy as np
import pytest
from numbadl.kernels import cpu

import numbadl as nd
from numbadl.nn import convolution

nn = nd.nn


def results(model, x, grad):
    """Output and gradients of one pass, copied."""
    y = model.forward(x, training=True).copy()
    return y, model.backward(grad, input_gradient=True).copy(), model.flat_gradients.copy()


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_in_parts_is_the_batch(groups, rng, monkeypatch):
    """Samples are taken some at a time: 7 in parts of 2, and one by one."""
    x = rng.normal(size=(7, 4, 6, 5)).astype(np.float32)
    grad = rng.normal(size=(7, 6, 6, 5)).astype(np.float32)
    found = []
    for columns in (1 << 20, 2 * 4 * 9 * 30, 1):
        monkeypatch.setattr(convolution, "COLUMNS", columns)
        model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=groups))
        assert len(model.layers[0]._parts(7, 30)) == {1 << 20: 1, 1: 7}.get(columns, 4)
        found.append(results(model, x, grad))
    for parts in found[1:]:
        for a, b in zip(parts, found[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_same_bits_for_any_number_of_threads(rng, on_threads):
    cpu.ensure_started()
    x = rng.normal(size=(9, 8, 20, 20)).astype(np.float32)
    layers = [nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3), nn.AvgPool2d(2), nn.GlobalMaxPool()]
    model = nn.Sequential(*layers)
    grad = rng.normal(size=(9, 8)).astype(np.float32)
    first, *others = on_threads(lambda: results(model, x, grad))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_step_allocates_nothing(rng):
    layers = [
        nn.Reshape((1, 16, 16)),
        nn.Conv2d(1, 16, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3),
    ]
    model = nn.Sequential(*layers, nn.ReLU(), nn.AvgPool2d(2), nn.GlobalAvgPool())
    x, grad = rng.normal(size=(100, 256)).astype(np.float32), rng.normal(size=(100, 32)).astype(np.float32)

    def step():
        model.forward(x, training=True)
        model.backward(grad)

    step()
    step()
    tracemalloc.start()
    try:
        step()
        model.backward(grad)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000, f"{peak} bytes; the smallest result but the last has {100 * 32 * 9 * 4}"


def test_empty_batches():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.AvgPool2d(1), nn.GlobalAvgPool())
    x = np.zeros((0, 2, 5, 5), np.float32)
    model.flat_gradients[...] = 1
    y, dx, _ = results(model, x, np.zeros((0, 3), np.float32))
    assert y.shape == (0, 3) and dx.shape == x.shape
    assert not any(value.any() for value in model.gradients().values())


def test_inputs_that_are_views(rng):
    x = rng.normal(size=(3, 6, 5, 4)).astype(np.float32)
    fixed = x.copy()
    fixed.flags.writeable = False
    for layer in (nn.Conv2d(4, 2, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.GlobalAvgPool()):
        view = x.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(layer.forward(view), layer.forward(np.ascontiguousarray(view)))
    layer = nn.Conv2d(6, 2, 3)
    np.testing.assert_array_equal(layer.forward(fixed), layer.forward(x))


def test_maxima_with_nan_and_equal_elements():
    x = np.array([[[1, 3, 3, 0], [np.nan, 1, 2, 2]]], np.float32)
    layer = nn.MaxPool1d(2)
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, [[[3, 3], [np.nan, 2]]])
    np.testing.assert_array_equal(
        layer.backward(np.array([[[1, 2], [3, 4]]], np.float32)), [[[0, 1, 2, 0], [3, 0, 4, 0]]]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(0, 2, 3), "in_channels: got 0, accepted are positive integers"),
        (lambda: nn.Conv2d(2, 2, 0), "kernel_size: got 0, accepted are positive integers"),
        (lambda: nn.Conv2d(2, 2, (3, 3, 3)), "kernel_size: got 3 numbers, accepted are one or 2"),
        (lambda: nn.Conv1d(2, 2, (3, 3)), "kernel_size: got 2 numbers, accepted are one"),
        (lambda: nn.Conv2d(2, 2, 3, stride=(1, 0)), "stride: got 0"),
        (lambda: nn.Conv2d(2, 2, 3, padding=-1), "padding: got -1, accepted are integers, 0 or more"),
        (lambda: nn.Conv2d(2, 2, 3, padding="some"), "padding: got 'some', accepted are 'valid', 'same'"),
        (lambda: nn.Conv2d(2, 2, 2, padding="same"), "padding: got 'same', accepted for stride 1 and windows of odd"),
        (lambda: nn.Conv2d(2, 2, 3, 2, padding="same"), "padding: got 'same', accepted for stride 1"),
        (lambda: nn.Conv2d(2, 2, 3, dilation=0), "dilation: got 0"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), "groups: got 4, accepted are divisors of in_channels, 4, and of out_ch"),
        (lambda: nn.MaxPool2d(2, padding=2), "padding: got 2, accepted are 0 to 1"),
        (lambda: nn.AvgPool2d((2, 4), padding=2), r"padding: got 2, accepted are 0 to \[1, 2\]"),
        (lambda: nn.Reshape((2, -1, -1)), "shape: got .*of which one may be -1"),
        (lambda: nn.Reshape((2, 0)), "shape: got 0"),
        (lambda: nn.Reshape(()), "shape: got"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.Conv2d(3, 2, 3),
            (2, 4, 5, 5),
            r"x: got shape \(2, 4, 5, 5\), but Conv2d.* takes \(3, H, W\) for each sample",
        ),
        (nn.Conv2d(3, 2, 3), (2, 3, 5), r"takes \(3, H, W\)"),
        (nn.Conv1d(3, 2, 3), (3, 5), r"takes \(3, L\)"),
        (nn.Conv2d(3, 2, 5, padding=1), (2, 3, 2, 5), "takes 3 elements or more along an axis, got 2"),
        (nn.MaxPool2d(3), (2, 3, 2, 5), "takes 3 elements or more along an axis, got 2"),
        (nn.MaxPool2d(2, padding=1, dilation=3), (2, 3, 2, 5), "takes 3 elements or more along each axis, got 2"),
        (nn.AvgPool1d(2), (2, 3, 2, 5), r"takes \(C, L\)"),
        (nn.GlobalAvgPool(), (2, 3), r"takes \(C, \*spatial\)"),
        (nn.GlobalMaxPool(), (2, 3, 0), "with elements along each axis"),
        (nn.Reshape((2, 3)), (4, 5), r"x: got shape \(4, 5\), but Reshape.* takes 6 elements for each sample"),
        (nn.Reshape((2, -1)), (4, 5), "takes multiples of 2 elements"),
    ],
)
def test_wrong_inputs(layer, shape, message):
    for training in (False, True):
        with pytest.raises(ValueError, match=message):
            layer.forward(np.zeros(shape, np.float32), training)
    with pytest.raises(ValueError, match=message.rpartition("takes ")[2]):
        layer.output_shape(shape[1:])


def test_sizes_are_known_as_the_model_is_built():
    model = nn.Sequential(nn.Reshape((1, 8, 8)), nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    assert "(N, 4, 3, 3)" in model.summary() and "(N, 36)" in model.summary()
    with pytest.raises(ValueError, match=r"layer 4, Linear.* takes 35 features, but layer 3, Flatten.* gives 36"):
        nn.Sequential(nn.Reshape((1, 8, 8)), nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(35, 2))
    with pytest.raises(
        ValueError, match=r"layer 1, Conv2d.* takes \(2, H, W\).*, but layer 0, Reshape.* gives 1, 8, 8"
    ):
        nn.Sequential(nn.Reshape((1, 8, 8)), nn.Conv2d(2, 4, 3))


def test_first_weights_suit_the_activation_behind_norms_and_pools():
    between = [nn.BatchNorm(64), nn.MaxPool2d(2), nn.FeatureDropout(0.1)]
    model = nn.Sequential(nn.Conv2d(32, 64, 3, groups=2), *between, nn.ReLU(), nn.Conv1d(64, 32, 5))
    first, last = model.parameters()["0.weight"], model.layers[-1].parameters()["weight"]
    assert np.isclose(first.var(), 2 / (16 * 9), rtol=0.05) and np.isclose(last.var(), 1 / (64 * 5), rtol=0.05)
    assert not model.parameters()["0.bias"].any()


def test_saved_and_loaded(tmp_path, rng):
    model = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), padding=(1, 0), groups=2), nn.MaxPool2d(2, 1), nn.AvgPool2d((1, 2)), nn.Reshape((-1,))
    )
    model.save(tmp_path / "m.safetensors")
    x = rng.normal(size=(3, 2, 6, 7)).astype(np.float32)
    assert np.array_equal(nn.load(tmp_path / "m.safetensors").forward(x), model.forward(x))
