"""The checks of an audit, each with an id, a severity and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
import scipy.sparse.csgraph as csgraph

from vckg.base.types import Bools, Longs
from vckg.graph.graph import Graph
from vckg.graph.parts import content_hash
from vckg.graph.schema import AGENT_TYPES, CATEGORIES, KNOWLEDGE_LEVELS, PREFIXES, RELATION_NAMES, RELATIONS

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
EXAMPLES = 5
HUB_SHARE = 0.005
REJECTED_SHARE = 0.2
#: Graphs with fewer cell types are toys and may lack the sentinels.
WHOLE_ONTOLOGY = 1_000
#: (term, required ancestor): an ontology without its inferred axioms loses these first.
SENTINELS = (
    ("CL:0000236", "CL:0000988"),  # B cell, hematopoietic cell
    ("CL:0000084", "CL:0000988"),  # T cell
    ("CL:0000623", "CL:0000988"),  # natural killer cell
    ("CL:0000576", "CL:0000988"),  # monocyte
    ("CL:0000235", "CL:0000738"),  # macrophage, leukocyte
    ("CL:0000624", "CL:0000084"),  # CD4-positive, alpha-beta T cell, T cell
    ("CL:0000182", "CL:0000066"),  # hepatocyte, epithelial cell
    ("CL:0000540", "CL:0000000"),  # neuron, cell
)


class Hits(NamedTuple):
    """The hits of a check: their number, and the first ones in words."""

    total: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Hits:
        """Count all hits and keep the first as examples."""
        everything = list(words)
        return cls(len(everything), tuple(everything[:EXAMPLES]))


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the audit."""

    id: str
    severity: Severity
    title: str
    fix: str
    find: Callable[[Graph], Hits]


def _stored_hash_differs(graph: Graph) -> Hits:
    computed = content_hash(graph.parts)
    return Hits.of(
        [] if computed == graph.content_hash else [f"computed {computed}, stored {graph.content_hash}"]
    )


# ---- provenance ------------------------------------------------------------------------------------------------


def _sources_with_edges(graph: Graph) -> list[tuple[str, dict[str, Any]]]:
    """Return the manifest entries of the sources with edges; a part inherits the entry of its source."""
    counts = np.bincount(graph.source, minlength=len(graph.sources))
    described = graph.manifest["sources"]
    own = [
        (name, described.get(name, {})) for name, count in zip(graph.sources, counts, strict=True) if count
    ]
    return [(name, described.get(entry.get("part_of"), {}) | entry) for name, entry in own]


def _undescribed(graph: Graph) -> Hits:
    return Hits.of(name for name, entry in _sources_with_edges(graph) if not entry)


def _lacking(key: str) -> Callable[[Graph], Hits]:
    def find(graph: Graph) -> Hits:
        return Hits.of(name for name, entry in _sources_with_edges(graph) if entry.get(key) in (None, ""))

    return find


def _outside(key: str, allowed: tuple[str, ...]) -> Callable[[Graph], Hits]:
    def find(graph: Graph) -> Hits:
        sources = _sources_with_edges(graph)
        return Hits.of(
            f"{name}: {entry[key]!r}" for name, entry in sources if key in entry and entry[key] not in allowed
        )

    return find


def _not_provided(graph: Graph) -> Hits:
    keys = ("knowledge_level", "agent_type")
    return Hits.of(
        f"{name}: {key}"
        for name, entry in _sources_with_edges(graph)
        for key in keys
        if entry.get(key, "not_provided") == "not_provided"
    )


def _kept_nothing(graph: Graph) -> Hits:
    entries = graph.manifest["sources"]
    return Hits.of(
        name for name in sorted(entries) if entries[name].get("read", 0) and not entries[name].get("kept", 0)
    )


def _rejected_many(graph: Graph) -> Hits:
    words = []
    for name, entry in sorted(graph.manifest["sources"].items()):
        read, lost = entry.get("read") or 0, sum((entry.get("rejected") or {}).values())
        if read and lost > REJECTED_SHARE * read:
            words.append(f"{name}: {lost:,} of {read:,} rows")
    return Hits.of(words)


# ---- nodes -----------------------------------------------------------------------------------------------------


def _malformed(graph: Graph) -> Hits:
    odd = pc.invert(pc.match_substring_regex(graph.ids.arrow, r"^[^\s<()>:|]+:[^\s/:|]+$"))
    return Hits.of(graph.ids.arrow.filter(odd).to_pylist())


