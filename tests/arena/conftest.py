"""A graph of a few blood cells that the arena's scoring tests share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arena import metrics
from arena.types import Answer, Run, RunManifest, Sample, Score, TaskName, Usage, samples_sha256
from vckg.graph import Graph

CELLS = {  # id -> (label, parent, synonyms, definition)
    "CL:0000000": ("cell", None, (), ""),
    "CL:0000738": ("leukocyte", "CL:0000000", ("white blood cell",), "An achromatic cell of the blood."),
    "CL:0000542": ("lymphocyte", "CL:0000738", (), "A leukocyte of the lymphoid line."),
    "CL:0000084": (
        "T cell",
        "CL:0000542",
        ("T lymphocyte", "T-cell"),
        "A lymphocyte with a T cell receptor.",
    ),
    "CL:0000624": ("CD4-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD4."),
    "CL:0000625": ("CD8-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD8."),
    "CL:0000236": ("B cell", "CL:0000542", ("B lymphocyte", "B-cell"), "A lymphocyte that makes antibodies."),
    "CL:0000576": ("monocyte", "CL:0000738", (), "A leukocyte that becomes a macrophage."),
    "CL:0000057": ("fibroblast", "CL:0000000", (), "A cell of connective tissue."),
    "CL:0000540": ("neuron", "CL:0000000", ("nerve cell",), "The cell of the nervous system."),
}
MARKERS = {
    "CL:0000084": ("CD3D", "CD3E", "TRAC"),
    "CL:0000624": ("CD4", "IL7R"),
    "CL:0000625": ("CD8A", "CD8B"),
    "CL:0000236": ("CD19", "MS4A1", "CD79A"),
    "CL:0000576": ("CD14", "LYZ"),
    "CL:0000057": ("COL1A1", "DCN"),
}
OTHER_GENES = ("GATA1", "KLF1", "HBG1", "SPI1", "ACTB", "MALAT1", "TP53", "CDKN1A")
REGULATES = (("KLF1", "HBG1", 1), ("TP53", "CDKN1A", 1), ("GATA1", "SPI1", -1))


@pytest.fixture(scope="session")
def blood() -> Graph:
    """Ten cell types, their markers with publications, three signed regulations."""
    genes = sorted({*OTHER_GENES, *(g for markers in MARKERS.values() for g in markers)})
    curie = {gene: f"HGNC:{i}" for i, gene in enumerate(genes, start=100)}
    nodes = pd.DataFrame(
        [
            *(
                {"id": i, "category": "Cell", "name": n, "synonyms": s, "description": d}
                for i, (n, _, s, d) in CELLS.items()
            ),
            *(
                {"id": curie[g], "category": "Gene", "name": g, "synonyms": (), "description": ""}
                for g in genes
            ),
            {
                "id": "GO:0030218",
                "category": "BiologicalProcess",
                "name": "erythrocyte differentiation",
                "synonyms": (),
                "description": "",
            },
        ]
    )
    edges = [
        *(
            (child, "subclass_of", parent, "cl", 0, ())
            for child, (_, parent, _, _) in CELLS.items()
            if parent
        ),
        *(
            (curie[g], "is_marker_for", cell, "cellmarker2", 0, (f"PMID:{n}000", f"PMID:{n}001"))
            for n, (cell, markers) in enumerate(MARKERS.items(), start=1)
            for g in markers
        ),
        *((curie[a], "regulates", curie[b], "collectri", sign, ("PMID:77",)) for a, b, sign in REGULATES),
        (curie["KLF1"], "participates_in", "GO:0030218", "go", 0, ()),
    ]
    columns = ["subject", "relation", "object", "source", "sign", "publications"]
    return Graph.from_frames(nodes, pd.DataFrame(edges, columns=columns))


def synthetic_runs(
    contestants: Mapping[str, float],
    *,
    tasks: Sequence[TaskName] = ("annotation", "qa"),
    n: int = 40,
    judges: Sequence[str] = ("knowledge",),
    seed: int = 0,
) -> list[Run]:
    """Runs whose main scores are hits with the given chance, on samples of ten clusters; texts are
    hostile."""
    samples = {
        f"t/{task}/{i:05d}": Sample(
            f"t/{task}/{i:05d}",
            task,
            {},
            _GOLD[task],
            _FIELDS[task],
            f"c{i % 10}",
            {"tissue": f"tissue {i % 3}"},
            {},
        )
        for task in tasks
        for i in range(n)
    }
    digests = {task: samples_sha256([s for s in samples.values() if s.task == task]) for task in tasks}
    runs = []
    for number, (name, chance) in enumerate(contestants.items()):
        rng = np.random.default_rng([seed, number])
        answers, scores = [], []
        for sample in samples.values():
            hit = float(rng.random() < chance)
            text = f"<script>alert({number})</script> {name} says {sample.id}"
            usage = Usage(100, 10, False, 0.001 * (number + 1))
            answers.append(
                Answer(
                    sample.id,
                    name,
                    sample.task,
                    text,
                    _PARSED[sample.task],
                    True,
                    False,
                    usage,
                    0.1,
                    prompt=f"Q {sample.id}",
                )
            )
            for dimension in metrics.DIMENSIONS[sample.task]:
                scores.append(Score(sample.id, name, sample.task, "metrics", dimension, hit, "why"))
            for judge in judges:
                scores.append(
                    Score(
                        sample.id,
                        name,
                        sample.task,
                        judge,
                        "total",
                        None if rng.random() < 0.05 else 0.8 * hit,
                        "it <b>is</b>",
                    )
                )
        manifest = RunManifest(
            name,
            tuple(tasks),
            "fresh",
            1,
            None,
            1,
            digests,
            {t: f"{t}@1" for t in tasks},
            "abc",
            tuple(judges),
            "0.1",
            "inspect",
            "deadbeef",
            f"arena run {name}",
            "2026-11-22T00:00:00Z",
        )
        runs.append(Run(f"/runs/{name}", manifest, samples, tuple(answers), tuple(scores)))
    return runs


_GOLD: dict[str, dict[str, Any]] = {
    "annotation": {"cell_type": "T cell", "cl_id": "CL:0000084"},
    "qa": {"answer": "yes", "claims": ["yes"]},
}
_FIELDS: dict[str, dict[str, Any]] = {
    "annotation": {"genes": ["CD3D"], "tissue": "", "species": ""},
    "qa": {},
}
_PARSED: dict[str, dict[str, Any]] = {"annotation": {"cell_type": "T cell"}, "qa": {"answer": "yes it is"}}


@pytest.fixture(scope="session")
def make_runs() -> Callable[..., list[Run]]:
    """The function `synthetic_runs`."""
    return synthetic_runs
