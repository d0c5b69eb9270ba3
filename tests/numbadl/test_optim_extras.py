"""What is fused around an optimiser's rule: clipping, penalties, means, accumulation, and steps that are refused."""

import math

import numpy as np
import optimizer_rules as rules
import pytest

import numbadl as nd
from numbadl.optim.tensors import Tensors

DTYPES = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
STEPS = 12


def tensors(rng, dtype=np.float32):
    """Parameters of mixed sizes and shapes, and gradients for some steps."""
    shapes = [(3, 4), (5,), (), (0,), (2, 1, 3)]
    params = [np.asarray(rng.normal(size=s), dtype) for s in shapes]
    return params, [[np.asarray(rng.normal(size=s), dtype) for s in shapes] for _ in range(STEPS)]


def copies(arrays):
    return [a.copy() for a in arrays]


def run(optimizer, params, gradients):
    optimizer.bind(params)
    for g in gradients:
        optimizer.step(g)
    return params


def adamw_by_hand(params, gradients, change, after=lambda w: w):
    """AdamW (lr 0.01) in float64, whose gradients are *change*d with all parameters in sight, tensor by tensor."""
    wide = [p.astype(np.float64) for p in params]
    m, v = ([np.zeros_like(p) for p in wide] for _ in range(2))
    for t, given in enumerate(gradients, 1):
        for k, g in enumerate(change([g.astype(np.float64) for g in given], wide)):
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.999 * v[k] + 0.001 * g * g
            step = m[k] / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
            wide[k] = after(wide[k] * (1 - 0.01 * 0.01) - 0.01 * step)
    return wide


def clipped_by_norm(given, largest):
    norm = math.sqrt(sum(float(np.sum(g * g)) for g in given))
    return [g * min(1.0, largest / (norm + 1e-6)) for g in given]


def soft(w, by):
    return np.sign(w) * np.maximum(np.abs(w) - by, 0)


EXTRAS = {
    "clip_norm": ({"clip_norm": 1.5}, lambda gs, ws: clipped_by_norm(gs, 1.5), None),
    "clip_norm, far": ({"clip_norm": 100.0}, lambda gs, ws: gs, None),
    "clip_norm_per_tensor": (
        {"clip_norm_per_tensor": 0.7},
        lambda gs, ws: [clipped_by_norm([g], 0.7)[0] for g in gs],
        None,
    ),
    "clip_value": ({"clip_value": 0.4}, lambda gs, ws: [np.clip(g, -0.4, 0.4) for g in gs], None),
    "l2": ({"l2": 0.3}, lambda gs, ws: [g + 0.6 * w for g, w in zip(gs, ws, strict=True)], None),
    "l1": ({"l1": 0.3}, lambda gs, ws: [g + 0.3 * np.sign(w) for g, w in zip(gs, ws, strict=True)], None),
    "proximal": ({"l1": 0.3, "proximal": True}, lambda gs, ws: gs, lambda w: soft(w, 0.003)),
    "all": (
        {"clip_value": 0.4, "l2": 0.1, "l1": 0.2, "maximize": True},
        lambda gs, ws: [-np.clip(g, -0.4, 0.4) + 0.2 * np.sign(w) + 0.2 * w for g, w in zip(gs, ws, strict=True)],
        None,
    ),
}


@DTYPES
@pytest.mark.parametrize("name", EXTRAS)
def test_gradients_are_changed_on_the_way(name, dtype, rng):
    options, change, after = EXTRAS[name]
    params, gradients = tensors(rng, dtype)
    wanted = adamw_by_hand(params, gradients, change, after or (lambda w: w))
    found = run(nd.optim.AdamW(lr=0.01, **options), params, gradients)
    for w, expected in zip(found, wanted, strict=True):
        tolerance = 1e-12 if dtype is np.float64 else 1e-5
        np.testing.assert_allclose(w, expected, rtol=tolerance, atol=tolerance)


def test_proximal_steps_give_exact_zeros(rng):
    """Least squares with an L1 penalty: features that do not matter get weight 0, and others the lasso's."""
    x = rng.normal(size=(200, 10))
    y = x[:, :2] @ [3.0, -2.0]
    w = rng.normal(size=10)
    optimizer = nd.optim.SGD(w, lr=0.1, l1=0.5, proximal=True)
    for _ in range(500):
        optimizer.step(x.T @ (x @ w - y) / 200)
    assert np.all(w[2:] == 0) and np.all(w[:2] != 0)
    residual = x.T @ (x @ w - y) / 200
    np.testing.assert_allclose(residual[:2], -0.5 * np.sign(w[:2]), atol=1e-10)  # the optimality of the lasso
    assert np.all(np.abs(residual[2:]) <= 0.5)


