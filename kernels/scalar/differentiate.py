"""Automatic differentiation of scalar functions, in forward mode: from a function's syntax tree the one of its derivative.

Beside every variable v that depends on the argument stands d_v, its derivative, which is computed just before it; the
rules of `derivatives.py` give those of elementary functions. Control flow stays as it is, so the result is the
derivative of the branch that is taken, also at a kink. It is a scalar function again, and vectorises as one.
"""

import ast
import copy
import functools

from .derivatives import NAMES, RULES, known_partials
from .made import is_ours, make, named, number, parameters_of, problem
from .source import file_of, scope_of, tree_of
from .translate import translate

ACCEPTED = (
    "accepted are assignments, if and else, for over a range with constant bounds, return, + - * / **, comparisons,"
    " conditional expressions, and calls of elementary functions, activations and functions made of these;"
    " or give derivative="
)


def derivative_of(fn, argument=0):
    """The scalar function, of the same arguments, that is the derivative of a scalar function by one of them.

    Parameters
    ----------
    fn : Python function of one or more numbers
    argument : int, the position of the one to differentiate by

    Raises
    ------
    NoSource : the source of *fn*, or of a function that it calls, cannot be read
    NotScalar : something in it has no derivative here; the message names it and its line

    Examples
    --------
    >>> from numbadl.kernels.scalar.math import exp
    >>> def bump(x, width):
    ...     return exp(-((x / width) ** 2))
    >>> slope = derivative_of(bump)
    >>> float(slope(1.0, 2.0) / bump(1.0, 2.0))
    -0.5
    """
    return _derivative_of(translate(fn), argument)


@functools.cache
def _derivative_of(fn, argument):
    return _Differentiator(_calling(fn) if fn in RULES else fn, argument).function()


def _calling(fn):
    """A scalar function that only calls an elementary one, whose own text is not to be differentiated: a rule stands for it."""
    arguments = ", ".join(parameters_of(fn))
    text = f"def {fn.__name__}({arguments}):\n return elementary({arguments})"
    return make(ast.parse(text).body[0], {"elementary": fn}, fn, file_of(fn))


def _is_name(text):
    return text.isidentifier() or text.replace(".", "", 1).isdigit()


def _operand(text):
    return text if _is_name(text) else f"({text})"


# A derivative is an expression as text; "1" and None, which is 0, are left out of products and sums.
def _times(a, b):
    if a is None or b is None:
        return None
    if a == "1" or b == "1":
        return b if a == "1" else a
    return f"{_operand(a)} * {_operand(b)}"


def _plus(a, b):
    if a is None or b is None:
        return b if a is None else a
    return f"{_operand(a)} + {_operand(b)}"


def _minus(a):
    return None if a is None else f"-{_operand(a)}"


