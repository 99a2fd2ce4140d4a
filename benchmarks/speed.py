"""``python -m benchmarks.speed``: how fast, as ratios within one run.

The published traversal as Cypher in an embedded engine (ladybug) against the same answers from our kernels; how
cost grows; how operators build and load; how fast single cells stream. Timings are of this machine and this
moment: read the ratios.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.published_score import paper_batch
from benchmarks.reach import Walker, in_order
from benchmarks.streaming import streaming
from gather.retrieval.metapaths import walkable_rows
from gather.retrieval.path_matrices import build, operators
from gather.retrieval.query import GeneQuery, rank_weights
from gather.retrieval.scores import Retriever
from gather.retrieval.walks import SHOWN_WALKS, best_walks, evidence_items
from vckg.base.console import err, run
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from gather.retrieval.path_matrices import Operators
    from vckg.graph.graph import Graph

TOP = 15
GENES = 50
SHOWN = 5
"""Candidates of a query that get evidence."""


def real_queries(graph: Graph, data: Path) -> list[GeneQuery]:
    """SC-Arena's 608 sentences as queries."""
    from benchmarks.annotation.data_sets import sentence_questions

    return [q.query for q in sentence_questions(graph, data, top=GENES, ranking="expression") if len(q.query)]


def rows_of(made: Operators, queries: list[GeneQuery]) -> npt.NDArray[np.int32]:
    """Operator rows, padded with -1."""
    padded = np.full((len(queries), GENES), -1, np.int32)
    for i, query in enumerate(queries):
        found = made.rows(query.genes[:GENES])
        padded[i, : len(found)] = found
    return padded


def seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Least wall time of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def agreement(graph: Graph, made: Operators, queries: list[GeneQuery]) -> tuple[int, int]:
    """How many real queries come out in the order of the plain definition, of how many."""
    walker = Walker(graph)
    batch = paper_batch(made.table(2), rows_of(made, queries), top=TOP)
    reach: dict[tuple[int, int], set[int]] = {}

    class Kept(Walker):
        """The definition, with reach sets kept between queries."""

        def __init__(self) -> None:
            self.target = walker.target

        def reach(self, gene: int, hop: int) -> set[int]:
            if (gene, hop) not in reach:
                reach[gene, hop] = walker.reach(gene, hop)
            return reach[gene, hop]

    plain = Kept()
    same = 0
    for i, query in enumerate(queries):
        expected = in_order(plain.paper_scores(query.genes[:GENES].tolist(), hops=2))[:TOP]
        found = [int(made.targets[c]) for c in batch.columns[i] if c >= 0]
        same += expected == found
    return same, len(queries)


