"""``python -m benchmarks.annotation TABLE``: print the tables of scores in `docs/results/` as Markdown."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.annotation.comparison_scores import ALL_SCORES
from benchmarks.annotation.data_sets import (
    LEFT_OUT,
    Question,
    list_questions,
    paper_questions,
    sentence_questions,
    textbook_questions,
)
from benchmarks.annotation.scores import (
    Bench,
    comparison,
    reliability_table,
    retrieval_line,
    table,
)
from benchmarks.annotation.textbook import LISTS
from gather.benchmark.paper_protocol import HOUSEKEEPING, paper_sets
from gather.labelling.decide import Labeller
from gather.labelling.explain import explain
from gather.ontology import Ontology
from gather.retrieval.query import query_genes
from gather.retrieval.scores import Retriever
from vckg.base.console import run
from vckg.base.errors import InputError, did_you_mean
from vckg.build.default_graph import load
from vckg.graph.graph import Graph
from vckg.graph.manifest import graph_label

PUBLISHED_FILTER = re.compile(HOUSEKEEPING, re.IGNORECASE)
"""Genes that the reference retriever ignores; our own list is `data/gene_families.tsv`."""
MIXED_PAIRS = 200
"""Mixtures of two textbook lists that are asked."""
GENES_OF_A_PAIR = 5
"""Genes of each list in a mixture."""
SHORT = (3, 4, 5, 7)
"""Genes of a short list."""
RIGHT = ("exact", "ancestor", "descendant")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def print_table(
    what: Annotated[str, typer.Argument(help="lists, textbook or paper.")],
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and scarena/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
    exclude_source: Annotated[
        list[str] | None, typer.Option("--exclude-source", help="Ignore the edges of this source.")
    ] = None,
    lists_from: Annotated[
        Path | None,
        typer.Option("--lists-from", help="With lists: graph that has the resources, where --graph has not."),
    ] = None,
) -> None:
    """Print one table of docs/results/ as Markdown, with the command that makes it."""
    if what not in TABLES:
        raise InputError(f"no table {what!r}{did_you_mean(what, TABLES)}; one of {', '.join(TABLES)}")
    if lists_from is not None:
        if what != "lists":
            raise InputError("--lists-from goes with the table lists")
        for line in lists(Bench(load(graph), exclude=tuple(exclude_source or ())), data, load(lists_from)):
            typer.echo(line)
        return
    for line in TABLES[what](Bench(load(graph), exclude=tuple(exclude_source or ())), data):
        typer.echo(line)


def _header(title: str, what: str, graph: Graph) -> Iterator[str]:

    yield f"# {title}"
    yield ""
    yield f"Printed by `python -m benchmarks.annotation {what} --graph GRAPH --data MIRROR > docs/results/{what}.md`"
    yield f"on Python {platform.python_version()}, {sys.platform}; {graph_label(graph.manifest)}; {graph.n:,} nodes,"
    yield f"{graph.m:,} edges. Intervals: 95 %, bootstrap over cell sets within data sets."
    yield "Adjusted Lin: 0 is a random candidate, 1 the truth. Relation: exact, above or below the truth."
    yield ""


def reproduction(graph: Graph, data: Path) -> tuple[Bench, list[Question]]:
    """SC-Arena's marker table as a graph, and the sentences through the reference implementation's gene
    filter.
    """
    rows = pd.read_csv(data / "scarena" / "cell_marker.txt", sep="\t", dtype=str).dropna().drop_duplicates()
    rows.columns = ["object", "symbol"]
    symbols = sorted(set(rows["symbol"]))
    grounded = {found.name: found.curie for found in graph.genes.ground(symbols)}
    rows["subject"] = rows["symbol"].map(grounded)
    rows = rows[rows["subject"].notna() & rows["object"].map(lambda c: graph.get(c) is not None)]
    markers = rows[["subject", "object"]].drop_duplicates().assign(relation="is_marker_for", source="scarena")
    span = graph.rows("subclass_of")
    is_cell = graph.category == graph.categories.index("Cell")
    inside = is_cell[graph.subject[span]] & is_cell[graph.object[span]]
    kinds = pd.DataFrame(
        {
            "subject": [graph.ids[i] for i in graph.subject[span][inside].tolist()],
            "object": [graph.ids[i] for i in graph.object[span][inside].tolist()],
            "relation": "subclass_of",
            "source": "cl",
        }
    )
    genes = sorted(set(markers["subject"]))
    nodes = [
        (c, "Gene", graph.names[graph.index(c)], list(graph.node(graph.index(c)).synonyms)) for c in genes
    ]
    nodes += [(graph.ids[i], "Cell", graph.names[i], []) for i in graph.nodes_of("Cell").tolist()]
    frame = pd.DataFrame(nodes, columns=["id", "category", "name", "synonyms"])
    small = Graph.from_frames(frame, pd.concat([markers, kinds], ignore_index=True))
    lines = (data / "scarena" / "cell_sentences_fixed.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line)["cell_sentence"].split() for line in lines if line.strip()]
    questions = []
    for question, sentence in zip(sentence_questions(graph, data), sentences, strict=True):
        kept = [gene for gene in sentence if not PUBLISHED_FILTER.search(gene)]
        questions.append(replace(question, query=query_genes(small, kept, keep_technical=True)))
    return Bench(small), questions


def lists(bench: Bench, data: Path, resources: Graph | None = None) -> Iterator[str]:
    """Marker lists of resources that cover many tissues, each asked of the graph without that resource.

    `resources` is the graph that has them, `bench.graph` by default.
    """
    del data
    resources = resources or bench.graph
    yield from _header("Marker lists of other tissues, open set", "lists", bench.graph)
    yield "Each list of at least 15 genes of one resource is asked of the graph without that resource; the truth is the"
    yield "type it stands under. They come from cells of all tissues; the genes of a list weigh the same."
    if resources is not bench.graph:
        yield f"The lists are read from {graph_label(resources.manifest)} (`--lists-from`)."
    yield ""
    for source in LEFT_OUT:
        own = (source,) if source in bench.graph.sources else ()
        without = Bench(bench.graph, exclude=(*bench.exclude, *own))
        questions = list_questions(resources, source, bench.graph)
        rows = [
            without.judge.score(score, questions, without.best(score, questions))
            for score in ("calibrated", "paper", "hypergeometric")
        ]
        labelled = without.judge.score("calibrated, labelled", questions, without.labelled(questions))
        yield f"## {source.partition(':')[2]}"
        yield ""
        yield from table([*rows, labelled])
        yield ""
        yield from (f"- {retrieval_line(row, without.ontology)}" for row in rows)
        yield ""
        yield from reliability_table(labelled)
        yield ""


def textbook(bench: Bench, data: Path) -> Iterator[str]:
    """Marker lists from textbooks: the scores, and what is answered where it is not the type itself."""
    del data
    yield from _header("Textbook marker lists, open set", "textbook", bench.graph)
    yield "Of every list that is not answered by its own type: the first candidate, how it stands to the type, the"
    yield "status of the answer, and the place of the type among the candidates (- beyond 15)."
    yield ""
    questions = textbook_questions(bench.graph)
    labelled = bench.labelled(questions)
    rows = [
        bench.judge.score(score, questions, bench.best(score, questions))
        for score in ("calibrated", "paper", "hypergeometric")
    ]
    yield from table([*rows, bench.judge.score("calibrated, labelled", questions, labelled)])
    yield ""
    yield "| list | type | first candidate | is | status | place |"
    yield "|---|---|---|---|---|--:|"
    terms = bench.ontology
    for question, answer in zip(questions, labelled, strict=True):
        truth, first = (terms.position(c) for c in (question.truth, answer.ranked[0]))
        if terms.same(first, truth):
            continue
        same = [terms.same(terms.position(c), truth) for c in answer.ranked]
        place = str(same.index(True) + 1) if any(same) else "-"
        said = (question.cell_set.name, terms.names[truth], terms.names[first], terms.relation(first, truth))
        yield f"| {' | '.join((*said, answer.status, place))} |"
    yield ""
    yield from two_types(bench.graph)
    yield ""
    yield from short_lists(bench.graph)


def short_lists(graph: Graph) -> Iterator[str]:
    """How sure and how right answers to a few genes are: each list's first ones, and two draws of its first ten."""
    retriever, rng = Retriever(graph), np.random.default_rng(0)
    ontology = Ontology.of_cells(graph)
    labeller = Labeller(ontology)
    yield "Of each list its first genes, and two draws of its first ten:"
    yield ""
    yield "| genes | lists | answered | mean confidence | right | right from .85 on | below .85 |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for size in SHORT:
        found = []
        for curie, _, genes in LISTS:
            ten = genes.split()[:10]
            for asked in (ten[:size], *(rng.permutation(ten)[:size].tolist() for _ in range(2))):
                query = query_genes(graph, asked, keep_technical=True)
                said = labeller.decide(retriever.converge([query])[0], retriever.support(query))
                relation = ontology.relation(*map(ontology.position, (said.curie or curie, curie)))
                found.append((bool(said.curie), said.confidence, relation in RIGHT))
        answered = np.array([(sure, right) for named, sure, right in found if named])
        sure = answered[:, 0] >= 0.85
        shares = (
            len(answered) / len(found),
            *answered.mean(0),
            answered[sure, 1].mean(),
            answered[~sure, 1].mean(),
        )
        yield f"| {size} | {len(found)} | {' | '.join(f'{x:.2f}' for x in shares)} |"


