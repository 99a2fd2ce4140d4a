"""Convert a graph to KGX tables, with the terms of the Biolink Model.

Format: https://github.com/biolink/kgx/blob/master/specification/kgx-format.md. Checked against Biolink Model 4.4.
Multi-valued columns are Arrow lists; the file format decides how to write them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.types import Bytes, Indices, SignedBytes, Singles
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, OF_ORTHOLOGS, ORTHOLOGY, RELATION_CODE, RELATIONS, TAXA

HUMAN, MOUSE = TAXA["HGNC"], TAXA["MGI"]
GATHERER = "infores:vckg"
#: IRIs of the prefixes that biolink's own map does not hold.
PREFIX_IRIS = {
    "COMPLEX": "https://omnipathdb.org/complexes/",
    "CPDB": "https://www.cellphonedb.org/complex/",
    "vckg": "https://github.com/vckg/vckg#",
}

#: Biolink classes of categories with another name. Biolink has no class for "a set of genes"; ``GeneFamily`` would
#: claim common descent.
_CLASS = {"ProteinComplex": "MacromolecularComplex", "GeneSet": "NamedThing", "OrthologGene": "Gene"}
#: The species of a category of a graph as built; ontology terms and chemicals have none.
_TAXA = {"Gene": HUMAN, "GeneSet": HUMAN, "OrthologGene": MOUSE}
#: The biolink qualifier for the direction that the name of a relation implies.
_DIRECTION = {"positively_regulates_process": "upregulated", "negatively_regulates_process": "downregulated"}
_DIRECTION_OF_SIGN = {1: "upregulated", -1: "downregulated"}
#: Statements about genes are about human genes, but for those of the relations of orthologues; a pair is of both.
_SPECIES = [
    MOUSE if r.name in OF_ORTHOLOGS else HUMAN if "Gene" in r.subjects + r.objects else None
    for r in RELATIONS
]
_SPECIES[RELATION_CODE[ORTHOLOGY]] = None
_SIGN_MARKS = ("/-", "", "/+")

#: ``taxon`` and not ``in_taxon``: the model's classes want a list of the latter, kgx's validator refuses one.
NODE_COLUMNS = ("id", "category", "name", "description", "synonym", "xref", "taxon")
#: The last five but ``has_evidence`` are ours, not biolink's.
EDGE_COLUMNS = (
    "id",
    "subject",
    "predicate",
    "object",
    "category",
    "knowledge_level",
    "agent_type",
    "primary_knowledge_source",
    "aggregator_knowledge_source",
    "original_predicate",
    "object_direction_qualifier",
    "anatomical_context_qualifier",
    "species_context_qualifier",
    "publications",
    "evidence_count",
    "has_evidence",
    "sign",
    "weight",
    "specificity",
    "source_name",
)


def biolink_class(category: str) -> str:
    """Return the biolink CURIE of a category, e.g. ``biolink:Gene``."""
    return f"biolink:{_CLASS.get(category, category)}"


def node_table(graph: Graph, nodes: Indices | None = None) -> pa.Table:
    """Return all nodes, or those of the given indices, in the columns `NODE_COLUMNS`, ascending by CURIE."""
    indices = np.arange(graph.n) if nodes is None else np.asarray(nodes)
    texts = graph.node_table.take(pa.array(indices, pa.int64()))
    category = graph.category[indices]
    classes = pa.array([[biolink_class(c)] for c in CATEGORIES], pa.list_(pa.string()))
    taxon = [_TAXA.get(c) for c in CATEGORIES]
    columns = {
        "id": texts["id"],
        "category": classes.take(pa.array(category)),
        "name": _blank_as_null(texts["name"]),
        "description": _blank_as_null(texts["description"]),
        "synonym": texts["synonyms"],
        "xref": texts["xrefs"],
        "taxon": pa.array(taxon, pa.string()).take(pa.array(category)),
    }
    return pa.table(columns).combine_chunks()


def edge_table(graph: Graph, rows: Indices | None = None) -> pa.Table:
    """Return all edges, or the given rows, in the columns `EDGE_COLUMNS`, in the order of the graph."""
    indices = np.arange(graph.m) if rows is None else np.asarray(rows)
    relation, source, sign = graph.relation[indices], graph.source[indices], graph.sign[indices]
    subject, target = _ids(graph, graph.subject[indices]), _ids(graph, graph.object[indices])
    primary, gathered = _knowledge_sources(graph)
    columns = {
        "id": edge_ids(graph, indices),
        "subject": subject,
        "predicate": _by_code([r.predicate for r in RELATIONS], relation),
        "object": target,
        "category": pa.array([["biolink:Association"]], pa.list_(pa.string())).take(
            pa.array(np.zeros(indices.size, int))
        ),
        "knowledge_level": _of_source(graph, source, "knowledge_level", "not_provided"),
        "agent_type": _of_source(graph, source, "agent_type", "not_provided"),
        "primary_knowledge_source": _by_code(primary, source),
        "aggregator_knowledge_source": pa.array(gathered, pa.list_(pa.string())).take(pa.array(source)),
        "original_predicate": _by_code([f"vckg:{r.name}" for r in RELATIONS], relation),
        "object_direction_qualifier": _direction(relation, sign),
        "anatomical_context_qualifier": graph.lists("tissues", indices),
        "species_context_qualifier": _by_code(_SPECIES, relation),
        "publications": graph.lists("publications", indices),
        "evidence_count": pa.array(graph.evidence_count[indices]),
        "has_evidence": graph.lists("evidence", indices),
        "sign": pa.array(sign),
        "weight": _nan_as_null(graph.weight[indices]),
        "specificity": _nan_as_null(graph.specificity[indices]),
        "source_name": _by_code(graph.sources, source),
    }
    return pa.table(columns).combine_chunks()


def edge_ids(graph: Graph, rows: Indices) -> pa.Array:
    """Return a stable id of each edge: ``vckg:is_marker_for/HGNC:3603/CL:0000084/panglaodb``, with a sign as ``/+``."""
    relation = pa.array([f"vckg:{r.name}/" for r in RELATIONS]).take(pa.array(graph.relation[rows]))
    ends = [f"/{name}{mark}" for name in graph.sources for mark in _SIGN_MARKS]
    codes = graph.source[rows].astype(np.int64) * len(_SIGN_MARKS) + graph.sign[rows] + 1
    subject, target = _ids(graph, graph.subject[rows]), _ids(graph, graph.object[rows])
    tail = pa.array(ends, pa.string()).take(pa.array(codes))
    return pc.binary_join_element_wise(relation, subject, "/", target, tail, "")


def _ids(graph: Graph, nodes: Indices) -> pa.Array:
    return graph.ids.arrow.take(pa.array(nodes))


def _by_code(words: Sequence[str | None], codes: Indices) -> pa.Array:
    """Return a column of few distinct words as an Arrow dictionary, with None as null."""
    distinct = [w for w in dict.fromkeys(words) if w is not None]
    place = np.array([-1 if w is None else distinct.index(w) for w in words], dtype=np.int16)[codes]
    return pa.DictionaryArray.from_arrays(pa.array(place, mask=place < 0), pa.array(distinct, pa.string()))


def _of_source(graph: Graph, source: Indices, key: str, default: str) -> pa.Array:
    entries = graph.manifest["sources"]
    return _by_code([entries.get(name, {}).get(key) or default for name in graph.sources], source)


def _knowledge_sources(graph: Graph) -> tuple[list[str | None], list[list[str]]]:
    """Return the primary source and the aggregators of each source; a copy names the original as primary source."""
    entries = graph.manifest["sources"]
    primary, gathered = [], []
    for name in graph.sources:
        own = entries.get(name, {}).get("infores")
        original = entries.get(entries.get(name, {}).get("underlying", name), {}).get("infores", own)
        primary.append(original)
        gathered.append([own, GATHERER] if own and own != original else [GATHERER])
    return primary, gathered


def _direction(relation: Bytes, sign: SignedBytes) -> pa.Array:
    words = [_DIRECTION.get(name) or _DIRECTION_OF_SIGN.get(s) for name in RELATION_CODE for s in (-1, 0, 1)]
    return _by_code(words, relation.astype(np.int64) * 3 + sign + 1)


def _blank_as_null(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _nan_as_null(values: Singles) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))
