"""``gather data immune|lung``: GATHER's two test sets as cell sentences, from their public h5ad files.

``--protocol paper`` repeats the official draw (`gather.benchmark.paper_protocol`). ``--protocol own`` takes any
file, donors, share and sentence length, and ranks genes as ``gather annotate --groupby cell`` does; a figure on
its sentences stands beside the paper's, not in its place.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.benchmark.paper_protocol import official_cells, paper_set
from gather.cells._rank_kernels import rank_sparse
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
    """File of a test set for ``--protocol own``, and its columns of label and donor."""

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
    """Counts of a written set; `unmapped` counts the cells of each label without a Cell Ontology term."""

    sentences: int
    cells: int
    labels: int
    unmapped: Mapping[str, int]


PROTOCOLS = ("paper", "own")


def prepare(
    name: str,
    source: Path | None,
    out: Path,
    graph: Graph,
    *,
    protocol: str = "paper",
    small: bool = False,
    label_map: Path | None = None,
    own: Mapping[str, Any] | None = None,
) -> Prepared:
    """Write one test set by a protocol: `prepare_paper`, or `prepare_own` with its keywords in `own`.

    Raises
    ------
    InputError
        No such protocol, or an option that the protocol does not take.
    """
    own = own or {}
    if protocol not in PROTOCOLS:
        hint = did_you_mean(protocol, PROTOCOLS)
        raise InputError(f"--protocol {protocol}: no such protocol{hint}; one of {', '.join(PROTOCOLS)}")
    if protocol == "own":
        if small:
            raise InputError("--small belongs to --protocol paper; with --protocol own give --fraction")
        return prepare_own(name, source, out, graph, label_map=label_map, **own)
    if own:
        option = min(own).removesuffix("s")
        raise InputError(f"--{option} is fixed by --protocol paper; leave it out or give --protocol own")
    return prepare_paper(name, source, out, graph, small=small, label_map=label_map)


def prepare_paper(
    name: str,
    source: Path | None,
    out: Path,
    graph: Graph,
    *,
    small: bool = False,
    label_map: Path | None = None,
) -> Prepared:
    """Write the sentences of the official draw of one test set as JSON lines.

    Cells, labels, sentences and their order are those of the official scripts. A label without a Cell Ontology
    term is left out after the draw.

    Parameters
    ----------
    name
        ``immune`` or ``lung``.
    source
        Its public h5ad, downloaded by the user.
    out
        JSON lines of ``cell``, ``cell_type``, ``cell_ontology_id``, ``cell_sentence``, ``num_genes``: the form that
        ``gather benchmark-llm --sentences`` and ``arena`` read.
    small
        Whether to write the official small set, a tenth of each label of the test set.
    label_map
        Table with the columns ``label`` and ``cl_id``, for labels that name no Cell Ontology term.

    Raises
    ------
    InputError
        The file is absent (with where to get it), or lacks the columns of its public form.
    """
    test_set = paper_set(name)
    adata = _opened(source, out, label_map, test_set.title, test_set.file)
    cells = official_cells(adata, test_set, small=small)
    terms = _ground(sorted({cell.label for cell in cells}), graph, label_map)
    lost = Counter(cell.label for cell in cells if not terms[cell.label])
    kept = [cell for cell in cells if terms[cell.label]]
    rows = [
        {
            "cell": str(adata.obs_names[cell.row]),
            "cell_type": cell.label,
            "cell_ontology_id": terms[cell.label],
            "cell_sentence": " ".join(cell.genes),
            "num_genes": len(cell.genes),
        }
        for cell in kept
    ]
    _write(out, rows)
    return Prepared(len(rows), adata.n_obs, len({cell.label for cell in kept}), dict(sorted(lost.items())))


def prepare_own(
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
    """Write sentences of a share of each label's cells as JSON lines, genes ranked as in ``gather annotate``.

    Parameters
    ----------
    name
        One of `SETS`.
    source, out, label_map
        See `prepare_paper`.
    fraction
        Share of each label's cells, at least one cell.
    top
        Genes of a sentence.
    donors
        Values of the donor column to keep. By default the first in alphabetical order where the paper took a few.

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
    adata = _opened(source, out, label_map, test_set.title, test_set.url)
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
    rows = [
        {
            "cell": str(adata.obs_names[row]),
            "cell_type": labels[row],
            "cell_ontology_id": terms[labels[row]],
            "cell_sentence": " ".join(genes),
        }
        for row, genes in zip(chosen.tolist(), sentences, strict=True)
    ]
    _write(out, rows)
    lost = {label: int((labels == label).sum()) for label in sorted(set(labels[~known]) - {""})}
    return Prepared(len(chosen), adata.n_obs, len(set(labels[chosen])), lost)


def _opened(source: Path | None, out: Path, label_map: Path | None, title: str, url: str) -> Any:
    """Read the file of a test set, after the checks of input and output paths."""
    if source is None or not source.is_file():
        what = "name the file" if source is None else f"{source}: no such file"
        raise InputError(f"{what}: {title} is not shipped; fetch {url} and give its path")
    check_outputs([out], inputs=[source] if label_map is None else [source, label_map], overwrite=True)
    return open_h5ad(source)


def _write(out: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with whole_file(out) as partial, partial.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


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
    """Cell Ontology id of each label: from the map, else the file, else the label's name; "" where none is known."""
    distinct = sorted(set(labels.tolist()) - {""})
    stated = {}
    if TERM_COLUMN in adata.obs:
        of_cell = adata.obs[TERM_COLUMN].astype(str).to_numpy()
        for label in distinct:
            ids = set(of_cell[labels == label])
            if len(ids) == 1 and graph.get(next(iter(ids))) is not None:
                stated[label] = ids.pop()
    return _ground(distinct, graph, label_map, stated)


def _ground(
    labels: Sequence[str], graph: Graph, label_map: Path | None, stated: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Cell Ontology id by label: what its name grounds to, replaced by `stated` and by the map."""
    grounded = {g.name: g.curie or "" for g in graph.cells.ground(list(labels))}
    mapped = {} if label_map is None else _read_map(label_map, graph)
    return {**grounded, **(stated or {}), **mapped}


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
        rows = np.flatnonzero(labels == label)
        chosen.append(rng.choice(rows, max(1, round(fraction * len(rows))), replace=False))
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.intp)


def tfidf_sentences(adata: Any, chosen: npt.NDArray[np.intp], graph: Graph, top: int) -> list[list[str]]:
    """Genes of the chosen cells by ``log1p(expression) * ln(N / (df + 1))`` over all N cells, strongest first."""
    where = "layers/counts" if "counts" in adata.layers else "X"
    values = Rows(adata.layers.get("counts", adata.X), where=where)
    survey = survey_rows(values)
    survey.check(where)
    matrix = sp.csr_matrix(values.block(0, adata.n_obs))
    panel = names_that_ground(graph, adata.var).panel
    idf = np.maximum(np.log(matrix.shape[0] / (survey.detected + 1.0)), 1e-12)
    rows = matrix[chosen].astype(np.float32)
    columns, lengths = np.zeros((len(chosen), top), np.int32), np.zeros(len(chosen), np.int32)
    everything = np.arange(len(idf))
    rank_sparse(
        rows.indptr, rows.indices, rows.data, survey.counts, TARGET_SUM, idf, everything, columns, lengths
    )
    return [
        [panel.names[c] for c in row[:n]] for row, n in zip(columns.tolist(), lengths.tolist(), strict=True)
    ]
