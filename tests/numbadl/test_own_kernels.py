"""Scalar functions inside a user's own compiled functions, in the forms that users write."""

import numpy as np
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


def test_every_activation_compiles_and_agrees_with_its_array_function():
    x = np.array([-2.5, 0.3, 4.0], np.float32)
    for name, function in nd.functional.FUNCTIONS.items():
        scalar = function.scalar
        compiled = njit(lambda v: scalar(v))  # noqa: B023
        assert [compiled(v) for v in x] == list(function(x)), name
