"""Replace files and folders whole or not at all, and keep the paths of one command apart.

New content is made in a scratch folder next to its target and renamed into place. A locked file in the scratch folder
tells that its writer lives. The next writer of the same target removes the scratch folders of killed writers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vckg.base.console import FULL
from vckg.base.errors import InputError
from vckg.base.lock import lock_if_possible, try_lock

SUFFIX = ".partial"
"""Ends the name of every scratch folder: ``.TARGET.xxxxxxxx.partial``."""
_NEW, _OLD, _LOCK = "new", "old", "lock"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path that becomes `target` when the block succeeds and is removed when it fails.

    The block makes a file or a folder at that path. An old file is replaced in one step. An old folder is moved away
    first; if the process is killed between both steps, the next `sweep` moves it back. Where the target is a symbolic
    link, the new content replaces the link and not the file that it leads to.

    Raises
    ------
    OSError
        The folder of the target does not exist or cannot be written, or the disk is full.
    """
    target = target.absolute()
    sweep(target)
    scratch, lock = _scratch(target)
    try:
        new = scratch / (_NEW + target.suffix)
        yield new
        if new.is_dir() and target.is_dir():
            target.rename(scratch / _OLD)
        new.replace(target)
    except BaseException:
        _give_back(scratch, target)
        raise
    finally:
        os.close(lock)  # first: some systems remove no open file
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path, text: str | Iterable[str]) -> None:
    """Replace a text file (UTF-8, line ends unchanged) by `text` or its pieces; make missing folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as new, new.open("w", encoding="utf-8", newline="") as file:
        file.writelines([text] if isinstance(text, str) else text)


def sweep(target: Path) -> None:
    """Remove the scratch folders that killed writers of `target` left; keep those of living writers."""
    target = target.absolute()
    for scratch in target.parent.glob(f".{_escaped(target.name)}.*{SUFFIX}"):
        if scratch.is_symlink() or not scratch.is_dir():
            continue
        with suppress(
            OSError
        ):  # another sweep was faster, the folder is another user's, or there are no locks
            handle = _open_lock(scratch)
            try:
                dead = try_lock(handle)
                if dead:
                    _give_back(scratch, target)
                    shutil.rmtree(scratch, ignore_errors=True)
            finally:
                os.close(handle)
            if dead and os.name == "nt":  # it removes no open file, so the lock is still there
                (scratch / _LOCK).unlink()
                scratch.rmdir()


def check_outputs(
    outputs: Sequence[Path],
    *,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    missing_folder: bool = False,
) -> None:
    """Refuse outputs that would overwrite an input, each other, or something that exists.

    Parameters
    ----------
    outputs, inputs
        All paths that one command writes and reads. Symbolic and hard links to one file count as one path.
    overwrite
        Whether the command may replace existing files.
    missing_folder
        Whether the command creates the folder of an output.

    Raises
    ------
    InputError
        Two paths collide, an output exists or cannot be written. Nothing is written.
    """
    for i, out in enumerate(outputs):
        if any(same_place(out, source) for source in inputs):
            raise InputError(f"{out}: is the input, which is never modified; give another -o")
        if any(same_place(out, other) for other in outputs[:i]):
            raise InputError(f"{out}: is named for two outputs; give each a path of its own")
        if out.is_dir():
            raise InputError(f"{out}: is a folder; give a file name")
        if not overwrite and (out.exists() or out.is_symlink()):
            raise InputError(f"{out}: exists; give another -o, or --force")
        folder = _existing(out.parent) if missing_folder else out.parent
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; create it first")
        if not os.access(folder, os.W_OK):
            raise InputError(f"{folder}: cannot be written to; choose another folder")


def same_place(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, through links or another spelling."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _scratch(target: Path) -> tuple[Path, int]:
    """Make a scratch folder and lock it; make another where a sweep took it before the lock."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=SUFFIX, dir=target.parent))
        try:
            handle = _open_lock(scratch)
        except FileNotFoundError:
            continue
        if lock_if_possible(handle) and scratch.is_dir():  # without locks `sweep` removes nothing
            return scratch, handle
        os.close(handle)


def _open_lock(scratch: Path) -> int:
    return os.open(scratch / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)


def _give_back(scratch: Path, target: Path) -> None:
    """Move the old folder back where no new one took its place."""
    if (scratch / _OLD).is_dir() and not target.exists():
        (scratch / _OLD).rename(target)


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _escaped(name: str) -> str:
    """Return a glob pattern that matches this file name only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def reason(error: OSError) -> str:
    """Return the reason of a system error in a few words, with a hint where the disk may be full."""
    words = " ".join((error.strerror or str(error) or type(error).__name__).split())[:200]
    full = error.errno is None or error.errno in FULL  # libraries give no number
    return f"{words}; is the disk full?" if full else words
