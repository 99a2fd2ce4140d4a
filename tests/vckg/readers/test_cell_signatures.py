"""Signatures of cell types: which lists are read, which genes stay, and the shipped tables of names."""

import json
from pathlib import Path
from typing import Any

import pytest

from vckg.base.errors import SourceError
from vckg.base.resources import resource
from vckg.graph.graph import Graph
from vckg.readers._csv import read_columns
from vckg.readers.sets import read_cell_signatures

CELLS = "# by hand\nname\tcl_id\nT cells\tCL:0000084\nB cells\tCL:0000236\nMixed\t\n"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.tsv"
    path.write_text(CELLS)
    return path


def rows(parts: dict[str, Path], **options: Any) -> set[tuple[str, str]]:
    (statements,) = read_cell_signatures(parts, **options).statements
    genes, types = statements.subject[0].names, statements.object[0].names
    return set(zip(genes.to_pylist(), types.to_pylist(), strict=True))


def test_both_forms_say_the_same(cells: Path, tmp_path: Path) -> None:
    gmt, as_json = tmp_path / "sets.gmt", tmp_path / "sets.json"
    gmt.write_text("T cells\thttp://x\tCD3D\tCD2\nB cells\thttp://x\tCD79A\tCD2\nMixed\thttp://x\tCD3D\n")
    as_json.write_text(
        json.dumps({"T cells": ["CD3D", "CD2"], "B cells": ["CD79A", "CD2"], "Mixed": ["CD3D"]})
    )
    wanted = {("CD3D", "CL:0000084"), ("CD2", "CL:0000084"), ("CD79A", "CL:0000236"), ("CD2", "CL:0000236")}
    assert (
        rows({"main": gmt, "cells": cells}) == rows({"main": as_json, "cells": cells}, form="json") == wanted
    )


def test_genes_of_many_lists_stay_out_and_are_counted(cells: Path, tmp_path: Path) -> None:
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("T cells\t-\tCD3D\tCD2\nB cells\t-\tCD79A\tCD2\nMixed\t-\tCD3D\n")
    parts = {"main": gmt, "cells": cells}
    assert rows(parts, most_lists=1) == {("CD79A", "CL:0000236")}
    rejected = read_cell_signatures(parts, most_lists=1).rejected.counts
    assert rejected == {"in more than 1 list": 4}
    assert read_cell_signatures(parts).rejected.counts == {"no class of that meaning in the Cell Ontology": 1}


def test_a_line_without_genes_is_named(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "sets.gmt").write_text("T cells\t-\tCD3D\nB cells\t-\n")
    with pytest.raises(SourceError, match=r"sets\.gmt:2: 2 columns"):
        read_cell_signatures({"main": tmp_path / "sets.gmt", "cells": cells})


@pytest.mark.parametrize("name", ["hpa_cells.tsv", "msigdb_cells.tsv"])
def test_every_class_of_the_shipped_tables_is_in_the_ontology_under_its_label(
    name: str, core_graph: Graph
) -> None:
    table = read_columns(resource("data", name), ["name", "cl_id", "cl_label"], comment=b"#").to_pylist()
    assert len({row["name"] for row in table}) == len(table)
    for row in table:
        assert not row["cl_id"] or core_graph[row["cl_id"]].name == row["cl_label"]