class Cypher:
    """The reference's patterns over the same walkable edges in ladybug, one query at a time."""

    PATTERNS = (
        "MATCH (g:N)-[:E]->(c:N) WHERE g.id IN $genes AND c.kind = 1 RETURN g.id, c.id, 1",
        "MATCH (g:N)-[:E]->(x:N)-[:E]->(c:N) "
        "WHERE g.id IN $genes AND x.kind = 0 AND c.kind = 1 RETURN DISTINCT g.id, c.id, 2",
        "MATCH (g:N)-[:E]->(x:N)<-[:E]-(c:N) "
        "WHERE g.id IN $genes AND x.kind = 0 AND c.kind = 1 RETURN DISTINCT g.id, c.id, 2",
    )

    WALKS = (
        "MATCH (g:N)-[:E]->(c:N) WHERE g.id IN $genes AND c.id IN $cells RETURN g.id, c.id",
        "MATCH (g:N)-[:E]->(x:N)-[:E]->(c:N) "
        "WHERE g.id IN $genes AND x.kind = 0 AND c.id IN $cells RETURN g.id, x.id, c.id",
        "MATCH (g:N)-[:E]->(x:N)<-[:E]-(c:N) "
        "WHERE g.id IN $genes AND x.kind = 0 AND c.id IN $cells RETURN g.id, x.id, c.id",
    )

    def __init__(self, graph: Graph, folder: Path) -> None:
        import ladybug
        import pandas as pd

        from gather.retrieval.metapaths import target_named

        kinds = np.zeros(graph.n, np.int64)
        kinds[graph.category == graph.categories.index("Cell")] = 1
        kinds[graph.category == graph.categories.index("Gene")] = 2
        ends = [
            np.stack([graph.subject[rows], graph.object[rows]], axis=1)
            for rows in walkable_rows(graph, target_named("Cell")).values()
        ]
        pairs = np.unique(np.concatenate(ends), axis=0)
        pd.DataFrame({"id": np.arange(graph.n), "kind": kinds}).to_csv(
            folder / "n.csv", index=False, header=False
        )
        pd.DataFrame(pairs).to_csv(folder / "e.csv", index=False, header=False)
        self._connection: Any = ladybug.Connection(ladybug.Database(str(folder / "db")))
        self._connection.execute("CREATE NODE TABLE N(id INT64, kind INT64, PRIMARY KEY(id))")
        self._connection.execute("CREATE REL TABLE E(FROM N TO N)")
        self._connection.execute(f'COPY N FROM "{folder / "n.csv"}"')
        self._connection.execute(f'COPY E FROM "{folder / "e.csv"}"')

    def scores(self, query: GeneQuery) -> dict[int, float]:
        """The published score, reach sets from the engine and the sum as in the reference."""
        genes = query.genes[:GENES].tolist()
        reached: dict[int, dict[int, set[int]]] = {gene: {1: set(), 2: set()} for gene in genes}
        for pattern in self.PATTERNS:
            result = self._connection.execute(pattern, {"genes": genes})
            while result.has_next():
                gene, cell, hop = result.get_next()
                reached[gene][hop].add(cell)
        everything = set().union(*(cells for hops in reached.values() for cells in hops.values()))
        scores: dict[int, float] = {}
        for weight, gene in zip(rank_weights(len(genes)).tolist(), genes, strict=True):
            df = len(reached[gene][1] | reached[gene][2])
            for hop, cells in reached[gene].items():
                for cell in cells:
                    share = weight * float(np.log(len(everything) / df + 1.0)) * 0.5 ** (hop - 1)
                    scores[cell] = scores.get(cell, 0.0) + share
        return scores

    def walks(self, query: GeneQuery, cells: list[int]) -> int:
        """How many walks the patterns return to some cells, inner nodes included, ranked by nothing."""
        found = 0
        for pattern in self.WALKS:
            given = {"genes": query.genes[:GENES].tolist(), "cells": cells}
            result = self._connection.execute(pattern, given)
            while result.has_next():
                result.get_next()
                found += 1
        return found


def triad_bytes_per_s(size: int = 20_000_000) -> float:
    """Memory bandwidth of one thread: ``a = b + s * c`` over arrays beyond the cache, bytes moved a
    second.
    """
    a, b, c = np.zeros(size), np.ones(size), np.ones(size)

    def triad() -> None:
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    return 5 * 8 * size / seconds(triad)


def report(graph: Graph, core: Graph | None, data: Path) -> Iterator[str]:
    """Yield the Markdown of docs/results/speed.md."""
    yield "# Speed of retrieval"
    yield ""
    yield "Printed by `python -m benchmarks.speed --graph FULL --core CORE --data MIRROR`"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    yield f"on {machine}, load average {os.getloadavg()[0]:.1f};"
    yield f"graph {graph.content_hash[:16]}, {graph.n:,} nodes, {graph.m:,} edges. Hops <= 2, {GENES} genes, top {TOP}."
    yield ""
    queries = real_queries(graph, data)
    operators(graph, hops=2)
    load_s = seconds(lambda: operators(graph, hops=2))
    build_s = {hops: seconds(partial(build, graph, hops=hops), repeats=1) for hops in (2, 3)}
    made = operators(graph, hops=2)
    same, asked = agreement(graph, made, queries)
    yield f"- operators, target Cell: build {build_s[2]:.2f} s (3 hops {build_s[3]:.2f} s), load {1000 * load_s:.1f} ms"
    yield f"- the order of the best {TOP} equals the plain definition's on {same} of {asked} real queries"
    yield ""
    yield from _throughput(graph, made, queries)
    yield ""
    yield from _growth(made, queries)
    if core is not None:
        small = operators(core, hops=2)
        mine = rows_of(small, real_queries(core, data))
        mine = mine[np.arange(20_000) % len(mine)]
        per_s = len(mine) / seconds(lambda: paper_batch(small.table(2), mine, top=TOP))
        yield f"| core graph, 20,000 queries | {per_s:,.0f} |"
    yield ""
    yield from streaming(graph, data)


