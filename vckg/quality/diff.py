"""What changed between two releases of an ontology, or between two graphs.

An ontology term can be added, removed, made obsolete, merged (obsolete with a term to use instead), restored,
renamed, or moved (other direct parents). Edges are compared by what they say and who says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from vckg.base.errors import InputError, did_you_mean
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.graph.statements import Reading
from vckg.readers.obo import read_obo
from vckg.readers.ontologies import read_guide_json

FORMAT = "vckg-diff"
FORMAT_VERSION = 1
EXAMPLES = 5
_SAID = ("release", "sha256", "licence", "redistribute")


class Term(NamedTuple):
    """What one release says of a term."""

    label: str
    parents: frozenset[str]
    """Direct superclasses."""
    obsolete: bool = False
    replaced_by: str | None = None


Terms = Mapping[str, Term]


class Change(NamedTuple):
    """One term that changed; which of the last four say something depends on the kind of change."""

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
    """The terms that changed, each list ascending by CURIE."""

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
    """Compare two releases of an ontology; a term that is renamed and moved is in both lists."""
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


#: Whose terms an OBO file is compared by; imports of other ontologies are not its own release.
_OBO_CATEGORIES = {
    "CL": "Cell",
    "UBERON": "AnatomicalEntity",
    "GO": "namespace",
    "MONDO": "Disease",
    "DOID": "Disease",
    "HP": "PhenotypicFeature",
}


def read_release(name: str) -> dict[str, Term]:
    """The terms of an ontology release.

    Parameters
    ----------
    name
        ``CL@v2026-03-26`` for a release that cellxgene-ontology-guide carries, or the path of a JSON file of that
        package's form or of an OBO file (either may be compressed).

    Raises
    ------
    InputError
        There is no such release or file.
    """
    path = Path(name)
    if not path.is_file():
        ontology, at, release = name.partition("@")
        if not at:
            raise InputError(f"{name}: neither a graph folder, nor an ontology file, nor ONTOLOGY@RELEASE")
        path = _bundled(ontology, release)
    if ".obo" in path.suffixes:
        return terms_of(read_obo({"main": path}, categories=_OBO_CATEGORIES))
    return terms_of(read_guide_json({"main": path}, category="Cell", relation="subclass_of"))


def _bundled(ontology: str, release: str) -> Path:
    from importlib.resources import files

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
    """The terms of an ontology file as its reader hands them over."""
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
    found = {
        curie: Term("", frozenset(), obsolete=True, replaced_by=instead.get(curie))
        for curie in reading.obsolete
    }
    for table in reading.nodes:
        for curie, name in zip(table["id"].to_pylist(), table["name"].to_pylist(), strict=True):
            found[curie] = Term(name, frozenset(parents.get(curie, ())))
    return found


# ---- graphs ----------------------------------------------------------------------------------------------------


class EdgeChange(NamedTuple):
    """How the edges of one relation from one source changed."""

    source: str
    relation: str
    added: int
    removed: int
    kept: int
    changed: int
    """Kept edges whose evidence count or number of publications differs."""
    examples_added: tuple[str, ...]
    examples_removed: tuple[str, ...]


class SourceChange(NamedTuple):
    """What the manifests of two graphs say differently of one source."""

    source: str
    field: str
    was: Any
    now: Any


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """What changed between two graphs; falsy where nothing did."""

    nodes: Mapping[str, TermDiff]
    """By category, only those that changed."""
    edges: tuple[EdgeChange, ...]
    """By source and relation, only those that changed."""
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
    found: dict[str, dict[str, Term]] = {c: {} for c in CATEGORIES}
    for at, code in enumerate(graph.category.tolist()):
        found[CATEGORIES[code]][ids[at]] = Term(names[at], frozenset(parents.get(at, ())))
    return found


_SPACES = {"Cell": "cells", "AnatomicalEntity": "anatomy", "Disease": "diseases"}


def _with_replaced(after: dict[str, Term], before: Terms, new: Graph, category: str) -> dict[str, Term]:
    """A graph holds no obsolete nodes, but its names lead an obsolete id to the term that replaces it."""
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


def _edge_keys(graph: Graph, ids: npt.NDArray[Any], sources: list[str]) -> npt.NDArray[np.uint64]:
    """One integer per edge, equal in two graphs where an edge says the same: uint64[m]."""
    at = np.searchsorted(ids, np.array(list(graph.ids), dtype=object)).astype(np.uint64)
    source = np.array([sources.index(s) for s in graph.sources], dtype=np.uint64)
    bits = max(1, int(ids.size).bit_length())
    source_bits = max(1, len(sources).bit_length())
    assert 2 * bits + source_bits + 2 + 6 <= 64, "more nodes than the packed key holds"
    key = graph.relation.astype(np.uint64)
    for column, width in (
        (at[graph.subject], bits),
        (at[graph.object], bits),
        (source[graph.source], source_bits),
    ):
        key = (key << np.uint64(width)) | column
    return (key << np.uint64(2)) | (graph.sign + 1).astype(np.uint64)


def _tally(graph: Graph, rows: npt.NDArray[np.integer[Any]]) -> pd.Series[int]:
    packed = graph.source[rows].astype(np.int64) * len(RELATION_NAMES) + graph.relation[rows]
    kinds, counts = np.unique(packed, return_counts=True)
    index = [
        (graph.sources[k // len(RELATION_NAMES)], RELATION_NAMES[k % len(RELATION_NAMES)])
        for k in kinds.tolist()
    ]
    return pd.Series(
        counts, index=pd.MultiIndex.from_tuples(index, names=["source", "relation"]), dtype="int64"
    )


def _examples(
    graph: Graph, rows: npt.NDArray[np.integer[Any]], source: str, relation: str
) -> tuple[str, ...]:
    if source not in graph.sources:
        return ()
    span = graph.rows(relation)
    mine = rows[(rows >= span.start) & (rows < span.stop)]
    mine = mine[graph.source[mine] == graph.sources.index(source)][:EXAMPLES]
    return tuple(f"{graph.ids[graph.subject[r]]} {graph.ids[graph.object[r]]}" for r in mine.tolist())


def _source_changes(old: Graph, new: Graph) -> tuple[SourceChange, ...]:
    before, after = old.manifest["sources"], new.manifest["sources"]
    found = []
    for name in sorted({*before, *after}):
        if (name in before) != (name in after):
            found.append(SourceChange(name, "present", name in before, name in after))
            continue
        found += [
            SourceChange(name, field, before[name].get(field), after[name].get(field))
            for field in _SAID
            if before[name].get(field) != after[name].get(field)
        ]
    return tuple(found)


def diff_named(old: str, new: str) -> TermDiff | GraphDiff:
    """Compare two graph folders, or two ontology releases (`read_release` says how they are named)."""
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
    """The difference as plain JSON values; the form is versioned."""
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
