"""The leaderboard for people: one self-contained page, Markdown for a repository, JSON for programs.

All three print one `Leaderboard`; nothing is counted here. Scores and win rates are shown times 100; the best
answer that ignores the cell is a line among the scores of its task.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from arena.leaderboard import schema
from arena.leaderboard.build import RESAMPLES, build
from arena.leaderboard.labels import (
    KIND_NAMES,
    TASK_NAMES,
    TASK_QUESTIONS,
    TITLE,
    bounds,
    hundred,
    number,
    p_value,
    signed,
    span,
)
from arena.report.figures import bar
from arena.report.markdown import markdown
from arena.report.view import GroupView, headline
from arena.types import Run
from vckg.base import html as pages
from vckg.base.atomic import write_text
from vckg.base.errors import InputError

TEMPLATES: Final = Path(__file__).parent / "templates"
HTML, MARKDOWN, JSON = "index.html", "leaderboard.md", "leaderboard.json"

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
        The runs cannot be counted (see `arena.leaderboard.build.build`), or the folder is a file.
    """
    return write_board(build(runs, seed=seed, resamples=resamples, graph_name=graph_name or ""), out)


def write_board(leaderboard: schema.Leaderboard, out: Path) -> list[Path]:
    """Write the page, the Markdown and the JSON of a leaderboard; return the three paths."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the report")
    texts = {HTML: html(leaderboard), MARKDOWN: markdown(leaderboard), JSON: leaderboard.to_json()}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def html(leaderboard: schema.Leaderboard) -> str:
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
        headline=headline(leaderboard),
        bar=bar,
        hundred=hundred,
        span=span,
        bounds=bounds,
        signed=signed,
        p_value=p_value,
        number=number,
        task_names=TASK_NAMES,
        task_questions=TASK_QUESTIONS,
        kind_names=KIND_NAMES,
        small=SMALL_STRATUM,
    )


def _pair_data(group: schema.Group) -> dict[str, list[list[object]]]:
    """Comparisons by column, as rows of first, second, difference, low, high, p, Holm p, detectable,
    common, wins.
    """
    columns: dict[str, Sequence[schema.Pair]] = {t.task: t.pairs for t in group.tasks}
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
