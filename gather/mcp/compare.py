"""The tool that compares two cell types: which genes separate them, and what a file says about those genes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from gather.cells.adata import cell_groups, check_groupby
from gather.cells.expression import Expression, detection, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO
from gather.mcp.claims import Claim, claims_of
from gather.mcp.file_tools import Column, FileName
from gather.mcp.graph_tools import Answer, Arguments, Name
from gather.mcp.session import Session
from gather.retrieval.edges import edges_between
from vckg.base.errors import InputError, did_you_mean
from vckg.base.words import plain
from vckg.graph.graph import Graph
from vckg.printers.node import find

SHOWN, WEIGHED, NAMED = 5, 15, 15
"""Genes of a type that are shown, that its mean is taken over, and that are named as not measured."""
MARKER = "is_marker_for"


class CompareArguments(Arguments):
    """Two cell types by CURIE or label; a file, and one of its cell sets, say what was measured and where."""

    a: Name
    b: Name
    file: FileName | None = None
    groupby: Column = AUTO
    cell_set: Name | None = None


class SeparatingGene(BaseModel):
    """A marker of one type that fewer sources, or none, call a marker of the other.

    `in_set` and `in_rest` are the shares of the cells of the set, and of the other cells, that express it.
    """

    gene: str
    id: str
    sources_for: int
    sources_for_other: int
    in_set: float | None = None
    in_rest: float | None = None
    claims: list[Claim]


class TypeSide(BaseModel):
    """One of the two types. `mean_difference` is the mean of in_set - in_rest over its 15 best measured genes."""

    id: str
    name: str
    n_separating: int
    n_measured: int | None
    mean_difference: float | None
    genes: list[SeparatingGene]
    not_measured: list[str]


class CompareAnswer(Answer):
    """Genes for either type. Markers are direct ones; those of kinds of a type are not counted."""

    a: TypeSide
    b: TypeSide


def compare(session: Session, asked: CompareArguments) -> CompareAnswer:
    """Say which genes separate two cell types, which of them a file measured, and where a cell set expresses them."""
    graph = session.graph
    nodes = [find(graph, name) for name in (asked.a, asked.b)]
    for node, name in zip(nodes, (asked.a, asked.b), strict=True):
        if graph.node(node).category != "Cell":
            raise InputError(f"{plain(name)!r} is a {graph.node(node).category}; give a cell type")
    if nodes[0] == nodes[1]:
        raise InputError(f"both names mean {graph.ids[nodes[0]]}; give two cell types")
    if asked.cell_set is not None and asked.file is None:
        raise InputError("cell_set is a set of a file; give its file")
    seen, shares = (graph, None) if asked.file is None else _shares(session, asked)
    a, b = nodes
    return CompareAnswer(graph=graph.content_hash, a=_side(seen, a, b, shares), b=_side(seen, b, a, shares))


Shares = dict[int, tuple[float | None, float | None]]
"""Of each measured gene node: the shares of the cells of the set, and of the others, that express it."""


def _shares(session: Session, asked: CompareArguments) -> tuple[Graph, Shares]:
    """Return the graph of the file's species, which has the nodes of `Session.graph`, and the shares of its genes."""
    assert asked.file is not None

    def make(path: Path) -> tuple[Expression, npt.NDArray[np.object_] | None]:
        adata = open_h5ad(path)
        expression = read_expression(adata, session.graph)
        if asked.cell_set is None:
            return expression, None
        check_groupby(adata, asked.groupby)
        return expression, cell_groups(adata, expression, asked.groupby, 0)

    what = ("expression", asked.groupby if asked.cell_set is not None else None)
    expression, groups = session.of_file(asked.file, what, make)
    nodes = expression.panel.nodes.tolist()
    if groups is None:
        return expression.graph, {node: (None, None) for node in nodes if node >= 0}
    inside = groups == asked.cell_set
    if not inside.any():
        names = sorted({str(g) for g in groups if g})
        raise InputError(
            f"no cell set {plain(str(asked.cell_set))!r}{did_you_mean(str(asked.cell_set), names)}"
        )
    of_set, of_rest = detection(expression.matrix[inside]), detection(expression.matrix[~inside])
    shares: Shares = {
        node: (float(of_set[i]), float(of_rest[i])) for i, node in enumerate(nodes) if node >= 0
    }
    return expression.graph, shares


def _sources(graph: Graph, node: int) -> dict[int, int]:
    """Count the sources that call each gene a marker of a cell type."""
    rows = graph.in_edges(node, MARKER)
    pairs = np.unique(np.column_stack([graph.subject[rows], graph.source[rows]]), axis=0)
    genes, counts = np.unique(pairs[:, 0], return_counts=True)
    return dict(zip(genes.tolist(), counts.tolist(), strict=True))


def _side(graph: Graph, node: int, other: int, shares: Shares | None) -> TypeSide:
    own, others = _sources(graph, node), _sources(graph, other)
    separating = [gene for gene, n in own.items() if n > others.get(gene, 0)]
    separating.sort(key=lambda gene: (others.get(gene, 0) - own[gene], gene))
    measured = separating if shares is None else [gene for gene in separating if gene in shares]
    genes = []
    for gene in measured[:SHOWN]:
        in_set, in_rest = (None, None) if shares is None else shares[gene]
        genes.append(
            SeparatingGene(
                gene=plain(graph.names[gene]),
                id=graph.ids[gene],
                sources_for=own[gene],
                sources_for_other=others.get(gene, 0),
                in_set=None if in_set is None else round(in_set, 3),
                in_rest=None if in_rest is None else round(in_rest, 3),
                claims=claims_of(edges_between(graph, gene, node, relations=(MARKER,)), 1),
            )
        )
    known = [] if shares is None else [shares[gene] for gene in measured[:WEIGHED]]
    differences = [inside - rest for inside, rest in known if inside is not None and rest is not None]
    absent = [] if shares is None else [gene for gene in separating[:50] if gene not in shares]
    return TypeSide(
        id=graph.ids[node],
        name=plain(graph.names[node]),
        n_separating=len(separating),
        n_measured=None if shares is None else len(measured),
        mean_difference=round(float(np.mean(differences)), 3) if differences else None,
        genes=genes,
        not_measured=[plain(graph.names[gene]) for gene in absent[:NAMED]],
    )
