"""Scalar functions as ONNX graphs: a function's text is followed statement by statement, and each operation is a node.

Of an if whose condition is a tensor both branches are followed, and Where chooses. Elementary functions are the operators that
ONNX has, or are made of them (`ELEMENTARY`); a function that works on bits cannot be written so.
"""

import ast
import math
import operator

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..kernels.scalar import math as scalar_math
from ..kernels.scalar.equivalents import EQUIVALENTS
from ..kernels.scalar.intrinsics import fma
from ..kernels.scalar.language import ByType, Polynomial
from ..kernels.scalar.source import scope_of, tree_of


class NoGraph(TypeError):
    """A function has no ONNX graph; the message says what stands in the way."""


class Graph:
    """Nodes and constants, as they are added."""

    def __init__(self, dtype):
        self.dtype, self.nodes, self.initializers, self._count = np.dtype(dtype), [], [], 0
        self._constants = {}

    def name(self, kind):
        """A name that nothing has yet."""
        self._count += 1
        return f"{kind}_{self._count}"

    def add(self, kind, *inputs, outputs=1, **attributes):
        """A node of that operator; its output is a `Tensor`, several are a list."""
        names = ["" if i is None else self.tensor(i).name for i in inputs]
        made = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        found = [Tensor(self, name) for name in made]
        return found[0] if outputs == 1 else found

    def constant(self, value, dtype=None):
        """An array, or a number, of the graph's dtype unless another one is named."""
        array = np.ascontiguousarray(value, self.dtype if dtype is None else dtype).reshape(np.shape(value))
        key = array.tobytes(), array.shape, array.dtype.str
        if key not in self._constants:
            self._constants[key] = self.name("constant")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return Tensor(self, self._constants[key])

    def tensor(self, value):
        return value if isinstance(value, Tensor) else self.constant(value)


def _binary(kind, swapped=False):
    def method(self, other):
        if not isinstance(other, (Tensor, int, float, np.number)):
            return NotImplemented
        return self.graph.add(kind, *((other, self) if swapped else (self, other)))

    return method


