"""``gather data immune|lung``: GATHER's two test sets as cell sentences, from their public h5ad files.

The draw of cells, their labels and their sentences are those of `gather.benchmark.paper_protocol`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gather.benchmark.paper_protocol import official_cells, paper_set
from gather.cells.file import open_h5ad, whole_file
from vckg.base.atomic import check_outputs
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


@dataclass(frozen=True, slots=True)
class Prepared:
    """Counts of a written set; `unmapped` counts the cells of each label without a Cell Ontology term."""

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


def _ground(labels: Sequence[str], graph: Graph, label_map: Path | None) -> dict[str, str]:
    """Return the Cell Ontology id of each label: that of the map, else what its name grounds to, else ``""``."""
    grounded = {g.name: g.curie or "" for g in graph.cells.ground(list(labels))}
    mapped = {} if label_map is None else _read_map(label_map, graph)
    return grounded | mapped


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
