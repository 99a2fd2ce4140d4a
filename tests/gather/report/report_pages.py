"""Pages to look at, and what is in them."""

import json
import re
from pathlib import Path

import numpy as np

from gather.annotation import Annotation
from gather.report.page import Embedding, write_report

MANIFEST = {
    "content_hash": "abc123",
    "nodes": 10,
    "edges": 20,
    "sources": {"toy": {"title": "Toy source", "release": "1", "licence": "CC0-1.0", "kept": 20}},
}


def embedding(sets: list[int], n: int = 200, seed: int = 0) -> Embedding:
    rng = np.random.default_rng(seed)
    return Embedding(
        "X_umap", rng.normal(size=(n, 2)).astype(np.float32), rng.choice(sets, size=n).astype(np.int32)
    )


def write(path: Path, annotations: list[Annotation], **options: object) -> Path:
    options = {"title": "cells.h5ad", "graph": MANIFEST, **options}
    return write_report(annotations, path / "report.html", **options)  # type: ignore[arg-type]


def blocks(path: Path) -> dict[str, object]:
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', path.read_text())
    return {name: json.loads(text) for name, text in found}
