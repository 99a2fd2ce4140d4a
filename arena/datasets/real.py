"""Real labelled cells as virtual cells, and a real stimulation.

Half of each type's cells are references and the other half is drawn from. A type enters where the oracle names it
in nine of ten draws, and in hardly any draw of another type. Each virtual cell is the mean of some cells, its
genes ranked by mean expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from arena.datasets import admission
from arena.datasets.admission import Admission
from arena.datasets.cell_files import WHOLE, CellFile, Floats, Labelled, read_labelled
from arena.datasets.lineages import CellTerms
from arena.datasets.oracle import likeness, rank_vectors, ranked
from arena.datasets.to_generate import cells_to_generate
from arena.datasets.virtual_cell import SENTENCE_LENGTH, Interaction, VirtualCell, item_rng
from vckg.base.errors import SourceError

MIN_CELLS: Final = 20
"""Cells of a type that enters: ten to draw from and ten as reference."""
CELLS: Final = 20
"""Cells of one draw at most."""
REPLICATES: Final = 3
"""Virtual cells of one type of one file."""
DRAWS: Final = 20
"""Draws by which the oracle decides on a type."""
SEPARABLE: Final = 0.9
RANKINGS: Final = 4
"""Rankings of real cells of one type."""


def cells_of(labelled: Labelled, entry: Admission) -> Iterator[VirtualCell]:
    """Yield virtual cells of a file of cells, by type and replicate."""
    halves = _halves(labelled, entry)
    if len(halves) < 2:
        for cl_id in halves:
            entry.reject(labelled, cl_id, admission.ALONE)
        return
    top = min(SENTENCE_LENGTH, len(labelled.genes) // 2)
    types = sorted(halves)
    references = _vectors(labelled, [halves[t][0] for t in types], top)
    named, like = _oracle(labelled, halves, top, entry.seed)
    for place, cl_id in enumerate(types):
        name = f"{labelled.source.name}/{cl_id}"
        right = named[place, place]
        if min(right, right / max(named[:, place].sum(), 1e-9)) < SEPARABLE:
            entry.reject(labelled, cl_id, admission.BLURRED)
            continue
        like[place, place] = -1
        rival = types[int(like[place].argmax())]
        for number, rows in enumerate(draws_of(halves[cl_id][1], REPLICATES, entry.seed, name)):
            shown = sentence(labelled, rows, top)
            found = likeness(rank_vectors([shown], len(labelled.genes)), references)[0]
            symbols = [labelled.genes[i] for i in shown]
            cell = entry.cell(labelled, cl_id, f"{name}/{number}", rows, symbols, rival)
            entry.oracle[cell.id] = types[int(found.argmax())]
            yield cell
    if len(labelled.genes) >= WHOLE and labelled.source.species == "human":
        yield from _to_generate(labelled, halves, entry)


def _oracle(
    labelled: Labelled, halves: Mapping[str, tuple[list[int], list[int]]], top: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the share of each type's draws named as each type, and their mean likeness: float32[types, types].

    Either half of the cells is the reference once. A type that many draws of another are named as is not told
    apart, however often its own draws are right: draws of one half lean to one side together.
    """
    types = sorted(halves)
    named = np.zeros((len(types), len(types)), dtype=np.float32)
    mean = np.zeros_like(named)
    for known, asked in ((0, 1), (1, 0)):
        references = _vectors(labelled, [halves[t][known] for t in types], top)
        for place, cl_id in enumerate(types):
            item = f"oracle {known} {labelled.source.name}/{cl_id}"
            draws = draws_of(halves[cl_id][asked], DRAWS // 2, seed, item)
            like = likeness(_vectors(labelled, draws, top), references)
            named[place] += np.bincount(like.argmax(axis=1), minlength=len(types)) / DRAWS
            mean[place] += like.mean(axis=0) / 2
    return named, mean


def _to_generate(
    labelled: Labelled, halves: Mapping[str, tuple[list[int], list[int]]], entry: Admission
) -> Iterator[VirtualCell]:
    """Yield the types of a file that covers the transcriptome, with draws of their references."""
    name = labelled.source.name
    real = {
        cl_id: [
            [labelled.genes[i] for i in sentence(labelled, rows, SENTENCE_LENGTH)]
            for rows in draws_of(reference, RANKINGS, entry.seed, f"ranking {name}/{cl_id}")
        ]
        for cl_id, (reference, _drawn) in halves.items()
    }
    tissue = " ".join(part for part in (labelled.source.tissue, labelled.source.state) if part)
    yield from cells_to_generate(real, entry, item=f"{name}/", tissue=tissue, sets=[name])


def _halves(labelled: Labelled, entry: Admission) -> dict[str, tuple[list[int], list[int]]]:
    """Return rows of each type that enters: references, and those that are drawn from."""
    halves = {}
    for cl_id in sorted(set(labelled.types) - {""}):
        rows = (
            item_rng(entry.seed, f"{labelled.source.name}/{cl_id}").permutation(labelled.of(cl_id)).tolist()
        )
        if not entry.is_type(cl_id):
            entry.reject(labelled, cl_id, admission.GENERAL)
        elif (labelled.source.name, cl_id) in admission.doubted():
            entry.reject(labelled, cl_id, admission.DOUBTED)
        elif len(rows) < MIN_CELLS:
            entry.reject(labelled, cl_id, admission.FEW)
        else:
            halves[cl_id] = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return halves


def draws_of(rows: Sequence[int], n: int, seed: int, item: str) -> list[list[int]]:
    """Draw `n` times at most `CELLS` of the rows, two thirds of them where there are few."""
    rng = item_rng(seed, item)
    size = min(CELLS, max(1, 2 * len(rows) // 3))
    return [sorted(rng.choice(rows, size=size, replace=False).tolist()) for _ in range(n)]


def sentence(labelled: Labelled, rows: Sequence[int], top: int) -> list[int]:
    """Return positions of the highest genes of the mean of some rows."""
    return ranked(labelled.values[list(rows)].mean(axis=0), top)


def _vectors(labelled: Labelled, groups: Sequence[Sequence[int]], top: int) -> Floats:
    return rank_vectors([sentence(labelled, rows, top) for rows in groups], len(labelled.genes))


# ---- a real perturbation: interferon beta on blood cells --------------------------------------------------

KANG: Final = CellFile(
    "kang2018", "h5ad/pbmc_kang18_ifnb_muscat.h5ad", "cluster_id", "human", "blood", "", "counts", "samples",
    "Kang et al. 2018, doi:10.1038/nbt.4042",
)  # fmt: skip
STIMULATED: Final = 10
"""Genes of each direction that a stimulation sample asks for."""
SHOWN: Final = 100


def stimulated_cells(terms: CellTerms, *, mirrors: Sequence[Path]) -> Iterator[VirtualCell]:
    """Yield blood cell types before and after interferon beta: twenty genes each, ten of either direction."""
    path = next((p for folder in mirrors if (p := folder / KANG.file).is_file()), None)
    if path is None:
        return
    labelled = read_labelled(KANG, path, terms.graph)
    group = _column(path, "group_id")
    genes = terms.symbols_of_ensembl(labelled.genes)
    for cl_id in sorted(set(labelled.types) - {""}):
        rows = labelled.of(cl_id)
        before, after = (labelled.values[rows[group[rows] == arm]] for arm in ("ctrl", "stim"))
        term = terms.describe(cl_id)
        if min(len(before), len(after)) < MIN_CELLS or not term.name:
            continue
        change = _welch(before, after)
        falling = sorted(range(len(genes)), key=lambda i: (-change[i], genes[i]))
        order = list(dict.fromkeys(genes[i] for i in falling))
        yield VirtualCell(
            id=f"{KANG.name}/{cl_id}",
            dataset="fresh",
            tissue=KANG.tissue,
            species=KANG.species,
            wording=f"human cells of the type {term.name} from blood",
            interactions=(
                Interaction(
                    regulators=("IFNB1",),
                    effect="stimulation with interferon beta",
                    up=tuple(order[:STIMULATED]),
                    down=tuple(order[-STIMULATED:]),
                    control=tuple(genes[i] for i in ranked(before.mean(axis=0), SHOWN)),
                    outcome=tuple(genes[i] for i in ranked(after.mean(axis=0), SHOWN)),
                ),
            ),
            provenance={"set": KANG.name, "study": KANG.study, "canary": admission.CANARY},
        )


def _column(path: Path, name: str) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    import anndata

    observed = anndata.read_h5ad(path, backed="r").obs
    if name not in observed:
        raise SourceError(path, f"no column {name!r} in obs, found {list(observed.columns)}")
    return np.asarray(observed[name].astype(str), dtype=np.str_)


def _welch(before: Floats, after: Floats) -> Floats:
    """Welch's t of each gene, float32[genes]; positive where it rises."""
    error = np.sqrt(before.var(axis=0, ddof=1) / len(before) + after.var(axis=0, ddof=1) / len(after))
    difference = after.mean(axis=0) - before.mean(axis=0)
    t: Floats = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
    return t
