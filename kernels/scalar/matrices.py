"""Updates that need a tensor's shape: Adafactor and Muon.

Both find a direction for each matrix between the two passes of their rule (`numbadl.optim.matrices`): Adafactor divides the
gradient by the root of the product of its rows' and its columns' mean squares, Muon takes the nearest orthogonal matrix to
the momentum. The first pass writes what that starts from, the second one goes along it.
"""

import numpy as np

from ..shapes import Segments
from .language import scalar
from .math.power import rsqrt
from .update_record import Update


@scalar
def along(param, grad, direction, rate, decay):
    return (param * decay - rate * direction,)


# -- Adafactor -------------------------------------------------------------------------------------------------------
@scalar
def over_root(grad, square, floor):
    return grad * rsqrt(floor if square < floor else square)


@scalar
def adafactor_measure(param, grad, square, fresh, floor, decay):
    square = square + fresh * (grad * grad - square)
    update = over_root(grad, square, floor)
    return square, param * param, update * update


@scalar
def adafactor(param, grad, square, rate, fresh, floor, decay):
    return (param * decay - rate * over_root(grad, square, floor),)


@scalar
def adafactor_matrix_measure(param, grad, direction, decay):
    return grad, param * param


@scalar
def divided_by_root(grad, columns, row, floor):
    update = over_root(grad, row * columns, floor)
    return update, update * update


DIVIDED = Segments(
    "adafactor.divided", divided_by_root, 2, writes=(0,), values=1, scalars=1, terms=1
)  # segments are rows


def _adafactor(t, h, memory):
    return t ** h["beta2_decay"], h["eps"][0] ** 2, _decay(h)


def _decay(h):
    return 1 - h["lr"] * h["weight_decay"]


def adafactor_rate(sums, sizes, h, t):
    """The step's size: of the parameter's root mean square, and less where that of the update is above d."""
    param, update = np.sqrt(sums / np.maximum(sizes, 1)[:, None]).T
    rate = np.maximum(h["eps"][1], param) * min(h["lr"], t**-0.5)
    return (rate / np.maximum(1, update / h["d"]))[:, None]


def factors(shape):
    """Name -> shape of Adafactor's state for an array of two or more dimensions, of which the last two are factored."""
    return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}


# -- Muon ------------------------------------------------------------------------------------------------------------
@scalar
def muon_measure(param, grad, velocity, direction, fresh, direct, keep, decay):
    velocity = velocity + fresh * (grad - velocity)
    direction = direct * grad + keep * velocity
    return velocity, direction, direction * direction


@scalar
def muon(param, grad, velocity, direction, rate, fresh, direct, keep, decay):
    return (param * decay - rate * direction,)


def _muon(t, h, memory):
    direct = 1 - h["momentum"] if h["nesterov"] else 0.0
    return 1 - h["momentum"], direct, 1 - direct, _decay(h)


_ADAFACTOR = {"lr": 1e-2, "beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0, "weight_decay": 0.0}
_MUON = {
    "lr": 1e-3, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True, "ns_coefficients": (3.4445, -4.775, 2.0315),
    "eps": 1e-7, "ns_steps": 5, "adjust_lr_fn": None, "adam_lr": 1e-3, "adam_betas": (0.9, 0.95), "adam_eps": 1e-8,
}  # fmt: skip
_FORMULA = r"w \leftarrow w - \alpha_t\, u / \max(1, \mathrm{RMS}(u) / d),\ u = g / \sqrt{v}"
MATRICES = [
    Update(
        "adafactor", adafactor, {"variance": 0}, 3, _adafactor, _ADAFACTOR, _FORMULA, "Shazeer, Stern 2018",
        decoupled=True, values=1, measure=adafactor_measure, terms=2, measure_writes=True, finish=adafactor_rate,
    ),
    Update(
        "adafactor_matrix", along, {}, 1, lambda t, h, memory: (_decay(h),), _ADAFACTOR, _FORMULA, "Shazeer, Stern 2018",
        decoupled=True, values=1, measure=adafactor_matrix_measure, terms=1, measure_writes=True, finish=adafactor_rate,
        factors=factors, scratch=("direction",),
    ),
    Update(
        "muon", muon, {"momentum_buffer": 0}, 4, _muon, _MUON,
        r"v \leftarrow \mu v + (1 - \mu) g,\ w \leftarrow (1 - \eta\lambda) w - \eta' \mathrm{NS}(v)",
        "Jordan et al. 2024", decoupled=True, values=1, measure=muon_measure, terms=1, measure_writes=True,
        scratch=("direction",),
    ),
]  # fmt: skip
