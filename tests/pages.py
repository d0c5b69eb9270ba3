"""Run the Python of a page in docs: ``python -m tests.pages docs/convolution.md`` prints the accuracies of five seeds.

A page's blocks are one program. It sets ``seed``, which each run replaces, and leaves ``accuracy``.
"""

import argparse
import re
import statistics
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run(path, seed=0):
    """The names that the page's program has defined at its end."""
    program = "".join(BLOCK.findall(Path(path).read_text(encoding="utf-8")))
    program, replaced = re.subn(r"^nn, seed = nd\.nn, 0$", f"nn, seed = nd.nn, {seed}", program, flags=re.MULTILINE)
    if replaced != 1:
        raise ValueError(f"{path}: sets seed {replaced} times, expected once")
    names = {}
    exec(compile(program, str(path), "exec"), names)
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="runs with seeds 0, 1, ... (default: %(default)s)")
    arguments = parser.parse_args()
    found = [run(arguments.page, seed)["accuracy"] for seed in range(arguments.seeds)]
    print(", ".join(f"{a:.4f}" for a in found), f"median {statistics.median(found):.4f}")


if __name__ == "__main__":
    main()
