"""Optimisers: a hundred steps of every rule, their state, groups, saving, and errors that leave everything as it was."""

import numpy as np
import optimizer_rules as rules
import pytest
from numbadl.kernels.scalar.updates import UPDATES

import numbadl as nd
from numbadl.optim.tensors import Tensors

STEPS = 100
FIRST = [next(case for case in rules.CASES if case[0] == name) for name in dict.fromkeys(c[0] for c in rules.CASES)]
CASES = pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c in FIRST else pytest.mark.slow) for c in rules.CASES],
    ids=map(rules.label, rules.CASES),
)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
EACH_STATE = [rules.CASES[0], rules.CASES[3], next(c for c in rules.CASES if c[0] == "AdamW")]  # none, one, two buffers


def make(case, params=None):
    name, arguments, *_ = case
    return getattr(nd.optim, name)(params, **arguments)


def problem(rng, shape=(37,), dtype=np.float64):
    """Parameters and a hundred gradients of very different sizes."""
    sizes = 10 ** rng.uniform(-4, 1, shape)
    return rng.normal(size=shape).astype(dtype), [(rng.normal(size=shape) * sizes).astype(dtype) for _ in range(STEPS)]


def test_every_rule_has_a_case():
    used = set()
    for case in [*rules.CASES, *rules.MATRICES]:
        w = np.zeros(case[3] if isinstance(case[3], tuple) else 1)
        optimizer = make(case, w)
        used.add(optimizer.rule_of(optimizer.param_groups[0], w).name)
    assert used == set(UPDATES), "add a rule and cases to tests/oracle/optimizer_rules.py"
    classes = {n for n, v in vars(nd.optim).items() if isinstance(v, type) and issubclass(v, nd.optim.Optimizer)}
    assert classes - {"Optimizer"} == {name for name, *_ in rules.CASES}


# -- trajectories -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c in EACH_STATE else pytest.mark.slow) for c in rules.CASES],
    ids=map(rules.label, rules.CASES),
)
def test_trajectory(case, rng):
    start, gradients = problem(rng)
    w = start.copy()
    optimizer = make(case, w)
    for step, (g, expected) in enumerate(zip(gradients, case[2](start, gradients, **case[1]), strict=True), 1):
        kept = g.copy()
        assert optimizer.step(g) is True
        np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-12, err_msg=f"step {step}")
        assert np.array_equal(g, kept)
    assert optimizer.steps == STEPS
    assert np.abs(w - start).max() > 1e-3


@CASES
def test_trajectory_float32(case, rng):
    start, gradients = problem(rng, dtype=np.float32)
    wide = [g.astype(np.float64) for g in gradients]
    w = start.copy()
    optimizer = make(case, w)
    options = {**case[1], "eps": (float(np.finfo(np.float32).eps), 1e-3)} if case[:2] == ("Adafactor", {}) else case[1]
    for g, expected in zip(gradients, case[2](start.astype(np.float64), wide, **options), strict=True):
        optimizer.step(g)
        np.testing.assert_allclose(w, expected, rtol=2e-5, atol=2e-5)
    assert w.dtype == np.float32
    assert optimizer.state_bytes == case[3] * w.size


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", rules.MATRICES, ids=rules.label)
def test_trajectory_of_matrices(case, dtype, rng):
    """What depends on a matrix as a whole. Newton and Schulz enlarge what rounding leaves of small singular values."""
    start, gradients = problem(rng, case[3], dtype)
    wide = [g.astype(np.float64) for g in gradients]
    eps = {"eps": (float(np.finfo(dtype).eps), 1e-3)} if case[0] == "Adafactor" and "eps" not in case[1] else {}
    w, tolerance = start.copy(), 1e-12 if dtype is np.float64 else 2e-4
    optimizer = make(case, w)
    for g, expected in zip(gradients, case[2](start.astype(np.float64), wide, **case[1], **eps), strict=True):
        optimizer.step(g)
        np.testing.assert_allclose(w, expected, rtol=tolerance, atol=tolerance)
    assert np.abs(w - start).max() > 1e-3


