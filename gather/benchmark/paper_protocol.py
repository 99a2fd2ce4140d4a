"""The published protocol of GATHER's two test sets: the draw of cells, their labels and their sentences.

Facts (labels, candidates, printed figures) are in `data/paper_sets.json`; the rules are those of the official
scripts (SUAT-AIRI/GATHER, ``scripts/build_immune_test_data.py``, ``build_lung_test_data.py`` and
``build_immune_test_data_small.py``). On one file both give the same cells, sentences and order.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vckg.base.errors import InputError, did_you_mean
from vckg.base.resources import resource

FRACTION, SEED, TOP = 0.1, 42, 50
"""Share of each label's cells, seed of the draw, genes of a sentence."""
HOUSEKEEPING = (
    r"^RPL\d+|^RPS\d+|^RPLP\d*|^RPSA|^MT-|^MRPL\d+|^MRPS\d+|^EEF\d|^EIF\d|^ATP\d|^COX\d|^NDUF|^UBC$|^UBA52$|^ACTB$"
    r"|^ACTG1$|^GAPDH$|^B2M$|^MALAT1$|^NEAT1$|^FTL$|^FTH1$|^TPT1$|^TMSB4X$|^TMSB10$"
)
NONCODING = r"|^RP\d+-|^CT[ABCD]-|^LINC\d+|^A[CL]\d{5,}|^ENSG\d+|-AS\d*$|-DT$"
NONCODING_RNA = r"|^RNU\d|^RN7S[KL]|^MIR\d|^SNOR|^SCARNA|^RNA5|^MTRNR|^RF\d{5}"


@dataclass(frozen=True, slots=True)
class PaperSet:
    """One test set of the paper.

    Attributes
    ----------
    title, file
        Publication, and the public file.
    label
        Column of obs with the label.
    raw
        Whether the sentences come from ``.raw``.
    noncoding_rna
        Whether the gene filter also drops short non-coding RNAs.
    excluded
        Labels left out, as the file spells them.
    renamed
        Names that replace labels of the file.
    candidates
        Names of the closed list, in the order of the official prompt.
    printed_exact
        Exact accuracy that the paper prints, with a language model.
    """

    title: str
    file: str
    label: str
    raw: bool
    noncoding_rna: bool
    excluded: tuple[str, ...]
    renamed: Mapping[str, str]
    candidates: tuple[str, ...]
    printed_exact: float

    @property
    def gene_filter(self) -> re.Pattern[str]:
        """Genes that a sentence leaves out, searched without case."""
        pattern = HOUSEKEEPING + NONCODING + (NONCODING_RNA if self.noncoding_rna else "")
        return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One drawn cell: its row of the file, its label after renaming, and its genes, best first."""

    row: int
    label: str
    genes: tuple[str, ...]


@lru_cache(maxsize=1)
def paper_sets() -> Mapping[str, PaperSet]:
    """Return the two test sets, ``immune`` and ``lung``."""
    stored: dict[str, Any] = json.loads(resource("data", "paper_sets.json").read_text(encoding="utf-8"))
    stored.pop("about")
    sets = {}
    for name, facts in stored.items():
        lists: dict[str, Any] = {key: tuple(facts[key]) for key in ("excluded", "candidates")}
        sets[name] = PaperSet(**(facts | lists))
    return sets


def paper_set(name: str) -> PaperSet:
    """Return one test set.

    Raises
    ------
    InputError
        The name is neither ``immune`` nor ``lung``.
    """
    known = paper_sets()
    if name not in known:
        raise InputError(f"no data set {name!r}{did_you_mean(name, known)}; one of {', '.join(known)}")
    return known[name]


def official_cells(adata: Any, test_set: PaperSet, *, small: bool = False) -> list[Cell]:
    """Draw the cells of a test set and write their sentences, in the order of the official file.

    Parameters
    ----------
    adata
        Cells of the public file, in memory.
    small
        Whether to draw a tenth of each label once more, as the official small set does.

    Raises
    ------
    InputError
        The file has no column of labels, or no ``.raw`` where the protocol reads it.
    """
    labels = _labels(adata, test_set)
    drawn, generator = _draw(labels, test_set.excluded)
    if test_set.raw and adata.raw is None:
        raise InputError(f"no .raw in the file; wanted the public file of {test_set.title}, {test_set.file}")
    values = adata.raw if test_set.raw else adata
    sentences = _sentences(values.X, [str(gene) for gene in values.var_names], drawn, test_set.gene_filter)
    cells = [
        Cell(row, test_set.renamed.get(labels[row], labels[row]), genes)
        for row, genes in zip(drawn, sentences, strict=True)
    ]
    generator.shuffle(cells)
    return small_draw(cells) if small else cells


def small_draw(cells: Sequence[Cell]) -> list[Cell]:
    """Draw a tenth of each label's cells, rounded up, in the order of the official small file."""
    generator = random.Random(SEED)
    drawn: list[Cell] = []
    for label in sorted({cell.label for cell in cells}):
        of_label = [cell for cell in cells if cell.label == label]
        drawn += generator.sample(of_label, math.ceil(len(of_label) * FRACTION))
    generator.shuffle(drawn)
    return drawn


def _labels(adata: Any, test_set: PaperSet) -> list[str]:
    if test_set.label not in adata.obs:
        hint = did_you_mean(test_set.label, adata.obs.columns)
        wanted = f"the public file of {test_set.title}, {test_set.file}"
        raise InputError(f"no column {test_set.label!r} in obs{hint}; wanted {wanted}")
    return [str(label) for label in adata.obs[test_set.label].astype(object).fillna("").tolist()]


def _draw(labels: Sequence[str], excluded: Sequence[str]) -> tuple[list[int], random.Random]:
    """Rows of a tenth of each label's cells, rounded up, label by label; and the generator after the draw."""
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    generator = random.Random(SEED)
    drawn: list[int] = []
    for label in sorted(set(rows_of) - {"", *excluded}):
        drawn += generator.sample(rows_of[label], math.ceil(len(rows_of[label]) * FRACTION))
    return drawn, generator


def _sentences(
    matrix: Any, names: Sequence[str], rows: Sequence[int], gene_filter: re.Pattern[str]
) -> list[tuple[str, ...]]:
    """Genes of each row by ``log1p(value) * ln(N / (df + 1))`` over all N rows, strongest first.

    Ties keep the order of the file. Where a name stands twice, its last column gives `df`, as in the official
    script, which keeps the weights by name.
    """
    values: Any = matrix.tocsr() if hasattr(matrix, "tocsr") else np.asarray(matrix)
    detected = np.asarray((values > 0).sum(axis=0)).ravel()
    weights = np.where(detected > 0, np.log(values.shape[0] / (detected + 1)), 0.0)
    last = {name: column for column, name in enumerate(names)}
    idf = weights[[last[name] for name in names]]
    kept = np.array([gene_filter.search(name) is None for name in names])
    return [_top_genes(values[row], names, idf, kept) for row in rows]


def _top_genes(
    row: Any, names: Sequence[str], idf: npt.NDArray[np.float64], kept: npt.NDArray[np.bool_]
) -> tuple[str, ...]:
    values = row.toarray().ravel() if hasattr(row, "toarray") else row
    columns = np.flatnonzero((values > 0) & kept)
    strength = np.log1p(values[columns]) * idf[columns]
    best = columns[np.argsort(-strength, kind="stable")[:TOP]]
    return tuple(names[column] for column in best.tolist())
