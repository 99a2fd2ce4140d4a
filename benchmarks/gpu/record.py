"""What a part found: rows of tables and notes, written as JSON and Markdown after every row."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_BEGAN = time.time()


def say(text: str) -> None:
    """One line of progress on stdout, with the seconds since the start."""
    sys.stdout.write(f"[{time.time() - _BEGAN:6.1f}] {text}\n")
    sys.stdout.flush()


class Record:
    """Tables of one part by title; `folder` receives them as they grow."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.notes: list[str] = []

    def row(self, table: str, **columns: Any) -> None:
        """Add a row, say it, and write all."""
        self.tables.setdefault(table, []).append(columns)
        say(f"{table}: " + ", ".join(f"{name} {value}" for name, value in columns.items()))
        self.write()

    def note(self, text: str) -> None:
        """Add a sentence below the tables."""
        self.notes.append(text)
        say(text)
        self.write()

    def write(self) -> None:
        """Write DIR/<part>.json and DIR/<part>.md."""
        whole = {"tables": self.tables, "notes": self.notes}
        (self.folder / f"{self.name}.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
        (self.folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """All tables."""
        parts = [f"## {self.name}\n"]
        for title, rows in self.tables.items():
            columns = list(dict.fromkeys(c for row in rows for c in row))
            lines = [" | ".join(str(row.get(c, "")) for c in columns) for row in rows]
            head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
            parts.append(f"{title}\n\n{head}" + "".join(f"| {line} |\n" for line in lines))
        parts += [f"{note}\n" for note in self.notes]
        return "\n".join(parts)
