"""Recurrent layers beyond what every layer is tested for: formulas, truncation, states, memory, bits, files, errors."""

import itertools

import numpy as np
import pytest
import recurrent as oracle
import references as ref
from numbadl.kernels import cpu

import numbadl as nd
from numbadl.nn import scan

nn = nd.nn
NAMES = ("RNN", "GRU", "LSTM")
slow = pytest.mark.slow


def make(name, *sizes, dtype=np.float32, seed=0, **options):
    """(model of one layer, the layer)"""
    model = nn.Sequential(getattr(nn, name)(*sizes, **options), dtype=dtype, seed=seed)
    return model, model.layers[0]


def weights(model):
    return {key.removeprefix("0."): value for key, value in model.parameters().items()}


def parts_of(state):
    """A state as users have it, as one array."""
    return np.stack(state) if isinstance(state, tuple) else np.asarray(state)[None]


def as_state(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def in_oracle(name, model, x, **given):
    layer = model.layers[0]
    options = {"nonlinearity": layer.nonlinearity} if name == "RNN" else {}
    return oracle.run(
        name, weights(model), x, num_layers=layer.num_layers, bidirectional=layer.bidirectional, **given, **options
    )


# -- against the oracle ------------------------------------------------------------------------------------------------
OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "bidirectional": True},
    {"num_layers": 3, "initialization": "orthogonal"},
]
EVERY = [
    pytest.param(name, options, dtype, marks=[slow] * bool(dtype is np.float64 or (options and name != "GRU")))
    for name, options, dtype in itertools.product(NAMES, OPTIONS, (np.float32, np.float64))
] + [pytest.param("RNN", {"nonlinearity": "relu"}, np.float32)]


@pytest.mark.parametrize(("name", "options", "dtype"), EVERY)
def test_results_and_states_are_those_of_the_formulas(name, options, dtype, rng):
    x = rng.normal(size=(3, 6, 2)).astype(dtype)
    model, layer = make(name, 2, 5, dtype=dtype, **options)
    state = rng.normal(size=(layer.scan.states, len(layer.scans), 3, 5)).astype(dtype)
    close = {"rtol": 0, "atol": 40 * np.finfo(dtype).eps}
    for given in (None, state):
        y, final, _ = in_oracle(name, model, x.astype(np.float64), state=given)
        for training in (False, True):
            mine = layer.forward(x, training, state=None if given is None else as_state(given))
            np.testing.assert_allclose(mine, y, **close)
            np.testing.assert_allclose(parts_of(layer.final_state), final, **close)
    last, of_last = make(name, 2, 5, dtype=dtype, return_sequences=False, **options)
    last.flat_parameters[...] = model.flat_parameters
    ends = [final[0, k] for k in range(len(layer.scans) - layer.directions, len(layer.scans))]
    np.testing.assert_allclose(of_last.forward(x, state=as_state(state)), np.concatenate(ends, axis=1), **close)


@pytest.mark.parametrize("sequences", [True, pytest.param(False, marks=slow)])
@pytest.mark.parametrize("truncate", [None, 1, pytest.param(2, marks=slow), 3, pytest.param(9, marks=slow)])
@pytest.mark.parametrize("name", ["LSTM", *(pytest.param(name, marks=slow) for name in NAMES[:2])])
def test_gradients_are_those_of_differences_that_stop_where_parts_begin(name, truncate, sequences, rng):
    """Of all weights, the input and the initial state, by the results and the final state; of two layers, both ways."""
    options = {"num_layers": 2, "bidirectional": True}
    model, layer = make(name, 2, 3, dtype=np.float64, truncate=truncate, return_sequences=sequences, **options)
    x = rng.normal(size=(2, 5, 2))
    state = rng.normal(size=(layer.scan.states, 4, 2, 3))
    y = layer.forward(x, training=True, state=as_state(state))
    grad, state_grad = rng.normal(size=y.shape), rng.normal(size=state.shape)
    held = in_oracle(name, model, x, state=state, truncate=truncate)[2]
    assert bool(held) == (truncate in (1, 2, 3))

    def loss():
        found, final, _ = in_oracle(name, model, x, state=state, truncate=truncate, held=held)
        found = found if sequences else np.concatenate([final[0, 2], final[0, 3]], axis=1)
        return float(np.sum(grad * found) + np.sum(state_grad * final))

    close = {"rtol": 1e-6, "atol": 1e-7}
    for _ in range(2):  # a second backward after one forward gives the same
        dx = layer.backward(grad, state_grad=as_state(state_grad)).copy()
        layer.forward(x[:1])
        np.testing.assert_allclose(dx, ref.numeric_gradient(loss, x), **close)
    np.testing.assert_allclose(parts_of(layer.initial_state_gradient()), ref.numeric_gradient(loss, state), **close)
    found = layer.gradients()
    for key, value in weights(model).items():
        np.testing.assert_allclose(found[key], ref.numeric_gradient(loss, value), **close, err_msg=key)


