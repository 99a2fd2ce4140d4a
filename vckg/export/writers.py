"""The file formats of an export: each function writes a selection of a graph into an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.types import Longs
from vckg.export.kgx import EDGE_COLUMNS, NODE_COLUMNS, PREFIX_IRIS, edge_table, node_table
from vckg.export.text_columns import (
    Column,
    Columns,
    csv_text,
    join,
    json_objects,
    tsv_text,
    write_lines,
    xml_text,
)
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, RELATION_NAMES

BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Selection:
    """The node indices and edge rows to write, both ascending."""

    graph: Graph
    nodes: Longs
    rows: Longs


def write_kgx(selection: Selection, folder: Path) -> None:
    """Write KGX in TSV: ``nodes.tsv``, ``edges.tsv``; multi-valued fields are joined by ``|``."""
    for name, columns, tables in _kgx_tables(selection):
        with (folder / f"{name}.tsv").open("wb") as file:
            file.write(("\t".join(columns) + "\n").encode())
            write_lines(file, tables, lambda c: join(*map(tsv_text, c.values()), "\t"))
    _write_prefixes(folder)


def write_kgx_jsonl(selection: Selection, folder: Path) -> None:
    """Write KGX in JSON Lines: ``nodes.jsonl``, ``edges.jsonl``; a field without a value is left out."""
    for name, _, tables in _kgx_tables(selection):
        with (folder / f"{name}.jsonl").open("wb") as file:
            write_lines(file, tables, json_objects)
    _write_prefixes(folder)


def _write_prefixes(folder: Path) -> None:
    """Write ``prefixes.json``: the prefixes that biolink's own map does not hold."""
    (folder / "prefixes.json").write_text(json.dumps(PREFIX_IRIS, indent=1) + "\n", encoding="utf-8")


def _kgx_tables(selection: Selection) -> Iterable[tuple[str, Sequence[str], Iterable[pa.Table]]]:
    graph = selection.graph
    yield "nodes", NODE_COLUMNS, (node_table(graph, part) for part in batches(selection.nodes))
    yield "edges", EDGE_COLUMNS, (edge_table(graph, part) for part in batches(selection.rows))


def batches(indices: Longs) -> Iterator[Longs]:
    """Yield the indices in blocks of `BATCH_ROWS`, which bounds the memory of a table."""
    for start in range(0, indices.size, BATCH_ROWS):
        yield indices[start : start + BATCH_ROWS]


# ---- neo4j ------------------------------------------------------------------------------------------------


class Neo4jField(NamedTuple):
    """One column of a neo4j-admin file: its header field and the KGX column with its values."""

    header: str
    column: str


ARRAY_DELIMITER = ";"  # neo4j-admin's default, so the files load without a flag
NODE_FIELDS = (
    Neo4jField("id:ID", "id"),
    Neo4jField("name:string", "name"),
    Neo4jField("description:string", "description"),
    Neo4jField("synonym:string[]", "synonym"),
    Neo4jField("xref:string[]", "xref"),
    Neo4jField("taxon:string", "taxon"),
)
EDGE_FIELDS = (
    Neo4jField(":START_ID", "subject"),
    Neo4jField(":END_ID", "object"),
    Neo4jField("predicate:string", "predicate"),
    Neo4jField("knowledge_level:string", "knowledge_level"),
    Neo4jField("agent_type:string", "agent_type"),
    Neo4jField("primary_knowledge_source:string", "primary_knowledge_source"),
    Neo4jField("object_direction_qualifier:string", "object_direction_qualifier"),
    Neo4jField("anatomical_context_qualifier:string[]", "anatomical_context_qualifier"),
    Neo4jField("publications:string[]", "publications"),
    Neo4jField("evidence_count:int", "evidence_count"),
    Neo4jField("has_evidence:string[]", "has_evidence"),
    Neo4jField("sign:int", "sign"),
    Neo4jField("weight:float", "weight"),
    Neo4jField("specificity:float", "specificity"),
    Neo4jField("source_name:string", "source_name"),
)


def write_neo4j(selection: Selection, folder: Path) -> None:
    """Write files for ``neo4j-admin database import full``: one per category and relation, and ``import.args``.

    Labels are the categories, types the relations in upper case. Load with
    ``neo4j-admin database import full @import.args neo4j`` from inside the folder.
    """
    graph = selection.graph
    arguments = ["--id-type=string"]
    for code, category in enumerate(CATEGORIES):
        nodes = selection.nodes[graph.category[selection.nodes] == code]
        if nodes.size:
            tables = (node_table(graph, part) for part in batches(nodes))
            name = _write_neo4j_file(folder, f"nodes-{category}", tables, NODE_FIELDS, ":LABEL", category)
            arguments.append(f"--nodes={name}-header.csv,{name}.csv")
    for code, relation in enumerate(RELATION_NAMES):
        rows = selection.rows[graph.relation[selection.rows] == code]
        if rows.size:
            tables = (edge_table(graph, part) for part in batches(rows))
            name = _write_neo4j_file(
                folder, f"edges-{relation}", tables, EDGE_FIELDS, ":TYPE", relation.upper()
            )
            arguments.append(f"--relationships={name}-header.csv,{name}.csv")
    (folder / "import.args").write_text("\n".join(arguments) + "\n", encoding="utf-8")


