"""Gene names as biologists write them: Greek letters, hyphens and full names, for one graph.

*PPAR-alpha*, *PPARα* and *PPARA* have one key. An approved symbol decides before aliases and full names; a key that
leads to several genes leads to none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from vckg.graph.graph import Graph

SHORTEST: Final = 3
"""Letters and digits of a key at least."""
_GREEK: Final = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "θ": "theta", "κ": "kappa",
    "λ": "lambda", "ω": "omega",
}  # fmt: skip
_LETTERS: Final = str.maketrans(_GREEK)
_SPELT: Final = re.compile("|".join(sorted(_GREEK.values(), key=len, reverse=True)))
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[\W_]+(?=\d)")
_TOKEN: Final = re.compile(r"[a-z]+|\d+")
_NUMBER: Final = {"alpha": "1", "beta": "2"}
_ORDINAL: Final = re.compile(r"\b(?:alpha|beta)$")


def short_key(name: str) -> str:
    """Return the key of a symbol or an alias: lower case, Greek by its first letter, no signs but between digits.

    Examples
    --------
    >>> short_key("PPARα") == short_key("PPAR-alpha") == short_key("PPARA"), short_key("NKX2.1"), short_key("IRF-1")
    (True, 'nkx2-1', 'irf1')
    """
    text = _BETWEEN_DIGITS.sub("-", _spelt(name))
    return re.sub(r"[^a-z0-9-]|(?<!\d)-|-(?!\d)", "", _SPELT.sub(lambda greek: greek[0][0], text))


def full_key(name: str) -> str:
    """Return the key of a full name: its words and numbers, ascending where no number tells their order.

    Examples
    --------
    >>> full_key("E-selectin") == full_key("selectin E"), full_key("Tumour protein p53")
    (True, 'tumor protein p 53')
    """
    words = _TOKEN.findall(_spelt(name).replace("tumour", "tumor").replace("oestrogen", "estrogen"))
    return " ".join(words if any(word.isdigit() for word in words) else sorted(words))


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().translate(_LETTERS).strip()


class GeneNames:
    """Looks up human genes by symbol, alias and full name in the ways of this module."""

    def __init__(self, graph: Graph) -> None:
        symbols, aliases, full = (defaultdict[str, set[str]](set) for _ in range(3))
        for at in graph.nodes_of("Gene").tolist():
            node = graph.node(at)
            symbols[short_key(node.name)].add(node.id)
            for alias in node.synonyms:
                aliases[short_key(alias)].add(node.id)
            for name in (node.description, *node.synonyms):
                full[full_key(name)].add(node.id)
        self._short = _sure(aliases) | _sure(symbols)
        self._full = {words: gene for words, gene in _sure(full).items() if " " in words}

    def find(self, name: str) -> str | None:
        """Return the CURIE of the one gene that a name means."""
        key, words = short_key(name), full_key(name)
        if len(key) < SHORTEST:
            return None
        if key in self._short:
            return self._short[key]
        if (
            "receptor" in words and words not in self._full
        ):  # estrogen receptor alpha is "estrogen receptor 1"
            words = full_key(_ORDINAL.sub(lambda greek: _NUMBER[greek[0]], _spelt(name)))
        return self._full.get(words)


def _sure(found: Mapping[str, set[str]]) -> dict[str, str | None]:
    """Return the gene of each key; None where there are several."""
    return {key: next(iter(genes)) if len(genes) == 1 else None for key, genes in found.items()}
