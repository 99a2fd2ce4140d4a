"""Greedy answers of vLLM's offline engine with and without a draft, and what was accepted of it: a JSON file.

Run as a program, since a process holds one engine: ``python -m serve.vllm_plugins.answers --help``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from serve.vllm_plugins import require_vllm

COUNTERS = {
    "vllm:num_preemptions": "preemptions",
    "vllm:spec_decode_num_drafts": "drafts",
    "vllm:spec_decode_num_draft_tokens": "drafted",
    "vllm:spec_decode_num_accepted_tokens": "accepted",
    "vllm:spec_decode_num_accepted_tokens_per_pos": "accepted_by_position",
}


def answers(
    model: Path,
    prompts: Path,
    each: int,
    max_tokens: int,
    speculative: dict[str, Any] | None = None,
    *,
    echo: bool = False,
    blocks: int | None = None,
) -> dict[str, Any]:
    """Answer `each` prompts of every workload together; token ids per prompt, seconds, and the draft's counters.

    With `echo` that scheduler runs them, every other one as batch work; `blocks` makes the cache small.
    """
    from vllm import LLM, SamplingParams

    scheduling: dict[str, Any] = {}
    if echo:
        scheduling["scheduler_cls"] = "serve.vllm_plugins.scheduler.EchoScheduler"
    if blocks:
        scheduling["num_gpu_blocks_override"] = blocks
    llm = LLM(
        str(model),
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=8,
        max_num_batched_tokens=1024,
        speculative_config=speculative,
        disable_log_stats=False,
        seed=0,
        **scheduling,
    )
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    taken: dict[str, int] = {}
    chosen = []
    for row in rows:
        taken[row["workload"]] = taken.get(row["workload"], 0) + 1
        if taken[row["workload"]] <= each:
            chosen.append(row)
    begin = time.perf_counter()
    outputs = llm.chat(
        [row["messages"] for row in chosen],
        SamplingParams(temperature=0.0, max_tokens=max_tokens),
        use_tqdm=False,
        priority=[i % 2 for i in range(len(chosen))] if echo else None,
    )
    seconds = time.perf_counter() - begin
    result: dict[str, Any] = {
        "tokens": {row["id"]: list(o.outputs[0].token_ids) for row, o in zip(chosen, outputs, strict=True)},
        "seconds": seconds,
    }
    for metric in llm.get_metrics():
        if name := COUNTERS.get(metric.name):
            result[name] = metric.values if hasattr(metric, "values") else metric.value
    return result


def main() -> None:
    """Read the arguments, answer, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=3, help="prompts of each workload")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--speculative", type=json.loads, help="vLLM's speculative_config as JSON")
    parser.add_argument(
        "--echo", action="store_true", help="schedule with Echo, every other prompt as batch work"
    )
    parser.add_argument("--blocks", type=int, help="blocks of the cache; default: as many as fit")
    chosen = parser.parse_args()
    require_vllm()
    result = answers(
        chosen.model,
        chosen.prompts,
        chosen.each,
        chosen.max_tokens,
        chosen.speculative,
        echo=chosen.echo,
        blocks=chosen.blocks,
    )
    temporary = chosen.output.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result), encoding="utf-8")
    temporary.replace(chosen.output)


if __name__ == "__main__":
    main()
