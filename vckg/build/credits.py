"""What the manifest says of every source: credit, licence, rows kept and rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vckg.build.ledger import Grounding
from vckg.build.source_table import Source, Taken
from vckg.graph.statements import Reading


def describe(
    taken: Mapping[str, Taken],
    readings: Mapping[str, Reading],
    work: Grounding,
    source_names: Sequence[str],
    edge_source: npt.NDArray[np.uint8],
) -> dict[str, dict[str, Any]]:
    """What the manifest says of every source and, under ``name:part``, of every part."""
    edges = np.bincount(edge_source, minlength=len(source_names))
    entries: dict[str, dict[str, Any]] = {}
    for name in sorted(taken):
        source, reading = taken[name].source, readings[name]
        own = [s for s in source_names if s.partition(":")[0] == name]
        entries[name] = _credit(source) | {
            **taken[name].route,
            "rows": reading.rows,
            "read": work.read[name],
            "kept": work.kept[name],
            "rejected": dict(sorted(work.rejected[name].counts.items())),
            "unread": dict(sorted(reading.unread.counts.items())),
            "examples": dict(sorted((work.rejected[name].examples | reading.unread.examples).items())),
            "terms": sum(map(len, reading.nodes)),
            "rejected_terms": dict(sorted(reading.rejected_terms.counts.items())),
            "unknown_tissues": work.mappings.unknown_tissues.get(name, 0),
            "edges": int(sum(edges[source_names.index(s)] for s in own)),
        }
        for label in own:
            if label != name:
                entries[label] = _credit(source, label.partition(":")[2]) | {
                    "part_of": name,
                    "kept": work.kept_by_part[label],
                    "edges": int(edges[source_names.index(label)]),
                }
    return entries


def _credit(source: Source, part: str = "") -> dict[str, Any]:
    own = source.parts.get(part)
    return {
        "title": source.title + (f", {part}" if part else ""),
        "infores": source.infores,
        "homepage": source.homepage,
        "licence": (own and own.licence) or source.licence,
        "redistribute": source.redistribute if own is None or own.redistribute is None else own.redistribute,
        "citation": source.citation,
        "knowledge_level": source.knowledge_level,
        "agent_type": (own and own.agent_type) or source.agent_type,
        "underlying": (own and own.underlying) or source.underlying or _underlying(source, part),
    }


def _underlying(source: Source, part: str) -> str:
    """A part without a row of its own is a resource of its own where the source is a collection of resources."""
    return f"{source.name}:{part}" if part and source.parts and part not in source.parts else source.name
