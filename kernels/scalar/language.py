"""The scalar language: one plain Python function that Python, ``@njit`` and ``@cuda.jit`` can all call.

``@scalar`` returns the function unchanged, so plain Python and the CUDA simulator run it as it stands. For compiled
code it registers an overload whose body is the same source with every number *typed*: in Numba a bare ``1`` or ``0.5``
turns float32 arithmetic into float64, so ``1 + x`` is compiled as ``T(1) + x``, where T is the type of the first
floating argument.

The rules, all of them syntactic:

- A numeric literal, a module or closure constant, ``math.pi``: becomes a T. An expression of such constants only is
  evaluated in float64 and rounded once.
- An integer in floating arithmetic is cast to T. A literal stays an integer inside a subscript, ``range(...)``, a bit
  operation, an integer exponent, a call to an integer type, and beside an integer (a parameter annotated ``int``, a loop
  variable, ``float_bits``, what is computed from them).
- Every parameter is cast to T, unless its annotation says otherwise (``n: int``, ``bits: np.uint32``); the rest of them,
  ``*parameters``, stay what they are.
- ``ByType(float32=..., float64=...)`` is the constant (or the function) of T; ``constant(x)`` is the same and in plain Python
  picks by the type of x; a ``Polynomial`` expands to fused multiply-adds.
"""

import ast
import functools
import inspect
import textwrap
import types as pytypes

import numpy as np
from numba import types
from numba.extending import overload

from ..digest import identity
from .intrinsics import float_bits, fma, int_like
from .pieces import Pieces

INTEGER_TYPES = frozenset({int, np.int32, np.int64, np.uint32, np.uint64})
_BIT_OPERATIONS = (ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)
_ARITHMETIC = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


class ByType:
    """A constant with one value for each floating type: what differs between float32 and float64 and nothing else."""

    def __init__(self, float32, float64):
        self.float32, self.float64 = float32, float64

    def of(self, dtype):
        """The value for *dtype*, np.float32 or np.float64."""
        return self.float32 if dtype is np.float32 else self.float64

    def __call__(self, like):
        """The constant as a number of the type of *like*: what a scalar function writes that plain Python runs, too."""
        return type(like)(self.of(type(like)))


