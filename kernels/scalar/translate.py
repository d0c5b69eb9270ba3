"""A user's Python function as a scalar function of ours: the same formula, from what vectorises and stays float32.

What is translated: calls of `math`, NumPy and `scipy.special` (`equivalents.py`), activations of this library, min, max,
``np.where``, ``np.clip``, powers; calls of other functions, which are translated themselves; numbers that stand in
global or closure variables, as they are now; short loops over constant ranges, which are unrolled. Two formulas that
overflow on the way to a finite result are recognised: ``log(1 + exp(v))`` is softplus, ``1 / (1 + exp(-v))`` sigmoid.
"""

import ast
import copy
import inspect
import math
import types

import numpy as np

from .equivalents import equivalent, larger, log_to_base, maximum, minimum, smaller
from .language import ByType, Polynomial, scalar
from .made import NotScalar, bound_arguments, is_ours, literal, make, named, number, parameters_of, problem
from .math.exponential import exp, exp2
from .math.logarithm import log, log1p
from .math.logistic import sigmoid, softplus
from .math.power import pow, sqrt
from .records import Activation
from .source import file_of, scope_of, tree_of

UNROLLED = 64  # turns of a loop, those of loops inside it counted, up to which it is written out
LARGEST_POWER = 64  # above, x ** n is a call of `pow` and not a chain of products
_FLOATS = (float, np.float32, np.float64)
_MISSING = object()


def translate(fn, outer=()):
    """The scalar function that *fn* is; one of this package is itself.

    Raises
    ------
    NoSource : the source of *fn* cannot be read
    NotScalar : something in it is not of the scalar language
    """
    if hasattr(fn, "partials") or hasattr(fn, "tree") or is_ours(fn):
        return fn
    return _Translator(fn, outer).function()


def without_source(fn):
    """*fn* with its names pointing to our equivalents: what can be done for a function whose source cannot be read."""
    if fn.__code__.co_kwonlyargcount:
        raise NotScalar(f"{fn.__name__}: its source cannot be read, so it cannot have parameters after *")
    scope, names = dict(fn.__globals__), fn.__code__.co_names
    for name in (n for n in names if n in scope):
        value = scope[name]
        if isinstance(value, types.ModuleType):
            scope[name] = types.ModuleType("equivalents")
            found = {n: getattr(value, n) for n in names if hasattr(value, n)}
            vars(scope[name]).update({n: equivalent(v) or v for n, v in found.items()})
        elif type(value) is int:
            scope[name] = float(value)
        else:
            scope[name] = equivalent(value) or value
    found = types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__, fn.__closure__)
    found.__module__ = fn.__module__ if not is_ours(fn) else "numbadl.made"
    return scalar(found)


