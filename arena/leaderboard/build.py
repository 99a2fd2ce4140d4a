"""From runs to the leaderboard: estimates, ranks, comparisons and breakdowns, all counted once, here.

Every number on the page, in the Markdown and in the JSON comes out of `build`. The same runs and seed give the
same bytes. What the numbers mean is in docs/arena.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Final

import numpy as np

from arena.contestants.kinds import kind_of_run, reads_graph
from arena.datasets import FRESH
from arena.datasets.fresh import OPEN_BOOK
from arena.leaderboard import schema, statistics
from arena.leaderboard.drilldown import sample_views, score_lists
from arena.leaderboard.labels import TASK_NAMES, listed
from arena.leaderboard.ranking import (
    Overall,
    Tests,
    alone,
    floor,
    helped_pairs,
    ranked_tests,
)
from arena.leaderboard.reliability import agreements, estimate, trust
from arena.leaderboard.score_table import Column, Table, fingerprints, tables
from arena.leaderboard.statistics import Floats, finite
from arena.scoring import metrics
from arena.tasks import TASKS
from arena.types import Answer, Kind, Run, Score, TaskName
from gather.metrics import labels

ASKED: Final = ("model", "retrieval+model", "model+tools")
"""Kinds that read and write tokens; the others are programs, or answers read from a file."""
EXACT: Final = ("exact", "type_exact")
"""Dimensions that are hits or misses; McNemar's test is made on them."""
MADE_FROM_GRAPH: Final[dict[str, tuple[TaskName, ...]]] = {FRESH: OPEN_BOOK}
"""Tasks by data set whose reference comes from the graph: who reads the graph stands apart there, unranked."""
TIE_MARGIN: Final = 0.01
"""Scores that differ by no more are a tie in win rates and Bradley-Terry."""
FEW_CLUSTERS: Final = 20
RESAMPLES: Final = 2000


def build(
    runs: Sequence[Run], *, seed: int = 0, resamples: int = RESAMPLES, graph_name: str = ""
) -> schema.Leaderboard:
    """Count runs into a leaderboard; runs that must not be compared stand in groups of their own.

    Raises
    ------
    InputError
        No run, or one contestant twice on the same samples.
    """
    groups = [_group(table, number, seed, resamples) for number, table in enumerate(tables(runs), start=1)]
    return schema.Leaderboard(seed=seed, resamples=resamples, graph=graph_name, groups=tuple(groups))


def _group(table: Table, number: int, seed: int, resamples: int) -> schema.Group:
    columns = {task: Column(task, table.runs, seed) for task in TASKS if task in table.fingerprints}
    kinds = {run.manifest.contestant: kind_of_run(run.manifest) for run in table.runs}
    floors = {task: floor(column) for task, column in columns.items()}
    apart = {task: open_book(task, kinds, table.dataset) for task, column in columns.items()}
    tests = {task: ranked_tests(column, resamples, apart[task]) for task, column in columns.items()}
    closed = frozenset().union(*apart.values())
    contested = {t: c for t, c in columns.items() if len(set(c.ranked) - closed) > 1} or columns
    overall = Overall(contested, {t: tests[t] for t in contested}, resamples, closed)
    rows = _rows(columns, tests, overall, resamples, table.dataset, kinds)
    views, shown, total = sample_views(columns, [row.name for row in rows])
    return schema.Group(
        id=f"g{number}",
        dataset=table.dataset,
        graph_hash=table.graph_hash,
        rows=tuple(rows),
        tasks=tuple(
            _task_board(column, table, floors[task], tests[task], resamples, kinds)
            for task, column in columns.items()
        ),
        judges=tuple(
            sorted({j for c in columns.values() for j in c.scorers}, key=lambda j: (j != "knowledge", j))
        ),
        notes=tuple(_notes(table, columns, floors, kinds)),
        runs=tuple(
            _provenance(run) for run in sorted(table.runs, key=lambda r: (r.manifest.contestant, r.folder))
        ),
        scores=score_lists(columns),
        samples=views,
        samples_shown=shown,
        samples_total=total,
    )


def open_book(task: TaskName, kinds: Mapping[str, Kind], dataset: str) -> frozenset[str]:
    """Return the contestants that can look up the references of a task."""
    if task not in MADE_FROM_GRAPH.get(dataset, ()):
        return frozenset()
    return frozenset(name for name, kind in kinds.items() if reads_graph(kind))


