"""``numbadl info``: what runs where."""

import platform
from importlib import metadata

from . import _machine
from ._commandline import print_pairs

_PACKAGES = ("numbadl", "numba", "llvmlite", "numpy", "numba-cuda")


def add_arguments(parser):
    parser.add_argument("--section", choices=list(_SECTIONS), help="show this section only")


def run(arguments):
    sections = [arguments.section] if arguments.section else list(_SECTIONS)
    print_pairs([pair for section in sections for pair in _SECTIONS[section]()])
    return 0


def _versions():
    pairs = [("python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})")]
    for package in _PACKAGES:
        try:
            pairs.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            pairs.append((package, "not installed"))
    return sorted(pairs, key=lambda pair: pair[0] != "numbadl")


def _cpu():
    cpu = _machine.cpu()
    width = f"{cpu['vector_bits']} bits, {cpu['vector_bits'] // 32} float32" if cpu["vector_bits"] else "unknown"
    return [
        ("cpu", f"{cpu['llvm']} ({cpu['model']}), {cpu['cores']} logical cores"),
        ("cpu features", " ".join(cpu["features"]) or "none of those that matter"),
        ("vector width", width),
    ]


def _threads():
    layers = _machine.threading_layers()
    known = ", ".join(name if reason is None else f"{name} missing ({reason})" for name, reason in layers.items())
    return [
        ("threads", str(_machine.threads())),
        ("threading layer", _machine.threading_layer()),
        ("available layers", known),
    ]


def _cuda():
    usable, text = _machine.cuda()
    return [("cuda", text if usable else f"not usable: {text}")]


def _cache():
    from .kernels.cpu.compile import cache_folder

    folder = cache_folder()
    if folder is None:
        return [("kernel cache", "none: no folder can be written to (set NUMBADL_CACHE_DIR)")]
    files = [path for path in folder.iterdir() if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    return [("kernel cache", f"{folder} ({len(files)} files, {megabytes:.1f} MB)")]


_SECTIONS = {
    "versions": _versions,
    "cpu": _cpu,
    "threads": _threads,
    "cuda": _cuda,
    "cache": _cache,
}
