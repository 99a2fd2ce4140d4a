"""Which species the genes of a file are of, and what the graph knows them by.

The detection rests on ids, on symbols that only one species has, and on what the file declares; the case of letters
alone is the last resort and is reported as such.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vckg.base.errors import InputError
from vckg.base.words import counted
from vckg.graph.name_keys import gene_key, symbol_and_id
from vckg.graph.schema import ORTHOLOGY
from vckg.graph.species import NATIVE, ONE_TO_MANY, ONE_TO_ONE, of_species

if TYPE_CHECKING:
    from gather.retrieval.query import Panel
    from vckg.graph.graph import Graph
    from vckg.graph.grounding import Grounded

HUMAN, MOUSE, RAT, MACAQUE, PIG = "human", "mouse", "rat", "macaque", "pig"
KINDS = (HUMAN, MOUSE, RAT, MACAQUE, PIG)
SPECIES = ("auto", *KINDS)
_TAXON_NAMES = {
    HUMAN: ("9606", "homo sapiens"),
    MOUSE: ("10090", "mus musculus"),
    RAT: ("10116", "rattus norvegicus"),
    MACAQUE: (
        "9544",
        "9541",
        "macaca mulatta",
        "macaca fascicularis",
        "rhesus macaque",
        "cynomolgus macaque",
    ),
    PIG: ("9823", "9825", "sus scrofa", "sus scrofa domesticus"),
}
TAXA = {name: species for species, names in _TAXON_NAMES.items() for name in (species, *names)}
"""Species by name, lower case, or by the number of its taxon."""
_IDS = {
    HUMAN: re.compile(r"ENSG\d{11}|HGNC:\d"),
    MOUSE: re.compile(r"ENSMUSG\d{11}|MGI:\d"),
    RAT: re.compile(r"ENSRNOG\d{11}|RGD:\d"),
    MACAQUE: re.compile(r"ENSM(MU|FA)G\d{11}"),
    PIG: re.compile(r"ENSSSCG\d{11}"),
}
_ONLY = {
    HUMAN: re.compile(r"HLA[-.][A-Z]|LINC\d{4,}|C\d+ORF\d+$", re.I),
    MOUSE: re.compile(r"GM\d{3,}$|[0-9A-Z]+\d{2}[A-Z]\d{2}RIK\d?$|H2[-.][A-Z]|[AB][CIUVWY]\d{6}$", re.I),
    RAT: re.compile(r"RT1-[A-Z]|RGD\d{6,}$|AABR0\d", re.I),
    MACAQUE: re.compile(r"MA(MU|FA)-[A-Z]", re.I),
    PIG: re.compile(r"SLA-[A-Z0-9]", re.I),
}
"""Symbols that one species has and no other."""
_GENOME = re.compile(r"(GRCh3[78]|hg19|hg38|mm10|mm9|mm39|GRCm3[89]|rn[67]|Rnor|Mmul|Sscrofa)[^_]*_+", re.I)
_GENOMES = {
    "grch": HUMAN,
    "hg": HUMAN,
    "mm": MOUSE,
    "grcm": MOUSE,
    "rn": RAT,
    "mmul": MACAQUE,
    "sscrofa": PIG,
}
_SHARE = 0.1
"""Least share of a species among the genes that tell one, for a file to be of two."""
_LEAST_ONLY = 3
_LEAST_TWINS = 10
"""So many symbols that come twice but for their case, and a tenth of all, are a file of two species."""


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
        One of `SPECIES`, where the user says so.
    declared
        The taxon that the file declares, as an id or a name; None where it declares none.

    Raises
    ------
    InputError
        The genes are of two species, or of one that is not served.
    """
    if wanted not in SPECIES:
        raise InputError(f"no species {wanted!r}; one of {', '.join(SPECIES)}")
    counts = Counter(species for name in names if (species := _by_id(name)))
    _refuse_two(names, counts)
    if wanted != "auto":
        return Detected(wanted, "--species")
    if declared is not None:
        taxon = declared.strip().lower().removeprefix("ncbitaxon:")
        if taxon not in TAXA:
            raise InputError(
                f"the file declares the species {declared!r}; served are {', '.join(KINDS)}; map the genes to human "
                "ones, or give --species"
            )
        return Detected(TAXA[taxon], "the taxon it declares")
    if counts.total() > 0.5 * len(names):
        return Detected(counts.most_common(1)[0][0], "gene ids")
    return _by_symbols(names)


def _by_id(name: str) -> str | None:
    """The species that a genome before the name or an id tells."""
    if found := _GENOME.match(name):
        genome = found[1].lower()
        return next(
            species for start, species in sorted(_GENOMES.items(), reverse=True) if genome.startswith(start)
        )
    key = gene_key(name)
    return next((species for species, pattern in _IDS.items() if pattern.match(key)), None)


def _only(names: Sequence[str]) -> Counter[str]:
    return Counter({s: sum(bool(pattern.match(name)) for name in names) for s, pattern in _ONLY.items()})


def _refuse_two(names: Sequence[str], counts: Counter[str]) -> None:
    """Raise InputError where ids, symbols of one species alone, or symbols in two cases are of two species."""
    symbols = _only(names)
    for found, least in ((counts, 1), (symbols, _LEAST_ONLY)):
        common = found.most_common(2)
        if len(common) == 2 and common[1][1] >= least and common[1][1] > _SHARE * found.total():
            (first, n), (second, m) = sorted(common, key=lambda pair: KINDS.index(pair[0]))
            what = "genes" if found is counts else "symbols that only one species has"
            raise InputError(
                f"{what} of two species: {n:,} {first} and {m:,} {second}; {_split(names, second)}"
            )
    twins = len(set(names)) - len({name.upper() for name in names})
    if twins >= max(_LEAST_TWINS, _SHARE * len(names)):
        raise InputError(
            f"genes of two species: {twins:,} symbols come twice but for their case, as those of human and mouse do; "
            + _split(names, MOUSE)
        )


