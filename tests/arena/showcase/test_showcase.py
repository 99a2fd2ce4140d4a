"""The showcase: a step is run once for the same inputs, what was killed goes on, and every page of it holds."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest

from arena.tasks import TASKS
from benchmarks.showcase.__main__ import CONTESTANTS, LABELLED, Plan, make_plan, steps
from benchmarks.showcase.pages import clock, histogram, labelled, server_facts, sources_with_edges
from benchmarks.showcase.steps import SERVER, Server, Step, StepFailed, Story, read_counters
from vckg.base.errors import InputError
from vckg.graph.graph import Graph
from vckg.printers.graph import graph_facts
from vckg.quality.card import source_rows

ROOT = Path(__file__).parents[3]


def story(folder: Path) -> Story:
    return Story(folder, Server(folder / "serving", "none"))


def taken(folder: Path, *listed: Step) -> list[str]:
    """Names of the steps that were really run."""
    told = []
    with story(folder) as running:
        for step in listed:
            stamp = folder / "stamps" / f"{step.name}.json"
            before = stamp.stat().st_mtime_ns if stamp.exists() else 0
            running.take(step, "")
            told += [step.name] if stamp.stat().st_mtime_ns != before else []
    return told


def listing(name: str, reads: Path, after: tuple[str, ...] = ()) -> Step:
    return Step(name, name, ["vckg", "sources", "--json"], reads=[reads], after=after, saves=f"{name}.json")


def test_a_step_is_run_once_and_again_where_something_it_depends_on_changed(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "out"
    source.write_text("one")
    one, two = listing("one", source), listing("two", ROOT / "LICENSE", after=("one",))
    assert taken(folder, one, two) == ["one", "two"]
    assert json.loads((folder / "one.json").read_text())
    assert taken(folder, one, two) == []
    (folder / "two.json").unlink()
    assert taken(folder, one, two) == ["two"]
    source.write_text("other")
    assert taken(folder, one, two) == ["one", "two"]


def test_what_a_step_took_is_kept_with_it(tmp_path: Path) -> None:
    step = listing("one", ROOT / "LICENSE")
    for _ in range(2):
        with story(tmp_path) as running:
            running.take(step, "")
            (row,) = running.rows([step])
    assert row.seconds > 0.1
    assert 2e7 < row.peak_bytes < 2e9
    assert row.command == "vckg sources --json"


def test_a_command_that_fails_is_named_and_leaves_no_stamp(tmp_path: Path) -> None:
    step = Step("bad", "bad", ["vckg", "info", "--graph", "nowhere"], saves="bad.json")
    with (
        story(tmp_path) as running,
        pytest.raises(StepFailed, match=r"`vckg info --graph nowhere` ended with 2"),
    ):
        running.take(step, "")
    assert not (tmp_path / "stamps" / "bad.json").exists()
    assert not (tmp_path / "bad.json").exists()


def test_the_plan_is_all_tasks_two_judges_and_every_file_twice(tmp_path: Path) -> None:
    plan = Plan((tmp_path,), {"a": (tmp_path / "a.h5ad", "auto"), "b": (tmp_path / "b.h5ad", "x")}, limit=3)
    listed = list(steps(plan))
    assert [s.asks for s in listed if s.name.startswith("annotate")] == [False, True, False, True]
    runs = [s.command for s in listed if s.name.startswith("arena-")]
    assert len(runs) == len(CONTESTANTS) >= 6
    assert len(TASKS) == 5
    assert all("--task" not in c and "--judge" in c for c in runs)
    known: set[str] = set()
    for step in listed:
        assert known >= set(step.after)
        assert (SERVER in step.command) == step.asks
        known.add(step.name)


def test_every_command_of_the_story_exists_with_its_options(tmp_path: Path) -> None:
    import typer

    for step in steps(
        Plan((tmp_path,), {LABELLED: (tmp_path / "a.h5ad", "auto")}, limit=3, mouse=tmp_path / "m.h5ad")
    ):
        program, *words = step.command
        module = {"vckg-serve": "serve.cli"}.get(program, f"{program}.cli")
        if words[0] == "-c":
            compile(words[1], step.name, "exec")
            continue
        if program == "python":
            assert words[0] == "-m"
            module, words = f"{words[1]}.__main__", words[2:]
        command: Any = typer.main.get_command(importlib.import_module(module).app)
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        known = {o for p in command.params for o in p.opts}
        assert {w for w in words if re.match(r"--?[a-z]", w)} <= known, step.name


def test_without_a_mirror_it_is_the_core_graph_and_scanpys_cells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VCKG_MIRROR", raising=False)
    plan = make_plan(2)
    assert (plan.profile, list(plan.files)) == ("core", ["pbmc68k_reduced"])
    assert "gene-prior" not in plan.contestants  # it answers for a perturbation alone, and none is drawn
    monkeypatch.setenv("VCKG_MIRROR", str(tmp_path))
    with pytest.raises(InputError, match=r"no h5ad/pbmc68k_reduced\.h5ad there"):
        make_plan(2)


METRICS = """# TYPE x counter
vckg_serve_prompt_tokens_total 100
vckg_serve_cached_tokens_total 25
vckg_serve_output_tokens_total 60
vckg_serve_decode_forwards_total 20
vckg_serve_drafted_tokens_total 80
vckg_serve_accepted_tokens_total 40
vckg_serve_finished_total{reason="stop"} 3
vckg_serve_finished_total{reason="length"} 1
vckg_serve_responses_total{path="/v1/chat/completions",status="200"} 4
vckg_serve_ttft_seconds_bucket{le="0.5"} 1
vckg_serve_ttft_seconds_bucket{le="10.0"} 3
vckg_serve_ttft_seconds_bucket{le="+Inf"} 4
"""


@pytest.mark.data
@pytest.mark.xdist_group("core-graph")
def test_sources_are_counted_as_on_the_graph_card(core_graph: Graph) -> None:
    told = graph_facts(core_graph)["sources"]
    assert sources_with_edges(told) == len(source_rows(core_graph)) < sum(":" not in name for name in told)


def test_the_servers_counters_are_read_as_they_are_written() -> None:
    found = read_counters(METRICS)
    facts = server_facts(found)
    assert (facts["requests"], facts["cached"], facts["accepted"], facts["tokens_per_pass"]) == (
        4,
        0.25,
        0.5,
        3.0,
    )
    assert labelled(found, "responses_total") == {"/v1/chat/completions, 200": 4}
    assert [(b.upto, b.observed, b.share) for b in histogram(found, "ttft_seconds")] == [
        ("0.5", 1, 0.5),
        ("10.0", 2, 1.0),
        ("+Inf", 1, 0.5),
    ]
    assert clock(3725) == "62:05"


# ---- the whole of it, as small as it gets -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A showcase of one sample a task, killed on its way and started again."""
    folder = tmp_path_factory.mktemp("showcase")
    environment = {**os.environ, "VCKG_MIRROR": str(mirror), "VCKG_CACHE": str(folder / "cache")}
    command = [
        sys.executable,
        "-m",
        "benchmarks.showcase",
        "-o",
        str(folder / "out"),
        "-n",
        "1",
        "--load",
        "4",
    ]
    with (folder / "first.log").open("w") as log:
        first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        ends = time.monotonic() + 1800
        try:
            while first.poll() is None and not list((folder / "out" / "stamps").glob("arena-random-*.json")):
                assert time.monotonic() < ends, (folder / "first.log").read_text()[-2000:]
                time.sleep(0.2)
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr[-4000:]
    assert second.stderr.count("done before") >= 9
    assert Path(second.stdout.strip()) == folder / "out" / "index.html"
    return folder / "out"