def two_types(graph: Graph) -> Iterator[str]:
    """How often `gather explain` asks about two cell types, of single lists and of pairs of lists in one."""
    retriever, rng = Retriever(graph), np.random.default_rng(0)
    ontology = Ontology.of_cells(graph)
    asked = [bool(explain(genes, retriever=retriever).two_types) for _, _, genes in LISTS]
    at = [ontology.position(curie) for curie, _, _ in LISTS]
    lineages = [ontology.lineage(i) for i in at]
    pairs: list[tuple[int, int]] = []
    while len(pairs) < MIXED_PAIRS:
        a, b = rng.choice(len(LISTS), 2, replace=False).tolist()
        if None not in (lineages[a], lineages[b]) and lineages[a] != lineages[b]:
            pairs.append((a, b))
    found = both = 0
    for a, b in pairs:
        parts = [LISTS[i][2].split()[:GENES_OF_A_PAIR] for i in (a, b)]
        voices = explain([g for two in zip(*parts, strict=True) for g in two], retriever=retriever).two_types
        named = {ontology.lineage(ontology.position(voice.curie)) for voice in voices}
        found, both = found + bool(voices), both + (named == {lineages[a], lineages[b]})
    yield f"`gather explain` asks *two cell types?* of {sum(asked)} of the {len(LISTS)} lists. It asks of {found} of"
    yield f"{len(pairs)} mixtures, the first {GENES_OF_A_PAIR} genes of two lists of different lineages by turns; of"
    yield f"{both} both lineages are right."


