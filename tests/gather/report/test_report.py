"""The report: one file that asks for nothing, shows hostile labels as text, and unfolds to publications."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.annotation import Walk
from gather.cells.command import annotate_file
from gather.cells.options import Options
from gather.labelling.plain_words import best_evidence, best_genes, objections
from gather.report.page import Embedding, embedding_of, sample_points
from tests.gather.report.report_pages import blocks, embedding, write
from vckg.base.errors import InputError


def test_the_same_annotations_give_the_same_bytes(make_annotation, tmp_path: Path) -> None:
    sets = [make_annotation(str(i)) for i in range(3)]
    one = write(tmp_path, sets, embedding=embedding([0, 1, 2, -1])).read_bytes()
    assert write(tmp_path, sets, embedding=embedding([0, 1, 2, -1])).read_bytes() == one


def test_points_carry_their_place_set_label_and_confidence(make_annotation, tmp_path: Path) -> None:
    sets = [make_annotation("a", confidence=0.5), make_annotation("b", label="B cell", n_cells=7)]
    points = Embedding(
        "X_umap",
        np.array([[0, 0], [4, 1], [2, 0], [np.nan, 0]], np.float32),
        np.array([0, 1, -1, 0], np.int32),
    )
    report = blocks(write(tmp_path, sets, embedding=points))["report"]
    block = report["embedding"]
    read = {name: np.frombuffer(base64.b64decode(block[name]), kind) for name, kind in KINDS.items()}
    assert [entry["label"] for entry in report["labels"]] == ["T cell", "B cell"]
    assert block["points"] == 3
    assert read["set"].tolist() == [0, 1, -1]
    assert read["label"].tolist() == [0, 1, 65535]
    assert read["confidence"].tolist() == [128, 230, 0]
    xy = read["xy"].reshape(-1, 2).astype(float)
    assert xy[:, 0].tolist() == [0, 65535, 32768]
    assert np.ptp(xy[:, 1]) == pytest.approx(65535 / 4, abs=2)  # the same scale as the other axis


KINDS = {"xy": "<u2", "set": "<i4", "label": "<u2", "confidence": "u1"}


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(50, 400))
def test_a_sample_keeps_every_set_and_is_the_same_every_time(sizes: list[int], most: int) -> None:
    cell_set = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    rng = np.random.default_rng(1)
    points = Embedding("X_umap", rng.normal(size=(len(cell_set), 2)).astype(np.float32), cell_set)
    kept = sample_points(points, most=most)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= most + 20 * len(sizes)
    assert set(cell_set[kept]) == set(range(len(sizes)))
    assert (kept == sample_points(points, most=most)).all()


def test_an_embedding_of_another_file_is_refused(make_annotation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no annotation"):
        write(tmp_path, [make_annotation()], embedding=embedding([3]))
    wrong = Embedding("X_umap", np.zeros((3, 2), np.float32), np.zeros(2, np.int32))
    with pytest.raises(InputError, match="do not belong together"):
        write(tmp_path, [make_annotation()], embedding=wrong)
    assert list(tmp_path.iterdir()) == []


class File:
    """What `embedding_of` uses of an AnnData."""

    def __init__(self, **obsm: np.ndarray) -> None:
        self.obsm = obsm


def test_the_files_own_embedding_is_taken_umap_first() -> None:
    sets = np.zeros(3, np.int32)
    both = File(X_pca=np.zeros((3, 9)), X_umap=np.ones((3, 2)))
    assert embedding_of(both, sets).name == "X_umap"
    assert embedding_of(File(X_pca=np.zeros((3, 9))), sets).coordinates.shape == (3, 2)
    assert embedding_of(File(), sets) is None


def test_numbers_that_are_not_finite_do_not_break_the_page(make_annotation, tmp_path: Path) -> None:
    odd = make_annotation(confidence=float("nan"), fdr=float("nan"))
    candidate = replace(odd.candidates[0], score=float("inf"), p=float("nan"))
    data = blocks(write(tmp_path, [replace(odd, candidates=(candidate,))]))
    assert data["set-0"]["confidence"] is None
    assert data["set-0"]["candidates"][0][2:4] == [None, None]


def test_what_is_left_out_of_a_large_page_is_said(make_annotation, tmp_path: Path) -> None:
    sets = [make_annotation(str(i)) for i in range(2100)]
    page = write(tmp_path, sets)
    assert "The first 2,000 of 2,100 cell sets" in page.read_text()
    assert len([name for name in blocks(page) if name.startswith("set-")]) == 2000


def test_a_file_without_an_embedding_gets_one(blood_cells, blood_graph, tmp_path: Path) -> None:
    del blood_cells.obsm["X_umap"]
    blood_cells.X[3] = 0
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    pages = []
    for name in ("one.html", "two.html"):
        annotate_file(
            tmp_path / "in.h5ad",
            tmp_path / "out.h5ad",
            blood_graph,
            Options("group"),
            overwrite=True,
            report=tmp_path / name,
        )
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert "UMAP computed for this page, 89 cells" in pages[0].decode()
    assert blocks(tmp_path / "one.html")["report"]["embedding"]["points"] == 89


# --- in a browser ----------------------------------------------------------------------------------------------


def test_a_label_names_the_genes_with_an_edge_of_their_own_greatest_share_first(make_annotation) -> None:
    base = make_annotation()
    genes = base.evidence[0].genes
    item = replace(
        base.evidence[0],
        genes=(
            replace(genes[0], symbol="FAR", contribution=0.9, hops=(2,)),
            replace(genes[0], symbol="SMALL", contribution=0.1, hops=(1,)),
            replace(genes[0], symbol="GREAT", contribution=0.2, hops=(1, 2)),
        ),
    )
    assert [gene.symbol for gene in best_genes(replace(base, evidence=(item,)), 5)] == ["GREAT", "SMALL"]
    assert best_genes(replace(base, evidence=()), 5) == []


def test_terminal_and_page_show_the_same_evidence_and_the_same_objections(
    make_annotation, tmp_path: Path
) -> None:
    base = make_annotation()
    item, against = base.evidence[0], base.contradictions[0]
    gene, other = item.genes
    edge = replace(item.walks[0].steps[0][0], subject="HGNC:1674", object_name="lymphocyte")
    above = replace(edge, relation="subclass_of")
    inherited = Walk(
        "HGNC:1674", ("HGNC:1674", "CL:1", "CL:2"), ("CD3E", "lymphocyte", "T cell"), ((edge,), (above,)), 1
    )
    faint = replace(gene, curie="HGNC:1", symbol="FAINT", name_in_file="FAINT", contribution=0.01)
    item = replace(
        item,
        genes=(replace(gene, name_in_file="T3D"), other, faint),
        walks=(inherited, *item.walks),
    )
    disputed = replace(against, symbol="CD3E", kind="disputed")
    found = replace(base, evidence=(item,), contradictions=(against, disputed))
    assert best_evidence(found) == [
        "CD3D (T3D in the file; 1 source, 0 papers)",
        "CD3E (1 source, 0 papers for lymphocyte; disputed)",
    ]
    assert objections(found) == ["CD4 absent (2% of cells)"]
    page = write(tmp_path, [found, replace(found, label="unknown", curie="", status="unknown")])
    named, unknown = (blocks(page)[f"set-{at}"]["because"] for at in (0, 1))
    assert [known for _, _, known in named] == best_evidence(found)
    assert unknown == named, "of the best candidate, which the page names"
    rows = [row.split("</tr>")[0] for row in page.read_text().split("<tr id=")[1:3]]
    assert "<bdi>CD3D</bdi>, <bdi>CD3E (disputed)</bdi></span>" in rows[0]
    assert ">CD4 absent (2% of cells)</td>" in rows[0]
    assert "CD3D" not in rows[1]
    assert best_evidence(replace(found, curie="")) == []


def test_the_sets_to_look_at_first_have_most_cells_in_doubt(make_annotation, tmp_path: Path) -> None:
    unknown = {"label": "unknown", "curie": "", "status": "unknown", "confidence": 0.0}
    sets = [
        make_annotation("tiny", n_cells=2, **unknown),
        make_annotation("large", n_cells=900, confidence=0.8),
        make_annotation("sure", n_cells=9000, confidence=0.95),
        make_annotation("lost", n_cells=100, **unknown),
        make_annotation("small", n_cells=20, confidence=0.3),
    ]
    first = write(tmp_path, sets).read_text().split('<p class="first">')[1].split("</p>")[0]
    assert re.findall(r'data-set="(\d)"', first) == ["1", "3", "4"]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_umap_by_one_and_by_two_threads_gives_the_same_page(
    blood_cells, blood_graph, tmp_path: Path
) -> None:
    import numba
    from threadpoolctl import threadpool_limits

    del blood_cells.obsm["X_umap"]
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    before, pages = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            page = tmp_path / f"{threads}.html"
            with threadpool_limits(threads):
                out, options = tmp_path / f"{threads}.h5ad", Options(groupby="group")
                annotate_file(tmp_path / "in.h5ad", out, blood_graph, options, report=page, overwrite=True)
            assert numba.get_num_threads() == threads
            pages.append(page.read_bytes())
    finally:
        numba.set_num_threads(before)
    assert b"UMAP computed for this page" in pages[0]
    assert pages[0] == pages[1]
