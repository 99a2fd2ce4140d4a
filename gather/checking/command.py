"""``gather check INPUT``: read a file, check its labels, write what was asked for: copy, table, page, mapping."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gather.cells.file import open_h5ad, write_annotated
from gather.cells.options import Options
from gather.checking.check import Question, work_out_check
from gather.checking.mapping import write_mapping
from gather.checking.opinion import FORMAT, FORMAT_VERSION, CheckResult
from gather.inputs.kinds import kind_of
from gather.inputs.opened import as_h5ad
from vckg.base.atomic import check_outputs, write_text
from vckg.base.console import progress
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph

SEPARATORS = {".tsv": "\t", ".csv": ","}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go: the copy with our columns, the table (``.tsv`` or ``.csv``), the page, the editable mapping."""

    copy: Path | None = None
    table: Path | None = None
    report: Path | None = None
    mapping: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All that will be written."""
        return [path for path in (self.copy, self.table, self.report, self.mapping) if path is not None]

    def refuse(self, source: Path, mapping: Path | None, *, overwrite: bool) -> None:
        """Refuse names and paths that cannot be written, before anything is loaded."""
        if self.copy is not None and self.copy.suffix != ".h5ad":
            raise InputError(f"{self.copy}: the output is an h5ad; give a name that ends in .h5ad")
        if self.table is not None and self.table.suffix not in SEPARATORS:
            raise InputError(f"{self.table}: the table is text; give a name that ends in .tsv or .csv")
        inputs = [source] if mapping is None else [source, mapping]
        check_outputs(self.paths, inputs=inputs, overwrite=overwrite)


def check_file(
    source: Path,
    graph: Graph,
    question: Question,
    options: Options,
    outputs: Outputs,
    *,
    modality: str | None = None,
) -> CheckResult:
    """Check the labels of one file and write the `outputs`.

    Raises
    ------
    InputError
        Anything the user can correct about the input or the arguments; nothing is written then.
    """
    with as_h5ad(source, kind_of(source), graph, modality) as h5ad:
        adata = open_h5ad(h5ad)
        if outputs.copy is not None:
            refuse_key(adata, options.key_added)
        with progress(f"checking {source.name}", total=float(adata.n_obs)) as done:
            found, groups = work_out_check(adata, graph, question, options, done=done)
        if outputs.copy is not None:
            columns = obs_columns(found, groups, options.key_added)
            write_annotated(h5ad, outputs.copy, columns, options.key_added, kept_of(found))
    if outputs.table is not None:
        write_text(outputs.table, table_text(found, SEPARATORS[outputs.table.suffix]))
    if outputs.report is not None:
        from gather.checking.page import write_page

        write_page(found, outputs.report, title=source.name)
    if outputs.mapping is not None:
        write_mapping(outputs.mapping, found.mapping)
    return found


def refuse_key(adata: ad.AnnData, key: str) -> None:
    """Refuse to overwrite columns of ``obs`` or an entry of ``uns`` that a check did not write."""
    kept = adata.uns.get(key)
    if isinstance(kept, dict) and kept.get("format") == FORMAT:
        return
    taken = [f"obs[{str(c)!r}]" for c in adata.obs.columns if str(c).startswith(f"{key}_")]
    taken += [f"uns[{key!r}]"] if key in adata.uns else []
    if taken:
        raise InputError(
            f"{taken[0]} exists and was not written by gather check; choose another name with --key-added"
        )


def obs_columns(found: CheckResult, groups: Any, key: str) -> dict[str, Any]:
    """Columns of ``obs``: of each label column its term, relation, worth and reasons; then the consensus.

    Cells without a set have no value, and worth NaN. Letters of a column's name that a file cannot hold become ``_``.
    """
    sets = [found[group] if group else None for group in groups.tolist()]
    columns: dict[str, Any] = {}
    for i, column in enumerate(found.columns):
        name = f"{key}_{re.sub(r'[^0-9A-Za-z_.-]', '_', column)}"
        checks = [one.labels[i] if one else None for one in sets]
        texts = {
            "cell_type_ontology_term_id": [c.mapped.curie if c else "" for c in checks],
            "relation": [c.relation if c else "" for c in checks],
            "reasons": [", ".join(c.reasons) if c else "" for c in checks],
        }
        columns |= {f"{name}_{suffix}": pd.Categorical(values) for suffix, values in texts.items()}
        columns[f"{name}_worth"] = np.array([c.worth if c else np.nan for c in checks])
    if len(found.columns) > 1:
        agreed = [one.consensus if one else None for one in sets]
        columns[f"{key}_consensus"] = pd.Categorical([c.name if c else "" for c in agreed])
        columns[f"{key}_consensus_ontology_term_id"] = pd.Categorical([c.curie if c else "" for c in agreed])
    return columns


def kept_of(found: CheckResult) -> dict[str, Any]:
    """What ``uns`` keeps: plain strings and the table."""
    frame = found.table()
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = pd.Categorical(frame[name].astype(str))
    frame.index = frame.index.astype(str)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "graph": found.graph,
        "parameters": json.dumps(found.parameters, sort_keys=True),
        "columns": "|".join(found.columns),
        "groupby": found.groupby,
        "table": frame,
    }


def table_text(found: CheckResult, separator: str) -> str:
    """Return the table as text, one row a label."""
    text = io.StringIO()
    found.table().to_csv(text, sep=separator, index=False, float_format="%.6g", lineterminator="\n")
    return text.getvalue()


def weights_of(given: list[str]) -> dict[str, float]:
    """Read ``COLUMN=NUMBER`` words; a column's name may hold ``=`` itself."""
    weights: dict[str, float] = {}
    for word in given:
        column, equals, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not equals or not column or not np.isfinite(value):
            raise InputError(f"--weight {word!r}: wanted COLUMN=NUMBER, such as author=2")
        weights[column] = value
    return weights
