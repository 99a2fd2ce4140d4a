"""Think-on-Graph: a beam of triples that the model prunes relation by relation (Sun et al., ICLR 2024).

At each depth the model scores the relations of every topic entity, then the neighbours behind every
relation it kept. The best triples form the beam, and the model says whether they are enough. Where
after the last depth they are not, the answer comes from the collected triples, as in the paper (its
code answers without them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gather.benchmark.baselines.graph_view import GraphView, Hop, triple
from gather.benchmark.baselines.interface import Dialogue, Outcome


@dataclass(frozen=True, slots=True)
class Settings:
    """The paper's width and depth; more than `most_neighbours` are cut to a random `sample`."""

    width: int = 3
    depth: int = 3
    most_neighbours: int = 20
    sample: int = 5


@dataclass(frozen=True, slots=True)
class _Step:
    score: float
    node: int
    hop: Hop
    other: int


def calls_at_most(seeds: int, settings: Settings = Settings()) -> int:
    """``N(1+W)+1 + (D-1)(W(1+W)+1) + 1``: every entity asked for relations, every relation for entities."""
    first = seeds * (1 + settings.width) + 1
    return first + (settings.depth - 1) * (settings.width * (1 + settings.width) + 1) + 1


def answer(talk: Dialogue, kg: GraphView, settings: Settings = Settings()) -> Outcome:
    """Answer a question by Think-on-Graph.

    A misread choice of relations leaves its entity without any; misread scores of entities count as
    equal ones. Entities without a relation, and single neighbours, cost no call.
    """
    rng = np.random.default_rng(talk.question.seed)
    frontier: Sequence[tuple[int, Hop | None]] = [(node, None) for node in talk.question.topics]
    for _ in range(settings.depth):
        steps = [
            step
            for node, came_by in frontier
            for hop, score in _relations(talk, kg, settings, node, came_by)
            for step in _entities(talk, kg, settings, rng, node, hop, score)
        ]
        if not steps:
            return talk.answer(talk.evidence, stopped="half_stop")
        steps.sort(key=lambda step: (-step.score, step.node, step.hop, step.other))
        kept = [step for step in steps[: settings.width] if step.score > 0]
        if not kept:
            return talk.answer(talk.evidence, stopped="half_stop")
        talk.evidence += [str(triple(kg, step.node, step.hop, step.other)) for step in kept]
        curie = talk.try_to_answer(talk.evidence)["curie"]
        if curie is not None:
            return talk.outcome(curie, stopped="sufficient")
        arrived: dict[int, Hop] = {}
        for step in kept:
            arrived.setdefault(step.other, step.hop)
        frontier = list(arrived.items())
    return talk.answer(talk.evidence, stopped="depth")


def _relations(
    talk: Dialogue, kg: GraphView, settings: Settings, node: int, came_by: Hop | None
) -> list[tuple[Hop, float]]:
    """The relations kept at a node, without the way back; one call."""
    hops = [hop for hop in kg.hops(node) if came_by is None or hop != came_by.back]
    if not hops:
        return []
    picked = talk.pick(
        "tog-relations", [str(h) for h in hops], scored=True, entity=kg.name(node), width=str(settings.width)
    )
    return [(hops[position], score) for position, score in picked[: settings.width]]


def _entities(
    talk: Dialogue,
    kg: GraphView,
    settings: Settings,
    rng: np.random.Generator,
    node: int,
    hop: Hop,
    score: float,
) -> list[_Step]:
    """The neighbours behind a relation with their scores; one call where there are several."""
    others = kg.neighbours(node, hop)
    if len(others) >= settings.most_neighbours:
        others = sorted(rng.choice(others, size=settings.sample, replace=False).tolist())
    if len(others) == 1:
        return [_Step(score, node, hop, others[0])]
    picked = talk.pick(
        "tog-entities", [kg.name(o) for o in others], scored=True, relation=f"{kg.name(node)} {hop}"
    )
    if not picked:
        picked = [(position, 1.0 / len(others)) for position in range(len(others))]
    return [_Step(score * share, node, hop, others[position]) for position, share in picked]
