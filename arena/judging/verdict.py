"""Verdict of a judge: read ratings and valid citations from a reply, or refuse it with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arena.judging.evidence import Evidence
from arena.judging.rubric import RUBRICS, TOP
from arena.types import TaskName


class Rating(BaseModel):
    """One rated dimension."""

    model_config = ConfigDict(extra="ignore")
    rating: Annotated[int, Field(strict=True, ge=0, le=TOP)]
    reason: str = ""


class Citation(BaseModel):
    """One citation of evidence."""

    model_config = ConfigDict(extra="ignore")
    id: str
    quote: str
    stance: Literal["supports", "contradicts"] = "supports"


class Verdict(BaseModel):
    """A judge's reply after it was read; dimensions and citations are checked by `parse_verdict`."""

    model_config = ConfigDict(extra="ignore")
    dimensions: dict[str, Rating]
    evidence: list[Citation] = []
    rationale: str = ""


class UnusableReplyError(ValueError):
    """A judge's reply cannot be turned into ratings; the message says why, in words a model can act on."""


def parse_verdict(text: str, task: TaskName, known: Sequence[Evidence]) -> tuple[Verdict, int]:
    """The verdict in a reply with its valid citations, and how many were refused.

    Raises
    ------
    UnusableReplyError
        No JSON object, a dimension missing, unknown or off the scale, or evidence was given and no citation
        names an id of it with words that stand there.
    """
    try:
        verdict = Verdict.model_validate(_json_object(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnusableReplyError(f"{where}: {first['msg']}") from None
    wanted = {d.name for d in RUBRICS[task]}
    if verdict.dimensions.keys() != wanted:
        raise UnusableReplyError(
            f"dimensions must be exactly {sorted(wanted)}, found {sorted(verdict.dimensions)}"
        )
    texts = {e.id: _folded(e.line()) for e in known}
    valid = [c for c in verdict.evidence if _folded(c.quote) and _folded(c.quote) in texts.get(c.id, "")]
    if texts and not valid:
        raise UnusableReplyError(
            "evidence: cite at least one id that was given and quote words that stand in that evidence"
        )
    refused = len(verdict.evidence) - len(valid)
    return verdict.model_copy(update={"evidence": valid}), refused


def _json_object(text: str) -> object:
    """The last JSON object with ratings in a reply, wherever it stands (fences and chatter around it do not
    matter).
    """
    decoder = json.JSONDecoder()
    found: object = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            at = text.find("{", at + 1)
            continue
        found = value if isinstance(value, dict) and "dimensions" in value else found
        at = text.find("{", end)
    if found is None:
        raise UnusableReplyError("no JSON object with 'dimensions' was found")
    return found


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


_COMPAT = re.compile(r"\[\s*Score\s*:\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*5)?\s*\]", re.IGNORECASE)


def parse_compat(text: str) -> float:
    """The last ``[Score: N]`` of a reply, from 0 to 5.

    Raises
    ------
    UnusableReplyError
        There is none, or it is off the scale: 99 read as 5 would make full marks of what may be an echoed
        order.
    """
    found = _COMPAT.findall(text)
    if not found:
        raise UnusableReplyError("finish with [Score: N], N from 0 to 5")
    score = float(found[-1])
    if not 0 <= score <= TOP:
        raise UnusableReplyError(
            f"[Score: {found[-1]}] is off the scale; finish with [Score: N], N from 0 to 5"
        )
    return score
