"""What a compiled kernel was compiled from: one digest, so that an edit recompiles its dependents and nothing else.

A function of this package is identified by the text of its module and of every module that one imports from the
package; anybody else's function (a user's own activation) by its code, its constants and the functions that it calls.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import types
from pathlib import Path

PACKAGE = __package__
_IMPORT = re.compile(r"^\s*from\s+(\.+)([\w.]*)\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)


def digest(*values):
    """A hexadecimal digest over everything that code compiled from *values*, functions and declarations, depends on."""
    parts = {repr(_describe(value)) for value in values if dataclasses.is_dataclass(value)}
    for value in values:
        _collect(value, parts)
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:32]


def identity(value):
    """A short hexadecimal name for a function, with its code and what it closes over, or for a declaration of some.

    Numba names machine code by a function's qualified name, its types, and a count of what the process compiled before.
    Two closures of one factory, compiled by two processes, can get the same name; a third one that loads both
    from the disk would then run one of them in place of the other (sigmoid gave tanh). So the identity goes
    into the qualified name of every function that is made by a factory.
    """
    return hashlib.sha256(repr(_describe(value)).encode()).hexdigest()[:8]


def _describe(value):
    if _is_function(value):
        fn = getattr(value, "py_func", value)
        code = fn.__code__
        cells = [cell.cell_contents for cell in fn.__closure__ or () if cell.cell_contents is not fn]
        constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
        return (fn.__module__, fn.__qualname__, code.co_code, repr(constants), code.co_names, _describe(cells))
    if dataclasses.is_dataclass(value):
        fields = [(field.name, _describe(getattr(value, field.name))) for field in dataclasses.fields(value)]
        return (type(value).__name__, fields)
    if isinstance(value, (list, tuple)):
        return [_describe(v) for v in value]
    return repr(value) if isinstance(value, (int, float, str, bytes, type(None))) else type(value).__name__


def _is_function(value):
    return isinstance(value, types.FunctionType) or hasattr(value, "py_func")


def _collect(value, parts):
    """Add what identifies *value* to *parts*, a set of lines, and follow what it refers to."""
    if dataclasses.is_dataclass(value) or isinstance(value, (list, tuple)):
        inner = vars(value).values() if dataclasses.is_dataclass(value) else value
        for part in inner:
            _collect(part, parts)
        return
    if not _is_function(value):
        parts.add(repr(value))
        return
    fn = getattr(value, "py_func", value)
    outside = not (fn.__module__ or "").startswith(PACKAGE + ".")
    if not outside:
        parts.update(f"{module} {_text_digest(module)}" for module in _dependencies(fn.__module__))
        followed = inspect.getclosurevars(fn).nonlocals
    else:
        line = f"{fn.__module__}.{fn.__qualname__} {identity(fn)}"
        if line in parts:
            return
        parts.add(line)
        followed = _named_by(fn)
    for name, inner in followed.items():
        if _is_function(inner) and inner is not value:
            _collect(inner, parts)
        elif isinstance(inner, (int, float, str)) or (outside and not inspect.ismodule(inner)):
            parts.add(f"{name} {_constant(inner)}")


def _named_by(fn):
    """What a user's function refers to by name: closure cells, defaults, globals, and attributes of modules."""
    found = inspect.getclosurevars(fn)
    named = {**found.nonlocals, **found.globals, "defaults": fn.__defaults__, "annotations": repr(fn.__annotations__)}
    named["body"] = getattr(fn, "body", None)  # of an @elementary function
    for module in [v for v in named.values() if inspect.ismodule(v)]:
        if module.__name__.partition(".")[0] not in ("math", "numpy", "numba", "numbadl"):
            named.update(
                {f"{module.__name__}.{n}": getattr(module, n) for n in fn.__code__.co_names if hasattr(module, n)}
            )
    return named


def _constant(value):
    """A text for a constant that changes with its value: the attributes of an object that has some, else its repr."""
    return repr(vars(value)) if hasattr(value, "__dict__") and not isinstance(value, type) else repr(value)


@functools.cache
def _dependencies(module):
    """*module* and the modules of the package that it imports, directly or not, in alphabetical order."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(_imports(name))
    return sorted(found)


def _imports(module):
    """Names of the package's modules in the ``from .x import y`` lines of *module*."""
    path = _path(module)
    base = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for dots, rest, names in _IMPORT.findall(path.read_text()):
        parent = base.rsplit(".", len(dots) - 1)[0] if len(dots) > 1 else base
        target = f"{parent}.{rest}" if rest else parent
        candidates = [target] + [f"{target}.{n.strip().split(' ')[0]}" for n in names.strip("()").split(",")]
        yield from (c for c in candidates if c in sys.modules or _exists(c))


@functools.cache
def _exists(module):
    try:
        return module.startswith(PACKAGE + ".") and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _path(module):
    return Path(sys.modules[module].__file__ if module in sys.modules else importlib.util.find_spec(module).origin)


def _digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Taken when this module is imported: the running process has the code that the files hold now, whatever they hold later.
_TEXTS = {path: _digest_of(path) for path in Path(__file__).resolve().parent.rglob("*.py")}


def _text_digest(module):
    path = _path(module).resolve()
    return _TEXTS.get(path) or _digest_of(path)


def sources_changed():
    """Whether a file of the package was edited since this process imported it: what it compiles is of neither version."""
    return any(not path.exists() or _digest_of(path) != text for path, text in _TEXTS.items())
