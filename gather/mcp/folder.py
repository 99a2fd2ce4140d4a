"""The one folder that the tools may read and write."""

from __future__ import annotations

from pathlib import Path

from vckg.base.errors import InputError

MOST_BYTES = 4 << 30
"""Size of the largest file that a tool opens."""
MOST_NAME = 500


class Folder:
    """Paths below one folder; symbolic links are followed before the place is judged.

    Parameters
    ----------
    root
        The folder.
    most_bytes
        Size of the largest file that is opened.

    Raises
    ------
    InputError
        There is no such folder.
    """

    def __init__(self, root: Path, most_bytes: int = MOST_BYTES) -> None:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; name the folder of your files with --folder")
        self.root = root.resolve()
        self.most_bytes = most_bytes

    def reading(self, name: str) -> Path:
        """Return the path of a file to read.

        Raises
        ------
        InputError
            The path leads out of the folder, is no file, or the file is too large.
        """
        path = self._inside(name)
        if not path.is_file():
            raise InputError(f"{name!r}: no such file in the folder; give a name relative to it")
        if path.stat().st_size > self.most_bytes:
            raise InputError(
                f"{name!r}: is larger than {self.most_bytes >> 20:,} MiB; use the command gather"
            )
        return path

    def writing(self, name: str) -> Path:
        """Return the path of a file to write; InputError where it leads out of the folder or exists."""
        path = self._inside(name)
        if path.exists() or (self.root / name).is_symlink():
            raise InputError(f"{name!r}: exists; give another output")
        if not path.parent.is_dir():
            raise InputError(f"{name!r}: its folder does not exist; give a name in an existing folder")
        return path

    def _inside(self, name: str) -> Path:
        if not name or len(name) > MOST_NAME or not name.isprintable():
            raise InputError(f"a path is empty, longer than {MOST_NAME} characters or not printable")
        try:
            path = (self.root / name).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a ring of links
            raise InputError(f"{name!r}: is no usable path; give a name relative to the folder") from error
        if not path.is_relative_to(self.root) or path == self.root:
            raise InputError(f"{name!r}: is outside the folder; give a name relative to it")
        return path
