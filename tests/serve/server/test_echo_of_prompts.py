"""`echo`, `max_tokens` 0 and `prompt_logprobs` of /v1/completions, by the official client on a real server."""

from __future__ import annotations

import math
import threading

import openai
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.engine import Engine, EngineConfig
from serve.request import Request, SamplingParams, TokenEvent, TokenLogprob
from serve.server.completion_logprobs import CompletionText
from serve.server.preparation import Limits
from serve.server.protocol import CompletionBody
from serve.server.responses import Answer
from tests.serve.conftest import tiny_tokenizer
from tests.serve.servers import KEY, running

TOKENIZER = tiny_tokenizer()
WHOLE = st.characters(codec="utf-8", exclude_characters="\N{REPLACEMENT CHARACTER}")
NEAR = 1e-5
"""transformers computes norms in float32 whatever the model."""
TEXT = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve T cells \N{GRINNING FACE}, and so on"


@pytest.fixture(scope="module")
def engine(tiny, tiny_model):
    config = EngineConfig(cache_tokens=1024, block_tokens=4, max_running=8, step_tokens=16)
    return Engine(tiny_model("llama"), tiny("llama"), config)


@pytest.fixture(scope="module")
def client(engine):
    limits = Limits(prompt_tokens=300, output_tokens=64, prompt_logprobs=2000)
    with running(engine, limits) as (base, _, _):
        yield openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=60)
    engine.forest.check()
    assert engine.forest.n_in_use == 0


@pytest.fixture(scope="module")
def reference(tiny):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny("llama").path, dtype=torch.float64).eval()

    @torch.inference_mode()
    def scores(ids):
        rows = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        return rows[range(len(ids) - 1), ids[1:]].tolist()

    return scores


def complete(client, prompt, **settings):
    asked = {"max_tokens": 0, "temperature": 0, "logprobs": 1} | settings
    more = {"echo": True, "extra_body": {"ignore_eos": True} | asked.pop("extra_body", {})}
    return client.completions.create(model="tiny", prompt=prompt, **(more | asked))


def ids_of(text):
    return TOKENIZER.backend_tokenizer.encode(text).ids


def test_a_prompt_is_echoed_with_its_log_probabilities(client, reference):
    got = complete(client, TEXT)
    choice, ids = got.choices[0], ids_of(TEXT)
    assert choice.text == TEXT
    assert choice.finish_reason == "length"
    scores = choice.logprobs
    assert scores.token_logprobs[0] is None
    assert scores.top_logprobs[0] is None
    assert scores.token_logprobs[1:] == pytest.approx(reference(ids), abs=NEAR)
    for name, own, best in zip(
        scores.tokens[1:], scores.token_logprobs[1:], scores.top_logprobs[1:], strict=True
    ):
        assert best[name] == own  # the token itself is always there
        assert max(best.values()) >= own
        assert len(best) <= 2
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (len(ids), 0)
    assert got.usage.total_tokens == len(ids)


def test_tokens_and_offsets_give_the_text(client):
    scores = complete(client, TEXT, max_tokens=5).choices[0].logprobs
    n = len(ids_of(TEXT))
    assert scores.text_offset[:n] == [len(TEXT.encode()[:k].decode(errors="ignore")) for k in range(n)]
    assert scores.text_offset[n] == len(TEXT)
    assert scores.tokens[2:4] == ["bytes:\\xc3", "bytes:\\xaf"]
    written = [
        name.encode() if not name.startswith("bytes:") else bytes.fromhex(name[8:10])
        for name in scores.tokens
    ]
    assert b"".join(written[:n]).decode() == TEXT


