"""Stored path matrices: what is damaged is computed again, and never used."""

import numpy as np
import pytest

from gather.retrieval.path_matrices import operators

EDGES = [
    *[(f"HGNC:{i}", "is_marker_for", f"CL:000000{i % 3}") for i in range(6)],
    *[(f"HGNC:{i}", "expressed_in", "UBERON:0000001") for i in range(4)],
    ("CL:0000001", "part_of", "UBERON:0000001"),
]


@pytest.fixture
def saved(make_graph, tmp_path, monkeypatch):
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    graph = make_graph([dict(zip(("subject", "relation", "object"), edge, strict=True)) for edge in EDGES])
    graph.save(tmp_path / "graph")
    return type(graph).load(tmp_path / "graph")


def dense(made):
    return [matrix.toarray() for matrix in (*made.weights, made.first, made.between, made.last)]


def test_any_turned_byte_is_computed_again(saved):
    expected = dense(operators(saved))
    (folder,) = (saved.folder / "operators").iterdir()
    files = sorted(folder.iterdir())
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
            for found, wanted in zip(dense(operators(saved)), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


def test_a_missing_or_cut_file_is_computed_again(saved):
    expected = dense(operators(saved))
    (folder,) = (saved.folder / "operators").iterdir()
    for name in ("manifest.json", "weights1.data.npy", "between.indptr.npy"):
        for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:20])):
            damage(folder / name)
            for found, wanted in zip(dense(operators(saved)), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


def test_sound_files_are_hashed_once(saved, monkeypatch):
    operators(saved)
    operators(saved)
    monkeypatch.setattr("gather.retrieval.path_matrices.sha256_of", lambda _path: pytest.fail("hashed again"))
    operators(saved)
