"""Claims that are one name each, behind a word that says which: ``First: microglial cell. Second: TP53.``

Such an answer is right by what it names, not by its words: a synonym is the name. Of a cell type, one above or below
the right one earns up to half, any other nothing. Of several genes in one place each earns its share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arena.scoring.grounding import Names

NEAR_KIN = 0.5
"""What the nearest type above or below the right one earns."""
_CLAIM = re.compile(r"\s*([A-Za-z]+):\s+(.+?)\s*\.?\s*")
_BEFORE = re.compile(
    r"^\W*(?:(?:is|was|are|were|be|the|an?|gene|factor|receptor|ligand|cell type|group)\b\W*)*", re.IGNORECASE
)
_AROUND = " \t\n,*_\"'"
_LINKS = (" and", " the")


class NamedClaim(NamedTuple):
    """A claim whose name the graph knows."""

    place: str
    """``first`` or ``second``."""
    curie: str
    is_type: bool


def named_claims(claims: Sequence[str], names: Names) -> dict[str, NamedClaim]:
    """Return each claim's place and name; nothing where one of them has another form or an unknown name."""
    found = {}
    for claim in claims:
        parts = _CLAIM.fullmatch(claim)
        curie = parts and names.graph.cells.ground([parts[2]])[0].curie
        is_type = curie in names.ontology
        if parts and not is_type:
            (curie,) = names.gene_keys([parts[2]])
        if not parts or not curie or not (is_type or names.is_gene(curie)):
            return {}
        found[claim] = NamedClaim(parts[1].lower(), curie, is_type)
    return found if len({claim.place for claim in found.values()}) == len(claims) > 1 else {}


def told(claim: str, text: str, named: Mapping[str, NamedClaim], names: Names) -> float | None:
    """Return what an answer earns for a claim by the name in its place, 0..1; None where no known name stands there."""
    place, right, is_type = named[claim]
    said = _said_at(place, text, [other.place for other in named.values() if other.place != place])
    if not said:
        return None
    if not is_type:
        keys = [key for key in names.gene_keys([said]) if names.is_gene(key)] or names.claimed_genes(said)
        return (right in keys) / len(keys) if keys else None
    curie = names.resolve(said).curie
    if curie is None or curie == right:
        return None if curie is None else 1.0
    one, other = (names.ontology.position(term) for term in (curie, right))
    kin = names.ontology.closure[one, other] or names.ontology.closure[other, one]
    return NEAR_KIN * names.ontology.lin(one, other) if kin else 0.0


def _said_at(place: str, text: str, others: Sequence[str]) -> str:
    """Return the words behind the last mention of a place, up to that of another or the sentence's end."""
    ends = "|".join([*(rf"\b{re.escape(other)}\b" for other in others), r"[;\n]", r"\.(?:\s|$)", "$"])
    found = re.findall(rf"\b{re.escape(place)}\b(.*?)(?={ends})", text, re.IGNORECASE | re.DOTALL)
    name = _BEFORE.sub("", found[-1]).strip(_AROUND) if found else ""
    while name.endswith(_LINKS):  # ", and the second ..."
        name = name.rpartition(" ")[0].rstrip(_AROUND)
    return name
