"""One member of a wheel on a server, without the rest of the wheel: the server sends ranges of bytes."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from vckg.build.package_index import TIMEOUT_S, certificate

if TYPE_CHECKING:
    from requests import Response

BLOCK = 1 << 18
"""Bytes asked for at a time."""


class NoRanges(Exception):
    """The server sends whole files alone, or no wheel."""


class RangeFile(io.RawIOBase):
    """A file on a server, read by ranges.

    Raises
    ------
    NoRanges
        The server sends whole files alone.
    requests.RequestException
        The server does not answer.
    """

    def __init__(self, url: str) -> None:
        import requests

        self._session, self._url, self._place = requests.Session(), url, 0
        self._session.verify = certificate(os.environ)
        with self._asked(0, 0) as reply:
            length = reply.headers["content-range"].rpartition("/")[2]
        if not length.isdecimal():
            raise NoRanges(url)
        self._length = int(length)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move and return the place in the file, in bytes."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        self._place = min(max(start + offset, 0), self._length)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the place on; return the number of bytes, 0 at the end."""
        first, last = self._place, min(self._place + len(buffer), self._length) - 1
        if last < first:
            return 0
        with self._asked(first, last) as reply:
            data = reply.content
        if len(data) != last - first + 1:
            raise NoRanges(self._url)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        super().close()

    @contextmanager
    def _asked(self, first: int, last: int) -> Iterator[Response]:
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        with self._session.get(self._url, headers=headers, timeout=TIMEOUT_S, stream=True) as reply:
            reply.raise_for_status()
            if reply.status_code != 206 or not reply.headers.get("content-range", "").startswith(
                f"bytes {first}-"
            ):
                raise NoRanges(self._url)
            yield reply


def read_member(url: str, member: str, sink: IO[bytes]) -> None:
    """Write one member of the wheel at an address to `sink`.

    Raises
    ------
    NoRanges
        The server sends whole files alone, or what it sends is no wheel.
    KeyError
        The wheel has no such member.
    """
    with RangeFile(url) as remote:
        try:
            with zipfile.ZipFile(io.BufferedReader(remote, BLOCK)) as wheel, wheel.open(member) as file:
                shutil.copyfileobj(file, sink, BLOCK)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise NoRanges(f"{url}: {error}") from error
