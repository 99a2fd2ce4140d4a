"""``gather annotate --model``: the whole way from a file through a real server to labels, page and counts."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anndata as ad
import pytest
from typer.testing import CliRunner

import gather
from gather.cells.command import annotate_file
from gather.cells.options import LlmStep, Options
from gather.cli import app
from gather.labelling.frames import unpacked
from gather.llm.base import Scripted
from vckg.base.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")
DECLARED = ("B cell", "T cell", "monocyte")
RIGHT = json.dumps({"cell_type_ontology_term_id": "CL:0000236", "reasons": ["E1"]})

# a shell starts background jobs with SIGINT ignored, and children inherit that
HEAR_CTRL_C = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def source(blood_cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


def run(source: Path, graph, url: str, out: str = "out.h5ad", candidates=None, **step):
    llm = LlmStep("m", url, **step)
    page = source.with_name("page.html")
    options = Options("group", candidates=candidates)
    return annotate_file(source, source.with_name(out), graph, options, overwrite=True, report=page, llm=llm)


def test_the_models_choice_is_written_with_what_it_took(endpoint, source, blood_graph) -> None:
    server = endpoint(lambda *_: ("say", RIGHT))
    run(source, blood_graph, server.url, candidates=DECLARED)
    written = ad.read_h5ad(source.with_name("out.h5ad"))
    assert set(written.obs["gather_cell_type"]) == {"B cell"}
    kept = written.uns["gather"]
    assert {a.decided_by for a in unpacked(kept["evidence"])} == {"llm"}
    assert (kept["llm"]["calls"], kept["llm"]["prompt_tokens"], kept["llm"]["fallbacks"]) == (3, 21, "none")
    assert kept["llm"]["prompts"].startswith("gather-label-system@")
    assert len(server.requests) == 3
    assert len({body["messages"][0]["content"] for body in server.requests}) == 1
    page = source.with_name("page.html").read_text()
    assert "Language model" in page
    assert "gather-label-system@" in page


def test_a_name_that_a_cell_set_does_not_support_is_not_written(endpoint, source, blood_graph) -> None:
    server = endpoint(lambda *_: ("say", RIGHT))
    outcome = run(source, blood_graph, server.url)
    plain = annotate_file(source, source.with_name("plain.h5ad"), blood_graph, Options("group"))
    assert [a.curie for a in outcome.annotations] == [a.curie for a in plain.annotations]
    assert outcome.kept["llm"]["fallbacks"] == "unsupported:2"
    by = {a.label: a.decided_by for a in outcome.annotations}
    assert by == {"B cell": "llm", "T cell": "fallback", "monocyte": "fallback"}


def test_a_second_run_pays_nothing_and_gives_the_same(endpoint, source, blood_graph) -> None:
    server = endpoint(lambda *_: ("say", RIGHT))
    first = run(source, blood_graph, server.url)
    second = run(source, blood_graph, server.url, out="again.h5ad")
    assert len(server.requests) == 3
    assert second.annotations == first.annotations
    assert (second.kept["llm"]["calls"], second.kept["llm"]["cached"]) == (0, 3)


def test_a_model_that_talks_nonsense_leaves_the_labels_of_retrieval(endpoint, source, blood_graph) -> None:
    server = endpoint(lambda *_: ("say", "I cannot help with that."))
    outcome = run(source, blood_graph, server.url)
    plain = annotate_file(source, source.with_name("plain.h5ad"), blood_graph, Options("group"))
    assert [a.curie for a in outcome.annotations] == [a.curie for a in plain.annotations]
    assert outcome.kept["llm"]["fallbacks"] == "not_json:3"
    assert {a.decided_by for a in outcome.annotations} == {"fallback"}


def test_a_dry_run_sends_and_writes_nothing(endpoint, source, blood_graph, capsys) -> None:
    server = endpoint(lambda *_: ("say", RIGHT))
    run(source, blood_graph, server.url, dry_run=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 calls for 3 cell sets (0 in the cache)" in said
    assert "nothing was asked and nothing written" in said
    assert server.requests == []
    assert not source.with_name("out.h5ad").exists()
    assert not source.with_name("page.html").exists()

    run(source, blood_graph, server.url)
    run(source, blood_graph, server.url, dry_run=True)
    assert "0 calls for 3 cell sets (3 in the cache)" in " ".join(capsys.readouterr().err.split())


def test_ctrl_c_keeps_what_was_paid_for_and_writes_no_half_file(
    endpoint, source, blood_graph, tmp_path: Path
) -> None:
    def script(_body, n):
        time.sleep(0.1 if n == 1 else 1.0)
        return "say", RIGHT

    server = endpoint(script)
    folder = blood_graph.save(tmp_path / "graph")
    command = [sys.executable, "-m", "gather.cli", "annotate", str(source), "-o", str(tmp_path / "out.h5ad")]
    command += ["--groupby", "group", "--model", "m", "--base-url", server.url, "--graph", str(folder)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, preexec_fn=HEAR_CTRL_C) as process:
        while len(server.requests) < 2:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert sorted(p.name for p in tmp_path.glob("*.h5ad")) == ["in.h5ad"]
    paid = len(server.requests)
    again = run(source, blood_graph, server.url)
    assert again.kept["llm"]["cached"] == paid
    assert len(server.requests) == 3


def test_from_python_any_model_may_choose(blood_cells, blood_graph) -> None:
    model = Scripted(lambda _: RIGHT)
    gather.annotate(blood_cells, "group", graph=blood_graph, candidates=DECLARED, model=model)
    found = gather.results(blood_cells)
    assert {(a.curie, a.decided_by) for a in found} == {("CL:0000236", "llm")}
    assert set(blood_cells.obs["gather_cell_type"]) == {"B cell"}
    assert blood_cells.uns["gather"]["llm"]["calls"] == 3
    with pytest.raises(InputError, match="not single cells"):
        gather.annotate(blood_cells, graph=blood_graph, groupby="cell", model=Scripted({}), key_added="again")


@pytest.mark.browser
def test_the_page_of_a_real_run_opens_without_complaint(endpoint, source, blood_graph, page, axe) -> None:
    run(source, blood_graph, endpoint(lambda *_: ("say", RIGHT)).url, candidates=DECLARED)
    page.goto(source.with_name("page.html").as_uri())
    assert page.locator("#table tbody tr").count() == 3
    page.locator("#table").get_by_role("button", name="monocytes").click()
    assert page.locator("#detail .label").inner_text() == "B cell"
    assert page.locator(".picture svg .node").count() > 3
    assert axe(page) == []


@pytest.mark.parametrize("option", [["--dry-run"], ["--base-url", "http://127.0.0.1:1/v1"]])
def test_an_option_of_the_model_without_a_model_is_refused(option: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["annotate", "in.h5ad", "-o", str(tmp_path / "out.h5ad"), *option])
    assert isinstance(result.exception, InputError)
    assert f"{option[0]} is about a language model; name one with --model" in str(result.exception)


def test_what_the_model_took_is_said_in_one_line(endpoint, source, blood_graph, capsys) -> None:
    server = endpoint(lambda _body, n: ("say", RIGHT if n % 2 else "B cells, I think"))
    run(source, blood_graph, server.url, workers=1)
    said = " ".join(capsys.readouterr().err.split())
    assert "m: 3 calls, 0 more from the cache, 21 prompt and 9 completion tokens" in said
    assert "cell sets that keep retrieval's label: not json" in said
