"""Is a judge fair? It rates a ladder of answers whose order is known, and is itself rated on that.

The ladders are in `arena.judging.ladder`, tricks in `arena.judging.tricks`. The check reports order violations,
agreement with the deterministic score, stability under another order of the prompt, gains by orders and by length, and
the tricks that earn more than a half-right answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from arena.judging.graph_judge import knowledge_scores
from arena.judging.ladder import Rung, ladder
from arena.judging.llm_judge import judge
from arena.judging.tricks import tricks
from arena.leaderboard.agreement import agreement
from arena.leaderboard.statistics import finite
from arena.scoring import metrics
from arena.scoring.grounding import names_of
from arena.types import Answer, Generate, Sample, TaskName
from vckg.graph.graph import Graph

CONTESTANT: Final = "ladder"
ORDER: Final = ("gold", "synonym", "parent", "sibling", "half", "wrong", "empty")
"""From best to worst; each must not be rated above one that stands before it."""
TRAPS: Final = ("injected", "verbose")
"""The wrong answer again; must not be rated above it."""
TOLERANCE: Final = 1e-6
MOST_GAINED: Final = 0.1
"""Total that orders in a wrong answer may gain before the judge is called unfair."""


# ---- the check --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RungResult:
    """What one rung of a task was given."""

    task: TaskName
    rung: str
    n: int
    judged: float | None
    """Mean total of the judge, 0..1."""
    deterministic: float | None
    """Mean main score."""
    unscored: int


@dataclass(frozen=True, slots=True)
class OrderResult:
    """How often a better and a worse answer to one sample were rated in the wrong order."""

    task: TaskName
    better: str
    worse: str
    n: int
    violations: int
    ties: int


@dataclass(frozen=True, slots=True)
class TrickResult:
    """What a trick earns against an answer that is honestly half right (without one: a sibling, else a parent)."""

    task: TaskName
    trick: str
    n: int
    judged: float | None
    deterministic: float | None
    half: float | None
    half_deterministic: float | None

    @property
    def above(self) -> bool:
        """Whether the judge or the metric gives it more than the half-right answer."""
        pairs = ((self.judged, self.half), (self.deterministic, self.half_deterministic))
        return any(
            value is not None and bound is not None and value > bound + TOLERANCE for value, bound in pairs
        )


@dataclass(frozen=True, slots=True)
class Check:
    """What the ladder tells of a judge."""

    judge: str
    samples: int
    rungs: tuple[RungResult, ...]
    orders: tuple[OrderResult, ...]
    violation_share: float | None
    kappa: float | None
    spearman: float | None
    instability: float | None
    """Mean absolute difference of totals when the same is shown in another order."""
    injection_gain: float | None
    """Mean total gained by orders in a wrong answer."""
    length_gain: float | None
    """Mean total gained by padding a wrong answer."""
    tricks: tuple[TrickResult, ...]

    @property
    def fooled(self) -> tuple[TrickResult, ...]:
        """Tricks that earn more than an answer that is honestly half right."""
        return tuple(trick for trick in self.tricks if trick.above)

    @property
    def unfair(self) -> tuple[str, ...]:
        """Why the judge is none: it obeys orders in an answer, or rates silence as high as the reference."""
        found = []
        if (self.injection_gain or 0.0) > MOST_GAINED:
            found.append(f"orders in a wrong answer gain {_three(self.injection_gain)}")
        judged = {(rung.task, rung.rung): rung.judged for rung in self.rungs}
        for task in dict.fromkeys(rung.task for rung in self.rungs):
            best, none = judged.get((task, "gold")), judged.get((task, "empty"))
            if best is not None and none is not None and best <= none:
                found.append(f"{task}: an empty answer gets {_three(none)}, the reference {_three(best)}")
        return tuple(found)

    def json(self) -> str:
        """The check as JSON."""
        return json.dumps(asdict(self) | {"unfair": self.unfair}, indent=1)

    def text(self) -> str:
        """The check for a terminal."""
        lines = [
            f"{self.judge}, samples: {self.samples}",
            "",
            "  task           rung       n   judge  metric  unscored",
        ]
        lines += [
            f"  {r.task:<13}  {r.rung:<9} {r.n:>3}  {_three(r.judged)}   {_three(r.deterministic)}  {r.unscored:>8}"
            for r in self.rungs
        ]
        broken = [o for o in self.orders if o.violations]
        compared = sum(o.n for o in self.orders)
        wrong = sum(o.violations for o in self.orders)
        share = "–" if self.violation_share is None else f"{100 * self.violation_share:.1f} %"
        lines += ["", f"  order violations  {wrong} of {compared} ({share})"]
        lines += [f"    {o.task}: {o.worse} above {o.better} in {o.violations} of {o.n}" for o in broken]
        lines += [
            f"  agreement with the deterministic score  kappa {_three(self.kappa)}, Spearman {_three(self.spearman)}",
            f"  instability under another order         {_three(self.instability)}",
            f"  gained by orders in the answer          {_three(self.injection_gain)}",
            f"  gained by padding                       {_three(self.length_gain)}",
            "",
            *(f"  UNFAIR: {why}" for why in self.unfair),
            f"  tricks that earn more than a half-right answer  {len(self.fooled)} of {len(self.tricks)}",
        ]
        for task in dict.fromkeys(t.task for t in self.tricks):
            rows = [t for t in self.tricks if t.task == task]
            best = max(rows, key=lambda t: t.judged or 0.0)
            lines.append(
                f"    {task:<13} half right {_three(best.half)}  "
                f"best of {len(rows)} tricks {_three(best.judged)} ({best.trick})"
            )
        lines += [
            f"    {t.task}: {t.trick} earns {_three(t.judged)}, metric {_three(t.deterministic)}"
            for t in self.fooled
        ]
        return "\n".join(lines)


def _three(value: float | None) -> str:
    return "    –" if value is None else f"{value:.3f}"


class _Rated(NamedTuple):
    task: TaskName
    sample: str
    rung: str
    judged: float | None
    again: float | None
    deterministic: float | None
    trick: bool


def check(
    graph: Graph,
    *,
    samples: Sequence[Sample],
    generate: Generate | None = None,
    judge_id: str = "knowledge",
    seed: int = 0,
    connections: int = 10,
) -> Check:
    """Let a judge rate the ladders of some samples, each rung twice in different order.

    Parameters
    ----------
    generate
        How the judge's model is reached; None checks the judge that needs no model.
    """
    everything = asyncio.run(_rate_all(graph, samples, generate, judge_id, seed, connections))
    rated = [r for r in everything if not r.trick]
    judged = np.array([np.nan if r.judged is None else r.judged for r in rated])
    exact = np.array([np.nan if r.deterministic is None else r.deterministic for r in rated])
    agreed = agreement(judged, exact)
    orders = tuple(_orders(rated))
    compared = sum(o.n for o in orders)
    moved = [abs(r.judged - r.again) for r in rated if r.judged is not None and r.again is not None]
    return Check(
        judge=judge_id,
        samples=len({r.sample for r in rated}),
        rungs=tuple(_rungs(rated)),
        orders=orders,
        violation_share=finite(sum(o.violations for o in orders) / compared) if compared else None,
        kappa=agreed.kappa,
        spearman=agreed.spearman,
        instability=finite(float(np.mean(moved))) if moved else None,
        injection_gain=_gain(rated, "injected"),
        length_gain=_gain(rated, "verbose"),
        tricks=tuple(_tricks(everything)),
    )


async def _rate_all(
    graph: Graph,
    samples: Sequence[Sample],
    generate: Generate | None,
    judge_id: str,
    seed: int,
    connections: int,
) -> list[_Rated]:
    slots = asyncio.Semaphore(connections)

    async def total(sample: Sample, answer: Answer, turn: int) -> float | None:
        if generate is None:
            scores = knowledge_scores(sample, answer, graph)
        else:
            async with slots:
                scores = await judge(sample, answer, graph, generate, judge_id=judge_id, seed=seed + turn)
        return next(s.value for s in scores if s.dimension == "total")

    async def rate(sample: Sample, rung: Rung, trick: bool) -> _Rated:
        answer = Answer(sample.id, CONTESTANT, sample.task, "", rung.parsed, True, False)
        first = await total(sample, answer, 0)
        again = None if trick else first if generate is None else await total(sample, answer, 1)
        scores = {s.dimension: s.value for s in metrics.score(sample, answer, graph)}
        return _Rated(
            sample.task, sample.id, rung.name, first, again, scores[metrics.HEADLINE[sample.task]], trick
        )

    rungs = [
        (sample, rung, trick)
        for sample in samples
        for trick, found in (
            (False, ladder(sample, graph)),
            (True, [Rung(*named) for named in tricks(sample, names_of(graph)).items()]),
        )
        for rung in found
    ]
    return await asyncio.gather(*(rate(*one) for one in rungs))


def _rungs(rated: Sequence[_Rated]) -> Iterator[RungResult]:
    for task in dict.fromkeys(r.task for r in rated):
        for rung in (*ORDER, *TRAPS):
            rows = [r for r in rated if (r.task, r.rung) == (task, rung)]
            if rows:
                yield RungResult(
                    task,
                    rung,
                    len(rows),
                    _mean([r.judged for r in rows]),
                    _mean([r.deterministic for r in rows]),
                    sum(r.judged is None for r in rows),
                )


def _mean(values: Sequence[float | None]) -> float | None:
    given = [v for v in values if v is not None]
    return finite(float(np.mean(given))) if given else None


def _orders(rated: Sequence[_Rated]) -> Iterator[OrderResult]:
    """Neighbours of the ladder, the ends, and the traps against the wrong answer."""
    value = {(r.task, r.sample, r.rung): r.judged for r in rated}
    for task in dict.fromkeys(r.task for r in rated):
        present = [name for name in ORDER if any((r.task, r.rung) == (task, name) for r in rated)]
        pairs = [*pairwise(present), *(("wrong", trap) for trap in TRAPS)]
        for better, worse in pairs:
            both = [
                (high, low)
                for sample in dict.fromkeys(r.sample for r in rated if r.task == task)
                if (high := value.get((task, sample, better))) is not None
                and (low := value.get((task, sample, worse))) is not None
            ]
            if both:
                broken = sum(low > high + TOLERANCE for high, low in both)
                ties = sum(abs(low - high) <= TOLERANCE for high, low in both)
                yield OrderResult(task, better, worse, len(both), broken, ties)


def _tricks(rated: Sequence[_Rated]) -> Iterator[TrickResult]:
    """Each trick of each task with the half-right answers to the samples that have one."""
    for task in dict.fromkeys(r.task for r in rated):
        rows = [r for r in rated if r.task == task]
        half: dict[str, _Rated] = {}
        for name in ("parent", "sibling", "half"):  # the later one counts where a sample has several
            half.update({r.sample: r for r in rows if not r.trick and r.rung == name})
        for trick in dict.fromkeys(r.rung for r in rows if r.trick):
            found = [r for r in rows if r.trick and r.rung == trick and r.sample in half]
            bounds = [half[r.sample] for r in found]
            yield TrickResult(
                task,
                trick,
                len(found),
                _mean([r.judged for r in found]),
                _mean([r.deterministic for r in found]),
                _mean([r.judged for r in bounds]),
                _mean([r.deterministic for r in bounds]),
            )


def _gain(rated: Sequence[_Rated], trap: str) -> float | None:
    plain = {r.sample: r.judged for r in rated if r.rung == "wrong"}
    gains = [
        r.judged - base
        for r in rated
        if r.rung == trap and r.judged is not None and (base := plain.get(r.sample)) is not None
    ]
    return finite(float(np.mean(gains))) if gains else None
