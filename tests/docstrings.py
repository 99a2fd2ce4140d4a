"""Prose of the packages: docstrings, comments, help and messages, as sentences.

``python -m tests.docstrings --seed 7 --count 30`` prints a sample of public docstrings to read as a stranger would.
``python -m tests.docstrings --long`` prints every sentence over `MOST_WORDS` words, which the tests count.
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import io
import random
import re
import sys
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from tests.layers import PACKAGES, ROOT, modules

MOST_WORDS = 25
"""Words of a sentence that is read at once."""
_LITERAL = re.compile(r"``.*?``|`[^`]*`", re.DOTALL)
_ROW = re.compile(r"^-+$|^(Parameters|Returns|Raises|Examples|Attributes|Yields)$|\S {2,}\S|^[│├└|]")
"""A line that is no prose: an underline, a title, a row of a table."""
_DOCTEST = re.compile(r"^\s*>>>.*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_NO_PROSE = re.compile(r"^```.*?^```|^\$\$.*?\$\$|<!--.*?-->|\A---\n.*?\n---\n", re.MULTILINE | re.DOTALL)
"""Blocks of code and of formulas, comments and front matter of a page."""
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9*`\"'(])")


class Prose(NamedTuple):
    """A text of the project and where it stands."""

    where: str
    kind: str
    """docstring, comment, text (any other string: help, message, printed line), or page."""
    text: str


def prose(package: str) -> Iterator[Prose]:
    """Yield the docstrings, the comments and the other strings of a package."""
    for name, source in modules(package).items():
        tree = ast.parse(source)
        notes = _notes(tree)
        for node, text in notes.items():
            yield Prose(f"{name}:{node.lineno}", "docstring", text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node not in notes and " " in str(node.value):
                yield Prose(f"{name}:{node.lineno}", "text", str(node.value))
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and not re.match(r"# *(type|noqa|fmt|----)", token.string):
                yield Prose(f"{name}:{token.start[0]}", "comment", token.string.lstrip("#: "))


def _notes(tree: ast.Module) -> dict[ast.Constant, str]:
    """Return the docstrings, and the strings that stand alone behind a constant or a field."""
    return {
        node.value: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without examples, section titles and rows of tables."""
    found, block = [], ""
    before = None
    text = inspect.cleandoc(text)
    for line in [*(_DOCTEST.sub("", text) if ">>>" in text else text).splitlines(), ""]:
        indent = len(line) - len(line.lstrip())
        row = not line.strip() or _ROW.search(line.strip()) is not None
        if row or indent != before or line.lstrip().startswith(("- ", "* ")):
            found += [" ".join(part.split()) for part in _END.split(block) if part.strip()]
            block = ""
        before = indent
        block += "" if row else line + "\n"
    return found


def pages() -> Iterator[Prose]:
    """Yield the text of the README, CONTRIBUTING and every page below ``docs/``."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        name = path.relative_to(ROOT).as_posix()
        yield Prose(name, "page", page_prose(path.read_text(encoding="utf-8")))


def page_prose(markdown: str) -> str:
    """Return the paragraphs and list items of a page as plain text: without code, tables, titles and addresses."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", _NO_PROSE.sub("\n", markdown)).replace("**", "")
    lines = []
    for line in re.sub(r" ·\s", "\n\n", text).splitlines():
        if line.lstrip().startswith(("#", "|", "<", "!!!", "???")):
            line = ""
        if re.match(r"\s*(\d+\.|[-*+]) ", line):
            lines.append("")
        lines.append(re.sub(r"^\s*(\d+\.|[-*+]|>) ?", "", line).strip())
    return "\n".join(lines)


def words(sentence: str) -> int:
    """Return the number of words; code in backticks counts as one."""
    return len(_LITERAL.sub("code", sentence).split())


class Documented(NamedTuple):
    """A public name with its docstring."""

    name: str
    docstring: str


@functools.cache
def public_docstrings() -> tuple[Documented, ...]:
    """Return every public module, class and function of the packages that has a docstring."""
    found = []
    for package in PACKAGES:
        for name, source in modules(package).items():
            found += list(_documented(name, ast.parse(source)))
    return tuple(found)


def sample(seed: int, count: int) -> list[Documented]:
    """Return public docstrings drawn by a seed."""
    return random.Random(seed).sample(public_docstrings(), count)


def _documented(name: str, node: ast.AST) -> Iterator[Documented]:
    if any(part.startswith("_") for part in name.rpartition(".")[2:]):
        return
    if text := ast.get_docstring(node):  # type: ignore[arg-type]
        yield Documented(name, text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(f"{name}.{child.name}", child)


def main() -> None:
    """Print a sample of docstrings, or the long sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--long", action="store_true", help="print the long sentences instead")
    chosen = parser.parse_args()
    if chosen.long:
        for piece in (*(p for package in PACKAGES for p in prose(package)), *pages()):
            for sentence in sentences(piece.text):
                if words(sentence) > MOST_WORDS:
                    sys.stdout.write(f"{piece.where} ({piece.kind}, {words(sentence)} words): {sentence}\n")
        return
    for entry in sample(chosen.seed, chosen.count):
        sys.stdout.write(f"--- {entry.name}\n{entry.docstring}\n\n")


if __name__ == "__main__":
    main()
