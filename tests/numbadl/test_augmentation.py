"""Augmentation: what may change and what may not, the same again for a seed, and in training."""

import numpy as np
import pytest

import numbadl as nd
from numbadl.data.augmentation import Augmentation, Compose, Crop, Flip, Mixup, Noise, Reshaped, Shift

IMAGES = {3: (40, 5, 6), 4: (40, 2, 5, 6)}
EVERY = [
    Noise(0.3), Shift(2), Flip(), Flip(axis=-2), Crop(3), Crop((2, 5)), Crop(padding=2), Mixup(0.4),
    Compose(Flip(), Shift(1), Noise(0.1)),
]  # fmt: skip


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
@pytest.mark.parametrize("ndim", [3, 4])
def test_seeded_and_without_touching_the_data(augmentation, ndim, rng):
    x = rng.normal(size=IMAGES[ndim]).astype(np.float32)
    y = rng.normal(size=(40, 2)).astype(np.float32)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    first, target = augmentation(x, y, seed=[3, 1])
    again, _ = augmentation(x, y, seed=[3, 1])
    other, _ = augmentation(x, y, seed=[3, 2])
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and target.dtype == np.float32 and len(first) == 40
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1]) and not np.shares_memory(first, x)
    assert isinstance(augmentation, Mixup) or target is y


def test_noise(rng):
    x = rng.normal(size=(400, 50))
    added = Noise(0.25)(x)[0] - x
    assert abs(added.mean()) < 0.01 and abs(added.std() - 0.25) < 0.01
    assert abs(np.corrcoef(added[:, 0], x[:, 0])[0, 1]) < 0.2


@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_shift(ndim, rng):
    """Each sample is one of all the shifts, written by hand, and over many samples all of them come up."""
    x = rng.normal(size={2: (300, 7), **{n: (300, *shape[1:]) for n, shape in IMAGES.items()}}[ndim])
    found, seen = Shift(1, fill=9.0)(x)[0], set()
    steps = [(0, dx) for dx in (-1, 0, 1)] if ndim == 2 else [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for sample, result in zip(x, found, strict=True):
        sample = sample[None] if ndim == 2 else sample
        result = result[None] if ndim == 2 else result
        for dy, dx in steps:
            expected = np.full_like(sample, 9.0)
            h, w = sample.shape[-2:]
            to_y, to_x = slice(max(-dy, 0), h - max(dy, 0)), slice(max(-dx, 0), w - max(dx, 0))
            from_y, from_x = slice(max(dy, 0), h - max(-dy, 0)), slice(max(dx, 0), w - max(-dx, 0))
            expected[..., to_y, to_x] = sample[..., from_y, from_x]
            if np.array_equal(result, expected):
                seen.add((dy, dx))
                break
        else:
            raise AssertionError("no shift of the sample")
    assert seen == set(steps)


@pytest.mark.parametrize("axis", [-1, -2])
def test_flip(axis, rng):
    x = rng.normal(size=(500, 2, 3, 4))
    found = Flip(p=0.3, axis=axis)(x)[0]
    flipped = np.array([np.array_equal(a, np.flip(b, axis)) for a, b in zip(found, x, strict=True)])
    assert all(np.array_equal(a, b) for a, b in zip(found[~flipped], x[~flipped], strict=True))
    assert 0.2 < flipped.mean() < 0.4
    assert np.array_equal(Flip(p=0.0)(x)[0], x)


def test_crop(rng):
    x = rng.normal(size=(200, 2, 4, 5))
    padded, seen = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=7.0), set()
    for k, piece in enumerate(Crop((3, 5), padding=1, fill=7.0)(x)[0]):
        places = [
            (i, j) for i in range(4) for j in range(3) if np.array_equal(piece, padded[k, :, i : i + 3, j : j + 5])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 12


def test_mixup(rng):
    labels = rng.integers(0, 3, 500)
    x = 10.0 * np.eye(3)[labels]
    found, y = Mixup(0.5, classes=3)(x, labels)
    np.testing.assert_allclose(found, 10 * y, rtol=1e-12)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-12)
    own = y[np.arange(500), labels]
    assert own.min() >= 0.5 and 0.3 < np.mean(own < 0.999) < 0.7 and np.array_equal(y.argmax(axis=1), labels)
    values = rng.normal(size=(500, 1))
    mixed = Mixup(0.5)(x, values)[1]
    assert mixed.std() < values.std() and mixed.mean() == pytest.approx(values.mean(), abs=0.2)


