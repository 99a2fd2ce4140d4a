"""``gather annotate`` as a user types it: where the copy goes, what is refused before anything is loaded, the table."""

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner

import gather
from gather.annotation import Annotation, Candidate, Mixture
from gather.cells.command import annotate_file
from gather.cells.file import check_input
from gather.cells.options import Options
from gather.cells.terminal import cell_counts, in_words
from gather.cli import app
from gather.labelling.plain_words import certainty, objections, status_reason

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")


def test_the_copy_lies_beside_the_input_and_the_table_fits_a_glance(blood_graph, source, tmp_path):
    folder = blood_graph.save(tmp_path / "graph")
    done = CliRunner().invoke(app, ["annotate", str(source), "--groupby", "group", "-g", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'in.gather.h5ad'}" in done.stderr.replace("\n", "")
    found = gather.results(ad.read_h5ad(tmp_path / "in.gather.h5ad"))
    assert [a.status for a in found] == ["named"] * 3
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("│ T cells")]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:3] == ["30", "T cell (CL:0000084)"]
    assert cells[3].split()[0] in ("high", "medium", "low")
    assert cells[-1] == "named"


HEAVY = ("numpy", "pandas", "scipy", "h5py", "anndata", "scanpy", "numba", "pyarrow")
COUNTED = f"""
import sys
from gather.cli import app
try:
    app(sys.argv[1:], standalone_mode=False)
except Exception as error:
    print(error)
print([name for name in {HEAVY} if name in sys.modules])
"""


def write_hdf5_head(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)


