"""``gather cite OUT.h5ad``: a methods paragraph and the bibliography of exactly what an annotation used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gather.annotation import Annotation
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO, CELL
from gather.cells.results import kept_annotations
from gather.retrieval.metapaths import target_named, walkable_rows
from vckg.base.errors import InputError
from vckg.base.resources import resource
from vckg.base.words import with_release

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

_AUTHORS = re.compile(r"^(?P<authors>.+?) (?P<year>(?:19|20)\d\d)\b")
_DOI = re.compile(r"doi:(\S+?)(?=[;,\s]|$)")
_ALWAYS, _CLUSTERED, _RANKED = ("vckg", "gather", "anndata"), ("scanpy", "leiden"), ("scanpy",)

_RANKINGS = {
    "specific": "log2 fold change times the fraction of the set's cells that express the gene",
    "expression": "expression, equals the rarer first",
    "t-test": "Welch's t-test",
    "t-test_overestim_var": "a t-test with overestimated variance",
    "wilcoxon": "the Wilcoxon rank-sum test",
    "logreg": "logistic regression",
}
_SCORES = {
    "calibrated": "the resources and publications that call them markers of a type, relative to the weight of all its "
    "markers",
    "paper": "the published GATHER score",
}


def cite(path: Path, graph: Graph, key: str = "gather") -> str:
    """Return the paragraph, then the BibTeX, of an annotated h5ad.

    Named are the graph and its release, the sources that labels rest on and those of other shown evidence with their
    licences, the versions and the settings.

    Raises
    ------
    InputError
        The file was not annotated, or with another graph than `graph`.
    """
    adata = open_h5ad(path, backed=True)
    try:
        kept = dict(adata.uns.get(key, {}))
        annotations = kept_annotations(adata, key).annotations
    finally:
        adata.file.close()
    if str(kept["graph"]) != graph.content_hash:
        raise InputError(
            f"{path}: was annotated with the graph {str(kept['graph'])[:12]}, this is {graph.content_hash[:12]}; give "
            "the folder of that one by --graph"
        )
    parameters = {name: _plain(value) for name, value in kept["parameters"].items()}
    excluded = tuple(filter(None, str(parameters["exclude_source"]).split("|")))
    names, deciding = (used_sources(graph, shown, excluded) for shown in (annotations, ()))
    software = [*_ALWAYS, *_software(parameters)]
    entries = _software_entries(software) + [_entry(name, graph.manifest["sources"][name]) for name in names]
    text = [_paragraph(kept, parameters, software), f"Labels rest on: {_listed(graph, deciding)}."]
    if context := [name for name in names if name not in deciding]:
        text.append(
            f"The pathways, processes and diseases that are shown come from: {_listed(graph, context)}."
        )
    return "\n\n".join([*text, *entries]) + "\n"


def used_sources(graph: Graph, annotations: Sequence[Annotation], exclude: Sequence[str]) -> list[str]:
    """Return the sources of all edges that decide labels, of the hierarchy, and of the evidence that is shown.

    A part of a source counts as the source.
    """
    target = target_named("Cell")
    gene, cell = (graph.category == graph.categories.index(name) for name in ("Gene", "Cell"))
    hierarchy = graph.rows("subclass_of")
    codes = [np.unique(graph.source[hierarchy][cell[graph.subject[hierarchy]]])]
    for relation, rows in walkable_rows(graph, target, exclude).items():
        ends = graph.object if relation == target.back else graph.subject
        cells = graph.subject if relation == target.back else graph.object
        direct = rows[gene[ends[rows]] & cell[cells[rows]]]
        codes.append(np.unique(graph.source[direct]))
    names = {graph.sources[int(code)] for code in np.unique(np.concatenate(codes))}
    for annotation in annotations:
        for item in (*annotation.evidence, *annotation.convergence):
            names |= {edge.source for walk in item.walks for step in walk.steps for edge in step}
    sources = graph.manifest["sources"]
    return sorted({sources[name].get("part_of") or name for name in names if name in sources})


def _software(parameters: dict[str, Any]) -> tuple[str, ...]:
    if parameters["groupby"] == AUTO:
        return _CLUSTERED
    return () if parameters["ranking"] in ("specific", "t-test", "expression") else _RANKED


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _graph_of(kept: dict[str, Any]) -> str:
    """Name the graph, with the beginning of its content hash."""
    label, hash_ = str(kept["graph_label"]), str(kept["graph"])[:12]
    return label if hash_ in label else f"{label} (content hash {hash_})"


def _listed(graph: Graph, names: Sequence[str]) -> str:
    """Name sources with their releases, licences and keys."""
    sources = graph.manifest["sources"]
    return "; ".join(
        with_release(sources[n]["title"], sources[n].get("release") or "")
        + f" ({sources[n].get('licence') or 'no licence stated'}) [@{n}]"
        for n in names
    )


def _paragraph(kept: dict[str, Any], parameters: dict[str, Any], software: Sequence[str]) -> str:
    named = {AUTO: "Leiden clusters", CELL: "single cells"}
    groups = named.get(parameters["groupby"], f"the cell sets of {parameters['groupby']!r}")
    asked = "cell" if parameters["groupby"] == CELL else "set"
    ranking, score = str(parameters["ranking"]), str(parameters["score"])
    within = (
        f", ranked within the samples of {parameters['sample_key']!r}" if parameters["sample_key"] else ""
    )
    tissue = ""
    if parameters.get("tissue_types", -1) >= 0:
        where = " ".join(filter(None, (parameters["tissue"], parameters.get("tissue_ontology_term_id"))))
        tissue = f" Cell types that are known in {where} were preferred ({parameters['tissue_types']:,})."
    closed = (
        f" Candidates were restricted to given cell types ({parameters['candidate_types']:,})."
        if parameters["closed"]
        else ""
    )
    left_out = (
        f" Left out: {parameters['exclude_source'].replace('|', ', ')}."
        if parameters["exclude_source"]
        else ""
    )
    model = f" A language model ({kept['llm']['model']}) chose among the candidates." if "llm" in kept else ""
    versions = ", ".join(
        f"{name} {v}" for name, v in kept["versions"].items() if name in (*software, "numpy", "scipy")
    )
    return (
        f"Cell types of {groups} were annotated by gather ({versions}; "
        f"{', '.join(f'[@{n}]' for n in software)}) with the {_graph_of(kept)}. "
        f"Genes were ranked by {_RANKINGS.get(ranking, ranking)}{within}, with "
        f"the values of {parameters['values']}. The first {parameters['top']} of each {asked} were scored against the "
        f"graph's cell types by {_SCORES.get(score, score)}. "
        f"Answers below a confidence of {parameters['threshold']:g} were given as a more general type or as unknown."
        f"{tissue}{closed}{left_out}{model}"
    )


def _software_entries(names: Sequence[str]) -> list[str]:
    text = resource("data", "software.bib").read_text(encoding="utf-8")
    entries = {re.match(r"@\w+\{(\w+),", part)[1]: part for part in text.strip().split("\n\n")}  # type: ignore[index]
    return [entries[name] for name in names]


def _entry(name: str, source: dict[str, Any]) -> str:
    """Return a source as BibTeX; what its citation does not say is left out."""
    citation = str(source.get("citation", ""))
    found, doi = _AUTHORS.match(citation), _DOI.search(citation)
    authors = found["authors"].replace(" et al.", " and others") if found else ""
    if authors and " and others" not in authors:
        authors = f"{{{authors}}}"  # a consortium, not a first and a last name
    notes = [f"{word} {value}" for word in ("release", "licence") if (value := source.get(word))]
    fields = {
        "title": f"{{{source['title']}}}",
        "author": authors,
        "year": found["year"] if found else "",
        "doi": doi[1] if doi else "",
        "url": str(source.get("homepage", "")),
        "note": "; ".join([*notes, *([] if found and ";" not in citation else [citation])]),
    }
    lines = "".join(f",\n  {field} = {{{value}}}" for field, value in fields.items() if value)
    return f"@misc{{{name}{lines}\n}}"