# ---- rows -------------------------------------------------------------------------------------------------


def _rows(
    columns: dict[TaskName, Column],
    tests: dict[TaskName, Tests | None],
    overall: Overall,
    resamples: int,
    dataset: str,
    kinds: Mapping[str, Kind],
) -> list[schema.Row]:
    cells: dict[str, dict[TaskName, schema.Cell]] = {}
    for task, column in columns.items():
        for name, cell in _cells(column, tests[task], resamples).items():
            cells.setdefault(name, {})[task] = cell
    order = sorted(
        cells, key=lambda name: _place(name, kinds[name], cells[name], overall.estimates.get(name))
    )
    standing = {n: _standing(cells[n], overall.estimates.get(n)) for n in order}
    costs = _costs(columns, standing, {n: kinds[n] in ASKED for n in order})
    rows, above = [], ""
    for name in order:
        ranked = name in overall.rank
        tied = bool(ranked and above and overall.tied(above, name))
        rows.append(
            schema.Row(
                name=name,
                kind=kinds[name],
                open_book=reads_graph(kinds[name])
                and any(t in MADE_FROM_GRAPH.get(dataset, ()) for t in cells[name]),
                served=tuple(
                    sorted({a.model for c in columns.values() for a in _answers(c, name) if a.model})
                ),
                overall=overall.estimates.get(name),
                rank=overall.rank.get(name) if name in overall.estimates else None,
                tied_with_above=tied,
                tasks=cells[name],
                cost=costs[name],
            )
        )
        above = name if ranked else above
    return rows


def _standing(cells: dict[TaskName, schema.Cell], overall: schema.Estimate | None) -> float:
    if overall is not None and overall.value is not None:
        return overall.value
    scores = [c.score.value for c in cells.values() if c.score.value is not None]
    return fmean(scores) if scores else float("-inf")


def _place(
    name: str, kind: Kind, cells: dict[TaskName, schema.Cell], overall: schema.Estimate | None
) -> tuple[object, ...]:
    """Sort the ceiling first, then by overall score, then by number of tasks and mean score."""
    return (kind != "ceiling", overall is None, -len(cells), -_standing(cells, overall), name)


def _cells(column: Column, tests: Tests | None, resamples: int) -> dict[str, schema.Cell]:
    def estimates(matrix: Floats) -> list[schema.Estimate]:
        found = statistics.mean_intervals(matrix, column.clusters, resamples=resamples, seed=column.seed)
        return [estimate(i, int(np.isfinite(row).sum())) for i, row in zip(found, matrix, strict=True)]

    dimensions = {d: estimates(column.matrix(metrics.SCORER, d)) for d in metrics.DIMENSIONS[column.task]}
    judged = {j: estimates(column.matrix(j, "total")) for j in column.scorers}
    unscored = {j: _count(column, j, lambda s: s.value is None) for j in column.scorers}
    repaired = {j: _count(column, j, lambda s: bool(s.metadata.get("repaired"))) for j in column.scorers}
    found = {}
    for i, name in enumerate(column.contestants):
        answers = _answers(column, name)
        asked = [a for a in answers if not a.error]
        found[name] = schema.Cell(
            score=dimensions[column.headline][i],
            rank=tests.rank.get(name) if tests else None,
            metrics={d: e[i] for d, e in dimensions.items()},
            judges={
                j: schema.JudgeCell(
                    total=e[i], unscored=unscored[j].get(name, 0), repaired=repaired[j].get(name, 0)
                )
                for j, e in judged.items()
                if e[i].n or unscored[j].get(name)
            },
            answered=len({a.sample_id for a in asked}),
            format_failures=_rate([not a.format_ok and not a.refused for a in asked]),
            refusals=_rate([a.refused for a in asked]),
            failed_calls=len(answers) - len(asked),
        )
    return found


def _answers(column: Column, name: str) -> list[Answer]:
    return [a for answers in column.answers.get(name, {}).values() for a in answers]


def _count(column: Column, judge: str, test: Callable[[Score], bool]) -> dict[str, int]:
    found: dict[str, int] = {}
    for score in column.records(judge, "total"):
        if test(score):
            found[score.contestant] = found.get(score.contestant, 0) + 1
    return found


