"""Parameters of Go notebooks for papermill, typed by the declarations of the cell tagged "parameters"."""

import difflib
import json
import math
import re

from papermill.engines import NBClientEngine  # noqa: F401, what the entry point names
from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

STRING = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
DECLARATION = re.compile(rf"^\s*(?:(var|const)\s+)?(\w+)(?:\s+(\w+))?\s*=\s*((?:{STRING}|[^\"`])*?)\s*(?://\s*(.*))?$")
LITERALS = [  # the Go type that a literal gives a variable, and the literal
    ("bool", r"true|false"),
    ("int", r"[+-]?(0|[1-9][\d_]*|0[xX][\da-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+)"),
    ("float64", r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?"),
    ("string", STRING),
]


class GoTranslator(Translator):
    """Writes parameters as Go declarations. Papermill calls inspect with the declared ones before codify."""

    def __init__(self):
        self.declared = {}  # name: (var or const, type, whether the type is written out)

    def inspect(self, parameters_cell):
        self.declared, found, keyword = {}, [], "var"
        for line in parameters_cell["source"].splitlines():
            if group := re.match(r"^\s*(var|const)\s*\(", line):
                keyword = group[1]
                continue
            if not (match := DECLARATION.match(line)):
                continue
            own, name, explicit, default, comment = match.groups()
            kind = explicit or next((kind for kind, form in LITERALS if re.fullmatch(form, default)), None)
            if kind:
                self.declared[name] = (own or keyword, kind, bool(explicit))
                found.append(Parameter(name, kind, default, comment or ""))
        return found

    def codify(self, parameters, comment="Parameters"):
        lines = [f"// {comment}"]
        for name, value in parameters.items():
            if name not in self.declared:
                near = difflib.get_close_matches(name, self.declared, 1, 0)
                raise PapermillException(f"no parameter {name} is declared" + (f"; did you mean {near[0]}?" if near else ""))
            keyword, kind, explicit = self.declared[name]
            lines.append(f"{keyword} {name}{' ' + kind if explicit else ''} = {literal(name, kind, value)}")
        return "\n".join(lines) + "\n"


def literal(name, kind, value):
    """The Go literal of a value as papermill's command line guesses it: an int may be meant for a float or a string."""
    if kind == "bool" and isinstance(value, bool):
        return "true" if value else "false"
    if kind == "string" and isinstance(value, (str, bool, int, float)):
        return json.dumps(str(value).lower() if isinstance(value, bool) else str(value), ensure_ascii=False)
    if not isinstance(value, bool):
        if re.fullmatch("u?int(8|16|32|64)?", kind) and isinstance(value, int):
            return str(value)
        if kind in ("float32", "float64") and isinstance(value, (int, float)) and math.isfinite(value):
            return repr(float(value))
    raise PapermillException(f"parameter {name} is {kind}; {value!r} is not")


papermill_translators.register("go", GoTranslator())