class Polynomial(ByType):
    """c[0] + c[1] r + c[2] r**2 + ..., by Horner's rule in fused multiply-adds; coefficients from the lowest power."""

    def __call__(self, r):
        coefficients = self.of(type(r))
        total = type(r)(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = fma(total, r, type(r)(c))
        return total


def scalar(fn):
    """Make *fn* callable from ``@njit`` and ``@cuda.jit`` code, with its numbers in the type of its first argument.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import njit
    >>> @scalar
    ... def half_square(x):
    ...     return 0.5 * x * x
    >>> half_square(3.0)
    4.5
    >>> njit(lambda x: half_square(x))(np.float32(3.0))
    4.5
    """
    register(fn, fn, target="generic")
    return fn


def elementary(python, cuda=None):
    """Decorate the CPU body of an elementary function: plain Python calls *python* instead, CUDA compiles *cuda*.

    Plain Python must neither raise where IEEE arithmetic gives inf or nan, nor warn, so *python* (NumPy's function)
    runs under ``errstate``. The result has the argument's type. Without *cuda* CUDA compiles the CPU's body.
    """

    def decorate(body):
        @functools.wraps(body)
        def function(*args):
            with np.errstate(all="ignore"):
                result = python(*args)
                if not isinstance(args[0], np.floating):
                    return result
                return tuple(map(type(args[0]), result)) if isinstance(result, tuple) else type(args[0])(result)

        del function.__wrapped__
        function.__signature__ = inspect.signature(body)
        function.body = body
        register(function, body, target="cpu")
        on_cuda = body if cuda is None else cuda if isinstance(cuda, pytypes.FunctionType) else _forward(cuda)
        register(function, on_cuda, target="cuda")
        return function

    return decorate


def specialised(fn, old, new):
    """*fn* with *new* in place of the scalar function *old*, in all that it calls, too; *fn* itself if it does not call it.

    For a version of a function that is right for some arguments only, and faster.
    """
    return _specialised(fn, old, new, {})


def _specialised(fn, old, new, known):
    if fn is old:
        return new
    if fn in known or not isinstance(fn, pytypes.FunctionType):
        return known.get(fn, fn)
    known[fn], body = fn, getattr(fn, "body", fn)
    variables = inspect.getclosurevars(body)
    swapped = {
        name: _specialised(value, old, new, known)
        for name, value in {**variables.globals, **variables.nonlocals}.items()
        if isinstance(value, pytypes.FunctionType)
    }
    changed = {
        name: value
        for name, value in swapped.items()
        if value is not {**variables.globals, **variables.nonlocals}[name]
    }
    if not changed:
        return fn
    cells = tuple(
        pytypes.CellType(changed[name]) if name in changed else cell
        for name, cell in zip(body.__code__.co_freevars, body.__closure__ or (), strict=True)
    )
    clone = pytypes.FunctionType(
        body.__code__, {**body.__globals__, **changed}, body.__name__, body.__defaults__, cells
    )
    clone.__annotations__, clone.__qualname__ = body.__annotations__, f"{body.__qualname__}.{new.__name__}"
    known[fn] = scalar(clone)
    return clone


def register(fn, body, target):
    """Compile calls of *fn* on *target* as calls of *body* with typed numbers, always inlined."""

    def template(*args, **kwargs):
        return _implementation(body, tuple(args) + tuple(kwargs.values()))

    template.__signature__ = inspect.signature(body)
    template.__name__ = fn.__name__
    overload(fn, target=target, strict=False, jit_options={"forceinline": True, "error_model": "numpy"})(template)


def _forward(libdevice):
    def body(x):
        return libdevice(x)

    return body


def floating_type(fn, args):
    """np.float32 or np.float64, the T of a call of *fn* with Numba types *args*; None for an integer function."""
    for a in args:
        if isinstance(a, types.Float):
            return np.float32 if a.bitwidth == 32 else np.float64
    annotated = [p.annotation in INTEGER_TYPES for p in inspect.signature(fn).parameters.values()]
    return None if all(annotated) else np.float64


def _implementation(body, args):
    if any(not isinstance(a, (types.Number, types.Boolean, types.Omitted, types.Literal)) for a in args):
        return None  # Numba then reports that no implementation takes these types
    dtype = floating_type(body, args)
    return body if dtype is None else typed(body, dtype)


@functools.cache
def typed(fn, dtype):
    """*fn* as a plain function whose numbers are of *dtype*."""
    namespace = dict(fn.__globals__, **inspect.getclosurevars(fn).nonlocals, _T=dtype, _fma=fma)
    for name, value in namespace.items():
        if type(value) is ByType:  # so that a bit operation, which is not rewritten, and a call see the right one
            namespace[name] = value.of(dtype)
        elif type(value) is Pieces:
            namespace[name] = value.evaluate
    try:
        source = getattr(fn, "source", None) or textwrap.dedent(inspect.getsource(fn))  # `translate` makes some of text
    except (OSError, TypeError):
        return _typed_constants(fn, dtype, namespace)
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda on a line of its own, inside a call
        return _typed_constants(fn, dtype, namespace)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):  # a lambda inside a larger statement: its source is not its own
        return _typed_constants(fn, dtype, namespace)
    definition.decorator_list = []
    _Typer(fn, dtype, namespace).rewrite(definition)
    ast.increment_lineno(tree, fn.__code__.co_firstlineno - 1)
    exec(compile(ast.fix_missing_locations(tree), fn.__code__.co_filename, "exec"), namespace)
    result = namespace[fn.__name__]
    result.__defaults__ = fn.__defaults__
    result.__qualname__ = f"{fn.__qualname__}.{identity(fn)}"
    return result


def _typed_constants(fn, dtype, namespace):
    """Without a readable source (REPL, exec, lambda): retype the constants of the code object instead.

    Coarser than the rewriting: small integers of Python 3.14 are part of the instructions and stay integers.
    """

    def convert(value):
        return dtype(value) if isinstance(value, float) or type(value) is int else value

    code = fn.__code__.replace(co_consts=tuple(convert(c) for c in fn.__code__.co_consts))
    for name, value in namespace.items():
        if isinstance(value, float):
            namespace[name] = dtype(value)
    result = pytypes.FunctionType(code, namespace, fn.__name__, fn.__defaults__, fn.__closure__)
    result.__qualname__ = f"{fn.__qualname__}.{identity(fn)}"
    return result


