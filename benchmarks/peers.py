"""``make bench-annotate``: celltypepilot beside ours, on the same cell sets and with the same metrics.

`gather benchmark suite` compares the methods that take a marker list (ScType's formula, ulm, hypergeometric) on the
graph's markers. celltypepilot (PyPI, extra ``bench``) takes no list of ours: it brings its own atlas and is told the
tissue of each file; ours is asked without it and with it (``--tissue``). Its atlas refuses breast and bone marrow, so
that these files are left out. Its answer is its first candidate by marker evidence, whether or not it abstains, as ours
is the best candidate.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from gather.benchmark.suite import BEST, METRICS, RANKED, Said, Suite, Unit, by_group, over_groups, select
from gather.benchmark.suite_data import Block, label_column, label_maps
from gather.benchmark.suite_data import suite as blocks_of
from gather.cells.adata import cell_groups
from gather.cells.expression import Expression, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO
from gather.labelling.decide import Labeller
from gather.metrics.labels import paired_permutation
from gather.metrics.multiple_testing import holm
from gather.retrieval.candidates import types_of_tissue
from gather.retrieval.query import make_query
from gather.retrieval.scores import Retriever
from vckg.base.atomic import write_text
from vckg.base.console import out, run
from vckg.base.errors import InputError
from vckg.base.resources import default_cache

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

TISSUES = {
    "pbmc68k_reduced": "blood", "pbmc3k_clustifyr_2000hvg": "blood", "pbmc_kang18_ifnb_muscat": "blood",
    "pancreas_wang2016_scclassify": "pancreas",
}  # fmt: skip
PEER, TOLD = "celltypepilot", "best candidate, tissue named"
TESTED = METRICS[:4]


def answers(expression: Expression, groups: list[str], tissue: str) -> dict[str, list[str]]:
    """Return celltypepilot's candidates for every group, CL ids or labels, best first; a failure of it is an error."""
    import anndata as ad
    import pandas as pd

    inside = np.flatnonzero(np.asarray(groups, dtype=object) != "")
    obs = pd.DataFrame({"cluster": pd.Categorical([groups[i] for i in inside])}, index=inside.astype(str))
    matrix: Any = expression.matrix
    adata = ad.AnnData(X=matrix[inside].copy(), obs=obs, var=pd.DataFrame(index=list(expression.panel.names)))
    adata.var_names_make_unique()
    with tempfile.TemporaryDirectory(prefix="gather-bench-") as folder:
        adata.write_h5ad(Path(folder) / "in.h5ad")
        command = [sys.executable, "-m", PEER, "annotate", "-i", f"{folder}/in.h5ad", "-k", "cluster"]
        command += ["-s", "human", "-t", tissue, "-o", f"{folder}/out", "--no-figures"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{PEER} failed: {done.stdout[-200:]}{done.stderr[-200:]}; pip install {PEER}")
        return _ranked(Path(folder) / "out" / "backend_candidates.csv")


def _ranked(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["backend"] == "marker_evidence"]
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: int(row["rank"])):
        found.setdefault(row["cluster"], []).append(row["canonical_cl_id"] or row["canonical_cell_type"])
    return found


def told(graph: Graph, suite: Suite, block: Block, tissue: str) -> list[Said]:
    """Return our best candidates of every set of a block where the tissue is named."""
    panel, preferred = suite.panel(block), types_of_tissue(graph, tissue)
    retriever = Retriever(graph, panel=panel, preferred=preferred, weights=suite.base.weights)
    labeller, answered = Labeller(suite.ontology), []
    for cell_set in suite.cell_sets(block):
        best = labeller.best(retriever.scored(make_query(panel, cell_set)), RANKED)
        terms = tuple(graph.ids[node] for node in retriever.nodes[best].tolist())
        answered.append(Said(terms, next(iter(terms), "")))
    return answered