# -- states ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["LSTM", *(pytest.param(name, marks=slow) for name in NAMES[:2])])
def test_a_stateful_layer_goes_on_where_the_batch_before_ended(name, rng):
    """Two halves of a sequence: the results of the whole, and together the gradients of truncation at the half."""
    x, grad = rng.normal(size=(2, 3, 8, 4)).astype(np.float32)
    whole, parts = (make(name, 4, 4, num_layers=2, **options)[0] for options in ({"truncate": 4}, {"stateful": True}))
    y = whole.forward(x, training=True)
    dx = whole.backward(grad, input_gradient=True)
    total, close = 0, {"rtol": 1e-4, "atol": 1e-5}
    for half in (slice(4), slice(4, 8)):
        np.testing.assert_allclose(parts.forward(x[:, half], training=True), y[:, half], **close)
        np.testing.assert_allclose(parts.backward(grad[:, half], input_gradient=True), dx[:, half], **close)
        total = total + parts.flat_gradients
    np.testing.assert_allclose(total, whole.flat_gradients, **close)
    kept = parts.layers[0].final_state
    np.testing.assert_allclose(parts_of(kept), parts_of(whole.layers[0].final_state), **close)
    with pytest.raises(ValueError, match=r"x: got 2 samples, but the state that was kept is of 3; reset_state\(\)"):
        parts.forward(x[:2])
    first = whole.forward(x[:2, :4])
    for forget in (parts.layers[0].reset_state, lambda: parts.to(dtype=np.float64).to(dtype=np.float32)):
        parts.forward(x, training=True)
        forget()
        np.testing.assert_array_equal(parts.forward(x[:2, :4]), first)
        forget()


def test_a_state_is_handed_on_between_evaluation_and_training(rng):
    x = rng.normal(size=(3, 6, 2)).astype(np.float32)
    _, layer = make("GRU", 2, 4)
    y = layer.forward(x)
    _, stateful = make("GRU", 2, 4, stateful=True)
    for t in range(6):
        step = stateful.forward(x[:, t : t + 1], training=t % 2 == 0)
        np.testing.assert_allclose(step[:, 0], y[:, t], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stateful.final_state, layer.final_state, rtol=1e-5, atol=1e-6)


def test_a_state_that_is_given_comes_before_the_one_that_was_kept(rng):
    x = rng.normal(size=(3, 6, 2)).astype(np.float32)
    _, layer = make("GRU", 2, 4, stateful=True)
    first, state = layer.forward(x), np.zeros((1, 3, 4), np.float32)
    assert not np.array_equal(layer.forward(x), first)
    np.testing.assert_array_equal(layer.forward(x, state=state), first)
    layer.forward(x, state=layer.final_state)  # its own memory


