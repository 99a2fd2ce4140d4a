"""The file formats an export may have: each function writes one selection of the graph into an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vckg.graph import Graph
from vckg.kgx import edge_table, node_table
from vckg.lines import (
    Column,
    Columns,
    columns_of,
    csv_text,
    join,
    json_objects,
    tsv_text,
    write_lines,
    xml_text,
)
from vckg.schema import CATEGORIES, RELATION_NAMES


@dataclass(frozen=True)
class Selection:
    """What of a graph is written: node indices and edge rows, both ascending."""

    graph: Graph
    nodes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


def write_kgx(selection: Selection, folder: Path) -> None:
    """KGX in TSV: ``nodes.tsv``, ``edges.tsv``; multi-valued fields are joined by ``|``."""
    for name, table in _kgx_tables(selection):
        with (folder / f"{name}.tsv").open("wb") as file:
            file.write(("\t".join(table.column_names) + "\n").encode())
            write_lines(file, table, lambda c: join(*map(tsv_text, c.values()), "\t"))


def write_kgx_jsonl(selection: Selection, folder: Path) -> None:
    """KGX in JSON Lines: ``nodes.jsonl``, ``edges.jsonl``; a field without a value is left out."""
    for name, table in _kgx_tables(selection):
        with (folder / f"{name}.jsonl").open("wb") as file:
            write_lines(file, table, json_objects)


def _kgx_tables(selection: Selection) -> Iterable[tuple[str, pa.Table]]:
    yield "nodes", node_table(selection.graph, selection.nodes)
    yield "edges", edge_table(selection.graph, selection.rows)


# ---- neo4j ------------------------------------------------------------------------------------------------


class Neo4jField(NamedTuple):
    """One column of a neo4j-admin file: the field of its header and the KGX column it holds."""

    header: str
    column: str


ARRAY_DELIMITER = ";"  # neo4j-admin's default, so the files load without a flag
NODE_FIELDS = (
    Neo4jField("id:ID", "id"),
    Neo4jField("name:string", "name"),
    Neo4jField("description:string", "description"),
    Neo4jField("synonym:string[]", "synonym"),
    Neo4jField("xref:string[]", "xref"),
    Neo4jField("in_taxon:string", "in_taxon"),
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
    Neo4jField("evidence:string[]", "evidence"),
    Neo4jField("weight:float", "weight"),
    Neo4jField("specificity:float", "specificity"),
)


def write_neo4j(selection: Selection, folder: Path) -> None:
    """Files of ``neo4j-admin database import full``: one per category and relation, headers apart, and ``import.args``.

    Labels are the categories, types the relations in upper case. Load with
    ``neo4j-admin database import full @import.args neo4j`` from inside the folder.
    """
    graph = selection.graph
    arguments = ["--id-type=string"]
    for code, category in enumerate(CATEGORIES):
        nodes = selection.nodes[graph.category[selection.nodes] == code]
        if nodes.size:
            table = node_table(graph, nodes)
            name = _write_neo4j_file(folder, f"nodes-{category}", table, NODE_FIELDS, ":LABEL", category)
            arguments.append(f"--nodes={name}-header.csv,{name}.csv")
    for code, relation in enumerate(RELATION_NAMES):
        rows = selection.rows[graph.relation[selection.rows] == code]
        if rows.size:
            table = edge_table(graph, rows)
            name = _write_neo4j_file(
                folder, f"edges-{relation}", table, EDGE_FIELDS, ":TYPE", relation.upper()
            )
            arguments.append(f"--relationships={name}-header.csv,{name}.csv")
    (folder / "import.args").write_text("\n".join(arguments) + "\n", encoding="utf-8")


def _write_neo4j_file(
    folder: Path, name: str, table: pa.Table, fields: Sequence[Neo4jField], kind: str, value: str
) -> str:
    header = ",".join([*(f.header for f in fields), kind])
    (folder / f"{name}-header.csv").write_text(header + "\n", encoding="utf-8")
    picked = table.select([f.column for f in fields])
    with (folder / f"{name}.csv").open("wb") as file:
        write_lines(file, picked, lambda c: join(*_csv(c), f'"{value}"', ","))
    return name


def _csv(columns: Columns) -> list[Column]:
    return [csv_text(c, list_separator=ARRAY_DELIMITER) for c in columns.values()]


# ---- one flat table ---------------------------------------------------------------------------------------


def write_csv(selection: Selection, folder: Path) -> None:
    """``kg.csv``: every edge with the names of both ends, in PrimeKG's columns and ours behind them.

    As in PrimeKG the ``x_`` end is the subject, ``x_source`` the vocabulary its id is from; unlike PrimeKG each
    edge stands once, in its direction.
    """
    with (folder / "kg.csv").open("wb") as file:
        table = flat_table(selection.graph, selection.rows)
        file.write((",".join(table.column_names) + "\n").encode())
        write_lines(file, table, lambda c: join(*_csv(c), ","))


def flat_table(graph: Graph, rows: npt.NDArray[np.int64]) -> pa.Table:
    """Edges with both ends spelt out, one row each."""
    names = pa.array(RELATION_NAMES).take(pa.array(graph.relation[rows]))
    columns: dict[str, Column] = {
        "relation": names,
        "display_relation": pc.replace_substring(names, "_", " "),
    }
    for end, nodes in (("x", graph.subject[rows]), ("y", graph.object[rows])):
        ids = graph.ids.arrow.take(pa.array(nodes))
        columns |= {
            f"{end}_index": pa.array(nodes),
            f"{end}_id": ids,
            f"{end}_type": pa.array(CATEGORIES).take(pa.array(graph.category[nodes])),
            f"{end}_name": graph.names.arrow.take(pa.array(nodes)),
            f"{end}_source": pc.replace_substring_regex(ids, ":.*", ""),
        }
    kgx = edge_table(graph, rows)
    columns["source"] = pa.array(list(graph.sources), pa.string()).take(pa.array(graph.source[rows]))
    columns["sign"] = pa.array(graph.sign[rows])
    picked = ("evidence_count", "publications", "anatomical_context_qualifier", "weight", "knowledge_level")
    columns |= columns_of(kgx, picked)
    return pa.table(columns)


# ---- networkx and GraphML ----------------------------------------------------------------------------------


def link_tables(selection: Selection) -> tuple[pa.Table, pa.Table]:
    """Nodes and edges with the attributes of `vckg.convert.to_networkx`; an edge's begin with its ends and its key."""
    graph, rows = selection.graph, selection.rows
    nodes = {
        "id": graph.ids.arrow.take(pa.array(selection.nodes)),
        "category": pa.array(CATEGORIES).take(pa.array(graph.category[selection.nodes])),
        "name": graph.names.arrow.take(pa.array(selection.nodes)),
    }
    kgx = edge_table(graph, rows)
    relation = pa.array(RELATION_NAMES).take(pa.array(graph.relation[rows]))
    edges = {
        "subject": kgx["subject"],
        "object": kgx["object"],
        "key": kgx["id"],
        "relation": relation,
        "predicate": kgx["predicate"],
        "source_name": pa.array(list(graph.sources), pa.string()).take(pa.array(graph.source[rows])),
        "sign": pa.array(graph.sign[rows]),
        "evidence_count": kgx["evidence_count"],
        "publications": kgx["publications"],
        "tissues": kgx["anatomical_context_qualifier"],
        "weight": kgx["weight"],
        "knowledge_level": kgx["knowledge_level"],
        "agent_type": kgx["agent_type"],
    }
    return pa.table(nodes), pa.table(edges)