def test_extras_are_free_when_unused(rng):
    """The plain step has no kernel of its own beside its rule's."""
    from numbadl.kernels.scalar.extras import update_kernel
    from numbadl.kernels.scalar.updates import UPDATES

    assert update_kernel(UPDATES["adam"]) is not update_kernel(UPDATES["adam"], ("l1",))
    assert update_kernel(UPDATES["adam"]) is update_kernel(UPDATES["adamw"]) is update_kernel(UPDATES["radam"])
    assert update_kernel(UPDATES["adam"]).operand_count == 4


@pytest.mark.parametrize(
    ("name", "options", "launches"),
    [
        ("AdamW", {}, ["update.adam"]),
        ("AdamW", {"clip_norm": 1.0, "nonfinite": "raise"}, ["segments.squares", "update.adam"]),
        ("AdamW", {"ema_decay": 0.9, "zero_grad": True, "l2": 0.1}, ["update.adam+average+zero"]),
        ("LAMB", {}, ["measure.lamb", "update.lamb"]),
    ],
)
def test_one_launch_for_all_tensors(name, options, launches, monkeypatch, rng):
    """Or two, where norms are asked for."""
    seen, run = [], Tensors.run

    def recorded(self, spec, *rest, **more):
        seen.append(spec.name)
        return run(self, spec, *rest, **more)

    monkeypatch.setattr(Tensors, "run", recorded)
    params, gradients = tensors(rng)
    optimizer = getattr(nd.optim, name)(params, lr=0.1, **options)
    for g in gradients[:2]:
        optimizer.step(g)
    assert seen == launches * 2


def test_zeroing_the_gradient(rng):
    params, gradients = tensors(rng)
    plain = copies(params)
    run(nd.optim.AdamW(), plain, [copies(g) for g in gradients])
    run(nd.optim.AdamW(zero_grad=True), params, gradients)
    for a, b in zip(params, plain, strict=True):
        assert np.array_equal(a, b)
    assert not any(g.any() for step in gradients for g in step)
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"grads\[0\]: has to be a writeable"):
        nd.optim.SGD(np.zeros(3, np.float32), lr=0.1, zero_grad=True).step(frozen)


@DTYPES
def test_exponential_mean_of_weights(dtype, rng):
    params, gradients = tensors(rng, dtype)
    expected = [p.astype(np.float64) for p in params]
    optimizer = nd.optim.SGD(params, lr=0.1, ema_decay=0.8)
    for g in gradients:
        optimizer.step(g)
        expected = [0.8 * e + 0.2 * p for e, p in zip(expected, params, strict=True)]
    for mean, wanted in zip(optimizer.ema, expected, strict=True):
        np.testing.assert_allclose(mean, wanted, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)
    assert optimizer.state_bytes == sum(p.nbytes for p in params)
    weights, means = copies(params), copies(optimizer.ema)
    optimizer.swap_ema()
    assert all(np.array_equal(a, b) for a, b in zip(params, means, strict=True))
    with pytest.raises(RuntimeError, match=r"their exponential means: call swap_ema\(\) before the next step"):
        optimizer.step(gradients[0])
    assert all(np.array_equal(a, b) for a, b in zip(params, means, strict=True))
    again = nd.optim.SGD(copies(params), lr=0.1, ema_decay=0.8)
    again.load_state_dict(optimizer.state_dict())  # what was saved beside the means
    with pytest.raises(RuntimeError, match="call swap_ema"):
        again.step(gradients[0])
    again.swap_ema()
    assert again.step(gradients[0])
    optimizer.swap_ema()
    assert all(np.array_equal(a, b) for a, b in zip(params, weights, strict=True))
    with pytest.raises(RuntimeError, match="without ema_decay"):
        nd.optim.SGD(copies(params), lr=0.1).ema  # noqa: B018


def test_lookahead(rng):
    start, gradients = rng.normal(size=6), rng.normal(size=(STEPS, 6))
    w, fast, slow = start.copy(), start.copy(), start.copy()
    optimizer = nd.optim.SGD(w, lr=0.1, lookahead=5, lookahead_alpha=0.3)
    for t, g in enumerate(gradients, 1):
        optimizer.step(g)
        fast = fast - 0.1 * g
        if t % 5 == 0:
            fast = slow = slow + 0.3 * (fast - slow)
        np.testing.assert_allclose(w, fast, rtol=1e-13, atol=1e-14)


