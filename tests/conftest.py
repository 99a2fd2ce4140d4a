"""Fixtures that several packages' tests share: the mirror of real files, a browser, a scripted LLM server."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from vckg.graph.graph import Graph

ROOT = Path(__file__).parents[1]


def mirror_folder() -> Path | None:
    """The folder of real source files: VCKG_MIRROR, or `shared/data` beside the checkout."""
    named = os.environ.get("VCKG_MIRROR")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(autouse=True)
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with `--quiet` silences its process; the next test speaks again."""
    monkeypatch.setattr("vckg.base.console._quiet", False)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Skip, saying why, where the real files are not at hand; in CI that is a failure."""
    folder = mirror_folder()
    if folder is None:
        reason = "no mirror of real files: set VCKG_MIRROR to a folder like the one docs/sources.md describes"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip: {reason}")
        pytest.skip(reason)
    return folder


# --- graphs of real files, built once and kept from session to session until a module they depend on changes ---

#: None is in the mirror; without them a graph builds with no network, and has no mouse genes.
ONLY_BY_PIP = (
    "singlecellbase", "marker_atlas", "axiom", "hpa_cells", "msigdb_cells", "mouse_genes", "rat_genes",
)  # fmt: skip
BUILD_MODULES = ("build/*.py", "graph/*.py", "readers/*.py", "export/kgx.py")
KEPT_UNUSED_S = 7 * 24 * 3600


def _build_key() -> str:
    import hashlib

    files = [p for pattern in BUILD_MODULES for p in sorted((ROOT / "vckg").glob(pattern))]
    files += [
        ROOT / "data" / name
        for name in (
            "sources.toml",
            "cell_labels.tsv",
            "axiom_cells.tsv",
            "panglaodb_cells.tsv",
            "hpa_cells.tsv",
            "msigdb_cells.tsv",
            "mangled_symbols.tsv",
            "cell_type_corrections.tsv",
            "tissue_corrections.tsv",
        )
    ]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:12]


def _built(name: str, build: Callable[[Path, Path], "Graph"]) -> "Graph":
    """The graph `name` of this code, from the cache of tests or built into it; one process builds, others wait.

    `build` gets the folder to make and the cache of downloads. Checkouts share the cache: what none used for a
    week is removed.
    """
    from vckg.base.errors import GraphError
    from vckg.base.lock import locked
    from vckg.base.resources import default_cache
    from vckg.graph.graph import Graph

    cache = default_cache() / "tests"
    folder = cache / f"{name}-{_build_key()}"
    with locked(cache / f"{name}.lock", "is building the graph of the tests"):
        try:
            graph = Graph.load(folder)
        except GraphError:
            shutil.rmtree(folder, ignore_errors=True)
            for old in cache.glob(f"{name}-*"):
                if time.time() - old.stat().st_mtime > KEPT_UNUSED_S:
                    shutil.rmtree(old)
            graph = build(folder, cache / "files")
        os.utime(folder)
    return graph


@pytest.fixture(scope="session")
def full_graph(mirror: Path) -> "Graph":
    """Profile `full` of the mirror's files."""
    from vckg.build.build_folder import make
    from vckg.build.fetch import Places
    from vckg.build.source_table import shipped_sources

    def build(folder: Path, files: Path) -> "Graph":
        places = Places(files, (mirror,), offline=True)
        return make(folder, shipped_sources(), places, profile="full", exclude=ONLY_BY_PIP)

    return _built("full", build)


@pytest.fixture(scope="session")
def core_graph() -> "Graph":
    """Profile `core` from pip alone: the graph that the first command of a user builds.

    Skip, saying why, where no cache holds it and its files cannot be fetched; in CI that is a failure. A file
    with another checksum is a failure everywhere.
    """
    from vckg.base.errors import SourceError
    from vckg.build.build_folder import make
    from vckg.build.fetch import Places
    from vckg.build.source_table import shipped_sources

    def build(folder: Path, files: Path) -> "Graph":
        return make(folder, shipped_sources(), Places(files, ()), profile="core")

    try:
        return _built("core", build)
    except SourceError as error:
        if "no route leads to its file" not in str(error):
            raise
        reason = f"the core graph is in no cache and cannot be fetched: {error}"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip: {reason}")
        pytest.skip(reason)


# --- pages, in Debian's chromium ---

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--metrics-recording-only",
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's chromium; skip, saying why, where it is not installed; in CI that is a failure.

    Of one module: while it is open its event loop runs in this thread, and `asyncio.run` would refuse.
    """
    executable = shutil.which("chromium")
    if executable is None:
        reason = "no chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip: {reason}")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A fresh page of 1280 x 800 that fails the test on a script error and records what it asked for.

    `page.requests` and `page.errors` are lists of text; file: and data: addresses are not requests.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.requests, page.errors = [], []
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or page.requests.append(r.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: page.errors.append(m.text) if m.type in {"error", "warning"} else None)
    yield page
    context.close()
    assert page.errors == [], "the page's script or policy complained"
    assert page.requests == [], "the page asked for something outside itself"


@pytest.fixture
def axe() -> Callable[["Page"], list[str]]:
    """A function: the findings of axe on the page as it is now, whatever their impact, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    def findings(page: "Page") -> list[str]:
        return [
            f"{violation['id']} ({violation['impact']}): {node['html'][:200]}"
            for violation in Axe().run(page).response["violations"]
            for node in violation["nodes"]
        ]

    return findings


# --- a language model's server, scripted ---

Action = tuple[Any, ...]
"""``("say", text)``, ``("status", code, headers)``, ``("raw", bytes)``, ``("hang",)`` or ``("drop",)``."""


class Endpoint:
    """An OpenAI-compatible server on 127.0.0.1 whose every answer a function decides."""

    def __init__(self, script: Callable[[dict[str, Any], int], Action]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self.freed = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer._lock:
                    outer.requests.append(body)
                    outer.keys.append(self.headers["authorization"])
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                    number = len(outer.requests)
                try:
                    action = script(body, number)
                    if action[0] == "hang":
                        outer.freed.wait(30)
                finally:
                    with outer._lock:  # before the reply: whoever has it may ask again at once
                        outer._at_once -= 1
                self._act(action)

            def _act(self, action: Action) -> None:
                what, *rest = action
                if what == "hang":
                    return
                if what == "drop":
                    self.send_response(200)
                    self.send_header("content-length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"choices"')
                elif what == "raw":
                    self._answer(200, rest[0], {})
                elif what == "status":
                    self._answer(rest[0], b'{"error": {"message": "no luck"}}', rest[1] if rest[1:] else {})
                else:
                    self._answer(200, completion(rest[0]), {})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.freed.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def completion(text: str) -> bytes:
    """The body of a chat completion: 7 tokens in, 3 out."""
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    ).encode()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """A function that starts a server with a script; all are closed at the end."""
    started: list[Endpoint] = []

    def start(script: Callable[[dict[str, Any], int], Action]) -> Endpoint:
        started.append(Endpoint(script))
        return started[-1]

    yield start
    for server in started:
        server.close()
