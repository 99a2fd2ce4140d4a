"""Labelled expression files that real samples are drawn from: a table, its files in mirrors, and users' own.

A set is of cells, one row a cell, or of profiles, one row the mean of a published type. Labels become Cell
Ontology terms by the ``label_to_cl.tsv`` next to the file; where that lacks the set, as `gather check` reads them.
"""

from __future__ import annotations

import csv
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gather.retrieval.cell_names import ground_labels, readings
from vckg.base.atomic import write_text
from vckg.base.console import err
from vckg.base.errors import InputError, SourceError, did_you_mean
from vckg.base.resources import default_cache, resource
from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float32]
LABEL_MAP: Final = "label_to_cl.tsv"
WHOLE: Final = 10_000
"""Genes from which on a file covers the transcriptome, so that its rankings are whole cells."""
HOUSEKEEPING: Final = frozenset(
    ("ACTB", "B2M", "EEF1A1", "FTH1", "GAPDH", "PTMA", "RPLP0", "TMSB4X", "TPT1", "UBC")
)
"""Genes high in nearly every cell, human and mouse, without regard to case."""


@dataclass(frozen=True, slots=True)
class CellFile:
    """One labelled set."""

    name: str
    file: str
    """Path below a mirror folder, or absolute."""
    label: str
    """Column of ``obs``."""
    species: str
    tissue: str
    state: str
    """What holds for all its cells besides the tissue, e.g. ``fetal`` or ``tumour``; may be empty."""
    values: str
    """``counts`` or ``log`` of cells; ``profiles`` are logarithms, one row a type."""
    use: str
    """``samples``, or ``reference`` where others are compared with it and none is drawn."""
    study: str

    @property
    def of_user(self) -> bool:
        """Whether `list_own` listed it."""
        return Path(self.file).is_absolute()


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """A set as read."""

    source: CellFile
    genes: tuple[str, ...]
    values: Floats
    """Log-normalised expression, float32[rows, genes]."""
    types: tuple[str, ...]
    """Cell Ontology id of each row; "" where its label stands for none."""
    unnamed: Mapping[str, int]
    """Rows of each label without a term."""
    rows: tuple[str, ...]
    sha256: str
    readings: tuple[str, ...] = ()
    """In words, labels that were read by more than a type's own name."""

    @property
    def filtered(self) -> bool:
        """Whether the file keeps too few genes to show what a cell expresses most."""
        kept = len(HOUSEKEEPING.intersection(gene.upper() for gene in self.genes))
        return len(self.genes) < WHOLE and 2 * kept < len(HOUSEKEEPING)

    def of(self, cl_id: str) -> npt.NDArray[np.int64]:
        """Rows of a type."""
        return np.array([i for i, t in enumerate(self.types) if t == cl_id], dtype=np.int64)


def cell_files(mirrors: Sequence[Path]) -> Iterator[tuple[CellFile, Path]]:
    """Yield the sets of the table and the user's own whose files are available, with their paths.

    Sets on which a contestant of this project was developed are not in the table (`data/benchmark_sets.tsv`).
    """
    own = user_table()
    for table in (resource("data", "arena", "cell_files.tsv"), own):
        for source in _rows(table):
            places = (folder / source.file for folder in (*mirrors, Path()))
            path = next((place for place in places if place.is_file()), None)
            if path is not None:
                yield source, path
            elif table == own:
                _say_gone(source)


@lru_cache
def _say_gone(source: CellFile) -> None:
    err().print(
        f"{source.file} is gone, so the fresh set lacks its cells; put it back, or take it out: "
        f"arena data --remove {shlex.quote(source.name)}",
        soft_wrap=True,
    )


def user_table() -> Path:
    """Return the path of the table that `list_own` extends."""
    return default_cache() / "arena" / "cell_files.tsv"


def read_own(path: Path, graph: Graph, *, label: str, species: str, tissue: str, state: str = "") -> Labelled:
    """Read a file of the user's that `list_own` can list under its name, with which ids of samples begin.

    Raises
    ------
    InputError
        No such file or column, or a file of the fresh set has the name.
    """
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {fault}; wanted an h5ad file of labelled cells")
    row = CellFile(
        path.stem, str(path.resolve()), label, species, tissue, state, "counts", "samples", path.stem
    )
    if row.name in {other.name for other in _rows(resource("data", "arena", "cell_files.tsv"))}:
        raise InputError(f"{path}: {row.name!r} is a file of the fresh set; rename yours")
    return read_labelled(row, path, graph)


