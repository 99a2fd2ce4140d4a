"""Think-on-Graph 2.0: graph and text in turns, one relation call a depth (Ma et al., ICLR 2025).

The model prunes the topic entities once and, at each depth, the relations of all entities in one call.
Neighbours are not shown to it: they are ranked by their texts. BM25, one of the paper's rankers, stands
for its dense default; the texts are the descriptions of the graph's nodes. The self-consistency gate is
left out: at temperature 0 all of its samples agree, and it would always skip the graph.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from gather.benchmark.baselines.graph_view import GraphView, Hop, triple
from gather.benchmark.baselines.interface import Dialogue, Outcome
from gather.benchmark.baselines.ranking import best_first, bm25


@dataclass(frozen=True, slots=True)
class Settings:
    """The paper's values; `most_neighbours` of a relation are ranked, chosen at random if more."""

    width: int = 3
    depth: int = 3
    least_score: float = 0.2
    sentences: int = 10
    topic_paragraphs: int = 3
    decay: float = 0.8
    most_neighbours: int = 100


@dataclass(frozen=True, slots=True)
class _Step:
    node: int
    hop: Hop
    other: int


def calls_at_most(seeds: int) -> int:
    """``1 + 2D + 1``, without the first for two seeds or fewer."""
    return (1 if seeds > 2 else 0) + 2 * Settings().depth + 1


def answer(talk: Dialogue, kg: GraphView, settings: Settings = Settings()) -> Outcome:
    """Answer a question by Think-on-Graph 2.0.

    A misread choice of topics keeps them all; a misread choice of relations ends the exploration.
    """
    rng = np.random.default_rng(talk.question.seed)
    frontier = _topics(talk, kg)
    query = talk.question.text
    pool = _best_sentences([kg.text(node) for node in frontier], query, settings.topic_paragraphs)
    for _ in range(settings.depth):
        kept = _relations(talk, kg, settings, frontier)
        steps = _expand(kg, settings, rng, kept)
        if not steps:
            return talk.answer([*talk.evidence, *pool], stopped="half_stop")
        texts = [kg.text(step.other) for step in steps]
        steps = _best_entities(steps, bm25(query, texts), settings)
        talk.evidence += [str(triple(kg, step.node, step.hop, step.other)) for step in steps]
        pool = _best_sentences([*pool, *texts], query, settings.sentences)
        reply = talk.try_to_answer(talk.evidence, "tog2-enough", also="clue", sentences="\n".join(pool))
        if reply["curie"] is not None:
            return talk.outcome(reply["curie"], stopped="sufficient")
        query = f"{talk.question.text} {reply.get('clue') or ''}"
        frontier = list(dict.fromkeys(step.other for step in steps))
    return talk.answer([*talk.evidence, *pool], stopped="depth")


def _topics(talk: Dialogue, kg: GraphView) -> list[int]:
    topics = list(talk.question.topics)
    if len(topics) <= 2:
        return topics
    picked = talk.pick("tog2-topics", [kg.name(node) for node in topics], scored=False)
    return [topics[position] for position in sorted(position for position, _ in picked)] or topics


def _relations(
    talk: Dialogue, kg: GraphView, settings: Settings, frontier: list[int]
) -> list[tuple[int, Hop]]:
    """The relations kept of all entities; one call."""
    offered = [(node, hop) for node in frontier for hop in kg.hops(node)]
    if not offered:
        return []
    options = [f"{kg.name(node)} {hop}" for node, hop in offered]
    kept: dict[int, list[Hop]] = {}
    for position, score in talk.pick("tog2-relations", options, scored=True, width=str(settings.width)):
        node, hop = offered[position]
        if score >= settings.least_score and len(kept.setdefault(node, [])) < settings.width:
            kept[node].append(hop)
    return [(node, hop) for node, hops in kept.items() for hop in hops]


def _expand(
    kg: GraphView, settings: Settings, rng: np.random.Generator, kept: list[tuple[int, Hop]]
) -> list[_Step]:
    steps = []
    for node, hop in kept:
        others = kg.neighbours(node, hop)
        if len(others) > settings.most_neighbours:
            others = sorted(rng.choice(others, size=settings.most_neighbours, replace=False).tolist())
        steps += [_Step(node, hop, other) for other in others]
    return steps


def _best_entities(steps: list[_Step], scores: list[float], settings: Settings) -> list[_Step]:
    """The W entities whose texts rank best: sum over an entity's texts of score x exp(-0.8 rank)."""
    worth: dict[int, float] = {}
    first: dict[int, _Step] = {}
    for rank, position in enumerate(best_first(scores)[: settings.sentences]):
        step = steps[position]
        first.setdefault(step.other, step)
        share = scores[position] * math.exp(-settings.decay * rank)
        worth[step.other] = worth.get(step.other, 0.0) + share
    return [first[node] for node in sorted(worth, key=lambda node: (-worth[node], node))[: settings.width]]


def _best_sentences(texts: list[str], query: str, most: int) -> list[str]:
    """The sentences nearest to a query, best first, each once."""
    sentences = list(dict.fromkeys(s for text in texts for s in re.split(r"(?<=[.!?])\s+", text) if s))
    scores = bm25(query, sentences)
    return [sentences[position] for position in best_first(scores)[:most]]
