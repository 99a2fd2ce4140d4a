"""Ids of marker tables that a row's own name, tissue or paper contradicts: corrected, or left out."""

from pathlib import Path

import numpy as np
import pytest

from tests.vckg.readers.forms import encyclopedia
from vckg.base.resources import resource
from vckg.graph.graph import Graph
from vckg.readers.markers import read_accordion, read_cellmarker, read_celltypist


@pytest.mark.data
def test_a_correction_leads_from_a_stated_class_to_the_one_the_name_means(
    full_graph: Graph, tmp_path: Path
) -> None:
    """Both ids are live; the corrected rows are in the graph under the right class."""
    lines = resource("data", "cell_type_corrections.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    assert len({(name, stated, where) for name, stated, where, _, _ in rows}) == len(rows) > 100
    for _, stated, _, right, why in rows:
        assert full_graph.get(stated) is not None
        assert right == "" or full_graph.get(right) is not None
        assert stated != right
        assert why
    satellite = full_graph.index("CL:0000594")
    genes = full_graph.subject[full_graph.in_edges(satellite, "is_marker_for")]
    assert full_graph.index(full_graph.genes.ground(["NCAM1"])[0].curie) in genes
    prostate = full_graph.in_edges(full_graph.index("CL:0002235"), "is_marker_for")
    upk1a = full_graph.index(full_graph.genes.ground(["UPK1A"])[0].curie)
    assert upk1a not in full_graph.subject[prostate], "luminal cells of the bladder"
    killers = full_graph.in_edges(full_graph.index("CL:0000623"), "is_marker_for")
    aagab = full_graph.index(full_graph.genes.ground(["AAGAB"])[0].curie)
    assert aagab not in full_graph.subject[killers], "all genes that one paper found in NKT cells"
    stem = full_graph.in_edges(full_graph.index("CL:0000037"), "is_marker_for")
    collagen = full_graph.index(full_graph.genes.ground(["COL1A1"])[0].curie)
    assert collagen not in full_graph.subject[stem], "HSC of the liver are hepatic stellate cells"


@pytest.mark.data
def test_a_tissue_correction_leads_to_the_tissue_the_text_means(full_graph: Graph) -> None:
    """Ids are live; peripheral blood is blood and no marker is of a circumventricular organ or a pronephros."""
    lines = resource("data", "tissue_corrections.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    assert len({(name, stated) for name, stated, _, _ in rows}) == len(rows) > 15
    assert all(
        full_graph.get(right) is not None and stated != right and why for _, stated, right, why in rows
    )
    codes = full_graph.list_codes("tissues").codes
    tissues = {full_graph.ids[i] for i in np.unique(codes).tolist()}
    assert {"UBERON:0000178", "UBERON:0002113"} <= tissues
    assert not {"UBERON:0005408", "UBERON:0002120", "UBERON:6001060"} & tissues


def test_a_row_s_tissue_is_put_right_by_its_text(tmp_path: Path) -> None:
    header = "species\toriginal_tissue\tUberon_ID\toriginal_celltype\tCL_ID\tmarker\tmarker_type\tresource"
    stated = [
        ("Peripheral blood", "UBERON:0005408"),
        ("Brain", "UBERON:0005408"),
        ("Blood", "UBERON:0000178"),
    ]
    lines = [f"Human\t{text}\t{u}\tT\tCL:0000084\tCD3D\tpositive\tX\t1\t1" for text, u in stated]
    (tmp_path / "main").write_text("\n".join([header + "\tECs_global\tSPs_global", *lines]) + "\n")
    (tmp_path / "fix").write_text(
        "name\tstated\tuberon_id\twhy\nPeripheral blood\tUBERON:0005408\tUBERON:0000178\tx\n"
    )
    reading = read_accordion({"main": tmp_path / "main", "tissues": tmp_path / "fix"})
    tissue = reading.statements[0].tissue
    assert tissue is not None
    assert tissue.names.to_pylist() == ["UBERON:0000178", "UBERON:0005408", "UBERON:0000178"]


def test_only_the_stated_row_of_that_name_is_corrected(tmp_path: Path) -> None:
    rows = [("GMP", "CL:0000837"), ("GMP", "CL:0000557"), ("MPP", "CL:0000837"), ("LSEC", "CL:0002072")]
    header = (
        "species\toriginal_tissue\tUberon_ID\toriginal_celltype\tCL_ID\tmarker\tmarker_type\tresource"
        "\tECs_global\tSPs_global"
    )
    lines = [f"Human\t\t\t{name}\t{cell}\tCD34\tpositive\tX\t1\t1" for name, cell in rows]
    (tmp_path / "main").write_text("\n".join([header, *lines]) + "\n")
    (tmp_path / "fix").write_text(
        "# why\nname\tstated\twhere\tcl_id\twhy\nGMP\tCL:0000837\t\tCL:0000557\tx\nLSEC\tCL:0002072\t\tCL:1000398\tx\n"
    )
    reading = read_accordion({"main": tmp_path / "main", "corrections": tmp_path / "fix"})
    result = reading.statements[0].object[0].names.to_pylist()
    assert result == ["CL:0000557", "CL:0000557", "CL:0000837", "CL:1000398"]
    assert ("GMP", "CL:0000837") not in zip(
        *(reading.mapped[0][c].to_pylist() for c in ("label", "id")), strict=True
    )


def test_one_name_means_another_class_by_tissue_or_paper(tmp_path: Path) -> None:
    columns = (
        "species tissue_type uberonongology_id cancer_type cell_name cellontology_id marker Symbol GeneID"
    )
    columns += " UNIPROTID technology_seq marker_source PMID"
    rows = [
        ("Breast", "1", "CL:0002326"),
        ("Prostate", "1", "CL:0002235"),
        ("Prostate", "2", "CL:0000066"),
        ("Breast", "2", "CL:0000066"),
        ("Liver", "1", None),
    ]
    lines = [
        f"Human\t{tissue}\t\tNormal\tLuminal cell\tCL_0002235\tKRT8\tKRT8\t\t\t\tx\t{pmid}"
        for tissue, pmid, _ in rows
    ]
    (tmp_path / "main").write_text("\n".join(["\t".join(columns.split()), *lines]) + "\n")
    fixes = [("Breast", "CL:0002326"), ("PMID:2", "CL:0000066"), ("Liver", "")]
    text = "".join(f"Luminal cell\tCL:0002235\t{where}\t{right}\tx\n" for where, right in fixes)
    (tmp_path / "fix").write_text("name\tstated\twhere\tcl_id\twhy\n" + text)
    reading = read_cellmarker({"main": tmp_path / "main", "corrections": tmp_path / "fix"})
    found = reading.statements[0].object[0].names.to_pylist()
    assert found == [right for _, _, right in rows if right]


def test_a_name_of_the_encyclopedia_is_corrected_and_a_joint_one_left_out(tmp_path: Path) -> None:
    (tmp_path / "main").write_bytes(encyclopedia())
    for right, kept in (("CL:0000785", ["CL:0000785"] * 2), ("", [])):
        (tmp_path / "fix").write_text(f"name\tstated\twhere\tcl_id\twhy\nB cells\tCL:0000236\t\t{right}\tx\n")
        reading = read_celltypist({"main": tmp_path / "main", "corrections": tmp_path / "fix"})
        assert [name for name in reading.statements[0].object[0].names.to_pylist() if name] == kept
