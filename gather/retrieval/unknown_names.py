"""What to tell of gene names that lead to no gene: which they are, why, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vckg.base.words import counted

if TYPE_CHECKING:
    from gather.retrieval.query import Panel
    from vckg.graph.graph import Graph

SHOWN = 5
"""Names of each kind that are shown."""
_HINTS = 3
_NEAR, _LIKE = 30, 0.75
"""Symbols at most that may be meant by a mistyped one, and the least likeness of each (`difflib`)."""
_CONTROL = re.compile(
    r"(neg(ative)?[-_ ]?(control|prb|probe)|negative\d|blank([-_ ]|\d)|antisense_|unassigned|deprecatedcodeword|"
    r"intergenic_|systemcontrol|falsecode)",
    re.I,
)
"""Control probes and unused codes of Xenium, CosMx and MERSCOPE."""
_MARKS = re.compile(r"[-._ ]")
_MADE, _EARLIER = " that a spreadsheet made of a gene symbol", " with an earlier column, and left out"
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)"
_DATE = re.compile(rf"\d{{1,2}}-{_MONTH}$|{_MONTH}-\d{{1,2}}$", re.I)


def is_id(name: str) -> bool:
    """Whether a gene is named by an id of Ensembl, HGNC, MGI or NCBI, which no reader knows by heart."""
    return re.match(r"ENS[A-Z]*G\d|(HGNC|MGI):\d|\d+$", name) is not None


def is_renamed(name: str, symbol: str) -> bool:
    """Whether a file calls a gene otherwise than by its symbol of today, and not by an id."""
    return not is_id(name) and symbol.casefold() not in name.casefold()


def unknown_in_words(panel: Panel, graph: Graph) -> str:
    """Name up to five names of a file that are unknown, ambiguous, control probes, dates, read as another symbol or of
    a gene that came before. An empty text where all names are symbols of today.
    """
    dates = [name for name in panel.names if _DATE.match(name)]
    made = set(dates)
    controls = [name for name in panel.ungrounded if _CONTROL.match(name)]
    others = [name for name in panel.ungrounded if not _CONTROL.match(name) and name not in made]
    ambiguous = [name for name in panel.ambiguous if name not in made]
    genes = list(zip(panel.names, panel.nodes.tolist(), strict=True))
    read = [pair for pair in genes if pair[1] >= 0 and is_renamed(pair[0], graph.names[pair[1]])]
    read.sort(key=lambda pair: -len(graph.out_edges(pair[1], "is_marker_for")))
    renamed = [f"{name} is {graph.names[node]}" for name, node in read if name not in made]
    passed = {*panel.ungrounded, *panel.ambiguous, *panel.technical}
    twice = [name for name, node in genes if node < 0 and name not in passed]
    kinds = (
        (others, "is unknown", "are unknown", ""),
        (controls, "is a control probe and left out", "are control probes and left out", ""),
        (ambiguous, "is ambiguous and left out", "are ambiguous and left out", ""),
        (dates, f"is a date{_MADE}", f"are dates{_MADE}", "; import the column as text"),
        (renamed, "is read as another symbol", "are read as another symbol", ""),
        (twice, f"is of a gene{_EARLIER}", f"are of genes{_EARLIER}", ""),
    )
    return "; ".join(
        f"{counted(len(names), f'name {one}', f'names {several}')}: {_some(names)}{end}"
        for names, one, several, end in kinds
        if names
    )


def meant_genes(graph: Graph, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for unknown and ambiguous names the symbols that may be meant, those with most markers first.

    Of an ambiguous name these are its genes. Of an unknown one they are what it means without hyphens and dots (TIM-3),
    else the symbols that are the same without them (HLADRA), or add one or two letters to it (CD3), or the nearest ones
    (CD3X).
    """
    found: dict[str, tuple[str, ...]] = {}
    bare = {name: _MARKS.sub("", name) for name in names}
    plain = {one.name: graph.index(one.curie) for one in graph.genes.ground([*bare.values()]) if one.curie}
    for one in graph.genes.ground(list(names)):
        nodes = [graph.index(curie) for curie in one.candidates]
        if one.how == "unknown" and len(word := bare[one.name]) > 1:
            longer = re.compile(re.escape(word) + r"[A-Za-z]{0,2}", re.I)
            genes = [plain[word]] if word in plain else graph.nodes_of("Gene").tolist()
            nodes = [n for n in genes if word in plain or longer.fullmatch(_MARKS.sub("", graph.names[n]))]
            nodes = nodes or _near(graph, word)
        ranked = sorted(nodes, key=lambda n: (-len(graph.out_edges(n, "is_marker_for")), graph.ids[n]))
        if symbols := tuple(graph.names[n] for n in ranked[:_HINTS]):
            found[one.name] = symbols
    return found


def _near(graph: Graph, name: str) -> list[int]:
    """Return the genes with markers whose symbols are nearest to a mistyped one, and begin with its first letter."""
    rows = graph.rows("is_marker_for")
    marked = np.unique(graph.subject[rows.start : rows.stop]).tolist()
    symbols = {graph.names[n].upper(): n for n in marked if graph.names[n][:1].upper() == name[:1].upper()}
    return [symbols[near] for near in difflib.get_close_matches(name.upper(), symbols, _NEAR, _LIKE)]


def with_hints(names: Sequence[str], hints: dict[str, tuple[str, ...]]) -> str:
    """Return names in a line, each with the symbols that may be meant: ``CD3 (CD3D? CD3E?)``."""
    return ", ".join(
        name + (f" ({' '.join(f'{symbol}?' for symbol in hints[name])})" if name in hints else "")
        for name in names
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
