r"""How an answer is found in a reply: the last one counts, thinking does not, brackets may nest.

The public SC-Arena code takes the first match of ``\[Tag:\s*([^\]]+)\]``, so a draft in the reasoning wins
over the answer and an answer is cut at its first ``]`` ("CD4[+] T cell"). Neither can happen here.

A benchmark of biology does not test brackets. A reply without them is read, too: a JSON object with the tag
as key, a line ``tag: ...`` (bold or not), or, where a task has one tag, a reply that is one bracketed text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

_THINKING = re.compile(
    r"<(think|thinking|reasoning|thought)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_THINKING_END = re.compile(r"\A.*</(?:think|thinking|reasoning|thought)\s*>", re.DOTALL | re.IGNORECASE)
_ANY_TAG = re.compile(r"\[\s*\**\s*[A-Za-z][A-Za-z_ ]*\**\s*:")
_BRACKETED = re.compile(r"\[([^\[\]:]+)\]?")
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_PARAGRAPH_END = re.compile(
    r"\n\s*\n|[\n;.][ \t>#*_-]*(?:up|down|cell[_ ]?sentence|answer|captioning|predicted[_ ]?cell[_ ]?type)\W*:",
    re.IGNORECASE,
)
_GENE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-._/@][A-Za-z0-9]+)*")
_NUMBERING = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s*")
_NOTHING = {"none", "n/a", "na", "empty", "-", "no genes", "null"}
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry|i (?:can(?:not|'t)|am unable to|am not able to|won't|must decline)|as an ai\b)",
    re.IGNORECASE,
)


def without_thinking(text: str) -> str:
    """The reply without ``<think>`` blocks; one that is never closed swallows the rest, as it does in the
    model.
    """
    return _THINKING_END.sub("", _THINKING.sub("", text)).strip()


def last_tagged(
    text: str, tag: str, placeholders: Collection[str] = (), *, alone: bool = False, line: bool = False
) -> str | None:
    """Return the content of the last ``[tag: ...]`` of a text without thinking, or None.

    Brackets inside the content may nest. A tag that is never closed (a reply cut by the token limit) reaches
    to the next tag or the end. A content that only repeats the prompt's placeholder is no answer. Without
    such a tag the content is, in this order: the value of the key `tag` of a JSON object, the paragraph (with
    `line`: the line) that starts with ``tag:``, and with `alone` (the task has no other tag) the text between
    brackets that enclose the whole reply, cut or not.
    """
    name = tag.replace("_", "[_ ]?")
    opening = re.compile(rf"\[\s*\**\s*{name}\s*\**\s*:\**", re.IGNORECASE)
    tagged = [_to_closing_bracket(text, found.end()) for found in opening.finditer(text)]
    forms = [tagged] if tagged else [_of_json(text, name), _of_lines(text, name, line)]
    if alone and not tagged and (whole := _BRACKETED.fullmatch(text.strip("`\n "))):
        forms.append([whole.group(1)])
    for contents in forms:
        for content in reversed(contents):
            content = content.strip().strip("*`").strip()
            if content and content.lower() not in placeholders and content.strip(".… ") != "":
                return content
    return None


def _of_json(text: str, name: str) -> list[str]:
    """Return the value of the key in the JSON object of a reply; a list becomes a text with commas."""
    found = _OBJECT.search(text)
    try:
        values = json.loads(found.group()) if found else {}
    except ValueError:
        return []
    contents = []
    for key, value in values.items():
        if re.fullmatch(name, key, re.IGNORECASE):
            contents.append(", ".join(map(str, value)) if isinstance(value, list) else str(value or ""))
    return contents


def _of_lines(text: str, name: str, line: bool) -> list[str]:
    """Return the paragraphs, or lines, that start with ``tag:``; another tag ends a paragraph."""
    start = re.compile(rf"(?:^|[;.])[ \t>#*_-]*{name}[ \t*_]*:[ \t*_]*\n?", re.IGNORECASE | re.MULTILINE)
    end = re.compile("\n") if line else _PARAGRAPH_END
    return [end.split(text[found.end() :], maxsplit=1)[0] for found in start.finditer(text)]


def _to_closing_bracket(text: str, start: int) -> str:
    depth = 1
    for at in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    next_tag = _ANY_TAG.search(text, start)
    unclosed = text[start : next_tag.start() if next_tag else len(text)]
    return unclosed.rstrip("] \n")


def gene_list(content: str) -> list[str]:
    """Gene names of a list as models write it: commas, blanks, bullets, numbers and quotes between; order is
    kept.

    Names are kept as written, repeats too: whether a list is valid is for the metric to say.
    """
    if content.strip(" .").lower() in _NOTHING:
        return []
    genes = []
    for line in content.splitlines():
        for part in re.split(r"[,;|>\t]+|\s+", _NUMBERING.sub("", line)):
            word = part.strip("\"'`*()[]{}.:")
            if _GENE.fullmatch(word) and word.lower() not in _NOTHING and word.lower() != "and":
                genes.append(word)
    return genes


def is_refusal(text: str) -> bool:
    """Whether a reply without a bound answer declines to give one."""
    return bool(_REFUSAL.search(text[:400]))
