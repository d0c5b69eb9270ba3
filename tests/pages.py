"""Run the Python of a page in docs: ``python -m tests.pages docs/approximation.md``.

A page's blocks are one program, run in their order. What a block prints stands in the block of text behind it, and the pictures
lie in docs/pictures: both are written by this command. Each page has a line ``quick = False``; with True, as the tests run it,
it takes seconds.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
QUICK = re.compile(r"^quick = False\b", re.MULTILINE)


def run(path, quick=False):
    """What the page's program has defined at its end, and the page with what the blocks print.

    Parameters
    ----------
    path : the page; pictures are written into the working directory
    quick : whether the program's ``quick`` is True

    Returns
    -------
    names : dict
    text : str

    Raises
    ------
    ValueError : not one line of the page says ``quick = False``, or a block prints and has no block of text, or the reverse
    """
    text = Path(path).read_text(encoding="utf-8")
    found = sum(len(QUICK.findall(block[1])) for block in BLOCK.finditer(text))
    if found != 1:
        raise ValueError(f"{path}: sets quick = False {found} times, expected once")
    names, parts, end = {}, [], 0
    for block in BLOCK.finditer(text):
        program = QUICK.sub("quick = True", block[1]) if quick else block[1]
        lines = text.count("\n", 0, block.start(1))  # so that errors name the page's own lines
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * lines + program, str(path), "exec"), names)
        if bool(printed.getvalue()) != (block[2] is not None):
            raise ValueError(f"{path}:{lines}: a block prints and has no block of text behind it, or the reverse")
        parts += [text[end : block.start(2)], printed.getvalue()] if block[2] is not None else []
        end = block.end(2) if block[2] is not None else end
    return names, "".join([*parts, text[end:]])


def run_example(page, mark, folder, monkeypatch):
    """Run the one block of *page* in which *mark* stands, in a folder of its own."""
    blocks = [block[1] for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")) if mark in block[1]]
    assert len(blocks) == 1
    monkeypatch.chdir(folder)
    (folder / "example.py").write_text(blocks[0], encoding="utf-8")  # where functions can read their source
    runpy.run_path(str(folder / "example.py"))


def shrink(path):
    """Make a picture a third of its size: lines and letters need few colours."""
    from PIL import Image  # comes with matplotlib

    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("pages", type=Path, nargs="+", metavar="page")
    PICTURES.mkdir(exist_ok=True)
    for page in [page.resolve() for page in parser.parse_args().pages]:
        os.chdir(PICTURES)
        before = {path: path.read_bytes() for path in PICTURES.glob("*.png")}
        _, text = run(page)
        page.write_text(text, encoding="utf-8")
        for path in PICTURES.glob("*.png"):
            if path.read_bytes() != before.get(path):
                shrink(path)
        print("\n".join(block[2] for block in BLOCK.finditer(text) if block[2]))


if __name__ == "__main__":
    main()
