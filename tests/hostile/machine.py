"""kill -9 at any moment, disks that fill, and commands that write the same place at once."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.hostile import h5ad
from tests.hostile.attacks import Attack, Ground, digest, left_over, rng
from tests.hostile.commands import ROOT, Ended, Limits

TOY = ROOT / "data" / "toy"
Words = list[str | Path]


@dataclass(frozen=True, slots=True)
class Job:
    """A command that writes one thing, and how that thing is looked at."""

    name: str
    words: Callable[[Path], Words]
    """The command; what it writes lies in this folder."""
    out: str
    sound: Callable[[Path], str]
    """What the output says, as a text that two good runs share; raises where it is not valid."""


@dataclass(frozen=True, slots=True)
class Known:
    """A job, how long an undisturbed run takes, and what its output says."""

    job: Job
    seconds: float
    wanted: str


def _tried(ground: Ground, job: Job) -> Known:
    """Do a job undisturbed."""
    at = ground.folder / job.name.replace(" ", "-")
    at.mkdir()
    started = time.monotonic()
    ground.must_work(job.words(at), at)
    return Known(job, time.monotonic() - started, job.sound(at / job.out))


def attacks(ground: Ground) -> Iterator[Attack]:
    """The attacks of this part."""
    jobs, judge = _jobs(ground)
    with judge:
        known = [_tried(ground, job) for job in jobs]
        for one in known:
            yield Attack(f"kill -9: {one.job.name}", partial(_killed, ground, one), share=0.02)
        for one in known:
            yield Attack(f"no file may grow: {one.job.name}", partial(_small_files, ground, one), len(SIZES))
        if _can_mount(ground.folder):
            for one in known:
                yield Attack(f"full disk: {one.job.name}", partial(_full, ground, one), len(ROOM), at_once=1)
        for one in known:
            yield Attack(f"four at once: {one.job.name}", partial(_together, ground, one), share=0.003)
        yield Attack("full disk: vckg fetch", partial(_fetch, ground), 1)


def _jobs(ground: Ground) -> tuple[list[Job], ExitStack]:
    from tests.arena.conftest import OpenAIServer
    from tests.arena.toy import make_fresh_graph

    cells = h5ad.write_synthetic(ground.folder / "cells.h5ad")
    markers = h5ad.graph_of([cells]).save(ground.folder / "markers")
    fresh = make_fresh_graph().save(ground.folder / "fresh")
    stack = ExitStack()
    said = "[Predicted_Cell_Type: T cell][Captioning: T cell.][Up: none][Down: CD74][Answer: yes]"
    server = stack.enter_context(OpenAIServer(lambda _prompt: said, latency_s=0.02))
    build: Words = ["vckg", "build", "--table", TOY / "sources.toml", "--mirror", TOY]
    annotate: Words = ["gather", "annotate", cells, "-g", markers, "--groupby", "cell_type", "--force"]
    run: Words = [
        "arena",
        "run",
        "-m",
        "toy",
        "--base-url",
        server.url,
        "-t",
        "annotation,qa",
        "-n",
        "8",
        "-g",
        fresh,
        "--connections",
        "2",
    ]
    jobs = [
        Job("vckg build", lambda at: [*build, "-o", at / "graph"], "graph", _content_hash),
        Job(
            "vckg export",
            lambda at: [
                "vckg",
                "export",
                "--format",
                "kgx",
                "--i-have-the-right",
                "-g",
                markers,
                "-o",
                at / "kgx",
            ],
            "kgx",
            digest,
        ),
        Job(
            "gather annotate",
            lambda at: [*annotate, "-o", at / "out.h5ad"],
            "out.h5ad",
            partial(_answers, ground, cells),
        ),
        Job("arena run", lambda at: [*run, "-o", at / "runs"], "runs", _scores),
    ]
    return jobs, stack


def _content_hash(folder: Path) -> str:
    from vckg.graph.folder import check_files
    from vckg.graph.graph import Graph

    graph = Graph.load(folder, verify=True)
    check_files(folder, graph.manifest, verify=True)
    return graph.content_hash


def _answers(ground: Ground, source: Path, out: Path) -> str:
    """The answers of an annotated file, once another process has found it valid."""
    import h5py

    ended = ground.run(["check-h5ad", out, source], Path(tempfile.mkdtemp(dir=ground.folder)))
    if ended.wrong:
        raise ValueError(ended.wrong)
    with h5py.File(out) as file:
        return str([*file["obs/gather_cell_type/codes"][:]])


def _scores(runs: Path) -> str:
    """The scores of the model's run and of the baselines beside it."""
    return " ".join(digest(run / "scores.jsonl") for run in sorted(runs.iterdir()) if run.is_dir())


def _judged(job: Job, folder: Path, wanted: str) -> str | None:
    """After a run that succeeded: the output is as ever, and nothing else is there."""
    try:
        found = job.sound(folder / job.out)
    except Exception as error:  # noqa: BLE001 - whatever it is, the output is not valid
        return f"the output is not valid ({error!r})"
    if found != wanted:
        return "the output is another than ever"
    halves = [
        p.name
        for p in folder.rglob("*")
        if p.name.endswith((".partial", ".building", ".tmp")) and ".run" not in p.parts
    ]
    return f"left behind: {halves[0]}" if halves else left_over(folder, [job.out])


