"""Outputs that are stored past the cache: the bits of those that are stored into it, from any first element on."""

import numpy as np
import pytest
from numbadl.kernels.cpu import pool

import numbadl as nd


def gradient_of_layer_norm(x, g, out):
    return nd.layer_norm.backward(g, x, g[0], nd.layer_norm(x, x.shape[1])[1], out=out)[0]


def gradient_of_group_norm(x, g, out):
    """Of runs of elements that share a weight: several pieces of a row are stored one after the other."""
    x, g, out = (a.reshape(len(a), 4, -1) for a in (x, g, out))
    return nd.group_norm.backward(g, x, g[0, :, 0].copy(), nd.group_norm(x, 2)[1], out=out)[0]


def in_step_with(out):
    """An array like *out* at the same place in a line: where outputs have different ones, none goes past the cache."""
    space = np.empty(out.size + 16, out.dtype)
    first = (out.ctypes.data - space.ctypes.data) % 64 // out.itemsize
    return space[first : first + out.size].reshape(out.shape)


OPERATIONS = {
    "relu": lambda x, g, out: nd.relu(x, out=out),
    "geglu.backward.x": lambda x, g, out: nd.geglu.backward(g, x, 2 * g - x, out=(out, in_step_with(out))),
    "geglu.backward.gate": lambda x, g, out: nd.geglu.backward(g, x, 2 * g - x, out=(in_step_with(out), out)),
    "geglu.backward.apart": lambda x, g, out: nd.geglu.backward(g, x, 2 * g - x, out=(np.empty_like(out), out)),
    "softmax": lambda x, g, out: nd.softmax(x, out=out),  # a stage keeps its values in scratch, of short rows
    "softmax.backward": lambda x, g, out: nd.softmax.backward(g, x, out=out),
    "log_softmax": lambda x, g, out: nd.log_softmax(x, out=out),
    "cross_entropy": lambda x, g, out: nd.losses.cross_entropy.value_and_grad(x, np.arange(len(x)) % 7, out=out)[1],
    "nll": lambda x, g, out: nd.losses.nll.value_and_grad(x, np.arange(len(x)) % 7, out=out)[1],
    "layer_norm": lambda x, g, out: nd.layer_norm(x, x.shape[1], g[0], g[1], out=out)[0],
    "group_norm": lambda x, g, out: nd.group_norm(x[..., None], 1, g[0], g[1], out=out[..., None])[0],
    "layer_norm.backward": gradient_of_layer_norm,
    "group_norm.backward": gradient_of_group_norm,
    "batch_norm": lambda x, g, out: nd.batch_norm(x, g[0], g[1], None, None, out=out)[0],
    "batch_norm.images": lambda x, g, out: nd.batch_norm(x[None], None, None, None, None, out=out[None])[0],
}


@pytest.mark.parametrize("shape", [(137, 1000), (5, 4200), (2, 8200)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_stores_past_the_cache_change_no_bit(name, shape, rng):
    size = shape[0] * shape[1]
    x, g = rng.normal(size=(2, *shape)).astype(np.float32)
    found = []
    for cache in (0, 1 << 50):
        for first in (0, 5):  # of a line of 16
            space = np.full(size + 32, 7, np.float32)
            out = space[first : first + size].reshape(shape)
            with pool.with_cache_size(cache):
                OPERATIONS[name](x, g, out)
            found.append(out)
            assert np.all(space[first + size :] == 7) and np.all(space[:first] == 7)
    assert all(np.array_equal(found[0], other) for other in found[1:]) and np.ptp(found[0]) > 0