@pytest.fixture(scope="module")
def reached(told: Path) -> list[Path]:
    """The index and every page that is reached from it by links; each link leads somewhere."""
    seen, waiting = [told / "index.html"], [told / "index.html"]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r'<a [^>]*?href="([^"]+)"', page.read_text(encoding="utf-8")):
            parts = urlsplit(target)
            if parts.scheme or not parts.path:
                continue
            path = (page.parent / unquote(parts.path)).resolve()
            assert path.is_file(), f"{page}: {target}"
            if path.suffix == ".html" and path not in seen:
                seen.append(path)
                waiting.append(path)
    return seen


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.data
def test_every_page_of_the_story_is_reached_from_the_index(told: Path, reached: list[Path]) -> None:
    names = {str(path.relative_to(told)) for path in reached}
    assert names >= {"index.html", "graph-card.html", "serving.html", "leaderboard/index.html"}
    assert len([n for n in names if n.startswith("annotation/")]) == 6 + 3


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.data
def test_the_board_has_all_contestants_on_all_tasks_with_two_judges(told: Path) -> None:
    board = json.loads((told / "leaderboard" / "leaderboard.json").read_text())
    (group,) = board["groups"]
    assert {row["name"] for row in group["rows"]} == set(CONTESTANTS)
    assert sum(set(row["tasks"]) == set(TASKS) for row in group["rows"]) >= 6
    assert len(group["judges"]) == 2
    took = json.loads((told / "steps.json").read_text())
    assert all(step["seconds"] > 0 and step["peak_bytes"] > 1e7 for step in took["steps"])
    assert len(took["steps"]) == 2 + 6 + 1 + 3 + len(CONTESTANTS) + 1 + 3 + 1 + 1


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.data
@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_accessible_fits_and_asks_for_nothing(
    reached: list[Path],
    page: Any,
    axe: Callable[[Any], list[str]],
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for path in reached:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        anchors = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
        )
        missing = [a for a in anchors if len(a) > 1 and page.locator(f'[id="{a[1:]}"]').count() == 0]
        assert missing == [], path