def _throughput(graph: Graph, made: Operators, queries: list[GeneQuery]) -> Iterator[str]:
    real = rows_of(made, queries)
    many = real[np.arange(20_000) % len(real)]
    table = made.table(2)
    paper_batch(table, many[:10], top=TOP)
    few = queries[:10]
    ranked = paper_batch(table, rows_of(made, few), top=TOP).columns
    best = [[int(made.targets[c]) for c in row if c >= 0] for row in ranked]
    with tempfile.TemporaryDirectory(prefix="gather-cypher-") as folder:
        engine = Cypher(graph, Path(folder))
        cypher_s = seconds(lambda: [engine.scores(q) for q in few], repeats=1) / len(few)
        agree = sum(in_order(engine.scores(q))[:TOP] == found for q, found in zip(few, best, strict=True))
        walks_s = cypher_s + seconds(
            lambda: [engine.walks(q, found[:SHOWN]) for q, found in zip(few, best, strict=True)], repeats=1
        ) / len(few)
    paper_batch(
        table, many[:10], top=TOP, engine="numpy"
    )  # lays out its table, as the first call compiled above
    retriever = Retriever(graph, score="paper")
    shown = f"{SHOWN} candidates, {SHOWN_WALKS} walks each"
    per_query = {
        f"Cypher patterns of the reference in ladybug (same order on {agree} of {len(few)})": cypher_s,
        f"the same, and all walks to the best {SHOWN} candidates": walks_s,
        "numpy, one thread": seconds(lambda: paper_batch(table, many[:2000], top=TOP, engine="numpy")) / 2000,
        "compiled, one thread": seconds(lambda: paper_batch(table, many, top=TOP)) / len(many),
        "compiled, two threads": seconds(lambda: paper_batch(table, many, top=TOP, threads=2)) / len(many),
        f"one query, its best walks and their edges as arrays ({shown})": _one_by_one(
            partial(_walks, retriever), queries[:50]
        ),
        f"one query with evidence as shown: names, provenance, p and FDR ({shown})": _one_by_one(
            partial(_evidence, retriever), queries[:50]
        ),
    }
    yield "| way | queries per second | times Cypher | times Cypher with walks |"
    yield "|---|--:|--:|--:|"
    for name, s in per_query.items():
        yield f"| {name} | {1 / s:,.1f} | {cypher_s / s:,.0f} | {walks_s / s:,.0f} |"
    moved = float(table.codes.shape[1] * GENES) / per_query["compiled, one thread"]
    share = moved / triad_bytes_per_s()
    yield ""
    yield f"The compiled kernel reads {moved / 1e9:.1f} GB/s of the table, {share:.0%} of one thread's triad bandwidth."


def _one_by_one(one: Callable[[GeneQuery], object], queries: list[GeneQuery]) -> float:
    one(queries[0])
    return seconds(lambda: [one(q) for q in queries]) / len(queries)


def _walks(retriever: Retriever, query: GeneQuery) -> object:
    found = retriever.scored(query)
    return best_walks(retriever, found, found.best(SHOWN))


def _evidence(retriever: Retriever, query: GeneQuery) -> object:
    found = retriever.converge([query])[0]
    return evidence_items(retriever, found, found.best(SHOWN))


def _growth(made: Operators, queries: list[GeneQuery]) -> Iterator[str]:
    real = rows_of(made, queries)
    yield "| batch | queries per second, two threads |"
    yield "|---|--:|"
    for n in (10, 100, 1_000, 10_000, 100_000, 1_000_000):
        batch = real[np.arange(n) % len(real)]
        work = partial(paper_batch, made.table(2), batch, top=TOP, threads=2)
        s = seconds(work, repeats=1 if n > 1e5 else 3)
        yield f"| {n:,} | {n / s:,.0f} |"


def main() -> None:
    """Entry point of ``python -m benchmarks.speed``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def speed(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and scarena/.")],
        graph: Annotated[Path, typer.Option(help="The full graph's folder.")],
        core: Annotated[Path | None, typer.Option(help="The core graph's folder.")] = None,
    ) -> None:
        """Print the speed table as Markdown."""
        from importlib.util import find_spec

        from vckg.graph.graph import Graph

        if find_spec("ladybug") is None:
            raise InputError("ladybug is not installed; run `pip install 'vckg[bench]'`")
        err().print("measuring; this takes some minutes", highlight=False)
        for line in report(Graph.load(graph), None if core is None else Graph.load(core), data):
            typer.echo(line)

    run(app, "benchmarks.speed")


if __name__ == "__main__":
    main()