def _split(names: Sequence[str], second: str) -> str:
    """How to give each species a file of its own, by how the names of the second begin."""
    start = next((m[0] for n in names if (m := _GENOME.match(n)) and _by_id(n) == second), None)
    ids = next((m[0].rstrip("0123456789") for n in names if (m := _IDS[second].match(n))), None)
    genes = f"match('{start or ids}')" if start or ids else "match('[A-Z][a-z]')"
    return (
        f"give each species a file of its own, e.g. adata[cells_of_{second}, adata.var_names.str.{genes}]"
        f".write_h5ad('{second}.h5ad')"
    )


def _by_symbols(names: Sequence[str]) -> Detected:
    only = _only(names)
    title = sum(name[:1].isupper() and name[1:] == name[1:].lower() and name[1:2].isalpha() for name in names)
    upper = sum(name == name.upper() and name[:1].isalpha() for name in names)
    best, n = only.most_common(1)[0]
    if best != HUMAN and n >= _LEAST_ONLY and n > 2 * only[HUMAN]:
        return Detected(best, f"{counted(n, 'symbol')} of {best} alone")
    if title > 2 * upper and only[HUMAN] <= only[MOUSE]:
        return Detected(MOUSE, "the case of its symbols alone")
    return Detected(HUMAN, f"{counted(n, 'symbol')} of human alone" if (n := only[HUMAN]) else "its symbols")


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


# ---- from names to genes of the graph -------------------------------------------------------------------------


def graph_for(graph: Graph, species: str) -> Graph:
    """Return the graph that answers for a species: that of mouse for mouse where it has mouse genes, else `graph`."""
    return of_species(graph, MOUSE) if species == MOUSE and _has_mouse(graph) else graph


def _has_mouse(graph: Graph) -> bool:
    rows = graph.rows(ORTHOLOGY)
    return graph.species == HUMAN and rows.stop > rows.start


def ground(graph: Graph, names: Sequence[str], species: str) -> list[Grounded]:
    """Ground gene names of a species in the graph of `graph_for`.

    Human and mouse names lead to genes of their own. Rat names lead to human genes by HGNC's table. Where no table
    is available (macaque, pig, mouse in a graph without mouse genes) the human gene of that symbol in capitals stands
    for it, if its symbol is approved; symbols that only that species has, and its ids, have none.
    """
    if species == graph.species:
        return _with_hyphens(graph, graph.genes.ground([_GENOME.sub("", name) for name in names]))
    if species == RAT and _has_mouse(graph):
        return graph.genes_of(RAT).ground(names)
    found = graph.genes.ground(by_upper_case(names, species))
    return [one if one.how == "symbol" else one._replace(curie=None, how="unknown") for one in found]


def _with_hyphens(graph: Graph, found: list[Grounded]) -> list[Grounded]:
    """Read the dots of unknown names as hyphens, where that is an approved symbol: R writes ``HLA.DRA``."""
    dotted = [i for i, one in enumerate(found) if one.how == "unknown" and "." in one.name]
    again = graph.genes.ground([found[i].name.replace(".", "-") for i in dotted])
    for i, one in zip(dotted, again, strict=True):
        if one.how == "symbol":
            found[i] = one._replace(name=found[i].name)
    return found


def by_upper_case(names: Iterable[str], species: str) -> list[str]:
    """Return symbols in capitals: most one-to-one orthologues bear one name. Names of this species alone are empty."""
    alone = (_ONLY[species], _IDS[species])
    names = [symbol_and_id(name)[0] for name in names]
    return ["" if any(p.match(name) for p in alone) else _GENOME.sub("", name).upper() for name in names]


@dataclass(frozen=True, slots=True)
class Mapped:
    """How many of a file's genes are known, and which of them the other species has.

    `one_to_one` and `one_to_many` count the known genes by their orthologues, `alone` those without; all three are 0
    for human, and `unknown` counts the names that lead to no gene.
    """

    known: int
    unknown: int
    one_to_one: int = 0
    one_to_many: int = 0
    alone: int = 0


def mapped(graph: Graph, panel: Panel) -> Mapped:
    """Count the genes of a panel on a graph of `graph_for`."""
    known = panel.n_grounded + len(panel.technical)
    unknown = len(panel.names) - known
    if graph.orthologs is None:
        return Mapped(known, unknown)
    codes = np.bincount(graph.orthologs[panel.genes], minlength=ONE_TO_MANY + 1).tolist()
    return Mapped(known, unknown, codes[ONE_TO_ONE], codes[ONE_TO_MANY], codes[NATIVE])


def in_words(told: Detected, graph: Graph, panel: Panel) -> str:
    """Say the species of a file, what tells it, how its genes were mapped and how many take part."""
    counts = mapped(graph, panel)
    head = f"{told.species}, told by {told.by}: {counts.known:,} of {counted(len(panel.names), 'gene')} known"
    if panel.technical:
        head += f" ({len(panel.technical):,} housekeeping or technical, left out)"
    if told.species == HUMAN:
        return head
    if graph.species == told.species:
        return (
            f"{head}; of the {panel.n_grounded:,} asked about {counts.one_to_one:,} have one human orthologue, "
            f"{counts.one_to_many:,} one of several, {counts.alone:,} none"
        )
    how = (
        "by HGNC's rat orthologues" if told.species == RAT else "by the human symbol in capitals, which errs"
    )
    return f"{head}, {how}; the other {counts.unknown:,} take no part; all evidence is by orthology"