def test_weight_average(rng):
    w = rng.normal(size=(4, 3)).astype(np.float32)
    equal, fading, seen = nd.optim.WeightAverage(w), nd.optim.WeightAverage([w], decay=0.5), []
    for _ in range(5):
        w += rng.normal(size=w.shape).astype(np.float32)
        seen.append(w.astype(np.float64))
        equal.update()
        fading.update()
    np.testing.assert_allclose(equal.averages[0], np.mean(seen, axis=0), rtol=1e-5, atol=1e-6)
    expected = seen[0]
    for v in seen[1:]:
        expected = 0.5 * expected + 0.5 * v
    np.testing.assert_allclose(fading.averages[0], expected, rtol=1e-5, atol=1e-6)


def test_accumulated_gradients(rng):
    params, gradients = tensors(rng)
    plain = copies(params)
    optimizer = nd.optim.AdamW(params, gradient_accumulation_steps=3)
    updates = [optimizer.step(g) for g in gradients]
    assert updates == [False, False, True] * (STEPS // 3) and optimizer.steps == STEPS // 3
    other = nd.optim.AdamW(plain)
    for k in range(0, STEPS, 3):
        other.step([np.asarray((a + b + c) / 3, np.float32) for a, b, c in zip(*gradients[k : k + 3], strict=True)])
    for a, b in zip(params, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# -- gradients that are not finite -------------------------------------------------------------------------------------
def with_one(gradients, step, value):
    changed = [copies(g) for g in gradients]
    changed[step][4].flat[3] = value
    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_raise_names_the_parameter_and_changes_nothing(value, rng):
    params, gradients = tensors(rng)
    optimizer = nd.optim.NAdam(params, nonfinite="raise")
    gradients = with_one(gradients, 2, value)
    for g in gradients[:2]:
        optimizer.step(g)
    before, kept = optimizer.state_dict(), copies(params)
    with pytest.raises(FloatingPointError, match=r"NaN or infinity in that of params\[4\]; no parameter was changed"):
        optimizer.step(gradients[2])
    after = optimizer.state_dict()
    assert before["steps"] == after["steps"] == 2 and before["memory"] == after["memory"]
    for mine, theirs in zip(before["state"][0], after["state"][0], strict=True):
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert all(np.array_equal(a, b) for a, b in zip(params, kept, strict=True))


def test_skip_goes_on_as_if_the_step_had_not_been(rng):
    params, gradients = tensors(rng)
    plain = copies(params)
    optimizer = nd.optim.AdamW(params, nonfinite="skip")
    found = [optimizer.step(g) for g in with_one(gradients, 2, np.inf)]
    assert found == [True, True, False] + [True] * (STEPS - 3) and optimizer.steps == STEPS - 1
    run(nd.optim.AdamW(), plain, gradients[:2] + gradients[3:])
    assert all(np.array_equal(a, b) for a, b in zip(params, plain, strict=True))


@pytest.mark.parametrize("every", [1, 2])
def test_skip_zeroes_the_gradients_that_it_takes(every, rng):
    """No NaN is left for the sums of the next backward pass."""
    params, gradients = tensors(rng)
    optimizer = nd.optim.SGD(params, lr=0.1, nonfinite="skip", zero_grad=True, gradient_accumulation_steps=every)
    changed = with_one(gradients, 1, np.nan)
    found = [optimizer.step(g) for g in changed[:2]]
    assert found == [every == 1, False]
    assert not any(g.any() for g in changed[1])  # NaN counts as any
    kept = nd.optim.SGD(copies(params), lr=0.1, nonfinite="skip")
    assert not kept.step(with_one(gradients, 1, np.nan)[1]), "without zero_grad they stay"


def test_skip_drops_what_was_accumulated(rng):
    params, gradients = tensors(rng)
    plain = copies(params)
    optimizer = nd.optim.SGD(params, lr=0.1, nonfinite="skip", gradient_accumulation_steps=2)
    for g in with_one(gradients, 2, np.nan):
        optimizer.step(g)
    run(nd.optim.SGD(lr=0.1, gradient_accumulation_steps=2), plain, gradients[:2] + gradients[4:])
    assert all(np.array_equal(a, b) for a, b in zip(params, plain, strict=True))


def test_allow_lets_through(rng):
    params, gradients = tensors(rng)
    run(nd.optim.AdamW(), params, with_one(gradients, 2, np.nan))
    assert np.isnan(params[4].flat[3]) and np.isfinite(np.delete(params[4].ravel(), 3)).all()


def test_finite_gradients_whose_squares_are_not(rng):
    w = np.zeros(5, np.float32)
    optimizer = nd.optim.SGD(w, lr=1.0, nonfinite="raise", clip_norm=2.0)
    assert optimizer.step(np.array([3e30, 4e30, 0, 0, 0], np.float32))
    np.testing.assert_allclose(w, [-1.2, -1.6, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(optimizer.grad_norm, 5e30, rtol=1e-6)


@pytest.mark.parametrize("key", ["0.weight", "0.bias", "1.weight", "1.bias"])
@pytest.mark.parametrize("options", [{}, {"groups": [{"params": "*.bias", "l2": 0.1}]}])
def test_raise_names_the_parameter_of_a_model(key, options):
    model = nd.nn.Sequential(nd.nn.Linear(3, 4), nd.nn.Linear(4, 2))
    optimizer = nd.optim.AdamW(model, nonfinite="raise", **options)
    model.gradients()[key].flat[-1] = np.nan
    kept = model.flat_parameters.copy()
    with pytest.raises(FloatingPointError, match=rf"that of {key};"):
        optimizer.step()
    assert np.array_equal(model.flat_parameters, kept)


def test_loss_scale(rng):
    params, gradients = tensors(rng)
    plain = copies(params)
    optimizer, other = nd.optim.AdamW(params, clip_norm=0.5), nd.optim.AdamW(plain, clip_norm=0.5)
    for g in gradients:
        optimizer.step([np.asarray(a * np.float32(1024)) for a in g], loss_scale=1024.0)
        other.step(g)
        assert math.isclose(optimizer.grad_norm, other.grad_norm)
    assert all(np.array_equal(a, b) for a, b in zip(params, plain, strict=True))
    with pytest.raises(ValueError, match="loss_scale: got 0"):
        optimizer.step(gradients[0], loss_scale=0)


# -- groups, lists ------------------------------------------------------------------------------------------------------
def test_a_frozen_group(rng):
    a, b, (g, h) = np.ones(3), np.ones(4), rng.normal(size=(2, 4))
    optimizer = nd.optim.AdamW([{"params": a}, {"params": b, "frozen": True}], lr=0.1)
    optimizer.step([g[:3].copy(), None])
    optimizer.step([g[:3].copy(), h])
    assert np.all(b == 1)
    optimizer.param_groups[1]["frozen"] = False
    optimizer.step([g[:3].copy(), h])
    expected = next(rules.adamw(np.ones(4), [h], lr=0.1))  # its first update, whatever the others did
    np.testing.assert_allclose(b, expected, rtol=1e-13)
    with pytest.raises(TypeError, match=r"grads\[1\]: got NoneType"):
        optimizer.step([g[:3].copy(), None])


def test_groups_of_a_model(rng):
    model, plain = (nd.nn.Sequential(nd.nn.Linear(3, 4), nd.nn.Linear(4, 2), dtype=np.float64) for _ in range(2))
    start = {key: value.copy() for key, value in model.parameters().items()}
    optimizer = nd.optim.SGD(
        model,
        lr=0.1,
        weight_decay=0.2,
        groups=[{"params": "*.bias", "weight_decay": 0.0}, {"params": ["0.*"], "lr": 0.5}],
    )
    for value in model.gradients().values():
        value[...] = rng.normal(size=value.shape)
    for _ in range(2):  # the second takes what the first looked at
        before = {key: value.copy() for key, value in model.parameters().items()}
        optimizer.step()
        for key, value in model.parameters().items():
            lr, decay = (0.5 if key == "0.weight" else 0.1), (0.0 if "bias" in key else 0.2)
            expected = before[key] - lr * (model.gradients()[key] + decay * before[key])
            np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
    assert any(not np.array_equal(start[key], value) for key, value in model.parameters().items())
    with pytest.raises(ValueError, match=r"groups\[0\]: \['2\.\*'\] match none of"):
        nd.optim.SGD(plain, lr=0.1, groups=[{"params": "2.*"}])
    with pytest.raises(TypeError, match="groups: is for a model's parameters"):
        nd.optim.SGD(np.zeros(3), lr=0.1, groups=[{"params": "2.*"}])


def test_a_model_is_told_apart_for_norms(rng):
    """LAMB's and LARS' norms are those of each parameter, not of the flat buffer."""
    for name, arguments, rule in (("LAMB", {"lr": 0.1}, rules.lamb), ("LARS", {"lr": 3.0}, rules.lars)):
        model = nd.nn.Sequential(nd.nn.Linear(3, 4), nd.nn.Linear(4, 2))
        for value in model.gradients().values():
            value[...] = rng.normal(size=value.shape)
        expected = {
            key: next(rule(value.astype(np.float64), [model.gradients()[key].astype(np.float64)], **arguments))
            for key, value in model.parameters().items()
        }
        getattr(nd.optim, name)(model, **arguments).step()
        for key, value in model.parameters().items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6)


def test_lists_of_two_dtypes_and_many_sizes(on_threads, rng):
    """One call for all; what becomes of an element does not depend on the tensors around it."""
    sizes = [1, 70_000, 3, 8192, 8193, 20_000, 0, 17]
    starts = [rng.normal(size=n).astype([np.float32, np.float64][k == 2]) for k, n in enumerate(sizes)]
    gradients = [rng.normal(size=n).astype(s.dtype) for n, s in zip(sizes, starts, strict=True)]

    def step():
        mine = copies(starts)
        optimizer = nd.optim.NAdam(mine, lr=0.1)
        for _ in range(3):
            optimizer.step(gradients)
        return mine

    for found in on_threads(step):
        for w, start, g in zip(found, starts, gradients, strict=True):
            alone = start.copy()
            optimizer = nd.optim.NAdam(alone, lr=0.1)
            for _ in range(3):
                optimizer.step(g)
            assert w.tobytes() == alone.tobytes()


def test_norms_do_not_depend_on_threads(on_threads, rng):
    sizes = [70_000, 3, 100_001]
    starts, gradients = ([rng.normal(size=n).astype(np.float32) for n in sizes] for _ in range(2))

    def step():
        mine = copies(starts)
        optimizer = nd.optim.LAMB(mine, lr=0.1, clip_norm=1.0)
        optimizer.step(gradients)
        return optimizer.grad_norm, [w.tobytes() for w in mine]

    first, *others = on_threads(step)
    assert all(other == first for other in others)


def test_parameters_and_gradients_that_overlap():
    memory = np.zeros(10)
    with pytest.raises(ValueError, match="params: the same array stands in two places, or two of them overlap"):
        nd.optim.SGD([memory[:6], memory[5:]], lr=0.1)
    optimizer = nd.optim.SGD([memory[:5], memory[5:]], lr=0.1)
    with pytest.raises(ValueError, match=r"grads\[0\]: shares memory with a parameter"):
        optimizer.step([memory[5:], np.zeros(5)])
    with pytest.raises(ValueError, match=r"grads\[1\]: shares memory with a parameter"):
        optimizer.step([np.zeros(5), memory[1:6]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_norm": 0}, "clip_norm: got 0, accepted are numbers above 0"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "clip_value: got 1.0 beside clip_norm=1.0"),
        ({"nonfinite": "ignore"}, "nonfinite: got 'ignore', accepted are 'allow', 'skip', 'raise'"),
        ({"ema_decay": 1.0}, "ema_decay: got 1.0"),
        ({"lookahead": 0}, "lookahead: got 0"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: got 0"),
        ({"l1": -1.0}, "l1: got -1.0"),
        ({"proximal": True}, "proximal: needs an l1 above 0"),
        ({"maximize": "yes"}, "maximize: got 'yes', accepted are False, True"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        nd.optim.AdamW(np.zeros(3), **options)


def test_unknown_and_missing_options():
    with pytest.raises(TypeError, match=r"AdamW: got unknown options \['learning_rate'\], accepted are lr, betas, "):
        nd.optim.AdamW(np.zeros(3), learning_rate=0.1)
    with pytest.raises(TypeError, match="SGD: missing a required argument: 'lr'"):
        nd.optim.SGD(np.zeros(3))
    with pytest.raises(TypeError, match="base class"):
        nd.optim.Optimizer(np.zeros(3))


def test_options_that_need_other_state():
    w = np.zeros(3)
    optimizer = nd.optim.SGD(w, lr=0.1)
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(ValueError, match="param_groups: were changed to options that need other state"):
        optimizer.step(np.ones(3))
    assert not w.any()
