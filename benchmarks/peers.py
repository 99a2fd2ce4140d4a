"""``make bench-annotate``: ours and its peers side by side, on the same cell sets, candidates and metrics.

Peers come from PyPI by the extra ``bench`` (decoupler, celltypepilot); ScType's formula is written out here,
because the package is R. The marker-list methods (ScType's formula, decoupler's ulm, scanpy's score_genes) get
the same markers: the graph's, of at least two resources, the strongest `LIST` of each type, in the open set
those of every type that has a list. celltypepilot brings its own atlas and takes a tissue; where its answer has
no CL id it counts as wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.annotation.data_sets import Question, file_questions, groups_of, read_sets
from benchmarks.annotation.scores import METRICS, Answer, Bench, Scored, by_data_set, comparison, table
from gather.cells.expression import Expression, read_expression
from gather.cells.file import open_h5ad
from vckg.base.console import err, run
from vckg.base.errors import InputError

Floats = npt.NDArray[np.float64]
LIST = 50
MIN_LIST = 3
MIN_RESOURCES = 2
TISSUE = {"pbmc68k": "blood", "pbmc3k": "blood", "kang": "blood", "pancreas": "pancreas"}


def marker_lists(bench: Bench, expression: Expression, closed: Sequence[str] | None) -> dict[str, list[int]]:
    """Panel columns of each type's strongest measured markers, by CURIE."""
    weights = bench.retriever("calibrated", None).weights
    direct, resources = weights.direct.tocsc(), weights.resources.tocsc()
    column_of = {int(node): i for i, node in enumerate(expression.panel.nodes) if node >= 0}
    wanted = set(closed) if closed is not None else None
    lists: dict[str, list[int]] = {}
    for column, node in enumerate(weights.nodes.tolist()):
        curie = bench.graph.ids[node]
        if wanted is not None and curie not in wanted:
            continue
        span = slice(int(direct.indptr[column]), int(direct.indptr[column + 1]))
        genes, weight = direct.indices[span], direct.data[span]
        good = [
            (float(-w), int(g))
            for g, w, r in zip(genes, weight, resources.data[span], strict=True)
            if r >= MIN_RESOURCES and int(g) in column_of
        ]
        if len(good) >= MIN_LIST or (wanted is not None and good):
            lists[curie] = [column_of[gene] for _, gene in sorted(good)[:LIST]]
    return lists


def sctype(dense: Floats, lists: dict[str, list[int]]) -> Floats:
    """ScType's score of every cell for every type, float64[cells, types] (Ianevski et al., Nat Commun 2022).

    Genes are z-scaled, weighted by how few lists name them (1 for one list, 0 for all), and a type's score is
    the sum over its markers divided by the square root of their number.
    """
    spread = dense.std(axis=0)
    scaled = (dense - dense.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    named = np.bincount([g for genes in lists.values() for g in genes], minlength=dense.shape[1]).astype(
        float
    )
    most, least = named.max(), max(named[named > 0].min(initial=1.0), 1.0)
    sensitivity = np.ones(dense.shape[1]) if most == least else (most - named) / (most - least)
    return np.stack(
        [
            (scaled[:, genes] * sensitivity[genes]).sum(axis=1) / np.sqrt(len(genes))
            for genes in lists.values()
        ],
        axis=1,
    )


def ulm(dense: Floats, lists: dict[str, list[int]]) -> Floats:
    """Scores by decoupler's univariate linear model, float64[cells, types]."""
    import decoupler
    import pandas as pd

    net = pd.DataFrame(
        [(curie, str(g), 1.0) for curie, genes in lists.items() for g in genes],
        columns=["source", "target", "weight"],
    )
    frame = pd.DataFrame(dense, columns=[str(i) for i in range(dense.shape[1])])
    frame.index = frame.index.astype(str)
    found, _p = decoupler.mt.ulm(frame, net, tmin=1, verbose=False)
    return np.asarray(found.reindex(columns=list(lists)).fillna(-np.inf), dtype=np.float64)


def score_genes(dense: Floats, lists: dict[str, list[int]]) -> Floats:
    """Scores by scanpy's score_genes in its plain form: mean of the markers minus mean of all genes,
    float64[cells, types].
    """
    background = dense.mean(axis=1)
    return np.stack([dense[:, genes].mean(axis=1) - background for genes in lists.values()], axis=1)


MarkerMethod = Callable[[Floats, dict[str, list[int]]], Floats]
PEERS: dict[str, MarkerMethod] = {
    "ScType's formula": sctype,
    "decoupler ulm": ulm,
    "scanpy score_genes (mean minus background)": score_genes,
}


def peer_answers(
    bench: Bench, questions: Sequence[Question], data: Path, method: MarkerMethod, *, closed: bool
) -> list[Answer]:
    """Answer every cell set with the type of greatest mean score over its cells (ScType sums; the order is
    the same).
    """
    found: dict[tuple[str, str, str], Answer] = {}
    for row in read_sets():
        mine = [q for q in questions if q.data_set == row["name"]]
        if not mine:
            continue
        adata = open_h5ad(data / "h5ad" / row["file"])
        expression = read_expression(adata, bench.graph)
        lists = marker_lists(bench, expression, mine[0].closed if closed else None)
        matrix: Any = expression.matrix
        dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = method(dense, lists)
        curies = np.array(list(lists))
        for mode, groups in groups_of(adata, expression, row).items():
            for q in (q for q in mine if q.mode == mode):
                mean = scores[groups == q.cell_set.name].mean(axis=0)
                ranked = tuple(curies[np.lexsort((curies, -mean))[:15]].tolist())
                found[q.data_set, mode, q.cell_set.name] = Answer(ranked, ranked[0], 1.0)
    return [found[q.data_set, q.mode, q.cell_set.name] for q in questions]


def celltypepilot_answers(bench: Bench, questions: Sequence[Question], data: Path) -> list[Answer]:
    """Answer with celltypepilot's command, a tissue given; its ids and labels are grounded as ours are."""
    found: dict[tuple[str, str, str], str] = {}
    for row in read_sets():
        mine = [q for q in questions if q.data_set == row["name"]]
        if not mine:
            continue
        adata = open_h5ad(data / "h5ad" / row["file"])
        expression = read_expression(adata, bench.graph)
        for mode, groups in groups_of(adata, expression, row).items():
            labels = _run_celltypepilot(expression, groups, TISSUE.get(row["name"], ""))
            for group, said in labels.items():
                grounded = bench.graph.cells.ground([said])[0].curie or ""
                found[row["name"], mode, group] = grounded
    return [_single(found.get((q.data_set, q.mode, q.cell_set.name), "")) for q in questions]


def _single(curie: str) -> Answer:
    return Answer((curie,) if curie else (), curie, 1.0)


def _run_celltypepilot(expression: Expression, groups: npt.NDArray[Any], tissue: str) -> dict[str, str]:
    """Its label or CL id of every group; an empty dictionary where it fails."""
    import anndata as ad
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="gather-bench-") as folder:
        inside = np.flatnonzero(groups != "")
        obs = pd.DataFrame({"cluster": pd.Categorical(groups[inside].astype(str))}, index=inside.astype(str))
        names = pd.DataFrame(index=list(expression.panel.names))
        matrix: Any = expression.matrix
        adata = ad.AnnData(X=matrix[inside].copy(), obs=obs, var=names)
        adata.var_names_make_unique()
        adata.write_h5ad(Path(folder) / "in.h5ad")
        command = [
            sys.executable,
            "-m",
            "celltypepilot",
            "annotate",
            "-i",
            f"{folder}/in.h5ad",
            "-k",
            "cluster",
        ]
        command += ["-s", "human", "-o", f"{folder}/out", "--no-figures"] + (["-t", tissue] if tissue else [])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            err().print(f"celltypepilot failed: {done.stderr.strip().splitlines()[-1:]}", markup=False)
            return {}
        return _celltypepilot_labels(Path(folder) / "out")