# -- what every layer promises -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["LSTM", *(pytest.param(name, marks=slow) for name in NAMES[:2])])
def test_a_step_allocates_nothing(name, rng, allocated):
    """Nor does one of a smaller batch, which the last one of an epoch is, but for views and orders of rows."""
    recurrent = getattr(nn, name)(16, 32, num_layers=2, dropout=0.2, bidirectional=True, truncate=7)
    model = nn.Sequential(recurrent, getattr(nn, name)(64, 32, return_sequences=False), nn.Linear(32, 1))
    x, grad = rng.normal(size=(100, 20, 16)).astype(np.float32), rng.normal(size=(100, 1)).astype(np.float32)

    def step(size=100):
        model.forward(x[:size], training=True)
        model.backward(grad[:size], input_gradient=True)

    step()
    step(70)
    step()
    step()
    peak, both = allocated(step), allocated(lambda: (step(), step(70)))
    assert peak < 20_000, f"{peak} bytes; the smallest result of all steps has {100 * 20 * 32 * 4}"
    assert both < 700_000, f"{both} bytes; the gates of all scans have {6 * 70 * 20 * 32 * 4 * 3}, or more"


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"bidirectional": True, "truncate": 3}, (37, 7, 5, 33)),
        pytest.param(
            {"bias": False, "return_sequences": False}, (21, 4, 8, 290), marks=slow
        ),  # several panels and chains
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_all_steps_in_one_kernel_have_the_bits_of_single_steps(name, options, sizes, rng, monkeypatch):
    samples, length, features, hidden = sizes
    x = rng.normal(size=(samples, length, features)).astype(np.float32)
    found = []
    for large in (2**40, 0):
        monkeypatch.setattr(scan, "LARGE", large)
        model, layer = make(name, features, hidden, **options)
        y = layer.forward(x, training=True).copy()
        dx = layer.backward(np.cos(y)).copy()
        found.append(
            (y, dx, model.flat_gradients, parts_of(layer.initial_state_gradient()), parts_of(layer.final_state))
        )
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_same_bits_for_any_number_of_threads(rng, on_threads):
    cpu.ensure_started()
    x, grad = rng.normal(size=(130, 6, 40)).astype(np.float32), rng.normal(size=(130, 6, 256)).astype(np.float32)
    model, layer = make("LSTM", 40, 128, bidirectional=True)

    def results():
        y = layer.forward(x, training=True).copy()
        return y, layer.backward(grad).copy(), model.flat_gradients.copy()

    first, *others = on_threads(results)
    assert others
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_dropout_is_between_layers_in_training_only(rng):
    """A mask for each place between layers, of every step; the last layer's results are whole."""
    x = np.ones((4, 5, 3), np.float32)
    options = {"num_layers": 3, "dropout": 0.5, "seed": 3}
    model, layer = make("RNN", 3, 200, **options)
    plain, _ = make("RNN", 3, 200, num_layers=3, seed=3)
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)
    np.testing.assert_array_equal(model.forward(x), plain.forward(x))
    assert np.all(model.forward(x, training=True))
    inputs = [scan.x.copy() for scan in layer.scans]
    assert np.all(inputs[0])
    for given in inputs[1:]:
        assert 0.45 < np.mean(given == 0) < 0.55
    assert np.mean((inputs[1] == 0) == (inputs[2] == 0)) < 0.6, "one mask for both"
    model.forward(x, training=True)
    assert np.mean((inputs[1] == 0) == (layer.scans[1].x == 0)) < 0.6, "the mask of the step before"
    all_dropped, _ = make("RNN", 3, 20, num_layers=2, dropout=1.0)
    all_dropped.forward(x, training=True)
    assert not all_dropped.layers[0].scans[1].x.any()


