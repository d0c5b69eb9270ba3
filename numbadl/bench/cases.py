"""All benchmarks by name, from the registries; `numbadl bench` and asv both take them from here."""

from . import elementwise, layers, network, start

CASES = {case.name: case for part in (elementwise, network, layers, start) for case in part.cases()}
GROUPS = tuple(dict.fromkeys(case.group for case in CASES.values()))


def select(names):
    """The cases that *names* of cases and groups stand for (all for none); raises KeyError for others."""
    found = {}
    for name in names or GROUPS:
        if name in GROUPS:
            found |= {c.name: c for c in CASES.values() if c.group == name}
        else:
            found[name] = CASES[name]
    return list(found.values())
