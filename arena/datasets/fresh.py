"""The fresh set: samples made from the graph and from real cells by a seed, so that no model has seen them.

Another seed, or another release of the graph, gives another set; what was drawn is hashed into the run's
fingerprint. Generation comes from markers and definitions, perturbation direction from signed regulons,
questions from edges that cite a publication. A contestant that reads the same graph finds these answers in
it, and tables say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arena.datasets.lineages import CellTerms
from arena.datasets.real import labelled_cells, stimulated_cells
from arena.datasets.virtual_cell import Interaction, Question, VirtualCell, item_rng
from vckg.graph.graph import Graph

N_GENERATION, N_PERTURBATION, N_QUESTIONS = 60, 60, 80
"""Virtual cells drawn for each view of the graph."""
MIN_MARKERS, MAX_MARKERS = 12, 100
MIN_TARGETS, MAX_TARGETS = 4, 10
"""Targets of each direction that a regulator must have, and that one sample asks for at most."""
PANEL = 4
"""Marker genes in a question."""


def read_cells(graph: Graph, *, seed: int, mirrors: Sequence[Path] = ()) -> list[VirtualCell]:
    """Return all virtual cells of the fresh set."""
    terms = CellTerms(graph)
    return [
        *labelled_cells(terms, seed=seed, mirrors=mirrors),
        *stimulated_cells(terms, mirrors=mirrors),
        *marked_types(graph, terms, seed=seed),
        *regulons(graph, seed=seed),
        *questions(graph, seed=seed),
    ]


# ---- cell types with markers ------------------------------------------------------------------------------


class Support(NamedTuple):
    """How well an edge is supported, summed over its sources; greater is better."""

    n_sources: int
    n_publications: int
    evidence: int


def markers_of_types(graph: Graph) -> dict[int, list[int]]:
    """Marker genes of each cell type, the best supported first, ties by CURIE; node indices."""
    support: dict[int, dict[int, Support]] = defaultdict(dict)
    rows = graph.rows("is_marker_for")
    columns = (graph.subject, graph.object, graph.n_publications, graph.evidence_count)
    for gene, cell, publications, evidence in zip(*(c[rows].tolist() for c in columns), strict=True):
        had = support[cell].get(gene, Support(0, 0, 0))
        support[cell][gene] = Support(had[0] + 1, had[1] + publications, had[2] + evidence)
    return {
        cell: sorted(genes, key=lambda g: (*(-x for x in genes[g]), g))
        for cell, genes in sorted(support.items())
    }


def marked_types(graph: Graph, terms: CellTerms, *, seed: int) -> Iterator[VirtualCell]:
    """Yield cell types that have a definition and enough markers; the cell to generate."""
    markers = markers_of_types(graph)
    fit = [c for c, genes in markers.items() if len(genes) >= MIN_MARKERS and graph.node(c).description]
    for cell in drawn(fit, N_GENERATION, graph, seed, "generation"):
        node = graph.node(cell)
        term = terms.describe(node.id)
        yield VirtualCell(
            id=node.id,
            dataset="fresh",
            cell_type=node.name,
            cl_id=node.id,
            species="human",
            description=node.description,
            markers=tuple(graph.names[g] for g in markers[cell][:MAX_MARKERS]),
            lineage=term.lineage,
            cluster=term.parent,
            provenance={"graph": graph.content_hash, "seed": seed, "markers_known": len(markers[cell])},
        )


# ---- signed regulons --------------------------------------------------------------------------------------


def signed_targets(graph: Graph) -> dict[int, dict[int, int]]:
    """Sign of each target of each regulator; targets on whose sign the sources differ are left out."""
    signs: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    rows = graph.rows("regulates")
    for regulator, target, sign in zip(
        *(c[rows].tolist() for c in (graph.subject, graph.object, graph.sign)), strict=True
    ):
        if sign and regulator != target:
            signs[regulator][target].add(sign)
    return {
        regulator: {t: next(iter(s)) for t, s in sorted(targets.items()) if len(s) == 1}
        for regulator, targets in sorted(signs.items())
    }


def regulons(graph: Graph, *, seed: int) -> Iterator[VirtualCell]:
    """Yield regulators with targets of both directions; half of them, by seed, are knocked down."""
    signs = signed_targets(graph)

    def of(regulator: int, sign: int) -> list[int]:
        return [t for t, s in signs[regulator].items() if s == sign]

    fit = [r for r in signs if min(len(of(r, 1)), len(of(r, -1))) >= MIN_TARGETS]
    for regulator in drawn(fit, N_PERTURBATION, graph, seed, "perturbation"):
        rng = item_rng(seed, f"regulon\n{graph.ids[regulator]}")
        activated, repressed = (
            tuple(graph.names[t] for t in rng.permutation(of(regulator, s))[:MAX_TARGETS].tolist())
            for s in (1, -1)
        )
        knocked_down = bool(rng.random() < 0.5)
        yield VirtualCell(
            id=graph.ids[regulator],
            dataset="fresh",
            species="human",
            interactions=(
                Interaction(
                    regulators=(graph.names[regulator],),
                    effect="knockdown" if knocked_down else "activation",
                    up=repressed if knocked_down else activated,
                    down=activated if knocked_down else repressed,
                    provenance={"publications": publications_of(graph, regulator)[:20]},
                ),
            ),
            provenance={"graph": graph.content_hash, "seed": seed, "basis": "curated signed regulon"},
        )


def publications_of(graph: Graph, regulator: int) -> list[str]:
    """Publications of a regulator's signed edges, ascending."""
    rows = graph.out_edges(regulator, "regulates")
    return sorted({p for row in rows for p in graph.edge(int(row)).publications})


