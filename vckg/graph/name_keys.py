"""Lookup keys of names. Spellings of one name share a key; no key loses a sign (``CD4-``)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_ENSEMBL = r"ENS[A-Z]*G\d{11}"
_VERSION = re.compile(rf"^({_ENSEMBL})\.\d+(_PAR_Y)?$")
_JOINED = re.compile(
    rf"(?P<symbol>.+?)[-_|](?P<id>{_ENSEMBL}(\.\d+)?)$|(?P<id2>{_ENSEMBL})(\.\d+)?[-_|](?P<symbol2>.+)$"
)


def symbol_and_id(name: str) -> tuple[str, str]:
    """Return a gene name as its symbol and its Ensembl id: the parts of ``CD79A_ENSG00000105369``, else the name twice.

    The parts may come in either order and may be joined by a hyphen or a bar.
    """
    text = str(name).strip()
    found = _JOINED.match(text) if "ENS" in text and not _VERSION.match(text) else None
    return (found["symbol"] or found["symbol2"], found["id"] or found["id2"]) if found else (text, text)


def gene_key(name: str) -> str:
    """Return the lookup key of a gene name: stripped, its Ensembl id where it has one, without the id's version."""
    text = symbol_and_id(name)[1]
    versioned = _VERSION.match(text)
    return versioned.group(1) if versioned else text


def case_key(name: str) -> str:
    """Return the lookup key of a gene name in any case; of a symbol joined to an id, that of the symbol."""
    symbol = symbol_and_id(name)[0]
    return "~" + gene_key(symbol).upper()


_CURIE = re.compile(r"^([A-Za-z]+)[_:](\d+)$")


def label_key(name: str) -> str:
    """Return the lookup key of a label: whitespace collapsed, case folded, ``CL_1`` as ``CL:1``."""
    text = " ".join(str(name).split())
    curie = _CURIE.match(text)
    return f"{curie.group(1).upper()}:{curie.group(2)}" if curie else text.casefold()


#: Greek letters, signs and the underscore in ASCII.
_ASCII = (
    {
        ord(letter): name
        for letter, name in zip("αβγδε", ("alpha", "beta", "gamma", "delta", "epsilon"), strict=True)
    }
    | dict.fromkeys(
        (
            0x00AD,
            *range(0x2010, 0x2016),
            0x2043,
            0x207B,
            0x208B,
            0x2212,
            0x2238,
            0x2296,
            0x02D7,
            0x2796,
            0xFE58,
            0xFE63,
            0xFF0D,
        ),
        "-",
    )
    | dict.fromkeys((0x207A, 0x208A, 0x2295, 0x2795, 0xFB29, 0xFE62, 0xFF0B), "+")
    | {0xB1: "+/-", ord("_"): " ", ord("¬"): "not "}
)
#: Marks over, under and through a character (overline, strokes, enclosures), which may deny what it says, and whatever
#: else stands at a marker beyond ASCII, save quotation marks, the slash of fractions and what is invisible.
_UNREADABLE = re.compile(
    "[\u0304\u0305\u0331-\u0333\u0335-\u0338\u033f\u20d2-\u20f0]"
    r"|(?:(?<=\d)|(?<=\d[a-zA-Z])|(?<=\d[a-zA-Z]{2})|(?<=\d[+-]))"
    "[^\\x00-\\x7f\\s\u200b-\u200f\u2018-\u201f\u2044\u2060\u00bb\u00bf\ufe00-\ufe0f\ufeff]"
)
_SIGN_WORDS = {"+": "positive", "-": "negative"}
_LEVEL_WORDS = {
    "neg": "negative",
    "pos": "positive",
    "lo": "low",
    "low": "low",
    "dim": "dim",
    "int": "intermediate",
    "hi": "high",
    "high": "high",
    "bright": "bright",
}
_LEVELS = "|".join(_LEVEL_WORDS)
#: A level as a separate word, or right after a marker with a digit (``CD4neg``, ``CD45RAhi``).
_LEVEL = re.compile(rf"(?:\b|(?<=\d)|(?<=\d[a-z])|(?<=\d[a-z]{{2}}))({_LEVELS})\b")
_BRACKETED = re.compile(r"\s*[(\[]\s*([+-]+(?:/[+-]+)*)\s*[)\]]")
_SIGNS = re.compile(r"[+-]+(?:/[+-]+)*")
_MARKER = r"[a-z]+\d+[a-z]*"
#: Markers whose last one has a sign: a hyphen before them is a sign too (``CD4-CD8-``).
_SIGNED = re.compile(rf"(?:{_MARKER}-)*{_MARKER}(?:\+|-(?![a-z0-9]))")
_LAST_WORD = re.compile(r"[a-z0-9]+(?=[^a-z0-9]*$)")
_WORD = re.compile(r"[a-z0-9]+")