class _Translator(ast.NodeTransformer):
    def __init__(self, fn, outer):
        self.fn, self.outer, self.scope, self.namespace = fn, (*outer, fn), scope_of(fn), {}
        self.tree = tree_of(fn)
        self.locals = {n.arg for n in ast.walk(self.tree) if isinstance(n, ast.arg)}
        self.locals |= {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    def problem(self, node, text):
        return problem(self.fn, node, text)

    def function(self):
        names, definition = list(parameters_of(self.fn)), self.tree
        positions = [ast.arg(name) for name in names]
        body = self.statements(definition.body)
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]  # the docstring
        definition.args = ast.arguments([], positions, None, [], [], None, [])
        definition.body = body or [ast.Pass()]
        return make(definition, self.namespace, self.fn, file_of(self.fn))

    def statements(self, nodes):
        found = []
        for node in nodes:
            result = self.visit(node)
            found += result if isinstance(result, list) else [result]
        return found

    # -- what names stand for ------------------------------------------------------------------------------------
    def value(self, node):
        """The object that a global name, an attribute of one or an element of one is; `_MISSING` for anything else."""
        if isinstance(node, ast.Name):
            return _MISSING if node.id in self.locals else self.scope.get(node.id, _MISSING)
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            return _MISSING if base is _MISSING else getattr(base, node.attr, _MISSING)
        if isinstance(node, ast.Subscript):
            base, index = self.value(node.value), number(self.visit(copy.deepcopy(node.slice)))
            if (
                isinstance(base, (tuple, list, np.ndarray))
                and isinstance(index, int)
                and -len(base) <= index < len(base)
            ):
                return base[index]
        return _MISSING

    def refer(self, value, hint):
        """A name for *value* in the translation, as a node."""
        return ast.Name(named(value, hint, self.locals, self.namespace), ast.Load())

    def reference(self, node):
        """What an expression with a name that is not local becomes: a number, or a constant of both types."""
        found = self.value(node)
        text = ast.unparse(node)
        if found is _MISSING:
            raise self.problem(
                node, f"{text} is not known; accepted are the function's own variables, numbers and calls"
            )
        if isinstance(found, (bool, int, float, np.bool_, np.integer, np.floating)):
            return literal(found, node)
        if isinstance(found, ByType):
            return ast.copy_location(self.refer(found, text.rpartition(".")[2]), node)
        raise self.problem(node, f"{text} is {type(found).__name__}, accepted are numbers")

    def visit_Name(self, node):
        return node if isinstance(node.ctx, ast.Store) or node.id in self.locals else self.reference(node)

    def visit_Attribute(self, node):
        return self.reference(node)

    def visit_Subscript(self, node):
        return self.generic_visit(node) if self.value(node) is _MISSING else self.reference(node)

    # -- statements ----------------------------------------------------------------------------------------------
    def visit_FunctionDef(self, node):
        raise self.problem(node, "a function inside is not supported; define it outside")

    visit_Lambda = visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def visit_AnnAssign(self, node):
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return self.visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_If(self, node):
        node.test, node.body, node.orelse = (
            self.visit(node.test),
            self.statements(node.body),
            self.statements(node.orelse),
        )
        return node

    def visit_While(self, node):
        node.test, node.body, node.orelse = (
            self.visit(node.test),
            self.statements(node.body),
            self.statements(node.orelse),
        )
        return node

    def visit_For(self, node):
        turns = self.turns(node)
        if turns is None or not isinstance(node.target, ast.Name):
            node.iter, node.body, node.orelse = (
                self.iterable(node),
                self.statements(node.body),
                self.statements(node.orelse),
            )
            return node
        name, found = node.target.id, []
        for k in turns:
            body = [_Substitution(name, k).visit(copy.deepcopy(s)) for s in node.body]
            found += self.statements(body)
        own = {id(n) for n in ast.walk(node)}
        if turns and any(isinstance(n, ast.Name) and n.id == name and id(n) not in own for n in ast.walk(self.tree)):
            last = ast.Assign([ast.Name(name, ast.Store())], literal(turns[-1], node))
            found.append(ast.copy_location(last, node))
        return found or ast.copy_location(ast.Pass(), node)

    def iterable(self, node):
        if not (isinstance(node.iter, ast.Call) and self.value(node.iter.func) is range):
            raise self.problem(node, f"for over {ast.unparse(node.iter)} is not supported, accepted is range(...)")
        return self.visit(node.iter)

    def turns(self, node):
        """The range of a loop that is to be written out, else None."""
        call = self.iterable(copy.deepcopy(node))
        bounds = [number(a) for a in call.args]
        if not all(isinstance(b, int) for b in bounds) or call.keywords or node.orelse:
            return None
        inside = [n for s in node.body for n in ast.walk(s)]
        if any(isinstance(n, (ast.Break, ast.Continue)) for n in inside):
            return None
        if any(isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == node.target.id for n in inside):
            return None
        inner = math.prod(
            len(t) for n in inside if isinstance(n, ast.For) and (t := self._constant_range(n)) is not None
        )
        return range(*bounds) if len(range(*bounds)) * max(inner, 1) <= UNROLLED else None

    def _constant_range(self, node):
        try:
            bounds = [number(a) for a in self.iterable(copy.deepcopy(node)).args]
        except NotScalar:
            return None
        return range(*bounds) if all(isinstance(b, int) for b in bounds) else None

    # -- expressions ---------------------------------------------------------------------------------------------
    def visit_BinOp(self, node):
        node = self.generic_visit(node)
        if (value := number(node)) is not None:
            return literal(value, node)
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            node.left, node.right = _as_number(node.left), _as_number(node.right)
        if isinstance(node.op, ast.Pow):
            return self.power(node)
        if isinstance(node.op, ast.Div) and number(node.left) == 1 and (v := self.one_plus_exp(node.right)) is not None:
            return self.call(sigmoid, [_negative(v)], node)
        return node

    def power(self, node):
        base, exponent = number(node.left), number(node.right)
        if isinstance(exponent, int) and abs(exponent) <= LARGEST_POWER:
            return node
        if base == 2:
            return self.call(exp2, [node.right], node)
        if exponent == 0.5:
            return self.call(sqrt, [node.left], node)
        return self.call(pow, [node.left, node.right], node)

    def visit_Call(self, node):
        function = self.value(node.func)
        text = ast.unparse(node.func)
        if function is _MISSING:
            raise self.problem(node, f"{text} is not known")
        if function is range:
            node.args = [self.visit(a) for a in node.args]
            return node
        if function is len and len(node.args) == 1 and isinstance(found := self.value(node.args[0]), (tuple, list)):
            return literal(len(found), node)
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [ast.copy_location(ast.keyword(k.arg, self.visit(k.value)), k.value) for k in node.keywords]
        found = self.special(function, node)
        return self.plain_call(function, node, text) if found is None else found

    def special(self, function, node):
        """The translation of a call that is more than another name for a function; None for all others."""
        args, count = node.args, len(node.args)
        if node.keywords:
            return None
        if any(function is f for f in _FLOATS) and count == 1:
            return args[0]
        if (function is max or function is min) and count >= 2:
            for other in args[1:]:
                args[0] = self.call(larger if function is max else smaller, [args[0], other], node)
            return args[0]
        if function is np.where and count == 3:
            return ast.copy_location(ast.IfExp(*args), node)
        if function is np.clip and count == 3:
            return self.call(minimum, [self.call(maximum, args[:2], node), args[2]], node)
        if function is math.log and count == 2:
            return self.call(log_to_base, args, node)
        if equivalent(function) is pow and count == 2:
            return self.power(ast.copy_location(ast.BinOp(args[0], ast.Pow(), args[1]), node))
        return None

    def plain_call(self, function, node, text):
        record = getattr(function, "record", None)
        if isinstance(record, Activation):
            return self.call_of_record(record, node)
        function = getattr(function, "py_func", function)
        if (ours := equivalent(function)) is not None:
            function, constants = ours, [number(a) for a in node.args]
            if constants and None not in constants and not node.keywords:
                return literal(float(ours(*constants)), node)
        if function in (log, log1p) and len(node.args) == 1:
            inside = self.one_plus_exp(node.args[0]) if function is log else self.exponent(node.args[0])
            if inside is not None:
                return self.call(softplus, [inside], node)
        if isinstance(function, types.FunctionType):
            if function in self.outer:
                raise self.problem(node, f"{text} calls itself, which is not supported")
            defaults = parameters_of(function)
            return self.call(
                translate(function, self.outer), bound_arguments(function, node, defaults, self.problem), node
            )
        if isinstance(function, Polynomial) or (callable(function) and _known_to_numba(function)):
            if node.keywords:
                raise self.problem(node, f"{text} takes its arguments by position here")
            return self.call(function, node.args, node)
        raise self.problem(node, f"{text} is {type(function).__name__}, accepted are functions of one or more numbers")

    def call_of_record(self, record, node):
        if record.random or record.alternating:
            raise self.problem(node, f"{record.name} needs more than one number, and cannot be called here")
        first = next(iter(inspect.signature(record.forward).parameters))
        defaults = {first: inspect.Parameter.empty, **{p.name: p.default for p in record.parameters}}
        arguments = bound_arguments(record.forward, node, defaults, self.problem)
        return self.call(record.forward, arguments, node)

    def call(self, function, arguments, node):
        hint = getattr(function, "__qualname__" if hasattr(function, "tree") else "__name__", "polynomial")
        return ast.copy_location(ast.Call(self.refer(function, hint.rpartition(".")[2]), arguments, []), node)

    # -- formulas that overflow on the way -----------------------------------------------------------------------
    def exponent(self, node):
        """v if *node* is exp(v)."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and self.namespace.get(node.func.id) is exp:
            return node.args[0]
        return None

    def one_plus_exp(self, node):
        """v if *node* is 1 + exp(v)."""
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
            return None
        one, other = (node.left, node.right) if number(node.left) == 1 else (node.right, node.left)
        return self.exponent(other) if number(one) == 1 else None


class _Substitution(ast.NodeTransformer):
    def __init__(self, name, value):
        self.name, self.value = name, value

    def visit_Name(self, node):
        return literal(self.value, node) if node.id == self.name and isinstance(node.ctx, ast.Load) else node


def _negative(node):
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    return ast.copy_location(ast.UnaryOp(ast.USub(), node), node)


def _as_number(node):
    """A comparison as a factor, such as in ``x * (x > 0)``: 1 or 0 in the type of the others."""
    if isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        return ast.copy_location(ast.IfExp(node, ast.Constant(1), ast.Constant(0)), node)
    return node


def _known_to_numba(function):
    """Functions of Python, `math` and NumPy without an equivalent of ours: Numba compiles them, as calls of libm."""
    if function in (abs, int, round, bool):
        return True
    return isinstance(function, np.ufunc) or getattr(function, "__module__", None) in ("math", "numpy")
