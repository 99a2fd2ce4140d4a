"""What names in answers mean: free text to cell types and genes of one graph, and how it was decided.

`vckg.graph.grounding` never guesses from a part of a name. `arena.scoring.cell_names` and `gene_names` read the
spellings of biologists. Answers are prose, so three more ways follow here, each named in the result: the name
without its brackets, a spelling one or two letters off (never in short words or
numbers: "CD4" is not "CD8"), and a type mentioned inside a longer text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from arena.scoring import cell_names
from arena.scoring.gene_names import GeneNames
from arena.scoring.wording import NEGATION, affirmed
from arena.types import Sample
from gather.ontology import Ontology
from gather.retrieval.cell_names import tool_labels
from vckg.graph.graph import Graph
from vckg.graph.name_keys import normal_key

SHORTEST_NAME: Final = 4
"""Letters a name must have to be recognised inside a text."""
TEXT_READ: Final = 2000
"""Words of a text in which names are looked for."""
SPELLING: Final = 0.8

_LISTED = re.compile(r"\s*(?:[,;/|&()\[\]]|\b(?:or|and|versus|vs|alternatively)\b[.:]?)\s*", re.IGNORECASE)
"""What parts the names of an answer that gives several."""
_BRACKETS = re.compile(r"\s*[(\[][^)\]]*[)\]]")
_BREAK = re.compile(r"[.;:!?()\n]+(?:\s|$)|[()\n]")
_GENE_WORD = re.compile(
    r"(?<![\w-])([A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*|[A-Z]\d+orf\d+)(?!\w)"  # a symbol as approved ones are written
    r"(\s?[+]|-?(?:positive|negative|high|low|hi|lo|bright|dim)\b)?"  # ... that may be part of a phenotype
)


_TITLE = re.compile(r"\s*([^:\n]{3,120}):\s")
_BEYOND = re.compile(
    r"\b(?:giv\w+ rise to|develop\w* into|differentiat\w* (?:in)?to|becom\w+|precursors? (?:of|to)|progenitors? of"
    r"|such as|includ\w+|e\.g\.)\b",
    re.IGNORECASE,
)
"""After these words a text speaks of other types than the one it claims."""


class Named(NamedTuple):
    """What a piece of an answer names."""

    name: str
    curie: str | None
    how: str
    """``label``, ``tool_label`` ... of `arena.scoring.cell_names.read_name`, ``brackets``, ``spelling``, ``mention``,
    ``common`` (the most specific type above several meanings), or ``unknown``."""


class Names:
    """Cell types and genes of one graph, looked up and remembered."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ontology = Ontology.of_cells(graph)
        self._resolved: dict[str, Named] = {}
        self._gene_of: dict[str, str] = {}
        self._symbols: dict[str, str | None] = {}

    # ---- cell types ---------------------------------------------------------------------------------------

    def truth(self, sample: Sample) -> str | None:
        """The reference type as a term of the graph (a replaced id follows its replacement)."""
        for name in (sample.gold["cl_id"], sample.gold["cell_type"]):
            found = self.graph.cells.ground([str(name)])[0].curie if name else None
            if found in self.ontology:
                return found
        return None

    def resolve(self, text: str) -> Named:
        """The cell type that a short answer names."""
        if text not in self._resolved:
            self._resolved[text] = self._resolve(text.strip().strip("\"'`*.").strip())
        return self._resolved[text]

    def _resolve(self, text: str) -> Named:
        """Resolve one name: several types count as the type above them all, a denied type does not count."""
        if NEGATION.search(text) and self.graph.cells.ground([text])[0].curie not in self.ontology:
            return self._several(text)
        if several := self._listed(text):
            return Named(text, self._common(several), "common")
        plain = _BRACKETS.sub("", text).strip()
        for name, how in ((text, None), (plain, "brackets")):
            if not name:
                continue
            found = cell_names.read_name(self.graph, name)
            if found.curie in self.ontology:
                return Named(text, found.curie, how or found.how)
            if found.candidates:
                return Named(text, self._common(found.candidates), "common")
        if curie := self._spelt_like(plain):
            return Named(text, curie, "spelling")
        return self._several(text)

    def _listed(self, text: str) -> list[str]:
        """Return the types that a list names, in whatever order and with whatever between; empty for one name.

        A type above another of the list adds nothing: *lymphocyte, T cell* is a T cell.
        """
        parts = [part.strip() for part in _LISTED.split(text) if part.strip()]
        whole = self.graph.cells.ground([text])[0]
        if len(parts) < 2 or (whole.curie in self.ontology and whole.how != "mapped"):
            return []  # markers of "Monocyte/Macrophage" are mapped to one of the two; an answer names both
        found = [cell_names.read_name(self.graph, part).curie for part in parts]
        known = [curie for curie in found if curie and curie in self.ontology]
        closure, at = self.ontology.closure, [self.ontology.position(curie) for curie in known]
        own = [not any(closure[other, one] for other in at if other != one) for one in at]
        return [c for c, kept in zip(known, own, strict=True) if kept] if len(known) == len(parts) else []

    def _several(self, text: str) -> Named:
        """The one type a short answer claims, or what is above all that it names."""
        claimed = self.claimed_type(text)
        if claimed.curie is None:
            return claimed
        at = self.ontology.position(claimed.curie)
        beyond = _BEYOND.search(text)
        named = self.mentions(affirmed(text[: beyond.start()] if beyond else text)) or [claimed.curie]
        apart = [c for c in named if not self._on_one_line(self.ontology.position(c), at)]
        return Named(text, self._common([claimed.curie, *apart]), "common") if apart else claimed

    def _on_one_line(self, one: int, other: int) -> bool:
        return one == other or bool(self.ontology.closure[one, other] or self.ontology.closure[other, one])

    def _common(self, candidates: Sequence[str]) -> str | None:
        """What an ambiguous name surely says: the most informative type above all its meanings."""
        at = [self.ontology.position(c) for c in candidates if c in self.ontology]
        top = self.ontology.lowest_common_ancestor(at) if at else None
        return None if top is None else self.ontology.terms[top]

    def _spelt_like(self, text: str) -> str | None:
        words = normal_key(text)[1:].split()
        best, best_ratio = None, 0.0
        for key, curie in self._by_word_count.get(len(words), ()):
            ratio = _spelling_ratio(words, key)
            if ratio > best_ratio:
                best, best_ratio = curie, ratio
        return best

    @cached_property
    def _by_word_count(self) -> dict[int, list[tuple[list[str], str]]]:
        grouped: dict[int, list[tuple[list[str], str]]] = {}
        for key, curie in sorted(self.type_of_key.items()):
            words = key.split()
            grouped.setdefault(len(words), []).append((words, curie))
        return grouped

    @cached_property
    def type_of_key(self) -> dict[str, str]:
        """Normalised label or exact synonym to the type it names, ambiguous synonyms left out."""
        labels: dict[str, str] = {}
        synonyms: dict[str, set[str]] = {}
        for at in self.ontology.nodes.tolist():
            node = self.graph.node(at)
            labels.setdefault(normal_key(node.name)[1:], node.id)
            for synonym in node.synonyms:
                synonyms.setdefault(normal_key(synonym)[1:], set()).add(node.id)
        sure = {key: min(ids) for key, ids in synonyms.items() if len(ids) == 1}
        labels_of_tools = {
            normal_key(name)[1:]: curie for name, curie in tool_labels().items() if " " in name
        }
        usual = {key: curie for key, curie in labels_of_tools.items() if curie in self.ontology}
        return {k: curie for k, curie in {**sure, **labels, **usual}.items() if len(k) >= SHORTEST_NAME}

    @cached_property
    def _longest_from(self) -> dict[str, int]:
        """Words of the longest name that begins with a word."""
        longest: dict[str, int] = {}
        for key in self.type_of_key:
            words = key.split()
            longest[words[0]] = max(longest.get(words[0], 0), len(words))
        return longest

    def mentions(self, text: str) -> list[str]:
        """Cell types named in a text, in order, the longest name at each place."""
        found: list[str] = []
        for part in _BREAK.split(" ".join(text.split()[:TEXT_READ])):
            words = normal_key(cell_names.DC.sub("dendritic cell", part))[1:].split() if part else []
            at = 0
            while at < len(words):
                length, curie = self._longest_name(words, at)
                denied = at > 0 and words[at - 1] in ("non", "anti")
                found += [curie] if curie and not denied else []
                at += max(1, length)
        return found

    def _longest_name(self, words: Sequence[str], at: int) -> tuple[int, str]:
        longest = max(self._longest_from.get(words[at], 0), self._longest_from.get(singular(words[at]), 0))
        for length in range(min(longest, len(words) - at), 0, -1):
            *before, last = words[at : at + length]
            if curie := self.type_of_key.get(" ".join((*before, singular(last)))):
                return length, curie
        return 0, ""

    def claimed_type(self, text: str) -> Named:
        """The type a text claims: the first one named, made more specific by any later one below it.

        So "a lymphocyte, most likely a naive B cell" claims naive B cell, and naming a second type next to the
        first to be on the safe side gains nothing. What a cell becomes, contains or is contrasted with is not
        claimed; a name with a colon at the beginning is the claim alone.
        """
        titled = _TITLE.match(text)
        if titled and (found := self.graph.cells.ground([titled[1]])[0]).curie in self.ontology:
            return Named(text, found.curie, "mention")
        claim = affirmed(text)
        beyond = _BEYOND.search(claim)
        named = self.mentions(claim[: beyond.start()]) if beyond else []
        claimed: int | None = None
        for curie in named or self.mentions(claim):
            at = self.ontology.position(curie)
            if claimed is None or self.ontology.closure[at, claimed]:
                claimed = at
        if claimed is None:
            return Named(text, None, "unknown")
        return Named(text, self.ontology.terms[claimed], "mention")

    # ---- genes --------------------------------------------------------------------------------------------

    def gene_keys(self, names: Iterable[str]) -> list[str]:
        """One key a name: the gene's CURIE, or the name itself in upper case where the graph knows none."""
        wanted = [str(name) for name in names]
        if new := sorted({name for name in wanted if name not in self._gene_of}):
            for found in self.graph.genes.ground(new):
                self._gene_of[found.name] = found.curie or found.name.strip().upper()
        return [self._gene_of[name] for name in wanted]

    def gene_named(self, name: str) -> str | None:
        """The gene that a short answer names, spelt as biologists do (`arena.scoring.gene_names`).

        Lists of genes are not read so: there *Ins1* is a gene of mice and no alias.
        """
        (found,) = self.graph.genes.ground([name])
        return found.curie if found.curie or found.candidates else self._gene_names.find(name)

    @cached_property
    def _gene_names(self) -> GeneNames:
        return GeneNames(self.graph)

    def genes(self, names: Iterable[str]) -> set[str]:
        """Keys of the names as a set."""
        return set(self.gene_keys(names))

    def is_gene(self, key: str) -> bool:
        """Whether a key of `gene_keys` is a gene of the graph."""
        return self.graph.get(key) is not None

    def symbol(self, key: str) -> str:
        """The approved symbol of a gene's key."""
        at = self.graph.get(key)
        return key if at is None else str(self.graph.names[at])

    def random_genes(self, n: int, rng: np.random.Generator) -> list[str]:
        """Keys of `n` distinct genes of the graph (all, shuffled, where it has fewer)."""
        pool = self._gene_ids
        return [pool[int(i)] for i in rng.choice(len(pool), size=min(n, len(pool)), replace=False)]

    @cached_property
    def _gene_ids(self) -> list[str]:
        ids: list[str] = self.graph.ids.arrow.take(pa.array(self.graph.nodes_of("Gene"))).to_pylist()
        return ids

    def claimed_genes(self, text: str) -> set[str]:
        """Genes a text names as expressed, by approved symbol in upper case.

        A symbol that is part of a phenotype ("CD4-positive", "CD8+") belongs to the type's name.
        """
        words = {found[1] for found in _GENE_WORD.finditer(text) if not found[2]}
        if new := sorted(words - self._symbols.keys()):
            for found in self.graph.genes.ground(new):
                self._symbols[found.name] = found.curie if found.how == "symbol" else None
        return {curie for word in words if (curie := self._symbols[word])}


def singular(word: str) -> str:
    """A word as `normal_key` writes a name's last one."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _spelling_ratio(words: Sequence[str], key: Sequence[str]) -> float:
    """Mean likeness of the words in their order; 0 unless short words and numbers agree to the letter."""
    total = 0.0
    for word, other in zip(words, key, strict=True):
        if word == other:
            total += 1.0
            continue
        fixed = min(len(word), len(other)) <= 4 or any(c.isdigit() for c in word + other)
        if fixed or abs(len(word) - len(other)) > 2:
            return 0.0
        ratio = SequenceMatcher(None, word, other, autojunk=False).ratio()
        if ratio < SPELLING:
            return 0.0
        total += ratio
    return total / len(words) if words else 0.0


@lru_cache(maxsize=4)
def names_of(graph: Graph) -> Names:
    """The names of a graph, made once (its tables take a second)."""
    return Names(graph)
