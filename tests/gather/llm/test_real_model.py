"""A small real model behind `vckg-serve`: the LLM step, and all four KG-RAG methods, from question to answer.

What 135 million parameters know of cells is not the point; that every reply is read, counted and kept is.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gather.benchmark.baselines.graph_view import GraphView
from gather.benchmark.baselines.interface import Question, attempt
from gather.benchmark.llm import KG_RAG
from gather.cli import app
from gather.llm.base import Counted
from gather.llm.cache import ReplyCache
from gather.llm.client import Client
from vckg.graph.graph import Graph

pytestmark = pytest.mark.slow
MODEL = "SmolLM2-135M-Instruct"
CANDIDATES = (("CL:0000084", "T cell"), ("CL:0000236", "B cell"), ("CL:0000576", "monocyte"))


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of a server with the embedded model."""
    pytest.importorskip("torch")
    program = "import sys; from serve.cli import main; sys.argv[0] = 'vckg-serve'; main()"
    command = [sys.executable, "-c", program, "start", "--port", "0", "--drain", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address = next(found for line in server.stderr if (found := re.search(r"http://[\d.:]+/v1", line)))
        yield address.group()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def question(graph: Graph) -> Question:
    symbols = ("CD79A", "MS4A1", "CD19", "CD79B")
    genes = tuple(graph.names.index(symbol) for symbol in symbols)
    return Question(genes, symbols, CANDIDATES, seeds=1)


@pytest.mark.parametrize("name", KG_RAG)
def test_a_kg_rag_method_answers_within_its_calls_and_pays_once(
    served: str, blood_graph: Graph, tmp_path: Path, name: str
) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite3")

    def ask() -> tuple[object, Counted]:
        model = Counted(Client(MODEL, base_url=served, cache=cache, max_tokens=96, timeout_s=600))
        return attempt(KG_RAG[name].answer, question(blood_graph), GraphView(blood_graph), model), model

    outcome, first = ask()
    assert outcome.stopped in ("sufficient", "half_stop", "depth", "answered")
    assert outcome.curie is None or outcome.curie in dict(CANDIDATES)
    assert outcome.calls > 0
    if name != "pog":  # it sets no width: the model may keep as many relations as it likes
        assert outcome.calls <= KG_RAG[name].calls_at_most(1)
    assert first.counters.asked == outcome.calls == first.counters.calls + first.counters.cached
    assert first.counters.failures == 0
    assert not first.counters.estimated  # the server counted the tokens
    again, second = ask()
    assert again == outcome
    assert second.counters.calls == 0


def test_cell_sets_are_named_by_one_call_each(
    served: str, blood_cells, blood_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    graph = str(blood_graph.save(tmp_path / "graph"))
    arguments = [
        "annotate",
        str(tmp_path / "in.h5ad"),
        "-o",
        str(tmp_path / "out.h5ad"),
        "--groupby",
        "group",
    ]
    arguments += ["--model", MODEL, "--base-url", served, "--timeout", "600", "-g", graph, "--force"]
    counts = []
    for _ in range(2):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        said = " ".join(result.stderr.split())
        counts.append(re.search(rf"{MODEL}: (\d) calls, (\d) more from the cache", said).groups())
    assert counts == [("3", "0"), ("0", "3")]
