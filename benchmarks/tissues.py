"""What ``--tissue`` prefers: ``python -m benchmarks.tissues -g GRAPH [-g GRAPH] [--data MIRROR] [--output FILE]``.

For ten tissues: how many cell types are known there, and whether types that live there are among them and types that
live elsewhere are not. The two lists were written from textbooks, not from the graph. With the data folder also what
naming the tissue does to the answers of the development suite, best candidate, means over files. ``--tissue`` counts
the scores of all other types by `gather.retrieval.scores.NOT_PREFERRED`. That number was chosen on these files, among
those of the table; 0 leaves out all other types, 1 is no tissue.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gather.benchmark.suite import METRICS, Floats, Said, Suite
from gather.benchmark.suite_data import suite as blocks_of
from gather.labelling.decide import Labeller
from gather.retrieval.candidates import types_of_tissue
from gather.retrieval.query import make_query
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


def answers(graph: Graph, data: Path) -> str:
    """What naming the tissue does to the answers by the weight of all other types, in Markdown."""
    suite, found = Suite(graph), dict[float, list[Floats]]()
    kept = []
    for block in blocks_of(graph, data, default_cache()):
        if block.study not in NAMED or block.mode not in MODES or block.species != "human":
            continue
        types, panel = types_of_tissue(graph, NAMED[block.study]), suite.panel(block)
        kept.append(len(types))
        retriever = Retriever(graph, panel=panel, weights=suite.base.weights)
        inside, labeller = np.isin(retriever.nodes, types), Labeller(suite.ontology)
        queries = [make_query(panel, cell_set) for cell_set in suite.cell_sets(block)]
        for weight in WEIGHTS:
            retriever.preference, said = np.where(inside, 1.0, weight), []
            for query in queries:
                best = labeller.best(retriever.scored(query), 5)
                terms = tuple(graph.ids[node] for node in retriever.nodes[best].tolist())
                said.append(Said(terms, next(iter(terms), "")))
            values = [unit.values for unit in suite.units(block, said, "", False)]
            found.setdefault(weight, []).append(np.nanmean(np.array(values), axis=0))
    lines = [
        f"| weight of all others | {' | '.join(METRICS)} |",
        "|---|" + "--:|" * len(METRICS),
    ]
    for weight, rows in found.items():
        cells = " | ".join(f"{v:.3f}" for v in np.nanmean(np.array(rows), axis=0))
        name = {0.0: "0: left out", 1.0: "1: no tissue named"}.get(weight, f"{weight:g}")
        lines.append(f"| {f'**{name}**' if weight == NOT_PREFERRED else name} | {cells} |")
    return f"{len(kept)} files, {np.mean(kept):.0f} types known in their tissue on average:\n\n" + "\n".join(
        lines
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
