"""Compiled kernels on disk: the next process compiles nothing, an edit recompiles what depends on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numbadl
from numbadl import kernels

USE = """
import sys
import numpy as np
from numba.core import event

compiled = event.RecordingListener()
with event.install_listener("numba:compile", compiled):
    import numbadl as nd
    from numbadl.kernels import cpu

    for name in sys.argv[1:]:
        x = np.linspace(-4, 4, 100001, dtype=np.float32)
        y = getattr(nd, name)(x)
        exact = {
            "relu": lambda: np.maximum(x, 0), "silu": lambda: x / (1 + np.exp(-x.astype(float))),
            "sigmoid": lambda: 1 / (1 + np.exp(-x.astype(float))), "tanh": lambda: np.tanh(x.astype(float)),
            "identity": lambda: x, "softmax": lambda: np.exp(x.astype(float)) / np.exp(x.astype(float)).sum(),
        }[name]()
        assert np.allclose(y, exact, rtol=1e-5, atol=1e-7), name
        print(name, dict(cpu.kernel(name).stats.cache_misses) and "compiled" or "loaded")
print("compilations", sum(e.is_start for _, e in compiled.buffer))
"""


LAYOUTS = """
import sys
import numpy as np
import numbadl as nd

x = np.random.default_rng(0).normal(size=(3, 2, 100)).astype(np.float32)
weight = {"columns": np.arange(100, dtype=np.float32), "segments": np.arange(2, dtype=np.float32)}
for layout in sys.argv[1:]:
    if layout == "columns":
        y, centred = nd.layer_norm(x, 100, weight[layout])[0], x - x.mean(axis=2, keepdims=True)
    else:
        y, centred = nd.group_norm(x, 2, weight[layout])[0], x - x.mean(axis=2, keepdims=True)
    std = np.sqrt(centred.var(axis=2, keepdims=True) + 1e-5)
    factor = weight[layout] if layout == "columns" else weight[layout][:, None]
    assert np.allclose(y, centred / std * factor, rtol=1e-4, atol=1e-4), layout
    print(layout, "right")
"""


def environment(cache, **more):
    return {**os.environ, "NUMBADL_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1", **more}


def start(cache, *names, program=USE, **more):
    command = [sys.executable, "-c", program, *names]
    return subprocess.Popen(  # away from the working folder, whose own numbadl/ would come first
        command,
        cwd=cache.parent,
        env=environment(cache, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return dict(line.split() for line in out.splitlines())


def test_a_second_process_compiles_nothing(tmp_path):
    first = finish(start(tmp_path, "relu", "silu", "softmax"))
    assert first["relu"] == first["softmax"] == "compiled"
    assert int(first["compilations"]) > 0
    second = finish(start(tmp_path, "relu", "silu", "softmax"))
    assert second == {"relu": "loaded", "silu": "loaded", "softmax": "loaded", "compilations": "0"}


@pytest.mark.parametrize("rounds", [pytest.param(2), pytest.param(20, marks=pytest.mark.slow)])
def test_two_cold_processes_at_once(tmp_path, rounds):
    for k in range(rounds):
        cache = tmp_path / str(k)
        pair = [start(cache, "relu", "silu", "tanh"), start(cache, "relu", "silu", "sigmoid")]
        for process in pair:
            finish(process)
        after = finish(start(cache, "relu", "silu", "tanh", "sigmoid"))
        assert after.pop("compilations") == "0"
        assert set(after.values()) == {"loaded"}
        assert not [p for p in cache.iterdir() if p.suffix != ".kernel"], "temporary files were left behind"


@pytest.mark.slow
def test_layouts_of_one_kernel_that_two_processes_compiled(tmp_path):
    """Parts of a kernel are made by one factory, too; neither may stand in for the other in a third process."""
    for layout in ("columns", "segments"):
        finish(start(tmp_path, layout, program=LAYOUTS))
    for order in (("columns", "segments"), ("segments", "columns")):
        assert finish(start(tmp_path, *order, program=LAYOUTS)) == dict.fromkeys(order, "right")


def copy_of_the_package(folder):
    """The sources in a folder of their own, for edits; laid out as a regular install has them."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(numbadl.__file__).parent, folder / "numbadl", ignore=ignore)
    shutil.copytree(Path(kernels.__file__).parent, folder / "numbadl" / "kernels", ignore=ignore)
    return folder / "numbadl" / "kernels"


def test_an_edit_recompiles_what_depends_on_it(tmp_path):
    site, cache = tmp_path / "site", tmp_path / "cache"
    sources = copy_of_the_package(site)
    names = ("relu", "softmax")
    assert finish(start(cache, *names, PYTHONPATH=str(site)))["relu"] == "compiled"
    assert finish(start(cache, *names, PYTHONPATH=str(site)))["compilations"] == "0"

    path = sources / "scalar" / "activations.py"  # softmax does not import it
    path.write_text(path.read_text() + "\n# edited\n")
    after = finish(start(cache, *names, PYTHONPATH=str(site)))
    assert (after["relu"], after["softmax"]) == ("compiled", "loaded")

    path = sources / "cpu" / "vector.py"  # everything does, through its loop
    path.write_text(path.read_text() + "\n# edited\n")
    after = finish(start(cache, *names, PYTHONPATH=str(site)))
    assert (after["relu"], after["softmax"]) == ("compiled", "compiled")
    assert finish(start(cache, *names, PYTHONPATH=str(site)))["compilations"] == "0"


@pytest.mark.parametrize("damage", [b"not a pickle", *(pytest.param(d, marks=pytest.mark.slow) for d in (b"", None))])
def test_a_damaged_file_is_compiled_again(tmp_path, damage):
    finish(start(tmp_path, "relu"))
    (path,) = tmp_path.glob("relu-*.kernel")
    path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    assert finish(start(tmp_path, "relu"))["relu"] == "compiled"
    assert finish(start(tmp_path, "relu"))["relu"] == "loaded"


def test_without_a_writable_folder_kernels_work_and_say_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    process = start(blocked, "relu")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "relu compiled" in out
    assert "NUMBADL_CACHE_DIR" in err
