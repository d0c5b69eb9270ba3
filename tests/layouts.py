"""One array in every layout that an argument may have."""

import numpy as np


def views(x):
    """Name of a layout -> the same values in it."""
    wide = np.full((*x.shape, 2), 9, x.dtype)
    wide[..., 0] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    backwards = (slice(None, None, -1),) * x.ndim
    found = {
        "C": x.copy(), "F": np.array(x, order="F"), "strided": wide[..., 0], "read-only": frozen, "unaligned": shifted,
        "reversed": x[backwards].copy()[backwards],
    }  # fmt: skip
    if x.ndim > 2:
        found["channels last"] = np.moveaxis(np.array(np.moveaxis(x, 1, -1), order="C"), -1, 1)
    return found
