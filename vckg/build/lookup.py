"""What lies here of a source's files: in packages, mirror folders and the cache of downloads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from vckg.base.errors import SourceError
from vckg.base.resources import default_cache, resource
from vckg.build.network import without_login
from vckg.build.source_table import Route, Source
from vckg.graph.folder import sha256_of

Wanted = tuple[str, str]
"""Names of a source and of a part of it: one file."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where files may be found and kept."""

    cache: Path
    mirrors: tuple[Path, ...] = ()
    offline: bool = False

    @classmethod
    def named(
        cls, cache: Path | None = None, mirrors: Iterable[Path] = (), *, offline: bool = False
    ) -> Places:
        """Return the places that are given, and those of VCKG_CACHE, VCKG_MIRROR and VCKG_OFFLINE."""
        offline = offline or os.environ.get("VCKG_OFFLINE", "") not in ("", "0")
        return cls(cache or default_cache(), (*mirrors, *default_mirrors()), offline)


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a source, and the route that led to it."""

    path: Path
    route: Route
    sha256: str


class Absent(Exception):
    """A route has no file here; the next one is tried."""


@dataclass(slots=True)
class Search:
    """The files found so far, and why the routes tried so far led nowhere."""

    found: dict[Wanted, Found] = field(default_factory=dict)
    reasons: dict[Wanted, list[str]] = field(default_factory=dict)

    def missing(self, source: Source) -> list[str]:
        """Parts of a source without a file."""
        return [part for part in source.needs if (source.name, part) not in self.found]

    def why(self, source: Source) -> str:
        """Why its routes led nowhere, each reason once."""
        reasons = [r for part in self.missing(source) for r in self.reasons.get((source.name, part), [])]
        return "; ".join(dict.fromkeys(reasons))

    def note(self, source: Source, part: str, reason: str) -> None:
        """Remember why a route led nowhere."""
        self.reasons.setdefault((source.name, part), []).append(without_login(reason))


def default_mirrors() -> tuple[Path, ...]:
    """Return the mirror folders VCKG_MIRROR names, separated like PATH."""
    return tuple(Path(p) for p in os.environ.get("VCKG_MIRROR", "").split(os.pathsep) if p)


def look_up(source: Source, part: str, places: Places, search: Search) -> None:
    """Find a file along the first route that needs no network, or that is cached already."""
    for route in source.routes:
        if route.part != part:
            continue
        try:
            path = local_file(source, route, places)
        except Absent as absent:
            search.note(source, part, str(absent))
            continue
        search.found[source.name, part] = Found(path, route, verified(path, route))
        return


def local_file(source: Source, route: Route, places: Places) -> Path:
    """Return the file of a route that needs no network; Absent where there is none."""
    if route.kind == "shipped":
        return resource("data", *route.file.split("/"))
    if route.kind == "package":
        return _package_file(route)
    if route.kind in ("mirror", "local"):
        for folder in places.mirrors:
            if (path := folder / route.file).is_file():
                return path
        where = ", ".join(map(str, places.mirrors)) or "no mirror folder is named (VCKG_MIRROR, --mirror)"
        raise Absent(
            f"{route.kind}: no {route.file} in {where}" if places.mirrors else f"{route.kind}: {where}"
        )
    cached = cache_path(source, route, places)
    if cached.is_file():
        return cached
    raise Absent(f"{route.kind}: {route.archive or route.url} not downloaded")


def _package_file(route: Route) -> Path:
    spec = find_spec(route.package)  # finds a top-level package without importing it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / route.file).is_file():
            if route.sha256 and sha256_of(path) != route.sha256:
                raise Absent(f"package: the installed release of {route.package} has another {route.file}")
            return path
    raise Absent(f"package: {route.package} is not installed or holds no {route.file}")


def cache_path(source: Source, route: Route, places: Places) -> Path:
    """Return where the cache keeps the file of a route."""
    name = Path(route.member or route.file or urlsplit(route.url).path).name
    return places.cache / "sources" / source.name / f"{route.sha256[:12] or 'unpinned'}-{name}"


def verified(path: Path, route: Route) -> str:
    """Return the sha256 of a file; SourceError where the route states another one."""
    digest = sha256_of(path)
    if route.sha256 and digest != route.sha256:
        raise SourceError(
            path,
            f"sha256 {digest}, {route.sha256} expected for release {route.release}",
            fix="remove the file and fetch it again, or correct the source table if the release is meant to change",
        )
    return digest
