from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.detokenizer import TextStream


class Bytes:
    """A tokenizer of one token a byte, as byte-level BPE is at worst."""

    def decode(self, tokens, skip_special_tokens):
        return bytes(tokens).decode("utf-8", errors="replace")


def stream(text, stop=()):
    """Text streamed byte by byte; the pieces, and whether a stop string ended it."""
    out, pieces = TextStream(Bytes(), stop), []
    for byte in text.encode():
        piece, stopped = out.push(byte)
        pieces.append(piece)
        if stopped:
            return pieces, True
    return [*pieces, out.finish()], False


def test_a_character_comes_whole():
    pieces, _ = stream("α→β")
    assert [p for p in pieces if p] == ["α", "→", "β"]


def test_a_stop_string_is_cut_and_its_beginning_held_back():
    pieces, stopped = stream("one.\n\ntwo", ["\n\n"])
    assert stopped
    assert "".join(pieces) == "one."
    assert stream("a\nb", ["\n\n"])[0] == ["a", "", "\nb", ""]


def test_what_was_held_back_comes_at_the_end():
    pieces, stopped = stream("almost EN", ["END"])
    assert (pieces[-1], stopped) == ("EN", False)


@settings(max_examples=300, deadline=None)
@given(text=st.text("abé", max_size=12), stop=st.lists(st.text("abé", min_size=1, max_size=3), max_size=3))
def test_the_stream_equals_cutting_the_whole_text(text, stop):
    ends = {}
    for n in range(len(text) + 1):  # the stop string completed first wins, at its earliest place
        found = [text[:n].find(s) for s in stop if s in text[:n]]
        if found:
            ends = {"cut": min(found)}
            break
    pieces, stopped = stream(text, stop)
    assert stopped == bool(ends)
    assert "".join(pieces) == (text[: ends["cut"]] if ends else text)
