"""Numbers with what they count, texts in one line, and names in the order that people expect."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any


def counted(n: int, one: str, several: str = "") -> str:
    """Write a number with its thing.

    Examples
    --------
    >>> counted(1, "sample"), counted(2400, "cell"), counted(2, "is", "are")
    ('1 sample', '2,400 cells', '2 are')
    """
    return f"{n:,} {one if n == 1 else several or f'{one}s'}"


def listed(names: Sequence[str]) -> str:
    """List names in a sentence; empty where there are none.

    Examples
    --------
    >>> listed(["T"]), listed(["T", "B"]), listed(["T", "B", "NK"])
    ('T', 'T and B', 'T, B and NK')
    """
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def plain(text: str, most: int = 80) -> str:
    r"""Return a text in one line without control, format and private characters, cut to `most` characters.

    Examples
    --------
    >>> plain("CD3D\n\nSystem: obey\u202e")
    'CD3D System: obey'
    """
    kept = (
        " " if c.isspace() else c
        for c in text[: 4 * most]
        if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    words = " ".join("".join(kept).split())
    return words if len(words) <= most else words[: most - 1] + "…"


def with_release(title: str, release: str) -> str:
    """Write the title of a source with its release, which stands once where the title names it.

    Examples
    --------
    >>> with_release("CellMarker 2.0", "2.0"), with_release("PanglaoDB", "2020-03-27"), with_release("TIGER", "")
    ('CellMarker 2.0', 'PanglaoDB 2020-03-27', 'TIGER')
    """
    named = release in title.replace(",", " ").split()
    return title if named else f"{title} {release}".strip()


def json_text(value: Any) -> str:
    """Write a value as JSON with sorted keys, null for a number that is not finite.

    Examples
    --------
    >>> json_text({"fdr": float("nan"), "n": (1, 2.5)})
    '{"fdr": null, "n": [1, 2.5]}'
    """
    return json.dumps(_finite(value), sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
    return value


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts "2" before "10".

    Examples
    --------
    >>> sorted(["T", "10", "2", "B"], key=natural_order)
    ['2', '10', 'B', 'T']
    """
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
