"""Time per output token while all requests decode: by hand, and against a real server on a tiny model."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.compare_servers import Address
from benchmarks.decode_phase import Streamed, ask, decode_phase, main, prompts_of
from serve.errors import InputError, KnownError
from tests.serve.servers import KEY, another, running

ROWS = [[{"role": "user", "content": f"question {i} " * 20}] for i in range(40)]


def test_the_phase_is_the_time_in_which_every_answer_has_begun_and_none_has_ended() -> None:
    early = Streamed("", (1.0, 2.0, 3.0, 4.0), 4)
    late = Streamed("", (2.0, 3.0, 4.0, 5.0), 4)
    assert decode_phase([early, late]) == (2.0, 4.0)  # from 2 to 4 s: the chunks at 3 and 4 s of both


def test_a_chunk_counts_as_its_share_of_the_servers_tokens() -> None:
    assert decode_phase([Streamed("", (0.0, 1.0, 2.0, 3.0), 8)]) == (3.0, 6.0)


def test_answers_that_never_ran_together_are_an_error() -> None:
    with pytest.raises(KnownError, match="an answer ended before another began"):
        decode_phase([Streamed("", (0.0, 1.0), 2), Streamed("", (2.0, 3.0), 2)])


def test_prompts_share_as_many_tokens_as_are_asked(embedded) -> None:
    prompts = prompts_of(ROWS, 3, 100)
    beginning = prompts[0][0]["content"]
    assert all(prompt[0]["content"] == beginning for prompt in prompts)
    assert len(embedded.tokenizer(beginning, add_special_tokens=False)["input_ids"]) == pytest.approx(
        100, abs=1
    )
    assert [prompt[1] for prompt in prompts] == [row[-1] for row in ROWS[-3:]]
    with pytest.raises(InputError, match="too few for a beginning of 100000"):
        prompts_of(ROWS, 3, 100_000)


def test_every_answer_of_a_real_server_has_its_tokens_and_repeats(tiny_engine) -> None:
    with running(another(tiny_engine())) as (url, _, _):
        at = Address(f"{url}/v1", "tiny", KEY)
        first, again = (
            asyncio.run(ask(at, [[{"role": "user", "content": "1 2"}]] * 3, 12)) for _ in range(2)
        )
        assert [a.tokens for a in first] == [12] * 3
        assert [a.text for a in first] == [a.text for a in again]
    with pytest.raises(KnownError, match="is the server running"):
        asyncio.run(ask(at, [[{"role": "user", "content": "1"}]], 2))


def test_a_wrong_option_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["decode_phase", "--server", "nothing"])
    with pytest.raises(InputError, match="wanted --server LABEL=URL"):
        main()
