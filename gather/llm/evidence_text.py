"""Evidence as text for a prompt, the best item first, within a budget of tokens.

Four kinds, so that the claim of the method can be tested at equal length: ``convergence`` (the nodes
where query genes meet, each with its genes), ``paths`` (the single walks, as multi-hop retrieval lists
them), ``both`` and ``neither``. Names come from files and from the graph's sources: they are cut and
stripped of what could be mistaken for the prompt's own marks. The name of the cell set is never
printed; it may give the truth away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

from gather.annotation import Annotation, EvidenceItem, Walk
from gather.llm.base import estimate_tokens

EvidenceKind = Literal["both", "convergence", "paths", "neither"]
KINDS: tuple[EvidenceKind, ...] = get_args(EvidenceKind)

_MOST_GENES = 12
_MOST_WALKS = 2
_LONGEST_NAME = 120
_MARKS = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def plain(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name as one short line without the marks that prompts use and without invisible characters."""
    line = " ".join(_UNPRINTABLE.sub(" ", text).translate(_MARKS).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def evidence_text(
    annotation: Annotation,
    *,
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
) -> str:
    """Return the evidence of one cell set, best first, one item a line.

    Parameters
    ----------
    budget_tokens
        Estimated tokens that the text may have; lines that no longer fit are left out, shorter later
        ones too, so that the order stays that of the ranking.
    most_items
        Lines at most; for comparisons at equal numbers of items.
    """
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
        found: dict[tuple[str, ...], tuple[Walk, str]] = {}
        for item in items:
            for walk in item.walks:
                found.setdefault(walk.nodes, (walk, item.id))
        for nodes in sorted(found, key=lambda nodes: (-found[nodes][0].weight, nodes)):
            walk, item_id = found[nodes]
            yield f"[{item_id}] {_walk(walk)}"
        return
    for item in items:
        yield _item(item, walks=_MOST_WALKS if kind == "both" else 0)


def _by_turns(candidates: Iterable[EvidenceItem], others: Iterable[EvidenceItem]) -> Iterator[EvidenceItem]:
    """Two candidates, then one convergence node of another category, and so on."""
    first, second = iter(candidates), iter(others)
    while turn := [item for source in (first, first, second) if (item := next(source, None)) is not None]:
        yield from turn


def _item(item: EvidenceItem, *, walks: int) -> str:
    genes = ", ".join(plain(gene.symbol) for gene in item.genes[:_MOST_GENES])
    more = f" and {item.n_genes - _MOST_GENES} more" if item.n_genes > _MOST_GENES else ""
    line = f"[{item.id}] {item.category}: {plain(item.name)} ({item.curie}), score {item.score:.3g}, "
    line += f"FDR {item.fdr:.1e}; {item.n_genes} genes: {genes}{more}"
    shown = "; ".join(_walk(walk) for walk in item.walks[:walks])
    return f"{line}; walks: {shown}" if shown else line


def _walk(walk: Walk) -> str:
    """One walk, e.g. ``CD3D -is_marker_for-> T cell (3 sources)``; an arrow points as the edge does."""
    text = plain(walk.names[0])
    for at, parallel in enumerate(walk.steps):
        best = parallel[0]
        forwards = best.subject == walk.nodes[at]
        arrow = f"-{best.relation}->" if forwards else f"<-{best.relation}-"
        sources = len({edge.source for edge in parallel})
        text += f" {arrow} {plain(walk.names[at + 1])}"
        if sources > 1:
            text += f" ({sources} sources)"
    return text
