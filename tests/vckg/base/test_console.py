"""Errors end with one line and exit code 2, also where the line cannot be written."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["vckg.base.console", "serve.command_app"])
def test_a_log_on_a_full_disk_leaves_the_exit_code(module: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        ran = subprocess.run(
            [sys.executable, "-c", f"from {module} import fail; fail('vckg', 'no room')"],
            stderr=log,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
    assert ran.returncode == 2
    assert (tmp_path / "log").read_text() == ""


def test_a_file_without_rights_is_one_line(tmp_path: Path) -> None:
    code = (
        "import typer; from vckg.base.console import run; app = typer.Typer()\n"
        "@app.command()\n"
        "def read(): raise PermissionError(13, 'Permission denied', 'shared/hgnc.tsv')\n"
        "run(app, 'vckg')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == (
        "vckg: error: shared/hgnc.tsv: Permission denied; change its rights, or name another place\n"
    )


def test_a_place_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    place = tmp_path / "notes.txt" / "cells.jsonl"
    code = (
        "import typer; from pathlib import Path; from vckg.base.atomic import write_text\n"
        "from vckg.base.console import run; app = typer.Typer()\n"
        "@app.command()\n"
        f"def write(): write_text(Path({str(place)!r}), 'cell')\n"
        "run(app, 'arena')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "name another place" in ran.stderr
