"""An annotated file as the review and its exports read it: answers, the set of every cell, and earlier decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.annotation import Annotation
from gather.cells.adata import CELL_SET
from gather.cells.file import open_h5ad
from gather.cells.groups import texts_of
from gather.cells.options import AUTO
from gather.cells.results import kept_annotations
from gather.report.review_block import FORMAT, answers_hash
from gather.review.decisions import Event
from vckg.base.errors import InputError, first_line

_COLUMNS = tuple(Event.model_fields)
REVIEWED = ("reviewed_cell_type", "reviewed_cell_type_ontology_term_id", "review")
"""Suffixes of the columns of ``obs`` that `gather.review.apply` writes."""


@dataclass(frozen=True)
class Annotated:
    """An h5ad that ``gather annotate`` wrote.

    Attributes
    ----------
    key
        Name of the entry of ``uns`` with the answers.
    cells, genes
        Names of the cells and genes of the file.
    cell_set
        Position in `annotations` of every cell's set, int32[cells]; -1 for cells in none.
    graph, versions, title
        Hash of the graph, versions of the packages, and the title that the file states, or empty.
    columns
        Names of the columns of ``obs``.
    history
        Decisions that were applied before, in order.
    """

    path: Path
    key: str
    cells: tuple[str, ...]
    genes: tuple[str, ...]
    annotations: tuple[Annotation, ...]
    cell_set: npt.NDArray[np.int32]
    graph: str
    versions: dict[str, str]
    title: str
    columns: frozenset[str]
    history: tuple[Event, ...]

    @property
    def answers(self) -> str:
        """The hash that a decisions file names."""
        return answers_hash(self.graph, self.cells, self.annotations)


def read_annotated(path: Path, key: str) -> Annotated:
    """Read the answers of an annotated h5ad, without its matrix.

    Raises
    ------
    InputError
        The file is no h5ad, has no annotation of cell sets under `key`, or an entry is damaged.
    """
    adata = open_h5ad(path, backed=True)
    try:
        try:
            found = kept_annotations(adata, key)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if not len(found):
            raise InputError(
                f"{path}: holds answers of single cells, which are not reviewed; annotate it by --groupby COLUMN"
            )
        kept = adata.uns[key]
        title = adata.uns.get("title", "")
        return Annotated(
            path,
            key,
            tuple(adata.obs_names.astype(str)),
            tuple(adata.var_names.astype(str)),
            found.annotations,
            _cell_sets(adata.obs, kept, key, found.annotations),
            found.graph,
            {str(name): str(version) for name, version in kept.get("versions", {}).items()},
            title if isinstance(title, str) else "",
            frozenset(adata.obs.columns.astype(str)),
            _history(path, adata.uns.get(f"{key}_review"), key),
        )
    finally:
        adata.file.close()


def _cell_sets(
    obs: pd.DataFrame, kept: Mapping[str, Any], key: str, annotations: tuple[Annotation, ...]
) -> npt.NDArray[np.int32]:
    """Return the set of every cell; a cell without expression is ``ungrounded`` in a set that is not."""
    groupby = str(kept.get("parameters", {}).get("groupby", ""))
    column = f"{key}_{CELL_SET}" if groupby == AUTO else groupby
    names = obs[column] if column in obs else obs.index.to_series()  # of a table of markers: the clusters
    position = {a.cell_set: i for i, a in enumerate(annotations)}
    text = texts_of(names)
    sets = np.array([position.get(name, -1) for name in text.tolist()], np.int32)
    if f"{key}_status" in obs:
        grounded = np.array([a.status != "ungrounded" for a in annotations] + [True])
        empty = (obs[f"{key}_status"].astype(str) == "ungrounded").to_numpy()
        sets[empty & grounded[sets]] = -1
    return sets


def _history(path: Path, kept: Any, key: str) -> tuple[Event, ...]:
    """Return the events that an earlier run kept in ``uns``."""
    if kept is None:
        return ()
    problem = f"{path}: uns[{key + '_review'!r}]"
    if not isinstance(kept, dict) or kept.get("format") != FORMAT:
        raise InputError(f"{problem} exists and was not written by gather; rename it")
    try:
        rows = kept["history"][list(_COLUMNS)].astype(str).to_dict("records")
        return tuple(Event(**row) for row in rows)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{problem} is damaged ({first_line(error)}); take the file of before the change"
        ) from error


def history_frame(history: tuple[Event, ...]) -> pd.DataFrame:
    """Return events as a table of texts, one row an event."""
    frame = pd.DataFrame([event.model_dump() for event in history], columns=list(_COLUMNS), dtype=object)
    frame.index = frame.index.astype(str)
    return frame
