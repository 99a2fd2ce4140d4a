"""One group of a leaderboard with what the page and the Markdown say about it in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from arena.leaderboard import schema
from arena.leaderboard.labels import TASK_NAMES, listed
from arena.leaderboard.ranking import ALPHA
from arena.report.figures import Scatter, scatter
from arena.types import TaskName
from vckg.base.words import counted

READABLE: Final = "an answer in the form that was asked for"


def headline(leaderboard: schema.Leaderboard) -> list[str]:
    """Return what the tests allow to say: one sentence, or how many rankings there are and then one of each."""
    views = [GroupView(group) for group in leaderboard.groups]
    if len(views) == 1:
        return [views[0].conclusion]
    apart = f"Here are {len(views)} rankings, because the runs differ in their samples, prompts or graph."
    return [apart, *(f"{view.title}: {view.conclusion}" for view in views)]


class GroupView:
    """One group with what the page and the Markdown say about it in words."""

    def __init__(self, group: schema.Group) -> None:
        self.group = group
        self.ranked = [row for row in group.rows if row.kind != "ceiling"]
        self.placed = [row for row in self.ranked if row.rank is not None]

    @property
    def title(self) -> str:
        """Number and samples of the ranking."""
        of = f"{self.group.dataset}, seed {self.group.runs[0].seed}, {counted(self.group.samples_total, 'sample')}"
        return f"Ranking {self.group.id[1:]} ({of})"

    @property
    def caveat(self) -> str:
        """Name the contestants that can look answers up; they have no rank over all tasks."""
        readers = [row.name for row in self.ranked if row.open_book]
        if not readers:
            return ""
        opened = "can look into the graph that many of these questions were made from (open book)."
        return f"{listed(readers)} {opened} An open book has no overall rank."

    @property
    def opened(self) -> str:
        """Tasks that are open book to somebody here, in words; empty where none is."""
        if not any(row.open_book for row in self.group.rows):
            return ""
        return listed([f"“{TASK_NAMES[t.task]}”" for t in self.group.tasks if t.made_from_graph])

    @property
    def conclusion(self) -> str:
        """The findings as one sentence."""
        first, *others = self.findings
        return "; ".join([first, *(f"o{finding[1:]}" for finding in others)]) + "."

    @property
    def findings(self) -> list[str]:
        """State what the paired tests of each task show, and nothing else."""
        if len(self.ranked) < 2:
            names = [f"{row.name} is the only contestant on its set of samples" for row in self.ranked]
            return [f"{(names or ['No contestant is ranked'])[0]}, so nothing can be compared"]
        parts = [self._settled(task) for task in self.group.tasks]
        if len(parts) > 1 and len({first for first, _ in parts}) == 1 and parts[0][0]:
            others = "every other ranked contestant" if self.opened else "every other contestant"
            return [f"On each of the {len(parts)} tasks {parts[0][0]} scores higher than {others}"]
        tasks_of: dict[str, list[schema.TaskBoard]] = {}
        for task, (_, finding) in zip(self.group.tasks, parts, strict=True):
            tasks_of.setdefault(finding, []).append(task)
        return [f"On {_asked(tasks)} {finding}" for finding, tasks in tasks_of.items()]

    def _settled(self, task: schema.TaskBoard) -> tuple[str, str]:
        """Who is better than all others on a task ("" where nobody is), and half a sentence on that."""
        asking = [row for row in self.ranked if task.task in row.tasks]
        rows = [row for row in asking if row.tasks[task.task].rank is not None]
        others = "every other contestant" if rows == asking else "every other ranked contestant"
        ranks = {r.name: r.tasks[task.task].rank for r in rows}
        first = sorted(name for name, rank in ranks.items() if rank and rank.best == 1)
        if asking and not any(row.tasks[task.task].replied for row in asking):
            return "", f"nobody gave {READABLE}"
        if len(rows) < 2:
            return "", "there is nobody to compare"
        if len(first) == 1 and ranks[first[0]] == schema.Rank(best=1, worst=1):
            return first[0], f"{first[0]} scores higher than {others}"
        if len(first) == 1:
            return "", f"{first[0]} is not shown to score higher than {others}, and nobody higher than it"
        if len(first) == len(rows):
            kind = "contestants" if rows == asking else "ranked contestants"
            which = f"the two {kind}" if len(rows) == 2 else f"no two of the {len(rows)} {kind}"
            return "", f"{which} can{'not' if len(rows) == 2 else ''} be told apart"
        if not first:
            return "", "nobody is shown to be the best"
        return "", f"{listed(first)} cannot be told apart as the best"

    @property
    def floor_note(self) -> str:
        """Name the models that score above the best answer that ignores the cell, and the tasks where none does."""
        tested = [task for task in self.group.tasks if task.over_floor]
        above = {task.task: [p.first for p in task.over_floor if _clear(p) > 0] for task in tested}
        none = [f"“{TASK_NAMES[task]}”" for task, names in above.items() if not names]
        parts = [
            f"on “{TASK_NAMES[task]}” {listed(names)} scored above it"
            for task, names in above.items()
            if names
        ]
        if none:
            parts.insert(0, f"on {listed(none)} no model is shown to score above it")
        return f"The best answer that ignores the cell is the floor: {'; '.join(parts)}." if parts else ""

    @property
    def effects(self) -> list[tuple[TaskName, schema.Pair, str]]:
        """Each model with evidence or tools against itself without, and what the test says."""
        said = {1: "helps", 0: "not shown", -1: "hurts"}
        return [(task.task, p, said[_clear(p)]) for task in self.group.tasks for p in task.effects]

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks of the group."""
        return tuple(t.task for t in self.group.tasks)

    def best_at(self, board: schema.TaskBoard) -> tuple[schema.Row | None, str]:
        """Return the best contestant of a task that reads the cell, and a sentence on where it stands, or why none is.

        Who looks answers up, gave none, or scored 0 is not best.
        """
        task = board.task
        asked = [row for row in self.ranked if task in row.tasks and row.kind != "trivial"]
        asked = [row for row in asked if not (row.open_book and board.made_from_graph)]
        rows = [row for row in asked if row.tasks[task].score.value is not None]
        rows.sort(key=lambda row: (-(row.tasks[task].score.value or 0.0), row.name))
        if not rows or not rows[0].tasks[task].score.value:
            if any(row.tasks[task].replied for row in asked):
                return None, "Every such answer scored 0."
            return None, f"Nobody who looks at the cell and has the book closed gave {READABLE}."
        best, cell = rows[0], rows[0].tasks[task]
        equal = [
            r.name for r in rows[1:] if (k := r.tasks[task].rank) and cell.rank and k.best <= cell.rank.worst
        ]
        if board.floor is not None and (cell.score.value or 0.0) <= board.floor:
            return best, "It is not above the line."
        if equal:
            who = listed(equal) if len(equal) <= 2 else f"{len(equal)} others"
            return best, f"{who} cannot be told apart from it on {counted(board.n, 'sample')}."
        if len(rows) == 1:
            return best, "No other ranked contestant looks at the cell."
        return best, "Significantly better than all others that look at the cell."

    def matrix(self, pairs: Sequence[schema.Pair]) -> list[tuple[str, list[tuple[schema.Pair | None, int]]]]:
        """Comparisons as rows of (pair, sign): sign 1 where the row is the pair's first, -1 its second, 0
        itself.
        """
        found: dict[tuple[str, str], tuple[schema.Pair | None, int]] = {}
        for pair in pairs:
            found[pair.first, pair.second] = (pair, 1)
            found[pair.second, pair.first] = (pair, -1)
        names = [row.name for row in self.ranked if any(row.name in key for key in found)]
        return [(a, [found.get((a, b), (None, 0)) for b in names]) for a in names]

    def shade(self, pair: schema.Pair | None, sign: int) -> str:
        """Class of a matrix cell: direction and step of the difference, and whether it is significant."""
        if pair is None or pair.difference is None:
            return "self"
        value = sign * pair.difference
        step = 1 + sum(abs(value) > edge for edge in (0.05, 0.15, 0.3))
        sure = " sure" if pair.p_holm is not None and pair.p_holm <= ALPHA else ""
        return f"{'up' if value > 0 else 'down'}{step}{sure}"

    def costs(self) -> Scatter | None:
        """Figure of cost against score; None where nobody's cost is known."""
        rows = [
            row for row in self.ranked if (row.cost.input_tokens or 0.0) + (row.cost.output_tokens or 0.0) > 0
        ]
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


