"""Plain English is a test: no archaic or private words, and few long sentences, in what the packages say."""

import ast
import functools
import re
import sys

import pytest

from tests.docstrings import MOST_WORDS, Prose, main, page_prose, pages, prose, sample, sentences, words
from tests.layers import PACKAGES, modules

PLAIN = {
    "mend": "correct",
    "at hand": "available",
    "turn away": "refuse",
    "for ever": "without end",
    "whoever": "users who",
    "one's own": "your own",
    "goes away": "is removed, disconnects",
    "what of": "which part of",
    "save one": "except one",
    "save for": "except",
    "take over": "inherit",
    "put right": "replace, correct",
    "said": "stated; or name what states it",
    "beside": "next to, with, compared with",
    "aside": "to another place",
    "lest": "so that ... not",
    "hence": "so",
    "thereof": "of the ...",
    "whither": "where",
    "upon": "on",
    "shall": "must",
}
"""Words that no docstring, comment, help or message uses, and the plain ones."""
FORMS = {
    "mend": r"mend(s|ed|ing)?",
    "turn away": r"turn(s|ed|ing)? away",
    "goes away": r"(go|goes|went) away",
    "take over": r"(takes|took) over",
}
QUOTED = ("arena.scoring.wording",)
"""Modules whose strings are data: word lists for a metric."""
VAGUE = {"at", "said", "taken", "told", "mine", "made", "here"}
"""Names that no variable has in the rooms of `CLEAR`: they say nothing of what the variable holds."""
CLEAR = (
    "serve.",
    *(f"vckg.{room}." for room in ("base", "graph", "export", "quality", "printers")),
    *(
        f"gather.{room}"
        for room in ("llm.", "metrics.", "benchmark.baselines.", "benchmark.llm", "benchmark.paper")
    ),
)
LONG_SHARE = 0.03
"""Most sentences of a package that may have more than `MOST_WORDS` words, as a share."""
LONG_SHARE_OF_PAGES = 0.05
TEXTS = functools.cache(lambda package: list(prose(package)))
_CODE = re.compile(r"``.*?``|`[^`]*`|\{[^}]*\}", re.DOTALL)
_ARCHAIC = re.compile(rf"\b({'|'.join(FORMS.get(w, re.escape(w)) for w in PLAIN)})\b", re.IGNORECASE)


def archaic(piece: Prose) -> list[str]:
    """Return the words of a text that are not plain, each with its place."""
    return [f"{piece.where} ({piece.kind}): {m[0]!r}" for m in _ARCHAIC.finditer(_CODE.sub(" ", piece.text))]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_archaic_and_no_private_word(package: str) -> None:
    found = [w for p in TEXTS(package) if not p.where.startswith(QUOTED) for w in archaic(p)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", CLEAR)
def test_no_variable_has_a_vague_name(room: str) -> None:
    rooms = {name: text for name, text in modules(room.split(".")[0]).items() if name.startswith(room)}
    assert rooms
    for name, text in rooms.items():
        for node in ast.walk(ast.parse(text)):
            bound = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None
            bound = node.arg if isinstance(node, ast.arg) else bound
            assert bound not in VAGUE, f"{name}:{getattr(node, 'lineno', 0)}: {bound}"


@pytest.mark.parametrize("package", PACKAGES)
def test_few_sentences_are_long(package: str) -> None:
    lengths = [words(s) for p in TEXTS(package) if p.kind != "comment" for s in sentences(p.text)]
    assert len(lengths) > 500
    share = sum(n > MOST_WORDS for n in lengths) / len(lengths)
    assert share <= LONG_SHARE, f"{100 * share:.1f} %; `python -m tests.docstrings --long` lists them"


def test_few_sentences_of_the_documents_are_long() -> None:
    lengths = [words(s) for page in pages() for s in sentences(page.text)]
    assert len(lengths) > 1500
    share = sum(n > MOST_WORDS for n in lengths) / len(lengths)
    assert share <= LONG_SHARE_OF_PAGES, (
        f"{100 * share:.1f} %; `python -m tests.docstrings --long` lists them"
    )


def test_no_archaic_and_no_private_word_in_the_documents() -> None:
    """Results that a command printed are its text, which the packages' own test reads."""
    assert [word for page in pages() if "/results/" not in page.where for word in archaic(page)] == []


def test_a_page_gives_its_sentences() -> None:
    page = "# Title\n\nOne [idea](a.md).\nTwo **ideas**.\n\n```sh\nrun it\n```\n\n| a | b |\n\n"
    page += "- An item\n  of two lines\n- Another\n"
    assert sentences(page_prose(page)) == ["One idea.", "Two ideas.", "An item of two lines", "Another"]


def test_a_private_word_and_a_long_sentence_are_found() -> None:
    bad = Prose("p.a:1", "text", "Nothing the user can mend; `said` is code. It takes over the rest.")
    assert [w.rpartition(" ")[2] for w in archaic(bad)] == ["'mend'", "over'"]
    text = "One idea. Then `another`: more.\n\n    Parameters\n    ----------\n    a\n        The a."
    assert sentences(text) == ["One idea.", "Then `another`: more.", "a", "The a."]
    assert words("Read ``a b c`` and `d e` now.") == 5


def test_the_sample_of_docstrings_repeats(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["docstrings", "--seed", "7", "--count", "5"])
    main()
    printed = capsys.readouterr().out
    drawn = sample(7, 5)
    assert printed == "".join(f"--- {entry.name}\n{entry.docstring}\n\n" for entry in drawn)
    assert len({entry.name for entry in drawn}) == 5
    assert drawn != sample(8, 5)
