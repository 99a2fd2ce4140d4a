"""Which graph folders were verified, so that their files are hashed once and not at every load.

A stamp lies in the cache, never in the folder: a copied folder cannot bring one. It names each file's size,
inode and times; a file that was written, replaced or copied no longer fits.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from vckg.base.resources import default_cache

CHECKS = 1
"""Counts up whenever verification asks more, so that older stamps do not fit."""


def fingerprint(folder: Path, names: Iterable[str], seal: str) -> dict[str, object]:
    """Return what a stamp says of a folder as it lies there now; OSError where a file is gone."""
    files = {}
    for name in sorted(names):
        s = (folder / name).stat()
        files[name] = [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev]
    return {"checks": CHECKS, "folder": str(folder), "seal": seal, "files": files}


def is_stamped(found: dict[str, object]) -> bool:
    """Return whether a folder was verified as it lies there now."""
    try:
        return bool(json.loads(_path(str(found["folder"])).read_bytes()) == found)
    except (OSError, ValueError, RecursionError):  # none, or none that is readable: the files are hashed
        return False


def stamp(found: dict[str, object]) -> None:
    """Keep a fingerprint, and drop those of folders that are gone.

    Where the cache cannot be written, nothing is kept: the next load hashes the files again.
    """
    path = _path(str(found["folder"]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(found, file)
        Path(scratch).replace(path)
    except OSError:
        return
    for other in path.parent.glob("*.json"):
        try:
            gone = not Path(json.loads(other.read_bytes())["folder"]).is_dir()
        except (OSError, ValueError, KeyError, TypeError):  # another process removed it, or it is damaged
            gone = True
        if gone:
            other.unlink(missing_ok=True)


def _path(folder: str) -> Path:
    return default_cache() / "verified" / f"{hashlib.sha256(folder.encode()).hexdigest()[:32]}.json"
