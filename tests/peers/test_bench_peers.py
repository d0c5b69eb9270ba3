"""Training steps of peers that only benchmarks call: their results are ours."""

import importlib.util

import numpy as np
import pytest

from numbadl import bench


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("keras", "jax")), reason="keras and jax are not installed"
)
def test_a_step_of_keras_is_ours_and_later_ones_have_dropout():
    case, peer = bench.CASES["network.64.default"], bench.peer("keras")
    work = case.prepare(*case.sizes, np.float32)
    steps = [case.theirs(peer, work) for _ in range(2)]
    for found in (step() for step in steps):
        assert np.abs(found - work.given[2]).max() > 5e-4  # a step of 1e-3 was taken
        work.compare(found)
    first, second = (step() for step in steps)
    assert first != second  # the losses, with the same weights before
    with pytest.raises(AssertionError):
        work.compare(work.given[2])
    assert bench.CASES["network.64.fused"].theirs(peer, work) is None
