"""Claims that are one name each, behind a word that says which: ``First: microglial cell. Second: TP53.``

Such an answer is right by what it names, not by its words: a synonym is the name. Of a cell type, a kind of the right
one entails it and is right; one above it says less and earns up to half, any other nothing. Of several genes in one
place each earns its share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arena.scoring.grounding import Names

NEAR_KIN = 0.5
"""What the nearest type above the right one earns."""
_CLAIM = re.compile(r"\s*([A-Za-z]+):\s+(.+?)\s*\.?\s*")
_BEFORE = re.compile(
    r"^\W*(?:(?:is|was|are|were|be|the|an?|gene|factor|receptor|ligand|cell type|group)\b\W*)*", re.IGNORECASE
)
_PARTS = re.compile(r"\s*[,()\[\]]\s*|\s+(?:and|or|aka)\s+")
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
        keys = _genes(said, names)
        return (right in keys) / len(keys) if keys else None
    curie = names.resolve(said).curie
    if curie is None:
        return None
    one, other = (names.ontology.position(term) for term in (curie, right))
    if names.ontology.same(one, other) or names.ontology.closure[one, other]:
        return 1.0
    return NEAR_KIN * names.ontology.lin(one, other) if names.ontology.closure[other, one] else 0.0


def _genes(said: str, names: Names) -> set[str]:
    """Return the genes of a place: the one that the whole names, else those of its parts (*p53 (TP53), a factor*)."""
    if whole := names.gene_named(said):
        return {whole}
    parts = {names.gene_named(part) for part in _PARTS.split(said) if part}
    return {gene for gene in parts if gene} | names.claimed_genes(said)


def _said_at(place: str, text: str, others: Sequence[str]) -> str:
    """Return the words behind the last mention of a place, up to that of another or the sentence's end."""
    ends = "|".join([*(rf"\b{re.escape(other)}\b" for other in others), r"[;\n]", r"\.(?:\s|$)", "$"])
    found = re.findall(rf"\b{re.escape(place)}\b(.*?)(?={ends})", text, re.IGNORECASE | re.DOTALL)
    name = _BEFORE.sub("", found[-1]).strip(_AROUND) if found else ""
    while name.endswith(_LINKS):  # ", and the second ..."
        name = name.rpartition(" ")[0].rstrip(_AROUND)
    return name
