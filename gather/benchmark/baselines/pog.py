"""Plan-on-Graph: sub-objectives, a memory, and going back (Chen et al., NeurIPS 2024).

The model splits the question, chooses relations and entities without a fixed width, keeps a memory of
what each sub-objective knows, and may return to entities seen earlier. BM25 stands for the sentence
encoder that cuts long lists of neighbours. After the last depth nothing can be revisited, so nothing is
asked about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gather.benchmark.baselines.graph_view import GraphView, Hop, triple
from gather.benchmark.baselines.interface import BOOLEAN, STRING, Dialogue, Outcome, list_of
from gather.benchmark.baselines.ranking import best_first, bm25
from gather.llm.evidence_text import in_prompt

_TEXTS = list_of(STRING, most=5)


@dataclass(frozen=True, slots=True)
class Settings:
    """The paper's depth, number of returns, length of a list of neighbours that is shown; and a bound."""

    depth: int = 4
    returns: int = 5
    most_neighbours: int = 70
    most_entities: int = 30
    """Explored at one depth; the paper has no bound, and a model that keeps everything would never end."""


@dataclass
class _State:
    objectives: str = ""
    memory: str = "(nothing)"
    seen: dict[int, None] = field(default_factory=dict)
    returns: int = 0


def calls(frontiers: list[int], pruned: list[int], reflections: int, revisits: int, *, fallback: bool) -> int:
    """Calls of one question: ``1 + sum_d (|F_d| + P_d + 2) + reflections + revisits (+ 1)``.

    Parameters
    ----------
    frontiers
        Entities explored at each depth.
    pruned
        Lists of more than one neighbour at each depth.
    """
    depths = sum(f + p + 2 for f, p in zip(frontiers, pruned, strict=True))
    return 1 + depths + reflections + revisits + fallback


def calls_at_most(seeds: int, settings: Settings = Settings()) -> int:
    """`calls` where every entity keeps three relations, three entities go on and nothing suffices.

    The method sets no width, so that no bound holds whatever the model says.
    """
    frontiers = [seeds] + [3] * (settings.depth - 1)
    turns = min(settings.depth - 1, settings.returns)
    return calls(frontiers, [3 * f for f in frontiers], turns, turns, fallback=True)


def answer(talk: Dialogue, kg: GraphView, settings: Settings = Settings()) -> Outcome:
    """Answer a question by Plan-on-Graph.

    A misread choice of relations or entities keeps none; a misread memory stays as it was.
    """
    state = _State(seen=dict.fromkeys(talk.question.topics))
    state.objectives = (
        _listed(talk.ask("pog-objectives", {"objectives": _TEXTS}).get("objectives")) or talk.question.text
    )
    frontier = list(talk.question.topics)
    for depth in range(1, settings.depth + 1):
        found = _explore(talk, kg, settings, state, frontier)
        if not found:
            return talk.answer(_with_memory(talk, state), stopped="half_stop")
        new = [str(triple(kg, node, hop, other)) for node, hop, other in found]
        talk.evidence = list(dict.fromkeys([*talk.evidence, *new]))
        value = talk.ask(
            "pog-memory",
            {"memory": _TEXTS},
            objectives=state.objectives,
            memory=state.memory,
            evidence="\n".join(new),
        )
        state.memory = _listed(value.get("memory")) or state.memory
        reply = talk.try_to_answer(talk.evidence, "pog-enough", also="reason", memory=state.memory)
        if reply["curie"] is not None:
            return talk.outcome(reply["curie"], stopped="sufficient")
        kept = list(dict.fromkeys(other for _, _, other in found))
        frontier = kept[: settings.most_entities]
        if depth < settings.depth:
            frontier += _revisited(talk, kg, settings, state, kept, in_prompt(str(reply.get("reason") or "")))
        state.seen |= dict.fromkeys(kept)
    return talk.answer(_with_memory(talk, state), stopped="depth")


def _explore(
    talk: Dialogue, kg: GraphView, settings: Settings, state: _State, frontier: list[int]
) -> list[tuple[int, Hop, int]]:
    """The edges kept at one depth: a call for each entity's relations and for each longer list behind one."""
    found = []
    for node in frontier:
        hops = kg.hops(node)
        if not hops:
            continue
        options = [str(hop) for hop in hops]
        for position, _ in talk.pick(
            "pog-relations", options, scored=False, objectives=state.objectives, entity=kg.name(node)
        ):
            hop = hops[position]
            found += [(node, hop, other) for other in _entities(talk, kg, settings, state, node, hop)]
    return found


def _entities(
    talk: Dialogue, kg: GraphView, settings: Settings, state: _State, node: int, hop: Hop
) -> list[int]:
    others = kg.neighbours(node, hop)
    if len(others) > settings.most_neighbours:
        near = best_first(bm25(talk.question.text, [kg.text(other) for other in others]))
        others = [others[position] for position in sorted(near[: settings.most_neighbours])]
    if len(others) == 1:
        return others
    names = [kg.name(other) for other in others]
    picked = talk.pick(
        "pog-entities", names, scored=False, objectives=state.objectives, relation=f"{kg.name(node)} {hop}"
    )
    return [others[position] for position, _ in picked]


def _revisited(
    talk: Dialogue, kg: GraphView, settings: Settings, state: _State, kept: list[int], reason: str
) -> list[int]:
    """Entities to look at again: one call whether, one which."""
    if state.returns >= settings.returns:
        return []
    known = {"memory": state.memory, "reason": reason or "(none given)"}
    names = ", ".join(kg.name(node) for node in kept)
    if talk.ask("pog-reflect", {"add": BOOLEAN, "reason": STRING}, frontier=names, **known).get(
        "add"
    ) not in (True, "true", "yes", "Yes"):
        return []
    state.returns += 1
    earlier = [node for node in state.seen if node not in set(kept)]
    if not earlier:
        return []
    picked = talk.pick("pog-revisit", [kg.name(node) for node in earlier], scored=False, **known)
    return [earlier[position] for position, _ in picked]


def _with_memory(talk: Dialogue, state: _State) -> list[str]:
    return [*talk.evidence, f"Known for the sub-objectives: {state.memory}"]


def _listed(value: object) -> str:
    """A list of short texts as one line; empty where the reply holds none."""
    texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return "; ".join(in_prompt(text) for text in texts if isinstance(text, str) and text.strip())