def paper(bench: Bench, data: Path) -> Iterator[str]:
    """Print the paper's two closed lists on one real cell of each candidate, without a language model."""
    yield from _header("The paper's closed lists on SC-Arena's cells, no LLM", "paper", bench.graph)
    yield "One SC-Arena sentence of each of the 34 and 30 official candidates, 50 genes, closed list: a stand-in"
    yield "for the paper's own cells (`gather data`). Half of these sentences took part in the choice of the default"
    yield "score, so its rows are no held-out result. The paper prints exact accuracy with a language model, on its"
    yield "own cells."
    yield ""
    for name, facts in paper_sets().items():
        questions = paper_questions(bench.graph, data, name)
        answers = {score: bench.best(score, questions, closed=True) for score in ALL_SCORES}
        answers["paper, hop 1"] = bench.best("paper", questions, hops=1, closed=True)
        rows = [bench.judge.score(score, questions, a, closed=True) for score, a in answers.items()]
        yield f"## {name.capitalize()}, {len(facts.candidates)} candidates"
        yield ""
        yield from table(rows)
        yield f"| the paper, with a language model | closed | | {facts.printed_exact:.4f} | | | |"
        yield ""
        yield "Paired differences over the same cells, with permutation p:"
        yield ""
        yield from comparison(rows[0], rows[1:])
        yield ""
        yield from (f"- {retrieval_line(row, bench.ontology)}" for row in rows)
        yield ""


TABLES: dict[str, Callable[[Bench, Path], Iterator[str]]] = {
    "lists": lists,
    "textbook": textbook,
    "paper": paper,
}

if __name__ == "__main__":
    run(app, "benchmarks.annotation")
