"""The commands, from prompts to a measured head, on a tiny random model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.draft_methods import looping, read_prompts
from benchmarks.serving import app as measuring
from benchmarks.serving import parse_method
from serve.cli import app
from serve.errors import InputError
from serve.spec_decode.dart_head import load_head
from serve.spec_decode.ngram_trie import Trie
from tests.serve.conftest import save_tiny


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"p{i}",
            "workload": ("chat", "qa")[i % 2],
            "messages": [{"role": "user", "content": f"{i} {i * i}"}],
        }
        for i in range(30)
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: object, command: typer.Typer = app) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_prompts_to_a_measured_head(prompts: Path, tmp_path: Path) -> None:
    model, corpus, out = save_tiny(tmp_path / "model"), tmp_path / "corpus", tmp_path / "draft"
    common = ["--model", model]
    run("write-corpus", prompts, "--corpus", corpus, *common, "--slots", 8, "--length", 60)
    run("train-draft", "--corpus", corpus, "--state", tmp_path / "s", "--output", out, *common, "--epochs", 1)
    run("pack-answers", "--corpus", corpus, "--output", out / "answers.npz")
    run("write-corpus", "--answers", out / "answers.npz", "--corpus", tmp_path / "again", *common)
    run(
        "train-draft", "--corpus", tmp_path / "again", "--state", tmp_path / "t", "--output", tmp_path / "next",
        "--from", out / "head.safetensors", *common, "--epochs", 1,
    )  # fmt: skip
    run("build-ngrams", "--corpus", corpus, "--output", out / "answers.ngram", *common)
    manifest = json.loads((out / "head.json").read_text())
    assert manifest["answer_tokens_trained_on"] > 0
    assert len(manifest["curve"][-1]["accuracy"]) == load_head(out / "head.safetensors").config.depth
    assert Trie.load(out / "answers.ngram").nodes > 0
    methods = [x for name in ("ngram:4", "dart:4", "dart:auto") for x in ("--method", name)]
    table = run(
        "drafts", prompts, *common, "--draft-folder", out, "--output", tmp_path / "figures.json", *methods,
        "--each", 4, "--max-tokens", 20, "--precision", "float32", command=measuring,
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert "dart N=4" in table
    run(
        "drafts", prompts, *common, "--draft-folder", out, "--output", tmp_path / "batch.json", *methods,
        "--each", 4, "--batch", 2, "--max-tokens", 20, "--precision", "float32", command=measuring,
    )  # fmt: skip
    together = json.loads((tmp_path / "batch.json").read_text())
    for row in (*figures["methods"]["all"].values(), *together["methods"]["all"].values()):
        assert row["different_answers"] == 0
        assert row["speedup"] > 0
        assert row["tau"] >= 1
        assert row["forwards_a_token"] <= 1


@pytest.mark.parametrize("text", ["dart:0", "dart:x", "dart:-1"])
def test_a_method_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(InputError, match=text):
        parse_method(text)
    with pytest.raises(InputError, match=r"--method 'drt' \(did you mean 'dart'\?\)"):
        parse_method("drt:8")
    assert parse_method("dart:8").nodes == 8
    assert parse_method("dart:auto").nodes is None


def test_answers_that_loop_anywhere_are_found() -> None:
    assert looping([9, 8, *[1, 2, 3, 4, 5] * 4, 7, 7, 1, 2])
    assert not looping(list(range(60)))


def test_prompts_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(InputError, match="no prompts"):
        read_prompts(tmp_path / "none.jsonl", None, 3)


def test_help_needs_no_torch() -> None:
    code = "import sys; import serve.cli; assert not {'torch', 'numpy', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