def normal_key(name: str) -> str:
    """Return the normalised lookup key of a label.

    The key is ``~`` and lower-case words without punctuation, with Greek letters spelt out and the last word in the
    singular. Signs become words: ``CD4+``, ``CD4⁺``, ``CD4(+)`` and ``CD4pos`` become ``cd4 positive``; every minus,
    ASCII or not, becomes ``negative``. A hyphen between letters or digits is no sign, unless a marker precedes it and
    a marker with a sign follows. A sign after a space belongs to a word with a digit. ``++`` is ``+``. A mark that may
    deny a sign (``CD4`` with an overline) becomes the word ``unreadable``, so that the name grounds to nothing.

    Examples
    --------
    >>> normal_key("CD4\N{SUPERSCRIPT MINUS} T cells"), normal_key("\N{GREEK SMALL LETTER GAMMA}-delta T cell")
    ('~cd4 negative t cell', '~gamma delta t cell')
    """
    text = str(name).casefold()
    if not text.isascii() or "_" in text:
        text = unicodedata.normalize("NFKD", text.translate(_ASCII)).translate(_ASCII)
        text = unicodedata.normalize("NFKC", _UNREADABLE.sub(" unreadable ", text)).casefold()
    if "+" in text or "-" in text:
        text = _BRACKETED.sub(r"\1 ", text)
        text = _SIGNS.sub(_sign_words, text)
    text = _LEVEL.sub(lambda match: f" {_LEVEL_WORDS[match.group()]} ", text)
    words = _WORD.findall(text)
    if (
        words
        and len(words[-1]) > 3
        and words[-1].endswith("s")
        and not words[-1].endswith(("ss", "us", "is"))
    ):
        words[-1] = words[-1][:-1]
    return "~" + " ".join(words)


def _sign_words(match: re.Match[str]) -> str:
    """Return a run of signs in words, or a space where it is a hyphen or a dash between words."""
    run, before, after = match.group(), match.string[: match.start()], match.string[match.end() :]
    last = _LAST_WORD.search(before)
    if last is None:
        return " "
    marker = last.group() == "lin" or any(c.isdigit() for c in last.group())
    if run == "-" and _WORD.match(after):
        is_sign = not before[-1].isspace() and marker and _SIGNED.match(after) is not None
    else:
        is_sign = marker or not before[-1].isspace()
    return "".join(f" {_SIGN_WORDS[c]} " for c in dict.fromkeys(run) if c != "/") if is_sign else " "


#: Texts for which Arrow gives the same key as Python: ASCII, single spaces, no CURIE.
_PLAIN_LABEL = r"^[!-~]+( [!-~]+)*$"
_CURIE_LIKE = r"^[A-Za-z]+[_:]\d+$"


def label_keys(labels: pa.Array) -> pa.Array:
    """Return `label_key` of a column; only labels that are not plain go through the function."""
    plain = pc.and_not(
        pc.match_substring_regex(labels, _PLAIN_LABEL), pc.match_substring_regex(labels, _CURIE_LIKE)
    )
    return _by_hand(labels, pc.ascii_lower(labels), plain, label_key)


#: Labels that need `normal_key` itself: a sign, a hyphen that is not inside a word, a level.
_MAYBE_SIGN = rf"[+_]|(^|[^a-z0-9])-|-([^a-z0-9]|$)|({_LEVELS})([^a-z0-9]|$)"


def normal_keys(labels: pa.Array) -> pa.Array:
    """Return `normal_key` of a column, likewise."""
    lower = pc.ascii_lower(labels)
    plain = pc.and_not(
        pc.match_substring_regex(labels, "^[ -~]*$"), pc.match_substring_regex(lower, _MAYBE_SIGN)
    )
    text = pc.ascii_trim_whitespace(pc.replace_substring_regex(lower, r"[^a-z0-9]+", " "))
    text = pc.replace_substring_regex(text, r"([a-z0-9]{2}[a-hj-rtv-z0-9])s$", r"\1")
    text = pc.binary_join_element_wise("~", text, "")
    return _by_hand(labels, text, plain, normal_key)


def case_keys(names: pa.Array) -> pa.Array:
    """Return `case_key` of a column of names without versions."""
    text = pc.binary_join_element_wise("~", pc.ascii_upper(names), "")
    return _by_hand(names, text, pc.string_is_ascii(names), lambda name: f"~{name.upper()}")


def _by_hand(labels: pa.Array, keys: pa.Array, plain: pa.Array, key: Callable[[str], str]) -> pa.Array:
    """Return `keys` where `plain`, and `key` of the label elsewhere."""
    odd = pc.invert(plain)
    computed = [key(label) for label in labels.filter(odd).to_pylist()]
    return pc.replace_with_mask(keys, odd, pa.array(computed, pa.string()))
