"""Tables of markers per cluster, as Seurat, presto, scanpy and people write them: without cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gather.inputs.conserved import as_one_test, conditions_of
from gather.inputs.marker_columns import columns_of, plain, wanted_columns
from gather.inputs.text import (
    head_of_text,
    header_of,
    open_text,
    rows_of,
    separator_of,
    with_decimal_points,
    writes_decimal_commas,
)
from vckg.base.errors import InputError, did_you_mean, first_line
from vckg.base.words import natural_order

if TYPE_CHECKING:
    import pandas as pd

MAX_LOG2FC = 5.0
_LEAST_BACKGROUND = 100


@dataclass(frozen=True)
class MarkerTable:
    """Ranked genes of each cluster.

    Attributes
    ----------
    genes
        Genes of each cluster, best first.
    strengths
        What they are ranked by, descending; empty where only the order is known.
    form
        What kind of table it is, in words.
    used
        Which column gave what, in words; empty where there are no columns.
    background
        The genes that were measured, where the table itself says it; None where it does not.
    fractions
        Which fraction of each cluster's cells expresses each listed gene, a row a gene; None where the table does not
        say.
    """

    genes: dict[str, tuple[str, ...]]
    strengths: dict[str, tuple[float, ...]]
    form: str
    used: str = ""
    background: tuple[str, ...] | None = None
    fractions: pd.DataFrame | None = None


def is_marker_table(head: str) -> bool:
    """Whether a text holds markers: columns of a marker test, a list per cluster, or words where numbers would be."""
    found = columns_of(header_of(head))
    fold = {"fold", "natural fold"} & found.keys()
    if "gene" in found and ("cluster" in found or fold or len(found) > 2):
        return True
    if fold and "p" in found:
        return True  # of one cluster, the genes as row names
    return bool(conditions_of(header_of(head))) or _is_wide(head) or _is_listed(head)


def _fields(head: str) -> list[list[str]]:
    """Fields of the lines after the first, at most 20."""
    import csv

    lines = [line for line in head.splitlines() if line.strip()][1:21]
    rows = list(csv.reader(lines, delimiter=separator_of(head)))
    if not writes_decimal_commas(head):
        return rows
    return [[with_decimal_points(field) for field in row] for row in rows]


def _is_word(field: str) -> bool:
    try:
        float(field or "0")
    except ValueError:
        return True
    return False


def _is_blank(field: str) -> bool:
    return field.strip().lower() in ("", "na", "nan")


def _is_wide(head: str) -> bool:
    """Whether the columns are clusters and their fields genes, as scanpy's ``names`` are; short columns end early.

    Columns of numbers may stand between them where they are named after a cluster: ``0_n``, ``0_p``, ``1_n``, ``1_p``.
    """
    rows, header = _fields(head), header_of(head)
    columns = {
        i: [row[i] for row in rows if len(row) > i and not _is_blank(row[i])]
        for i in range(1, max(map(len, rows), default=0))
    }
    words = {i: fields for i, fields in columns.items() if fields and all(map(_is_word, fields))}
    numbers = [i for i, fields in columns.items() if fields and i not in words]
    lists = [field for fields in words.values() for field in fields]
    if len(rows) < 3 or len(lists) < 3 or any("," in field for field in lists):
        return False
    if not numbers:
        return True
    named = dict(enumerate(header))
    stems = tuple(name.rpartition("_")[0] + "_" for i, name in named.items()
                  if i in words and name.endswith(("_n", "_names")))  # fmt: skip
    return all(named.get(i, "").startswith(stems) for i in numbers)


def _is_listed(head: str) -> bool:
    """Whether a line holds a cluster and its genes in one field: ``0,"CD3D, CD3E"`` or ``0: CD3D, CD3E``."""
    lines = [line for line in head.splitlines() if line.strip()]
    quoted = any(len(r) == 2 or "," in r[-1] for r in _fields(head) if len(r) > 1 and _is_list(r[-1]))
    return quoted or all("\t" not in line and _is_list(line.partition(":")[2]) for line in lines[:20])


def _is_list(text: str) -> bool:
    """Whether a field holds several genes: two with a comma or a semicolon, or three words."""
    return len(_genes_in(text)) > (1 if re.search("[,;]", text) else 2) and _is_word(text)


def read_marker_table(path: Path, groupby: str | None = None) -> MarkerTable:
    """Read a table of markers; `groupby` names its column of clusters.

    Raises
    ------
    InputError
        No such column, no cluster, no gene, or a column that should hold numbers holds words.
    """
    head = head_of_text(path)
    header = header_of(head)
    if groupby is not None and "gene" not in columns_of(header):
        raise InputError(f"{path}: --groupby needs a gene in each row; {wanted_columns(header)}")
    if groupby is not None and groupby not in header:
        names = [name for name in header if name]
        raise InputError(
            f"{path}: no column {groupby!r}{did_you_mean(groupby, names)}; its columns are {', '.join(names)}"
        )
    if path.name.removesuffix(".gz").endswith(".gmt"):
        return listed(path, "GMT", _gmt_lines(path))
    if conditions := conditions_of(header):
        table = table_of_frame(as_one_test(_read(path, head, groupby), conditions), where=str(path))
        where = f"the least of {', '.join(conditions)}" if len(conditions) > 1 else conditions[0]
        return replace(table, form=f"Seurat FindConservedMarkers ({where})")
    if columns_of(header).keys() & {"gene", "fold", "natural fold"}:
        frame = _read(path, head, groupby)
        if frame[columns_of(header).get("gene", frame.columns[0])].head(5).map(_is_list).any():
            return listed(path, "list of genes per cluster", _cells_with_lists(frame))
        return table_of_frame(frame, where=str(path))
    if _is_listed(head):
        return listed(path, "list of genes per cluster", _lines_with_lists(path, head))
    return _wide(path, head)


def _read(path: Path, head: str, groupby: str | None = None) -> pd.DataFrame:
    """Read a table as text, field by field; its column `groupby` becomes the one of clusters."""
    import pandas as pd

    try:
        with open_text(path) as file:
            frame = pd.read_csv(file, sep=separator_of(head), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: is no table ({first_line(error)})") from error
    if groupby is not None:
        if columns_of([groupby]).keys() - {"cluster"}:
            raise InputError(f"{path}: {groupby!r} is a column of genes or of measurements, no clusters")
        named = frame.rename(columns=str.strip)
        others = [c for c in named.columns if "cluster" in columns_of([c]) and c != groupby]
        frame = named.drop(columns=others).rename(columns={groupby: "cluster"})
    return frame.map(with_decimal_points) if writes_decimal_commas(head) else frame


Lists = Iterable[tuple[str, Iterable[str]]]
"""Names of clusters with their genes; a name that stands twice is one cluster."""


def _gmt_lines(path: Path) -> Lists:
    with open_text(path) as file:
        rows = [line.rstrip("\r\n").split("\t") for line in file if line.strip()]
    return [(row[0], row[2:]) for row in rows if len(row) > 2]


def _cells_with_lists(frame: pd.DataFrame) -> Lists:
    found = columns_of(list(frame.columns))
    clusters = frame[found.get("cluster", str(frame.columns[0]))]
    return zip(clusters.astype(str), map(_genes_in, frame[found["gene"]].astype(str)), strict=True)


def _genes_in(text: str) -> list[str]:
    """Part a field that holds several genes at commas, semicolons and blanks."""
    return re.split(r"[,;|\s]+", text.strip())


def _lines_with_lists(path: Path, head: str) -> Lists:
    with open_text(path) as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    if all(":" in line for line in lines):
        return [(line.partition(":")[0], _genes_in(line.partition(":")[2])) for line in lines]
    rows = rows_of(path, lines, separator_of(head))
    return [(row[-2], _genes_in(row[-1])) for row in rows[1:] if len(row) >= 2]


def listed(path: Path, form: str, lists: Lists) -> MarkerTable:
    """Return the genes of each cluster as they stand; clusters without genes are left out and told in the form."""
    found: dict[str, dict[str, None]] = {}
    for name, genes in lists:
        found.setdefault(name.strip(), {}).update(dict.fromkeys(g.strip() for g in genes if g.strip()))
    clean = {name: tuple(found[name]) for name in sorted(found, key=natural_order) if found[name]}
    if not clean:
        raise InputError(f"{path}: holds no cluster with genes; wanted a name and its genes in each line")
    empty = [name for name in found if name and not found[name]]
    return MarkerTable(clean, {}, form + f" (left out, without genes: {', '.join(empty)})" * bool(empty))


def _wide(path: Path, head: str) -> MarkerTable:
    """Read a table whose columns are clusters; a column of row numbers and columns of p-values are left out."""
    kept = {c: [f for f in fields if not _is_blank(f)] for c, fields in _read(path, head).items()}
    words = {str(c): fields for c, fields in kept.items() if all(map(_is_word, fields))}
    short = all(name.endswith(("_n", "_names")) for name in words)
    lists = {name.rpartition("_")[0] if short else name: fields for name, fields in words.items()}
    return listed(path, "genes by rank, one column a cluster", lists.items())


def table_of_frame(frame: pd.DataFrame, *, where: str) -> MarkerTable:
    """Rank the genes of a long table: one row a cluster and gene.

    Genes are ordered as for cells: ``min(log2 fold change, 5) * fraction of the set's cells``, where both are there;
    else by score, by fold change, by p-value, or as they stand. Genes that are less than elsewhere are left out.
    """
    import numpy as np
    import pandas as pd

    if frame.empty:
        raise InputError(f"{where}: has names of columns and no rows")
    found = columns_of([str(name) for name in frame.columns])
    first = str(frame.columns[0])
    genes = frame[found.get("gene", first)].astype(str).str.strip()
    if "gene" not in found and (first in found.values() or genes.str.isdecimal().all()):
        raise InputError(f"{where}: {wanted_columns([str(name) for name in frame.columns])}")
    groupings = " or ".join(_groupings(frame, found | {"gene": str(genes.name)}))
    if groupings and genes.duplicated().any():
        raise InputError(f"{where}: genes stand in it repeatedly; name its clusters by --groupby {groupings}")
    clusters = (
        frame[found["cluster"]].astype(str) if "cluster" in found else pd.Series("0", index=frame.index)
    )
    numbers = {m: _numbers(frame, found[m], where) for m in found if m not in ("gene", "cluster")}
    strength, used = _strength(numbers, found)
    good = (genes != "") & (strength > 0 if strength is not None else True)
    ranked: dict[str, tuple[str, ...]] = {}
    strengths: dict[str, tuple[float, ...]] = {}
    for name in sorted(set(clusters), key=natural_order):
        rows = np.flatnonzero((clusters == name).to_numpy() & good.to_numpy())
        if strength is not None:
            rows = rows[np.argsort(-strength.to_numpy()[rows], kind="stable")]
            strengths[name] = tuple(strength.to_numpy()[rows].tolist())
        ranked[name] = tuple(genes.to_numpy()[rows])
    if not any(ranked.values()):
        raise InputError(
            f"{where}: no cluster has a gene above the others; is {used or 'the table'} as it should be?"
        )
    background = _background(genes, clusters)
    fractions = _fractions(genes, clusters, numbers)
    form = _form(found) + (f" (are clusters in {groupings}? name it by --groupby)" if groupings else "")
    return MarkerTable(ranked, strengths, form, used, background, fractions)


def _groupings(frame: pd.DataFrame, found: dict[str, str]) -> list[str]:
    """Return the columns that may name clusters where none does: others of words or whole numbers that repeat."""
    others = [] if "cluster" in found else [str(c) for c in frame.columns if c not in found.values()]
    measured = r"-.*|\d*\.\d*|[\d.]+[eE][-+]?\d+|NA|nan"
    repeated = [c for c in others if 1 < frame[c].nunique() < len(frame)]
    return [c for c in repeated if not frame[c].astype(str).str.fullmatch(measured).any()]


def _numbers(frame: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce")
    words = frame[column][
        values.isna() & ~frame[column].astype(str).str.lower().isin(["", "na", "nan", "inf"])
    ]
    if len(words):
        raise InputError(f"{where}: column {column!r} holds {words.iloc[0]!r}; wanted numbers")
    return values.astype(float)


def _strength(
    numbers: dict[str, pd.Series[float]], found: dict[str, str]
) -> tuple[pd.Series[float] | None, str]:
    """What genes are ordered by, and the columns it comes from in words."""
    fold = numbers.get("fold")
    if fold is None and "natural fold" in numbers:
        natural = plain(found["natural fold"]) == "avglogfc" or _form(found).startswith("presto")
        fold = numbers["natural fold"] / (
            math.log(2) if natural else 1.0
        )  # others write log2 below this name
    fold_column = found.get("fold", found.get("natural fold", ""))
    score = numbers.get("score")
    if fold is not None and "inside" in numbers:
        inside = numbers["inside"]
        fraction = inside / 100 if inside.max() > 1 else inside
        strength = fold.fillna(0).clip(upper=MAX_LOG2FC) * fraction.fillna(0)
        if score is not None and plain(found["score"]) in ("scores", "statistic") and (score < 0).any():
            strength = strength.where(score > 0, 0.0)  # scanpy: above the others by its test, too
        return strength, f"{fold_column} and {found['inside']}"
    if score is not None:
        least = 0.5 if "auc" in found["score"].lower() else 0.0
        return (score - least).fillna(0), found["score"]
    if fold is not None:
        return fold.fillna(0), fold_column
    if "p" in numbers:
        return 1.0 + 1.0 - numbers["p"].fillna(1.0), found["p"]
    return None, ""


def _background(genes: pd.Series[str], clusters: pd.Series[str]) -> tuple[str, ...] | None:
    """The measured genes, where every cluster lists the same ones: then nothing was filtered."""
    every = tuple(dict.fromkeys(genes))
    sizes = genes.groupby(clusters).nunique()
    filtered = len(sizes) < 2 or len(every) < _LEAST_BACKGROUND or bool((sizes != len(every)).any())
    return None if filtered else every


def _fractions(
    genes: pd.Series[str], clusters: pd.Series[str], numbers: dict[str, pd.Series[float]]
) -> pd.DataFrame | None:
    """Fraction of each cluster's cells that expresses each gene, float64[genes, clusters], as if clusters were of one
    size.

    A row says the fraction in its cluster and in all others together. Clusters that do not list a gene share what the
    listed ones leave of it.
    """
    import pandas as pd

    if not {"inside", "outside"} <= numbers.keys():
        return None
    percent = 100.0 if numbers["inside"].max() > 1 else 1.0
    long = pd.DataFrame(
        {"gene": genes, "cluster": clusters, "inside": numbers["inside"], "outside": numbers["outside"]}
    ).dropna()
    inside = long.pivot_table(index="gene", columns="cluster", values="inside", aggfunc="first")
    n = inside.shape[1]
    total = (long["inside"] + (n - 1) * long["outside"]).groupby(long["gene"]).mean().reindex(inside.index)
    unlisted = inside.isna().sum(axis=1)
    left = ((total - inside.sum(axis=1)) / unlisted.clip(lower=1)).clip(lower=0.0, upper=percent)
    filled: pd.DataFrame = inside.apply(lambda column: column.fillna(left)) / percent
    return filled


def _form(found: dict[str, str]) -> str:
    names = {plain(name) for name in found.values()}
    if "pct1" in names:
        return "Seurat FindAllMarkers" if "cluster" in found else "Seurat FindMarkers (one cluster)"
    if "pctin" in names or {"feature", "auc"} <= names:
        return "presto wilcoxauc"
    if "logfoldchanges" in names or "scores" in names:
        return "scanpy rank_genes_groups_df"
    return "marker table"


def table_of_uns(path: Path, key: str = "rank_genes_groups") -> MarkerTable:
    """Read the ranking that scanpy left in an h5ad: ``uns["rank_genes_groups"]``."""
    import pandas as pd

    from gather.cells.file import open_h5ad

    adata = open_h5ad(path, backed=True)
    try:
        entry = adata.uns.get(key)
        names = [str(n) for n in (adata.raw.var_names if adata.raw is not None else adata.var_names)]
    finally:
        adata.file.close()
    if not isinstance(entry, dict) or "names" not in entry:
        raise InputError(
            f"{path}: has no uns[{key!r}]; run scanpy.tl.rank_genes_groups, or leave --markers out"
        )
    parts = []
    for group in entry["names"].dtype.names:
        columns = {
            f: entry[f][group] for f in ("names", "scores", "logfoldchanges", "pvals_adj") if f in entry
        }
        part = pd.DataFrame(columns | {"group": group})
        for fractions, column in (("pts", "pct_nz_group"), ("pts_rest", "pct_nz_reference")):
            if fractions in entry:
                part[column] = part["names"].map(entry[fractions][group])
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame["names"] = frame["names"].map(lambda n: n.decode() if isinstance(n, bytes) else str(n))
    ranking = table_of_frame(frame, where=f"{path}: uns[{key!r}]")
    measured = tuple(dict.fromkeys([*names, *(g for genes in ranking.genes.values() for g in genes)]))
    return replace(ranking, form=f"uns[{key!r}]", background=measured)