def _unknown_prefixes(graph: Graph) -> Hits:
    prefixes = pc.replace_substring_regex(graph.ids.arrow, ":.*", "").dictionary_encode()
    names = prefixes.dictionary.to_pylist()
    known = np.array([[name in PREFIXES[c] for name in names] for c in CATEGORIES])
    odd = ~known[graph.category, prefixes.indices.to_numpy()] if graph.n else np.zeros(0, dtype=bool)
    return Hits(int(odd.sum()), tuple(f"{CATEGORIES[graph.category[i]]} {graph.ids[i]}" for i in _first(odd)))


def _nameless(graph: Graph) -> Hits:
    odd = pc.equal(graph.names.arrow, "")
    return Hits.of(graph.ids.arrow.filter(odd).to_pylist())


def _obsolete(graph: Graph) -> Hits:
    odd = np.asarray(pc.starts_with(graph.names.arrow, "obsolete ").to_numpy(zero_copy_only=False))
    return Hits(int(odd.sum()), tuple(f"{graph.ids[i]} {graph.names[i]}" for i in _first(odd)))


def degrees(graph: Graph) -> Longs:
    """Return the number of edges of each node: int64[n]."""
    return np.bincount(graph.subject, minlength=graph.n) + np.bincount(graph.object, minlength=graph.n)


def _orphans(graph: Graph) -> Hits:
    alone = degrees(graph) == 0
    counts = np.bincount(graph.category[alone], minlength=len(CATEGORIES))
    words = [f"{count:,} of category {CATEGORIES[code]}" for code, count in enumerate(counts) if count]
    return Hits(int(alone.sum()), tuple(words))


def _hubs(graph: Graph) -> Hits:
    touching = degrees(graph)
    hubs = np.flatnonzero(touching > max(HUB_SHARE * graph.m, 1_000))
    hubs = hubs[np.argsort(-touching[hubs], kind="stable")]
    return Hits.of(f"{graph.ids[i]} {graph.names[i]}: {touching[i]:,} edges" for i in hubs.tolist())


# ---- edges -----------------------------------------------------------------------------------------------------


def _dangling(graph: Graph) -> Hits:
    odd = np.zeros(graph.m, dtype=bool)
    for ends in (graph.subject, graph.object):
        odd |= (ends < 0) | (ends >= graph.n)
    return Hits(int(odd.sum()), tuple(f"edge row {i}" for i in _first(odd)))


def _key_columns(graph: Graph) -> Longs:
    columns = (graph.relation, graph.subject, graph.object, graph.source, graph.sign)
    return np.stack([np.asarray(c, dtype=np.int64) for c in columns])


def _repeated(graph: Graph) -> Hits:
    keys = _key_columns(graph)
    order = np.lexsort(keys[::-1])
    same = (keys[:, order][:, 1:] == keys[:, order][:, :-1]).all(axis=0)
    return Hits(int(same.sum()), tuple(_edge_words(graph, int(order[i + 1])) for i in _first(same)))


def _unordered(graph: Graph) -> Hits:
    step = np.diff(_key_columns(graph), axis=1)
    first = step[np.argmax(step != 0, axis=0), np.arange(step.shape[1])] if step.size else np.zeros(0)
    odd = first < 0
    return Hits(int(odd.sum()), tuple(f"edge row {i + 1}" for i in _first(odd)))


def _wrong_ends(graph: Graph) -> Hits:
    allowed = np.zeros((2, len(RELATION_NAMES), len(CATEGORIES)), dtype=bool)
    for code, relation in enumerate(RELATIONS):
        for end, categories in enumerate((relation.subjects, relation.objects)):
            allowed[end, code] = np.isin(CATEGORIES, categories)
    odd = ~allowed[0, graph.relation, graph.category[graph.subject]]
    odd |= ~allowed[1, graph.relation, graph.category[graph.object]]
    return Hits(int(odd.sum()), tuple(_edge_words(graph, i) for i in _first(odd)))


def _self_loops(graph: Graph) -> Hits:
    odd = graph.subject == graph.object
    return Hits(int(odd.sum()), tuple(_edge_words(graph, i) for i in _first(odd)))


def _without_evidence(graph: Graph) -> Hits:
    odd = graph.evidence_count < 1
    return Hits(int(odd.sum()), tuple(_edge_words(graph, i) for i in _first(odd)))


def _odd_publications(graph: Graph) -> Hits:
    words = graph.dictionary("publications")
    odd = pc.invert(
        pc.match_substring_regex(words, r"^(PMID:\d+|PMC:PMC\d+|doi:\S+|https?://\S+|\w[\w.]*:\S+)$")
    )
    return Hits.of(repr(w) for w in words.filter(odd).to_pylist())


def _edge_words(graph: Graph, row: int) -> str:
    edge = graph.edge(row)
    return f"{edge.subject} {edge.relation} {edge.object} ({edge.source})"


def _first(mask: Bools) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)[:EXAMPLES]]


# ---- the ontology ----------------------------------------------------------------------------------------------


