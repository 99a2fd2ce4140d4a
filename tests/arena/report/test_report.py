"""The page opens from a file, asks for nothing, shows hostile text as text, and can be used."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from arena.leaderboard import compare as comparison
from arena.leaderboard import labels as words
from arena.leaderboard.build import build
from arena.leaderboard.schema import Estimate
from arena.report import figures
from arena.report import html as report
from arena.report.markdown import cell_text
from arena.tasks import TASKS
from arena.types import Run, TaskName
from vckg.base.errors import InputError

MakeRuns = Callable[..., list[Run]]
FIELD = {
    "gold": 1.0,
    "good/model": 0.8,
    "gather": 0.5,
    "<script>alert(7)</script>": 0.45,
    "majority": 0.3,
    "random": 0.1,
}


@pytest.fixture(scope="module")
def folder(make_runs: MakeRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    written = report.write_report(
        make_runs(FIELD, tasks=TASKS, n=30, judges=("knowledge", "good/judge")),
        out,
        "toy graph",
        resamples=200,
    )
    assert [path.name for path in written] == ["index.html", "leaderboard.md", "leaderboard.json"]
    return out


def test_the_three_forms_say_the_same(folder: Path) -> None:
    board = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    leader = next(r for r in board["groups"][0]["rows"] if r["kind"] == "model")
    shown = f"{words.hundred(leader['overall']['value'])}"
    markdown = (folder / "leaderboard.md").read_text(encoding="utf-8")
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert f"| {leader['name']} | model | {shown} (" in markdown
    assert f"<strong>{shown}</strong>" in html
    first = "<li><bdi>On “"
    assert first in html
    assert unescape(html.partition(first)[2].partition("</bdi>")[0]) in markdown.replace("\\", "")
    assert board["canary"] in markdown
    assert board["canary"] in html


def test_hostile_names_and_answers_are_never_markup(folder: Path) -> None:
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(7)" in html
    assert ".innerHTML" not in html
    markdown = (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    assert cell_text("a|b\n[x](y) `c`") == "a\\|b \\[x\\](y) \\`c\\`"


def test_the_same_runs_give_the_same_files(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs({"a": 0.4, "b": 0.5}, n=12)
    for out in ("one", "two"):
        report.write_report(runs if out == "one" else runs[::-1], tmp_path / out, resamples=50)
    for name in (report.HTML, report.MARKDOWN, report.JSON):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_file_in_the_way_is_said_to_be(make_runs: MakeRuns, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="is a file; give a folder"):
        report.write_report(make_runs({"a": 0.4}), tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    "field",
    [
        {"a": 0.5},
        {"gold": 1.0},
        {"majority": 0.2},
        {"a": 0.0, "b": 0.0},
        {"a": 1.0, "b": 1.0, "majority": 1.0},
        {"gold": 1.0, "a": 0.3},
    ],
    ids=str,
)
def test_few_or_extreme_contestants_still_make_a_page(field: dict[str, float], make_runs: MakeRuns) -> None:
    for tasks in (("qa",), ("annotation", "qa")):
        board = build(make_runs(field, tasks=tasks, n=5, judges=()), resamples=20)
        assert "<main" in report.html(board)
        assert report.markdown(board).startswith("# Virtual cell arena")


def test_open_book_is_said_where_a_reader_looks(make_runs: MakeRuns) -> None:
    """At the top, at each such score and in the notes; who can look answers up wins no task made from the graph."""
    field = {"gold": 1.0, "majority": 0.2, "gather": 0.9, "small": 0.4}
    html = report.html(build(make_runs(field), resamples=50))
    lede, _, page = html.partition("</header>")
    assert (
        "gather can look into the graph that many of these questions were made from (open book). An " in lede
    )
    assert "An open book has no overall rank." in lede
    cards = page[page.index("Best at each task") : page.index("All scores")]
    made_from_graph = cards[cards.index("Answer questions") :]
    assert "gather" not in made_from_graph
    assert "<bdi>small</bdi>" in made_from_graph.replace("\n", "")
    assert page.count('class="open"') == 1
    assert (
        "Open book: gather can look into the graph from which the samples of “Answer questions” were made"
        in page
    )
    assert report.markdown(build(make_runs(field), resamples=50)).count(") †") == 1


def test_the_best_reader_of_a_task_claims_no_more_than_the_table(make_runs: MakeRuns) -> None:
    """Nothing is won below the line of answers that ignore the cell, nor against nobody."""

    def cards(field: dict[str, float]) -> str:
        page = report.html(build(make_runs(field), resamples=50))
        return page[page.index("Best at each task") : page.index("All scores")]

    below = cards({"gold": 1.0, "majority": 0.8, "small": 0.2})
    assert "It is not above the line." in below
    assert "Significantly" not in below
    assert "No other ranked contestant looks at the cell." in cards(
        {"gold": 1.0, "majority": 0.0, "small": 1.0}
    )


def test_groups_that_must_not_be_compared_are_apart_on_the_page(make_runs: MakeRuns) -> None:
    runs = make_runs({"a": 0.4, "b": 0.5}, n=8)
    other = replace(runs[1], manifest=replace(runs[1].manifest, graph_hash="another"))
    html = report.html(build([runs[0], other], resamples=20))
    lede, _, _page = html.partition("</header>")
    assert "<strong>Here are 2 rankings, because" in lede
    assert lede.count("is the only contestant on its set of samples") == 2
    assert "Ranking 2 (fresh, seed 1, 16 samples), of 2</h2>" in html
    assert 'id="ranking-g2"' in html


def test_two_runs_are_compared_in_words(make_runs: MakeRuns) -> None:
    strong, weak = make_runs({"strong": 0.9, "weak": 0.3}, n=60)
    text = comparison.compare([weak], [strong], resamples=200).text()
    assert text.startswith("weak minus strong")
    assert re.search(r"annotation +-0\.\d+ +\[-0\.\d+, -0\.\d+\] +p .* strong is better", text)
    again = comparison.compare([strong], [replace(strong, folder="/runs/second")], resamples=50).text()
    assert "strong (strong) minus strong (second)" in again
    assert "no significant difference" in again
    other = replace(weak, manifest=replace(weak.manifest, graph_hash="z"))
    with pytest.raises(InputError, match="no task with the same samples"):
        comparison.compare([strong], [other])


def test_runs_of_two_contestants_are_compared_on_every_set_of_samples_that_both_answered(
    make_runs: MakeRuns,
) -> None:
    strong, weak = make_runs({"strong": 0.9, "weak": 0.3}, n=60)
    strong_2, weak_2 = make_runs({"strong": 0.9, "weak": 0.3}, n=20, tasks=("annotation",))
    (alone,) = make_runs({"strong": 0.9}, n=30, tasks=("perturbation",))
    one = comparison.compare([strong, strong_2, alone], [weak], resamples=20)
    assert list(json.loads(one.json())["tasks"]) == ["annotation", "qa"]
    both = comparison.compare([strong, strong_2], [weak, weak_2], resamples=20)
    assert set(json.loads(both.json())["tasks"]) == {
        "annotation (fresh, seed 1, n = 60)",
        "annotation (fresh, seed 1, n = 20)",
        "qa",
    }
    again = replace(strong, folder="/runs/again")
    with pytest.raises(
        InputError, match=r"two runs of strong answered .* folder of one: .*strong or /runs/again"
    ):
        comparison.compare([strong, again], [weak])


def test_a_task_that_one_of_two_runs_can_look_up_is_compared_and_said_to_be(make_runs: MakeRuns) -> None:
    one, other = make_runs({"gather": 0.9, "m": 0.3}, n=20)
    compared = comparison.compare([one], [other], resamples=20)
    assert re.search(r"\n  qa +\+0\.\d+", compared.text())
    assert compared.text().endswith(
        "qa: open book for gather, who can look into the graph that it was made from"
    )
    assert set(json.loads(compared.json())["tasks"]) == {"annotation", "qa"}


def test_figures_keep_every_mark_inside_and_label_without_collision() -> None:
    points = [(f"model number {i}", 10.0 ** (i % 4), 50.0 + i % 3, "model", i == 0) for i in range(30)]
    drawn = figures.scatter(points, x_label="x", y_label="y")
    assert all(figures.LEFT <= p.x <= figures.WIDTH and 0 <= p.y <= figures.HEIGHT for p in drawn.points)
    assert drawn.points[0].label
    assert 1 <= sum(bool(p.label) for p in drawn.points) < 30
    blind = figures.scatter(
        [("a", 100.0, 0.0, "model", True), ("b", 0.0, 0.0, "model", True)],
        x_label="x",
        y_label="y",
        diagonal=True,
    )
    assert [t.text for t in blind.x_ticks] == [t.text for t in blind.y_ticks]
    assert figures.bar(Estimate(value=0.1, low=0, high=0.2, n=3), 0.5) == (0, 20, 10, 50)
    assert figures.bar(Estimate(value=1, low=None, high=None, n=3)) == (100, 100, 100, None)
    assert figures.bar(Estimate(value=None, low=None, high=None, n=0)) is None


def test_numbers_in_words() -> None:
    assert (words.hundred(-0.001), words.hundred(-0.12), words.hundred(None)) == ("0", "−12", "–")
    assert (words.signed(0.05), words.signed(-0.05), words.p_value(0.0), words.p_value(0.5)) == (
        "+5",
        "−5",
        "< 0.001",
        "0.500",
    )


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_the_page_is_accessible_in_light_and_dark_wide_and_narrow(
    folder: Path, page: Any, axe: Any, scheme: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto((folder / "index.html").as_uri())
    page.locator("[data-browser]").scroll_into_view_if_needed()
    page.wait_for_selector(".sample .card")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_tables_sort_and_filter_tabs_move_by_key_and_answers_open(folder: Path, page: Any) -> None:
    page.goto((folder / "index.html").as_uri())
    table = page.locator("#main-g1")
    table.get_by_role("button", name="Name the cell").click()
    column = [
        float(v)
        for v in table.locator("tbody tr td:nth-child(4)").evaluate_all(
            "cells => cells.map(c => c.dataset.value)"
        )
    ]
    assert column == sorted(column, reverse=True)
    page.locator("input[data-filters=main-g1]").fill("gather")
    assert table.locator("tbody tr:visible").count() == 1
    page.get_by_role("tab", name="Name the cell").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Describe the cell").get_attribute("aria-selected") == "true"
    assert page.locator("#panel-annotation-g1").is_hidden()
    page.keyboard.press("ArrowLeft")
    page.locator("#panel-annotation-g1 .matrix tbody td:not(.self)").first.click()
    assert "95 % interval" in page.locator("#panel-annotation-g1 .matrix-note").inner_text()
    browser = page.locator("[data-browser]")
    browser.scroll_into_view_if_needed()
    browser.locator("[data-role=left]").select_option("<script>alert(7)</script>")
    answer = browser.locator(".sample .card pre").first
    assert answer.inner_text().startswith("<script>alert(")
    browser.locator("[data-role=find]").fill("nothing is called so")
    assert browser.locator("[data-role=count]").inner_text() == "0 questions"


@pytest.mark.browser
def test_without_its_script_the_page_still_reads(folder: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    assert page.locator(".race tbody tr").count() == 4  # the reference and the open book stand in no rank
    assert page.locator("#panel-qa-g1 table").first.is_visible()
    context.close()


@pytest.mark.slow
@pytest.mark.browser
def test_50_contestants_on_2000_samples_stay_under_10_megabytes_and_accessible(
    make_runs: MakeRuns, page: Any, axe: Any, tmp_path: Path
) -> None:
    field = {"gold": 1.0, "majority": 0.2, **{f"provider/model-{i:02d}": 0.3 + i / 100 for i in range(48)}}
    report.write_report(make_runs(field, tasks=TASKS, n=400), tmp_path)
    assert (tmp_path / report.HTML).stat().st_size < 10_000_000
    page.goto((tmp_path / report.HTML).as_uri())
    assert page.locator(".race tbody tr").count() == 49
    page.locator("[data-browser]").scroll_into_view_if_needed()
    page.wait_for_selector(".sample .card")
    assert axe(page) == []


def test_a_page_is_written_where_nobody_to_rank_took_part_in_every_task(
    make_runs: MakeRuns, tmp_path: Path
) -> None:
    tasks: tuple[TaskName, ...] = ("annotation", "captioning")
    runs = make_runs({"gather": 0.4, "majority": 0.4}, n=12, tasks=tasks)
    runs += make_runs({"b": 0.5}, n=12, tasks=("annotation",))
    report.write_report(runs, tmp_path, resamples=50)
    (group,) = json.loads((tmp_path / report.JSON).read_text(encoding="utf-8"))["groups"]
    assert [row["name"] for row in group["rows"] if row["rank"] and not row["overall"]] == []
