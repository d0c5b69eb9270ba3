"""Where the fields of C structs lie: read from a header, so that nobody has to copy numbers out of it."""

import re

_SIZES = {"char": 1, "int8_t": 1, "bool": 1, "int32_t": 4, "uint32_t": 4, "int": 4, "float": 4}
_SIZES |= dict.fromkeys(("int64_t", "uint64_t", "size_t", "double"), 8)
_POINTER = 8


class Header:
    """The structs, enums and whole-number macros of a C header for 64-bit machines, as far as they are simple.

    Examples
    --------
    >>> header = Header("typedef enum { RED = 3, } Colour; struct Point { Colour colour; double* at; };")
    >>> header.offset("Point", "at"), header.size("Point"), header.values["RED"]
    (8, 16, 3)
    """

    def __init__(self, text, pointer_macros=()):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
        self.values = {name: int(value) for name, value in re.findall(r"#define\s+(\w+)\s+(\d+)\s*\n", text)}
        self._names, self._aliases, self._pointer_macros = set(), {}, tuple(pointer_macros)
        for body, name in re.findall(r"typedef\s+enum\s*\{(.*?)\}\s*(\w+)\s*;", text, re.DOTALL):
            self._names.add(name)
            self.values |= {key: int(value) for key, value in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
        for name, alias in re.findall(r"typedef\s+(\w+)\s+(\w+)\s*;", text):
            self._aliases[alias] = name
        self._bodies = dict(re.findall(r"struct\s+(\w+)\s*\{(.*?)\}", text, re.DOTALL))
        self._laid_out = {}

    def offset(self, struct, field):
        """Bytes from the beginning of a struct to a field of it."""
        return self._layout(struct)[0][field]

    def size(self, struct):
        """Bytes of a struct."""
        return self._layout(struct)[1]

    def _layout(self, struct):
        """(name -> offset of each field, size, alignment)."""
        if struct not in self._laid_out:
            fields, end, widest = {}, 0, 1
            for declaration in filter(None, map(str.strip, self._bodies[struct].split(";"))):
                name, size, alignment = self._field(declaration)
                fields[name] = -(-end // alignment) * alignment
                end, widest = fields[name] + size, max(widest, alignment)
            self._laid_out[struct] = fields, -(-end // widest) * widest, widest
        return self._laid_out[struct]

    def _field(self, declaration):
        """(name, size, alignment)."""
        for pattern in (
            r"\(\s*\*\s*(\w+)\s*\)",
            *(rf"{macro}\((\w+)\)" for macro in self._pointer_macros),
            r"\*\s*(\w+)$",
        ):
            if found := re.search(pattern, declaration):
                return found[1], _POINTER, _POINTER
        kind, name = re.fullmatch(r"(?:const\s+|struct\s+)*(\w+)\s+(\w+)", declaration).groups()
        kind = self._aliases.get(kind, kind)
        if kind in self._names:
            kind = "int"
        if kind in _SIZES:
            return name, _SIZES[kind], _SIZES[kind]
        _, size, alignment = self._layout(kind)
        return name, size, alignment
