"""Small promises of the answers: bytes and offsets of tokens, cached tokens, the coldest temperature."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.sampling import processed
from serve.model.loader import _gguf_tokenizer, embedded_model
from serve.request import Request, SamplingParams, TokenEvent, TokenLogprob
from serve.server.completion_logprobs import token_bytes
from serve.server.protocol import CompletionBody
from serve.server.responses import Answer
from tests.serve.conftest import tiny_tokenizer
from tests.serve.servers import HEADERS, another, running

TOKENIZER = tiny_tokenizer()
WHOLE = st.characters(codec="utf-8", exclude_characters="\N{REPLACEMENT CHARACTER}")


@given(st.text(min_size=1, max_size=20))
def test_the_bytes_of_the_tokens_are_those_of_the_text(text: str) -> None:
    ids = TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes(TOKENIZER, token) for token in ids) == text.encode()


def test_the_embedded_models_partial_characters_have_their_bytes() -> None:
    text, tokenizer = "naïve 😀 𝛼 细胞 ﬁ", _gguf_tokenizer(embedded_model())
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes(tokenizer, token) for token in ids) == text.encode()


@given(st.text(WHOLE, min_size=1, max_size=20), st.lists(st.integers(0, 40), max_size=5))
def test_offsets_go_on_from_chunk_to_chunk(text: str, cuts: list[int]) -> None:
    ids = TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids
    given = [TokenLogprob(i, -1.0, (), 1) for i in ids]
    request = Request("a", (1,), SamplingParams(logprobs=0))
    streaming = Answer([request], TOKENIZER, "tiny", CompletionBody(prompt="a", logprobs=0))
    cuts = sorted(cuts)
    chunks = [given[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    pieces = [p for chunk in chunks for p in streaming.piece(TokenEvent("a", (), "", tuple(chunk)))]
    offsets = [o for piece in pieces for o in piece["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == [len(text.encode()[:k].decode(errors="ignore")) for k in range(len(ids))]


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-100])
def test_the_coldest_temperature_takes_the_best_token(temperature: float) -> None:
    logits = np.array([1.0, 7.0, -np.inf, 3.0, -4.0], np.float32)
    assert processed(logits, SamplingParams(temperature=temperature)).tolist() == [0, 1, 0, 0, 0]


def test_a_preempted_requests_own_prompt_is_not_cached(tiny_engine) -> None:
    engine = tiny_engine(cache_tokens=64, step_tokens=8)
    prompts = [tuple(40 * i + j for j in range(20)) for i in range(6)]
    got = engine.generate(prompts, SamplingParams(max_tokens=24, ignore_eos=True))
    assert engine.scheduler.preemptions > 0
    assert [c.request.cached_prompt_tokens for c in got] == [0] * 6


def test_a_streamed_completion_has_running_offsets(tiny_engine) -> None:
    engine = tiny_engine()
    body = {"prompt": "abc", "max_tokens": 8, "logprobs": 0, "temperature": 0, "ignore_eos": True}
    with running(another(engine)) as (base, _, _), httpx.Client(headers=HEADERS, timeout=60) as client:
        whole = client.post(base + "/v1/completions", json=body).json()["choices"][0]
        stream = client.post(base + "/v1/completions", json=body | {"stream": True}).text
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    offsets = [o for c in chunks for o in c["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == whole["logprobs"]["text_offset"]
