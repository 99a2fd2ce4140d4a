"""Claims of a caption, one attribute each: type, lineage, markers, tissue, function, state.

Each is worth 1 where it is right and 0 where it is wrong or missing; an attribute of which the reference says
nothing does not count. What the prompt shows is no attribute. Naming many to be safe divides the credit, and a
claim about a type of another lineage earns a quarter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from arena.scoring import wording
from arena.scoring.grounding import Names
from arena.types import Sample

ATTRIBUTES: Final = ("type", "lineage", "markers", "tissue", "function", "state")
FEW_MARKERS: Final = 3
"""Known markers that a caption has to name for the full credit."""
ENOUGH: Final = 0.5
"""Share of a definition's words, in their order, that earns the full credit: a paraphrase keeps about half. Words that
are in order by chance do not count."""
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
FETAL: Final = frozenset(
    {
        "AFP", "DLK1", "H19", "HBA-X", "HBB-BH1", "HBB-Y", "HBE1", "HBG1", "HBG2", "HBZ", "IGF2", "IGF2BP1",
        "IGF2BP3", "LIN28B",
    }
)  # fmt: skip
"""Genes of fetal cells, human and mouse, without regard to case."""
STATES: Final[Mapping[str, str]] = {
    "fetal": r"f(?:o?e)tal|fetus|foetus|embryo\w*",
    "newborn": r"newborn|neonat\w+|perinatal",
    "tumour": r"tumou?rs?|cancer\w*|carcinoma|malignan\w+",
    "adult": r"adult",
}


def attributes(
    sample: Sample, text: str, curie: str | None, lin: float | None, names: Names
) -> dict[str, float | None]:
    """Return the credit of each attribute that the reference has.

    Parameters
    ----------
    text
        The caption without what it denies.
    curie, lin
        The type it claims, and that type's similarity with the truth.
    """
    gold, truth = sample.gold, names.truth(sample)
    definition = wording.affirmed(str(gold.get("definition") or gold["caption"]))
    lineage = _lineage(curie, truth, names)
    further = {
        "markers": _markers(text, list(map(str, gold.get("markers", ()))), sample, names),
        "tissue": _tissue(text, str(gold.get("tissue", "")), f"{gold['cell_type']} {definition}"),
        "function": _function(text, definition, str(gold["cell_type"])),
        "state": _state(text, str(gold.get("state", "")), definition, sample),
    }
    worth = 0.25 if not (lin if lineage is None else lineage) else 1.0
    return {
        "type": lin,
        "lineage": lineage,
        **{name: None if value is None else worth * value for name, value in further.items()},
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


def _tissue(text: str, tissue: str, definition: str) -> float | None:
    """Credit for the organ, where the type says it: nothing else in the genes tells where a cell was taken from."""
    if not tissue or tissue not in _organs(definition, tissue):
        return None
    named = _organs(text, tissue)
    right = any(organ in tissue or tissue in organ for organ in named)
    wrong = [o for o in named if o not in tissue and tissue not in o and o not in _organs(definition, tissue)]
    return 1 / (1 + len(wrong)) if right else 0.0


def _organs(text: str, tissue: str) -> list[str]:
    plain, named = text.lower(), []
    for word, organ in _SAME.items():
        plain = re.sub(rf"\b{word}\b", organ, plain)
    for organ in sorted({*ORGANS, tissue}, key=lambda o: -len(o)):
        if re.search(rf"\b{re.escape(organ)}\b", plain):
            plain = re.sub(rf"\b{re.escape(organ)}\b", " ", plain)
            named.append(organ)
    return named


def _function(text: str, definition: str, name: str) -> float | None:
    asked = {*wording.content_words(name), "cell"}
    own = [word for word in wording.listed_words(definition) if word not in asked]
    if len(own) < FEW_MARKERS:
        return None
    said = wording.listed_words(text)
    by_chance = wording.in_order_by_chance(sum((Counter(own) & Counter(said)).values()))
    beyond = wording.common_in_order(own, said) - by_chance
    return min(1.0, max(0.0, beyond) / max(ENOUGH * len(own) - by_chance, 1.0))


def _state(text: str, state: str, definition: str, sample: Sample) -> float | None:
    if state != "fetal" or FETAL.isdisjoint(str(g).upper() for g in sample.fields["genes"]):
        return None  # the genes of other states are those of the type
    named, usual = (
        {s for s, words in STATES.items() if re.search(rf"\b(?:{words})\b", part, re.IGNORECASE)}
        for part in (text, definition)
    )
    return 1 / len({state, *(named - usual)}) if state in named else 0.0
