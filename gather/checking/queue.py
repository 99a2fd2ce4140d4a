"""Which labels are worth a look, how much, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gather.checking.opinion import LabelCheck, Reason
from gather.checking.weighing import Weighed

MIXED = 0.8
"""Least share of a set's cells that agree on a label; less is a mixture of labels."""
CUT = 0.5
MARGIN = 0.2
"""Difference of support that decides between two labels."""


def judged(check: LabelCheck, weighed: Weighed) -> LabelCheck:
    """Return the check with its worth and its reasons."""
    worth = _worth(check, weighed)
    return replace(check, worth=worth, reasons=_reasons(check, worth))


def _worth(check: LabelCheck, weighed: Weighed) -> float:
    if not check.mapped.curie:
        return 0.5
    return weighed.answer.confidence * (1.0 - check.support)


def _reasons(check: LabelCheck, worth: float) -> tuple[Reason, ...]:
    found: list[Reason] = []
    if check.relation == "conflict" and worth >= CUT:
        found.append("conflict")
    if check.share < MIXED:
        found.append("mixed")
    if not check.mapped.curie:
        found.append("not grounded")
    return tuple(found)


def better_supported(
    weighed: Weighed, dissent: str, consensus: str
) -> Literal["theirs", "consensus", "open"]:
    """Return which of two cell types the evidence is for."""
    theirs, agreed = weighed.weight(dissent).support, weighed.weight(consensus).support
    if abs(theirs - agreed) < MARGIN:
        return "open"
    return "theirs" if theirs > agreed else "consensus"
