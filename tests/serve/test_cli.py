from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from serve.cli import SCHEDULERS, app, make_scheduler
from serve.engine.engine import EngineConfig
from serve.errors import InputError
from serve.spec_decode import METHODS
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.registry import make_proposer


def test_help_loads_no_torch():
    script = "import sys, serve.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert "chat" in CliRunner().invoke(app, ["--help"]).output


def test_an_outside_address_needs_a_key(monkeypatch):
    monkeypatch.delenv("VCKG_SERVE_API_KEY", raising=False)
    result = CliRunner().invoke(app, ["start", "--host", "0.0.0.0"])
    assert isinstance(result.exception, InputError)
    assert "set an API key in VCKG_SERVE_API_KEY" in str(result.exception)


def test_a_scheduler_is_made_by_its_row_and_an_unknown_name_is_none():
    config = EngineConfig(cache_tokens=256, block_tokens=4, max_running=2, step_tokens=8)
    made = {name: type(make_scheduler(name, config, 0.2)).__name__ for name in SCHEDULERS}
    assert made == {"echo": "EchoScheduler", "priority": "Scheduler"}
    with pytest.raises(InputError, match=r"--scheduler 'ecco' \(did you mean 'echo'\?\); wanted one of echo"):
        make_scheduler("ecco", config, 0.2)


def test_a_draft_method_of_ones_own_is_a_row(tiny, tiny_model, monkeypatch):
    monkeypatch.setitem(METHODS, "mine", "registry:make_lookup")
    assert isinstance(make_proposer("mine", tiny(), tiny_model(), block_tokens=4), LookupProposer)
    with pytest.raises(InputError, match=r"draft method 'mime'.*did you mean 'mine'"):
        make_proposer("mime", tiny(), tiny_model(), block_tokens=4)
    with pytest.raises(InputError, match="draft method 'dart' needs a folder"):
        make_proposer("dart", tiny(), tiny_model(), block_tokens=4)


def test_a_conversation_from_a_pipe(tiny, tiny_engine, monkeypatch, capsys):
    import io

    from serve.chat import converse
    from serve.request import SamplingParams

    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nagain\n"))
    converse(tiny_engine(), SamplingParams(max_tokens=5), "be brief")
    assert capsys.readouterr().out.count("\n") >= 2


def test_a_missing_model_is_one_line_and_exit_code_2():
    command = [sys.executable, "-m", "serve.cli", "chat", "--model", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "vckg-serve: error: /nowhere: no such file or folder; wanted"
    )


@pytest.mark.parametrize("command", ["start", "chat"])
def test_a_mistyped_draft_is_an_input_error_before_the_model_is_looked_for(command):
    port = ["--port", "0"] if command == "start" else []
    result = CliRunner().invoke(app, [command, *port, "--draft", "drt", "--model", "/nowhere"])
    assert isinstance(result.exception, InputError)
    assert "--draft 'drt' (did you mean 'dart'?); wanted one of off, lookup," in str(result.exception)
    assert "starting" not in result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "command",
    [
        ["start", "--port", "0", "--draft", "dart"],
        ["chat", "--draft", "head"],
        ["write-corpus", "pyproject.toml", "--corpus", "corpus"],
        ["train-draft", "--corpus", "corpus", "--state", "state", "--output", "draft"],
    ],
)
@pytest.mark.parametrize(("device", "said"), [("cuda", "finds no GPU here"), ("gpu", "wanted cpu or cuda")])
def test_a_device_that_is_not_there_is_refused_before_the_model_is_read(command, device, said, monkeypatch):
    monkeypatch.setattr("serve.model.loader.load_checkpoint", lambda _: pytest.fail("the model was read"))
    result = CliRunner().invoke(app, [*command, "--device", device])
    assert isinstance(result.exception, InputError), result.output
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("size", ["--step-tokens", "--max-running"])
def test_sizes_are_checked(size):
    assert CliRunner().invoke(app, ["start", size, "0"]).exit_code == 2


def test_a_taken_port_is_an_input_error_before_the_model_is_read():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["start", "--port", str(port)])
    assert isinstance(result.exception, InputError)
    assert f"cannot bind 127.0.0.1:{port}" in str(result.exception)
