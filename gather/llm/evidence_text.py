"""Render evidence as text for a prompt, the best item first, within a budget of tokens.

Five kinds allow a test of the method's claim at equal length: ``convergence`` (nodes where query genes meet, each
with its genes), ``unranked`` (the same nodes without the order and scores of retrieval), ``paths`` (single walks, as
multi-hop retrieval lists them), ``both`` and ``neither``. Names from files and sources are cut, and lose the marks
that prompts use. The name of the cell set is never printed, because it may hold the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

from gather.annotation import Annotation, EvidenceItem, Walk, sources_in_words
from gather.llm.base import estimate_tokens
from vckg.base.words import plain

EvidenceKind = Literal["both", "convergence", "unranked", "paths", "neither"]
KINDS: tuple[EvidenceKind, ...] = get_args(EvidenceKind)

_MOST_GENES = 12
_MOST_WALKS = 2
_LONGEST_NAME = 120
_MARKS = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})


def in_prompt(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name as one short line without the marks that prompts use and without invisible characters."""
    return plain(text.translate(_MARKS), longest)


def evidence_text(
    annotation: Annotation,
    *,
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
) -> str:
    """Return the evidence of one cell set, best first (``unranked``: by id), one item a line.

    Parameters
    ----------
    budget_tokens
        Most estimated tokens of the text. The first line that does not fit ends it, so that the text is a
        beginning of the ranking.
    most_items
        Most lines, for comparisons at equal numbers of items.
    """
    if kind == "unranked":
        fits = evidence_text(
            annotation, kind="convergence", budget_tokens=budget_tokens, most_items=most_items
        )
        items = list(_by_turns(annotation.evidence, annotation.convergence))[: len(fits.splitlines())]
        items.sort(key=lambda item: item.curie)
        return "\n".join(_unranked(f"E{number}", item) for number, item in enumerate(items, start=1))
    lines: list[str] = []
    left = budget_tokens
    for line in _lines(annotation, kind):
        left -= estimate_tokens(line + "\n")
        if left < 0 or len(lines) == most_items:
            break
        lines.append(line)
    return "\n".join(lines)


def _lines(annotation: Annotation, kind: EvidenceKind) -> Iterator[str]:
    if kind == "neither":
        return
    items = list(_by_turns(annotation.evidence, annotation.convergence))
    if kind == "paths":
        walk_of: dict[tuple[str, ...], tuple[Walk, str]] = {}
        for item in items:
            for walk in item.walks:
                walk_of.setdefault(walk.nodes, (walk, item.id))
        for nodes in sorted(walk_of, key=lambda nodes: (-walk_of[nodes][0].weight, nodes)):
            walk, item_id = walk_of[nodes]
            yield f"[{item_id}] {_walk(walk)}"
        return
    for item in items:
        yield _item(item, walks=_MOST_WALKS if kind == "both" else 0)


def _by_turns(candidates: Iterable[EvidenceItem], others: Iterable[EvidenceItem]) -> Iterator[EvidenceItem]:
    """Yield two candidates, then one convergence node of another category, and so on."""
    first, second = iter(candidates), iter(others)
    while turn := [item for source in (first, first, second) if (item := next(source, None)) is not None]:
        yield from turn


def _genes(item: EvidenceItem) -> str:
    genes = ", ".join(in_prompt(gene.symbol) for gene in item.genes[:_MOST_GENES])
    more = f" and {item.n_genes - _MOST_GENES} more" if item.n_genes > _MOST_GENES else ""
    return f"{item.n_genes} genes: {genes}{more}"


def _unranked(number: str, item: EvidenceItem) -> str:
    return f"[{number}] {item.category}: {in_prompt(item.name)} ({item.curie}); {_genes(item)}"


def _item(item: EvidenceItem, *, walks: int) -> str:
    line = f"[{item.id}] {item.category}: {in_prompt(item.name)} ({item.curie}), score {item.score:.3g}, "
    line += f"FDR {item.fdr:.1e}; {_genes(item)}"
    shown = "; ".join(_walk(walk) for walk in item.walks[:walks])
    return f"{line}; walks: {shown}" if shown else line


def _walk(walk: Walk) -> str:
    """Return one walk, e.g. ``CD3D -is_marker_for-> T cell (3 sources)``; arrows follow the direction of edges."""
    text = in_prompt(walk.names[0])
    for step, parallel in enumerate(walk.steps):
        best = parallel[0]
        forwards = best.subject == walk.nodes[step]
        arrow = f"-{best.relation}->" if forwards else f"<-{best.relation}-"
        text += f" {arrow} {in_prompt(walk.names[step + 1])}"
        if len({edge.source for edge in parallel}) > 1 or best.orthologue:
            text += f" ({sources_in_words(parallel)})"
    return text