@pytest.mark.parametrize(("steps", "bound"), [(1, 2e-6), (3, 2e-5), (5, 3e-5), (7, 4e-4)])
@pytest.mark.parametrize("shape", [(40, 150), pytest.param((150, 40), marks=pytest.mark.slow), (64, 64)])
def test_small_singular_values_in_muon(steps, bound, shape, rng):
    """From 1 to 1e-6 of the largest. What rounding leaves of them grows by 3.4445 with each step, whatever the order."""
    small = min(shape)
    left, right = (np.linalg.qr(rng.normal(size=(n, small)))[0] for n in shape)
    gradient = ((left * np.logspace(0, -6, small)) @ right.T).astype(np.float32)
    options = {"lr": 1.0, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False, "ns_steps": steps}
    w = np.zeros(shape, np.float32)
    nd.optim.Muon(w, **options).step(gradient)
    (expected,) = rules.muon(np.zeros(shape), [gradient.astype(np.float64)], **options)
    assert np.linalg.norm(w - expected, 2) < bound * np.linalg.norm(expected, 2)


def test_muon_has_the_same_bits_on_any_threads(on_threads, rng):
    gradient = rng.normal(size=(130, 170)).astype(np.float32)

    def run():
        w = np.zeros(gradient.shape, np.float32)
        nd.optim.Muon(w, lr=1.0).step(gradient)
        return w

    first, *others = on_threads(run)
    assert all(np.array_equal(first, other) for other in others)


def test_state_of_matrices():
    w = np.zeros((30, 50), np.float32)
    assert nd.optim.Adafactor(w).state_bytes == 4 * (30 + 50)
    assert nd.optim.Muon(w).state_bytes == 4 * w.size


@pytest.mark.parametrize("case", EACH_STATE, ids=rules.label)
def test_sizes_and_threads(case, on_threads, rng):
    """An element's update does not depend on its place."""
    period, gradients = problem(rng, (61,), np.float32)

    def run(n):
        w = np.resize(period, n)
        optimizer = make(case, w)
        for g in gradients[:3]:
            optimizer.step(np.resize(g, n))
        return w

    expected = run(61)
    for n in (1, 16, 17, 8193, 32_769, 400_003):
        for w in on_threads(lambda n=n: run(n)):
            assert w.tobytes() == np.resize(expected, n).tobytes(), f"n = {n}"


@pytest.mark.parametrize("case", EACH_STATE, ids=rules.label)
def test_nan_stays_where_it_is(case, rng):
    start, gradients = problem(rng, dtype=np.float32)
    w, clean = start.copy(), start.copy()
    optimizer, other = make(case, w), make(case, clean)
    for g in gradients[:3]:
        other.step(g)
        optimizer.step(np.where(np.arange(g.size) == 5, np.float32(np.nan), g))
    assert np.isnan(w[5])
    w[5] = clean[5]
    assert np.array_equal(w, clean)


@pytest.mark.parametrize("case", FIRST, ids=rules.label)
def test_a_zero_gradient_leaves_padding_at_zero(case):
    w = np.zeros(20, np.float32)
    optimizer = make(case, w)
    for _ in range(10):
        optimizer.step(np.zeros(20, np.float32))
    assert np.array_equal(w, np.zeros(20))


