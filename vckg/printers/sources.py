"""Print the source table and fetched files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vckg.base.console import out
from vckg.build.source_table import PROFILES, Source, Taken, choose
from vckg.printers.table import print_json, print_table


def source_facts(source: Source) -> dict[str, Any]:
    """Return the facts that `vckg sources` prints of a source."""
    return {
        "name": source.name,
        "title": source.title,
        "release": source.routes[0].release,
        "licence": source.licence,
        "redistribute": source.redistribute,
        "profiles": list(source.profiles),
        "routes": list(dict.fromkeys(r.kind for r in source.routes)),
        "tried": "the publisher's whole file" if source.tried else "not tried on the full file",
        "note": source.note or _to_supply(source),
        "homepage": source.homepage,
        "citation": source.citation,
    }


def _to_supply(source: Source) -> str:
    """Name the files that a mirror folder must hold because no other route leads to them."""
    parts = {route.part for route in source.routes}
    kinds = {part: {r.kind for r in source.routes if r.part == part} for part in parts}
    files = [r.file for r in source.routes if kinds[r.part] == {"mirror"}]
    return f"put {' and '.join(files)} into a mirror folder; {source.homepage}".rstrip("; ") if files else ""


def print_sources(sources: Sequence[Source], profile: str, *, as_json: bool) -> None:
    """Print the source table, or the rows of one profile."""
    chosen = choose(sources, profile)[0] if profile else sources
    facts = [source_facts(s) for s in chosen]
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            f["name"],
            f["title"],
            f["licence"] + ("" if f["redistribute"] else " (do not pass on)"),
            " ".join(p for p in PROFILES if p in f["profiles"]) or "--source",
            " ".join(f["routes"]),
            "yes" if f["tried"].startswith("the") else f["tried"],
        )
        for f in facts
    ]
    print_table(("source", "what", "licence", "profiles", "routes", "tried"), rows)
    if notes := [(f["name"], f["note"]) for f in facts if f["note"]]:
        out().print()
        print_table(("source", "to accept or supply"), notes)


def print_fetched(fetched: Sequence[Taken], absent: Mapping[str, str], *, as_json: bool) -> None:
    """Print route, release, checksum and path of each file of a profile."""
    rows = [
        (
            source.source.name,
            entry["release"],
            entry["route"],
            "" if entry["pinned"] else "unpinned",
            str(source.files[part]),
        )
        for source in fetched
        for part, entry in source.route["files"].items()
    ]
    columns = ("source", "release", "route", "checksum", "file")
    if as_json:
        files = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"files": files, "absent": absent})
        return
    print_table(columns, rows)
    if absent:
        out().print("\nout of reach, so left out:")
        print_table(("source", "why"), absent.items())
