"""What the compiler made of a kernel: its assembly, and how many vector operations its main loop takes for each element."""

import contextlib
import json
import re

from numba import types

from ..atomic import atomic_path
from ..digest import digest
from .compile import cache_folder

KINDS = {"u": types.uint32, "i": types.int64, "s": types.uint64, "b": types.boolean, "d": types.float64}
OPERATIONS = ("multiply", "any", "divide", "root")  # see `numbadl.kernels.cpu.rates`
_REGISTER_BYTES = {"zmm": 64, "ymm": 32, "xmm": 16}
_LABEL, _JUMP = re.compile(r"(\.\w+):"), re.compile(r"j\w+\s+(\.\w+)$")
_FREE = re.compile(r"v(?:mov|broadcast|p?gather|p?scatter|zero)")  # loads, stores and renamed registers
_STORE = re.compile(r"vmov\w+\s+%([xyz]mm)\d+, \S*\((?!%rsp)\S+\)$")


def argument_types(declaration, dtype):
    """The Numba types of a kernel's arguments, for arrays of the Numba type *dtype*."""
    found = []
    for kind, ndim in declaration.operands():
        element = KINDS.get(kind, dtype)
        found.append(types.Array(element, ndim, "C") if ndim else element)
    return (types.Tuple(found) if len(set(found)) > 1 else types.UniTuple(found[0], len(found)),)


def assembly(declaration, dtype=types.float32):
    """The assembly of a declaration's kernel, compiled anew: what comes from the disk has none to look at."""
    from . import build

    built, text = build(declaration), []
    for dispatcher in getattr(built, "dispatchers", (built,)):
        dispatcher._cache.disable()
        dispatcher.compile(argument_types(declaration, dtype))
        text += dispatcher.inspect_asm().values()
    return "\n".join(text)


def counted(declaration, dtype=types.float32):
    """The `operations` of a declaration's kernel, {} where there is no loop to count them in.

    They are kept beside the compiled kernels, with the digest of what they follow from: to compile one again takes 0.9 s.
    """
    from . import build

    built = build(declaration)
    caches = [dispatcher._cache for dispatcher in getattr(built, "dispatchers", (built,))]
    follows = [digest(operations), *(cache._digest for cache in caches)]
    path = None
    if cache_folder() is not None:
        kernel = caches[0]._file(argument_types(declaration, dtype), built.targetctx.codegen())
        path = kernel.with_suffix(".operations")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["follows"] == follows:
                return kept["counts"]
    counts = operations(assembly(declaration, dtype), len(declaration.outputs), dtype.bitwidth // 8) or {}
    if path is not None:
        with contextlib.suppress(OSError), atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"follows": follows, "counts": counts}), encoding="utf-8")
    return counts


def operations(text, outputs, itemsize):
    """Vector operations for each element in the cheapest loop of an x86-64 assembly that stores *outputs* arrays.

    Loops of one block are looked at: where a loop branches or calls, no count would be a lower limit. An operation is one lane
    of an instruction, so that widths of vectors do not matter.

    Returns
    -------
    dict
        One number for each of `OPERATIONS`: multiplications and fused ones, all arithmetic, divisions, square roots. None if
        there is no such loop.
    """
    found = [counts for block in _loops(text) if (counts := _count(block, outputs, itemsize))]
    return min(found, key=lambda counts: counts["any"], default=None)


def _loops(text):
    """The instructions of each loop that is one block: from a label to a jump back to it."""
    label, block = None, []
    for line in (line.strip() for line in text.splitlines()):
        if match := _LABEL.match(line):
            label, block = match[1], []
        elif match := _JUMP.match(line):
            if match[1] == label:
                yield block
            label, block = None, []
        else:
            block.append(line.partition("#")[0].strip())


def _count(block, outputs, itemsize):
    lanes = sum(_REGISTER_BYTES[match[1]] // itemsize for line in block if (match := _STORE.match(line)))
    if not lanes or any(line.startswith("call") for line in block):
        return None
    counts = dict.fromkeys(OPERATIONS, 0)
    for line in block:
        registers = re.findall(r"%([xyz]mm)\d+", line)
        if not line.startswith("v") or _FREE.match(line) or not registers:
            continue
        width = max(_REGISTER_BYTES[name] for name in registers) // itemsize
        counts["any"] += width
        name = line.split()[0]
        for kind, pattern in (("multiply", r"v(mul|fn?m)"), ("divide", "vdiv"), ("root", "vsqrt")):
            counts[kind] += width * bool(re.match(pattern, name))
    return {kind: count * outputs / lanes for kind, count in counts.items()}
