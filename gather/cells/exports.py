"""Labels next to the h5ad: a table of them alone, and the columns that CELLxGENE asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gather.cells.file import whole_file
from gather.labelling.decide import UNKNOWN
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

CELL_TYPE = "cell_type_ontology_term_id"
FORBIDDEN = ("CL:0000255", "CL:0000257", "CL:0000548")
"""Too general for CELLxGENE: eukaryotic, Eumycetozoan and animal cell (schema 7.1, ``cell_type_ontology_term_id``)."""
MAY_BE_UNKNOWN = (
    "development_stage_ontology_term_id", "self_reported_ethnicity_ontology_term_id", "sex_ontology_term_id"
)  # fmt: skip
ONLY_THE_AUTHOR_KNOWS = ("assay_ontology_term_id", "disease_ontology_term_id", "tissue_ontology_term_id")


def write_labels(path: Path, names: pd.Index, columns: dict[str, Any]) -> None:
    """Write the new columns of ``obs`` alone, one row a cell: CSV, or Parquet where the name ends in ``.parquet``."""
    frame = pd.DataFrame(columns, index=pd.Index(names, name="cell"))
    with whole_file(path) as partial:
        if path.suffix == ".parquet":
            frame.to_parquet(partial)
        else:
            frame.to_csv(partial)


def cellxgene_columns(
    obs: pd.DataFrame, terms: pd.Categorical | npt.NDArray[Any], *, human: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the ontology columns of CELLxGENE's schema 7 that `obs` lacks, and those that only the author can give.

    Parameters
    ----------
    obs
        Of the file; its columns stay.
    terms
        Cell Ontology id of every cell, or ``unknown``.
    human
        Whether the cells are human; others have no self-reported ethnicity (``na``).

    Raises
    ------
    InputError
        The file has cell types of its author under the schema's name.
    """
    if CELL_TYPE in obs:
        raise InputError(
            f"--cellxgene writes {CELL_TYPE}, which the file has already; rename that column, or leave --cellxgene out"
        )
    ids = np.asarray(terms, dtype=object)
    written = {CELL_TYPE: pd.Categorical(np.where(np.isin(ids, FORBIDDEN), UNKNOWN, ids))}
    for name in MAY_BE_UNKNOWN:
        if name not in obs:
            value = "na" if name.startswith("self_reported") and not human else UNKNOWN
            written[name] = pd.Categorical([value] * len(obs))
    return written, tuple(name for name in ONLY_THE_AUTHOR_KNOWS if name not in obs)
