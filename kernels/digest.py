"""What a compiled kernel was compiled from: one digest, so that an edit recompiles its dependents and nothing else.

A function of this package is identified by the text of its module and of every module that one imports from the
package; anybody else's function (a user's own activation) by its code, its constants and the functions that it calls.
"""

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


def digest(*functions):
    """A hexadecimal digest over everything that the compiled code of *functions* depends on."""
    parts = set()
    for fn in functions:
        _collect(fn, parts)
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:32]


def _collect(fn, parts):
    fn = getattr(fn, "py_func", fn)
    if fn.__module__ and (fn.__module__ + ".").startswith(PACKAGE + "."):
        for module in _dependencies(fn.__module__):
            parts.add(f"{module} {_text_digest(module)}")
    else:
        code = fn.__code__
        parts.add(f"{fn.__module__}.{fn.__qualname__} {code.co_code.hex()} {code.co_consts!r} {code.co_names!r}")
    for name, value in _referenced(fn).items():
        if isinstance(value, types.FunctionType) or hasattr(value, "py_func"):
            if f"visited {id(value)}" not in parts:
                parts.add(f"visited {id(value)}")
                _collect(value, parts)
                parts.discard(f"visited {id(value)}")
        elif isinstance(value, (int, float, str, tuple)):
            parts.add(f"{name} {value!r}")


def _referenced(fn):
    """Closure values; for a function from outside the package the globals that it names, too."""
    found = inspect.getclosurevars(fn)
    outside = not (fn.__module__ or "").startswith(PACKAGE)
    return {**found.nonlocals, **(found.globals if outside else {})}


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


@functools.cache
def _text_digest(module):
    return hashlib.sha256(_path(module).read_bytes()).hexdigest()