def write_networkx(selection: Selection, folder: Path) -> None:
    """``graph.json``: node-link JSON; read it with ``networkx.node_link_graph(json.load(file), edges="edges")``."""
    nodes, edges = link_tables(selection)
    renamed = edges.rename_columns(["source", "target", *edges.column_names[2:]])
    head = {"content_hash": selection.graph.content_hash}
    with (folder / "graph.json").open("wb") as file:
        file.write(
            f'{{"directed": true, "multigraph": true, "graph": {json.dumps(head)},\n"nodes": [\n'.encode()
        )
        write_lines(file, nodes, json_objects, between=",")
        file.write(b'],\n"edges": [\n')
        write_lines(file, renamed, json_objects, between=",")
        file.write(b"]}\n")


_GRAPHML_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
"""
_EDGE_HEAD = ("key", "subject", "object")
_GRAPHML_TYPES = {"sign": "int", "evidence_count": "int", "weight": "float"}


def write_graphml(selection: Selection, folder: Path) -> None:
    """``graph.graphml``, for Gephi, Cytoscape, igraph and networkx; lists are joined by ``|``."""
    nodes, edges = link_tables(selection)
    with (folder / "graph.graphml").open("wb") as file:
        file.write(_GRAPHML_HEAD.encode())
        for kind, table, first in (("node", nodes, 1), ("edge", edges, 3)):
            for name in table.column_names[first:]:
                typed = _GRAPHML_TYPES.get(name, "string")
                file.write(
                    f'<key id="{kind[0]}_{name}" for="{kind}" attr.name="{name}" attr.type="{typed}"/>\n'.encode()
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
    "csv": write_csv,
    "networkx": write_networkx,
}