@pytest.mark.parametrize("logprobs", [None, 0, 3])
def test_a_completion_follows_the_echo(client, logprobs):
    plain = complete(client, TEXT, max_tokens=9, logprobs=logprobs, echo=False)
    both = complete(client, TEXT, max_tokens=9, logprobs=logprobs)
    assert both.choices[0].text == TEXT + plain.choices[0].text
    assert both.usage.completion_tokens == plain.usage.completion_tokens == 9
    assert both.usage.prompt_tokens == plain.usage.prompt_tokens
    if logprobs is None:
        assert both.choices[0].logprobs is None
        return
    n, scores, alone = plain.usage.prompt_tokens, both.choices[0].logprobs, plain.choices[0].logprobs
    assert scores.tokens[n:] == alone.tokens
    assert scores.token_logprobs[n:] == pytest.approx(alone.token_logprobs, abs=NEAR)
    assert scores.text_offset[n:] == [len(TEXT) + offset for offset in alone.text_offset]
    assert len(scores.top_logprobs) == len(scores.tokens) == n + 9


def test_every_form_of_prompt_and_several_choices(client, reference):
    texts = ["CD3D marks", "MS4A1 marks B", TEXT]
    ids = [ids_of(text) for text in texts]
    by_text = complete(client, texts, n=2, max_tokens=3)
    by_ids = complete(client, ids, n=2, max_tokens=3)
    assert [c.text for c in by_text.choices] == [c.text for c in by_ids.choices]
    assert [c.index for c in by_text.choices] == list(range(6))
    for choice in by_ids.choices:
        own = ids[choice.index // 2]
        assert choice.text.startswith(texts[choice.index // 2])
        assert choice.logprobs.token_logprobs[1 : len(own)] == pytest.approx(reference(own), abs=NEAR)
    assert by_ids.usage.prompt_tokens == sum(map(len, ids))  # once a prompt, not once a choice
    assert by_ids.usage.completion_tokens == 18
    one = complete(client, ids[0])
    assert one.choices[0].logprobs.token_logprobs[1:] == pytest.approx(reference(ids[0]), abs=NEAR)


def test_a_stream_says_the_same(client):
    settings = {"max_tokens": 6, "n": 2, "logprobs": 2}
    whole = complete(client, TEXT, **settings)
    parts = list(complete(client, TEXT, stream=True, stream_options={"include_usage": True}, **settings))
    assert parts[-1].usage == whole.usage
    for choice in whole.choices:
        own = [p.choices[0] for p in parts if p.choices and p.choices[0].index == choice.index]
        assert own[0].text.startswith(TEXT)
        assert "".join(p.text for p in own) == choice.text
        for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            wanted = getattr(choice.logprobs, field)
            joined = [x for p in own for x in getattr(p.logprobs, field)]
            assert joined[1:] == [pytest.approx(x, abs=1e-9) for x in wanted[1:]], field
            assert joined[0] == wanted[0]
        assert own[-1].finish_reason == "length"
    (alone,) = complete(client, TEXT, stream=True)
    assert alone.choices[0].text == TEXT
    assert alone.choices[0].finish_reason == "length"


def test_vllms_prompt_logprobs(client, reference):
    got = complete(client, TEXT, echo=False, logprobs=None, extra_body={"prompt_logprobs": 2}).choices[0]
    assert got.text == ""
    first, *others = got.prompt_logprobs
    ids = ids_of(TEXT)
    assert first is None
    assert [
        entry[str(token)]["logprob"] for entry, token in zip(others, ids[1:], strict=True)
    ] == pytest.approx(reference(ids), abs=NEAR)
    for entry, token in zip(others, ids[1:], strict=True):
        assert {1, 2} <= {value["rank"] for value in entry.values()}
        assert entry[str(token)]["decoded_token"] == TOKENIZER.decode([token])
        assert sum(math.exp(value["logprob"]) for value in entry.values()) <= 1 + 1e-9


def test_mixed_requests_do_not_disturb_each_other(client, reference):
    """The shared beginning of the prompts is in the cache for some, and computed for those that ask for scores."""
    prompts = [TEXT + " " + end for end in ("one", "two", "one", "three")]
    wanted = [complete(client, p, max_tokens=8, echo=False, logprobs=None).choices[0].text for p in prompts]
    got: list = [None] * 8

    def ask(i):
        scored = i % 2 == 0
        got[i] = complete(client, prompts[i // 2], max_tokens=8, echo=scored, logprobs=1 if scored else None)

    threads = [threading.Thread(target=ask, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, answer in enumerate(got):
        prompt, choice = prompts[i // 2], answer.choices[0]
        assert choice.text == (prompt if i % 2 == 0 else "") + wanted[i // 2]
        if i % 2 == 0:
            ids = ids_of(prompt)
            assert answer.usage.prompt_tokens_details.cached_tokens == 0
            assert choice.logprobs.token_logprobs[1 : len(ids)] == pytest.approx(reference(ids), abs=NEAR)


@pytest.mark.parametrize(
    ("settings", "param", "said"),
    [
        ({"echo": False}, "max_tokens", "echo: true"),
        ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"logprobs": -1}, "logprobs", "greater than or equal to 0"),
        ({"extra_body": {"echo": "yes"}}, "echo", "valid boolean"),
        ({"extra_body": {"prompt_logprobs": 21}}, "prompt_logprobs", "less than or equal to 20"),
        ({"stream": True, "extra_body": {"prompt_logprobs": 1}}, "prompt_logprobs", "exclude each other"),
        ({"n": 16, "logprobs": 20}, "logprobs", "at most 2000"),
        ({"prompt": []}, "prompt", "prompt: "),
        ({"prompt": [[]]}, "prompt", "no tokens"),
        ({"prompt": ""}, "prompt", "no tokens"),
        ({"prompt": [9999]}, "prompt", "outside 0..256"),
        ({"suffix": "x"}, "suffix", "not supported"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(client, settings, param, said):
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        complete(client, settings.pop("prompt", TEXT), **settings)
    assert caught.value.param.startswith(param)


def test_a_prompt_as_long_as_the_model_can_be_scored(client, engine, tiny, tiny_model):
    longest = 60
    small = Engine(tiny_model("llama"), tiny("llama"), EngineConfig(cache_tokens=longest, block_tokens=4))
    with running(small) as (base, _, _):
        own = openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        assert len(complete(own, [7] * longest).choices[0].logprobs.tokens) == longest
        with pytest.raises(openai.BadRequestError, match="leave no room"):
            complete(own, [7] * longest, max_tokens=1)


@given(st.text(WHOLE, min_size=1, max_size=12), st.text(WHOLE, min_size=1, max_size=12))
def test_offsets_count_the_characters_before_a_token(prompt: str, answer: str) -> None:
    ids, more = ids_of(prompt), ids_of(answer)
    text = CompletionText(TOKENIZER, 0)
    request = Request("a", tuple(ids), SamplingParams(logprobs=0, prompt_logprobs=0))
    request.prompt_logprobs += [TokenLogprob(i, -1.0, (), 1) for i in ids[1:]]
    echoed, scores = text.echo(request, prompt)
    assert (echoed, text.echo(request, ids)[0]) == (prompt, prompt)
    assert scores is not None
    assert scores["text_offset"] == [
        len(prompt.encode()[:k].decode(errors="ignore")) for k in range(len(ids))
    ]
    rest = text.answer([TokenLogprob(i, -1.0, (), 1) for i in more])
    assert rest is not None
    assert rest["text_offset"] == [
        len(prompt) + len(answer.encode()[:k].decode(errors="ignore")) for k in range(len(more))
    ]


def test_a_token_that_the_tokenizer_adds_is_not_echoed() -> None:
    request = Request("a", (0, *ids_of("abc")), SamplingParams(logprobs=0, prompt_logprobs=0, max_tokens=0))
    request.prompt_logprobs += [TokenLogprob(i, -1.0, (), 1) for i in request.prompt[1:]]
    body = CompletionBody(prompt="abc", logprobs=0, echo=True, max_tokens=0)
    answer = Answer([request], TOKENIZER, "tiny", body)
    choice = answer.whole([TokenEvent("a", (), "", (), "length")])["choices"][0]
    assert choice["text"] == "abc"
    assert choice["logprobs"]["tokens"] == ["<eos>", "a", "b", "c"]
    assert choice["logprobs"]["text_offset"] == [0, 0, 1, 2]
