"""Penalties in training: of layers and of the model, what they leave out, exact zeros of the proximal L1, and in files."""

import numpy as np
import pytest

import numbadl as nd

nn = nd.nn
L1, L2, L1L2 = nd.regularizers.L1, nd.regularizers.L2, nd.regularizers.L1L2
QUIET = {"progress": False}


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 6))
    return x, x[:, :1] * 2 - x[:, 1:2] + 0.01 * rng.normal(size=(60, 1))


def model_of(first=None, second=None):
    return nn.Sequential(
        nn.Linear(6, 4, regularizer=first),
        nn.BatchNorm(4),
        nn.PReLU(4),
        nn.Linear(4, 1, regularizer=second),
        dtype=np.float64,
    )


def one_step(model, regularizer=None):
    """What one step of full-batch SGD with learning rate 1/8 changes, and the history."""
    x, y = data()
    before = {key: value.copy() for key, value in model.parameters().items()}
    history = model.fit(
        x, y, loss="mse", optimizer=nd.optim.SGD(lr=0.125), batch_size=None, regularizer=regularizer, **QUIET
    )
    return before, {key: value - before[key] for key, value in model.parameters().items()}, history


def test_the_models_penalty_is_of_weights_alone():
    plain = one_step(model_of())[1]
    before, found, history = one_step(model_of(), L1L2(0.25, 0.5))
    for key, change in found.items():
        w = before[key]
        expected = -0.125 * (0.25 * np.sign(w) + 2 * 0.5 * w) if key in ("0.weight", "3.weight") else 0 * w
        np.testing.assert_allclose(change - plain[key], expected, rtol=1e-9, atol=1e-14, err_msg=key)
    weights = [before["0.weight"], before["3.weight"]]
    penalty = sum(0.25 * np.abs(w).sum() + 0.5 * (w**2).sum() for w in weights)
    assert history["penalty"] == [pytest.approx(penalty)]
    assert history["loss"] == one_step(model_of())[2]["loss"], "the penalty is not part of the loss in the history"


def test_norms_with_two_axes_are_left_out():
    model = nn.Sequential(nn.LayerNorm((2, 3)), nn.Flatten(), nn.Linear(6, 1))
    assert model.parameters()["0.weight"].ndim == 2 and list(model.weights()) == ["2.weight"]
    before = L2(1.0)(model)
    model.parameters()["0.weight"][...] = 7
    assert L2(1.0)(model) == before


def test_a_layers_own_penalty_takes_the_models_place():
    plain = one_step(model_of())[1]
    before, found, history = one_step(model_of(first=L2(0.5)), L2(3.0))
    for key, factor in (("0.weight", 0.5), ("3.weight", 3.0)):
        np.testing.assert_allclose(found[key] - plain[key], -0.125 * 2 * factor * before[key], rtol=1e-9, atol=1e-14)
    before, found, _ = one_step(model_of(second=L2(0.5)))
    np.testing.assert_allclose(
        found["3.weight"] - plain["3.weight"], -0.125 * before["3.weight"], rtol=1e-9, atol=1e-14
    )
    assert np.array_equal(found["0.weight"], plain["0.weight"]) and "penalty" in history.metrics
    assert "penalty" not in one_step(model_of())[2].metrics


@pytest.mark.parametrize("optimizer", [nd.optim.SGD(lr=0.05), nd.optim.Adam(lr=nd.optim.schedules.Step(0.05, 300))])
def test_the_proximal_step_gives_exact_zeros(optimizer):
    """Four of six features have nothing to do with the target: the lasso finds them, and keeps the other two."""
    x, y = data()

    def weights(regularizer):
        model = nn.Sequential(nn.Linear(6, 1), dtype=np.float64)
        model.fit(
            x, y, loss="mse", optimizer=optimizer, epochs=300, batch_size=20, regularizer=regularizer, **QUIET
        )  # fmt: skip
        optimizer.unbind()
        return model.parameters()["0.weight"][0], model.parameters()["0.bias"]

    found, bias = weights(L1(0.1, proximal=True))
    assert found[0] > 1.8 and found[1] < -0.8 and not found[2:].any() and bias.all()
    assert np.all(weights(L1(0.1))[0] != 0) and np.all(weights(None)[0] != 0)


def test_one_proximal_step_is_the_one_by_hand():
    """With two groups of their own learning rates, each weight is shrunk by that of its group."""
    x, y = data()

    def run(regularizer):
        model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1), dtype=np.float64)
        optimizer = nd.optim.SGD(lr=0.125)
        optimizer.bind(model, groups=[{"params": "2.*", "lr": 0.5}])
        model.fit(x, y, loss="mse", optimizer=optimizer, batch_size=None, regularizer=regularizer, **QUIET)
        return model.parameters()

    plain, found = run(None), run(L1(0.4, proximal=True))
    for key, lr in (("0.weight", 0.125), ("2.weight", 0.5)):
        w = plain[key]
        np.testing.assert_allclose(found[key], np.sign(w) * np.maximum(np.abs(w) - 0.4 * lr, 0), rtol=1e-12, atol=1e-15)
    assert np.array_equal(found["0.bias"], plain["0.bias"])


def test_nothing_is_shrunk_between_accumulated_steps():
    x, y = data()
    model = nn.Sequential(nn.Linear(6, 1), dtype=np.float64)
    before = model.flat_parameters.copy()
    optimizer = nd.optim.SGD(lr=0.5, gradient_accumulation_steps=4)
    model.fit(x, y, loss="mse", optimizer=optimizer, batch_size=20, regularizer=L1(1.0, proximal=True), **QUIET)
    assert np.array_equal(model.flat_parameters, before)


def test_a_layers_penalty_is_saved_with_it(tmp_path):
    model = model_of(first=L1(0.25, proximal=True))
    model.layers[3].regularizer = L1L2(0.1, 0.2)
    model.save(tmp_path / "model.safetensors")
    first, *_, last = nn.load(tmp_path / "model.safetensors").layers
    assert (first.regularizer.l1, first.regularizer.l2, first.regularizer.proximal) == (0.25, 0.0, True)
    assert (last.regularizer.l1, last.regularizer.l2, last.regularizer.proximal) == (0.1, 0.2, False)


def test_errors():
    with pytest.raises(TypeError, match="regularizer: got 0.1, accepted are those of numbadl.regularizers"):
        nn.Linear(2, 2, regularizer=0.1)
    with pytest.raises(TypeError, match="regularizer: got 'l2', accepted are those of numbadl.regularizers"):
        one_step(model_of(), "l2")
