"""Which labels are worth a look, how much, and why.

`worth` is the number that sorts the queue. The cuts of `reasons` were chosen on averaged profiles and are measured on
files of cells (docs/results/check.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gather.checking.opinion import LabelRelation, Reason

LEAST_SHARE = 0.8
"""A label that fewer of a set's labelled cells have is one of a mixture."""
UNGROUNDED_WORTH = 0.5
"""Worth of a label without a term, which cannot be weighed: halfway."""
CUTS: Mapping[Reason, float] = {"conflict": 0.6, "other kind": 0.65, "too fine": 0.45, "not supported": 0.6}
"""Least worth, by reason: that at which at most one of fifty undamaged profiles is flagged."""
_REASON_OF: Mapping[LabelRelation, Reason] = {
    "conflict": "conflict",
    "related": "other kind",
    "finer": "too fine",
    "no answer": "not supported",
}
_NEED_A_MARKER = ("too fine", "not supported")
"""Reasons that hold below their cut, too, where the set lacks every measured marker of the label."""
MARGIN = 0.25
"""Difference of standing that decides between two labels."""


def worth(standing: float, share: float, *, grounded: bool = True) -> float:
    """Return how much a look is worth, 0 to 1: the part of the set that the label does not speak for best.

    ``1 - share * standing``: 0 where all cells have the label and its type, or a kind of it, is the best supported of
    all; 1 where nothing speaks for it.

    Parameters
    ----------
    standing
        Of the label's type against the best supported one (`gather.checking.weighing.Weighed.standing`).
    share
        Of the set's labelled cells that have the label.

    Examples
    --------
    >>> worth(1.0, 1.0), worth(0.5, 0.8), worth(0.0, 1.0, grounded=False)
    (0.0, 0.6, 0.5)
    """
    return 1.0 - share * standing if grounded else UNGROUNDED_WORTH


def reasons(
    relation: LabelRelation, short: float, share: float, *, mixed: bool = False, absent: bool = False
) -> tuple[Reason, ...]:
    """Return why a label stands in the queue; nothing where it does not.

    Parameters
    ----------
    relation
        Of the label to our answer. Every label of another lineage is in the queue, below its cut as a weak conflict.
    short
        What the label's standing lacks to the best supported type's: one less the standing.
    mixed
        Whether our own answer is that the set is a mixture.
    absent
        Whether the set lacks every measured marker of the label (`gather.checking.weighing.all_absent`).
    """
    found: list[Reason] = []
    reason = _REASON_OF.get(relation)
    if reason is not None and (short >= CUTS[reason] or (absent and reason in _NEED_A_MARKER)):
        found.append(reason)
    elif reason == "conflict":
        found.append("weak conflict")
    if mixed or share < LEAST_SHARE:
        found.append("mixed")
    if relation == "not grounded":
        found.append("not grounded")
    return tuple(found)


def better_supported(theirs: float, agreed: float) -> Literal["theirs", "consensus", "open"]:
    """Return for which of two labels the evidence is, by their standings."""
    if abs(theirs - agreed) < MARGIN:
        return "open"
    return "theirs" if theirs > agreed else "consensus"
