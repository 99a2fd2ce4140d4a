"""What ``--tissue`` leaves: ``python -m benchmarks.tissues -g GRAPH [-g GRAPH] [--output FILE]``.

For ten tissues: how many cell types stay, and whether types that live there are among them and types that live
elsewhere are not. The two lists were written from textbooks, not from the graph.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gather.retrieval.candidates import candidates_of_tissue
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


class Row(NamedTuple):
    """One tissue on one graph."""

    tissue: str
    kept: int
    types: int
    """Cell types of the whole graph."""
    residents: int
    absent: list[str]
    """Residents that are not kept."""
    strangers: list[str]
    """Strangers that are kept."""


def row(graph: Graph, tissue: str, residents: Sequence[str], strangers: Sequence[str]) -> Row:
    """Count what one tissue leaves."""
    kept = {graph.names[i] for i in candidates_of_tissue(graph, tissue)}
    absent = [name for name in residents if name not in kept]
    inside = [name for name in strangers if name in kept]
    return Row(tissue, len(kept), graph.nodes_of("Cell").size, len(residents), absent, inside)


def table(graph: Graph) -> str:
    """The table of a graph in Markdown."""
    lines = [
        "| tissue | types kept | of | share | residents in | absent | strangers out | strangers in |",
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


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tissues", description=__doc__)
    parser.add_argument(
        "-g", "--graph", type=Path, action="append", required=True, help="folder of a graph; repeatable"
    )
    parser.add_argument("--output", type=Path, help="also write the page there")
    asked = parser.parse_args()
    text = f"# What a tissue leaves\n\n{__doc__}"
    for folder in asked.graph:
        graph = Graph.load(folder)
        profile = graph.manifest["parameters"].get("profile", "")
        text += f"\n## Profile {profile} ({graph.content_hash[:12]})\n\n{table(graph)}\n"
    sys.stdout.write(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
