"""What binds: imports point one way, nothing outside kernels/ compiles, kernels/ cannot be imported by another name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import numbadl
from numbadl import kernels

PUBLIC, COMPILED = Path(numbadl.__file__).parent, Path(kernels.__file__).parent
FILES = sorted(p for root in (PUBLIC, COMPILED) for p in root.rglob("*.py") if "__pycache__" not in p.parts)


def _package_of(path):
    root, name = (COMPILED, "numbadl.kernels") if path.is_relative_to(COMPILED) else (PUBLIC, "numbadl")
    return ".".join([name, *path.relative_to(root).parent.parts])


def imported(path):
    """Absolute names of the modules that a file imports."""
    package = _package_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _allowed(path):
    if not path.is_relative_to(COMPILED):
        return ("numbadl",)
    part = path.relative_to(COMPILED).parts[0]
    names = ("atomic", "catalog", "digest", "scalar", "shapes")
    below = tuple(f"numbadl.kernels.{name}" for name in names)
    return {
        "scalar": ("numbadl.kernels.scalar", "numbadl.kernels.shapes", "numbadl.kernels.digest"),
        "cpu": (*below, "numbadl.kernels.cpu"),
        "cuda": (*below, "numbadl.kernels.cuda"),
    }.get(part, below)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{_package_of(p)}.{p.stem}")
def test_imports_point_one_way(path):
    for name in imported(path):
        if name.startswith("numbadl.") and name not in ("numbadl.kernels",):
            assert name.startswith(_allowed(path)), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if not p.is_relative_to(COMPILED)], ids=lambda p: p.stem)
def test_nothing_is_compiled_outside_kernels(path):
    if "interop" not in path.parts:
        used = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        assert not used & {"njit", "jit", "vectorize", "guvectorize", "cfunc", "prange"}


def test_numba_cuda_is_imported_in_one_module():
    users = [p for p in FILES if any(n.startswith(("numba.cuda", "numba_cuda")) for n in imported(p))]
    assert [p.relative_to(COMPILED).as_posix() for p in users] == ["cuda/compile.py"]


def test_kernels_under_another_name_are_refused(tmp_path):
    (tmp_path / "kernels").symlink_to(COMPILED, target_is_directory=True)
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "pip install -e ." in done.stderr


def test_files_take_their_place_in_one_module():
    def renames(path):
        tree = ast.walk(ast.parse(path.read_text()))
        return any(isinstance(n, ast.Attribute) and n.attr in ("replace", "rename") and is_os(n.value) for n in tree)

    def is_os(node):
        return isinstance(node, ast.Name) and node.id == "os"

    assert [p.relative_to(COMPILED).as_posix() for p in FILES if renames(p)] == ["atomic.py"]


ON_DEMAND = """
import sys
import numbadl as nd

assert not {"numbadl.data", "numbadl.plot", "matplotlib"} & set(sys.modules)
assert {"data", "plot", "train", "silu"} <= set(dir(nd))
nd.data.load_digits, nd.plot.learning_curves, nd.train.Callback
assert "matplotlib" not in sys.modules
try:
    nd.silou
except AttributeError as error:
    assert str(error) == "module 'numbadl' has no attribute 'silou'"
else:
    raise AssertionError
"""


def test_modules_that_are_imported_on_demand(tmp_path):
    done = subprocess.run([sys.executable, "-c", ON_DEMAND], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_licence_is_an_spdx_expression():
    """As a table it is deprecated: setuptools warns, and will refuse it."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    content = tomllib.loads((PUBLIC.parent / "pyproject.toml").read_text())
    assert content["project"]["license"] == "BSD-3-Clause" and content["project"]["license-files"] == ["LICENSE"]
    (requirement,) = content["build-system"]["requires"]
    minimum = tuple(map(int, requirement.removeprefix("setuptools>=").split(".")))
    assert minimum >= (77, 0, 3), "the first version that takes an expression"
