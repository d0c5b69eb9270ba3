"""Scalar functions made of syntax trees, and the numbers, arguments and errors in these: for `translate` and `differentiate`."""

import ast
import functools
import hashlib
import inspect
import math
import operator
import types

import numpy as np

from ..digest import digest
from .language import scalar
from .source import file_of

PACKAGE = __package__.rpartition(".")[0] + "."
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_made = {}


class NotScalar(TypeError):
    """Something in a function that the scalar language does not have; the message names it and its line."""


def problem(fn, node, text):
    """The exception that names a function, and the line of a node in it."""
    return NotScalar(f"{fn.__name__} ({file_of(fn)}, line {node.lineno}): {text}")


def is_ours(fn):
    """Whether a function is one of this package's, scalar already."""
    return (getattr(fn, "__module__", None) or "").startswith(PACKAGE)


def make(definition, namespace, like, file):
    """A scalar function from its syntax tree and what it refers to; the same one for the same.

    Its name holds a digest of its source, which has those of the functions that it calls in it.
    """
    source = ast.unparse(ast.fix_missing_locations(definition))
    key = (like.__module__, source, tuple(sorted((name, id(value)) for name, value in namespace.items())))
    if key not in _made:
        module = like.__module__ if not is_ours(like) else "numbadl.made"  # `digest` looks inside what is not ours
        scope = {"__name__": module, **namespace}
        exec(compile(source, file, "exec"), scope)
        fn = scope[definition.name]
        fn.tree, fn.source, fn.namespace = definition, source, namespace
        fn.__qualname__ = f"{fn.__name__}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        _made[key] = scalar(fn)
    return _made[key]


def named(value, hint, taken, namespace):
    """A name for *value* in *namespace*, where it now stands: *hint*, with a number if that is taken."""
    name, count = hint, 1
    while name in taken or namespace.get(name, value) is not value:
        count += 1
        name = f"{hint}_{count}"
    namespace[name] = value
    return name


def parameters_of(fn):
    """Name -> default (``inspect.Parameter.empty`` if there is none) of the parameters of a function."""
    found = inspect.signature(fn).parameters.values()
    for p in found:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise NotScalar(f"{fn.__name__}: takes *{p.name}, accepted are parameters with names")
    return {p.name: p.default for p in found}


def bound_arguments(fn, node, defaults, problem):
    """The arguments of a call as nodes in the order of the parameters, *defaults*, filled up with those."""
    if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
        raise problem(node, "* and ** in a call are not supported")
    given = dict(zip(defaults, node.args, strict=False))
    given |= {k.arg: k.value for k in node.keywords}
    if len(node.args) > len(defaults) or set(given) - set(defaults):
        raise problem(node, f"{fn.__name__} takes {', '.join(defaults)}")
    found = []
    for name, default in defaults.items():
        if name not in given and not isinstance(default, (int, float)):
            raise problem(node, f"{fn.__name__} needs a value for {name}")
        found.append(given[name] if name in given else literal(default, node))
    return found


def literal(value, node):
    """The number *value* as a node; NaN and infinity as products that give them."""
    value = value.item() if isinstance(value, np.generic) else value
    if value != value:
        found = ast.BinOp(ast.Constant(math.inf), ast.Sub(), ast.Constant(math.inf))
    elif isinstance(value, bool) or value > 0 or (value == 0 and math.copysign(1, value) > 0):
        found = ast.Constant(value)
    else:
        found = ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.copy_location(found, node)


def number(node):
    """The number that a translated node is, made of literals only; else None."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, (int, float)) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = number(node.operand)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = number(node.left), number(node.right)
        try:
            return None if left is None or right is None else ARITHMETIC[type(node.op)](left, right)
        except (ArithmeticError, ValueError):
            return None
    return None


@functools.cache
def with_partials(fn, partials):
    """A copy of a translated function that brings its derivatives along, by each argument; None: not known."""
    names = [fn, *(p for p in partials if p is not None)]
    found = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    vars(found).update(vars(fn), partials=partials)
    found.__module__ = fn.__module__ if not is_ours(fn) else "numbadl.made"
    found.__qualname__ = f"{fn.__name__}_{digest(*names)[:8]}"
    return scalar(found)
