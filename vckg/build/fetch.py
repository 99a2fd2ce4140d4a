"""Files of sources: looked up or downloaded along the routes of the source table, verified, cached.

The cache holds one folder per source. A file in it carries the beginning of its sha256 in its name, so two releases
never meet. A file appears whole or not at all (`vckg.base.atomic`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vckg.base.errors import SourceError
from vckg.base.lock import locked
from vckg.build.download import SCRATCH, download_missing
from vckg.build.lookup import Absent, Found, Places, Search, Wanted, default_mirrors, local_file, look_up
from vckg.build.source_table import Route, Source, Taken

__all__ = ["FETCHING", "Places", "default_mirrors", "digest_of", "fetch", "fetch_reachable", "now_at_hand"]


FETCHING = "is fetching into the same cache"
"""What the holder of the lock of a cache does."""


def fetch(sources: Sequence[Source], places: Places) -> list[Taken]:
    """Return all the sources with their files, fetching missing ones; none may be left out.

    Raises
    ------
    SourceError
        A file has another checksum than its route says, or no route of a source leads to a file.
    """
    return fetch_reachable([replace(s, optional=False, if_reached=False) for s in sources], places)[0]


def fetch_reachable(sources: Sequence[Source], places: Places) -> tuple[list[Taken], dict[str, str]]:
    """Return the sources with their files, and by name why an absent one is left out.

    Only a source that is `optional` or `if_reached` may be left out. An unreachable network costs
    `vckg.build.network.LIMIT_S` seconds in all.

    Raises
    ------
    SourceError
        As for `fetch`. A download of an `if_reached` source with another checksum is a reason, not an error.
    """
    with locked(places.cache / ".lock", FETCHING):
        search = _searched(sources, places)
    absent: dict[str, str] = {}
    for source in sources:
        if search.missing(source):
            if not (source.optional or source.if_reached):
                raise _nowhere(source, search.why(source), places)
            absent[source.name] = search.why(source)
    return [_taken(s, search.found) for s in sources if s.name not in absent], absent


def now_at_hand(sources: Sequence[Source], names: Iterable[str], places: Places) -> list[str]:
    """Return those of the named sources whose files all lie here now; of files in packages the checksum is compared."""
    names = set(names)
    return [s.name for s in sources if s.name in names and all(_lies_here(s, p, places) for p in s.needs)]


def _lies_here(source: Source, part: str, places: Places) -> bool:
    for route in source.routes:
        if route.part == part:
            try:
                local_file(source, route, places)
            except Absent:
                continue
            return True
    return False


def _searched(sources: Sequence[Source], places: Places) -> Search:
    """Look every file up, then download what is missing. The caller holds the lock of the cache."""
    for left in places.cache.glob(f"{SCRATCH}*"):  # of a killed run: the lock is held, so none is at work
        shutil.rmtree(left, ignore_errors=True)
    search = Search()
    for source in sources:
        for part in source.needs:
            look_up(source, part, places, search)
    missing = [(s, p) for s in sources if not s.optional for p in search.missing(s)]
    if missing and not places.offline:
        download_missing(missing, places, search)
    return search


def _nowhere(source: Source, tried: str, places: Places) -> SourceError:
    offline = " (offline)" if places.offline else ""
    hint = source.note or "supply the file in a mirror folder"
    return SourceError(
        f"source {source.name}",
        f"no route leads to its file{offline}: {tried}",
        fix=f"{hint}, or leave it out with --exclude-source {source.name}",
    )


def _taken(source: Source, found: Mapping[Wanted, Found]) -> Taken:
    hits = {part: found[source.name, part] for part in source.needs}
    options = dict(source.options)
    for hit in hits.values():
        options |= hit.route.options
    files = {
        part: {
            "route": hit.route.kind,
            "file": _origin(hit.route),
            "release": hit.route.release,
            "sha256": hit.sha256,
            "pinned": bool(hit.route.sha256) or hit.route.kind == "shipped",
        }
        for part, hit in sorted(hits.items())
    }
    first = files[source.needs[0]]
    route = {"release": first["release"], "route": first["route"], "sha256": first["sha256"], "files": files}
    return Taken(source, {part: hit.path for part, hit in hits.items()}, options, route)


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
