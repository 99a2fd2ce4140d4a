"""Tools that need the graph only: node, edge, path, cite, and the explanation of genes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gather.mcp.claims import Claim, claim_of, claims_of, edge_of, sources_of
from gather.mcp.session import Session
from gather.retrieval.edges import edge_refs
from vckg.base.errors import InputError
from vckg.base.words import plain
from vckg.graph.schema import RELATION_NAMES
from vckg.printers.node import find
from vckg.printers.paths import shortest_walks

Name = Annotated[str, Field(min_length=1, max_length=200)]
Target = Literal["Cell", "BiologicalProcess", "Pathway", "AnatomicalEntity", "Disease", "GeneSet"]


class Arguments(BaseModel):
    """Arguments of a tool: no other names, no other types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer; `graph` is the hash of the graph it stands on, `left_out` counts entries over the limit."""

    graph: str
    left_out: int = 0


class NodeArguments(Arguments):
    """A node by CURIE, gene symbol or label."""

    name: Name


class NodeAnswer(Answer):
    """A node, the numbers of its edges, and its best attested claims."""

    id: str
    name: str
    category: str
    description: str
    synonyms: list[str]
    edges: dict[str, int]
    claims: list[Claim]


def node(session: Session, asked: NodeArguments) -> NodeAnswer:
    """Show a gene, cell type, process or disease: what it is, how many edges of each relation, the best claims."""
    graph = session.graph
    index = find(graph, asked.name)
    entry = graph.node(index)
    rows = np.concatenate([graph.out_edges(index), graph.in_edges(index)])
    codes, counts = np.unique(graph.relation[rows], return_counts=True)
    best = rows[np.lexsort((rows, -graph.evidence_count[rows], -graph.n_publications[rows]))][:8]
    return NodeAnswer(
        graph=graph.content_hash,
        id=entry.id,
        name=plain(entry.name),
        category=entry.category,
        description=plain(entry.description, 400),
        synonyms=[plain(text) for text in entry.synonyms[:8]],
        edges={RELATION_NAMES[c]: n for c, n in zip(codes.tolist(), counts.tolist(), strict=True)},
        claims=[claim_of(edge) for edge in edge_refs(graph, best)],
    )


class EdgeArguments(Arguments):
    """An evidence id that a tool answered."""

    id: Annotated[str, Field(min_length=1, max_length=400)]


class EdgeAnswer(Answer):
    """One edge with its whole provenance."""

    claim: Claim
    subject_id: str
    object_id: str
    sign: Literal[-1, 0, 1]
    evidence_rows: int
    evidence: list[str]
    tissues: list[str]
    knowledge_level: str
    agent_type: str
    publications: list[str]


def edge(session: Session, asked: EdgeArguments) -> EdgeAnswer:
    """Show what stands behind an evidence id: source, licence, kind of knowledge, publications, tissues."""
    graph, row = edge_of(session.graph, asked.id)
    entry = graph.edge(row)
    return EdgeAnswer(
        graph=session.graph.content_hash,
        claim=claim_of(edge_refs(graph, np.array([row]))[0]),
        subject_id=entry.subject,
        object_id=entry.object,
        sign=entry.sign,  # type: ignore[arg-type]
        evidence_rows=entry.evidence_count,
        evidence=[plain(text) for text in entry.evidence[:10]],
        tissues=[plain(text) for text in entry.tissues[:10]],
        knowledge_level=entry.knowledge_level,
        agent_type=entry.agent_type,
        publications=list(entry.publications[:50]),
    )


class PathArguments(Arguments):
    """Two nodes by CURIE, gene symbol or label."""

    start: Name
    end: Name
    limit: Annotated[int, Field(ge=1, le=10)] = 3


class PathAnswer(Answer):
    """The shortest walks; each is its claims in order."""

    walks: list[list[Claim]]


def path(session: Session, asked: PathArguments) -> PathAnswer:
    """Find the shortest walks between two nodes, each step with its evidence id."""
    graph = session.graph
    start, end = find(graph, asked.start), find(graph, asked.end)
    if start == end:
        raise InputError(f"{plain(asked.start)!r} and {plain(asked.end)!r} are one node, {graph.ids[start]}")
    walks = shortest_walks(graph, start, end, asked.limit)
    steps = [[claim_of(edge_refs(graph, np.array([row]))[0]) for row, _ in walk] for walk in walks]
    return PathAnswer(graph=graph.content_hash, walks=steps)


class CiteArguments(Arguments):
    """Evidence ids that tools answered; none asks for the sources of the graph."""

    ids: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=30)] = []


class CiteAnswer(Answer):
    """What to cite: sources with release, licence and citation, and the publications behind the claims."""

    sources: list[dict[str, Any]]
    publications: list[str]


def cite(session: Session, asked: CiteArguments) -> CiteAnswer:
    """Say what to cite for evidence ids: the sources with licence and citation, and the publications."""
    graph = session.graph
    edges = [seen.edge(row) for seen, row in (edge_of(graph, name) for name in asked.ids)]
    names = [e.source for e in edges] or [n for n in graph.manifest["sources"] if ":" not in n]
    papers = dict.fromkeys(p for e in edges for p in e.publications)
    return CiteAnswer(
        graph=graph.content_hash, sources=sources_of(graph, names), publications=list(papers)[:200]
    )


class ExplainArguments(Arguments):
    """Gene symbols or ids, best first."""

    genes: Annotated[list[Name], Field(min_length=1, max_length=200)]
    target: Target = "Cell"
    top: Annotated[int, Field(ge=1, le=5)] = 3


class Support(BaseModel):
    """A gene's share of the score of a node, and the claims behind it."""

    gene: str
    share: float
    claims: list[Claim]


class Meeting(BaseModel):
    """A node where the genes meet."""

    id: str
    name: str
    score: float
    fdr: float
    n_genes: int
    genes: list[Support]


class ExplainAnswer(Answer):
    """The best nodes, and genes that are unknown or ambiguous."""

    nodes: list[Meeting]
    unknown: list[str]
    ambiguous: list[str]


def explain(session: Session, asked: ExplainArguments) -> ExplainAnswer:
    """Say which cell types (or processes, diseases) a list of marker genes speaks for, gene by gene."""
    from gather.labelling.explain import explain as explain_genes

    graph = session.graph
    answer = explain_genes(asked.genes, graph=graph, target=asked.target, top=asked.top)
    return ExplainAnswer(
        graph=graph.content_hash,
        nodes=[
            Meeting(
                id=item.curie,
                name=plain(item.name),
                score=round(item.score, 4),
                fdr=float(f"{item.fdr:.2g}"),
                n_genes=item.n_genes,
                genes=supports(item)[:5],
            )
            for item in answer.items
        ],
        unknown=[plain(name) for name in answer.query.ungrounded[:20]],
        ambiguous=[plain(name) for name in answer.query.ambiguous[:20]],
    )


def supports(item: Any, claims: int = 1) -> list[Support]:
    """Return the genes of an evidence item whose walks are kept, best first, with the claims of the first step."""
    steps = {walk.gene: walk.steps[0] for walk in item.walks if walk.hops == 1}
    return [
        Support(
            gene=plain(gene.symbol),
            share=float(f"{gene.contribution:.3g}"),
            claims=claims_of(steps[gene.curie], claims),
        )
        for gene in item.genes
        if gene.curie in steps
    ]
