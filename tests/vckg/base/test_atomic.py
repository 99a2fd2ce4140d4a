"""Files and folders are replaced whole; what a killed writer left goes; paths of one command stay apart."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vckg.base.atomic import SUFFIX, check_outputs, replacing, sweep, write_text
from vckg.base.errors import InputError

KILLED = """
import os, signal, sys
from pathlib import Path
from vckg.base.atomic import replacing
with replacing(Path(sys.argv[1])) as new:
    new.write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def left(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(SUFFIX)]


def test_a_failed_block_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail() -> None:
        with replacing(target) as new:
            new.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    write_text(tmp_path / "a", ["1", "2"])
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").read_text() == "12"
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_folder_is_replaced_by_a_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with replacing(tmp_path / "f") as new:
            new.mkdir()
            (new / name).write_text("")
    assert names(tmp_path / "f") == ["second"]
    assert names(tmp_path) == ["f"]


def test_what_a_killed_writer_left_is_swept_by_the_next_of_the_same_target(tmp_path: Path) -> None:
    for name in ("a.h5ad", "other.h5ad"):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(left(tmp_path)) == 2
    write_text(tmp_path / "a.h5ad", "new")
    assert [n.startswith(".other.h5ad.") for n in left(tmp_path)] == [True]


def test_what_a_living_writer_holds_is_not_swept(tmp_path: Path) -> None:
    target, ready, go = tmp_path / "a", threading.Event(), threading.Event()

    def slow() -> None:
        with replacing(target) as new:
            new.write_text("slow")
            ready.set()
            go.wait(30)

    writer = threading.Thread(target=slow)
    writer.start()
    assert ready.wait(30)
    sweep(target)
    write_text(target, "fast")
    go.set()
    writer.join()
    assert target.read_text() == "slow"
    assert left(tmp_path) == []


def test_an_old_folder_comes_back_where_the_new_one_never_arrived(tmp_path: Path) -> None:
    """Killed between moving the old one aside and moving the new one in."""
    aside = tmp_path / f".g.abc{SUFFIX}"
    (aside / "old").mkdir(parents=True)
    (aside / "old" / "manifest.json").write_text("{}")
    sweep(tmp_path / "g")
    assert (tmp_path / "g" / "manifest.json").read_text() == "{}"
    assert left(tmp_path) == []


def test_a_name_with_wildcards_sweeps_its_own_only(tmp_path: Path) -> None:
    (tmp_path / f".ab.x{SUFFIX}").mkdir()
    sweep(tmp_path / "a*")
    assert left(tmp_path) == [f".ab.x{SUFFIX}"]


def test_outputs_are_compared_with_each_other_and_with_inputs(tmp_path: Path) -> None:
    source = tmp_path / "in.h5ad"
    source.write_text("x")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "folder").mkdir()
    (tmp_path / "also").symlink_to(tmp_path / "folder")
    for same in (source, tmp_path / "link", tmp_path / "hard", tmp_path / "folder" / ".." / "in.h5ad"):
        with pytest.raises(InputError, match="never modified"):
            check_outputs([same], inputs=[source], overwrite=True)
    one = tmp_path / "folder" / "x.h5ad"
    for other in (one, tmp_path / "also" / "x.h5ad"):
        with pytest.raises(InputError, match="two outputs"):
            check_outputs([one, other], inputs=[source])
    with pytest.raises(InputError, match="exists"):
        check_outputs([tmp_path / "hard"])
    check_outputs([one, tmp_path / "y.html"], inputs=[source])