# -- forms of parameters -----------------------------------------------------------------------------------------------
def test_forms_of_parameters(rng):
    start, gradients = problem(rng, (6,))
    whole = start.copy()
    optimizer = nd.optim.AdamW(whole)
    parts = {
        "list": lambda a: [a[:2], a[2:3], a[3:].reshape(3, 1)],
        "tuple": lambda a: (a[:2], a[2:3], a[3:].reshape(3, 1)),
        "dict": lambda a: {"x": a[:2], "y": a[2:3], "z": a[3:].reshape(3, 1)},
        "groups": lambda a: [{"params": [a[:2], a[2:3]]}, {"params": a[3:].reshape(3, 1)}],
    }
    others = {form: start.copy() for form in parts}
    bound = {form: nd.optim.AdamW(parts[form](w)) for form, w in others.items()}
    for g in gradients[:5]:
        optimizer.step(g)
        for form in parts:
            split = parts["dict" if form == "dict" else "list"](g)
            bound[form].step(split)
    for form, w in others.items():
        assert np.array_equal(w, whole), form
        assert bound[form].state_bytes == optimizer.state_bytes == 16 * w.size


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
def test_any_shape(shape, rng):
    start, gradients = problem(rng, shape)
    start, gradients = np.asarray(start), [np.asarray(g) for g in gradients]
    w = start.copy()
    optimizer = nd.optim.SGD(w, lr=0.1)
    optimizer.step(gradients[0])
    np.testing.assert_allclose(w, start - 0.1 * gradients[0], rtol=1e-15)


