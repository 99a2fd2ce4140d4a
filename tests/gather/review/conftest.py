"""An annotated file of ninety cells, and decisions about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gather.cells.command import annotate_file
from gather.cells.options import Options
from gather.review.annotated import read_annotated


@pytest.fixture(scope="session")
def annotated_once() -> dict[str, bytes]:
    """The files of `annotated_file`, annotated by the first test that asks."""
    return {}


@pytest.fixture
def annotated_file(blood_cells, blood_graph, tmp_path: Path, annotated_once: dict[str, bytes]) -> Path:
    """Three cell sets of thirty cells; one cell without expression, one without a group."""
    if not annotated_once:
        blood_cells.X[3] = 0
        blood_cells.obs.loc["c89", "group"] = None
        blood_cells.write_h5ad(tmp_path / "in.h5ad")
        annotate_file(tmp_path / "in.h5ad", tmp_path / "out.h5ad", blood_graph, Options("group"))
        annotated_once.update({name: (tmp_path / name).read_bytes() for name in ("in.h5ad", "out.h5ad")})
    for name, content in annotated_once.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path / "out.h5ad"


def event(number: int, cell_set: str, action: str, **changes: Any) -> dict[str, Any]:
    """An entry of a history, one minute after the one before."""
    fields = dict.fromkeys(("label", "curie", "reason", "undoes"), "")
    return {
        "id": f"{number:016x}",
        "date": f"2026-03-01T12:{number:02}:00.000Z",
        "reviewer": "Ada Lovelace",
        "cell_set": cell_set,
        "action": action,
    } | (fields | changes)


@pytest.fixture
def decide(annotated_file: Path) -> Callable[..., Path]:
    """A function that writes a decisions file about the annotated file from entries; `changes` replace its head."""

    def write(*history: dict[str, Any], name: str = "decisions.json", **changes: Any) -> Path:
        annotated = read_annotated(annotated_file, "gather")
        head = {
            "format": "gather-decisions",
            "format_version": 1,
            "graph": annotated.graph,
            "answers": annotated.answers,
            "key": "gather",
            "title": "in.h5ad",
            "cell_sets": [a.cell_set for a in annotated.annotations],
        }
        path = annotated_file.parent / name
        path.write_text(json.dumps(head | changes | {"history": list(history)}))
        return path

    return write
