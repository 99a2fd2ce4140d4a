"""Sources are rows: `data/sources.toml` as frozen dataclasses, and which of them a profile takes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from vckg.base.errors import InputError, did_you_mean
from vckg.base.resources import resource

KINDS = ("package", "mirror", "pypi", "url", "local", "shipped")
PROFILES = ("core", "standard", "full", "paper")
_NAME = re.compile(r"[\w-][\w.-]*")  # a colon separates a source from its part


@dataclass(frozen=True, slots=True)
class Route:
    """One way to get one file of a source. Routes are tried in the order the table lists them."""

    kind: str
    """``package`` (inside an installed dependency), ``mirror`` (a file of a mirror folder), ``pypi`` (a member
    of a wheel or sdist), ``url`` (the official release), ``local`` (the user supplies it in a mirror folder),
    ``shipped`` (in this distribution's data folder)."""
    release: str = ""
    sha256: str = ""
    """Of the file itself; empty where the publisher replaces the file in place, then it is recorded only."""
    part: str = "main"
    """Which of the reader's files this is."""
    file: str = ""
    """Path below the mirror folder, the package or the data folder; the file name to keep for the others."""
    package: str = ""
    archive: str = ""
    """File name of the wheel or sdist."""
    archive_sha256: str = ""
    member: str = ""
    url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Reader options that hold for this form of the file."""


@dataclass(frozen=True, slots=True)
class Part:
    """What differs for one part of a source, e.g. the MSigDB rows inside another table."""

    underlying: str = ""
    licence: str = ""
    redistribute: bool | None = None
    agent_type: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One row of the table."""

    name: str
    title: str
    licence: str
    redistribute: bool
    """Whether a graph that contains it may be passed on."""
    citation: str
    reader: str
    routes: tuple[Route, ...]
    profiles: tuple[str, ...] = ()
    """Profiles that take it; none where it must be asked for with --source."""
    infores: str = ""
    homepage: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    knowledge_level: str = "not_provided"
    agent_type: str = "not_provided"
    underlying: str = ""
    """The resource its statements come from, where that is another source's."""
    tried: bool = True
    """Whether its reader has been run on the publisher's whole file; otherwise on a small file of that form."""
    optional: bool = False
    """Taken by its profiles only where its file is available; otherwise the manifest lists it as absent."""
    essential: bool = False
    """Profile `standard` cannot do without it; it leaves out any other source that cannot be reached."""
    if_reached: bool = False
    """Taken where a route, also a download with a pinned checksum, leads to its file; else the manifest lists it as
    absent. `choose` sets it for profile `standard`: who reaches the same sources gets the same graph."""
    note: str = ""
    """What the user must accept or supply."""
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the files its reader wants."""
        return tuple(dict.fromkeys(r.part for r in self.routes))


@dataclass(frozen=True, slots=True)
class Taken:
    """A source with the files that a build reads."""

    source: Source
    files: Mapping[str, Path]
    options: Mapping[str, Any]
    route: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of where the files came from."""


@cache
def shipped_sources() -> tuple[Source, ...]:
    """Return the sources of `data/sources.toml`, in its order."""
    return read_sources(resource("data", "sources.toml"))


def source_table(path: Path | None) -> tuple[Source, ...]:
    """Return the sources of a table file, or the shipped ones."""
    return read_sources(path) if path else shipped_sources()


def read_sources(path: Path) -> tuple[Source, ...]:
    """Return the sources of a table file; InputError names the row and the key that is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a source table ({error})") from error
    return tuple(_source(name, row, f"{path}: [{name}]") for name, row in table.items())


def _source(name: str, row: Any, where: str) -> Source:
    if not _NAME.fullmatch(name):
        raise InputError(f"{where}: a name of letters, digits, '_', '-' and '.' was expected")
    try:
        source = msgspec.convert({"name": name, **row} if isinstance(row, dict) else row, Source)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from error
    _refuse_unknown(Source, row, where)
    for i, (route, given) in enumerate(zip(source.routes, row["routes"], strict=True), start=1):
        _refuse_unknown(Route, given, f"{where} route {i}")
        if route.kind not in KINDS:
            raise InputError(f"{where}: route kind {route.kind!r}{did_you_mean(route.kind, KINDS)}")
    for part, given in row.get("parts", {}).items():
        _refuse_unknown(Part, given, f"{where} part {part}")
    if not source.routes:
        raise InputError(f"{where}: no routes, so no way to get it")
    if unknown := sorted(set(source.profiles) - set(PROFILES)):
        raise InputError(f"{where}: no profile {unknown[0]!r}; profiles: {', '.join(PROFILES)}")
    return source


def _refuse_unknown(cls: type[Any], table: Mapping[str, Any], where: str) -> None:
    known = {f.name for f in fields(cls)}
    if unknown := sorted(table.keys() - known):
        raise InputError(f"{where}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], known)}")


def choose(
    sources: Iterable[Source],
    profile: str,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> tuple[tuple[Source, ...], frozenset[str]]:
    """Return the sources a build takes, in the table's order, and the parts (``name:part``) it leaves out.

    A source asked for by name is no longer optional. Profile `standard` takes every source that it can reach.
    """
    sources = tuple(sources)
    if profile not in PROFILES:
        raise InputError(
            f"no profile {profile!r}{did_you_mean(profile, PROFILES)}; profiles: {', '.join(PROFILES)}"
        )
    include, exclude = set(include), set(exclude)
    names = {s.name for s in sources}
    for asked in sorted(include | {e.partition(":")[0] for e in exclude}):
        if asked not in names:
            raise InputError(f"no source {asked!r}{did_you_mean(asked, names)}; `vckg sources` lists them")
    chosen = tuple(
        s for s in sources if (profile in s.profiles or s.name in include) and s.name not in exclude
    )
    if profile == "standard":
        chosen = tuple(replace(s, if_reached=not s.essential) for s in chosen)
    chosen = tuple(replace(s, optional=False, if_reached=False) if s.name in include else s for s in chosen)
    return chosen, frozenset(e for e in exclude if ":" in e)
