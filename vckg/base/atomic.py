"""Replace files and folders whole or not at all, and keep the paths of one command apart.

New content is made in a scratch folder beside its target and renamed into place. The scratch folder is locked while
its process lives, so that the next writer of the same target can remove what a killed one left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vckg.base.errors import InputError

SUFFIX = ".partial"
"""Ends the name of every scratch folder: ``.TARGET.xxxxxxxx.partial``."""
_NEW, _OLD = "new", "old"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path that becomes `target` when the block ends well, and is removed when it does not.

    The block makes a file or a folder at that path. An old file is replaced in one step. An old folder is moved aside
    first; where the process is killed between both steps, the next `sweep` moves it back. A target that is a symbolic
    link is replaced by the new content; what the link leads to stays as it is.

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
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def write_text(target: Path, text: str | Iterable[str]) -> None:
    """Replace a text file (UTF-8, line ends as given); pieces are written as they come. Missing folders are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as new, new.open("w", encoding="utf-8", newline="") as file:
        file.writelines([text] if isinstance(text, str) else text)


def sweep(target: Path) -> None:
    """Remove what killed writers of `target` left beside it; leave what a living one holds."""
    target = target.absolute()
    for left in target.parent.glob(f".{_escaped(target.name)}.*{SUFFIX}"):
        with suppress(OSError):  # another sweep may be faster; a foreign one we may not remove
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _give_back(left, target)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


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
        All paths one command writes and reads. Symbolic links are resolved, hard links compared.
    overwrite
        Whether existing files may be replaced.
    missing_folder
        Whether the command creates the folder of an output.

    Raises
    ------
    InputError
        Before anything is written.
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
    """Whether two paths lead to one file, by symbolic links, by hard links, or by another spelling."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _scratch(target: Path) -> tuple[Path, int]:
    """Make and lock a scratch folder; another one where a sweep was faster than the lock."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=SUFFIX, dir=target.parent))
        handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems have no locks; then nothing is swept there
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if scratch.is_dir():
            return scratch, handle
        os.close(handle)


def _give_back(scratch: Path, target: Path) -> None:
    """Move an old folder back whose new one did not take its place."""
    if (scratch / _OLD).is_dir() and not target.exists():
        (scratch / _OLD).rename(target)


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _escaped(name: str) -> str:
    """A file name as a pattern of itself alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def reason(error: OSError) -> str:
    """Say in a few words why the system refused."""
    said = " ".join((error.strerror or str(error) or type(error).__name__).split())[:200]
    full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # libraries give no number
    return f"{said}; is the disk full?" if full else said