def test_gradients_of_any_layout(rng):
    start, (g, *_) = problem(rng, (4, 5), np.float32)
    expected = start.copy()
    nd.optim.AdamW(expected).step(g)
    frozen = g.copy()
    frozen.flags.writeable = False
    shifted = np.zeros(g.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(g.shape)
    shifted[...] = g
    for view in (np.array(g, order="F"), np.repeat(g, 2, axis=1)[:, ::2], g[::-1].copy()[::-1], frozen, shifted):
        w = start.copy()
        nd.optim.AdamW(w).step(view)
        assert np.array_equal(w, expected)


def test_groups(rng):
    a, gradients = problem(rng, (5,))
    b = rng.normal(size=3)
    start_a, start_b = a.copy(), b.copy()
    optimizer = nd.optim.AdamW(
        [{"params": a, "lr": 0.1, "betas": (0.5, 0.6)}, {"params": [b], "weight_decay": 0.0}], lr=0.01
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    of_a = rules.adamw(start_a, gradients, lr=0.1, betas=(0.5, 0.6))
    of_b = rules.adamw(start_b, [g[:3] for g in gradients], lr=0.01, weight_decay=0.0)
    for g, expected_a, expected_b in zip(gradients, of_a, of_b, strict=True):
        optimizer.step([g, g[:3].copy()])
        np.testing.assert_allclose(a, expected_a, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(b, expected_b, rtol=1e-12, atol=1e-12)


def test_learning_rate_changed_between_steps(rng):
    start, gradients = problem(rng)
    w = start.copy()
    optimizer = nd.optim.SGD(w, lr=0.1)
    optimizer.step(gradients[0])
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step(gradients[1])
    np.testing.assert_allclose(w, start - 0.1 * gradients[0] - 0.5 * gradients[1], rtol=1e-13, atol=1e-14)


# -- saving -------------------------------------------------------------------------------------------------------
@CASES
@pytest.mark.parametrize("dtype", [np.float32])
def test_state_continues_to_the_bit(case, dtype, rng):
    start, gradients = problem(rng, dtype=dtype)
    w = start.copy()
    optimizer = make(case, [w[:20], w[20:]])
    for g in gradients[:7]:
        optimizer.step([g[:20], g[20:]])
    saved, halfway = optimizer.state_dict(), w.copy()
    for g in gradients[7:]:  # what was saved is a copy
        optimizer.step([g[:20], g[20:]])
    again = getattr(nd.optim, case[0])([halfway[:20], halfway[20:]], lr=123.0)
    if case[3] != again.state_bytes // w.size:
        again = make(case, [halfway[:20], halfway[20:]])
    again.load_state_dict(saved)
    assert again.steps == 7
    for g in gradients[7:]:
        again.step([g[:20], g[20:]])
    assert halfway.tobytes() == w.tobytes()


def test_state_that_does_not_fit(rng):
    start, gradients = problem(rng)
    optimizer = nd.optim.AdamW(start.copy())
    optimizer.step(gradients[0])
    before = optimizer.state_dict()
    for other in (
        nd.optim.SGD(start.copy(), lr=0.1),
        nd.optim.AdamW(start[:5].copy()),
        nd.optim.AdamW([start.copy(), start.copy()]),
        nd.optim.AdamW([{"params": start.copy()}, {"params": start.copy()}]),
    ):
        with pytest.raises(ValueError, match="state: "):
            optimizer.load_state_dict(other.state_dict())
    after = optimizer.state_dict()
    assert before["steps"] == after["steps"] and before["groups"] == after["groups"]
    for name, value in before["state"][0][0].items():
        assert np.array_equal(value, after["state"][0][0][name])


# -- errors -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("SGD", {"lr": -1}, "lr: got -1"),
        ("SGD", {"lr": np.nan}, "lr: got nan"),
        ("SGD", {"lr": np.inf}, "lr: got inf"),
        ("SGD", {"lr": "0.1"}, "lr: got '0.1'"),
        ("SGD", {"lr": 0.1, "momentum": -0.5}, "momentum: got -0.5"),
        ("SGD", {"lr": 0.1, "weight_decay": -1}, "weight_decay: got -1"),
        ("SGD", {"lr": 0.1, "nesterov": True}, "nesterov: "),
        ("SGD", {"lr": 0.1, "nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov: "),
        ("AdamW", {"lr": None}, "lr: got None"),
        ("AdamW", {"betas": (0.9, 1.0)}, "betas: got "),
        ("AdamW", {"betas": (-0.1, 0.9)}, "betas: got "),
        ("AdamW", {"betas": (0.9,)}, "betas: got "),
        ("AdamW", {"betas": 0.9}, "betas: got 0.9, accepted are two numbers from 0 to below 1"),
        ("AdamW", {"betas": ("a", 0.9)}, r"betas: got \('a', 0.9\), accepted are two numbers"),
        ("AdamW", {"lr": True}, "lr: got True, accepted are numbers from 0 on"),
        ("SGD", {"lr": 0.1, "dampening": "a"}, "dampening: got 'a'"),
        ("AdamW", {"eps": -1e-8}, "eps: got "),
        ("Adan", {"betas": (0.9, 0.99)}, "betas: got .*, accepted are three numbers from 0 to below 1"),
        ("Rprop", {"etas": (1.2, 0.5)}, "etas: got 1.2, accepted are numbers above 0 and below 1"),
        ("Rprop", {"etas": 0.5}, "etas: got 0.5, accepted are two numbers"),
        ("Rprop", {"step_sizes": (1.0, 0.5)}, "step_sizes: got 0.5, accepted are numbers from 1 on"),
        ("RMSprop", {"alpha": 1.5}, "alpha: got 1.5"),
        ("Adadelta", {"rho": -0.5}, "rho: got -0.5"),
        ("Adagrad", {"lr_decay": -1.0}, "lr_decay: got -1.0"),
        ("Adam", {"amsgrad": 2}, "amsgrad: got 2, accepted are False, True"),
        ("Adafactor", {"eps": 1e-3}, "eps: got 0.001, accepted are two numbers, or None and a number"),
        ("Adafactor", {"d": 0.5}, "d: got 0.5, accepted are numbers from 1 on"),
        ("Adafactor", {"beta2_decay": 0.8}, "beta2_decay: got 0.8"),
        (
            "Muon",
            {"adjust_lr_fn": "adam"},
            "adjust_lr_fn: got 'adam', accepted are None, 'original', 'match_rms_adamw'",
        ),
        ("Muon", {"ns_steps": 0}, "ns_steps: got 0"),
        ("Muon", {"ns_coefficients": (1.0, 2.0)}, "ns_coefficients: got .*, accepted are three numbers"),
    ],
)
def test_wrong_hyperparameters(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(nd.optim, name)(np.zeros(3), **arguments)
    group = {"params": np.zeros(3), **arguments}
    if "nesterov" not in arguments:
        with pytest.raises(ValueError, match=message):
            getattr(nd.optim, name)([group], lr=0.1)


def test_wrong_parameters():
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    for wrong, error, message in [
        (np.arange(3), TypeError, "params: got dtype int64"),
        ([np.zeros(3), [1.0]], TypeError, "params: got list"),
        (np.zeros(3, np.float16), TypeError, "params: got dtype float16"),
        (frozen, ValueError, "params: have to be writeable"),
        (3, TypeError, "params: got 3, accepted are arrays"),
        ([{"lr": 0.1}], TypeError, "params: got None, accepted are arrays"),
        (np.zeros((3, 4)).T, ValueError, "params: have to be .*C-contiguous"),
        ([{"params": np.zeros(3), "learning_rate": 1.0}], ValueError, "unknown options .*learning_rate"),
    ]:
        with pytest.raises(error, match=message):
            nd.optim.AdamW(wrong)


def test_unbound():
    with pytest.raises(RuntimeError, match="no parameters"):
        nd.optim.AdamW().step(np.zeros(3))


@pytest.mark.parametrize("case", EACH_STATE, ids=rules.label)
def test_wrong_gradients_change_nothing(case, rng):
    start, gradients = problem(rng, dtype=np.float32)
    w, b = start.copy(), start[:4].copy()
    optimizer = make(case, [w, b])
    right = [gradients[0], gradients[0][:4].copy()]
    for wrong, error, message in [
        (right[:1], ValueError, "grads: got 1 arrays for 2 parameters"),
        (gradients[0], ValueError, "grads: got 1 arrays"),
        ([*right, right[0]], ValueError, "grads: got 3 arrays"),
        ([right[0], right[0]], ValueError, r"grads\[1\]: got shape"),
        ([right[0], right[1].astype(np.float64)], TypeError, r"grads\[1\]: got dtype float64"),
        ([right[0], right[1].tolist()], TypeError, r"grads\[1\]: got list"),
        ([right[0], None], TypeError, r"grads\[1\]: got NoneType"),
        (None, TypeError, "grads: needed"),
    ]:
        with pytest.raises(error, match=message):
            optimizer.step(wrong)
        assert np.array_equal(w, start) and np.array_equal(b, start[:4]) and optimizer.steps == 0
    assert not any(a.any() for s in optimizer.state_dict()["state"][0] for a in s.values())


# -- clipping --------------------------------------------------------------------------------------------------------
@DTYPES
@pytest.mark.parametrize("form", ["array", "list", "dict"])
def test_clip_norm(dtype, form, rng):
    for n, max_norm in [(1, 0.5), (100, 1.0), (100_003, 2.5), (100, 1e6)]:
        whole = rng.normal(size=n + 7).astype(dtype)
        parts = [whole] if form == "array" else [whole[:n], whole[n:]]
        norm, expected = rules.clip_norm(parts, max_norm)
        given = {"array": whole, "list": parts, "dict": dict(enumerate(parts))}[form]
        found = nd.clip_grad_norm_(given, max_norm)
        rtol = 20 * np.finfo(dtype).eps
        assert type(found) is float and abs(found - norm) <= rtol * norm
        for actual, want in zip(parts, expected, strict=True):
            np.testing.assert_allclose(actual, want, rtol=rtol)


def test_clip_norm_leaves_small_gradients_alone(rng):
    g = rng.normal(size=50).astype(np.float32)
    kept = g.copy()
    assert nd.clip_grad_norm_(g, 100.0) < 100
    assert g.tobytes() == kept.tobytes()
    assert nd.clip_grad_norm_([], 1.0) == 0.0 and nd.clip_grad_norm_(np.zeros(0, np.float32), 1.0) == 0.0


def test_clip_norm_of_nan_and_infinity():
    g = np.array([1, np.nan], np.float32)
    assert np.isnan(nd.clip_grad_norm_(g, 1.0)) and np.isnan(g).all()
    g = np.array([1, np.inf], np.float32)
    assert nd.clip_grad_norm_(g, 1.0) == np.inf and g[0] == 0 and np.isnan(g[1])


def test_clip_norm_threads(on_threads, rng):
    g = rng.normal(size=500_001).astype(np.float32)

    def run():
        mine = g.copy()
        return nd.clip_grad_norm_(mine, 1.0), mine.tobytes()

    first, *others = on_threads(run)
    assert all(other == first for other in others)


@DTYPES
def test_clip_value(dtype, rng):
    for n in (1, 63, 40_001):
        g = rng.normal(size=n).astype(dtype)
        g[:1] = np.inf
        expected = np.clip(g, dtype(-0.3), dtype(0.3))
        assert nd.clip_grad_value_([g], 0.3) is None
        assert np.array_equal(g, expected)
    g = np.array([np.nan, -np.inf, 0.1], dtype)
    nd.clip_grad_value_(g, 0.5)
    np.testing.assert_array_equal(g, np.array([np.nan, -0.5, 0.1], dtype))


@pytest.mark.parametrize("clip", [nd.clip_grad_norm_, nd.clip_grad_value_])
def test_clip_errors_change_nothing(clip):
    right = np.full(3, 9, np.float32)
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    for wrong, error, message in [
        (np.arange(3), TypeError, r"grads\[1\]: got dtype int64"),
        ([1.0], TypeError, r"grads\[1\]: got list"),
        (frozen, ValueError, r"grads\[1\]: has to be a writeable"),
        (np.zeros((3, 4), np.float32).T, ValueError, r"grads\[1\]: has to be .*C-contiguous"),
    ]:
        with pytest.raises(error, match=message):
            clip([right, wrong], 1.0)
        assert np.all(right == 9)
    for limit in (0, -1.0, np.nan, "a", None, True):
        with pytest.raises(ValueError, match="got .*, accepted are numbers above 0"):
            clip(right, limit)
    for wrong in (3, "model", None):
        with pytest.raises(TypeError, match="grads: got .*, accepted are arrays, lists or dicts of arrays, and models"):
            clip(wrong, 1.0)
    assert np.all(right == 9)


def test_clipping_a_model():
    """A model stands for its gradients; a limit of infinity measures the norm."""
    model = nd.nn.Sequential(nd.nn.Linear(2, 1))
    model.gradients()["0.weight"][...] = [[3, 4]]
    assert nd.clip_grad_norm_(model, np.inf) == 5.0 and model.gradients()["0.weight"].tolist() == [[3, 4]]
    assert nd.clip_grad_norm_(model, 2.5) == 5.0
    np.testing.assert_allclose(model.gradients()["0.weight"], [[1.5, 2]], rtol=1e-6)
    nd.clip_grad_value_(model, 1.0)
    assert model.gradients()["0.weight"].tolist() == [[1, 1]]


def test_a_group_is_checked_with_what_it_inherits():
    with pytest.raises(ValueError, match="nesterov: needs a momentum above 0"):
        nd.optim.SGD([{"params": np.zeros(3), "momentum": 0.0}], lr=0.1, momentum=0.9, nesterov=True)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", [*FIRST, *rules.MATRICES], ids=rules.label)
def test_what_is_not_finite_is_let_through_without_a_warning(case, value, rng):
    shape = case[3] if isinstance(case[3], tuple) else (5,)
    w, g = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    g.flat[2] = value
    optimizer = make(case, w)
    for _ in range(3):
        optimizer.step(g)
    assert not np.isfinite(w).all() or case[0] in ("Rprop", "Lion", "Adagrad", "Adadelta", "Adamax")


@pytest.mark.parametrize("matrices", [1, 5])
def test_adafactor_takes_the_rows_of_all_matrices_in_one_launch(matrices, monkeypatch):
    arrays = [np.ones((k + 2, 3), np.float32) for k in range(matrices)]
    optimizer, run, sizes = nd.optim.Adafactor(arrays), Tensors.run, []

    def counted(tensors, spec, *args, **options):
        sizes.append(tensors.sizes.size)
        return run(tensors, spec, *args, **options)

    monkeypatch.setattr(Tensors, "run", counted)
    optimizer.step([np.ones_like(a) for a in arrays])
    rows = sum(len(a) for a in arrays)
    assert sorted(sizes) == sorted([matrices, rows, rows, matrices])  # measure, squares of rows, division, update
