r"""How an answer is found in a reply: the last one counts, thinking does not, brackets may nest.

The public SC-Arena code takes the first match of ``\[Tag:\s*([^\]]+)\]``, so a draft in the reasoning wins
over the answer and an answer is cut at its first ``]`` ("CD4[+] T cell"). Neither can happen here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_THINKING = re.compile(
    r"<(think|thinking|reasoning|thought)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_THINKING_END = re.compile(r"\A.*</(?:think|thinking|reasoning|thought)\s*>", re.DOTALL | re.IGNORECASE)
_ANY_TAG = re.compile(r"\[\s*\**\s*[A-Za-z][A-Za-z_ ]*\**\s*:")
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


def last_tagged(text: str, tag: str, placeholders: Collection[str] = ()) -> str | None:
    """Content of the last ``[tag: ...]`` of a text whose thinking is already gone, or None.

    Brackets inside the content may nest. A tag that is never closed (a reply cut by the token limit) reaches
    to the next tag or the end. A content that only repeats the prompt's placeholder is no answer.
    """
    opening = re.compile(rf"\[\s*\**\s*{tag.replace('_', '[_ ]?')}\s*\**\s*:\**", re.IGNORECASE)
    for found in reversed(list(opening.finditer(text))):
        content = _to_closing_bracket(text, found.end()).strip().strip("*`").strip()
        if content and content.lower() not in placeholders and content.strip(".… ") != "":
            return content
    return None


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
