"""Kernels on CUDA GPUs, and in numba's simulator. ``kernel(name)`` builds one from its declaration.

The modules are those of `numbadl.kernels.cpu`, and kernels take the same operands in the same order. Arrays are numba's
device arrays, or anything else with ``__cuda_array_interface__``. numba-cuda is imported with the first kernel or
the first array, and not before: this package itself can be imported where it is not installed.
"""

import functools

from .. import shapes
from ..catalog import catalog

_FROM_COMPILE = (
    "SIMULATOR", "as_device_array", "copy", "empty", "external_stream", "synchronize", "to_device", "to_host", "use_stream"
)  # fmt: skip


@functools.cache
def _builders():
    from . import channel, gates, map, map_by_channel, matmul, norm, reduce, row, segments, take, taps, window

    return {
        shapes.Map: lambda spec: (map_by_channel if spec.by_channel else map).build(spec),
        shapes.Gates: gates.build,
        shapes.Reduce: reduce.build,
        shapes.Row: row.build,
        shapes.Channel: channel.build,
        shapes.Sample: channel.build_sample,
        shapes.Norm: norm.build,
        shapes.Window: window.build,
        shapes.Taps: taps.build,
        shapes.Take: take.build,
        shapes.Matmul: matmul.build,
        shapes.Segments: segments.build,
    }


def build(declaration):
    """The kernel of a declaration from `numbadl.kernels.shapes`."""
    return _builders()[type(declaration)](declaration)


@functools.cache
def kernel(name):
    """The kernel of that name in `numbadl.kernels.catalog`, or of a declaration."""
    return build(catalog()[name] if isinstance(name, str) else name)


def is_available():
    """Whether kernels can run here: numba-cuda is installed and finds a GPU (or is a simulator); never raises."""
    try:
        from . import compile
    except Exception:  # not installed, or broken
        return False
    return compile.is_available()


def __getattr__(name):
    if name not in _FROM_COMPILE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import compile

    return getattr(compile, name)