@pytest.mark.parametrize(
    ("make", "words", "problem"),
    [
        (lambda _path: None, [], "no such file"),
        (lambda path: path.mkdir(), [], "is a folder"),
        (write_hdf5_head, ["-o", "out.txt"], "ends in .h5ad, in .csv"),
        (write_hdf5_head, ["-o", "nowhere/out.h5ad"], "no such folder"),
        (write_hdf5_head, ["--base-url", "http://127.0.0.1:9"], "name one with --model"),
    ],
)
def test_errors_of_path_and_type_come_before_any_library_is_loaded(tmp_path, make, words, problem):
    make(tmp_path / "in.h5ad")
    command = [sys.executable, "-c", COUNTED, "annotate", "in.h5ad", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    *message, loaded = done.stdout.splitlines()
    assert problem in "".join(message), done.stderr
    assert loaded == "[]"


@pytest.mark.parametrize("start", [0, 512, 1024, 4096])
def test_hdf5_is_known_by_its_signature_wherever_a_user_block_ends(tmp_path, start):
    path = tmp_path / "in.h5ad"
    path.write_bytes(b"u" * start + b"\x89HDF\r\n\x1a\n" + b"\0" * 5000)
    check_input(path)


def answer(status, confidence, fdr, **more):
    curie = "CL:0000084" if status in ("named", "backed_off") else ""
    best = Candidate(1, "CL:0000624", "CD4 T cell", 1.0, 0.1, fdr, 0.31, 3)
    return Annotation(
        "0",
        9,
        status,
        "T cell" if curie else "unknown",
        curie,
        confidence if curie else 0.0,
        fdr,
        (best,),
        **more,
    )


@pytest.mark.parametrize(
    ("annotation", "word", "reason"),
    [
        (answer("named", 0.93, 1e-5), "high", "named"),
        (answer("named", 0.9, 1e-5), "high", "named"),
        (answer("backed_off", 0.7, 1e-5), "medium", "backed off: CD4 T cell has confidence 0.310"),
        (answer("named", 0.696, 1e-5), "medium", "named"),  # as 0.70 is what stands beside it
        (answer("named", 0.5, 1e-5), "low", "named"),
        (answer("unknown", 0, 0.01, reason="unsure"), "-", "not sure enough: best is CD4 T cell with 0.310"),
        (answer("unknown", 0, 0.7, query_genes=("A", "B"), reason="chance"), "-",
         "2 genes: cannot tell CD4 T cell from chance (FDR 0.7; a name needs 0.02)"),
        (answer("unknown", 0, 0.01, query_genes=("A",), reason="chance"), "-",
         "1 gene: cannot tell CD4 T cell from chance (FDR 0.01; a name needs 0.001 below 20 cells)"),
        (answer("unknown", 0, 0.01, reason="few_cells"), "-", "9 cells: a name needs 5; best is CD4 T cell"),
        (answer("unknown", 0, 0.01, query_genes=("A", "B"), reason="few_genes"), "-",
         "3 genes of 2 speak for the best, CD4 T cell; a name needs 3"),
        (answer("mixed", 0, 0.01, mixture=Mixture(("CL:1", "CL:2"), ("T", "B"), 0.84, 0.1, 0.01)), "-",
         "mixed: 84% of cells express markers of both"),
        (Annotation("0", 9, "ungrounded", "unknown", "", 0.0, 1.0), "-", "no gene is known"),
    ],
)  # fmt: skip
def test_certainty_and_status_in_plain_words(annotation, word, reason):
    assert certainty(annotation) == word
    assert status_reason(annotation) == reason
    assert objections(annotation) == []


@pytest.mark.parametrize(("unknown", "told"), [(90, True), (50, False)])
def test_clusters_are_recommended_where_most_single_cells_have_no_answer(unknown: int, told: bool) -> None:
    status = ["unknown"] * unknown + ["named"] * (100 - unknown)
    columns = {"k_status": status, "k_reason": ["chance"] * 100, "k_cell_type": ["T cell"] * 100}
    columns["k_best_cell_type"] = (
        ["naive T cell"] * 30 + ["B cell"] * 15 + ["monocyte"] * 28 + ["mast cell"] * 27
    )
    lines = "\n".join(in_words(cell_counts(columns, "k"), "k"))
    assert ("most cells have no answer" in lines) == told
    refused = (
        "naive T cell (30), monocyte (28), mast cell (17)" if told else "naive T cell (30), B cell (15), "
    )
    assert f"{unknown} cells unanswered by chance, mostly {refused}" in lines
    assert "annotate clusters for these" in lines


def test_the_command_counts_the_cells_whose_answer_a_tissue_changed(
    blood_graph, blood_cells, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("gather.retrieval.candidates.ENOUGH", 1)
    monkeypatch.setattr("gather.retrieval.scores.NOT_PREFERRED", 0.1)
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    columns = []
    for tissue in (None, "blood"):
        capsys.readouterr()
        outcome = annotate_file(
            tmp_path / "in.h5ad", None, blood_graph, Options(groupby="cell", tissue=tissue)
        )
        columns.append(np.asarray(outcome.columns["gather_cell_type_ontology_term_id"]))
    changed = int((columns[0] != columns[1]).sum())
    assert 0 < changed < len(columns[0])
    assert f"the tissue changed the answer of {changed} of {len(columns[0])} cells" in capsys.readouterr().err


def test_a_sparse_file_is_told_and_json_has_no_nan(blood_graph, blood_cells, tmp_path):
    blood_cells.X[:, 3:] = 0
    blood_cells.X[0] = 0
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    graph = str(blood_graph.save(tmp_path / "graph"))
    words = ["annotate", str(tmp_path / "in.h5ad"), "--groupby", "group", "-g", graph]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "cells without expression: " in done.stderr
    assert "known genes: too few to tell most cell types" in done.stderr.replace("\n", " ")
    (tmp_path / "m.txt").write_text("T: CD3D, CD3E, IL7R, LCK\n")
    done = CliRunner().invoke(
        app, ["annotate", str(tmp_path / "m.txt"), "-o", str(tmp_path / "m.csv"), "-g", graph, "--json"]
    )
    (answer,) = json.loads(done.stdout, parse_constant=pytest.fail)
    assert answer["fdr"] is None
