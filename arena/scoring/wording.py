"""What the words of an answer say beyond which they are: order, denial, direction, and what is copied.

Order is the longest common subsequence (ROUGE-L, Lin 2004). A statement is contradicted where its nearest sentence
states the other direction, or the same one denied. Words that stand in the input as they stand in the answer are the
input's, not the answer's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

COPIED: Final = 6
"""Words in a row that are the input's count as copied."""

_RISE = re.compile(
    r"\b(activat|induc|increas|upregulat|up-regulat|promot|enhanc|stimulat|rise|rising|elevat|gain|positive|higher"
    r"|more|express)",
    re.IGNORECASE,
)
_FALL = re.compile(
    r"\b(inactivat|deactivat|repress|inhibit|decreas|downregulat|down-regulat|suppress|reduc|block|fall|silenc"
    r"|impair|negative|lower|less|lack|loss|lose)",
    re.IGNORECASE,
)
NEGATION: Final = re.compile(
    r"\b(?:not|no|never|neither|nor|none|without|cannot|isn't|aren't|doesn't|don't|wasn't|won't|unlike|except"
    r"|excluding|excludes|anything but|rather than|instead of|as opposed to|fails? to|false that|untrue)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(NEGATION.pattern + r".*?(?=\bbut\b|[.;!?\n]|$)", re.IGNORECASE | re.DOTALL)
_RETRACTION = re.compile(
    r"\b(?:not true|untrue|not the case|is false|are false|false that|is wrong|the opposite is)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")


def affirmed(text: str) -> str:
    """The text without what it denies: from a word of denial to "but" or the end of the sentence."""
    return _DENIED.sub(" ", text)


def sentences(text: str) -> list[str]:
    """Sentences of a text; the text itself where there is one."""
    return [s for s in _SENTENCE.split(text) if s.strip()]


def directions(text: str) -> list[int]:
    """+1 for each word of a rise and -1 for each of a fall, in their order."""
    found = [(m.start(), 1) for m in _RISE.finditer(text)] + [(m.start(), -1) for m in _FALL.finditer(text)]
    return [sign for _at, sign in sorted(found)]


def contradicts(one: str, other: str) -> bool:
    """Whether two statements of one matter exclude each other: other directions, or the same ones denied."""
    first_way, other_way = directions(one), directions(other)
    if len(first_way) == len(other_way):
        opposite = first_way != other_way
    else:
        opposite = len(set(first_way)) == len(set(other_way)) == 1 and first_way[0] != other_way[0]
    denied = (len(NEGATION.findall(one)) - len(NEGATION.findall(other))) % 2 == 1
    return opposite != denied


def retracts(text: str) -> bool:
    """Whether a text takes back all that it says."""
    return bool(_RETRACTION.search(text))


def common_in_order(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for a in first:
        before = 0
        for at, b in enumerate(second, start=1):
            kept = row[at]
            row[at] = before + 1 if a == b else max(row[at], row[at - 1])
            before = kept
    return row[-1]


def in_order_by_chance(n: int) -> float:
    """Mean length of the longest common subsequence of `n` words and the same words shuffled.

    Baik, Deift and Johansson (1999) give the first two terms; 0.6 brings the mean of 2 to 30 words within 0.1.
    """
    return max(2.0 * n**0.5 - 1.771 * n ** (1 / 6) + 0.6, 1.0) if n else 0.0


def own_words(text: str, inputs: Iterable[str], reference: str) -> str:
    """The text without what is copied from the input, save what the reference says in the same words."""
    copied = set().union(*(_runs(_plain(source)) for source in inputs)) - _runs(_plain(reference))
    words = text.split()
    plain = _plain(text)
    if not copied or len(plain) != len(words):
        return text
    copied_at: set[int] = set()
    for at in range(len(plain) - COPIED + 1):
        if tuple(plain[at : at + COPIED]) in copied:
            copied_at.update(range(at, at + COPIED))
    return " ".join(word for at, word in enumerate(words) if at not in copied_at)


def _plain(text: str) -> list[str]:
    return [word.strip(".,;:!?()[]\"'").lower() for word in text.split()]


def _runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + COPIED]) for at in range(len(words) - COPIED + 1)}


# ---- words that carry meaning ------------------------------------------------------------------------------

_WORD = re.compile(r"[a-z0-9]+(?:[-'/][a-z0-9]+)*")
_STOP_WORDS = """
a an the of in on at to for from by with and or nor as is are was were be been being this that these those it
its their his her which who whose what when where how than then thus such also may can could would should will
into onto via between among during both each other more most not no do does did has have had there here they
them we our us you your i e g eg ie et al
"""
_STOP = frozenset(_STOP_WORDS.split())


def listed_words(text: str) -> list[str]:
    """Words that carry meaning in their order, lower case, plural s cut; single letters stay (T cell)."""
    words = (word for word in _WORD.findall(text.lower()) if word not in _STOP)
    return [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in words]


def content_words(text: str) -> set[str]:
    """The same as a set."""
    return set(listed_words(text))


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence (Lin 2004); 0 where either is empty."""
    total = len(answer) + len(reference)
    return 2 * common_in_order(answer, reference) / total if total else 0.0


def token_f1(answer: set[str], reference: set[str]) -> float:
    """F1 of two word sets; 0 where either is empty."""
    total = len(answer) + len(reference)
    return 2 * len(answer & reference) / total if total else math.nan
