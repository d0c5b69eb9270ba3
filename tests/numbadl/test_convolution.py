"""Convolution and pooling beyond what every layer is tested for: parts of a batch, threads, sizes, memory, errors."""

import numpy as np
import pytest
from numbadl.kernels import cpu

import numbadl as nd

nn = nd.nn


def results(model, x, grad):
    """Output and gradients of one pass, copied."""
    y = model.forward(x, training=True).copy()
    return y, model.backward(grad, input_gradient=True).copy(), model.flat_gradients.copy()


def convolved(layer, x, grad):
    """Output and gradients of a convolution in float64, from its definition: window element by window element."""
    (sh, sw), (ph, pw), (dh, dw), groups = layer.stride, layer.padding, layer.dilation, layer.groups
    weight, bias = (np.float64(layer.parameters()[name]) for name in ("weight", "bias"))
    n, _, p, q = grad.shape
    per_group = weight.reshape(groups, -1, *weight.shape[1:])
    padded = np.pad(np.float64(x), ((0, 0), (0, 0), (ph, ph), (pw, pw))).reshape(
        n, groups, -1, x.shape[2] + 2 * ph, x.shape[3] + 2 * pw
    )
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(per_group)
    y, g = np.zeros((n, groups, per_group.shape[1], p, q)), np.float64(grad).reshape(n, groups, -1, p, q)
    for i, j in np.ndindex(weight.shape[2:]):
        here = (..., slice(i * dh, i * dh + (p - 1) * sh + 1, sh), slice(j * dw, j * dw + (q - 1) * sw + 1, sw))
        y += np.einsum("goc,ngcpq->ngopq", per_group[..., i, j], padded[here])
        dweight[..., i, j] = np.einsum("ngopq,ngcpq->goc", g, padded[here])
        dpadded[here] += np.einsum("goc,ngopq->ngcpq", per_group[..., i, j], g)
    dx = dpadded[..., ph : ph + x.shape[2], pw : pw + x.shape[3]].reshape(x.shape)
    return (y.reshape(grad.shape) + bias[:, None, None], dx, dweight.reshape(weight.shape), grad.sum((0, 2, 3)))


GEOMETRIES = {  # arguments of the layer, shape of x
    "more than a tile, a block and a chain": ((34, 40, 3, 1, 1), (3, 34, 11, 12)),
    "stride": ((3, 5, 3, 2, 1), (5, 3, 9, 10)),
    "stride beyond the window": ((2, 3, 2, (3, 4)), (2, 2, 9, 11)),
    "stride and dilation with a common factor": ((2, 3, (3, 2), (2, 3), (2, 1), (2, 3)), (2, 2, 9, 11)),
    "padding beyond the window": ((2, 3, 2, (1, 2), 4), (2, 2, 5, 6)),
    "rows that no window sees": ((2, 3, 2, 3), (2, 2, 6, 7)),
    "a window as large as the image": ((3, 4, (5, 6)), (4, 3, 5, 6)),
    "groups": ((6, 9, (3, 5), (2, 1), (0, 2), (1, 1), 3), (3, 6, 7, 8)),
}


