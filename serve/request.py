"""A request, its settings and its results: `Request`, `SamplingParams`, `Timeline`, `TokenEvent`.

This file uses no tensors; the scheduler, the KV accounting and the simulator share these types.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.errors import RequestError


class Priority(enum.IntEnum):
    """Class of a request: interactive work goes before batch work. Lower runs first."""

    ONLINE = 0
    OFFLINE = 1


class FinishReason(enum.StrEnum):
    """Why a request ended, in OpenAI's words where it has one."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1 and `min_p` 0 switch that filter off. `min_p` drops tokens less
    probable than this share of the best one. The penalties lower the logits of tokens that the answer already has:
    `frequency_penalty` once per occurrence, `presence_penalty` once per token. `logit_bias` holds (token, bias)
    pairs that are added to the logits. `logprobs` is the number of alternatives reported with the chosen token
    (None: no log-probabilities at all), `prompt_logprobs` the same for each prompt token. `max_tokens` 0 computes the
    prompt alone. `stop` strings end the text and are not part of it. `json_schema` constrains
    the output to that schema ({} is any JSON), `lark` to a grammar of llguidance; a request has at most one of them.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    json_schema: dict[str, Any] | None = None
    lark: str | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("temperature", self.temperature, 0.0, 2.0),
            ("top_k", self.top_k, 0, 2**31),
            ("top_p", self.top_p, 0.0, 1.0),
            ("max_tokens", self.max_tokens, 0, 2**31),
            ("logprobs", self.logprobs or 0, 0, 20),
            ("prompt_logprobs", self.prompt_logprobs or 0, 0, 20),
            ("min_p", self.min_p, 0.0, 1.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            *(("logit_bias", bias, -100.0, 100.0) for _, bias in self.logit_bias),
        ):
            if not low <= value <= high:  # NaN fails too
                raise RequestError(f"{name} is {value}, must be between {low} and {high}", param=name)
        if self.top_p == 0:
            raise RequestError("top_p is 0, must be greater", param="top_p")

    @property
    def adjusts(self) -> bool:
        """Whether logits change before a token is chosen."""
        return bool(self.frequency_penalty or self.presence_penalty or self.logit_bias)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0


@dataclass(slots=True)
class Timeline:
    """Times of one request in the server; seconds on one monotonic clock (`time.perf_counter`)."""

    arrived_s: float
    token_s: list[float] = field(default_factory=list)
    scheduled_s: float | None = None
    finished_s: float | None = None

    @property
    def ttft_s(self) -> float | None:
        """Seconds from arrival to the first token, None before it."""
        return self.token_s[0] - self.arrived_s if self.token_s else None

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token after the first, None with fewer than two."""
        if len(self.token_s) < 2:
            return None
        return (self.token_s[-1] - self.token_s[0]) / (len(self.token_s) - 1)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability of a token under the model's raw distribution, and of the best alternatives.

    `rank` counts the tokens that are at least as probable, the token itself among them.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    rank: int


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Result of one engine step for a request: tokens, the text they released, and the end if it came.

    `text` can be shorter or longer than `tokens`. Bytes of an unfinished character and a possible start of a stop
    string are held back until they are decided.
    """

    request_id: str
    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    error: str | None = None
    param: str | None = None
    """The field of the request that caused the error; None where the server did."""


@dataclass(slots=True, eq=False)
class Request:
    """One request and its progress. Only the engine thread changes it after submission.

    `tokens` is the prompt followed by the committed output. `computed` counts the leading tokens whose keys
    and values lie in the cache. The last committed output token is never among them until its forward pass.
    `blocks` is the block table. `chain` has the chained hashes of the full blocks of `tokens`
    (`serve.kv_cache.prefix_cache`). The first `registered` blocks are in the prefix forest. `prompt_logprobs` grows
    with the prompt's chunks where the parameters ask for it. It begins with the second token, as nothing
    predicts the first.
    """

    id: str
    prompt: tuple[int, ...]
    params: SamplingParams
    priority: Priority = Priority.ONLINE
    timeline: Timeline = field(default_factory=lambda: Timeline(time.perf_counter()))
    order: int = 0
    tokens: list[int] = field(init=False)
    computed: int = 0
    cached_prompt_tokens: int = 0
    blocks: list[int] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    registered: int = 0
    preemptions: int = 0
    forwards: int = 0
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.rng = np.random.default_rng(self.params.seed)

    @property
    def output(self) -> list[int]:
        """Committed output tokens."""
        return self.tokens[len(self.prompt) :]

    @property
    def n_output(self) -> int:
        """Number of committed output tokens."""
        return len(self.tokens) - len(self.prompt)

    @property
    def pending(self) -> int:
        """Committed tokens that are not in the cache yet; at least one while the request runs."""
        return len(self.tokens) - self.computed

    @property
    def decoding(self) -> bool:
        """Whether all but the last token are in the cache, so that the next pass yields a new token."""
        return self.pending == 1 and self.n_output > 0

    @property
    def scoring(self) -> bool:
        """Whether prompt tokens still lack the log-probabilities that the request asks for."""
        return self.params.prompt_logprobs is not None and len(self.prompt_logprobs) < len(self.prompt) - 1

    @property
    def reusable(self) -> int:
        """Number of leading tokens whose rows may come from the prefix cache.

        The cache holds no logits. So the last token is always computed, and so is every row whose logits score a
        prompt token: a request that asks for `prompt_logprobs` computes its whole prompt. After a preemption it
        reuses the rows whose scores it has.
        """
        return len(self.prompt_logprobs) if self.scoring else len(self.tokens) - 1