def test_streams_of_layers_do_not_meet():
    """A deep layer has its own first values for each parameter, and leaves those of the layers behind it alone."""
    model = nn.Sequential(nn.GRU(4, 4, num_layers=5, bidirectional=True), nn.GRU(8, 4), seed=1)
    found = [v.reshape(-1)[:12].tobytes() for v in model.parameters().values()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_first_values(name):
    _, layer = make(name, 20, 64, seed=4)
    for value in layer.parameters().values():
        assert 0.9 / 8 < np.abs(value).max() <= 1 / 8 and np.isclose(value.var(), 1 / 64 / 3, rtol=0.25)
    again = make(name, 20, 64, seed=4)[1].parameters()
    assert all(np.array_equal(v, again[key]) for key, v in layer.parameters().items())
    found = make(name, 20, 64, initialization="orthogonal")[1].parameters()
    blocks = found["weight_hh_l0"].reshape(-1, 64, 64)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(64), atol=1e-6)
    assert len({block.tobytes() for block in blocks}) == len(blocks) == layer.scan.gates
    assert np.isclose(found["weight_ih_l0"].var(), 2 / 84, rtol=0.15)
    ones = np.flatnonzero(found["bias_ih_l0"])
    assert not found["bias_hh_l0"].any() and np.array_equal(ones, range(64, 128) if name == "LSTM" else [])
    assert np.all(found["bias_ih_l0"][ones] == 1)


def test_inputs_that_are_views_and_batches_without_samples(rng):
    x = rng.normal(size=(6, 4, 3)).astype(np.float32)
    fixed = x.copy()
    fixed.flags.writeable = False
    model, layer = make("LSTM", 3, 5, num_layers=2, bidirectional=True)
    view = x.transpose(1, 0, 2)
    np.testing.assert_array_equal(layer.forward(view), layer.forward(np.ascontiguousarray(view)))
    np.testing.assert_array_equal(layer.forward(fixed), layer.forward(x))
    grad = rng.normal(size=(4, 6, 10)).astype(np.float32)
    layer.forward(view, training=True)
    first = layer.backward(np.asfortranarray(grad)).copy()
    np.testing.assert_array_equal(layer.backward(grad), first)
    model.flat_gradients[...] = 1
    for sequences in (layer, make("LSTM", 3, 5, return_sequences=False)[1]):
        y = sequences.forward(x[:0], training=True)
        assert y.shape == (0, *sequences.output_shape((4, 3)))
        assert sequences.backward(np.zeros_like(y)).shape == (0, 4, 3)
        assert not any(value.any() for value in sequences.gradients().values())


