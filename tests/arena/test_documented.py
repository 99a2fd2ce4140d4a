"""What docs/arena.md says is held by a test is held by one that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"(test_\w+\.py)")
TEST = re.compile(r"\b(test_\w+)\b(?!\.py)")


def test_every_test_that_the_page_names_exists() -> None:
    text = (ROOT / "docs" / "arena.md").read_text(encoding="utf-8")
    here = {
        path.name: path.read_text(encoding="utf-8")
        for folder in ("arena", "benchmarks")
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    }
    defined = set(re.findall(r"^(?:async )?def (test_\w+)", "\n".join(here.values()), re.MULTILINE))
    assert set(FILE.findall(text)) <= here.keys()
    assert set(TEST.findall(FILE.sub("", text))) <= defined