def _killed(ground: Ground, known: Known, seed: int, folder: Path) -> str | None:
    """Killed three times at any moment, now onto an old output, now onto none; then the same command succeeds."""
    job = known.job
    chance = rng(job.name, seed)
    if seed % 2:
        ground.must_work(job.words(folder), folder)
    for _ in range(3):
        running = ground.commands.start([str(w) for w in job.words(folder)], folder)
        time.sleep(chance.uniform(0.1, 1.1) * known.seconds)
        running.kill()
        running.wait()
        if job.out not in ("runs",) and (folder / job.out).exists():
            try:
                job.sound(folder / job.out)
            except Exception as error:  # noqa: BLE001 - whatever it is, the output is not valid
                return f"killed, and a half output is there ({error!r})"
    ended = ground.run(job.words(folder), folder)
    if ended.wrong or ended.code:
        return f"the next run: {ended.wrong or ended.last_line}"
    return _judged(job, folder, known.wanted)


SIZES = (0, 512, 4_096, 20_000)


def _small_files(ground: Ground, known: Known, seed: int, folder: Path) -> str | None:
    """No file may grow beyond a few bytes: one line, the old output stays, and the next run succeeds."""
    limits = Limits(file_bytes=SIZES[seed])
    return _no_room(ground, known, folder, folder, lambda words: ground.run(words, folder, limits=limits))


def _no_room(
    ground: Ground, known: Known, folder: Path, at: Path, run: Callable[[Sequence[str | Path]], Ended]
) -> str | None:
    job = known.job
    ground.must_work(job.words(at), folder)
    before = digest(at / job.out) if job.out != "runs" else ""
    ended = run(job.words(at))
    if ended.wrong:
        return ended.wrong
    if ended.code == 2 and len(ended.err.strip().splitlines()) > 12:
        return f"exit 2 with {len(ended.err.splitlines())} lines"
    if ended.code == 2 and job.out != "runs" and digest(at / job.out) != before:
        return "exit 2, and the old output is not as it was"
    after = ground.run(job.words(at), folder)
    if after.wrong or after.code:
        return f"the next run: {after.wrong or after.last_line}"
    return _judged(job, at, known.wanted)


ROOM = (0, 8_192, 100_000)


def _can_mount(folder: Path) -> bool:
    try:
        with small_disk(folder):
            return True
    except OSError:
        return False


@contextmanager
def small_disk(folder: Path, size: str = "8m") -> Iterator[Path]:
    """A file system of a few megabytes of its own; OSError where this user may not mount one."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        raise OSError("this user may not mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """Take all of a disk's room but some bytes, by a file that is returned."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler.lock").write_bytes(b"x" * max(0, free - but))
    return disk / "filler.lock"


def _full(ground: Ground, known: Known, seed: int, folder: Path) -> str | None:
    """The disk of the output is full: one line, the old output stays, and with room again the next run succeeds."""

    def run(words: Sequence[str | Path]) -> Ended:
        filler = fill(disk, but=ROOM[seed])
        try:
            return ground.run(words, folder)
        finally:
            filler.unlink()

    with small_disk(folder) as disk:
        return _no_room(ground, known, folder, disk, run)


def _together(ground: Ground, known: Known, seed: int, folder: Path) -> str | None:
    """Four of the same command for one output: each succeeds or is refused in a line, and the output is as ever."""
    job = known.job
    chance = random.Random(seed)
    running = []
    for number in range(4):
        own = folder / f"home-{number}.lock"  # a home of its own for what it says; the output is shared
        own.mkdir()
        running.append(ground.commands.start([str(w) for w in job.words(folder)], own))
        time.sleep(chance.uniform(0, 0.1))
    for ended in [one.wait() for one in running]:
        if ended.wrong:
            return ended.wrong
    if not any(one.code() == 0 for one in running):
        return "none of the four succeeded"
    return _judged(job, folder, known.wanted)


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


def _fetch(ground: Ground, _seed: int, folder: Path) -> str | None:
    """A download for which there is no room leaves no half file in the cache."""
    site = folder / "site"
    site.mkdir()
    content = b"source,target,weight,PMID\n" + b"PAX5,CD19,1,5\n" * 10_000
    (site / "big.csv").write_bytes(content)
    table, cache = folder / "sources.toml", folder / "cache"
    with serving(site) as address:
        table.write_text(SOURCE.format(url=f"{address}/big.csv", sha=hashlib.sha256(content).hexdigest()))
        own = {"VCKG_OFFLINE": "", "VCKG_CACHE": str(cache)}
        ended = ground.run(
            ["vckg", "fetch", "--profile", "core", "--table", table],
            folder,
            limits=Limits(file_bytes=4_096),
            environment=own,
        )
    half = [p.name for p in cache.rglob("*") if p.is_file() and p.name != ".lock"]
    return (
        ended.wrong
        or (f"exit {ended.code}, wanted 2" if ended.code != 2 else None)
        or (f"left behind: {half[0]}" if half else None)
    )
