"""`vckg release`: the redistributable graph as one versioned archive, with its licences and what a DOI needs."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from vckg.base.atomic import check_outputs, reason, replacing
from vckg.base.errors import InputError
from vckg.export.redistributable import redistributable
from vckg.graph.folder import sha256_of, write_files
from vckg.graph.graph import Graph
from vckg.graph.manifest import MANIFEST

ENDING = ".tar.zst"
LEVEL = 9
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;]+")
_YEAR = re.compile(r"\b(20\d\d)\b")


def release(graph: Graph, output: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write the archive of a graph, and its sha256 in a file next to it; return what the manifest says of the release.

    The same graph and the same name give the same bytes.

    Parameters
    ----------
    output
        ``vckg-graph-VERSION.tar.zst``; the version is read off the name.
    overwrite
        Whether an archive of that name may be replaced.

    Raises
    ------
    InputError
        The name has another ending, the file exists, or nothing of the graph may be passed on.
    """
    if not output.name.endswith(ENDING):
        raise InputError(f"{output}: not a name of a release; give one that ends in {ENDING}")
    checksum = output.with_name(output.name + ".sha256")
    check_outputs([output, checksum], overwrite=overwrite)
    name = output.name.removesuffix(ENDING)
    version = name.removeprefix("vckg-graph-")
    try:
        with tempfile.TemporaryDirectory(prefix=".release-", dir=output.absolute().parent) as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            released = redistributable(graph, version)
            write_texts(released.manifest, version, folder)
            write_files(released.parts, folder)
            with replacing(output) as new, _compressed(new) as archive:
                for path in _ordered(folder):
                    _add(archive, path, f"{name}/{path.relative_to(folder).as_posix()}")
        with replacing(checksum) as new:
            new.write_text(f"{sha256_of(output)}  {output.name}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot write it ({reason(error)}); nothing was kept") from error
    return dict(released.manifest["released"]) | {"bytes": output.stat().st_size, "sha256": sha256_of(output)}


def write_texts(manifest: Mapping[str, Any], version: str, folder: Path) -> None:
    """Write LICENCES.md and datacite.json of a released graph."""
    (folder / "LICENCES.md").write_text("".join(_licences(manifest, version)), encoding="utf-8")
    text = json.dumps(datacite(manifest, version), indent=1, ensure_ascii=False) + "\n"
    (folder / "datacite.json").write_text(text, encoding="utf-8")


def _licences(manifest: Mapping[str, Any], version: str) -> Iterator[str]:
    yield f"# Licences of the sources of VCKG {version}\n\n"
    yield "Each source stays under its own licence. Cite the sources that you use.\n\n"
    yield "| source | title | release | licence | citation | homepage |\n|---|---|---|---|---|---|\n"
    for name, entry in sorted(manifest["sources"].items()):
        cells = [str(entry.get(k) or "") for k in ("title", "release", "licence", "citation", "homepage")]
        yield "| " + " | ".join(c.replace("|", "/") for c in (name, *cells)) + " |\n"
    left_out = manifest["released"]["left_out"]
    yield f"\nLeft out, because it may not be passed on: {left_out['edges']:,} edges, {left_out['nodes']:,} nodes and "
    yield f"{left_out['names']:,} names of\n"
    for name, edges in sorted(left_out["sources"].items()):
        yield f"- {name}: {edges:,} edges\n"


def datacite(manifest: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the metadata of a release in DataCite's JSON form (schema 4), without a DOI: the repository gives one.

    The year is the latest that a source's release names, so that the same graph has the same metadata.
    """
    sources = manifest["sources"]
    years = [int(y) for entry in sources.values() for y in _YEAR.findall(str(entry.get("release") or ""))]
    licences = sorted({str(entry["licence"]) for entry in sources.values() if entry.get("licence")})
    dois = sorted(
        {d.rstrip(".)") for e in sources.values() for d in _DOI.findall(str(e.get("citation") or ""))}
    )
    return {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Knowledge graph"},
        "titles": [{"title": f"VCKG: a cell-centric knowledge graph, release {version}"}],
        "creators": [{"name": "The VCKG developers", "nameType": "Organizational"}],
        "publisher": {"name": "The VCKG developers"},
        "publicationYear": str(max(years, default=2026)),
        "version": version,
        "language": "en",
        "formats": ["application/zstd"],
        "sizes": [f"{manifest['nodes']} nodes", f"{manifest['edges']} edges"],
        "rightsList": [{"rights": licence} for licence in licences],
        "relatedIdentifiers": [
            {"relatedIdentifier": doi, "relatedIdentifierType": "DOI", "relationType": "IsDerivedFrom"}
            for doi in dois
        ],
        "descriptions": [
            {
                "descriptionType": "Abstract",
                "description": "Genes, cell types, tissues, processes and diseases with the statements of "
                f"{len(sources)} sources that join them. Content hash {manifest['content_hash']}.",
            }
        ],
        "alternateIdentifiers": [
            {"alternateIdentifier": manifest["content_hash"], "alternateIdentifierType": "content hash"}
        ],
    }


def _ordered(folder: Path) -> list[Path]:
    """The manifest first: who unpacks the archive knows by it which files may follow, and how long they are."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return [folder / MANIFEST, *(p for p in files if p != folder / MANIFEST)]


@contextmanager
def _compressed(path: Path) -> Iterator[tarfile.TarFile]:
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor(level=LEVEL).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield archive


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file without its owner and its times."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as file:
        opened: IO[bytes] = file
        archive.addfile(member, opened)
