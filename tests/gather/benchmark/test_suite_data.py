"""The development suite's cell sets as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gather.benchmark import suite_data
from gather.benchmark.suite_data import Block, _read, _write, label_maps, suite
from vckg.base.errors import InputError
from vckg.graph.graph import Graph


def block() -> Block:
    """Two sets on four genes."""
    strength = np.array([[0.0, 3.0, 1.0, 3.0], [2.0, 0.0, 0.0, 0.0]], np.float32)
    return Block(
        "file", "study", "human", "blood", "label groups", ("HGNC:1", "HGNC:2", "HGNC:3", "HGNC:4"),
        np.full(4, 0.5, np.float32), strength, strength + 1, np.minimum(strength, 1), ("a", "b"),
        ("CL:0000236", ""), ("", "qc"), (10, 20),
    )  # fmt: skip


def test_genes_are_ranked_by_strength_and_those_without_any_are_left_out() -> None:
    assert block().ranked(0, 10).tolist() == [1, 3, 2]
    assert block().ranked(0, 2).tolist() == [1, 3]
    assert block().ranked(1, 10).tolist() == [0]


def test_a_panel_keeps_sets_and_truths_and_cuts_every_array() -> None:
    cut = block().on(np.array([1, 3]), "panel 2")
    assert cut.genes == ("HGNC:2", "HGNC:4")
    assert cut.mode == "panel 2"
    assert cut.truth == block().truth
    assert cut.strength.tolist() == [[3.0, 3.0], [0.0, 0.0]]
    assert cut.mean.shape == cut.detected.shape == (2, 2)
    assert cut.background.shape == (2,)


def test_a_panel_of_averages_has_no_detection_to_cut() -> None:
    averages = replace(block(), detected=np.zeros((0, 0), np.float32))
    assert averages.on(np.array([0]), "panel 1").detected.size == 0


def test_the_closed_set_is_the_known_truths() -> None:
    assert block().closed == ("CL:0000236",)


def test_a_kept_block_reads_back_the_same(tmp_path: Path) -> None:
    _write(tmp_path / "0.npz", block())
    back = _read(tmp_path / "0.npz")
    for name in ("background", "strength", "mean", "detected"):
        np.testing.assert_array_equal(getattr(back, name), getattr(block(), name))
    assert (back.genes, back.flag, back.n_cells, back.key) == (
        block().genes, block().flag, block().n_cells, "file/label groups",
    )  # fmt: skip


def test_a_folder_without_labelled_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no h5ad/"):
        suite(None, tmp_path, tmp_path)  # type: ignore[arg-type]


def test_labels_are_read_with_their_flags(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "label_to_cl.tsv").write_text(
        "set\tlabel\tcl_id\tcl_label\tflag\nx\tT\tCL:0000084\tT cell\tcoarse\n", encoding="utf-8"
    )
    assert label_maps(tmp_path)["x"] == {"T": ("CL:0000084", "coarse")}


def test_cell_sets_are_kept_for_one_graph_and_not_taken_for_another(
    tmp_path: Path, make_graph: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which names of a file are genes is the graph's to say."""
    (tmp_path / "h5ad").mkdir()
    (tmp_path / "h5ad" / "x.h5ad").write_bytes(b"")
    asked: list[str] = []
    monkeypatch.setattr(
        suite_data, "blocks", lambda graph, _data: asked.append(graph.content_hash) or iter([block()])
    )
    b_cell, t_cell = (
        make_graph([("HGNC:1", "is_marker_for", cell)]) for cell in ("CL:0000236", "CL:0000084")
    )
    for graph in (b_cell, t_cell, b_cell):
        assert [b.study for b in suite(graph, tmp_path, tmp_path / "cache")] == ["file"]
    assert asked == [b_cell.content_hash, t_cell.content_hash]
