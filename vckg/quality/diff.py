"""Compare two releases of an ontology, or two graphs.

A term is added, removed, obsoleted, merged (obsolete with a replacement), restored, renamed or moved (other direct
parents). Edges are compared by ends, relation, source and sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vckg.base.errors import InputError, did_you_mean
from vckg.base.extras import require_extra
from vckg.base.types import Array, Indices, Longs, UnsignedLongs
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.graph.statements import Reading
from vckg.readers.obo import read_obo
from vckg.readers.ontologies import read_guide_json

FORMAT = "vckg-diff"
FORMAT_VERSION = 1
EXAMPLES = 5
_SOURCE_KEYS = ("release", "sha256", "licence", "redistribute")


class Term(NamedTuple):
    """A term in one release."""

    label: str
    parents: frozenset[str]
    """Direct superclasses."""
    obsolete: bool = False
    replaced_by: str | None = None


Terms = Mapping[str, Term]


class Change(NamedTuple):
    """One changed term; the kind of change decides which of the last four fields are set."""

    id: str
    label: str
    was: str = ""
    """The old label of a renamed term."""
    instead: str = ""
    """The term that replaces a merged one."""
    left: tuple[str, ...] = ()
    """Parents a moved term lost."""
    joined: tuple[str, ...] = ()
    """Parents a moved term gained."""


@dataclass(frozen=True, slots=True)
class TermDiff:
    """The changed terms, each list ascending by CURIE."""

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    obsoleted: tuple[Change, ...]
    merged: tuple[Change, ...]
    restored: tuple[Change, ...]
    renamed: tuple[Change, ...]
    moved: tuple[Change, ...]

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in self.__slots__)


def diff_terms(old: Terms, new: Terms) -> TermDiff:
    """Compare two releases of an ontology; a renamed and moved term is in both lists."""
    kinds: dict[str, list[Change]] = {kind: [] for kind in TermDiff.__slots__}
    live_before = {curie for curie, term in old.items() if not term.obsolete}
    live_after = {curie for curie, term in new.items() if not term.obsolete}
    for curie in sorted(live_after - live_before):
        kinds["restored" if curie in old else "added"].append(Change(curie, new[curie].label))
    for curie in sorted(live_before - live_after):
        kind, change = _gone(curie, old[curie], new.get(curie))
        kinds[kind].append(change)
    for curie in sorted(live_before & live_after):
        before, after = old[curie], new[curie]
        if before.label != after.label:
            kinds["renamed"].append(Change(curie, after.label, was=before.label))
        if before.parents != after.parents:
            left, joined = sorted(before.parents - after.parents), sorted(after.parents - before.parents)
            kinds["moved"].append(Change(curie, after.label, left=tuple(left), joined=tuple(joined)))
    return TermDiff(**{kind: tuple(changes) for kind, changes in kinds.items()})


def _gone(curie: str, before: Term, after: Term | None) -> tuple[str, Change]:
    if after is None:
        return "removed", Change(curie, before.label)
    if after.replaced_by:
        return "merged", Change(curie, before.label, instead=after.replaced_by)
    return "obsoleted", Change(curie, before.label)


# ---- releases of an ontology ---------------------------------------------------------------------------------


#: Prefixes of the terms to compare; imports from other ontologies are left out.
_OBO_CATEGORIES = {
    "CL": "Cell",
    "UBERON": "AnatomicalEntity",
    "GO": "namespace",
    "MONDO": "Disease",
    "DOID": "Disease",
    "HP": "PhenotypicFeature",
}


def read_release(name: str) -> dict[str, Term]:
    """Return the terms of an ontology release.

    Parameters
    ----------
    name
        ``CL@v2026-03-26`` for a release in cellxgene-ontology-guide, or the path of a JSON file in the form of that
        package or of an OBO file (either may be compressed).

    Raises
    ------
    InputError
        There is no such release or file.
    """
    path = Path(name)
    if not path.is_file():
        ontology, separator, release = name.partition("@")
        if not separator:
            raise InputError(f"{name}: neither a graph folder, nor an ontology file, nor ONTOLOGY@RELEASE")
        path = _bundled(ontology, release)
    if ".obo" in path.suffixes:
        return terms_of(read_obo({"main": path}, categories=_OBO_CATEGORIES))
    return terms_of(read_guide_json({"main": path}, category="Cell", relation="subclass_of"))


def _bundled(ontology: str, release: str) -> Path:
    from importlib.resources import files

    require_extra("releases", f"{ontology}@{release}", "cellxgene_ontology_guide")
    folder = Path(str(files("cellxgene_ontology_guide"))) / "data"
    known = {
        p.name.removesuffix(".json.zst").replace("-ontology-", "@"): p for p in folder.glob("*.json.zst")
    }
    wanted = f"{ontology}@{release}"
    if wanted not in known:
        near = ", ".join(sorted(k for k in known if k.startswith(f"{ontology}@")))
        hint = f"; known releases: {near}" if near else did_you_mean(wanted, known)
        raise InputError(f"{wanted}: no such release in cellxgene-ontology-guide{hint}")
    return known[wanted]


def terms_of(reading: Reading) -> dict[str, Term]:
    """Return the terms in the output of an ontology reader."""
    links = [
        (s.subject[0].names, s.object[0].names) for s in reading.statements if s.relation == "subclass_of"
    ]
    parents: dict[str, set[str]] = {}
    for child, parent in (
        (c, p) for pair in links for c, p in zip(*(x.to_pylist() for x in pair), strict=True)
    ):
        parents.setdefault(child, set()).add(parent)
    instead = {
        name: curie
        for names in reading.names
        if names.kind.endswith(".replaced")
        for name, curie in zip(names.names.to_pylist(), names.targets.to_pylist(), strict=True)
    }
    terms = {
        curie: Term("", frozenset(), obsolete=True, replaced_by=instead.get(curie))
        for curie in reading.obsolete
    }
    for table in reading.nodes:
        for curie, name in zip(table["id"].to_pylist(), table["name"].to_pylist(), strict=True):
            terms[curie] = Term(name, frozenset(parents.get(curie, ())))
    return terms


# ---- graphs ----------------------------------------------------------------------------------------------------


class EdgeChange(NamedTuple):
    """Changes of the edges of one relation from one source."""

    source: str
    relation: str
    added: int
    removed: int
    kept: int
    changed: int
    """Number of kept edges with another evidence count or number of publications."""
    examples_added: tuple[str, ...]
    examples_removed: tuple[str, ...]


class SourceChange(NamedTuple):
    """A field that differs between the manifests of two graphs."""

    source: str
    field: str
    was: Any
    now: Any


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """The changes between two graphs; false where there are none."""

    nodes: Mapping[str, TermDiff]
    """By category, only categories with changes."""
    edges: tuple[EdgeChange, ...]
    """By source and relation, only pairs with changes."""
    sources: tuple[SourceChange, ...]

    def __bool__(self) -> bool:
        return bool(self.nodes or self.edges or self.sources)


def diff_graphs(old: Graph, new: Graph) -> GraphDiff:
    """Compare two graphs: their nodes by category, their edges by source and relation, their sources."""
    before, after = _terms_by_category(old), _terms_by_category(new)
    changes = {c: diff_terms(before[c], _with_replaced(after[c], before[c], new, c)) for c in CATEGORIES}
    return GraphDiff(
        nodes={category: change for category, change in changes.items() if change},
        edges=_edge_changes(old, new),
        sources=_source_changes(old, new),
    )


def _terms_by_category(graph: Graph) -> dict[str, dict[str, Term]]:
    ids, names = list(graph.ids), list(graph.names)
    parents: dict[int, list[str]] = {}
    span = graph.rows("subclass_of")
    for child, parent in zip(graph.subject[span].tolist(), graph.object[span].tolist(), strict=True):
        parents.setdefault(child, []).append(ids[parent])
    terms: dict[str, dict[str, Term]] = {c: {} for c in CATEGORIES}
    for index, code in enumerate(graph.category.tolist()):
        terms[CATEGORIES[code]][ids[index]] = Term(names[index], frozenset(parents.get(index, ())))
    return terms


_SPACES = {"Cell": "cells", "AnatomicalEntity": "anatomy", "Disease": "diseases"}


def _with_replaced(after: dict[str, Term], before: Terms, new: Graph, category: str) -> dict[str, Term]:
    """Add replaced terms: a graph has no obsolete nodes, but its names map obsolete ids to replacements."""
    gone = sorted(set(before) - set(after))
    if category not in _SPACES or not gone:
        return after
    answers = new.labels(_SPACES[category]).ground(gone)
    return after | {
        curie: Term(before[curie].label, frozenset(), obsolete=True, replaced_by=answer.curie)
        for curie, answer in zip(gone, answers, strict=True)
        if answer.how == "replaced"
    }


def _edge_changes(old: Graph, new: Graph) -> tuple[EdgeChange, ...]:
    ids = np.unique(np.array([*old.ids, *new.ids], dtype=object))
    names = sorted({*old.sources, *new.sources})
    keys = [_edge_keys(g, ids, names) for g in (old, new)]
    _, at_old, at_new = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    only_old = np.setdiff1d(np.arange(old.m), at_old, assume_unique=True)
    only_new = np.setdiff1d(np.arange(new.m), at_new, assume_unique=True)
    differ = old.evidence_count[at_old] != new.evidence_count[at_new]
    differ |= old.n_publications[at_old] != new.n_publications[at_new]
    counts = {
        "added": _tally(new, only_new),
        "removed": _tally(old, only_old),
        "kept": _tally(new, at_new),
        "changed": _tally(new, at_new[differ]),
    }
    table = pd.DataFrame(counts).fillna(0).astype(int).sort_index()
    return tuple(
        EdgeChange(
            source, relation, row["added"], row["removed"], row["kept"], row["changed"],
            _examples(new, only_new, source, relation), _examples(old, only_old, source, relation),
        )
        for (source, relation), row in zip(table.index, table.to_dict("records"), strict=True)
        if row["added"] or row["removed"] or row["changed"]
    )  # fmt: skip


def _edge_keys(graph: Graph, ids: Array, sources: list[str]) -> UnsignedLongs:
    """Return one integer per edge, equal for equal statements of two graphs: uint64[m]."""
    node = np.searchsorted(ids, np.array(list(graph.ids), dtype=object)).astype(np.uint64)
    source = np.array([sources.index(s) for s in graph.sources], dtype=np.uint64)
    bits = max(1, int(ids.size).bit_length())
    source_bits = max(1, len(sources).bit_length())
    assert 2 * bits + source_bits + 2 + 6 <= 64, "more nodes than the packed key holds"
    key = graph.relation.astype(np.uint64)
    for column, width in (
        (node[graph.subject], bits),
        (node[graph.object], bits),
        (source[graph.source], source_bits),
    ):
        key = (key << np.uint64(width)) | column
    return (key << np.uint64(2)) | (graph.sign + 1).astype(np.uint64)


def _tally(graph: Graph, rows: Indices) -> pd.Series[int]:
    packed = graph.source[rows].astype(np.int64) * len(RELATION_NAMES) + graph.relation[rows]
    kinds, counts = np.unique(packed, return_counts=True)
    index = [
        (graph.sources[k // len(RELATION_NAMES)], RELATION_NAMES[k % len(RELATION_NAMES)])
        for k in kinds.tolist()
    ]
    edges: Longs = np.asarray(counts, dtype=np.int64)
    return pd.Series(edges, index=pd.MultiIndex.from_tuples(index, names=["source", "relation"]))


def _examples(graph: Graph, rows: Indices, source: str, relation: str) -> tuple[str, ...]:
    if source not in graph.sources:
        return ()
    span = graph.rows(relation)
    chosen = rows[(rows >= span.start) & (rows < span.stop)]
    chosen = chosen[graph.source[chosen] == graph.sources.index(source)][:EXAMPLES]
    return tuple(f"{graph.ids[graph.subject[r]]} {graph.ids[graph.object[r]]}" for r in chosen.tolist())


def _source_changes(old: Graph, new: Graph) -> tuple[SourceChange, ...]:
    before, after = old.manifest["sources"], new.manifest["sources"]
    changes = []
    for name in sorted({*before, *after}):
        if (name in before) != (name in after):
            changes.append(SourceChange(name, "present", name in before, name in after))
            continue
        changes += [
            SourceChange(name, field, before[name].get(field), after[name].get(field))
            for field in _SOURCE_KEYS
            if before[name].get(field) != after[name].get(field)
        ]
    return tuple(changes)


def diff_named(old: str, new: str) -> TermDiff | GraphDiff:
    """Compare two graph folders, or two ontology releases (named as in `read_release`)."""
    folders = [Path(name).is_dir() for name in (old, new)]
    if all(folders):
        return diff_graphs(Graph.load(old), Graph.load(new))
    if any(folders):
        raise InputError(
            f"{old} and {new}: one is a graph folder and the other is not; compare two of a kind"
        )
    return diff_terms(read_release(old), read_release(new))


# ---- in words ------------------------------------------------------------------------------------------------


def as_json(change: TermDiff | GraphDiff) -> dict[str, Any]:
    """Return the changes as JSON values with a format version."""
    kind = "terms" if isinstance(change, TermDiff) else "graphs"
    if isinstance(change, TermDiff):
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind, **_term_lists(change)}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "nodes": {category: _term_lists(terms) for category, terms in change.nodes.items()},
        "edges": [e._asdict() for e in change.edges],
        "sources": [s._asdict() for s in change.sources],
    }


def _term_lists(change: TermDiff) -> dict[str, Any]:
    return {kind: [c._asdict() for c in changes] for kind, changes in asdict(change).items()}
