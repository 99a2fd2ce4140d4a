"""The `logprobs` object of /v1/completions, the echo of its prompt, and vLLM's `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from serve.engine.detokenizer import TextStream
from serve.request import Request, TokenLogprob

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class CompletionText:
    """Text and log-probabilities of one choice, piece by piece, with offsets that count its characters.

    `top` is the number of alternatives a token is shown with; None: no log-probabilities.
    """

    def __init__(self, tokenizer: Any, top: int | None) -> None:
        self._tokenizer, self._top = tokenizer, top
        self._stream = TextStream(tokenizer)
        self._offset = 0
        self._names: dict[int, str] = {}

    def echo(self, request: Request, given: str | Sequence[int]) -> tuple[str, dict[str, Any] | None]:
        """The prompt as the client gave it, ids as text; its first token has no log-probability."""
        if self._top is None:
            return given if isinstance(given, str) else self._decode(request.prompt), None
        stream, pieces, offsets = TextStream(self._tokenizer, keep_special=True), [], [0]
        for token in request.prompt:
            pieces.append(stream.push(token)[0])
            offsets.append(offsets[-1] + len(pieces[-1]))
        text = "".join(pieces) + stream.finish()
        if isinstance(given, str):  # the tokenizer may have put its own token before it
            added = max(0, len(text) - len(given))
            offsets, text = [max(0, offset - added) for offset in offsets], given
        self._offset = len(text)
        return text, self._object(request.prompt, [None, *request.prompt_logprobs], offsets[:-1])

    def answer(self, given: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """Log-probabilities of the next tokens of the answer."""
        if self._top is None:
            return None
        offsets = []
        for entry in given:
            offsets.append(self._offset)
            self._offset += len(self._stream.push(entry.token)[0])
        return self._object([entry.token for entry in given], given, offsets)

    def _object(
        self, tokens: Sequence[int], given: Sequence[TokenLogprob | None], offsets: list[int]
    ) -> dict[str, Any]:
        return {
            "tokens": [self._name(token) for token in tokens],
            "token_logprobs": [None if entry is None else finite(entry.logprob) for entry in given],
            "top_logprobs": [None if entry is None else self._best(entry) for entry in given],
            "text_offset": offsets,
        }

    def _best(self, entry: TokenLogprob) -> dict[str, float]:
        """The best tokens and, as OpenAI has it, the token itself; of two with one name the better."""
        best: dict[str, float] = {}
        for token, logprob in (*entry.top[: self._top], (entry.token, entry.logprob)):
            best.setdefault(self._name(token), finite(logprob))
        return best

    def _name(self, token: int) -> str:
        """Text of a token; that of a part of a character is `bytes:` and its bytes, as OpenAI writes it."""
        name = self._names.get(token)
        if name is None:
            name = self._decode([token])
            if _UNFINISHED in name:
                own = token_bytes(self._tokenizer, token)
                name = "bytes:" + "".join(f"\\x{byte:02x}" for byte in own)
            self._names[token] = name
        return name

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))


def joined(first: dict[str, Any] | None, then: dict[str, Any] | None) -> dict[str, Any] | None:
    """The `logprobs` of a text from those of its two parts."""
    if first is None or then is None:
        return then
    return {name: first[name] + then[name] for name in first}


def prompt_logprobs(tokenizer: Any, request: Request, top: int) -> list[dict[str, Any] | None]:
    """For each prompt token the best tokens and itself, by id, and None for the first: vLLM's form."""
    shown: list[dict[str, Any] | None] = [None]
    for entry in request.prompt_logprobs:
        ranked = [(t, lp, rank) for rank, (t, lp) in enumerate(entry.top[:top], 1)]
        ranked.append((entry.token, entry.logprob, entry.rank))
        shown.append(
            {
                str(t): {"logprob": finite(lp), "rank": rank, "decoded_token": tokenizer.decode([t])}
                for t, lp, rank in ranked
            }
        )
    return shown


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The bytes a token stands for; those of a part of a character are not text by themselves."""
    text: str = tokenizer.decode([token])
    if "\N{REPLACEMENT CHARACTER}" not in text:
        return text.encode()
    name: str = tokenizer.convert_ids_to_tokens(token)
    if len(name) == 6 and name.startswith("<0x"):  # SentencePiece's byte fallback
        return bytes.fromhex(name[3:5])
    known = _byte_level()
    return bytes(known[c] for c in name) if all(c in known for c in name) else text.encode()


@lru_cache(maxsize=1)
def _byte_level() -> dict[str, int]:
    """Byte of each character of GPT-2's byte-level alphabet: printable bytes are themselves."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def finite(logprob: float) -> float:
    """JSON has no infinity; -9999 is what OpenAI writes for probability 0."""
    return max(logprob, -9999.0)
