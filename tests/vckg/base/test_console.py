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