@pytest.mark.parametrize(("arguments", "shape"), GEOMETRIES.values(), ids=GEOMETRIES)
def test_convolution_is_its_definition(arguments, shape, rng):
    model = nn.Sequential(nn.Conv2d(*arguments), dtype=np.float32)
    layer, x = model.layers[0], rng.normal(size=shape).astype(np.float32)
    layer.parameters()["bias"][...] = rng.normal(size=layer.out_channels)
    grad = rng.normal(size=model.forward(x).shape).astype(np.float32)
    y, dx, _ = results(model, x, grad)
    for found, wanted in zip((y, dx, *layer.gradients().values()), convolved(layer, x, grad), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_images_of_other_extents_take_turns(rng):
    """The tables are those of the last extents; forward and backward agree on them."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1))
    for extents in ((5, 6), (8, 4), (5, 6)):
        x = rng.normal(size=(2, 2, *extents)).astype(np.float32)
        grad = rng.normal(size=model.forward(x).shape).astype(np.float32)
        fresh = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1))
        fresh.flat_parameters[...] = model.flat_parameters
        for mine, other in zip(results(model, x, grad), results(fresh, x, grad), strict=True):
            np.testing.assert_array_equal(mine, other)
    y = model.forward(x, training=True)
    model.forward(rng.normal(size=(2, 2, 9, 9)).astype(np.float32))  # predictions between a step's two halves
    np.testing.assert_array_equal(model.backward(grad, input_gradient=True), fresh.backward(grad, input_gradient=True))
    assert y.shape == grad.shape


def test_same_bits_for_any_number_of_threads(rng, on_threads):
    cpu.ensure_started()
    x = rng.normal(size=(9, 8, 20, 20)).astype(np.float32)
    layers = [nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3), nn.AvgPool2d(2), nn.GlobalMaxPool()]
    model = nn.Sequential(*layers)
    grad = rng.normal(size=(9, 8)).astype(np.float32)
    first, *others = on_threads(lambda: results(model, x, grad))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_step_allocates_nothing(rng, allocated):
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
    peak = allocated(step)
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


def test_gradients_that_are_views_or_read_only(rng):
    x = rng.normal(size=(3, 2, 6, 5)).astype(np.float32)
    for layer in (nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.GlobalAvgPool()):
        grad = rng.normal(size=layer.forward(x, training=True).shape).astype(np.float32)
        wanted = [layer.backward(grad).copy(), *(g.copy() for g in layer.gradients().values())]
        fixed, spread = grad.copy(), np.repeat(grad, 2, axis=-1)[..., ::2]
        fixed.flags.writeable = False
        for other in (fixed, spread, np.asfortranarray(grad)):
            for mine, theirs in zip((layer.backward(other), *layer.gradients().values()), wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        for other, error in ((grad[:2], ValueError), (grad.astype(np.float64), TypeError)):
            with pytest.raises(error, match="grad: got"):
                layer.backward(other)


def test_predictions_between_the_halves_of_a_step(rng):
    x, smaller = (rng.normal(size=(2, 3, *extents)).astype(np.float32) for extents in ((5, 6), (3, 2)))
    for make in (nn.GlobalAvgPool, nn.GlobalMaxPool, lambda: nn.AvgPool2d(2), lambda: nn.MaxPool2d(2)):
        disturbed, alone = make(), make()
        grad = rng.normal(size=disturbed.forward(x, training=True).shape).astype(np.float32)
        alone.forward(x, training=True)
        disturbed.forward(smaller)
        found, wanted = (layer.backward(grad) for layer in (disturbed, alone))
        np.testing.assert_array_equal(found, wanted)


def test_a_stride_larger_than_any_image(rng):
    layer, x = nn.Conv2d(1, 2, 2, stride=10**9), rng.normal(size=(2, 1, 3, 4)).astype(np.float32)
    y = layer.forward(x, training=True)
    whole = nn.Conv2d(1, 2, 2)
    whole.bind(layer.parameters(), whole.gradients(), layer.device, layer.dtype)
    np.testing.assert_array_equal(y, whole.forward(x)[:, :, :1, :1])
    dx = layer.backward(np.ones_like(y))
    np.testing.assert_allclose(dx[0, 0, :2, :2], layer.parameters()["weight"].sum(axis=(0, 1)), rtol=1e-6)
    assert not dx[:, :, 2:].any() and not dx[..., 2:].any()


def test_a_thread_that_predicts_with_other_extents_in_between(rng):
    layer = nn.Conv2d(1, 1, 2, bias=False)
    x, other = (rng.normal(size=(1, 1, *extents)).astype(np.float32) for extents in ((7, 8), (3, 2)))

    class Shared(dict):
        """A workspace that another thread uses whenever this one has looked into it."""

        def get(self, key, default=None):
            found, layer._workspace = super().get(key, default), dict(self)
            layer.forward(other)
            self.update(layer._workspace)
            layer._workspace = self
            return found

    wanted = layer.forward(x)
    layer._workspace = Shared(layer._workspace)
    np.testing.assert_array_equal(layer.forward(x), wanted)


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