def units(graph: Graph, suite: Suite, blocks: Sequence[Block], path: Path, tissue: str) -> list[Unit]:
    """Return the units of ours and of the peer on the label groups and the clusters of one file."""
    adata = open_h5ad(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expression = read_expression(adata, graph)
        column = label_column(adata.obs, label_maps(path.parents[1])[path.stem])
        clusters = "louvain" if "louvain" in adata.obs else AUTO
        groups = {
            "label groups": adata.obs[column].astype(str).tolist(),
            "clusters": np.asarray(cell_groups(adata, expression, clusters, 0)).astype(str).tolist(),
        }
    made = suite.measure(blocks, others=False)
    for block in blocks:
        said = answers(expression, groups[block.mode], tissue)
        grounded = [[g.curie or "" for g in graph.cells.ground(said.get(name, []))] for name in block.names]
        ranked = [Said(tuple(curies), next(iter(curies), "")) for curies in grounded]
        made += suite.units(block, ranked, PEER, False)
        made += suite.units(block, told(graph, suite, block, tissue), TOLD, False)
    return made


def page(graph: Graph, found: Sequence[Unit]) -> Iterator[str]:
    """Yield the results page."""
    yield f"# Ours and {PEER}, the same cell sets"
    yield ""
    yield "`python -m benchmarks.peers --graph GRAPH --data MIRROR` (`make bench-annotate`) prints this page."
    yield ""
    yield from (__doc__ or "").split("\n\n", 1)[1].strip().splitlines()
    yield f"Files: {', '.join(f'{name} ({tissue})' for name, tissue in TISSUES.items())}."
    yield ""
    yield f"Graph {graph.content_hash[:12]}, open set. Means over files with 95 % intervals (bootstrap over files);"
    yield "p: sign flips over cell sets within files, adjusted by Holm over this table."
    yield ""
    yield f"| mode | method | sets | {' | '.join(TESTED)} |"
    yield "|---|---|--:|" + "---|" * len(TESTED)
    tests = []
    for mode in ("label groups", "clusters"):
        sides = [select(found, method=method, mode=mode) for method in (BEST, PEER)]
        for side in (sides[0], select(found, method=TOLD, mode=mode), sides[1]):
            intervals = over_groups(np.array(list(by_group(side).values())))[: len(TESTED)]
            cells = " | ".join(f"{i.value:.2f} [{i.low:.2f}, {i.high:.2f}]" for i in intervals)
            yield f"| {mode} | {side[0].method} | {len(side)} | {cells} |"
        for k, metric in enumerate(TESTED):
            pairs = [(a, b) for a, b in zip(*sides, strict=True) if not np.isnan(a.values[k])]
            ours, theirs = ([u.values[k] for u in side] for side in zip(*pairs, strict=True))
            p = paired_permutation(ours, theirs, strata=[a.group for a, _ in pairs], replicates=2000)
            tests.append((mode, metric, p))
    yield ""
    adjusted = holm([p for *_, p in tests])
    shown = [f"{mode}, {metric}: {p:.2g}" for (mode, metric, _), p in zip(tests, adjusted, strict=True)]
    yield f"Adjusted p of ours (no tissue named) minus {PEER}: {'; '.join(shown)}."


def main() -> None:
    """Entry point of ``python -m benchmarks.peers``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def compare(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and h5ad_more/.")],
        graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
        output: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
    ) -> None:
        """Ask both about the label groups and the clusters of four files, and print one table."""
        from vckg.build.default_graph import load

        loaded = load(graph)
        suite, found = Suite(loaded), []
        every = blocks_of(loaded, data, default_cache())
        for name, tissue in TISSUES.items():
            path = next(data.glob(f"h5ad*/{name}.h5ad"))
            blocks = [b for b in every if b.study == name and b.mode in ("label groups", "clusters")]
            found += units(loaded, suite, blocks, path, tissue)
        text = "\n".join(page(loaded, found)) + "\n"
        if output is None:
            out().print(text, markup=False, highlight=False)
        else:
            write_text(output, text)

    run(app, "benchmarks.peers")


if __name__ == "__main__":
    main()
