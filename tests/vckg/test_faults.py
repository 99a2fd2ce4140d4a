"""Two builds at once, builds that are killed, disks that fill: the old graph or the new one, never a broken one."""

import hashlib
import os
import random
import resource as limits
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vckg.graph import Graph
from vckg.resources import resource
from vckg.store import check_files

TOY = resource("data", "toy")
ROOT = Path(__file__).parents[2]


def command(folder: Path, *more: str) -> list[str]:
    arguments = [
        "build",
        "--table",
        str(TOY / "sources.toml"),
        "--mirror",
        str(TOY),
        "-o",
        str(folder),
        *more,
    ]
    return vckg(*arguments)


def vckg(*arguments: str) -> list[str]:
    code = f"import sys; sys.argv = ['vckg', *{list(arguments)!r}]; from vckg.cli import main; main()"
    return [sys.executable, "-c", code]


SOURCE = """
[collectri]
title = "CollecTRI"
licence = "CC-BY-4.0"
redistribute = true
citation = "none"
reader = "collectri"
profiles = ["core"]
routes = [{{ kind = "url", release = "1", url = "{url}", sha256 = "{sha}" }}]
"""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder's files on the loopback address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "VCKG_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}


def sound(folder: Path) -> str:
    graph = Graph.load(folder, verify=True)
    check_files(folder, graph.manifest, verify=True)
    return graph.content_hash


def test_two_builds_of_one_folder_at_once_agree(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(command(tmp_path / "graph"), env=environment(tmp_path), stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [p.wait(120) for p in both] == [0, 0]
    once = sound(tmp_path / "graph")
    assert subprocess.run(
        command(tmp_path / "other"), env=environment(tmp_path), check=True, capture_output=True
    )
    assert sound(tmp_path / "other") == once
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == [".graph.lock", ".other.lock", "cache", "graph", "other"]


@pytest.mark.slow
def test_a_build_killed_at_any_moment_leaves_the_old_graph_or_the_new(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path / "graph"), env=environment(tmp_path), check=True, capture_output=True)
    old = sound(tmp_path / "graph")
    started = time.monotonic()
    subprocess.run(
        command(tmp_path / "graph", "--exclude-source", "collectri"),
        env=environment(tmp_path),
        check=True,
        capture_output=True,
    )
    whole = time.monotonic() - started
    new = sound(tmp_path / "graph")
    rng = random.Random(0)
    for moment in range(20):
        turn = ["--exclude-source", "collectri"] if moment % 2 else []
        process = subprocess.Popen(
            command(tmp_path / "graph", *turn),
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "graph").exists():
            assert sound(tmp_path / "graph") in (old, new)
    subprocess.run(command(tmp_path / "graph"), env=environment(tmp_path), check=True, capture_output=True)
    assert sound(tmp_path / "graph") == old
    assert sorted(p.name for p in tmp_path.iterdir()) == [".graph.lock", "cache", "graph"]


def on_a_full_disk(words: list[str], tmp_path: Path) -> str:
    """Run a command for which no file may grow beyond 4 kB; return the one line it ends with."""

    def little_room() -> None:
        limits.setrlimit(limits.RLIMIT_FSIZE, (4096, 4096))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    # Not measured by coverage, which would write a file of its own.
    own = {name: value for name, value in environment(tmp_path).items() if not name.startswith("COVERAGE")}
    done = subprocess.run(words, env=own, capture_output=True, text=True, preexec_fn=little_room, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr
    return done.stderr


def test_a_build_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    on_a_full_disk(command(tmp_path / "graph"), tmp_path)
    assert not (tmp_path / "graph").exists()
    assert not list(tmp_path.glob(".graph.*.partial"))


def test_an_export_on_a_full_disk_keeps_the_old_export(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path / "graph"), env=environment(tmp_path), check=True, capture_output=True)
    words = vckg("export", "-g", str(tmp_path / "graph"), "--format", "kgx", "-o", str(tmp_path / "kgx"))
    subprocess.run(words, env=environment(tmp_path), check=True, capture_output=True)
    old = {p.name: p.read_bytes() for p in (tmp_path / "kgx").iterdir()}
    assert max(map(len, old.values())) > 4096
    on_a_full_disk(words, tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "kgx").iterdir()} == old
    assert sorted(p.name for p in tmp_path.iterdir()) == [".graph.lock", ".kgx.lock", "cache", "graph", "kgx"]


def test_a_fetch_on_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "big.csv").write_bytes(b"source,target,weight,PMID\n" + b"PAX5,CD19,1,5\n" * 10_000)
    table = tmp_path / "sources.toml"
    sha = hashlib.sha256((tmp_path / "site" / "big.csv").read_bytes()).hexdigest()
    with serving(tmp_path / "site") as address:
        table.write_text(SOURCE.format(url=f"{address}/big.csv", sha=sha))
        on_a_full_disk(vckg("fetch", "--table", str(table)), tmp_path)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != ".lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """Take all of a disk's room but some bytes, by a file that is returned."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(b"x" * (free - but))
    return disk / "filler"


def refused(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_disk_that_is_really_full_the_old_graph_stays_and_the_next_build_succeeds(
    small_disk: Path, tmp_path: Path
) -> None:
    graph = small_disk / "graph"
    subprocess.run(command(graph), env=environment(tmp_path), check=True, capture_output=True)
    old = sound(graph)
    for room in (0, 40_000, 120_000):  # nothing can be written, some, nearly all
        filler = fill(small_disk, but=room)
        refused(command(graph, "--exclude-source", "collectri"), environment(tmp_path))
        assert sound(graph) == old
        assert sorted(p.name for p in small_disk.iterdir()) == [".graph.lock", "filler", "graph"]
        filler.unlink()
    subprocess.run(command(graph), env=environment(tmp_path), check=True, capture_output=True)
    assert sound(graph) == old


def test_on_a_disk_that_is_really_full_an_export_and_a_fetch_leave_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "graph"
    subprocess.run(command(graph), env=environment(tmp_path), check=True, capture_output=True)
    fill(small_disk, but=8_192)
    refused(
        vckg("export", "-g", str(graph), "--format", "kgx", "-o", str(small_disk / "out")),
        environment(tmp_path),
    )
    places = environment(tmp_path) | {"VCKG_CACHE": str(small_disk / "cache")}
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "big.csv").write_bytes(b"source,target,weight,PMID\n" + b"PAX5,CD19,1,5\n" * 10_000)
    sha = hashlib.sha256((tmp_path / "site" / "big.csv").read_bytes()).hexdigest()
    with serving(tmp_path / "site") as address:
        (tmp_path / "sources.toml").write_text(SOURCE.format(url=f"{address}/big.csv", sha=sha))
        refused(vckg("fetch", "--table", str(tmp_path / "sources.toml")), places)
    left = {p.name for p in small_disk.rglob("*") if p.is_file()}
    assert left == {".out.lock", ".lock", "filler"}


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        command(tmp_path / "file" / "graph"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
