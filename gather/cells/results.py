"""``gather.results(adata)``: what `gather.annotate` wrote, as an object that a notebook shows as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from gather.annotation import FORMAT, Annotation
from gather.cells.options import CELL
from gather.labelling.frames import KEPT_VERSION, html_table, unpacked
from gather.labelling.plain_words import best_evidence, certainty, objections, status_reason
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad

_SHOWN = (
    "cells", "label", "id", "confidence", "certainty", "FDR", "status", "best evidence", "against", "reason"
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Results:
    """Annotations of all cell sets of one AnnData, in the order of the file's groups.

    Examples
    --------
    >>> import gather
    >>> answer = gather.Annotation("0", 12, "named", "T cell", "CL:0000084", 0.93, 1e-9)
    >>> found = gather.Results((answer,), "9af1")
    >>> found
    gather.Results: 1 cell set, 1 named, graph 9af1
    >>> found["0"].label
    'T cell'
    >>> found.table()[["cells", "label", "confidence"]]
              cells   label  confidence
    cell set
    0            12  T cell        0.93
    """

    annotations: tuple[Annotation, ...]
    graph: str

    def __repr__(self) -> str:
        counts = Counter(a.status.replace("_", " ") for a in self.annotations)
        sets = f"{len(self)} cell set" + ("" if len(self) == 1 else "s")
        shown = [sets, *(f"{n} {status}" for status, n in sorted(counts.items()))]
        return f"gather.Results: {', '.join(shown)}, graph {self.graph[:8]}"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.table())

    def __len__(self) -> int:
        return len(self.annotations)

    def __iter__(self) -> Iterator[Annotation]:
        return iter(self.annotations)

    def __contains__(self, cell_set: object) -> bool:
        return any(a.cell_set == str(cell_set) for a in self.annotations)

    def __getitem__(self, cell_set: object) -> Annotation:
        """Return the annotation of a cell set, with candidates, evidence, walks and contradictions."""
        for annotation in self.annotations:
            if annotation.cell_set == str(cell_set):
                return annotation
        names = [a.cell_set for a in self.annotations]
        raise KeyError(f"no cell set {str(cell_set)!r}{did_you_mean(str(cell_set), names)}")

    def table(self, *, evidence: int = 3) -> pd.DataFrame:
        """Return one row a cell set, with the `evidence` best genes.

        The columns are ``cells``, ``label``, ``id``, ``confidence``, ``certainty`` (high from 0.9, medium from 0.7,
        else low), ``FDR``, ``status``, ``best evidence``, ``against`` and ``reason`` (of the status).
        """
        rows = [
            (a.n_cells, a.label, a.curie, a.confidence, certainty(a), a.fdr, a.status,
             "; ".join(best_evidence(a, evidence)), "; ".join(objections(a)), status_reason(a))
            for a in self.annotations
        ]  # fmt: skip
        index = pd.Index([a.cell_set for a in self.annotations], name="cell set", dtype=object)
        return pd.DataFrame(rows, columns=list(_SHOWN), index=index)


def results(adata: ad.AnnData, key: str = "gather") -> Results:
    """Return the annotations that `gather.annotate` wrote to ``adata.uns[key]``.

    Raises
    ------
    InputError
        ``uns[key]`` is missing, damaged, or written by another tool or another version; or single cells were named,
        whose answers stand in ``obs`` alone.

    Examples
    --------
    >>> gather.annotate(adata, "group", graph=graph)
    >>> gather.results(adata)["T cells"].label
    'T cell'
    """
    found = kept_annotations(adata, key)
    if not found.annotations and str(adata.uns[key].get("parameters", {}).get("groupby")) == CELL:
        raise InputError(
            f"{key} named single cells: answers stand in obs ({key}_cell_type, {key}_best_cell_type ...), evidence "
            "is kept for cell sets; annotate clusters for it"
        )
    return found


def kept_annotations(adata: ad.AnnData, key: str) -> Results:
    """Return what is kept in ``adata.uns[key]``: none for single cells. Errors are those of `results`."""
    kept = adata.uns.get(key)
    if not _is_ours(kept):
        others = [str(name) for name in adata.uns if _is_ours(adata.uns[name])]
        hint = f"; found {', '.join(others)}" if others else ""
        raise InputError(f"no annotation in uns[{key!r}]{hint}; run gather.annotate(adata, ...) first")
    if kept.get("format_version") != KEPT_VERSION:
        raise InputError(
            f"uns[{key!r}] has format version {kept.get('format_version')}, wanted {KEPT_VERSION}; "
            "run gather.annotate(adata, ...) again"
        )
    try:
        return Results(unpacked(kept["evidence"]), str(kept.get("graph", "")))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"uns[{key!r}]: the evidence is damaged ({type(error).__name__}: {error}); "
            "run gather.annotate(adata, ...) again"
        ) from error


def _is_ours(entry: Any) -> bool:
    """Return whether `gather.annotate` wrote this entry of ``uns``."""
    return isinstance(entry, dict) and entry.get("format") == FORMAT
