"""Read and fill prompt files: a few lines of front matter, then the text.

::

    ---
    name: annotate
    version: 1
    variables: candidates, evidence
    ---
    Name the cell type ...
    {{candidates}}
    {{evidence}}

The id of a prompt is its name and the beginning of the hash of its version and text; results record it.
Substitution is one pass over the template: ``{{evidence}}`` inside a value is not replaced.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from vckg.base.errors import InputError
from vckg.base.resources import resource

_FILE = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<text>.*)", re.DOTALL)
_HEADER = re.compile(r"(?P<key>[a-z]+):\s*(?P<value>.*)")
_VARIABLE = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_KEYS = ("name", "version", "variables")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt file."""

    name: str
    version: str
    variables: tuple[str, ...]
    text: str
    id: str = field(init=False)
    """``name@`` and eight digits of the SHA-256 of version and text."""

    def __post_init__(self) -> None:
        used = set(_VARIABLE.findall(self.text))
        if used != set(self.variables):
            raise InputError(
                f"prompt {self.name}: front matter declares {sorted(self.variables)}, "
                f"the text uses {sorted(used)}; make the two agree"
            )
        digest = hashlib.sha256(f"{self.version}\n{self.text}".encode()).hexdigest()[:8]
        object.__setattr__(self, "id", f"{self.name}@{digest}")

    def render(self, **values: str) -> str:
        """Return the text with every variable replaced.

        Raises
        ------
        InputError
            A variable has no value, or a value has no variable.
        """
        if values.keys() != set(self.variables):
            missing, unknown = set(self.variables) - values.keys(), values.keys() - set(self.variables)
            faults = [f"no value for {name}" for name in sorted(missing)]
            faults += [f"no place for {name}" for name in sorted(unknown)]
            raise InputError(f"prompt {self.id}: {'; '.join(faults)}")
        return _VARIABLE.sub(lambda match: values[match[1]], self.text)


@cache
def load_prompt(name: str) -> Prompt:
    """Return a shipped prompt by its path under ``prompts/`` without suffix, e.g. ``"gather/annotate"``.

    ``"PACKAGE:PATH"`` names a prompt in the folder of another package.
    """
    package, _, inside = name.rpartition(":")
    if package:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise InputError(f"prompt {name}: no package {package!r}; install it")
        path = Path(spec.origin).parent.joinpath(*inside.split("/")).with_suffix(".md")
    else:
        path = resource("prompts", *name.split("/")).with_suffix(".md")
    if not path.is_file():
        fix = f"; {package} has to list it as package data" if package else ""
        raise InputError(f"{path}: no such prompt{fix}")
    return parse_prompt(path.read_text(encoding="utf-8"), where=str(path))


def parse_prompt(source: str, *, where: str = "prompt") -> Prompt:
    """Read a prompt file; `where` names it in errors.

    Raises
    ------
    InputError
        The front matter is missing, or has keys other than name, version and variables.
    """
    match = _FILE.fullmatch(source)
    if not match:
        raise InputError(f"{where}: no front matter; begin with '---', name, version, variables, '---'")
    head = dict(_header(line, where) for line in match["head"].splitlines() if line.strip())
    if head.keys() != set(_KEYS):
        raise InputError(f"{where}: front matter has {sorted(head)}, wanted exactly {list(_KEYS)}")
    variables = tuple(v.strip() for v in head["variables"].split(",") if v.strip())
    return Prompt(head["name"], head["version"], variables, match["text"].strip("\n"))


def _header(line: str, where: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(line.strip())
    if not match:
        raise InputError(f"{where}: front matter line {line!r} is not 'key: value'")
    return match["key"], match["value"].strip()
