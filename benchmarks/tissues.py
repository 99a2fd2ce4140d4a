"""What ``--tissue`` prefers: ``python -m benchmarks.tissues -g GRAPH [-g GRAPH] [--data MIRROR] [--output FILE]``.

For ten tissues: how many cell types are known there, and whether types that live there are among them and types that
live elsewhere are not. The two lists were written from textbooks, not from the graph. With the data folder also what
naming the tissue does to the answers of the development suite, best candidate, means over files. ``--tissue`` counts
the scores of all other types by `gather.retrieval.scores.NOT_PREFERRED`. That number was chosen on these files, among
those of the table; 0 leaves out all other types, 1 is no tissue.

The last table names a wrong tissue for every file, each of the other nine organs of the first table. It counts the
files of which ``gather annotate`` asks whether the tissue is right (`gather.cells.command.FITS`). It also shows how
sure the answers are, and how many are right or a relative of the truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gather.benchmark.suite import AVERAGES, METRICS, Floats, Said, Suite, Unit
from gather.benchmark.suite_data import Block
from gather.benchmark.suite_data import suite as blocks_of
from gather.cells.command import FITS
from gather.labelling.decide import Labeller
from gather.metrics.labels import expected_calibration_error
from gather.retrieval.candidates import types_of_tissue
from gather.retrieval.query import GeneQuery, make_query
from gather.retrieval.scores import NOT_PREFERRED, Retriever
from vckg.base.resources import default_cache
from vckg.graph.graph import Graph

#: Tissue, types that live there, types that do not.
TISSUES = [
    ("kidney", ["podocyte", "mesangial cell", "renal principal cell", "macrophage"],
     ["Purkinje cell", "ameloblast", "hepatocyte", "motor neuron", "club cell"]),
    ("brain", ["astrocyte", "oligodendrocyte", "microglial cell", "neuron", "Purkinje cell"],
     ["hepatocyte", "podocyte", "ameloblast", "enterocyte"]),
    ("lung", ["club cell", "pulmonary alveolar type 2 cell", "macrophage", "T cell"],
     ["hepatocyte", "podocyte", "Purkinje cell", "ameloblast", "astrocyte"]),
    ("blood", ["monocyte", "T cell", "B cell", "natural killer cell", "neutrophil", "platelet"],
     ["hepatocyte", "podocyte", "Purkinje cell", "ameloblast", "enterocyte", "keratinocyte"]),
    ("liver", ["hepatocyte", "Kupffer cell", "hepatic stellate cell", "cholangiocyte"],
     ["podocyte", "Purkinje cell", "ameloblast", "astrocyte", "club cell"]),
    ("heart", ["cardiac muscle cell", "fibroblast", "endothelial cell", "pericyte"],
     ["hepatocyte", "podocyte", "Purkinje cell", "ameloblast", "enterocyte"]),
    ("pancreas", ["pancreatic A cell", "type B pancreatic cell", "pancreatic acinar cell", "pancreatic stellate cell"],
     ["hepatocyte", "podocyte", "Purkinje cell", "ameloblast", "cardiac muscle cell"]),
    ("skin of body", ["keratinocyte", "melanocyte", "fibroblast", "Langerhans cell"],
     ["podocyte", "Purkinje cell", "ameloblast", "cardiac muscle cell"]),
    ("intestine", ["enterocyte", "goblet cell", "paneth cell", "T cell"],
     ["hepatocyte", "podocyte", "Purkinje cell", "ameloblast", "cardiac muscle cell"]),
    ("retina", ["amacrine cell", "retinal ganglion cell", "Mueller cell", "retinal cone cell"],
     ["hepatocyte", "podocyte", "ameloblast", "cardiac muscle cell", "enterocyte"]),
]  # fmt: skip


#: Files of the development suite whose tissue is known, and what a user would call it.
NAMED = {
    "h_adult_colon_hca": "colon", "h_adult_heart_hca": "heart", "h_adult_ileum_wang": "ileum",
    "h_adult_muscle_demicheli": "skeletal muscle tissue", "h_adult_pancreas_hca": "pancreas",
    "h_adult_rectum_wang": "rectum", "h_adult_retina_hca": "retina", "h_adult_skin_hca": "skin of body",
    "h_adult_testis_guo": "testis", "h_fetal_adrenal": "adrenal gland", "h_fetal_eye": "eye", "h_fetal_heart": "heart",
    "h_fetal_intestine": "intestine", "h_fetal_muscle": "muscle organ", "h_fetal_pancreas": "pancreas",
    "h_fetal_stomach": "stomach", "h_pancreas_baron": "pancreas", "breast_tnbc_wu2021_cid4465": "breast",
    "pancreas_wang2016_scclassify": "pancreas", "marrow_he2020_scdiagnostics": "bone marrow",
    "pbmc_kang18_ifnb_muscat": "blood", "pbmc3k_clustifyr_2000hvg": "blood", "h_pbmc3k": "blood",
}  # fmt: skip
SAME_ORGAN = {
    "colon": "intestine",
    "ileum": "intestine",
    "rectum": "intestine",
    "eye": "retina",
    "bone marrow": "blood",
}
"""Tissues of files that one of `TISSUES` holds, or whose cells it has."""
MODES = ("label groups", "profile files")
WEIGHTS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)


class Row(NamedTuple):
    """One tissue on one graph."""

    tissue: str
    kept: int
    types: int
    """Cell types of the whole graph."""
    residents: int
    absent: list[str]
    """Residents that are not known there."""
    strangers: list[str]
    """Strangers that are."""


def row(graph: Graph, tissue: str, residents: Sequence[str], strangers: Sequence[str]) -> Row:
    """Count what is known in one tissue."""
    kept = {graph.names[i] for i in types_of_tissue(graph, tissue)}
    absent = [name for name in residents if name not in kept]
    inside = [name for name in strangers if name in kept]
    return Row(tissue, len(kept), graph.nodes_of("Cell").size, len(residents), absent, inside)


def table(graph: Graph) -> str:
    """The table of a graph in Markdown."""
    lines = [
        "| tissue | types known | of | share | residents in | absent | strangers out | strangers in |",
        "|---|--:|--:|--:|--:|---|--:|---|",
    ]
    for tissue, residents, strangers in TISSUES:
        found = row(graph, tissue, residents, strangers)
        lines.append(
            f"| {tissue} | {found.kept} | {found.types} | {found.kept / found.types:.1%} "
            f"| {found.residents - len(found.absent)} of {found.residents} | {', '.join(found.absent)} "
            f"| {len(strangers) - len(found.strangers)} of {len(strangers)} | {', '.join(found.strangers)} |"
        )
    return "\n".join(lines)


class Asked(NamedTuple):
    """One file asked with the types of one tissue preferred."""

    inside: float
    """Share of the cells whose best type is preferred."""
    units: list[Unit]
    """Of the sets that are answered."""
    sets: int


def answers(graph: Graph, data: Path) -> str:
    """What naming the right tissue and a wrong one does to the answers, in Markdown."""
    suite, found = Suite(graph), dict[float, list[Floats]]()
    kept, asked = list[int](), dict[str, list[Asked]]()
    organs = {tissue: types_of_tissue(graph, tissue) for tissue, _, _ in TISSUES}
    for block in blocks_of(graph, data, default_cache()):
        if block.study not in NAMED or block.mode not in MODES or block.species != "human":
            continue
        tissue, panel = NAMED[block.study], suite.panel(block)
        types = types_of_tissue(graph, tissue)
        kept.append(len(types))
        retriever = Retriever(graph, panel=panel, weights=suite.base.weights)
        queries = [make_query(panel, cell_set) for cell_set in suite.cell_sets(block)]
        for weight in WEIGHTS:
            retriever.preference = np.where(np.isin(retriever.nodes, types), 1.0, weight)
            found.setdefault(weight, []).append(_means(suite, block, retriever, queries))
        own = SAME_ORGAN.get(tissue, tissue)
        wrong = [("another organ", kinds) for organ, kinds in organs.items() if organ != own]
        for said, kinds in [("none", []), ("its own", types), *wrong]:
            preferred = np.isin(retriever.nodes, kinds) | (not kinds)
            retriever.preference = np.where(preferred, 1.0, NOT_PREFERRED)
            asked.setdefault(said, []).append(_asked(suite, block, retriever, queries, preferred))
    lines = [f"| weight of all others | {' | '.join(METRICS)} |", "|---|" + "--:|" * len(METRICS)]
    for weight, rows in found.items():
        cells = " | ".join(f"{v:.3f}" for v in np.nanmean(np.array(rows), axis=0))
        name = {0.0: "0: left out", 1.0: "1: no tissue named"}.get(weight, f"{weight:g}")
        lines.append(f"| {f'**{name}**' if weight == NOT_PREFERRED else name} | {cells} |")
    head = f"{len(kept)} files, {np.mean(kept):.0f} types known in their tissue on average:"
    return "\n".join([head, "", *lines, "", *_how_sure(asked)])


def _means(suite: Suite, block: Block, retriever: Retriever, queries: Sequence[GeneQuery]) -> Floats:
    """Means over the sets of a file of what its best candidates are worth."""
    labeller, said = Labeller(suite.ontology), []
    for query in queries:
        best = labeller.best(retriever.scored(query), 5)
        terms = tuple(suite.graph.ids[node] for node in retriever.nodes[best].tolist())
        said.append(Said(terms, next(iter(terms), "")))
    values = [unit.values for unit in suite.units(block, said, "", False)]
    return np.asarray(np.nanmean(np.array(values), axis=0), np.float64)


def _asked(
    suite: Suite,
    block: Block,
    retriever: Retriever,
    queries: Sequence[GeneQuery],
    preferred: npt.NDArray[np.bool_],
) -> Asked:
    """Answer the sets of a file as the product does."""
    kinds = {suite.graph.ids[node] for node in retriever.nodes[preferred].tolist()}
    said, inside = [], []
    for query, cells in zip(queries, block.n_cells, strict=True):
        known = None if block.mode in AVERAGES else cells
        decision = suite.open_labeller.decide(
            retriever.converge([query])[0], retriever.support(query), cells=known
        )
        ranked = tuple(c.curie for c in decision.candidates)
        said.append(Said(ranked, decision.curie, decision.confidence, decision.status))
        inside += [ranked[0] in kinds] * cells if ranked else []
    units = suite.units(block, said, "", False)
    return Asked(float(np.mean(inside)), [u for u in units if u.confidence > 0], len(units))


def _how_sure(asked: dict[str, list[Asked]]) -> Iterator[str]:
    """How sure the answers are, and how often the product asks whether the tissue is right."""
    yield "| tissue named | files asked about | sets answered | confidence | exact | relation | calibration error |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    exact, relation = METRICS.index("exact"), METRICS.index("relation")
    for said, files in asked.items():
        units = [unit for file in files for unit in file.units]
        sure, right = [u.confidence for u in units], [u.values[relation] for u in units]
        doubted = sum(file.inside < FITS for file in files)
        yield (
            f"| {said} | {'-' if said == 'none' else f'{doubted} of {len(files)}'} "
            f"| {len(units) / sum(file.sets for file in files):.3f} | {np.mean(sure):.3f} "
            f"| {np.nanmean([u.values[exact] for u in units]):.3f} | {np.mean(right):.3f} "
            f"| {expected_calibration_error(sure, right):.3f} |"
        )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tissues", description=__doc__)
    parser.add_argument(
        "-g", "--graph", type=Path, action="append", required=True, help="folder of a graph; repeatable"
    )
    parser.add_argument("--data", type=Path, help="folder with h5ad/ and profiles/: also compare answers")
    parser.add_argument("--output", type=Path, help="also write the page there")
    asked = parser.parse_args()
    text = f"# What a tissue prefers\n\n{__doc__}"
    for folder in asked.graph:
        graph = Graph.load(folder)
        profile = graph.manifest["parameters"].get("profile", "")
        text += f"\n## Profile {profile} ({graph.content_hash[:12]})\n\n{table(graph)}\n"
        if asked.data:
            text += f"\n{answers(graph, asked.data)}\n"
    sys.stdout.write(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
