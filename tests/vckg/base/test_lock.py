"""Locks between processes, on systems with and without `fcntl`."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vckg.base import lock
from vckg.base.atomic import sweep, write_text
from vckg.base.lock import locked, try_lock

WITHOUT_FCNTL = """
import pkgutil, sys
from importlib import import_module
from pathlib import Path
sys.modules["fcntl"] = None
import vckg, gather, arena
for package in ("vckg.base", "vckg.graph", "vckg.build", "vckg.export", "vckg.quality"):
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)
graph = vckg.example_graph()
print(vckg.read(graph.save(Path(sys.argv[1]) / "graph")).content_hash == graph.content_hash)
"""


def test_the_packages_work_without_fcntl(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT_FCNTL), str(tmp_path)]
    env = os.environ | {"VCKG_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "graph"]


class Windows:
    """The two names of `msvcrt` that a lock needs, on top of `fcntl`: a held lock is a PermissionError."""

    LK_NBLCK = 2

    def locking(self, handle: int, mode: int, size: int) -> None:
        import fcntl

        assert (mode, size, os.lseek(handle, 0, os.SEEK_CUR)) == (self.LK_NBLCK, 1, 0)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error


@pytest.mark.parametrize("system", ["unix", "windows"])
def test_one_handle_holds_a_lock_until_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "windows":
        monkeypatch.setattr(lock, "_FCNTL", None)
        monkeypatch.setattr(lock, "_MSVCRT", Windows())
    with (tmp_path / "lock").open("a") as other:
        other.write("x")
        with (tmp_path / "lock").open("a") as holder:
            assert try_lock(holder.fileno())
            assert not try_lock(other.fileno())
        assert try_lock(other.fileno())


def test_a_process_waits_for_the_lock_and_says_so(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vckg.base.lock import locked\n"
        "with locked(Path(sys.argv[1]), 'is building'): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as second:
        assert second.stderr is not None
        assert "another process is building; waiting for it" in second.stderr.readline()
        first.communicate("")
        assert second.communicate()[0] == "held\n"
    with locked(tmp_path / "lock", "is building"):
        pass


def test_a_file_system_without_locks_sweeps_nothing_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int) -> bool:
        raise OSError(95, "Operation not supported")

    for module in ("atomic", "lock"):
        monkeypatch.setattr(f"vckg.base.{module}.try_lock", no_locks)
    with locked(tmp_path / "lock", "is building"):
        pass
    (tmp_path / ".a.killed.partial").mkdir()
    write_text(tmp_path / "a", "new")
    sweep(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / ".a.killed.partial").is_dir()
