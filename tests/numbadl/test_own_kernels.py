"""Scalar functions inside a user's own compiled functions, in the forms that users write."""

import numpy as np
import pytest
from numba import njit, prange

import numbadl as nd
from numbadl import silu


@njit(parallel=True)
def gated(x, gate, out):
    for i in prange(x.size):
        out[i] = x[i] * nd.sigmoid.scalar(gate[i])


@njit
def derivative(x):
    return silu.scalar_derivative(x)


def test_the_example_of_the_readme():
    x, gate = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    out = np.empty_like(x)
    gated(x, gate, out)
    np.testing.assert_allclose(out, x / (1 + np.exp(-gate.astype(float))), rtol=3e-7)


def test_imported_by_name():
    expected = nd.silu.derivative(np.array([0.3], np.float32))[0]
    assert derivative(np.float32(0.3)) == expected
    assert derivative.nopython_signatures[0].return_type.name == "float32"


@pytest.mark.parametrize("name", [n for n, r in nd.ACTIVATIONS.items() if not r.random and not r.alternating])
def test_every_activation_compiles_and_agrees_with_its_array_function(name):
    function, x = getattr(nd, name), np.array([-2.5, 0.3, 4.0], np.float32)
    scalar, parameters = function.scalar, [np.float32(p.default) for p in function.record.parameters]
    compiled = njit(lambda v, *rest: scalar(v, *rest))
    np.testing.assert_array_equal([compiled(v, *parameters) for v in x], function(x))
