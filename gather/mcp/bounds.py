"""Answers of a bounded size, with texts of files and sources as plain data.

A text from a file or a source may read like an instruction. It stands in a field of JSON, in one line, without control
and format characters, and cut to a length; no tool joins it into a sentence of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MOST_CHARACTERS = 6_000
"""Of an answer in JSON: 2,000 tokens at three characters each, where English has four."""
MOST_ERROR = 300


def fitted(answer: dict[str, Any], most: int = MOST_CHARACTERS) -> dict[str, Any]:
    """Return the answer with the ends of its longest lists left out until it fits; ``left_out`` counts the entries.

    Raises
    ------
    ValueError
        The answer is too large and has no list.
    """
    left_out = int(answer.get("left_out", 0))
    while size_of(answer | {"left_out": left_out}) > most:
        lists = [entries for entries in _lists(answer) if entries]
        if not lists:
            raise ValueError("an answer without lists is larger than the limit")
        max(lists, key=size_of).pop()
        left_out += 1
    return answer | {"left_out": left_out}


def size_of(value: Any) -> int:
    """Return the number of characters of a value in JSON."""
    return len(json.dumps(value, ensure_ascii=False))


def _lists(value: Any, depth: int = 0) -> Iterator[list[Any]]:
    """The lists directly in an answer; those of an entry are short."""
    if isinstance(value, dict) and depth < 2:
        for entry in value.values():
            if isinstance(entry, list):
                yield entry
            else:
                yield from _lists(entry, depth + 1)
