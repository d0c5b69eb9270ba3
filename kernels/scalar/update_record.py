"""The record of an optimiser's update: its rule, its state, its numbers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, eq=False)
class Update:
    """An optimiser's rule.

    Attributes
    ----------
    rule : scalar function (param, grad, *state, *values, *scalars) -> (param, *state), or (param,) with measure_writes
    state : name -> first value of each state buffer, which has the parameter's shape and dtype: a number, a function of
        the hyperparameters, or "param" for a copy of the parameter
    count : of scalars
    scalars : function (t, h, memory) -> values of the scalars: t counts a group's updates from 1, h are its
        hyperparameters as a dict, memory is a dict of numbers that lives as long as the state
    decoupled : whether the rule itself knows weight decay; if not, weight_decay times the parameter is added to the gradient
    values : number of values for each tensor, which a first pass over it finds
    measure : that pass: scalar function like the rule, -> (*state, *terms) if it writes state, else terms
    terms : their number
    measure_writes : whether it writes state
    scratch : names of arrays that take the last places among the state that rules see, and live for one step only
    factors : function (shape of the parameter) -> name -> shape of state that rules do not see
    finish : function (sums of the terms (tensors, terms), sizes, h, t) -> values (tensors, values), in float64
    """

    name: str
    rule: Callable
    state: dict
    count: int
    scalars: Callable
    hyperparameters: dict = field(default_factory=dict)
    formula: str = ""
    source: str = ""
    decoupled: bool = False
    values: int = 0
    measure: Callable | None = None
    terms: int = 0
    measure_writes: bool = False
    finish: Callable | None = None
    scratch: tuple = ()
    factors: Callable | None = None
