"""Write greedy answers of vLLM's offline engine with or without drafts, and the accepted drafts, as JSON.

Run as a program, since a process holds one engine: ``python -m benchmarks.vllm_answers --help``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from serve.atomic import write_text
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
    """Answer `each` prompts of every workload; token ids per prompt, seconds, and vLLM's counters.

    With `echo` that scheduler runs them: every other one as batch work, and when that is under way the others come as
    interactive requests. `blocks` makes the cache small, so that they have to take its blocks.
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
    chosen = choose(prompts, each)
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    begin = time.perf_counter()
    if echo:
        tokens = in_two_waves(llm, chosen, params)
    else:
        outputs = llm.chat([row["messages"] for row in chosen], params, use_tqdm=False)
        tokens = {row["id"]: list(o.outputs[0].token_ids) for row, o in zip(chosen, outputs, strict=True)}
    result: dict[str, Any] = {"tokens": tokens, "seconds": time.perf_counter() - begin}
    for metric in llm.get_metrics():
        if name := COUNTERS.get(metric.name):
            result[name] = metric.values if hasattr(metric, "values") else metric.value
    return result


def choose(prompts: Path, each: int) -> list[dict[str, Any]]:
    """The first `each` prompts of every workload."""
    taken: dict[str, int] = {}
    chosen = []
    for line in prompts.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        taken[row["workload"]] = taken.get(row["workload"], 0) + 1
        if taken[row["workload"]] <= each:
            chosen.append(row)
    return chosen


def in_two_waves(
    llm: Any, chosen: list[dict[str, Any]], params: Any, head_start: int = 12
) -> dict[str, list[int]]:
    """Start every other prompt as batch work, and after `head_start` steps the rest; token ids per prompt."""
    tokenizer, engine = llm.get_tokenizer(), llm.llm_engine
    done: dict[str, list[int]] = {}

    def step() -> None:
        for output in engine.step():
            if output.finished:
                done[output.request_id] = list(output.outputs[0].token_ids)

    for priority in (1, 0):
        for row in chosen[priority::2]:
            ids = tokenizer.apply_chat_template(
                row["messages"], add_generation_prompt=True, return_dict=False
            )
            engine.add_request(row["id"], {"prompt_token_ids": ids}, params, priority=priority)
        for _ in range(head_start if priority else 0):
            step()
    while engine.has_unfinished_requests():
        step()
    return {row["id"]: done[row["id"]] for row in chosen}


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
    write_text(chosen.output, json.dumps(result))


if __name__ == "__main__":
    main()
