"""SC-Arena's files by the official route, from a server on this machine that stands in for the published one."""

import hashlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arena.datasets import files
from vckg.base.errors import SourceError
from vckg.base.resources import resource

OFFICIAL = "https://raw.githubusercontent.com/SUAT-AIRI/SC-Arena"
TABLE = resource("data", "arena", "sources.toml").read_text(encoding="utf-8")
URLS = re.findall(r'^url = "(.+)"\nrelease = ".+"\nsha256 = "([0-9a-f]{64})"$', TABLE, re.MULTILINE)


class Published:
    """The repository as a web server shows it; `asked` are the paths requested."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                super().do_GET()

            def log_message(self, *args: object) -> None:
                pass

        self.folder = folder
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """The table of routes as it is, but for the host and the sums of the small files served here."""
    server = Published(tmp_path / "published")
    table = TABLE.replace(OFFICIAL, server.url)
    for number, (url, sha256) in enumerate(URLS):
        path = server.folder / url.removeprefix(OFFICIAL + "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n")
        table = table.replace(sha256, hashlib.sha256(path.read_bytes()).hexdigest())
    copy = tmp_path / "sources.toml"
    copy.write_text(table)
    monkeypatch.setattr(files, "resource", lambda *_parts: copy)
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VCKG_MIRROR", raising=False)
    monkeypatch.delenv("VCKG_OFFLINE", raising=False)
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_every_file_has_an_official_route_at_one_commit_with_the_mirror_s_checksum() -> None:
    assert len(URLS) == 4
    assert len({url.split("/")[5] for url, _ in URLS}) == 1
    sums = re.findall(r'sha256 = "(.+)"', TABLE)
    assert sorted(sums) == sorted(2 * [sha256 for _, sha256 in URLS])


def test_files_are_downloaded_once_and_checked(published: Published) -> None:
    taken = files.scarena_files()
    paths = (taken.cells, taken.perturbation, taken.qa, taken.markers)
    assert [path.read_text() for path in paths] == [f"file {n}\n" for n in range(4)]
    assert sorted(published.asked) == sorted(url.removeprefix(OFFICIAL) for url, _ in URLS)
    published.asked.clear()
    assert files.scarena_files() == taken
    assert published.asked == []


@pytest.mark.parametrize("wrong", [b"tampered\n", None])
def test_a_file_that_is_not_the_published_one_is_refused_and_leaves_nothing(
    published: Published, tmp_path: Path, wrong: bytes | None
) -> None:
    path = published.folder / URLS[0][0].removeprefix(OFFICIAL + "/")
    right = path.read_bytes()
    path.unlink() if wrong is None else path.write_bytes(wrong)
    with pytest.raises(SourceError) as refused:
        files.scarena_files()
    assert "cell_sentences_fixed.jsonl" in str(refused.value)
    if wrong is not None:
        assert hashlib.sha256(right).hexdigest() in str(refused.value)
    assert not [p for p in (tmp_path / "cache").rglob("*cell_sentences*") if p.is_file()]
    path.write_bytes(right)
    assert files.scarena_files().cells.read_bytes() == right


def test_without_network_the_command_says_what_was_tried(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCKG_OFFLINE", "1")
    with pytest.raises(SourceError, match="offline"):
        files.scarena_files()
    assert published.asked == []


def test_the_real_files_are_those_of_the_table(mirror: Path) -> None:
    for url, sha256 in URLS:
        path = mirror / "scarena" / Path(url).name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
