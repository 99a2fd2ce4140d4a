"""The development suite's cell sets: every labelled file of a data folder as arrays, computed once and kept.

A `Block` is one file under one grouping. It holds the average expression and the detection of every gene in every
cell set, so that any retriever can be asked in seconds, and names genes by CURIE.

Modes of a block: ``label groups``, ``clusters`` (Leiden), ``panel 300`` and ``panel 1000`` (the label groups on
fewer genes), ``50 cells`` (the label groups of a sample), ``cells`` (single cells) and ``sentences``. Published
averages come as ``profiles`` (genes by fold change times expression), as ``gene lists`` (the same without the file)
and as ``profile files`` (ranked as `gather annotate` ranks them).
"""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gather.cells.adata import cell_groups
from gather.cells.expression import Expression, rank_cell_sets, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO
from gather.retrieval.query import Panel, ground_panel, rank_weights
from gather.species import graph_for, ground
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float32]
FORMAT = 7
PANELS = (300, 1000)
USUAL_MARKERS = (
    "CD3D", "CD3E", "CD4", "CD8A", "MS4A1", "CD79A", "MZB1", "NKG7", "GNLY", "CD14", "LYZ", "FCGR3A", "FCER1A",
    "EPCAM", "KRT8", "PECAM1", "VWF", "COL1A1", "PDGFRB", "ACTA2",
)  # fmt: skip
"""Twenty markers that most targeted panels hold; the rest of a cut panel are the file's most variable genes."""
FEW_CELLS = 50
LEAST_SET = 3
SINGLE_CELLS = 200
"""So many labelled cells of a file are asked one by one."""
EQUALS = 1e-4
"""Far below the step from one count to the next; orders equals."""
MOST_FOLD = 5.0
_LOG2 = {"log2": 1.0, "log10": float(np.log2(10.0))}


@dataclass(frozen=True, eq=False)
class Block:
    """The cell sets of one file under one grouping; s sets, g genes.

    Attributes
    ----------
    study
        Name of the file; `group` names the publication where several files come from one.
    genes
        CURIE of each gene, distinct, g.
    background
        Fraction of the file's cells that express each gene, float32[g]; ones where it is unknown.
    strength
        Ranking statistic of each gene in each set, 0 where the set does not prefer the gene, float32[s, g].
    mean
        Mean logarithmic expression, float32[s, g].
    detected
        Fraction of the set's cells that express the gene, float32[s, g]; empty where it is unknown.
    truth, flag
        CURIE of the right cell type, and ``coarse`` or ``qc`` where it is doubtful, s each.
    n_cells
        Cells of each set, s.
    """

    study: str
    group: str
    species: str
    tissue: str
    mode: str
    genes: tuple[str, ...]
    background: Floats
    strength: Floats
    mean: Floats
    detected: Floats
    names: tuple[str, ...]
    truth: tuple[str, ...]
    flag: tuple[str, ...]
    n_cells: tuple[int, ...]

    @property
    def closed(self) -> tuple[str, ...]:
        """Right answers of the whole file, ascending: the declared list of the closed set."""
        return tuple(sorted(set(self.truth) - {""}))

    @property
    def key(self) -> str:
        """File and grouping."""
        return f"{self.study}/{self.mode}"

    def ranked(self, at: int, top: int) -> npt.NDArray[np.intp]:
        """Columns of the strongest genes of a set, best first, at most `top`."""
        strength = self.strength[at]
        order = np.argsort(-strength, kind="stable")[:top]
        kept: npt.NDArray[np.intp] = order[strength[order] > 0]
        return kept

    def on(self, columns: npt.NDArray[Any], mode: str) -> Block:
        """The same sets with a part of the genes."""
        seen = self.detected[:, columns] if self.detected.size else self.detected
        return replace(
            self, mode=mode, genes=tuple(self.genes[i] for i in columns.tolist()), detected=seen,
            background=self.background[columns], strength=self.strength[:, columns], mean=self.mean[:, columns],
        )  # fmt: skip


_TEXTS = ("study", "group", "species", "tissue", "mode", "genes", "names", "truth", "flag", "n_cells")
_ARRAYS = ("background", "strength", "mean", "detected")