def _rate(hits: Sequence[bool]) -> schema.Rate:
    interval = statistics.wilson(sum(hits), len(hits))
    return schema.Rate(
        count=sum(hits),
        n=len(hits),
        share=finite(interval.value),
        low=finite(interval.low),
        high=finite(interval.high),
    )


def _costs(
    columns: dict[TaskName, Column], standing: dict[str, float], asked: dict[str, bool]
) -> dict[str, schema.Cost]:
    raw = {n: _cost([a for c in columns.values() for a in _answers(c, n)], tokens=asked[n]) for n in asked}
    paid = {n: c for n, c in raw.items() if asked[n]}

    def price(cost: schema.Cost) -> tuple[float, float]:
        return (cost.list_usd or 0.0, (cost.input_tokens or 0.0) + (cost.output_tokens or 0.0))

    def beaten(name: str) -> bool:
        return any(
            (price(c) <= price(paid[name]) and standing[other] > standing[name])
            or (price(c) < price(paid[name]) and standing[other] >= standing[name])
            for other, c in paid.items()
            if other != name
        )

    return {n: c.model_copy(update={"frontier": n in paid and not beaten(n)}) for n, c in raw.items()}


def _cost(answers: Sequence[Answer], *, tokens: bool) -> schema.Cost:
    hundred = 100 / max(1, len(answers))
    prices = [a.usage.cost_usd for a in answers if a.usage.cost_usd is not None]
    fresh = [a.usage.cost_usd for a in answers if a.usage.cost_usd is not None and not a.usage.cached]
    waits = [a.latency_s for a in answers if not a.usage.cached and not a.error and a.latency_s > 0]
    return schema.Cost(
        input_tokens=round(sum(a.usage.input_tokens for a in answers) * hundred, 1) if tokens else None,
        output_tokens=round(sum(a.usage.output_tokens for a in answers) * hundred, 1) if tokens else None,
        list_usd=finite(sum(prices) * hundred) if prices else None,
        fresh_usd=finite(sum(fresh) * hundred) if prices else None,
        latency_median_s=finite(median(waits)) if waits else None,
    )


# ---- one task ---------------------------------------------------------------------------------------------


def _task_board(
    column: Column,
    table: Table,
    line: tuple[float | None, str],
    tests: Tests | None,
    resamples: int,
    kinds: Mapping[str, Kind],
) -> schema.TaskBoard:
    ranked = list(tests.names) if tests else []
    scores = column.main[[column.row[name] for name in ranked]] if ranked else np.empty((0, 0))
    fit = statistics.bradley_terry(scores, margin=TIE_MARGIN)
    pairs = pairs_of(column, tests) if tests else ()
    detectable = [p.detectable for p in pairs if p.detectable is not None]
    return schema.TaskBoard(
        task=column.task,
        headline=column.headline,
        made_from_graph=column.task in MADE_FROM_GRAPH.get(table.dataset, ()),
        fingerprint=table.fingerprints[column.task],
        prompt=next((m for run in table.runs if (m := run.manifest.prompts.get(column.task))), ""),
        n=len(column.samples),
        clusters=len(column.clusters.names),
        effective_clusters=round(column.clusters.effective(), 1),
        floor=finite(line[0]),
        floor_of=line[1],
        reliability=finite(statistics.split_half_reliability(scores, column.clusters, seed=column.seed)),
        detectable=finite(median(detectable)) if detectable else None,
        pairs=pairs,
        effects=tuple(
            alone(column, helped, plain, resamples)
            for helped, plain in dict(helped_pairs(column, table.runs)).items()
        ),
        over_floor=tuple(
            alone(column, name, line[1], resamples)
            for name in column.contestants
            if line[1] and kinds[name] in ASKED
        ),
        strength={name: round(float(s), 6) for name, s in zip(ranked, fit.strength, strict=True)},
        strata=_strata(column, resamples),
        agreement=agreements(column),
        trust=tuple(trust(column, judge, resamples=resamples) for judge in column.scorers),
    )


