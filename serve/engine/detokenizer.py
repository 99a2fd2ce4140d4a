"""Turn tokens into text one by one: release whole characters, and hold back what may begin a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Text of one growing answer.

    Bytes of an unfinished character wait for the rest, and a tail that begins a stop string waits until it is
    decided. A stop string ends the text and is not part of it. Special tokens have text only with `keep_special`.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), *, keep_special: bool = False) -> None:
        self._tokenizer, self._skip = tokenizer, not keep_special
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._read = 0  # tokens whose text is decided
        self._anchor = 0  # decoding starts here: a token before `_read` keeps a word's leading space
        self._held = ""

    def push(self, token: int) -> tuple[str, bool]:
        """Add a token; return the text it released and whether a stop string ended the answer."""
        self._tokens.append(token)
        before = self._decode(self._anchor, self._read)
        now = self._decode(self._anchor, len(self._tokens))
        if now.endswith(_UNFINISHED) or len(now) <= len(before):
            return "", False
        self._anchor, self._read = self._read, len(self._tokens)
        return self._release(now[len(before) :])

    def finish(self) -> str:
        """Release what is still held back; the answer ends without a stop string."""
        before = self._decode(self._anchor, self._read)
        rest = self._decode(self._anchor, len(self._tokens))[len(before) :]
        self._anchor = self._read = len(self._tokens)
        text, stopped = self._release(rest)
        if stopped:
            return text
        held, self._held = self._held, ""
        return text + held

    def _decode(self, start: int, stop: int) -> str:
        if start >= stop:
            return ""
        return str(self._tokenizer.decode(self._tokens[start:stop], skip_special_tokens=self._skip))

    def _release(self, new: str) -> tuple[str, bool]:
        text = self._held + new
        ends = [position for position in (text.find(stop) for stop in self._stop) if position >= 0]
        if ends:
            self._held = ""
            return text[: min(ends)], True
        keep = max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` without completing it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
