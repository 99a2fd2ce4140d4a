"""The leaderboard as Markdown, for a repository or a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arena.leaderboard import schema
from arena.leaderboard.labels import (
    KIND_NAMES,
    TASK_NAMES,
    TITLE,
    bounds,
    hundred,
    number,
    p_value,
    rank_text,
    span,
)
from arena.report.view import GroupView, headline
from vckg.base.words import counted


def markdown(leaderboard: schema.Leaderboard) -> str:
    """Return the leaderboard as Markdown: summary, main table, comparisons, judges, provenance."""
    lines = [f"# {TITLE}", ""]
    if several := len(leaderboard.groups) > 1:
        lines += [line for said in headline(leaderboard) for line in (cell_text(said), "")]
    for view in map(GroupView, leaderboard.groups):
        lines += _group_markdown(view, view.title if several else "")
    lines += [
        f"Seed {leaderboard.seed}, {leaderboard.resamples:,} resamples. {leaderboard.canary}",
        "",
    ]
    return "\n".join(lines)


def _group_markdown(view: GroupView, title: str) -> Iterator[str]:
    group = view.group
    yield from summary(view, title)
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


def summary(view: GroupView, title: str = "") -> Iterator[str]:
    """Yield what a group shows: conclusion, main table, who leaves the floor, and what evidence and tools change."""
    group = view.group
    yield from (f"## {cell_text(title or f'{group.dataset} samples, seed {group.runs[0].seed}')}", "")
    yield from (f"**{cell_text(view.conclusion)}** {cell_text(view.caveat)}".rstrip(), "")
    yield from (
        "Scores of 100, with 95 % intervals. Win rate: the share of the other contestants that score lower, mean over "
        "tasks."
        + (
            " †: open book, the questions were made from the graph that this contestant reads."
            if view.opened
            else ""
        ),
        "",
    )
    yield from _table(
        ["rank", "contestant", "kind", "win rate", *(TASK_NAMES[t] for t in view.tasks), "no answer"],
        [
            [
                rank_text(row.rank),
                row.name,
                KIND_NAMES[row.kind] + (", open book" if row.open_book else ""),
                with_span(row.overall),
                *(_score(row, task) for task in group.tasks),
                failures(row),
            ]
            for row in group.rows
        ],
    )
    if view.floor_note:
        yield from (cell_text(view.floor_note), "")
    if view.effects:
        yield from ("What evidence and tools change, paired on the same samples, each test by itself:", "")
        yield from _table(
            ["task", "with", "without", "difference", "95 %", "p", "reading"],
            [
                [
                    TASK_NAMES[task],
                    p.first,
                    p.second,
                    number(p.difference, 3),
                    "–" if p.low is None else f"{number(p.low, 3)} to {number(p.high, 3)}",
                    p_value(p.p),
                    reading,
                ]
                for task, p, reading in view.effects
            ],
        )


def _score(row: schema.Row, task: schema.TaskBoard) -> str:
    """Return a contestant's score on a task, marked where the task is open book for it."""
    if task.task not in row.tasks:
        return "–"
    return with_span(row.tasks[task.task].score) + (" †" if row.open_book and task.made_from_graph else "")


def _task_markdown(view: GroupView, task: schema.TaskBoard) -> Iterator[str]:
    rows = [row for row in view.group.rows if task.task in row.tasks]
    judges = [j for j in view.group.judges if any(j in row.tasks[task.task].judges for row in rows)]
    line = (
        f"ignoring the cell: {task.floor_of} with {number(task.floor, 3)}"
        if task.floor_of
        else "no baseline that ignores the cell was run"
    )
    yield from (f"### {TASK_NAMES[task.task]} ({task.task})", "")
    yield (
        f"{counted(task.n, 'sample')} in {counted(task.clusters, 'cluster')}; main score `{task.headline}`; {line}; "
        f"smallest difference found with 80 % power (a typical pair): {number(task.detectable, 3)}; "
        f"fingerprint `{task.fingerprint}`."
    )
    yield ""
    yield from _score_table(rows, task, judges)
    yield from ("Comparisons (first minus second, sign-flip p, Holm-corrected):", "")
    yield from _pair_table(task.pairs)
    if task.agreement:
        yield from ("Agreement of raters:", "")
        yield from _agreement_table(task.agreement)


def _score_table(rows: Sequence[schema.Row], task: schema.TaskBoard, judges: Sequence[str]) -> Iterator[str]:
    cells = [row.tasks[task.task] for row in rows]
    dimensions = list(cells[0].metrics) if cells else []
    yield from _table(
        ["rank", "contestant", *dimensions, *(f"judge {j}" for j in judges), "unscored by judges"],
        [
            [
                rank_text(cell.rank),
                row.name,
                *(raw(cell.metrics[d]) for d in dimensions),
                *(raw(cell.judges[j].total) if j in cell.judges else "–" for j in judges),
                ", ".join(str(cell.judges[j].unscored) for j in judges if j in cell.judges) or "–",
            ]
            for row, cell in zip(rows, cells, strict=True)
        ],
    )


def _pair_table(pairs: Sequence[schema.Pair]) -> Iterator[str]:
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
            for p in pairs
        ],
    )


def _agreement_table(agreements: Sequence[schema.Agreement]) -> Iterator[str]:
    measures = ["quadratic kappa", "Krippendorff alpha", "Spearman", "same step", "within one"]
    yield from _table(
        ["first", "second", "n", *measures],
        [
            [
                a.first,
                a.second,
                str(a.n),
                *(number(v) for v in (a.kappa, a.alpha, a.spearman, a.exact, a.within_one)),
            ]
            for a in agreements
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(cell_text(h) for h in head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell_text(c) for c in row) + " |"
    yield ""


def cell_text(text: str) -> str:
    """Escape a text so that it stays one plain cell: names may hold pipes, line ends, tags or links."""
    one_line = " ".join(str(text).split())
    for sign in ("\\", "|", "<", ">", "`", "[", "]", "*"):
        one_line = one_line.replace(sign, "\\" + sign)
    return one_line


def with_span(estimate: schema.Estimate | None) -> str:
    """Return a score or win rate with its interval, times 100."""
    return (
        "–" if estimate is None or estimate.value is None else f"{hundred(estimate.value)} ({span(estimate)})"
    )


def raw(estimate: schema.Estimate) -> str:
    """Return a score from 0 to 1 with its interval."""
    if estimate.value is None:
        return "–"
    return f"{estimate.value:.3f} ({bounds(estimate, 3)})"


def failures(row: schema.Row) -> str:
    """Return the share of replies without an answer over all tasks."""
    count = sum(c.format_failures.count + c.refusals.count for c in row.tasks.values())
    n = sum(c.format_failures.n for c in row.tasks.values())
    return "–" if not n else f"{100 * count / n:.1f} %"
