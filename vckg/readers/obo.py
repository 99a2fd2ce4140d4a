"""Read OBO files of any ontology with obonet."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vckg.base.errors import SourceError
from vckg.graph.statements import Reading, name_pairs, term_table
from vckg.readers._csv import read_text
from vckg.readers._terms import GO_CATEGORY, RO_RELATIONS, links_of

Parts = Mapping[str, Path]
_HEADS = ("[Term]", "[Typedef]", "[Instance]")
_TRAILING = re.compile(r"\s*(\{[^}]*\}\s*)?(!.*)?$")
_QUOTED = re.compile(r'^"((?:[^"\\]|\\.)*)"(?:\s+(\w+))?')


def read_obo(parts: Parts, *, categories: Mapping[str, str], space: str = "terms") -> Reading:
    """Read an OBO file.

    Parameters
    ----------
    categories
        Category by CURIE prefix of the terms to keep. ``namespace`` takes the category from the namespace of each
        term (GO). Terms of other prefixes (imports) are rejected.
    space
        Namespace of the obsolete ids: ``cells``, ``anatomy``, ``diseases`` or ``terms``.
    """
    path = parts["main"]
    ontology = _graph(path)
    reading = Reading(rows=sum(bool(term) for _, term in ontology.nodes(data=True)))
    nodes, replaced = [], []
    relations = _relation_names(ontology.graph.get("typedefs", []))
    for curie, term in sorted(ontology.nodes(data=True)):
        prefix = curie.partition(":")[0]
        if prefix not in categories:
            reading.rejected_terms.add(f"imported from {prefix}", 1, [curie])
            continue
        if term.get("is_obsolete") == "true":
            reading.obsolete.add(curie)
            reading.rejected_terms.add("obsolete", 1, [curie])
            replaced += [(curie, new) for new in term.get("replaced_by", [])]
            continue
        if "name" not in term:  # occurs only as the end of a relation
            reading.rejected_terms.add("mentioned, not described", 1, [curie])
            continue
        category = categories[prefix]
        if category == "namespace":
            category = GO_CATEGORY.get(term.get("namespace", ""), "")
            if not category:
                problem = f"term {curie} is of the unknown namespace {term.get('namespace')!r}"
                raise SourceError(path, problem, line=_line_of_id(read_text(path), curie))
        replaced += [(old, curie) for old in term.get("alt_id", [])]
        nodes.append(_node(curie, category, term))
    reading.nodes.append(
        term_table(
            [n.id for n in nodes],
            [n.category for n in nodes],
            [n.name for n in nodes],
            descriptions=[n.description for n in nodes],
            synonyms=[n.synonyms for n in nodes],
            xrefs=[n.xrefs for n in nodes],
        )
    )
    reading.names.append(name_pairs(f"{space}.replaced", replaced))
    _relate(ontology, {n.id for n in nodes}, relations, reading)
    return reading


def read_relation_names(parts: Parts) -> Reading:
    """Read the names of relations from the typedefs of an OBO file (RO)."""
    typedefs = _graph(parts["main"]).graph.get("typedefs", [])
    reading = Reading(rows=len(typedefs))
    for typedef in typedefs:
        for curie in (typedef.get("id", ""), *typedef.get("xref", [])):
            if curie.partition(":")[0] in ("RO", "BFO") and "name" in typedef:
                reading.relation_labels[curie] = typedef["name"]
    return reading


def read_labels(path: Path) -> dict[str, str]:
    """Return the names of all terms of an OBO file, including imported ones."""
    return {curie: term["name"] for curie, term in _graph(path).nodes(data=True) if "name" in term}


def read_terms(path: Path) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return id, name, definition and parents of all terms of an OBO file that have a name."""
    return [
        (curie, term["name"], _definition(term), tuple(term.get("is_a", ())))
        for curie, term in _graph(path).nodes(data=True)
        if "name" in term
    ]


def _graph(path: Path) -> Any:
    import obonet

    text = read_text(path)
    if "[Term]" not in text:
        raise SourceError(path, "no [Term] in it, so not an OBO file")
    try:
        return obonet.read_obo(io.StringIO(text), ignore_obsolete=False)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise SourceError(path, f"not an OBO file obonet reads: {error}", line=_fault(text, error)) from error


def _fault(text: str, error: Exception) -> int | None:
    """Return the line of an error of obonet: the quoted line, a term without an id, or a link without one end."""
    quoted = str(error).partition("failed for:")[2].strip()
    head = 0  # line of the [Term] whose id has not been read yet
    before = ""
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        starts = not before.strip() and line.startswith(_HEADS)
        if quoted:
            if line.strip() == quoted and not starts:
                return number
        elif not line.strip() and head:
            return head
        elif starts:
            head = number if line.startswith("[Term]") else 0
        elif line.startswith(("id:", "relationship:")):
            head = 0 if line.startswith("id:") else head
            value = _TRAILING.sub("", line.partition(":")[2]).strip()
            if line.startswith("relationship:") and value.count(" ") != 1:
                return number
        before = line
    return None


def _line_of_id(text: str, curie: str) -> int | None:
    lines = (line.partition("!")[0].split() for line in text.split("\n"))
    return next((number for number, words in enumerate(lines, start=1) if words == ["id:", curie]), None)


def _relation_names(typedefs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the relation of the graph by its name in the file: by RO id, by id, or by the xrefs of its typedef."""
    names = dict(RO_RELATIONS)
    for typedef in typedefs:
        known = [
            RO_RELATIONS[x] for x in (typedef.get("id", ""), *typedef.get("xref", [])) if x in RO_RELATIONS
        ]
        if known:
            names[typedef.get("id", "")] = known[0]
    return names


class _Term(NamedTuple):
    """A term as a node."""

    id: str
    category: str
    name: str
    description: str
    synonyms: list[str]
    xrefs: list[str]


def _node(curie: str, category: str, term: Mapping[str, Any]) -> _Term:
    exact = [
        m.group(1)
        for s in term.get("synonym", [])
        if (m := _QUOTED.match(s)) and m.group(2) in ("EXACT", None)
    ]
    return _Term(
        curie,
        category,
        term["name"],
        _definition(term),
        sorted(set(exact)),
        sorted({x.split(" ")[0] for x in term.get("xref", [])}),
    )


def _definition(term: Mapping[str, Any]) -> str:
    found = _QUOTED.match(term.get("def", ""))
    return found.group(1).replace('\\"', '"') if found else ""


def _relate(ontology: Any, live: set[str], relations: Mapping[str, str], reading: Reading) -> None:
    """Add the relations between terms (edges of obonet point from the child to the parent)."""
    links: dict[str, list[tuple[str, str]]] = {}
    for subject, target, name in ontology.edges(keys=True):
        if subject not in live:
            continue
        if name not in relations:
            reading.rejected.add(f"relation {name} is not one of the graph's", 1, [subject])
            continue
        links.setdefault(relations[name], []).append((subject, target))
    for relation, pairs in sorted(links.items()):
        pairs.sort()
        reading.statements.append(links_of(relation, [s for s, _ in pairs], [o for _, o in pairs]))
