"""Claims of a caption, one attribute each: type, lineage, markers, tissue, function, state.

Each is worth 1 where it is right and 0 where it is wrong or missing; an attribute of which the reference says
nothing does not count. What the prompt shows is no attribute. Naming many to be safe divides the credit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from arena.scoring import wording
from arena.scoring.grounding import Names
from arena.types import Sample

ATTRIBUTES: Final = ("type", "lineage", "markers", "tissue", "function", "state")
FEW_MARKERS: Final = 3
"""Known markers that a caption has to name for the full credit."""
ENOUGH: Final = 0.5
"""Share of a definition's words, in their order, that earns the full credit: a paraphrase keeps about half."""
ORGANS: Final = (
    "bone marrow", "lymph node", "small intestine", "adrenal", "bladder", "blood", "brain", "breast", "colon",
    "embryonic mesenchyme", "eye", "heart", "ileum", "intestine", "kidney", "liver", "lung", "muscle", "ovary",
    "pancreas", "placenta", "prostate", "rectum", "retina", "rib", "skin", "skull", "spleen", "stomach", "testis",
    "thymus", "thyroid", "uterus",
)  # fmt: skip
_SAME: Final = {
    "cortex": "brain", "cerebral": "brain", "cardiac": "heart", "pancreatic": "pancreas", "intestinal": "intestine",
    "mammary": "breast", "ovarian": "ovary", "testicular": "testis", "gastric": "stomach", "uterine": "uterus",
    "retinal": "retina", "dermal": "skin", "colonic": "colon", "calvaria": "skull",
}  # fmt: skip
STATES: Final[Mapping[str, str]] = {
    "fetal": r"f(?:o?e)tal|fetus|foetus|embryo\w*",
    "newborn": r"newborn|neonat\w+|perinatal",
    "tumour": r"tumou?rs?|cancer\w*|carcinoma|malignan\w+",
    "adult": r"adult",
}


def attributes(sample: Sample, text: str, curie: str | None, lin: float | None, names: Names) -> dict[str, float | None]:
    """Return the credit of each attribute that the reference has.

    Parameters
    ----------
    text
        The caption without what it denies.
    curie, lin
        The type it claims, and that type's similarity with the truth.
    """
    gold, truth = sample.gold, names.truth(sample)
    definition = str(gold.get("definition") or gold["caption"])
    return {
        "type": lin,
        "lineage": _lineage(curie, truth, names),
        "markers": _markers(text, list(map(str, gold.get("markers", ()))), sample, names),
        "tissue": _tissue(text, str(gold.get("tissue", ""))),
        "function": _function(text, definition, str(gold["cell_type"])),
        "state": _state(text, str(gold.get("state", ""))),
    }


def _lineage(curie: str | None, truth: str | None, names: Names) -> float | None:
    if truth is None or (wanted := names.ontology.lineage(names.ontology.position(truth))) is None:
        return None
    return float(curie is not None and names.ontology.lineage(names.ontology.position(curie)) == wanted)


def _markers(text: str, known: Sequence[str], sample: Sample, names: Names) -> float | None:
    """Credit for markers that the cell shows; half of the genes named may be others."""
    if len(known) < FEW_MARKERS:
        return None
    words = {word.upper() for word in re.findall(r"[A-Za-z][\w.-]*\w", text)}
    named = {str(g).upper() for g in sample.fields["genes"]} & words
    named |= {names.symbol(key).upper() for key in names.claimed_genes(text)}
    hits = len(named & {gene.upper() for gene in known})
    return min(1.0, hits / FEW_MARKERS) * min(1.0, 2 * hits / len(named)) if named else 0.0


def _tissue(text: str, tissue: str) -> float | None:
    if not tissue:
        return None
    plain = text.lower()
    for word, organ in _SAME.items():
        plain = re.sub(rf"\b{word}\b", organ, plain)
    named = []
    for organ in sorted({*ORGANS, tissue}, key=lambda o: -len(o)):
        if re.search(rf"\b{re.escape(organ)}\b", plain):
            plain = re.sub(rf"\b{re.escape(organ)}\b", " ", plain)
            named.append(organ)
    right = any(organ in tissue or tissue in organ for organ in named)
    return right / len(named) if named else 0.0


def _function(text: str, definition: str, name: str) -> float | None:
    asked = {*wording.content_words(name), "cell"}
    own = [word for word in wording.listed_words(definition) if word not in asked]
    if len(own) < FEW_MARKERS:
        return None
    return min(1.0, wording.common_in_order(own, wording.listed_words(text)) / len(own) / ENOUGH)


def _state(text: str, state: str) -> float | None:
    if state not in STATES or state == "adult":  # most cells are of adults: saying so shows nothing
        return None
    named = [s for s, words in STATES.items() if re.search(rf"\b(?:{words})\b", text, re.IGNORECASE)]
    return (state in named) / len(named) if named else 0.0
