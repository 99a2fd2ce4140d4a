"""``python -m benchmarks.decode_phase``: time per output token of running servers while all requests decode.

A row is a number of requests that share a beginning (worked examples, as a table of cells or of answers to judge has).
Every request is sent twice. The first time its prompt is read; the second time it comes from the server's prefix cache,
and the answers are timed. The decode phase is the time in which every request has begun its answer and none has ended
it. Answers run to their token limit. They are compared with those of the first server.

`--weights LABEL=MIB` says what a server reads of its weights for a token. For one request the command then prints that
reading a second, beside the memory bandwidth that it measures: the roofline of decoding.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.compare_servers import Address, Messages
from serve.errors import InputError, KnownError
from serve.model.loader import load_checkpoint

HELDOUT = Path(__file__).parents[1] / "draft" / "heldout.jsonl"


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer: its text, the seconds at which its chunks came, and its tokens by the server's count."""

    text: str
    times: tuple[float, ...]
    tokens: int


def decode_phase(answers: Sequence[Streamed]) -> tuple[float, float]:
    """Seconds of the phase in which every answer has begun and none has ended, and the tokens that came in it.

    The first chunk ends the reading of the prompt, so it is not counted. A chunk counts as its share of the tokens.

    Raises
    ------
    KnownError
        if the answers never ran together.
    """
    began, ended = max(a.times[0] for a in answers), min(a.times[-1] for a in answers)
    if ended <= began:
        raise KnownError("an answer ended before another began: send fewer requests, or ask for more tokens")
    inside = (sum(began < t <= ended for t in a.times) * a.tokens / len(a.times) for a in answers)
    return ended - began, sum(inside)


async def ask(at: Address, prompts: Sequence[Messages], max_tokens: int) -> list[Streamed]:
    """Send all prompts at once; their answers in order."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=at.headers, timeout=None, limits=limits) as client:
        return await asyncio.gather(*(_one(client, at, prompt, max_tokens) for prompt in prompts))


async def _one(client: httpx.AsyncClient, at: Address, prompt: Messages, max_tokens: int) -> Streamed:
    body = {
        "model": at.model,
        "messages": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    url, texts, times, tokens = f"{at.url.rstrip('/')}/chat/completions", [], list[float](), 0
    try:
        async with client.stream("POST", url, json=body) as response:
            if response.status_code != 200:
                raise KnownError(f"{url}: HTTP {response.status_code}: {(await response.aread())[:200]!r}")
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line[5:].strip() == "[DONE]":
                    continue
                event = json.loads(line[5:])
                tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
                for choice in event.get("choices") or ():
                    if text := (choice.get("delta") or {}).get("content"):
                        texts.append(text)
                        times.append(time.perf_counter())
    except httpx.HTTPError as error:
        raise KnownError(f"{url}: {type(error).__name__}: {error}; is the server running?") from error
    if not times:
        raise KnownError(f"{url}: an answer without text")
    return Streamed("".join(texts), tuple(times), tokens)


def prompts_of(rows: Sequence[Messages], together: int, tokens: int) -> list[Messages]:
    """`together` prompts after `tokens` tokens of worked examples that all share; the rows as they are after none."""
    questions = [row[-1] for row in rows[-together:]]
    if not tokens:
        return [list(row) for row in rows[-together:]]
    tokenizer = load_checkpoint().tokenizer
    text = "Worked examples:\n" + "\n\n".join(row[-1]["content"] for row in rows[:-together])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) < tokens:
        raise InputError(f"the prompts have {len(ids)} tokens, too few for a beginning of {tokens}")
    return [
        [{"role": "system", "content": tokenizer.decode(ids[:tokens])}, question] for question in questions
    ]


def memory_bandwidth(threads: int, mib: int = 512) -> float:
    """Bytes a second that `threads` threads read from memory: the best of five sums over arrays beyond the caches."""
    parts = np.array_split(np.ones(mib * 2**20 // 8), threads)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(6):
            began = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = min(best, time.perf_counter() - began)
    return mib * 2**20 / best


def table_row(
    servers: dict[str, Address], prompts: Sequence[Messages], shared: int, max_tokens: int
) -> tuple[list[str], dict[str, float]]:
    """Lines of the table for one row of every server, in turns; milliseconds a token of each."""
    first: list[Streamed] = []
    lines, took = [], dict[str, float]()
    for label, at in servers.items():
        asyncio.run(ask(at, prompts, 2))
        answers = asyncio.run(ask(at, prompts, max_tokens))
        seconds, tokens = decode_phase(answers)
        first = first or answers
        equal = sum(a.text == b.text for a, b in zip(answers, first, strict=True))
        took[label] = 1e3 * seconds / tokens
        beside = took[label] / next(iter(took.values()))
        lines.append(
            f"| {len(prompts)} | {shared:,} | {label} | {took[label] * len(prompts):.1f} | "
            f"{tokens / seconds:.1f} | {beside:.2f} | {equal} of {len(prompts)} |"
        )
    return lines, took


def main() -> None:
    """Print the table, and the roofline of one request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", action="append", required=True, help="LABEL=URL, with /v1; repeat")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct", help="model name to ask for")
    parser.add_argument("--requests", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--shared", type=int, nargs="+", default=[1024, 4096], help="tokens; 0 is nothing")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--weights", action="append", default=[], help="LABEL=MIB read for a token")
    parser.add_argument("--threads", type=int, default=2, help="that measure the memory bandwidth")
    chosen = parser.parse_args()
    try:
        servers = {
            label: Address.parse(url, chosen.model, None)
            for label, url in (text.split("=", 1) for text in chosen.server)
        }
        weights = {label: float(mib) for label, mib in (text.split("=", 1) for text in chosen.weights)}
    except ValueError as error:
        raise InputError("wanted --server LABEL=URL and --weights LABEL=MIB") from error
    rows = [json.loads(line)["messages"] for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
    sys.stdout.write(
        "| requests | shared tokens | server | ms a step | tokens/s | times the first one's | answers equal |\n"
        + "|---" * 7
        + "|\n"
    )
    alone: dict[str, float] = {}
    for tokens in chosen.shared:
        for together in chosen.requests:
            prompts = prompts_of(rows, together, tokens)
            lines, took = table_row(servers, prompts, tokens, chosen.max_tokens)
            alone = alone or (took if together == 1 else {})
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
    if alone and weights:
        bandwidth = memory_bandwidth(chosen.threads)
        sys.stdout.write(f"\nmemory read by {chosen.threads} threads: {bandwidth / 1e9:.1f} GB/s\n\n")
        sys.stdout.write(
            "| server | weights, MiB | tokens/s | read, GB/s | of the bandwidth |\n" + "|---" * 5 + "|\n"
        )
        for label, mib in weights.items():
            read = mib * 2**20 * 1e3 / alone[label]
            sys.stdout.write(
                f"| {label} | {mib:.0f} | {1e3 / alone[label]:.1f} | {read / 1e9:.1f} | {read / bandwidth:.0%} |\n"
            )


if __name__ == "__main__":
    try:
        main()
    except KnownError as error:
        sys.exit(f"benchmarks.decode_phase: {error}")
