"""The text a name is looked up by: two ways to write one name have one key, two names never do by a lost sign."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_VERSION = re.compile(r"^(ENS[A-Z]*G\d{11})\.\d+(_PAR_Y)?$")


def gene_key(name: str) -> str:
    """The text a gene name is looked up by: stripped, an Ensembl version cut off."""
    text = str(name).strip()
    versioned = _VERSION.match(text)
    return versioned.group(1) if versioned else text


def case_key(name: str) -> str:
    """The text a gene name is looked up by when its case is not trusted."""
    return "~" + gene_key(name).upper()


_CURIE = re.compile(r"^([A-Za-z]+)[_:](\d+)$")


def label_key(name: str) -> str:
    """The text a label is looked up by: whitespace collapsed, case folded, ``CL_1`` written ``CL:1``."""
    text = " ".join(str(name).split())
    curie = _CURIE.match(text)
    return f"{curie.group(1).upper()}:{curie.group(2)}" if curie else text.casefold()


#: Every way to write a letter or a sign that a name may carry, in ASCII.
_ASCII = (
    {
        ord(letter): name
        for letter, name in zip("αβγδε", ("alpha", "beta", "gamma", "delta", "epsilon"), strict=True)
    }
    | dict.fromkeys(
        (
            *range(0x2010, 0x2016),
            0x2043,
            0x207B,
            0x208B,
            0x2212,
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
    | {0xB1: "+/-", ord("_"): " "}
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
#: A level as a word of its own, or right behind a marker that has a digit (``CD4neg``, ``CD45RAhi``).
_LEVEL = re.compile(rf"(?:\b|(?<=\d)|(?<=\d[a-z])|(?<=\d[a-z]{{2}}))({_LEVELS})\b")
_BRACKETED = re.compile(r"\s*[(\[]\s*([+-]+(?:/[+-]+)*)\s*[)\]]")
_SIGNS = re.compile(r"[+-]+(?:/[+-]+)*")
_MARKER = r"[a-z]+\d+[a-z]*"
#: Markers of which the last has a sign: a hyphen before them is a sign too (``CD4-CD8-``).
_SIGNED = re.compile(rf"(?:{_MARKER}-)*{_MARKER}(?:\+|-(?![a-z0-9]))")
_LAST_WORD = re.compile(r"[a-z0-9]+(?=[^a-z0-9]*$)")
_WORD = re.compile(r"[a-z0-9]+")


def normal_key(name: str) -> str:
    """The text of the normalised comparison: ``~`` and lower-case words without punctuation, Greek spelt out,
    the last word in the singular.

    A sign is part of a name and is kept: ``CD4+``, ``CD4⁺``, ``CD4(+)`` and ``CD4pos`` read ``cd4 positive``,
    and so does every minus (ASCII or not) ``negative``. A hyphen between letters or digits is no sign, unless a
    marker precedes it and a marker with a sign follows. A sign behind a space belongs to a word with a digit.
    ``++`` reads as ``+``.
    """
    text = str(name).casefold()
    if not text.isascii() or "_" in text:
        text = unicodedata.normalize("NFKC", text).translate(_ASCII).casefold()
    if "+" in text or "-" in text:
        text = _BRACKETED.sub(r"\1 ", text)
        text = _SIGNS.sub(_sign_words, text)
    text = _LEVEL.sub(lambda found: f" {_LEVEL_WORDS[found.group()]} ", text)
    words = _WORD.findall(text)
    if (
        words
        and len(words[-1]) > 3
        and words[-1].endswith("s")
        and not words[-1].endswith(("ss", "us", "is"))
    ):
        words[-1] = words[-1][:-1]
    return "~" + " ".join(words)


def _sign_words(found: re.Match[str]) -> str:
    """A run of signs in words; a space where it is a hyphen or a dash between words."""
    run, before, after = found.group(), found.string[: found.start()], found.string[found.end() :]
    last = _LAST_WORD.search(before)
    if last is None:
        return " "
    marker = last.group() == "lin" or any(c.isdigit() for c in last.group())
    if run == "-" and _WORD.match(after):
        is_sign = not before[-1].isspace() and marker and _SIGNED.match(after) is not None
    else:
        is_sign = marker or not before[-1].isspace()
    return "".join(f" {_SIGN_WORDS[c]} " for c in dict.fromkeys(run) if c != "/") if is_sign else " "


#: Texts whose keys Arrow finds as Python does: ASCII without odd whitespace, and no CURIE.
_PLAIN_LABEL = r"^[!-~]+( [!-~]+)*$"
_CURIE_LIKE = r"^[A-Za-z]+[_:]\d+$"


def label_keys(labels: pa.Array) -> pa.Array:
    """`label_key` of a whole column: the few labels that are not plain go through the function itself."""
    plain = pc.and_not(
        pc.match_substring_regex(labels, _PLAIN_LABEL), pc.match_substring_regex(labels, _CURIE_LIKE)
    )
    return _by_hand(labels, pc.ascii_lower(labels), plain, label_key)


#: Labels that `normal_key` must read itself: a sign, a hyphen that is not inside a word, a level.
_MAYBE_SIGN = rf"[+_]|(^|[^a-z0-9])-|-([^a-z0-9]|$)|({_LEVELS})([^a-z0-9]|$)"


def normal_keys(labels: pa.Array) -> pa.Array:
    """`normal_key` of a whole column, likewise."""
    lower = pc.ascii_lower(labels)
    plain = pc.and_not(
        pc.match_substring_regex(labels, "^[ -~]*$"), pc.match_substring_regex(lower, _MAYBE_SIGN)
    )
    text = pc.ascii_trim_whitespace(pc.replace_substring_regex(lower, r"[^a-z0-9]+", " "))
    text = pc.replace_substring_regex(text, r"([a-z0-9]{2}[a-hj-rtv-z0-9])s$", r"\1")
    text = pc.binary_join_element_wise("~", text, "")
    return _by_hand(labels, text, plain, normal_key)


def case_keys(names: pa.Array) -> pa.Array:
    """``~`` and the name in capitals."""
    text = pc.binary_join_element_wise("~", pc.ascii_upper(names), "")
    return _by_hand(names, text, pc.string_is_ascii(names), lambda name: f"~{name.upper()}")


def _by_hand(labels: pa.Array, keys: pa.Array, plain: pa.Array, key: Callable[[str], str]) -> pa.Array:
    """`keys` where `plain`, else what `key` says."""
    odd = pc.invert(plain)
    found = [key(label) for label in labels.filter(odd).to_pylist()]
    return pc.replace_with_mask(keys, odd, pa.array(found, pa.string()))