def suite(graph: Graph, data: Path, cache: Path) -> list[Block]:
    """Return all blocks, from the cache where it was made from the same files and graph; else it takes minutes.

    The graph decides which names of a file are genes, so that blocks of one graph do not serve another.

    Raises
    ------
    InputError
        The folder has no labelled files.
    """
    files = sorted(
        p for name in ("h5ad", "h5ad_more", "profiles", "scarena") for p in (data / name).glob("*")
    )
    if not files:
        raise InputError(f"{data}: no h5ad/, h5ad_more/, profiles/ or scarena/; name the folder by --data")
    said = [graph.content_hash, *(f"{p.name} {p.stat().st_size}" for p in files)]
    folder = cache / f"suite-{hashlib.sha256(json.dumps([FORMAT, said]).encode()).hexdigest()[:12]}"
    done = folder / "done.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        names = []
        for at, block in enumerate(blocks(graph, data)):
            names.append(f"{at:03d}.npz")
            _write(folder / names[-1], block)
        done.write_text(json.dumps(names), encoding="utf-8")
    return [_read(folder / name) for name in json.loads(done.read_text(encoding="utf-8"))]


def _write(path: Path, block: Block) -> None:
    texts = json.dumps({name: getattr(block, name) for name in _TEXTS})
    np.savez(path, texts=np.array(texts), **{name: getattr(block, name) for name in _ARRAYS})


def _read(path: Path) -> Block:
    with np.load(path, allow_pickle=False) as stored:
        said = json.loads(str(stored["texts"]))
        fixed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
        return Block(**fixed, **{name: stored[name] for name in _ARRAYS})


def blocks(graph: Graph, data: Path) -> Iterator[Block]:
    """Compute the blocks of every file, in order of folder and name."""
    maps = label_maps(data)
    for folder in ("h5ad", "h5ad_more"):
        for path in sorted((data / folder).glob("*.h5ad")):
            yield from _of_cells(graph, path, maps.get(path.stem, {}))
    for path in sorted((data / "profiles").glob("*.h5ad")):
        yield from _of_profiles(graph, path, maps.get(path.stem, {}))
    if (data / "scarena" / "cell_sentences_fixed.jsonl").is_file():
        yield _of_sentences(graph, data / "scarena" / "cell_sentences_fixed.jsonl")


