"""Replace files whole or not at all.

This package imports none of the others, so it does not use ``vckg.base.atomic``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new file that replaces `target` when the block ends, and is removed if the block fails.

    Missing parent folders of `target` are created.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        temporary = Path(scratch) / target.name
        yield temporary
        temporary.replace(target)


def write_text(target: Path, text: str) -> None:
    """Replace a text file."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