def _write_neo4j_file(
    folder: Path, name: str, tables: Iterable[pa.Table], fields: Sequence[Neo4jField], kind: str, value: str
) -> str:
    header = ",".join([*(f.header for f in fields), kind])
    (folder / f"{name}-header.csv").write_text(header + "\n", encoding="utf-8")
    picked = (table.select([f.column for f in fields]) for table in tables)
    with (folder / f"{name}.csv").open("wb") as file:
        write_lines(file, picked, lambda c: join(*_csv(c), f'"{value}"', ","))
    return name


def _csv(columns: Columns) -> list[Column]:
    return [csv_text(c, list_separator=ARRAY_DELIMITER) for c in columns.values()]


# ---- GraphML, and networkx ----------------------------------------------------------------------------------


def link_nodes(graph: Graph, nodes: Longs) -> pa.Table:
    """Return nodes with the attributes of `vckg.export.networks.to_networkx`, the CURIE first."""
    columns = {
        "id": graph.ids.arrow.take(pa.array(nodes)),
        "category": pa.array(CATEGORIES).take(pa.array(graph.category[nodes])),
        "name": graph.names.arrow.take(pa.array(nodes)),
    }
    return pa.table(columns)


def link_edges(graph: Graph, rows: Longs) -> pa.Table:
    """Return edges with the attributes of `vckg.export.networks.to_networkx`, their ends and key first."""
    kgx = edge_table(graph, rows)
    columns = {
        "subject": kgx["subject"],
        "object": kgx["object"],
        "key": kgx["id"],
        "relation": pa.array(RELATION_NAMES).take(pa.array(graph.relation[rows])),
        "predicate": kgx["predicate"],
        "source_name": kgx["source_name"],
        "sign": kgx["sign"],
        "evidence_count": kgx["evidence_count"],
        "publications": kgx["publications"],
        "tissues": kgx["anatomical_context_qualifier"],
        "weight": kgx["weight"],
        "knowledge_level": kgx["knowledge_level"],
        "agent_type": kgx["agent_type"],
    }
    return pa.table(columns)


def _link_tables(selection: Selection) -> tuple[Iterable[pa.Table], Iterable[pa.Table]]:
    graph = selection.graph
    nodes = (link_nodes(graph, part) for part in batches(selection.nodes))
    return nodes, (link_edges(graph, part) for part in batches(selection.rows))


_GRAPHML_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
"""
_GRAPHML_KEY = '<key id="{0}_{1}" for="{2}" attr.name="{1}" attr.type="{3}"/>\n'
_EDGE_HEAD = ("key", "subject", "object")
_GRAPHML_TYPES = {"sign": "int", "evidence_count": "int", "weight": "float"}


def write_graphml(selection: Selection, folder: Path) -> None:
    """Write ``graph.graphml``, for Gephi, Cytoscape, igraph and networkx; lists are joined by ``|``."""
    nodes, edges = _link_tables(selection)
    no_rows = selection.rows[:0]
    kinds = (
        ("node", link_nodes(selection.graph, no_rows), 1),
        ("edge", link_edges(selection.graph, no_rows), 3),
    )
    with (folder / "graph.graphml").open("wb") as file:
        file.write(_GRAPHML_HEAD.encode())
        for kind, table, first in kinds:
            for name in table.column_names[first:]:
                file.write(
                    _GRAPHML_KEY.format(kind[0], name, kind, _GRAPHML_TYPES.get(name, "string")).encode()
                )
        file.write(b'<graph edgedefault="directed">\n')
        write_lines(file, nodes, _graphml_node)
        write_lines(file, edges, _graphml_edge)
        file.write(b"</graph>\n</graphml>\n")


def _graphml_node(columns: Columns) -> Column:
    data = _graphml_data("n", columns, without=("id",))
    return join('<node id="', xml_text(columns["id"]), '">', *data, "</node>", "")


def _graphml_edge(columns: Columns) -> Column:
    name, subject, target = (xml_text(columns[c]) for c in _EDGE_HEAD)
    opening = ('<edge id="', name, '" source="', subject, '" target="', target, '">')
    return join(*opening, *_graphml_data("e", columns, without=_EDGE_HEAD), "</edge>", "")


def _graphml_data(prefix: str, columns: Columns, *, without: Collection[str]) -> list[Column]:
    return [_graphml_datum(f"{prefix}_{name}", c) for name, c in columns.items() if name not in without]


def _graphml_datum(key: str, column: Column) -> Column:
    text = xml_text(column)
    return pc.if_else(pc.equal(text, ""), "", join(f'<data key="{key}">', text, "</data>", ""))


FORMATS: dict[str, Callable[[Selection, Path], None]] = {
    "kgx": write_kgx,
    "kgx-jsonl": write_kgx_jsonl,
    "neo4j": write_neo4j,
    "graphml": write_graphml,
}