class Tensor:
    """A tensor of a graph; arithmetic with it adds nodes."""

    def __init__(self, graph, name):
        self.graph, self.name = graph, name

    __add__, __sub__, __mul__, __truediv__, __pow__ = map(_binary, ("Add", "Sub", "Mul", "Div", "Pow"))
    __radd__, __rsub__, __rmul__, __rtruediv__ = (_binary(kind, True) for kind in ("Add", "Sub", "Mul", "Div"))
    __lt__, __le__, __gt__, __ge__ = map(_binary, ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"))
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self.graph.add("Equal", self, other)

    def __ne__(self, other):
        return self.graph.add("Not", self == other)

    def __neg__(self):
        return self.graph.add("Neg", self)

    def __abs__(self):
        return self.graph.add("Abs", self)

    def __bool__(self):
        raise NoGraph("a condition that a graph cannot have")


def _operator(kind):
    return lambda x: x.graph.add(kind, x)


_exp, _log, _tanh, _sin, _cos = map(_operator, ("Exp", "Log", "Tanh", "Sin", "Cos"))
_sigmoid, _softplus, _sqrt = map(_operator, ("Sigmoid", "Softplus", "Sqrt"))


def _in_float32(kind):
    """An operator that onnxruntime has in float32 only."""

    def apply(x):
        if x.graph.dtype == np.float32:
            return x.graph.add(kind, x)
        few, many = TensorProto.FLOAT, helper.np_dtype_to_tensor_dtype(x.graph.dtype)
        return x.graph.add("Cast", x.graph.add(kind, x.graph.add("Cast", x, to=few)), to=many)

    return apply


_erf, _atan = map(_in_float32, ("Erf", "Atan"))


def _normal_cdf(x):
    return 0.5 * (1 + _erf(x * math.sqrt(0.5)))


def _normal_pdf(x):
    return _exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def _gaussian(x):
    return _exp(-x * x)


def _expm1(x):
    """tanh(x/2) (e^x + 1), which is right for small x, too."""
    return _tanh(0.5 * x) * (_exp(x) + 1)


def _at_most(limit, x):
    return x.graph.add("Min", x, float(limit.of(x.graph.dtype.type)))


def _sin_of_sum(x, low):
    return _sin(x) + low * _cos(x)


# What is given in two parts has a rest of 0: a graph's operators round as they like.
ELEMENTARY = {
    "exp": _exp, "exp_to_1": _exp, "exp2": lambda x: _exp(x * math.log(2)), "expm1": _expm1, "log": _log,
    "short_expm1": _expm1, "short_tanh": _tanh, "short_sigmoid": _sigmoid,
    "exp_scaled": lambda x: _exp(x + 64 * math.log(2)), "exp_scaled_in_two_parts": lambda x: (_exp(x + 64 * math.log(2)), 0.0),
    "expm1_and_exp_scaled": lambda x: (_expm1(x), 0.0, _exp(x + 64 * math.log(2))),
    "one_plus_exp_lowered": lambda x: _exp(_at_most(scalar_math.EXP_LOWERED_HIGHEST, x) - 64 * math.log(2)) + 2.0**-64,
    "log2": lambda x: _log(x) * (1 / math.log(2)), "log1p": lambda x: _log(1 + x),
    "sinh": _operator("Sinh"), "cosh": _operator("Cosh"), "tanh": _tanh, "tanh_squared": lambda x: _tanh(x) * _tanh(x),
    "sech2": lambda x: 4 * _sigmoid(2 * x) * _sigmoid(-2 * x), "sigmoid": _sigmoid,
    "softplus": _softplus, "log_sigmoid": lambda x: -_softplus(-x),
    "softplus_and_exp_scaled": lambda x: (_softplus(x), _exp(-abs(x) + 64 * math.log(2))),
    "log_cosh": lambda x: abs(x) + _softplus(-2 * abs(x)) - math.log(2),
    "sqrt": _sqrt, "rsqrt": lambda x: 1 / _sqrt(x), "pow": lambda x, y: x.graph.add("Pow", x, y),
    "erf": _erf, "erfc": lambda x: 1 - _erf(x), "normal_cdf": _normal_cdf, "normal_pdf": _normal_pdf,
    "x_normal_cdf": lambda x: x * _normal_cdf(x),
    "x_normal_cdf_derivative": lambda x: _normal_cdf(x) + x * _normal_pdf(x),
    "gaussian": _gaussian, "x_gaussian": lambda x: x * _gaussian(x), "atan": _atan, "sin": _sin, "cos": _cos,
    "sin_and_cos": lambda x: (_sin(x), 0.0, _cos(x), 0.0),
    "sin_squared": lambda x, low: (_sin_of_sum(x, low) * _sin_of_sum(x, low), 0.0),
    "one_plus_sin": lambda x, low: 1 + _sin_of_sum(x, low),
}  # fmt: skip
_OF_NUMBERS = {getattr(scalar_math, name): fn for name, fn in ELEMENTARY.items()}
_ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARED = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def graph_of(graph, fn, *values):
    """The tensor (or a tuple) that a scalar function gives for tensors and numbers.

    Raises
    ------
    NoGraph : something in it has no operator
    """
    if fn in _OF_NUMBERS:
        return _OF_NUMBERS[fn](*values)
    try:
        return _Follower(graph, fn).call(values)
    except (RecursionError, TypeError, KeyError) as error:
        if isinstance(error, NoGraph):
            raise
        raise NoGraph(f"{fn.__name__}: {error}") from None


class _Follower:
    """Follows one call of one function."""

    def __init__(self, graph, fn):
        fn = getattr(fn, "body", fn)
        self.graph, self.fn, self.scope = graph, fn, scope_of(fn)

    def call(self, values):
        definition = tree_of(self.fn)
        given, names = definition.args, [a.arg for a in definition.args.args]
        known = dict(zip(names, values, strict=False))
        if given.vararg:
            known[given.vararg.arg] = tuple(values[len(names) :])
        defaults = self.fn.__defaults__ or ()
        known = {**dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)), **known}
        return self._block(definition.body, known)

    def _block(self, statements, known):
        """What the first return that is reached gives."""
        for position, statement in enumerate(statements):
            if isinstance(statement, ast.Return):
                return self._value(statement.value, known)
            if isinstance(statement, ast.If):
                rest = statements[position + 1 :]
                condition = self._value(statement.test, known)
                if not isinstance(condition, Tensor):
                    return self._block([*(statement.body if condition else statement.orelse), *rest], known)
                return self._choice(
                    condition,
                    *(self._block([*branch, *rest], dict(known)) for branch in (statement.body, statement.orelse)),
                )
            if isinstance(statement, ast.For):
                for turn in self._value(statement.iter, known):
                    self._assign(statement.target, turn, known)
                    self._steps(statement.body, known)
            else:
                self._steps([statement], known)
        raise NoGraph(f"{self.fn.__name__}: a way through it returns nothing")

    def _steps(self, statements, known):
        for statement in statements:
            if isinstance(statement, ast.Assign):
                value = self._value(statement.value, known)
                for target in statement.targets:
                    self._assign(target, value, known)
            elif isinstance(statement, ast.AugAssign):
                old = known[statement.target.id]
                known[statement.target.id] = _ARITHMETIC[type(statement.op)](old, self._value(statement.value, known))
            elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                raise self._problem(statement)

    def _assign(self, target, value, known):
        if isinstance(target, ast.Tuple):
            for part, one in zip(target.elts, value, strict=True):
                self._assign(part, one, known)
        elif isinstance(target, ast.Name):
            known[target.id] = value
        else:
            raise self._problem(target)

    def _choice(self, condition, a, b):
        if isinstance(a, tuple):
            return tuple(self._choice(condition, *pair) for pair in zip(a, b, strict=True))
        return self.graph.add("Where", condition, a, b)

    def _problem(self, node):
        return NoGraph(f"{self.fn.__name__}: {ast.unparse(node)} has no ONNX operator")

    def _number(self, value):
        """A constant as a number of the graph's type; of functions that of float64, which is a formula of one piece."""
        if type(value) is not ByType:
            return value
        return value.float64 if callable(value.float64) else value.of(self.graph.dtype.type)

    # -- expressions -----------------------------------------------------------------------------------------------
    def _value(self, node, known):
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise self._problem(node)
        return method(node, known)

    def _constant(self, node, known):
        return node.value

    def _name(self, node, known):
        if node.id in known:
            return known[node.id]
        return self._number(self.scope[node.id])

    def _attribute(self, node, known):
        return getattr(self._value(node.value, known), node.attr)

    def _tuple(self, node, known):
        found = []
        for part in node.elts:
            if isinstance(part, ast.Starred):
                found += self._value(part.value, known)
            else:
                found.append(self._value(part, known))
        return tuple(found)

    def _subscript(self, node, known):
        return self._value(node.value, known)[self._value(node.slice, known)]

    def _slice(self, node, known):
        return slice(*(part and self._value(part, known) for part in (node.lower, node.upper, node.step)))

    def _binop(self, node, known):
        if type(node.op) not in _ARITHMETIC:
            raise self._problem(node)
        left, right = self._value(node.left, known), self._value(node.right, known)
        if isinstance(node.op, ast.Pow) and isinstance(left, Tensor) and right == 2:
            return left * left
        return _ARITHMETIC[type(node.op)](left, right)

    def _unaryop(self, node, known):
        value = self._value(node.operand, known)
        if isinstance(node.op, ast.Not):
            return self.graph.add("Not", value) if isinstance(value, Tensor) else not value
        return -value if isinstance(node.op, ast.USub) else value

    def _compare(self, node, known):
        left, found = self._value(node.left, known), True
        for kind, other in zip(node.ops, node.comparators, strict=True):
            right = self._value(other, known)
            found = self._both(found, _COMPARED[type(kind)](left, right))
            left = right
        return found

    def _both(self, a, b):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return self.graph.add("And", a, b)
        return (a and b) if not isinstance(a, Tensor) else (b and a)

    def _boolop(self, node, known):
        values = [self._value(v, known) for v in node.values]
        tensors = [v for v in values if isinstance(v, Tensor)]
        decided = isinstance(node.op, ast.Or)
        if any(v is not None and not isinstance(v, Tensor) and bool(v) == decided for v in values):
            return decided
        if not tensors:
            return not decided
        found = tensors[0]
        for other in tensors[1:]:
            found = self.graph.add("Or" if decided else "And", found, other)
        return found

    def _ifexp(self, node, known):
        condition = self._value(node.test, known)
        if not isinstance(condition, Tensor):
            return self._value(node.body if condition else node.orelse, known)
        return self._choice(condition, self._value(node.body, known), self._value(node.orelse, known))

    def _call(self, node, known):
        function = self._called(node.func, known)
        values = list(self._tuple(ast.Tuple(node.args), known))
        if node.keywords:
            raise self._problem(node)
        if isinstance(function, (int, float)):  # a `ByType` of numbers, called for the type of its argument
            return function
        if isinstance(function, Polynomial):
            total = 0.0
            for c in reversed(function.of(self.graph.dtype.type)):
                total = total * values[0] + float(c)
            return total
        if function is fma:
            return values[0] * values[1] + values[2]
        tensors = any(isinstance(v, Tensor) for v in values)
        if function in (abs, range, min, max, len) and not (function in (min, max) and tensors):
            return function(*values)
        function = EQUIVALENTS.get(function, function)
        if not tensors:
            return function(*map(self.graph.dtype.type, values))
        if function in (min, max):
            return self.graph.add(function.__name__.capitalize(), *values)
        if function in _OF_NUMBERS:
            return _OF_NUMBERS[function](*(self.graph.tensor(v) for v in values))
        if not hasattr(function, "__code__"):
            raise self._problem(node)
        return _Follower(self.graph, function).call(values)

    def _called(self, node, known):
        found = self._value(node, known)
        return getattr(found, "scalar", found)