# -- training --------------------------------------------------------------------------------------------------------
def test_training_on_augmented_rows():
    """The rows of each step follow from seed, epoch and step; validation sees the rows as they are."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 3, 60)
    seen = []

    class Spy(Augmentation):
        def __call__(self, x, y=None, seed=0):
            seen.append(tuple(seed))
            return super().__call__(x, y, seed)

        def change(self, x, y, rng):
            return Mixup(0.3, classes=3).change(x, y, rng)

    def run(augmentation, seed=5):
        model = nd.nn.Sequential(nd.nn.Linear(3, 3))
        history = model.fit(
            x, y, loss="cross_entropy", optimizer=nd.optim.SGD(lr=0.1), batch_size=30, epochs=2, seed=seed,
            validation_data=(x, y), augmentation=augmentation, progress=False,
        )  # fmt: skip
        return model.flat_parameters.copy(), history, model

    first, history, model = run(Spy())
    assert seen[1:] == [(5, 1, 1), (5, 1, 2), (5, 2, 1), (5, 2, 2)]
    assert np.array_equal(first, run(Spy())[0]) and not np.array_equal(first, run(Spy(), seed=6)[0])
    assert not np.array_equal(first, run(None)[0])
    assert history["val_loss"][-1] == model.evaluate(x, y)["loss"] and 0 <= history["accuracy"][0] <= 1


ERRORS = [
    (lambda: Noise(-1), ValueError, "std: got -1"),
    (lambda: Shift(0.5), ValueError, "by: got 0.5"),
    (lambda: Flip(2), ValueError, "p: got 2, accepted are numbers from 0 to 1"),
    (lambda: Flip(axis=0), ValueError, "axis: got 0, accepted are -1, -2"),
    (lambda: Crop((1, 2, 3)), ValueError, "size: got tuple, accepted are a number"),
    (lambda: Crop(0), ValueError, "size: got 0"),
    (
        lambda: Crop(9)(np.zeros((2, 5, 5))),
        ValueError,
        r"size: got \(9, 9\), accepted for these images are sizes up to \(5",
    ),
    (lambda: Flip()(np.zeros((2, 5))), ValueError, r"x: got shape \(2, 5\), accepted by Flip are"),
    (lambda: Mixup(0), ValueError, "alpha: got 0"),
    (lambda: Mixup()(np.zeros((2, 1)), np.array([0, 1])), ValueError, "classes: got None, accepted by Mixup of labels"),
    (
        lambda: Mixup(classes=2)(np.zeros((2, 1)), np.array([0, 2])),
        ValueError,
        r"y\[1\]: got 2, accepted are labels from",
    ),
    (lambda: Noise(1.0)(np.zeros((2, 2), int)), TypeError, "x: got dtype int64, accepted by Noise are float32"),
    (lambda: Compose(Flip), TypeError, r"augmentations\[0\]: got the class Flip"),
    (lambda: Reshaped(Flip, (2, 2)), TypeError, "augmentation: got the class Flip"),
    (lambda: Reshaped(Flip(), 4), TypeError, "shape: got 4, accepted are tuples"),
    (lambda: Reshaped(Flip(), (2, 0)), ValueError, "shape: got 0, accepted are positive integers"),
    (lambda: Reshaped(Flip(), (2, 2))(np.zeros((3, 5))), ValueError, r"x: got shape \(3, 5\), accepted by .* \(N, 4\)"),
]


def test_reshaped_is_the_same_of_images(rng):
    """Rows of images laid flat change as the images do, by the same seed."""
    images, y = rng.normal(size=IMAGES[4]).astype(np.float32), np.arange(40)
    both = Compose(Flip(), Shift(1))
    expected, _ = both(images, seed=7)
    found, targets = Reshaped(both, (2, 5, 6))(images.reshape(40, -1), y, seed=7)
    assert np.array_equal(found, expected.reshape(40, -1)) and targets is y


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("augmentation", "error", "message"),
    [
        (0.1, TypeError, "augmentation: got 0.1, accepted are those of numbadl.data.augmentation"),
        (Mixup(), ValueError, "classes: got None"),
        (Mixup(classes=4), TypeError, r"augmented y: got dtype float32 and shape \(12, 4\), cross_entropy takes"),
        (Flip(), ValueError, r"x: got shape \(12, 3\), accepted by Flip"),
    ],
)
def test_errors_before_training(augmentation, error, message):
    model = nd.nn.Sequential(nd.nn.Linear(3, 3))
    before = model.flat_parameters.copy()
    x, y = np.ones((12, 3), np.float32), np.zeros(12, int)
    with pytest.raises(error, match=message):
        model.fit(
            x, y, loss="cross_entropy", optimizer=nd.optim.SGD(lr=1.0), augmentation=augmentation, progress=False
        )  # fmt: skip
    assert np.array_equal(model.flat_parameters, before)
