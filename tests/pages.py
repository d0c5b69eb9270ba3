"""Run the Python of a page in docs: ``python -m tests.pages docs/convolution.md`` prints the results of five seeds.

A page's blocks are one program. It sets ``seed``, which each run replaces, and leaves ``accuracy`` or ``mse``.
With ``--picture FILE`` the first run's ``errors``, name -> error after each epoch, are drawn.
"""

import argparse
import re
import statistics
from pathlib import Path

from numbadl import plot

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
RESULTS = ("accuracy", "mse")


def run(path, seed=0, **settings):
    """The names that the page's program has defined at its end; *settings* replace ``length, epochs = 50, 10``, say."""
    program = "".join(BLOCK.findall(Path(path).read_text(encoding="utf-8")))
    program = _replaced(path, program, "nn, seed", r"nd\.nn, 0", f"nd.nn, {seed}")
    if settings:
        values = ", ".join(map(str, settings.values()))
        program = _replaced(path, program, ", ".join(settings), ".*", values)
    names = {}
    exec(compile(program, str(path), "exec"), names)
    return names


def _replaced(path, program, names, old, new):
    program, replaced = re.subn(rf"^{names} = {old}$", f"{names} = {new}", program, flags=re.MULTILINE)
    if replaced != 1:
        raise ValueError(f"{path}: sets {names} {replaced} times, expected once")
    return program


def result_of(names):
    """What a page has measured."""
    return next(names[key] for key in RESULTS if key in names)


def draw(errors, path):
    """The errors after each epoch, on a logarithmic axis, as SVG."""
    import matplotlib

    figure = plot.new_figure((6.4, 3.6), layout="constrained")
    panel = figure.subplots()
    for (name, values), colour in zip(errors.items(), ("#7a7a7a", plot.ORANGE, plot.BLUE), strict=False):
        panel.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.8, marker="o", markersize=3)
        panel.annotate(
            name, (len(values), values[-1]), (6, 0), textcoords="offset points", va="center", color=colour, fontsize=10
        )
    panel.plot((1, len(values)), (1 / 6, 1 / 6), color=plot.INK, linewidth=0.9, linestyle=":")
    panel.annotate("always 1", (1, 1 / 6), (0, 4), textcoords="offset points", color=plot.INK, fontsize=9)
    panel.set_yscale("log")
    panel.set_title("mean squared error of test sequences", loc="left", color=plot.INK, fontsize=11, fontweight="bold")
    panel.set_xlabel("epoch", color=plot.INK)
    panel.set_xticks(range(1, len(values) + 1))
    panel.margins(x=0.08)
    panel.grid(True, color=plot.FAINT, linewidth=0.6)
    panel.tick_params(colors=plot.INK, length=0, which="both")
    for side in panel.spines.values():
        side.set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": "numbadl"}):  # the same file for the same numbers
        figure.savefig(path, format="svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="runs with seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="an SVG file, to draw the errors of the first run")
    arguments = parser.parse_args()
    runs = [run(arguments.page, seed) for seed in range(arguments.seeds)]
    found = [result_of(names) for names in runs]
    if arguments.picture:
        draw(runs[0]["errors"], arguments.picture)
    print(", ".join(f"{a:.4g}" for a in found), f"median {statistics.median(found):.4g}")


if __name__ == "__main__":
    main()
