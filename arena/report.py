"""The leaderboard for people: one self-contained page, Markdown for a repository, JSON for programs.

All three print one `Leaderboard`; nothing is counted here. Scores are shown times 100, scaled so that 0 is the
best answer that ignores the cell and 100 the reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from arena import board
from arena.figures import Scatter, bar, scatter
from arena.leaderboard import RESAMPLES, build
from arena.ranking import CEILING
from arena.types import Run, TaskName
from vckg import pages
from vckg.errors import InputError

TEMPLATES: Final = Path(__file__).parent / "templates"
TITLE: Final = "Virtual cell arena"
HTML, MARKDOWN, JSON = "index.html", "leaderboard.md", "leaderboard.json"

TASK_NAMES: Final[dict[TaskName, str]] = {
    "annotation": "Name the cell",
    "captioning": "Describe the cell",
    "generation": "Write its genes",
    "perturbation": "Predict a response",
    "qa": "Answer questions",
}
TASK_QUESTIONS: Final[dict[TaskName, str]] = {
    "annotation": "Given a cell's genes by expression, which cell type is it?",
    "captioning": "Given a cell's genes by expression, what is it and what does it do?",
    "generation": "Given a cell type, which genes does it express, highest first?",
    "perturbation": "When a regulator is switched, which genes rise and which fall?",
    "qa": "What does the literature, or a sourced fact, say?",
}
KIND_NAMES: Final[dict[board.Kind, str]] = {
    "model": "model",
    "retrieval": "retrieval",
    "retrieval+model": "retrieval + model",
    "baseline": "baseline",
    "trivial": "ignores the cell",
    "ceiling": "reference",
    "replay": "replayed",
}
SMALL_STRATUM: Final = 20
"""Breakdowns of fewer samples are shown pale."""


def write_report(
    runs: Sequence[Run],
    out: Path,
    graph_name: str | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Path]:
    """Write the page, the Markdown and the JSON of some runs into a folder; return the three paths.

    Raises
    ------
    InputError
        The runs cannot be counted (see `arena.leaderboard.build`), or the folder is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the report")
    leaderboard = build(runs, seed=seed, resamples=resamples, graph_name=graph_name or "")
    texts = {HTML: html(leaderboard), MARKDOWN: markdown(leaderboard), JSON: leaderboard.to_json()}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        pages.write(out / name, text)
    return [out / name for name in texts]


def html(leaderboard: board.Leaderboard) -> str:
    """The page: one file without any request, hostile text escaped, readable without its script."""
    data: dict[str, object] = {}
    for group in leaderboard.groups:
        data[f"samples-{group.id}"] = [view.model_dump() for view in group.samples]
        data[f"scores-{group.id}"] = [scores.model_dump() for scores in group.scores]
        data[f"pairs-{group.id}"] = _pair_data(group)
    return pages.render(
        TEMPLATES / "leaderboard.html.j2",
        title=TITLE,
        data=data,
        styles=[TEMPLATES / "leaderboard.css"],
        scripts=[TEMPLATES / "leaderboard.js"],
        board=leaderboard,
        views=[GroupView(group) for group in leaderboard.groups],
        bar=bar,
        axis=bar(board.Estimate(value=0, low=0, high=1, n=0)),
        hundred=hundred,
        span=span,
        signed=signed,
        p_value=p_value,
        number=number,
        task_names=TASK_NAMES,
        task_questions=TASK_QUESTIONS,
        kind_names=KIND_NAMES,
        small=SMALL_STRATUM,
    )


def _pair_data(group: board.Group) -> dict[str, list[list[object]]]:
    """Comparisons by column, as rows of first, second, difference, low, high, p, Holm p, detectable,
    common, wins.
    """
    columns: dict[str, Sequence[board.Pair]] = {"overall": group.overall_pairs}
    columns.update((t.task, t.pairs) for t in group.tasks)
    return {
        name: [
            [
                p.first,
                p.second,
                p.difference,
                p.low,
                p.high,
                p.p,
                p.p_holm,
                p.detectable,
                p.common,
                p.win_rate,
                p.mcnemar_p,
            ]
            for p in pairs
        ]
        for name, pairs in columns.items()
    }