def test_training_files_and_bits(tmp_path, rng):
    """Whether a sequence's largest number comes in its first half; a model of what stands around such a layer."""
    numbers = rng.integers(0, 20, (400, 6))
    labels = (numbers.argmax(axis=1) < 3).astype(np.int64)
    found = []
    for _ in range(2):
        layers = [nn.Embedding(20, 8), nn.Residual([nn.GRU(8, 8)]), nn.LSTM(8, 16, return_sequences=False, truncate=4)]
        model = nn.Sequential(*layers, nn.Linear(16, 2), seed=2)
        options = {"epochs": 15, "batch_size": 32, "seed": 2, "progress": False}
        optimizer = nd.optim.AdamW(lr=0.01, groups=[{"params": "*bias*", "weight_decay": 0.0}])
        model.fit(numbers, labels, loss="cross_entropy", optimizer=optimizer, **options)
        found.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*found)
    assert model.evaluate(numbers, labels)["accuracy"] > 0.9
    model.save(tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors")
    assert repr(again) == repr(
        model
    ) and "LSTM(input_size=8, hidden_size=16, return_sequences=False, truncate=4)" in repr(again)
    np.testing.assert_array_equal(again.forward(numbers), model.forward(numbers))


def test_penalties_are_of_the_matrices():
    layer = nn.RNN(2, 3, nonlinearity="relu", regularizer=nd.regularizers.L2(0.1))
    assert list(layer.weights()) == ["weight_ih_l0", "weight_hh_l0"]
    again = nn.layer.described(layer.description())
    assert again.regularizer.l2 == 0.1 and repr(again) == "RNN(input_size=2, hidden_size=3, nonlinearity='relu')"


# -- sizes and errors --------------------------------------------------------------------------------------------------
def test_sizes_are_known_as_the_model_is_built():
    model = nn.Sequential(nn.Reshape((5, 2)), nn.GRU(2, 3, bidirectional=True), nn.LSTM(6, 4, return_sequences=False))
    assert model.forward(np.zeros((2, 10), np.float32)).shape == (2, 4)
    with_linear = nn.Sequential(nn.Linear(10, 10), nn.Reshape((5, 2)), nn.GRU(2, 3), nn.Flatten(), nn.Linear(15, 1))
    assert "(N, 5, 3)" in with_linear.summary() and "63" in with_linear.summary()
    for behind, message in (
        ([nn.GRU(3, 3)], r"layer 2, GRU.* takes \(L, 3\) for each sample.*, but layer 1, Reshape.* gives 5, 2"),
        ([nn.GRU(2, 3), nn.Linear(4, 1)], r"layer 3, Linear.* takes 4 features, but layer 2, GRU.* gives 5, 3"),
        ([nn.GRU(2, 3, return_sequences=False), nn.Linear(4, 1)], r"takes 4 features, but layer 2, GRU.* gives 3"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.Sequential(nn.Linear(10, 10), nn.Reshape((5, 2)), *behind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size: got 0, accepted are positive integers"),
        ({"hidden_size": 2.5}, "hidden_size: got 2.5, accepted are positive integers"),
        ({"num_layers": 0}, "num_layers: got 0"),
        ({"dropout": 1.5, "num_layers": 2}, "dropout: got 1.5, accepted are numbers from 0 to 1"),
        ({"dropout": 0.5}, "dropout: got 0.5, accepted is 0 for one layer"),
        ({"truncate": 0}, "truncate: got 0, accepted are positive integers"),
        ({"initialization": "he"}, "initialization: got 'he', accepted are 'uniform', 'orthogonal'"),
        ({"nonlinearity": "gelu"}, "nonlinearity: got 'gelu', accepted are 'tanh', 'relu'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        nn.RNN(**{"input_size": 2, "hidden_size": 3, **options})


def test_wrong_inputs_states_and_gradients(rng):
    layer, pair = nn.GRU(2, 3), nn.LSTM(2, 3)
    for shape in ((4, 2), (4, 5, 3), (4, 0, 2), (4, 5, 2, 1)):
        with pytest.raises(ValueError, match=r"x: got shape \(.*, expected \(N, L, 2\), L of 1 or more, for GRU"):
            layer.forward(np.zeros(shape, np.float32))
    x = np.zeros((4, 5, 2), np.float32)
    with pytest.raises(TypeError, match="x: got dtype float64, accepted is float32"):
        layer.forward(x.astype(np.float64))
    for wrong, message in (
        (lambda: layer.final_state, r"final_state: GRU\(.* needs a forward"),
        (lambda: layer.initial_state_gradient(), r"initial_state_gradient: GRU\(.* needs a backward"),
        (lambda: layer.backward(np.zeros((4, 5, 3), np.float32)), r"backward: GRU\(.* needs a forward"),
    ):
        with pytest.raises(RuntimeError, match=message):
            wrong()
    state = np.zeros((1, 4, 3), np.float32)
    for given, error, message in (
        (state[:, :3], ValueError, r"state: got shape \(1, 3, 3\), expected \(1, 4, 3\)"),
        (state.astype(np.float64), TypeError, "state: got dtype float64, but x has float32"),
        ((state, state), TypeError, "state: got 2 arrays, accepted are one array"),
        ([[0.0]], TypeError, "state: got list"),
    ):
        with pytest.raises(error, match=message):
            layer.forward(x, state=given)
    with pytest.raises(TypeError, match=r"state: got one, accepted are pairs, \(h, c\)"):
        pair.forward(x, state=state)
    with pytest.raises(ValueError, match=r"state, c: got shape \(1, 4\), expected \(1, 4, 3\)"):
        pair.forward(x, state=(state, state[:, :, 0]))
    y = layer.forward(x, training=True)
    with pytest.raises(ValueError, match=r"grad: got shape \(4, 3\), expected \(4, 5, 3\)"):
        layer.backward(y[:, 0])
    with pytest.raises(ValueError, match=r"state_grad: got shape \(4, 3\)"):
        layer.backward(y, state_grad=state[0])
