"""Reasoning on Graphs: plan relation paths, follow them, answer from what was found (Luo et al., ICLR 2024).

Two calls a question. The paper's planner is a fine-tuned 7 B model. Here the model is told the kinds of
edges the graph has and asked for paths, which are checked against them. All edges of a pair of nodes
may be followed (the paper's code keeps one relation a pair).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gather.benchmark.baselines.graph_view import GraphView, Hop
from gather.benchmark.baselines.interface import Dialogue, Outcome, list_of
from gather.benchmark.baselines.ranking import within_budget


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths to plan, their longest, and what is kept of the walks: a random choice, within a budget."""

    paths: int = 3
    longest: int = 3
    most_walks: int = 200
    """Of one gene along one path, followed at each step."""
    budget_tokens: int = 1500


def calls_at_most(seeds: int) -> int:
    """Two, whatever the number of seeds."""
    return 2


def answer(talk: Dialogue, kg: GraphView, settings: Settings = Settings()) -> Outcome:
    """Answer a question by Reasoning on Graphs; without a usable plan the answer comes without evidence."""
    rng = np.random.default_rng(talk.question.seed)
    kinds = kg.schema()
    shown = "\n".join(f"{subject} -{relation}-> {target}" for subject, relation, target in kinds)
    names = {"type": "string", "enum": sorted({relation for _, relation, _ in kinds})}
    form = {"paths": list_of(list_of(names, most=settings.longest), most=settings.paths)}
    reply = talk.ask("rog-plan", form, schema=shown, paths=str(settings.paths))
    plans = planned_paths(reply.get("paths"), kinds, settings)
    lines = [
        line
        for plan in plans
        for gene in talk.question.topics
        for line in _follow(kg, gene, plan, settings.most_walks, rng)
    ]
    shuffled = [lines[position] for position in rng.permutation(len(lines))]
    return talk.answer(within_budget(shuffled, settings.budget_tokens), stopped="answered")


def planned_paths(
    planned: object, kinds: list[tuple[str, str, str]], settings: Settings
) -> list[tuple[Hop, ...]]:
    """Return the paths of a plan that the graph's kinds of edges allow, each relation in its direction.

    A path that could be walked in several directions gives several; one that no walk from a Gene to a
    Cell can follow gives none.
    """
    plans: dict[tuple[Hop, ...], None] = {}
    for path in planned if isinstance(planned, list) else ():
        if not isinstance(path, list) or not 1 <= len(path) <= settings.longest:
            continue
        walks: list[tuple[str, tuple[Hop, ...]]] = [("Gene", ())]
        for relation in path:
            walks = [
                (target, (*hops, hop))
                for category, hops in walks
                for target, hop in _steps(category, str(relation).strip(" -<>"), kinds)
            ]
        plans |= {hops: None for category, hops in walks if category == "Cell"}
    return list(plans)[: settings.paths * 2]


def _steps(category: str, relation: str, kinds: list[tuple[str, str, str]]) -> list[tuple[str, Hop]]:
    """Where a relation leads from a category, both ways."""
    found = [(t, Hop(r, "out")) for s, r, t in kinds if r == relation and s == category]
    return found + [(s, Hop(r, "in")) for s, r, t in kinds if r == relation and t == category]


def _follow(
    kg: GraphView, gene: int, plan: tuple[Hop, ...], most: int, rng: np.random.Generator
) -> list[str]:
    """The walks of one gene along one path, as lines; those that do not end at a Cell are left out."""
    walks: list[tuple[int, str]] = [(gene, kg.name(gene))]
    for hop in plan:
        walks = [
            (other, f"{line} {hop} {kg.name(other)}")
            for node, line in walks
            for other in kg.neighbours(node, hop)
        ]
        if len(walks) > most:
            walks = [walks[position] for position in sorted(rng.choice(len(walks), most, replace=False))]
    return [line for node, line in walks if kg.category(node) == "Cell"]
