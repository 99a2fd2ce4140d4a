"""Rules about cell types: genes whose presence speaks for a type, and genes whose presence speaks against it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vckg.graph.statements import End, Reading, pmids
from vckg.graph.string_array import texts
from vckg.readers._csv import read_mapping
from vckg.readers._json import AxiomRule, read_json

Parts = Mapping[str, Path]

_FOR = {("positive", "high"), ("positive", "present"), ("circuit", "high"), ("circuit", "active")}
_AGAINST = {("negative", "high"), ("negative", "present"), ("negative", "absent")}


def read_axiom_rules(parts: Parts) -> Reading:
    """Read the rules of axiom-sc: one gene or several that speak for a type (also together) or against it.

    A rule about a regulon's activity is not about expression and is rejected, as is one about a low level. The part
    ``cells`` gives the class of a type whose name alone does not lead to it.
    """
    rules = read_json(parts["main"], list[AxiomRule])
    classes = read_mapping(parts["cells"], "name", "cl_id")
    reading = Reading(rows=len(rules))
    rows: dict[str, list[tuple[str, AxiomRule]]] = {"is_marker_for": [], "is_negative_marker_for": []}
    for rule in rules:
        genes = sorted(set(rule.gene_or_regulon))
        key = rule.rule_type, rule.direction
        if rule.evidence_source != "marker_genes":
            reading.rejected.add("activity of a regulon, not expression", len(genes), [rule.cell_type])
        elif classes.get(rule.cell_type) == "":
            reason = "no class of that meaning in the Cell Ontology"
            reading.rejected.add(reason, len(genes), [rule.cell_type])
        elif key in _FOR or key in _AGAINST:
            relation = "is_marker_for" if key in _FOR else "is_negative_marker_for"
            rows[relation] += [(gene, rule) for gene in genes]
        else:
            reading.rejected.add(f"a {rule.rule_type} rule, {rule.direction}", len(genes), [rule.cell_type])
    for relation, pairs in rows.items():
        several = [rule for _, rule in pairs]
        names = [rule.cell_type for rule in several]
        tissues = [
            rule.tissue_context[0].replace("_", " ") if rule.tissue_context else "" for rule in several
        ]
        reading.state(
            relation,
            (End("genes", texts(gene for gene, _ in pairs)),),
            (
                End("curie", texts(classes.get(name, "") for name in names)),
                End("cells", texts(name.replace("_", " ") for name in names)),
            ),
            publications=pmids(texts(rule.pmid for rule in several)),
            tissue=End("anatomy", texts(tissues)),
        )
    return reading