class _Differentiator:
    """Writes the derivative of one function line by line; an expression is a pair of texts, its value and its derivative."""

    def __init__(self, fn, argument):
        self.fn, self.tree = fn, tree_of(fn)
        self.scope = getattr(fn, "namespace", None) or scope_of(fn)
        self.arguments = list(parameters_of(fn))
        self.argument = self.arguments[argument]
        self.namespace, self.lines, self.depth, self.temporaries = {}, [], 1, 0
        self.stored = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.taken = self.stored | set(self.arguments)
        self.active = self._depends()
        self.changes = {}  # variable -> the name of its derivative
        for name in sorted(self.active):
            self.changes[name] = self.unused(f"d_{name}")

    def problem(self, node, text):
        return problem(self.fn, node, f"{text} cannot be differentiated; {ACCEPTED}")

    def function(self):
        for name in self.arguments:
            if name in self.active and name in self.stored:
                self.emit(f"{self.changes[name]} = {1 if name == self.argument else 0}")
        for node in self.tree.body:
            self.statement(node)
        name = f"{self.fn.__name__}_by_{self.argument}"
        text = f"def {name}({', '.join(self.arguments)}):\n" + "\n".join(self.lines)
        return make(ast.parse(text).body[0], self.namespace, self.fn, file_of(self.fn))

    # -- what depends on the argument -----------------------------------------------------------------------------
    def _depends(self):
        """Names of all variables that may depend on the argument."""
        self.active, before = {self.argument}, 0
        while before != len(self.active):
            before = len(self.active)
            for node in ast.walk(self.tree):
                if isinstance(node, (ast.Assign, ast.AugAssign)) and self.depends(node.value):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    self.active |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        return self.active

    def depends(self, node):
        if isinstance(node, ast.Name):
            return node.id in self.active
        if isinstance(node, ast.Compare):
            return False
        if isinstance(node, ast.IfExp):
            return self.depends(node.body) or self.depends(node.orelse)
        return any(self.depends(child) for child in ast.iter_child_nodes(node))

    # -- writing ----------------------------------------------------------------------------------------------------
    def emit(self, text):
        self.lines.append("    " * self.depth + text)

    def block(self, nodes):
        self.depth += 1
        before = len(self.lines)
        for node in nodes:
            self.statement(node)
        if len(self.lines) == before:
            self.emit("pass")
        self.depth -= 1

    def unused(self, name):
        while name in self.taken or name in self.namespace or name in self.scope:
            name += "_"
        self.taken.add(name)
        return name

    def new(self, prefix="t"):
        self.temporaries += 1
        return self.unused(f"{prefix}{self.temporaries}")

    def held(self, text):
        """*text*, or the name of a new variable that holds its value."""
        if text is None or _is_name(text):
            return text
        name = self.new()
        self.emit(f"{name} = {text}")
        return name

    def refer(self, value, hint):
        return named(value, hint, self.taken, self.namespace)

    def text(self, node):
        """An expression as it is: its names are taken over."""
        node = copy.deepcopy(node)
        for n in ast.walk(node):
            if (
                isinstance(n, ast.Name)
                and n.id not in self.arguments
                and n.id not in self.stored
                and n.id in self.scope
            ):
                n.id = self.refer(self.scope[n.id], n.id)
        return ast.unparse(node)

    # -- statements -------------------------------------------------------------------------------------------------
    def statement(self, node):
        kind = type(node).__name__
        found = getattr(self, f"on_{kind}", None)
        if found is None:
            raise self.problem(node, _WORDS.get(kind, kind.lower()))
        found(node)

    def on_Assign(self, node):
        if len(node.targets) > 1:
            raise self.problem(node, "an assignment to several targets")
        (target,) = node.targets
        if isinstance(target, ast.Name):
            self.assign(target.id, *self.expression(node.value))
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = [[self.copied(part) for part in self.expression(e)] for e in node.value.elts]
            for name, (value, change) in zip(target.elts, pairs, strict=True):
                self.assign(name.id, value, change)
        else:
            raise self.problem(node, f"an assignment to {ast.unparse(target)}")

    def copied(self, text):
        """A variable of its own for *text*, which then may change."""
        if text is None:
            return None
        name = self.new()
        self.emit(f"{name} = {text}")
        return name

    def on_AugAssign(self, node):
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        self.assign(node.target.id, *self.expression(ast.fix_missing_locations(ast.copy_location(value, node))))

    def assign(self, name, value, change):
        if name in self.active:
            self.emit(f"{self.changes[name]} = {change or 0}")
        self.emit(f"{name} = {value}")

    def on_Return(self, node):
        if node.value is None:
            raise self.problem(node, "a return without a value")
        self.emit(f"return {self.expression(node.value)[1] or 0}")

    def on_If(self, node):
        self.emit(f"if {self.text(node.test)}:")
        self.block(node.body)
        if node.orelse:
            self.emit("else:")
            self.block(node.orelse)

    def on_For(self, node):
        if node.orelse or not isinstance(node.target, ast.Name):
            raise self.problem(node, "for with else, or with several targets,")
        if not all(isinstance(number(a), int) for a in node.iter.args):
            raise self.problem(node, f"for over {ast.unparse(node.iter)}, whose bounds are not constant,")
        self.emit(f"for {node.target.id} in {self.text(node.iter)}:")
        self.block(node.body)

    def on_Pass(self, node):
        pass

    def on_Break(self, node):
        self.emit("break")

    def on_Continue(self, node):
        self.emit("continue")

    def on_Expr(self, node):
        if not isinstance(node.value, ast.Constant):  # a docstring
            raise self.problem(node, f"the statement {ast.unparse(node)}")

    # -- expressions ------------------------------------------------------------------------------------------------
    def expression(self, node):
        """The texts of the value and of the derivative of an expression; what they need is written before."""
        if not self.depends(node):
            return self.text(node), None
        found = getattr(self, f"of_{type(node).__name__}", None)
        if found is None:
            raise self.problem(node, ast.unparse(node))
        return found(node)

    def of_Name(self, node):
        return node.id, "1" if node.id == self.argument and node.id not in self.stored else self.changes[node.id]

    def of_UnaryOp(self, node):
        value, change = self.expression(node.operand)
        if isinstance(node.op, ast.USub):
            return f"-{_operand(value)}", _minus(change)
        if isinstance(node.op, ast.UAdd):
            return value, change
        raise self.problem(node, ast.unparse(node))

    def of_BinOp(self, node):
        found = getattr(self, f"of_{type(node.op).__name__}", None)
        if found is None:
            raise self.problem(node, f"{ast.unparse(node)} ({type(node.op).__name__})")
        if isinstance(node.op, ast.Pow):
            return self.of_Pow(node)
        return found(*self.expression(node.left), *self.expression(node.right))

    def of_Add(self, a, da, b, db):
        return f"{_operand(a)} + {_operand(b)}", _plus(da, db)

    def of_Sub(self, a, da, b, db):
        change = da if db is None else _minus(db) if da is None else f"{_operand(da)} - {_operand(db)}"
        return f"{_operand(a)} - {_operand(b)}", change

    def of_Mult(self, a, da, b, db):
        a, b = self.held(a) if db else a, self.held(b) if da else b
        return f"{_operand(a)} * {_operand(b)}", _plus(_times(da, b), _times(a, db))

    def of_Div(self, a, da, b, db):
        b = self.held(b)
        quotient = f"{_operand(a)} / {_operand(b)}"
        if db is None:
            return quotient, f"{_operand(da)} / {_operand(b)}"
        quotient = self.held(quotient)
        change = _times(quotient, db)
        change = _minus(change) if da is None else f"{_operand(da)} - {_operand(change)}"
        return quotient, f"{_operand(change)} / {_operand(b)}"

    def of_Pow(self, node):
        n = number(node.right)
        if not isinstance(n, int):
            raise self.problem(node, ast.unparse(node))
        a, da = self.expression(node.left)
        if n in (0, 1):
            return ("1.0", None) if n == 0 else (a, da)
        a = self.held(a)
        slope = f"{n} * {_operand(a)}" if n == 2 else f"{n} * {_operand(a)} ** {n - 1}"
        return f"{_operand(a)} ** {n}", _times(slope, da)

    def of_IfExp(self, node):
        value, change = self.new(), self.new("d_t")
        self.emit(f"if {self.text(node.test)}:")
        self.branch(node.body, value, change)
        self.emit("else:")
        self.branch(node.orelse, value, change)
        return value, change

    def branch(self, node, value, change):
        self.depth += 1
        texts = self.expression(node)
        self.emit(f"{value} = {texts[0]}")
        self.emit(f"{change} = {texts[1] or 0}")
        self.depth -= 1

    def of_Call(self, node):
        name = ast.unparse(node.func)
        function = None if name in self.stored else self.scope.get(name)
        if function is None or node.keywords:
            raise self.problem(node, f"the call {ast.unparse(node)}")
        pairs = [(self.held(value), self.held(change)) for value, change in map(self.expression, node.args)]
        values = [value for value, _ in pairs]
        value = f"{self.refer(function, name)}({', '.join(values)})"
        if function in RULES:
            value, partials = self.by_rule(function, value, pairs)
        else:
            partials = [self.by_function(node, function, k, values) if d else None for k, (_, d) in enumerate(pairs)]
        total = None
        for partial, (_, change) in zip(partials, pairs, strict=True):
            total = _plus(total, _times(partial, change))
        return value, total

    def by_rule(self, function, value, pairs):
        trees = [
            ast.parse(rule, mode="eval").body if d else None
            for rule, (_, d) in zip(RULES[function], pairs, strict=True)
        ]
        used = {n.id for tree in trees if tree for n in ast.walk(tree) if isinstance(n, ast.Name)}
        if "y" in used:
            value = self.held(value)
        known = {**{letter: text for letter, (text, _) in zip("abc", pairs, strict=False)}, "y": value}
        return value, [tree and self.from_rule(tree, known) for tree in trees]

    def from_rule(self, tree, known):
        if isinstance(tree, ast.Constant):
            return str(tree.value) if tree.value else None
        for n in ast.walk(tree):
            if isinstance(n, ast.Name):
                n.id = known[n.id] if n.id in known else self.refer(NAMES[n.id], n.id)
        return ast.unparse(tree)

    def by_function(self, node, function, k, values):
        """The partial derivative of a call by its argument k: a function of the same arguments, called."""
        partials = known_partials(function)
        partial = partials[k] if partials else None
        if partial is None:
            if hasattr(function, "body") or not (hasattr(function, "tree") or is_ours(function)):
                raise self.problem(node, f"{ast.unparse(node.func)}, a function without a rule,")
            partial = _derivative_of(function, k)
        hint = partial.__qualname__ if hasattr(partial, "tree") else partial.__name__
        return f"{self.refer(partial, hint.rpartition('.')[2])}({', '.join(values)})"


_WORDS = {"While": "a while loop", "Try": "try", "With": "with", "Assert": "assert", "Raise": "raise", "Match": "match"}
