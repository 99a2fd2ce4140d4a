"""Cache of replies on disk: one SQLite file, one committed row for each reply.

A row is written before the reply is used, so that a killed run loses no reply. Several runs may share the file. The
key is a hash of endpoint, model, parameters, schema and prompt; the file holds neither prompts nor API keys.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from weakref import finalize

from gather.llm.base import Reply, Usage
from vckg.base.errors import InputError
from vckg.base.resources import default_cache

_TABLE = """
create table if not exists reply (
  key text primary key, text text not null, model text not null, estimated integer not null,
  prompt_tokens integer not null, completion_tokens integer not null
) without rowid
"""


def default_cache_path() -> Path:
    """Return the file that the commands use, in the user's cache folder."""
    return default_cache() / "replies.sqlite3"


class ReplyCache:
    """Replies by key; safe to share between threads and between processes.

    Raises
    ------
    InputError
        The file is damaged or no cache of replies.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(self.path, timeout=30, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(
                f"{self.path}: cannot be a cache of replies ({error}); name another file"
            ) from error
        try:
            self._rows.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            self._rows.close()
            raise InputError(
                f"{self.path}: not a cache of replies ({error}); name another file or delete it"
            ) from error
        finalize(self, self._rows.close)

    def get(self, key: str) -> Reply | None:
        """Return the stored reply of a key, or None."""
        with self._lock:
            row = self._rows.execute(
                "select text, prompt_tokens, completion_tokens, estimated from reply where key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        text, prompt_tokens, completion_tokens, estimated = row
        return Reply(text, Usage(prompt_tokens, completion_tokens, bool(estimated)), cached=True)

    def put(self, key: str, reply: Reply, *, model: str) -> None:
        """Store a reply; an earlier one under the same key stays."""
        usage = reply.usage
        with self._lock:
            self._rows.execute(
                "insert or ignore into reply values (?, ?, ?, ?, ?, ?)",
                (key, reply.text, model, usage.estimated, usage.prompt_tokens, usage.completion_tokens),
            )

    def __len__(self) -> int:
        with self._lock:
            return int(self._rows.execute("select count(*) from reply").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
