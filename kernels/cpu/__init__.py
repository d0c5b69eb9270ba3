"""Kernels on all CPU cores. ``kernel(name)`` builds one from its declaration; `ensure_started` starts the threads."""

import functools

from .. import shapes
from ..catalog import catalog
from . import (
    channel,
    column,
    gates,
    map,
    map_by_channel,
    matmul,
    norm,
    reduce,
    row,
    segments,
    steps,
    take,
    taps,
    window,
)
from .compile import building, cache_folder
from .pool import ensure_started, share_openmp

_BUILDERS = {
    shapes.Map: lambda spec: (map_by_channel if spec.by_channel else map).build(spec),
    shapes.Gates: gates.build,
    shapes.Steps: steps.build,
    shapes.Reduce: reduce.build,
    shapes.Row: row.build,
    shapes.Columns: column.build,
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
    with building(declaration):
        return _BUILDERS[type(declaration)](declaration)


@functools.cache
def kernel(name):
    """The kernel of that name in `numbadl.kernels.catalog`, or of a declaration."""
    return build(catalog()[name] if isinstance(name, str) else name)
