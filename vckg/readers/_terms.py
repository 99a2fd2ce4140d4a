"""Relation names, GO namespaces and links, shared by the readers of ontologies."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from vckg.graph.statements import End, Statements

#: Relations of the graph by RO and BFO id, and by the short names in files.
RO_RELATIONS = {
    "rdfs:subClassOf": "subclass_of",
    "is_a": "subclass_of",
    "BFO:0000050": "part_of",
    "part_of": "part_of",
    "RO:0002202": "develops_from",
    "develops_from": "develops_from",
    "RO:0002215": "capable_of",
    "capable_of": "capable_of",
    "RO:0002100": "has_soma_location",
    "RO:0002104": "has_surface_part",
    "CL:4030046": "lacks_surface_part",
    "regulates": "regulates_process",
    "RO:0002211": "regulates_process",
    "positively_regulates": "positively_regulates_process",
    "RO:0002213": "positively_regulates_process",
    "negatively_regulates": "negatively_regulates_process",
    "RO:0002212": "negatively_regulates_process",
    "has_part": "has_part",
    "BFO:0000051": "has_part",
    "occurs_in": "occurs_in",
    "BFO:0000066": "occurs_in",
}
GO_CATEGORY = {
    "biological_process": "BiologicalProcess",
    "molecular_function": "MolecularActivity",
    "cellular_component": "CellularComponent",
}


def links_of(relation: str, subjects: Sequence[str], objects: Sequence[str]) -> Statements:
    """Return statements of one relation from `subjects[i]` to `objects[i]` (CURIEs)."""
    child, parent = (End("curie", pa.array(curies, pa.string())) for curies in (subjects, objects))
    return Statements(relation, (child,), (parent,))