class GroupView:
    """One group with what the page and the Markdown say about it in words."""

    def __init__(self, group: board.Group) -> None:
        self.group = group
        self.ranked = [row for row in group.rows if row.kind != "ceiling"]
        self.placed = [row for row in self.ranked if row.rank is not None]

    @property
    def caveat(self) -> str:
        """What to keep in mind of who leads."""
        leader = next((row for row in self.placed if row.kind != "trivial"), None)
        if leader is None or not leader.open_book:
            return ""
        closed = next((row for row in self.placed if row.kind != "trivial" and not row.open_book), None)
        book = "It can look into the graph that many of these questions were made from (open book)."
        if closed is None or closed.overall is None:
            return book
        return f"{book} Best without the graph: {closed.name} with {hundred(closed.overall.value)}."

    @property
    def headline(self) -> tuple[str, str, str]:
        """Who leads, how far, and whether that is settled: a name and two half sentences."""
        real = [row for row in self.placed if row.kind != "trivial"]
        if not real:
            return "", "", "No contestant took part in all tasks; the tasks are ranked one by one."
        leader = real[0]
        assert leader.overall is not None
        assert leader.rank is not None
        score = f"{hundred(leader.overall.value)} of 100 (95 % interval {span(leader.overall)})"
        if len(real) == 1:
            return leader.name, score, ""
        equal = [row.name for row in real[1:] if row.rank and row.rank.best == 1]
        if leader.rank.worst == 1 or not equal:
            return leader.name, score, "It is significantly better than every other contestant."
        return leader.name, score, f"{listed(equal)} cannot be told apart from it on these samples."

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks of the group."""
        return tuple(t.task for t in self.group.tasks)

    def best_at(self, task: TaskName) -> tuple[board.Row, list[str]] | None:
        """The first contestant of a task that looks at the cell, and those that cannot be told apart from
        it.
        """
        rows = [row for row in self.ranked if task in row.tasks and row.kind != "trivial"]
        rows = [row for row in rows if row.tasks[task].scaled.value is not None]
        if not rows:
            return None
        rows.sort(key=lambda row: (-(row.tasks[task].scaled.value or 0.0), row.name))
        rank = rows[0].tasks[task].rank
        equal = [
            r.name
            for r in rows[1:]
            if (k := r.tasks[task].rank) and rank and k.best <= rank.worst and k.best == 1
        ]
        return rows[0], equal

    def matrix(self, pairs: Sequence[board.Pair]) -> list[tuple[str, list[tuple[board.Pair | None, int]]]]:
        """Comparisons as rows of (pair, sign): sign 1 where the row is the pair's first, -1 its second, 0
        itself.
        """
        found: dict[tuple[str, str], tuple[board.Pair | None, int]] = {}
        for pair in pairs:
            found[pair.first, pair.second] = (pair, 1)
            found[pair.second, pair.first] = (pair, -1)
        names = [row.name for row in self.ranked if any(row.name in key for key in found)]
        return [(a, [found.get((a, b), (None, 0)) for b in names]) for a in names]

    def shade(self, pair: board.Pair | None, sign: int) -> str:
        """Class of a matrix cell: direction and step of the difference, and whether it is significant."""
        if pair is None or pair.difference is None:
            return "self"
        value = sign * pair.difference
        step = 1 + sum(abs(value) > edge for edge in (0.05, 0.15, 0.3))
        sure = " sure" if pair.p_holm is not None and pair.p_holm <= 0.05 else ""
        return f"{'up' if value > 0 else 'down'}{step}{sure}"

    def costs(self) -> Scatter | None:
        """Figure of cost against score; None where nobody's cost is known."""
        rows = [row for row in self.ranked if row.cost.input_tokens + row.cost.output_tokens > 0]
        priced = any(row.cost.list_usd for row in rows)
        points = [
            (row.name, cost_of(row, priced), height, row.kind, row.cost.frontier)
            for row in rows
            if (height := standing(row)) is not None and cost_of(row, priced) > 0
        ]
        label = "US dollars at list price per 100 samples" if priced else "tokens per 100 samples"
        return scatter(points, x_label=label, y_label="score") if points else None

    def judged(self, judge: str) -> Scatter | None:
        """Figure of a judge's mean total against the deterministic mean, one point a contestant and task."""
        points = [
            (f"{row.name}, {TASK_NAMES[task]}", 100 * x, 100 * y, row.kind)
            for row in self.group.rows
            for task, cell in row.tasks.items()
            if judge in cell.judges
            and (x := cell.score.value) is not None
            and (y := cell.judges[judge].total.value) is not None
        ]
        if not points:
            return None
        # Only those on which judge and metric differ most get a label.
        far = {p[0] for p in sorted(points, key=lambda p: (-abs(p[2] - p[1]), p[0]))[:4]}
        return scatter(
            [(*point, point[0] in far) for point in points],
            x_label="deterministic score, times 100",
            y_label="judge's total, times 100",
            diagonal=True,
        )


def standing(row: board.Row) -> float | None:
    """Overall score times 100, or the mean of the tasks taken."""
    if row.overall is not None and row.overall.value is not None:
        return 100 * row.overall.value
    values = [c.scaled.value for c in row.tasks.values() if c.scaled.value is not None]
    return 100 * sum(values) / len(values) if values else None


