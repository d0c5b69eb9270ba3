"""The examples in docstrings, of modules and of the functions that are made from records, give what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import numbadl as nd
from numbadl import kernels
from numbadl.functional import FUNCTIONS

TEMPLATES = (
    "numbadl.activation",
    "numbadl.functional",
    "numbadl._loss_docs",
)  # of docstrings: tested where they end up
OF_RECORDS = FUNCTIONS | {f.__name__: f for f in (nd.softmax, nd.log_softmax, nd.softmin, nd.sparsemax)}
# They compile a kernel of many stages, or one for each optimiser.
SLOW = tuple(
    f"numbadl.{name}" for name in ("fuse", "fuse_batch_norm", "optim.descent", "optim.moments", "optim.matrices")
)


def modules():
    """Names of the modules whose source has examples. kernels/ lies beside numbadl/ in a checkout, and within it elsewhere."""
    found = [
        *pkgutil.walk_packages(nd.__path__, "numbadl."),
        *pkgutil.walk_packages(kernels.__path__, "numbadl.kernels."),
    ]
    paths = {module.name: module.module_finder.find_spec(module.name).origin for module in found}
    names = [
        name
        for name, path in paths.items()
        if ">>>" in Path(path).read_text(encoding="utf-8") and name not in TEMPLATES
    ]
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


@pytest.mark.parametrize("name", modules())
def test_module(name):
    module = pytest.importorskip(name) if ".cuda" in name or ".interop." in name else importlib.import_module(name)
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in ("silu", "prelu", "rrelu", "softmax") else [pytest.mark.slow])
        for n in OF_RECORDS
    ],
)
def test_function_of_a_record(name):
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(OF_RECORDS[name].__doc__, {}, name, None, None))
    assert runner.tries > 0 and runner.failures == 0
