"""Schedules against what PyTorch's documentation prints, the search for a learning rate, and states on disk."""

import json
import math

import numpy as np
import optimizer_rules as rules
import pytest
from safetensors.numpy import load_file, save_file

import numbadl as nd
from numbadl.optim import files as optim_files
from numbadl.optim import schedules

QUIET = {"progress": False}


def restarts(step, first, factor):
    """(step within its period, length of the period), counted one by one."""
    length, at = first, 0
    for _ in range(step):
        at += 1
        if at == length:
            at, length = 0, length * factor
    return at, length


def cosine(start, end, part):
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * part))


def one_cycle(k, total=20, start=0.25):
    up, down = start * total - 1, total - 1
    low = 0.3 / 10
    return cosine(low, 0.3, k / up) if k <= up else cosine(0.3, low / 100, (k - up) / (down - up))


VALUES = [
    (schedules.Constant(0.3), lambda k: 0.3),
    (schedules.Step(0.3, step_size=4, gamma=0.5), lambda k: 0.3 * 0.5 ** (k // 4)),
    (schedules.Exponential(0.3, gamma=0.9), lambda k: 0.3 * 0.9**k),
    (schedules.Polynomial(0.3, total=15, power=2.0), lambda k: 0.3 * (1 - min(k, 15) / 15) ** 2),
    (schedules.Polynomial(0.3, total=15, end=0.1), lambda k: 0.3 - 0.2 * min(k, 15) / 15),
    (schedules.Cosine(0.3, total=12, minimum=0.05), lambda k: cosine(0.3, 0.05, min(k, 12) / 12)),
    (
        schedules.CosineRestarts(0.3, first=5, factor=2, minimum=0.01),
        lambda k: cosine(0.3, 0.01, restarts(k, 5, 2)[0] / restarts(k, 5, 2)[1]),
    ),
    (schedules.CosineRestarts(0.3, first=5), lambda k: cosine(0.3, 0, (k % 5) / 5)),
    (schedules.OneCycle(0.3, total=20, pct_start=0.25, div_factor=10, final_div_factor=100), one_cycle),
]


@pytest.mark.parametrize(("schedule", "value"), VALUES, ids=[repr(s) for s, _ in VALUES])
def test_values(schedule, value):
    for k in range(20):
        assert math.isclose(schedule(k), value(k), rel_tol=1e-12, abs_tol=1e-15), k


@pytest.mark.parametrize("schedule", [s for s, _ in VALUES], ids=repr)
def test_warm_up_comes_before(schedule):
    late = type(schedule)(**{**vars(schedule), "warmup": 4})
    np.testing.assert_allclose([late(k) for k in range(4)], [schedule(0) * part for part in (0.25, 0.5, 0.75, 1)])
    assert [late(k + 4) for k in range(8)] == [schedule(k) for k in range(8)]


@pytest.mark.slow  # importing PyTorch takes seconds
@pytest.mark.parametrize("schedule", [s for s, _ in VALUES if not getattr(s, "end", 0)], ids=repr)
def test_schedules_are_pytorchs(schedule):
    torch = pytest.importorskip("torch")
    from torch.optim import lr_scheduler as theirs

    given = vars(schedule)
    make = {
        "Constant": lambda o: theirs.ConstantLR(o, factor=1.0),
        "Step": lambda o: theirs.StepLR(o, given["step_size"], given["gamma"]),
        "Exponential": lambda o: theirs.ExponentialLR(o, given["gamma"]),
        "Polynomial": lambda o: theirs.PolynomialLR(o, given["total"], given["power"]),
        "Cosine": lambda o: theirs.CosineAnnealingLR(o, given["total"], given["minimum"]),
        "CosineRestarts": lambda o: theirs.CosineAnnealingWarmRestarts(
            o, given["first"], given["factor"], given["minimum"]
        ),
        "OneCycle": lambda o: theirs.OneCycleLR(
            o, 0.3, given["total"], pct_start=given["pct_start"], div_factor=given["div_factor"],
            final_div_factor=given["final_div_factor"], cycle_momentum=False,
        ),
    }  # fmt: skip
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make[type(schedule).__name__](optimizer)
    for k in range(12):  # PyTorch's cosine goes up again behind its end
        assert math.isclose(schedule(k), optimizer.param_groups[0]["lr"], rel_tol=1e-9, abs_tol=1e-12), k
        optimizer.step()
        scheduler.step()


def test_an_optimizer_with_a_schedule(rng):
    start, gradients = rng.normal(size=5), rng.normal(size=(10, 5))
    w = start.copy()
    optimizer = nd.optim.SGD(w, lr=schedules.Step(0.1, step_size=3, gamma=0.5))
    for k, g in enumerate(gradients):
        optimizer.step(g)
        start -= 0.1 * 0.5 ** (k // 3) * g
        np.testing.assert_allclose(w, start, rtol=1e-13, atol=1e-14)
    optimizer.param_groups[0]["lr"] = lambda step: -1.0
    with pytest.raises(ValueError, match=r"lr: the schedule gave -1.0 for step 10"):
        optimizer.step(gradients[0])


def adam_rates(optimizer, steps, between=lambda k: None):
    """Muon's rates for what is no matrix, which its first update does not know."""
    vector, found = optimizer.param_groups[0]["params"][1], []
    for k in range(steps):
        between(k)
        found.append(optimizer.learning_rate(vector))
        optimizer.step([np.ones((2, 2)), np.ones(3)])
    return found


def muon(**options):
    return nd.optim.Muon([np.ones((2, 2)), np.ones(3)], **options)


def test_the_second_rate_of_muon_follows_the_first():
    schedule = schedules.Polynomial(0.02, total=4, warmup=4)
    shape = np.array([0.25, 0.5, 0.75, 1, 1, 0.75])
    np.testing.assert_allclose(adam_rates(muon(lr=schedule, adam_lr=0.004), 6), 0.004 * shape)
    own = schedules.Step(0.1, step_size=1, gamma=0.5)
    np.testing.assert_allclose(adam_rates(muon(lr=schedule, adam_lr=own), 3), [0.1, 0.05, 0.025])
    np.testing.assert_allclose(adam_rates(muon(lr=lambda k: 0.1 / (k + 1), adam_lr=0.01), 3), [0.01, 0.01, 0.01])
    optimizer = muon(lr=0.02, adam_lr=0.01)

    def halved(k):
        optimizer.param_groups[0]["lr"] = 0.02 / 2**k

    np.testing.assert_allclose(adam_rates(optimizer, 3, halved), [0.01, 0.005, 0.0025])


def test_the_second_rate_of_muon_changes_the_step_and_is_saved(tmp_path):
    def optimizer():
        return muon(lr=schedules.Constant(0.02, warmup=10), adam_lr=0.5, weight_decay=0.0)

    first = optimizer()
    first.step([np.ones((2, 2)), np.ones(3)])  # the first step of AdamW is its rate, here a tenth of 0.5
    np.testing.assert_allclose(first.param_groups[0]["params"][1], 1 - 0.05, rtol=1e-6)
    first.save(tmp_path / "state.safetensors")
    second = muon(lr=0.3, adam_lr=0.1)
    second.load(tmp_path / "state.safetensors")
    assert adam_rates(second, 2) == adam_rates(first, 2)
    damaged = second.state_dict()
    damaged["groups"][0]["initial_lr"] = "0.02"
    with pytest.raises(ValueError, match=r"initial_lr: got '0.02', accepted are numbers"):
        second.load_state_dict(damaged)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("Step", {"lr": -1, "step_size": 2}, "lr: got -1"),
        ("Step", {"lr": 0.1, "step_size": 0}, "step_size: got 0"),
        ("Cosine", {"lr": 0.1, "total": 2.5}, "total: got 2.5"),
        ("Constant", {"lr": 0.1, "warmup": -1}, "warmup: got -1"),
        ("OneCycle", {"lr": 0.1, "total": 5, "pct_start": 1}, "pct_start: got 1"),
    ],
)
def test_wrong_schedules(kind, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(schedules, kind)(**options)


@pytest.mark.slow  # importing PyTorch takes seconds
@pytest.mark.parametrize(
    "options", [{}, {"mode": "max"}, {"threshold_mode": "abs", "threshold": 0.5}, {"cooldown": 2}, {"min_lr": 0.04}]
)
def test_reduce_on_plateau_is_pytorchs(options, rng):
    torch = pytest.importorskip("torch")
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    mine = nd.optim.SGD(np.zeros(1), lr=0.3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=1, **options)
    plateau = nd.optim.ReduceOnPlateau(mine, factor=0.5, patience=1, **options)
    for value in rng.uniform(0, 2, 30):
        scheduler.step(value)
        plateau.step(value)
        assert mine.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    assert mine.param_groups[0]["lr"] < 0.3


def test_reduce_on_plateau_in_fit(rng):
    x = rng.normal(size=(20, 3)).astype(np.float32)
    model, optimizer = nd.nn.Sequential(nd.nn.Linear(3, 1)), nd.optim.SGD(lr=0.1)
    options = {"loss": "mse", "optimizer": optimizer, "epochs": 3, **QUIET}
    reduce = nd.train.ReduceOnPlateau(optimizer, monitor="loss", patience=0, threshold=10.0, threshold_mode="abs")
    model.fit(x, x[:, :1].copy(), callbacks=[reduce], **options)
    np.testing.assert_allclose(optimizer.param_groups[0]["lr"], 0.001)
    with pytest.raises(ValueError, match="monitor: got 'val_loss', accepted without"):
        model.fit(x, x[:, :1].copy(), callbacks=[nd.train.ReduceOnPlateau(optimizer)], **options)


# -- the search for a rate ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bound", [False, True])
def test_lr_find_puts_everything_back(bound, rng):
    x = rng.normal(size=(100, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    model = nd.nn.Sequential(
        nd.nn.Linear(4, 8), nd.nn.BatchNorm(8), nd.nn.ReLU(), nd.nn.Dropout(0.1), nd.nn.Linear(8, 2)
    )
    optimizer = nd.optim.AdamW(model if bound else None, lr=0.01)
    before = {key: value.copy() for key, value in model.state().items()}
    found = nd.optim.lr_find(model, x, y, loss="cross_entropy", optimizer=optimizer, steps=60, end=100, batch_size=20)
    assert all(np.array_equal(before[key], value) for key, value in model.state().items())
    assert optimizer.is_bound == bound and optimizer.steps == 0
    assert [layer.steps for layer in model.layers] == [0] * 5, "dropout's masks go on from elsewhere"
    if bound:
        assert optimizer.param_groups[0]["lr"] == 0.01
        assert not any(a.any() for a in optimizer.state_dict()["state"][0][0].values())
    assert 1e-6 < found.suggestion < 10 and len(found.rates) == len(found.losses) <= 60
    np.testing.assert_allclose(found.rates[1] / found.rates[0], 1e8 ** (1 / 59))


def test_lr_find_refuses_before_anything_is_trained(rng):
    x, model = np.ones((8, 4), np.float32), nd.nn.Sequential(nd.nn.Linear(4, 2))
    options = {"loss": "cross_entropy", "optimizer": nd.optim.SGD(lr=1.0)}
    for change, message in (
        ({"optimizer": "adam"}, "optimizer: got 'adam'"),
        ({"seed": -1}, "seed: got -1"),
        ({"x": x[:0], "y": np.zeros(0, int)}, "x: got no rows"),
        ({"y": np.full(8, 2)}, r"y\[0\]: got 2"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            nd.optim.lr_find(model, **{"x": x, "y": np.zeros(8, int), **options, **change})


def test_lr_find_stops_where_the_loss_explodes(rng):
    x = rng.normal(size=(50, 4)).astype(np.float32)
    model = nd.nn.Sequential(nd.nn.Linear(4, 1))
    options = {"loss": "mse", "optimizer": nd.optim.SGD(lr=1.0), "start": 1e-3, "end": 1e6, "steps": 40}
    found = nd.optim.lr_find(model, x, x[:, :1].copy(), **options)
    assert len(found.rates) < 40 and found.losses[-1] > 4 * min(found.losses[:-1])


# -- schedule-free ------------------------------------------------------------------------------------------------------
def test_schedule_free_average(rng):
    """After eval the parameters are x; train gives y again; a step in between is refused."""
    start, gradients = rng.normal(size=8), rng.normal(size=(20, 8))
    w = start.copy()
    optimizer = nd.optim.ScheduleFreeAdamW(w, lr=0.05)
    for g in gradients:
        optimizer.step(g)
    *_, y = rules.schedule_free(start, gradients, lr=0.05)
    *_, x = rules.schedule_free(start, gradients, lr=0.05, average=True)
    np.testing.assert_allclose(w, y, rtol=1e-12, atol=1e-13)
    optimizer.eval()
    optimizer.eval()
    np.testing.assert_allclose(w, x, rtol=1e-12, atol=1e-13)
    with pytest.raises(RuntimeError, match="averaged ones"):
        optimizer.step(gradients[0])
    optimizer.train()
    np.testing.assert_allclose(w, y, rtol=1e-12, atol=1e-13)


def test_fit_leaves_the_average(rng):
    x = rng.normal(size=(40, 3)).astype(np.float32)
    model, optimizer = nd.nn.Sequential(nd.nn.Linear(3, 1)), nd.optim.ScheduleFreeAdamW(lr=0.1)
    model.fit(x, x[:, :1].copy(), loss="mse", optimizer=optimizer, epochs=3, batch_size=10, **QUIET)
    kept = model.flat_parameters.copy()
    optimizer.train()
    assert np.abs(model.flat_parameters - kept).max() > 1e-4
    optimizer.eval()
    np.testing.assert_allclose(model.flat_parameters, kept, rtol=1e-5, atol=1e-6)


# -- states on disk --------------------------------------------------------------------------------------------------------
SAVED = [
    ("AdamW", {"lr": schedules.Cosine(0.01, total=20, warmup=3)}),
    ("NAdam", {"ema_decay": 0.9, "lookahead": 4}),
    ("ScheduleFreeAdamW", {"warmup_steps": 10}),
    ("Adafactor", {"gradient_accumulation_steps": 2}),
    ("SGD", {"lr": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), SAVED)
def test_resumed_from_a_file_to_the_bit(name, options, tmp_path, rng):
    shapes = [(3, 4), (5,)]
    start, *gradients = [[rng.normal(size=s).astype(np.float32) for s in shapes] for _ in range(16)]
    whole, part = [a.copy() for a in start], [a.copy() for a in start]
    kind = getattr(nd.optim, name)
    optimizer, first = kind(whole, **options), kind(part, **options)
    for g in gradients:
        optimizer.step(g)
    for g in gradients[:7]:
        first.step(g)
    first.save(tmp_path / "optimizer.safetensors")
    copies = [a.copy() for a in part]
    again = kind(copies, **{**options, "lr": 123.0})
    again.load(tmp_path / "optimizer.safetensors")
    assert again.steps == first.steps and again.param_groups[0]["lr"] == first.param_groups[0]["lr"]
    for g in gradients[7:]:
        again.step(g)
    for a, b in zip(copies, whole, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_model_and_its_optimizer_resumed(tmp_path, rng):
    """Four epochs of full batches, or two, both files, and two more: the same bits."""
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    options = {"loss": "cross_entropy", "batch_size": None, **QUIET}

    def make():
        return nd.nn.Sequential(nd.nn.Linear(5, 8), nd.nn.BatchNorm(8), nd.nn.ReLU(), nd.nn.Linear(8, 3))

    model, optimizer = make(), nd.optim.AdamW(lr=0.01)
    model.fit(x, y, optimizer=optimizer, epochs=4, **options)
    first, before = make(), nd.optim.AdamW(lr=0.01)
    first.fit(x, y, optimizer=before, epochs=2, **options)
    first.save(tmp_path / "model")
    before.save(tmp_path / "state")
    second = nd.nn.load(tmp_path / "model")
    after = nd.optim.AdamW(second)
    after.load(tmp_path / "state")
    second.fit(x, y, optimizer=after, epochs=2, **options)
    assert second.flat_parameters.tobytes() == model.flat_parameters.tobytes()


def test_files_that_do_not_fit(tmp_path):
    w, path = np.ones(3), tmp_path / "state"
    optimizer = nd.optim.AdamW(w)
    optimizer.step(np.ones(3))
    optimizer.save(path)
    expected = optimizer.state_dict()
    header = {"format": "numbadl.optimizer", "version": "1", "optimizer": "AdamW", "description": "{}"}
    for name, content, message in [
        ("other", lambda p: nd.optim.Adam(np.ones(3)).save(p), "the state of Adam, not of AdamW"),
        ("shape", lambda p: nd.optim.AdamW(np.ones(4)).save(p), "do not fit the parameters"),
        ("count", lambda p: nd.optim.AdamW([np.ones(3), np.ones(2)]).save(p), "damaged, or that of other parameters"),
        ("text", lambda p: p.write_text("no"), "not a readable safetensors file"),
        ("tensors", lambda p: save_file({"a": np.ones(2)}, p), "not version 1 of the state"),
        ("empty", lambda p: save_file({}, p, header), "its state is damaged"),
    ]:
        content(tmp_path / name)
        with pytest.raises(ValueError, match=message):
            optimizer.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        optimizer.load(tmp_path / "missing")
    found = optimizer.state_dict()
    assert found["steps"] == expected["steps"] == 1
    assert all(np.array_equal(found["state"][0][0][k], v) for k, v in expected["state"][0][0].items())
    assert set(load_file(path)) == {"0.0.exp_avg", "0.0.exp_avg_sq"}


def damaged(change, tensors=None):
    """A state of NAdam in two groups, changed as a description and as tensors."""
    optimizer = nd.optim.NAdam([{"params": np.ones(3)}, {"params": np.ones((2, 2)), "frozen": True}], lr=0.1)
    optimizer.step([np.ones(3), None])
    description, arrays = optim_files.packed(optimizer)
    change(description)
    (tensors or (lambda arrays: None))(arrays)
    header = {"format": "numbadl.optimizer", "version": "1", "optimizer": "NAdam"}
    return arrays, {**header, "description": json.dumps(description)}


DAMAGES = {
    "steps is -1, accepted are integers from 0 on": lambda d: d.update(steps=-1),
    "steps is 1.5": lambda d: d.update(steps=1.5),
    "micro_steps is 1, accepted are integers from 0 to 0": lambda d: d.update(micro_steps=1),
    "averaged is 'no'": lambda d: d.update(averaged="no"),
    r"has no \['memory'\]": lambda d: d.pop("memory"),
    "has 1 memories, the optimiser 2": lambda d: d["memory"].pop(),
    "has 'x' for memories": lambda d: d.update(memory="x"),
    r"memory 0 is \[1\], accepted are dicts": lambda d: d["memory"].__setitem__(0, [1]),
    "step of memory 0 is '1'": lambda d: d["memory"][0].update(step="1"),
    "step of memory 0 is 2, accepted are integers from 0 to 1": lambda d: d["memory"][0].update(step=2),
    r"memory 0 has \['step'\], accepted are \['mu_product', 'step'\]": lambda d: d["memory"][0].pop("mu_product"),
    r"memory 1 has \['lr_max', 'step'\], accepted are \['step'\]": lambda d: d["memory"][1].update(lr_max=1.0),
    "mu_product of memory 0 is nan": lambda d: d["memory"][0].update(mu_product=math.nan),
    "mu_product of memory 0 is None": lambda d: d["memory"][0].update(mu_product=None),
    "has 1 groups, the optimiser 2": lambda d: d["groups"].pop(),
    r"group 0 has \['betas', .*, the optimiser's has": lambda d: d["groups"][0].pop("lr"),
    "group 1 has .*'params'": lambda d: d["groups"][1].update(params=3),
    "lr: got 'fast'": lambda d: d["groups"][0].update(lr="fast"),
    "betas: got 3": lambda d: d["groups"][1].update(betas=3),
    "damaged, or that of other parameters": lambda d: d["groups"].__setitem__(0, 3),
}
TENSORS = {
    "exp_avg.* do not fit": lambda a: a.pop("0.0.exp_avg"),
    "step_size.* do not fit": lambda a: a.update({"1.0.step_size": np.ones((2, 2))}),
    r"\(3,\), dtype\('float32'\).* do not fit": lambda a: a.update({"0.0.exp_avg": np.ones(3, np.float32)}),
    r"\(4,\).* do not fit": lambda a: a.update({"0.0.exp_avg": np.ones(4)}),
    "damaged, or that of other parameters": lambda a: a.update({"0.1.exp_avg": np.ones(3)}),
    "damaged, or that of other": lambda a: a.update({"exp_avg": np.ones(3)}),
}


@pytest.mark.parametrize(
    ("message", "description", "tensors"),
    [(m, d, None) for m, d in DAMAGES.items()] + [(m, lambda d: None, t) for m, t in TENSORS.items()],
    ids=[*DAMAGES, *TENSORS],
)
def test_damaged_states_change_nothing(message, description, tensors, tmp_path):
    path = tmp_path / "state"
    good, bad = damaged(lambda d: None), damaged(description, tensors)
    optimizer = nd.optim.NAdam([{"params": np.zeros(3)}, {"params": np.zeros((2, 2))}], lr=0.3)
    before = repr(optimizer.state_dict())
    save_file(bad[0], path, bad[1])
    with pytest.raises(ValueError, match=message) as raised:
        optimizer.load(path)
    assert str(raised.value).startswith(str(path)) and repr(optimizer.state_dict()) == before
    save_file(good[0], path, good[1])
    optimizer.load(path)
    assert optimizer.steps == 1 and optimizer.param_groups[1]["frozen"]


def test_a_state_whose_options_need_another_rule():
    """No momentum in the options, beside the buffer of one."""
    optimizer = nd.optim.SGD(np.ones(3), lr=0.1, momentum=0.9)
    saved = nd.optim.SGD(np.ones(3), lr=0.1, momentum=0.9).state_dict()
    saved["groups"][0]["momentum"] = 0.0
    with pytest.raises(ValueError, match="state: group 0 has options with another rule"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_a_users_schedule_stays_what_it_is(tmp_path):
    optimizer = nd.optim.SGD(np.ones(3), lr=lambda step: 0.5)
    optimizer.save(tmp_path / "state")
    other = nd.optim.SGD(np.ones(3), lr=lambda step: 0.25)
    other.load(tmp_path / "state")
    assert other.param_groups[0]["lr"](0) == 0.25


@pytest.mark.parametrize("schedule", [s for s, _ in VALUES], ids=repr)
def test_schedules_through_json(schedule):
    assert schedules.from_json(json.loads(json.dumps(schedules.to_json(schedule)))) == schedule
