"""Files in, a graph out: read every source, ground every name, count what is rejected."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import BuildError
from vckg.build.credits import describe
from vckg.build.ledger import Grounding
from vckg.build.source_table import Taken
from vckg.build.sssom import Mappings
from vckg.graph.assemble import assemble, node_table, orient
from vckg.graph.edge_table import merge
from vckg.graph.graph import Graph
from vckg.graph.grounding import NAME_KINDS, BulkGrounder, NameRows, NameTable, name_rows, names_of_nodes
from vckg.graph.name_keys import normal_keys
from vckg.graph.statements import Names, Reading
from vckg.graph.string_array import Strings
from vckg.readers import parse_options, reader


def build_graph(taken: Sequence[Taken], excluded_parts: Collection[str] = ()) -> tuple[Graph, Mappings]:
    """Return the graph of the given sources and the mappings that were made on the way.

    Parameters
    ----------
    excluded_parts
        ``name:part`` of sources whose rows of that part stay out.

    Raises
    ------
    SourceError
        A file is not of the form its reader knows.
    BuildError
        A source keeps no row at all.
    """
    readings = read_all(taken)
    nodes, category = node_table(_nodes(readings))
    ids = Strings(nodes["id"])
    names = NameTable.build(_names(readings, nodes, category, ids))
    obsolete: set[str] = set().union(*(r.obsolete for r in readings.values()))
    grounder = BulkGrounder(names, ids, obsolete)
    work = Grounding(grounder, category, ids, _relation_labels(readings))
    for name in sorted(readings):
        work.add(name, readings[name], excluded_parts)
        readings[name].statements.clear()  # a hundred megabytes of text by the end
    by_name = {t.source.name: t for t in taken}
    work.check(by_name, excluded_parts)
    source_names = sorted({*work.source_names()})
    rows, dictionaries = work.rows(source_names)
    edges = merge(orient(rows))
    manifest = {
        "source_names": source_names,
        "sources": describe(by_name, readings, work, source_names, edges.source),
        "excluded_parts": sorted(excluded_parts),
    }
    parts = assemble(nodes, category, edges, dictionaries, names, manifest)
    return Graph(parts), work.mappings


def _relation_labels(readings: Mapping[str, Reading]) -> dict[str, str]:
    return {
        curie: label for name in sorted(readings) for curie, label in readings[name].relation_labels.items()
    }


def read_all(taken: Sequence[Taken]) -> dict[str, Reading]:
    """Read every source; Arrow parses outside the interpreter lock, so two at a time gain.

    Raises
    ------
    BuildError
        A reader, or an option that its reader needs or does not have, is named wrongly in the source table.
    """
    readers = {t.source.name: reader(t.source.reader) for t in taken}
    options = {
        t.source.name: parse_options(readers[t.source.name], t.options, f"source {t.source.name}")
        for t in taken
    }
    with ThreadPoolExecutor(2) as pool:
        futures = {
            t.source.name: pool.submit(readers[t.source.name], t.files, **options[t.source.name])
            for t in sorted(taken, key=lambda t: -sum(p.stat().st_size for p in t.files.values()))
        }
        return {name: futures[name].result() for name in sorted(futures)}


def _nodes(readings: Mapping[str, Reading]) -> pa.Table:
    """All terms; of a CURIE that several sources describe the alphabetically first source's text stays."""
    tables = [table for name in sorted(readings) for table in readings[name].nodes]
    if not tables:
        raise BuildError("no source of nodes among those chosen; add hgnc and cl with --source")
    nodes = pa.concat_tables(tables)
    code = nodes["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    latest = np.maximum.accumulate(np.append(-1, code))  # codes count the ids in the order of first mention
    first = np.flatnonzero(latest[1:] > latest[:-1])
    return nodes if first.size == code.size else nodes.take(pa.array(first))


def _names(
    readings: Mapping[str, Reading], nodes: pa.Table, category: npt.NDArray[np.uint8], ids: Strings
) -> NameRows:
    """All names that lead to a node: the nodes' own, the sources', the labels that sources map themselves."""
    own = names_of_nodes(nodes, category)
    every = [names for name in sorted(readings) for names in readings[name].names]
    if any(names.kind == "genes.alias" for names in every):
        # the gene table tells previous symbols from aliases; its nodes' synonyms are both at once
        own = own.where(own.kind != NAME_KINDS.index("genes.alias"))
    by_id = [names for names in every if not names.by_symbol]
    for table in (table for name in sorted(readings) for table in readings[name].mapped):
        keys = normal_keys(table["label"].combine_chunks())
        by_id.append(Names("cells.mapped", keys, table["id"].combine_chunks()))
    node = ids.positions(pa.chunked_array([names.targets for names in by_id], pa.string()))
    ends = np.cumsum([len(names.names) for names in by_id])
    parts = [
        name_rows(names.kind, names.names, at) for names, at in zip(by_id, np.split(node, ends), strict=False)
    ]
    parts += [_by_symbol(names, own) for names in every if names.by_symbol]
    return NameRows.joined([own, *parts])


def _by_symbol(names: Names, own: NameRows) -> NameRows:
    """Names of whatever gene carries a symbol, where the gene table does not know the name already."""
    symbols = own.where(own.kind == NAME_KINDS.index("genes.symbol"))
    known = own.where(own.kind == NAME_KINDS.index(names.kind)).name
    new = pc.invert(pc.is_in(names.names, value_set=known))
    at = Strings(symbols.name).positions(names.targets.filter(new))
    return name_rows(names.kind, names.names.filter(new), np.append(symbols.node, np.int32(-1))[at])
