"""`vckg fetch --graph`: a released archive becomes a graph folder, verified, whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import zstandard

from vckg.base.console import progress, transfers
from vckg.base.errors import GraphError, SourceError
from vckg.base.lock import locked
from vckg.build.download import SCRATCH, download
from vckg.build.fetch import FETCHING, Places
from vckg.build.network import Network, without_login
from vckg.graph.folder import new_folder, read_folder, refuse_foreign, sha256_of
from vckg.graph.graph import Graph
from vckg.graph.manifest import MANIFEST

MOST_MANIFEST_BYTES = 64_000_000
_FIX = "nothing was installed; get the archive again"
_DAMAGE = (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError, KeyError, TypeError, AttributeError)


def install(origin: str, folder: Path, places: Places, *, sha256: str = "") -> Graph:
    """Install a released graph and return it, read from its folder.

    Parameters
    ----------
    origin
        A file, or an address that begins with ``http:`` or ``https:``.
    folder
        Where the graph goes; an older graph there is replaced, anything else is refused.
    places
        Its cache holds a download until it is installed.
    sha256
        Of the archive. Without it the file ``ORIGIN.sha256`` decides, where there is one.

    Raises
    ------
    SourceError
        The archive cannot be had, has another checksum, or is damaged.
    GraphError
        The graph inside is damaged or of another format version. In both cases nothing is installed.
    """
    folder = folder.absolute()
    refuse_foreign(folder)
    with _at_hand(origin, places) as (archive, stated):
        expected = (sha256 or stated).lower()
        if expected and (digest := sha256_of(archive)) != expected:
            raise SourceError(origin, f"sha256 {digest}, {expected} expected", fix=_FIX)
        with (
            locked(folder.parent / f".{folder.name}.lock", f"is building {folder}"),
            progress(f"installing {origin}"),
            new_folder(folder) as new,
        ):
            try:
                _unpack(archive, new)
                read_folder(new, verify=True)
            except _DAMAGE as error:
                raise SourceError(origin, f"not a sound archive of a graph ({error})", fix=_FIX) from error
            except GraphError as error:
                words = str(error).replace(f"{new}/", "")
                raise GraphError(f"{origin}: {words.partition(';')[0]}; {_FIX}") from error
    return Graph.load(folder)


@contextmanager
def _at_hand(origin: str, places: Places) -> Iterator[tuple[Path, str]]:
    """The archive as a file, and the checksum in the file next to it, empty where there is none."""
    if not origin.startswith(("http:", "https:")):
        path = Path(origin)
        if not path.is_file():
            raise SourceError(origin, "no such file", fix="give a file or an address of a released graph")
        beside = path.with_name(path.name + ".sha256")
        yield path, _checksum(beside)
        return
    if refusal := "offline" if places.offline else Network().refusal(origin):
        raise SourceError(origin, refusal, fix="get the archive another way and give the file")
    with (
        locked(places.cache / ".lock", FETCHING),
        tempfile.TemporaryDirectory(prefix=SCRATCH, dir=places.cache) as scratch,
    ):
        _download(origin, Path(scratch))
        yield Path(scratch) / "archive", _checksum(Path(scratch) / "sum")


def _download(origin: str, scratch: Path) -> None:
    """Fetch ``archive`` and, where one was published, ``sum``."""
    import requests

    try:
        with transfers("fetching a graph") as show:
            download(origin, scratch / "archive", show("graph"))
            with suppress(requests.HTTPError):  # without one the checks of the graph itself remain
                download(f"{origin}.sha256", scratch / "sum", show("checksum"))
    except requests.RequestException as error:
        reason = without_login(str(error))[:200]
        raise SourceError(without_login(origin), f"cannot be fetched ({reason})", fix=_FIX) from error


def _checksum(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    return found.group(1) if found else ""


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files that the manifest, which comes first, lists with their sizes; refuse any other."""
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream,
        tarfile.open(fileobj=stream, mode="r|") as members,
    ):
        expected: dict[str, int] = {}
        for member in members:
            name = "/".join(PurePosixPath(member.name).parts[1:])
            content = members.extractfile(member) if member.isfile() else None
            if content is None:
                raise ValueError(f"{member.name} is not a plain file")
            if not expected:
                if name != MANIFEST or member.size > MOST_MANIFEST_BYTES:
                    raise ValueError(f"{member.name} where {MANIFEST} belongs")
                text = content.read()
                expected = _listed(json.loads(text))
                (folder / MANIFEST).write_bytes(text)
                continue
            if expected.pop(name, None) != member.size:
                raise ValueError(f"{member.name} is not in its manifest, or of another size")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as sink:
                shutil.copyfileobj(content, sink)
    if not expected:
        raise ValueError("it is empty")
    if missing := sorted(name for name in expected if name != MANIFEST):
        raise ValueError(f"{missing[0]} is missing")


def _listed(manifest: dict[str, Any]) -> dict[str, int]:
    """Names and sizes of the files of a graph; none may lead out of its folder."""
    files = {str(name): int(entry["bytes"]) for name, entry in manifest["files"].items()}
    for name in files:
        if not name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"its manifest lists {name!r}")
    return files | {MANIFEST: 0}
