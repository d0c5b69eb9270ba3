"""Arrays that share memory, layouts and values that functions write to or keep: refused, with nothing written."""

import math

import numpy as np
import pytest

import numbadl as nd
from numbadl.optim.lr_finder import _steepest


def test_weight_average_takes_arrays_that_it_can_exchange():
    base = np.arange(10.0)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    for wrong in (base[::2], np.asfortranarray(np.ones((2, 3))), frozen):
        with pytest.raises(ValueError, match=r"params.*writeable, C-contiguous"):
            nd.optim.WeightAverage([wrong])
    with pytest.raises(ValueError, match="params: got no arrays"):
        nd.optim.WeightAverage([])
    with pytest.raises(ValueError, match="params: the same array stands in two places"):
        nd.optim.WeightAverage([base, base])
    assert np.array_equal(base, np.arange(10.0))
    average = nd.optim.WeightAverage([base])
    average.update()
    kept = average.averages[0].copy()
    with pytest.raises(ValueError, match="updates"):
        average.load_state_dict({"mean.0": np.zeros(10)})
    assert np.array_equal(average.averages[0], kept)


def test_a_penalty_is_not_added_to_the_weights_themselves():
    base = np.array([1.0, -2.0, 3.0, 4.0])
    w, penalty = base[:3], nd.regularizers.L2(0.5)
    for out in (w, w[:], base[1:]):
        with pytest.raises(ValueError, match="out: may not share memory with w"):
            penalty.gradient(w, out=out)
        with pytest.raises(ValueError, match=r"grads\[0\]: shares memory with the parameter"):
            penalty.add_gradient(w, out)
    assert np.array_equal(base, [1, -2, 3, 4])


def test_the_gradient_of_a_residual_is_that_of_before_out_was_written(rng):
    op = nd.fuse_batch_norm(nd.relu, nd.stage.residual)
    x, residual, grad = rng.normal(size=(3, 6, 4)).astype(np.float32)
    weight = bias = None
    _, saved = op(x, weight, bias, None, None, residual)
    expected = op.backward(grad, x, weight, bias, saved, residual)
    for view in (lambda a: a, lambda a: a[:]):
        given = grad.copy()
        dx, *_, dresidual = op.backward(given, x, weight, bias, saved, residual, out=view(given))
        assert np.array_equal(dresidual, expected[-1]) and np.array_equal(dx, expected[0])


def test_gradients_that_are_written_may_not_overlap():
    g = np.array([3.0, 4.0])
    with pytest.raises(ValueError, match="grads: the same array stands in two places"):
        nd.clip_grad_norm_([g, g], 1.0)
    optimizer = nd.optim.SGD([np.ones(2), np.ones(2)], lr=0.1, zero_grad=True)
    with pytest.raises(ValueError, match="grads: the same array stands in two places"):
        optimizer.step([g, g])
    assert np.array_equal(g, [3, 4]) and np.array_equal(optimizer.param_groups[0]["params"][0], [1, 1])


def test_norms_of_huge_gradients():
    g = np.array([3e20, 4e20], np.float32)
    assert math.isclose(nd.clip_grad_norm_(g, 1.0), 5e20, rel_tol=1e-6)
    np.testing.assert_allclose(g, [0.6, 0.8], rtol=1e-6)


def test_learning_rates():
    optimizer = nd.optim.Muon([np.ones((2, 2)), np.ones(3)], lr=0.02)
    rates = [optimizer.learning_rate(p) for p in optimizer.param_groups[0]["params"]]
    assert rates == [0.02, optimizer.param_groups[0]["adam_lr"]]
    rates = [1e-4, 1e-3, 1e-2, 0.1, 1, 10]
    assert _steepest(rates, [5, 4, 1, 0.9, 0.8, math.nan]) == _steepest(rates[:-1], [5, 4, 1, 0.9, 0.8]) == 1e-3
    a, b = np.ones(2), np.ones(2)
    optimizer = nd.optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.1)
    for wrong in (math.nan, "x", -1):
        optimizer.param_groups[1]["lr"] = wrong
        with pytest.raises(ValueError, match="lr: got"):
            optimizer.step([np.ones(2), np.ones(2)])
    assert np.all(a == 1) and np.all(b == 1)
    with pytest.raises(ValueError, match=r"betas: got \(0"):
        nd.optim.ScheduleFreeAdamW(np.ones(2), lr=0.1, betas=(0, 0.9))


def test_nan_is_no_improvement():
    optimizer = nd.optim.SGD(np.ones(2), lr=0.1)
    plateau = nd.optim.schedules.ReduceOnPlateau(optimizer, patience=1)
    for _ in range(4):
        plateau.step(math.nan)
    assert optimizer.param_groups[0]["lr"] < 0.1
    with pytest.raises(TypeError, match="measure: got 'a'"):
        plateau.step("a")


@pytest.mark.parametrize(
    "call",
    [
        lambda: nd.uniform(4, 2, 1), lambda: nd.uniform(4, -3e38, 3e38), lambda: nd.uniform(4, 0, 1e39),
        lambda: nd.normal(4, std=-1), lambda: nd.normal(4, mean=1e39),
    ],
)  # fmt: skip
def test_fills_that_no_number_could_be(call):
    with pytest.raises(ValueError, match="low|high|std|mean"):
        call()


def test_what_was_not_saved_is_named():
    x = np.ones((4, 3))
    with pytest.raises(TypeError, match="saved: got None"):
        nd.batch_norm.backward(x, x, None, None)
    _, of_another = nd.rms_norm(x, 3)
    for wrong in (None, of_another):
        with pytest.raises(TypeError, match="saved: got .*layer_norm gave"):
            nd.layer_norm.backward(x, x, None, wrong)
    with pytest.raises(ValueError, match="p: got"):
        nd.alpha_dropout(x, np.array([0.5, 0.5]))
