"""Every mapping from a source's name to a node, as an SSSOM table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from vckg.graph.grounding import GENE_SPACES, NAME_KINDS
from vckg.graph.statements import End
from vckg.graph.string_array import Strings, whole


class Justification(NamedTuple):
    """How sure a kind of mapping is, in SSSOM's words."""

    term: str
    confidence: float


#: By kind of name (without its namespace). Confidences order the kinds; they are not measured frequencies.
JUSTIFICATIONS = {
    "id": Justification("semapv:ManualMappingCuration", 1.0),
    "symbol": Justification("semapv:LexicalMatching", 1.0),
    "ensembl": Justification("semapv:ManualMappingCuration", 1.0),
    "entrez": Justification("semapv:ManualMappingCuration", 1.0),
    "uniprot": Justification("semapv:ManualMappingCuration", 1.0),
    "label": Justification("semapv:LexicalMatching", 1.0),
    "replaced": Justification("semapv:ManualMappingCuration", 1.0),
    "xref": Justification("semapv:DatabaseCrossReference", 0.95),
    "exact_synonym": Justification("semapv:LexicalMatching", 0.95),
    "previous": Justification("semapv:ManualMappingCuration", 0.95),
    "alias": Justification("semapv:ManualMappingCuration", 0.9),
    "mapped": Justification("semapv:ManualMappingCuration", 0.9),
    "excel": Justification("semapv:ManualMappingCuration", 0.9),
    "normalised": Justification("semapv:LexicalSimilarityThresholdMatching", 0.85),
    "normalised_synonym": Justification("semapv:LexicalSimilarityThresholdMatching", 0.8),
    "abbreviation": Justification("semapv:ManualMappingCuration", 0.85),
    "case": Justification("semapv:LexicalMatching", 0.8),
}
#: Kinds that are the node's own name: a table of them would repeat the node table.
_TRIVIAL = frozenset(f"{space}.{kind}" for space in GENE_SPACES for kind in ("symbol", "id"))
SSSOM_COLUMNS = [
    "subject_id",
    "subject_label",
    "subject_source",
    "predicate_id",
    "object_id",
    "object_label",
    "mapping_justification",
    "confidence",
    "mapping_tool",
]


class Mappings:
    """Distinct (source, name, kind, node) of a build."""

    def __init__(self, ids: Strings) -> None:
        self._ids = ids
        self._frames: list[pd.DataFrame] = []
        self.unknown_tissues: dict[str, int] = {}

    def add(
        self,
        source: str,
        end: End,
        rows: npt.NDArray[np.bool_],
        node: npt.NDArray[np.int32],
        kind: npt.NDArray[np.uint8],
    ) -> None:
        """Note the mappings of the rows where `rows` holds."""
        at = np.flatnonzero(rows)
        encoded = whole(end.names).take(pa.array(at)).dictionary_encode()
        frame = pd.DataFrame(
            {"word": encoded.indices.to_numpy(zero_copy_only=False), "node": node[at], "kind": kind[at]}
        ).drop_duplicates()
        words = encoded.dictionary.take(pa.array(frame["word"].to_numpy())).to_pylist()
        frame = frame.assign(name=words, space=end.space, source=source).drop(columns="word")
        trivial = [NAME_KINDS[k] in _TRIVIAL for k in frame["kind"]]
        self._frames.append(frame[~np.array(trivial, dtype=bool)])

    def table(self, names: Strings) -> pd.DataFrame:
        """Return the SSSOM table, ascending by subject and object; `names` are the nodes' labels."""
        empty = pd.DataFrame(columns=["node", "kind", "name", "space", "source"])
        frame = pd.concat([f for f in self._frames if len(f)] or [empty], ignore_index=True).drop_duplicates()
        node = frame["node"].to_numpy(dtype=np.int64)
        kinds = [NAME_KINDS[k].partition(".")[2] for k in frame["kind"]]
        said = [JUSTIFICATIONS[k] for k in kinds]
        table: dict[str, Any] = {
            "subject_id": ["vckg.source:" + s for s in frame["source"]],
            "subject_label": frame["name"].to_numpy(),
            "subject_source": frame["source"].to_numpy(),
            "predicate_id": "skos:exactMatch",
            "object_id": self._ids.pick(node),
            "object_label": names.pick(node),
            "mapping_justification": [j.term for j in said],
            "confidence": [j.confidence for j in said],
            "mapping_tool": [f"vckg {k}" for k in kinds],
        }
        result = pd.DataFrame(table, columns=SSSOM_COLUMNS)
        result["subject_id"] = result["subject_id"] + "/" + result["subject_label"].map(_local)
        return result.sort_values(["subject_id", "object_id", "mapping_tool"], ignore_index=True)


def _local(label: str) -> str:
    from urllib.parse import quote

    return quote(label, safe="")


def write_sssom(table: pd.DataFrame, path: Path, *, licence: str) -> None:
    """Write an SSSOM table with its metadata block."""
    head = (
        "#curie_map:\n"
        "#  vckg.source: https://w3id.org/vckg/source/\n"
        "#mapping_set_id: https://w3id.org/vckg/mappings\n"
        f"#license: {licence}\n"
    )
    text = table.map(lambda v: v.replace("\t", " ").replace("\n", " ") if isinstance(v, str) else v)
    path.write_text(head + text.to_csv(sep="\t", index=False, lineterminator="\n"), encoding="utf-8")
