"""The syntax tree of somebody's function: found in its source, and held against the code that Python runs.

A source can be missing (``exec``, ``python -c`` before Python 3.13) or another one than was compiled (the file was edited
since it was imported; several lambdas on a line). So what is found there counts only if it compiles to the same bytecode.
"""

import ast
import copy
import functools
import inspect
import types

COMPARED = ("co_name", "co_firstlineno", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars")


class NoSource(TypeError):
    """The source of a function cannot be read."""


def tree_of(fn):
    """The ``ast.FunctionDef`` of *fn*, without decorators, with the line numbers of its file; a lambda's is made of it.

    Raises
    ------
    NoSource : it cannot be read, or is not what *fn* was compiled from
    """
    if hasattr(fn, "tree"):  # made by `make`
        return copy.deepcopy(fn.tree)
    try:
        lines, _ = inspect.findsource(fn)
        module = _parsed("".join(lines))
    except (OSError, TypeError, SyntaxError, IndexError):
        raise NoSource(f"{fn.__name__}: its source cannot be read") from None
    code = fn.__code__
    nodes = [n for n in ast.walk(module) if _first_line(n) == code.co_firstlineno and _name(n) == code.co_name]
    if len(nodes) > 1 and hasattr(code, "co_positions"):  # from Python 3.11 on
        nodes = sorted((n for n in nodes if _holds(n, code)), key=_extent)[:1]
    if len(nodes) > 1:
        raise NoSource(f"{fn.__name__}: its source is one of several on line {code.co_firstlineno}; give each a line")
    if not nodes or not _compiles_to(module, code):
        raise NoSource(f"{fn.__name__}: its source is not what it was compiled from; was {file_of(fn)} edited since?")
    return _as_definition(nodes[0], fn.__name__)


def file_of(fn):
    """The name of the file that *fn* stands in."""
    return fn.__code__.co_filename


def scope_of(fn):
    """Name -> object of what *fn* refers to: builtins, globals, closure cells that are filled."""
    builtins = fn.__globals__.get("__builtins__", {})
    scope = {**(vars(builtins) if isinstance(builtins, types.ModuleType) else builtins), **fn.__globals__}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            scope[name] = cell.cell_contents
        except ValueError:  # assigned after the function was made
            scope.pop(name, None)
    return scope


@functools.lru_cache(8)
def _parsed(text):
    return ast.parse(text)


def _first_line(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return node.lineno if isinstance(node, ast.Lambda) else None


def _name(node):
    return "<lambda>" if isinstance(node, ast.Lambda) else getattr(node, "name", "") * isinstance(node, ast.FunctionDef)


def _holds(node, code):
    """Whether all of *code* is within *node*."""
    columns = [(line, column) for line, _, column, _ in code.co_positions() if column]
    inside = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return all(inside[0] <= place <= inside[1] for place in columns)


def _extent(node):
    return node.end_lineno - node.lineno, node.end_col_offset - node.col_offset


def _as_definition(node, name):
    """A copy of a definition without decorators and annotations; of a lambda, the definition that does the same."""
    node = copy.deepcopy(node)
    if isinstance(node, ast.Lambda):
        body = [ast.copy_location(ast.Return(node.body), node)]
        name = name if name.isidentifier() else "function"
        definition = ast.FunctionDef(name, node.args, body, [], lineno=node.lineno, col_offset=node.col_offset)
        if "type_params" in ast.FunctionDef._fields:
            definition.type_params = []
        return definition
    node.decorator_list, node.returns = [], None
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return node


def _compiles_to(module, code):
    """Whether a file, or the one statement of a notebook's cell, compiles to something with that code in it."""
    statement = [n for n in module.body if n.lineno <= code.co_firstlineno <= n.end_lineno]
    statement += [
        n for n in module.body if getattr(n, "decorator_list", None) and _first_line(n) == code.co_firstlineno
    ]
    for body in (module.body, *([n] for n in statement)):
        try:
            found = compile(ast.Module(body, []), "<source>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if any(_same_code(c, code) for c in _codes(found)):
            return True
    return False


def _codes(code):
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _same_code(a, b):
    if any(getattr(a, what) != getattr(b, what) for what in COMPARED) or len(a.co_consts) != len(b.co_consts):
        return False
    return all(
        _same_code(c, d) if isinstance(c, types.CodeType) and isinstance(d, types.CodeType) else repr(c) == repr(d)
        for c, d in zip(a.co_consts, b.co_consts, strict=True)
    )
