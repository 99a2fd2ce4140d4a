"""What to tell of gene names that lead to no gene: which they are, why, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vckg.base.words import counted

if TYPE_CHECKING:
    from gather.retrieval.query import Panel
    from vckg.graph.graph import Graph

SHOWN = 5
"""Names of each kind that are shown."""
_HINTS = 3
_CONTROL = re.compile(
    r"(neg(ative)?[-_ ]?(control|prb|probe)|negative\d|blank([-_ ]|\d)|antisense_|unassigned|deprecatedcodeword|"
    r"intergenic_|systemcontrol|falsecode)",
    re.I,
)
"""Control probes and unused codes of Xenium, CosMx and MERSCOPE."""
_MARKS = re.compile(r"[-._ ]")
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)"
_DATE = re.compile(rf"\d{{1,2}}-{_MONTH}$|{_MONTH}-\d{{1,2}}$", re.I)


def unknown_in_words(panel: Panel) -> str:
    """Name up to five unknown and ambiguous names of a file; say which are control probes, and which are dates.

    An empty text where all names lead to a gene.
    """
    dates = [name for name in panel.names if _DATE.match(name)]
    made = set(dates)
    controls = [name for name in panel.ungrounded if _CONTROL.match(name)]
    others = [name for name in panel.ungrounded if not _CONTROL.match(name) and name not in made]
    ambiguous = [name for name in panel.ambiguous if name not in made]
    made_of = "that a spreadsheet made of a gene symbol"
    kinds = (
        (others, "name is unknown", "names are unknown"),
        (controls, "name is a control probe and left out", "names are control probes and left out"),
        (ambiguous, "name is ambiguous and left out", "names are ambiguous and left out"),
        (dates, f"name is a date {made_of}", f"names are dates {made_of}"),
    )
    parts = [f"{counted(len(names), one, several)}: {_some(names)}" for names, one, several in kinds if names]
    return "; ".join(parts + ["import the column as text"] * bool(dates))


def meant_genes(graph: Graph, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for unknown and ambiguous names the symbols that may be meant, those with most markers first.

    Of an ambiguous name these are its genes. Of an unknown one they are what it means without hyphens and dots (TIM-3),
    else the symbols that are the same without them (HLADRA), or add one or two letters to it (CD3).
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
        ranked = sorted(nodes, key=lambda n: (-len(graph.out_edges(n, "is_marker_for")), graph.ids[n]))
        if symbols := tuple(graph.names[n] for n in ranked[:_HINTS]):
            found[one.name] = symbols
    return found


def with_hints(names: Sequence[str], hints: dict[str, tuple[str, ...]]) -> str:
    """Return names in a line, each with the symbols that may be meant: ``CD3 (CD3D? CD3E?)``."""
    return ", ".join(
        name + (f" ({' '.join(f'{symbol}?' for symbol in hints[name])})" if name in hints else "")
        for name in names
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