def _celltypepilot_labels(folder: Path) -> dict[str, str]:
    """Group -> CL id or label from the JSON it writes."""
    labels: dict[str, str] = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        for entry in _entries(value):
            group = entry.get("cluster_id", entry.get("cluster"))
            said = (
                entry.get("cl_id")
                or entry.get("predicted_label")
                or entry.get("cell_type")
                or entry.get("label")
            )
            if group is not None and said and str(group) not in labels:
                labels[str(group)] = str(said)
    return labels


def _entries(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        nested = [entry for inner in value.values() for entry in _entries(inner)]
        return [value, *nested] if "cluster_id" in value or "cluster" in value else nested
    if isinstance(value, list):
        return [entry for inner in value for entry in _entries(inner)]
    return []


def side_by_side(bench: Bench, data: Path) -> list[str]:
    """Return the Markdown of all methods on label groups and clusters, open and closed."""
    questions = [q for q in file_questions(bench.graph, data) if q.role in ("development", "vote")]
    scored: dict[bool, list[Scored]] = {}
    for closed in (False, True):
        rows = [
            bench.judge.score(s, questions, bench.best(s, questions, closed=closed), closed=closed)
            for s in ("calibrated", "paper")
        ]
        for name, method in PEERS.items():
            answers = peer_answers(bench, questions, data, method, closed=closed)
            rows.append(bench.judge.score(name, questions, answers, closed=closed))
        if not closed:
            rows.append(
                bench.judge.score("celltypepilot", questions, celltypepilot_answers(bench, questions, data))
            )
        scored[closed] = rows
    lines = ["# Ours and peers, the same cell sets", ""]
    lines += [
        "Printed by `make bench-annotate` (`python -m benchmarks.peers --graph FULL --data MIRROR`).",
        "",
    ]
    lines += [
        f"Graph {bench.graph.content_hash[:16]}. Macro means over pbmc68k, pbmc3k, Kang, pancreas.",
        "",
    ]
    for mode in ("label groups", "clusters"):
        parts = {c: [r.part(mode=mode) for r in rows] for c, rows in scored.items()}
        lines += [f"## {mode.capitalize()}", "", *table([*parts[False], *parts[True]]), ""]
        for closed in (False, True):
            lines += [f"Paired differences, {'closed' if closed else 'open'} set, with permutation p:", ""]
            lines += [
                *comparison(parts[closed][0], parts[closed][1:], METRICS[:1] if closed else METRICS),
                "",
            ]
    lines += ["## Each data set, open set", "", *by_data_set(scored[False])]
    return lines


def main() -> None:
    """Entry point of ``python -m benchmarks.peers``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def bench_annotate(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ in it.")],
        graph: Annotated[Path | None, typer.Option(help="Graph folder.")] = None,
    ) -> None:
        """Print the table of ours and peers as Markdown."""
        from importlib.util import find_spec

        import vckg

        missing = [name for name in ("decoupler", "celltypepilot") if find_spec(name) is None]
        if missing:
            raise InputError(f"{missing[0]} is not installed; run `pip install 'vckg[bench]'`")
        for line in side_by_side(Bench(vckg.load(graph)), data):
            typer.echo(line)

    run(app, "benchmarks.peers")


if __name__ == "__main__":
    main()