def _asked(tasks: Sequence[schema.TaskBoard]) -> str:
    """Return tasks by name, with how many samples each has."""
    names = listed([f"“{TASK_NAMES[task.task]}”" for task in tasks])
    sizes = sorted({task.n for task in tasks})
    if len(sizes) > 1:
        return f"{names} with {sizes[0]} to {sizes[-1]} samples each"
    return f"{names} with {counted(sizes[0], 'sample')}{' each' if len(tasks) > 1 else ''}"


def _clear(pair: schema.Pair) -> int:
    """Sign of a difference that its own test finds, 0 where it finds none or one that no printed digit shows."""
    if pair.difference is None or pair.p is None or pair.p > ALPHA or round(pair.difference, 3) == 0:
        return 0
    return (pair.difference > 0) - (pair.difference < 0)


def standing(row: schema.Row) -> float | None:
    """Return the win rate times 100, or the mean score of the contestant's tasks."""
    if row.overall is not None and row.overall.value is not None:
        return 100 * row.overall.value
    values = [c.score.value for c in row.tasks.values() if c.score.value is not None]
    return 100 * sum(values) / len(values) if values else None


def cost_of(row: schema.Row, priced: bool) -> float:
    """List price, or tokens where nobody has a price."""
    return (
        (row.cost.list_usd or 0.0)
        if priced
        else (row.cost.input_tokens or 0.0) + (row.cost.output_tokens or 0.0)
    )
