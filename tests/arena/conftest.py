"""A graph of a few blood cells that the arena's scoring tests share."""

import contextlib
import importlib.metadata
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arena.contestants.resolve import resolve
from arena.judging.rubric import RUBRICS
from arena.scoring import metrics
from arena.types import Answer, Run, RunManifest, Sample, Score, TaskName, Usage, samples_sha256
from tests.arena.toy import make_fresh_graph, write_mirror
from vckg.graph.graph import Graph

# The engine asks for the installed packages once a task and reads every installed file's name; they do not change.
importlib.metadata.packages_distributions = cache(importlib.metadata.packages_distributions)

CELLS = {  # id -> (label, parent, synonyms, definition)
    "CL:0000000": ("cell", None, (), ""),
    "CL:0000738": ("leukocyte", "CL:0000000", ("white blood cell",), "An achromatic cell of the blood."),
    "CL:0000542": ("lymphocyte", "CL:0000738", (), "A leukocyte of the lymphoid line."),
    "CL:0000084": (
        "T cell",
        "CL:0000542",
        ("T lymphocyte", "T-cell"),
        "A lymphocyte with a T cell receptor.",
    ),
    "CL:0000624": ("CD4-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD4."),
    "CL:0000625": ("CD8-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD8."),
    "CL:0000236": ("B cell", "CL:0000542", ("B lymphocyte", "B-cell"), "A lymphocyte that makes antibodies."),
    "CL:0000576": ("monocyte", "CL:0000738", (), "A leukocyte that becomes a macrophage."),
    "CL:0000057": ("fibroblast", "CL:0000000", (), "A cell of connective tissue."),
    "CL:0000540": ("neuron", "CL:0000000", ("nerve cell",), "The cell of the nervous system."),
}
MARKERS = {
    "CL:0000084": ("CD3D", "CD3E", "TRAC"),
    "CL:0000624": ("CD4", "IL7R"),
    "CL:0000625": ("CD8A", "CD8B"),
    "CL:0000236": ("CD19", "MS4A1", "CD79A"),
    "CL:0000576": ("CD14", "LYZ"),
    "CL:0000057": ("COL1A1", "DCN"),
}
OTHER_GENES = ("GATA1", "KLF1", "HBG1", "SPI1", "ACTB", "MALAT1", "TP53", "CDKN1A")
REGULATES = (("KLF1", "HBG1", 1), ("TP53", "CDKN1A", 1), ("GATA1", "SPI1", -1))


@pytest.fixture(scope="session")
def blood() -> Graph:
    """Ten cell types, their markers with publications, three signed regulations."""
    genes = sorted({*OTHER_GENES, *(g for markers in MARKERS.values() for g in markers)})
    curie = {gene: f"HGNC:{i}" for i, gene in enumerate(genes, start=100)}
    nodes = pd.DataFrame(
        [
            *(
                {"id": i, "category": "Cell", "name": n, "synonyms": s, "description": d}
                for i, (n, _, s, d) in CELLS.items()
            ),
            *(
                {"id": curie[g], "category": "Gene", "name": g, "synonyms": (), "description": ""}
                for g in genes
            ),
            {
                "id": "GO:0030218",
                "category": "BiologicalProcess",
                "name": "erythrocyte differentiation",
                "synonyms": (),
                "description": "",
            },
        ]
    )
    edges = [
        *(
            (child, "subclass_of", parent, "cl", 0, ())
            for child, (_, parent, _, _) in CELLS.items()
            if parent
        ),
        *(
            (curie[g], "is_marker_for", cell, "cellmarker2", 0, (f"PMID:{n}000", f"PMID:{n}001"))
            for n, (cell, markers) in enumerate(MARKERS.items(), start=1)
            for g in markers
        ),
        *((curie[a], "regulates", curie[b], "collectri", sign, ("PMID:77",)) for a, b, sign in REGULATES),
        (curie["KLF1"], "participates_in", "GO:0030218", "go", 0, ()),
    ]
    columns = ["subject", "relation", "object", "source", "sign", "publications"]
    return Graph.from_frames(nodes, pd.DataFrame(edges, columns=columns))


def synthetic_runs(
    contestants: Mapping[str, float],
    *,
    tasks: Sequence[TaskName] = ("annotation", "qa"),
    n: int = 40,
    judges: Sequence[str] = ("knowledge",),
    seed: int = 0,
) -> list[Run]:
    """Runs whose main scores are hits with the given chance, in ten clusters; texts are hostile."""
    samples = {
        f"t/{task}/{i:05d}": Sample(
            f"t/{task}/{i:05d}",
            task,
            {},
            _GOLD[task],
            _FIELDS[task],
            f"c{i % 10}",
            {"tissue": f"tissue {i % 3}"},
            {},
        )
        for task in tasks
        for i in range(n)
    }
    digests = {task: samples_sha256([s for s in samples.values() if s.task == task]) for task in tasks}
    runs = []
    for number, (name, chance) in enumerate(contestants.items()):
        rng = np.random.default_rng([seed, number])
        answers, scores = [], []
        for sample in samples.values():
            hit = float(rng.random() < chance)
            text = f"<script>alert({number})</script> {name} says {sample.id}"
            usage = Usage(100, 10, False, 0.001 * (number + 1))
            answers.append(
                Answer(
                    sample.id,
                    name,
                    sample.task,
                    text,
                    _PARSED[sample.task],
                    True,
                    False,
                    usage,
                    0.1,
                    prompt=f"Q {sample.id}",
                )
            )
            for dimension in metrics.DIMENSIONS[sample.task]:
                scores.append(Score(sample.id, name, sample.task, "metrics", dimension, hit, "why"))
            for judge in judges:
                scores.append(
                    Score(
                        sample.id,
                        name,
                        sample.task,
                        judge,
                        "total",
                        None if rng.random() < 0.05 else 0.8 * hit,
                        "it <b>is</b>",
                    )
                )
        manifest = RunManifest(
            name,
            tuple(tasks),
            "fresh",
            1,
            None,
            1,
            digests,
            {t: f"{t}@1" for t in tasks},
            "abc",
            tuple(judges),
            "0.1",
            "inspect",
            "deadbeef",
            f"arena run {name}",
            "2026-11-22T00:00:00Z",
            {"kind": _kind(name), "model": f"arena/{name}"},
        )
        runs.append(Run(f"/runs/{name}", manifest, samples, tuple(answers), tuple(scores)))
    return runs


