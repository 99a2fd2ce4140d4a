"""Where the engine keeps what a killed run resumes from."""

import asyncio
import os
from pathlib import Path

import pytest
from inspect_ai.log._recorders.buffer.filestore import cleanup_sample_buffer_filestores

from arena.runner import inspect_engine


def test_the_engine_does_not_wipe_the_buffer_that_its_threads_write(tmp_path: Path) -> None:
    """Wiping it while a thread removed a file of it ended a run with `FileNotFoundError`."""
    logs = tmp_path / "run" / "logs" / "answers"
    logs.mkdir(parents=True)
    with inspect_engine._buffer_in(logs):
        written = Path(os.environ["XDG_DATA_HOME"]) / "samplebuffer" / "a.db"
        written.parent.mkdir(parents=True)
        written.write_text("rows")
        asyncio.run(cleanup_sample_buffer_filestores(str(logs)))
        assert written.read_text() == "rows"
    assert not written.exists()
    assert not list(logs.iterdir())


def test_a_run_that_fails_keeps_its_buffer(tmp_path: Path) -> None:
    before = os.environ.get("XDG_DATA_HOME")
    written = tmp_path / ".logs-buffer" / "rows"

    def stopped() -> None:
        with inspect_engine._buffer_in(tmp_path / "logs"):
            written.parent.mkdir(parents=True)
            written.write_text("rows")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert written.exists()
    assert os.environ.get("XDG_DATA_HOME") == before