def label_maps(data: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Return CURIE and flag by file and label, from the three ``label_to_cl.tsv``."""
    maps: dict[str, dict[str, tuple[str, str]]] = {}
    for folder in ("h5ad", "h5ad_more", "profiles"):
        path = data / folder / "label_to_cl.tsv"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                study = row.get("dataset") or row.get("file") or row.get("set") or ""
                maps.setdefault(study, {})[row["label"]] = (row["cl_id"], row.get("flag") or "")
    maps.setdefault("melanoma_tcells_sadefeldman2018_scfeatures", {})["*"] = ("CL:0000084", "")
    return maps


def label_column(obs: Any, known: dict[str, tuple[str, str]]) -> str:
    """The column of obs most of whose values are known labels."""
    shares = {c: float(obs[c].astype(str).isin(known).mean()) for c in obs.columns}
    return str(max(shares, key=lambda c: (shares[c], c)))


def _of_cells(graph: Graph, path: Path, known: dict[str, tuple[str, str]]) -> Iterator[Block]:
    adata = open_h5ad(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expression = read_expression(adata, graph)
        graph = expression.graph
        column = "celltype" if "*" in known else label_column(adata.obs, known)
        labels = adata.obs[column].astype(str).to_numpy()
        clusters = "louvain" if "louvain" in adata.obs else AUTO
        found = cell_groups(adata, expression, clusters, 0)
    whole = [known.get(label, known.get("*", ("", ""))) for label in labels.tolist()]
    truth = np.array([t for t, _ in whole], dtype=object)
    base = (graph.species, path.stem)
    groups = labels.astype(object)
    by_label = _grouped(expression, groups, truth, base, "label groups", graph)
    yield by_label
    if found is not None and not path.stem.startswith("melanoma"):
        yield _grouped(expression, np.asarray(found, dtype=object), truth, base, "clusters", graph)
    for size in PANELS:
        if len(by_label.genes) > 1.2 * size:
            yield by_label.on(_panel(by_label, graph, size), f"panel {size}")
    few = np.full(len(groups), "", dtype=object)
    chosen = np.random.default_rng(0).permutation(len(groups))[:FEW_CELLS]
    few[chosen] = groups[chosen]
    small = [g for g in set(few.tolist()) if g and (few == g).sum() < LEAST_SET]
    few[np.isin(few, small)] = ""
    inside = np.flatnonzero(few != "")
    part = replace(expression, matrix=expression.matrix[inside])
    yield _grouped(part, few[inside], truth[inside], base, "50 cells", graph)
    yield _single_cells(expression, truth, base, graph)


def _single_cells(
    expression: Expression, truth: npt.NDArray[Any], base: tuple[str, str], graph: Graph
) -> Block:
    """Labelled cells drawn at random, each a set; genes ranked as `gather.cells.cell_ranking` does."""
    labelled = np.flatnonzero(truth != "")
    chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:SINGLE_CELLS])
    columns = np.flatnonzero(expression.panel.nodes >= 0)
    matrix: Any = expression.matrix
    mean = np.asarray(matrix[chosen].todense(), dtype=np.float32)[:, columns]
    assert expression.panel.detected is not None
    detected = expression.panel.detected[columns]
    strength = np.where(mean > 0, mean + EQUALS * (1.0 - detected), 0.0).astype(np.float32)
    genes = tuple(graph.ids[i] for i in expression.panel.nodes[columns].tolist())
    rows = [(str(i), strength[k], mean[k], None, str(truth[i]), 1) for k, i in enumerate(chosen.tolist())]
    return _block(base, "cells", genes, rows, detected)


def _panel(block: Block, graph: Graph, size: int) -> npt.NDArray[np.intp]:
    """Columns of the usual markers and of the genes that vary most over the sets."""
    usual = {found.curie for found in graph.genes.ground(list(USUAL_MARKERS))}
    first = [i for i, g in enumerate(block.genes) if g in usual]
    spread = block.mean.std(axis=0)
    spread[first] = np.inf
    return np.sort(np.argsort(-spread, kind="stable")[:size])


def _grouped(
    expression: Expression, groups: npt.NDArray[Any], truth: npt.NDArray[Any], base: tuple[str, str], mode: str,
    graph: Graph,
) -> Block:  # fmt: skip
    columns = np.flatnonzero(expression.panel.nodes >= 0)
    names = expression.panel.names
    at = {names[i]: k for k, i in reversed(list(enumerate(columns.tolist())))}
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sets = rank_cell_sets(expression, groups.tolist())
    for cell_set in sets:
        inside = np.flatnonzero(groups == cell_set.name)
        strength = np.zeros(len(columns), np.float32)
        for gene, value in zip(cell_set.genes, cell_set.strengths, strict=True):
            strength[at[gene]] = value
        matrix: Any = expression.matrix
        mean = np.asarray(matrix[inside].mean(axis=0), dtype=np.float32).ravel()[columns]
        detected = np.asarray(cell_set.detected, dtype=np.float32)[columns]
        right = [t for t in truth[inside].tolist() if t]
        rows.append((cell_set.name, strength, mean, detected, _commonest(right), cell_set.n_cells))
    background = expression.panel.detected
    genes = tuple(graph.ids[i] for i in expression.panel.nodes[columns].tolist())
    return _block(base, mode, genes, rows, background[columns] if background is not None else None)


def _commonest(values: Sequence[str]) -> str:
    return min(set(values), key=lambda t: (-values.count(t), t)) if values else ""


def _block(
    base: tuple[str, str], mode: str, genes: tuple[str, ...], rows: list[Any], background: Any
) -> Block:
    names, strength, mean, detected, truth, n_cells = zip(*rows, strict=True)
    seen = np.stack(detected) if detected[0] is not None else np.zeros((0, 0), np.float32)
    return Block(
        base[1], base[1], base[0], "", mode, genes,
        np.ones(len(genes), np.float32) if background is None else np.asarray(background, np.float32),
        np.stack(strength), np.stack(mean), seen, tuple(names), tuple(truth), ("",) * len(rows), tuple(n_cells),
    )  # fmt: skip


def _of_profiles(graph: Graph, path: Path, known: dict[str, tuple[str, str]]) -> Iterator[Block]:
    """Rank by fold change over the mean of the other profiles (at most 5) times expression, upper half of the genes."""
    adata = open_h5ad(path)
    said = dict(adata.uns)
    species, names = str(said["species"]), [str(n) for n in adata.var_names]
    graph = graph_for(graph, species)
    panel = ground_panel(graph, names, grounded=ground(graph, names, species))
    columns = np.flatnonzero(panel.nodes >= 0)
    x = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float64)[
        :, columns
    ]
    per = _LOG2.get(str(said["scale"]).split(",")[0], 1.0 / float(np.log(2.0)))
    strength = np.zeros(x.shape, np.float32)
    for i in range(len(x)):
        fold = per * (x[i] - np.delete(x, i, axis=0).mean(axis=0))
        middle = np.median(x[i][x[i] > 0]) if (x[i] > 0).any() else 0.0
        strength[i] = np.where((x[i] > middle) & (fold > 0), np.minimum(fold, MOST_FOLD) * x[i], 0.0)
    labels = [str(v) for v in adata.obs["label"]]
    truths = [known.get(label, ("", "")) for label in labels]
    study = str(said["study"])
    block = Block(
        path.stem, study, species, path.stem, "profiles",
        tuple(graph.ids[i] for i in panel.nodes[columns].tolist()), np.ones(len(columns), np.float32), strength,
        x.astype(np.float32), np.zeros((0, 0), np.float32), tuple(labels), tuple(t for t, _ in truths),
        tuple(f for _, f in truths), (1,) * len(labels),
    )  # fmt: skip
    yield block
    yield replace(block, mode="gene lists")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expression = read_expression(adata, graph)
        except InputError:  # values that are neither counts nor logarithms throughout
            return
    rows = np.array([str(i) for i in range(len(labels))], dtype=object)
    right = np.array(block.truth, dtype=object)
    ranked = _grouped(expression, rows, right, (species, path.stem), "profile files", graph)
    kept = [int(i) for i in ranked.names]
    yield replace(
        ranked, group=study, tissue=path.stem, names=tuple(labels[i] for i in kept),
        flag=tuple(block.flag[i] for i in kept),
    )  # fmt: skip


def _of_sentences(graph: Graph, path: Path) -> Block:
    """SC-Arena's choosing half: the even positions, ranked by rarity over all sentences."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    sentences = [tuple(dict.fromkeys(row["cell_sentence"].split())) for row in rows]
    panel = ground_panel(graph, sorted({gene for sentence in sentences for gene in sentence}))
    node = dict(zip(panel.names, panel.nodes.tolist(), strict=True))
    columns = sorted({n for n in node.values() if n >= 0})
    at = {n: i for i, n in enumerate(columns)}
    chosen = list(range(0, len(rows), 2))
    strength = np.zeros((len(chosen), len(columns)), np.float32)
    mean = np.zeros_like(strength)
    ordered = by_rarity(panel, sentences)
    for k, i in enumerate(chosen):
        for genes, out in ((ordered[i], strength), (sentences[i], mean)):
            known = [at[node[g]] for g in genes if node[g] >= 0]
            out[k, known] = rank_weights(len(known))
    return Block(
        "scarena", "scarena", "human", "many", "sentences", tuple(graph.ids[n] for n in columns),
        np.ones(len(columns), np.float32), strength, mean, np.zeros((0, 0), np.float32),
        tuple(str(i) for i in chosen), tuple(rows[i]["cell_ontology_id"] for i in chosen), ("",) * len(chosen),
        (1,) * len(chosen),
    )  # fmt: skip


def by_rarity(panel: Panel, sentences: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Order every sentence by ``w ln(N / (df + 1))``, the TF-IDF of a cell's genes over the N sentences.

    A sentence has ranks and no expression. So the published rank weight ``w = 1 / log2(rank + 2)`` over its
    grounded genes replaces ``log1p(expression)``. `df` counts the sentences that hold the gene. A gene of nearly
    every sentence (factor 0 or less) goes to the end.
    """
    node = dict(zip(panel.names, panel.nodes.tolist(), strict=True))
    kept = [[gene for gene in sentence if node[gene] >= 0] for sentence in sentences]
    df = Counter(node[gene] for genes in kept for gene in dict.fromkeys(genes))
    ordered = []
    for sentence, genes in zip(sentences, kept, strict=True):
        rarity = np.array([np.log(len(kept) / (df[node[gene]] + 1.0)) for gene in genes])
        strength = rank_weights(len(genes)) * np.maximum(rarity, 0.0)
        ranked = [genes[i] for i in np.argsort(-strength, kind="stable").tolist()]
        ordered.append((*ranked, *(gene for gene in sentence if node[gene] < 0)))
    return ordered