def _kind(name: str) -> str:
    return "replay" if name.startswith("replay ") else resolve(name, base_url="http://127.0.0.1/v1").kind


_CELL = {"cell_type": "T cell", "cl_id": "CL:0000084"}
_GOLD: dict[str, dict[str, Any]] = {
    "annotation": _CELL,
    "captioning": {**_CELL, "caption": "A lymphocyte."},
    "generation": {**_CELL, "markers": ["CD3D"], "sentences": []},
    "perturbation": {"up": ["HBG1"], "down": ["SPI1"], "sentence": []},
    "qa": {"answer": "yes", "claims": ["yes"]},
}
_FIELDS: dict[str, dict[str, Any]] = {task: {} for task in _GOLD}
_PARSED: dict[str, dict[str, Any]] = {
    "annotation": {"cell_type": "T cell"},
    "captioning": {"caption": "a T cell"},
    "generation": {"genes": ["CD3D"]},
    "perturbation": {"up": ["HBG1"], "down": []},
    "qa": {"answer": "yes it is"},
}


@pytest.fixture(scope="session")
def make_runs() -> Callable[..., list[Run]]:
    """The function `synthetic_runs`."""
    return synthetic_runs


# --- an OpenAI-compatible server, and no other network

Reply = Callable[[str], str | dict[str, Any]]


class OpenAIServer:
    """Serves ``/v1/chat/completions``; `reply` maps the last message to the answer, or raises
    `Refuse`; an answer that is a dictionary is the whole message."""

    def __init__(self, reply: Reply, *, latency_s: float = 0.0, model: str = "toy-2026-01-01") -> None:
        self.reply, self.latency_s, self.model = reply, latency_s, model
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._send(200, {"object": "list", "data": [{"id": "toy", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                if not isinstance(prompt, str):
                    prompt = "".join(part.get("text", "") for part in prompt)
                with outer._lock:
                    outer.prompts.append(prompt)
                    outer.bodies.append(body)
                time.sleep(outer.latency_s)
                try:
                    text = outer.reply(prompt)
                except Refuse as refusal:
                    self._send(refusal.status, {"error": {"message": str(refusal), "type": "test"}})
                    return
                self._send(
                    200,
                    {
                        "id": "x",
                        "object": "chat.completion",
                        "created": 0,
                        "model": outer.model,
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {"role": "assistant"}
                                | (text if isinstance(text, dict) else {"content": text}),
                            }
                        ],
                        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                    },
                )

            def _send(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client was killed, which is what the test is about

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_args: None  # clients are killed on purpose
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "OpenAIServer":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Refuse(Exception):
    """Makes the server answer with an HTTP status."""

    def __init__(self, status: int, message: str = "no") -> None:
        super().__init__(message)
        self.status = status


@pytest.fixture
def openai_server() -> Iterator[Callable[..., OpenAIServer]]:
    """A function that starts a server answering by a function; all of them stop with the test."""
    with ExitStack() as stack:
        yield lambda reply, **options: stack.enter_context(OpenAIServer(reply, **options))


def verdict_of_fours(prompt: str) -> str:
    """A readable verdict with a 4 in each dimension of the rubric shown; a 4 on SC-Arena's scale otherwise."""
    if not prompt.startswith("RUBRIC"):
        return "[Score: 4]"
    shown = ({d.name for d in rubric} for rubric in RUBRICS.values())
    names = max((n for n in shown if all(f"\n{name}: " in prompt for name in n)), key=len)
    cited = re.search(r"^\[(E\d+)\] (.{8,30})", prompt, re.MULTILINE)
    evidence = [{"id": cited[1], "quote": cited[2]}] if cited else []
    return json.dumps({"dimensions": {n: {"rating": 4, "reason": ""} for n in names}, "evidence": evidence})


@pytest.fixture
def judge_of_fours() -> Reply:
    """The function `verdict_of_fours`."""
    return verdict_of_fours


@pytest.fixture
def refuse() -> type[Refuse]:
    """The exception that makes the server answer with an HTTP status."""
    return Refuse


@pytest.fixture(scope="session")
def toy_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up files of cells, profiles and a screen."""
    return write_mirror(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module", autouse=True)
def toy_files(request: pytest.FixtureRequest, toy_mirror: Path) -> Iterator[None]:
    """Let the fresh set come from the made-up files; `mirror` stays the folder of real ones."""
    with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
        request.getfixturevalue("mirror")  # kept for the session, before the environment changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCKG_MIRROR", str(toy_mirror))
        yield


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection that leaves 127.0.0.1 fails the test that makes it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            pytest.fail(f"a test of the arena opened a connection to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def fresh_graph() -> Graph:
    """The graph of `make_fresh_graph`."""
    return make_fresh_graph()


@pytest.fixture(scope="session")
def fresh_folder(fresh_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graph as a folder."""
    return fresh_graph.save(tmp_path_factory.mktemp("graph") / "fresh")