def list_own(row: CellFile) -> CellFile | None:
    """List a file among the sets that fresh samples are drawn from; return its earlier entry, which it replaces."""
    own = {one.name: one for one in _rows(user_table())}
    earlier = own.pop(row.name, None)
    _write_own([*own.values(), row])
    return earlier


def remove_file(name: str) -> CellFile:
    """Take a file of the user's, named with or without .h5ad, out of the sets that fresh samples are drawn from.

    Raises
    ------
    InputError
        No file of this name was added.
    """
    own = {row.name: row for row in _rows(user_table())}
    name = name if name in own else Path(name.removesuffix(".h5ad")).name
    if name not in own:
        names = f"there are {', '.join(own)}" if own else "no file was added"
        raise InputError(f"no added file {name!r}{did_you_mean(name, own)}; {names}")
    row = own.pop(name)
    _write_own(list(own.values()))
    return row


def _rows(table: Path) -> list[CellFile]:
    """Return the rows of a table; none where there is no table."""
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as lines:
        return [CellFile(**row) for row in csv.DictReader(lines, delimiter="\t")]


def _write_own(rows: Sequence[CellFile]) -> None:
    columns = [f.name for f in fields(CellFile)]
    lines = ["\t".join(columns), *("\t".join(asdict(row)[c] for c in columns) for row in rows)]
    write_text(user_table(), "\n".join(lines) + "\n")


def read_labelled(source: CellFile, path: Path, graph: Graph) -> Labelled:
    """Return a set with the terms of its labels.

    Raises
    ------
    SourceError
        The file has no such column.
    InputError
        It is damaged, or no h5ad.
    """
    from gather.cells.file import open_h5ad

    data = open_h5ad(path, known=True)
    if source.label not in data.obs:
        raise SourceError(
            path, f"no column {source.label!r} in obs; --label is one of {list(data.obs.columns)}"
        )
    values = np.asarray(data.X.toarray() if hasattr(data.X, "toarray") else data.X, dtype=np.float32)
    if source.values == "counts" and _are_counts(values):
        values = np.log1p(values / np.maximum(values.sum(axis=1, keepdims=True), 1) * np.float32(1e4))
    measured = np.flatnonzero(values.any(axis=0))
    labels = data.obs[source.label].astype("string").fillna("").str.strip().tolist()
    terms, read = _terms_of(sorted({*labels} - {""}), path, graph)
    terms[""] = ""  # a cell without a label
    unnamed = {text: labels.count(text) for text, term in terms.items() if text and not term}
    return Labelled(
        source=source,
        genes=tuple(map(str, data.var_names[measured])),
        values=values[:, measured],
        types=tuple(terms[text] for text in labels),
        unnamed=unnamed,
        rows=tuple(map(str, data.obs_names)),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        readings=read,
    )


def _are_counts(values: Floats) -> bool:
    """Tell whether the first rows hold whole numbers only."""
    head = values[:100]
    return bool((head == np.round(head)).all())


def _terms_of(labels: Sequence[str], path: Path, graph: Graph) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the term of each label, and in words which labels were read by more than a type's own name."""
    table = path.parent / LABEL_MAP
    if table.is_file():
        known = _label_map(table).get(path.stem)
        if known is not None:
            return {label: known.get(label, "") for label in labels}, ()
    found = ground_labels(graph, labels)
    return {one.name: one.curie or "" for one in found}, tuple(readings(graph, labels))


@lru_cache(maxsize=16)
def _label_map(table: Path) -> dict[str, dict[str, str]]:
    """Return terms by set and label; a flagged label (coarse, or doubted) stands for none."""
    terms: dict[str, dict[str, str]] = {}
    with table.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        key = (reader.fieldnames or ["set"])[0]
        for row in reader:
            term = "" if row.get("flag") else row["cl_id"]
            terms.setdefault(row[key], {})[row["label"]] = term
    return terms
