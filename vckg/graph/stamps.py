"""Stamps of verified graph folders: their files are hashed once and not at every load.

A stamp lies in the cache, never in the folder, so a copied folder cannot bring one. It holds the size, inode and times
of each file; after a write, a replacement or a copy it no longer fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from vckg.base.atomic import write_text
from vckg.base.resources import default_cache

CHECKS = 1
"""Version of the checks behind a stamp; raise it when verification checks more."""


def fingerprint(folder: Path, names: Iterable[str], seal: str) -> dict[str, object]:
    """Return the stamp of a folder in its present state.

    Raises
    ------
    OSError
        A file of `names` is missing.
    """
    files = {}
    for name in sorted(names):
        s = (folder / name).stat()
        files[name] = [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev]
    return {"checks": CHECKS, "folder": str(folder), "seal": seal, "files": files}


def is_stamped(fingerprint: dict[str, object]) -> bool:
    """Return whether the folder was verified in the state of this fingerprint."""
    try:
        return bool(json.loads(_path(str(fingerprint["folder"])).read_bytes()) == fingerprint)
    except (OSError, ValueError, RecursionError):  # no readable stamp: the files are hashed
        return False


def stamp(fingerprint: dict[str, object]) -> None:
    """Write the stamp of a verified folder, and remove the stamps of folders that are gone.

    Where the cache cannot be written, the next load hashes the files again.
    """
    path = _path(str(fingerprint["folder"]))
    try:
        write_text(path, json.dumps(fingerprint))
    except OSError:
        return
    for other in path.parent.glob("*.json"):
        try:
            gone = not Path(json.loads(other.read_bytes())["folder"]).is_dir()
        except (OSError, ValueError, KeyError, TypeError):  # removed by another process, or damaged
            gone = True
        if gone:
            other.unlink(missing_ok=True)


def _path(folder: str) -> Path:
    return default_cache() / "verified" / f"{hashlib.sha256(folder.encode()).hexdigest()[:32]}.json"
