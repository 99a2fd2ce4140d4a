"""Which species the genes of a file are of, and their names in the graph's species.

The detection rests on ids, on symbols that only one species has, and on what the file declares; the case of letters
alone is the last resort and is reported as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vckg.base.errors import InputError

HUMAN, MOUSE = "human", "mouse"
SPECIES = ("auto", HUMAN, MOUSE)
TAXA = {
    "NCBITaxon:9606": HUMAN, "9606": HUMAN, "homo sapiens": HUMAN, "human": HUMAN,
    "NCBITaxon:10090": MOUSE, "10090": MOUSE, "mus musculus": MOUSE, "mouse": MOUSE,
}  # fmt: skip
_IDS = {HUMAN: re.compile(r"ENSG\d{11}"), MOUSE: re.compile(r"ENSMUSG\d{11}|MGI:\d+")}
_ONLY = {
    HUMAN: re.compile(r"HLA-[A-Z]|LINC\d{4,}|C\d+ORF\d+$|RP\d+-\d|A[CLP]\d{6}\.\d+$", re.I),
    MOUSE: re.compile(r"GM\d{3,}$|[0-9A-Z]+\d{2}[A-Z]\d{2}RIK\d?$|H2-[A-Z]|[AB][CIUVWY]\d{6}$", re.I),
}
"""Symbols that one of the two species has and the other has not."""
_GENOME = re.compile(r"(GRCh38|hg19|hg38|mm10|mm9|GRCm38|GRCm39)_+", re.I)
_SHARE = 0.1
"""Least share of a species among the genes that tell one, for a file to be of two."""
_LEAST_ONLY = 3


@dataclass(frozen=True, slots=True)
class Detected:
    """The species of a file's genes and what it was told by."""

    species: str
    by: str


def detect(names: Sequence[str], *, wanted: str = "auto", declared: str | None = None) -> Detected:
    """Return the species of gene names.

    Parameters
    ----------
    wanted
        ``human`` or ``mouse`` where the user says so, else ``auto``.
    declared
        The taxon that the file declares, as an id or a name; None where it declares none.

    Raises
    ------
    InputError
        The genes are of two species, or of one that the graph does not serve.
    """
    if wanted not in SPECIES:
        raise InputError(f"no species {wanted!r}; one of {', '.join(SPECIES)}")
    genomes = [_species_of_genome(found[1]) for name in names if (found := _GENOME.match(name))]
    ids = {s: sum(bool(pattern.match(name)) for name in names) for s, pattern in _IDS.items()}
    counts = {s: ids[s] + genomes.count(s) for s in (HUMAN, MOUSE)}
    total = sum(counts.values())
    if total and min(counts.values()) > _SHARE * total:
        raise InputError(
            f"genes of two species: {counts[HUMAN]:,} human and {counts[MOUSE]:,} mouse; give each species a "
            f"file of its own, e.g. adata[cells_of_mouse, adata.var_names.str.match('{_start_of(names)}')]"
            ".write_h5ad('mouse.h5ad')"
        )
    if wanted != "auto":
        return Detected(wanted, "--species")
    if declared is not None:
        known = TAXA.get(declared.strip(), TAXA.get(declared.strip().lower()))
        if known is None:
            raise InputError(
                f"the file declares the species {declared!r}; human and mouse are served; map the genes to human ones, "
                "or give --species"
            )
        return Detected(known, "the taxon it declares")
    if total > 0.5 * len(names):
        return Detected(max(counts, key=lambda s: counts[s]), "gene ids")
    return _by_symbols(names)


def _by_symbols(names: Sequence[str]) -> Detected:
    only = {s: sum(bool(pattern.match(name)) for name in names) for s, pattern in _ONLY.items()}
    title = sum(name[:1].isupper() and name[1:] == name[1:].lower() and name[1:2].isalpha() for name in names)
    upper = sum(name == name.upper() and name[:1].isalpha() for name in names)
    if only[MOUSE] >= _LEAST_ONLY and only[MOUSE] > 2 * only[HUMAN]:
        return Detected(MOUSE, f"{only[MOUSE]:,} symbols that only mouse has")
    if title > 2 * upper and only[HUMAN] <= only[MOUSE]:
        return Detected(MOUSE, "the case of its symbols alone")
    return Detected(HUMAN, f"{only[HUMAN]:,} symbols that only human has" if only[HUMAN] else "its symbols")


def _species_of_genome(genome: str) -> str:
    return MOUSE if genome.lower().startswith(("mm", "grcm")) else HUMAN


def _start_of(names: Sequence[str]) -> str:
    """How the names of mouse genes begin in a file of two species."""
    prefixed = next(
        (m[0] for n in names if (m := _GENOME.match(n)) and _species_of_genome(m[1]) == MOUSE), None
    )
    return prefixed or "ENSMUSG"


def declared_taxon(obs: Any, uns: Any) -> str | None:
    """Return the taxon that an AnnData declares by ``organism_ontology_term_id`` or ``organism``, if any.

    Raises
    ------
    InputError
        The cells are of several species.
    """
    for key in ("organism_ontology_term_id", "organism"):
        if key in obs.columns:
            values = sorted({str(v) for v in obs[key].dropna().unique()} - {"unknown", "na", ""})
            if len(values) > 1:
                raise InputError(
                    f"obs[{key!r}] holds {len(values)} species ({', '.join(values[:3])}); give each a file of its own, "
                    f"e.g. adata[adata.obs[{key!r}] == {values[0]!r}].write_h5ad('one.h5ad')"
                )
            if values:
                return values[0]
        if key in uns and str(uns[key]):
            return str(uns[key])
    return None


@dataclass(frozen=True, slots=True)
class Mapping:
    """Mouse names as human ones; `human` is as long as the names, empty where there is no orthologue."""

    human: tuple[str, ...]
    how: str


Orthologues = Callable[[Sequence[str]], Mapping]
"""What turns mouse gene names into human ones."""


def by_upper_case(names: Sequence[str]) -> Mapping:
    """Return mouse symbols in capitals: most one-to-one orthologues bear one name in both species.

    Symbols that only mouse has, and ids, have none.
    """
    human = [
        "" if _ONLY[MOUSE].match(name) or _IDS[MOUSE].match(name) else _GENOME.sub("", name).upper()
        for name in names
    ]
    return Mapping(tuple(human), "symbols in capitals")
