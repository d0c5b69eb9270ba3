"""The formulas of the records, which are LaTeX, as matplotlib's mathtext and GitHub's Markdown understand them."""

import re

_NAMES = re.compile(r"\\operatorname\{(\w+)\}(\^\d)? ?")
_UPRIGHT = r"\\,\\mathrm{\1}\2\\,"


def mathtext(formula):
    r"""*formula* for matplotlib, with the dollars.

    >>> print(mathtext(r"x \text{ if } x \ge 0"))
    $x \mathrm{\ if\ } x \geq 0$
    """
    formula = re.sub(r"\\text\{(.*?)\}", lambda found: r"\mathrm{" + found[1].replace(" ", r"\ ") + "}", formula)
    formula = _NAMES.sub(_UPRIGHT, formula).replace(r"\tfrac", r"\frac")
    formula = re.sub(r"(?<=[\w)]) ?(\\(?:min|max|tanh))", r"\,\1", formula)  # it puts them close to a factor
    formula = re.sub(r"\\(le|ge)(?![a-z])", r"\\\1q", formula)
    return f"${formula}$"


def markdown(formula):
    r"""*formula* for a cell of a table in GitHub's Markdown, with the dollars.

    A bar would end the cell. Markdown takes the backslash from ``\,``, and GitHub refuses ``\operatorname``.

    >>> print(markdown(r"\frac{x}{1 + |x|},\, x"))
    $\frac{x}{1 + \lvert x\rvert},\thinspace x$
    """
    parts = formula.split("|")
    bars = [r"\lvert " if k % 2 == 0 else r"\rvert" for k in range(len(parts) - 1)]
    formula = parts[0] + "".join(bar + part for bar, part in zip(bars, parts[1:], strict=True))
    return "$" + _NAMES.sub(_UPRIGHT, formula).replace(r"\, ", r"\,").replace(r"\,", r"\thinspace ") + "$"