def cost_of(row: board.Row, priced: bool) -> float:
    """List price, or tokens where nobody has a price."""
    return (row.cost.list_usd or 0.0) if priced else row.cost.input_tokens + row.cost.output_tokens


# ---- words for numbers ------------------------------------------------------------------------------------


def hundred(value: float | None) -> str:
    """A share as a whole number of 100, minus signs proper and none before 0; a dash for none."""
    return "–" if value is None else str(round(100 * value)).replace("-", "−")


def span(estimate: board.Estimate) -> str:
    """The interval of an estimate in words."""
    return "–" if estimate.low is None else f"{hundred(estimate.low)} to {hundred(estimate.high)}"


def signed(value: float | None) -> str:
    """A difference of shares with its sign."""
    if value is None:
        return "–"
    rounded = round(100 * value)
    return f"+{rounded}" if rounded > 0 else hundred(value)


def p_value(p: float | None) -> str:
    """A p-value to three digits, never 0."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands marked, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; many are counted."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ---- Markdown ---------------------------------------------------------------------------------------------


def markdown(leaderboard: board.Leaderboard) -> str:
    """The leaderboard as Markdown: summary, main table, comparisons, judges, provenance."""
    lines = [f"# {TITLE}", ""]
    for group in leaderboard.groups:
        lines += _group_markdown(GroupView(group))
    lines += [
        f"Seed {leaderboard.seed}, {leaderboard.resamples:,} resamples. {leaderboard.canary}",
        "",
    ]
    return "\n".join(lines)


def _group_markdown(view: GroupView) -> Iterator[str]:
    group = view.group
    name, score, verdict = view.headline
    yield from (f"## {cell_text(group.dataset)} samples", "")
    yield from (
        f"**{cell_text(name)}** leads with {score}. {cell_text(verdict)} {cell_text(view.caveat)}".rstrip()
        if name
        else verdict,
        "",
    )
    yield from (
        "0 is the best answer that ignores the cell, 100 the reference. Brackets: 95 % intervals.",
        "",
    )
    yield from _table(
        ["rank", "contestant", "kind", "overall", *(TASK_NAMES[t] for t in view.tasks), "format failures"],
        [
            [
                rank_text(row.rank),
                row.name,
                KIND_NAMES[row.kind] + (", open book" if row.open_book else ""),
                with_span(row.overall),
                *(with_span(row.tasks[t].scaled) if t in row.tasks else "–" for t in view.tasks),
                failures(row),
            ]
            for row in group.rows
        ],
    )
    for task in group.tasks:
        yield from _task_markdown(view, task)
    if group.notes:
        yield from ("### Notes", "", *(f"- {cell_text(note)}" for note in group.notes), "")
    yield from ("### Runs", "")
    yield from _table(
        ["contestant", "dataset", "seed", "arena", "engine", "git", "command"],
        [
            [r.contestant, r.dataset, str(r.seed), r.arena_version, r.engine, r.git_sha[:12], r.command]
            for r in group.runs
        ],
    )


def _task_markdown(view: GroupView, task: board.TaskBoard) -> Iterator[str]:
    rows = [row for row in view.group.rows if task.task in row.tasks]
    judges = [j for j in view.group.judges if any(j in row.tasks[task.task].judges for row in rows)]
    zero = (
        f"0 on the scale is {task.floor_of} with {number(task.floor, 3)}"
        if task.floor_of
        else "no baseline was run"
    )
    yield from (f"### {TASK_NAMES[task.task]} ({task.task})", "")
    yield (
        f"{task.n} samples in {task.clusters} clusters; main score `{task.headline}`; {zero}; "
        f"smallest difference found with 80 % power: {number(task.detectable, 3)}; fingerprint `{task.fingerprint}`."
    )
    yield ""
    dimensions = list(rows[0].tasks[task.task].metrics) if rows else []
    yield from _table(
        ["rank", "contestant", *dimensions, *(f"judge {j}" for j in judges), "unscored by judges"],
        [
            [
                rank_text(row.tasks[task.task].rank),
                row.name,
                *(raw(row.tasks[task.task].metrics[d]) for d in dimensions),
                *(
                    raw(row.tasks[task.task].judges[j].total) if j in row.tasks[task.task].judges else "–"
                    for j in judges
                ),
                ", ".join(
                    str(row.tasks[task.task].judges[j].unscored)
                    for j in judges
                    if j in row.tasks[task.task].judges
                )
                or "–",
            ]
            for row in rows
        ],
    )
    yield from ("Comparisons (first minus second, sign-flip p, Holm-corrected):", "")
    yield from _table(
        ["first", "second", "difference", "95 %", "p", "p (Holm)", "win rate"],
        [
            [
                p.first,
                p.second,
                number(p.difference, 3),
                f"{number(p.low, 3)} to {number(p.high, 3)}",
                p_value(p.p),
                p_value(p.p_holm),
                number(p.win_rate, 2),
            ]
            for p in task.pairs
        ],
    )
    if task.agreement:
        yield from ("Agreement of raters:", "")
        yield from _table(
            [
                "first",
                "second",
                "n",
                "quadratic kappa",
                "Krippendorff alpha",
                "Spearman",
                "same step",
                "within one",
            ],
            [
                [
                    a.first,
                    a.second,
                    str(a.n),
                    *(number(v) for v in (a.kappa, a.alpha, a.spearman, a.exact, a.within_one)),
                ]
                for a in task.agreement
            ],
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(cell_text(h) for h in head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell_text(c) for c in row) + " |"
    yield ""


def cell_text(text: str) -> str:
    """Text that stays one cell and plain: names and commands may hold pipes, line ends, tags or links."""
    one_line = " ".join(str(text).split())
    for sign in ("\\", "|", "<", ">", "`", "[", "]", "*"):
        one_line = one_line.replace(sign, "\\" + sign)
    return one_line


def rank_text(rank: board.Rank | None) -> str:
    """A place or a range of places."""
    if rank is None:
        return "–"
    return str(rank.best) if rank.best == rank.worst else f"{rank.best}–{rank.worst}"


def with_span(estimate: board.Estimate | None) -> str:
    """A scaled score with its interval, times 100."""
    return (
        "–" if estimate is None or estimate.value is None else f"{hundred(estimate.value)} ({span(estimate)})"
    )


def raw(estimate: board.Estimate) -> str:
    """A score as it is, with its interval."""
    if estimate.value is None:
        return "–"
    return f"{estimate.value:.3f} ({number(estimate.low, 3)} to {number(estimate.high, 3)})"


def failures(row: board.Row) -> str:
    """Share of replies without an answer over all tasks."""
    count = sum(c.format_failures.count + c.refusals.count for c in row.tasks.values())
    n = sum(c.format_failures.n for c in row.tasks.values())
    return "–" if not n else f"{100 * count / n:.1f} %"


# ---- two runs in the terminal -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side: their names, and for each task they share its board and the pair of them there."""

    one: str
    other: str
    pairs: tuple[tuple[board.TaskBoard, board.Pair], ...]

    def text(self) -> str:
        """Return a few lines for the terminal."""
        lines = [_pair_text(task, pair, self.one, self.other) for task, pair in self.pairs]
        return "\n".join([f"{self.one} minus {self.other} (main score of each task, 0 to 1)", *lines])

    def json(self) -> str:
        """Return the pairs by task, with the intervals and tests of the leaderboard."""
        tasks = {task.task: pair.model_dump() for task, pair in self.pairs}
        return json.dumps({"one": self.one, "other": self.other, "tasks": tasks}, indent=1)


