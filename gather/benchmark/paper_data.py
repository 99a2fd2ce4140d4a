"""``gather data immune|lung``: GATHER's two test sets as cell sentences, from their public h5ad files.

The paper's protocol: a tenth of the cells, stratified by label; each cell's genes ranked by TF-IDF over the cells of
the file; the labels mapped to the Cell Ontology. The paper's own draw of cells and its label maps are not public, so
a figure on these sentences stands beside the paper's, not in its place.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.cells._cell_kernels import rank_sparse
from gather.cells.expression import TARGET_SUM, names_that_ground
from gather.cells.file import open_h5ad, whole_file
from gather.cells.row_blocks import Rows
from gather.cells.values import survey_rows
from vckg.base.atomic import check_outputs
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

TERM_COLUMN = "cell_type_ontology_term_id"
"""Where a file from CELLxGENE has its Cell Ontology ids; used before any label map."""


@dataclass(frozen=True, slots=True)
class TestSet:
    """One of the paper's test sets: where its file is, and which columns hold label and donor."""

    title: str
    url: str
    label: str
    donor: str
    n_donors: int
    """How many donors the paper took; 0 for all."""


SETS = {
    "immune": TestSet(
        "Domínguez Conde et al. 2022, cross-tissue immune cell atlas, doi:10.1126/science.abl5197",
        "https://cellgeni.cog.sanger.ac.uk/pan-immune/CountAdded_PIP_global_object_for_cellxgene.h5ad (10 GB)",
        "Manually_curated_celltype",
        "Donor",
        2,
    ),
    "lung": TestSet(
        "Tabula Sapiens Consortium 2022, lung, doi:10.1126/science.abl4896",
        "https://figshare.com/ndownloader/files/34701991 (TS_Lung.h5ad.zip)",
        "cell_ontology_class",
        "donor",
        0,
    ),
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was written: sentences, cells of the file, and labels without a Cell Ontology id with their cells."""

    sentences: int
    cells: int
    labels: int
    unmapped: Mapping[str, int]


def prepare(
    name: str,
    source: Path | None,
    out: Path,
    graph: Graph,
    *,
    fraction: float = 0.1,
    top: int = 100,
    seed: int = 0,
    donors: Sequence[str] = (),
    label_map: Path | None = None,
) -> Prepared:
    """Write the cell sentences of one test set as JSON lines.

    Parameters
    ----------
    name
        One of `SETS`.
    source
        Its public h5ad, downloaded by the user.
    out
        JSON lines of ``cell``, ``cell_type``, ``cell_ontology_id``, ``cell_sentence``: what ``gather benchmark-llm
        --sentences`` and ``arena`` read.
    fraction
        Of each label's cells, at least one.
    donors
        Values of the donor column to keep; none given, the first in alphabetical order where the paper took a few.
    label_map
        Table with the columns ``label`` and ``cl_id``, for labels that are no name of a Cell Ontology term.

    Raises
    ------
    InputError
        The file is absent (with where to get it), or lacks the columns of its public form.
    """
    if name not in SETS:
        raise InputError(f"no data set {name!r}{did_you_mean(name, SETS)}; one of {', '.join(SETS)}")
    if not 0 < fraction <= 1 or top < 1:
        raise InputError(f"--fraction {fraction:g} must be in (0, 1] and --top {top} at least 1")
    test_set = SETS[name]
    if source is None or not source.is_file():
        what = "name the file" if source is None else f"{source}: no such file"
        raise InputError(f"{what}: {test_set.title} is not shipped; fetch {test_set.url} and give its path")
    inputs = [source] if label_map is None else [source, label_map]
    check_outputs([out], inputs=inputs, overwrite=True)
    adata = open_h5ad(source)
    if test_set.label not in adata.obs:
        raise InputError(
            f"{source}: no column {test_set.label!r} in obs{did_you_mean(test_set.label, adata.obs.columns)}; "
            f"wanted the public file of {test_set.title}"
        )
    adata = adata[_of_donors(adata, test_set, donors)]
    labels = adata.obs[test_set.label].astype(object).fillna("").astype(str).to_numpy()
    terms = _terms(adata, labels, graph, label_map)
    known = np.array([terms.get(label, "") != "" for label in labels])
    chosen = stratified(np.where(known, labels, ""), fraction, np.random.default_rng(seed))
    sentences = tfidf_sentences(adata, chosen, graph, top)
    with whole_file(out) as partial, partial.open("w", encoding="utf-8") as lines:
        for at, genes in zip(chosen.tolist(), sentences, strict=True):
            row = {
                "cell": str(adata.obs_names[at]),
                "cell_type": labels[at],
                "cell_ontology_id": terms[labels[at]],
                "cell_sentence": " ".join(genes),
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    lost = {label: int((labels == label).sum()) for label in sorted(set(labels[~known]) - {""})}
    return Prepared(len(chosen), adata.n_obs, len(set(labels[chosen])), lost)


def _of_donors(adata: Any, test_set: TestSet, donors: Sequence[str]) -> npt.NDArray[np.bool_]:
    if not donors and not test_set.n_donors:
        return np.ones(adata.n_obs, dtype=bool)
    if test_set.donor not in adata.obs:
        raise InputError(
            f"no column {test_set.donor!r} in obs{did_you_mean(test_set.donor, adata.obs.columns)}"
        )
    of_cell = adata.obs[test_set.donor].astype(str).to_numpy()
    present = sorted(set(of_cell))
    wanted = list(donors) or present[: test_set.n_donors]
    for donor in wanted:
        if donor not in present:
            raise InputError(
                f"no donor {donor!r}{did_you_mean(donor, present)}; present: {', '.join(present)}"
            )
    return np.isin(of_cell, wanted)


def _terms(
    adata: Any, labels: npt.NDArray[np.object_], graph: Graph, label_map: Path | None
) -> dict[str, str]:
    """The Cell Ontology id of each label: the file's own, the map's, else what the label grounds to."""
    distinct = sorted(set(labels.tolist()) - {""})
    found = {g.name: g.curie or "" for g in graph.cells.ground(distinct)}
    if TERM_COLUMN in adata.obs:
        own = adata.obs[TERM_COLUMN].astype(str).to_numpy()
        for label in distinct:
            ids = set(own[labels == label])
            if len(ids) == 1 and graph.get(next(iter(ids))) is not None:
                found[label] = ids.pop()
    if label_map is not None:
        found |= _read_map(label_map, graph)
    return found


def _read_map(path: Path, graph: Graph) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [(row["label"], row["cl_id"]) for row in csv.DictReader(lines, delimiter="\t")]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{path}: no label map ({error!r}); wanted tab-separated label and cl_id") from error
    for label, curie in rows:
        if curie and graph.get(curie) is None:
            raise InputError(f"{path}: {label!r} is mapped to {curie!r}, which is not in the graph")
    return dict(rows)


def stratified(
    labels: npt.NDArray[np.object_], fraction: float, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Positions of a share of each label's cells, at least one of each, ascending; cells labelled ``""`` never."""
    chosen = []
    for label in sorted(set(labels.tolist()) - {""}):
        mine = np.flatnonzero(labels == label)
        chosen.append(rng.choice(mine, max(1, round(fraction * len(mine))), replace=False))
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.intp)


def tfidf_sentences(adata: Any, chosen: npt.NDArray[np.intp], graph: Graph, top: int) -> list[list[str]]:
    """Genes of the chosen cells by ``log1p(expression) * ln(N / (df + 1))`` over all N cells, strongest first."""
    where = "layers/counts" if "counts" in adata.layers else "X"
    rows_of_file = Rows(adata.layers.get("counts", adata.X), where=where)
    found_values = survey_rows(rows_of_file)
    found_values.check(where)
    matrix = sp.csr_matrix(rows_of_file.block(0, adata.n_obs))
    _, panel = names_that_ground(graph, adata.var)
    idf = np.maximum(np.log(matrix.shape[0] / (found_values.detected + 1.0)), 1e-12)
    rows = matrix[chosen].astype(np.float32)
    columns, found = np.zeros((len(chosen), top), np.int32), np.zeros(len(chosen), np.int32)
    rank_sparse(
        rows.indptr,
        rows.indices,
        rows.data,
        found_values.counts,
        TARGET_SUM,
        idf,
        np.arange(len(idf)),
        columns,
        found,
    )
    return [
        [panel.names[c] for c in line[:n]] for line, n in zip(columns.tolist(), found.tolist(), strict=True)
    ]
