"""``python -m tests.size``: lines of the four packages; code is the rest without blanks, comments and docstrings."""

import ast
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("vckg", "gather", "arena", "serve")
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of(text: str) -> tuple[int, int]:
    """Return the lines of a Python file, and those that hold code."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
                code.difference_update(range(first, last + 1))
    return text.count("\n"), len(code)


def main() -> None:
    """Print the table."""
    total, code = 0, 0
    for package in PACKAGES:
        found = [lines_of(path.read_text(encoding="utf-8")) for path in (ROOT / package).rglob("*.py")]
        lines, of_code = (sum(column) for column in zip(*found, strict=True))
        sys.stdout.write(f"{package:7}{len(found):5} files {lines:7,} lines {of_code:7,} of code\n")
        total, code = total + lines, code + of_code
    sys.stdout.write(f"{'all':18}{total:7,} lines {code:7,} of code\n")


if __name__ == "__main__":
    main()