def compare(a: Run, b: Run, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare two runs task by task on the samples that both have scored.

    Raises
    ------
    InputError
        They share no task with the same samples, prompt and graph.
    """
    if a.manifest.contestant == b.manifest.contestant:
        a, b = _apart(a), _apart(b)
    groups = [g for g in build([a, b], seed=seed, resamples=resamples).groups if len(g.rows) == 2]
    one, other = a.manifest.contestant, b.manifest.contestant
    pairs = tuple((task, pair) for group in groups for task in group.tasks for pair in task.pairs)
    if not pairs:
        ceiling = f"; {CEILING} is the reference and is not compared" if CEILING in (one, other) else ""
        raise InputError(
            f"{a.folder} and {b.folder}: no task with the same samples, prompt and graph in both{ceiling}; "
            "run both with the same data, seed and --limit"
        )
    return Comparison(one, other, pairs)


def _apart(run: Run) -> Run:
    """The run with its folder in its contestant's name."""
    name = f"{run.manifest.contestant} ({Path(run.folder).name})"
    return replace(
        run,
        manifest=replace(run.manifest, contestant=name),
        answers=tuple(replace(answer, contestant=name) for answer in run.answers),
        scores=tuple(replace(score, contestant=name) for score in run.scores),
    )


def _pair_text(task: board.TaskBoard, pair: board.Pair, one: str, other: str) -> str:
    sign = 1 if pair.first == one else -1
    if pair.difference is None:
        return f"  {task.task:<13} no sample that both have scored"
    low, high = sorted((sign * (pair.low or 0.0), sign * (pair.high or 0.0)))
    better = one if sign * pair.difference > 0 else other
    verdict = f"{better} is better" if pair.p is not None and pair.p <= 0.05 else "no significant difference"
    return (
        f"  {task.task:<13} {sign * pair.difference:+.3f}  [{low:+.3f}, {high:+.3f}]  p {p_value(pair.p)}  "
        f"n {pair.common}  {verdict} (80 % power from {number(pair.detectable, 3)})"
    )