# ---- questions from edges that cite papers ----------------------------------------------------------------


def questions(graph: Graph, *, seed: int) -> Iterator[VirtualCell]:
    """Yield questions of three kinds, as many of each as there are facts with a publication."""
    makers = (marker_questions, regulation_questions, receptor_questions)
    for maker in makers:
        yield from maker(graph, seed, -(-N_QUESTIONS // len(makers)))


def marker_questions(graph: Graph, seed: int, n: int) -> Iterator[VirtualCell]:
    """Yield panels of markers that few other types share: which type is it?"""
    markers = markers_of_types(graph)
    shared: dict[int, int] = defaultdict(int)
    for genes in markers.values():
        for gene in genes:
            shared[gene] += 1
    cited = _cited(graph, "is_marker_for", by="object")
    fit = [c for c in markers if len(cited.get(c, {})) >= PANEL]
    for cell in drawn(fit, n, graph, seed, "qa markers"):
        genes = sorted(cited[cell], key=lambda g: (shared[g], g))[:PANEL]
        name, symbols = graph.names[cell], [graph.names[g] for g in genes]
        yield _question(
            graph,
            f"marker/{graph.ids[cell]}",
            seed,
            kind="Marker Reasoning",
            text=f"A group of human cells expresses {listed(symbols)}. Which cell type do published markers point "
            "to, and which of these genes speak for it?",
            claims=[f"The cell type is {name}", *(f"{s} is a published marker of {name}" for s in symbols)],
            rows=[cited[cell][g] for g in genes],
        )


def regulation_questions(graph: Graph, seed: int, n: int) -> Iterator[VirtualCell]:
    """Yield a regulator with one gene it activates and one it represses: in which direction does it act on
    each?
    """
    signs = signed_targets(graph)
    cited = _cited(graph, "regulates", by="subject")
    fit = []
    for regulator, targets in signs.items():
        known = [t for t in targets if t in cited.get(regulator, {})]
        if {targets[t] for t in known} == {1, -1}:
            fit.append(regulator)
    for regulator in drawn(fit, n, graph, seed, "qa regulation"):
        rng = item_rng(seed, f"question\n{graph.ids[regulator]}")
        known = [t for t in signs[regulator] if t in cited[regulator]]
        up, down = (int(rng.choice([t for t in known if signs[regulator][t] == s])) for s in (1, -1))
        name = graph.names[regulator]
        asked = [graph.names[t] for t in sorted((up, down), key=lambda t: graph.names[t])]
        yield _question(
            graph,
            f"regulation/{graph.ids[regulator]}",
            seed,
            kind="Gene Regulation",
            text=f"How does the transcription factor {name} act on {listed(asked)}: "
            "does it activate or repress each of them?",
            claims=[f"{name} activates {graph.names[up]}", f"{name} represses {graph.names[down]}"],
            rows=[cited[regulator][up], cited[regulator][down]],
        )


def receptor_questions(graph: Graph, seed: int, n: int) -> Iterator[VirtualCell]:
    """Yield ligands: by which receptors do neighbouring cells sense them?"""
    cited = _cited(graph, "ligand_receptor", by="subject")
    fit = [ligand for ligand, receptors in cited.items() if 1 <= len(receptors) <= 3]
    for ligand in drawn(fit, n, graph, seed, "qa receptors"):
        receptors = sorted(cited[ligand], key=lambda r: graph.names[r])
        name, symbols = graph.names[ligand], [graph.names[r] for r in receptors]
        yield _question(
            graph,
            f"receptor/{graph.ids[ligand]}",
            seed,
            kind="Cell-Environment Inference",
            text=f"A human cell secretes or presents {name}. Through which receptor or receptors do neighbouring "
            "cells sense it?",
            claims=[f"{name} is sensed through the receptor {s}" for s in symbols],
            rows=[cited[ligand][r] for r in receptors],
        )


def _cited(graph: Graph, relation: str, *, by: str) -> dict[int, dict[int, int]]:
    """Edge row with the most publications of each pair that has any: ``{by end: {other end: row}}``."""
    rows = graph.rows(relation)
    best: dict[int, dict[int, int]] = defaultdict(dict)
    for row in range(rows.start, rows.stop):
        if graph.n_publications[row]:
            ends = int(graph.subject[row]), int(graph.object[row])
            here, there = ends if by == "subject" else ends[::-1]
            had = best[here].get(there)
            if had is None or graph.n_publications[row] > graph.n_publications[had]:
                best[here][there] = row
    return dict(sorted(best.items()))


def _question(
    graph: Graph, item: str, seed: int, *, kind: str, text: str, claims: Sequence[str], rows: Sequence[int]
) -> VirtualCell:
    edges = [graph.edge(row) for row in rows]
    name = {curie: graph.names[graph.index(curie)] for e in edges for curie in (e.subject, e.object)}
    verbs = {1: "activates", -1: "represses"}
    facts = [
        f"{name[e.subject]} {verbs.get(e.sign, e.relation.replace('_', ' '))} {name[e.object]} "
        f"({e.source}; {', '.join(e.publications[:3])})."
        for e in edges
    ]
    publications = list(dict.fromkeys(p for e in edges for p in e.publications[:3]))
    question = Question(
        kind=kind,
        text=text,
        answer=". ".join(claims) + ".",
        claims=tuple(claims),
        passage=" ".join(facts),
        publications=tuple(publications),
        provenance={"edges": [[e.subject, e.relation, e.object, e.source] for e in edges]},
    )
    return VirtualCell(
        id=item,
        dataset="fresh",
        species="human",
        questions=(question,),
        provenance={"graph": graph.content_hash, "seed": seed},
    )


def drawn(nodes: Sequence[int], n: int, graph: Graph, seed: int, what: str) -> list[int]:
    """Draw at most `n` of the nodes by seed and graph; ascending."""
    rng = item_rng(seed, f"{what}\n{graph.content_hash}")
    chosen = rng.permutation(np.array(sorted(nodes), dtype=np.int64))[:n]
    return sorted(int(i) for i in chosen)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them, e.g. "A, B and C"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