class _Typer(ast.NodeTransformer):
    """Rewrites one function definition by the rules in the module's docstring."""

    def __init__(self, fn, dtype, namespace):
        self.dtype, self.namespace = dtype, namespace
        self.locals = set(fn.__code__.co_varnames) | set(fn.__code__.co_cellvars)
        parameters = [p for p in inspect.signature(fn).parameters.values() if p.kind is not p.VAR_POSITIONAL]
        self.integers = {p.name for p in parameters if p.annotation in INTEGER_TYPES}
        self.to_cast = [p.name for p in parameters if p.annotation not in INTEGER_TYPES | {bool}]

    def rewrite(self, definition):
        for a in definition.args.args + definition.args.kwonlyargs:
            a.annotation = None
        definition.returns = None
        definition.args.defaults = [ast.Constant(None) for _ in definition.args.defaults]  # restored by `typed`
        if isinstance(definition.body[0], ast.Expr) and isinstance(definition.body[0].value, ast.Constant):
            definition.body = definition.body[1:] or [ast.Pass()]  # the docstring
        casts = [
            ast.Assign([ast.Name(n, ast.Store())], self._cast(ast.Name(n, ast.Load())), lineno=definition.lineno)
            for n in self.to_cast
        ]
        definition.body = casts + [self.visit(s) for s in definition.body]

    # -- what an expression is -----------------------------------------------------------------
    def value(self, node):
        """The object that a global name or ``module.attribute`` stands for, or None."""
        if isinstance(node, ast.Name) and node.id not in self.locals:
            found = self.namespace.get(node.id, None)
            return found if found is not None else getattr(__import__("builtins"), node.id, None)
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            return getattr(base, node.attr, None) if isinstance(base, pytypes.ModuleType) else None
        return None

    def constant(self, node):
        """The number that *node* evaluates to, if it is made of literals and constants only; else None."""
        if isinstance(node, ast.Constant):
            found = node.value
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            inner = self.constant(node.operand)
            found = None if inner is None else -inner if isinstance(node.op, ast.USub) else inner
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = self.constant(node.left), self.constant(node.right)
            found = None if left is None or right is None else _ARITHMETIC[type(node.op)](left, right)
        else:
            found = self.value(node)
            found = found.of(self.dtype) if type(found) is ByType else found
        return float(found) if isinstance(found, float) else found if type(found) is int else None

    def is_integer(self, node):
        """Whether *node* is an integer by the rules (a literal is one only beside another integer)."""
        if isinstance(node, ast.Name):
            return node.id in self.integers
        if isinstance(node, ast.Call):
            return self.value(node.func) in INTEGER_TYPES | {len, float_bits, int_like}
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, _BIT_OPERATIONS):
                return True
            return not isinstance(node.op, ast.Div) and self._beside_integer([node.left, node.right])
        return isinstance(node, ast.UnaryOp) and self.is_integer(node.operand)

    def _beside_integer(self, nodes):
        return any(self.is_integer(n) for n in nodes) and all(
            self.is_integer(n) or isinstance(self.constant(n), int) for n in nodes
        )

    # -- rewriting -----------------------------------------------------------------------------
    def _float(self, node):
        """*node* as an operand of floating arithmetic: an integer (int64 + float32 is float64 in Numba) is cast."""
        return self._cast(node) if self.is_integer(node) else self.visit(node)

    def _cast(self, node):
        return ast.copy_location(ast.Call(ast.Name("_T", ast.Load()), [node], []), node)

    def visit(self, node):
        if isinstance(node, ast.expr):
            number = self.constant(node)
            if number is not None and not isinstance(node, ast.Call):
                return self._cast(ast.copy_location(ast.Constant(number), node))
        return super().visit(node)

    def visit_BinOp(self, node):
        if isinstance(node.op, _BIT_OPERATIONS):
            return node
        if not isinstance(node.op, ast.Div) and self._beside_integer([node.left, node.right]):
            return node  # a quotient of integers is floating
        if isinstance(node.op, ast.Pow) and isinstance(self.constant(node.right), int):
            node.left = self.visit(node.left)
            return node
        node.left, node.right = self._float(node.left), self._float(node.right)
        return node

    def visit_Compare(self, node):
        if not self._beside_integer([node.left, *node.comparators]):
            node.left, node.comparators = self._float(node.left), [self._float(c) for c in node.comparators]
        return node

    def visit_Subscript(self, node):
        node.value = self.visit(node.value)
        return node

    def visit_Call(self, node):
        function = self.value(node.func)
        if isinstance(function, Polynomial):
            return self._horner(function, self.visit(node.args[0]))
        if isinstance(function, (int, float)):  # a `ByType` of numbers
            return self.visit(node.func)
        if function is range or function in INTEGER_TYPES:
            return node
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return node

    def visit_Assign(self, node):
        if self.is_integer(node.value):
            self.integers.update(t.id for t in node.targets if isinstance(t, ast.Name))
        node.value = self.visit(node.value)
        return node

    def visit_AugAssign(self, node):
        if not (isinstance(node.target, ast.Name) and node.target.id in self.integers):
            node.value = self._float(node.value)
        return node

    def visit_For(self, node):
        if isinstance(node.target, ast.Name):
            self.integers.add(node.target.id)
        return self.generic_visit(node)

    def _horner(self, polynomial, r):
        coefficients = [self._cast(ast.Constant(float(c))) for c in polynomial.of(self.dtype)]
        total = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            total = ast.Call(ast.Name("_fma", ast.Load()), [total, r, c], [])
        return total
