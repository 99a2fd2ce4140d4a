"""The reader of any table: what it makes of publications, weights, quotes and separators."""

from pathlib import Path

import pytest

from vckg.base.errors import BuildError
from vckg.graph.statements import Reading
from vckg.readers import parse_options
from vckg.readers.tables import read_table

OPTIONS = {
    "relation": "is_marker_for",
    "subject": [{"space": "genes", "column": "gene"}],
    "object": [{"space": "cells", "column": "cell"}],
}


def read(folder: Path, text: str, **options: object) -> Reading:
    """Read a table of this text."""
    (folder / "table").write_text(text)
    return read_table({"main": folder / "table"}, **parse_options(read_table, OPTIONS | options, "source x"))


def test_publications_of_two_separators_are_read_and_others_counted(tmp_path: Path) -> None:
    cells = ["1;2", "PMID:3|pubmed: 4", "doi:10.1/x; 5", "Smith 2020", "", "NA", "Smith 2020"]
    rows = "".join(f"CD19\tB cell\t{cell}\n" for cell in cells)
    reading = read(tmp_path, "gene\tcell\tpaper\n" + rows, publications="paper")
    assert reading.statements[0].publications is not None
    assert reading.statements[0].publications.to_pylist() == [
        ["PMID:1", "PMID:2"],
        ["PMID:3", "PMID:4"],
        ["PMID:5"],
        [],
        [],
        [],
        [],
    ]
    assert reading.unread.counts == {"publication not a PubMed id": 3}
    assert reading.unread.examples == {"publication not a PubMed id": ["Smith 2020", "doi:10.1/x"]}
    assert not reading.rejected.counts
    of_commas = read(
        tmp_path, "gene\tcell\tpaper\nCD19\tB cell\t1,2\n", publications="paper", publication_separator=","
    )
    assert of_commas.statements[0].publications is not None
    assert of_commas.statements[0].publications.to_pylist() == [["PMID:1", "PMID:2"]]


def test_weights_that_are_no_number_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"CD19\tB cell\t{cell}\n" for cell in ("0.5", "high", "", "NA", " 2 "))
    reading = read(tmp_path, "gene\tcell\tw\n" + rows, weight="w")
    assert reading.statements[0].weight is not None
    assert reading.statements[0].weight.tolist() == pytest.approx([0.5, *[float("nan")] * 3, 2], nan_ok=True)
    assert reading.unread.counts == {"weight not a number": 1}
    assert reading.unread.examples == {"weight not a number": ["high"]}


def test_fields_between_commas_may_be_quoted_and_those_between_tabs_are_taken_as_they_are(
    tmp_path: Path,
) -> None:
    quoted = read(tmp_path, '"gene","cell"\n"CD19","B cell, naive"\nCD3D,T cell\n', separator=",")
    assert quoted.statements[0].subject[0].names.to_pylist() == ["CD19", "CD3D"]
    assert quoted.statements[0].object[0].names.to_pylist() == ["B cell, naive", "T cell"]
    plain = read(tmp_path, 'gene\tcell\nCD19\t"B cell"\n')
    assert plain.statements[0].object[0].names.to_pylist() == ['"B cell"']
    asked = read(tmp_path, 'gene\tcell\nCD19\t"B cell"\n', quoted=True)
    assert asked.statements[0].object[0].names.to_pylist() == ["B cell"]


def test_an_end_without_its_brackets_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"source x: option subject = .*: Expected `array`, got `object`"):
        read(tmp_path, "gene\tcell\n", subject={"space": "genes", "column": "gene"})