def _sentinels(graph: Graph) -> Hits:
    whole = graph.nodes_of("Cell").size >= WHOLE_ONTOLOGY
    words = []
    for term, above in SENTINELS:
        index, over = graph.get(term), graph.get(above)
        if index is None or over is None:
            words += [f"{term} or {above} is not in the graph"] if whole else []
        elif over not in graph.ancestors(index):
            words.append(f"{term} ({graph.names[index]}) is not below {above} ({graph.names[over]})")
    return Hits.of(words)


def _cycles(graph: Graph) -> Hits:
    _, component = csgraph.connected_components(graph.adjacency("subclass_of"), connection="strong")
    shared = np.bincount(component, minlength=1)[component] > 1 if graph.n else np.zeros(0, dtype=bool)
    return Hits(int(shared.sum()), tuple(f"{graph.ids[i]} {graph.names[i]}" for i in _first(shared)))


_MANIFEST_FIX = "state it in its row of the source table and build again"
_BUILD_BUG = "the build should have rejected it; report it with the manifest of the graph"

_STATED: tuple[tuple[str, Severity, str, Callable[[Graph], Hits]], ...] = (
    ("source-undescribed", "error", "sources that the manifest does not describe", _undescribed),
    ("source-licence", "error", "sources without a licence", _lacking("licence")),
    (
        "source-redistribution",
        "error",
        "sources that do not state whether redistribution is allowed",
        _lacking("redistribute"),
    ),
    ("source-infores", "error", "sources without an information resource id", _lacking("infores")),
    ("source-release", "error", "sources without a release", _lacking("release")),
    ("source-checksum", "warning", "sources without the checksum of their file", _lacking("sha256")),
    ("source-citation", "warning", "sources without a citation", _lacking("citation")),
    (
        "source-knowledge-level",
        "error",
        "knowledge levels that biolink does not know",
        _outside("knowledge_level", KNOWLEDGE_LEVELS),
    ),
    (
        "source-agent-type",
        "error",
        "agent types that biolink does not know",
        _outside("agent_type", AGENT_TYPES),
    ),
    ("source-not-provided", "warning", "knowledge level or agent type not provided", _not_provided),
)
"""Checks of what the manifest states of a source: id, severity, title and hits."""

CHECKS = (
    Check("content-hash", "error", "another content hash is stored", "build it again", _stored_hash_differs),
    Check("edge-end-missing", "error", "edges whose ends are not nodes", _BUILD_BUG, _dangling),
    Check("edge-duplicate", "error", "duplicate edges", _BUILD_BUG, _repeated),
    Check("edge-order", "error", "edges out of order", _BUILD_BUG, _unordered),
    Check("edge-category", "error", "edges between the wrong categories", _BUILD_BUG, _wrong_ends),
    Check("edge-evidence", "error", "edges without any evidence", _BUILD_BUG, _without_evidence),
    Check(
        "edge-self-loop",
        "warning",
        "edges from a node to itself",
        "check the rows of the source",
        _self_loops,
    ),
    Check(
        "edge-publication",
        "warning",
        "publications that are not CURIEs",
        "correct the reader of the source",
        _odd_publications,
    ),
    *(Check(id, severity, title, _MANIFEST_FIX, find) for id, severity, title, find in _STATED),
    Check(
        "source-empty",
        "error",
        "sources without any kept row",
        "compare the file with its reader",
        _kept_nothing,
    ),
    Check(
        "source-rejects",
        "warning",
        f"sources that lost more than {REJECTED_SHARE:.0%} of their rows",
        "`vckg info` lists the reasons",
        _rejected_many,
    ),
    Check("node-curie", "error", "ids that are not CURIEs", "correct the reader of the source", _malformed),
    Check(
        "node-prefix",
        "error",
        "prefixes that the category does not allow",
        "add them to vckg/graph/schema.py",
        _unknown_prefixes,
    ),
    Check("node-name", "warning", "nodes without a name", "check the source", _nameless),
    Check(
        "node-obsolete",
        "warning",
        "obsolete terms",
        "map them to replaced_by",
        _obsolete,
    ),
    Check(
        "node-orphan", "warning", "nodes without edges", "no action needed; no walk reaches them", _orphans
    ),
    Check(
        "node-hub",
        "info",
        f"nodes with more than {HUB_SHARE:.1%} of all edges",
        "use a degree-corrected score",
        _hubs,
    ),
    Check(
        "ontology-sentinel",
        "error",
        "missing ancestries of the Cell Ontology",
        "use a released, reasoned ontology",
        _sentinels,
    ),
    Check(
        "ontology-cycle",
        "error",
        "terms that are their own ancestors",
        "use a released, reasoned ontology",
        _cycles,
    ),
)
