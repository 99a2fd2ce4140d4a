"""What judges rate: anchored dimensions from 0 to 5 for each task, and the published weights of the total.

The total is computed here, never by the judge: ``sum(weight * rating / 5) / sum(weight)`` over the dimensions
that were rated, in 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from arena.tasks import OWN
from arena.types import TaskName

TOP: Final = 5
"""Highest rating of a dimension."""
LONGEST_REASON: Final = 160
"""Letters of a reason in a verdict, so that a judge that rambles still closes its JSON."""
LONGEST_RATIONALE: Final = 320
MOST_CITATIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing to rate."""

    name: str
    weight: float
    question: str
    anchors: tuple[str, str, str, str, str, str]
    """What 0, 1, 2, 3, 4 and 5 mean."""

    def text(self) -> str:
        """The dimension as a judge reads it."""
        steps = "\n".join(f"  {step} = {anchor}" for step, anchor in enumerate(self.anchors))
        return f"{self.name}: {self.question}\n{steps}"


_IDENTITY = Dimension(
    "identity",
    0.6,
    "Is the cell type that the answer names the reference type?",
    (
        "unrelated, only 'cell', or no type is named",
        "shares only a very broad class with the reference",
        "another type of the same lineage",
        "a sibling, or two or more steps above or below the reference",
        "a direct parent or a direct child of the reference",
        "the reference type itself or an exact synonym",
    ),
)
_SUPPORT = Dimension(
    "support",
    0.25,
    "Do the marker edges in the evidence support the named type in this cell's genes?",
    (
        "nothing supports it, or markers contradict it",
        "one weak marker",
        "few markers, fewer than for the reference",
        "some markers, about half as strong as for the reference",
        "nearly as well supported as the reference",
        "as well supported as the reference",
    ),
)
_SPECIFICITY = Dimension(
    "specificity",
    0.15,
    "Is the named type as specific as the reference, neither vaguer nor more detailed than it?",
    (
        "it would fit any cell, or no type is named",
        "a very broad class",
        "much vaguer or much more detailed",
        "clearly vaguer or more detailed",
        "one step vaguer or more detailed",
        "the level of the reference",
    ),
)

RUBRICS: Final[Mapping[TaskName, tuple[Dimension, ...]]] = {
    "annotation": (_IDENTITY, _SUPPORT, _SPECIFICITY),
    "captioning": (
        Dimension("identity", 0.5, _IDENTITY.question, _IDENTITY.anchors),
        Dimension(
            "support",
            0.3,
            "Do the genes the caption names occur in the cell and support what it says? If it names none: does what "
            "it says fit the cell's genes?",
            (
                "the named genes are absent from the cell",
                "most named genes are absent",
                "about half are present",
                "most are present and some support the type",
                "nearly all are present and support the type",
                "all are present and support the type",
            ),
        ),
        Dimension(
            "completeness",
            0.2,
            "Does the caption say what the reference definition says of the type?",
            (
                "nothing of it",
                "a word of it",
                "a small part",
                "about half",
                "all but minor points",
                "all of it, without contradiction",
            ),
        ),
    ),
    "generation": (
        Dimension(
            "markers",
            0.5,
            "Does the list hold markers of the asked type?",
            (
                "none",
                "one or two",
                "few",
                "about half of what a real cell shows",
                "most",
                "as many as a real cell",
            ),
        ),
        Dimension(
            "plausibility",
            0.3,
            "Does the order of the list resemble a real cell of the type?",
            (
                "not at all, or markers of another lineage dominate",
                "hardly",
                "in part",
                "broadly",
                "closely",
                "like a real cell",
            ),
        ),
        Dimension(
            "form",
            0.2,
            "Is it a list of real, distinct genes of the length asked for?",
            (
                "no list",
                "mostly invalid",
                "many invalid or repeated",
                "some faults",
                "few faults",
                "faultless",
            ),
        ),
    ),
    "perturbation": (
        Dimension(
            "direction",
            0.8,
            "How many of the candidate genes are put on the right side?",
            ("none or none called", "a few", "under half", "over half", "nearly all", "all"),
        ),
        Dimension(
            "mechanism",
            0.2,
            "Do the called directions agree with the signed regulations in the evidence and with the measurement?",
            (
                "they contradict what is known",
                "mostly contradict",
                "as often against as with it",
                "mostly agree",
                "agree but for one",
                "agree throughout",
            ),
        ),
    ),
    "qa": (
        Dimension(
            "correctness",
            0.5,
            "Is what the answer says true by the reference and the paper?",
            (
                "wrong or empty",
                "mostly wrong",
                "a mechanism is wrong",
                "right in the main with an error of fact",
                "right with a minor imprecision",
                "right throughout",
            ),
        ),
        Dimension(
            "completeness",
            0.3,
            "Does the answer make the claims of the reference?",
            ("none", "one in passing", "under half", "over half", "all but one", "all"),
        ),
        Dimension(
            "grounding",
            0.2,
            "Is what it adds supported by the paper or the graph?",
            (
                "invented, or there is no answer",
                "mostly unsupported",
                "half unsupported",
                "mostly supported",
                "nearly all supported",
                "all supported, or nothing added",
            ),
        ),
    ),
    **{task: (Dimension(own.dimensions[0], 1.0, own.criterion, own.anchors),) for task, own in OWN.items()},
}


def rubric_text(task: TaskName) -> str:
    """All dimensions of a task as a judge reads them."""
    return "\n".join(dimension.text() for dimension in RUBRICS[task])


def total(task: TaskName, ratings: Mapping[str, float | None]) -> float | None:
    """Weighted mean of the ratings given, in 0..1; None where none was."""
    given = [(d.weight, r) for d in RUBRICS[task] if (r := ratings.get(d.name)) is not None]
    weight = sum(w for w, _ in given)
    return sum(w * r / TOP for w, r in given) / weight if weight else None


def verdict_schema(task: TaskName, quotable: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """JSON schema of a verdict: every dimension rated, evidence cited by known id with words of it.

    Parameters
    ----------
    quotable
        What may be quoted of each piece of evidence, by its id. A judge whose decoding is held to the schema then
        cannot misquote; one that is not is checked by `arena.judging.verdict.parse_verdict` all the same.
    """
    rating = _object(
        rating={"type": "integer", "minimum": 0, "maximum": TOP},
        reason={"type": "string", "maxLength": LONGEST_REASON},
    )
    stance = {"type": "string", "enum": ["supports", "contradicts"]}
    citations = [
        _object(
            id={"type": "string", "enum": [name]},
            quote={"type": "string", "enum": list(words)},
            stance=stance,
        )
        for name, words in quotable.items()
    ]
    free = _object(
        id={"type": "string"}, quote={"type": "string", "maxLength": LONGEST_REASON}, stance=stance
    )
    cited = {
        "type": "array",
        "items": {"anyOf": citations} if citations else free,
        "minItems": min(1, len(citations)),
        "maxItems": MOST_CITATIONS,
    }
    return _object(
        dimensions=_object(**dict.fromkeys((d.name for d in RUBRICS[task]), rating)),
        evidence=cited,
        rationale={"type": "string", "maxLength": LONGEST_RATIONALE},
    )


def _object(**properties: Any) -> dict[str, Any]:
    """Schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