def pairs_of(column: Column, tests: Tests) -> tuple[schema.Pair, ...]:
    """Return every comparison of a task with its win rate and, where answers hit or miss, McNemar's test."""
    rows = [column.row[name] for name in tests.names]
    fit = statistics.bradley_terry(column.main[rows], margin=TIE_MARGIN)
    exact = next((d for d in EXACT if d in metrics.DIMENSIONS[column.task]), None)
    hits = column.matrix(metrics.SCORER, exact)[rows] if exact else None
    found = []
    for at, (i, j) in enumerate(tests.paired.pairs):
        mcnemar = None
        if hits is not None:
            both = np.isfinite(hits[i]) & np.isfinite(hits[j])
            mcnemar = labels.mcnemar(hits[i][both], hits[j][both])
        found.append(tests.pair(at, float(fit.win_rate[i, j]), mcnemar))
    return tuple(found)


def _strata(column: Column, resamples: int) -> tuple[schema.Stratum, ...]:
    """The main score by every level of every breakdown, with its own interval."""
    keys = sorted({key for s in column.samples for key in s.strata})
    found = []
    for key in keys:
        levels = [s.strata.get(key, "") for s in column.samples]
        for level in sorted(set(levels)):
            at = [i for i, own in enumerate(levels) if own == level]
            part = column.main[:, at]
            clusters = statistics.Clusters.of([column.samples[i].cluster for i in at])
            limits = statistics.mean_intervals(part, clusters, resamples=resamples, seed=column.seed)
            scores = {
                name: estimate(interval, int(np.isfinite(row).sum()))
                for name, interval, row in zip(column.contestants, limits, part, strict=True)
            }
            found.append(schema.Stratum(key=key, level=level, n=len(at), scores=scores))
    return tuple(found)


# ---- what was run -----------------------------------------------------------------------------------------


def _notes(
    table: Table,
    columns: dict[TaskName, Column],
    floors: dict[TaskName, tuple[float | None, str]],
    kinds: Mapping[str, Kind],
) -> list[str]:
    def named(tasks: Sequence[TaskName]) -> str:
        return listed([f"“{TASK_NAMES[task]}”" for task in tasks])

    notes = []
    if table.dataset.startswith("sc-arena"):
        notes.append("These samples have been public since 2026; a model may have seen them in training.")
    readers = sorted(name for name, kind in kinds.items() if reads_graph(kind))
    opened = [task for task in columns if task in MADE_FROM_GRAPH.get(table.dataset, ())]
    if opened and readers:
        notes.append(
            f"Open book: {listed(readers)} can look into the graph from which the samples of {named(opened)} were "
            "made; there they show that retrieval works, not what a model knows."
        )
    for task, column in columns.items():
        if not floors[task][1]:
            notes.append(
                f"{named([task])}: no baseline that ignores the cell was run, so nothing says what its "
                "scores are worth."
            )
        for name in column.contestants:
            missing = len(column.samples) - len(column.answers[name])
            if missing:
                notes.append(f"{named([task])}: {name} left {missing} of {len(column.samples)} unanswered.")
    few = {t: n for t, c in columns.items() if (n := c.clusters.effective()) < FEW_CLUSTERS}
    if few:
        counts = ", ".join(f"{named([task])} {n:.0f}" for task, n in few.items())
        notes.append(
            f"Few independent samples, related ones counted together ({counts}): intervals are rough, and below "
            f"{statistics.FEWEST_CLUSTERS} there is none."
        )
    for judge in sorted({j for c in columns.values() for j in c.scorers}):
        asked = {s.metadata.get("asked") for c in columns.values() for s in c.records(judge, "total")} - {
            None
        }
        if len(asked) > 1:
            notes.append(f"Judge {judge} was asked in {len(asked)} ways (prompts, limits or address differ).")
    return notes


def _provenance(run: Run) -> schema.Provenance:
    m, kept = run.manifest, schema.Provenance.model_fields
    known = {name: value for name, value in asdict(m).items() if name in kept}
    for name in ("prompts", "samples_sha256", "model_args"):
        known[name] = dict(sorted(known[name].items()))
    return schema.Provenance(
        **known
        | {
            "folder": run.folder.rstrip("/").rpartition("/")[2],
            "tasks": tuple(fingerprints(run)),
            "judges": tuple(sorted(m.judges)),
        }
    )
